"""A run in the process and the thread that asks for it, so that a debugger stops in any of its bodies.

There is no worker and no runner: whenever a body waits for children, one that is ready is run, on top of it. All else is as in
every run: the journal, the rules of binding, chains and retries. What takes another process is not there: tasks at the same
time, time limits, and a run that outlives the death of a body.
"""
from __future__ import annotations

import bdb
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from . import recorded, runlog, uid
from .application import Service
from .attempt import LINGER_S, Attempt
from .board import Board
from .claims import Claim, Enqueued, Failure, NewChain, Outlook, Stop, Success
from .codec import encode_error
from .ending import leave_tidy
from .errors import BadInput, ClaimLost, Interrupted, RunWaits, TaskRevoked
from .flow import ChainFlow
from .history import History
from .home import RunDirectory
from .journal import Journal
from .launch import completed, journal_run
from .replay import ReplayStopped
from .secrets import vault
from .standing import exit_code
from .states import RUN_INTERRUPTED
from .submission import Prepared, Request
from .waiting import come_due

ALL_SLOTS = 1000    # bodies below one that runs keep theirs
LOOK_AGAIN_S = 0.1  # for what somebody sends, of which nobody tells
class _OnlyWaits(Interrupted):
    """All that is left waits for a time or an event, and that is not to be waited for: the bodies on the stack are left."""


_OURS = (ReplayStopped, TaskRevoked, ClaimLost, Interrupted)

_one_at_a_time = threading.Lock()
_present: InProcess | None = None


class _Here(Attempt):
    """An attempt in a process that is not there for it alone: what ends that ends the run, and fails no task."""

    worker: InProcess  # type: ignore[assignment]

    def _call(self, service: Service) -> Success:
        try:
            return super()._call(service)
        except _OURS:
            raise
        except BaseException as error:
            self.worker.raised[self.claim.task] = error
            if isinstance(error, bdb.BdbQuit) or not isinstance(error, (Exception, SystemExit)):
                raise Interrupted(f"{service.short_name} was left by {type(error).__name__}") from error
            raise


class InProcess:
    """Does the work of a runner and its workers, one task after the other. raised: what tasks raised, by their numbers.

    number: of the worker that the next task has, which is how many stand below it on the stack: the journal has one task of a
    worker at a time.
    """

    def __init__(self, directory: RunDirectory, request: Request) -> None:
        self.directory, self.number, self.epoch = directory, 0, 1
        self.journal = Journal(directory, ALL_SLOTS, full_wait_s=request.full_wait_s or 0.0, epoch=1, queues=request.queues)
        self.batch = _NoBatch(self.journal)
        self.raised: dict[int, BaseException] = {}
        self.heard_so_far = 0
        self._ends_when_waiting = request.exit_when_waiting
        self._is_stuck = False

    def drive(self) -> None:
        """Run all that there is to run. Raises what ended the process's own part in it: KeyboardInterrupt, say."""
        try:
            while True:
                outlook = self._look()
                if self._run_next():
                    continue
                is_near = outlook.next_due_s is not None and outlook.next_due_s < LINGER_S
                if not outlook.waits or (self._ends_when_waiting and not is_near):
                    return
                self._pause(outlook, LOOK_AGAIN_S)
        except _OnlyWaits:
            return
        except Interrupted as error:
            raise (error.__cause__ or error) from None

    def _look(self) -> Outlook:
        return self.journal.look([], come_due)

    @staticmethod
    def _pause(outlook: Outlook, most_s: float) -> None:
        time.sleep(max(0.0, min(most_s, LOOK_AGAIN_S if outlook.next_due_s is None else outlook.next_due_s)))

    def _run_next(self) -> bool:
        """Run a task that is ready; False if none is."""
        claim = self.journal.claim(self.number, 0)
        if claim is None:
            return False
        self._is_stuck = False
        while claim is not None:
            claim = self._attempt(claim)
        return True

    def _attempt(self, claim: Claim) -> Claim | None:
        """Run one attempt and settle it; returns another that comes with that, if any."""
        vault.begin_attempt()
        before, attempt = recorded.running, _Here(self, claim)  # type: ignore[arg-type]
        number, self.number = self.number, self.number + 1
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        recorded.running = attempt
        try:
            if claim.on_interrupt != "retry":
                self.journal.be_sure()
            outcome = attempt.run()
        except (TaskRevoked, ClaimLost) as error:
            outcome = Failure(encode_error(error))  # dropped by the fence
        finally:
            recorded.running, self.number = before, number
            with suppress(OSError):
                os.fchdir(folder)
            os.close(folder)
        if isinstance(outcome, Stop):
            return self.journal.stop(claim, outcome.mismatch, number, 0)
        return self.journal.settle(claim, outcome, number, 0, attempt.is_parent, claims_next=False)

    # --- what an attempt needs of its worker ---------------------------------------------------------------------------

    def now(self) -> float:
        return time.time()

    def flow_before(self, claim: Claim) -> dict[str, object]:
        return {} if claim.task == claim.chain else ChainFlow(claim.chain).before(claim.task, self.journal)

    def rest(self, heard: int, timeout_s: float) -> None:
        """A body waits: run something else on top of it. Raises RuntimeError if nothing can ever happen any more."""
        outlook = self._look()
        if self._run_next():
            return
        if outlook.waits:
            self._is_stuck = False
            if self._ends_when_waiting and (outlook.next_due_s is None or outlook.next_due_s > LINGER_S):
                raise _OnlyWaits
            self._pause(outlook, timeout_s)
        elif self._is_stuck:
            raise RuntimeError("with in_process=True this task would wait for ever: what it waits for is to be done by a task "
                               "that stands below it on the stack of this thread; run it without in_process")
        else:
            self._is_stuck = True  # unless the very look ended the wait

    def suspend(self, claim: Claim) -> None:
        """This process is not only there for the task, so it stays."""


