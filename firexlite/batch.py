"""The batch: what a worker has in hand between two transactions.

A durable commit takes as long as dozens of short bodies, and after one by another process SQLite reads its pages anew. So as
long as nobody is idle, a worker

- reserves with the task that it claims some that come next, if their services are short, and settles them together;
- journals the children that a body enqueues in quick succession together.

What that may cost: the outcome of a short body is in the journal a few ms after its end (LATEST_S), so a kill in between has
that body run again. Bodies that take longer than LONGEST_BODY_S are claimed and settled one by one, and when one turns out
to take longer after all, the clerk, a thread, journals what is in hand and gives back what was reserved.
docs/performance.md has what these numbers are worth.
"""
from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from .board import Board
from .claims import NO_APPETITE, Appetite, Begun, Claim, Ended, Enqueued, Failure, Hand, NewChain, Retry, Success, Use
from .errors import ClaimLost
from .home import batches
from .journal import Journal

T = TypeVar("T")

LONGEST_BODY_S = 0.0005  # that a body of a service takes on average, if it is to be reserved
LONGEST_BATCH_S = 0.004  # that what is reserved is to take
LATEST_S = 0.01          # how old an outcome, or a child, may become that is not in the journal
MOST_TASKS = 64          # in a batch
MOST_CHAINS = 64
_REST_S = 0.1            # for how long the clerk looks on when there is nothing to be done


