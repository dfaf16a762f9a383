"""A run as a trace for Perfetto, speedscope or chrome://tracing: a bar for each task, and within it for each attempt.

Those viewers drop or misdraw bars that cross each other on a lane, and read a bar within another as called by it. So a
bar lies within another only if it is an attempt of that task, or was called by it and ends before it; else it has a lane
for itself for as long as it lasts. A call from one lane to another is drawn as an arrow. The lanes of each host are together.
"""
from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from .states import FINAL, RUN_RUNNING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

Event = dict[str, Any]
Lane = dict[str, int]  # {pid, tid}: of which host it is, and its number there
DETAILS = ("service", "queue_ms", "self_ms", "cpu_ms", "peak_mib", "error", "aside")
ERROR_CHARS = 300
AT_ONCE = 500  # events written together
HOME = 1       # the process, in the viewer's words, of what ran where the run was submitted; each other host has one of its own
PROCESS = {"pid": HOME}
_as_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def write_trace(model: Mapping[str, Any], out: SupportsWrite[str]) -> None:
    """Write the model as one JSON object with trace events, in ASCII; goes through its tasks once.

    A task that never started has no bar. Times are microseconds after the start of the run: viewers that count in
    floats would round those since the epoch.
    """
    out.write('{"displayTimeUnit":"ms","traceEvents":[')
    events = _events(model)
    separator = "\n"
    while some := ",\n".join(map(_as_json, islice(events, AT_ONCE))):
        out.write(separator + some)
        separator = ",\n"
    out.write("\n]}\n")


def _events(model: Mapping[str, Any]) -> Iterator[Event]:
    run = model.get("run") or {}
    until = _until(model)
    bars = sorted(bar for task in model.get("tasks") or () for bar in _bars(task, until))
    zero = min(bars[0].start if bars else until, until if run.get("started") is None else _us(run["started"]))
    yield {"ph": "M", **PROCESS, "tid": 0, "name": "process_name", "args": {"name": str(run.get("id", "firexlite"))}}
    yield from _lives(run.get("incarnations") or (), zero)
    hosts: dict[str | None, tuple[int, _Lanes]] = dict.fromkeys((None, run.get("host")), (HOME, _Lanes()))
    placed: dict[int, tuple[Lane, Bar]] = {}
    for bar in bars:
        if bar.host not in hosts:
            hosts[bar.host] = HOME + len({process for process, _ in hosts.values()}), _Lanes()
            yield {"ph": "M", "pid": hosts[bar.host][0], "tid": 0, "name": "process_name", "args": {"name": bar.host}}
        process, lanes = hosts[bar.host]
        known = lanes.count
        lane = {"pid": process, "tid": lanes.place(bar)}
        if lanes.count > known:
            yield {"ph": "M", **lane, "name": "thread_name", "args": {"name": f"lane {lane['tid']}"}}
            yield {"ph": "M", **lane, "name": "thread_sort_index", "args": {"sort_index": lane["tid"]}}
        yield {"ph": "X", **lane, "cat": bar.state, "name": bar.name, "ts": bar.start - zero,
               "dur": bar.end - bar.start, "args": _arguments(bar)}
        if not bar.attempt:
            placed[bar.num] = lane, bar
            yield from _arrow(bar, lane, placed, zero)


def _lives(incarnations: Sequence[Mapping[str, Any]], zero: int) -> Iterator[Event]:
    """A mark across all lanes wherever the run was killed or resumed."""
    for life in incarnations:
        marks = [(f"resumed (life {life['n']})", life["started"])] if life["n"] > 1 else []
        marks += [("killed", life["ended"])] if life["end"] == "crash" else []
        for name, at in marks:
            yield {"ph": "i", "s": "g", **PROCESS, "tid": 0, "cat": "run", "name": name, "ts": _us(at) - zero}


def _arguments(bar: Bar) -> dict[str, object]:
    of_task = {name: value for name, value in zip(DETAILS, bar.details, strict=True) if value is not None}
    return {"task": bar.num, **({"attempt": bar.attempt} if bar.attempt else {}), **of_task}


def _arrow(bar: Bar, lane: Lane, placed: Mapping[int, tuple[Lane, Bar]], zero: int) -> Iterator[Event]:
    """From the task before it in its chain, else from its caller, if that one is drawn on another lane."""
    source_lane, source = placed.get(bar.after or bar.caller, (lane, bar))
    if source_lane == lane:
        return
    leaves = source.end if bar.after else bar.asked
    # A viewer finds the bar that an arrow leaves by a moment within it; and no arrow points back in time.
    leaves = min(max(leaves, source.start), source.end - 1, bar.start)
    flow = {"cat": "call", "name": "then" if bar.after else "call", "id": bar.num}
    yield {"ph": "s", **flow, **source_lane, "ts": leaves - zero}
    yield {"ph": "f", "bp": "e", **flow, **lane, "ts": bar.start - zero}


# --- bars -------------------------------------------------------------------------------------------------------

