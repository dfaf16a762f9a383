"""From the journal to the model of a report: one JSON-able object, `firexlite.flame/1`, that every format is made of."""
from __future__ import annotations

import bisect
import collections
import itertools
import json
import time
from collections.abc import Sequence
from typing import Any

from .binding import Bog
from .codec import display, display_error
from .history import AttemptRecord, History, IncarnationRecord, TaskRecord, bind_for_display, flow_after, interrupted_by
from .home import task_uuid
from .showing import COMMANDS_KEY
from .states import BLOCKED, FINAL, READY, RUN_INTERRUPTED, RUN_RUNNING, RUN_SUCCEEDED, RUNNING, WAITING
from .version import __version__

SCHEMA = "firexlite.flame/1"
SHOWN_OPTIONS = ("workers", "queues", "soft_time_limit", "cwd", "plugins", "helpers")
AT_A_TIME = 10 ** 9  # positions from here on are microseconds since the epoch
MOST_LOG_BYTES = 64 * 1024 * 1024  # of one task's output; a log with a hole may claim any size
_SPENT_IN = {WAITING: "queue", READY: "queue", RUNNING: "self", BLOCKED: "child_wait"}


def model_of(history: History, log_bytes: int | None = None, now_s: float | None = None) -> dict[str, Any]:
    """The model of a run, from one snapshot of its journal.

    log_bytes: of each task's output, the last so many; None: as much as is ever read.
    """
    now = time.time() if now_s is None else now_s
    with history.snapshot():
        builder = _Builder(history, now, log_bytes)
        return {"schema": SCHEMA, "generated_at": now, "firexlite": __version__,
                "run": builder.run(), "tasks": builder.tasks()}


