"""A run in plain Python, beside the journal: whatever is asked of both, in any order, they must stay the same.

The model keeps what the journal keeps, in lists and sets, without a word of SQL. hypothesis chooses what happens next, and
makes what went wrong as short as it can.
"""
from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from firexlite.claims import Bell, Claim, Failure, NewTask
from firexlite.codec import encode_error
from firexlite.errors import ClaimLost, Superseded, WorkerLost
from firexlite.history import History
from firexlite.journal import Journal
from firexlite.soundness import faults_of_rules
from firexlite.states import OPEN
from firexlite.takeover import INCARNATION_DEATHS, Decisions, take_over

from .actors import ABOUT, FIREX_ID, OPTIONS, RAISED, make_directory, result_of
from .parts import Part, Report, Tally, new_folder

SUFFERS = 1  # deaths of workers that a task survives
WORKERS = 3  # so many at the most
LIFE = 8     # steps, that an incarnation has at least if it does not come to rest before
LARGE = 20   # tasks, from which on a run grows no more
SLOTS = st.integers(1, 2)
KINDS = st.lists(st.sampled_from(["retry"] * 6 + ["ask", "fail"]), min_size=1, max_size=3)  # `on_interrupt` of a chain's tasks


@dataclass
class TaskModel:
    """One task, as the journal should have it."""

    num: int
    chain: int
    last: int
    parent: int | None
    depth: int
    on_interrupt: str
    state: str
    held: bool = False
    attempt: int = 0
    deaths: int = 0
    worker: int | None = None
    wakeable: bool = False
    stopped: str | None = None   # why: mismatch, ask
    unsure: bool = False
    aside: bool = False
    just_failed: bool = False    # in this take-over

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_under_way(self) -> bool:
        return self.state in ("running", "blocked")


