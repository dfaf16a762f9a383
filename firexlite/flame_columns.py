"""The tasks of a run as the page needs them: little of every task in columns, much of each in chunks that are opened on demand.

Tasks come one by one, in the order of their numbers, and none is kept: 100,000 of them would not fit.
"""
from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .flame_markup import safe_tree
from .showing import COLLAPSE_KEY
from .states import BLOCKED, FAILED, FINAL, READY, RUNNING, STATES

CHAINED, PLUGIN, ASIDE, REPLAYED, HAS_LOG = 1, 2, 4, 8, 16  # bits of the column `flags`
QUEUED, RAN, WAITED, ASLEEP, BACKOFF = range(5)             # kinds of bars
KINDS = {READY: QUEUED, RUNNING: RAN, BLOCKED: WAITED}
OUTCOMES = (*STATES, "lost", "retried", "suspended", "stopped")  # how a bar's attempt ended; what else there is counts as lost
NEVER = -1            # the runtime of what never ran
PER_MS = 10           # times are whole numbers of a tenth of a millisecond
MAX_BARS = 200        # a task that blocked more often shows its attempts only

CHUNK_TASKS = 512
CHUNK_CHARS = 256 * 1024
LEVEL = 6             # of compression

Task = Mapping[str, Any]
Bar = tuple[int, int, float, float]


