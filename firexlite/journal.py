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
from dataclasses import dataclass, field, replace
from typing import Protocol

import peewee
from peewee import SQL, CompositeKey, FloatField, IntegerField, Model, SqliteDatabase, TextField

from .errors import ClaimLost, JournalUnusable
from .home import RunDirectory
from .states import MOVES, OPEN, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

APPLICATION_ID = 0x46586C74  # "FXlt"
SCHEMA = 1


# --- schema ------------------------------------------------------------------------------------------------

class Run(Model):
    """One row: what was submitted, and how it stands."""

    id = IntegerField(primary_key=True, constraints=[SQL("CHECK (id = 1)")])
    firex_id = TextField()
    state = TextField()                # of the states of a run; `running` also while it is interrupted
    epoch = IntegerField()             # number of the present incarnation
    chain = TextField()                # as given to --chain
    inputs = TextField()               # JSON: the converted arguments that reach the first task
    options = TextField()              # JSON: plugins [{path, digest}], workers, cwd, argv, user, host, versions
    created = FloatField()             # seconds since the epoch, as all times here
    ended = FloatField(null=True)


class Incarnation(Model):
    """One life of the run's processes."""

    epoch = IntegerField(primary_key=True)
    pid = IntegerField()
    host = TextField()
    started = FloatField()
    ended = FloatField(null=True)
    how = TextField(null=True)         # of the states of a run; null: it was killed


class Service(Model):
    """A service that tasks of this run call, as its code was when it last began."""

    name = TextField(primary_key=True)
    about = TextField()                # JSON: parameters, defaults, returns, file, line, doc, plugin
    digest = TextField()               # of the file that defines it


class Task(Model):
    """One execution of a service. The tasks of a chain have consecutive ids, from `chain` to `last`."""

    id = IntegerField(primary_key=True)            # order of enqueuing
    parent = IntegerField(null=True)               # the task that enqueued it; null: of the submitted chain
    parent_retry = IntegerField(default=0)         # the retry of the parent that enqueued it
    chain = IntegerField()
    last = IntegerField()
    depth = IntegerField()                         # how many tasks stand above it
    service = TextField()
    arguments = TextField()                        # JSON: its own, by name
    digest = TextField(null=True)                  # of the whole chain's signature; on its first task
    worker_deaths = IntegerField()                 # how many it survives
    state = TextField()
    move = TextField(null=True)                    # the one that led to this state
    moved = FloatField()
    attempt = IntegerField(default=0)
    retry = IntegerField(default=0)
    deaths = IntegerField(default=0)
    epoch = IntegerField(null=True)
    worker = IntegerField(null=True)
    wakeable = IntegerField(default=0)             # blocked, and what it waits for is there
    held = IntegerField(default=0)                 # enqueued by a replay before all recorded calls were asked for
    relaxed = IntegerField(default=0)              # its replay may take another path
    stopped = TextField(null=True)                 # JSON: why its replay stopped; not claimed in this incarnation
    aside = IntegerField(default=0)                # a reopened parent did not ask for it again
    result = TextField(null=True)                  # JSON: what it returned, by name
    changes = TextField(null=True)                 # JSON: what flows on other than it came in


class Attempt(Model):
    """One claim of a task."""

    task = IntegerField()
    number = IntegerField()
    epoch = IntegerField()
    worker = IntegerField()
    started = FloatField()
    ended = FloatField(null=True)
    outcome = TextField(null=True)                 # succeeded, failed, lost, revoked, stopped
    error = TextField(null=True)                   # JSON: the exception
    log_start = IntegerField()                     # bytes, in the worker's log file
    log_end = IntegerField(null=True)

    class Meta:
        primary_key = CompositeKey("task", "number")
        without_rowid = True


class Event(Model):
    """One move of one task, written by a trigger with the move itself."""

    id = IntegerField(primary_key=True)
    at = FloatField()
    task = IntegerField()
    attempt = IntegerField()
    move = TextField()
    state = TextField()                            # that it led to


class FlameDatum(Model):
    """What a service shows of itself in the report, by key."""

    task = IntegerField()
    key = TextField()
    type = TextField()
    value = TextField()
    position = IntegerField()

    class Meta:
        table_name = "flame"
        primary_key = CompositeKey("task", "key")
        without_rowid = True


