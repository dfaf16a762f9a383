"""The file of a journal: opened under the run's lock, written in transactions, and left as one file.

Every transaction stands under a `flock` on `write.lock`, taken before BEGIN IMMEDIATE. It makes writers queue fairly
(SQLite's busy handler does not), the kernel drops it when its holder dies, and it keeps a checkpoint from meeting another
writer, which in SQLite before 3.51.3 can lose committed transactions (the WAL-reset race).
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from peewee import SqliteDatabase

from . import faults, host, schema
from .claims import Bell
from .errors import DiskFull, FirexliteError, StorageFailure, Superseded
from .group_commit import GroupCommit
from .home import RunDirectory, durability

T = TypeVar("T")
Self = TypeVar("Self", bound="JournalFile")

FULL_LOOK_S = 1.0   # how often it is tried then

# A commit writes each page that it touches, half a dozen: in small ones a hop of a chain takes a fifth less than in SQLite's
# usual 4096 bytes, and nothing else takes longer.
PAGE_BYTES = 1024
LOG_ROOM = 4 << 20      # bytes of the write-ahead log after which SQLite begins it anew, and that are made for it beforehand
_ROOM_AFTER = 20        # durable commits of a process: a run that is over soon does without
LOG_KEPT = 16 << 20     # bytes that the file of the write-ahead log keeps at most as it begins anew
LOG_TRIMMED = 32 << 20  # bytes from which on it is made to begin anew
LOG_GROWS_S = 0.2       # how often it is looked at while it grows
_READERS_S = 5.0        # how long readers are waited for so that it can begin anew,
_TRY_MS = 20            # so many ms at a time

# To and from WAL mode SQLite rewrites the file's header, in its first sector, which a disk writes as a whole. A rollback
# journal beside it would be no help, and if a kill left it there no reader could open the run.
LOOK_S = 1.0  # how long a finished journal waits for who looks at it
_NO_ROLLBACK_FILE = "PRAGMA journal_mode = MEMORY"


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
    def until_there_is_space(journal: JournalFile, *args: Any, **kwargs: Any) -> T:
        return wait_for_space(lambda: write(journal, *args, **kwargs), journal.full_wait_s, journal.bell)

    return until_there_is_space


class _Borrowed(SqliteDatabase):
    """Works with a connection of ours."""

    def __init__(self, connection: object) -> None:
        self._borrowed = connection
        super().__init__(":borrowed:", autoconnect=False, thread_safe=False)
        self.connect()

    def _connect(self) -> object:
        return self._borrowed


class JournalFile:
    """A run's journal as a file to be written. Opened by each process for itself, after the fork."""

    def __init__(self, directory: RunDirectory, bell: Bell | None, critical: AbstractContextManager | None, full_wait_s: float,
                 epoch: int | None) -> None:
        """critical: entered around every transaction; holds signals back. full_wait_s: how long to wait for space on a full
        disk. epoch: of the incarnation on whose behalf all writing is done, and refused once another has taken over; None
        before there is one. It had the file open before, so that is not looked at again.
        """
        self.directory, self.bell = directory, bell or Bell()
        self.full_wait_s, self.of_epoch = full_wait_s, epoch
        self.group = GroupCommit(Path(f"{directory.journal}-wal"), self.bell.marks, durability() == "full")
        self._critical = critical or contextlib.nullcontext()
        self._mutex = threading.RLock()
        self._lock_fd = -1
        self._opened_by = 0
        self._unblocked: list[int] = []
        self._interrupted: list[tuple[int, int, int]] = []
        self._startable = 0
        self._told: list[Callable[[], None]] = []
        self._commits = 0                     # durable ones of this process, as far as they are counted
        self._is_read_only = False            # SQLite could not make a file beside the journal when it connected
        self.clock = time.time
        # One for all threads of a service; the mutex keeps them apart. By way of peewee a statement takes thrice the time.
        self._sqlite: sqlite3.Connection

    @patient
    def open(self: Self) -> Self:
        """Connect. Raises JournalUnusable for a file that is no journal of ours, and as `transaction` if the disk fails."""
        self._opened_by = os.getpid()
        self.directory.refuse_strange_parts()
        self._lock_fd = os.open(self.directory.write_lock, os.O_RDWR | os.O_CLOEXEC)
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
        self._disconnect()
        self._sqlite = self._new_connection()
        self._is_read_only = False
        self.execute("PRAGMA synchronous = NORMAL")  # of what the log needs to be whole; the rest is up to `group_commit`
        if host.IS_PORTABLE:  # on macOS other syncs leave what is written in the cache of the disk; elsewhere they are the same
            self.execute("PRAGMA fullfsync = ON")
            self.execute("PRAGMA checkpoint_fullfsync = ON")
        self.execute("PRAGMA trusted_schema = OFF")
        if self.of_epoch is None:
            self._look_at_file()
        self.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
        [(page_bytes,)] = self.execute("PRAGMA page_size")
        self.execute(f"PRAGMA wal_autocheckpoint = {LOG_ROOM // page_bytes}")
        if self.of_epoch is not None:
            self.execute("SELECT 1 FROM run")  # with the first look SQLite makes the log, if there is none
            with contextlib.suppress(OSError):  # it is told when it is needed
                self.group.open()

    def _new_connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.directory.journal, timeout=1, isolation_level=None, check_same_thread=False)

    def _disconnect(self) -> None:
        self.group.close()
        self.__dict__.pop("db", None)
        if (connection := self.__dict__.pop("_sqlite", None)) is not None:
            connection.close()

    @functools.cached_property
    def db(self) -> SqliteDatabase:
        """The connection as peewee has it, for those who make the schema or look at it."""
        return _Borrowed(self._sqlite)

    def _look_at_file(self) -> None:
        """Refuse what is no journal of ours, bring an older one up to date, and have a new one as we want it."""
        is_new = not self.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # it is about to be made a journal
        if is_new:
            self.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        else:
            schema.refuse_foreign(self.db, self.directory.journal)
        if self.execute("PRAGMA journal_mode") != [("wal",)]:
            self.execute(_NO_ROLLBACK_FILE)
            self.execute("PRAGMA journal_mode = WAL")
        if not is_new and schema.version(self.db) < schema.SCHEMA:
            self._migrate()

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
        """Disconnect, under the lock: the last to close checkpoints. Once more does nothing."""
        if self._lock_fd < 0:
            return
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        self._disconnect()
        os.close(self._lock_fd)
        self._lock_fd = -1  # by this number another file may be known soon

    def forget(self) -> None:
        """For a service's own fork: let go of the lock file, and never touch the connection, not even to close it."""
        self.group.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self: Self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        return self._sqlite.execute(sql, parameters).fetchall()

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """One statement, which finds nothing, for many rows."""
        self._sqlite.executemany(sql, rows)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The connection for one thread, in the process that opened it: a fork must not even read through it."""
        if self._opened_by != os.getpid():
            raise RuntimeError(f"process {os.getpid()} is using the journal that process {self._opened_by} opened; "
                               "open a new Journal after the fork")
        with self._critical, self._mutex:
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """The connection for one thread; what was read is durable at the end. Raises StorageFailure if it cannot be."""
        with self._alone():
            yield
            self._wait_for_disk()

    @contextlib.contextmanager
    def transaction(self, durable: bool, operation: str = "write", looks: bool = False) -> Iterator[float]:
        """One transaction, alone in the run; gives the present time.

        durable: it is on the disk at the end. Otherwise the next durable one of any process makes it so.
        operation: what it is for, to name its moments by. looks: a body is about to go on because of what others committed,
        so that is on the disk at the end.
        Raises Superseded if another incarnation has taken over, DiskFull for want of space, StorageFailure if the
        disk fails or has failed in this incarnation, and JournalUnusable for whatever else SQLite has against the file;
        nothing of the transaction is journaled then, unless it was the sync that failed.
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
                self._roll_back()  # a handler of the service raised here, by way of another thread
                self._unblocked, self._interrupted, self._startable, self._told = [], [], 0, []
                try:
                    self._sqlite.execute("BEGIN IMMEDIATE")
                    try:
                        if self.of_epoch is not None and self.of_epoch != (epoch := self.epoch()):
                            raise Superseded(f"{self.directory.firex_id} was taken over by incarnation {epoch}, so incarnation "
                                             f"{self.of_epoch} writes nothing any more")
                        yield self.clock()
                        faults.reach(operation, "written")
                        if durable:
                            self.group.begin()
                        self._sqlite.execute("COMMIT")
                    except BaseException:
                        self._roll_back()
                        raise
                except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
                    raise  # a mistake of ours, that a trigger caught say
                except schema.ERRORS as error:
                    raise self._unusable(error) from error
                if durable:
                    self.group.made()
                faults.reach(operation, "committed")
                self._ring()
                if durable and self.group.is_alone:
                    self._wait_for_disk()
                if durable and self._commits < _ROOM_AFTER:
                    self._commits += 1
                    if self._commits == _ROOM_AFTER:
                        self._make_room()
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            if durable or looks:
                self._wait_for_disk()
            faults.reach(operation, "synced")
            self.bell.deliver()
            faults.reach(operation, "rung")

    def _wait_for_disk(self) -> None:
        """Return when the disk has all that was committed up to now."""
        try:
            self.group.wait_for_disk()
        except StorageFailure:
            self.bell.give_up(is_full=False)  # the kernel may have dropped pages, and none may build upon them
            raise

    def _make_room(self) -> None:
        """Lengthen the write-ahead log, under the lock. A commit that makes a file longer waits for the file system's own
        journal too, which takes as long again; SQLite knows zeros for no part of the log, and writes over them.
        """
        with contextlib.suppress(OSError):  # of a full disk say: it works as well without
            fd = os.open(f"{self.directory.journal}-wal", os.O_WRONLY | os.O_CLOEXEC)
            try:
                if (size := os.fstat(fd).st_size) < LOG_ROOM:
                    os.pwrite(fd, bytes(LOG_ROOM - size), size)
            finally:
                os.close(fd)

    def _roll_back(self) -> None:
        if self._sqlite.in_transaction:  # after some errors SQLite has done so by itself
            self._sqlite.execute("ROLLBACK")

    def _ring(self) -> None:
        """Tell the bell; after the commit: one who looks before it sees nothing and sleeps on."""
        for tell in self._told:
            tell()
        if self._interrupted:
            self.bell.interrupt(self._interrupted)
        if self._unblocked or self._startable:
            self.bell.ring(self._unblocked, self._startable)

    def tell(self, tell: Callable[..., None], *what: object, **more: object) -> None:
        """Have the bell told when the transaction has committed."""
        self._told.append(functools.partial(tell, *what, **more))

    def epoch(self) -> int:
        [(epoch,)] = self.execute("SELECT epoch FROM run")
        return epoch

    def fold(self) -> None:
        """Leave the journal as a single file that opens from read-only media; nobody else may have it open.

        Somebody who watches the run looks at its end too, for a moment: that is waited for.
        """
        give_up = time.monotonic() + LOOK_S
        while not self._is_folded() and time.monotonic() < give_up:
            time.sleep(0.01)

    def _is_folded(self) -> bool:
        with self._mutex:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                faults.reach("fold locked")
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                faults.reach("fold written")
                self.execute(_NO_ROLLBACK_FILE)
                faults.reach("fold committed")
            except schema.ERRORS as error:  # a reader looks at it, or the disk is full: it stays in WAL mode, which is as safe
                return "locked" not in str(error)
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            return True

    def trim(self) -> None:
        """Begin the write-ahead log anew where readers, one overlapping the other, keep SQLite from doing so by itself.

        Nobody writes meanwhile, so those that come now find all in the database itself and are no hindrance. SQLite is asked
        again and again, since it waits for a reader's mark as it stood at first, which others may share meanwhile. A reader
        that stays is waited for in vain.
        """
        give_up = time.monotonic() + _READERS_S
        with self.reading():
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self.execute(f"PRAGMA busy_timeout = {_TRY_MS}")
                while self.execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] and time.monotonic() < give_up:
                    pass
            except schema.ERRORS as error:
                found = self._unusable(error)
                if isinstance(found, StorageFailure) and not isinstance(found, DiskFull):
                    raise found from error
            finally:
                self.execute("PRAGMA busy_timeout = 1000")
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def log_size(self) -> int:
        """Bytes of the write-ahead log."""
        try:
            return os.stat(f"{self.directory.journal}-wal").st_size
        except FileNotFoundError:
            return 0


class LogWatch:
    """How long the write-ahead log has become, from one look to the next."""

    def __init__(self) -> None:
        self._size, self._trim_above = -1, LOG_TRIMMED

    def look(self, journal: JournalFile) -> float | None:
        """Keep it short. Returns in how many s to look again if it has changed; else None."""
        size = journal.log_size()
        has_changed = size != self._size
        if size > self._trim_above:
            journal.trim()
            size = journal.log_size()
        if size > self._trim_above:  # somebody reads on: it may grow as much again before all wait for that again
            self._trim_above = size + LOG_TRIMMED
        elif size <= LOG_TRIMMED:
            self._trim_above = LOG_TRIMMED
        self._size = size
        return LOG_GROWS_S if has_changed else None
