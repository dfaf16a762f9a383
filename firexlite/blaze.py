"""Records in the form in which firex-blaze puts FireX's events on Kafka: the same keys, the same types of events, one in each
message. A move that FireX does not know is told as `task-instrumentation`, which has no state there."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .home import RunDirectory, task_uuid
from .outbox import Record, RunAbout, RunEnd
from .states import RUN_REVOKED, RUN_SUCCEEDED

STATES = {"task-started-info": "STARTED", "task-succeeded": "SUCCESS", "task-failed": "FAILURE", "task-revoked": "REVOKED",
          "task-revoke-completed": "REVOKED"}
ROOT = 0  # the task that FireX has above all others, and we have not; as in a dump for its Flame
ROOT_NAME = "firexapp.tasks.root_tasks.RootTask"
OF_THE_END = 100
LARGEST = 900_000     # bytes of a message: brokers take a million unless they are told otherwise
LONGEST_TEXT = 20_000  # characters of what is in one that would be larger

Event = tuple[str, dict[str, Any]]  # its type, and what FireX tells with it


class Message(NamedTuple):
    """What is sent for a move, or one part of it. seq: of the move. part: from 0, of those of one move; from `OF_THE_END`, of
    those that tell of the end of a run whose last move it is."""

    seq: int
    part: int
    value: dict[str, Any]

    @property
    def text(self) -> str:
        """As JSON, in ASCII; values that make it too long for a broker are cut."""
        text, longest = _json(self.value), LONGEST_TEXT
        while len(text) > LARGEST and longest:
            text, longest = _json(_cut(self.value, longest)), longest // 4
        return text


def messages(record: Record) -> list[Message]:
    """The messages that tell of a move, one at least, in the order in which FireX sends them."""
    events = list(_events(record))
    own = [_message(record.run, record.task, record.name, record.ts, kind, fields, record.host) for kind, fields in events]
    if record.seq == 1:  # FireX's own root comes before all others
        root = {**_started(record.run, None, ROOT_NAME), "chain_depth": 0}
        own.insert(0, _message(record.run, ROOT, ROOT_NAME, record.run.created, "task-started-info", root))
    return [Message(record.seq, part, value) for part, value in enumerate(own)]


def messages_of_end(run: RunAbout, end: RunEnd) -> list[Message]:
    """The messages that tell how a run ended: FireX's root ends with it. They have the number of the last move."""
    runtime = ("task-completed", {"actual_runtime": max(0.0, end.ended - run.created)})
    if end.state == RUN_SUCCEEDED:
        events: list[Event] = [("task-results", {"firex_result": {"chain_results": end.results}}), ("task-succeeded", {})]
    elif end.state == RUN_REVOKED:
        events = [("task-revoked", {}), ("task-revoke-completed", {})]
    else:
        events = [("task-failed", {"exception": "; ".join(end.failed)})]
    return [Message(end.seq, OF_THE_END + part, _message(run, ROOT, ROOT_NAME, end.ended, kind, fields))
            for part, (kind, fields) in enumerate([*events, runtime])]


def lines(records: Iterable[Record]) -> Iterator[str]:
    """The messages of records, a line each."""
    return (message.text for record in records for message in messages(record))


# --- what FireX would tell of a move ---------------------------------------------------------------------------------

def _events(record: Record) -> Iterator[Event]:
    data, move = record.data, record.type
    runtime = {"actual_runtime": max(0.0, record.ts - (record.ts if record.started is None else record.started))}
    if move == "claim":
        yield "task-started-info", _family(record) | _started(record.run, _above(record), record.name) | {
            "log_filepath": str(_log_of(record)), "from_plugin": record.is_of_plugin,
            "code_filepath": record.file, "retries": record.retries}
        yield "task-args", {"firex_bound_args": data["arguments"], "firex_default_bound_args": data["defaults"]}
    elif move in ("succeed", "decide"):
        if not record.attempt:
            yield _instrumentation(record)
        yield "task-results", {"firex_result": data["results"]}
        yield "task-succeeded", {}
        yield "task-completed", runtime
    elif move == "fail":
        yield "task-failed", _exception(record)
        yield "task-completed", runtime
    elif move == "revoke":
        if not record.attempt:  # FireX's aggregator passes over one that is revoked before anything is told of it
            yield _instrumentation(record)
        yield "task-revoked", {}
        yield "task-revoke-completed", {"revoke_reason": data["reason"]} if data.get("reason") else {}
        yield "task-completed", runtime
    else:
        yield _instrumentation(record)
        if move == "skip":
            yield "task-completed", {"actual_runtime": 0.0}


def _started(run: RunAbout, parent: str | None, long_name: str) -> dict[str, Any]:
    """long_name comes first: FireX drops what it hears of a task before that."""
    return {"long_name": long_name, "called_as_orig": False, "log_filepath": f"{run.place}/logs/run.log", "from_plugin": False,
            "code_filepath": "", "retries": 0, "task_parent_id": parent, "parent_id": parent}


def _above(record: Record) -> str:
    """The uuid of the task that FireX has above another: the one before it in its chain, or that which enqueued the chain."""
    return task_uuid(record.run.firex_id, record.task - 1 if record.position else record.parent or ROOT)


def _log_of(record: Record) -> Path:
    assert record.epoch is not None and record.worker is not None
    return RunDirectory(Path(record.run.place)).log_file(record.epoch, record.worker, record.host)


def _family(record: Record) -> dict[str, Any]:
    return {"long_name": record.name, "parent_id": _above(record), "chain_depth": record.position}


def _instrumentation(record: Record) -> Event:
    told = {**_family(record), "firexlite_move": record.type, "firexlite_state": record.state,
            "firexlite_attempt": record.attempt}
    if error := record.data.get("exception"):
        told["firexlite_exception"] = error["repr"]
    return "task-instrumentation", told


def _exception(record: Record) -> dict[str, Any]:
    error = record.data.get("exception")
    if error is None:
        return {}
    told = {"exception": error["repr"], "traceback": error["traceback"]}
    return told | {"exception_cause_uuid": record.cause} if record.cause else told


def _message(run: RunAbout, task: int, long_name: str, at: float, kind: str, fields: Mapping[str, Any],
             host: str | None = None) -> dict[str, Any]:
    data = {**fields, "hostname": host or run.host, "utcoffset": 0, "name": long_name, "type": kind, "timestamp": at,
            "event_timestamp": at}
    if kind in STATES or kind == "task-completed":
        data["local_received"] = at  # of which FireX makes the times of states, and that of the first start
    if kind in STATES:
        data["state"] = STATES[kind]
    return {"FIREX_ID": run.firex_id, "SUBMITTER": run.user, "FIREX_REQUESTER": None, "LOGS_URL": run.place,
            "EVENTS": [{"DATA": data, "UUID": task_uuid(run.firex_id, task)}]}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _cut(value: Any, longest: int, depth: int = 0) -> Any:
    """Plain data without what is long in it. The outer parts of a message are never cut."""
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}... ({len(value):,} characters)"
    if isinstance(value, (dict, list)) and depth > 4 and len(text := _json(value)) > longest:  # an argument, a result
        return f"{text[:longest]}... ({len(text):,} characters of JSON)"
    if isinstance(value, dict):
        return {name: _cut(part, longest, depth + 1) for name, part in value.items()}
    return [_cut(part, longest, depth + 1) for part in value] if isinstance(value, list) else value
