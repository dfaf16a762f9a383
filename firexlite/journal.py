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
import functools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import peewee
from peewee import SqliteDatabase

from . import faults, schema
from .claims import Bell, Claim, Failure, NewTask, Recorded, Success
from .errors import ClaimLost, DiskFull, FirexliteError, StorageFailure, Superseded
from .home import RunDirectory, durability
from .schema import SQL_OPEN
from .states import OPEN, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

T = TypeVar("T")

FULL_WAIT_S = 60.0  # how long a full disk is waited for
ASK = '{"ask": true}'  # what keeps a task from being claimed until a person decides about it
FULL_LOOK_S = 1.0   # how often it is tried then

# How large, in bytes, the write-ahead log may grow, and how many ms readers are then waited for; the worst first.
_TRIM = ((64 << 20, 5000), (40 << 20, 1000), (24 << 20, 100))

# --- the hot statements ------------------------------------------------------------------------------------

_CLAIM = """UPDATE task SET state = 'running', move = 'claim', moved = ?, attempt = attempt + 1,
    epoch = (SELECT epoch FROM run), worker = ?
    WHERE id = (SELECT id FROM task WHERE state = 'ready' AND stopped IS NULL ORDER BY depth DESC, id LIMIT 1)
    RETURNING id, attempt, epoch, service, arguments, parent, chain, last, depth, retry, relaxed,
    on_interrupt, redoes"""
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
_ENDED = "DELETE FROM awaited WHERE tail BETWEEN ? AND ? RETURNING waiter, wait, any"
_MARK_WAKEABLE = "UPDATE task SET wakeable = 1 WHERE id = ? AND state = 'blocked' RETURNING id"
_UNBLOCK = """UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE id IN (SELECT id FROM task WHERE state = 'blocked' AND wakeable ORDER BY depth DESC, id LIMIT ?) RETURNING worker"""
_KEEP_WAITING = "UPDATE task SET wakeable = 0 WHERE id = ? AND wakeable RETURNING worker"
_UNBLOCK_ONE = f"""UPDATE task SET state = 'running', move = 'unblock', moved = ?, wakeable = 0
    WHERE {_FENCE} AND state = 'blocked'"""
_RUNNING = "SELECT count(*) FROM task WHERE state = 'running'"
_READY = "SELECT count(*) FROM (SELECT 1 FROM task WHERE state = 'ready' AND stopped IS NULL LIMIT ?)"
_OWNED = f"SELECT depth, retry FROM task WHERE {_FENCE} AND state IN ('running', 'blocked')"
_ENQUEUE = """INSERT INTO task (id, parent, parent_retry, chain, last, depth, service, arguments, digest, worker_deaths,
    on_interrupt, redoes, state, move, moved, attempt, retry, deaths, wakeable, held, relaxed, aside)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, ?, 0, 0)"""
# To and from WAL mode SQLite rewrites the file's header, in its first sector, which a disk writes as a whole. A rollback
# journal beside it would be no help, and if a kill left it there no reader could open the run.
_NO_ROLLBACK_FILE = "PRAGMA journal_mode = MEMORY"
KNOWN_SERVICE = """INSERT INTO service (name, about, digest) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET about = excluded.about, digest = excluded.digest"""
# A task whose lost files were made again by another counts with the result of that.
_STEPS = """SELECT arguments, changes, coalesce((SELECT again.result FROM task AS again WHERE again.redoes = task.id
    AND again.state = 'succeeded' ORDER BY again.id DESC LIMIT 1), result) FROM task WHERE id BETWEEN ? AND ? ORDER BY id"""
_SET_ASIDE = "UPDATE task SET aside = 1 WHERE chain IN (SELECT value FROM json_each(?))"
_HAS_SUCCESS = "EXISTS (SELECT 1 FROM task AS one WHERE one.id BETWEEN task.chain AND task.last AND one.state = 'succeeded')"
_NOTE = "INSERT OR IGNORE INTO noted (task, retry, name, number, value) VALUES (?, ?, ?, ?, ?)"
_SHOW = "INSERT OR REPLACE INTO flame (task, key, type, value, position) VALUES (?, ?, ?, ?, ?)"
_OPEN_CHILDREN = f"SELECT id FROM task WHERE parent = ? AND state IN {SQL_OPEN}"
_BELOW = f"""WITH RECURSIVE doomed (id) AS (SELECT value FROM json_each(?) UNION
    SELECT task.id FROM task JOIN doomed ON task.parent = doomed.id WHERE task.state IN {SQL_OPEN}) SELECT id FROM doomed"""
