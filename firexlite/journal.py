"""The journal: all writing to a run's SQLite file. Reading for people is in `history`.

A worker's whole traffic with it is `claim` once and then `settle`, which ends one task and claims the next in ONE
transaction: settle the task -> release or skip the rest of its chain -> unblock who waited for it -> claim.

Every transaction stands under a `flock` on `write.lock`, taken before BEGIN IMMEDIATE. It makes writers queue fairly
(SQLite's busy handler does not), the kernel drops it when its holder dies, and it keeps a checkpoint from meeting another
writer, which in SQLite before 3.51.3 can lose committed transactions (the WAL-reset race). One move is one UPDATE that names
the states it may start from and the attempt that makes it; triggers refuse any other move and write the event.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import peewee
from peewee import SqliteDatabase

from . import schema
from .claims import Bell, Claim, Failure, NewTask, Recorded, Success
from .errors import ClaimLost, JournalUnusable
from .home import RunDirectory
from .schema import SQL_OPEN
from .states import OPEN, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

# --- the hot statements ------------------------------------------------------------------------------------

_CLAIM = """UPDATE task SET state = 'running', move = 'claim', moved = ?, attempt = attempt + 1,
    epoch = (SELECT epoch FROM run), worker = ?
    WHERE id = (SELECT id FROM task WHERE state = 'ready' AND stopped IS NULL ORDER BY depth DESC, id LIMIT 1)
    RETURNING id, attempt, epoch, service, arguments, parent, chain, last, depth, retry, relaxed"""
_BEGIN_ATTEMPT = "INSERT INTO attempt (task, number, epoch, worker, started, log_start) VALUES (?, ?, ?, ?, ?, ?)"
_END_ATTEMPT = """UPDATE attempt SET ended = ?, outcome = ?, error = ?, log_end = ?
    WHERE task = ? AND number = ? AND ended IS NULL"""
_FENCE = "id = ? AND attempt = ? AND epoch = ? AND epoch = (SELECT epoch FROM run)"
_SUCCEED = f"""UPDATE task SET state = 'succeeded', move = 'succeed', moved = ?, result = ?, changes = ?
    WHERE {_FENCE} AND state = 'running' RETURNING id"""
_FAIL = f"""UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0
    WHERE {_FENCE} AND state IN ('running', 'blocked') RETURNING id"""
_STOP = f"""UPDATE task SET state = 'ready', move = 'stop', moved = ?, stopped = ?, wakeable = 0
    WHERE {_FENCE} AND state IN ('running', 'blocked') RETURNING id"""
_RELEASE = """UPDATE task SET state = 'ready', move = 'release', moved = ?, held = 0
    WHERE id = ? AND state = 'waiting' RETURNING id"""
_SKIP = "UPDATE task SET state = 'skipped', move = 'skip', moved = ? WHERE id BETWEEN ? AND ? AND state = 'waiting'"
_BLOCK = f"UPDATE task SET state = 'blocked', move = 'block', moved = ? WHERE {_FENCE} AND state = 'running' RETURNING id"
_AWAIT = f"""INSERT OR IGNORE INTO awaited (tail, waiter, wait, any)
    SELECT task.id, ?, ?, ? FROM json_each(?) JOIN task ON task.id = json_each.value AND task.state IN {SQL_OPEN}
    RETURNING tail"""
_ENDED = "DELETE FROM awaited WHERE tail = ? RETURNING waiter, wait, any"
_MARK_WAKEABLE = "UPDATE task SET wakeable = 1 WHERE id = ? AND state = 'blocked' RETURNING id"
_UNBLOCK = """UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE id IN (SELECT id FROM task WHERE state = 'blocked' AND wakeable ORDER BY depth DESC, id LIMIT ?) RETURNING worker"""
_UNBLOCK_ONE = f"""UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE {_FENCE} AND state = 'blocked'"""
_RUNNING = "SELECT count(*) FROM task WHERE state = 'running'"
_READY = "SELECT count(*) FROM (SELECT 1 FROM task WHERE state = 'ready' AND stopped IS NULL LIMIT ?)"
_OWNED = f"SELECT depth, retry FROM task WHERE {_FENCE} AND state IN ('running', 'blocked')"
_ENQUEUE = """INSERT INTO task (id, parent, parent_retry, chain, last, depth, service, arguments, digest, worker_deaths,
    state, move, moved, attempt, retry, deaths, wakeable, held, relaxed, aside)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, 0, 0)"""
KNOWN_SERVICE = """INSERT INTO service (name, about, digest) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET about = excluded.about, digest = excluded.digest"""
_SHOW = "INSERT OR REPLACE INTO flame (task, key, type, value, position) VALUES (?, ?, ?, ?, ?)"
_OPEN_CHILDREN = f"SELECT id FROM task WHERE parent = ? AND state IN {SQL_OPEN}"
_BELOW = f"""WITH RECURSIVE doomed (id) AS (SELECT value FROM json_each(?) UNION
    SELECT task.id FROM task JOIN doomed ON task.parent = doomed.id WHERE task.state IN {SQL_OPEN}) SELECT id FROM doomed"""
_REVOKE = f"""UPDATE task SET state = 'revoked', move = 'revoke', moved = ?, wakeable = 0, held = 0
    WHERE id IN (SELECT value FROM json_each(?)) AND state IN {SQL_OPEN} RETURNING id"""
_CUT_ATTEMPTS = """UPDATE attempt SET ended = ?, outcome = ?
    WHERE task IN (SELECT value FROM json_each(?)) AND ended IS NULL RETURNING worker, task, number"""


class Journal:
    """The writing side of one run. Opened by each process for itself, after the fork."""

    def __init__(self, directory: RunDirectory, slots: int, bell: Bell | None = None,
                 critical: AbstractContextManager | None = None) -> None:
        """slots: how many tasks may run at once. critical: entered around every transaction; holds signals back."""
        self.directory, self.slots, self.bell = directory, slots, bell or Bell()
        self._critical = critical or contextlib.nullcontext()
        self._mutex = threading.RLock()
        self._lock_fd = -1
        self._opened_by = 0
        self._known_services: set[str] = set()
        self._unblocked: list[int] = []
        self._interrupted: list[tuple[int, int, int]] = []
        self._startable = 0
        self._is_durable: bool | None = None  # whether this connection's commits are
        self.clock = time.time
        # One connection for all threads of a service; the mutex keeps them apart.
        self.db = SqliteDatabase(None, autoconnect=False, thread_safe=False)

    def open(self) -> Journal:
        """Connect. Raises JournalUnusable for a file that is no journal of ours."""
        self._opened_by, self._is_durable = os.getpid(), None
        self._lock_fd = os.open(self.directory.write_lock, os.O_RDWR | os.O_CLOEXEC)
        self.db.init(str(self.directory.journal), timeout=1, check_same_thread=False)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self.db.connect()
            if self.execute("SELECT 1 FROM sqlite_master LIMIT 1"):  # an empty one is about to be made a journal
                schema.refuse_foreign(self.db, self.directory.journal)
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA journal_size_limit = 16777216")
            self.execute("PRAGMA trusted_schema = OFF")
        except BaseException as error:
            self.close()
            if isinstance(error, peewee.DatabaseError):
                raise JournalUnusable(f"{self.directory.journal} cannot be opened: {error}") from error
            raise
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return self

    def close(self) -> None:
        """Disconnect, under the lock: the last to close checkpoints."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        self.db.close()
        os.close(self._lock_fd)

    def forget(self) -> None:
        """For a service's own fork: let go of the lock file, and never touch the connection, not even to close it."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> Journal:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        return self.db.execute_sql(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The connection for one thread, in the process that opened it: a fork must not even read through it."""
        if self._opened_by != os.getpid():
            raise RuntimeError(f"process {os.getpid()} is using the journal that process {self._opened_by} opened; "
                               "open a new Journal after the fork")
        with self._critical, self._mutex:
            yield

    @contextlib.contextmanager
    def transaction(self, durable: bool) -> Iterator[float]:
        """One transaction, alone in the run; gives the present time.

        durable: commit with an fsync. Otherwise the next durable commit of any process makes it so.
        """
        with self._alone():
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX)  # inside: nothing may come between it and its release
                if self.db.connection().in_transaction:
                    self.db.connection().rollback()  # a handler of the service raised here, by way of another thread
                self._unblocked, self._interrupted, self._startable = [], [], 0
                if durable != self._is_durable:
                    self.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
                    self._is_durable = durable
                with self.db.atomic("IMMEDIATE"):
                    yield self.clock()
                # Wake-ups follow the commit: one who looks before it sees nothing and sleeps on.
                if self._interrupted:
                    self.bell.interrupt(self._interrupted)
                if self._unblocked or self._startable:
                    self.bell.ring(self._unblocked, self._startable)
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # --- submit ------------------------------------------------------------------------------------------------

    def submit(self, *, firex_id: str, chain: str, inputs: str, options: str, digest: str,
               members: Sequence[NewTask], pid: int, host: str) -> None:
        """Make the schema, and journal the run with every task of its chain."""
        members = self._put_away_arguments(members)
        with self.transaction(durable=True) as now:
            schema.create(self.db)
            self.execute("INSERT INTO run (id, firex_id, state, epoch, chain, inputs, options, created) "
                         "VALUES (1, ?, ?, 1, ?, ?, ?, ?)", firex_id, RUN_RUNNING, chain, inputs, options, now)
            self.execute("INSERT INTO incarnation (epoch, pid, host, started) VALUES (1, ?, ?, ?)", pid, host, now)
            self._insert_chain(now, None, 0, 0, digest, members, held=False)

    def _put_away_arguments(self, members: Sequence[NewTask]) -> list[NewTask]:
        """Large arguments in blob files, durable before the rows that name them, and before the lock is taken."""
        return [replace(member, arguments=self.directory.spill(member.arguments)) for member in members]

    def _insert_chain(self, now: float, parent: int | None, parent_retry: int, depth: int, digest: str,
                      members: Sequence[NewTask], held: bool) -> tuple[int, int]:
        for member in members:
            if member.service not in self._known_services:
                self.execute(KNOWN_SERVICE, member.service, member.about, member.digest)
        [(head,)] = self.execute("SELECT coalesce(max(id), 0) + 1 FROM task")
        last = head + len(members) - 1
        for i, member in enumerate(members):
            released = i == 0 and not held
            self.execute(_ENQUEUE, head + i, parent, parent_retry, head, last, depth, member.service,
                          member.arguments, digest if i == 0 else None, member.worker_deaths,
                          "ready" if released else "waiting", "release" if released else None, now,
                          int(held and i == 0))
        self.bell.count(known=len(members))
        return head, last

    # --- claim -> settle -> next ---------------------------------------------------------------------------------

    def claim(self, worker: int, log_at: int) -> Claim | None:
        """Claim the next task for ``worker``; None if there is none for it, which the bell then knows.

        log_at: size in bytes of the worker's log file, where the output of the attempt will begin.
        """
        with self.transaction(durable=False) as now:
            return self._claim_next(now, worker, log_at)

    def _claim_next(self, now: float, worker: int, log_at: int) -> Claim | None:
        if self.bell.stopping:
            return None
        free = self._unblock_who_can_go_on(now)
        if free > 0 and (rows := self.execute(_CLAIM, now, worker)):
            claim = Claim(*rows[0])
            self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at)
            self.bell.work(worker)
            self._note_startable(free - 1)
            return claim
        self.bell.rest(worker, quiet=free == self.slots)
        return None

    def _unblock_who_can_go_on(self, now: float) -> int:
        """Give free slots to blocked tasks whose wait is over, before any new task; returns what is left of them.

        A settling worker thereby hands its slot to the parent it woke, and does not claim: no more tasks
        run at once than there are slots.
        """
        [(running,)] = self.execute(_RUNNING)
        free = self.slots - running
        if free > 0:
            unblocked = self.execute(_UNBLOCK, now, free)
            self._unblocked += [worker for (worker,) in unblocked]
            free -= len(unblocked)
        return free

    def _note_startable(self, free: int) -> None:
        """Let the bell find workers for ready tasks that could start in ``free`` slots."""
        if free > 0:
            [(self._startable,)] = self.execute(_READY, free)

    def epoch(self) -> int:
        [(epoch,)] = self.execute("SELECT epoch FROM run")
        return epoch

    def settle(self, claim: Claim, outcome: Success | Failure, worker: int, log_end: int,
               is_parent: bool, claims_next: bool = True) -> Claim | None:
        """End an attempt and claim the next task, in one durable transaction.

        is_parent: the task enqueued children, so some may be open still: they are revoked.
        claims_next: False for a worker that is to end.
        An outcome whose claim was lost meanwhile is dropped; the next task is claimed all the same.
        """
        outcome = self._put_away(outcome)  # durable before the row that names it
        with self.transaction(durable=True) as now:
            if self._settle(now, claim, outcome, log_end, is_parent):
                self.bell.count(succeeded=1) if isinstance(outcome, Success) else self.bell.count(failed=1)
            if claims_next:
                return self._claim_next(now, worker, log_end)
            self._note_startable(self._unblock_who_can_go_on(now))
            return None

    def _put_away(self, outcome: Success | Failure) -> Success | Failure:
        spill = self.directory.spill
        if isinstance(outcome, Success):
            return replace(outcome, result=spill(outcome.result), changes=spill(outcome.changes))
        return replace(outcome, error=spill(outcome.error))

    def _settle(self, now: float, claim: Claim, outcome: Success | Failure, log_end: int, is_parent: bool) -> bool:
        fence = (claim.task, claim.attempt, claim.epoch)
        if isinstance(outcome, Success):
            succeed = (_SUCCEED, now, outcome.result, outcome.changes, *fence)
            moved = self.execute(*succeed)
            if not moved:  # did the body return while another of its threads still waited?
                self.execute(_UNBLOCK_ONE, now, *fence)
                moved = self.execute(*succeed)
            how, error = "succeeded", None
        else:
            moved = self.execute(_FAIL, now, *fence)
            how, error = "failed", outcome.error
        if not moved:
            return False
        self.execute(_END_ATTEMPT, now, how, error, log_end, claim.task, claim.attempt)
        if is_parent:
            self.execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            self._set_aside(outcome.aside)
            self._revoke(now, [row[0] for row in self.execute(_OPEN_CHILDREN, claim.task)])
        if claim.task == claim.last:
            self._chain_ended(claim.last)
        elif how == "succeeded":
            self.execute(_RELEASE, now, claim.task + 1)
        else:
            self.execute(_SKIP, now, claim.task + 1, claim.last)
            self.bell.count(skipped=claim.last - claim.task)
            self._chain_ended(claim.last)
        return True

    def _chain_ended(self, tail: int) -> None:
        """Whoever waited for this chain alone may go on."""
        for waiter, wait, any_is_enough in self.execute(_ENDED, tail):
            if any_is_enough:
                self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", waiter, wait)
            elif self.execute("SELECT 1 FROM awaited WHERE waiter = ? AND wait = ? LIMIT 1", waiter, wait):
                continue
            others_wait = self.execute("SELECT 1 FROM awaited WHERE waiter = ? LIMIT 1", waiter)
            if others_wait or not self.execute(_MARK_WAKEABLE, waiter):
                # Another thread of the task still waits, so it stays blocked and this thread goes on without a slot; or
                # another took a slot again when its time ran out, so it runs and only has to be woken.
                self._unblocked += [worker for (worker,) in self.execute("SELECT worker FROM task WHERE id = ?", waiter)]

    def _set_aside(self, heads: Sequence[int]) -> None:
        if heads:
            self.execute("UPDATE task SET aside = 1 WHERE chain IN (SELECT value FROM json_each(?))", json.dumps(heads))

    # --- children --------------------------------------------------------------------------------------------------

    def enqueue(self, claim: Claim, digest: str, members: Sequence[NewTask], held: bool = False) -> tuple[int, int]:
        """Journal a chain below a task: every member, the first one ready. Returns its first and last task.

        held: not released until `release_held`. Raises ClaimLost if the attempt no longer owns its task.
        """
        members = self._put_away_arguments(members)
        with self.transaction(durable=False) as now:
            owned = self.execute(_OWNED, claim.task, claim.attempt, claim.epoch)
            if not owned:
                raise ClaimLost(claim.task, claim.attempt, "enqueue")
            chain = self._insert_chain(now, claim.task, claim.retry, claim.depth + 1, digest, members, held)
            self._note_startable(self._unblock_who_can_go_on(now))
        self._known_services.update(member.service for member in members)
        return chain

    def release_held(self, heads: Sequence[int]) -> None:
        """Let held chains start: the replay that enqueued them has asked for all that was recorded."""
        with self.transaction(durable=False) as now:
            for head in heads:
                self.execute(_RELEASE, now, head)
            self._note_startable(self._unblock_who_can_go_on(now))

    def block(self, claim: Claim, tails: Iterable[int], wait: int, any_is_enough: bool = False) -> bool:
        """Wait for chains, giving up the slot; False if there is nothing to wait for, they (or one of them) ended.

        wait: tells waits of several threads of one task apart. Raises ClaimLost if the task was revoked meanwhile.
        """
        asked = list(tails)
        with self.transaction(durable=False) as now:
            fence = (claim.task, claim.attempt, claim.epoch)
            if not self.execute(_OWNED, *fence):
                raise ClaimLost(claim.task, claim.attempt, "block")
            still_open = self.execute(_AWAIT, claim.task, wait, int(any_is_enough), json.dumps(asked))
            if not still_open or (any_is_enough and len(still_open) < len(asked)):
                self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
                return False
            if not self.execute(_BLOCK, now, *fence):
                self.execute("UPDATE task SET wakeable = 0 WHERE id = ?", claim.task)  # blocked by another thread
            self._note_startable(self._unblock_who_can_go_on(now))
            return True

    def is_waiting(self, claim: Claim, wait: int) -> bool:
        """Whether a wait still goes on. Raises ClaimLost if the task was revoked meanwhile."""
        with self._alone():
            rows = self.execute(
                f"SELECT state, (SELECT count(*) FROM awaited WHERE waiter = task.id AND wait = ?), "
                f"EXISTS (SELECT 1 FROM awaited WHERE waiter = task.id) FROM task WHERE {_FENCE}",
                wait, claim.task, claim.attempt, claim.epoch)
        if not rows or rows[0][0] not in ("running", "blocked"):
            raise ClaimLost(claim.task, claim.attempt, "wait")
        state, waits, others_wait = rows[0]
        # With all waits over it is still blocked until it is given a slot again.
        return bool(waits) or (state == "blocked" and not others_wait)

    def end_wait(self, claim: Claim, wait: int) -> None:
        """Stop waiting before it is over (a time-out), and take a slot again."""
        with self.transaction(durable=False) as now:
            self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
            self.execute(_UNBLOCK_ONE, now, claim.task, claim.attempt, claim.epoch)

    def show(self, claim: Claim, data: Iterable[tuple[str, str, str, int]]) -> None:
        """Journal flame data ``(key, type, value, position)``; a key shown again is replaced."""
        with self.transaction(durable=False):
            if self.execute(_OWNED, claim.task, claim.attempt, claim.epoch):
                for row in data:
                    self.execute(_SHOW, claim.task, *row)

    # --- replay ----------------------------------------------------------------------------------------------------

    def recorded_calls(self, claim: Claim) -> list[Recorded]:
        """The chains that earlier attempts of this try enqueued, in their order, less those set aside."""
        with self._alone():
            rows = self.execute("SELECT id, last, digest, held FROM task WHERE parent = ? AND parent_retry = ? "
                                 "AND digest IS NOT NULL AND NOT aside ORDER BY id", claim.task, claim.retry)
        return [Recorded(head, last, digest, bool(held)) for head, last, digest, held in rows]

    def stop(self, claim: Claim, mismatch: str, worker: int, log_end: int) -> Claim | None:
        """Put back a task whose replay asked for other children than recorded; claim the next task.

        mismatch: JSON text for the person who decides how to go on. Other branches of the run finish.
        """
        with self.transaction(durable=True) as now:
            if self.execute(_STOP, now, mismatch, claim.task, claim.attempt, claim.epoch):
                self.execute(_END_ATTEMPT, now, "stopped", None, log_end, claim.task, claim.attempt)
                self.execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            return self._claim_next(now, worker, log_end)

    # --- revoke ----------------------------------------------------------------------------------------------------

    def revoke_chain(self, head: int, last: int) -> None:
        """Revoke what of a chain has not ended, and all that is open below it."""
        with self.transaction(durable=True) as now:
            self._revoke(now, list(range(head, last + 1)))
            self._note_startable(self._unblock_who_can_go_on(now))

    def _revoke(self, now: float, tasks: Sequence[int]) -> None:
        if not tasks:
            return
        doomed = json.dumps([row[0] for row in self.execute(_BELOW, json.dumps(tasks))])
        revoked = [row[0] for row in self.execute(_REVOKE, now, doomed)]
        self._interrupted += self.execute(_CUT_ATTEMPTS, now, "revoked", doomed)
        self.execute("DELETE FROM awaited WHERE waiter IN (SELECT value FROM json_each(?))", doomed)
        for task in revoked:
            self._chain_ended(task)  # only tails are awaited
        self.bell.count(revoked=len(revoked))

    # --- workers that died -------------------------------------------------------------------------------------------

    def lose(self, worker: int, error_after: Callable[[int], str]) -> list[int]:
        """Give back what a dead worker held; returns the tasks whose deaths are used up, which fail.

        error_after: from a number of deaths to the JSON text of a `WorkerLost`.
        """
        failed = []
        with self.transaction(durable=True) as now:
            self.bell.gone(worker)
            held = self.execute("SELECT id, attempt, last, deaths + 1, worker_deaths FROM task "
                                 "WHERE worker = ? AND epoch = (SELECT epoch FROM run) "
                                 "AND state IN ('running', 'blocked')", worker)
            for task, attempt, last, deaths, allowed in held:
                self.execute("DELETE FROM awaited WHERE waiter = ?", task)
                if deaths <= allowed:
                    self.execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0, deaths = ? "
                                  "WHERE id = ?", now, deaths, task)
                    self.execute(_END_ATTEMPT, now, "lost", error_after(deaths), None, task, attempt)
                    continue
                failed.append(task)
                self.execute("UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0, deaths = ? "
                              "WHERE id = ?", now, deaths, task)
                self.execute(_END_ATTEMPT, now, "failed", error_after(deaths), None, task, attempt)
                self._revoke(now, [row[0] for row in self.execute(_OPEN_CHILDREN, task)])
                self.execute(_SKIP, now, task + 1, last)
                self._chain_ended(last)
                self.bell.count(failed=1, skipped=last - task)
            self._note_startable(self._unblock_who_can_go_on(now))
        return failed

    # --- the life of an incarnation --------------------------------------------------------------------------------

    def is_quiet(self, workers: Sequence[int]) -> bool:
        """Whether nothing runs and nothing can start: the incarnation has no more to do. workers: that live."""
        with self.transaction(durable=False) as now:
            self.bell.recount(workers)
            free = self._unblock_who_can_go_on(now)
            self._note_startable(free)
            return free == self.slots and not self._startable

    def finish(self, interrupted: bool = False) -> str:
        """Record how the incarnation ended; returns the state of the run."""
        with self.transaction(durable=True) as now:
            submitted = {state for (state,) in self.execute("SELECT state FROM task WHERE parent IS NULL")}
            if submitted & OPEN or (interrupted and submitted != {"succeeded"}):
                state = RUN_INTERRUPTED
            elif submitted == {"succeeded"}:
                state = RUN_SUCCEEDED
            else:
                state = RUN_FAILED if "failed" in submitted else RUN_REVOKED
            self.execute("UPDATE run SET state = ?, ended = ?", state, now)
            self.execute("UPDATE incarnation SET ended = ?, how = ? WHERE epoch = (SELECT epoch FROM run)", now, state)
        return state

    def fold(self) -> None:
        """Leave the journal as a single file that opens from read-only media; nobody else may have it open."""
        with self._mutex:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.execute("PRAGMA journal_mode = DELETE")
            except peewee.OperationalError:
                pass  # a reader looks at it: then it stays in WAL mode, which is as safe
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # --- what a worker reads ---------------------------------------------------------------------------------------

    def flow_steps(self, chain: int, upto: int) -> list[tuple[str, str | None, str | None]]:
        """``(arguments, changes, result)``, JSON texts, of the tasks of a chain from its first to ``upto``."""
        with self._alone():
            rows = self.execute("SELECT arguments, changes, result FROM task WHERE id BETWEEN ? AND ? ORDER BY id", chain, upto)
        unspill = self.directory.unspill
        return [tuple(text if text is None else unspill(text) for text in row) for row in rows]  # type: ignore[misc]

    def chain_members(self, head: int, last: int) -> list[tuple[int, str, str, str | None, int]]:
        """``(task, service, state, error, attempts)`` of each task of a chain, in order."""
        with self._alone():
            rows = self.execute(
                "SELECT task.id, task.service, task.state, attempt.error, task.attempt FROM task LEFT JOIN attempt "
                "ON attempt.task = task.id AND attempt.number = task.attempt WHERE task.id BETWEEN ? AND ? ORDER BY task.id",
                head, last)
        unspill = self.directory.unspill
        return [(*row[:3], row[3] and unspill(row[3]), row[4]) for row in rows]

    def children_of(self, task: int) -> list[tuple[int, int]]:
        """``(first, last)`` of the chains that a task enqueued in its present try, in order."""
        with self._alone():
            return self.execute("SELECT child.id, child.last FROM task AS child JOIN task AS above ON above.id = child.parent "
                                 "WHERE child.parent = ? AND child.digest IS NOT NULL AND NOT child.aside "
                                 "AND child.parent_retry = above.retry ORDER BY child.id", task)
