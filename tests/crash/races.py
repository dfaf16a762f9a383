"""Races of resumes: exactly one takes a run over, the others leave at once and change no byte."""
from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import firexlite
from firexlite import host
from firexlite.home import RunDirectory

from .parts import Part, Report, Tally

PATIENCE_S = 30.0

WAITING = """
import os, time
from firexlite import app

@app.task(returns="x")
def wait():
    fd = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"wait\\n")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return 1
"""


@dataclass
class Race:
    """What came of two resumes at once. loser_s: how long the loser took, from its start to its end."""

    codes: list[int]
    loser_s: float
    loser_said: str
    changed: bool       # whether another resume, of a run that was under way, changed a byte
    effects: int        # how often the body began, of all incarnations
    epochs: int
    state: str

    @property
    def is_fair(self) -> bool:
        return (sorted(self.codes) == [0, 3] and "is running in process" in self.loser_said and not self.changed
                and self.effects == 2 and self.epochs == 2 and self.state == "succeeded")


class Course:
    """A run that was killed in its body, from which each race starts with a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start = folder / "start"
        self.start.mkdir()
        (self.start / "waiting.py").write_text(WAITING)
        front = self._begin(self.start, "submit", "--plugins", "waiting.py", "--chain", "wait")
        _await(lambda: _effects(self.start) == 1)
        _kill_all(front)
        [run] = (self.start / "home").glob("FireX-*")
        self.firex_id = run.name
        _await(lambda: not RunDirectory(run).is_alive())

    def _begin(self, place: Path, *words: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "firexlite", *words], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "FIREXLITE_HOME": str(place / "home"),
                                                    "PYTHONPATH": str(Path(firexlite.__file__).parent.parent)})

    def race(self, number: int, chance: random.Random) -> Race:
        """Two resumes start within some milliseconds; a third one comes when the winner is at work."""
        with self._copy(number) as place:
            run = RunDirectory(place / "home" / self.firex_id)
            began, resumes = [], []
            for _ in range(2):
                began.append(time.monotonic())
                resumes.append(self._begin(place, "resume", self.firex_id))
                time.sleep(chance.choice([0, 0, 0.001, 0.01]))  # the distance is what is random here
            try:
                _await(lambda: any(resume.poll() is not None for resume in resumes))
                loser = next(i for i, resume in enumerate(resumes) if resume.poll() is not None)
                loser_s = time.monotonic() - began[loser]
                _await(lambda: _effects(place) == 2)
                before = digests(run.path)
                third = self._begin(place, "resume", self.firex_id)
                third.communicate(timeout=PATIENCE_S)
                changed = third.returncode != 3 or digests(run.path) != before
            finally:
                (place / "go").touch()
                said = [resume.communicate(timeout=PATIENCE_S)[1] for resume in resumes]
            with contextlib.closing(sqlite3.connect(f"file:{run.journal}?mode=ro", uri=True)) as db:
                [(state,)] = db.execute("SELECT state FROM run")
                [(epochs,)] = db.execute("SELECT count(*) FROM incarnation")
            codes = [resume.returncode for resume in resumes]
            return Race(codes, loser_s, said[loser], changed, _effects(place), epochs, state)

    def race_the_dying(self, number: int, victim: str) -> tuple[int, int, str]:
        """Resume at the instant that the runner, all processes or none of another incarnation are killed; none: it ends.

        Returns the exit code, how often the body began, and the state of the run.
        """
        with self._copy(number) as place:
            run = RunDirectory(place / "home" / self.firex_id)
            dying = self._begin(place, "resume", self.firex_id)
            _await(lambda: _effects(place) == 2)
            if victim == "none":
                (place / "go").touch()
            for pid in {"runner": host.children(dying.pid)[:1], "all": [dying.pid, *host.descendants(dying.pid)],
                        "none": []}[victim]:
                os.kill(pid, signal.SIGKILL)
            resume = self._begin(place, "resume", self.firex_id)
            if victim != "none":
                _await(lambda: _effects(place) == 3 or resume.poll() is not None)
            (place / "go").touch()
            resume.communicate(timeout=PATIENCE_S)
            dying.communicate(timeout=PATIENCE_S)
            with contextlib.closing(sqlite3.connect(f"file:{run.journal}?mode=ro", uri=True)) as db:
                [(state,)] = db.execute("SELECT state FROM run")
            return resume.returncode, _effects(place), state

    @contextlib.contextmanager
    def _copy(self, number: int) -> Iterator[Path]:
        place = self.folder / str(number)
        shutil.copytree(self.start, place, ignore=shutil.ignore_patterns("wake"))  # sockets cannot be copied
        try:
            yield place
        finally:
            shutil.rmtree(place)


def digests(folder: Path) -> dict[str, str]:
    """A digest of each file below a run's directory, logs too; but not of the memory that connections share, where each
    look of the run itself leaves a mark."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("-shm")}


def _effects(place: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return len((place / "effects").read_text().splitlines())
    return 0


def _kill_all(front: subprocess.Popen) -> None:
    stopped: set[int] = set()
    while found := {front.pid, *host.descendants(front.pid)} - stopped:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    front.communicate()


def _await(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, "what was waited for has not come"
        time.sleep(0.005)


class Races(Part):
    """Two resumes at once, and a resume of a run whose processes are just being killed."""

    name = "races"
    fair, dying = 100, 30
    shares = 2

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        tally = Tally()
        numbers = range(self.share, self.fair + self.dying, self.shares)
        with tempfile.TemporaryDirectory(prefix="races-") as folder:
            course = Course(Path(folder))
            for done, number in enumerate(numbers):
                if number < self.fair:
                    race = course.race(number, random.Random(f"{seed} {number}"))
                    tally.points.add("two resumes at once")
                    tally.doubled += max(0, race.codes.count(0) - 1) + max(0, race.effects - 2)
                    is_right, told = race.is_fair, str(race)
                else:
                    victim = ("runner", "all", "none")[number % 3]
                    code, effects, state = found = course.race_the_dying(number, victim)
                    tally.points.add(f"a resume as {victim} is killed")
                    tally.lost += int(state != "succeeded")
                    is_right = (code, effects) == (0, 3) or (victim == "none" and code in (0, 3) and effects == 2)
                    told = f"killed: {victim}; exit code, effects, state: {found}"
                tally.trials += 1
                tally.wrong += int(not is_right)
                if not is_right:
                    tally.failures.append(f"race {number} of seed {seed}: {told}")
                report(done + 1, len(numbers))
        return tally