_REVOKE = f"""UPDATE task SET state = 'revoked', move = 'revoke', moved = ?, wakeable = 0, held = 0,
    unsure = unsure OR (on_interrupt <> 'retry' AND state IN ('running', 'blocked'))
    WHERE id IN (SELECT value FROM json_each(?)) AND state IN {SQL_OPEN} RETURNING id"""
_CUT_ATTEMPTS = """UPDATE attempt SET ended = ?, outcome = ?
    WHERE task IN (SELECT value FROM json_each(?)) AND ended IS NULL RETURNING worker, task, number"""


def wait_for_space(write: Callable[[], T], full_wait_s: float, bell: Bell) -> T:
    """What ``write`` gives; it is tried again for a while as long as it raises DiskFull.

    Raises StorageFailure when ``full_wait_s`` is over, from when on nobody writes, or DiskFull if the run is being stopped.
    """
    try:
        return write()
    except DiskFull as error:
        found = error
    give_up, pause_s = time.monotonic() + full_wait_s, 0.05
    bell.want_space(1)
    try:
        while time.monotonic() < give_up and not bell.stopping:
            time.sleep(pause_s)  # nobody tells when a disk has space again
            pause_s = min(2 * pause_s, FULL_LOOK_S, max(0.01, give_up - time.monotonic()))
            with contextlib.suppress(DiskFull):
                return write()
    finally:
        bell.want_space(-1)
    if bell.stopping:
        raise found
    bell.give_up(is_full=True)
    raise StorageFailure(f"{found}, and there was no space for {full_wait_s:g} s") from found


def patient(write: Callable[..., T]) -> Callable[..., T]:
    """Have a function of a Journal wait for space on a full disk; each try begins afresh."""
    @functools.wraps(write)
    def until_there_is_space(journal: Journal, *args: Any, **kwargs: Any) -> T:
        return wait_for_space(lambda: write(journal, *args, **kwargs), journal.full_wait_s, journal.bell)

    return until_there_is_space