class RunModel:
    """What a run is by the rules of the design."""

    def __init__(self, slots: int) -> None:
        self.slots, self.epoch, self.tasks = slots, 1, [TaskModel(0, 0, 0, None, -1, "retry", "none")]  # numbered from 1
        self.awaited: dict[tuple[int, int, int], bool] = {}  # (tail, waiter, wait) -> whether any is enough
        self.killed = 0  # incarnations in a row without a success

    def all(self) -> list[TaskModel]:
        return self.tasks[1:]

    def of(self, state: str) -> list[TaskModel]:
        return [task for task in self.all() if task.state == state]

    def chain(self, task: TaskModel) -> list[TaskModel]:
        return self.tasks[task.chain:task.last + 1]

    def owns(self, claim: Claim) -> bool:
        task = self.tasks[claim.task]
        return task.is_under_way and (task.attempt, self.epoch) == (claim.attempt, claim.epoch)

    # --- moves ---------------------------------------------------------------------------------------------------

    def enqueue(self, parent: int | None, kinds: Sequence[str], held: bool = False) -> tuple[int, int]:
        head, last = len(self.tasks), len(self.tasks) + len(kinds) - 1
        depth = 0 if parent is None else self.tasks[parent].depth + 1
        for i, kind in enumerate(kinds):
            is_released = i == 0 and not held
            self.tasks.append(TaskModel(head + i, head, last, parent, depth, kind, "ready" if is_released else "waiting",
                                        held=held and i == 0))
        return head, last

    def unblock(self) -> int:
        """Free slots go to those whose wait is over, the deepest first; what is left."""
        free = self.slots - len(self.of("running"))
        for task in sorted((task for task in self.of("blocked") if task.wakeable), key=_deepest)[:max(free, 0)]:
            task.state, task.wakeable = "running", False
            free -= 1
        return free

    def claim(self, worker: int) -> tuple[int, int] | None:
        """The task and the attempt that this worker should get."""
        ready = sorted((task for task in self.of("ready") if task.stopped is None), key=_deepest)
        if self.unblock() <= 0 or not ready:
            return None
        task = ready[0]
        task.state, task.attempt, task.worker = "running", task.attempt + 1, worker
        return task.num, task.attempt

    def settle(self, claim: Claim, succeeds: bool, aside: Sequence[int]) -> None:
        if not self.owns(claim):
            return
        task = self.tasks[claim.task]
        task.state, task.wakeable = "succeeded" if succeeds else "failed", False
        self.killed = 0 if succeeds else self.killed
        self._stop_waiting(task)
        for head in aside:
            members = list(self.chain(self.tasks[head]))
            if succeeds or not any(member.state == "succeeded" for member in members):  # else it may be asked for yet
                for member in members:
                    member.aside = True
        self._revoke_below(task)
        if succeeds:
            self._ended(task.num)
            if task.num < task.last:
                self.release(task.num + 1)
        else:
            self._end_rest(task)

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

    def _ended(self, num: int) -> None:
        for ended, waiter, wait in sorted(key for key in self.awaited if key[0] == num):
            if (ended, waiter, wait) not in self.awaited:
                continue
            any_is_enough = self.awaited.pop((ended, waiter, wait))
            rest = [key for key in self.awaited if key[1:] == (waiter, wait)]
            if any_is_enough:
                for key in rest:
                    del self.awaited[key]
            elif rest:
                continue
            if self.tasks[waiter].state == "blocked" and not any(key[1] == waiter for key in self.awaited):
                self.tasks[waiter].wakeable = True

    def block(self, claim: Claim, tails: Sequence[int], wait: int, any_is_enough: bool) -> bool:
        still_open = {tail for tail in tails if self.tasks[tail].is_open}
        if not still_open or (any_is_enough and len(still_open) < len(tails)):
            return False
        self.awaited.update({(tail, claim.task, wait): any_is_enough for tail in still_open})
        self.tasks[claim.task].state, self.tasks[claim.task].wakeable = "blocked", False
        return True

    def is_waiting(self, claim: Claim, wait: int) -> bool:
        """Whether this thread of a body still waits: for a slot too, if it was the last that waited."""
        others = {key[2] for key in self.awaited if key[1] == claim.task}
        return wait in others or (self.tasks[claim.task].state == "blocked" and not others)

    def end_wait(self, claim: Claim, wait: int) -> None:
        self.awaited = {key: any_ for key, any_ in self.awaited.items() if key[1:] != (claim.task, wait)}
        task = self.tasks[claim.task]
        if task.state == "blocked":
            task.state, task.wakeable = "running", False

    def revoke(self, nums: Sequence[int]) -> None:
        doomed, found = set(), list(nums)
        while found:
            doomed.add(num := found.pop())
            found += [task.num for task in self.all() if task.parent == num and task.is_open and task.num not in doomed]
        revoked = [self.tasks[num] for num in sorted(doomed) if self.tasks[num].is_open]
        for task in revoked:
            task.unsure = task.unsure or (task.on_interrupt != "retry" and task.is_under_way)
            task.state, task.wakeable, task.held = "revoked", False, False
        for num in doomed:
            self._stop_waiting(self.tasks[num])
        for task in revoked:
            self._ended(task.num)

    def _revoke_below(self, task: TaskModel) -> None:
        self.revoke([child.num for child in self.all() if child.parent == task.num and child.is_open])

    def stop(self, claim: Claim) -> None:
        if self.owns(claim):
            task = self.tasks[claim.task]
            task.state, task.stopped, task.wakeable = "ready", "mismatch", False
            self._stop_waiting(task)

    # --- deaths ------------------------------------------------------------------------------------------------------

    def lose(self, worker: int) -> list[int]:
        """The tasks that fail by the death of this worker."""
        failed = []
        for task in [task for task in self.all() if task.worker == worker and task.is_under_way]:
            task.deaths += 1
            fails = task.on_interrupt == "fail" or (task.on_interrupt == "retry" and task.deaths > SUFFERS)
            failed += [task.num] * fails
            self._give_back(task, fails)
        self.unblock()
        return failed

    def _give_back(self, task: TaskModel, fails: bool) -> None:
        self._stop_waiting(task)
        task.unsure, task.wakeable = task.on_interrupt != "retry", False
        if not fails:
            task.state, task.stopped = "ready", "ask" if task.unsure else None
            return
        task.state, task.just_failed = "failed", True
        self._revoke_below(task)
        self._end_rest(task)

    def take_over(self, is_killed: bool) -> None:
        self.epoch += 1
        self.killed = self.killed + 1 if is_killed else 0
        self.awaited.clear()
        for task in self.all():
            task.just_failed = False
            task.stopped = task.stopped if task.unsure else None
        for task in sorted(self.all(), key=_deepest):
            if task.is_under_way:
                is_spent = task.state == "running" and self.killed >= INCARNATION_DEATHS
                self._give_back(task, task.on_interrupt == "fail" or (task.on_interrupt == "retry" and is_spent))
        self._reopen()

    def _reopen(self) -> None:
        heads = {task.chain for task in self.all() if task.parent is None and self._is_to_be_reopened(task)}
        while heads:
            reopened = {task.num for head in heads for task in self._reopen_chain(head)}
            heads = {task.chain for task in self.all() if task.parent in reopened and self._is_to_be_reopened(task)}

    @staticmethod
    def _is_to_be_reopened(task: TaskModel) -> bool:
        return task.state in ("failed", "skipped", "revoked") and not task.aside

    def _reopen_chain(self, head: int) -> Iterator[TaskModel]:
        target = "ready"
        for task in self.chain(self.tasks[head]):
            if task.state == "succeeded":
                continue
            asks = task.state == "revoked" and task.unsure and task.on_interrupt == "ask"
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
        if hasattr(self, "journal"):
            self.journal.close()
        shutil.rmtree(self.folder)

    @initialize(kinds=KINDS, slots=SLOTS)
    def submit(self, kinds: list[str], slots: int) -> None:
        self.directory = make_directory(self.folder)
        self.journal = Journal(self.directory, slots, Bell())
        self.journal._full = False
        self.journal.clock = self._clock
        self.journal.open()
        self.model = RunModel(slots)
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
        return any((task.state == "ready" and not task.stopped) or task.wakeable for task in self.model.all())

    @precondition(_comes_to_rest)
    @rule(kinds=KINDS, slots=SLOTS)
    def another_run(self, kinds: list[str], slots: int) -> None:
        """There is no more to be seen in this one, or only by a resume."""
        self.journal.close()
        shutil.rmtree(self.directory.path)
        self.submit(kinds, slots)

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

    def _draw_worker(self, data: st.DataObject, of: Iterable[int]) -> tuple[int, Claim]:
        worker = data.draw(st.sampled_from(sorted(of)), label="worker")
        return worker, self.claims[worker]

    def _children(self, claim: Claim) -> list[int]:
        return [task.num for task in self.model.all()
                if task.parent == claim.task and task.num == task.chain and not task.aside]

    def _parents(self) -> list[int]:
        """Workers whose task, of any of its attempts, has children."""
        return [worker for worker, claim in self.claims.items() if self._children(claim)]

    def _may_grow(self) -> bool:
        return bool(self.claims) and len(self.model.tasks) < LARGE

    @precondition(_may_grow)
    @rule(data=st.data(), kinds=KINDS, held=st.booleans())
    def enqueue(self, data: st.DataObject, kinds: list[str], held: bool) -> None:
        """A body may do this though it waits: in another of its threads. So it is with all that follows."""
        _, claim = self._draw_worker(data, self.claims)
        self._enqueue(claim, kinds, held)

    def _enqueue(self, claim: Claim, kinds: list[str], held: bool = False) -> None:
        if self._expect_owner(claim, lambda: self.journal.enqueue(claim, f"digest of {len(kinds)}", _new_tasks(kinds), held)):
            assert self._written == self.model.enqueue(claim.task, kinds, held)
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
    def enqueue_and_block(self, data: st.DataObject, chains: list[list[str]], any_is_enough: bool) -> None:
        """What most bodies do."""
        worker, claim = self._draw_worker(data, self.claims)
        for kinds in chains:
            self._enqueue(claim, kinds)
        if heads := self._children(claim):
            self._block(worker, heads, any_is_enough)

    @precondition(_parents)
    @rule(data=st.data(), any_is_enough=st.booleans(), firsts=st.booleans())
    def block(self, data: st.DataObject, any_is_enough: bool, firsts: bool) -> None:
        """Until chains end, or the first task of each."""
        worker, claim = self._draw_worker(data, self._parents())
        heads = data.draw(st.sets(st.sampled_from(self._children(claim)), min_size=1), label="for")
        self._block(worker, heads, any_is_enough, firsts)

    def _block(self, worker: int, heads: Iterable[int], any_is_enough: bool, firsts: bool = False) -> None:
        claim = self.claims[worker]
        tails = sorted(head if firsts else self.model.tasks[head].last for head in heads)
        self.number_of_waits += 1
        wait = self.number_of_waits
        if self._expect_owner(claim, lambda: self.journal.block(claim, tails, wait, any_is_enough)):
            is_blocked = self.model.block(claim, tails, wait, any_is_enough)
            assert self._written == is_blocked
            if is_blocked:
                self.model.unblock()
                self.waits.append((worker, wait))

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
        self._settle(worker, succeeds, tuple(self._children(claim)[:1]) if leaves_out else ())

    def _awaited(self) -> list[int]:
        """Workers for whose task somebody waits."""
        tails = {tail for tail, _, _ in self.model.awaited}
        return [worker for worker, claim in self.claims.items() if claim.last in tails]

    @precondition(_awaited)
    @rule(data=st.data(), succeeds=st.sampled_from([True, True, False]))
    def settle_what_is_waited_for(self, data: st.DataObject, succeeds: bool) -> None:
        worker, _ = self._draw_worker(data, self._awaited())
        self._settle(worker, succeeds)

    @precondition(lambda self: self.waits)
    @rule(data=st.data(), succeeds=st.booleans())
    def settle_while_it_waits(self, data: st.DataObject, succeeds: bool) -> None:
        """A body may end while a thread of it waits, or because its time is up."""
        worker, _ = self._draw_worker(data, {worker for worker, _ in self.waits})
        self._settle(worker, succeeds)

    def _settle(self, worker: int, succeeds: bool, aside: tuple[int, ...] = ()) -> None:
        claim = self._leaves(worker)
        outcome = replace(result_of(claim.service) if succeeds else RAISED, aside=aside)
        got = self.journal.settle(claim, outcome, worker, 0, is_parent=True)
        self.model.settle(claim, succeeds, aside)
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
        submitted = {task.state for task in self.model.all() if task.parent is None}
        if not is_killed:
            state = self.journal.finish(interrupted=True)
            assert state == ("interrupted" if submitted != {"succeeded"} else "succeeded")
            self.journal.fold()
            self.journal.close()
            self.journal.open()
        if submitted != {"succeeded"}:
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
                lambda: self.journal.enqueue(claim, "late", _new_tasks(["retry"])),
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
                for table in ("run", "task", "attempt", "awaited", "event", "noted", "flame")]

    # --- what always holds -------------------------------------------------------------------------------------------------

    @invariant()
    def they_are_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        found = self.journal.execute("SELECT id, state, attempt, deaths, wakeable, held, aside, unsure, stopped IS NOT NULL, "
                                     "CASE WHEN state IN ('running', 'blocked') THEN worker END FROM task ORDER BY id")
        expected = [(task.num, task.state, task.attempt, task.deaths, task.wakeable, task.held, task.aside, task.unsure,
                     task.stopped is not None, task.worker if task.is_under_way else None) for task in self.model.all()]
        assert found == expected
        awaited = {tuple(row[:3]): bool(row[3]) for row in self.journal.execute("SELECT tail, waiter, wait, any FROM awaited")}
        assert awaited == self.model.awaited
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


def _new_tasks(kinds: Sequence[str]) -> list[NewTask]:
    return [NewTask("a", "{}", SUFFERS, ABOUT, "a", kind) for kind in kinds]


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
