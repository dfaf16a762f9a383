"""The moves of a run as records for whoever is told of them, from any of them on; and how far each sink has been told.

A sink's place is a small file in the run's directory, `sinks/<name>.json`: it is written when all before it is acknowledged.
"""
from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from . import faults, host
from .bogs import bind_for_display, flow_after
from .codec import display, display_error
from .flame_graph import repr_of, tracebacks
from .history import AttemptRecord, History, TaskRecord, interrupted_by
from .home import RunDirectory, replacing, task_uuid
from .lodging import fsync_directory
from .own_files import read_own_file
from .states import FINAL, RUN_INTERRUPTED, RUN_RUNNING

VERSION = 1          # of the form of a record
PAGE = 200           # events that are read at once
CHAINS = 200         # of which it is remembered what flows in them
_LARGEST_PLACE = 1 << 16  # bytes of a file that tells a place

# One page. Whatever is looked up for an event is looked up by the key of its table.
_EVENTS = """
SELECT event.id, event.at, event.task, event.attempt, event.move, event.state, task.parent, task.chain, task.service,
       task.reason, CASE WHEN event.move IN ('succeed', 'decide') THEN task.result END, task.cached_from,
       (SELECT started FROM attempt WHERE task = event.task AND number = 1),
       (SELECT count(*) FROM attempt WHERE task = event.task AND number < event.attempt AND outcome = 'retried'),
       attempt.epoch, attempt.worker, attempt.host,
       CASE WHEN event.move IN ('fail', 'retry', 'lose', 'revoke', 'stop') THEN attempt.error END
FROM event JOIN task ON task.id = event.task
LEFT JOIN attempt ON attempt.task = event.task AND attempt.number = event.attempt
WHERE event.id > ? ORDER BY event.id LIMIT ?
"""


class RunAbout(NamedTuple):
    """A run, as all its records have it. created: in seconds since the epoch. place: its directory."""

    firex_id: str
    chain: str
    user: str
    host: str
    python: str
    firexlite: str
    created: float
    place: str


class RunEnd(NamedTuple):
    """How a run ended. seq: of its last move. ended: in seconds since the epoch. results: by name, in display form."""

    seq: int
    state: str
    ended: float
    results: dict[str, Any]
    failed: tuple[str, ...]  # services of the submitted chain that did, and why


@dataclass(frozen=True)
class Record:
    """One move of one task. ts: when, in seconds since the epoch. data: what the move brought, as the journal has it.

    host: where its attempt was made, if elsewhere than the processes of the run. parent: the task that enqueued it. position:
    its place in its chain, from 0. retries: before this attempt. started: of its first attempt. cause: the uuid of the task
    whose failure it failed of. attempts: all of them, of a move that ends a task, if they were asked for.
    """

    run: RunAbout
    seq: int
    ts: float
    task: int
    name: str
    type: str
    state: str
    attempt: int
    data: dict[str, Any]
    parent: int | None
    position: int
    retries: int
    started: float | None
    epoch: int | None
    worker: int | None
    host: str | None
    file: str
    is_of_plugin: bool
    short_name: str
    cause: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def plain(self) -> dict[str, Any]:
        """What `firexlite events` prints, as plain data."""
        return {"v": VERSION, "seq": self.seq, "ts": self.ts, "run": self.run.firex_id, "task": self.task,
                "uuid": task_uuid(self.run.firex_id, self.task), "parent": self.parent, "name": self.name, "type": self.type,
                "state": self.state, "attempt": self.attempt, "host": self.host or self.run.host, "data": self.data}


def about(history: History) -> RunAbout:
    run = history.run()
    options = run.options
    return RunAbout(run.firex_id, run.chain, options["user"], options["host"], options["python"],
                    options.get("firexlite", ""), run.created, str(history.directory.path))


def end_of(history: History) -> RunEnd | None:
    """How a run ended; None if it has not, or may go on."""
    run = history.run()
    if run.ended is None or run.state in (RUN_RUNNING, RUN_INTERRUPTED):
        return None
    return RunEnd(last_seq(history), run.state, run.ended, history.named_values(),
                  tuple(history.unsuccessful().get("failed", ())))


def last_seq(history: History) -> int:
    """The number of the last move; 0 if there was none."""
    [(last,)] = history.execute("SELECT coalesce(max(id), 0) FROM event")
    return last


def left_after(history: History, seq: int) -> int:
    """How many moves came after one."""
    [(left,)] = history.execute("SELECT count(*) FROM event WHERE id > ?", seq)
    return left


