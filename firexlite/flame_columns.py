"""The tasks of a run as the page needs them: little of every task in columns, much of each in chunks that are opened on demand.

Tasks come one by one, in the order of their numbers, and none is kept: 100,000 of them would not fit.
"""
from __future__ import annotations

import base64
import copy
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .flame_cuts import LONG_LINE, cut
from .flame_markup import safe_tree
from .flame_words import exception_line
from .home import task_uuid
from .portable import compact
from .showing import COLLAPSE_KEY
from .states import BLOCKED, FAILED, FINAL, READY, RUNNING, STATES

CHAINED, PLUGIN, ASIDE, REPLAYED, HAS_LOG = 1, 2, 4, 8, 16  # bits of the column `flags`
QUEUED, RAN, WAITED, ASLEEP, BACKOFF = range(5)             # kinds of bars
KINDS = {READY: QUEUED, RUNNING: RAN, BLOCKED: WAITED}
OUTCOMES = (*STATES, "lost", "retried", "suspended", "stopped")  # how a bar's attempt ended; what else there is counts as lost
NEVER = -1            # the runtime of what never ran
PER_MS = 10           # times are whole numbers of a tenth of a millisecond
MAX_BARS = 200        # a task that blocked more often shows its attempts only

IN_COLUMNS = frozenset(("num", "name", "state", "host"))
FOLLOWING = IN_COLUMNS | {"started", "runtime", "queue", "self"}  # from the states of a task that was released, ran and ended
FOLLOWING_ATTEMPT = frozenset(("started", "ended", "state"))
CHUNK_TASKS = 512
CHUNK_CHARS = 256 * 1024
LEVEL = 5             # of compression

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
    not simply start and runtime, ``[kind, outcome, start, length] * n``; ``places``, of those whose attempts were made on
    several hosts, ``[host, start, length] * n``.
    """

    def __init__(self, run: Mapping, generated_at: object, first: int = 0) -> None:
        self.first = first                      # how many tasks stand before these
        self.firex_id = str(run.get("firex_id"))
        self._home = str(run.get("host") or "")
        self.zero = _time(run.get("started"))
        self.open_end = _end_of_what_is_open(run, generated_at)
        self._last_end = _time(run.get("ended")) or 0.0
        self.names: dict[str, int] = {}
        self.hosts: dict[str, int] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.place_of: dict[Any, int] = {}
        self.counts: dict[str, int] = {}        # by state, of what was not set aside
        self.life_ends = {life.get("n"): _time(life.get("ended")) for life in run.get("incarnations") or ()}
        self.columns: dict[str, list[int]] = {name: [] for name in (
            "num", "parent", "name", "state", "flags", "host", "released", "queue", "runtime", "cpu", "peak")}
        self.sparse: dict[str, dict[int, Any]] = {name: {} for name in (
            "self", "spans", "attempts", "cause", "error", "collapse", "extra",
            "places")}
        self._num = self._released = self._queue = 0

    def add(self, task: Task) -> None:
        get, place = task.get, self.first + len(self.place_of)
        num = get("num")
        if not isinstance(num, int) or num in self.place_of:
            num = self._num + 1
        self.place_of[num] = place
        state, error = get("state"), get("exception")
        attempts: Sequence = get("attempts") or ()
        moves: Sequence = get("states") or ()
        parent = self._place_of_parent(get("parent"), place)
        flags = ((parent < place and _is_chained(task)) * CHAINED + bool(get("plugin")) * PLUGIN + bool(get("aside")) * ASIDE
                 + bool(get("replayed_in")) * REPLAYED + bool(get("log")) * HAS_LOG)
        if not flags & ASIDE:
            self.counts[str(state)] = self.counts.get(str(state), 0) + 1
        columns = self.columns
        columns["num"].append(num - self._num)
        columns["parent"].append(place - parent)
        columns["name"].append(self.names.setdefault(name_of(task), len(self.names)))
        columns["state"].append(_outcome(state))
        columns["flags"].append(flags)
        columns["host"].append(self.hosts.setdefault(str(get("host") or ""), len(self.hosts)))
        self._num = num
        if len(attempts) == 1 and is_plain(moves):
            (_, released), (_, started), (_, ended) = moves
            if ended > self._last_end:
                self._last_end = ended
            self._add_times(released, started, ended - started)
        else:
            self._add_spans(place, task)
        self._add_use(attempts)
        if error or state == FAILED or len(attempts) > 1 or get("flame_data") or get("extra_parents"):
            self._add_sparse(place, num, task)

    def _place_of_parent(self, num: Any, place: int) -> int:
        """Where the parent stands; ``place``, that of the task itself, for one that does not stand before it."""
        if (found := self.place_of.get(num)) is not None:
            return found
        return num - 1 if isinstance(num, int) and 0 < num <= self.first else place

    def _add_times(self, released: float, begins: float, runtime: float | None) -> None:
        if self.zero is None:
            self.zero = released
        release, queue = _ticks(released - self.zero), _ticks(begins - released)
        columns = self.columns
        columns["released"].append(release - self._released)
        columns["queue"].append(queue - self._queue)
        columns["runtime"].append(NEVER if runtime is None else _ticks(runtime))
        self._released, self._queue = release, queue

    def _add_spans(self, place: int, task: Task) -> None:
        """The times of a task that is not simply released, run and ended."""
        started, ended = _time(task.get("started")), _ended(task)
        bars = self._bars(task, started)
        released = bars[0][2] if bars and bars[0][0] == QUEUED else started
        until = self.open_end if ended is None else ended
        self._last_end = max(self._last_end, ended or 0.0)
        begins = next((moment for moment in (started, released, self.zero) if moment is not None), 0.0)
        runtime = None if started is None else max(0.0, until - started)
        self._add_times(begins if released is None else min(released, begins), begins, runtime)
        own = _time(task.get("self"))
        if own is not None and runtime is not None and abs(own - runtime) > 0.0001:
            self.sparse["self"][place] = _ticks(own)
        if bars and bars[0][0] == QUEUED and started is not None:
            bars.pop(0)
        if bars and not self._is_one_bar(bars, task, until, started):
            zero = self.zero or 0.0
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
        waited_for_nobody = bool(task.get("asleep")) and not task.get("child_wait")
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
            if outcome == "lost":  # who is killed leaves no move behind, but its attempt and its incarnation know when that was
                ends = _time(attempt.get("ended")), self.life_ends.get(attempt.get("incarnation"))
                until = min(until, *(max(since, end) for end in ends if end is not None))
            if kind == WAITED and ((following[0] == READY and attempt.get("state") == "suspended") or waited_for_nobody):
                kind = ASLEEP
            if kind == QUEUED and ended_before.get("state") == "retried":
                kind, outcome = BACKOFF, "retried"
            if until > since or kind == RAN:  # also a body that was killed as it began
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
            used, most = attempt.get("cpu"), attempt.get("peak")
            if isinstance(used, (int, float)):
                cpu = max(0, cpu) + round(used * 1000)
            if isinstance(most, (int, float)):
                peak = max(peak, round(most / 2 ** 20))
        self.columns["cpu"].append(cpu)
        self.columns["peak"].append(peak)

    def _add_sparse(self, place: int, num: int, task: Task) -> None:
        sparse = self.sparse
        if (cause := task.get("cause")) is not None and cause != num:
            sparse["cause"][place] = cause
        if len(attempts := task.get("attempts") or ()) > 1:
            sparse["attempts"][place] = len(attempts)
            if len({attempt.get("host") for attempt in attempts}) > 1:
                sparse["places"][place] = [n for attempt in attempts for n in self._place_of_attempt(attempt)]
        if task.get("state") == FAILED or task.get("exception"):
            said = exception_line(task).partition("\n")[0][:300], str(task.get("error_context") or "")
            sparse["error"][place] = self.errors.setdefault(said, len(self.errors))
        if shown := task.get("flame_data"):
            entry = shown.get(COLLAPSE_KEY) if isinstance(shown, Mapping) else None
            if isinstance(entry, Mapping) and isinstance(entry.get("value"), list) and entry["value"]:
                sparse["collapse"][place] = copy.deepcopy(entry["value"])
        if extra := task.get("extra_parents"):
            sparse["extra"][place] = extra

    def _place_of_attempt(self, attempt: Mapping) -> tuple[int, int, int]:
        """The host of an attempt, when it began and how long it lasted."""
        began, ended = _time(attempt.get("started")) or 0.0, _time(attempt.get("ended")) or self.open_end
        host = self.hosts.setdefault(str(attempt.get("host") or self._home), len(self.hosts))
        return host, _ticks(began - (self.zero or 0.0)), _ticks(max(0.0, ended - began))

    def extend(self, other: Columns) -> None:
        """Take the columns of the tasks that follow these."""
        renamed = {"name": _renamed(self.names, other.names), "host": _renamed(self.hosts, other.hosts),
                   "error": _renamed(self.errors, other.errors)}
        last = {"num": self._num, "released": self._released, "queue": self._queue}
        for field, column in other.columns.items():
            if field in renamed:
                column = [renamed[field][value] for value in column]
            elif field in last and column:  # the first of them is no difference yet
                column = [column[0] - last[field], *column[1:]]
            self.columns[field] += column
        other.sparse["error"] = {place: renamed["error"][error] for place, error in other.sparse["error"].items()}
        for triples in other.sparse["places"].values():
            triples[::3] = [renamed["host"][host] for host in triples[::3]]
        for field, sparse in other.sparse.items():
            self.sparse[field] |= sparse
        for state, count in other.counts.items():
            self.counts[state] = self.counts.get(state, 0) + count
        self.place_of |= other.place_of
        self._num, self._released, self._queue = other._num, other._released, other._queue
        self._last_end = max(self._last_end, other._last_end)

    def above(self, num: object) -> list[tuple[object, str]]:
        """``[(num, name), ...]`` of the tasks that enqueued a task, outermost first."""
        names, nums = list(self.names), list(self.place_of)
        parents, flags = self.columns["parent"], self.columns["flags"]
        found: list[tuple[object, str]] = []
        place = self.place_of.get(num, -1)
        while place >= 0:
            while flags[place] & CHAINED:
                place -= parents[place]
            if not parents[place]:
                break
            place -= parents[place]
            found.insert(0, (nums[place], names[self.columns["name"][place]]))
        return found

    def _name_tasks_by_number(self) -> None:
        """Have operations of `@flame_collapse` name tasks by their numbers: the page knows no uuid until it opens details."""
        operations = [one for some in self.sparse["collapse"].values() for one in some if isinstance(one, dict)]
        named = [node for one in operations for node in (one.get("relative_to_nodes"), one.get("source_node"))
                 if isinstance(node, dict) and node.get("type") == "task_uuid"]
        wanted = {str(node.get("value")) for node in named}
        nums = {uuid: num for num in self.place_of if (uuid := task_uuid(self.firex_id, num)) in wanted} if wanted else {}
        for node in named:
            node.update(type="task_num", value=nums.get(str(node.get("value"))))

    def index(self, chunks: list[int]) -> dict[str, Any]:
        """All columns, as the page's `Run` takes them. chunks: the place of the first task of each chunk of details."""
        zero = self.zero or 0.0
        self._name_tasks_by_number()
        return {"zero": zero, "span": max(PER_MS, _ticks(max(self._last_end, self.open_end) - zero)), "states": OUTCOMES,
                "names": list(self.names), "hosts": list(self.hosts), "errors": list(self.errors), "chunks": chunks,
                **self.columns, **self.sparse}


