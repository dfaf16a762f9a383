"""One trial: a program is run, killed at chosen moments, resumed, and must come to what it would have come to undisturbed.

The lab imports firexlite once and forks each command from there, so a command takes some tens of milliseconds. It adopts
whatever a command leaves behind, so that nothing can hide: a pipe that all of them hold says when the last is gone.
"""
from __future__ import annotations

import collections
import contextlib
import gc
import itertools
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from firexlite import attempt, cli, codec, doctor, faults, host, runner, soundness, worker
from firexlite.home import RunDirectory

from . import bodies, programs
from .parts import Tally, new_folder

LIMIT_S = 30.0       # for one command
GONE_S = 3.0         # until nothing of a command lives any more, after its front is gone
NET_S = 12.0         # how often processes look by themselves here; then each lost wake-up is a stall that shows
ACTIONS = ("kill", "all", "runner", "front")
FINAL = {"succeeded", "failed", "skipped", "revoked"}
INTERPRETER = Path(__file__).with_name("interpreter.py")


@dataclass
class Crash:
    """What happens to one command. moment: the how manyeth is struck. action: one of ACTIONS, see `firexlite.faults`."""

    moment: int
    action: str


@dataclass
class Case:
    """One trial, to be told in a line and repeated. crashes: of the submission, of the resume after it, and so on."""

    program: dict
    crashes: list[Crash]

    def told(self) -> str:
        return json.dumps({"program": programs.in_short(self.program),
                           "crashes": [[crash.moment, crash.action] for crash in self.crashes]}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Case:
        told = json.loads(text)
        return cls(programs.from_short(told["program"]), [Crash(*crash) for crash in told["crashes"]])


@dataclass
class Outcome:
    """How one command ended."""

    code: int            # as of a shell; minus the signal's number if its front was killed
    out: str
    err: str
    moments: list[str]   # the moments it reached that were looked for, in their order
    is_struck: bool      # the crash came
    survived: bool       # something lived on for too long
    seconds: float

    @property
    def firex_id(self) -> str | None:
        """As it was printed, which promises that the run is durable."""
        return next((line.split(": ")[1] for line in self.out.splitlines() if line.startswith("FireX ID: ")), None)


@dataclass
class Found:
    """What a journal says, by keys of tasks."""

    tasks: collections.Counter = field(default_factory=collections.Counter)  # (state, result, type of failure)
    attempts: collections.Counter = field(default_factory=collections.Counter)
    in_flight: set[tuple[int, int]] = field(default_factory=set)                 # (task, attempt) that have not ended
    lost: collections.Counter = field(default_factory=collections.Counter)       # attempts that ended so
    retried: collections.Counter = field(default_factory=collections.Counter)
    suspended: collections.Counter = field(default_factory=collections.Counter)
    reopened: collections.Counter = field(default_factory=collections.Counter)
    run_state: str = ""
    faults: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> collections.Counter:
        """How many tasks have a key."""
        counted: collections.Counter = collections.Counter()
        for (key, *_), n in self.tasks.items():
            counted[key] += n
        return counted

    @property
    def again(self) -> collections.Counter:
        """How many attempts of a key there are since others came to nothing, and more of a task that was reopened."""
        return self.lost + self.reopened + self.suspended

    @property
    def succeeded(self) -> collections.Counter:
        return collections.Counter({key: n for (key, state, _, _), n in self.tasks.items() if state == "succeeded"})


class Lab:
    """Forks commands of firexlite, each with a home and a working directory of its own."""

    def __init__(self) -> None:
        host.adopt_orphans()
        _import_all()
        self.folder = new_folder("crash-")  # in memory: nobody cuts the power here
        self._numbers = itertools.count(1)
        gc.collect()
        gc.freeze()  # or the first collection of each fork would copy all that it shares with us
        self._undisturbed: dict[str, list[str]] = {}

    def close(self) -> None:
        host.end_descendants()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def place(self, program: dict) -> Iterator[Place]:
        """A fresh home and working directory for one program."""
        path = self.folder / str(next(self._numbers))
        path.mkdir()
        try:
            yield Place(path, program)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    # --- trials -------------------------------------------------------------------------------------------------------

    def moments_of(self, program: dict, tally: Tally) -> list[str]:
        """The moments that an undisturbed run of a program reaches. It must come to what was thought of it."""
        key = json.dumps(program)
        if key not in self._undisturbed:
            with self.place(program) as place:
                outcome = place.submit("*=note")
                trial = Trial(place, Case(program, []), tally)
                trial.judge_end(outcome)
                self._undisturbed = {key: outcome.moments}  # the last is enough: trials of one program follow each other
        return self._undisturbed[key]

    def run(self, case: Case, tally: Tally) -> bool:
        """One trial; what is found is added to the tally. Returns whether all was well."""
        before = len(tally.failures)
        with self.place(case.program) as place:
            Trial(place, case, tally).run()
        tally.trials += 1
        return len(tally.failures) == before


class Place:
    """A folder with a program, a home, an effect log; runs commands there."""

    def __init__(self, path: Path, program: dict) -> None:
        self.path, self.program = path, program
        self.home = path / "home"
        self.effects = path / "effects"
        (path / "program.json").write_text(json.dumps(program))

    def submit(self, fault: str = "") -> Outcome:
        chain = ",".join(f"link{i}" for i in range(len(self.program["chain"])))
        return self.command(["submit", "--plugins", str(INTERPRETER), "--chain", chain, "--queue", f"{programs.QUEUE}=1",
                             "--workers", str(self.program["workers"])], fault)

    def resume(self, fault: str = "") -> Outcome:
        [run] = self.runs()
        return self.command(["resume", run.firex_id], fault)

    def runs(self) -> list[RunDirectory]:
        return [RunDirectory(path) for path in self.home.glob("FireX-*")] if self.home.exists() else []

    def command(self, argv: list[str], fault: str) -> Outcome:
        """Run a command to the end of all its processes."""
        out, err, log = (self.path / name for name in ("out", "err", "moments"))
        log.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        read, write = os.pipe()
        began = time.monotonic()
        lab = os.getpid()
        front = os.fork()
        if not front:
            _be_the_command(self, argv, fault, lab, out, err)
        os.close(write)
        try:
            code, survived = _await_end(front, read)
        finally:
            os.close(read)
        moments = log.read_text().splitlines() if log.exists() else []
        number, action = int(fault.partition("#")[2].partition("=")[0] or 0), fault.rpartition("=")[2]
        return Outcome(code, out.read_text(errors="replace"), err.read_text(errors="replace"), moments,
                       action in ACTIONS and len(moments) >= number, survived, time.monotonic() - began)

    def look(self, is_end: bool = False) -> Found:
        """What the journal says now. A copy is read, so that the look changes nothing. is_end: the doctor comes anyway."""
        [run] = self.runs()
        copy = self.path / "look"
        copy.mkdir()
        try:
            for file in (run.journal, run.journal.with_name(run.journal.name + "-wal")):
                if file.exists():
                    shutil.copy(file, copy)
            with contextlib.closing(sqlite3.connect(copy / run.journal.name)) as db:
                return _found(_Rows(run, db), is_end)
        finally:
            shutil.rmtree(copy)

    def begun(self) -> tuple[collections.Counter, collections.Counter, dict[str, set[str]]]:
        """How often the body of each key began, how often it was done, and what it noted; under "!" what it must not see."""
        begins: collections.Counter = collections.Counter()
        ends: collections.Counter = collections.Counter()
        notes: dict[str, set[str]] = collections.defaultdict(set)
        for line in self.effects.read_text().splitlines() if self.effects.exists() else ():
            mark, key, rest = line.split(" ", 2)
            if mark in "=!":
                notes[key if mark == "=" else "!"].add(rest if mark == "=" else f"{key} {rest}")
            else:
                (begins if mark == "+" else ends)[key] += 1
        return begins, ends, notes


class Trial:
    """One program, its crashes, and what is wrong with what came of it."""

    def __init__(self, place: Place, case: Case, tally: Tally) -> None:
        self.place, self.case, self.tally = place, case, tally
        self.expected = programs.expected_of(case.program)
        self.deaths = 0                                  # of single workers or less, each of which may lose one attempt
        self.cut_off: set[tuple[int, int]] = set()       # attempts in flight at a crash; one may be so at several
        self.finished: collections.Counter = collections.Counter()  # tasks that had succeeded at the last crash
        self.begins_then: collections.Counter = collections.Counter()
        self.promised: str | None = None                 # the id that was printed
        self.happened: list[str] = []

    def run(self) -> None:
        try:
            self._run()
        except Exception:
            self._wrong("wrong", f"the lab itself stumbled: {traceback.format_exc()}")

    def _run(self) -> None:
        outcome = None
        for crash in self.case.crashes:
            outcome = self._command(f"*#{crash.moment}={crash.action}")
            if outcome.is_struck:
                self.tally.points.add(f"{outcome.moments[crash.moment - 1]} by {crash.action}")
            if not self._judge_crash(outcome):
                return
        again = outcome is None or self._is_unfinished(outcome)
        if again or len(self.case.crashes) % 3 == 0:  # a resume of what is finished changes nothing, either
            outcome = self._command("")
        self.judge_end(outcome)

    def _is_unfinished(self, outcome: Outcome) -> bool:
        return outcome.code not in (0, 1) or not self.place.runs()

    def _command(self, fault: str) -> Outcome:
        there = bool(self.place.runs())
        outcome = self.place.resume(fault) if there else self.place.submit(fault)
        self.promised = self.promised or outcome.firex_id
        at = outcome.moments[int(fault[2:].partition("=")[0]) - 1] if outcome.is_struck else "not reached"
        self.happened.append(f"{'resume' if there else 'submit'} {fault or 'undisturbed'}"
                             f"{f' ({at})' if fault else ''} -> {outcome.code}")
        return outcome

    def _judge_crash(self, outcome: Outcome) -> bool:
        """Look at what a crash left; False if there is no going on."""
        if not self._judge_time(outcome):
            return False
        runs = self.place.runs()
        if not runs:
            if self.promised:
                self._wrong("lost", f"{self.promised} was printed, and there is no such run", outcome)
            return not self.promised
        if len(runs) > 1:
            self._wrong("doubled", f"there are {len(runs)} runs", outcome)
            return False
        found = self.place.look()
        for fault in found.faults:
            self._wrong("corrupt", fault, outcome)
        begins, _, _ = self.place.begun()
        self._judge_finished(begins, outcome)
        self.finished = found.succeeded
        self.begins_then = begins
        self.cut_off |= found.in_flight
        self.deaths += outcome.is_struck
        if missing := [key for key, n in self.finished.items() if begins[key] < n - self.expected.taken_over[key]]:
            self._wrong("lost", f"{missing[0]} succeeded, and its body never began", outcome)
        return not found.faults

    def _judge_time(self, outcome: Outcome) -> bool:
        """Whether a command ended at all; wrong too is one that stalled, or left something behind."""
        if outcome.survived:
            self._wrong("survivors", "processes lived on after their front had gone", outcome)
        if outcome.code == TIMED_OUT:
            self._wrong("lost", f"the command did not end within {LIMIT_S:g} s", outcome)
            return False
        if outcome.seconds > NET_S:
            self._wrong("wrong", f"the command took {outcome.seconds:.1f} s: nobody was woken, and somebody looked by himself",
                        outcome)
        return True

    def _judge_finished(self, begins: collections.Counter, outcome: Outcome | None) -> None:
        """What had succeeded at a crash must not run again after it."""
        for key, n in self.finished.items():
            are_all = n > 0 if self.expected.taken_over[key] else n == self.expected.numbers[key]
            if are_all and begins[key] > self.begins_then[key]:
                self._wrong("doubled", f"{key} had succeeded, and its body began again", outcome)

    # --- the end ----------------------------------------------------------------------------------------------------

    def judge_end(self, outcome: Outcome) -> None:
        """Compare what all came to with what it should have."""
        if not self._judge_time(outcome):
            return
        expected_code = 0 if self.expected.succeeds else 1
        if outcome.code != expected_code:
            self._wrong("lost", f"it exits with {outcome.code} instead of {expected_code}", outcome)
        if "Traceback" in outcome.err and expected_code == 0:
            self._wrong("wrong", "it prints a traceback", outcome)
        if len(self.place.runs()) != 1:
            self._wrong("lost", f"there are {len(self.place.runs())} runs at the end", outcome)
            return
        found = self.place.look(is_end=True)
        self._judge_tasks(found, outcome)
        self._judge_attempts(found, outcome)
        self._judge_files(found, outcome)

    def _judge_tasks(self, found: Found, outcome: Outcome) -> None:
        wanted = "succeeded" if self.expected.succeeds else "failed"
        if found.run_state != wanted:
            self._wrong("lost", f"the run is {found.run_state} instead of {wanted}", outcome)
        loose = collections.Counter({task: n for task, n in found.tasks.items() if task[0] in self.expected.loose})
        for key, state, _, _ in loose:
            if state not in FINAL:
                self._wrong("lost", f"{key} is {state} in the end", outcome)
        for missing in list((self.expected.tasks - found.tasks).elements())[:3]:
            there = [task for task in found.tasks if task[0] == missing[0]]
            self._wrong("lost", f"no task is {missing}, but {there}", outcome)
        for extra in list((found.tasks - loose - self.expected.tasks).elements())[:3]:
            self._wrong("doubled", f"a task is {extra}, which none should be", outcome)

    def _judge_attempts(self, found: Found, outcome: Outcome) -> None:
        begins, ends, notes = self.place.begun()
        self._judge_finished(begins, outcome)
        if found.in_flight:
            self._wrong("lost", f"attempts have not ended: {sorted(found.in_flight)}", outcome)
        if self.expected.succeeds and found.reopened:
            self._wrong("doubled", f"tasks were reopened in a run that did not fail: {dict(found.reopened)}", outcome)
        for sight in sorted(notes["!"]):
            self._wrong("wrong", sight, outcome)
        for key, n in self.expected.begins.items():
            taken_over, again = self.expected.taken_over[key], found.again[key]
            if found.attempts[key] != n + taken_over + again:
                self._wrong("doubled", f"{key} has {found.attempts[key]} attempts, {found.lost[key]} of them lost", outcome)
            if not n <= begins[key] <= n + again:
                self._wrong("doubled", f"{key} began {begins[key]} times, with {again} attempts to be had again", outcome)
            done = sum(count for task, count in found.tasks.items() if task[:2] == (key, "succeeded")) - taken_over
            if not done <= ends[key] <= done + again:
                self._wrong("doubled", f"{key} was done {ends[key]} times, with {again} attempts to be had again", outcome)
            if len(notes[key]) > n:
                self._wrong("wrong", f"{key} noted other values in a later attempt: {notes[key]}", outcome)
            if found.retried[key] != self.expected.retried[key]:
                self._wrong("doubled", f"{key} was tried again {found.retried[key]} times", outcome)
            anew = len(self.case.crashes) + 1 if found.reopened[key] else 0  # in each incarnation, for what gave up
            if found.suspended[key] > self.expected.naps[key] * (1 + anew):
                self._wrong("doubled", f"{key} gave up its process {found.suspended[key]} times", outcome)
        for key in self.expected.loose:  # these may not have begun, but once they succeeded that is for ever
            again = found.again[key] + found.retried[key]
            if max(begins[key], ends[key]) > found.attempts[key] or (found.attempts[key] > found.numbers[key] + again):
                self._wrong("doubled", f"{key} began {begins[key]} times, in {found.attempts[key]} attempts of "
                                       f"{found.numbers[key]} tasks, {again} of them to be had again", outcome)
        # Those in flight when all was killed, and of each worker that died alone the one it was at.
        if not len(self.cut_off) <= found.lost.total() <= len(self.cut_off) + self.deaths:
            self._wrong("doubled", f"{found.lost.total()} attempts were lost, but {len(self.cut_off)} in flight at crashes "
                                   f"and {self.deaths} at most elsewhere", outcome)

    def _judge_files(self, found: Found, outcome: Outcome) -> None:
        [run] = self.place.runs()
        for fault in [*found.faults, *doctor.faults_of(run)]:
            self._wrong("corrupt", fault, outcome)
        if run.wake.exists():
            self._wrong("wrong", f"wake/ is left: {sorted(path.name for path in run.wake.iterdir())}", outcome)
        if run.is_alive():
            self._wrong("survivors", "its lock is held", outcome)
        if left := [path.name for path in run.blobs.iterdir() if path.name.startswith(".")]:
            # A draft may stay that was killed before it got its name; it is nobody's.
            self.tally.notes += [note for note in ["drafts of blobs may be left over"] if note not in self.tally.notes and left]
        with contextlib.suppress(OSError, ValueError):
            if json.loads(run.run_json.read_text())["completed"] is True:
                return
        self._wrong("wrong", "run.json does not say that it is completed", outcome)

    def _wrong(self, count: str, sentence: str, outcome: Outcome | None = None) -> None:
        setattr(self.tally, count, getattr(self.tally, count) + 1)
        said = f"\n  it said: {outcome.err[-1500:].strip()}" if outcome and outcome.err else ""
        self.tally.failures.append(f"{count}: {sentence}\n  {'; '.join(self.happened) or 'undisturbed'}{said}\n"
                                   f"  again: ./dev crash --case '{self.case.told()}'")


# --- commands -----------------------------------------------------------------------------------------------------------

TIMED_OUT = -1000


def _be_the_command(place: Place, argv: list[str], fault: str, lab: int, out: Path, err: Path) -> None:
    """The forked side; does not return."""
    code = 70
    try:
        for default in (signal.SIGTERM, signal.SIGINT):
            signal.signal(default, signal.SIG_DFL if default == signal.SIGTERM else signal.default_int_handler)
        host.die_with_parent(lab, signal.SIGKILL)
        os.setsid()
        os.chdir(place.path)
        os.environ.update(FIREXLITE_HOME=str(place.home), FIREXLITE_FAULT=fault, FIREXLITE_FAULT_ROOT=str(lab),
                          FIREXLITE_FAULT_LOG=str(place.path / "moments"),
                          FIREXLITE_BATCHES="off")  # the strict rule of what may repeat
        for fd, path in ((1, out), (2, err)):
            file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, 0o600)
            os.dup2(file, fd)
            os.close(file)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
        faults.arm()
        runner.TICK_S = runner.MOST_TICK_S = NET_S
        attempt.LINGER_S = programs.LINGER_S
        if not fault.endswith("=kill"):  # one that is killed after a commit wakes nobody any more: that takes a net
            worker.LOOK_AGAIN_S = attempt.LOOK_AGAIN_S = attempt.LOOK_AGAIN_MOST_S = NET_S
        try:
            cli.run(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _await_end(front: int, pipe: int) -> tuple[int, bool]:
    """Wait for the end of a command and of all that it started; ``(exit code, whether something lived on)``."""
    pidfd = os.pidfd_open(front)
    try:
        in_time = bool(select.select([pidfd], [], [], LIMIT_S)[0])
    finally:
        os.close(pidfd)
    gone = in_time and bool(select.select([pipe], [], [], GONE_S)[0]) and _is_all_there_is(front)
    if not gone:
        host.kill_descendants()
    _, status = os.waitpid(front, 0)
    host.end_descendants()
    return os.waitstatus_to_exitcode(status) if in_time else TIMED_OUT, in_time and not gone


def _is_all_there_is(front: int) -> bool:
    """Whether nothing of what a command started lives, shell commands of its services among it; front: has ended."""
    give_up = time.monotonic() + GONE_S
    while any(host.start_time(pid) is not None for pid in host.descendants(os.getpid()) if pid != front):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)
    return True


