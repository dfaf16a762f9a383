"""What tests of whole runs need: a home of their own, the command, and ways to kill a run at a chosen moment."""
from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import Browser
from journals import opened, submit

from firexlite import host
from firexlite.home import RunDirectory
from firexlite.journal import Journal

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
# What begins a service file whose bodies leave a trace: `note("baked")` adds a line that `effects()` counts. On the workers of
# a cluster, which have an environment of their own, a body finds the file by its working directory.
NOTE = """
import os, time
from firexlite import app

def note(what):
    fd = os.open(os.environ.get("EFFECT_LOG", "effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what}\\n".encode())
    os.close(fd)

def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""
# Who starts the tests in the background may have SIGINT ignored, and all that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
LIMIT_S = 60  # for any command, unless a test says otherwise


@dataclass
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def firex_id(self) -> str:
        return next(line.split(": ")[1] for line in self.out.splitlines() if line.startswith("FireX ID: "))


class Command:
    """Runs `firexlite` with a home of its own; nothing it started survives the test."""

    def __init__(self, home: Path, folder: Path, *program: object) -> None:
        """program: the words that start firexlite, if not the one that is tested by this process."""
        self.home, self.folder = home, folder
        self.program = [*map(str, program)] or [sys.executable, "-m", "firexlite"]
        self.env = {**os.environ, "FIREXLITE_HOME": str(home), "DASK_TEMPORARY_DIRECTORY": str(home.parent)}
        self._started: list[subprocess.Popen] = []

    def start(self, *args: object, **env: str) -> subprocess.Popen:
        """Start a command; its output can be read from the process."""
        process = subprocess.Popen(
            [*self.program, *map(str, args)], cwd=self.folder, env={**self.env, **env},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def __call__(self, *args: object, timeout: float = LIMIT_S, **env: str) -> Finished:
        """Run a command to its end."""
        process = self.start(*args, **env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_all(process)
            out, err = process.communicate()
            pytest.fail(f"firexlite {' '.join(map(str, args))} did not end within {timeout} s:\n{out}\n{err}")
        return Finished(process.returncode, out, err)

    def runs(self) -> list[RunDirectory]:
        return [RunDirectory(path) for path in sorted(self.home.glob('FireX-*'))] if self.home.exists() else []

    def only_run(self) -> RunDirectory:
        [run] = self.runs()
        return run

    def flame(self, firex_id: str) -> dict:
        done = self("flame", firex_id, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                kill_all(process)
            process.communicate()


def kill_all(process: subprocess.Popen) -> None:
    """SIGKILL every process of a run at one instant: they are stopped first, so that none can clean up after another."""
    stopped: set[int] = set()
    while True:
        found = {process.pid, *host.descendants(process.pid)} - stopped
        if not found:
            break
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # One that was in the middle of a system call ends that first, and keeps its locks until then.
    wait_until(lambda: all(host.start_time(pid) is None for pid in stopped), what="end of all killed processes")


def without_rich(folder: Path) -> dict[str, str]:
    """The environment of somebody who has not installed it."""
    (folder / "hidden" / "rich").mkdir(parents=True)
    (folder / "hidden" / "rich" / "__init__.py").write_text("raise ImportError('it is not installed')")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "hidden"), *filter(None, [os.environ.get("PYTHONPATH")])])}


def wait_until(condition: Callable[[], object], limit_s: float = 20.0, what: str = "") -> object:
    """Return the condition's value as soon as it is true; fail after ``limit_s``."""
    give_up = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > give_up:
            pytest.fail(f"after {limit_s} s there is still no {what or condition}")
        time.sleep(0.005)
    return value


def query(run: RunDirectory, sql: str, *parameters: object) -> list[tuple]:
    """Rows of a run's journal, read as any reader would."""
    connection = sqlite3.connect(f"file:{run.journal}?mode=ro", uri=True, timeout=5)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def states(run: RunDirectory) -> dict[str, int]:
    return dict(query(run, "SELECT state, count(*) FROM task GROUP BY state"))


@pytest.fixture
def firexlite(tmp_path: Path) -> Iterator[Command]:
    folder = tmp_path / "work"
    folder.mkdir()
    command = Command(tmp_path / "home", folder)
    yield command
    command.close()


@pytest.fixture
def plugin(firexlite: Command) -> Callable[..., Path]:
    """Writes a service file into the working directory: ``plugin(source, name='services.py')``."""

    def write(source: str, name: str = "services.py") -> Path:
        path = firexlite.folder / name
        path.write_text(source)
        return Path(name)

    return write


@pytest.fixture
def effects(firexlite: Command) -> Callable[[], collections.Counter]:
    """Counts the lines that bodies wrote by `note`."""
    path = firexlite.folder / "effects"
    firexlite.env["EFFECT_LOG"] = str(path)
    return lambda: collections.Counter(path.read_text().splitlines()) if path.exists() else collections.Counter()


@pytest.fixture
def struck(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a command that is struck at a moment, as `firexlite.faults` names them: ``struck("*#17=all")``."""
    numbers = itertools.count(1)

    def environment(fault: str) -> dict[str, str]:
        return {"FIREXLITE_FAULT": fault, "FIREXLITE_FAULT_ROOT": str(os.getpid()),
                "FIREXLITE_FAULT_LOG": str(tmp_path / f"moments{next(numbers)}")}

    return environment


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Makes a run of the given services, of which ``slots`` may run at once; gives its open journal. No process runs it."""
    with contextlib.ExitStack() as made:
        def make(*services: str, slots: int = 1, queues: dict[str, int] | None = None, **more: object) -> Journal:
            journal = opened(tmp_path, slots, queues)
            made.callback(journal.close)
            submit(journal, *services, **more)
            return journal

        yield make


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one, which the tests of a file share."""
    with Browser() as browser:
        yield browser
