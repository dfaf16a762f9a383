"""All orders in which the processes of a small run can make their steps, with a death at every one of them.

The graph of worlds is walked depth-first over the real journal. From every world the run must be able to end, and it must
end as the undisturbed one does. As long as nobody dies, wake-ups alone must bring it there: the safety net of a look every
second is counted in only after a death.
"""
from __future__ import annotations

import collections
import contextlib
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from firexlite.history import History
from firexlite.soundness import faults_of_rules

from .actors import Broken, Program, Step, World, endings_of, make_directory
from .parts import Part, Report, Tally, new_folder

ENOUGH = 3       # problems to be told of one program
LIMIT_S = 90.0   # for the walk through one program, in the long set
SMALL = 1200     # worlds; a program of more is walked through without looks that come too early
_STATE, _ATTEMPT, _WAKEABLE, _LIMITED = 7, 8, 13, 21

CHILD = {"parent": [("enqueue", "child"), ("wait",)]}
THREE = {"parent": [("enqueue", "one"), ("enqueue", "two"), ("enqueue", "three"), ("wait",)]}
PROGRAMS = {
    "a chain of two": Program("first|second"),
    "a chain of three whose second fails": Program("first|second|third", {"second": [("fail",)]}),
    "a child": Program("parent|after", CHILD),
    "a child, in one slot": Program("parent", CHILD, slots=1),
    "two children": Program("parent", {"parent": [("enqueue", "child"), ("enqueue", "other"), ("wait",)]}),
    "two children of the same call": Program("parent", {"parent": [("enqueue", "child"), ("enqueue", "child"), ("wait",)]}),
    "a chain of children": Program("parent", {"parent": [("enqueue", "child|other"), ("wait",)]}),
    "a child that fails": Program("parent|after", {"parent": [("enqueue", "child|other"), ("wait",), ("need",)],
                                                   "child": [("fail",)]}),
    "a failure that is dealt with": Program("parent|after", {"parent": [("enqueue", "child"), ("wait",), ("enqueue", "other")],
                                                             "child": [("fail",)]}),
    "a parent that does not wait": Program("parent|after", {"parent": [("enqueue", "child"), ("show",)]}),
    "a parent that fails before its children end": Program("parent|after", {
        "parent": [("enqueue", "child|other"), ("enqueue", "third"), ("fail",)]}),
    "a parent that revokes": Program("parent|after", {
        "parent": [("enqueue", "child|other"), ("enqueue", "third"), ("revoke", 0), ("wait", 1)],
        "child": [("note",), ("show",)]}),
    "a revoked grandchild": Program("parent", {
        "parent": [("enqueue", "child"), ("revoke", 0)], "child": [("enqueue", "grandchild"), ("wait",)]}),
    "a nested wait": Program("parent|after", {
        "parent": [("enqueue", "child"), ("wait",)], "child": [("enqueue", "grandchild"), ("wait",)]}),
    "a nested wait, in one slot": Program("parent", {
        "parent": [("enqueue", "child"), ("wait",)], "child": [("enqueue", "grandchild"), ("wait",)]}, slots=1),
    "the first of two": Program("parent", {
        "parent": [("enqueue", "child"), ("enqueue", "other"), ("wait for any",), ("show",)]}),
    "a wait that runs out of time": Program("parent|after", {
        "parent": [("enqueue", "child"), ("wait a while", 0), ("show",)]}),
    "children in another order": Program("parent", {
        "parent": [("either", "child", "other"), ("other", "child", "other"), ("wait",)]}),
    "three children in two slots": Program("parent", {
        "parent": [("enqueue", "one"), ("enqueue", "two"), ("enqueue", "three"), ("wait",)]}),
    "two parents": Program("parent", {
        "parent": [("enqueue", "left"), ("enqueue", "right"), ("wait",)], "left": [("enqueue", "child"), ("wait",)],
        "right": [("enqueue", "child"), ("wait",)]}),
    # --- what waits outside, is tried again, is called off, or shared
    "a sleep": Program("sleeper|after", {"sleeper": [("sleep",), ("show",)]}),
    "a sleep of a child": Program("parent", {"parent": [("enqueue", "child"), ("wait",)], "child": [("sleep",)]}, slots=1),
    "a sleep between children": Program("parent", {
        "parent": [("enqueue", "child"), ("wait",), ("sleep",), ("enqueue", "other"), ("wait",)]}, slots=1),
    "an event": Program("waiter|after", {"waiter": [("wait for event", "go")]}, commands=[("send", "go")]),
    "two events of a name": Program("waiter", {"waiter": [("wait for event", "go"), ("wait for event", "go")]},
                                    commands=[("send", "go"), ("send", "go")]),
    "a retry": Program("flaky|after", {"flaky": [("show",), ("retry",)]}),
    "a retry after a while": Program("flaky|after", {"flaky": [("retry later",)]}),
    "a retry with a child": Program("flaky", {"flaky": [("enqueue", "child"), ("wait",), ("retry",)]}),
    "a child that is tried again": Program("parent", {"parent": [("enqueue", "child"), ("wait",)], "child": [("retry later",)]},
                                           slots=1),
    "a retry with an open child": Program("flaky", {"flaky": [("enqueue", "child"), ("retry",)]}, slots=1),
    "a run that is cancelled": Program("one|two", {"one": [("show",)]}, commands=[("cancel", None)]),
    "a parent that is cancelled": Program("parent", CHILD, commands=[("cancel", 1)], slots=1),
    "a child that is cancelled": Program("parent", CHILD, commands=[("cancel", 2)], slots=1),
    "a sleeper that is cancelled": Program("sleeper|after", {"sleeper": [("sleep",)]}, commands=[("cancel", 1)]),
    "two in a queue with one place": Program(
        "parent", {"parent": [("enqueue", "gpu"), ("enqueue", "gpu"), ("wait",)]}, queues={"q": 1}, queue_of={"gpu": "q"}),
    "a sleep in a queue with one place": Program(
        "parent", {"parent": [("enqueue", "gpu"), ("enqueue", "other"), ("wait",)], "gpu": [("sleep",)]}, slots=1,
        queues={"q": 1}, queue_of={"gpu": "q", "other": "q"}),
    "a key for two parents": Program("parent", {
        "parent": [("enqueue", "left"), ("enqueue", "right"), ("wait",)],
        "left": [("enqueue once", "key", "shared"), ("wait",)],
        "right": [("enqueue once", "key", "shared"), ("wait",)]}, slots=2),
    "a key, in one slot": Program("parent", {
        "parent": [("enqueue", "left"), ("enqueue once", "key", "shared"), ("wait",)],
        "left": [("enqueue once", "key", "shared"), ("wait",)]}, slots=1),
    "a key of which one that asked fails": Program("parent", {
        "parent": [("enqueue", "left"), ("enqueue once", "key", "shared"), ("wait",)],
        "left": [("enqueue once", "key", "shared"), ("fail",)]}, slots=1),
    "a child that outlives its parent": Program("parent|after", {"parent": [("enqueue", "child"), ("fail",)]},
                                                keeps_children=["parent"]),
    # --- workers that reserve what comes next, settle it together, and journal children together
    # The first of three is claimed by somebody who has just been called, and reserves nothing.
    "a batch": Program("parent", THREE, slots=1, batch=2),
    "a batch of which others help": Program("parent", THREE, batch=1),
    "a batch with a failure": Program("parent|after", {**THREE, "three": [("fail",)]}, slots=1, batch=2),
    "a batch with a parent": Program("parent", {**THREE, "three": [("enqueue", "child"), ("wait",)]}, slots=1, batch=2),
    "a batch with a parent that fails": Program(
        "parent", {**THREE, "three": [("enqueue", "child"), ("fail",)]}, slots=1, batch=2),
    "a batch with a retry": Program("parent", {**THREE, "three": [("retry",)]}, slots=1, batch=2),
    "a batch that is revoked": Program("parent|after", {
        "parent": [("enqueue", "one"), ("enqueue", "two"), ("enqueue", "three|third"), ("show",), ("revoke", 2), ("wait", 0)]},
        batch=1),
    "a batch of which one is cancelled": Program("parent", THREE, commands=[("cancel", 3)], slots=1, batch=2),
    "a chain in a batch": Program("parent", {"parent": [("enqueue", "one|after"), ("enqueue", "two|after"), ("wait",)]},
                                  slots=1, batch=1),
    "a limit": Program("parent|after", CHILD, limited=["child"]),
    "a limit of a parent": Program("parent|after", CHILD, limited=["parent"]),
}
QUICK = ("a chain of two", "a child", "a child, in one slot", "a child that fails", "a parent that revokes")


