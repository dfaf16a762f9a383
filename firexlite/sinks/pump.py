"""Sending the events of a run to one sink: what is not acknowledged yet, batch after batch, and how far that is stored."""
from __future__ import annotations

from collections.abc import Callable

from .. import faults
from ..errors import SinkUnavailable
from ..history import History
from ..home import RunDirectory, find_run
from ..outbox import Offset, Place, Records, about, end_of, left_after
from . import Sink

FIRST_PAUSE_S = 0.25   # after a failure; each further one doubles it ...
LONGEST_PAUSE_S = 15.0
LAST_PAUSE_S = 1.0     # ... up to this, when the run has ended and its front waits


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
            self._reach(Place(min(self.place.seq, end.seq), end.ended))  # a person may have given any number

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