def packed(text: str) -> str:
    """``text`` compressed, in ASCII: what the page's `unpack` reads. The same text always gives the same."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # as gzip, which then says no time
    data = packer.compress(text.encode("utf-8", "replace"))
    return base64.b64encode(data + packer.flush()).decode("ascii")


class Columns:
    """One array per field, in the order of the tasks' numbers; sparse fields are ``{place: value}``.

    Times are tenths of a millisecond after ``zero``. ``released`` and ``queue`` are differences to the task before, as are
    ``num``; ``parent`` is how many places before a task its parent stands, 0 for none. ``spans`` holds, of tasks whose bar is
    not simply start and runtime, ``[kind, outcome, start, length] * n``.
    """

    def __init__(self, run: Mapping, generated_at: object) -> None:
        self.zero = _time(run.get("started"))
        self.open_end = _end_of_what_is_open(run, generated_at)
        self._last_end = _time(run.get("ended"))
        self.names: dict[str, int] = {}
        self.hosts: dict[str, int] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.place_of: dict[object, int] = {}
        self.counts: dict[str, int] = {}        # by state, of what was not set aside
        self.columns: dict[str, list[int]] = {name: [] for name in (
            "num", "parent", "name", "state", "flags", "host", "released", "queue", "runtime", "cpu", "peak")}
        self.sparse: dict[str, dict[int, Any]] = {name: {} for name in (
            "self", "spans", "attempts", "cause", "error", "collapse", "extra")}
        self._num = self._released = self._queue = 0

    def add(self, task: Task) -> None:
        place = len(self.place_of)
        num = task.get("num")
        num = num if isinstance(num, int) and num not in self.place_of else self._num + 1
        self.place_of[num] = place
        state = task.get("state")
        flags = (bool(task.get("plugin")) * PLUGIN + bool(task.get("aside")) * ASIDE
                 + bool(task.get("replayed_in")) * REPLAYED + bool(task.get("log")) * HAS_LOG)
        parent = self.place_of.get(task.get("parent"), place)
        if parent < place and _is_chained(task):
            flags += CHAINED
        if not task.get("aside"):
            self.counts[str(state)] = self.counts.get(str(state), 0) + 1
        columns = self.columns
        columns["num"].append(num - self._num)
        columns["parent"].append(place - parent)
        columns["name"].append(self.names.setdefault(name_of(task), len(self.names)))
        columns["state"].append(_outcome(state))
        columns["flags"].append(flags)
        columns["host"].append(self.hosts.setdefault(str(task.get("host") or ""), len(self.hosts)))
        self._num = num
        self._add_times(place, task)
        self._add_use(task.get("attempts") or ())
        self._add_sparse(place, num, task)

    def _add_times(self, place: int, task: Task) -> None:
        started = _time(task.get("started"))
        moves = task.get("states") or ()
        if self.zero is None:
            self.zero = started if started is not None else 0.0
        zero = self.zero
        if _is_plain(moves) and len(task.get("attempts") or ()) == 1:
            (_, released), (_, started), (_, ended) = moves
            bars: list[Bar] = []
        else:
            ended = _ended(task)
            bars = self._bars(task, started)
            released = bars[0][2] if bars and bars[0][0] == QUEUED else started
        if ended is not None and (self._last_end is None or ended > self._last_end):
            self._last_end = ended
        until = self.open_end if ended is None else ended
        begins = started if started is not None else released if released is not None else zero
        released = begins if released is None else min(released, begins)
        release, queue = _ticks(released - zero), _ticks(begins - released)
        columns = self.columns
        columns["released"].append(release - self._released)
        columns["queue"].append(queue - self._queue)
        self._released, self._queue = release, queue
        runtime = NEVER if started is None else _ticks(max(0.0, until - started))
        columns["runtime"].append(runtime)
        own = _time(task.get("self"))
        if own is not None and runtime >= 0 and abs(_ticks(own) - runtime) > 1:
            self.sparse["self"][place] = _ticks(own)
        if bars and bars[0][0] == QUEUED and started is not None:
            bars.pop(0)
        if bars and not self._is_one_bar(bars, task, until, started):
            self.sparse["spans"][place] = [n for kind, outcome, since, till in bars
                                           for n in (kind, outcome, _ticks(since - zero), _ticks(till - since))]

    def _is_one_bar(self, bars: list[Bar], task: Task, until: float, started: float | None) -> bool:
        """Whether the page can draw ``bars`` from start, runtime and state alone."""
        kind, outcome, since, till = bars[0]
        return (len(bars) == 1 and kind == RAN and outcome == _outcome(task.get("state"))
                and started is not None and abs(since - started) < 0.001 and abs(till - until) < 0.001)

    def _bars(self, task: Task, started: float | None) -> list[Bar]:
        """``[(kind, outcome, since, until)]``, oldest first, from the task's states, else from its attempts."""
        moves = [(move[0], _time(move[1])) for move in task.get("states") or () if len(move) == 2]
        attempts = [a for a in task.get("attempts") or () if _time(a.get("started")) is not None]
        bars: list[Bar] = []
        ended_before: Mapping = {}   # the attempt that ended when a ready state began
        for at, (state, since) in enumerate(moves):
            following = moves[at + 1] if at + 1 < len(moves) else ("", self.open_end)
            until = following[1]
            if (kind := KINDS.get(state)) is None or since is None or until is None:
                continue
            attempt = _attempt_at(since, attempts) if kind != QUEUED else {}
            outcome = attempt.get("state") or task.get("state")
            if attempt:
                ended_before = attempt
            if outcome == "lost":  # a worker that was killed left no move behind: its attempt knows when that was
                until = min(until, _time(attempt.get("ended")) or until)
            if kind == WAITED and following[0] == READY and attempt.get("state") == "suspended":
                kind = ASLEEP
            if kind == QUEUED and ended_before.get("state") == "retried":
                kind, outcome = BACKOFF, "retried"
            if until > since:
                bars.append((kind, _outcome(outcome), since, until))
        if 0 < len(bars) <= MAX_BARS:
            return bars
        bars = [(RAN, _outcome(a.get("state")), a["started"], max(a["started"], _time(a.get("ended")) or self.open_end))
                for a in attempts]
        if not bars and started is not None and (queue := _time(task.get("queue"))):
            bars.append((QUEUED, 0, started - queue, started))
        return bars

    def _add_use(self, attempts: Iterable[Mapping]) -> None:
        """CPU in ms over all attempts, memory in MiB of the one that had most; -1: not known."""
        cpu, peak = -1, -1
        for attempt in attempts:
            if (used := _time(attempt.get("cpu"))) is not None:
                cpu = max(0, cpu) + round(used * 1000)
            if (most := _time(attempt.get("peak"))) is not None:
                peak = max(peak, round(most / 2 ** 20))
        self.columns["cpu"].append(cpu)
        self.columns["peak"].append(peak)

    def _add_sparse(self, place: int, num: int, task: Task) -> None:
        sparse = self.sparse
        if (cause := task.get("cause")) is not None and cause != num:
            sparse["cause"][place] = cause
        if len(attempts := task.get("attempts") or ()) > 1:
            sparse["attempts"][place] = len(attempts)
        if task.get("state") == FAILED or task.get("exception"):
            said = exception_line(task).partition("\n")[0][:300], str(task.get("error_context") or "")
            sparse["error"][place] = self.errors.setdefault(said, len(self.errors))
        if shown := task.get("flame_data"):
            entry = shown.get(COLLAPSE_KEY) if isinstance(shown, Mapping) else None
            if isinstance(entry, Mapping) and isinstance(entry.get("value"), list) and entry["value"]:
                sparse["collapse"][place] = entry["value"]
        if extra := task.get("extra_parents"):
            sparse["extra"][place] = extra

    def index(self, chunks: list[int]) -> dict[str, Any]:
        """All columns, as the page's `Run` takes them. chunks: the place of the first task of each chunk of details."""
        zero = self.zero or 0.0
        ends = [end for end in (self._last_end, self.open_end if self.open_end > zero else None) if end is not None]
        return {"zero": zero, "span": max((_ticks(end - zero) for end in ends), default=0) or PER_MS, "states": OUTCOMES,
                "names": list(self.names), "hosts": list(self.hosts), "errors": list(self.errors), "chunks": chunks,
                **self.columns, **self.sparse}


