"""The journal: all writing to a run's SQLite file. Reading for people is in `history`.

A worker's whole traffic with it is `claim` once and then `settle_all`, which ends one task, or some short ones, and claims
the next in ONE transaction: settle the task -> release or skip the rest of its chain -> unblock who waited for it -> claim.
One move is one UPDATE that names the states it may start from and the attempt that makes it; triggers refuse any other move
and write the event. How the file is opened, locked and left stands in `journal_file`; who settles several, in `batch`.
"""
from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from . import faults, schema
from .claims import (
    NO_APPETITE,
    UNKNOWN,
    Appetite,
    Begun,
    Bell,
    Claim,
    Ended,
    Enqueued,
    Failure,
    Hand,
    NewChain,
    NewTask,
    Outlook,
    Recorded,
    Retry,
    Success,
    Use,
)
from .configuration import FULL_WAIT_S
from .errors import ClaimLost
from .home import RunDirectory
from .journal_file import JournalFile, patient
from .schema import SQL_OPEN
from .states import RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

P = ParamSpec("P")
R = TypeVar("R")
ASK = '{"ask": true}'  # what keeps a task from being claimed until a person decides about it
NOBODY_LEFT = "nobody is left who asked for it"

# --- the hot statements ------------------------------------------------------------------------------------

_STARTABLE = "state = 'ready' AND stopped IS NULL AND due IS NULL AND reserved IS NULL AND limited = ?"
_IN_ORDER = "ORDER BY priority, depth DESC, id LIMIT"
_WOKEN = "AND move = 'wake' AND limited <> ''"  # of those in a limited queue: a task keeps its place while it waits
_NEXT = f"SELECT priority, -depth, id, min(slots, ?) FROM task WHERE {_STARTABLE} {_IN_ORDER} ?"
_NEXT_WOKEN = f"SELECT priority, -depth, id, min(slots, ?) FROM task WHERE {_STARTABLE} {_WOKEN} {_IN_ORDER} ?"
_OF_CLAIM = "service, arguments, parent, chain, last, depth, retry, relaxed, on_interrupt, redoes, options"
_CLAIM = f"""UPDATE task SET state = 'running', move = 'claim', moved = ?, attempt = attempt + 1,
    epoch = (SELECT epoch FROM run), worker = ? WHERE id = ? RETURNING id, attempt, epoch, {_OF_CLAIM}"""
# In the order in which they would be claimed; one that is not to be reserved is overtaken by none.
_RESERVABLE = f"""SELECT slots = 1 AND NOT attempt AND NOT deaths AND on_interrupt = 'retry' AND redoes IS NULL
    AND options IS NULL, id, attempt + 1, ?, {_OF_CLAIM} FROM task WHERE {_STARTABLE} {_IN_ORDER} ?"""
_RESERVE = "UPDATE task SET reserved = ? WHERE id = ?"
_GIVE_BACK = "UPDATE task SET reserved = NULL WHERE id = ? AND reserved = ?"
_BEGIN = """UPDATE task SET state = 'running', move = 'claim', moved = ?, attempt = attempt + 1, epoch = ?, worker = reserved,
    reserved = NULL WHERE id = ? AND reserved = ? AND state = 'ready' RETURNING id"""
IN_QUEUE = """SELECT id FROM task WHERE limited = ?1 AND limited <> '' AND state IN ('running', 'blocked')
    UNION ALL SELECT id FROM task WHERE limited = ?1 AND limited <> '' AND state = 'ready' AND move = 'wake'"""
