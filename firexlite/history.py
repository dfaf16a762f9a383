"""All reading of a journal for people and programs: read-only, without a lock, without importing a service."""
from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import peewee
from peewee import JOIN, SqliteDatabase

from . import runlog
from .binding import Bog, Parameters
from .bogs import bind_for_display, flow_after
from .codec import display, display_error
from .codec_errors import is_machinery, is_the_users_own
from .errors import JournalUnusable, NotReadable
from .home import BLOB_MARK, FIREX_ID, RunDirectory, task_uuid
from .logs import TAIL_BYTES, end_of_lines, read_stretch
from .own_files import open_own_file
from .schema import (
    ERRORS,
    SCHEMA,
    Attempt,
    Event,
    FlameDatum,
    Incarnation,
    Run,
    Service,
    Task,
    counts_by_state,
    gone,
    migrate,
    refuse_foreign,
    version,
    why_unreadable,
)
from .states import FINAL, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING


class RunRecord(NamedTuple):
    """One run. state: as a person sees it. Times in seconds since the epoch."""

    firex_id: str
    state: str
    chain: str
    inputs: dict[str, Any]
    options: dict[str, Any]
    created: float
    ended: float | None
    epoch: int


class IncarnationRecord(NamedTuple):
    """One life of the run's processes. how: the state it left the run in; None: it was killed, or goes on.

    changed: the services whose code was other than before. files: those in which it was, as far as that is known.
    """

    epoch: int
    pid: int
    host: str
    started: float
    ended: float | None
    how: str | None
    changed: tuple[str, ...]
    files: tuple[str, ...]


class AttemptRecord(NamedTuple):
    """One attempt at a task; its output is a stretch of its worker's log. error: JSON text."""

    task: int
    number: int
    epoch: int
    worker: int
    started: float
    ended: float | None
    outcome: str | None
    error: str | None
    log_start: int
    log_end: int | None
    peak: int | None   # bytes of memory, the most it had
    cpu: float | None  # seconds
    host: str | None = None  # where it ran, if elsewhere than the processes of the run


class TaskRecord(NamedTuple):
    """One task. arguments, result, changes, error, stopped: JSON texts as the journal has them. A bool is 0 or 1."""

    num: int
    parent: int | None
    parent_retry: int
    chain: int
    last: int
    depth: int
    service: str
    state: str
    moved: float
    attempt: int
    retry: int
    deaths: int
    epoch: int | None
    worker: int | None
    aside: bool
    stopped: str | None
    unsure: bool
    queue: str | None
    due: float | None          # ready, and not to begin before
    shared: bool               # enqueued once, for all who ask for its key
    cached_from: int | None    # the task whose result it took over
    reason: str | None         # why it was revoked
    arguments: str
    result: str | None
    changes: str | None
    error: str | None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def position(self) -> int:
        """Its place in its chain, from 0."""
        return self.num - self.chain


class TaskOutline(NamedTuple):
    """One task, with its payloads as they lie in the row: JSON texts, or what stands for a blob file."""

    num: int
    parent: int | None
    parent_retry: int
    chain: int
    service: str
    state: str
    retry: int
    aside: int
    unsure: int
    redoes: int | None
    arguments: str
    changes: str | None
    result: str | None


class ServiceRecord(NamedTuple):
    """A service as the journal knows it."""

    name: str
    short_name: str
    parameters: Parameters
    returns: tuple[str, ...] | None
    file: str
    line: int
    plugin: bool
    head: tuple[str, ...] = ()  # the lines with which it begins, to its `def`


class WaitRecord(NamedTuple):
    """A wait for a time, in seconds since the epoch, or for an event, or what comes first. is_retry: for its next try."""

    task: int
    service: str
    due: float | None
    event: str | None
    is_retry: int


class RootCause(NamedTuple):
    """A failure that led to the end of the run: where a person should look. arguments, log: as shown to people."""

    task: TaskRecord
    short_name: str
    error: dict[str, Any]        # as codec.display_error
    arguments: dict[str, Any]
    log: str
    through: tuple[int, ...]     # the tasks above it that failed because of it, outermost first


class _Odd(NamedTuple):
    """Whether there is a task that was set aside, that makes lost files again, that stopped, that was cut off for good."""

    aside: bool
    redoes: bool
    stopped: bool
    unsure: bool