class Awaited(Model):
    """A blocked task waits for the end of a chain; a wait is over when it has no row left."""

    tail = IntegerField()
    waiter = IntegerField()
    wait = IntegerField()
    any = IntegerField()                           # 1: the first chain to end is enough

    class Meta:
        primary_key = CompositeKey("tail", "waiter", "wait")
        without_rowid = True


class Legal(Model):
    """The moves of `states.MOVES`, for the trigger that refuses others."""

    move = TextField()
    source = TextField()
    target = TextField()

    class Meta:
        primary_key = CompositeKey("move", "source", "target")
        without_rowid = True


TABLES = (Run, Incarnation, Service, Task, Attempt, Event, FlameDatum, Awaited, Legal)
_OPEN = "('" + "', '".join(sorted(OPEN)) + "')"
_FIXED = ", ".join(name for name in Task._meta.fields if name != "aside")

_SCHEMA_SQL = (
    "CREATE INDEX task_ready ON task (depth DESC, id) WHERE state = 'ready' AND stopped IS NULL",
    "CREATE INDEX task_running ON task (worker) WHERE state = 'running'",
    "CREATE INDEX task_wakeable ON task (depth DESC, id) WHERE state = 'blocked' AND wakeable",
    "CREATE INDEX task_blocked ON task (worker) WHERE state = 'blocked'",
    f"CREATE INDEX task_open_child ON task (parent) WHERE state IN {_OPEN}",
    "CREATE INDEX task_call ON task (parent, parent_retry) WHERE digest IS NOT NULL",
    "CREATE INDEX awaited_by ON awaited (waiter, wait)",
    "CREATE INDEX attempt_under_way ON attempt (worker) WHERE ended IS NULL",
    """CREATE TRIGGER only_legal_moves BEFORE UPDATE OF state ON task
       WHEN NOT EXISTS (SELECT 1 FROM legal WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)
       BEGIN SELECT RAISE(ABORT, 'no such move'); END""",
    """CREATE TRIGGER a_move_is_an_event AFTER UPDATE OF state ON task
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       VALUES (NEW.moved, NEW.id, NEW.attempt, NEW.move, NEW.state); END""",
    """CREATE TRIGGER the_first_is_released AFTER INSERT ON task WHEN NEW.state = 'ready'
       BEGIN INSERT INTO event (at, task, attempt, move, state) VALUES (NEW.moved, NEW.id, 0, 'release', 'ready'); END""",
    f"""CREATE TRIGGER success_is_for_ever BEFORE UPDATE OF {_FIXED} ON task WHEN OLD.state = 'succeeded'
       BEGIN SELECT RAISE(ABORT, 'a succeeded task never changes'); END""",
    """CREATE TRIGGER tasks_stay BEFORE DELETE ON task
       BEGIN SELECT RAISE(ABORT, 'no task is ever deleted'); END""",
    """CREATE TRIGGER an_ended_attempt_stays BEFORE UPDATE ON attempt WHEN OLD.ended IS NOT NULL
       BEGIN SELECT RAISE(ABORT, 'an ended attempt never changes'); END""",
)

# --- the hot statements ------------------------------------------------------------------------------------

_CLAIM = """UPDATE task SET state = 'running', move = 'claim', moved = ?, attempt = attempt + 1, epoch = ?, worker = ?
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
    SELECT task.id, ?, ?, ? FROM json_each(?) JOIN task ON task.id = json_each.value AND task.state IN {_OPEN}
    RETURNING tail"""
_ENDED = "DELETE FROM awaited WHERE tail = ? RETURNING waiter, wait, any"
_MARK_WAKEABLE = "UPDATE task SET wakeable = 1 WHERE id = ? AND state = 'blocked'"
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
_KNOWN_SERVICE = """INSERT INTO service (name, about, digest) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET about = excluded.about, digest = excluded.digest"""
_SHOW = "INSERT OR REPLACE INTO flame (task, key, type, value, position) VALUES (?, ?, ?, ?, ?)"
_OPEN_CHILDREN = f"SELECT id FROM task WHERE parent = ? AND state IN {_OPEN}"
_BELOW = f"""WITH RECURSIVE doomed (id) AS (SELECT value FROM json_each(?) UNION
    SELECT task.id FROM task JOIN doomed ON task.parent = doomed.id WHERE task.state IN {_OPEN}) SELECT id FROM doomed"""
