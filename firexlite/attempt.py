"""One attempt at a task: it binds the arguments, calls the service, names what it returns, and is the engine behind `self`."""
from __future__ import annotations

import collections
import datetime
import inspect
import itertools
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import once, waiting
from .application import Service, app
from .binding import Bog, as_argument, as_flow
from .claims import Failure, NewChain, Retry, Stop, Success
from .codec import canonical, decode, decode_error, digest, encode, encode_error, encode_named
from .codec_errors import traceback_of, where_of
from .converters import ConverterRegister
from .deadlocks import refuse_deadlock
from .errors import (
    ClaimLost,
    FirexliteError,
    Interrupted,
    InvalidChainArgsException,
    NotRegistered,
    NotStorable,
    SchedulingDeadlockException,
    StorageFailure,
    Superseded,
    TaskRevoked,
)
from .errors import Retry as AskedToRetry
from .flow import merge_flow
from .home import task_uuid
from .limits import HARD, SOFT
from .promises import CallBacks, MemberView, Place, Request, WaitLoopCallBack, known, last_of
from .replay import Replay, ReplayStopped
from .results import name_values
from .secrets import Secret, masked_data, vault
from .services import Task
from .showing import COMMANDS_KEY, OBJECT, Row, row
from .signatures import Chain
from .submission import new_tasks
from .task_options import ValidateArgs
from .validation import validated

if TYPE_CHECKING:
    from .claims import Claim, Enqueued
    from .journal import Journal
    from .worker import Worker

LOOK_AGAIN_S, LOOK_AGAIN_MOST_S = 1.0, 8.0  # a safety net behind the wake-ups, of one that waits for longer and longer
LINGER_S = 2.0      # how long a body that waits for an event, or sleeps, keeps its process
RAN_OUT = "max_wait ran out"  # the name under which such a wait is noted

logger = logging.getLogger("firexlite")