class ByTask:
    """Rows that come in the order of tasks, their first column; asked for in the same order."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._next = cursor.fetchone
        self._row = cursor.fetchone()

    def of(self, task: int) -> list[tuple]:
        row, found, next_row = self._row, [], self._next
        while row is not None and row[0] <= task:
            if row[0] == task:
                found.append(row)
            row = next_row()
        self._row = row
        return found


_TASK_COLUMNS = (Task.id, Task.parent, Task.parent_retry, Task.chain, Task.last, Task.depth, Task.service, Task.state,
                 Task.moved, Task.attempt, Task.retry, Task.deaths, Task.epoch, Task.worker, Task.aside, Task.stopped,
                 Task.unsure, Task.queue, Task.due, Task.shared, Task.cached_from, Task.reason, Task.arguments, Task.result,
                 Task.changes)


LOCKED_S = 1.0  # how long to wait for another program that has locked the journal

# What rows can make of code that trusts them.
OF_STRANGE_DATA = (NotReadable, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
                   TypeError, ValueError)


class History:
    """The reading side of one run.

    What goes wrong within its `with` block for want of a journal that can be read and trusted is a JournalUnusable.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.is_of_an_older_schema = False
        self._db = SqliteDatabase(None)
        self._causes: dict[tuple[int, str], int] = {}  # of a task and what its error names, which remain what they are

    def __enter__(self) -> History:
        """Connect. Raises JournalUnusable for what is no journal of ours, is damaged, locked, or not to be read."""
        self.directory.refuse_strange_parts()
        try:
            self._connect()
            if version(self._db) < SCHEMA:
                self.is_of_an_older_schema = True
                self._db = _in_memory(self._db)
                with self._db.atomic("IMMEDIATE"):
                    migrate(self._db)  # the file stays as it is until a resume
        except BaseException as error:
            self._db.close()
            if isinstance(error, (*ERRORS, OSError)):
                raise why_unreadable(error, self.directory.journal) from error
            raise
        return self

    def _connect(self) -> None:
        journal = self.directory.journal
        try:
            self._open(f"file:{quote(os.fsencode(journal))}?mode=ro")
        except ERRORS as error:
            # A journal in WAL mode has a file written beside it even to be read; and an unfinished one is to be recovered.
            if ("readonly" not in str(error) and "unable to open" not in str(error)) or not _may_be_copied(journal):
                raise
            self._db.close()
            self._read_private_copy()

    def _open(self, uri: str) -> None:
        self._db.init(uri, uri=True, timeout=LOCKED_S)  # type: ignore[arg-type]
        self._db.connect()
        for caution in ("trusted_schema = OFF", "cell_size_check = ON"):
            self._db.execute_sql(f"PRAGMA {caution}")
        refuse_foreign(self._db, self.directory.journal)
        self._refuse_misnamed()

    def _refuse_misnamed(self) -> None:
        """Raise JournalUnusable if the run is called what no run is called: it would stand in commands to be copied."""
        for (name,) in self.execute("SELECT firex_id FROM run"):
            if type(name) is not str or not FIREX_ID.match(name):
                raise JournalUnusable(f"{self.directory.journal} names its run {str(name)[:80]!r}, which is not a FireX ID")

    def _read_private_copy(self) -> None:
        """Read a journal that lies where this user cannot write, from a copy in memory."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="firexlite-") as folder:
            copy = Path(folder) / "journal.sqlite3"
            _copy_at_rest(self.directory.journal, copy)
            self._open(f"file:{quote(os.fsencode(copy))}")
            self._db = _in_memory(self._db)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if isinstance(error, ERRORS):
                raise why_unreadable(error, self.directory.journal) from error
            if isinstance(error, OF_STRANGE_DATA):
                self._blame_the_data(error)
        finally:
            self._db.close()

    def _blame_the_data(self, error: BaseException) -> None:
        """Raise JournalUnusable if the journal holds what firexlite never writes; else the error is ours, and stays."""
        from .soundness import faults_of_rows, faults_of_rules

        try:
            found = next(faults_of_rows(self), None) or next(faults_of_rules(self), None)
        except ERRORS as worse:
            raise why_unreadable(worse, self.directory.journal) from worse
        if found:
            raise JournalUnusable(f"{self.directory.journal} holds what firexlite never writes: {found}") from error
        if isinstance(error, MemoryError):
            raise JournalUnusable(f"{self.directory.path} holds more than there is memory for") from error

    def refuse_damaged(self) -> None:
        """Raise JournalUnusable if the file is damaged anywhere, or what nobody can go on without is not as it must be.

        It is looked through as a whole, all but the texts in it, which takes some 200 ms for 10,000 tasks.
        """
        if found := self.damage():
            raise JournalUnusable(f"{self.directory.journal} is damaged ({found[0]}); "
                                  "a copy of the run's directory from before can take its place")
        from .soundness import blobs_of, faults_of_rules, faults_of_run, faults_of_types
        for faults in (faults_of_run, faults_of_types, faults_of_rules):  # each stumbles over what the one before finds
            for fault in faults(self):
                raise JournalUnusable(f"{self.directory.journal} holds what firexlite never writes: {fault}")
        for name in blobs_of(self):
            self.directory.refuse_blob_name(name)
            if not self.directory.has_blob(name):
                raise JournalUnusable(f"{self.directory.path}: the payload blobs/{name} is missing; bring it back")

    def damage(self) -> list[str]:
        """What SQLite finds broken in the file; nothing if it is whole."""
        try:
            found = self.execute("PRAGMA quick_check(10)")
        except ERRORS as error:
            return [str(error)]
        return [line.strip() for (text,) in found if text != "ok" for line in str(text).splitlines()
                if line.strip() and not line.startswith("***")]

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        """The rows of a statement that reads."""
        return self._db.execute_sql(sql, parameters).fetchall()

    def by_task(self, sql: str, *parameters: object) -> ByTask:
        """The rows of a statement that gives them in the order of tasks, their first column."""
        return ByTask(self._db.execute_sql(sql, parameters))

    def copy_to(self, path: Path) -> None:
        """Write the journal, as it stands at this moment and in the present schema, to a new file of its own."""
        target = sqlite3.connect(path)
        try:
            self._db.connection().backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A context in which all reads see one state of the journal. A live one is copied first: nobody waits for a reader."""
        if self.directory.is_alive():
            self._db = _in_memory(self._db)
        with self._db.atomic("DEFERRED"):
            yield

    def _rows(self, query: Any) -> list[tuple]:
        return list(query.tuples().bind(self._db))

    # --- the run -----------------------------------------------------------------------------------------------

    def run(self) -> RunRecord:
        is_alive = self.directory.is_alive()  # before the look at the state: it may end in between
        [(firex_id, state, epoch, chain, inputs, options, created, ended)] = self._rows(Run.select(
            Run.firex_id, Run.state, Run.epoch, Run.chain, Run.inputs, Run.options, Run.created, Run.ended))
        if state == RUN_RUNNING and not is_alive:
            state = RUN_INTERRUPTED
        return RunRecord(firex_id, state, chain, display(inputs), json.loads(options), created, ended, epoch)

    def incarnations(self) -> list[IncarnationRecord]:
        found = []
        for epoch, pid, host, started, ended, how, text in self._rows(Incarnation.select().order_by(Incarnation.epoch)):
            about = json.loads(text or "{}")
            found.append(IncarnationRecord(epoch, pid, host, started, ended, how, tuple(about.get("changed", ())),
                                           tuple(about.get("files", ()))))
        return found

    def counts(self) -> dict[str, int]:
        """``{state: number of tasks}``, without states that no task is in, and tasks that were set aside."""
        return counts_by_state(self.execute, self.gone)

    @functools.cached_property
    def gone(self) -> set[int]:
        """The tasks that were set aside, and all below them."""
        return gone(self.execute) if self._odd.aside else set()

    @functools.cached_property
    def _odd(self) -> _Odd:
        """What hardly any task is, asked of all of them at once: each question by itself would take as long."""
        [found] = self.execute("SELECT max(aside), max(redoes IS NOT NULL), max(stopped IS NOT NULL), max(unsure) FROM task")
        return _Odd(*map(bool, found))

    @functools.cached_property
    def services(self) -> dict[str, ServiceRecord]:
        return {name: _service(name, json.loads(about))
                for name, about in self._rows(Service.select(Service.name, Service.about))}

    def has_service(self, short_name: str) -> bool:
        """Whether there is a task of a service."""
        return any(service.short_name == short_name for service in self.services.values())

    def short_name(self, service: str) -> str:
        """What a service is called by people."""
        known = self.services.get(service)
        return known.short_name if known else service.rpartition(".")[2]

    # --- tasks -------------------------------------------------------------------------------------------------

    def tasks(self, *where: Any) -> Iterator[TaskRecord]:
        """Tasks in the order of enqueuing, all of them or those that fulfil the conditions."""
        query = (Task.select(*_TASK_COLUMNS, Attempt.error)
                 .join(Attempt, JOIN.LEFT_OUTER, on=(Attempt.task == Task.id) & (Attempt.number == Task.attempt))
                 .order_by(Task.id))
        sql, values = (query.where(*where) if where else query).bind(self._db).sql()
        unspill = self.directory.unspill
        for row in self._db.execute_sql(sql, values):
            if any(text and text.startswith(BLOB_MARK) for text in row[-4:]):
                row = (*row[:-4], *(text and unspill(text) for text in row[-4:]))
            yield TaskRecord._make(row)

    def tasks_between(self, first: int, last: int) -> Iterator[TaskRecord]:
        return self.tasks(Task.id.between(first, last))

    def tasks_numbered(self, numbers: Iterable[int]) -> Iterator[TaskRecord]:
        """Some tasks, of which there are no more than some hundred: to ask for each by itself would take far longer."""
        return self.tasks(Task.id.in_([*numbers]))

    def submitted_tasks(self) -> list[TaskRecord]:
        """The tasks of the submitted chain, in order."""
        return list(self.tasks(Task.parent.is_null() & Task.redoes.is_null()))

    def outlines(self) -> Iterator[TaskOutline]:
        """All tasks, for those who need to know of most of them that they do not matter."""
        query = Task.select(Task.id, Task.parent, Task.parent_retry, Task.chain, Task.service, Task.state, Task.retry,
                            Task.aside, Task.unsure, Task.redoes, Task.arguments, Task.changes, Task.result).order_by(Task.id)
        for row in query.tuples().bind(self._db).iterator():
            yield TaskOutline(*row)

    def first_moves(self, *states: str) -> dict[int, int]:
        """``{task: place among all events}`` of the first move of each task to one of these states."""
        return dict(self._rows(Event.select(Event.task, peewee.fn.MIN(Event.id)).where(Event.state.in_(states))
                               .group_by(Event.task)))

    def failed_again(self) -> list[TaskRecord]:
        """Tasks that were to make lost files again, and failed."""
        return list(self.tasks(Task.redoes.is_null(False) & (Task.state == "failed") & ~Task.aside)) if self._odd.redoes else []

    def task(self, num: int) -> TaskRecord | None:
        return next(self.tasks(Task.id == num), None)

    def stopped_tasks(self) -> list[TaskRecord]:
        """Tasks whose replay asked for other children than recorded."""
        return list(self.tasks(Task.stopped.is_null(False))) if self._odd.stopped else []

    def cut_off_tasks(self) -> list[TaskRecord]:
        """Tasks that were revoked in their body and are not to run again by themselves."""
        return list(self.tasks((Task.state == "revoked") & (Task.unsure == 1) & ~Task.aside)) if self._odd.unsure else []

    def waits(self) -> list[WaitRecord]:
        """What waits for a time or an event, the nearest time first."""
        return [WaitRecord(*row) for row in self.execute(
            "SELECT * FROM (SELECT task.id, service, awaited.due AS due, event, 0 FROM awaited JOIN task ON task.id = waiter "
            "WHERE tail = 0 UNION ALL SELECT id, service, due, NULL, 1 FROM task WHERE due IS NOT NULL) "
            "ORDER BY due IS NULL, due, id")]

    def attempts(self, task: int | None = None) -> list[AttemptRecord]:
        query = Attempt.select().order_by(Attempt.task, Attempt.number)
        return [AttemptRecord(*row) for row in self._rows(query if task is None else query.where(Attempt.task == task))]

    def last_sign(self, since: float, before: float) -> float:
        """When the last move was journaled in a stretch of time; its beginning, if there was none."""
        [(at,)] = self.execute("SELECT max(at) FROM event WHERE at >= ? AND at < ?", since, before)
        return since if at is None else at

    def attached(self) -> list[tuple[int, int]]:
        """``(first task, asker)`` of each chain that is enqueued once, and each task that asked for it."""
        return self.execute("SELECT chain, parent FROM attached ORDER BY chain, parent")

    def flame_data(self) -> list[tuple[int, str, str, str, int]]:
        """``(task, key, type, JSON text, position)``."""
        return self._rows(FlameDatum.select().order_by(FlameDatum.task, FlameDatum.position))

    def log_file(self, attempt: AttemptRecord) -> Path:
        """The log of the worker that made an attempt."""
        return self.directory.log_file(attempt.epoch, attempt.worker, attempt.host)

    def log(self, attempt: AttemptRecord, limit: int | None = TAIL_BYTES) -> tuple[str, int]:
        """The output of an attempt, its last ``limit`` bytes or all that is there, and how many bytes before were left out."""
        path = self.log_file(attempt)
        return read_stretch(path, attempt.log_start, self._log_end(attempt), limit) if _is_own_log(path) else ("", 0)

    def log_lines_from(self, attempt: AttemptRecord, start: int) -> tuple[str, int]:
        """Whole lines of an attempt's output from a place in its worker's log on, and the place from which to go on."""
        path = self.log_file(attempt)
        if not _is_own_log(path):
            return "", start
        end, size = self._log_end(attempt), os.path.getsize(path)
        stop = size if end is None else min(end, size)
        if attempt.ended is None:
            stop = end_of_lines(path, start, stop)
        return (read_stretch(path, start, stop, None)[0], stop) if stop > start else ("", start)

    def _log_end(self, attempt: AttemptRecord) -> int | None:
        """Where the output of an attempt ends in its worker's log; None: where that does."""
        end = attempt.log_end
        if end is None:  # its worker died, or goes on: what it wrote ends where the next attempt began
            is_other = (Attempt.task != attempt.task) | (Attempt.number != attempt.number)
            end = next((start for (start,) in self._rows(
                Attempt.select(Attempt.log_start).where(
                    (Attempt.epoch == attempt.epoch) & (Attempt.worker == attempt.worker) & is_other
                    & (Attempt.started >= attempt.started)).order_by(Attempt.started).limit(1))), None)
        return end

    def run_log(self) -> str:
        """What is logged of the run as a whole."""
        path = self.directory.logs / runlog.NAME
        return read_stretch(path, 0, None)[0] if _is_own_log(path) else ""

    def output_begins(self, epoch: int, worker: int) -> int:
        """Where in its log the output of a worker's present attempt begins, or would begin."""
        [(at,)] = self.execute("SELECT max(coalesce(log_end, log_start)) FROM attempt WHERE epoch = ? AND worker = ?",
                               epoch, worker)
        return at or 0

    # --- what reached a task -------------------------------------------------------------------------------------

    def bog_of(self, task: TaskRecord, before: Iterable[TaskRecord], read: Callable[[str], Any] = display) -> Bog | None:
        """What reached a task, in the form that ``read`` gives. before: the tasks before it in its chain.

        None if binding failed, or nothing is known of the service.
        """
        service = self.services.get(task.service)
        if service is None:
            return None
        flow: dict[str, Any] = {}
        for earlier in before:
            flow = flow_after(earlier, flow, read)
        return bind_for_display(service, task, flow, read)

    def named_values(self, read: Callable[[str], Any] = display) -> dict[str, Any]:
        """What the tasks of the submitted chain returned, by name, in the form that ``read`` gives; later ones win."""
        again = self._results_made_again()
        values: dict[str, Any] = {}
        for task in self.submitted_tasks():
            if result := again.get(task.num, task.result):
                values.update(read(result))
        return values

    def _results_made_again(self) -> dict[int, str]:
        """``{task: what was returned by the last task that did its work again}``."""
        return {task: self.directory.unspill(result) for task, result in self._rows(
            Task.select(Task.redoes, Task.result).where(Task.redoes.is_null(False) & (Task.state == "succeeded"))
            .order_by(Task.id))}

    def unsuccessful(self) -> dict[str, list[str]]:
        """``{"failed": ["greet failed: why"], "not_run": ["amplify"]}`` of the submitted chain; no empty lists."""
        found: dict[str, list[str]] = {}
        for task in self.submitted_tasks():
            name = self.services[task.service].short_name
            if task.state == "failed":
                text = innermost(display_error(task.error))["text"] if task.error else ""
                found.setdefault("failed", []).append(f"{name} failed: {text}")
            elif task.state in ("skipped", "revoked", "waiting", "ready"):
                found.setdefault("not_run", []).append(name)
        return found

    # --- why it failed -------------------------------------------------------------------------------------------

    def cause(self, task: TaskRecord) -> int | None:
        """The task whose failure this task failed of, if it did."""
        uuid = interrupted_by(task.error)
        if uuid is None:
            return None
        if (known := self._causes.get((task.num, uuid))) is not None:
            return known
        # First among those that may be meant, since the uuids of 100,000 children take a second to compute.
        below = "SELECT id FROM task WHERE parent = ?1 AND id > ?1 AND state {} ('failed', 'revoked')"
        for those in ("IN", "NOT IN"):
            for (num,) in self.execute(below.format(those), task.num):
                if task_uuid(self.directory.firex_id, num) == uuid:
                    self._causes[task.num, uuid] = num
                    return num
        return None

    def root_causes(self) -> list[RootCause]:
        """For each failed task of the submitted chain, or of those that make lost files again, the failure at its bottom."""
        return [self._root_cause(*found) for found in self._bottoms()]

    def root_cause_numbers(self) -> list[int]:
        """The tasks of which `root_causes` tells."""
        return [task.num for task, _ in self._bottoms()]

    def _bottoms(self) -> Iterator[tuple[TaskRecord, list[int]]]:
        """``(task, those above it that failed because of it, outermost first)``."""
        for task in [*self.submitted_tasks(), *self.failed_again()]:
            if task.state == "failed" and task.error:
                through: list[int] = []
                while (cause := self.cause(task)) is not None and (below := self.task(cause)) is not None and below.error:
                    through.append(task.num)
                    task = below
                yield task, through

    def _root_cause(self, task: TaskRecord, through: list[int]) -> RootCause:
        chain = list(self.tasks((Task.id >= task.chain) & (Task.id < task.num)))
        bog = self.bog_of(task, chain)
        attempts = self.attempts(task.num)
        log = self.log(attempts[-1])[0] if attempts else ""
        service = self.services.get(task.service)
        assert task.error is not None
        error = display_error(task.error)
        error["where"] = where_of(error)
        if service and error["where"] and is_machinery(error["where"]["file"]):  # what it was given or returned was refused
            error["where"] = {"file": service.file, "line": service.line, "function": service.short_name}
        return RootCause(task, service.short_name if service else task.service, error,
                         bog.bound_args if bog else {}, log, tuple(through))


