"""Runs the firexlite command, and has each of its processes write down what it did when it ends.

`python -m benchmarks.profiled FOLDER HOW submit ...`. HOW is what is looked at, one thing at a time, since looking takes
time itself: ``nothing`` but the processor time; the ``statements`` that SQLite runs; or ``functions``, by the clock or, with
``processor``, by the processor time. Nothing in firexlite knows of it.
"""
from __future__ import annotations

import atexit
import collections
import cProfile
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from types import CodeType

NOTHING, STATEMENTS, FUNCTIONS, PROCESSOR = "nothing", "statements", "functions", "processor"


class Recorder:
    """What one process did; after a fork the child begins anew."""

    def __init__(self, folder: Path, how: str) -> None:
        self._folder, self._how = folder, how
        self._profile: cProfile.Profile | None = None
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.write)

    def _begin(self) -> None:
        if self._profile is not None:
            self._profile.disable()
        self.statements: collections.Counter[str] = collections.Counter()
        self.commits = self.syncs = 0
        if self._how in (FUNCTIONS, PROCESSOR):
            self._profile = cProfile.Profile(time.thread_time) if self._how == PROCESSOR else cProfile.Profile()
            self._profile.enable()

    def note(self, statement: str) -> None:
        """One statement that was run."""
        self.statements[" ".join(statement.split())] += 1
        self.commits += statement.upper().startswith("COMMIT")

    def write(self) -> None:
        cpu_s = time.process_time()
        functions = []
        if self._profile is not None:
            self._profile.disable()
            functions = [[_name(entry.code), entry.callcount, entry.inlinetime] for entry in self._profile.getstats()]
        found = {"pid": os.getpid(), "parent": os.getppid(), "cpu": cpu_s, "commits": self.commits,
                 "syncs": self.syncs, "statements": self.statements, "functions": functions}
        (self._folder / f"{os.getpid()}.json").write_text(json.dumps(found))


def _name(code: CodeType | str) -> str:
    """Of a function: the end of its file's path, its line and its name; of one in C, what the profiler says."""
    if isinstance(code, str):
        return code
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}:{code.co_firstlineno} {getattr(code, 'co_qualname', code.co_name)}"


def note_statements(recorder: Recorder) -> None:
    """Have every connection to a database that is made from now on tell what it runs, and count the syncs of its log.

    SQLite's own trace would not do: it tells of a statement once more for each trigger that it fires.
    """
    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, *values):
            self.connection.tell(statement)
            return super().execute(statement, *values)

        def executemany(self, statement: str, *values):
            self.connection.tell(f"(many) {statement}")
            return super().executemany(statement, *values)

    class Connection(sqlite3.Connection):
        def tell(self, statement: str) -> None:
            recorder.note(statement)

        def cursor(self, factory=Cursor):
            return super().cursor(factory)

        def execute(self, *statement):  # its own would take a plain cursor
            return self.cursor().execute(*statement)

        def executemany(self, *statement):
            return self.cursor().executemany(*statement)

    def fdatasync(fd: int) -> None:
        recorder.syncs += 1
        sync(fd)

    sync, os.fdatasync = os.fdatasync, fdatasync
    connect = sqlite3.connect
    sqlite3.connect = sqlite3.dbapi2.connect = lambda *args, **kwargs: connect(*args, **{"factory": Connection, **kwargs})


def write_before_exit(recorder: Recorder) -> None:
    """Workers end without the interpreter's own end."""
    leave = os._exit

    def write_and_leave(code: int) -> None:
        recorder.write()
        leave(code)

    os._exit = write_and_leave


if __name__ == "__main__":
    folder, how, *arguments = sys.argv[1:]
    recorder = Recorder(Path(folder), how)
    write_before_exit(recorder)
    if how == STATEMENTS:
        note_statements(recorder)
    from firexlite.__main__ import main
    sys.argv = ["firexlite", *arguments]
    main()
