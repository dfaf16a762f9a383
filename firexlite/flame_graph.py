"""From the journal to the model of a report: one JSON-able object, `firexlite.flame/1`, that every format is made of."""
from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .bogs import Bogs
from .codec import display_error
from .codec_errors import is_machinery
from .flame_why import place_of, why
from .history import AttemptRecord, History, IncarnationRecord, ServiceRecord, TaskRecord, where_of
from .home import task_uuid
from .redaction import Redaction
from .showing import COMMANDS_KEY
from .states import BLOCKED, FINAL, READY, RUN_INTERRUPTED, RUN_RUNNING, RUN_SUCCEEDED, RUNNING, SUCCEEDED, WAITING
from .task_names import no_such_task
from .version import __version__

SCHEMA = "firexlite.flame/1"
SHOWN_OPTIONS = ("workers", "queues", "soft_time_limit", "cwd", "plugins", "helpers")
AT_A_TIME = 10 ** 9  # positions from here on are microseconds since the epoch
MOST_LOG_BYTES = 64 * 1024 * 1024  # of one task's output; a log with a hole may claim any size
WORTH_A_PROCESS = 20_000  # tasks
STRETCHES = 4
NOTHING = Redaction(is_on=False)
LAST_TASK = 2 ** 63 - 1  # the largest number that SQLite knows
_SPENT_IN = {WAITING: "queue", READY: "queue", RUNNING: "self", BLOCKED: "child_wait"}
_PARTS = ("queue", "self", "child_wait", "backoff", "asleep", "down")

# Times are told to the microsecond, all of them, or an end that is also another's beginning would come before or after it.
_ATTEMPTS = ("SELECT task, number, epoch, worker, round(started, 6), round(ended, 6), outcome, error, log_start, log_end, "
             "peak, round(cpu, 6), host FROM attempt WHERE task BETWEEN ? AND ? ORDER BY task, number")
_MOVES = "SELECT task, state, round(at, 6), move FROM event WHERE task BETWEEN ? AND ? ORDER BY task, id"
_SHOWN = "SELECT task, key, type, value, position FROM flame WHERE task BETWEEN ? AND ? ORDER BY task, position"
_SLEEPS = "SELECT task, value FROM noted WHERE name = 'sleeps until' AND task BETWEEN ? AND ? ORDER BY task"
_ASKERS = "SELECT chain, parent FROM attached WHERE chain BETWEEN ? AND ? ORDER BY chain, parent"


def model_of(history: History, log_bytes: int | None = None, now_s: float | None = None) -> dict[str, Any]:
    """The model of a run, from one snapshot of its journal, with all tasks in a list.

    log_bytes: of each task's output, the last so many; None: as much as is ever read.
    """
    with history.snapshot():
        model = streamed_model(history, log_bytes, now_s, is_portable=False)
        return {**model, "tasks": list(model["tasks"])}


def streamed_model(history: History, log_bytes: int | None = None, now_s: float | None = None,
                   is_portable: bool = True, redaction: Redaction = NOTHING) -> dict[str, Any]:
    """As `model_of`, within a snapshot of the history, and portable; its tasks can be gone along once, while that lasts.

    redaction: of tasks and run; how many values it took out is complete in the run when the tasks have been gone along.
    """
    now = round(time.time() if now_s is None else now_s, 6)
    builder = _Builder(history, now, log_bytes, is_portable, redaction)
    return {"schema": SCHEMA, "generated_at": now, "firexlite": __version__, "run": builder.run(), "tasks": builder.tasks()}


def model_of_run(history: History, redaction: Redaction = NOTHING) -> dict[str, Any]:
    """What the model of a report says of the run as a whole."""
    return _Builder(history, time.time(), None, False, redaction).run()


def model_of_task(history: History, num: int, log_bytes: int, redaction: Redaction = NOTHING) -> dict[str, Any]:
    """One task, as in the model of a report. Raises BadInput if there is no such task."""
    if not (found := history.execute("SELECT chain FROM task WHERE id = ?", num)):
        raise no_such_task(history, str(num))
    *_, task = _Builder(history, time.time(), log_bytes, False, redaction).tasks(found[0][0], num)  # its chain flows to it
    return task


