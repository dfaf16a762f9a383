"""A run in plain Python, beside the journal: whatever is asked of both, in any order, they must stay the same.

The model keeps what the journal keeps, in lists and sets, without a word of SQL. hypothesis chooses what happens next, and
makes what went wrong as short as it can.
"""
from __future__ import annotations

import contextlib
import copy
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from firexlite import once, outside, waiting
from firexlite.claims import UNKNOWN, Appetite, Begun, Bell, Claim, Ended, Failure, Hand, NewTask, Retry, Success
from firexlite.codec import encode_error
from firexlite.deadlocks import refuse_deadlock
from firexlite.errors import ClaimLost, SchedulingDeadlockException, Superseded, WorkerLost
from firexlite.history import History
from firexlite.journal import Journal
from firexlite.limits import expire, expire_run
from firexlite.soundness import faults_of_rules
from firexlite.states import OPEN
from firexlite.takeover import INCARNATION_DEATHS, Decisions, take_over

from .actors import ABOUT, FIREX_ID, OPTIONS, RAISED, make_directory, result_of
from .parts import Part, Report, Tally, new_folder

SUFFERS = 1  # deaths of workers that a task survives
WORKERS = 3  # so many at the most
LIFE = 8     # steps, that an incarnation has at least if it does not come to rest before
LARGE = 20   # tasks, from which on a run grows no more
SLOTS = st.integers(1, 3)
QUEUE = "narrow"
QUEUES = st.sampled_from([{}, {QUEUE: 1}, {QUEUE: 2}])
FATES = st.sampled_from(["settled", "goes on", "dies"])  # of a batch
KEYS, NAMES = st.sampled_from("kl"), st.sampled_from("xy")  # of what is done once; of events


@dataclass(frozen=True)
class Kind:
    """What a task is to be like."""

    on_interrupt: str = "retry"
    queue: str | None = None
    slots: int = 1
    priority: int = 0
    keeps_children: bool = False


PLAIN = Kind()
KINDS = st.lists(st.sampled_from([PLAIN] * 4 + [
    Kind("ask"), Kind("fail"), Kind(queue=QUEUE), Kind(queue=QUEUE, priority=-1), Kind(slots=2), Kind(slots=9, priority=1),
    Kind(priority=-1, slots=2), Kind(keeps_children=True), Kind(keeps_children=True, slots=2)]), min_size=1, max_size=3)


@dataclass
class TaskModel:
    """One task, as the journal should have it."""

    num: int
    chain: int
    last: int
    parent: int | None
    depth: int
    kind: Kind
    state: str
    parent_retry: int = 0
    limited: str = ""            # the queue that it is counted in
    shared: bool = False
    held: bool = False
    attempt: int = 0
    retry: int = 0
    due: float | None = None
    deaths: int = 0
    worker: int | None = None    # none: of a blocked task, it waits without a process
    wakeable: bool = False
    is_woken: bool = False       # ready after it waited without a process: it has kept its place in its queue
    stopped: str | None = None   # why: mismatch, ask
    unsure: bool = False
    is_abandoned: bool = False   # revoked, since nobody was left who asked for it
    aside: bool = False
    just_failed: bool = False    # in this take-over

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_under_way(self) -> bool:
        return self.state in ("running", "blocked")

    @property
    def is_suspended(self) -> bool:
        return self.state == "blocked" and self.worker is None

    @property
    def holds_place(self) -> bool:
        return self.is_under_way or (self.state == "ready" and self.is_woken)

    @property
    def runs_again_by_itself(self) -> bool:
        return self.kind.on_interrupt == "retry"


@dataclass(frozen=True)
class WaitModel:
    """What is waited for beside the end of a task: whether any is enough of several, a time, and an event."""

    any: bool = False
    due: float | None = None
    event: tuple[str, int] | None = None