def _import_all() -> None:
    """Whatever a command imports late, so that the forks have it already."""
    import tabulate  # noqa: F401

    from firexlite import codec_standard, front, launch  # noqa: F401
    from firexlite.cli import resume, submit  # noqa: F401


# --- journals -----------------------------------------------------------------------------------------------------------

class _Rows:
    """A copy of a journal, as `soundness` reads it."""

    def __init__(self, directory: RunDirectory, db: sqlite3.Connection) -> None:
        self.directory, self.db = directory, db

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        return self.db.execute(sql, parameters).fetchall()


def _found(rows: _Rows, is_end: bool) -> Found:
    found = Found()
    if not is_end:
        if (damage := rows.execute("PRAGMA integrity_check")) != [("ok",)]:
            found.faults.append(f"SQLite finds: {damage[0][0]}")
            return found
        found.faults += soundness.faults_of(rows)
    [(found.run_state,)] = rows.execute("SELECT state FROM run")
    unspill = rows.directory.unspill
    keys: dict[int, str] = {}
    for task, service, arguments, state, result, attempts, error, reopened in rows.execute(
            "SELECT id, service, arguments, state, result, attempt, (SELECT error FROM attempt WHERE task = id AND number = "
            "task.attempt), (SELECT count(*) FROM event WHERE task = task.id AND move = 'reopen') FROM task"):
        name = service.rpartition(".")[2]
        key = keys[task] = name.removeprefix("link") if name.startswith("link") else json.loads(unspill(arguments))["key"]
        value = programs.digest(codec.decode(unspill(result))["value"]) if state == "succeeded" else None
        failure = codec.display_error(unspill(error))["name"] if state == "failed" else None
        found.tasks[key, state, value, failure] += 1
        found.attempts[key] += attempts
        found.reopened[key] += reopened
    for task, number, outcome, ended, epoch, place, start, end, is_taken_over in rows.execute(
            "SELECT attempt.task, number, outcome, ended, attempt.epoch, attempt.worker, log_start, log_end, "
            "outcome = 'succeeded' AND cached_from IS NOT NULL FROM attempt JOIN task ON task.id = attempt.task"):
        if is_end and end is not None and outcome != "revoked" and not is_taken_over:
            with open(rows.directory.log_file(epoch, place), "rb") as log:
                log.seek(start)
                if bodies.said(keys[task], number).encode() not in log.read(end - start):
                    found.faults.append(f"the log of attempt {number} of {keys[task]} does not hold what it said")
        if ended is None:
            found.in_flight.add((task, number))
        elif outcome in ("lost", "retried", "suspended"):
            getattr(found, outcome)[keys[task]] += 1
    found.reopened = +found.reopened
    return found


# --- random crashes -----------------------------------------------------------------------------------------------------

def random_crashes(chance: random.Random, moments: int) -> list[Crash]:
    """1 to 5 crashes; more of those that leave most behind. moments: of an undisturbed run."""
    crashes = []
    for i in range(chance.choice((1, 1, 1, 2, 2, 3, 4, 5))):
        most = moments if i == 0 else max(6, moments // (i + 1))
        crashes.append(Crash(chance.randint(1, most), chance.choice(("kill", "kill", "all", "all", "all", "runner", "front"))))
    return crashes