@dataclass
class Explored:
    """What was found. endings: how the run came out, in all orders. nets: worlds that needed the safety net."""

    program: str
    worlds: int = 0
    steps: int = 0
    nets: int = 0
    moments: set[str] = field(default_factory=set)
    endings: set[tuple] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    is_cut_short: bool = False


class Enough(Exception):
    """So much is wrong, or so much time has passed, that there is no need to go on."""


class Exploration:
    """The walk through all worlds of one program."""

    def __init__(self, world: World, name: str, deaths: int, thorough: bool, undisturbed: set[tuple] | None,
                 early: int = 0, limit_s: float = math.inf) -> None:
        """deaths: how many there may be. thorough: die at each moment of a step, and look at all of it from outside each time.

        undisturbed: how it may come out; None: in any way. early: how many looks may come though nobody needs them.
        limit_s: how long the walk may take.
        """
        self.world, self.deaths, self.thorough, self.undisturbed, self.early = world, deaths, thorough, undisturbed, early
        self.give_up = time.monotonic() + limit_s
        self.found = Explored(name)
        self.next: dict[tuple, list[tuple]] = {}  # from each world, by key, those that follow it
        self.good: set[tuple] = set()
        self._path: list[str] = []
        self._sound: set[tuple] = set()  # rows that were examined
        self._last_moments: list[int] = []

    def walk(self) -> Explored:
        try:
            self._visit(self.world.rows(), self.early)
            self._demand_an_end_from_everywhere()
        except Enough:
            pass
        self.found.worlds = len(self.next)
        return self.found

    def _visit(self, rows: tuple, early: int) -> tuple:
        key = (self.world.key(rows), early)
        if key in self.next:
            return key
        if time.monotonic() > self.give_up:
            self.found.is_cut_short = True
            raise Enough
        self.next[key] = []
        self._look_at(rows)
        if self.world.ended:
            self._end(key, rows)
            return key
        choices: list[tuple[Step, bool]] = [(step, True) for step in self.world.steps()]
        if not choices:
            if not self.world.deaths:
                self._wrong("a wake-up is lost: nobody has anything to do, and the run has not ended")
                return key
            self.found.nets += 1
        if not choices or early:
            choices += [(step, not choices) for step in self.world.safety_nets()]
        if self.world.deaths < self.deaths:
            choices += [(step, True) for step in self.world.deaths_now()]
        saved = self.world.save()
        is_changed = False
        for step, is_due in choices:
            if is_changed:
                self.world.restore(saved)
            is_changed = True
            self._take(key, step, None, rows, early - (not is_due))
            if step[0] == "worker" and saved.deaths < self.deaths:
                for dies_at in list(self._last_moments):
                    self.world.restore(saved)
                    self._take(key, step, dies_at, rows, early)
        saved.db.close()
        return key

    def _take(self, key: tuple, step: Step, dies_at: int | None, before: tuple, early: int) -> None:
        self._path.append(" ".join(map(str, step)) + ("" if dies_at is None else f", killed at moment {dies_at}"))
        try:
            with self._reading(before):
                self.world.perform(step, dies_at)
        except Broken as error:
            self._wrong(str(error))
        except Exception as error:
            self._wrong(f"{type(error).__name__}: {error}")
            self._path.pop()
            return
        moments = list(self.world.moments)
        self.found.steps += 1
        self.found.moments.update(moments)
        rows = self.world.rows()
        self._compare(before, rows, step)
        self.next[key].append(self._visit(rows, early))
        # Those of this step, not of what came after it: before the first of them nothing has happened yet, and with the
        # last of them the step is over.
        self._last_moments = [i for i, moment in enumerate(moments) if self._is_worth_dying_at(moment, i)]
        self._path.pop()

    @contextlib.contextmanager
    def _reading(self, before: tuple) -> Iterator[None]:
        """Meanwhile somebody reads, who goes on to see what was there before."""
        if not self.thorough and self.found.steps % 5:
            yield
            return
        reader = self.world.reader
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM run").fetchone()  # a snapshot begins with the first read
        try:
            yield
            if self.world.rows() != before:
                self._wrong("what a reader sees changed within its snapshot")
        finally:
            reader.execute("COMMIT")

    def _is_worth_dying_at(self, moment: str, i: int) -> bool:
        return moment.endswith("committed") or (self.thorough and i > 0)

    # --- what must be so ---------------------------------------------------------------------------------------------

    def _look_at(self, rows: tuple) -> None:
        """What holds in every world."""
        if rows not in self._sound:
            self._sound.add(rows)
            for fault in faults_of_rules(self.world.submitter):
                self._wrong(fault)
        states = [task[_STATE] for task in rows[1]]
        running = states.count("running")
        if running > self.world.program.slots and self.world.program.keeps_slots:
            self._wrong(f"{running} tasks run in {self.world.program.slots} slots")
        # Another command has no slots to give: the runner, which it wakes, does so.
        if running < self.world.program.slots and any(task[_WAKEABLE] for task in rows[1]) and not self.world.program.commands:
            self._wrong("a blocked task may go on, a slot is free, and it was not given to it")
        meant = collections.Counter(attempt[0] for attempt in rows[2] if attempt[3] in ("retried", "suspended"))
        if any(task[_ATTEMPT] > 1 + self.world.deaths + meant[task[0]] for task in rows[1]):
            self._wrong(f"a task began more than {1 + self.world.deaths} times with {self.world.deaths} deaths")
        for queue, limit in self.world.program.queues.items():
            holders = sum(task[_LIMITED] == queue and task[_STATE] in ("running", "blocked") for task in rows[1])
            if holders > limit:
                self._wrong(f"{holders} tasks are in the queue '{queue}', which has {limit} places")
        is_sample = self.thorough or len(self.next) % 5 == 0
        if self.world.stale and is_sample:
            try:
                self.world.write_with_stale_claims()
            except Broken as error:
                self._wrong(str(error))
        if is_sample and len(self.next) % 10 == 0:
            with History(self.world.directory) as history:
                if [task.state for task in history.tasks()] != states:
                    self._wrong("the history tells other states than the journal holds")

    def _compare(self, before: tuple, after: tuple, step: Step) -> None:
        """What no step may do."""
        if len(after[1]) < len(before[1]):
            self._wrong("a task is gone")
        for old, new in zip(before[1], after[1], strict=False):
            if old[_STATE] == "succeeded" and old[:18] + old[19:] != new[:18] + new[19:]:
                self._wrong(f"task {old[0]} had succeeded, and changed")
        ended = {row for row in before[2] if row[3] is not None}
        if not ended <= set(after[2]):
            self._wrong("an attempt that had ended changed")

    def _end(self, key: tuple, rows: tuple) -> None:
        self.good.add(key)
        ending = endings_of(rows, self.world.program.is_loose)
        self.found.endings.add(ending)
        if self.undisturbed is not None and ending not in self.undisturbed:
            self._wrong(f"it ends as it never does undisturbed: {ending}")
        if not self.world.deaths and not self.world.program.commands:  # of which the board is not told
            cells = self.world.board.cells
            states = [task[_STATE] for task in rows[1]]
            told = (cells[1], *(cells[i] for i in range(2, 6)))
            if told != (len(states), *(states.count(state) for state in ("succeeded", "failed", "skipped", "revoked"))):
                self._wrong(f"the board counts {told}, and the tasks are {states}")

    def _demand_an_end_from_everywhere(self) -> None:
        before: dict[tuple, list[tuple]] = {}
        for key, followers in self.next.items():
            for follower in followers:
                before.setdefault(follower, []).append(key)
        ending = set(self.good)
        todo = list(ending)
        while todo:
            for key in before.get(todo.pop(), ()):
                if key not in ending:
                    ending.add(key)
                    todo.append(key)
        if stuck := len(self.next) - len(ending):
            self._wrong(f"from {stuck} of {len(self.next)} worlds the run never ends")

    def _wrong(self, what: str) -> None:
        self.found.problems.append(f"{self.found.program}: {what}; after: {'; '.join(self._path)}")
        if len(self.found.problems) >= ENOUGH:
            raise Enough