class RunModel:
    """What a run is by the rules of the design."""

    def __init__(self, slots: int, queues: dict[str, int]) -> None:
        self.slots, self.queues, self.epoch = slots, queues, 1
        self.tasks = [TaskModel(0, 0, 0, None, -1, PLAIN, "none")]  # numbered from 1
        self.awaited: dict[tuple[int, int, int], WaitModel] = {}    # by (last task of a chain or 0, waiter, wait)
        self.once: dict[str, int] = {}
        self.attached: set[tuple[int, int]] = set()                 # (first task of a shared chain, who asked for it)
        self.sent: dict[str, int] = {}                              # how many events of a name
        self.killed = 0  # incarnations in a row without a success

    def all(self) -> list[TaskModel]:
        return self.tasks[1:]

    def of(self, state: str) -> list[TaskModel]:
        return [task for task in self.all() if task.state == state]

    def chain(self, task: TaskModel) -> list[TaskModel]:
        return self.tasks[task.chain:task.last + 1]

    def owns(self, claim: Claim) -> bool:
        task = self.tasks[claim.task]
        return task.is_under_way and not task.is_suspended and (task.attempt, self.epoch) == (claim.attempt, claim.epoch)

    # --- moves ---------------------------------------------------------------------------------------------------

    def enqueue(self, parent: int | None, kinds: Sequence[Kind], held: bool = False, key: str | None = None) -> tuple[int, int]:
        asker = None if parent is None else self.tasks[parent]
        if key is not None and asker is not None and (found := self._shared_chain(key, asker)) is not None:
            self.attached.add((found[0], asker.num))
            return found
        head, last = len(self.tasks), len(self.tasks) + len(kinds) - 1
        for i, kind in enumerate(kinds):
            self.tasks.append(TaskModel(
                head + i, head, last, parent, 0 if asker is None else asker.depth + 1, kind,
                "ready" if i == 0 and not held else "waiting", asker.retry if asker else 0,
                kind.queue if kind.queue in self.queues else "", key is not None, held and i == 0))  # type: ignore[arg-type]
        if key is not None and asker is not None:
            self.once[key] = head
            self.attached.add((head, asker.num))
        return head, last

    def _shared_chain(self, key: str, asker: TaskModel) -> tuple[int, int] | None:
        if key not in self.once:
            return None
        chain = self.chain(self.tasks[self.once[key]])
        is_of_this_try = (chain[0].parent, chain[0].parent_retry) == (asker.num, asker.retry)
        has_failed = any(task.state in ("failed", "revoked") for task in chain)
        is_abandoned = any(task.state == "revoked" and task.is_abandoned and not task.unsure for task in chain)
        has_asked = (chain[0].num, asker.num) in self.attached
        if not is_of_this_try and ((has_failed and asker.retry) or (is_abandoned and not has_asked)):
            return None
        return chain[0].num, chain[-1].num

    def compute(self, num: int, key: str) -> int:
        """The task that computes the cached result of this key."""
        owner = self.tasks[self.once.get(key, 0)]
        if not (owner.is_open or owner.state == "succeeded"):
            self.once[key] = num
        return self.once[key]

    def free_slots(self) -> int:
        return self.slots - sum(self.size(task) for task in self.of("running"))

    def size(self, task: TaskModel) -> int:
        return min(task.kind.slots, self.slots)

    def has_place(self, task: TaskModel) -> bool:
        return not task.limited or task.holds_place or len(self.holders(task.limited)) < self.queues[task.limited]

    def holders(self, queue: str) -> list[TaskModel]:
        return [task for task in self.all() if task.holds_place and task.limited == queue]

    def unblock(self) -> int:
        """Free slots go to those whose wait is over, the deepest first; what is left. None overtakes a bigger one."""
        for task in sorted((task for task in self.of("blocked") if task.wakeable), key=_deepest):
            if (free := self.free_slots()) <= 0 or self.size(task) > free:
                return min(0, free)
            task.state, task.wakeable = "running", False
        return self.free_slots()

    def claim(self, worker: int) -> tuple[int, int] | None:
        """The task and the attempt that this worker should get."""
        free = self.unblock()
        ready = [task for task in self.of("ready") if task.stopped is None and task.due is None and self.has_place(task)]
        first = min(ready, key=lambda task: (task.kind.priority, *_deepest(task)), default=None)
        if first is None or free <= 0 or self.size(first) > free:
            return None
        first.state, first.attempt, first.worker, first.is_woken = "running", first.attempt + 1, worker, False
        return first.num, first.attempt

    def to_be_reserved(self, most: int) -> list[int]:
        """What comes next, as far as it may be reserved: nothing that another could begin at once."""
        if self.free_slots() > 0:
            return []
        ready = sorted((task for task in self.of("ready") if task.stopped is None and task.due is None and not task.limited),
                       key=lambda task: (task.kind.priority, *_deepest(task)))[:most]
        may_be = [task.kind == PLAIN and not task.attempt and not task.deaths for task in ready]
        return [task.num for task in itertools.takewhile(lambda task: may_be[ready.index(task)], ready)]

    def begin(self, num: int, worker: int) -> None:
        """A task that was reserved has begun."""
        task = self.tasks[num]
        task.state, task.attempt, task.worker = "running", task.attempt + 1, worker

    def settle(self, claim: Claim, state: str, aside: Sequence[int], due: float | None) -> None:
        """state: that it goes to; ready: it is to be tried again, not before ``due``."""
        if not self.owns(claim):
            return
        task = self.tasks[claim.task]
        task.state, task.wakeable, task.due = state, False, due
        self._stop_waiting(task)
        if state == "ready":
            task.retry += 1
            self._end_children(task)
            return
        succeeds = state == "succeeded"
        self.killed = 0 if succeeds else self.killed
        for head in aside:
            members = list(self.chain(self.tasks[head]))
            if succeeds or not any(member.state == "succeeded" for member in members):  # else it may be asked for yet
                for member in members:
                    member.aside = True
        self._end_children(task)
        if succeeds:
            self._ended(task.num)
            if task.num < task.last:
                self.release(task.num + 1)
        else:
            self._end_rest(task)

    def _end_children(self, task: TaskModel) -> None:
        if task.kind.keeps_children:
            self.revoke([child.num for child in self.all() if child.parent == task.num and child.is_open and child.aside])
        else:
            self._revoke_below(task)

    def release(self, num: int) -> None:
        if self.tasks[num].state == "waiting":
            self.tasks[num].state, self.tasks[num].held = "ready", False

    def _end_rest(self, task: TaskModel) -> None:
        """Of a chain of which this task failed."""
        for follower in self.tasks[task.num + 1:task.last + 1]:
            if follower.state == "waiting":
                follower.state = "skipped"
        for num in range(task.num, task.last + 1):
            self._ended(num)

    def _stop_waiting(self, task: TaskModel) -> None:
        self.awaited = {key: any_ for key, any_ in self.awaited.items() if key[1] != task.num}

    def _waits(self, num: int) -> bool:
        return any(waiter == num for _, waiter, _ in self.awaited)

    def _ended(self, num: int) -> None:
        for ended, waiter, wait in sorted(key for key in self.awaited if num and key[0] == num):
            if (ended, waiter, wait) not in self.awaited:
                continue
            any_is_enough = self.awaited.pop((ended, waiter, wait)).any
            rest = [key for key in self.awaited if key[1:] == (waiter, wait)]
            if any_is_enough:
                for key in rest:
                    del self.awaited[key]
            elif rest:
                continue
            self._let_go_on(waiter)

    def _let_go_on(self, num: int) -> None:
        task = self.tasks[num]
        if self._waits(num) or task.state != "blocked":
            return
        if task.is_suspended:
            task.state, task.is_woken = "ready", True
        else:
            task.wakeable = True

    def block(self, claim: Claim, tails: Sequence[int], wait: int, any_is_enough: bool) -> bool:
        still_open = {tail for tail in tails if self.tasks[tail].is_open}
        if not still_open or (any_is_enough and len(still_open) < len(tails)):
            return False
        self.awaited.update({(tail, claim.task, wait): WaitModel(any_is_enough) for tail in still_open})
        self.tasks[claim.task].state, self.tasks[claim.task].wakeable = "blocked", False
        return True

    def begin_wait(self, claim: Claim, wait: int, now: float, due: float | None, event: tuple[str, int] | None) -> bool:
        if (due is not None and due <= now) or (event is not None and event[1] <= self.sent.get(event[0], 0)):
            return False
        self.awaited[0, claim.task, wait] = WaitModel(False, due, event)
        self.tasks[claim.task].state, self.tasks[claim.task].wakeable = "blocked", False
        return True

    def suspend(self, claim: Claim) -> bool:
        task = self.tasks[claim.task]
        may_end = self.owns(claim) and task.state == "blocked" and self._waits(task.num) and task.runs_again_by_itself
        if may_end:
            task.worker = None
        return may_end

    def send(self, name: str) -> int:
        self.sent[name] = nth = self.sent.get(name, 0) + 1
        self._end_waits([key for key, wait in self.awaited.items() if wait.event == (name, nth)])
        return nth

    def come_due(self, now: float) -> None:
        self._end_waits([key for key, wait in self.awaited.items() if wait.due is not None and wait.due <= now])
        for task in self.all():
            if task.due is not None and task.due <= now:
                task.due = None

    def _end_waits(self, keys: list[tuple[int, int, int]]) -> None:
        for key in keys:
            del self.awaited[key]
        for _, waiter, _ in keys:
            self._let_go_on(waiter)

    def can_end(self, num: int) -> bool:
        """Whether an open task may come to its end some time, if all go on that can."""
        ending: set[int] = set()
        left = [task for task in self.all() if task.is_open]
        while new := {task.num for task in left if task.num not in ending and self._can_end(task, ending)}:
            ending |= new
        return num in ending

    def _can_end(self, task: TaskModel, ending: set[int]) -> bool:
        if task.state == "waiting" and task.num > task.chain and task.num - 1 not in ending:
            return False
        if task.state in ("waiting", "ready") and not self.has_place(task):
            return any(one.num in ending for one in self.holders(task.limited))
        waits: dict[int, list[bool]] = {}
        for (tail, waiter, wait), what in self.awaited.items():
            if waiter == task.num and tail:
                waits.setdefault(wait if what.any else -tail, []).append(tail in ending)
        return all(any(ends) for ends in waits.values())

    def is_waiting(self, claim: Claim, wait: int) -> bool:
        """Whether this thread of a body still waits: for a slot too, if it was the last that waited."""
        others = {key[2] for key in self.awaited if key[1] == claim.task}
        return wait in others or (self.tasks[claim.task].state == "blocked" and not others)

    def end_wait(self, claim: Claim, wait: int) -> None:
        self.awaited = {key: any_ for key, any_ in self.awaited.items() if key[1:] != (claim.task, wait)}
        task = self.tasks[claim.task]
        if task.state == "blocked":
            task.state, task.wakeable = "running", False

    def revoke(self, nums: Sequence[int], is_abandoned: bool = False) -> list[int]:
        """Returns those that were revoked. is_abandoned: since nobody is left who asked for them."""
        everything: list[int] = []
        while nums:
            doomed, found = set(), list(nums)
            while found:
                doomed.add(num := found.pop())
                found += [task.num for task in self.all()
                          if task.parent == num and task.is_open and not task.shared and task.num not in doomed]
            revoked = [self.tasks[num] for num in sorted(doomed) if self.tasks[num].is_open]
            for task in revoked:
                task.unsure = task.unsure or (not task.runs_again_by_itself and task.is_under_way)
                task.state, task.wakeable, task.held, task.due, task.is_woken = "revoked", False, False, None, False
                task.is_abandoned = is_abandoned
            for num in doomed:
                self._stop_waiting(self.tasks[num])
            for task in revoked:
                self._ended(task.num)
            everything += [task.num for task in revoked]
            nums, is_abandoned = self._abandoned(doomed), True
        return everything

    def _abandoned(self, ended: Iterable[int]) -> list[int]:
        """What is open of shared chains that these asked for, and that nobody is left to want."""
        heads = {head for head, asker in self.attached if asker in ended}
        wanted = {head for head, asker in self.attached if self._wants_what_it_asked_for(self.tasks[asker])}
        return [task.num for head in heads - wanted for task in self.chain(self.tasks[head]) if task.is_open]

    @staticmethod
    def _wants_what_it_asked_for(task: TaskModel) -> bool:
        return task.is_open or (task.kind.keeps_children and task.state in ("succeeded", "failed"))

    def _revoke_below(self, task: TaskModel) -> None:
        children = [child.num for child in self.all() if child.parent == task.num and child.is_open and not child.shared]
        abandoned = self._abandoned([task.num])
        self.revoke(children)
        self.revoke(abandoned, is_abandoned=True)

    def cancel(self, num: int) -> list[int]:
        revoked = self.revoke([num])
        self._end_rest(self.tasks[num])
        return revoked

    def expire(self, claim: Claim) -> bool:
        if not self.owns(claim):
            return False
        self._give_back(self.tasks[claim.task], fails=True, is_unsure=False)
        self.unblock()
        return True

    def stop(self, claim: Claim) -> None:
        if self.owns(claim):
            task = self.tasks[claim.task]
            task.state, task.stopped, task.wakeable = "ready", "mismatch", False
            self._stop_waiting(task)

    # --- deaths ------------------------------------------------------------------------------------------------------

    def lose(self, worker: int, present: int = 0) -> list[int]:
        """The tasks that fail by the death of this worker. present: a reserved task, which it had begun."""
        failed = []
        if present:
            for task in [task for task in self.all() if task.worker == worker and task.is_under_way]:
                self._give_back(task, fails=False, is_unsure=False)  # its body had returned
            self.begin(present, worker)
        for task in [task for task in self.all() if task.worker == worker and task.is_under_way]:
            task.deaths += 1
            fails = task.kind.on_interrupt == "fail" or (task.runs_again_by_itself and task.deaths > SUFFERS)
            failed += [task.num] * fails
            self._give_back(task, fails, not task.runs_again_by_itself)
        self.unblock()
        return failed

    def _give_back(self, task: TaskModel, fails: bool, is_unsure: bool) -> None:
        self._stop_waiting(task)
        task.unsure, task.wakeable = is_unsure, False
        if not fails:
            task.state, task.stopped = "ready", "ask" if task.unsure else None
            return
        task.state, task.just_failed = "failed", True
        if not task.kind.keeps_children:
            self._revoke_below(task)
        self._end_rest(task)

    def take_over(self, is_killed: bool) -> None:
        self.epoch += 1
        self.killed = self.killed + 1 if is_killed else 0
        self.awaited = {key: wait for key, wait in self.awaited.items() if self.tasks[key[1]].is_suspended}
        for task in self.all():
            task.just_failed = False
            task.stopped = task.stopped if task.unsure else None
        for task in sorted(self.all(), key=_deepest):
            if task.is_under_way and not task.is_suspended:
                is_spent = task.state == "running" and self.killed >= INCARNATION_DEATHS
                fails = task.kind.on_interrupt == "fail" or (task.runs_again_by_itself and is_spent)
                self._give_back(task, fails, not task.runs_again_by_itself)
        self._reopen()

    def _reopen(self) -> None:
        heads = {task.chain for task in self.all() if task.parent is None and self._is_to_be_reopened(task)}
        while heads:
            reopened = {task.num for head in heads for task in self._reopen_chain(head)}
            heads = {task.chain for task in self.all() if task.parent in reopened and self._is_to_be_reopened(task)
                     and task.parent_retry == self.tasks[task.parent or 0].retry and not task.shared}
            heads |= {head for head, asker in self.attached if asker in reopened and head in self.once.values()
                      if any(self._is_to_be_reopened(task) for task in self.chain(self.tasks[head]))}

    @staticmethod
    def _is_to_be_reopened(task: TaskModel) -> bool:
        return task.state in ("failed", "skipped", "revoked") and not task.aside

    def _reopen_chain(self, head: int) -> Iterator[TaskModel]:
        target = "ready"
        for task in self.chain(self.tasks[head]):
            if task.state == "succeeded":
                continue
            asks = task.state == "revoked" and task.unsure and task.kind.on_interrupt == "ask"
            if task.state in ("failed", "revoked") and (task.unsure or task.just_failed) and not asks:
                return
            if task.state in ("failed", "skipped", "revoked"):
                task.state, task.deaths, task.stopped = target, 0, "ask" if asks else None
                yield task
            target = "waiting"


