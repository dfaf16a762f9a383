"""The tasks of a run as the rows of the page: their order, their bars in time, their columns and details.

The page needs little of every task to draw tree and timeline, and much of the few that are looked at. So the
little is one index of columns, an array per field, and the much lies in chunks that the page parses on demand.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from .flame_markup import safe_tree
from .states import BLOCKED, FAILED, FINAL, READY, RUNNING, STATES

CHAINED, PLUGIN, ASIDE = 1, 2, 4  # bits of the column `flags`
QUEUED, RAN, WAITED = 0, 1, 2     # kinds of bars
KINDS = {READY: QUEUED, RUNNING: RAN, BLOCKED: WAITED}
NEVER = -1                        # in a column of times
OUTCOMES = (*STATES, "lost")      # how a bar's attempt ended; what else there is counts as lost
MAX_BARS = 200                    # a task that blocked more often shows its attempts only

CHUNK_TASKS = 512
IN_INDEX = frozenset({"num", "name", "state"})  # fields that details need not repeat

Task = Mapping


@dataclass(frozen=True)
class Row:
    task: Task
    level: int      # how many tasks enqueued each other above it; those of one chain share a level
    chained: bool   # it follows another task in its chain


def arrange(tasks: Iterable[Task]) -> list[Row]:
    """The rows in reading order: a task, below it all that it enqueued, then the next of its chain.

    A task whose ``parent`` is not in the run, or that is its own ancestor, stands at the top level.
    """
    by_num = {task.get("num"): task for task in tasks}
    followers: dict[object, list[Task]] = {num: [] for num in by_num}
    heads: list[Task] = []
    for task in by_num.values():
        followers.get(task.get("parent"), heads).append(task)

    rows: list[Row] = []
    placed: set[object] = set()
    for head in (*_by_number(heads), *_by_number(by_num.values())):  # the second part: only what lies in a circle
        pending = [Row(head, 0, False)]
        while pending:
            row = pending.pop()
            num = row.task.get("num")
            if num in placed:
                continue
            placed.add(num)
            rows.append(row)
            below = [Row(task, row.level + (not _is_chained(task)), _is_chained(task)) for task in followers[num]]
            below.sort(key=lambda row: (row.chained, _number(row.task)))
            pending.extend(reversed(below))
    return rows


def columns(rows: list[Row], run: Mapping, generated_at: float | None) -> dict[str, object]:
    """The index: one array per field, in the order of ``rows``; times in ms after ``zero``.

    Sparse fields are ``{row: value}``. ``spans`` holds, for rows whose bar is not simply start and runtime,
    ``[kind, outcome, start, length] * n``.
    """
    zero, end = _extent(rows, run, generated_at)
    nums = {row.task.get("num") for row in rows}
    names: dict[str, int] = {}
    index: dict[str, object] = {
        "zero": zero, "span": _ms(end - zero), "chunk": CHUNK_TASKS, "states": OUTCOMES, "names": names,
        "num": [row.task.get("num") for row in rows],
        "name": [names.setdefault(_name(row.task), len(names)) for row in rows],
        "state": [_outcome(row.task.get("state")) for row in rows],
        "level": [row.level for row in rows],
        "flags": [row.chained * CHAINED + bool(row.task.get("plugin")) * PLUGIN
                  + bool(row.task.get("aside")) * ASIDE for row in rows],
        "start": [], "runtime": [], "queue": [], "spans": {}, "attempts": {}, "cause": {},
    }
    for at, row in enumerate(rows):
        _add_times(index, at, row.task, zero, end)
        if (cause := row.task.get("cause")) in nums and cause != row.task.get("num") and cause is not None:
            index["cause"][at] = cause  # type: ignore[index]
        if len(attempts := row.task.get("attempts") or ()) > 1:
            index["attempts"][at] = len(attempts)  # type: ignore[index]
    return {**index, "names": list(names)}


def details(rows: list[Row]) -> Iterator[list[dict]]:
    """What the index lacks, in chunks of ``CHUNK_TASKS`` rows; empty fields are left out."""
    for first in range(0, len(rows), CHUNK_TASKS):
        yield [_detail(row.task) for row in rows[first:first + CHUNK_TASKS]]


def _detail(task: Task) -> dict:
    detail = {field: value for field, value in task.items()
              if field not in IN_INDEX and value is not None and value not in ({}, [], ())}
    if isinstance(shown := detail.get("flame_data"), Mapping):
        detail["flame_data"] = {key: _drawable(entry) for key, entry in shown.items()}
    return detail


def _drawable(entry: object) -> object:
    if isinstance(entry, Mapping) and entry.get("type") == "html":
        return {**entry, "value": safe_tree(str(entry.get("value", "")))}
    return entry


# --- bars ----------------------------------------------------------------------------------------

def _add_times(index: dict, at: int, task: Task, zero: float, end: float) -> None:
    started = _time(task.get("started"))
    runtime = None if started is None else max(0.0, (_ended(task) or end) - started)
    bars = _bars(task, end)
    queue = 0.0
    if bars and bars[0][0] == QUEUED:
        _, _, since, until = bars.pop(0)
        queue = until - since
        if started is None:
            bars.insert(0, (QUEUED, _outcome(task.get("state")), since, until))
    elif not bars:
        queue = _time(task.get("queue")) or 0.0
    index["start"].append(NEVER if started is None else _ms(started - zero))
    index["runtime"].append(NEVER if runtime is None else _ms(runtime))
    index["queue"].append(_ms(queue))
    if bars and not _is_plain(bars, task, runtime):
        index["spans"][at] = [n for kind, outcome, since, until in bars
                              for n in (kind, outcome, _ms(since - zero), _ms(until - since))]


def _is_plain(bars: list[tuple[int, int, float, float]], task: Task, runtime: float | None) -> bool:
    """Whether the page can draw ``bars`` from start, runtime and state alone."""
    kind, outcome, since, until = bars[0]
    return (len(bars) == 1 and kind == RAN and outcome == _outcome(task.get("state"))
            and runtime is not None and abs(until - since - runtime) < 0.001)


def _bars(task: Task, end: float) -> list[tuple[int, int, float, float]]:
    """``[(kind, outcome, since, until)]``, oldest first, from the task's states, else from its attempts."""
    moves = [(move[0], _time(move[1])) for move in task.get("states") or () if len(move) == 2]
    attempts = [a for a in task.get("attempts") or () if _time(a.get("started")) is not None]
    bars = []
    for (state, since), until in zip(moves, [*(at for _, at in moves[1:]), end], strict=False):
        if (kind := KINDS.get(state)) is None or since is None or until is None:
            continue
        attempt = _attempt_at(since, attempts)
        # A worker that was killed left no move behind: its attempt knows better when it was over.
        until = min(until, _time(attempt.get("ended")) or until)
        if until > since:
            bars.append((kind, _outcome(attempt.get("state") or task.get("state")), since, until))
    if 0 < len(bars) <= MAX_BARS:
        return bars
    return [(RAN, _outcome(a.get("state")), a["started"], max(a["started"], _time(a.get("ended")) or end))
            for a in attempts]


