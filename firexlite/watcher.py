"""Says when there is something new to be told of a run that goes on, until it has ended."""
from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import FirexliteError
from .history import History
from .home import RunDirectory, find_run
from .states import RUN_RUNNING

POLL_S = 1.0      # between two looks, if nothing says earlier that the run has moved
PAUSE_S = 1.0     # between the beginnings of two reports, at least ...
SHARE = 5         # ... and so many times as long as the last one took: the run needs the machine more than its picture does
OLDEST_S = 15.0   # of a report of a run in which nothing moves: in it, time goes on
SETTLE_S = 0.1    # that the writer of the journal has to close it: it cannot be folded into one file while we look
LEFT_OVER_S = 15.0  # how long processes are waited for that live on though the journal says that the run is over
PATIENCE_S = 30.0   # how long a journal is asked for that cannot be read: it may be on its way to another directory


def await_end(firex_id: str, timeout_s: float | None = None) -> bool:
    """Wait until a run has ended; whether it has, and not only the time. timeout_s: None: as long as it takes."""
    watcher = Watcher(firex_id)
    alarm = None if timeout_s is None else threading.Timer(timeout_s, watcher.stop)
    if alarm is not None:
        alarm.daemon = True
        alarm.start()
    try:
        return any(has_ended for _, has_ended in watcher.moments())
    finally:
        if alarm is not None:
            alarm.cancel()


class _Sight(NamedTuple):
    """How a run stands. moves: differs as soon as anything has happened that a report shows."""

    moves: tuple
    is_final: bool
    directory: RunDirectory


class Watcher:
    """Watches one run. It opens the journal for a millisecond at each look, and takes no lock.

    The run's directory tells by itself that something was written there (inotify, by watchdog). That is no more than a
    wake-up: where it is not to be had the run is looked at each second all the same.
    """

    def __init__(self, firex_id: str) -> None:
        self.firex_id = firex_id
        self._stopped = False
        self._is_told = True  # by the system, as far as we know
        self._bell = threading.Event()

    def stop(self) -> None:
        """Have `moments` end soon; may be called from another thread."""
        self._stopped = True
        self._bell.set()

    def moments(self, oldest_s: float = OLDEST_S) -> Generator[tuple[RunDirectory, bool], None, None]:
        """Each moment at which a report is due, the first of them at once: where the run lies, and whether it has ended.

        oldest_s: how old a report may get of a run in which nothing moves.
        It has ended, and nothing follows, when the journal says so or its processes are gone; none of them lives then.
        What the caller does before it asks for the next moment counts as the time that a report takes.
        Raises BadInput for a run that is not there, JournalUnusable for one that cannot be read.
        """
        seen = _sight(find_run(self.firex_id))
        while not self._stopped:
            has_ended = seen.is_final and self._has_let_go(seen.directory)
            began = time.monotonic()
            yield find_run(self.firex_id), has_ended  # it may have come home
            if has_ended:
                return
            took = time.monotonic() - began
            seen = self._wait_for_more_than(seen, began + max(PAUSE_S, SHARE * took), began + max(oldest_s, SHARE * took))

    def _wait_for_more_than(self, seen: _Sight, earliest: float, latest: float) -> _Sight:
        """The run when it has moved, not before one moment and not after another; its end is told at once."""
        self._bell.clear()
        while not self._stopped and (now := time.monotonic()) < earliest:
            self._bell.wait(min(POLL_S, earliest - now))
            if (found := self._look()).is_final:
                return found
        with self._rung_by(seen.directory):
            while not self._stopped:
                found = self._look()
                if found.is_final or found.moves != seen.moves or time.monotonic() > latest:
                    return found
                if self._bell.wait(POLL_S):
                    self._bell.clear()
                    time.sleep(SETTLE_S)
        return seen

    @contextlib.contextmanager
    def _rung_by(self, directory: RunDirectory) -> Iterator[None]:
        """Have the bell rung by whatever is written to the run's directory, where the system can tell."""
        if not self._is_told:
            yield
            return
        logging.getLogger("watchdog").addHandler(logging.NullHandler())  # it would warn of what comes while it is stopped
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        class Ringer(FileSystemEventHandler):
            def on_any_event(_, event: FileSystemEvent) -> None:
                if event.event_type in ("created", "modified", "moved", "deleted"):  # our own looking opens and closes
                    self._bell.set()

        observer = None
        try:
            observer = Observer()
            observer.schedule(Ringer(), str(directory.path))
            observer.start()
        except Exception:  # too many are watched already, or this file system cannot tell: each in its own words
            self._is_told = False
        try:
            yield
        finally:
            if observer is not None:
                observer.stop()
                if observer.is_alive():
                    observer.join(POLL_S)

    def _look(self) -> _Sight:
        """How the run stands; it may just be on its way to another directory."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                return _sight(find_run(self.firex_id))
            except FirexliteError:
                if self._stopped or time.monotonic() > give_up:
                    raise
            time.sleep(SETTLE_S)

    def _has_let_go(self, directory: RunDirectory) -> bool:
        """Whether a run that the journal calls over is over, once no process of it lives: it may go on after all, when lost
        files have been made again. The journal is left alone meanwhile, so that it can be folded into one file."""
        give_up = time.monotonic() + LEFT_OVER_S
        while directory.is_alive() and not self._stopped and time.monotonic() < give_up:
            time.sleep(SETTLE_S)
        return not self._stopped and self._look().is_final


def _sight(directory: RunDirectory) -> _Sight:
    moves = _written(directory)  # before the look: what is written in between shows at the next one
    with History(directory) as history:
        state = history.run().state
    return _Sight((state, *moves), state != RUN_RUNNING, directory)


def _written(directory: RunDirectory) -> tuple:
    """Size and time of what a run writes, as far as it is there and not empty: its journal, and what its tasks print."""
    paths, found = [directory.journal, Path(f"{directory.journal}-wal")], []
    with contextlib.suppress(OSError):
        paths += sorted(directory.logs.iterdir())
    for path in paths:
        with contextlib.suppress(OSError):
            about = path.stat(follow_symlinks=False)
            if about.st_size:  # SQLite makes an empty -wal for whoever looks
                found.append((path.name, about.st_size, about.st_mtime_ns))
    return tuple(found)
