"""System-call faults: at each write-class call of one process of a run that process is killed, or the call fails.

The run is one of ten tasks, submitted, or resumed after a failure; strace counts the calls of that
process alone (see `traced.py`) and injects one fault at the Kth of a kind. The run is then compared with one that nobody
disturbed: states, results, attempts, and what the bodies noted of themselves.
"""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import json
import os
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import firexlite
from firexlite import host
from firexlite.home import RunDirectory

from .parts import Part, Report, Tally

HERE = Path(__file__).parent
CHAIN = ("--plugins", "ten.py", "--chain", "begin,spread,end")
LIMIT_S = 60

# All calls of a run that change a file, a folder, a socket, or what another process knows.
CALLS = ["pwrite64", "write", "fdatasync", "fsync", "ftruncate", "openat", "mkdir", "rename", "unlink", "unlinkat", "rmdir",
         "bind", "sendto", "sendmsg", "fchown", "fchmod", "chmod"]
SYNCS = {"fdatasync", "fsync"}
ALWAYS_BROKEN = {*SYNCS, "ftruncate"}  # SQLite takes any failure of these for a broken disk
NEEDS_SPACE = ["pwrite64", "write", *sorted(SYNCS), "ftruncate", "openat", "mkdir", "rename", "bind"]
CAN_BREAK = ["pwrite64", "write", *sorted(SYNCS), "ftruncate", "rename"]

KILL = "SIGKILL"
FULL_A_WHILE, FULL, BROKEN = "ENOSPC, freed later", "ENOSPC, never freed", "EIO"
_FREED_AFTER = 3   # failed calls


@dataclass(frozen=True)
class Point:
    """A call of one process: the `number`th of its kind."""

    process: str
    call: str
    number: int
    is_on_disk: bool = True  # not of a pipe, a socket or a terminal

    def __str__(self) -> str:
        return f"{self.call} {self.number} of the {self.process}"


@functools.cache
def strace_is_missing() -> str | None:
    """Why nothing can be traced here, or None."""
    if not shutil.which("strace"):
        return "strace is not in PATH; `./dev test` installs it on Debian"
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"],
                          capture_output=True, timeout=LIMIT_S)
    return None if done.returncode == 0 else "strace may not trace here"


# --- one run under strace --------------------------------------------------------------------------------------------

