"""A worker: a forked process that claims tasks, has their services run, and settles them."""
from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from . import faults, host, last_words, measure, recorded, uid
from .application import app
from .attempt import Attempt
from .batch import Batch
from .board import RUNNER, Address, Board, Counter, Doorbell
from .claims import Claim, Failure, Retry, Stop, Success, Use
from .codec import encode_error
from .errors import ClaimLost, FirexliteError, Interrupted, SoftTimeLimitExceeded, TaskRevoked
from .flow import ChainFlow
from .host import GRACE_S, STOPPING
from .incarnation import Incarnation
from .interrupts import Interrupts
from .journal import Journal
from .journal_file import wait_for_space
from .logs import WorkerLog, flush_output
from .pickled import pickles
from .secrets import vault
from .waiting import suspend

# Of one at rest, a safety net: the runner looks more often, and calls it; and by it a worker sees that its runner is dead.
LOOK_AGAIN_S = 2.0 if host.IS_PORTABLE else 30.0
_TOLD = [code for number in STOPPING for code in (-number, 128 + number)]  # exit codes of commands that were told to end
CAUSES = 20   # of an exception, one of another, that are looked through: they may go round in a circle
TOLD_S = 1.0  # after a command of a service was told to end, for the worker to be told as well


class Worker:
    """One worker process. number: its place on the board, and the name of its log and its address."""

    def __init__(self, incarnation: Incarnation, number: int, board: Board) -> None:
        self._runner, self._alive = os.getppid(), incarnation.alive
        directory, epoch, full_wait_s = incarnation.directory, incarnation.epoch, incarnation.full_wait_s
        self.directory, self.epoch, self.number, self.board = directory, epoch, number, board
        uid.be_in(directory.path)
        self.interrupts = Interrupts(board, number)
        self.log = self._log_of(incarnation)
        vault.when_learned = self.log.mask
        self.log.restore()  # what the run knows is masked from the beginning
        self.address = wait_for_space(lambda: Address(directory.wake, number), full_wait_s, Counter(board))
        last_words.write_at_last(last_words.path_of(directory.wake, number))
        self.journal = self._journal_of(incarnation)
        self.batch = self._batch_of(self.journal)
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # also one that a service removed
        self._flow = ChainFlow(0)
        self._listening = False
        self._heard = 0
        self._ears = threading.Condition()

    # A worker on another host has others of these three.

    def _log_of(self, incarnation: Incarnation) -> WorkerLog:
        return WorkerLog(incarnation.directory.log_file(incarnation.epoch, self.number), self.interrupts)

    def _journal_of(self, incarnation: Incarnation) -> Journal:
        bell = Doorbell(self.board, self.address, may_have_children)
        return Journal(incarnation.directory, incarnation.slots, bell, self.interrupts, incarnation.full_wait_s,
                       incarnation.epoch, incarnation.queues)

    def _batch_of(self, journal: Journal) -> Batch:
        return Batch(journal, self.board, self.number, self.interrupts, self.log.size)

    def work(self) -> None:
        """Claim, run and settle until the run stops."""
        # Blocked over the fork: a SIGTERM meant for the child would otherwise be taken by our handler, and lost.
        os.register_at_fork(before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
                            after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
                            after_in_child=self._leave_to_service)
        self.journal.open()
        claim = self.batch.claim()
        while not self.board.stopping:
            if not self.batch.goes_on:
                self._end_with_runner()
            if claim is None:
                self.address.wait(LOOK_AGAIN_S)
                self._end_with_runner()
                if not self.board.stopping:
                    claim = self.batch.claim()
            else:
                claim = self.attempt(claim)
        self.batch.close()

    def _end_with_runner(self) -> None:
        """End if the runner is dead, and with it from now on: a service that changes its user has the kernel forget that."""
        host.die_with_parent(self._runner, signal.SIGKILL)

    def _leave_to_service(self) -> None:
        """In a process that a service forks: it is none of ours, and ends when it is told to.

        Nor does it count as one by which the run lives: it may survive us all, and nobody could resume then.
        """
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self.journal.forget()
        self.batch.forget()
        self.log.leave_to_service()
        last_words.leave_to_service()

    def attempt(self, claim: Claim) -> Claim | None:
        """Run one attempt and settle it; returns the next claim."""
        vault.begin_attempt()
        measurement = measure.begin()
        attempt = Attempt(self, claim)
        outcome: Success | Failure | Retry | Stop
        is_limited = False
        try:
            if claim.on_interrupt != "retry":
                self.journal.be_sure()
            self.interrupts.start(claim.task, claim.attempt)
            is_limited = self._limit(attempt)
            recorded.running = attempt
            faults.reach("body begins")
            outcome = attempt.run()
            if isinstance(outcome, (Failure, Retry)) and self._is_stopped_with(attempt.raised):
                raise Interrupted("the run is being stopped")
            faults.reach("body returned")
            if faults.are_of_services and isinstance(outcome, Success):
                faults.of_services("returned", [claim.service])
        except (TaskRevoked, ClaimLost) as error:
            self.interrupts.end()
            host.kill_descendants()  # the shell commands of a revoked body end with it
            outcome = Failure(encode_error(error))  # dropped by the fence, if the claim is lost indeed
        except Interrupted as error:
            self.interrupts.end()
            if self.board.stopping:
                return None
            outcome = Failure(encode_error(error))  # the body raised it by itself
        except SoftTimeLimitExceeded as error:  # the limit was over when the body had just returned
            outcome = Failure(encode_error(error))
        finally:
            self.interrupts.end()
            self.board.limit(self.number, None, None)
            recorded.running = None
            self.log.restore()
            with suppress(OSError):
                os.fchdir(self._folder)
        if isinstance(outcome, Stop):
            mismatch = outcome.mismatch
            return self.batch.stopped(lambda: self.journal.stop(claim, mismatch, self.number, self.log.size()))
        if isinstance(outcome, Success):
            self._note_step(claim, outcome)
        return self.batch.end(claim, outcome, attempt.is_parent, Use(*measurement.end()), is_limited)

    def _is_stopped_with(self, raised: BaseException | None) -> bool:
        """Whether a body failed while its run is being stopped, or of the signal that is about to stop it: then it was cut off,
        and nothing is settled.

        Some tell all processes of a job at once, Slurm, Jenkins and systemd, and the commands of a service may be the first.
        """
        began = time.monotonic()
        while not self.board.stopping:
            patience_s = GRACE_S if self.interrupts.told_by_others else TOLD_S if _was_told(raised) else 0.0
            if time.monotonic() >= began + patience_s:
                return False
            self.address.wait(began + patience_s - time.monotonic())
        return True

    def _limit(self, attempt: Attempt) -> bool:
        """Have the runner keep the limits of an attempt; False if it has none."""
        soft, hard = attempt.limits()
        if soft is None and hard is None:
            return False
        now = time.monotonic()
        self.board.limit(self.number, soft and now + soft, hard and now + hard)
        if self.board.is_before_next_look(min(limit for limit in (soft, hard) if limit is not None)):
            self.address.send(RUNNER, b"limit")
        return True

    def suspend(self, claim: Claim) -> None:
        """End this process if its task still waits, for a time or an event: the task is replayed when that is there.

        Nothing of the body runs meanwhile, no `finally` either, just as after a crash.
        """
        if self.journal.do(suspend, claim, self.log.size()):
            faults.reach("suspended")
            flush_output()
            self.log.end()
            os._exit(0)

    def now(self) -> float:
        """The time by the clock of the journal, in seconds since the epoch."""
        return time.time()

    def flow_before(self, claim: Claim) -> dict[str, object]:
        """What flows to a task from those before it in its chain, made afresh."""
        if claim.redoes is not None:
            return ChainFlow(self.journal.chain_of(claim.redoes)).before(claim.redoes, self.journal)
        if claim.task == claim.chain:
            return {}
        if self._flow.chain != claim.chain or self._flow.next > claim.task:
            self._flow = ChainFlow(claim.chain)
        return self._flow.before(claim.task, self.journal)

    def _note_step(self, claim: Claim, outcome: Success) -> None:
        """Remember what flows to the task after this one; it will hardly be claimed by another worker."""
        if claim.task == claim.last or claim.redoes is not None:
            return
        if claim.task == claim.chain:
            self._flow = ChainFlow(claim.chain)
        if self._flow.chain == claim.chain and self._flow.next == claim.task:
            self._flow.add((self.directory.unspill(claim.arguments), outcome.changes, outcome.result))

    def rest(self, heard: int, timeout_s: float) -> None:
        """Sleep until this worker is woken. Of several threads one listens, and passes on what it hears.

        heard: the value of `heard_so_far` before the look that found nothing.
        """
        with self._ears:
            if self._heard != heard:
                return
            if self._listening:
                self._ears.wait(timeout_s)
                return
            self._listening = True
        try:
            self.address.wait(timeout_s)
            if os.getppid() != self._runner:  # it died, and we did not: a body that changed its user had the kernel forget us
                os._exit(128 + signal.SIGKILL)
        finally:
            with self._ears:
                self._listening = False
                self._heard += 1
                self._ears.notify_all()

    @property
    def heard_so_far(self) -> int:
        return self._heard


