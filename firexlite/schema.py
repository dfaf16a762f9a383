"""The tables of a journal, and the triggers by which SQLite itself holds the rules of `states`."""
from __future__ import annotations

import errno
import functools
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import peewee
from peewee import SQL, CompositeKey, FloatField, IntegerField, Model, SqliteDatabase, TextField

from .errors import DiskFull, FirexliteError, JournalUnusable, StorageFailure
from .patterns import pattern
from .states import MOVES, OPEN

APPLICATION_ID = 0x46586C74  # "FXlt"
SCHEMA = 5


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
    about = TextField(null=True)       # JSON: {changed: [names of services with other code than before], python, firexlite}


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
    on_interrupt = TextField(constraints=[SQL("DEFAULT 'retry'")])  # what becomes of it if its body was cut off
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
    stopped = TextField(null=True)                 # JSON: what keeps it from being claimed in this incarnation
    unsure = IntegerField(constraints=[SQL("DEFAULT 0")])  # its body may have run, and only a person has it run again
    redoes = IntegerField(null=True)               # the task whose work it does again, for files that were lost
    aside = IntegerField(default=0)                # a reopened parent did not ask for it again
    queue = TextField(null=True)                   # the queue it was enqueued to
    limited = TextField(constraints=[SQL("DEFAULT ''")])  # the same, if that has a limit in this incarnation; else empty
    slots = IntegerField(constraints=[SQL("DEFAULT 1")])  # how many of the slots it takes while it runs
    priority = IntegerField(constraints=[SQL("DEFAULT 0")])  # lower ones are claimed first
    due = FloatField(null=True)                    # ready, and not to be claimed before
    reserved = IntegerField(null=True)             # ready, and one of those that this worker is to begin next
    keeps_children = IntegerField(constraints=[SQL("DEFAULT 0")])  # its end neither waits for its children nor revokes them
    shared = IntegerField(constraints=[SQL("DEFAULT 0")])  # enqueued once for all who ask for its key
    cached_from = IntegerField(null=True)          # the task whose result it took over
    options = TextField(null=True)                 # JSON: what its signature sets other than its service, its limits say
    reason = TextField(null=True)                  # why it was revoked
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
    outcome = TextField(null=True)                 # succeeded, failed, retried, suspended, lost, revoked, stopped
    error = TextField(null=True)                   # JSON: the exception
    log_start = IntegerField()                     # bytes, in the worker's log file
    log_end = IntegerField(null=True)
    peak = IntegerField(null=True)                 # bytes of memory, the most it had
    cpu = FloatField(null=True)                    # seconds
    host = TextField(null=True)                    # where it ran, if elsewhere than the processes of the run

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
    """A blocked task waits for the end of a chain, or for a time or an event; a wait is over when it has no row left."""

    tail = IntegerField()                          # the last task of the chain; 0: none
    waiter = IntegerField()
    wait = IntegerField()
    any = IntegerField()                           # 1: the first chain to end is enough
    due = FloatField(null=True)                    # when the wait is over at the latest
    event = TextField(null=True)                   # the name of the event it waits for
    nth = IntegerField(null=True)                  # the how manieth of that name, from 1

    class Meta:
        primary_key = CompositeKey("tail", "waiter", "wait")
        without_rowid = True


class Noted(Model):
    """A value that a body got from the world, the clock say, and gets again when it is replayed."""

    task = IntegerField()
    retry = IntegerField()
    name = TextField()                             # now, random, uuid, key
    number = IntegerField()                        # how often it was asked for before in this try
    value = TextField()                            # JSON

    class Meta:
        primary_key = CompositeKey("task", "retry", "name", "number")
        without_rowid = True


class Once(Model):
    """What is done once in a run: by the chain that was enqueued under a key, or by the task that computes a cached result."""

    key = TextField(primary_key=True)
    task = IntegerField()                          # the first task of that chain, or that task

    class Meta:
        without_rowid = True


class Attached(Model):
    """A task asked for a chain that is shared by all who ask for its key."""

    chain = IntegerField()
    parent = IntegerField()

    class Meta:
        primary_key = CompositeKey("chain", "parent")
        without_rowid = True