class Chunks:
    """The details of tasks, a line of JSON each, compressed in chunks beside the work that makes them."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.firsts: list[int] = []
        self.left_out = 0       # tasks whose details there was no room for
        self._bytes = self._places = self._chars = 0
        self._lines: list[str] = []
        self._packed: list[Future[str]] = []
        self._packer = ThreadPoolExecutor(1)  # zlib lets go of the interpreter's lock

    def add(self, task: Task) -> None:
        if self._bytes > self.most_bytes and task.get("state") != FAILED:
            self.left_out += 1
            line = "null"
        else:
            line = _line(detail(task))
        if not self._lines:
            self.firsts.append(self._places)
        self._lines.append(line)
        self._chars += len(line)
        self._places += 1
        if len(self._lines) == CHUNK_TASKS or self._chars >= CHUNK_CHARS:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._packed.append(self._packer.submit(packed, "\n".join(self._lines)))
            self._lines, self._chars = [], 0
            if len(self._packed) > 2:  # no more than two wait, and what they became is counted
                self._bytes += len(self._packed[-3].result())

    def all(self) -> Iterator[str]:
        """The chunks, once all tasks are in."""
        self._flush()
        self._packer.shutdown()
        return (future.result() for future in self._packed)


def detail(task: Task) -> dict[str, Any]:
    """What the page shows of one task: all that is known of it, without fields that say nothing."""
    found = {field: value for field, value in task.items() if value is not None and value not in ({}, [], (), "", False)}
    if isinstance(shown := found.get("flame_data"), Mapping):
        found["flame_data"] = {key: _drawable(entry) for key, entry in shown.items()}
    return found


def _drawable(entry: object) -> object:
    if isinstance(entry, Mapping) and entry.get("type") == "html":
        return {**entry, "tree": safe_tree(str(entry.get("value", "")))}
    return entry


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _line(found: Mapping) -> str:
    line = _encode(found)
    try:
        line.encode()
    except UnicodeEncodeError:  # half a pair, which UTF-8 has no form for
        return json.dumps(found, separators=(",", ":"), allow_nan=False)
    return line


# --- single fields ---------------------------------------------------------------------------------

def exception_line(task: Task) -> str:
    """The exception as Python prints it, below the last frame of its traceback; else as the model has it."""
    lines = str(task.get("traceback") or "").rstrip().splitlines()
    last_frame = max((n for n, line in enumerate(lines) if line.startswith("  File ")), default=0)
    said = [n for n, line in enumerate(lines) if n > last_frame and line and not line[0].isspace()]
    if said:
        return "\n".join(lines[said[0]:])
    return str(task.get("exception") or "failed without an exception").strip()


def is_failed(task: Task) -> bool:
    return task.get("state") == FAILED and not task.get("aside")


def name_of(task: Task) -> str:
    return str(task.get("name") or task.get("long_name") or "?")


def _is_plain(moves: Any) -> bool:
    """Whether a task was released, ran and ended, and nothing else."""
    return len(moves) == 3 and moves[0][0] == READY and moves[1][0] == RUNNING and moves[2][0] in FINAL


def _is_chained(task: Task) -> bool:
    if "enqueued_by" in task:
        return task["enqueued_by"] != task.get("parent")
    return bool(task.get("chain_depth"))


def _attempt_at(moment: float, attempts: list[Mapping]) -> Mapping:
    """The attempt to which ``moment`` belongs; between two attempts, an empty one."""
    for attempt in reversed(attempts):
        if attempt["started"] <= moment + 1e-6 and moment < (_time(attempt.get("ended")) or float("inf")):
            return attempt
    return {}


def _ended(task: Task) -> float | None:
    """When it ended; None while it has not."""
    if task.get("state") not in FINAL:
        return None
    started, runtime = _time(task.get("started")), _time(task.get("runtime"))
    if started is not None and runtime is not None:
        return started + runtime
    moves = task.get("states") or ()
    return _time(moves[-1][1]) if moves and moves[-1][0] in FINAL else None


def _end_of_what_is_open(run: Mapping, generated_at: object) -> float:
    """Until when what has not ended went on: not up to now if the run was interrupted long ago."""
    lives = run.get("incarnations") or [{}]
    last = lives[-1].get("ended") if isinstance(lives[-1], Mapping) else None
    ends = (run.get("ended"), last, generated_at) if not run.get("snapshot") else (last, generated_at)
    return next((found for end in ends if (found := _time(end)) is not None), 0.0)


def _outcome(state: object) -> int:
    return OUTCOMES.index(state) if state in OUTCOMES else OUTCOMES.index("lost")


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _ticks(seconds: float) -> int:
    return round(seconds * 1000 * PER_MS)