_BEGIN_ATTEMPT = "INSERT INTO attempt (task, number, epoch, worker, started, log_start, host) VALUES (?, ?, ?, ?, ?, ?, ?)"
_WHOLE_ATTEMPT = """INSERT INTO attempt
    (task, number, epoch, worker, started, log_start, ended, outcome, error, log_end, peak, cpu)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_END_ATTEMPT = """UPDATE attempt SET ended = ?, outcome = ?, error = ?, log_end = ?, peak = ?, cpu = ?
    WHERE task = ? AND number = ? AND ended IS NULL"""
# A task that waits without a process has no worker, and nobody who could still write for it.
_FENCE = "id = ? AND attempt = ? AND worker IS NOT NULL AND epoch = ? AND epoch = (SELECT epoch FROM run)"
_SUCCEED = f"""UPDATE task SET state = 'succeeded', move = 'succeed', moved = ?, result = ?, changes = ?, cached_from = ?
    WHERE {_FENCE} AND state = 'running' RETURNING keeps_children"""
_PERFORM = """UPDATE task SET state = 'succeeded', move = 'perform', moved = ?, attempt = attempt + 1, epoch = ?,
    worker = reserved, reserved = NULL, result = ?, changes = ? WHERE id = ? AND reserved = ? AND state = 'ready'"""
_FAIL = f"""UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0
    WHERE {_FENCE} AND state IN ('running', 'blocked') RETURNING keeps_children"""
_RETRY = f"""UPDATE task SET state = 'ready', move = 'retry', moved = ?, retry = retry + 1, due = ?, wakeable = 0
    WHERE {_FENCE} AND state = 'running' RETURNING keeps_children"""
_STOP = f"""UPDATE task SET state = 'ready', move = 'stop', moved = ?, stopped = ?, wakeable = 0
    WHERE {_FENCE} AND state IN ('running', 'blocked') RETURNING id"""
_RELEASE = """UPDATE task SET state = 'ready', move = 'release', moved = ?, held = 0
    WHERE id = ? AND state = 'waiting'"""
_SKIP = """UPDATE task SET state = 'skipped', move = 'skip', moved = ?
    WHERE id BETWEEN ? AND ? AND state = 'waiting' RETURNING id"""
_BLOCK = f"UPDATE task SET state = 'blocked', move = 'block', moved = ? WHERE {_FENCE} AND state = 'running' RETURNING id"
_AWAIT = f"""INSERT OR IGNORE INTO awaited (tail, waiter, wait, any)
    SELECT task.id, ?, ?, ? FROM json_each(?) JOIN task ON task.id = json_each.value AND task.state IN {SQL_OPEN}
    RETURNING tail"""
_ENDED = "DELETE FROM awaited WHERE tail BETWEEN ? AND ? RETURNING waiter, wait, any"
_ENDED_TOGETHER = "DELETE FROM awaited WHERE tail IN (SELECT value FROM json_each(?)) RETURNING waiter, wait, any"
_MARK_WAKEABLE = "UPDATE task SET wakeable = 1 WHERE id = ? AND state = 'blocked' AND worker IS NOT NULL RETURNING id"
# While lost files are made again, what is woken stands still like all else.
_IS_REDOING = "EXISTS (SELECT 1 FROM task WHERE redoes IS NOT NULL AND NOT aside AND (epoch IS NULL OR epoch = run.epoch))"
_WAKE = f"""UPDATE task SET state = 'ready', move = 'wake', moved = ?,
    stopped = (SELECT '{{"redo": []}}' FROM run WHERE {_IS_REDOING})
    WHERE id = ? AND state = 'blocked' AND worker IS NULL RETURNING id"""
_WAKEABLE = "SELECT id, min(slots, ?) FROM task WHERE state = 'blocked' AND wakeable ORDER BY depth DESC, id LIMIT ?"
_UNBLOCK = """UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE id IN (SELECT value FROM json_each(?)) RETURNING worker"""
# What would be cut off if the processes of the run ended: who waits for a time or an event and will soon do without one,
# and bodies that are not to begin again by themselves.
_KEEPS_PROCESS = """SELECT EXISTS (SELECT 1 FROM task WHERE state = 'blocked' AND worker IS NOT NULL
    AND (on_interrupt <> 'retry' OR id IN (SELECT waiter FROM awaited WHERE tail = 0)))"""
_KEEP_WAITING = "UPDATE task SET wakeable = 0 WHERE id = ? AND wakeable RETURNING worker"
_UNBLOCK_ONE = f"""UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE {_FENCE} AND state = 'blocked'"""
_TAKEN = """SELECT coalesce(sum(min(slots, ?)), 0), EXISTS (SELECT 1 FROM task WHERE state = 'blocked' AND wakeable)
    FROM task WHERE state = 'running'"""
_OWNED = f"SELECT depth, retry FROM task WHERE {_FENCE} AND state IN ('running', 'blocked')"
_ENQUEUE = """INSERT INTO task (id, parent, parent_retry, chain, last, depth, service, arguments, digest, worker_deaths,
    on_interrupt, state, move, moved, attempt, retry, deaths, wakeable, held, relaxed, aside, queue, limited, slots, priority,
    keeps_children, shared, options)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?)"""
KNOWN_SERVICE = """INSERT INTO service (name, about, digest) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET about = excluded.about, digest = excluded.digest"""
# A task whose lost files were made again by another counts with the result of that.
_STEPS = """SELECT arguments, changes, coalesce((SELECT again.result FROM task AS again WHERE again.redoes = task.id
    AND again.state = 'succeeded' ORDER BY again.id DESC LIMIT 1), result) FROM task WHERE id BETWEEN ? AND ? ORDER BY id"""
_SET_ASIDE = "UPDATE task SET aside = 1 WHERE chain IN (SELECT value FROM json_each(?))"
_HAS_SUCCESS = "EXISTS (SELECT 1 FROM task AS one WHERE one.id BETWEEN task.chain AND task.last AND one.state = 'succeeded')"
_NOTE = "INSERT OR IGNORE INTO noted (task, retry, name, number, value) VALUES (?, ?, ?, ?, ?)"
_SHOW = "INSERT OR REPLACE INTO flame (task, key, type, value, position) VALUES (?, ?, ?, ?, ?)"
# By the first tasks of chains, which have an index: one of all open tasks would have to be written with each move.
_CHILD = "head JOIN task AS child ON child.id BETWEEN head.id AND head.last WHERE head.digest IS NOT NULL AND head.parent ="
_OPEN_CHILDREN = f"SELECT child.id FROM task AS {_CHILD} ? AND child.state IN {SQL_OPEN} AND NOT child.shared"
_OPEN_ASIDE = f"SELECT child.id FROM task AS {_CHILD} ? AND child.state IN {SQL_OPEN} AND child.aside"
_BELOW = f"""WITH RECURSIVE doomed (id) AS (SELECT value FROM json_each(?) UNION
    SELECT child.id FROM doomed JOIN task AS {_CHILD} doomed.id AND child.state IN {SQL_OPEN} AND NOT child.shared)
    SELECT id FROM doomed"""
# What was enqueued once for several, of whom none is left that could want it.
_ABANDONED = f"""SELECT task.id FROM attached JOIN task ON task.chain = attached.chain
    WHERE attached.parent IN (SELECT value FROM json_each(?)) AND task.state IN {SQL_OPEN} AND NOT EXISTS (
    SELECT 1 FROM attached AS other JOIN task AS asker ON asker.id = other.parent
    WHERE other.chain = attached.chain
    AND (asker.state IN {SQL_OPEN} OR (asker.keeps_children AND asker.state IN ('succeeded', 'failed'))))"""
_REVOKE = f"""UPDATE task SET state = 'revoked', move = 'revoke', moved = ?, wakeable = 0, held = 0, due = NULL,
    reserved = NULL, reason = ?,
    unsure = unsure OR (on_interrupt <> 'retry' AND state IN ('running', 'blocked'))
    WHERE id IN (SELECT value FROM json_each(?)) AND state IN {SQL_OPEN} RETURNING id"""
_RESERVED_BY = """SELECT DISTINCT reserved FROM task
    WHERE reserved IS NOT NULL AND id IN (SELECT value FROM json_each(?))"""
_CUT_ATTEMPTS = """UPDATE attempt SET ended = ?, outcome = ?
    WHERE task IN (SELECT value FROM json_each(?)) AND ended IS NULL RETURNING worker, task, number"""


def of_the_journal(function: Callable[Concatenate[Journal, P], R]) -> Callable[Concatenate[Journal, P], R]:
    """Mark a function of a journal, and of what goes over the wire, as one that may be called for a worker elsewhere."""
    function.is_of_the_journal = True  # type: ignore[attr-defined]
    return function


class Journal(JournalFile):
    """The writing side of one run. Opened by each process for itself, after the fork."""

    def __init__(self, directory: RunDirectory, slots: int, bell: Bell | None = None,
                 critical: AbstractContextManager | None = None, full_wait_s: float = FULL_WAIT_S,
                 epoch: int | None = None, queues: Mapping[str, int] | None = None, host: str | None = None,
                 serves: Callable[[str], bool] | None = None) -> None:
        """slots: how many tasks may run at once. queues: how many tasks of a queue may run or be blocked at once,
        ``{"gpu": 1}``; without a limit unless named. host: where what is claimed runs, if elsewhere than the run's processes.
        serves: whether tasks of a queue with a limit, or those of none, ``""``, are claimed; None: all are. The others: as of a
        `JournalFile`.
        """
        super().__init__(directory, bell, critical, full_wait_s, epoch)
        self.slots, self.queues, self.host, self._serves = slots, dict(queues or {}), host, serves
        self._known_services: set[str] = set()

    def do(self, function: Callable[Concatenate[Journal, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that is `of_the_journal`. For a worker elsewhere it is called here."""
        return function(self, *args, **kwargs)

    # --- submit ------------------------------------------------------------------------------------------------

    @patient
    def submit(self, *, firex_id: str, chain: str, inputs: str, options: str, digest: str,
               members: Sequence[NewTask], pid: int, host: str) -> None:
        """Make the schema, and journal the run with every task of its chain."""
        members = self._put_away_arguments(members)
        with self.transaction(durable=True, operation="submit") as now:
            schema.create(self.db)
            self.execute("INSERT INTO run (id, firex_id, state, epoch, chain, inputs, options, created) "
                         "VALUES (1, ?, ?, 1, ?, ?, ?, ?)", firex_id, RUN_RUNNING, chain, inputs, options, now)
            self.execute("INSERT INTO incarnation (epoch, pid, host, started) VALUES (1, ?, ?, ?)", pid, host, now)
            self._insert_chains(now, None, 0, 0, [NewChain(digest, members)])

    def _put_away_arguments(self, members: Sequence[NewTask]) -> list[NewTask]:
        """Large arguments in blob files, durable before the rows that name them, and before the lock is taken."""
        return [member if (text := self.directory.spill(member.arguments)) is member.arguments
                else member._replace(arguments=text) for member in members]

    def _insert_chains(self, now: float, parent: int | None, parent_retry: int, depth: int, chains: Sequence[NewChain],
                       held: bool = False, shared: bool = False) -> list[tuple[int, int]]:
        """Insert chains below a task; the first and last task of each."""
        for service, member in {one.service: one for _, members in chains for one in members}.items():
            if service not in self._known_services:
                self.execute(KNOWN_SERVICE, service, member.about, member.digest)
        [(head,)] = self.execute("SELECT coalesce(max(id), 0) + 1 FROM task")
        rows, places = [], []
        for digest, members in chains:
            last = head + len(members) - 1
            places.append((head, last))
            for i, member in enumerate(members):
                released = i == 0 and not held
                rows.append((head + i, parent, parent_retry, head, last, depth, member.service,
                             member.arguments, digest if i == 0 else None, member.worker_deaths, member.on_interrupt,
                             "ready" if released else "waiting", "release" if released else None, now,
                             int(held and i == 0), member.queue, member.queue if member.queue in self.queues else "",
                             member.slots, member.priority, int(member.keeps_children), int(shared), member.options))
            head = last + 1
        self.execute_many(_ENQUEUE, rows)
        self.tell(self.bell.count, known=len(rows))
        return places

    # --- claim -> settle -> next ---------------------------------------------------------------------------------

    @patient
    def claim(self, worker: int, log_at: int, appetite: Appetite = NO_APPETITE) -> Claim | None:
        """Claim the next task for ``worker``; None if there is none for it, which the bell then knows.

        log_at: size in bytes of the worker's log file, where the output of the attempt will begin. appetite: what may be
        reserved with it.
        """
        with self.transaction(durable=False, operation="claim", looks=True) as now:
            return self._claim_next(now, worker, log_at, appetite)

    @patient
    def be_sure(self) -> None:
        """Make what this worker claimed durable: a power cut may not forget that a body began which must not run twice."""
        with self.transaction(durable=True, operation="be sure"):
            pass  # the disk gets the claim along with this

    def _claim_next(self, now: float, worker: int, log_at: int, appetite: Appetite = NO_APPETITE) -> Claim | None:
        if self.bell.stopping:
            return None
        free = self.unblock_who_can_go_on(now)
        startable = self._startable_in(free)
        if found := startable if self._serves is None else self._startable_in(free, self._serves):
            task, slots = found[0]
            others = [one for one in startable if one[0] != task]
            free -= slots
            claim = Claim(*self.execute(_CLAIM, now, worker, task)[0])
            self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at, self.host)
            self.tell(self.bell.work, worker, claim.task, claim.attempt)
            self._startable = len(others)
            self.tell(self.bell.spare, free - len(others))
            self.tell(self.bell.begins, claim.service)
            if appetite.most and claim.service in appetite.services and free <= 0:  # else another could begin those at once
                claim = claim._replace(reserved=self._reserve(claim.epoch, worker, appetite))
            return claim
        self._startable = len(startable)
        self.tell(self.bell.rest, worker, quiet=free == self.slots and not startable)
        return None

    def _reserve(self, epoch: int, worker: int, appetite: Appetite) -> tuple[Claim, ...]:
        """Reserve the tasks that come next, if they are such as may be. They stay ready, and take no slot: theirs is that of
        the task with which they are reserved."""
        found = []
        for may_be, *row in self.execute(_RESERVABLE, epoch, "", appetite.most):
            claim = Claim(*row)
            if not may_be or claim.service not in appetite.services:
                break
            found.append(claim)
        self.execute_many(_RESERVE, [(worker, claim.task) for claim in found])
        return tuple(found)

    def startable_by_queue(self) -> dict[str, int]:
        """Of how many tasks that are ready each queue with a limit could start some now; ``""``: of those without."""
        with self.reading():
            [(taken, _)] = self.execute(_TAKEN, self.slots)
            return {queue: len(self._startable_in(self.slots - taken, queue.__eq__)) for queue in ("", *self.queues)}

    def _startable_in(self, free: int, serves: Callable[[str], bool] = lambda queue: True) -> list[tuple[int, int]]:
        """The ready tasks that could start in so many slots, in the order in which they are to be claimed, with their slots.

        Of those whose queue has a place, by priority, then the deepest, then the oldest. One that takes more slots than are
        free is not overtaken by smaller ones, which could keep it waiting for ever.
        """
        if free <= 0:
            return []
        rows: set[tuple] = set()
        for queue, places in self._places_left().items():
            if not serves(queue):
                continue
            rows.update(self.execute(_NEXT, self.slots, queue, min(max(places, 0), free)))
            if queue:
                rows.update(self.execute(_NEXT_WOKEN, self.slots, queue, free))
        in_order = sorted(rows)
        taken = itertools.accumulate(slots for *_, slots in in_order)
        return [(task, slots) for (*_, task, slots), total in zip(in_order, taken, strict=True) if total <= free]

    def _places_left(self) -> dict[str, int]:
        """``{queue: places}`` that are left in it; ``""`` stands for all tasks without a limited queue."""
        return {"": self.slots, **{queue: limit - len(self.execute(IN_QUEUE, queue)) for queue, limit in self.queues.items()}}

    def has_place(self, queue: str) -> bool:
        """Whether a queue with a limit has a place for another task. Inside a transaction."""
        return len(self.execute(IN_QUEUE, queue)) < self.queues[queue]

    def unblock_who_can_go_on(self, now: float) -> int:
        """Give free slots to blocked tasks whose wait is over, before any new task; returns what is left of them.

        A settling worker thereby hands its slot to the parent it woke, and does not claim: no more tasks
        run at once than there are slots.
        """
        [(taken, somebody_can)] = self.execute(_TAKEN, self.slots)
        free = self.slots - taken
        if free <= 0 or not somebody_can:
            return free
        going_on = []
        for task, slots in self.execute(_WAKEABLE, self.slots, free):
            free -= slots
            if free < 0:
                break  # what is free is kept for it
            going_on.append(task)
        if going_on:
            self._unblocked += [worker for (worker,) in self.execute(_UNBLOCK, now, json.dumps(going_on))]
        return max(free, 0)

    def note_startable(self, free: int) -> None:
        """Let the bell find workers for ready tasks that could start in ``free`` slots."""
        if free > 0:
            self._startable = len(self._startable_in(free))
        self.tell(self.bell.spare, free - self._startable)

    def settle(self, claim: Claim, outcome: Success | Failure | Retry, worker: int, log_end: int,
               is_parent: bool, claims_next: bool = True, use: Use = UNKNOWN) -> Claim | None:
        """End one attempt and claim the next task, as `settle_all`. use: what the attempt used."""
        return self.settle_all([Ended(claim, outcome, log_end, is_parent, use)], worker, log_end, claims_next)

    @patient
    def settle_all(self, ended: Sequence[Ended], worker: int, log_at: int, claims_next: bool = True,
                   left: Sequence[Claim] = (), appetite: Appetite = NO_APPETITE) -> Claim | None:
        """End attempts of a worker and claim the next task, in one durable transaction.

        claims_next: False for a worker that is to end. left: what it had reserved and does not begin. log_at, appetite: as of
        `claim`. An outcome whose claim was lost meanwhile is dropped; the next task is claimed all the same.
        """
        ended = self._put_away(ended)  # durable before the row that names it
        with self.transaction(durable=True, operation="settle") as now:
            self._settle_each(now, worker, ended)
            self._give_back_reserved(worker, left)
            if claims_next:
                return self._claim_next(now, worker, log_at, appetite)
            self.note_startable(self.unblock_who_can_go_on(now))
            return None

    @patient
    def catch_up(self, hand: Hand) -> None:
        """Journal what a worker has in hand. Raises ClaimLost if its present claim was lost meanwhile; all the rest is
        journaled then."""
        hand = self._put_away_hand(hand)
        with self.transaction(durable=bool(hand.ended), operation="catch up") as now:
            places = self._catch_up(now, hand)
            self.note_startable(self.unblock_who_can_go_on(now))
        self._caught_up(hand, places)
        if places is None:
            raise ClaimLost(hand.present.task, hand.present.attempt, "go on")

    def _catch_up(self, now: float, hand: Hand) -> list[tuple[int, int]] | None:
        """As `catch_up`, inside a transaction: the first and last tasks of the chains; None if the present claim was lost."""
        self._settle_each(now, hand.worker, hand.ended)
        self._give_back_reserved(hand.worker, hand.left)
        present, begun = hand.present, hand.begun
        if begun is not None:
            [(taken, _)] = self.execute(_TAKEN, self.slots)
            if taken >= self.slots:
                # The task whose slot it was to have was revoked, and another has it by now.
                self.execute(_GIVE_BACK, present.task, hand.worker)
                return None
            if not self._begin(present, hand.worker, begun):
                return None
        if not hand.enqueued:
            return []
        if not self._owns(present):
            return None
        return self._insert_chains(now, present.task, present.retry, present.depth + 1, [one.chain for one in hand.enqueued])

    def _caught_up(self, hand: Hand, places: Sequence[tuple[int, int]] | None) -> None:
        """The transaction has committed."""
        for one, place in zip(hand.enqueued, places or (), strict=False):
            one.place = place
            self._known_services.update(member.service for member in one.chain.members)

    def _put_away_hand(self, hand: Hand) -> Hand:
        for one in hand.enqueued:
            one.chain = one.chain._replace(members=self._put_away_arguments(one.chain.members))
        return hand._replace(ended=self._put_away(hand.ended))

    def _put_away(self, ended: Sequence[Ended]) -> list[Ended]:
        """Large results in blob files, and large errors."""
        spill = self.directory.spill
        found = []
        for one in ended:
            outcome = one.outcome
            if isinstance(outcome, Success):
                result, changes = spill(outcome.result), spill(outcome.changes)
                if result is not outcome.result or changes is not outcome.changes:
                    one = one._replace(outcome=replace(outcome, result=result, changes=changes))
            elif (error := spill(outcome.error)) is not outcome.error:
                one = one._replace(outcome=replace(outcome, error=error))
            found.append(one)
        return found

    def _settle_each(self, now: float, worker: int, ended: Sequence[Ended]) -> None:
        if len(ended) > 1 and any(one.is_parent for one in ended):  # its end may revoke one that comes after it
            for one in ended:
                self._settle_each(now, worker, [one])
            return
        ours = self._reserved_by(worker) if any(one.begun is not None for one in ended) else frozenset()
        together = []
        counts = {Success: 0, Failure: 0, Retry: 0}
        for one in ended:
            if one.begun is not None and one.claim.task not in ours:
                continue  # it was withdrawn
            if one.begun is not None and isinstance(one.outcome, Success):
                together.append(one)
            elif self._settle(now, worker, one):
                counts[type(one.outcome)] += 1
        if together:
            self._perform(now, worker, together)
        counts[Success] += len(together)
        if faults.are_of_services:
            self.tell(faults.of_services, "succeeded", [one.claim.service for one in ended if isinstance(one.outcome, Success)])
        if counts[Success] or counts[Failure]:
            self.tell(self.bell.count, succeeded=counts[Success], failed=counts[Failure])

    def _reserved_by(self, worker: int) -> frozenset[int]:
        return frozenset(task for (task,) in self.execute("SELECT id FROM task WHERE reserved = ?", worker))

    def _give_back_reserved(self, worker: int, left: Sequence[Claim]) -> None:
        if left:
            self.execute_many(_GIVE_BACK, [(claim.task, worker) for claim in left])

    def _begin(self, claim: Claim, worker: int, begun: Begun) -> bool:
        """Make a reservation a claim; False if it was withdrawn."""
        if not self.execute(_BEGIN, begun.started, claim.epoch, claim.task, worker):
            return False
        self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, *begun, self.host)
        return True

    def _perform(self, now: float, worker: int, ended: Sequence[Ended]) -> None:
        """Settle tasks that were reserved, begun, and succeeded without use of the journal: what `_begin` and `_settle` do
        for each, in a few statements for all."""
        self.execute_many(_WHOLE_ATTEMPT, [
            (one.claim.task, one.claim.attempt, one.claim.epoch, worker, *one.begun,  # type: ignore[misc]
             one.ended or now, "succeeded", None, one.log_end, one.use.peak, one.use.cpu) for one in ended])
        self.execute_many(_PERFORM, [
            (now, one.claim.epoch, one.outcome.result, one.outcome.changes, one.claim.task, worker)  # type: ignore[union-attr]
            for one in ended])
        self._let_waiters_go_on(now, self.execute(_ENDED_TOGETHER, json.dumps([one.claim.task for one in ended])))
        self.execute_many(_RELEASE, [(now, one.claim.task + 1) for one in ended if one.claim.task < one.claim.last])

    def _settle(self, now: float, worker: int, ended: Ended) -> bool:
        claim, outcome = ended.claim, ended.outcome
        if ended.begun is not None:
            self._begin(claim, worker, ended.begun)
        fence = (claim.task, claim.attempt, claim.epoch)
        if isinstance(outcome, Failure):
            moved, how = self.execute(_FAIL, now, *fence), "failed"
        else:
            if isinstance(outcome, Success):
                move: tuple = (_SUCCEED, now, outcome.result, outcome.changes, outcome.cached_from, *fence)
                how = "succeeded"
            else:
                move = (_RETRY, now, now + outcome.delay_s if outcome.delay_s > 0 else None, *fence)
                how = "retried"
            moved = self.execute(*move)
            if not moved:  # did the body end while another of its threads still waited?
                self.execute(_UNBLOCK_ONE, now, *fence)
                moved = self.execute(*move)
        if not moved:
            return False
        [(keeps_children,)] = moved
        error = None if isinstance(outcome, Success) else outcome.error
        end = (ended.ended or now, how, error, ended.log_end, ended.use.peak, ended.use.cpu)
        self.execute(_END_ATTEMPT, *end, claim.task, claim.attempt)
        self.execute("DELETE FROM awaited WHERE waiter = ?", claim.task)  # of a thread that still waits, for a time perhaps
        if ended.is_parent:
            if not isinstance(outcome, Retry):
                self.set_aside(outcome.aside, finished_too=how == "succeeded")
            if keeps_children:
                self.revoke(now, [child for (child,) in self.execute(_OPEN_ASIDE, claim.task)], "it was not asked for again")
            else:
                self.revoke_below(now, claim.task)
        if isinstance(outcome, Success):
            self._ended(now, claim.task, claim.task)
            if claim.task < claim.last:
                self.execute(_RELEASE, now, claim.task + 1)
        elif isinstance(outcome, Failure):
            self.skip_after(now, claim.task, claim.last)
        elif outcome.delay_s > 0:
            self.tell(self.bell.comes_due, outcome.delay_s)
        return True

    def skip_after(self, now: float, task: int, last: int) -> None:
        """End the rest of a chain of which this task failed."""
        if task < last:
            self.tell(self.bell.count, skipped=len(self.execute(_SKIP, now, task + 1, last)))
        self._ended(now, task, last)

    def _ended(self, now: float, first: int, last: int) -> None:
        """Whoever waited for these tasks of one chain, and for no others, may go on."""
        self._let_waiters_go_on(now, self.execute(_ENDED, first, last))

    def _let_waiters_go_on(self, now: float, over: Iterable[tuple]) -> None:
        """over: ``(waiter, wait, any)`` of what is waited for no more."""
        for waiter, wait, any_is_enough in dict.fromkeys(over):
            if any_is_enough:
                self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", waiter, wait)
            elif self.execute("SELECT 1 FROM awaited WHERE waiter = ? AND wait = ? LIMIT 1", waiter, wait):
                continue
            self.let_go_on(now, waiter)

    def let_go_on(self, now: float, waiter: int) -> None:
        """A wait of this task is over. Inside a transaction.

        It gets a slot again as soon as one is free; without a process it is ready, and will be replayed from its top.
        """
        others_wait = self.execute("SELECT 1 FROM awaited WHERE waiter = ? LIMIT 1", waiter)
        if others_wait or not (self.execute(_MARK_WAKEABLE, waiter) or self.execute(_WAKE, now, waiter)):
            # Another thread of the task still waits, so it stays blocked and this thread goes on without a slot; or
            # another took a slot again when its time ran out, so it runs and only has to be woken.
            self._unblocked += [worker for (worker,) in self.execute("SELECT worker FROM task WHERE id = ?", waiter)
                                if worker is not None]

    def set_aside(self, heads: Sequence[int], finished_too: bool = True) -> None:
        """Let chains count no more. finished_too: False keeps those of which something succeeded: it may be asked for yet."""
        if heads:
            self.execute(_SET_ASIDE if finished_too else f"{_SET_ASIDE} AND NOT {_HAS_SUCCESS}", json.dumps(heads))

    # --- children --------------------------------------------------------------------------------------------------

    @patient
    def enqueue(self, claim: Claim, digest: str, members: Sequence[NewTask], held: bool = False,
                once: str | None = None) -> tuple[int, int]:
        """Journal a chain below a task: every member, the first one ready. Returns its first and last task.

        held: not released until `release_held`. once: a key under which one chain is enqueued in the whole run; whoever
        asks for the same key gets that one, also after it ended. One that failed is enqueued anew for a retry, once, and one
        that was revoked since nobody was left who wanted it, for whoever wants it now.
        Raises ClaimLost if the attempt no longer owns its task.
        """
        members = self._put_away_arguments(members)
        with self.transaction(durable=False, operation="enqueue") as now:
            self.must_own(claim, "enqueue")
            chain = None if once is None else self._shared_chain(once, claim)
            if chain is None:
                [chain] = self._insert_chains(now, claim.task, claim.retry, claim.depth + 1, [NewChain(digest, members)],
                                              held, shared=once is not None)
            if once is not None:
                self.execute("INSERT OR REPLACE INTO once (key, task) VALUES (?, ?)", once, chain[0])
                self.execute("INSERT OR IGNORE INTO attached (chain, parent) VALUES (?, ?)", chain[0], claim.task)
            self.note_startable(self.unblock_who_can_go_on(now))
        self._known_services.update(member.service for member in members)
        return chain

    def must_own(self, claim: Claim, move: str) -> None:
        """Raise ClaimLost if the attempt no longer owns its task. Inside a transaction."""
        if not self._owns(claim):
            raise ClaimLost(claim.task, claim.attempt, move)

    def _owns(self, claim: Claim) -> bool:
        return bool(self.execute(_OWNED, claim.task, claim.attempt, claim.epoch))

    def _shared_chain(self, key: str, claim: Claim) -> tuple[int, int] | None:
        """The first and last task of the chain that was enqueued under a key; None if there is none to be had."""
        for head, last, *enqueued_by in self.execute(
                "SELECT id, last, parent, parent_retry FROM task WHERE id = (SELECT task FROM once WHERE key = ?)", key):
            if enqueued_by == [claim.task, claim.retry]:
                return head, last  # by this very try, of which this is a replay
            [(failed, abandoned)] = self.execute(
                "SELECT total(state IN ('failed', 'revoked')), total(state = 'revoked' AND reason = ? AND NOT unsure) "
                "FROM task WHERE id BETWEEN ? AND ?", NOBODY_LEFT, head, last)
            has_asked = self.execute("SELECT 1 FROM attached WHERE chain = ? AND parent = ?", head, claim.task)
            if not (failed and claim.retry) and (has_asked or not abandoned):
                return head, last
        return None

    @patient
    def release_held(self, heads: Sequence[int]) -> None:
        """Let held chains start: the replay that enqueued them has asked for all that was recorded."""
        with self.transaction(durable=False, operation="release") as now:
            for head in heads:
                self.execute(_RELEASE, now, head)
            self.note_startable(self.unblock_who_can_go_on(now))

    @patient
    def block(self, claim: Claim, tails: Iterable[int | Enqueued], wait: int, any_is_enough: bool = False,
              may_wait: Callable[[Journal, int], None] | None = None, hand: Hand | None = None) -> bool:
        """Wait for chains, giving up the slot; False if there is nothing to wait for, they (or one of them) ended.

        wait: tells waits of several threads of one task apart. may_wait: told the task, with the wait journaled; raises if it
        could never end. hand: what the worker of the claim has in hand, which is journaled first. Raises ClaimLost if the
        task was revoked meanwhile.
        """
        if hand is not None:
            hand = self._put_away_hand(hand)
        with self.transaction(durable=hand is not None and bool(hand.ended), operation="block", looks=True) as now:
            places = [] if hand is None else self._catch_up(now, hand)
            if hand is not None:
                self.tell(self._caught_up, hand, places)
            is_ours = places is not None and self._owns(claim)
            has_to_wait = is_ours and self._wait_for(
                now, claim, [self._tail(one, hand, places) for one in tails], wait, any_is_enough, may_wait)
            if hand is not None and not has_to_wait:
                self.note_startable(self.unblock_who_can_go_on(now))  # of what was in the hand
        if not is_ours:
            raise ClaimLost(claim.task, claim.attempt, "block")
        return has_to_wait

    def _tail(self, tail: int | Enqueued, hand: Hand | None, places: Sequence[tuple[int, int]] | None) -> int:
        """The last task of a chain, which may be one of those whose places are not known to others yet."""
        if isinstance(tail, int):
            return tail
        if tail.place is None and hand is not None and places:
            return places[hand.enqueued.index(tail)][1]
        return tail.known()[1]

    def _wait_for(self, now: float, claim: Claim, tails: Sequence[int], wait: int, any_is_enough: bool,
                  may_wait: Callable[[Journal, int], None] | None) -> bool:
        still_open = self.execute(_AWAIT, claim.task, wait, int(any_is_enough), json.dumps(tails))
        if not still_open or (any_is_enough and len(still_open) < len(tails)):
            self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
            return False
        self.give_up_slot(now, claim)
        if may_wait is not None:
            may_wait(self, claim.task)
        return True

    def give_up_slot(self, now: float, claim: Claim) -> None:
        """Give up the slot. Inside a transaction."""
        if not self.execute(_BLOCK, now, claim.task, claim.attempt, claim.epoch):
            # Blocked by another thread; if that may go on, it does without a slot.
            self._unblocked += [worker for (worker,) in self.execute(_KEEP_WAITING, claim.task)]
        self.note_startable(self.unblock_who_can_go_on(now))

    def is_waiting(self, claim: Claim, wait: int) -> bool:
        """Whether a wait still goes on. Raises ClaimLost if the task was revoked meanwhile."""
        with self.reading():
            rows = self.execute(
                f"SELECT state, EXISTS (SELECT 1 FROM awaited WHERE waiter = task.id AND wait = ?), "
                f"EXISTS (SELECT 1 FROM awaited WHERE waiter = task.id) FROM task WHERE {_FENCE}",
                wait, claim.task, claim.attempt, claim.epoch)
        if not rows or rows[0][0] not in ("running", "blocked"):
            raise ClaimLost(claim.task, claim.attempt, "wait")
        state, waits, others_wait = rows[0]
        # With all waits over it is still blocked until it is given a slot again.
        return bool(waits) or (state == "blocked" and not others_wait)

    @patient
    def end_wait(self, claim: Claim, wait: int) -> None:
        """Stop waiting before it is over (a time-out), and take a slot again."""
        with self.transaction(durable=False, operation="end wait", looks=True) as now:
            self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
            self.execute(_UNBLOCK_ONE, now, claim.task, claim.attempt, claim.epoch)

    @patient
    def show(self, claim: Claim, data: Iterable[tuple[str, str, str, int]]) -> None:
        """Journal flame data ``(key, type, value, position)``; a key shown again is replaced."""
        with self.transaction(durable=False, operation="show"):
            if self._owns(claim):
                for row in data:
                    self.execute(_SHOW, claim.task, *row)

    # --- replay ----------------------------------------------------------------------------------------------------

    def recorded_calls(self, claim: Claim) -> list[Recorded]:
        """The chains that earlier attempts of this try enqueued, in their order, less those set aside."""
        with self.reading():
            rows = self.execute("SELECT id, last, digest, held FROM task WHERE parent = ? AND parent_retry = ? "
                                 "AND digest IS NOT NULL AND NOT aside AND NOT shared ORDER BY id", claim.task, claim.retry)
        return [Recorded(head, last, digest, bool(held)) for head, last, digest, held in rows]

    @patient
    def note(self, claim: Claim, name: str, number: int, value: str) -> None:
        """Journal, durably, what a body got from the world. value: JSON text. Raises ClaimLost as `enqueue`."""
        with self.transaction(durable=True, operation="note"):
            self.must_own(claim, "note")
            self.execute(_NOTE, claim.task, claim.retry, name, number, value)

    def notes(self, claim: Claim) -> dict[tuple[str, int], str]:
        """What earlier attempts of this try noted: ``{(name, number): JSON text}``."""
        with self.reading():
            rows = self.execute("SELECT name, number, value FROM noted WHERE task = ? AND retry = ?", claim.task, claim.retry)
        return {(name, number): value for name, number, value in rows}

    @patient
    def stop(self, claim: Claim, mismatch: str | None, worker: int, log_end: int) -> Claim | None:
        """Put back a task whose replay asked for other children than recorded; claim the next task.

        mismatch: JSON text for the person who decides how to go on. Other branches of the run finish. None if nobody
        has to decide: the replay only has to begin anew.
        """
        with self.transaction(durable=True, operation="stop") as now:
            if self.execute(_STOP, now, mismatch, claim.task, claim.attempt, claim.epoch):
                self.execute(_END_ATTEMPT, now, "stopped", None, log_end, None, None, claim.task, claim.attempt)
                self.execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            return self._claim_next(now, worker, log_end)

    # --- revoke ----------------------------------------------------------------------------------------------------

    @patient
    def revoke_chain(self, head: int) -> None:
        """Revoke what of a chain has not ended, and all that is open below it."""
        with self.transaction(durable=True, operation="revoke") as now:
            [(last,)] = self.execute("SELECT last FROM task WHERE id = ?", head)
            self.revoke(now, list(range(head, last + 1)), "the task that enqueued it revoked it")
            self.note_startable(self.unblock_who_can_go_on(now))

    def is_revoked(self, task: int, attempt: int) -> bool:
        """Whether this attempt ended since its task was revoked."""
        with self.reading():
            return bool(self.execute("SELECT 1 FROM attempt WHERE task = ? AND number = ? AND outcome = 'revoked'",
                                     task, attempt))

    def revoke_below(self, now: float, task: int) -> None:
        """Revoke the children of a task that are open. Inside a transaction, as `revoke` and `set_aside`."""
        children = [child for (child,) in self.execute(_OPEN_CHILDREN, task)]
        abandoned = [shared for (shared,) in self.execute(_ABANDONED, json.dumps([task]))]
        self.revoke(now, children, "the task that enqueued it ended")
        self.revoke(now, abandoned, NOBODY_LEFT)

    def revoke(self, now: float, tasks: Sequence[int], reason: str) -> list[int]:
        """Revoke what of these is open, and all that is open below it; returns the tasks that were revoked."""
        all_revoked: list[int] = []
        while tasks:
            doomed = json.dumps([row[0] for row in self.execute(_BELOW, json.dumps(tasks))])
            if reserved := [worker for (worker,) in self.execute(_RESERVED_BY, doomed)]:
                self.tell(self.bell.withdraw, reserved)
            revoked = [row[0] for row in self.execute(_REVOKE, now, reason, doomed)]
            self._interrupted += self.execute(_CUT_ATTEMPTS, now, "revoked", doomed)
            self.execute("DELETE FROM awaited WHERE waiter IN (SELECT value FROM json_each(?))", doomed)
            for task in revoked:
                self._ended(now, task, task)
            all_revoked += revoked
            tasks, reason = [shared for (shared,) in self.execute(_ABANDONED, doomed)], NOBODY_LEFT
        self.tell(self.bell.count, revoked=len(all_revoked))
        return all_revoked

    # --- workers that died -------------------------------------------------------------------------------------------

    @patient
    def lose(self, worker: int, error_after: Callable[[int, bool], str], present: int = 0) -> list[int]:
        """Give back what a dead worker held; returns the tasks that failed by it.

        error_after: from a number of deaths, and whether the body may have done its work, to the JSON text of a `WorkerLost`.
        present: the task that it was last seen at; of one that it had reserved the journal does not know that it began.
        """
        failed = []
        with self.transaction(durable=True, operation="lose") as now:
            self.tell(self.bell.gone, worker)
            if began_reserved := present in self._reserved_by(worker):
                self._begin(*self._begun_unseen(now, present, worker))  # so the body of the task before it had returned
            self.execute("UPDATE task SET reserved = NULL WHERE reserved = ?", worker)
            held = self.execute("SELECT id, deaths + 1, worker_deaths, on_interrupt FROM task WHERE worker = ? "
                                "AND epoch = (SELECT epoch FROM run) AND state IN ('running', 'blocked')", worker)
            for task, deaths, allowed, on_interrupt in held:
                if began_reserved and task != present:
                    self.give_back(now, task, deaths - 1, None, unsure=False, fails=False)
                    continue
                unsure = on_interrupt != "retry"
                if on_interrupt == "fail" or (on_interrupt == "retry" and deaths > allowed):
                    failed.append(task)
                self.give_back(now, task, deaths, error_after(deaths, unsure), unsure, fails=task in failed)
            self.note_startable(self.unblock_who_can_go_on(now))
        return failed

    def _begun_unseen(self, now: float, task: int, worker: int) -> tuple[Claim, int, Begun]:
        """The claim of a reserved task, and that it began, of which its worker could tell nobody any more."""
        [row] = self.execute(f"SELECT id, attempt + 1, (SELECT epoch FROM run), {_OF_CLAIM} FROM task WHERE id = ?", task)
        claim = Claim(*row)
        [(log_start,)] = self.execute("SELECT coalesce(max(log_end), 0) FROM attempt WHERE epoch = ? AND worker = ?",
                                      claim.epoch, worker)
        return claim, worker, Begun(now, log_start)

    def give_back(self, now: float, task: int, deaths: int, error: str | None, unsure: bool, fails: bool) -> None:
        """Take a running or blocked task from a dead worker: it is ready again, or it fails. Inside a transaction.

        deaths: of its workers so far. error: JSON text of a `WorkerLost`. unsure: its body may have done its work and is
        not run again by itself; if it does not fail it waits for a person to decide.
        """
        [(attempt, last, keeps_children)] = self.execute("SELECT attempt, last, keeps_children FROM task WHERE id = ?", task)
        self.execute("DELETE FROM awaited WHERE waiter = ?", task)
        self.execute(_END_ATTEMPT, now, "failed" if fails else "lost", error, None, None, None, task, attempt)
        if not fails:
            self.execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0, deaths = ?, unsure = ?, "
                         "stopped = ? WHERE id = ?", now, deaths, int(unsure), ASK if unsure else None, task)
            return
        self.execute("UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0, deaths = ?, unsure = ? "
                     "WHERE id = ?", now, deaths, int(unsure), task)
        if not keeps_children:
            self.revoke_below(now, task)
        self.tell(self.bell.count, failed=1)
        self.skip_after(now, task, last)

    # --- the life of an incarnation --------------------------------------------------------------------------------

    @patient
    def look(self, workers: Sequence[int], come_due: Callable[[Journal, float], float | None]) -> Outlook:
        """How the run stands, for who schedules it. workers: that live. come_due: see `waiting`."""
        with self.transaction(durable=False, operation="look") as now:
            self.tell(self.bell.recount, workers)
            next_due_s = come_due(self, now)
            free = self.unblock_who_can_go_on(now)
            self.note_startable(free)
            [(waits,)] = self.execute("SELECT EXISTS (SELECT 1 FROM awaited WHERE event IS NOT NULL)")
            waits = (waits or next_due_s is not None) and not self.is_redoing()
            [(keeps_process,)] = self.execute(_KEEPS_PROCESS)
            return Outlook(free == self.slots and not self._startable, bool(waits), bool(keeps_process), next_due_s)

    def is_redoing(self) -> bool:
        """Whether this incarnation only makes lost files again. Inside a transaction."""
        return bool(self.execute(f"SELECT 1 FROM run WHERE {_IS_REDOING}"))

    def has_open_tasks(self) -> bool:
        """Whether anything of the run has not ended."""
        with self.reading():
            return self._has_open_tasks()

    def _has_open_tasks(self) -> bool:
        return bool(self.execute(f"SELECT 1 FROM task WHERE state IN {SQL_OPEN} LIMIT 1"))

    @patient
    def finish(self, interrupted: bool = False) -> str:
        """Record how the incarnation ended; returns the state of the run."""
        with self.transaction(durable=True, operation="finish") as now:
            submitted = {state for (state,) in self.execute("SELECT state FROM task WHERE parent IS NULL AND redoes IS NULL")}
            if self._has_open_tasks() or (interrupted and submitted != {"succeeded"}):
                state = RUN_INTERRUPTED
            elif submitted == {"succeeded"}:
                state = RUN_SUCCEEDED
            else:
                state = RUN_FAILED if "failed" in submitted else RUN_REVOKED
            self.execute("UPDATE run SET state = ?, ended = ?", state, now)
            self.execute("UPDATE incarnation SET ended = ?, how = ? WHERE epoch = (SELECT epoch FROM run)", now, state)
        return state

    # --- what a worker reads ---------------------------------------------------------------------------------------

    def flow_steps(self, chain: int, upto: int) -> list[tuple[str, str | None, str | None]]:
        """``(arguments, changes, result)``, JSON texts, of the tasks of a chain from its first to ``upto``."""
        with self.reading():
            rows = self.execute(_STEPS, chain, upto)
        unspill = self.directory.unspill
        return [tuple(text if text is None else unspill(text) for text in row) for row in rows]  # type: ignore[misc]

    def chain_of(self, task: int) -> int:
        """The first task of the chain of a task."""
        with self.reading():
            [(chain,)] = self.execute("SELECT chain FROM task WHERE id = ?", task)
        return chain

    def tasks_and_chains(self) -> list[tuple[int, int]]:
        """``(task, first task of its chain)`` of every task of the run."""
        with self.reading():
            return self.execute("SELECT id, chain FROM task ORDER BY id")

    def chain_members(self, head: int, last: int) -> list[tuple[int, str, str, str | None, int]]:
        """``(task, service, state, error, attempts)`` of each task of a chain, in order."""
        with self.reading():
            rows = self.execute(
                "SELECT task.id, task.service, task.state, attempt.error, task.attempt FROM task LEFT JOIN attempt "
                "ON attempt.task = task.id AND attempt.number = task.attempt WHERE task.id BETWEEN ? AND ? ORDER BY task.id",
                head, last)
        unspill = self.directory.unspill
        return [(*row[:3], row[3] and unspill(row[3]), row[4]) for row in rows]

    def ended(self, tails: Sequence[int]) -> list[int]:
        """Those of the tasks that have ended, in the order in which they did."""
        with self.reading():
            rows = self.execute("SELECT task.id FROM json_each(?) JOIN task ON task.id = json_each.value "
                                f"WHERE task.state NOT IN {SQL_OPEN} ORDER BY task.moved, task.id", json.dumps(tails))
        return [task for (task,) in rows]

    def have_succeeded(self, tasks: Sequence[int]) -> bool:
        """Whether all of these tasks have."""
        with self.reading():
            return not self.execute("SELECT 1 FROM json_each(?) JOIN task ON task.id = json_each.value "
                                    "WHERE task.state <> 'succeeded' LIMIT 1", json.dumps(tasks))

    def children_of(self, task: int) -> list[tuple[int, int]]:
        """``(first, last)`` of the chains that a task enqueued in its present try, in order."""
        with self.reading():
            return self.execute("SELECT child.id, child.last FROM task AS child JOIN task AS above ON above.id = child.parent "
                                 "WHERE child.parent = ? AND child.digest IS NOT NULL AND NOT child.aside "
                                 "AND child.parent_retry = above.retry ORDER BY child.id", task)
