"""Orphans: rounds in which a run is ended in every way while its tasks run shell commands and leave daemons behind.

Who still lives is told by two pipes that all processes of a run inherit: a read ends when the last of them is gone. The
first is held by everything that descends from the run, the second by firexlite's own processes only. Daemons end by
themselves when a third pipe, the leash, is let go. Where the portable ways are forced there are none.
"""
from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import firexlite
from firexlite import host
from firexlite.home import RunDirectory

from .parts import Part, Report, Tally

LIMIT_S = 10.0 if host.IS_PORTABLE else 2.0  # in which everything must be gone
PATIENCE_S = 30.0
WAYS = ["kill the runner", "kill the front", "SIGINT", "SIGTERM", "kill all at once"]

KENNEL = """
import os, random, signal, subprocess, time
from firexlite import app

OWN, LEASH = int(os.environ["OWN_PIPE"]), int(os.environ["LEASH"])
os.set_inheritable(OWN, False)  # what is executed from here on is none of firexlite's processes

def daemonise():
    "A process with no tie to this one: a fork of a fork, in a session of its own, whose parent is gone."
    child = os.fork()
    if not child:
        os.setsid()
        if not os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.dup2(LEASH, 0)
            os.execvp("cat", ["cat"])
        os._exit(0)
    os.waitpid(child, 0)

@app.task
def keep(number):
    if os.environ.get("FIREXLITE_PORTABLE") != "1":  # with no tie to anything they are not found there
        daemonise()
    shell = subprocess.Popen(["sh", "-c", "cat & cat"], stdin=LEASH, stdout=subprocess.DEVNULL, close_fds=False)
    with open(f"kept-{number}", "w"):
        pass
    if int(number) % 2:
        shell.wait()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            if not os.environ["STUBBORN"]:
                raise

@app.task(bind=True)
def kennel(self):
    for number in range(6):
        self.enqueue_child(keep.s(number=number))
    self.wait_for_children()
"""


@dataclass
class Round:
    """One run that was ended. gone_after_s: until the last process was gone; None: something lived longer than allowed."""

    way: str
    gone_after_s: float | None
    code: int | None
    is_free: bool       # nothing holds the run's lock
    said: str           # on stderr

    @property
    def is_as_promised(self) -> bool:
        codes = {"kill the runner": 137, "SIGINT": 130, "SIGTERM": 143}
        return self.gone_after_s is not None and self.is_free and self.code == codes.get(self.way, -signal.SIGKILL)


def one_round(way: str, chance: random.Random, is_stubborn: bool) -> Round:
    """End a run in one way at a random moment, and wait for the end of all of it (of its own processes, for all at once).

    is_stubborn: bodies do not end when they are told to; a signal then leaves them its whole grace.
    """
    stubborn = "1" if is_stubborn else ""
    with tempfile.TemporaryDirectory(prefix="orphans-") as folder, contextlib.ExitStack() as pipes:
        all_read, all_write = _pipe(pipes)
        own_read, own_write = _pipe(pipes)
        leash_read, leash_write = _pipe(pipes)
        Path(folder, "kennel.py").write_text(KENNEL)
        front = subprocess.Popen(
            [sys.executable, "-m", "firexlite", "submit", "--plugins", "kennel.py", "--chain", "kennel", "--workers", "3"],
            cwd=folder, pass_fds=[all_write.fd, own_write.fd, leash_read.fd], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "FIREXLITE_HOME": f"{folder}/home", "OWN_PIPE": str(own_write.fd), "STUBBORN": stubborn,
                 "LEASH": str(leash_read.fd), "PYTHONPATH": str(Path(firexlite.__file__).parent.parent)})
        with front:
            all_write.close()
            own_inode = os.fstat(own_write.fd).st_ino
            own_write.close()
            leash_read.close()
            try:
                _await(lambda: len(list(Path(folder).glob("kept-*"))) >= 2)
                time.sleep(chance.uniform(0, 0.2))  # the moment is what is random here
                _end_it(way, front, own_inode)
                told = own_read if way == "kill all at once" else all_read
                gone_after_s = _seconds_until_end(told.fd)
                code = front.wait(PATIENCE_S) if gone_after_s is not None else front.poll()
                [run] = Path(folder, "home").glob("FireX-*")
                is_free = _comes_true(lambda: not RunDirectory(run).is_alive())  # an exit closes one file after another
            finally:
                leash_write.close()
                if front.poll() is None:
                    front.kill()
                _seconds_until_end(all_read.fd, PATIENCE_S)  # or the folder could not be removed
            return Round(way, gone_after_s, code, is_free, front.communicate()[1])


def _end_it(way: str, front: subprocess.Popen, own_inode: int) -> None:
    if way == "kill the runner":
        os.kill(host.children(front.pid)[0], signal.SIGKILL)
    elif way == "kill the front":
        front.kill()
    elif way == "kill all at once":
        _kill_own(front.pid, own_inode)
    else:
        front.send_signal(getattr(signal, way))
        front.wait(PATIENCE_S)  # the grace for bodies


def _kill_own(front: int, own_inode: int) -> None:
    """SIGKILL firexlite's own processes at one instant, and none of those that services started."""
    stopped: set[int] = set()
    while found := {pid for pid in [front, *host.descendants(front)] if _holds(pid, own_inode)} - stopped:
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped:
        _signal(pid, signal.SIGKILL)


def _holds(pid: int, inode: int) -> bool:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/fd/{fd}").st_ino == inode:
                    return True
    return False


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _seconds_until_end(pipe: int, limit_s: float = LIMIT_S) -> float | None:
    began = time.monotonic()
    while (left := began + limit_s - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0] and not os.read(pipe, 4096):
            return time.monotonic() - began
    return None


def _comes_true(condition: Callable[[], object]) -> bool:
    give_up = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.005)
    return bool(condition())


def _await(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


class _End:
    """One end of a pipe, closed once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _pipe(stack: contextlib.ExitStack) -> tuple[_End, _End]:
    ends = [_End(fd) for fd in os.pipe()]
    for end in ends:
        stack.callback(end.close)
    return ends[0], ends[1]


class Orphans(Part):
    """Rounds in which a run is ended in every way; who of it lives 2 s later is a survivor."""

    name = "orphans"
    rounds = 50
    shares = 2

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        tally = Tally()
        numbers = range(self.share, self.rounds, self.shares)
        for done, number in enumerate(numbers):
            way = WAYS[number % len(WAYS)]
            chance = random.Random(f"{seed} {number}")
            is_stubborn = "SIG" not in way or chance.random() < 0.2  # else each takes the whole grace
            ended = one_round(way, chance, is_stubborn)
            tally.trials += 1
            tally.points.add(way)
            tally.survivors += int(ended.gone_after_s is None)
            tally.wrong += int(not ended.is_as_promised)
            if ended.gone_after_s is None or not ended.is_as_promised:
                tally.failures.append(f"round {number} of seed {seed}: {ended}")
            report(done + 1, len(numbers))
        return tally