def _is_own_log(path: Path) -> bool:
    """Whether a log lies in the run itself: what a stranger's link leads to must not get into a report."""
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode) and stat.S_ISDIR(os.lstat(path.parent).st_mode)
    return False


def _in_memory(db: SqliteDatabase) -> SqliteDatabase:
    """A copy of an open journal, which is closed."""
    copy = SqliteDatabase(":memory:")
    copy.connect()
    copy.execute_sql("PRAGMA trusted_schema = OFF")
    db.connection().backup(copy.connection())
    db.close()
    return copy


def _may_be_copied(journal: Path) -> bool:
    with contextlib.suppress(OSError):
        os.close(open_own_file(journal))
        return True
    return False


def _copy_at_rest(journal: Path, copy: Path) -> None:
    """Copy a journal and what belongs to it file by file. Nobody may write to it meanwhile, or it is done again.

    Only for a journal that this process has not open by SQLite: closing a file drops the locks that SQLite has on it.
    """
    def parts() -> dict[str, tuple[int, int, int]]:
        found = {}
        for suffix in ("", "-wal"):  # no -journal, which would be rolled back: see `refuse_strange_parts`
            with contextlib.suppress(FileNotFoundError):
                about = os.stat(f"{journal}{suffix}")
                found[suffix] = about.st_ino, about.st_size, about.st_mtime_ns
        return found

    import shutil

    for _ in range(5):
        before = parts()
        for suffix in before:
            with os.fdopen(open_own_file(Path(f"{journal}{suffix}")), "rb") as source, open(f"{copy}{suffix}", "wb") as target:
                shutil.copyfileobj(source, target)
        if parts() == before:
            return
    raise JournalUnusable(f"{journal} is being written by another user, so it can only be looked at in between")