class Batch:
    """What one worker has in hand. Used by the body's threads and by the clerk."""

    def __init__(self, journal: Journal, board: Board, number: int, critical: AbstractContextManager,
                 log_size: Callable[[], int], is_on: bool | None = None) -> None:
        """number: of the worker. critical: holds signals back. log_size: gives the size of its log in bytes. is_on: whether
        anything is kept in hand beyond what the present body is about to wait for; None: as the setting has it.
        """
        self._journal, self._board, self._number = journal, board, number
        self._critical, self._log_size = critical, log_size
        self._lock = threading.RLock()
        self._present: Claim | None = None
        self._begun: Begun | None = None        # if the present task was reserved, and the journal does not know that it began
        self._reserved: deque[Claim] = deque()
        self._ended: list[Ended] = []
        self._chains: list[Enqueued] = []       # of the present task
        self._since = 0.0                       # since when there is something in hand, by the monotonic clock
        self._began = 0.0                       # when the present body did
        self._log_at = 0
        self._means: dict[str, float] = {}      # how long the bodies of a service take on average
        self._short: set[str] = set()           # services whose tasks may be reserved
        self._never: set[str] = set()           # those that have limits, or whose bodies use the journal: it would not pay
        self._most = 1
        self._is_on = batches() if is_on is None else is_on
        self._is_handed_over = False            # what is in hand is about to be journaled
        self._clerk_is_there = False
        self._failure: BaseException | None = None  # of the clerk

    # --- from task to task -------------------------------------------------------------------------------------------

    def claim(self) -> Claim | None:
        """Claim a task, and reserve others with it if that pays."""
        self._log_at = self._log_size()
        claim = self._journal.claim(self._number, self._log_at, self._appetite())
        with self._critical, self._lock:
            return self._take(claim)

    @property
    def goes_on(self) -> bool:
        """Whether the present task was reserved with the one before it."""
        return self._begun is not None

    def end(self, claim: Claim, outcome: Success | Failure | Retry, is_parent: bool, use: Use,
            is_limited: bool = False) -> Claim | None:
        """The present task has ended; returns the next one. is_limited: it had a time limit."""
        now = time.perf_counter()
        if is_limited:
            self._never.add(claim.service)
        self._learn(claim.service, now - self._began)
        with self._critical, self._lock:
            self._raise_failure()
            if self._chains:  # of a body that raised before it had waited for them
                with suppress(ClaimLost):
                    self._hand_over(self._journal.catch_up)
            self._log_at, begun = self._log_size(), self._begun
            ended = time.time() if begun is not None or self._reserved else None  # None: when it is settled, at once
            self._ended.append(Ended(claim, outcome, self._log_at, is_parent, use, begun, ended))
            self._present = self._begun = None
            # What is to run once is in the journal before another body can end this process.
            if self._reserved and claim.on_interrupt == "retry" and now - self._since < LATEST_S \
                    and not self._board.withdrawn(self._number) and not self._board.stopping:
                return self._begin_reserved()
            return self._settle(claims_next=True)

    def _settle(self, claims_next: bool) -> Claim | None:
        ended, left = self._ended, tuple(self._reserved)
        self._ended = []
        self._reserved.clear()
        return self._take(self._journal.settle_all(ended, self._number, self._log_at, claims_next, left, self._appetite()))

    def stopped(self, stop: Callable[[], Claim | None]) -> Claim | None:
        """The present task is put back by ``stop``, which claims the next."""
        self.catch_up()
        self._log_at = self._log_size()
        claim = stop()
        with self._critical, self._lock:
            return self._take(claim)

    def close(self) -> None:
        """Journal what has ended. The present body, if there is one, was cut off."""
        with self._critical, self._lock:
            if self._present is not None and self._begun is not None:
                self._reserved.append(self._present)  # it is ready, and to be begun anew
            self._present = self._begun = None
            self._chains = []  # it will ask for them again
            if self._ended or self._reserved:
                self._settle(claims_next=False)

    def forget(self) -> None:
        """In a fork of a body: nothing of this is ours, and nobody will let go of the lock."""
        self._lock, self._is_handed_over = threading.RLock(), False
        self._present, self._begun, self._chains, self._ended = None, None, [], []
        self._reserved.clear()

    def _take(self, claim: Claim | None) -> Claim | None:
        self._present = claim
        self._began = self._since = time.perf_counter()
        if claim is not None and claim.reserved:
            self._reserved.extend(claim.reserved)
            self._watch()
        return claim

    def _begin_reserved(self) -> Claim:
        claim = self._present = self._reserved.popleft()
        self._board.began(self._number, claim.task, claim.attempt)
        self._began = time.perf_counter()
        self._begun = Begun(time.time(), self._log_at)
        return claim

    # --- how many ----------------------------------------------------------------------------------------------------

    def _learn(self, service: str, took_s: float) -> None:
        mean = self._means.get(service)
        mean = self._means[service] = took_s if mean is None else mean + (took_s - mean) / 4
        if mean > LONGEST_BODY_S or service in self._never:
            self._short.discard(service)
            self._most = 1
        else:
            self._short.add(service)
            self._most = min(2 * self._most, MOST_TASKS, int(LONGEST_BATCH_S / max(mean, 1e-6)))

    def _appetite(self) -> Appetite:
        if self._most < 2 or not self._is_on or self._board.stopping:
            return NO_APPETITE
        return Appetite(self._most - 1, self._short)

    # --- what the body does ----------------------------------------------------------------------------------------------

    def enqueue(self, claim: Claim, chain: NewChain, is_awaited: bool = False,
                catch_up: Callable[[], None] | None = None) -> Enqueued:
        """Enqueue a chain below the present task, soon. Raises ClaimLost if that is another than the claim's.

        is_awaited: the body is about to wait for the chain, so that `block` journals it. catch_up: calls ours.
        """
        enqueued = Enqueued(chain, catch_up or self.catch_up)
        with self._lock:
            self._must_be_present(claim, "enqueue")
            if not self._chains and not self._reserved and not self._ended:
                self._since = time.perf_counter()
            self._chains.append(enqueued)
        if len(self._chains) >= MOST_CHAINS or not (is_awaited or (self._is_on and not self._board.has_spare_slot)):
            self.catch_up()
        else:
            self._watch()
        return enqueued

    def _must_be_present(self, claim: Claim, move: str) -> None:
        """A thread may outlive its body: what it asks for is not to be done for the task after it."""
        if self._present is not claim:
            raise ClaimLost(claim.task, claim.attempt, move)

    @property
    def is_empty(self) -> bool:
        """Whether the journal knows all that is in hand."""
        return self._begun is None and not self._chains and not self._reserved and not self._ended

    def catch_up(self) -> None:
        """Have the journal know all that is in hand, before the body uses it. Raises ClaimLost."""
        if self.is_empty and not self._is_handed_over:
            return
        with self._critical, self._lock:
            self._raise_failure()
            if self._present is not None and not self.is_empty:  # after the clerk has handed it over
                if self._reserved:
                    self._never.add(self._present.service)
                self._hand_over(self._journal.catch_up)

    def block(self, claim: Claim, tails: Sequence[int | Enqueued], wait: int, any_is_enough: bool,
              may_wait: Callable[[Journal, int], None]) -> bool:
        """As `Journal.block`, in one transaction with what is in hand."""
        with self._critical, self._lock:
            self._raise_failure()
            self._must_be_present(claim, "block")
            return self._hand_over(lambda hand: self._journal.block(claim, tails, wait, any_is_enough, may_wait, hand))

    def _hand_over(self, write: Callable[[Hand], T]) -> T:
        """Have all that is in hand journaled by ``write``; if that raises it is not."""
        assert self._present is not None
        hand = Hand(self._number, self._ended, tuple(self._reserved), self._present, self._begun, self._chains)
        self._is_handed_over = True  # first, since others look at it without the lock
        self._ended, self._begun, self._chains = [], None, []
        self._reserved.clear()
        try:
            return write(hand)
        except ClaimLost:
            # Of a reserved task that was withdrawn: nothing of it is to be taken for what another may do with it by now, whose
            # claim looks the same.
            self._begun = hand.begun
            raise
        except BaseException:
            self._ended, self._begun, self._chains = list(hand.ended), hand.begun, list(hand.enqueued)
            self._reserved.extend(hand.left)
            raise
        finally:
            self._is_handed_over = False

    # --- the clerk --------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See to it that nothing in hand becomes too old while a body goes on."""
        if not self._clerk_is_there:
            self._clerk_is_there = True
            try:
                _thread.start_new_thread(self._look_after, ())  # unknown to `threading`: it is none of the body's
            except RuntimeError:  # there may be no more threads
                self._clerk_is_there = False
                self.catch_up()

    def _look_after(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the body
        last = time.perf_counter()
        while True:
            time.sleep(LATEST_S)
            with self._lock:
                now = time.perf_counter()
                if self._ended or self._chains or self._reserved:
                    last = now
                    if now - self._since >= LATEST_S:
                        self._help_out()
                if self._failure is not None or now - last > _REST_S:
                    self._clerk_is_there = False
                    return

    def _help_out(self) -> None:
        if (present := self._present) is None:
            return  # the worker is about to do so itself
        try:
            self._hand_over(self._journal.catch_up)
        except ClaimLost:
            self._board.mark_revoked(self._number, present.task, present.attempt)
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            self._failure = error

    def _raise_failure(self) -> None:
        if (failure := self._failure) is not None:
            self._failure = None
            raise failure