class Records:
    """Reads the moves of one run, a page at a time. Between two pages the journal need not stay open."""

    def __init__(self, with_attempts: bool = False) -> None:
        """with_attempts: of a task that ends, read all its attempts too."""
        self._with_attempts = with_attempts
        self._flows: collections.OrderedDict[int, tuple[int, dict[str, Any]]] = collections.OrderedDict()
        self._near: dict[int, TaskRecord] = {}  # the tasks that a page is about, and those before them
        self._run: RunAbout | None = None

    def page(self, history: History, after: int) -> list[Record]:
        """The next records after a number, `PAGE` at most; none if there are no more."""
        place = str(history.directory.path)
        if self._run is None or self._run.place != place:  # it may have come home
            self._run = about(history)
        run, rows = self._run, history.execute(_EVENTS, after, PAGE)
        claimed = {task for _, _, task, _, move, *_ in rows if move == "claim"}
        self._near = {task.num: task for task in history.tasks_numbered(claimed | {task - 1 for task in claimed})}
        return [self._record(history, run, *row) for row in rows]

    def _record(self, history: History, run: RunAbout, seq: int, at: float, num: int, attempt: int, move: str, state: str,
                parent: int | None, chain: int, service: str, reason: str | None, result: str | None, cached_from: int | None,
                started: float | None, retries: int, epoch: int | None, worker: int | None, host: str | None, error: str | None
                ) -> Record:
        known = history.services.get(service)
        data: dict[str, Any] = {}
        cause = None
        if move == "claim":
            data = self._arguments(history, num, chain)
        elif result is not None:
            data = {"results": display(history.directory.unspill(result))}
            if move == "succeed":
                data["runtime"] = max(0.0, at - (at if started is None else started))
            if cached_from is not None:
                data["cached_from"] = cached_from
        elif move == "revoke":
            data = {"reason": reason}
        if error:
            error = history.directory.unspill(error)
            shown = display_error(error)
            data["exception"] = {"type": shown["type"], "text": shown["text"], "repr": repr_of(shown),
                                 "traceback": tracebacks(shown), "where": shown["where"]}
            if cause := interrupted_by(error):
                data["exception"]["cause"] = cause
        record = Record(run, seq, at, num, service, move, state, attempt, data, parent, num - chain, retries, started, epoch,
                        worker, host, known.file if known else "", bool(known and known.plugin),
                        history.short_name(service), cause)
        if self._with_attempts and record.is_final:
            record = replace(record, attempts=tuple(_whole(history, one) for one in history.attempts(num)
                                                    if one.number <= attempt))
        return record

    def _arguments(self, history: History, num: int, chain: int) -> dict[str, Any]:
        """What an attempt begins with: the arguments that reach it, and the defaults of the others."""
        flow, task = self._flow_before(history, num, chain)
        service = history.services.get(task.service) if task else None
        bog = bind_for_display(service, task, flow) if task and service else None
        return {"arguments": bog.bound_args, "defaults": dict(bog.defaults)} if bog else {"arguments": {}, "defaults": {}}

    def _flow_before(self, history: History, num: int, chain: int) -> tuple[dict[str, Any], TaskRecord | None]:
        """What flows to a task from those before it in its chain, and the task itself.

        A chain of many tasks is not read from its beginning for each of them.
        """
        before, flow = self._flows.pop(chain, (chain - 1, {}))
        if before >= num:
            before, flow = chain - 1, {}
        wanted = range(before + 1, num + 1)
        tasks = ((self._near[one] for one in wanted) if self._near.keys() >= {*wanted} else
                 history.tasks_between(before + 1, num))
        task = None
        for task in tasks:
            if task.num < num:
                before, flow = task.num, flow_after(task, flow)
        if flow:  # else it is as at the beginning
            self._flows[chain] = before, flow
        if len(self._flows) > CHAINS:
            self._flows.popitem(last=False)
        return flow, task


def _whole(history: History, attempt: AttemptRecord) -> AttemptRecord:
    return attempt._replace(error=attempt.error and history.directory.unspill(attempt.error))


# --- how far a sink is ----------------------------------------------------------------------------------------------

class Place(NamedTuple):
    """How far a sink has been told: up to a move, and of which end of the run, by its time."""

    seq: int = 0
    ended: float | None = None


class Offset:
    """The place of one sink in one run."""

    def __init__(self, directory: RunDirectory, sink: str) -> None:
        """sink: as a person names it, without what is secret."""
        self._folder, self._sink = directory.sinks, sink
        kind = sink.partition(":")[0]
        self._path = self._folder / f"{kind}-{hashlib.blake2b(sink.encode(), digest_size=6).hexdigest()}.json"

    def read(self) -> Place:
        """Where it is; at the beginning, if nothing that can be read tells otherwise: then some is sent twice."""
        with suppress(OSError, ValueError, RecursionError):
            told = json.loads(read_own_file(self._path, _LARGEST_PLACE))
            if isinstance(told, Mapping) and type(seq := told.get("seq")) is int and seq >= 0:
                ended = told.get("ended")
                return Place(seq, ended if isinstance(ended, (int, float)) else None)
        return Place()

    def store(self, place: Place) -> None:
        """Durably write down what is acknowledged. Raises OSError."""
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
            fsync_directory(self._folder.parent)
        with replacing(self._path) as file:
            json.dump({"sink": self._sink, **place._asdict()}, file)
            file.flush()
            host.sync(file.fileno())
        fsync_directory(self._folder)
        faults.reach("sink told")


def lines(records: list[Record]) -> Iterator[str]:
    """Records as lines of JSON, in ASCII."""
    for record in records:
        yield json.dumps(record.plain(), separators=(",", ":"))