_REVOKE = f"""UPDATE task SET state = 'revoked', move = 'revoke', moved = ?, wakeable = 0, held = 0
    WHERE id IN (SELECT value FROM json_each(?)) AND state IN {_OPEN} RETURNING id"""
_CUT_ATTEMPTS = """UPDATE attempt SET ended = ?, outcome = ?
    WHERE task IN (SELECT value FROM json_each(?)) AND ended IS NULL RETURNING worker, task, number"""


# --- what passes through -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Claim:
    """A worker's right to one attempt at a task; every later write names it."""

    task: int
    attempt: int
    epoch: int
    service: str
    arguments: str
    parent: int | None
    chain: int
    last: int
    depth: int
    retry: int
    relaxed: bool


@dataclass(frozen=True)
class Success:
    """The body returned. result, changes: JSON texts. aside: first tasks of chains that a reopened parent left out."""

    result: str
    changes: str
    aside: Sequence[int] = ()


@dataclass(frozen=True)
class Failure:
    """The body raised. error: JSON text of the exception."""

    error: str
    aside: Sequence[int] = ()


@dataclass(frozen=True)
class NewTask:
    """One member of a chain to be enqueued. about, digest: of the service."""

    service: str
    arguments: str
    worker_deaths: int
    about: str
    digest: str


@dataclass(frozen=True)
class Recorded:
    """A chain that a task enqueued in an earlier attempt."""

    head: int
    last: int
    digest: str
    held: bool


@dataclass
class TakeOver:
    """What a new incarnation found: its epoch, and how many tasks go on, are reopened, or are done."""

    epoch: int
    interrupted: int = 0
    reopened: int = 0
    succeeded: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Bell(Protocol):
    """Whom to wake. All methods are called under the write lock; a hint, never the truth."""

    @property
    def stopping(self) -> bool:
        """No task is to be claimed any more."""

    def work(self, worker: int) -> None:
        """This worker has claimed a task."""

    def gone(self, worker: int) -> None:
        """This worker is dead."""

    def ring(self, unblocked: Sequence[int], startable: int) -> None:
        """After a commit: these blocked workers may go on, and so many ready tasks have a free slot."""

    def interrupt(self, attempts: Sequence[tuple[int, int, int]]) -> None:
        """After a commit: these ``(worker, task, attempt)`` were revoked."""

    def rest(self, worker: int, quiet: bool) -> None:
        """Nothing to claim for this worker; ``quiet``: nothing runs and nothing can start."""

    def recount(self, workers: Sequence[int]) -> None:
        """Correct what is counted of the workers; these live."""

    def count(self, **changes: int) -> None:
        """So many tasks were enqueued or reached a final state."""


class Silence:
    """The bell of a journal with nobody to wake."""

    stopping = False
    def work(self, worker: int) -> None: ...
    def gone(self, worker: int) -> None: ...
    def ring(self, unblocked: Sequence[int], startable: int) -> None: ...
    def interrupt(self, attempts: Sequence[tuple[int, int, int]]) -> None: ...
    def rest(self, worker: int, quiet: bool) -> None: ...
    def recount(self, workers: Sequence[int]) -> None: ...
    def count(self, **changes: int) -> None: ...


