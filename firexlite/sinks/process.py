"""The process that a front forks for each sink: it sends the run while that goes on, and what is left when it has ended."""
from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress

from .. import host
from ..errors import FirexliteError, SinkUnavailable
from ..home import RunDirectory, find_run
from ..interrupts import take_back_signals
from . import Sink
from .pump import LAST_PAUSE_S, LONGEST_PAUSE_S, Pump, retrying

LOOK_S = 0.3    # between two looks at a run that goes on
END = b"end\n"  # what the front says when nothing of the run lives any more


def fork_pump(firex_id: str, sink: Sink) -> tuple[int, socket.socket]:
    """Begin to send a run that has begun; returns the process, and what it is told by that the run has ended.

    It ends when all is sent after that, or with this process. What went wrong last it says, a line each time.
    """
    ours, theirs = socket.socketpair()
    front = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, host.STOPPING)
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, host.STOPPING)
        theirs.close()
        return pid, ours
    code = 1
    try:
        take_back_signals()
        os.setsid()  # the terminal's Ctrl-C is for the front
        host.die_with_parent(front, signal.SIGTERM)
        host.keep_only({theirs.fileno()})  # above all not the run's lock
        code = _Process(firex_id, sink, theirs).run()
    except BaseException as error:
        with suppress(OSError):
            what = str(error) if isinstance(error, FirexliteError) else f"{type(error).__name__}: {error}"
            theirs.send(f"{' '.join(what.split())}\n".encode("utf-8", "replace")[-1000:])
    finally:
        os._exit(code)


class _Process:
    """What the process does."""

    def __init__(self, firex_id: str, sink: Sink, channel: socket.socket) -> None:
        self._pump, self._channel = Pump(firex_id, sink), channel
        self._has_ended = False
        self._seen: tuple = ()  # the journal, when all that was in it had been sent

    def run(self) -> int:
        while True:
            is_last = self._has_ended
            if retrying(self._try, self._wait, lambda: LAST_PAUSE_S if self._has_ended else LONGEST_PAUSE_S):
                return 1
            if is_last:
                self._pump.sink.close()
                return 0
            if not self._wait(0 if self._has_ended else LOOK_S):
                return 1

    def _try(self) -> None:
        try:
            written = _written(find_run(self._pump.firex_id))  # before the look: what is written in between shows at the next
            if self._has_ended or written != self._seen:
                self._pump.send_all()
                self._seen = written
        except SinkUnavailable as error:
            self._say(error)
            raise
        except FirexliteError as error:
            if self._has_ended:
                raise
            # The journal is locked, or on its way to another directory: what is wrong for good shows at the end.
            raise SinkUnavailable(self._pump.sink.name, str(error)) from error

    def _say(self, error: SinkUnavailable) -> None:
        with suppress(OSError):  # nobody reads before the end, so the pipe may be full
            self._channel.send(" ".join(error.why.split()).encode("utf-8", "replace")[:1000] + b"\n", socket.MSG_DONTWAIT)

    def _wait(self, seconds: float) -> bool:
        """Wait until the front says that the run has ended, or for so long; False if the front has."""
        if not select.select([self._channel], [], [], seconds)[0]:
            return True
        if not self._channel.recv(64):
            return False
        self._has_ended = True
        return True


def _written(directory: RunDirectory) -> tuple:
    """Sizes and times of what a journal consists of: a run in which nothing moves need not be read again and again."""
    found = []
    for path in (directory.journal, f"{directory.journal}-wal"):
        with suppress(OSError):
            about = os.stat(path)
            found.append((about.st_size, about.st_mtime_ns))
    return tuple(found)