class _NoBatch:
    """In the place of a batch: each thing is journaled at once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def catch_up(self) -> None:
        """There is nothing in hand."""

    def enqueue(self, claim: Claim, chain: NewChain, is_awaited: bool = False,
                catch_up: Callable[[], None] | None = None) -> tuple[int, int]:
        return self._journal.enqueue(claim, chain.digest, chain.members)

    def block(self, claim: Claim, tails: Iterable[int | Enqueued], wait: int, any_is_enough: bool,
              may_wait: Callable[[Journal, int], None]) -> bool:
        return self._journal.block(claim, tails, wait, any_is_enough, may_wait)


def run_here(request: Request, prepare: Callable[[], Prepared]) -> tuple[int, Mapping[int, BaseException]]:
    """Journal a run and do all of it here. Returns its exit code, and the exceptions that tasks raised.

    Raises BadInput if another one goes on in this process, and what ended it before its end.
    """
    global _present
    if recorded.running is not None or not _one_at_a_time.acquire(blocking=False):
        raise BadInput("with in_process=True one run at a time is done in a process, and in none of a task")
    alive = None
    try:
        request = completed(request)
        directory, alive = journal_run(request, prepare(), Board())
        _present = InProcess(directory, request)
        uid.be_in(directory.path)
        runlog.note(directory.logs, f"incarnation 1 begins: in process {os.getpid()}, which asked for it")
        return _drive_to_its_end(_present, request), _present.raised
    finally:
        uid.be_in(None)
        _present = None
        if alive is not None:
            os.close(alive)
        _one_at_a_time.release()


def _drive_to_its_end(here: InProcess, request: Request) -> int:
    interrupted = True
    try:
        with here.journal:
            here.directory.wake.mkdir(mode=0o700)  # for who sends an event
            try:
                here.drive()
                interrupted = False
            finally:
                waits = here.journal.look([], come_due).waits
                state = here.journal.finish(interrupted=interrupted)
                runlog.note(here.directory.logs, f"incarnation 1 ends, the run is {state}")
    finally:
        directory = leave_tidy(here.directory, request.json_file)
    if state == RUN_INTERRUPTED and waits:
        return RunWaits.exit_code
    with History(directory) as history:
        return exit_code(history, state)


def _leave_to_service() -> None:
    """In a process that a body forks: the journal is none of its."""
    if _present is not None:
        _present.journal.forget()


os.register_at_fork(after_in_child=_leave_to_service)