class Place:
    """A home, a working folder and an effect log of their own for one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.effect_log = path / "effects"
        self.effect_log.touch()
        shutil.copy(HERE / "ten.py", path)
        self.env = {**os.environ, "FIREXLITE_HOME": str(path / "home"), "EFFECT_LOG": str(self.effect_log),
                    "PYTHONPATH": str(Path(firexlite.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self) -> RunDirectory | None:
        runs = list((self.path / "home").glob("FireX-*"))
        assert len(runs) <= 1
        return RunDirectory(runs[0]) if runs else None

    def command(self, *words: str, **env: str) -> Ended:
        self.env.update(env)
        return _end(subprocess.Popen([sys.executable, "-m", "firexlite", *words], **self._popen()))

    def traced(self, process: str, strace: tuple[str, ...], *words: str) -> Ended:
        """Run a command one process of which strace looks on."""
        (self.path / "strace").write_text("")
        fifo = self.path / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        run = subprocess.Popen([sys.executable, HERE / "traced.py", process, fifo, *words], **self._popen())
        tracer = None
        try:
            while not select.select([reader], [], [], 0.02)[0]:
                if run.poll() is not None:
                    return _end(run)  # before there was such a process
            pid = os.read(reader, 20).decode()
            tracer = subprocess.Popen(["strace", "-qq", "-p", pid, "-o", self.path / "strace", *strace],
                                      stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return _end(run)
        finally:
            os.close(reader)
            fifo.unlink()
            if tracer is not None:
                tracer.wait(LIMIT_S)

    def _popen(self) -> dict:
        return {"cwd": self.path, "env": self.env, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE, "text": True}

    def calls(self) -> list[tuple[str, str]]:
        """``(call, whole line)`` of what strace saw."""
        found = [(re.match(r"(\w+)\(", line), line) for line in (self.path / "strace").read_text().splitlines()]
        return [(call[1], line) for call, line in found if call]


@dataclass
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str


def _end(process: subprocess.Popen) -> Ended:
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *host.descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        out, err = process.communicate()
        return Ended(-1, out, f"it did not end within {LIMIT_S} s\n{err}")
    return Ended(process.returncode, out, err)


# --- how a run ended -------------------------------------------------------------------------------------------------

@dataclass
class Account:
    """What there is to compare of a run."""

    outcomes: dict[str, tuple] = field(default_factory=dict)      # of each task: its state and result
    attempts: dict[str, int] = field(default_factory=dict)
    successes: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)             # attempts that did not end, or were lost
    effects: collections.Counter = field(default_factory=collections.Counter)
    epochs: int = 0
    is_intact: bool = True


def account(place: Place) -> Account:
    run = place.run()
    assert run is not None
    db = sqlite3.connect(f"file:{run.journal}?mode=ro", uri=True, timeout=5)
    with contextlib.closing(db):
        told = Account(effects=collections.Counter(place.effect_log.read_text().splitlines()))
        for task, service, arguments, state, result, attempts in db.execute(
                "SELECT id, service, arguments, state, result, attempt FROM task"):
            key = key_of(service, arguments)
            told.outcomes[key], told.attempts[key] = (state, result), attempts
            [(told.successes[key],)] = db.execute("SELECT count(*) FROM event WHERE task = ? AND move = 'succeed'", (task,))
            [(told.cut[key],)] = db.execute("SELECT count(*) FROM attempt WHERE task = ? "
                                            "AND (ended IS NULL OR outcome = 'lost')", (task,))
        told.is_intact = db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        told.epochs = len(db.execute("SELECT epoch FROM incarnation").fetchall())
    return told


@dataclass
class Trial:
    """What became of one fault. lost, doubled: tasks; survivors: processes' lock still held 2 s after the command's end."""

    point: Point
    fault: str
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    survivors: int = 0
    corrupt: int = 0
    hit: bool = True

    def expect(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.wrong.append(sentence)

    def __str__(self) -> str:
        return f"{self.fault} at {self.point}: {'; '.join(self.wrong) or 'as if undisturbed'}"


class Scene:
    """What is disturbed: a submission with a number of workers, or the resume of a run in which a parent failed.

    Knows how it ends undisturbed, and all points at which faults can strike.
    """

    def __init__(self, workers: int, resumes: bool = False) -> None:
        self.workers, self.resumes = workers, resumes
        self._folder = tempfile.TemporaryDirectory(prefix="scene-")
        self.words = ["submit", *CHAIN, "--workers", str(workers)]
        if resumes:
            start = Place(Path(self._folder.name))
            failed = start.command(*self.words, SPREAD_FAILS="1")
            run = start.run()
            assert failed.code == 1 and run is not None, failed.err
            self.words = ["resume", run.firex_id]
        with self.place() as quiet:
            done = quiet.command(*self.words)
            assert done.code == 0, done.err
            self.account = account(quiet)
        assert len(self.account.attempts) == 10
        self.points = [point for process in ["front", "runner", *(f"worker {n + 1}" for n in range(min(workers, 2)))]
                       for point in self._points_of(process)]

    def __str__(self) -> str:
        return f"{'resume' if self.resumes else 'submit'} with {self.workers} workers"

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        with tempfile.TemporaryDirectory(prefix="syscalls-") as folder:
            if self.resumes:
                shutil.copytree(self._folder.name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("wake"))
            yield Place(Path(folder))

    def _points_of(self, process: str) -> list[Point]:
        with self.place() as counted:
            done = counted.traced(process, ("-y", "-e", f"trace={','.join(CALLS)}"), *self.words)
            assert done.code == 0, done.err
            assert counted.calls(), f"there was no {process}"
            number: collections.Counter = collections.Counter()
            points = []
            for call, line in counted.calls():
                number[call] += 1
                if call != "openat" or _makes_a_file(line):
                    points.append(Point(process, call, number[call], _is_on_disk(line)))
            return points

    def points_for(self, fault: str) -> list[Point]:
        """Where this fault can strike. No disk is full or broken for the front: it writes to the terminal only."""
        if fault == KILL:
            return self.points
        return [point for point in self.points if point.process != "front" and point.is_on_disk
                and point.call in (CAN_BREAK if fault == BROKEN else NEEDS_SPACE)
                # An open that makes no file needs no space, and strace cannot tell the two apart.
                and (point.call != "openat" or fault == FULL_A_WHILE)]


def try_out(scene: Scene, point: Point, fault: str) -> Trial:
    """Inject one fault, have the run go on as its user would, and compare."""
    trial = Trial(point, fault)
    with scene.place() as disturbed:
        freed = point.number + (_FREED_AFTER if point.call != "openat" else 0)
        inject = {KILL: f"signal=SIGKILL:when={point.number}",
                  FULL_A_WHILE: f"error=ENOSPC:when={point.number}..{freed}",
                  FULL: f"error=ENOSPC:when={point.number}+",
                  BROKEN: f"error=EIO:when={point.number}"}[fault]
        ended = disturbed.traced(point.process, ("-y", "-e", f"trace={point.call}", "-e", f"inject={point.call}:{inject}"),
                                 *scene.words, *(["--full-wait", "1"] if fault == FULL else []))
        trial.hit = _was_hit(disturbed, point, fault)
        if not trial.hit and fault != KILL:
            return trial  # another call than was meant, of a pipe say
        trial.expect("Traceback" not in ended.err, f"there was a traceback: {ended.err[-600:]}")
        run = disturbed.run()
        if run is None:
            _never_began(trial, ended)
            return trial
        trial.survivors = _survivors(run)
        trial.expect(not trial.survivors, "something of the run was alive 2 s after its end")
        interim = account(disturbed)
        _judge_the_end(trial, scene.account, ended, interim)
        if ended.code == 6:
            checked = disturbed.command("doctor", run.firex_id)
            trial.expect(checked.code == 0, f"doctor ended with {checked.code}: {checked.out}{checked.err}")
        resumed = disturbed.command("resume", run.firex_id)
        trial.expect(resumed.code == 0, f"resume ended with {resumed.code}: {resumed.err}")
        _compare(trial, scene.account, interim, account(disturbed))
    return trial


def _was_hit(place: Place, point: Point, fault: str) -> bool:
    """Whether the fault met the call that was meant; which file an openat opens may differ between runs."""
    lines = [line for call, line in place.calls() if call == point.call]
    if fault == KILL:
        return len(lines) >= point.number
    injected = [line for line in lines if "(INJECTED)" in line]
    return bool(injected) and all(map(_makes_a_file if point.call == "openat" else _is_on_disk, injected))


def _is_on_disk(line: str) -> bool:
    return not line.startswith("write(") or "</" in line


def _makes_a_file(line: str) -> bool:
    """Whether an openat may make a file; SQLite says so of the journal itself too, which is there."""
    return "O_CREAT" in line and '.sqlite3"' not in line


def _never_began(trial: Trial, ended: Ended) -> None:
    """A run that is not there must not have been promised."""
    trial.expect("FireX ID" not in ended.out, "a run was announced that is not there")
    trial.expect(ended.code != 0, "the command succeeded without a run")
    if trial.fault != KILL:
        trial.expect(ended.code == 6, f"exit {ended.code} where the disk failed before the run: {ended.err}")


def _survivors(run: RunDirectory) -> int:
    give_up = time.monotonic() + 2
    while run.is_alive():
        if time.monotonic() > give_up:
            return 1
        time.sleep(0.005)
    return 0


def _judge_the_end(trial: Trial, undisturbed: Account, ended: Ended, interim: Account) -> None:
    is_over = interim.outcomes == undisturbed.outcomes
    if trial.fault == KILL and trial.point.process.startswith("worker"):
        trial.expect(ended.code == 0, f"exit {ended.code} after the death of a worker: {ended.err}")
    elif trial.fault == FULL_A_WHILE:
        allowed = {0, 6} if trial.point.call in ALWAYS_BROKEN else {0}
        trial.expect(ended.code in allowed, f"exit {ended.code} though space was freed: {ended.err}")
    elif trial.fault in (FULL, BROKEN):
        trial.expect(ended.code == 6 or (ended.code == 0 and is_over), f"exit {ended.code} with a failed disk: {ended.err}")
        told = [line for line in ended.err.splitlines() if line.startswith("firexlite: ")]
        trial.expect(len(told) == (ended.code == 6), f"not one line: {ended.err}")


def _compare(trial: Trial, undisturbed: Account, interim: Account, final: Account) -> None:
    for key, outcome in undisturbed.outcomes.items():
        if final.outcomes.get(key) != outcome:
            trial.lost += 1
            trial.wrong.append(f"{key} is {final.outcomes.get(key, 'not there')}")
    trial.expect(set(final.outcomes) == set(undisturbed.outcomes), "there are other tasks than undisturbed")
    for key, attempts in final.attempts.items():
        explained = undisturbed.attempts.get(key, 1) + interim.cut.get(key, 0)
        trial.expect(attempts == explained, f"{key} has {attempts} attempts, of which {interim.cut.get(key, 0)} were cut off")
        trial.expect(1 <= final.effects[key] <= attempts, f"{key} noted itself {final.effects[key]} times")
        again = interim.successes.get(key) and (final.successes[key] != 1 or attempts != interim.attempts[key])
        trial.doubled += int(bool(again) or final.successes[key] > 1)
    trial.corrupt = int(not final.is_intact)
    trial.expect(final.is_intact, "SQLite finds fault with the journal")
    trial.expect(not trial.doubled, f"{trial.doubled} tasks completed twice")
    trial.expect(sum(interim.cut.values()) <= 3, f"{interim.cut} were cut off by one fault")
    if trial.fault == FULL_A_WHILE and trial.point.call not in ALWAYS_BROKEN:
        trial.expect(final.epochs == undisturbed.epochs, "it took another incarnation")


def key_of(service: str, arguments: str) -> str:
    """The line that the body of this task notes."""
    name = service.rpartition(".")[2]
    return f"{name} {json.loads(arguments)['x']}" if name == "square" else name


# --- the long set ----------------------------------------------------------------------------------------------------

AT_ONCE = 3  # trials of a share


class _Points(Part):
    """Each point of some scenes, for some faults."""

    shares = 4

    def plan(self) -> Iterator[tuple[Scene, str, list[Point]]]:
        raise NotImplementedError

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        if why := strace_is_missing():
            return Tally(failures=[why])
        tally = Tally()
        plan = [(scene, point, fault) for scene, fault, points in self.plan() for point in points[self.share::self.shares]]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:  # a run on a full disk does nothing but wait
            for done, (scene, trial) in enumerate(pool.map(lambda one: (one[0], try_out(*one)), plan)):
                tally.add(_told(scene, trial))
                report(done + 1, len(plan))
        return tally


class SystemCalls(_Points):
    """SIGKILL at each write-class call of the front, the runner and the workers."""

    name = "system calls"

    def plan(self) -> Iterator[tuple[Scene, str, list[Point]]]:
        for scene in Scene(1), Scene(2), Scene(1, resumes=True):
            yield scene, KILL, scene.points


class StorageFailures(_Points):
    """Each call that writes meets a full disk, which is freed later or never, and a broken one."""

    name = "storage failures"

    def plan(self) -> Iterator[tuple[Scene, str, list[Point]]]:
        for scene in Scene(1), Scene(1, resumes=True), Scene(2):
            for fault in FULL_A_WHILE, FULL, BROKEN:
                # What the runner writes does not depend on how many workers there are.
                yield scene, fault, [point for point in scene.points_for(fault)
                                     if scene.workers == 1 or point.process != "runner"]


def _told(scene: Scene, trial: Trial) -> Tally:
    tally = Tally(trials=1, lost=trial.lost, doubled=trial.doubled, survivors=trial.survivors, corrupt=trial.corrupt)
    if trial.hit:
        tally.points.add(f"{scene}: {trial.fault} at {trial.point}")
    if trial.wrong:
        tally.wrong = int(not (trial.lost or trial.doubled or trial.survivors or trial.corrupt))
        tally.failures.append(f"{scene}: {trial}".replace("\n", " | ")[:1000])
    return tally
