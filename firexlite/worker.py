"""A worker: a forked process that claims tasks, runs their services and settles them."""
from __future__ import annotations

import collections
import gc
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from . import faults, host, recorded
from .application import COLLAPSE_KEY, Service, app
from .binding import EXTRA, Bog, as_argument, as_flow
from .board import Address, Board, Counter, Doorbell
from .claims import Claim, Failure, Stop, Success
from .codec import decode, decode_error, encode, encode_error, encode_named
from .converters import ConverterRegister
from .errors import ClaimLost, FirexliteError, Interrupted, StorageFailure, Superseded, TaskRevoked
from .home import RunDirectory, task_uuid
from .interrupts import STOPPING, Interrupts
from .journal import Journal, wait_for_space
from .logs import WorkerLog, flush_output
from .replay import Replay, ReplayStopped
from .results import name_values
from .secrets import Secret, masked, masked_data, vault
from .services import MemberView, Task
from .signatures import Chain
from .submission import new_tasks

LOOK_AGAIN_S = 1.0  # a safety net behind the wake-ups
_RAN_OUT = "max_wait ran out"  # the name under which such a wait is noted

logger = logging.getLogger("firexlite")


class Worker:
    """One worker process. number: its place on the board, and the name of its log and its address.

    alive: the file descriptor that holds the run's lock.
    """

    def __init__(self, directory: RunDirectory, epoch: int, number: int, slots: int, board: Board,
                 full_wait_s: float, alive: int | None = None) -> None:
        self._runner, self._alive = os.getppid(), alive
        self.directory, self.epoch, self.number, self.board = directory, epoch, number, board
        self.interrupts = Interrupts(board, number)
        self.log = WorkerLog(directory.log_file(epoch, number), self.interrupts)
        vault.when_learned = self.log.mask
        self.log.restore()  # what the run knows is masked from the beginning
        self.address = wait_for_space(lambda: Address(directory.wake, number), full_wait_s, Counter(board))
        self.journal = Journal(directory, slots, Doorbell(board, self.address), self.interrupts, full_wait_s, epoch)
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # also one that a service removed
        self._flow = ChainFlow(0)
        self._listening = False
        self._heard = 0
        self._ears = threading.Condition()

    def work(self) -> None:
        """Claim, run and settle until the run stops."""
        # Blocked over the fork: a SIGTERM meant for the child would otherwise be taken by our handler, and lost.
        os.register_at_fork(before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
                            after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
                            after_in_child=self._leave_to_service)
        self.journal.open()
        claim = self.journal.claim(self.number, self.log.size())
        while not self.board.stopping:
            self._end_with_runner()
            if claim is None:
                self.address.wait(LOOK_AGAIN_S)
                self._end_with_runner()
                if not self.board.stopping:
                    claim = self.journal.claim(self.number, self.log.size())
            else:
                claim = self.attempt(claim)

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
        self.log.leave_to_service()

    def attempt(self, claim: Claim) -> Claim | None:
        """Run one attempt and settle it; returns the next claim."""
        vault.begin_attempt()
        attempt = Attempt(self, claim)
        outcome: Success | Failure | Stop
        try:
            if claim.on_interrupt != "retry":
                self.journal.be_sure(claim)
            self.interrupts.start(claim.task, claim.attempt)
            recorded.notebook = attempt
            faults.reach("body begins")
            outcome = attempt.run()
            faults.reach("body returned")
        except (TaskRevoked, ClaimLost) as error:
            self.interrupts.end()
            host.kill_descendants()  # the shell commands of a revoked body end with it
            outcome = Failure(encode_error(error))  # dropped by the fence, if the claim is lost indeed
        except Interrupted as error:
            self.interrupts.end()
            if self.board.stopping:
                return None
            outcome = Failure(encode_error(error))  # the body raised it by itself
        finally:
            self.interrupts.end()
            recorded.notebook = None
            self.log.restore()
            with suppress(OSError):
                os.fchdir(self._folder)
        if isinstance(outcome, Stop):
            return self.journal.stop(claim, outcome.mismatch, self.number, self.log.size())
        return self.journal.settle(claim, outcome, self.number, self.log.size(), is_parent=attempt.is_parent)

    def flow_before(self, claim: Claim) -> dict[str, object]:
        """What flows to a task from those before it in its chain, made afresh."""
        if claim.redoes is not None:
            return ChainFlow(self.journal.chain_of(claim.redoes)).before(claim.redoes, self.journal)
        if claim.task == claim.chain:
            return {}
        if self._flow.chain != claim.chain or self._flow.next > claim.task:
            self._flow = ChainFlow(claim.chain)
        return self._flow.before(claim.task, self.journal)

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