class Bar(NamedTuple):
    """What is kept of a task or an attempt, in microseconds since the epoch. They sort as they are drawn.

    less_end: the end, negated, so that a bar comes before those it contains. num: of the task. attempt: 0 for the bar of
    a task. caller, after: numbers of the task that enqueued it, and of the one before it in its chain; 0 if there is none.
    asked: when it was enqueued. has_attempts: whether it contains bars of its attempts, which contain all else.
    host: where it ran. details: values for ``DETAILS``.
    """

    start: int
    less_end: int
    num: int
    attempt: int
    caller: int
    after: int
    asked: int
    has_attempts: bool
    name: str
    state: str
    host: str | None
    details: tuple

    @property
    def end(self) -> int:
        return -self.less_end


def _bars(task: Mapping[str, Any], until: int) -> Iterator[Bar]:
    """The bar of a task; if it needed several attempts, those too."""
    if task.get("started") is None:
        return
    num, name = task["num"], str(task.get("name") or "?")
    start, runtime = _us(task["started"]), task.get("runtime")
    is_over = task.get("state") in FINAL and runtime is not None
    end = max(start + 1, _us(task["started"] + runtime) if is_over else until)
    attempts = [attempt for attempt in task.get("attempts") or () if attempt.get("started") is not None]
    only = attempts.pop() if len(attempts) == 1 else {}
    stretches = list(_stretches(attempts, start, end))
    end = max([end, *(ended for _, ended in stretches)])

    caller = task.get("enqueued_by", task.get("parent")) or 0
    before = task.get("parent") or 0
    states = task.get("states")
    asked = _us(states[0][1]) if states else start
    # Names of few services come as many strings; interned, they are kept once.
    yield Bar(start, -end, num, 0, caller, before if before != caller else 0, asked, bool(attempts), sys.intern(name),
              sys.intern(str(task.get("state"))), task.get("host"),
              (sys.intern(str(task.get("long_name") or name)), _ms(task.get("queue")), _ms(task.get("self")),
               *_used(only), _one_line(task.get("exception")), True if task.get("aside") else None))
    for attempt, (began, ended) in zip(attempts, stretches, strict=True):
        yield Bar(began, -ended, num, attempt["n"], 0, 0, 0, False, sys.intern(f"{name} (attempt {attempt['n']})"),
                  sys.intern(str(attempt.get("state"))), task.get("host"),
                  (None, None, None, *_used(attempt), _one_line(attempt.get("exc")), None))


def _stretches(attempts: Sequence[Mapping[str, Any]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """When each attempt began and ended; one after the other, even if the clock went back between them."""
    begins = [_us(attempt["started"]) for attempt in attempts]
    free = start
    for attempt, began, next_began in zip(attempts, begins, [*begins, end][1:], strict=True):
        began = max(free, began)
        # Of one whose worker was killed with the whole run, the end may not be known.
        free = max(began + 1, next_began if attempt.get("ended") is None else _us(attempt["ended"]))
        yield began, free


def _until(model: Mapping[str, Any]) -> int:
    """The end of what is not over: now, or when the last process of an interrupted run was last heard of."""
    run = model.get("run") or {}
    lives = run.get("incarnations") or ()
    heard = lives[-1].get("ended") if lives and run.get("state") != RUN_RUNNING else None
    return _us(heard or model.get("generated_at") or run.get("ended") or run.get("started") or 0.0)


def _used(attempt: Mapping[str, Any]) -> tuple[float | None, float | None]:
    peak = attempt.get("peak")
    return _ms(attempt.get("cpu")), None if peak is None else round(peak / 2 ** 20, 1)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _one_line(exception: object) -> str | None:
    return " ".join(str(exception).split())[:ERROR_CHARS] if exception else None


# --- lanes ------------------------------------------------------------------------------------------------------

class _Lanes:
    """Finds a lane for each bar; they come in the order of their starts."""

    def __init__(self) -> None:
        self.open: list[list[Bar]] = []           # by lane: the bars that lie within each other, the outermost first
        self.idle: list[int] = []                 # a heap of lanes
        self.busy: list[tuple[int, int]] = []     # a heap of (end of the outermost bar, lane)
        self.lane_of: dict[int, int] = {}         # by task: where its latest bar lies

    @property
    def count(self) -> int:
        return len(self.open)

    def place(self, bar: Bar) -> int:
        """The lane for ``bar``, counted from 1."""
        while self.busy and self.busy[0][0] <= bar.start:
            _, lane = heapq.heappop(self.busy)
            self.open[lane - 1].clear()
            heapq.heappush(self.idle, lane)
        lane = self._within(bar) or self._idle(bar)
        self.open[lane - 1].append(bar)
        self.lane_of[bar.num] = lane
        return lane

    def _within(self, bar: Bar) -> int | None:
        """The lane of its task or caller, if that has room for it."""
        holder = bar.num if bar.attempt else bar.caller
        lane = self.lane_of.get(holder)
        if lane is None:
            return None
        bars = self.open[lane - 1]
        while bars and bars[-1].end <= bar.start:
            bars.pop()
        has_room = bars and bars[-1].num == holder and bars[-1].has_attempts == bool(bar.attempt) and bars[-1].end >= bar.end
        return lane if has_room else None

    def _idle(self, bar: Bar) -> int:
        if self.idle:
            lane = heapq.heappop(self.idle)
        else:
            self.open.append([])
            lane = len(self.open)
        heapq.heappush(self.busy, (bar.end, lane))
        return lane