def _attempt_at(moment: float, attempts: list[Mapping]) -> Mapping:
    """The attempt to which ``moment`` belongs; between two attempts, an empty one."""
    for attempt in reversed(attempts):
        if attempt["started"] <= moment + 1e-6 and moment < (_time(attempt.get("ended")) or float("inf")):
            return attempt
    return {}


def _extent(rows: list[Row], run: Mapping, generated_at: float | None) -> tuple[float, float]:
    """``(zero, end)`` of the time axis: from the first start to the last end known."""
    starts = [t for row in rows if (t := _time(row.task.get("started"))) is not None]
    zero = _time(run.get("started"))
    zero = min((*starts, *([zero] if zero is not None else ())), default=0.0)
    ends = [t for row in rows if (t := _ended(row.task)) is not None]
    known = [t for t in (_time(run.get("ended")), *ends) if t is not None]
    if run.get("snapshot") or not known:
        # Not up to now if the run was interrupted long ago: nothing happened since its last process died.
        lives = run.get("incarnations") or [{}]
        known.append(_time(lives[-1].get("ended")) or _time(generated_at) or zero)
    return zero, max((*known, zero + 0.001))


def _ended(task: Task) -> float | None:
    """When it ended; None while it has not."""
    started, runtime = _time(task.get("started")), _time(task.get("runtime"))
    if task.get("state") not in FINAL:
        return None
    if started is not None and runtime is not None:
        return started + runtime
    moves = task.get("states") or ()
    return _time(moves[-1][1]) if moves and moves[-1][0] in FINAL else None


# --- single fields ---------------------------------------------------------------------------------

def is_failed(task: Task) -> bool:
    return task.get("state") == FAILED and not task.get("aside")


def _is_chained(task: Task) -> bool:
    if "enqueued_by" in task:
        return task["enqueued_by"] != task.get("parent")
    return bool(task.get("chain_depth"))


def _by_number(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=_number)


def _number(task: Task) -> float:
    num = task.get("num")
    return num if isinstance(num, (int, float)) else float("inf")


def _name(task: Task) -> str:
    return str(task.get("name") or task.get("long_name") or "?")


def _outcome(state: object) -> int:
    return OUTCOMES.index(state) if state in OUTCOMES else OUTCOMES.index("lost")


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _ms(seconds: float) -> float:
    """Milliseconds to a tenth, as an integer where it is one: the shortest text."""
    ms = round(seconds * 1000, 1)
    return int(ms) if ms == int(ms) else ms
