"""Planted bugs: each of `planted` is put into a copy of the package, and the tests that are to notice it are run there."""
from __future__ import annotations

import collections
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .parts import PLACE, Part, Report, Tally
from .planted import BUGS, Bug, only

PROJECT = Path(__file__).parents[2]
COPIED = ("firexlite", "tests", "fixtures", "pyproject.toml")
LIMIT_S = 90.0         # for the tests that are to catch one bug; a bug that makes them hang is caught
SOUND_LIMIT_S = 600.0  # for all of them on the package as it is


class Copy:
    """A copy of the project, in which bugs are planted one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = PROJECT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(source, folder / name)

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Copy]:
        with tempfile.TemporaryDirectory(prefix="planted-", ignore_cleanup_errors=True) as folder:
            yield cls(Path(folder))

    @contextlib.contextmanager
    def planted(self, bug: Bug) -> Iterator[None]:
        """The bug is there in the meantime. Raises ValueError if it does not fit."""
        path = self.folder / "firexlite" / bug.file
        source = path.read_text()
        try:
            self._write(path, bug.planted_in(source))
            yield
        finally:
            self._write(path, source)

    def _write(self, path: Path, source: str) -> None:
        """Change a file of the package, and forget its compiled form: Python knows a changed file by its size and the
        second it was written in, which is too coarse here."""
        path.write_text(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()

    def fails(self, tests: str, limit_s: float = LIMIT_S) -> tuple[bool, str]:
        """``(whether tests fail or hang, what they say)``, with the package as it is in this copy.

        Raises RuntimeError if they could not be run at all.
        """
        said, lab, temp = (self.folder / name for name in ("said", "lab", "temp"))
        lab.mkdir()
        with open(said, "w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _GUARD, PROJECT, sys.executable, "-c", _RUN, *shlex.split(tests), "-n", "0", "-x", "-q",
                 "-p", "no:cacheprovider", "--basetemp", str(temp)],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, PLACE: str(lab), "TMPDIR": str(lab),
                     "PYTHONPATH": f"{self.folder}{os.pathsep}{self.folder / 'tests'}"})
            try:
                code: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                process.terminate()
                process.wait()
        for left in (lab, temp):
            shutil.rmtree(left, ignore_errors=True)
        text = said.read_text(errors="replace")
        if code not in (0, 1, None) and code >= 0:
            raise RuntimeError(f"`pytest {tests}` ends with {code}:\n{text[-2000:]}")
        return code != 0, text


# Runs a command, and ends all that it leaves behind: a bug may be that something is left. Itself it has no bug.
_GUARD = """
import os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
from firexlite import host

host.adopt_orphans()
host.die_with_parent(os.getppid(), signal.SIGTERM)
signal.signal(signal.SIGTERM, lambda *_: (host.end_descendants(), os._exit(143)))
code = subprocess.call(sys.argv[2:])
host.end_descendants()
sys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)
"""

# That an editable installation does not win over the copy is not left to chance.
_RUN = """
import os, sys
import firexlite, pytest
assert firexlite.__file__.startswith(os.getcwd() + os.sep), firexlite.__file__
sys.exit(pytest.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Verdict:
    """What became of one planted bug."""

    bug: Bug
    is_caught: bool
    seconds: float
    what: str             # which test failed, or why it was not caught


def tried(copy: Copy, bug: Bug, tests: str | None = None) -> Verdict:
    """Plant a bug and run the tests that are to catch it."""
    began = time.monotonic()
    try:
        with copy.planted(bug):
            is_caught, said = copy.fails(tests or bug.caught_by)
    except (ValueError, RuntimeError) as error:
        return Verdict(bug, False, time.monotonic() - began, str(error))
    failed = next((line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))), "the tests hung or died")
    return Verdict(bug, is_caught, time.monotonic() - began, failed if is_caught else f"it survives {tests or bug.caught_by}")


def who_fails_without_a_bug(copy: Copy, bugs: Iterable[Bug]) -> list[str]:
    """Of the tests that are to catch bugs, those that fail on the package as it is: they would catch anything."""
    words: dict[str, set[str]] = collections.defaultdict(set)
    for bug in bugs:
        file, _, chosen = bug.caught_by.partition(" -k ")
        words[file].add("".join(shlex.split(chosen)))
    wrong = []
    for file, chosen in words.items():
        tests = file if "" in chosen else only(file, " or ".join(sorted(f"({word})" for word in chosen)))
        try:
            fails, said = copy.fails(tests, SOUND_LIMIT_S)
        except RuntimeError as error:
            fails, said = True, str(error)
        if fails:
            wrong.append(f"`pytest {tests}` fails without any bug:\n{said[-1500:]}")
    return wrong


class PlantedBugs(Part):
    """Every planted bug, and who catches it."""

    name = "planted bugs"
    shares = 2

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        own: Sequence[Bug] = BUGS[self.share::self.shares]
        if self.wanted:
            own = own[:: max(1, len(own) // self.wanted)]
        tally = Tally()
        with Copy.made() as copy:
            for wrong in who_fails_without_a_bug(copy, own):
                tally.wrong += 1
                tally.failures.append(wrong)
            caught = 0
            for done, bug in enumerate(own, start=1):
                verdict = tried(copy, bug)
                tally.trials += 1
                caught += verdict.is_caught
                if verdict.is_caught:
                    tally.points.add(bug.name)
                else:
                    tally.wrong += 1
                    tally.failures.append(f"the planted bug '{bug.name}' was not caught: {verdict.what}")
                report(done, len(own))
        tally.notes.append(f"{caught} of {len(own)} caught in share {self.share + 1} of {self.shares}")
        return tally
