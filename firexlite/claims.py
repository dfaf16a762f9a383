"""What passes between the journal and those who work with it: claims, outcomes, new tasks, and whom to wake."""
from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Claim(NamedTuple):
    """A worker's right to one attempt at a task; every later write names it.

    reserved: claims that the worker may make true without asking again, one after the other, if nobody withdraws them.
    """

    task: int
    attempt: int
    epoch: int
    service: str
    arguments: str
    parent: int | None
    chain: int
    last: int
    depth: int
    retry: int
    relaxed: int  # 1: its replay may take another path
    on_interrupt: str
    redoes: int | None
    options: str | None = None  # JSON: what the signature set
    reserved: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Success:
    """The body returned. result, changes: JSON texts. aside: first tasks of chains that a reopened parent left out.

    cached_from: the task whose result it is, if the body did not run.
    """

    result: str
    changes: str
    aside: Sequence[int] = ()
    cached_from: int | None = None


@dataclass(frozen=True)
class Failure:
    """The body raised. error: JSON text of the exception. aside: as of a Success; what of them succeeded is kept."""

    error: str
    aside: Sequence[int] = ()


@dataclass(frozen=True)
class Retry:
    """The body raised, and is to be tried again ``delay_s`` seconds from now. error: JSON text of the exception."""

    error: str
    delay_s: float


@dataclass(frozen=True)
class Use:
    """What an attempt used. peak: bytes of memory, the most it had; None if that cannot be told. cpu: seconds."""

    peak: int | None
    cpu: float | None


UNKNOWN = Use(None, None)


class Begun(NamedTuple):
    """That a reserved task was begun, which the journal has not been told. started: seconds since the epoch.

    log_start: bytes, where its output begins in the log of its worker.
    """

    started: float
    log_start: int


class Ended(NamedTuple):
    """An attempt that ended, to be settled. log_end: bytes, where its output ends. is_parent: the task enqueued children, so
    some may be open still: they are revoked.

    begun, ended: of one that was reserved, and when it ended, in seconds since the epoch; None: now.
    """

    claim: Claim
    outcome: Success | Failure | Retry
    log_end: int
    is_parent: bool
    use: Use = UNKNOWN
    begun: Begun | None = None
    ended: float | None = None


class Appetite(NamedTuple):
    """How many tasks a worker may reserve with the one that it claims, and for which services that pays."""

    most: int
    services: Container[str]


NO_APPETITE = Appetite(0, ())


@dataclass(frozen=True)
class Outlook:
    """How a run stands. is_quiet: nothing runs and nothing can start. waits: something waits for a time or an event.

    keeps_process: some of that would be cut off if its process ended now.
    next_due_s: in how many seconds the next time comes that something waits for; None if there is none.
    """

    is_quiet: bool
    waits: bool
    keeps_process: bool
    next_due_s: float | None


@dataclass(frozen=True)
class Stop:
    """The body's replay cannot go on. mismatch: JSON text for the person who decides; None: it only begins anew."""

    mismatch: str | None


class NewTask(NamedTuple):
    """One member of a chain to be enqueued. about, digest: of the service."""

    service: str
    arguments: str
    worker_deaths: int
    about: str
    digest: str
    on_interrupt: str = "retry"
    queue: str | None = None
    slots: int = 1
    priority: int = 0
    keeps_children: bool = False
    options: str | None = None  # JSON: what the signature sets other than its service


class NewChain(NamedTuple):
    """A chain to be enqueued. digest: of its signatures."""

    digest: str
    members: Sequence[NewTask]


class Enqueued:
    """A chain that a body has enqueued; its tasks have numbers as soon as it is journaled."""

    def __init__(self, chain: NewChain, catch_up: Callable[[], None]) -> None:
        """catch_up: has it journaled, which sets `place`."""
        self.chain, self._catch_up = chain, catch_up
        self.place: tuple[int, int] | None = None

    def known(self) -> tuple[int, int]:
        """The first and the last task of the chain; it is journaled if it was not."""
        if self.place is None:
            self._catch_up()
            if self.place is None:
                raise RuntimeError("the chain was enqueued by the process of which this is a fork, and is known there only")
        return self.place


class Hand(NamedTuple):
    """What a worker has in hand while a body of it runs: attempts that ended, what it had reserved and does not begin after
    all, that it is at its present task, and the chains which that has enqueued.

    begun: if the present task was reserved.
    """

    worker: int
    ended: Sequence[Ended]
    left: Sequence[Claim]
    present: Claim
    begun: Begun | None
    enqueued: Sequence[Enqueued]


@dataclass(frozen=True)
class Recorded:
    """A chain that a task enqueued in an earlier attempt."""

    head: int
    last: int
    digest: str
    held: bool


class Bell:
    """Told by the journal, after each commit, what has changed and whom to wake. All methods are called under the write
    lock but for `deliver`, and are no-ops: override what you need. What it knows is a hint, never the truth, which is in the
    journal.

    marks: cells for `group_commit`, that all processes of an incarnation share; None: this one shares none.
    """

    marks: memoryview | None = None

    def deliver(self) -> None:
        """What was committed is on the disk as far as it has to be, and the lock is free: whom to wake may be woken."""

    @property
    def stopping(self) -> bool:
        """No task is to be claimed any more."""
        return False

    @property
    def is_broken(self) -> bool:
        """Nothing may be written any more in this incarnation."""
        return False

    def give_up(self, is_full: bool) -> None:
        """The disk stayed full, or else failed: nothing is to be written any more in this incarnation."""

    def want_space(self, change: int) -> None:
        """So many more processes (1, -1) wait for space on the disk; called without the lock."""

    def work(self, worker: int, task: int, attempt: int) -> None:
        """This worker has claimed a task."""

    def begins(self, service: str) -> None:
        """A task of this service was claimed."""

    def gone(self, worker: int) -> None:
        """This worker is dead."""

    def ring(self, unblocked: Sequence[int], startable: int) -> None:
        """These blocked workers may go on, and so many ready tasks have a free slot."""

    def spare(self, slots: int) -> None:
        """So many slots are free, and nothing is there that could start in them."""

    def interrupt(self, attempts: Sequence[tuple[int, int, int]]) -> None:
        """These ``(worker, task, attempt)`` were revoked."""

    def withdraw(self, workers: Sequence[int]) -> None:
        """Of what these workers have reserved something was revoked."""

    def comes_due(self, in_s: float) -> None:
        """Something is to be done in so many seconds, that nobody may have reckoned with."""

    def rest(self, worker: int, quiet: bool) -> None:
        """Nothing to claim for this worker; ``quiet``: nothing runs and nothing can start."""

    def recount(self, workers: Sequence[int]) -> None:
        """Correct what is counted of the workers; these live."""

    def count(self, **changes: int) -> None:
        """So many tasks were enqueued, or reached a final state: ``known=3``, ``succeeded=1``."""