def _was_told(raised: BaseException | None) -> bool:
    """Whether it is the end of a command by a signal that stops it, or came of one."""
    with suppress(Exception):  # a stranger's exception may have anything under these names
        for _ in range(CAUSES):
            if raised is None or (code := getattr(raised, "returncode", None)) is not None:
                return raised is not None and code in _TOLD
            raised = raised.__cause__ or raised.__context__
    return False


def may_have_children(service: str) -> bool:
    """Whether a service may enqueue some."""
    return service in app and app.service(service).bind


def work(incarnation: Incarnation, number: int, board: Board, load: Callable[[], object] | None) -> None:
    """The whole life of a forked worker; does not return.

    load: imports the services, where the runner could not because they leave threads behind.
    """
    def import_services() -> None:
        if load is not None:
            load()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            board.has_imported(number)
            gc.freeze()

    live(lambda: Worker(incarnation, number, board), import_services)


def stand_apart(parent: int) -> None:
    """In a forked process that is to be a worker: have a session of its own, and end with the parent alone."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for default in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(default, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    host.die_with_parent(parent, signal.SIGKILL)


def live(make: Callable[[], Worker], prepare: Callable[[], None]) -> NoReturn:
    """The life of a worker from its first moment to its last; does not return. prepare: done before it works."""
    code, worker = 1, None
    try:
        faults.reach("worker forked")
        pickles.may_load = True
        worker = make()
        prepare()
        worker.work()
        code = 0
    except FirexliteError as error:
        print(f"firexlite: {error}", file=sys.stderr)
    except BaseException:
        logging.getLogger("firexlite").exception("the worker ends")
    finally:
        flush_output()
        if worker is not None:
            worker.log.end()
        # Never through the interpreter's own end: it would close what the runner shares with its children.
        os._exit(code)