class Attempt:
    """One attempt at a task."""

    def __init__(self, worker: Worker, claim: Claim) -> None:
        self.worker, self.claim, self.directory = worker, claim, worker.directory
        self._thread, self._pid = threading.current_thread(), os.getpid()
        self._waits = itertools.count(1)
        journal = worker.journal
        self._replay = Replay(journal.recorded_calls(claim) if claim.attempt > 1 else [], strict=not claim.relaxed)
        self._noted = journal.notes(claim) if claim.attempt > 1 else {}
        self._note_numbers: collections.Counter[str] = collections.Counter()
        self._received: collections.Counter[str] = collections.Counter()  # events, by name
        self._chains: list[Place] = []  # that this attempt asked for
        self._given_up: set[int] = set()  # those of them for which a wait ran out of time
        self._cannot_go_on = False        # a thread of the body was told so
        self._threads = threading.active_count()
        self.started = time.time()
        self.task: Task | None = None
        self.raised: BaseException | None = None  # by the body
        self._options: dict[str, Any] = json.loads(claim.options) if claim.options else {}

    @property
    def journal(self) -> Journal:
        """The journal, which knows by then all that the worker has in hand."""
        self._catch_up()
        return self.worker.journal

    def _catch_up(self) -> None:
        self._own(self.worker.batch.catch_up)

    @property
    def is_parent(self) -> bool:
        """Whether the task enqueued anything, in this try or in one before."""
        return bool(self._chains or self._replay.total or self.claim.retry)

    def limits(self) -> tuple[float | None, float | None]:
        """The soft and the hard limit of the attempt, in seconds; None: it has none."""
        if self.claim.service not in app:
            return None, None
        declared = app.service(self.claim.service).options
        return self._options.get(SOFT, declared.soft_time_limit), self._options.get(HARD, declared.time_limit)

    def run(self) -> Success | Failure | Retry | Stop:
        """The outcome of the attempt.

        Raises TaskRevoked, ClaimLost and Interrupted, after which there is nothing to settle.
        """
        raised: BaseException | None = None
        halted: ReplayStopped | None = None
        success: Success | None = None
        try:
            success = self._call(app.service(self.claim.service))
        except (TaskRevoked, ClaimLost, Interrupted):
            raise
        except ReplayStopped as error:
            halted = error
        except BaseException as error:  # a stranger's code: SystemExit and KeyboardInterrupt fail the task too
            self.raised = raised = error
        if self._replay.must_stop():
            return Stop(self._mismatch(raised, halted))
        if self._cannot_go_on:
            # All was asked for after the wait, so what was new is recorded and released by now: nothing is amiss.
            return Stop(None)
        if raised is not None:
            return self._next_try(raised) or Failure(encode_error(raised), self._replay.unasked())
        assert success is not None
        return replace(success, aside=aside) if (aside := self._replay.unasked()) else success

    def _next_try(self, raised: BaseException) -> Retry | None:
        """How the task is tried again after what it raised; None if it is not."""
        if isinstance(raised, AskedToRetry):
            when = raised.when
            delay_s = when.timestamp() - time.time() if isinstance(when, datetime.datetime) else when or 0.0
            return Retry(encode_error(raised.exc or raised), max(0.0, delay_s))
        rule = app.service(self.claim.service).options.retry if self.claim.service in app else None
        if rule is None or not rule.tries_again_after(raised) or (rule.most is not None and self.claim.retry >= rule.most):
            return None
        return Retry(encode_error(raised), rule.delay_after(self.claim.retry))

    def _mismatch(self, raised: BaseException | None, halted: ReplayStopped | None) -> str:
        text = self._replay.mismatch(self.journal, raised)
        if error := raised or halted:  # at which line of the body
            text = json.dumps({**json.loads(text), "where": where_of(error), "traceback": traceback_of(error)})
        return text if vault.known is None else json.dumps(masked_data(json.loads(text)))

    def _call(self, service: Service) -> Success:
        """Run the service, or take over the result of another task, and wait for its children."""
        bog = self._bind(service)
        task = self.task = service.base(service, self, bog)
        shows = bool(service.flame) or type(task).send_flame is not Task.send_flame
        if shows:
            task.send_flame(bog.abog)
        is_cached = self._options.get("use_cache", service.options.use_cache) and self.claim.redoes is None
        if is_cached and (cached := self._cached(service, bog)):
            return cached
        args, kwargs = bog.call_arguments()
        task.pre_task_run()
        value = service.undecorated(task, *args, **kwargs) if service.bind else service.undecorated(*args, **kwargs)
        if inspect.iscoroutine(value):
            import asyncio  # here: it takes longer to import than a short run takes to run
            value = asyncio.run(value)
        left = [last for _, last in map(known, self._chains) if last not in self._given_up]
        if left and not service.options.keeps_children:
            self.wait(left, any_is_enough=False, max_wait_s=None)  # FireX: a task ends after its children
        names = service.names_for(value)
        returned = name_values(names, value)
        if names is None and value is not None and not isinstance(value, dict):
            logger.warning("%s returned a value without a name; declare returns= to keep it", service.short_name)
        changed = {**bog.supplied, **returned}
        if converted := self._converted(service, changed, before=False):
            changed.update(converted)
            returned = {name: changed[name] for name in returned}
        success = Success(encode_named(returned, f"what {service.short_name} returned as "),
                          _changes(service, bog, {name: value for name, value in changed.items() if name not in returned}))
        if shows:
            task.send_flame({**bog.abog, **returned})
        return success

    def _bind(self, service: Service) -> Bog:
        own = decode(self.directory.unspill(self.claim.arguments))
        bog = Bog(service.parameters, own, self.worker.flow_before(self.claim))
        if service.validate is not ValidateArgs.DISABLED:
            bog.supplied.update(validated(service.undecorated, bog.accepted, service.validate))
        if converted := self._converted(service, bog.supplied, before=True):
            bog.supply(converted)
        if bog.defaults:
            bog.defaults = {name: value.reveal() if isinstance(value, Secret) else value
                            for name, value in bog.defaults.items()}
        return bog

    def _cached(self, service: Service, bog: Bog) -> Success | None:
        """The result of a task of this run with the same arguments; None if this one is to compute it.

        If one is at it, its end is waited for; if that fails, the first that notices computes it.
        """
        key = once.CACHE + _digest_of_arguments(service, bog)
        while (computes := self._own(lambda: self.journal.do(once.compute_or_wait, self.claim, key))) != self.claim.task:
            if (result := self.journal.do(once.result_of, computes)) is not None:
                return Success(result, _changes(service, bog, bog.supplied), cached_from=computes)
            try:
                self.wait([computes], any_is_enough=False, max_wait_s=None)
            except SchedulingDeadlockException:
                return None  # it waits for this one, in the end
        return None

    def _converted(self, service: Service, values: dict[str, object], before: bool) -> dict[str, object]:
        register = ConverterRegister.get_register(service.short_name)
        if register is None:
            return {}
        after = register.converted(values, before)
        return {name: value for name, value in after.items() if name not in values or value is not values[name]}

    # --- the engine of `self` and of promises ------------------------------------------------------------

    def show(self, rows: list[Row]) -> None:
        self._own(lambda: self.journal.show(self.claim, rows))

    def tell_command(self, number: int, about: dict[str, Any]) -> None:
        if os.getpid() == self._pid:  # a fork of the body has no part in the journal
            name = f"{self.claim.attempt}.{number}"
            self.show([row(f"{COMMANDS_KEY}.{name}", OBJECT, {name: about}, number)])

    def enqueue(self, chain: Chain, key: str | None = None, is_awaited: bool = False) -> Place:
        members, digest = new_tasks(chain)
        place: Place
        if key is not None:  # whichever attempt asks gets the same, so a replay has no part in it
            place = self._own(lambda: self.journal.enqueue(self.claim, digest, members, once=once.ENQUEUED + key))
        elif self._replay.is_over and os.getpid() == self._pid:
            place = self._own(lambda: self.worker.batch.enqueue(
                self.claim, NewChain(digest, members), is_awaited, self._catch_up))
        else:
            place = self._replay.enqueue(
                digest, may_hold=threading.current_thread() is self._thread,
                journal_chain=lambda held: self._own(lambda: self.journal.enqueue(self.claim, digest, members, held)),
                release=self.journal.release_held)
        self._chains.append(place)
        return place

    def is_recorded(self, chain: Chain) -> bool:
        if not self._replay.total:
            return False
        try:
            _, digest = new_tasks(chain)
        except (FirexliteError, InvalidChainArgsException, NotRegistered, TypeError):
            return False  # it is none that can be enqueued, and who tries is told so
        return self._replay.expects(digest)

    def wait(self, tails: Iterable[int | Enqueued], any_is_enough: bool, max_wait_s: float | None,
             callbacks: Iterable[WaitLoopCallBack] = ()) -> bool:
        """Wait for chains without a slot. Of several threads each may wait for its own."""
        tails = list(tails)
        if self._replay.holds_any(tails):
            self._cannot_go_on = True  # whatever the body makes of the exception, or of the end of this thread
            raise ReplayStopped
        number = self._number_of(RAN_OUT) if max_wait_s is not None else 0
        given_up = () if any_is_enough else tails
        if (RAN_OUT, number) in self._noted and max_wait_s is not None and not self.claim.relaxed:
            self._given_up.update(map(last_of, given_up))  # as in the attempt before, which took its way from there
            return False
        give_up = math.inf if max_wait_s is None else time.monotonic() + max_wait_s
        wait = next(self._waits)
        heard = self.worker.heard_so_far
        if not self._own(lambda: self.worker.batch.block(self.claim, tails, wait, any_is_enough, refuse_deadlock)):
            return True
        if self._rest_until_over(wait, give_up, CallBacks(callbacks), heard):
            return True
        self.journal.end_wait(self.claim, wait)
        self._own(lambda: self.journal.note(self.claim, RAN_OUT, number, "true"))
        self._given_up.update(map(last_of, given_up))
        return False

    def _rest_until_over(self, wait: int, give_up: float, calls: CallBacks | None = None, heard: int | None = None) -> bool:
        """Sleep until a wait is over; False at the time ``give_up`` of the monotonic clock.

        calls: made meanwhile. heard: the value of `heard_so_far` before it was found to go on; None if that is yet to be seen.
        """
        look_again_s = LOOK_AGAIN_S
        try:
            while True:
                if heard is None:
                    heard = self.worker.heard_so_far
                    if not self._own(lambda: self.journal.is_waiting(self.claim, wait)):
                        return True
                left = min(look_again_s, give_up - time.monotonic())
                if left <= 0:
                    return False
                look_again_s = min(2 * look_again_s, LOOK_AGAIN_MOST_S)
                call_in_s = None if calls is None else calls.call()
                self.worker.rest(heard, left if call_in_s is None else min(left, call_in_s))
                heard = None
        except (TaskRevoked, Interrupted):
            raise
        except BaseException:  # of a limit, or of the body's own code: it may go on, and needs a slot for that
            self._own(lambda: self.journal.end_wait(self.claim, wait))
            raise

    def sleep(self, seconds: float) -> None:
        due = self.noted("sleeps until", lambda: self.worker.now() + seconds)
        self._wait_outside(due, None)

    def wait_for_event(self, name: str, timeout_s: float | None) -> object:
        """What was sent with the next event of this name. Raises TimeoutError."""
        number = self._number_of(f"event {name}")
        if (waiting.GAVE_UP + name, number) in self._noted:
            raise _no_event(name, timeout_s)  # as in the attempt before, which took its way from there
        event = (name, self._received[name] + 1)
        value = self.journal.do(waiting.value_of, event)
        if value is None:
            due = None
            if timeout_s is not None:
                due = self._noted_as(waiting.UNTIL + name, number, lambda: self.worker.now() + timeout_s)
            self._wait_outside(due, event)
            value = self.journal.do(waiting.value_of, event)
        if value is None:
            self._own(lambda: self.journal.note(self.claim, waiting.GAVE_UP + name, number, "true"))
            raise _no_event(name, timeout_s)
        self._received[name] += 1
        return decode(value)

    def _wait_outside(self, due: float | None, event: tuple[str, int] | None) -> None:
        """Wait for a time or an event without a slot, and if it takes longer without a process."""
        wait = next(self._waits)
        if not self._own(lambda: self.journal.do(waiting.begin_wait, self.claim, wait, due, event)):
            return
        # Only if nothing else of the body goes on, in another of its threads say, may its process end; nor may that of one
        # that is not to begin again by itself.
        is_alone = threading.current_thread() is self._thread and threading.active_count() <= self._threads
        may_end = is_alone and self.claim.on_interrupt == "retry"
        linger_s = 0 if event is None and due is not None and due - self.worker.now() > LINGER_S else LINGER_S
        while may_end and not self._rest_until_over(wait, time.monotonic() + linger_s):
            self._own(lambda: self.worker.suspend(self.claim))
            linger_s = LINGER_S  # the wait is over, and only a slot is lacking
        if not may_end:
            self._rest_until_over(wait, math.inf)

    def _own(self, write: Callable):  # type: ignore[no-untyped-def]
        """Do what only the owner of the task may; a lost claim ends the body, and so does a disk that failed."""
        try:
            return write()
        except (ClaimLost, Superseded) as error:
            raise TaskRevoked(str(error)) from error
        except StorageFailure as error:
            raise Interrupted(str(error)) from error

    def noted(self, name: str, make: Callable[[], object]) -> Any:
        return self._noted_as(name, self._number_of(name), make)

    def _noted_as(self, name: str, number: int, make: Callable[[], object]) -> Any:
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

    def is_for_others_too(self, head: int, last: int) -> bool:
        return self.journal.do(once.is_for_others_too, head, last)

    def ended(self, tails: Iterable[int]) -> list[int]:
        return self.journal.ended(list(tails))

    def have_succeeded(self, tails: Iterable[int]) -> bool:
        return self.journal.have_succeeded(list(tails))

    def returned(self, head: int, last: int) -> list[tuple[int, dict[str, object], dict[str, object]]]:
        steps = self.journal.flow_steps(head, last)
        return [(head + i, merge_flow([(arguments, changes, None)]), as_flow(decode(result)))
                for i, (arguments, changes, result) in enumerate(steps) if result is not None]

    def children_of(self, num: int) -> list[tuple[int, int]]:
        return self.journal.children_of(num)

    def revoke(self, head: int) -> None:
        self.journal.revoke_chain(head)

    @property
    def log_file(self) -> str:
        return str(self.directory.log_file(self.claim.epoch, self.worker.number))

    @property
    def num(self) -> int:
        return self.claim.task

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @property
    def request(self) -> Request:
        claim = self.claim
        above = claim.task - 1 if claim.task > claim.chain else claim.parent
        return Request(self.uuid(claim.task), claim.retry, None if above is None else self.uuid(above), self.uuid(1),
                       f"mc@{socket.gethostname()}")

    @property
    def task_key(self) -> str:
        return f"{self.directory.firex_id}.{self.claim.task}"

    def uuid(self, num: int) -> str:
        return task_uuid(self.directory.firex_id, num)


def _changes(service: Service, bog: Bog, values: Mapping[str, object]) -> str:
    """JSON text of what flows on other than it came in."""
    changes = {name: as_argument(value) for name, value in values.items()
               if name not in bog.given or value is not bog.given[name]}
    return encode_named(changes, f"arguments of {service.short_name}: ")


def _digest_of_arguments(service: Service, bog: Bog) -> str:
    """The same for two tasks of a service with the same arguments, be they given or left to their defaults."""
    arguments = {**bog.defaults, **bog.accepted}
    try:
        text = canonical(sorted(arguments.items()), "argument")
    except NotStorable:  # a default that is no plain data; as in FireX it is the same if it looks the same
        text = repr(sorted(arguments.items()))
    return digest(f"{service.name}{text}{bog.extra!r}")


def _no_event(name: str, timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"no event '{name}' came in {timeout_s or 0:g} seconds")