class Attempt:
    """One attempt at a task: binds, calls, names the returns, and is the engine behind the body's `self`."""

    def __init__(self, worker: Worker, claim: Claim) -> None:
        self.worker, self.journal, self.claim = worker, worker.journal, claim
        self._thread = threading.current_thread()
        self._waits = itertools.count(1)
        self._replay = Replay(self.journal.recorded_calls(claim) if claim.attempt > 1 else [], strict=not claim.relaxed)
        self._noted = self.journal.notes(claim) if claim.attempt > 1 else {}
        self._note_numbers: collections.Counter[str] = collections.Counter()
        self._tails: list[int] = []  # of the chains this attempt asked for
        self._given_up: set[int] = set()  # those of them for which a wait ran out of time
        self._cannot_go_on = False        # a thread of the body was told so
        self.task: Task | None = None     # the body's `self`

    @property
    def is_parent(self) -> bool:
        return bool(self._tails or self._replay.total)

    def run(self) -> Success | Failure | Stop:
        """The outcome of the attempt.

        Raises TaskRevoked, ClaimLost and Interrupted, after which there is nothing to settle.
        """
        raised: BaseException | None = None
        returned = changes = ""
        try:
            returned, changes = self._call()
        except (TaskRevoked, ClaimLost, Interrupted):
            raise
        except ReplayStopped:
            pass
        except BaseException as error:  # a stranger's code: SystemExit and KeyboardInterrupt fail the task too
            raised = error
        if self._replay.must_stop():
            return Stop(self._mismatch(raised))
        if self._cannot_go_on:
            # All was asked for after the wait, so what was new is recorded and released by now: nothing is amiss.
            return Stop(None)
        aside = self._replay.unasked()
        if raised is not None:
            return Failure(encode_error(raised), aside)
        return Success(returned, changes, aside)

    def _mismatch(self, raised: BaseException | None) -> str:
        text = self._replay.mismatch(self.journal, raised)
        return text if vault.known is None else json.dumps(masked_data(json.loads(text)))

    def _call(self) -> tuple[str, str]:
        """Run the service; returns JSON texts of what it returned, by name, and of what it changed for those after it."""
        claim = self.claim
        service = app.service(claim.service)
        own = decode(self.journal.directory.unspill(claim.arguments))
        flow = self.worker.flow_before(claim)
        bog = Bog(service.parameters, own, flow)
        bog.supplied.update(self._converted(service, bog.supplied, before=True))
        bog.defaults = {name: value.reveal() if isinstance(value, Secret) else value for name, value in bog.defaults.items()}
        task = self.task = service.base(service, self, bog)
        self._show(service, task, bog.abog, first=True)
        args, kwargs = bog.call_arguments()
        value = service.undecorated(task, *args, **kwargs) if service.bind else service.undecorated(*args, **kwargs)
        if left := [tail for tail in self._tails if tail not in self._given_up]:
            self.wait(left, any_is_enough=False, max_wait_s=None)  # FireX: a task ends after its children
        returned = name_values(service.returns, value)
        if service.returns is None and value is not None and not isinstance(value, dict):
            logger.warning("%s returned a value without a name; declare returns= to keep it", service.short_name)
        changed = {**bog.supplied, **returned}
        changed = {**changed, **self._converted(service, changed, before=False)}
        returned = {name: changed[name] for name in returned}
        changes = {name: as_argument(value) for name, value in changed.items()
                   if name not in returned and (name not in bog.given or value is not bog.given[name])}
        texts = (encode_named(returned, f"what {service.short_name} returned as "),
                 encode_named(changes, f"arguments of {service.short_name}: "))
        self._show(service, task, {**bog.abog, **returned}, first=False)
        return texts

    def _converted(self, service: Service, values: dict[str, object], before: bool) -> dict[str, object]:
        register = ConverterRegister.get_register(service.short_name)
        if register is None:
            return {}
        after = register.converted(values, before)
        return {name: value for name, value in after.items() if name not in values or value is not values[name]}

    def _show(self, service: Service, task: Task, values: dict[str, object], first: bool) -> None:
        """Journal what the service shows of itself in the report; what its formatters raise is logged, no more."""
        rows = []
        if first and service.collapse:
            rows.append((COLLAPSE_KEY, "object", json.dumps(service.collapse), -1))
        for position, (key, shown) in enumerate(service.flame.items()):
            try:
                text = shown.text(values, task)
            except Exception:
                logger.exception("the flame formatter of %s for %s failed", service.short_name, key)
                continue
            if text is not None:
                rows.append((key, shown.data_type, json.dumps(masked(str(text))), position))
        if rows:
            self.journal.show(self.claim, rows)

    # --- the engine of `self` and of promises ------------------------------------------------------------

    def enqueue(self, chain: Chain) -> tuple[int, int]:
        members, digest = new_tasks(chain)
        head, last = self._replay.enqueue(
            digest, may_hold=threading.current_thread() is self._thread,
            journal_chain=lambda held: self._own(lambda: self.journal.enqueue(self.claim, digest, members, held)),
            release=self.journal.release_held)
        self._tails.append(last)
        return head, last

    def wait(self, tails: Iterable[int], any_is_enough: bool, max_wait_s: float | None) -> bool:
        """Wait for chains without a slot. Of several threads each may wait for its own."""
        tails = list(tails)
        if self._replay.holds_any(tails):
            self._cannot_go_on = True  # whatever the body makes of the exception, or of the end of this thread
            raise ReplayStopped
        number = self._number_of(_RAN_OUT) if max_wait_s is not None else 0
        if (_RAN_OUT, number) in self._noted and max_wait_s is not None and not self.claim.relaxed:
            self._given_up.update(tails)  # as in the attempt before, which took its way from there
            return False
        give_up = None if max_wait_s is None else time.monotonic() + max_wait_s
        wait = next(self._waits)
        if not self._own(lambda: self.journal.block(self.claim, tails, wait, any_is_enough)):
            return True
        while True:
            heard = self.worker.heard_so_far
            if not self._own(lambda: self.journal.is_waiting(self.claim, wait)):
                return True
            left = LOOK_AGAIN_S if give_up is None else min(LOOK_AGAIN_S, give_up - time.monotonic())
            if left <= 0:
                self.journal.end_wait(self.claim, wait)
                self._own(lambda: self.journal.note(self.claim, _RAN_OUT, number, "true"))
                self._given_up.update(tails)
                return False
            self.worker.rest(heard, left)

    def _own(self, write: Callable):  # type: ignore[no-untyped-def]
        """Do what only the owner of the task may; a lost claim ends the body, and so does a disk that failed."""
        try:
            return write()
        except (ClaimLost, Superseded) as error:
            raise TaskRevoked(str(error)) from error
        except StorageFailure as error:
            raise Interrupted(str(error)) from error

    def noted(self, name: str, make: Callable[[], object]) -> Any:
        number = self._number_of(name)
        if (text := self._noted.get((name, number))) is None:
            text = encode(make(), name)
            self._own(lambda: self.journal.note(self.claim, name, number, text))
        return decode(text)

    def _number_of(self, name: str) -> int:
        """How often the body has asked for what is noted under this name before, in this attempt."""
        self._note_numbers[name] += 1
        return self._note_numbers[name] - 1

    def members(self, head: int, last: int) -> list[MemberView]:
        return [MemberView(num, self.uuid(num), service, state, attempts > 0,
                           decode_error(error) if state == "failed" and error else None)
                for num, service, state, error, attempts in self.journal.chain_members(head, last)]

    def flow_after(self, head: int, upto: int) -> dict[str, object]:
        return merge_flow(self.journal.flow_steps(head, upto))

    def returned(self, head: int, last: int) -> list[tuple[int, dict[str, object], dict[str, object]]]:
        steps = self.journal.flow_steps(head, last)
        return [(head + i, merge_flow([(arguments, changes, None)]), as_flow(decode(result)))
                for i, (arguments, changes, result) in enumerate(steps) if result is not None]

    def children_of(self, num: int) -> list[tuple[int, int]]:
        return self.journal.children_of(num)

    def revoke(self, head: int) -> None:
        self.journal.revoke_chain(head)

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @property
    def task_key(self) -> str:
        return f"{self.journal.directory.firex_id}.{self.claim.task}"

    def uuid(self, num: int) -> str:
        return task_uuid(self.journal.directory.firex_id, num)