class Journal:
    """The writing side of one run. Opened by each process for itself, after the fork."""

    def __init__(self, directory: RunDirectory, slots: int, bell: Bell | None = None,
                 critical: AbstractContextManager | None = None) -> None:
        """slots: how many tasks may run at once. critical: entered around every transaction; holds signals back."""
        self.directory, self.slots, self.bell = directory, slots, bell or Silence()
        self._critical = critical or contextlib.nullcontext()
        self._mutex = threading.RLock()
        self._lock_fd = -1
        self._opened_by = 0
        self._known_services: set[str] = set()
        self._unblocked: list[int] = []
        self._interrupted: list[tuple[int, int, int]] = []
        self._startable = 0
        self.clock = time.time
        self.db = SqliteDatabase(None, autoconnect=False)

    def open(self) -> Journal:
        """Connect. Raises JournalUnusable for a file that is no journal of ours."""
        self._opened_by = os.getpid()
        self._lock_fd = os.open(self.directory.write_lock, os.O_RDWR | os.O_CLOEXEC)
        self.db.init(str(self.directory.journal), timeout=0.5, check_same_thread=False)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            self.db.connect()
            self._execute("PRAGMA journal_mode = WAL")
            self._execute("PRAGMA journal_size_limit = 16777216")
            self._execute("PRAGMA trusted_schema = OFF")
            [(application,)], [(schema,)] = self._execute("PRAGMA application_id"), self._execute("PRAGMA user_version")
        except peewee.DatabaseError as error:
            raise JournalUnusable(f"{self.directory.journal} cannot be opened: {error}") from error
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        if (application, schema) not in ((APPLICATION_ID, SCHEMA), (0, 0)):
            raise JournalUnusable(f"{self.directory.journal} has schema {schema} of application {application:#x}; "
                                  f"this firexlite reads schema {SCHEMA} of its own")
        return self

    def close(self) -> None:
        """Disconnect, under the lock: the last to close checkpoints."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        self.db.close()
        os.close(self._lock_fd)

    def forget(self) -> None:
        """For a service's own fork: let go of the lock file, and never touch the connection, not even to close it."""
        os.close(self._lock_fd)
        self._lock_fd = -1

    def __enter__(self) -> Journal:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _execute(self, sql: str, *parameters: object) -> list[tuple]:
        return self.db.execute_sql(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self, durable: bool) -> Iterator[float]:
        """One transaction, alone in the run; gives the present time.

        durable: commit with an fsync. Otherwise the next durable commit of any process makes it so.
        """
        if self._opened_by != os.getpid():
            raise RuntimeError(f"process {os.getpid()} is using the journal that process {self._opened_by} opened; "
                               "open a new Journal after the fork")
        with self._critical, self._mutex:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self._unblocked, self._interrupted, self._startable = [], [], 0
                self._execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
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
        with self._transaction(durable=True) as now, self.db.bind_ctx(TABLES):
            self.db.create_tables(TABLES)
            for statement in _SCHEMA_SQL:
                self._execute(statement)
            self._execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._execute(f"PRAGMA user_version = {SCHEMA}")
            Legal.insert_many([(move, source, target) for move, (sources, targets) in MOVES.items()
                               for source in sources for target in targets]).execute()
            Run.create(id=1, firex_id=firex_id, state=RUN_RUNNING, epoch=1, chain=chain, inputs=inputs,
                       options=options, created=now)
            Incarnation.create(epoch=1, pid=pid, host=host, started=now)
            self._insert_chain(now, None, 0, 0, digest, members, held=False)

    def _insert_chain(self, now: float, parent: int | None, parent_retry: int, depth: int, digest: str,
                      members: Sequence[NewTask], held: bool) -> tuple[int, int]:
        for member in members:
            if member.service not in self._known_services:
                self._execute(_KNOWN_SERVICE, member.service, member.about, member.digest)
                self._known_services.add(member.service)
        [(head,)] = self._execute("SELECT coalesce(max(id), 0) + 1 FROM task")
        last = head + len(members) - 1
        for i, member in enumerate(members):
            released = i == 0 and not held
            self._execute(_ENQUEUE, head + i, parent, parent_retry, head, last, depth, member.service,
                          self.directory.spill(member.arguments), digest if i == 0 else None, member.worker_deaths,
                          "ready" if released else "waiting", "release" if released else None, now,
                          int(held and i == 0))
        self.bell.count(known=len(members))
        return head, last

    # --- claim -> settle -> next ---------------------------------------------------------------------------------

    def claim(self, worker: int, log_at: int) -> Claim | None:
        """Claim the next task for ``worker``; None if there is none for it, which the bell then knows.

        log_at: size in bytes of the worker's log file, where the output of the attempt will begin.
        """
        with self._transaction(durable=False) as now:
            return self._claim_next(now, worker, log_at)

    def _claim_next(self, now: float, worker: int, log_at: int) -> Claim | None:
        if self.bell.stopping:
            return None
        free = self._unblock_who_can_go_on(now)
        if free > 0 and (rows := self._execute(_CLAIM, now, self._epoch(), worker)):
            claim = Claim(*rows[0][:-1], relaxed=bool(rows[0][-1]))
            self._execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at)
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
        [(running,)] = self._execute(_RUNNING)
        free = self.slots - running
        if free > 0:
            unblocked = self._execute(_UNBLOCK, now, free)
            self._unblocked += [worker for (worker,) in unblocked]
            free -= len(unblocked)
        return free

    def _note_startable(self, free: int) -> None:
        """Let the bell find workers for ready tasks that could start in ``free`` slots."""
        if free > 0:
            [(self._startable,)] = self._execute(_READY, free)

    def _epoch(self) -> int:
        [(epoch,)] = self._execute("SELECT epoch FROM run")
        return epoch

    def settle(self, claim: Claim, outcome: Success | Failure, worker: int, log_end: int,
               is_parent: bool, claims_next: bool = True) -> Claim | None:
        """End an attempt and claim the next task, in one durable transaction.

        is_parent: the task enqueued children, so some may be open still: they are revoked.
        claims_next: False for a worker that is to end.
        An outcome whose claim was lost meanwhile is dropped; the next task is claimed all the same.
        """
        outcome = self._put_away(outcome)  # durable before the row that names it
        with self._transaction(durable=True) as now:
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
            self._execute(_UNBLOCK_ONE, now, *fence)  # the body returned while another of its threads still waited
            moved = self._execute(_SUCCEED, now, outcome.result, outcome.changes, *fence)
            how, error = "succeeded", None
        else:
            moved = self._execute(_FAIL, now, *fence)
            how, error = "failed", outcome.error
        if not moved:
            return False
        self._execute(_END_ATTEMPT, now, how, error, log_end, claim.task, claim.attempt)
        if is_parent:
            self._execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            self._set_aside(outcome.aside)
            self._revoke(now, [row[0] for row in self._execute(_OPEN_CHILDREN, claim.task)])
        if claim.task == claim.last:
            self._chain_ended(claim.last)
        elif how == "succeeded":
            self._execute(_RELEASE, now, claim.task + 1)
        else:
            self._execute(_SKIP, now, claim.task + 1, claim.last)
            self.bell.count(skipped=claim.last - claim.task)
            self._chain_ended(claim.last)
        return True

    def _chain_ended(self, tail: int) -> None:
        """Whoever waited for this chain alone may go on."""
        for waiter, wait, any_is_enough in self._execute(_ENDED, tail):
            if any_is_enough:
                self._execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", waiter, wait)
            elif self._execute("SELECT 1 FROM awaited WHERE waiter = ? AND wait = ? LIMIT 1", waiter, wait):
                continue
            if self._execute("SELECT 1 FROM awaited WHERE waiter = ? LIMIT 1", waiter):
                # Another thread of the task still waits: the task stays blocked, this thread goes on without a slot.
                self._unblocked += [worker for (worker,) in self._execute("SELECT worker FROM task WHERE id = ?", waiter)]
            else:
                self._execute(_MARK_WAKEABLE, waiter)

    def _set_aside(self, heads: Sequence[int]) -> None:
        if heads:
            self._execute("UPDATE task SET aside = 1 WHERE chain IN (SELECT value FROM json_each(?))", json.dumps(heads))

    # --- children --------------------------------------------------------------------------------------------------

    def enqueue(self, claim: Claim, digest: str, members: Sequence[NewTask], held: bool = False) -> tuple[int, int]:
        """Journal a chain below a task: every member, the first one ready. Returns its first and last task.

        held: not released until `release_held`. Raises ClaimLost if the attempt no longer owns its task.
        """
        with self._transaction(durable=False) as now:
            owned = self._execute(_OWNED, claim.task, claim.attempt, claim.epoch)
            if not owned:
                raise ClaimLost(claim.task, claim.attempt, "enqueue")
            chain = self._insert_chain(now, claim.task, claim.retry, claim.depth + 1, digest, members, held)
            self._note_startable(self._unblock_who_can_go_on(now))
            return chain

    def release_held(self, heads: Sequence[int]) -> None:
        """Let held chains start: the replay that enqueued them has asked for all that was recorded."""
        with self._transaction(durable=False) as now:
            for head in heads:
                self._execute(_RELEASE, now, head)
            self._note_startable(self._unblock_who_can_go_on(now))

    def block(self, claim: Claim, tails: Iterable[int], wait: int, any_is_enough: bool = False) -> bool:
        """Wait for chains, giving up the slot; False if there is nothing to wait for, they (or one of them) ended.

        wait: tells waits of several threads of one task apart. Raises ClaimLost if the task was revoked meanwhile.
        """
        asked = list(tails)
        with self._transaction(durable=False) as now:
            fence = (claim.task, claim.attempt, claim.epoch)
            if not self._execute(_OWNED, *fence):
                raise ClaimLost(claim.task, claim.attempt, "block")
            still_open = self._execute(_AWAIT, claim.task, wait, int(any_is_enough), json.dumps(asked))
            if not still_open or (any_is_enough and len(still_open) < len(asked)):
                self._execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
                return False
            if not self._execute(_BLOCK, now, *fence):
                self._execute("UPDATE task SET wakeable = 0 WHERE id = ?", claim.task)  # blocked by another thread
            self._note_startable(self._unblock_who_can_go_on(now))
            return True

    def is_waiting(self, claim: Claim, wait: int) -> bool:
        """Whether a wait still goes on. Raises ClaimLost if the task was revoked meanwhile."""
        with self._critical, self._mutex:
            rows = self._execute(
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
        with self._transaction(durable=False) as now:
            self._execute("DELETE FROM awaited WHERE waiter = ? AND wait = ?", claim.task, wait)
            self._execute(_UNBLOCK_ONE, now, claim.task, claim.attempt, claim.epoch)

    def show(self, claim: Claim, data: Iterable[tuple[str, str, str, int]]) -> None:
        """Journal flame data ``(key, type, value, position)``; a key shown again is replaced."""
        with self._transaction(durable=False):
            if self._execute(_OWNED, claim.task, claim.attempt, claim.epoch):
                for row in data:
                    self._execute(_SHOW, claim.task, *row)

    # --- replay ----------------------------------------------------------------------------------------------------

    def recorded_calls(self, claim: Claim) -> list[Recorded]:
        """The chains that earlier attempts of this try enqueued, in their order, less those set aside."""
        with self._critical, self._mutex:
            rows = self._execute("SELECT id, last, digest, held FROM task WHERE parent = ? AND parent_retry = ? "
                                 "AND digest IS NOT NULL AND NOT aside ORDER BY id", claim.task, claim.retry)
        return [Recorded(head, last, digest, bool(held)) for head, last, digest, held in rows]

    def stop(self, claim: Claim, mismatch: str, worker: int, log_end: int) -> Claim | None:
        """Put back a task whose replay asked for other children than recorded; claim the next task.

        mismatch: JSON text for the person who decides how to go on. Other branches of the run finish.
        """
        with self._transaction(durable=True) as now:
            if self._execute(_STOP, now, mismatch, claim.task, claim.attempt, claim.epoch):
                self._execute(_END_ATTEMPT, now, "stopped", None, log_end, claim.task, claim.attempt)
                self._execute("DELETE FROM awaited WHERE waiter = ?", claim.task)
            return self._claim_next(now, worker, log_end)

    # --- revoke ----------------------------------------------------------------------------------------------------

    def revoke_chain(self, head: int, last: int) -> None:
        """Revoke what of a chain has not ended, and all that is open below it."""
        with self._transaction(durable=True) as now:
            self._revoke(now, list(range(head, last + 1)))
            self._note_startable(self._unblock_who_can_go_on(now))

    def _revoke(self, now: float, tasks: Sequence[int]) -> None:
        if not tasks:
            return
        doomed = json.dumps([row[0] for row in self._execute(_BELOW, json.dumps(tasks))])
        revoked = [row[0] for row in self._execute(_REVOKE, now, doomed)]
        self._interrupted += self._execute(_CUT_ATTEMPTS, now, "revoked", doomed)
        self._execute("DELETE FROM awaited WHERE waiter IN (SELECT value FROM json_each(?))", doomed)
        for task in revoked:
            self._chain_ended(task)  # only tails are awaited
        self.bell.count(revoked=len(revoked))

    # --- workers that died -------------------------------------------------------------------------------------------

    def lose(self, worker: int, error_after: Callable[[int], str]) -> list[int]:
        """Give back what a dead worker held; returns the tasks whose deaths are used up, which fail.

        error_after: from a number of deaths to the JSON text of a `WorkerLost`.
        """
        failed = []
        with self._transaction(durable=True) as now:
            self.bell.gone(worker)
            held = self._execute("SELECT id, attempt, last, deaths + 1, worker_deaths FROM task "
                                 "WHERE worker = ? AND epoch = (SELECT epoch FROM run) "
                                 "AND state IN ('running', 'blocked')", worker)
            for task, attempt, last, deaths, allowed in held:
                self._execute("DELETE FROM awaited WHERE waiter = ?", task)
                if deaths <= allowed:
                    self._execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0, deaths = ? "
                                  "WHERE id = ?", now, deaths, task)
                    self._execute(_END_ATTEMPT, now, "lost", error_after(deaths), None, task, attempt)
                    continue
                failed.append(task)
                self._execute("UPDATE task SET state = 'failed', move = 'fail', moved = ?, wakeable = 0, deaths = ? "
                              "WHERE id = ?", now, deaths, task)
                self._execute(_END_ATTEMPT, now, "failed", error_after(deaths), None, task, attempt)
                self._revoke(now, [row[0] for row in self._execute(_OPEN_CHILDREN, task)])
                self._execute(_SKIP, now, task + 1, last)
                self._chain_ended(last)
                self.bell.count(failed=1, skipped=last - task)
            self._note_startable(self._unblock_who_can_go_on(now))
        return failed

    # --- the life of an incarnation --------------------------------------------------------------------------------

    def take_over(self, pid: int, host: str, digests: dict[str, tuple[str, str]]) -> TakeOver:
        """Begin a new incarnation: what was in flight is ready again, and of a run that did not succeed, what failed.

        digests: ``{service: (about, digest of its file)}`` as loaded now.
        """
        with self._transaction(durable=True) as now:
            epoch = self._epoch() + 1
            self._execute("UPDATE run SET epoch = ?, state = ?, ended = NULL", epoch, RUN_RUNNING)
            self._execute("INSERT INTO incarnation (epoch, pid, host, started) VALUES (?, ?, ?, ?)", epoch, pid, host, now)
            self._execute("DELETE FROM awaited")
            self._execute("UPDATE task SET stopped = NULL WHERE stopped IS NOT NULL")
            lost = self._execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0 "
                                 "WHERE state IN ('running', 'blocked') RETURNING id", now)
            self._execute("UPDATE attempt SET ended = ?, outcome = 'lost' WHERE ended IS NULL", now)
            changed = self._note_changed_services(digests)
            found = TakeOver(epoch, interrupted=len(lost), reopened=self._reopen(now, changed))
            found.counts = dict(self._execute("SELECT state, count(*) FROM task GROUP BY state"))
            found.succeeded = found.counts.get("succeeded", 0)
            return found

    def _note_changed_services(self, digests: dict[str, tuple[str, str]]) -> list[str]:
        """Record the code that is loaded now; parents whose code changed may take another path in their replay."""
        changed = [name for name, digest in self._execute("SELECT name, digest FROM service")
                   if name in digests and digests[name][1] != digest]
        for name in changed:
            self._execute(_KNOWN_SERVICE, name, *digests[name])
            self._execute("UPDATE task SET relaxed = 1 WHERE service = ? AND state = 'ready'", name)
        return changed

    def _reopen(self, now: float, changed: Sequence[str]) -> int:
        """Reopen what failed in the submitted chain, and from there downwards; returns how many tasks.

        Below a parent that was merely interrupted a failure stands, unless the code of the failed service changed.
        """
        unsuccessful = "state IN ('failed', 'skipped', 'revoked')"
        chains = {row[0] for row in self._execute(f"SELECT DISTINCT chain FROM task WHERE parent IS NULL AND {unsuccessful}")}
        corrected = self._execute(
            f"SELECT DISTINCT failed.chain, failed.parent FROM task AS failed JOIN task AS above ON above.id = failed.parent "
            f"WHERE failed.state = 'failed' AND above.state = 'ready' AND NOT failed.aside "
            f"AND failed.parent_retry = above.retry AND failed.service IN (SELECT value FROM json_each(?))", json.dumps(changed))
        for _chain, parent in corrected:
            self._execute("UPDATE task SET relaxed = 1 WHERE id = ?", parent)
        chains.update(chain for chain, _parent in corrected)
        reopened = 0
        while chains:
            parents = []
            for chain in chains:
                target = "ready"
                for task, state in self._chain_states(chain):
                    if state == "succeeded":
                        continue
                    if state in ("failed", "skipped", "revoked"):
                        self._execute("UPDATE task SET state = ?, move = 'reopen', moved = ?, deaths = 0, relaxed = 1 "
                                      "WHERE id = ?", target, now, task)
                        parents.append(task)
                        reopened += 1
                    target = "waiting"
            chains = {row[0] for row in self._execute(
                f"SELECT DISTINCT child.chain FROM task AS child JOIN task AS above ON above.id = child.parent "
                f"WHERE child.parent IN (SELECT value FROM json_each(?)) AND child.parent_retry = above.retry "
                f"AND NOT child.aside AND child.{unsuccessful}", json.dumps(parents))}
        return reopened

    def _chain_states(self, chain: int) -> list[tuple[int, str]]:
        return self._execute("SELECT id, state FROM task WHERE id BETWEEN ? AND (SELECT last FROM task WHERE id = ?) "
                             "ORDER BY id", chain, chain)

    def is_quiet(self, workers: Sequence[int]) -> bool:
        """Whether nothing runs and nothing can start: the incarnation has no more to do. workers: that live."""
        with self._transaction(durable=False) as now:
            self.bell.recount(workers)
            free = self._unblock_who_can_go_on(now)
            self._note_startable(free)
            return free == self.slots and not self._startable

    def finish(self, interrupted: bool = False) -> str:
        """Record how the incarnation ended; returns the state of the run."""
        with self._transaction(durable=True) as now:
            submitted = {state for (state,) in self._execute("SELECT state FROM task WHERE parent IS NULL")}
            if interrupted or submitted & OPEN:
                state = RUN_INTERRUPTED
            elif submitted == {"succeeded"}:
                state = RUN_SUCCEEDED
            else:
                state = RUN_FAILED if "failed" in submitted else RUN_REVOKED
            self._execute("UPDATE run SET state = ?, ended = ?", state, now)
            self._execute("UPDATE incarnation SET ended = ?, how = ? WHERE epoch = (SELECT epoch FROM run)", now, state)
        return state

    def fold(self) -> None:
        """Leave the journal as a single file that opens from read-only media; nobody else may have it open."""
        with self._mutex:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._execute("PRAGMA journal_mode = DELETE")
            except peewee.OperationalError:
                pass  # a reader looks at it: then it stays in WAL mode, which is as safe
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    # --- what a worker reads ---------------------------------------------------------------------------------------

    def flow_steps(self, chain: int, upto: int) -> list[tuple[str, str | None, str | None]]:
        """``(arguments, changes, result)``, JSON texts, of the tasks of a chain from its first to ``upto``."""
        with self._critical, self._mutex:
            rows = self._execute("SELECT arguments, changes, result FROM task WHERE id BETWEEN ? AND ? ORDER BY id", chain, upto)
        unspill = self.directory.unspill
        return [tuple(text if text is None else unspill(text) for text in row) for row in rows]  # type: ignore[misc]

    def chain_members(self, head: int, last: int) -> list[tuple[int, str, str, str | None, int]]:
        """``(task, service, state, error, attempts)`` of each task of a chain, in order."""
        with self._critical, self._mutex:
            rows = self._execute(
                "SELECT task.id, task.service, task.state, attempt.error, task.attempt FROM task LEFT JOIN attempt "
                "ON attempt.task = task.id AND attempt.number = task.attempt WHERE task.id BETWEEN ? AND ? ORDER BY task.id",
                head, last)
        unspill = self.directory.unspill
        return [(*row[:3], row[3] and unspill(row[3]), row[4]) for row in rows]  # type: ignore[misc]

    def children_of(self, task: int) -> list[tuple[int, int]]:
        """``(first, last)`` of the chains that a task enqueued in its present try, in order."""
        with self._critical, self._mutex:
            return self._execute("SELECT child.id, child.last FROM task AS child JOIN task AS above ON above.id = child.parent "
                                 "WHERE child.parent = ? AND child.digest IS NOT NULL AND NOT child.aside "
                                 "AND child.parent_retry = above.retry ORDER BY child.id", task)