def _renamed(mine: dict[Any, int], theirs: Iterable) -> list[int]:
    return [mine.setdefault(name, len(mine)) for name in theirs]


class Chunks:
    """The details of tasks, a line of JSON each, compressed in chunks beside the work that makes them."""

    def __init__(self, most_bytes: int, first: int = 0) -> None:
        self.most_bytes = most_bytes
        self.firsts: list[int] = []     # the place of the first task of each chunk
        self.packed: list[str] = []     # once they are closed
        self.left_out = 0               # tasks whose details there was no room for
        self.cuts = 0                   # texts and values that were cut
        self._place = first
        self._bytes = self._chars = 0
        self._lines: list[str] = []
        self._waiting: list[Future[str]] = []
        self._packer: ThreadPoolExecutor | None = ThreadPoolExecutor(1)  # zlib lets go of the interpreter's lock

    def add(self, task: Task) -> None:
        if self._bytes > self.most_bytes and task.get("state") != FAILED:
            self.left_out += 1
            line = "null"
        else:
            line = compact(found := detail(task))
            if len(line) > LONG_LINE:
                found, cuts = cut(found)
                self.cuts += cuts
                line = compact(found)
        if not self._lines:
            self.firsts.append(self._place)
        self._lines.append(line)
        self._chars += len(line)
        self._place += 1
        if len(self._lines) == CHUNK_TASKS or self._chars >= CHUNK_CHARS:
            self._flush()

    def _flush(self) -> None:
        if self._lines and self._packer:
            self._waiting.append(self._packer.submit(packed, "\n".join(self._lines)))
            self._lines, self._chars = [], 0
            if len(self._waiting) > 2:
                self._take()

    def _take(self) -> None:
        self.packed.append(self._waiting.pop(0).result())
        self._bytes += len(self.packed[-1])

    def close(self) -> None:
        """Have all chunks packed; no task can be added any more."""
        self._flush()
        while self._waiting:
            self._take()
        if self._packer:
            self._packer.shutdown()
            self._packer = None

    def extend(self, other: Chunks) -> None:
        """Take the chunks of the tasks that follow these. Both are closed."""
        self.firsts += other.firsts
        self.packed += other.packed
        self.left_out += other.left_out
        self.cuts += other.cuts


