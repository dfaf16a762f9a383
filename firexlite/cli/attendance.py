"""Being with a run that goes on in other processes: its progress, and the signals of whoever looks on."""
from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..following import in_journal
from ..history import History
from ..home import find_run
from ..host import STOPPING
from ..standing import exit_code
from ..watcher import Watcher
from .printing import say
from .screen import Console, report

if TYPE_CHECKING:
    from ..last_acts import LastActs  # who only looks on does none

SECOND_THOUGHTS_S = 2.0  # in which another Ctrl-C cancels the run
TICK_S = 1.0             # after which the progress is shown anew though nothing has moved: time goes on


class _Signal(BaseException):
    """A person, or a CI system, wants to go. It is no error, so that nobody who passes over errors passes over it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def attend(firex_id: str, console: Console) -> int:
    """Show how a run goes on until it has ended, and how it ended; returns its exit code.

    Ctrl-C leaves it alone, which gives 130; a second one within `SECOND_THOUGHTS_S` cancels it. SIGTERM leaves it at once.
    """
    directory = find_run(firex_id)
    with History(directory) as history:
        began = history.run().created
    console.started(directory)
    is_told = False
    with _raising_signals():
        while True:
            try:
                if not is_told and directory.is_alive():
                    is_told = True
                    console.attached(time.time() - began)
                _watch(firex_id, console)
                break
            except _Signal as found:
                console.clear()
                try:
                    is_cancelled = found.number == signal.SIGINT and _is_meant(firex_id)
                except _Signal:  # in one of the moments in which nobody waits for it
                    is_cancelled = False
                if not is_cancelled:
                    say(f"Detached: the run goes on; `firexlite attach {firex_id}` comes back to it.", err=True)
                    return 128 + found.number
    return tell_end(firex_id)


def attend_as_guest(firex_id: str, console: Console, last: LastActs) -> int:
    """As `attend`; when the run has ended, what of the last acts is a guest's part is done, too."""
    code = attend(firex_id, console)
    if not (directory := find_run(firex_id)).is_alive():
        last.do(directory, code, as_guest=True)
    return code


def tell_end(firex_id: str) -> int:
    """Print how a run ended, as its own command did; returns its exit code."""
    directory = find_run(firex_id)
    with History(directory) as history:
        code = exit_code(history)
    report(directory, code)
    return code


def _watch(firex_id: str, console: Console) -> None:
    with closing(Watcher(firex_id).moments(TICK_S)) as moments:
        for directory, has_ended in moments:
            console.directory = directory
            if not has_ended:
                with History(directory) as history:
                    progress = in_journal(history)
                console.progress(progress)
    console.clear()


def _is_meant(firex_id: str) -> bool:
    """Whether a second Ctrl-C follows the first; then the run is cancelled, and its end is awaited."""
    try:
        say(f"Detaching in {SECOND_THOUGHTS_S:g} s, and the run goes on; Ctrl-C once more cancels it.", err=True)
        time.sleep(SECOND_THOUGHTS_S)
    except _Signal as again:
        if again.number != signal.SIGINT:
            return False
        from .cancel import call_off  # here: whoever only looks on writes no journal

        with suppress(BadInput):  # it has ended meanwhile
            say(call_off(firex_id), err=True)
        return True
    return False


@contextmanager
def _raising_signals() -> Iterator[None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        raise _Signal(number)

    before = [signal.signal(number, on_signal) for number in STOPPING]
    try:
        yield
    finally:
        for number, handler in zip(STOPPING, before, strict=True):
            signal.signal(number, handler)