class Sent(Model):
    """An event, as somebody sent it. The nth wait of a task for a name is over with the nth event of that name."""

    id = IntegerField(primary_key=True)
    name = TextField()
    nth = IntegerField()
    value = TextField()                            # JSON
    at = FloatField()


class Legal(Model):
    """The moves of `states.MOVES`, for the trigger that refuses others."""

    move = TextField()
    source = TextField()
    target = TextField()

    class Meta:
        primary_key = CompositeKey("move", "source", "target")
        without_rowid = True


TABLES = (Run, Incarnation, Service, Task, Attempt, Event, FlameDatum, Awaited, Noted, Once, Attached, Sent, Legal)
SQL_OPEN = "('" + "', '".join(sorted(OPEN)) + "')"
_FIXED = ", ".join(name for name in Task._meta.fields if name != "aside")

STATEMENTS = (
    "CREATE INDEX task_ready ON task (limited, priority, depth DESC, id) "
    "WHERE state = 'ready' AND stopped IS NULL AND due IS NULL AND reserved IS NULL",
    "CREATE INDEX task_reserved ON task (reserved) WHERE reserved IS NOT NULL",
    "CREATE INDEX task_due ON task (due) WHERE due IS NOT NULL",
    "CREATE INDEX task_running ON task (worker, slots) WHERE state = 'running'",
    "CREATE INDEX task_in_queue ON task (limited) WHERE limited <> '' AND state IN ('running', 'blocked')",
    "CREATE INDEX task_woken ON task (limited) WHERE limited <> '' AND state = 'ready' AND move = 'wake'",
    "CREATE INDEX task_wakeable ON task (depth DESC, id) WHERE state = 'blocked' AND wakeable",
    "CREATE INDEX task_blocked ON task (worker) WHERE state = 'blocked'",
    "CREATE INDEX task_call ON task (parent, parent_retry) WHERE digest IS NOT NULL",
    "CREATE INDEX awaited_by ON awaited (waiter, wait)",
    "CREATE INDEX awaited_due ON awaited (due) WHERE due IS NOT NULL",
    "CREATE INDEX awaited_event ON awaited (event, nth) WHERE event IS NOT NULL",
    "CREATE INDEX sent_nth ON sent (name, nth)",
    "CREATE INDEX attached_by ON attached (parent)",
    "CREATE INDEX task_redo ON task (redoes) WHERE redoes IS NOT NULL",
    """CREATE TRIGGER only_legal_moves BEFORE UPDATE OF state ON task
       WHEN NOT EXISTS (SELECT 1 FROM legal WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)
       BEGIN SELECT RAISE(ABORT, 'no such move'); END""",
    """CREATE TRIGGER a_move_is_an_event AFTER UPDATE OF state ON task WHEN NEW.move <> 'perform'
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       VALUES (NEW.moved, NEW.id, NEW.attempt, NEW.move, NEW.state); END""",
    """CREATE TRIGGER to_perform_is_two_events AFTER UPDATE OF state ON task WHEN NEW.move = 'perform'
       BEGIN INSERT INTO event (at, task, attempt, move, state)
       SELECT started, task, number, 'claim', 'running' FROM attempt WHERE task = NEW.id AND number = NEW.attempt
       UNION ALL
       SELECT ended, task, number, 'succeed', 'succeeded' FROM attempt WHERE task = NEW.id AND number = NEW.attempt; END""",
    """CREATE TRIGGER the_first_is_released AFTER INSERT ON task WHEN NEW.state = 'ready'
       BEGIN INSERT INTO event (at, task, attempt, move, state) VALUES (NEW.moved, NEW.id, 0, 'release', 'ready'); END""",
    f"""CREATE TRIGGER success_is_for_ever BEFORE UPDATE OF {_FIXED} ON task WHEN OLD.state = 'succeeded'
       BEGIN SELECT RAISE(ABORT, 'a succeeded task never changes'); END""",
    """CREATE TRIGGER tasks_stay BEFORE DELETE ON task
       BEGIN SELECT RAISE(ABORT, 'no task is ever deleted'); END""",
    """CREATE TRIGGER attempts_stay BEFORE DELETE ON attempt
       BEGIN SELECT RAISE(ABORT, 'no attempt is ever deleted'); END""",
    """CREATE TRIGGER events_stay BEFORE DELETE ON event
       BEGIN SELECT RAISE(ABORT, 'no event is ever deleted'); END""",
    """CREATE TRIGGER what_was_sent_stays BEFORE DELETE ON sent
       BEGIN SELECT RAISE(ABORT, 'nothing that was sent is ever deleted'); END""",
    """CREATE TRIGGER an_ended_attempt_stays BEFORE UPDATE ON attempt WHEN OLD.ended IS NOT NULL
       BEGIN SELECT RAISE(ABORT, 'an ended attempt never changes'); END""",
)