class _Builder:
    def __init__(self, history: History, now: float, log_bytes: int | None) -> None:
        self.history, self.now, self.log_bytes = history, now, log_bytes
        self.firex_id = history.directory.firex_id
        self.record = history.run()
        self.incarnations = self._incarnations()
        self.down = [(a["ended"], b["started"]) for a, b in itertools.pairwise(self.incarnations)]
        if self.record.state == RUN_INTERRUPTED:
            self.down.append((self.incarnations[-1]["ended"], now))
        self.attempts: dict[int, list[AttemptRecord]] = collections.defaultdict(list)
        for attempt in history.attempts():
            self.attempts[attempt.task].append(attempt)
        self.states: dict[int, list[tuple[str, float, str]]] = collections.defaultdict(list)
        for task, state, at, move in history.events():
            self.states[task].append((state, at, move))
        self.askers: dict[int, list[int]] = collections.defaultdict(list)
        for head, asker in history.attached():
            self.askers[head].append(asker)
        self.flame_data: dict[int, dict[str, Any]] = collections.defaultdict(dict)
        self.commands: dict[int, dict[str, Any]] = collections.defaultdict(dict)
        for task, key, kind, text, position in history.flame_data():
            if key.startswith(COMMANDS_KEY):
                self.commands[task].update(json.loads(text))
            else:
                order = position if position < AT_A_TIME else position / 1_000_000
                self.flame_data[task][key] = {"value": json.loads(text), "type": kind, "order": order}

    def _incarnations(self) -> list[dict[str, Any]]:
        """Each life of the run; of one that was killed the end is the last thing it journaled."""
        rows = self.history.incarnations()
        began = [row.started for row in rows]
        last_sign = dict(enumerate(began))
        for _, _, at, _ in self.history.events():
            i = max(0, bisect.bisect_right(began, at) - 1)
            last_sign[i] = max(last_sign[i], at)
        return [{"n": row.epoch, "pid": row.pid, "host": row.host, "started": row.started,
                 "ended": row.ended or (self.now if self._goes_on(row) else last_sign[i]),
                 "end": "clean" if row.ended else "open" if self._goes_on(row) else "crash"}
                for i, row in enumerate(rows)]

    def _goes_on(self, incarnation: IncarnationRecord) -> bool:
        return self.record.state == RUN_RUNNING and incarnation.epoch == self.record.epoch

    def run(self) -> dict[str, Any]:
        run, options = self.record, self.record.options
        is_over = run.state not in (RUN_RUNNING, RUN_INTERRUPTED)
        return {"id": self.firex_id, "firex_id": self.firex_id, "chain": run.chain, "state": run.state,
                "started": run.created, "ended": run.ended if is_over else None, "root": 1, "inputs": run.inputs,
                "argv": options["argv"], "host": options["host"], "user": options["user"], "python": options["python"],
                "options": {name: options.get(name) for name in SHOWN_OPTIONS},
                "incarnations": self.incarnations, "counts": self.history.counts(), "snapshot": not is_over,
                "truncated": {}, "redacted": 0,
                "resume": None if run.state in (RUN_RUNNING, RUN_SUCCEEDED) else f"firexlite resume {self.firex_id}"}

    def tasks(self) -> list[dict[str, Any]]:
        records = list(self.history.tasks())
        by_uuid = {task_uuid(self.firex_id, task.num): task.num for task in records}
        rows: list[dict[str, Any]] = []
        flow: dict[str, Any] = {}
        for task in records:
            if task.num == task.chain:
                flow = {}
            service = self.history.services.get(task.service)
            bog = bind_for_display(service, task, flow) if service and task.attempt else None
            rows.append(self._task(task, bog, by_uuid))
            flow = flow_after(task, flow)
        return rows

    def _task(self, task: TaskRecord, bog: Bog | None, by_uuid: dict[str, int]) -> dict[str, Any]:
        service = self.history.services.get(task.service)
        attempts = self.attempts[task.num]
        states = self.states[task.num]
        started = attempts[0].started if attempts else None
        ended = states[-1][1] if states and task.is_final else None
        error = display_error(task.error) if task.error and task.state not in ("succeeded",) else None
        where = error and error["where"]
        cause = interrupted_by(task.error) if error else None
        return {
            "num": task.num, "uuid": task_uuid(self.firex_id, task.num),
            "parent": task.num - 1 if task.position else task.parent, "enqueued_by": task.parent,
            "name": service.short_name if service else task.service.rpartition(".")[2], "long_name": task.service,
            "state": task.state, "chain_depth": task.position, "plugin": bool(service and service.plugin),
            "host": self.record.options["host"], "started": started,
            "runtime": None if started is None else max(0.0, (self.now if ended is None else ended) - started),
            "states": [[state, at] for state, at, _ in states],
            "attempts": [self._attempt(attempt) for attempt in attempts],
            "retries": task.retry, **self._time_split(states, ended),
            "replayed_in": sorted({after.epoch for before, after in itertools.pairwise(attempts) if before.outcome == "lost"}),
            "args": bog.bound_args if bog else {}, "defaults": dict(bog.defaults) if bog else {},
            "result": display(task.result) if task.result else None,
            "exception": error and repr_of(error), "traceback": error and tracebacks(error),
            "cause": by_uuid.get(cause) if cause else None,
            "error_context": where and f"{where['file']}:{where['line']} in {where['function']}",
            "flame_data": self.flame_data.get(task.num, {}), "external_commands": self.commands.get(task.num, {}),
            "extra_parents": [asker for asker in self.askers.get(task.num, ()) if asker != task.parent],
            "cached_from": task.cached_from, "queue_name": task.queue, "due": task.due, "revoke_reason": task.reason,
            "aside": task.aside, "log": self._log(attempts),
        }

    @staticmethod
    def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
        return {"n": attempt.number, "incarnation": attempt.epoch, "worker": attempt.worker, "started": attempt.started,
                "ended": attempt.ended, "state": attempt.outcome or "running", "peak": attempt.peak, "cpu": attempt.cpu,
                "exc": repr_of(display_error(attempt.error)) if attempt.error else None}

    def _time_split(self, states: Sequence[tuple[str, float, str]], ended: float | None) -> dict[str, float]:
        """Where a task's time went, from its release to its end (or now): the parts sum to the whole."""
        split = dict.fromkeys(("queue", "self", "child_wait", "backoff", "asleep", "down"), 0.0)
        following = [*states[1:], ("", self.now if ended is None else ended, "")]
        for (state, began, move), (_, end, next_move) in zip(states, following, strict=False):
            if state not in _SPENT_IN or state in FINAL:
                continue
            spent_in = "backoff" if move == "retry" else "asleep" if next_move == "wake" else _SPENT_IN[state]
            down = sum(max(0.0, min(end, up) - max(began, fell)) for fell, up in self.down)
            split["down"] += down
            split[spent_in] += max(0.0, end - began - down)
        return split

    def _log(self, attempts: Sequence[AttemptRecord]) -> dict[str, Any] | None:
        """The output of the last attempt that wrote anything."""
        for attempt in reversed(attempts):
            limit = MOST_LOG_BYTES if self.log_bytes is None else self.log_bytes
            text, left_out = self.history.log(attempt, limit)
            if text:
                lines = text.splitlines()
                return {"lines": lines, "total": len(lines), "bytes_before": left_out, "truncated": left_out > 0}
        return None


def repr_of(error: dict[str, Any]) -> str:
    """The exception as Python would show it: `ValueError('no such host')`."""
    args, cause = error["args"], error["cause"]
    if args is None:
        return f"{error['name']}({error['text']!r})"
    # Among arguments an exception stands as its text; the one that FireX's exceptions hold is also their cause.
    told = cause and f"{cause['name']}: {cause['text']}"
    return f"{error['name']}({', '.join(repr_of(cause) if cause and arg == told else repr(arg) for arg in args)})"


def tracebacks(error: dict[str, Any] | None) -> str:
    """The tracebacks of an exception and its causes, the innermost first, as Python prints them."""
    parts: list[str] = []
    explicit = False
    while error is not None:
        if parts:
            parts.append("\nThe above exception was the direct cause of the following exception:\n\n" if explicit else
                         "\nDuring handling of the above exception, another exception occurred:\n\n")
        parts.append(error["traceback"])
        explicit, error = error["explicit"], error["cause"]
    return "".join(reversed(parts))
