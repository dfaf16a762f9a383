"""Where a body was when native code crashed under it, or when its time was over: its process writes down its stack, at last.

Python's faulthandler does that, in C, whatever the body is at. Each worker has a file for it beside the sockets of the run.
"""
from __future__ import annotations

import faulthandler
import itertools
import linecache
import os
import re
import signal
import time
import traceback
from contextlib import suppress
from pathlib import Path

from .codec_errors import TRACEBACK, WHERE, is_machinery, is_the_users_own
from .own_files import read_own_file

ASK = signal.SIGRTMIN + 11 if hasattr(signal, "SIGRTMIN") else None  # of those that no convention gives a meaning
ANSWER_S = 0.5             # a body that does not get the processor for so long is not waited for
MOST_BYTES = 64 * 1024
_STACK = re.compile(r'\(most recent call first\):\n((?:  File ".*", line \d+ in .*\n)+)')
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)\n')
_CALLS_BODIES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attempt.py"), "_call"
_own: list[int] = []  # the file to which this process writes if it crashes
_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def path_of(wake: Path, worker: int) -> Path:
    return wake / f"{worker}.stack"


def write_at_last(path: Path) -> None:
    """Have this process write its stack to a file when native code crashes in it, or it is asked. A full disk is no failure."""
    with suppress(OSError):
        fd = os.open(path, _FILE, 0o600)  # for as long as it lives
        if ASK is not None:
            faulthandler.register(ASK, fd, all_threads=False)
        if not faulthandler.is_enabled():  # who wants it elsewhere has said so
            faulthandler.enable(fd, all_threads=False)
            _own.append(fd)


def leave_to_service() -> None:
    """In a process that a service forked, whose end is not ours to tell of."""
    if _own:
        faulthandler.disable()
        _own.clear()


def ask(pid: int, path: Path) -> str:
    """The stack of a worker that goes on; empty if it does not answer at once."""
    if ASK is None or not path.exists():  # it would die of the signal
        return ""
    with suppress(OSError):
        os.kill(pid, ASK)
        give_up = time.monotonic() + ANSWER_S
        while not (stack := _text(path)).endswith("\n") and time.monotonic() < give_up:
            time.sleep(0.001)
        os.truncate(path, 0)
        return stack
    return ""


def take(path: Path) -> str:
    """The stack of a worker that is dead; empty if it wrote none. It is told once."""
    stack = _text(path)
    with suppress(OSError):
        path.unlink()
    return stack


def _text(path: Path) -> str:
    try:
        return read_own_file(path, MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def at(stack: str, error: BaseException) -> BaseException:
    """``error`` as if it had been raised at the user's innermost line in the body of a stack; as it is if there is none."""
    found = _STACK.search(stack)
    frames = [(file, int(line), function) for file, line, function in _FRAME.findall(found[1])] if found else []
    frames = list(itertools.takewhile(lambda frame: (frame[0], frame[2]) != _CALLS_BODIES, frames))
    own = next((frame for frame in frames if is_the_users_own(frame[0])), None) \
        or next((frame for frame in frames if not is_machinery(frame[0])), None)
    if own is None:
        return error
    calls = "".join(f'  File "{file}", line {line}, in {function}\n{_quoted(file, line)}'
                    for file, line, function in reversed(frames))
    said = "".join(traceback.format_exception_only(error))
    error.__dict__.update({WHERE: dict(zip(("file", "line", "function"), own, strict=True)),
                           TRACEBACK: f"Traceback (most recent call last):\n{calls}{said}"})
    return error


def _quoted(file: str, line: int) -> str:
    code = linecache.getline(file, line).strip()
    return f"    {code}\n" if code else ""
