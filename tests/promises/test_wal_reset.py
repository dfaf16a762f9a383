"""No second process ever writes or checkpoints the journal while another does: SQLite's WAL-reset race has no instant.

All processes of a run, and a reader beside them, are recorded by one strace. It stops a process before and after each
call, so the order of its lines is that of the calls: a lock that is taken is told of before what is written under it, and
a lock that is let go before it is free for another.
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crash.syscalls import strace_is_missing

import firexlite

pytestmark = pytest.mark.skipif(bool(strace_is_missing()), reason=str(strace_is_missing()))

SERVICES = """
from firexlite import app

@app.task(returns="y")
def double(x): return 2 * x

@app.task(bind=True, returns="total")
def fan_out(self):
    promises = [self.enqueue_child(double.s(x=x) | double.s(x=-x)) for x in range(15)]
    self.wait_for_children()
    return len(promises)
"""
BESIDE_A_READER = """
import subprocess, sys
from firexlite.errors import FirexliteError
from firexlite.history import History
from firexlite.home import all_runs

run = subprocess.Popen([sys.executable, "-m", "firexlite", "submit", "--plugins", "services.py", "--chain", "fan_out",
                        "--workers", "3"], stdout=subprocess.DEVNULL)
while run.poll() is None:
    for directory in all_runs():
        try:
            with History(directory) as history, history.snapshot():
                list(history.tasks())
        except FirexliteError:
            pass  # of a run that is just being folded
sys.exit(run.returncode)
"""
CHANGES = {"pwrite64", "write", "ftruncate", "fdatasync", "fsync", "unlink"}
SYNCS_LOG = r"f(data)?sync\(.*-wal>"  # which `group_commit` does without the lock; it changes nothing


def recorded(folder: Path, package: Path) -> list[str]:
    """The calls of all processes of a run of 31 tasks that write or lock, and of a reader's."""
    (folder / "services.py").write_text(SERVICES)
    (folder / "beside_a_reader.py").write_text(BESIDE_A_READER)
    done = subprocess.run(
        ["strace", "-f", "-qq", "-y", "-s", "0", "-o", folder / "strace", "-e", "signal=none",
         "-e", f"trace=flock,close,{','.join(sorted(CHANGES))}", sys.executable, "beside_a_reader.py"],
        cwd=folder, env={**os.environ, "FIREXLITE_HOME": str(folder / "home"), "PYTHONPATH": str(package)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return (folder / "strace").read_text().splitlines()


class Witness:
    """Reads a record line by line, and notes whatever was written to the journal without the run's write lock."""

    def __init__(self) -> None:
        self.holder: tuple[str, str] | None = None    # process and its file descriptor
        self.writers: dict[str, int] = {}
        self.faults: list[str] = []
        self._asks: dict[str, str] = {}               # of each process that wants the lock: by which descriptor

    def read(self, line: str) -> None:
        process, call = re.match(r"(\d+) +(.*)", line).groups()
        if found := re.match(r"(?:flock|close)\((\d+)<.*/write\.lock>(, LOCK_EX)?", call):
            fd, takes = found.groups()
            if takes:
                self._asks[process] = fd
            elif self.holder == (process, fd):
                self.holder = None
        if process in self._asks and re.match(r"(flock|<\.\.\. flock resumed).*= 0$", call):
            self.take(process, self._asks.pop(process))
        if re.match(rf"({'|'.join(CHANGES)})\(.*journal\.sqlite3(-wal)?[>\"]", call) and not re.match(SYNCS_LOG, call):
            self.writers[process] = self.writers.get(process, 0) + 1
            if self.holder is None or self.holder[0] != process:
                self.faults.append(f"{process} wrote while the lock's holder was {self.holder}: {call[:120]}")

    def take(self, process: str, fd: str) -> None:
        if self.holder is not None:
            self.faults.append(f"{process} got the lock that {self.holder} held")
        self.holder = process, fd


def witness_of(lines: list[str]) -> Witness:
    witness = Witness()
    for line in lines:
        witness.read(line)
    return witness


def test_whoever_writes_or_checkpoints_the_journal_is_alone(tmp_path):
    witness = witness_of(recorded(tmp_path, Path(firexlite.__file__).parent.parent))

    assert witness.faults == []
    assert len(witness.writers) >= 4, "the runner and three workers write"
    assert sum(witness.writers.values()) > 300


@pytest.mark.parametrize("where", ["def transaction", "def close", "def fold"])
def test_the_record_would_show_a_missing_lock(tmp_path, where):
    package = tmp_path / "package"
    shutil.copytree(Path(firexlite.__file__).parent, package / "firexlite", ignore=shutil.ignore_patterns("__pycache__"))
    journal = package / "firexlite" / "journal_file.py"
    source = journal.read_text()
    before, function = source.split(where)
    journal.write_text(before + where + function.replace("fcntl.flock(self._lock_fd, fcntl.LOCK_EX)", "pass", 1))

    assert witness_of(recorded(tmp_path, package)).faults