class ChainFlow:
    """What flows along one chain, as the texts of its steps that still count.

    A worker usually runs several tasks of a chain; without this memory each would read all before it again.
    Nothing in it can go out of date: tasks that succeeded never change.
    """

    def __init__(self, chain: int) -> None:
        self.chain = chain
        self.next = chain                                # the first task not yet read
        self._steps: list[tuple[Step, set[str]]] = []    # with the names whose values are from it

    def before(self, task: int, journal: Journal) -> dict[str, object]:
        for step in journal.flow_steps(self.next, task - 1):
            names = set(merge_flow([step]))
            for _, earlier in self._steps:
                earlier -= names
            self._steps = [(kept, earlier) for kept, earlier in self._steps if earlier] + [(step, names)]
        self.next = task
        return merge_flow([step for step, _ in self._steps])


Step = tuple[str, str | None, str | None]  # arguments, changes, result of a task, as JSON texts


def merge_flow(steps: Sequence[Step]) -> dict[str, object]:
    """What flows on after tasks of a chain: ``(arguments, changes, result)`` of each, later ones over earlier ones."""
    flow: dict[str, object] = {}
    for arguments, changes, result in steps:
        own = decode(arguments)
        own.pop(EXTRA, None)
        flow.update(own)
        if changes:
            flow.update(decode(changes))
        if result:
            flow.update(as_flow(decode(result)))
    return flow


def work(directory: RunDirectory, epoch: int, number: int, slots: int, board: Board, full_wait_s: float,
         load: Callable[[], object] | None, alive: int | None = None) -> None:
    """The whole life of a forked worker; does not return.

    load: imports the services, where the runner could not because they leave threads behind.
    alive: the file descriptor that holds the run's lock.
    """
    code, worker = 1, None
    try:
        faults.reach("worker forked")
        worker = Worker(directory, epoch, number, slots, board, full_wait_s, alive)
        if load is not None:
            load()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            board.has_imported(number)
            gc.freeze()
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
