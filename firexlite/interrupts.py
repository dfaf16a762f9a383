"""How signals reach the body of a service: as exceptions, between transactions, and none that a body before left behind."""
from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

from .board import Board
from .errors import Interrupted, SoftTimeLimitExceeded, TaskRevoked
from .host import STOPPING

try:  # the same functions, which make no enum of each number that they return; that took 6 us of each transaction
    import _signal as plain  # type: ignore[import-not-found]
except ImportError:
    plain = signal

_CATCHABLE = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGVTALRM,
              signal.SIGPROF, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGIO, signal.SIGPIPE}
_AT_START = (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT)  # these are left to their defaults


def wakeups() -> tuple[socket.socket, socket.socket]:
    """A socket that is readable when a signal has come that has a handler, and the other end, which has to be kept."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    return ours, theirs


def take_back_signals() -> None:
    """Undo what the import of services may have done to the signals by which a run is stopped, or looked after."""
    signal.set_wakeup_fd(-1)
    for default in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(default, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


class Interrupts:
    """Turns SIGTERM into an exception in the running body. Entered around each transaction, it holds back every signal.

    A service's own handlers may raise too, of SIGALRM say; in the middle of a transaction that would leave the run's
    write lock held. What arrives meanwhile is delivered when the transaction is over.
    """

    def __init__(self, board: Board, worker: int) -> None:
        self._board, self._worker = board, worker
        self._depth = 0
        self._handler = self.on_signal               # one object, to be known again
        self._main = threading.main_thread().ident
        self._mask: set = set()                      # of signals that were blocked before
        self._held_back: BaseException | None = None
        self.attempt: tuple[int, int] | None = None  # the (task, attempt) whose body runs
        self.told_by_others = False                  # that attempt got a SIGTERM that is none of the runner's

    def start(self, task: int, attempt: int) -> None:
        """A body begins: from now on it is interrupted, also for what was asked between its claim and now."""
        self._depth, self._held_back, self.attempt, self.told_by_others = 0, None, (task, attempt), False
        if plain.getsignal(signal.SIGTERM) is not self._handler:  # a service before may have set its own
            signal.signal(signal.SIGTERM, self._handler)
        self._tell()

    def end(self) -> None:
        """The body has ended, and with it what it may have left armed for the next one."""
        self.attempt = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in _AT_START:
            if plain.getsignal(number) != signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        plain.pthread_sigmask(signal.SIG_UNBLOCK, _CATCHABLE)

    def on_signal(self, signal_number: int, frame: FrameType | None) -> None:
        if self.attempt is not None and not self._tell():
            self.told_by_others = True

    def _tell(self) -> bool:
        """Interrupt the body, as it is asked for on the board; False if nothing is."""
        if self._board.stopping:
            reason: BaseException = Interrupted("the run is being stopped")
        elif self._board.revoked(self._worker) == self.attempt:
            reason = TaskRevoked("this task was revoked")
        elif self._board.spent(self._worker) == self.attempt:
            self._board.mark_spent(self._worker, 0, 0)  # it is told once
            reason = SoftTimeLimitExceeded()
        else:
            return False
        if not self._depth:
            raise reason
        self._held_back = reason  # it came by way of another thread, whose mask is open
        return True

    def __enter__(self) -> None:
        if threading.get_ident() != self._main:
            return  # handlers run in the main thread only
        if not self._depth:
            mask = plain.pthread_sigmask(signal.SIG_BLOCK, ())
            try:
                plain.pthread_sigmask(signal.SIG_BLOCK, _CATCHABLE)
            except BaseException:  # a handler that was due already raised, with the signals blocked
                plain.pthread_sigmask(signal.SIG_SETMASK, mask)
                raise
            self._mask = mask
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() != self._main:
            return
        self._depth -= 1
        if self._depth:
            return
        reason, self._held_back = self._held_back, None
        plain.pthread_sigmask(signal.SIG_SETMASK, self._mask)  # what was held back comes now, and may raise
        if reason is not None and self.attempt is not None:
            raise reason