def detail(task: Task) -> dict[str, Any]:
    """What the page shows of one task besides its columns, without fields that say nothing or follow from others."""
    attempts: Sequence = task.get("attempts") or ()
    moves: Sequence = task.get("states") or ()
    follows = len(attempts) == 1 and is_plain(moves) and _began_and_ended(attempts[0], moves)
    left_out = FOLLOWING if follows else IN_COLUMNS
    found = {field: value for field, value in task.items() if value and field not in left_out}
    if follows:
        found["attempts"] = [{field: value for field, value in attempts[0].items() if field not in FOLLOWING_ATTEMPT}]
    if isinstance(shown := found.get("flame_data"), Mapping):
        found["flame_data"] = {key: _drawable(entry) for key, entry in shown.items()}
    return found


def _began_and_ended(attempt: Task, moves: Sequence) -> bool:
    """Whether an attempt lasted from the second to the third move, and ended as that says."""
    get = attempt.get
    return get("started") == moves[1][1] and get("ended") == moves[2][1] and get("state") == moves[2][0]


def _drawable(entry: object) -> object:
    if isinstance(entry, Mapping) and entry.get("type") == "html":
        return {**entry, "tree": safe_tree(str(entry.get("value", "")))}
    return entry


# --- single fields ---------------------------------------------------------------------------------

def name_of(task: Task) -> str:
    return str(task.get("name") or task.get("long_name") or "?")


def is_plain(moves: Any) -> bool:
    """Whether a task was released, ran and ended, and nothing else."""
    return (len(moves) == 3 and moves[0][0] == READY and moves[1][0] == RUNNING and moves[2][0] in FINAL
            and type(moves[0][1]) is type(moves[1][1]) is type(moves[2][1]) is float)


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


_PLACES = {outcome: place for place, outcome in enumerate(OUTCOMES)}


def _outcome(state: Any) -> int:
    return _PLACES.get(state, _PLACES["lost"])


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _ticks(seconds: float) -> int:
    return round(seconds * 1000 * PER_MS)