def _deepest(task: TaskModel) -> tuple[int, int]:
    return -task.depth, task.num


class JournalAndModel(RuleBasedStateMachine):
    """Both of them, and what may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = new_folder("model-")
        self.now = 1000.0
        self.number_of_waits = 0
        self.looks = self.resumed_at = 0

    def teardown(self) -> None:
        try:
            if hasattr(self, "journal"):
                self.journal.close()
        finally:
            shutil.rmtree(self.folder)

    @initialize(kinds=KINDS, slots=SLOTS, queues=QUEUES)
    def submit(self, kinds: list[Kind], slots: int, queues: dict[str, int]) -> None:
        self.directory = make_directory(self.folder)
        self.journal = Journal(self.directory, slots, Bell(), queues=queues)
        self.journal.group.is_on = False  # nobody cuts the power here
        self.journal.clock = self._clock
        self.journal.open()
        self.model = RunModel(slots, queues)
        self.journal.submit(firex_id=FIREX_ID, chain="a", inputs="{}", options=OPTIONS, digest="submitted",
                            members=_new_tasks(kinds), pid=1, host="here")
        self.model.enqueue(None, kinds)
        self.claims: dict[int, Claim] = {}  # of workers that live
        self.waits: list[tuple[int, int]] = []  # a worker, and the number of a wait of its task; one for each thread
        self.stale: list[Claim] = []
        self.succeeded: dict[int, tuple] = {}

    def _comes_to_rest(self) -> bool:
        return not self.claims and not self._is_claimable()

    def _is_claimable(self) -> bool:
        return any((task.state == "ready" and not task.stopped and task.due is None) or task.wakeable
                   for task in self.model.all())

    def _waits_for_something(self) -> bool:
        """Whether something is to begin or to go on at a time, or with an event."""
        return bool(any(task.due for task in self.model.all()) or any(not tail for tail, _, _ in self.model.awaited))

    @precondition(lambda self: self._comes_to_rest() and not self._waits_for_something())
    @rule(kinds=KINDS, slots=SLOTS, queues=QUEUES)
    def another_run(self, kinds: list[Kind], slots: int, queues: dict[str, int]) -> None:
        """There is no more to be seen in this one, or only by a resume."""
        self.journal.close()
        shutil.rmtree(self.directory.path)
        self.submit(kinds, slots, queues)

    def _clock(self) -> float:
        self.now += 1.0
        return self.now

    # --- what workers do -----------------------------------------------------------------------------------------------

    def _free_workers(self) -> list[int]:
        return [worker for worker in range(WORKERS) if worker not in self.claims]

    def _has_work(self) -> bool:
        """Whether a claim makes sense, be there a slot or not."""
        return bool(self._free_workers()) and self._is_claimable()

    @precondition(_has_work)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        for worker in sorted(data.draw(st.sets(st.sampled_from(self._free_workers()), min_size=1), label="workers")):
            self._begins(worker, self.journal.claim(worker, 0))

    def _begins(self, worker: int, claim: Claim | None) -> None:
        """The worker got this claim, and the model must have expected it."""
        assert (claim and (claim.task, claim.attempt)) == self.model.claim(worker)
        if claim is not None:
            self.claims[worker] = claim

    @precondition(_has_work)
    @rule(data=st.data(), most=st.integers(1, 3), fate=FATES)
    def a_batch(self, data: st.DataObject, most: int, fate: str) -> None:
        """A worker claims a task and reserves others; of those one may be revoked, and then some have ended."""
        self._run_a_batch(data, most, fate)

    @precondition(lambda self: self._may_grow() and self._free_workers())
    @rule(data=st.data(), chains=st.lists(st.sampled_from([[PLAIN], [PLAIN, PLAIN]]), min_size=2, max_size=4), fate=FATES)
    def a_batch_of_children(self, data: st.DataObject, chains: list[list[Kind]], fate: str) -> None:
        """Of a task that waits for them."""
        self._enqueue_and_block(data, chains, any_is_enough=False)
        if self._free_workers():
            self._run_a_batch(data, len(chains), fate)

    def _run_a_batch(self, data: st.DataObject, most: int, fate: str) -> None:
        worker = data.draw(st.sampled_from(self._free_workers()), label="worker")
        leader = self.journal.claim(worker, 0, Appetite(most, {"a"}))
        self._begins(worker, leader)
        if leader is None:
            return
        reserved = leader.reserved
        assert [claim.task for claim in reserved] == self.model.to_be_reserved(most)
        if not reserved:
            return
        if data.draw(st.booleans(), label="revokes"):
            revoked = data.draw(st.sampled_from(reserved), label="revoked")
            self.journal.revoke_chain(revoked.chain)
            self.model.revoke(list(range(revoked.chain, revoked.last + 1)))
            self.model.unblock()
        del self.claims[worker]
        reached = data.draw(st.integers(1, len(reserved)), label="reached")  # of those reserved
        ended = [Ended(claim, result_of("a") if data.draw(st.booleans(), label="succeeds") else RAISED, 0,
                       bool(self._children(claim)), UNKNOWN, Begun(self.now, 0) if claim is not leader else None, self.now)
                 for claim in (leader, *reserved[:reached - 1])]
        present, left = reserved[reached - 1], reserved[reached:]
        is_ours = self.model.tasks[present.task].state == "ready"
        if fate == "dies":
            self.stale.append(leader)
            failed = self.journal.lose(worker, lambda deaths, unsure: encode_error(WorkerLost(deaths, "SIGKILL", unsure)),
                                       present.task)
            assert failed == self.model.lose(worker, present.task if is_ours else 0)
            return
        for one in ended:
            if one.begun is None or self.model.tasks[one.claim.task].state == "ready":
                if one.begun is not None:
                    self.model.begin(one.claim.task, worker)
                self.model.settle(one.claim, "succeeded" if isinstance(one.outcome, Success) else "failed", (), None)
        is_ours = self.model.tasks[present.task].state == "ready"  # unless its parent has just ended
        if fate == "settled":
            self.journal.settle_all(ended, worker, 0, False, (present, *left))
        else:
            if is_ours := is_ours and self.model.free_slots() > 0:
                self.model.begin(present.task, worker)
                self.claims[worker] = present
            with contextlib.nullcontext() if is_ours else pytest.raises(ClaimLost):
                self.journal.catch_up(Hand(worker, ended, left, present, Begun(self.now, 0), ()))
        self.model.unblock()

    def _draw_worker(self, data: st.DataObject, of: Iterable[int]) -> tuple[int, Claim]:
        worker = data.draw(st.sampled_from(sorted(of)), label="worker")
        return worker, self.claims[worker]

    def _own_children(self, claim: Claim) -> list[int]:
        return [task.num for task in self.model.all()
                if task.parent == claim.task and task.num == task.chain and not task.aside and not task.shared
                and task.parent_retry == claim.retry]

    def _children(self, claim: Claim) -> list[int]:
        """Of this try, and those that it shares with others."""
        return self._own_children(claim) + sorted(head for head, asker in self.model.attached if asker == claim.task)

    def _parents(self) -> list[int]:
        """Workers whose task, of any of its attempts, has children."""
        return [worker for worker, claim in self.claims.items() if self._children(claim)]

    def _may_grow(self) -> bool:
        return bool(self.claims) and len(self.model.tasks) < LARGE

    @precondition(_may_grow)
    @rule(data=st.data(), kinds=KINDS, held=st.booleans())
    def enqueue(self, data: st.DataObject, kinds: list[Kind], held: bool) -> None:
        """A body may do this though it waits: in another of its threads. So it is with all that follows."""
        _, claim = self._draw_worker(data, self.claims)
        self._enqueue(claim, kinds, held)

    @precondition(_may_grow)
    @rule(data=st.data(), kinds=KINDS, key=KEYS)
    def enqueue_once(self, data: st.DataObject, kinds: list[Kind], key: str) -> None:
        worker, claim = self._draw_worker(data, self.claims)
        self._enqueue(claim, kinds, key=key)
        if self.model.owns(claim):
            self._block(worker, [self.model.tasks[self.model.once[key]].last], any_is_enough=False)

    def _enqueue(self, claim: Claim, kinds: list[Kind], held: bool = False, key: str | None = None) -> None:
        if self._expect_owner(claim, lambda: self.journal.enqueue(claim, f"digest of {len(kinds)}", _new_tasks(kinds), held,
                                                                  key)):
            assert self._written == self.model.enqueue(claim.task, kinds, held, key)
            self.model.unblock()

    def _expect_owner(self, claim: Claim, write: Callable[[], object]) -> bool:
        """Whether the write was done, which it must be if and only if the attempt owns its task."""
        try:
            self._written = write()
        except ClaimLost:
            assert not self.model.owns(claim)
            return False
        assert self.model.owns(claim)
        return True

    @precondition(_may_grow)
    @rule(data=st.data(), chains=st.lists(KINDS, min_size=1, max_size=2), any_is_enough=st.booleans())
    def enqueue_and_block(self, data: st.DataObject, chains: list[list[Kind]], any_is_enough: bool) -> None:
        """What most bodies do."""
        self._enqueue_and_block(data, chains, any_is_enough)

    def _enqueue_and_block(self, data: st.DataObject, chains: list[list[Kind]], any_is_enough: bool) -> None:
        worker, claim = self._draw_worker(data, self.claims)
        for kinds in chains:
            self._enqueue(claim, kinds)
        if heads := self._children(claim):
            self._block(worker, self._ends_of(heads), any_is_enough)

    def _ends_of(self, heads: Iterable[int], firsts: bool = False) -> list[int]:
        return sorted(head if firsts else self.model.tasks[head].last for head in heads)

    @precondition(_parents)
    @rule(data=st.data(), any_is_enough=st.booleans(), firsts=st.booleans())
    def block(self, data: st.DataObject, any_is_enough: bool, firsts: bool) -> None:
        """Until chains end, or the first task of each."""
        worker, claim = self._draw_worker(data, self._parents())
        heads = data.draw(st.sets(st.sampled_from(self._children(claim)), min_size=1), label="for")
        self._block(worker, self._ends_of(heads, firsts), any_is_enough)

    def _block(self, worker: int, tails: list[int], any_is_enough: bool) -> None:
        claim = self.claims[worker]
        self.number_of_waits += 1
        wait = self.number_of_waits
        try:
            if not self._expect_owner(claim, lambda: self.journal.block(claim, tails, wait, any_is_enough, refuse_deadlock)):
                return
        except SchedulingDeadlockException:
            as_before = copy.deepcopy(self.model)
            assert self.model.block(claim, tails, wait, any_is_enough)
            assert not self.model.can_end(claim.task), "a wait was refused that can end"
            self.model = as_before
            return
        is_blocked = self.model.block(claim, tails, wait, any_is_enough)
        assert self._written == is_blocked
        if is_blocked:
            assert self.model.can_end(claim.task), "a wait was let begin that can never end"
            self.model.unblock()
            self.waits.append((worker, wait))

    # --- waits for times and events, in this or another process ----------------------------------------------------------

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), what=st.sampled_from([(None, 1), (None, 2), (-5.0, 0), (5.0, 0), (60.0, 0), (5.0, 1), (60.0, 2)]),
          name=NAMES, suspends=st.booleans())
    def wait_outside(self, data: st.DataObject, what: tuple[float | None, int], name: str, suspends: bool) -> None:
        """Until a time, or for the nth event of a name, or until one of both; the body may be replayed then."""
        worker, claim = self._draw_worker(data, self.claims)
        in_s, nth = what
        due, event = None if in_s is None else self.now + in_s, (name, nth) if nth else None
        self.number_of_waits += 1
        wait = self.number_of_waits
        if not self._expect_owner(claim, lambda: waiting.begin_wait(self.journal, claim, wait, due, event)):
            return
        begins = self.model.begin_wait(claim, wait, self.now, due, event)
        assert self._written == begins
        if begins:
            self.model.unblock()
            self.waits.append((worker, wait))
            if suspends:
                self._suspend(worker)

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def suspend(self, data: st.DataObject) -> None:
        worker, _ = data.draw(st.sampled_from(self.waits), label="wait")
        self._suspend(worker)

    def _suspend(self, worker: int) -> None:
        claim = self.claims[worker]
        ends = waiting.suspend(self.journal, claim, 0)
        assert ends == self.model.suspend(claim)
        if ends:
            self._leaves(worker)

    @precondition(lambda self: self._waits_for_something() or self.claims)
    @rule(name=NAMES)
    def send(self, name: str) -> None:
        assert waiting.send(self.journal, name, "1") == self.model.send(name)

    @rule(passes_s=st.sampled_from([0.0, 4.0, 70.0, -30.37]))
    def the_runner_looks(self, passes_s: float) -> None:
        """After some time; perhaps the clock was set back."""
        self.now += passes_s
        self.journal.look(list(self.claims), waiting.come_due)
        self.model.come_due(self.now)
        self.model.unblock()

    # --- what others compute ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), key=KEYS)
    def take_over_a_result(self, data: st.DataObject, key: str) -> None:
        """Compute it, wait for who does, or end with what was computed."""
        worker, claim = self._draw_worker(data, self.claims)
        key = once.CACHE + key
        if not self._expect_owner(claim, lambda: once.compute_or_wait(self.journal, claim, key)):
            return
        computes = self.model.compute(claim.task, key)
        assert self._written == computes
        if self.model.tasks[computes].state == "succeeded":
            self._settle(worker, replace(result_of(claim.service), cached_from=computes))
        elif computes != claim.task:
            self._block(worker, [computes], any_is_enough=False)

    def _has_held(self) -> list[int]:
        return [task.num for task in self.model.all() if task.held]

    @precondition(_has_held)
    @rule()
    def release_held(self) -> None:
        held = self._has_held()
        self.journal.release_held(held)
        for num in held:
            self.model.release(num)
        self.model.unblock()

    def _below_or_above(self) -> list[int]:
        """Workers whose task is a child or has children: a run ends soon enough."""
        return [worker for worker, claim in self.claims.items() if claim.depth or self._children(claim)]

    @precondition(_below_or_above)
    @rule(data=st.data(), succeeds=st.booleans(), leaves_out=st.booleans())
    def settle(self, data: st.DataObject, succeeds: bool, leaves_out: bool) -> None:
        worker, claim = self._draw_worker(data, self._below_or_above())
        outcome = result_of(claim.service) if succeeds else RAISED
        self._settle(worker, replace(outcome, aside=tuple(self._own_children(claim)[:1]) if leaves_out else ()))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), delay_s=st.sampled_from([0.0, 5.0, 60.0]))
    def is_to_be_tried_again(self, data: st.DataObject, delay_s: float) -> None:
        worker, _ = self._draw_worker(data, self.claims)
        self._settle(worker, Retry(RAISED.error, delay_s))

    def _awaited(self) -> list[int]:
        """Workers for whose task somebody waits."""
        tails = {tail for tail, _, _ in self.model.awaited}
        return [worker for worker, claim in self.claims.items() if claim.last in tails]

    @precondition(_awaited)
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def settle_what_is_waited_for(self, data: st.DataObject, succeeds: bool) -> None:
        worker, claim = self._draw_worker(data, self._awaited())
        self._settle(worker, result_of(claim.service) if succeeds else RAISED)

    @precondition(lambda self: self.waits)
    @rule(data=st.data(), succeeds=st.booleans())
    def settle_while_it_waits(self, data: st.DataObject, succeeds: bool) -> None:
        """A body may end while a thread of it waits, or because its time is up."""
        worker, claim = self._draw_worker(data, {worker for worker, _ in self.waits})
        self._settle(worker, result_of(claim.service) if succeeds else RAISED)

    def _settle(self, worker: int, outcome: Success | Failure | Retry) -> None:
        claim = self.claims[worker]
        is_parent = bool(self._children(claim))
        self._leaves(worker)
        got = self.journal.settle(claim, outcome, worker, 0, is_parent)
        if isinstance(outcome, Retry):
            self.model.settle(claim, "ready", (), self.now + outcome.delay_s if outcome.delay_s else None)
        else:
            self.model.settle(claim, "succeeded" if isinstance(outcome, Success) else "failed", outcome.aside, None)
        self._begins(worker, got)

    def _leaves(self, worker: int) -> Claim:
        """What this worker held, and holds no more."""
        claim = self.claims.pop(worker)
        self.waits = [wait for wait in self.waits if wait[0] != worker]
        self.stale.append(claim)
        return claim

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        worker, wait = found = data.draw(st.sampled_from(self.waits), label="wait")
        claim = self.claims[worker]
        goes_on = self._expect_owner(claim, lambda: self.journal.is_waiting(claim, wait)) and self._written
        assert goes_on == (self.model.owns(claim) and self.model.is_waiting(claim, wait))
        if not goes_on:
            self.waits.remove(found)

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def end_wait(self, data: st.DataObject) -> None:
        worker, wait = found = data.draw(st.sampled_from(self.waits), label="wait")
        self.waits.remove(found)
        claim = self.claims[worker]
        self.journal.end_wait(claim, wait)
        if self.model.owns(claim):
            self.model.end_wait(claim, wait)

    @precondition(_parents)
    @rule(data=st.data())
    def revoke_child(self, data: st.DataObject) -> None:
        _, claim = self._draw_worker(data, self._parents())
        head = data.draw(st.sampled_from(self._children(claim)), label="child")
        last = self.model.tasks[head].last
        self.journal.revoke_chain(head)
        self.model.revoke(list(range(head, last + 1)))
        self.model.unblock()

    @precondition(lambda self: any(task.is_open for task in self.model.all()))
    @rule(data=st.data())
    def somebody_cancels_a_task(self, data: st.DataObject) -> None:
        num = data.draw(st.sampled_from([task.num for task in self.model.all() if task.is_open]), label="task")
        assert sorted(outside.cancel(self.journal, num, "somebody")) == sorted(self.model.cancel(num))

    @precondition(lambda self: len(self.model.tasks) > LARGE // 2 and any(task.is_open for task in self.model.all()))
    @rule(is_cancelled=st.booleans())
    def all_is_called_off(self, is_cancelled: bool) -> None:
        """By somebody, or by the limit of the run."""
        if is_cancelled:
            outside.cancel(self.journal, None, "somebody")
        else:
            expire_run(self.journal, 1.0)
        self.model.revoke([task.num for task in self.model.all() if task.is_open])

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def a_limit_is_reached(self, data: st.DataObject) -> None:
        """By an attempt that goes on, or has just ended; its worker is killed in the first case."""
        worker, claim = self._draw_worker(data, self.claims)
        killed: list[int] = []
        expire(self.journal, claim.task, claim.attempt, lambda: killed.append(worker))
        assert bool(killed) == self.model.expire(claim)
        if killed:
            self._leaves(worker)
            assert self.journal.lose(worker, lambda deaths, unsure: encode_error(WorkerLost(deaths, "SIGKILL", unsure))) == []

    @precondition(_parents)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        worker, _ = self._draw_worker(data, self._parents())
        claim = self._leaves(worker)
        mismatch = json.dumps({"recorded": [], "new": [], "raised": None})
        got = self.journal.stop(claim, mismatch, worker, 0)
        self.model.stop(claim)
        self._begins(worker, got)

    # --- deaths, and what comes after them -------------------------------------------------------------------------------

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        worker, _ = self._draw_worker(data, self.claims)
        self._leaves(worker)
        failed = self.journal.lose(worker, lambda deaths, unsure: encode_error(WorkerLost(deaths, "SIGKILL", unsure)))
        assert failed == self.model.lose(worker)

    def _may_be_resumed(self) -> bool:
        return self._comes_to_rest() or self.looks - self.resumed_at >= LIFE

    @precondition(_may_be_resumed)
    @rule(is_killed=st.booleans())
    def next_incarnation(self, is_killed: bool) -> None:
        """All die, or are stopped and the run is left as a single file; then it is resumed, if it has not succeeded."""
        self._resume(is_killed)

    @precondition(_may_be_resumed)
    @rule()
    def killed_again_and_again(self) -> None:
        """As often as a task is run again with which the whole incarnation dies."""
        for _ in range(INCARNATION_DEATHS):
            if 0 not in self.claims:
                self._begins(0, self.journal.claim(0, 0))
            self._resume(is_killed=True)

    def _resume(self, is_killed: bool) -> None:
        self.resumed_at = self.looks
        for worker in list(self.claims):
            self._leaves(worker)
        has_succeeded = all(not task.is_open and (task.parent is not None or task.state == "succeeded")
                            for task in self.model.all())
        if not is_killed:
            state = self.journal.finish(interrupted=True)
            assert state == ("succeeded" if has_succeeded else "interrupted")
            assert list(faults_of_rules(self.journal)) == []
            self.journal.fold()
            self.journal.close()
            self.journal.open()
        if not has_succeeded:
            take_over(self.journal, 1, "here", {}, Decisions())
            self.model.take_over(is_killed)
            self._an_older_incarnation_writes()
        elif not is_killed:
            self._end()

    def _end(self) -> None:
        """The run is over; nothing moves any more, and what comes next is another life of a run that does not change."""
        self.journal.execute("UPDATE run SET state = 'running', ended = NULL")
        self.journal.execute("UPDATE incarnation SET ended = NULL, how = NULL WHERE epoch = (SELECT epoch FROM run)")

    @precondition(lambda self: self.stale and self.claims)
    @rule(data=st.data())
    def somebody_comes_too_late(self, data: st.DataObject) -> None:
        """A claim that was lost is used once more: that changes nothing."""
        claim = data.draw(st.sampled_from(self.stale), label="claim")
        late = [lambda: self.journal.settle(claim, result_of("late"), 0, 0, is_parent=True, claims_next=False),
                lambda: self.journal.settle(claim, Failure('"late"'), 0, 0, is_parent=True, claims_next=False),
                lambda: self.journal.settle(claim, Retry('"late"', 0.0), 0, 0, is_parent=True, claims_next=False),
                lambda: self.journal.enqueue(claim, "late", _new_tasks([PLAIN])),
                lambda: self.journal.enqueue(claim, "late", _new_tasks([PLAIN]), once="late"),
                lambda: once.compute_or_wait(self.journal, claim, "late"),
                lambda: waiting.begin_wait(self.journal, claim, 1, self.now + 50, None),
                lambda: waiting.suspend(self.journal, claim, 0),
                lambda: expire(self.journal, claim.task, claim.attempt, lambda: None),
                lambda: self.journal.block(claim, [1], 1),
                lambda: self.journal.show(claim, [("late", "text", '"late"', 0)]),
                lambda: self.journal.note(claim, "late", 0, "1")]
        before = self._everything()
        with contextlib.suppress(ClaimLost):
            data.draw(st.sampled_from(late), label="write")()
        assert self._everything() == before

    def _an_older_incarnation_writes(self) -> None:
        self.journal.of_epoch = self.model.epoch - 1
        try:
            for write in (lambda: self.journal.claim(0, 0), lambda: self.journal.release_held([1]),
                          lambda: self.journal.lose(0, lambda deaths, unsure: '"late"'), self.journal.finish):
                try:
                    write()
                except Superseded:
                    continue
                raise AssertionError("an older incarnation could write")
        finally:
            self.journal.of_epoch = None

    def _everything(self) -> list:
        return [self.journal.execute(f"SELECT * FROM {table}")
                for table in ("run", "task", "attempt", "awaited", "event", "noted", "flame", "once", "attached", "sent")]

    # --- what always holds -------------------------------------------------------------------------------------------------

    @invariant()
    def they_are_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        found = self.journal.execute(
            "SELECT id, parent_retry, state, attempt, retry, due, deaths, wakeable, held, aside, unsure, stopped IS NOT NULL, "
            "shared, limited, CASE WHEN state IN ('running', 'blocked') THEN worker END FROM task ORDER BY id")
        expected = [(task.num, task.parent_retry, task.state, task.attempt, task.retry, task.due, task.deaths, task.wakeable,
                     task.held, task.aside, task.unsure, task.stopped is not None, task.shared, task.limited,
                     task.worker if task.is_under_way else None) for task in self.model.all()]
        assert found == expected
        awaited = {tuple(row[:3]): WaitModel(bool(row[3]), row[4], row[5] and (row[5], row[6])) for row in
                   self.journal.execute("SELECT tail, waiter, wait, any, due, event, nth FROM awaited")}
        assert awaited == self.model.awaited
        assert dict(self.journal.execute("SELECT key, task FROM once")) == self.model.once
        assert set(self.journal.execute("SELECT chain, parent FROM attached")) == self.model.attached
        assert self.journal.epoch() == self.model.epoch
        self.looks += 1
        if self.looks % 8:
            return
        with History(self.directory) as history:
            assert [task.state for task in history.tasks()] == [task.state for task in self.model.all()]

    @invariant()
    def the_rules_hold(self) -> None:
        if not hasattr(self, "model"):
            return
        assert list(faults_of_rules(self.journal)) == []
        succeeded = {row[0]: row for row in self.journal.execute(
            "SELECT id, attempt, epoch, worker, moved, result, changes FROM task WHERE state = 'succeeded'")}
        assert self.succeeded.items() <= succeeded.items(), "a task that had succeeded changed"
        self.succeeded = succeeded


def _new_tasks(kinds: Sequence[Kind]) -> list[NewTask]:
    return [NewTask("a", "{}", SUFFERS, ABOUT, "a", kind.on_interrupt, kind.queue, kind.slots, kind.priority,
                    kind.keeps_children, None if kind == PLAIN else '{"time_limit": 1}') for kind in kinds]


QUICK = hypothesis.settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None,
                            suppress_health_check=list(hypothesis.HealthCheck))


ROUNDS, LIVES = 40, 100  # of the long set: lives are shortened to the shortest that goes wrong round by round


class Model(Part):
    """Random lives of a run."""

    name = "stateful model"
    is_random = True
    shares = 2

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        tally, give_up = Tally(), time.monotonic() + budget_s
        settings = hypothesis.settings(QUICK, derandomize=False, max_examples=LIVES, stateful_step_count=60, print_blob=False)
        for number in range(self.share, ROUNDS, self.shares):
            if time.monotonic() > give_up:
                tally.notes.append(f"cut short by --budget: {ROUNDS * LIVES:,} trials belong to it")
                break
            try:
                run_state_machine_as_test(hypothesis.seed(seed * 1_000_000 + number)(JournalAndModel), settings=settings)
            except Exception as error:
                tally.wrong += 1
                notes = "; ".join(getattr(error, "__notes__", []))
                tally.failures.append(f"seed {seed}, round {number}: {type(error).__name__}: {error}; {notes}"[:3000])
                return tally
            tally.trials += LIVES
            report(number + 1, ROUNDS)
        return tally
