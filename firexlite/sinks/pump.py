"""Sending the events of a run to one sink: what is not acknowledged yet, batch after batch, and how far that is stored."""
from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from .. import faults, host
from ..errors import FirexliteError, SinkUnavailable
from ..history import History
from ..home import RunDirectory, find_run
from ..interrupts import take_back_signals
from ..outbox import Offset, Place, Records, about, end_of, left_after
from . import Sink

LOOK_S = 0.3         # between two looks at a run that goes on
FIRST_PAUSE_S = 0.25  # after a failure; each further one doubles it ...
LONGEST_PAUSE_S = 15.0
LAST_PAUSE_S = 1.0    # ... up to this, when the run has ended and its front waits
END = b"end\n"        # what the front says when nothing of the run lives any more


class Pump:
    """Sends one run to one sink."""

    def __init__(self, firex_id: str, sink: Sink, since: int | None = None) -> None:
        """since: begin after this move, whatever is acknowledged."""
        self.firex_id, self.sink = firex_id, sink
        self.sent = 0                       # records, by this pump
        self.unstored: str | None = None    # why a place could not be stored
        self._records = Records(sink.needs_attempts)
        stored = self._offset().read()
        self._stored = stored
        self.place = stored if since is None else Place(since)

    def _offset(self) -> Offset:
        return Offset(find_run(self.firex_id), self.sink.name)  # it may have come home

    def send_all(self) -> None:
        """Send what there is now, and how the run ended if it has. Raises SinkUnavailable, and what a reader raises."""
        while True:
            with History(find_run(self.firex_id)) as history:  # not open while we send: nobody is to wait for a reader
                page = self._records.page(history, self.place.seq)
                run, end = about(history), end_of(history) if not page else None
            if not page:
                break
            self.sink.send(page)
            self.sent += len(page)
            self._reach(Place(page[-1].seq, self.place.ended))
        if end is not None and end.ended != self.place.ended:
            self.sink.end(run, end)
            self._reach(Place(self.place.seq, end.ended))

    def _reach(self, place: Place) -> None:
        faults.reach("sink acknowledged")
        self.place = place
        if place.seq < self._stored.seq:
            return  # what is sent once more is not forgotten
        for last in (False, True):
            try:
                self._offset().store(place)
                self._stored, self.unstored = place, None
                return
            except FileNotFoundError as error:  # the run is just coming home
                self.unstored = error.strerror
                if last:
                    return
            except OSError as error:
                self.unstored = error.strerror
                return


def not_sent(directory: RunDirectory, sink: Sink) -> int:
    """How many moves a sink has not acknowledged; if it lacks only the end of the run, 1."""
    place = Offset(directory, sink.name).read()
    with History(directory) as history:
        end = end_of(history)
        return left_after(history, place.seq) or int(end is not None and end.ended != place.ended)


def retrying(send: Callable[[], None], wait: Callable[[float], bool], longest_s: Callable[[], float]) -> SinkUnavailable | None:
    """Have something sent, again as long as ``wait``, which is given a pause in seconds, says so.

    Returns why it was not at last; None if it was. longest_s: the longest pause.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            send()
            return None
        except SinkUnavailable as error:
            if not wait(min(pause_s, longest_s())):
                return error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


# --- a process of its own ---------------------------------------------------------------------------------------------

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
            self._pump.send_all()
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