def explore(name: str, program: Program, deaths: int = 1, thorough: bool = False, early: int = 0,
            limit_s: float = math.inf) -> Explored:
    """All orders of a program's steps, first without a death, then with up to ``deaths``; the ends must be the same."""
    calm = _explored(name, program, 0, thorough, None, early, limit_s)
    if calm.problems or calm.is_cut_short or not deaths:
        return calm
    found = _explored(name, program, deaths, thorough, calm.endings, early, limit_s)
    if not found.problems and not found.is_cut_short and found.endings != calm.endings:
        found.problems.append(f"{name}: some ends were found only without a death")
    return found


def _explored(name: str, program: Program, *how: Any) -> Explored:
    """how: as Exploration takes it."""
    folder = new_folder("interleavings-")
    try:
        with contextlib.closing(World(make_directory(folder), program)) as world:
            world.submit()
            return Exploration(world, name, *how).walk()
    except Broken as error:
        return Explored(name, problems=[f"{name}: {error}, at its submission"])
    finally:
        shutil.rmtree(folder)


class Interleavings(Part):
    """All programs, with a death at each moment of each step; the smaller ones also with a look that comes too early."""

    name = "interleavings"
    shares = len(PROGRAMS)

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        name = list(PROGRAMS)[self.share]
        tally = Tally()
        for early in (0, 1):
            found = explore(name, PROGRAMS[name], thorough=True, early=early, limit_s=LIMIT_S)
            tally.trials += found.steps
            tally.points |= found.moments
            tally.wrong += len(found.problems)
            tally.failures += found.problems
            tally.counts["worlds"] = tally.counts.get("worlds", 0) + found.worlds
            if found.is_cut_short:
                tally.notes.append(f"'{name}' has too many orders to walk through in {LIMIT_S / 60:g} minutes: "
                                   f"cut short after {found.worlds:,} worlds")
            report(1 + early, 2)
            if found.worlds > SMALL:
                break
        return tally
