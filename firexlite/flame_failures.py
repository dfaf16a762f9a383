"""What failed in a run, gathered from its tasks as they pass by once: the few that a reader must see, and how many more."""
from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .flame_words import exception_line
from .states import BLOCKED, FAILED, READY, RUNNING, SUCCEEDED

SHOWN_IN_FULL = 3   # groups of failures with arguments and log; the others are a line each
SHOWN_AT_ALL = 40    # a page of 100,000 tasks is to have few elements, whatever is in view
UNDER_WAY = 3       # tasks that were cut off, in full
DECISIONS = 3       # tasks about which a person must decide, in full
SLOWEST = 10

Task = Mapping


@dataclass
class Group:
    """Failures alike. task: the first of them, in full; of groups that are told in a line only what that needs."""

    task: Task
    size: int = 0
    ended_the_run: bool = False


@dataclass
class Failures:
    """Call ``add`` once for each task, in the order of their numbers; then look.

    root_causes: numbers of the tasks that ended the run, which are told of first. A task with a ``cause`` is explained by
    another, and only counted. wanted: numbers of tasks to be ``kept`` whatever became of them.
    """

    root_causes: Collection[int] = ()
    wanted: Collection[int] = ()
    kept: dict[object, Task] = field(default_factory=dict)           # by number
    roots: int = 0
    explained: int = 0
    unshown: int = 0                                                 # kinds of failure beyond those that are told
    under_way: list[Task] = field(default_factory=list)              # as long as a run is not over, or where it was cut off
    under_way_count: int = 0
    reason: str | None = None                                        # why the first task was revoked that was
    _groups: dict[tuple, Group] = field(default_factory=dict)
    _spare: dict[tuple, Group] = field(default_factory=dict)         # of the explained, if nothing else should have failed
    _kinds: set[int] = field(default_factory=set)
    _slow: list[tuple[float, int, str, str]] = field(default_factory=list)
    _in_full: Counter[bool] = field(default_factory=Counter)
    _succeeded: set[object] = field(default_factory=set)             # callers that lived with a failure below them
    _aside: set[object] = field(default_factory=set)

    def add(self, task: Task) -> None:
        state = task.get("state")
        if task.get("aside") or task.get("enqueued_by") in self._aside:
            self._aside.add(task.get("num"))
            return
        if task.get("num") in self.wanted:
            self.kept[task.get("num")] = task
        if state == FAILED:
            self._add_failed(task)
        elif state in (RUNNING, BLOCKED) or (state == READY and task.get("attempts")):
            self._add_under_way(task)
        elif state == SUCCEEDED:
            self._succeeded.add(task.get("num"))
        if self.reason is None and task.get("revoke_reason"):
            self.reason = str(task["revoke_reason"])
        self._add_slow(task)

    def extend(self, other: Failures) -> None:
        """Take what was gathered from the tasks that follow these."""
        self.kept |= other.kept
        self.explained += other.explained
        self.roots += other.roots
        self._kinds |= other._kinds
        for mine, theirs in ((self._groups, other._groups), (self._spare, other._spare)):
            for key, group in theirs.items():
                if (known := mine.get(key)) is None:
                    if len(mine) < SHOWN_AT_ALL or group.ended_the_run:
                        mine[key] = group
                    else:
                        self._kinds.add(hash(key))
                else:
                    known.size += group.size
                    if group.ended_the_run and not known.ended_the_run:
                        known.task, known.ended_the_run = group.task, True
        self.unshown = len(self._kinds)
        self.under_way_count += other.under_way_count
        self.under_way = sorted(self.under_way + other.under_way, key=lambda one: one.get("state") == BLOCKED)[:UNDER_WAY]
        self.reason = self.reason or other.reason
        self._succeeded |= other._succeeded
        self._slow = heapq.nlargest(SLOWEST, self._slow + other._slow)
        heapq.heapify(self._slow)

    @property
    def groups(self) -> list[Group]:
        """Those that ended the run first, each kind in the order of its first task."""
        return sorted((self._groups or self._spare).values(), key=lambda group: not group.ended_the_run)

    @property
    def count(self) -> int:
        return self.roots + self.explained

    @property
    def slowest(self) -> list[tuple[float, int, str, str]]:
        """``[(seconds, num, name, state)]``, the slowest first."""
        return [(seconds, -minus, name, state) for seconds, minus, name, state in sorted(self._slow, reverse=True)]

    def was_lived_with(self, nums: Collection[object]) -> bool:
        """Whether one of these tasks succeeded, so that a failure below it ended nothing."""
        return not self._succeeded.isdisjoint(nums)

    def _add_failed(self, task: Task) -> None:
        cause = task.get("cause")
        is_explained = cause is not None and cause != task.get("num")
        self.explained += is_explained
        self.roots += not is_explained
        key = task.get("name"), exception_line(task), task.get("error_context")
        groups = self._spare if is_explained else self._groups
        ended_the_run = task.get("num") in self.root_causes
        if (group := groups.get(key)) is None:
            if is_explained and len(groups) >= SHOWN_IN_FULL:
                return
            if len(groups) >= SHOWN_AT_ALL and not ended_the_run:
                self._kinds.add(hash(key))
                self.unshown = len(self._kinds)
                return
            self._in_full[ended_the_run] += 1
            is_full = is_explained or self._in_full[ended_the_run] <= SHOWN_IN_FULL
            group = groups[key] = Group(task if is_full else _in_brief(task))
        if ended_the_run and not group.ended_the_run:
            group.ended_the_run = True
            group.task = task
        group.size += 1

    def _add_under_way(self, task: Task) -> None:
        self.under_way_count += 1
        self.under_way.append(task)
        if len(self.under_way) > UNDER_WAY:  # those that run, before those that only wait for what they called
            self.under_way.sort(key=lambda one: one.get("state") == BLOCKED)
            self.under_way.pop()

    def _add_slow(self, task: Task) -> None:
        runtime, num = task.get("runtime"), task.get("num")
        if isinstance(runtime, (int, float)) and isinstance(num, int):
            entry = float(runtime), -num, str(task.get("name") or "?"), str(task.get("state"))
            (heapq.heappush if len(self._slow) < SLOWEST else heapq.heappushpop)(self._slow, entry)


def failures_of(run: Mapping) -> Failures:
    """What is to gather the failures of a run, of which no task was added yet."""
    stopped = run.get("stopped") or ()
    return Failures(run.get("root_causes") or (), [one.get("task") for one in stopped[:DECISIONS]])


def _in_brief(task: Task) -> Task:
    kept = {name: task.get(name) for name in ("num", "name", "exception", "error_context", "enqueued_by", "traceback")}
    return {**kept, "traceback": exception_line(task)}