class Journal:
    """The writing side of one run. Opened by each process for itself, after the fork."""

    def __init__(self, directory: RunDirectory, slots: int, bell: Bell | None = None,
                 critical: AbstractContextManager | None = None, full_wait_s: float = FULL_WAIT_S,
                 epoch: int | None = None) -> None:
        """slots: how many tasks may run at once. critical: entered around every transaction; holds signals back.

        full_wait_s: how long to wait for space on a full disk. epoch: of the incarnation on whose behalf all writing is
        done, and refused once another has taken over; None before there is one.
        """
        self.directory, self.slots, self.bell = directory, slots, bell or Bell()
        self.full_wait_s, self.of_epoch = full_wait_s, epoch
        self._full = durability() == "full"
        self._critical = critical or contextlib.nullcontext()
        self._mutex = threading.RLock()
        self._lock_fd = -1
        self._opened_by = 0
        self._known_services: set[str] = set()
        self._unblocked: list[int] = []
        self._interrupted: list[tuple[int, int, int]] = []
        self._startable = 0
        self._told: list[Callable[[], None]] = []
        self._is_durable: bool | None = None  # whether this connection's commits are
        self._is_read_only = False            # SQLite could not make a file beside the journal when it connected
        self.clock = time.time
        # One connection for all threads of a service; the mutex keeps them apart.
        self.db = SqliteDatabase(None, autoconnect=False, thread_safe=False)

    @patient
    def open(self) -> Journal:
        """Connect. Raises JournalUnusable for a file that is no journal of ours, and as `transaction` if the disk fails."""
        self._opened_by = os.getpid()
        self.directory.refuse_strange_parts()
        self._lock_fd = os.open(self.directory.write_lock, os.O_RDWR | os.O_CLOEXEC)
        self.db.init(str(self.directory.journal), timeout=1, check_same_thread=False)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self._connect()
        except BaseException as error:
            self.close()
            if isinstance(error, schema.ERRORS):
                raise self._unusable(error) from error
            raise
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return self

    def _connect(self) -> None:
        """Connect anew, under the lock."""
        self.db.close()
        self.db.connect()
        self._is_durable, self._is_read_only = None, False
        self.execute("PRAGMA trusted_schema = OFF")
        is_new = not self.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # it is about to be made a journal
        if not is_new:
            schema.refuse_foreign(self.db, self.directory.journal)
        if self.execute("PRAGMA journal_mode") != [("wal",)]:
            self.execute(_NO_ROLLBACK_FILE)
            self.execute("PRAGMA journal_mode = WAL")
        if not is_new and schema.version(self.db) < schema.SCHEMA:
            self._migrate()
        self.execute("PRAGMA journal_size_limit = 16777216")

    def _migrate(self) -> None:
        """Bring a journal of an older firexlite to the present schema; as it was it stays beside it, for that firexlite."""
        kept = self.directory.journal.with_suffix(f".schema{schema.version(self.db)}.sqlite3")
        kept.unlink(missing_ok=True)
        self.execute("VACUUM INTO ?", str(kept))
        os.chmod(kept, 0o600)
        with self.db.atomic("IMMEDIATE"):
            schema.migrate(self.db)
        faults.reach("migrated")

    def _unusable(self, error: Exception) -> FirexliteError:
        """What to raise for an error of SQLite; after a failure of the disk nobody may write any more."""
        found = schema.why_unusable(error, self.directory.journal)
        self._is_read_only = self._is_read_only or (isinstance(found, DiskFull) and "readonly" in found.reason)
        if isinstance(found, StorageFailure) and not isinstance(found, DiskFull):
            # The kernel may have dropped pages that a failed fsync should have written: none may build upon them.
            self.bell.give_up(is_full=False)
        return found

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
    def transaction(self, durable: bool, operation: str = "write") -> Iterator[float]:
        """One transaction, alone in the run; gives the present time.

        durable: commit with an fsync. Otherwise the next durable commit of any process makes it so.
        operation: what it is for, to name its moments by.
        Raises Superseded if another incarnation has taken over, DiskFull for want of space, StorageFailure if the
        disk fails or has failed in this incarnation, and JournalUnusable for whatever else SQLite has against the file;
        nothing of the transaction is journaled then.
        """
        with self._alone():
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX)  # inside: nothing may come between it and its release
                faults.reach(operation, "locked")
                if self.bell.is_broken:
                    raise StorageFailure(f"{self.directory.path} is not written to any more, since writing failed")
                if self._is_read_only:  # and it stays so, though there may be room by now
                    try:
                        self._connect()
                    except schema.ERRORS as error:
                        self._is_read_only = True
                        raise self._unusable(error) from error
                if self.db.connection().in_transaction:
                    self.db.connection().rollback()  # a handler of the service raised here, by way of another thread
                self._unblocked, self._interrupted, self._startable, self._told = [], [], 0, []
                try:
                    self._be_durable(durable and self._full)
                    with self.db.atomic("IMMEDIATE"):
                        if self.of_epoch is not None and self.of_epoch != (epoch := self.epoch()):
                            raise Superseded(f"{self.directory.firex_id} was taken over by incarnation {epoch}, so incarnation "
                                             f"{self.of_epoch} writes nothing any more")
                        yield self.clock()
                        faults.reach(operation, "written")
                except (peewee.IntegrityError, peewee.ProgrammingError, sqlite3.ProgrammingError):
                    raise  # a mistake of ours, that a trigger caught say
                except schema.ERRORS as error:
                    raise self._unusable(error) from error
                faults.reach(operation, "committed")
                self._ring()
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            faults.reach(operation, "rung")

    def _be_durable(self, durable: bool) -> None:
        if durable != self._is_durable:
            self.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            self._is_durable = durable

    def _ring(self) -> None:
        """Tell the bell; after the commit: one who looks before it sees nothing and sleeps on."""
        for tell in self._told:
            tell()
        if self._interrupted:
            self.bell.interrupt(self._interrupted)
        if self._unblocked or self._startable:
            self.bell.ring(self._unblocked, self._startable)

    def _tell(self, tell: Callable[..., None], *what: object, **more: object) -> None:
        """Have the bell told when the transaction has committed."""
        self._told.append(functools.partial(tell, *what, **more))

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
                          member.arguments, digest if i == 0 else None, member.worker_deaths, member.on_interrupt, None,
                          "ready" if released else "waiting", "release" if released else None, now,
                          int(held and i == 0))
        self._tell(self.bell.count, known=len(members))
        return head, last

    # --- claim -> settle -> next ---------------------------------------------------------------------------------

    @patient
    def claim(self, worker: int, log_at: int) -> Claim | None:
        """Claim the next task for ``worker``; None if there is none for it, which the bell then knows.

        log_at: size in bytes of the worker's log file, where the output of the attempt will begin.
        """
        with self.transaction(durable=False, operation="claim") as now:
            return self._claim_next(now, worker, log_at)

    @patient
    def be_sure(self, claim: Claim) -> None:
        """Make a claim durable: of a body that must not run twice, a power cut may not forget that it began."""
        with self.transaction(durable=True, operation="be sure") as now:
            # SQLite does not write a row that stays as it was, and then syncs nothing: so this changes it.
            self.execute("UPDATE attempt SET started = ? WHERE task = ? AND number = ? AND ended IS NULL",
                         now, claim.task, claim.attempt)

    def _claim_next(self, now: float, worker: int, log_at: int) -> Claim | None:
        if self.bell.stopping:
            return None
        free = self._unblock_who_can_go_on(now)
        if free > 0 and (rows := self.execute(_CLAIM, now, worker)):
            claim = Claim(*rows[0])
            self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at)
            self._tell(self.bell.work, worker)
            self._note_startable(free - 1)
            return claim
        self._tell(self.bell.rest, worker, quiet=free == self.slots)
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

    @patient
    def settle(self, claim: Claim, outcome: Success | Failure, worker: int, log_end: int,
               is_parent: bool, claims_next: bool = True) -> Claim | None:
        """End an attempt and claim the next task, in one durable transaction.

        is_parent: the task enqueued children, so some may be open still: they are revoked.
        claims_next: False for a worker that is to end.
        An outcome whose claim was lost meanwhile is dropped; the next task is claimed all the same.
        """
        outcome = self._put_away(outcome)  # durable before the row that names it
        with self.transaction(durable=True, operation="settle") as now:
            if self._settle(now, claim, outcome, log_end, is_parent):
                self._tell(self.bell.count, **{"succeeded" if isinstance(outcome, Success) else "failed": 1})
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
            self.set_aside(outcome.aside, finished_too=how == "succeeded")
            self.revoke_below(now, claim.task)
        if how == "succeeded":
            self._ended(claim.task, claim.task)
            if claim.task < claim.last:
                self.execute(_RELEASE, now, claim.task + 1)
        else:
            self._skip_after(now, claim.task, claim.last)
        return True

    def _skip_after(self, now: float, task: int, last: int) -> None:
        """End the rest of a chain of which this task failed."""
        if task < last:
            self.execute(_SKIP, now, task + 1, last)
            self._tell(self.bell.count, skipped=last - task)
        self._ended(task, last)

    def _ended(self, first: int, last: int) -> None:
        """Whoever waited for these tasks of one chain, and for no others, may go on."""
        for waiter, wait, any_is_enough in self.execute(_ENDED, first, last):
            if any_is_enough:
                self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", waiter, wait)
            elif self.execute("SELECT 1 FROM awaited WHERE waiter = ? AND wait = ? LIMIT 1", waiter, wait):
                continue
            others_wait = self.execute("SELECT 1 FROM awaited WHERE waiter = ? LIMIT 1", waiter)
            if others_wait or not self.execute(_MARK_WAKEABLE, waiter):
                # Another thread of the task still waits, so it stays blocked and this thread goes on without a slot; or
                # another took a slot again when its time ran out, so it runs and only has to be woken.
                self._unblocked += [worker for (worker,) in self.execute("SELECT worker FROM task WHERE id = ?", waiter)]

    def set_aside(self, heads: Sequence[int], finished_too: bool = True) -> None:
        """Let chains count no more. finished_too: False keeps those of which something succeeded: it may be asked for yet."""
        if heads:
            self.execute(_SET_ASIDE if finished_too else f"{_SET_ASIDE} AND NOT {_HAS_SUCCESS}", json.dumps(heads))

    # --- children --------------------------------------------------------------------------------------------------

    @patient
    def enqueue(self, claim: Claim, digest: str, members: Sequence[NewTask], held: bool = False) -> tuple[int, int]:
        """Journal a chain below a task: every member, the first one ready. Returns its first and last task.

        held: not released until `release_held`. Raises ClaimLost if the attempt no longer owns its task.
        """
        members = self._put_away_arguments(members)
        with self.transaction(durable=False, operation="enqueue") as now:
            owned = self.execute(_OWNED, claim.task, claim.attempt, claim.epoch)
            if not owned:
                raise ClaimLost(claim.task, claim.attempt, "enqueue")
            chain = self._insert_chain(now, claim.task, claim.retry, claim.depth + 1, digest, members, held)
            self._note_startable(self._unblock_who_can_go_on(now))
        self._known_services.update(member.service for member in members)
        return chain

    @patient
    def release_held(self, heads: Sequence[int]) -> None:
        """Let held chains start: the replay that enqueued them has asked for all that was recorded."""
        with self.transaction(durable=False, operation="release") as now:
            for head in heads:
                self.execute(_RELEASE, now, head)
            self._note_startable(self._unblock_who_can_go_on(now))

    @patient
    def block(self, claim: Claim, tails: Iterable[int], wait: int, any_is_enough: bool = False) -> bool:
        """Wait for chains, giving up the slot; False if there is nothing to wait for, they (or one of them) ended.

        wait: tells waits of several threads of one task apart. Raises ClaimLost if the task was revoked meanwhile.
        """
        asked = list(tails)
        with self.transaction(durable=False, operation="block") as now:
            fence = (claim.task, claim.attempt, claim.epoch)
            if not self.execute(_OWNED, *fence):
                raise ClaimLost(claim.task, claim.attempt, "block")
            still_open = self.execute(_AWAIT, claim.task, wait, int(any_is_enough), json.dumps(asked))
            if not still_open or (any_is_enough and len(still_open) < len(asked)):
                self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
                return False
            if not self.execute(_BLOCK, now, *fence):  # blocked by another thread; if that may go on, it does without a slot
                self._unblocked += [worker for (worker,) in self.execute(_KEEP_WAITING, claim.task)]
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

    @patient
    def end_wait(self, claim: Claim, wait: int) -> None:
        """Stop waiting before it is over (a time-out), and take a slot again."""
        with self.transaction(durable=False, operation="end wait") as now:
            self.execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
            self.execute(_UNBLOCK_ONE, now, claim.task, claim.attempt, claim.epoch)

    @patient
    def show(self, claim: Claim, data: Iterable[tuple[str, str, str, int]]) -> None:
        """Journal flame data ``(key, type, value, position)``; a key shown again is replaced."""
        with self.transaction(durable=False, operation="show"):
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

    @patient
    def note(self, claim: Claim, name: str, number: int, value: str) -> None:
        """Journal, durably, what a body got from the world. value: JSON text. Raises ClaimLost as `enqueue`."""
        with self.transaction(durable=True, operation="note"):
            if not self.execute(_OWNED, claim.task, claim.attempt, claim.epoch):
                raise ClaimLost(claim.task, claim.attempt, "note")
            self.execute(_NOTE, claim.task, claim.retry, name, number, value)

    def notes(self, claim: Claim) -> dict[tuple[str, int], str]:
        """What earlier attempts of this try noted: ``{(name, number): JSON text}``."""
        with self._alone():
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
                self.execute(_END_ATTEMPT, now, "stopped", None, log_end, claim.task, claim.attempt)
                self.execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            return self._claim_next(now, worker, log_end)

    # --- revoke ----------------------------------------------------------------------------------------------------

    @patient
    def revoke_chain(self, head: int) -> None:
        """Revoke what of a chain has not ended, and all that is open below it."""
        with self.transaction(durable=True, operation="revoke") as now:
            [(last,)] = self.execute("SELECT last FROM task WHERE id = ?", head)
            self.revoke(now, list(range(head, last + 1)))
            self._note_startable(self._unblock_who_can_go_on(now))

    def revoke_below(self, now: float, task: int) -> None:
        """Revoke the children of a task that are open. Inside a transaction, as `revoke` and `set_aside`."""
        self.revoke(now, [child for (child,) in self.execute(_OPEN_CHILDREN, task)])

    def revoke(self, now: float, tasks: Sequence[int]) -> None:
        if not tasks:
            return
        doomed = json.dumps([row[0] for row in self.execute(_BELOW, json.dumps(tasks))])
        revoked = [row[0] for row in self.execute(_REVOKE, now, doomed)]
        self._interrupted += self.execute(_CUT_ATTEMPTS, now, "revoked", doomed)
        self.execute("DELETE FROM awaited WHERE waiter IN (SELECT value FROM json_each(?))", doomed)
        for task in revoked:
            self._ended(task, task)
        self._tell(self.bell.count, revoked=len(revoked))

    # --- workers that died -------------------------------------------------------------------------------------------

    @patient
    def lose(self, worker: int, error_after: Callable[[int, bool], str]) -> list[int]:
        """Give back what a dead worker held; returns the tasks that failed by it.

        error_after: from a number of deaths, and whether the body may have done its work, to the JSON text of a `WorkerLost`.
        """
        failed = []
        with self.transaction(durable=True, operation="lose") as now:
            self._tell(self.bell.gone, worker)
            held = self.execute("SELECT id, deaths + 1, worker_deaths, on_interrupt FROM task WHERE worker = ? "
                                "AND epoch = (SELECT epoch FROM run) AND state IN ('running', 'blocked')", worker)
            for task, deaths, allowed, on_interrupt in held:
                unsure = on_interrupt != "retry"
                if on_interrupt == "fail" or (on_interrupt == "retry" and deaths > allowed):
                    failed.append(task)
                self.give_back(now, task, deaths, error_after(deaths, unsure), unsure, fails=task in failed)
            self._note_startable(self._unblock_who_can_go_on(now))
        return failed

    def give_back(self, now: float, task: int, deaths: int, error: str | None, unsure: bool, fails: bool) -> None:
        """Take a running or blocked task from a dead worker: it is ready again, or it fails. Inside a transaction.

        deaths: of its workers so far. error: JSON text of a `WorkerLost`. unsure: its body may have done its work and is
        not run again by itself; if it does not fail it waits for a person to decide.
        """
        [(attempt, last)] = self.execute("SELECT attempt, last FROM task WHERE id = ?", task)
        self.execute("DELETE FROM awaited WHERE waiter = ?", task)
        self.execute(_END_ATTEMPT, now, "failed" if fails else "lost", error, None, task, attempt)
        if not fails:
            self.execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0, deaths = ?, unsure = ?, "
                         "stopped = ? WHERE id = ?", now, deaths, int(unsure), ASK if unsure else None, task)
            return
        self.execute("UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0, deaths = ?, unsure = ? "
                     "WHERE id = ?", now, deaths, int(unsure), task)
        self.revoke_below(now, task)
        self._tell(self.bell.count, failed=1)
        self._skip_after(now, task, last)

    # --- the life of an incarnation --------------------------------------------------------------------------------

    @patient
    def is_quiet(self, workers: Sequence[int]) -> bool:
        """Whether nothing runs and nothing can start: the incarnation has no more to do. workers: that live."""
        with self.transaction(durable=False, operation="look") as now:
            self._tell(self.bell.recount, workers)
            free = self._unblock_who_can_go_on(now)
            self._note_startable(free)
            return free == self.slots and not self._startable

    @patient
    def finish(self, interrupted: bool = False) -> str:
        """Record how the incarnation ended; returns the state of the run."""
        with self.transaction(durable=True, operation="finish") as now:
            submitted = {state for (state,) in self.execute("SELECT state FROM task WHERE parent IS NULL AND redoes IS NULL")}
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
                faults.reach("fold locked")
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                faults.reach("fold written")
                self.execute(_NO_ROLLBACK_FILE)
                faults.reach("fold committed")
            except schema.ERRORS:
                pass  # a reader looks at it, or the disk is full: then it stays in WAL mode, which is as safe
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def trim(self) -> None:
        """Begin the write-ahead log anew where readers, one overlapping the other, have kept SQLite from doing so.

        Nobody writes meanwhile, so readers that come now find all in the database itself and are no hindrance.
        """
        try:
            size = os.stat(f"{self.directory.journal}-wal").st_size
        except FileNotFoundError:
            return
        wait_ms = next((wait_ms for bytes_, wait_ms in _TRIM if size > bytes_), None)
        if wait_ms is None:
            return
        with self._alone():
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self.execute(f"PRAGMA busy_timeout = {wait_ms}")
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.execute("PRAGMA busy_timeout = 1000")
            except schema.ERRORS as error:
                found = self._unusable(error)
                if isinstance(found, StorageFailure) and not isinstance(found, DiskFull):
                    raise found from error
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # --- what a worker reads ---------------------------------------------------------------------------------------

    def flow_steps(self, chain: int, upto: int) -> list[tuple[str, str | None, str | None]]:
        """``(arguments, changes, result)``, JSON texts, of the tasks of a chain from its first to ``upto``."""
        with self._alone():
            rows = self.execute(_STEPS, chain, upto)
        unspill = self.directory.unspill
        return [tuple(text if text is None else unspill(text) for text in row) for row in rows]  # type: ignore[misc]

    def chain_of(self, task: int) -> int:
        """The first task of the chain of a task."""
        with self._alone():
            [(chain,)] = self.execute("SELECT chain FROM task WHERE id = ?", task)
        return chain

    def tasks_and_chains(self) -> list[tuple[int, int]]:
        """``(task, first task of its chain)`` of every task of the run."""
        with self._alone():
            return self.execute("SELECT id, chain FROM task ORDER BY id")

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