def _service(name: str, about: Mapping[str, Any]) -> ServiceRecord:
    parameters = Parameters(
        positional=tuple(about["positional"]), keyword_only=tuple(about["keyword_only"]),
        positional_only=frozenset(about["positional_only"]), var_positional=about["var_positional"],
        var_keyword=about["var_keyword"],
        defaults={name: display(text) for name, text in about["defaults"].items()})
    returns = None if about["returns"] is None else tuple(about["returns"])
    return ServiceRecord(name, about["short_name"], parameters, returns, about["file"], about["line"], about["plugin"],
                         tuple(about.get("head", ())))


def interrupted_by(error: str | None) -> str | None:
    """The uuid of the task that the first ChainInterruptedException in a chain of causes speaks of."""
    link = display_error(error) if error else None
    while link is not None:
        attributes = link["attributes"]
        if link["name"] in ("ChainInterruptedException", "ChainRevokedException", "ChainRevokedPreRunException"):
            return _if_text(attributes.get("task_id"))
        if link["name"] == "MultipleFailuresException":
            uuids = attributes.get("task_ids")
            return _if_text(uuids[0]) if uuids and isinstance(uuids, (list, tuple)) else None
        link = link["cause"]
    return None


def _if_text(value: object) -> str | None:
    """A service may raise an error of such a name with anything in it."""
    return value if isinstance(value, str) else None