def gone(execute: Callable[[str], Iterable[Any]]) -> set[int]:
    """The tasks that were set aside, and all below them."""
    found: set[int] = set()
    if list(execute("SELECT 1 FROM task WHERE aside LIMIT 1")):
        for task, parent, aside in execute("SELECT id, parent, aside FROM task ORDER BY id"):  # parents come first
            if aside or parent in found:
                found.add(task)
    return found


def counts_by_state(execute: Callable[[str], Iterable[Any]], left_out: set[int] | None = None) -> dict[str, int]:
    """``{state: number of tasks}``, without states that no task is in. What is `gone` counts no more; left_out: if known."""
    if not (left_out := gone(execute) if left_out is None else left_out):
        return dict(execute("SELECT state, count(*) FROM task GROUP BY state"))
    return dict(Counter(state for task, state in execute("SELECT id, state FROM task ORDER BY id") if task not in left_out))


def refuse_foreign(db: SqliteDatabase, path: Path) -> None:
    """Raise JournalUnusable if the open file is no journal of a schema that is known here."""
    application, version = (db.execute_sql(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if not application and not db.execute_sql("PRAGMA page_count").fetchone()[0]:
        raise JournalUnusable(f"{path} is empty: no journal was written there, or it was cut off")
    if application != APPLICATION_ID:
        raise JournalUnusable(f"{path} is no journal of firexlite but an SQLite file of application {application:#x}")
    if not 1 <= version <= SCHEMA:
        raise JournalUnusable(f"{path} has schema {version}, and this firexlite reads up to {SCHEMA}; use a newer firexlite")
    if strange := what_is_strange(db, version):
        raise JournalUnusable(f"{path} is not as firexlite makes it: {strange}")


# --- what may be defined in a journal ------------------------------------------------------------------------------

# Words of which peewee, whatever its version, makes our tables: nothing among them runs code, or has a file grow columns.
_TABLE_WORDS = frozenset(("create", "table", "if", "not", "exists", "integer", "text", "real", "null", "primary", "key",
                          "check", "without", "rowid", "default", "retry", "0", "1"))
_WORD = pattern(r"[^\W\d]\w*|\d+")
# What later schemas added: ``{schema: {table: columns, or none if the whole table is new}}``.
_ADDED: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    2: {"incarnation": ("about",), "task": ("on_interrupt", "unsure", "redoes"), "noted": ()},
    3: {"task": ("queue", "limited", "slots", "priority", "due", "keeps_children", "shared", "cached_from", "options",
                 "reason"),
        "attempt": ("peak", "cpu"), "awaited": ("due", "event", "nth"), "once": (), "attached": (), "sent": ()},
    4: {"task": ("reserved",)},
    5: {"attempt": ("host",)},
}
_FORMER = frozenset(("attempt_under_way", "task_open_child"))  # indices of earlier schemas
_COLUMN_TYPES = {IntegerField: "INTEGER", FloatField: "REAL", TextField: "TEXT"}


@functools.cache
def _columns(version: int) -> set[tuple]:
    """``(table, column, type, not null, place in the primary key, hidden)`` of every column of a schema."""
    found = set()
    for table in TABLES:
        meta = table._meta
        keys = [field.name for field in meta.get_primary_keys()]
        found |= {(meta.table_name, field.column_name, _COLUMN_TYPES[_kind(field)], int(not field.null),
                   keys.index(name) + 1 if name in keys else 0, 0) for name, field in meta.fields.items()
                  if not _is_newer(version, meta.table_name, field.column_name)}
    return found


def _is_newer(version: int, table: str, column: str | None = None) -> bool:
    """Whether a schema had no such column yet, or no such table."""
    return any(table in added and (not added[table] or column in added[table])
               for schema, added in _ADDED.items() if schema > version)


def _kind(field: peewee.Field) -> type:
    return next(kind for kind in _COLUMN_TYPES if isinstance(field, kind))


def what_is_strange(db: SqliteDatabase, version: int) -> str | None:
    """What an open journal defines other than its schema does, in words; None if nothing.

    A foreign one may hold a trigger or a view that does what its maker likes, as soon as somebody writes or reads.
    Tables are compared by their columns and by the words that may occur, not by the text that some peewee wrote.
    """
    ours = {_name_of(sql): sql for sql in STATEMENTS}
    tables = {table._meta.table_name: table for table in TABLES if not _is_newer(version, table._meta.table_name)}
    found = db.execute_sql("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    for kind, name, table, sql in found:
        if kind == "table" and name in tables:
            words = _TABLE_WORDS | {name} | {field.column_name for field in tables[name]._meta.fields.values()}
            if strange := {word.lower() for word in _WORD.findall(str(sql))} - words:
                return f"its table {name} is defined with {', '.join(sorted(strange)[:3])}"
        elif kind == "index" and sql is None and table in tables and name == f"sqlite_autoindex_{table}_1":
            continue  # SQLite's own, of a primary key
        elif version < SCHEMA and name in _FORMER:
            continue  # it is dropped, as all of these, before anything is written
        elif name not in ours or (version == SCHEMA and sql != ours[name]):
            return f"it has the {kind} {str(name)[:80]!r}" + (", which is none of ours" if name not in ours else
                                                              " in another form")
    expected = {*tables, *(ours if version == SCHEMA else ())}
    if missing := expected - {name for _, name, _, _ in found}:
        return f"it lacks {', '.join(sorted(missing)[:3])}"
    columns = set(db.execute_sql(
        "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk, c.hidden FROM sqlite_master AS m "
        "JOIN pragma_table_xinfo(m.name) AS c WHERE m.type = 'table'").fetchall())
    if other := columns ^ _columns(version):
        table, column, *_ = min(other)
        return f"the column {column} of its table {table} is another"
    return None


def _name_of(statement: str) -> str:
    return statement.split()[2]


def create(db: SqliteDatabase) -> None:
    """Make the tables of a new journal; inside a transaction."""
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
    for statement in STATEMENTS:
        db.execute_sql(statement)
    db.execute_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    _seal(db)


def version(db: SqliteDatabase) -> int:
    return db.execute_sql("PRAGMA user_version").fetchone()[0]


def migrate(db: SqliteDatabase) -> None:
    """Bring a journal of an older schema to the present one; inside a transaction."""
    before = version(db)
    tables = {table._meta.table_name: table for table in TABLES}
    for schema, added in _ADDED.items():
        for name, columns in added.items() if schema > before else ():
            if not columns:
                with db.bind_ctx([tables[name]]):
                    db.create_tables([tables[name]])
            for column in columns:
                db.execute_sql(f"ALTER TABLE {name} ADD COLUMN {_definition(tables[name], column)}")
    for kind, name in db.execute_sql("SELECT type, name FROM sqlite_master WHERE type IN ('index', 'trigger') "
                                     "AND sql IS NOT NULL").fetchall():
        db.execute_sql(f'DROP {kind} "{name}"')
    for statement in STATEMENTS:
        db.execute_sql(statement)
    _seal(db)


def _definition(table: type[Model], column: str) -> str:
    """How a column of a table is defined, for one that is added to it."""
    field = table._meta.fields[column]
    default = next((f" {constraint.sql}" for constraint in field.constraints or ()), "")
    return f"{column} {_COLUMN_TYPES[_kind(field)]}{'' if field.null else ' NOT NULL'}{default}"


def _seal(db: SqliteDatabase) -> None:
    """Write down which moves are legal, and which schema this is."""
    with db.bind_ctx([Legal]):
        Legal.delete().execute()
        Legal.insert_many([(move, source, target) for move, (sources, targets) in MOVES.items()
                           for source in sources for target in targets]).execute()
    db.execute_sql(f"PRAGMA user_version = {SCHEMA}")


ERRORS = (peewee.DatabaseError, sqlite3.DatabaseError)  # of a statement; of fetching what it found

# --- what went wrong -------------------------------------------------------------------------------------------

# The disk has no room: for a page, for the index of the write-ahead log, or for the name of a new file.
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN")

# What can go wrong only with writing.
_WRITING = ("SQLITE_FULL", "SQLITE_IOERR_SHM", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE")


def why_unusable(error: Exception, path: Path) -> FirexliteError:
    """What SQLite's error means for a run: DiskFull, StorageFailure, or JournalUnusable for a file that is none of ours."""
    name, text = _told_by_sqlite(error)
    # SQLite opens a journal read-only if it cannot make the files beside it, for want of an inode say.
    has_no_room = "readonly" in text and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if (name.startswith("SQLITE_CANTOPEN") or "unable to open" in text) and (limit := _lacks_descriptors()):
        return JournalUnusable(f"{path} could not be opened: this process may have no more than {limit} files open; "
                               "raise that limit (`ulimit -n`)")
    if has_no_room or name.startswith(_FULL) or (not name and ("disk is full" in text or "unable to open" in text)):
        return DiskFull(path, text)
    if name.startswith("SQLITE_IOERR") or (not name and "disk I/O error" in text):
        return StorageFailure(f"{path} could not be written or read ({text}); nothing that was journaled is lost")
    return JournalUnusable(f"{path} {_what_is_wrong(text, path)}")


def _lacks_descriptors() -> int:
    """How many files this process may have open if they are all taken, or so many that a journal finds no place; else 0."""
    taken: list[int] = []
    try:
        while len(taken) < 4:  # the journal, its log, its index, and a folder to sync
            taken.append(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return 0
        import resource  # here: not every host on which a run is looked at has it

        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        for fd in taken:
            os.close(fd)
    return 0


def why_unreadable(error: Exception, path: Path) -> FirexliteError:
    """What an error means for one who only reads: the journal is unusable to him, or he lacks the room for what SQLite
    writes beside it even then."""
    name, text = _told_by_sqlite(error)
    has_no_room = name == "SQLITE_CANTOPEN" and os.access(path, os.R_OK) and os.access(path.parent, os.W_OK)
    if has_no_room or name.startswith(_WRITING):
        return why_unusable(error, path)
    return JournalUnusable(f"{path} {_what_is_wrong(text, path)}")


def _told_by_sqlite(error: Exception) -> tuple[str, str]:
    """The name, where Python tells it (since 3.11), and the text of an error of SQLite.

    The innermost counts: a rollback that fails because SQLite has rolled back by itself comes after it.
    """
    link: BaseException | None = error
    first: BaseException = error
    while link is not None:
        if isinstance(link, (sqlite3.Error, peewee.PeeweeException)):
            first = link
        link = link.__cause__ or link.__context__
    return getattr(first, "sqlite_errorname", ""), str(first).strip()


def _what_is_wrong(text: str, path: Path) -> str:
    """SQLite's words for what is the matter with a file, in ours, with a way out."""
    if "locked" in text:
        from .holders import holders
        who = holders([path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")])
        return f"is locked by {who[0] if who else 'another program'}; wait for it, or end it"
    if "not a database" in text:
        return "is no SQLite file: it was overwritten, or something else was put in its place"
    if "malformed" in text:
        return f"is damaged ({text}); a copy of the run's directory from before can take its place"
    try:
        about = os.stat(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(about.st_mode):
        return "is a directory, where a journal should be"
    if not os.access(path, os.R_OK):
        from .home import owner_name
        return f"may not be read by this user: it belongs to {owner_name(about.st_uid)}"
    return f"cannot be used: {text}"