class Stretch(NamedTuple):
    """Consecutive tasks of a run that is over, for a process of its own: it opens the journal for itself."""

    directory: Path
    first: int
    last: int
    log_bytes: int | None
    now_s: float
    redaction: Redaction

    def model(self, history: History, run: Mapping[str, Any]) -> dict[str, Any]:
        """As `streamed_model`, with the tasks of this stretch.

        run: as the whole model has it. In this one, ``redacted`` counts what was taken out of these tasks alone.
        """
        builder = _Builder(history, self.now_s, self.log_bytes, True, self.redaction)
        builder.shown_run = {**run}
        return {"run": builder.shown_run, "generated_at": self.now_s, "tasks": builder.tasks(self.first, self.last)}


def stretches(history: History, log_bytes: int | None, now_s: float, redaction: Redaction) -> list[Stretch]:
    """A run in stretches of about as many tasks each, cut between chains; the same run always in the same.

    Just one if it goes on, since each would see another state of it, or if that is not worth a process.
    """
    count = STRETCHES
    [(tasks, last)] = history.execute("SELECT count(*), max(id) FROM task")
    if history.run().state in (RUN_RUNNING, RUN_INTERRUPTED) or tasks != last or tasks < WORTH_A_PROCESS:
        count = 1
    firsts = [1]
    for number in range(1, count):
        [(first,)] = history.execute("SELECT min(id) FROM task WHERE id >= ? AND id = chain", tasks * number // count)
        if first is not None and first > firsts[-1]:
            firsts.append(first)
    return [Stretch(history.directory.path, first, following - 1, log_bytes, now_s, redaction)
            for first, following in itertools.pairwise([*firsts, LAST_TASK])]


class _Builder:
    def __init__(self, history: History, now: float, log_bytes: int | None, is_portable: bool, redaction: Redaction) -> None:
        self.redactor = redaction.redactor()
        self.shown_run: dict[str, Any] = {}
        self.history, self.now, self.log_bytes, self.is_portable = history, now, log_bytes, is_portable
        self.firex_id = history.directory.firex_id
        self.record = history.run()
        self.host = self.record.options["host"]
        self.incarnations = self._incarnations()
        self.down = [(a["ended"], b["started"]) for a, b in itertools.pairwise(self.incarnations)]
        if self.record.state == RUN_INTERRUPTED:
            self.down.append((self.incarnations[-1]["ended"], now))

    def _incarnations(self) -> list[dict[str, Any]]:
        """Each life of the run; of one that was killed the end is the last thing it journaled."""
        rows = self.history.incarnations()
        following = [row.started for row in rows[1:]] + [float("inf")]
        return [{"n": row.epoch, "pid": row.pid, "host": row.host, "started": _seconds(row.started),
                 "ended": _seconds(row.ended or (self.now if self._goes_on(row)
                                                 else self.history.last_sign(row.started, before))),
                 "end": "clean" if row.ended else "open" if self._goes_on(row) else "crash"}
                for row, before in zip(rows, following, strict=True)]

    def _goes_on(self, incarnation: IncarnationRecord) -> bool:
        return self.record.state == RUN_RUNNING and incarnation.epoch == self.record.epoch

    def run(self) -> dict[str, Any]:
        run, options = self.record, self.record.options
        is_over = run.state not in (RUN_RUNNING, RUN_INTERRUPTED)
        told = {"id": self.firex_id, "firex_id": self.firex_id, "chain": run.chain, "state": run.state,
                "started": _seconds(run.created), "ended": _seconds(run.ended) if is_over and run.ended else None,
                "root": 1, "inputs": run.inputs,
                "argv": options["argv"], "host": options["host"], "user": options["user"], "python": options["python"],
                "options": {name: options.get(name) for name in SHOWN_OPTIONS},
                "incarnations": self.incarnations, "counts": self.history.counts(), "snapshot": not is_over,
                "truncated": {}, "redacted": 0,
                "resume": None if run.state in (RUN_RUNNING, RUN_SUCCEEDED) else f"firexlite resume {self.firex_id}",
                **why(self.history, run)}
        self.shown_run = self.redactor.run(told)
        self.shown_run["redacted"] = self.redactor.count
        return self.shown_run

    def tasks(self, first: int = 1, last: int = LAST_TASK) -> Iterator[dict[str, Any]]:
        """The tasks from one number to another; the first is that of a chain."""
        history = self.history
        attempts, moves, sleeps, shown, askers = (
            history.by_task(sql, first, last) for sql in (_ATTEMPTS, _MOVES, _SLEEPS, _SHOWN, _ASKERS))
        bogs = Bogs(history.services, self.is_portable)
        for task in history.tasks_between(first, last):
            num = task.num
            told = self._task(task, bogs.follow(task), attempts.of(num), moves.of(num), sleeps.of(num), shown.of(num),
                              askers.of(num))
            yield self.redactor.task(told)
        self.shown_run["redacted"] = self.redactor.count

    def _task(self, task: TaskRecord, bound: tuple, attempts: Sequence[tuple], moves: Sequence[tuple], sleeps: Sequence[tuple],
              shown: Sequence[tuple], askers: Sequence[tuple]) -> dict[str, Any]:
        service = self.history.services.get(task.service)
        arguments, defaults, result = bound
        started = attempts[0][4] if attempts else None
        ended = moves[-1][2] if moves and task.state in FINAL else None
        told = {
            "num": task.num, "uuid": task_uuid(self.firex_id, task.num),
            "parent": task.num - 1 if task.position else task.parent, "enqueued_by": task.parent,
            "name": self.history.short_name(task.service), "long_name": task.service,
            "state": task.state, "chain_depth": task.position, "plugin": bool(service and service.plugin),
            "host": (attempts[-1][12] if attempts else None) or self.host, "started": started,
            "runtime": None if started is None else _seconds(max(0.0, (self.now if ended is None else ended) - started)),
            "states": [[state, at] for _, state, at, _ in moves],
            "attempts": [_attempt(self.history.directory.unspill, *row) for row in attempts],
            "retries": task.retry, **self._time_split(moves, ended, sleeps), "replayed_in": [],
            "args": arguments, "defaults": defaults, "result": result,
            "exception": None, "traceback": None, "cause": None, "error_context": None, "flame_data": {},
            "external_commands": {}, "extra_parents": [], "cached_from": task.cached_from, "queue_name": task.queue,
            "due": task.due, "revoke_reason": task.reason, "aside": task.num in self.history.gone, "log": self._log(attempts),
        }
        if len(attempts) > 1:
            told["replayed_in"] = sorted({after[2] for before, after in itertools.pairwise(attempts) if before[6] == "lost"})
        if task.error and task.state != SUCCEEDED:
            told |= self._error(task, service)
        if shown:
            told |= _shown(shown)
        if askers:
            told["extra_parents"] = [asker for _, asker in askers if asker != task.parent]
        return told

    def _error(self, task: TaskRecord, service: ServiceRecord | None) -> dict[str, Any]:
        assert task.error is not None
        error = display_error(task.error)
        return {"exception": repr_of(error), "traceback": tracebacks(error), "cause": self.history.cause(task),
                "error_context": place_of(where_of(error), service)}

    def _time_split(self, moves: Sequence[tuple], ended: float | None, sleeps: Sequence[tuple]) -> dict[str, float]:
        """Where a task's time went, from its release to its end (or now): the parts sum to the whole.

        sleeps: ``(task, when it was to be over as JSON)``; of one that was short no move tells that it was a sleep.
        """
        if len(moves) == 3 and not self.down and moves[0][1] == READY and moves[1][1] == RUNNING and ended is not None:
            return {"queue": _seconds(moves[1][2] - moves[0][2]), "self": _seconds(ended - moves[1][2]),
                    "child_wait": 0.0, "backoff": 0.0, "asleep": 0.0, "down": 0.0}
        split = dict.fromkeys(_PARTS, 0.0)
        following = [*moves[1:], (0, "", self.now if ended is None else ended, "")]
        for (_, state, began, move), (_, _, end, next_move) in zip(moves, following, strict=False):
            if state not in _SPENT_IN or state in FINAL:
                continue
            spent_in = "backoff" if move == "retry" else "asleep" if next_move == "wake" else _SPENT_IN[state]
            if state == BLOCKED and any(began <= float(due) and (float(due) <= end or not next_move) for _, due in sleeps):
                spent_in = "asleep"
            down = sum(max(0.0, min(end, up) - max(began, fell)) for fell, up in self.down)
            split["down"] += down
            split[spent_in] += max(0.0, end - began - down)
        return {part: _seconds(spent) for part, spent in split.items()}

    def _log(self, attempts: Sequence[tuple]) -> dict[str, Any] | None:
        """The output of the last attempt that wrote anything."""
        for row in reversed(attempts):
            if row[8] == row[9]:
                continue  # it wrote nothing
            limit = MOST_LOG_BYTES if self.log_bytes is None else self.log_bytes
            text, left_out = self.history.log(AttemptRecord(*row), limit)
            if text:
                lines = text.splitlines()
                return {"lines": lines, "total": len(lines), "bytes_before": left_out, "truncated": left_out > 0}
        return None


def _attempt(unspill: Callable[[str], str], task: int, number: int, epoch: int, worker: int, started: float,
             ended: float | None, outcome: str | None, error: str | None, log_start: int, log_end: int | None,
             peak: int | None, cpu: float | None, host: str | None) -> dict[str, Any]:
    return {"n": number, "incarnation": epoch, "worker": worker, **({} if host is None else {"host": host}),
            "started": started, "ended": ended, "state": outcome or "running", "peak": peak, "cpu": cpu,
            "exc": error and repr_of(display_error(unspill(error)))}


def _shown(rows: Sequence[tuple]) -> dict[str, Any]:
    """What a task shows of itself, and its shell commands."""
    data, commands = {}, {}
    for _, key, kind, text, position in rows:
        if key.startswith(COMMANDS_KEY):
            commands.update(json.loads(text))
        else:
            order = position if position < AT_A_TIME else position / 1_000_000
            data[key] = {"value": json.loads(text), "type": kind, "order": order}
    return {"flame_data": data, "external_commands": commands}


def _seconds(exact: float) -> float:
    """A time, or the difference of two, as it is told: to the microsecond."""
    return round(exact, 6)


def repr_of(error: dict[str, Any]) -> str:
    """The exception as Python would show it: `ValueError('no such host')`."""
    args, cause = error["args"], error["cause"]
    if args is None:
        return f"{error['name']}({error['text']!r})"
    # Among arguments an exception stands as its text; the one that FireX's exceptions hold is also their cause.
    told = cause and f"{cause['name']}: {cause['text']}"
    return f"{error['name']}({', '.join(repr_of(cause) if cause and arg == told else repr(arg) for arg in args)})"


def _from_the_users_own(traceback: str) -> str:
    """A traceback without what called the body, unless nothing else is in it."""
    head, *frames = re.split(r'^(?=  File ")', traceback, flags=re.MULTILINE)
    others = list(itertools.dropwhile(lambda frame: is_machinery(frame.split('"')[1]), frames))
    return head + "".join(others) if others else traceback


def tracebacks(error: dict[str, Any] | None) -> str:
    """The tracebacks of an exception and its causes, the innermost first, as Python prints them."""
    parts: list[str] = []
    explicit = False
    while error is not None:
        if parts:
            parts.append("\nThe above exception was the direct cause of the following exception:\n\n" if explicit else
                         "\nDuring handling of the above exception, another exception occurred:\n\n")
        parts.append(_from_the_users_own(error["traceback"]))
        explicit, error = error["explicit"], error["cause"]
    return "".join(reversed(parts))
