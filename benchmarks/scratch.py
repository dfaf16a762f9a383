"""Where measuring happens: a folder on a real disk, in which commands run that have to end in time."""
from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
LIMIT_S = 300.0        # for one command
GRACE_S = 15.0         # that a command gets to end its own processes when it is stopped; firexlite's bodies have 8 s
MEMORY = frozenset({"tmpfs", "ramfs"})
SYNC_BYTES = 4096


class CannotMeasure(Exception):
    """There is nothing to measure with, or what was to be measured went wrong."""


@dataclass(frozen=True)
class Ended:
    """A command that ended well. seconds: from its start to its end. cpu_s: of it and of all that it waited for."""

    seconds: float
    out: str
    cpu_s: float


class Scratch:
    """A folder on a real disk, which also holds firexlite's home."""

    def __init__(self, folder: Path, limit_s: float = LIMIT_S) -> None:
        self.folder, self.limit_s = folder, limit_s
        self.filesystem = filesystem_of(folder)
        self._home = folder / "home"
        self._standing: dict[str, Any] = {}
        self._at_end = contextlib.ExitStack()
        self.environment = {**os.environ, "FIREXLITE_HOME": str(self._home),
                            "PYTHONPATH": str(PROJECT),  # services.py is a part of this package
                            # Whether compiled modules are kept, and for which of them, would decide the start.
                            "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}

    def run(self, *words: str, ends_with: int = 0, keeps_home: bool = False, **environment: str) -> Ended:
        """Run a command of this environment's Python to its end, in a fresh home unless the one before kept its own.

        Raises CannotMeasure if it fails or does not end within the limit; then nothing of it is left running.
        """
        began, used_s = perf_counter(), _cpu_of_children_s()
        with self.started(*words, keeps_home=keeps_home, **environment) as process:
            try:
                out, err = process.communicate(timeout=self.limit_s)
            except subprocess.TimeoutExpired:
                raise CannotMeasure(f"`{_shown(words)}` did not end within {self.limit_s:g} s") from None
            seconds = perf_counter() - began
        if process.returncode != ends_with:
            last = err.strip().splitlines()[-1:] or ["it said nothing"]
            raise CannotMeasure(f"`{_shown(words)}` ended with {process.returncode}: {last[0]}")
        return Ended(seconds, out, _cpu_of_children_s() - used_s)

    def told(self, *words: str, **environment: str) -> dict[str, float]:
        """The figures that a command prints as JSON in its last line, and how long all of it took."""
        ended = self.run(*words, **environment)
        return {**json.loads(ended.out.splitlines()[-1]), "command": ended.seconds}

    @contextlib.contextmanager
    def spare_file(self, name: str) -> Iterator[Path]:
        """A path where nothing is; what was made there is removed, with what SQLite has beside it."""
        try:
            yield self.folder / name
        finally:
            for path in self.folder.glob(f"{name}*"):
                path.unlink()

    @contextlib.contextmanager
    def started(self, *words: str, keeps_home: bool = False, **environment: str) -> Iterator[subprocess.Popen]:
        """Start a command as `run` does; at the end nothing of it is left running."""
        # A process group of its own, so that all of a pool can be stopped. Nobody types here.
        process = subprocess.Popen(
            words, cwd=PROJECT, env={**self.environment, **environment}, start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            _end(process)
            for pipe in (process.stdout, process.stderr):
                pipe.close()
            if not keeps_home:
                self.empty_home()

    def standing(self, name: str, make: Callable[[], Any]) -> Any:
        """What is made when it is first asked for, stands beside all that is measured after that, and is closed at the end."""
        if name not in self._standing:
            self._standing[name] = self._at_end.enter_context(contextlib.closing(make()))
        return self._standing[name]

    def close(self) -> None:
        """End what stands."""
        self._standing.clear()
        self._at_end.close()

    def runs(self) -> list[str]:
        """The ids of the runs in the home that a command kept."""
        return [path.name for path in self._home.glob("FireX-*")]

    def run_directory(self) -> Path:
        """Of the only run in the home that a command kept."""
        [firex_id] = self.runs()
        return self._home / firex_id

    def empty_home(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)

    def returned(self, *words: str, command: Sequence[str] = (), keeps_home: bool = False,
                 **environment: str) -> tuple[Ended, dict]:
        """Run `firexlite submit` with ``words``; also gives what the services of its chain returned, by name.

        command: what runs firexlite, if not the command as a user starts it.
        """
        copy = self.folder / "run.json"
        ended = self.run(*(command or firexlite_command()), "submit", *words, "--json_file", str(copy), keeps_home=keeps_home,
                         **environment)
        return ended, json.loads(copy.read_text(encoding="utf-8"))["results"]["chain_results"]

    def fdatasync_s(self, is_growing: bool, times: int = 200) -> float:
        """The median of so many writes of 4 KB, each made durable by an fdatasync.

        is_growing: each write makes the file longer, as in a young write-ahead log; otherwise the room is there.
        """
        path = self.folder / "synced"
        page = os.urandom(SYNC_BYTES)
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if not is_growing:
                os.pwrite(fd, bytes(SYNC_BYTES * times), 0)
                os.fsync(fd)
            taken = []
            for n in range(times):
                began = perf_counter()
                os.pwrite(fd, page, SYNC_BYTES * n)
                os.fdatasync(fd)
                taken.append(perf_counter() - began)
        finally:
            os.close(fd)
            path.unlink()
        return statistics.median(taken)


def firexlite_command() -> list[str]:
    """The installed command, as a user starts it."""
    installed = Path(sys.executable).with_name("firexlite")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "firexlite"]


def _cpu_of_children_s() -> float:
    """Of the children that have ended and were waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _shown(words: tuple[str, ...]) -> str:
    return " ".join([Path(words[0]).name, *words[1:]])


def _end(process: subprocess.Popen) -> None:
    """Stop what a command left running. A firexlite that is asked to stop ends its own workers."""
    # Others may be in its process group still when it has ended itself.
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is not None:
            os.killpg(process.pid, signal.SIGKILL)
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_S)


# --- which disk ------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def scratch_folder(chosen: Path | None, limit_s: float = LIMIT_S) -> Iterator[Scratch]:
    """A fresh folder below ``chosen``, else below the first usual place that lies on a disk; removed at the end.

    Raises CannotMeasure where there is only memory: without a disk, durability would cost nothing.
    """
    places = [chosen] if chosen else [Path(tempfile.gettempdir()), Path("/var/tmp"), PROJECT]
    usable = [place for place in places if place.is_dir() and filesystem_of(place) not in MEMORY]
    if not usable:
        raise CannotMeasure(f"{' and '.join(map(str, places))} lie in memory or are not there; "
                            "name a folder on a disk with --scratch FOLDER")
    with (tempfile.TemporaryDirectory(prefix="firexlite-bench-", dir=usable[0], ignore_cleanup_errors=True) as folder,
          contextlib.closing(Scratch(Path(folder), limit_s)) as place):
        yield place


def filesystem_of(path: Path) -> str:
    """The type of the file system that holds ``path``, e.g. ``ext4``; ``unknown`` where /proc does not say."""
    resolved = path.resolve()
    found, longest = "unknown", -1
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4]))
        # Of two mounts at the same place the later one is seen.
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= longest:
            found, longest = after.split()[0], len(mounted.parts)
    return found