def innermost(error: dict[str, Any]) -> dict[str, Any]:
    """Of an error that only tells of a child's failure, that of the child (FireX's first_non_chain_interrupted_exception)."""
    while interrupts(error) and error["cause"]:
        error = error["cause"]
    return error


def where_of(error: dict[str, Any]) -> dict[str, Any] | None:
    """Where an error was raised; of one that only tells what the user's own code raised, a converter's say, where that was."""
    where, cause = error["where"], error["cause"]
    if (where is None or is_machinery(where["file"])) and cause and cause["where"] and is_the_users_own(cause["where"]["file"]):
        return where if interrupts(error) else cause["where"]
    return where


def interrupts(error: dict[str, Any]) -> bool:
    """Whether an error only tells of a child's failure."""
    return error["name"] in ("ChainInterruptedException", "MultipleFailuresException")


def summary(history: History) -> dict[str, Any]:
    """The fields of FireX's run.json."""
    run = history.run()
    completed = run.ended is not None and run.state != RUN_INTERRUPTED
    revoked = run.state == RUN_REVOKED
    return {
        "firex_id": run.firex_id,
        "logs_path": str(history.directory.path),
        "completed": completed,
        "chain": [name.strip() for name in run.chain.split(",")],
        "submission_host": run.options["host"],
        "submission_dir": run.options["cwd"],
        "submission_cmd": run.options["argv"],
        "viewers": {},
        "inputs": run.inputs,
        "results": {"chain_results": history.named_values(), "unsuccessful_services": history.unsuccessful()}
        if completed else None,
        "revoked": revoked,
        "revoked_details": {"logs_dir": str(history.directory.path), "task_uuid": None, "root_revoke": True,
                            "reason": next((task.reason for task in history.submitted_tasks() if task.reason), None),
                            "revoking_user": None, "revoke_start_time": None,
                            "revoke_complete_time": run.ended} if revoked else None,
        "run_soft_time_limit": run.options.get("soft_time_limit"),
        "max_completion_timestamp": None if run.options.get("soft_time_limit") is None else
        run.created + run.options["soft_time_limit"],
        "state": run.state,
        "key": run.options.get("key"),
        "submit_proc_start_timestamp": run.created,
        "completed_timestamp": run.ended if completed else None,
    }
