"""Promises: the future ends of the chains that a task enqueued, and what it takes to wait for them.

A promise of firexlite has the words and the values of FireX's (which are Celery's): `state`, `result`, `ready()`.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from .claims import Enqueued
from .errors import (
    ChainInterruptedException,
    ChainRevokedException,
    ChainRevokedPreRunException,
    MultipleFailuresException,
    WaitOnChainTimeoutError,
)
from .results import RETURN_KEYS_KEY, pick
from .signatures import Chain

if TYPE_CHECKING:
    from .showing import Row

PENDING, STARTED, SUCCESS, FAILURE, REVOKED = "PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED"  # FireX's (Celery's) words
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
LEAST_S = 0.05  # between two calls of a function that asks to be called all the time
# Celery's words, by which people know what they did wrong.
NEVER_GET = ("Never call result.get() within a task!\nSee https://docs.celeryq.dev/en/latest/userguide/tasks.html"
             "#avoid-launching-synchronous-subtasks\n")


class WaitLoopCallBack(NamedTuple):
    """A function to call now and then while a task waits, with seconds between two calls and its keywords.

    What it is called for differs from one attempt to the next, so it is no place to enqueue children.
    """

    func: Callable[..., object]
    frequency: float
    kwargs: Mapping[str, Any] = {}


class CallBacks:
    """When each of some callbacks is due, during one wait."""

    def __init__(self, callbacks: Iterable[WaitLoopCallBack]) -> None:
        began = time.monotonic()
        self._due = [(began + max(each.frequency, LEAST_S), each) for each in callbacks]

    def call(self) -> float | None:
        """Call those that are due; seconds until the next one is, None if there are none. What they raise is raised."""
        for i, (due, each) in enumerate(self._due):
            if time.monotonic() >= due:
                each.func(**each.kwargs)
                self._due[i] = (time.monotonic() + max(each.frequency, LEAST_S), each)
        return max(0.0, min(due for due, _ in self._due) - time.monotonic()) if self._due else None


@dataclass(frozen=True)
class MemberView:
    """How one task of an enqueued chain stands. state: of `states`. began: it was claimed at least once."""

    num: int
    uuid: str
    service: str
    state: str
    began: bool
    error: BaseException | None


@dataclass(frozen=True)
class Request:
    """What FireX's `self.request` tells of the task at hand.

    retries: how often it failed and was tried again. parent_id: of the task before it in its chain, else of the task
    that enqueued it; None for the first task of the run, whose id is ``root_id``.
    """

    id: str
    retries: int
    parent_id: str | None
    root_id: str
    hostname: str
    called_directly: bool = False


Place: TypeAlias = "tuple[int, int] | Enqueued"  # the first and the last task of a chain; or one that has yet to be numbered


def known(place: Place) -> tuple[int, int]:
    """The first and the last task of a chain."""
    return place if isinstance(place, tuple) else place.known()


def last_of(tail: int | Enqueued) -> int:
    """The last task of a chain that is waited for."""
    return tail if isinstance(tail, int) else tail.known()[1]


class Engine(Protocol):
    """What a body's `self` and promises need of whoever runs the task."""

    def enqueue(self, chain: Chain, key: str | None = None, is_awaited: bool = False) -> Place:
        """Enqueue a chain as a child. key: under which it is enqueued once in the run. is_awaited: at once."""

    def sleep(self, seconds: float) -> None:
        """Wait for a time, without a slot."""

    def wait_for_event(self, name: str, timeout_s: float | None) -> object:
        """Wait for an event, without a slot; what was sent with it. Raises TimeoutError."""

    def show(self, rows: list[Row]) -> None:
        """Journal what the task shows of itself in the report."""

    @property
    def log_file(self) -> str:
        """The path of the file that has what the body prints."""

    @property
    def num(self) -> int:
        """The number of the task in its run."""

    def limits(self) -> tuple[float | None, float | None]:
        """The soft and the hard limit of the attempt, in seconds; None: it has none."""

    def is_recorded(self, chain: Chain) -> bool:
        """Whether an earlier attempt enqueued this chain and the present one has not asked for it yet."""

    def wait(self, tails: Iterable[int | Enqueued], any_is_enough: bool, max_wait_s: float | None,
             callbacks: Iterable[WaitLoopCallBack] = ()) -> bool:
        """Wait for the ends of chains; False if time ran out."""

    def ended(self, tails: Iterable[int]) -> list[int]:
        """Those of the last tasks of chains that have ended, in the order in which they did."""

    def have_succeeded(self, tails: Iterable[int]) -> bool:
        """Whether all chains with these last tasks have."""

    def members(self, head: int, last: int) -> list[MemberView]:
        """How the tasks of a chain stand."""

    def is_for_others_too(self, head: int, last: int) -> bool:
        """Whether a chain was enqueued once for all who ask, or a task of it computes what others take from the cache."""

    def returned(self, head: int, last: int) -> list[tuple[int, dict[str, object], dict[str, object]]]:
        """``(task, supplied, returned)`` of the tasks of a chain that succeeded, in order."""

    def children_of(self, num: int) -> list[tuple[int, int]]:
        """The chains that a task enqueued."""

    def revoke(self, head: int) -> None:
        """Revoke what of a chain has not ended."""

    def uuid(self, num: int) -> str:
        """The id of a task."""

    def noted(self, name: str, make: Callable[[], object]) -> Any:
        """A value that replays get again."""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""

    @property
    def started(self) -> float:
        """When this attempt began, in seconds since the epoch."""

    @property
    def request(self) -> Request:
        """What the task is told of itself."""

    @property
    def task_key(self) -> str:
        """A name that only this task has, in all runs."""


class Promise:
    """The future end of an enqueued chain; it stands for the chain's last task. Promises of one task are equal."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine, self.place = engine, place
        self._final: list[MemberView] | None = None
        self._is_forgotten = False

    @property
    def _head(self) -> int:
        return known(self.place)[0]

    @property
    def _last(self) -> int:
        return known(self.place)[1]

    @property
    def _tail(self) -> int | Enqueued:
        return self.place[1] if isinstance(self.place, tuple) else self.place

    def forget(self) -> None:
        """Have `result` be None from now on, unless others may ask for it too. The journal keeps it all the same."""
        self._is_forgotten = not self._engine.is_for_others_too(self._head, self._last)

    @property
    def id(self) -> str:
        """The uuid of the task."""
        return self._engine.uuid(self._last)

    @property
    def name(self) -> str:
        """The long name of the service."""
        return self._members()[-1].service

    @property
    def parent(self) -> Promise | None:
        """The promise of the task before this one in its chain."""
        return Promise(self._engine, (self._head, self._last - 1)) if self._last > self._head else None

    @property
    def children(self) -> list[Promise]:
        """The promises of the chains that the task enqueued so far."""
        return [Promise(self._engine, place) for place in self._engine.children_of(self._last)]

    @property
    def chain(self) -> list[Promise]:
        """The promises of the tasks of the chain, from its first to this one."""
        return [Promise(self._engine, (self._head, num)) for num in range(self._head, self._last + 1)]

    def _members(self) -> list[MemberView]:
        if self._final is not None:
            return self._final
        members = self._engine.members(self._head, self._last)
        if members[-1].state in ("succeeded", "failed", "skipped", "revoked"):
            self._final = members
        return members

    def _culprit(self) -> MemberView | None:
        """The task that kept the chain from succeeding."""
        return next((m for m in self._members() if m.state in ("failed", "revoked")), None)

    @property
    def state(self) -> str:
        """PENDING, STARTED, SUCCESS, FAILURE or REVOKED; of a task never run, that of the one that kept it from running."""
        if culprit := self._culprit():
            return FAILURE if culprit.state == "failed" else REVOKED
        last = self._members()[-1].state
        return {"succeeded": SUCCESS, "running": STARTED, "blocked": STARTED}.get(last, PENDING)

    @property
    def status(self) -> str:
        """Another word for `state`."""
        return self.state

    @property
    def own_state(self) -> str:
        """The state of the very task, of `states`: `skipped` for one that another one of its chain kept from running."""
        return self._members()[-1].state

    @property
    def result(self) -> Any:
        """On success all that flows from the chain, by name; on failure the exception; before, None.

        Under `RETURN_KEYS_KEY` stand the names that the last task returned, if it returned something. After `forget` None.
        """
        state = PENDING if self._is_forgotten else self.state
        if state == SUCCESS:
            flow: dict[str, object] = {}
            for _, supplied, returned in self._engine.returned(self._head, self._last):
                flow = {**flow, **supplied, **returned}
            return {**flow, RETURN_KEYS_KEY: tuple(returned)} if returned else flow
        if state == FAILURE:
            return self._culprit().error  # type: ignore[union-attr]
        return self.interruption() if state == REVOKED else None

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task, as text."""
        culprit = self._culprit()
        return getattr(culprit.error, "__firexlite_traceback__", None) if culprit and culprit.error else None

    def successful(self) -> bool:
        """Whether the chain has succeeded."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Whether the chain has failed; one that was revoked has not."""
        return self.state == FAILURE

    def ready(self) -> bool:
        """Whether the chain has ended, however it did."""
        return self.state in READY_STATES

    def get(self, *_: object, **__: object) -> Any:
        """Always raises RuntimeError, as in FireX: a task waits with `wait_for_children`, and then has `result`."""
        raise RuntimeError(NEVER_GET)

    def revoke(self, **_: object) -> None:
        """Revoke what of the chain has not ended; keywords, of which Celery has some, are ignored."""
        self._engine.revoke(self._head)

    def interruption(self) -> ChainInterruptedException | ChainRevokedException | None:
        """What a waiting parent is told if the chain did not succeed."""
        culprit = self._culprit()
        if culprit is None:
            return None
        if culprit.state == "failed":
            return ChainInterruptedException(culprit.uuid, culprit.service, culprit.error)
        kind = ChainRevokedException if culprit.began else ChainRevokedPreRunException
        return kind(culprit.uuid, culprit.service)

    def results(self, keys_only: bool, children: bool, parents: bool, after: str | None = None) -> dict[str, object]:
        """Values by name, from the chain's first task to its last, later ones over earlier ones (see `results.get_results`).

        after: the id of a task of the chain; only those after it count.
        """
        merged: dict[str, object] = {}
        flow: dict[str, object] = {}
        for num, supplied, returned in self._engine.returned(self._head, self._last):
            inputs = {**flow, **supplied}
            flow = {**inputs, **returned}
            if not parents and num != self._last:
                continue
            if not keys_only:
                merged.update(inputs)
                if self._last > self._head:
                    merged["chain_depth"] = num - self._head  # an argument in FireX; here only who asks for arguments sees it
            if children:
                for place in self._engine.children_of(num):
                    merged.update(Promise(self._engine, place).results(keys_only, children, parents=True))
            merged.update(returned)
            if after is not None and after == self._engine.uuid(num):
                merged = {}
        merged.pop(RETURN_KEYS_KEY, None)
        return merged

    def get_results(self, raise_on_failure: bool = True) -> dict[str, object]:
        """Wait for the chain; then what its tasks returned, by name. Raises as `wait_for_all`."""
        wait_for_all([self], raise_on_failure)
        return self.results(keys_only=True, children=False, parents=True)

    def get_many_results(self, return_keys: Sequence[str], raise_on_failure: bool = True) -> tuple:
        """As `get_results`, the values of some names as a tuple, None for those that are not there."""
        return pick(self.get_results(raise_on_failure), tuple(return_keys))  # type: ignore[return-value]

    def get_result_key(self, return_key: str, raise_on_failure: bool = True) -> Any:
        """As `get_results`, the value of one name, None if it is not there."""
        return self.get_results(raise_on_failure).get(return_key)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Promise, str)):
            return NotImplemented
        return self.id == (other.id if isinstance(other, Promise) else other)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<Promise {self.id} {self.state}>"


class Injected(Promise):
    """The promise of InjectArgs enqueued alone: no task, and the values at once. It equals only itself."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    id, name, state, own_state, parent, traceback = "", "InjectArgs", SUCCESS, "succeeded", None, None
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def children(self) -> list[Promise]:
        return []

    @property
    def chain(self) -> list[Promise]:
        return [self]

    @property
    def result(self) -> dict[str, object]:
        return dict(self._values)

    def interruption(self) -> None:
        return None

    def forget(self) -> None:
        """There is nothing to forget."""

    def revoke(self, **_: object) -> None:
        """There is nothing to revoke."""

    def results(self, keys_only: bool, children: bool, parents: bool, after: str | None = None) -> dict[str, object]:
        return {} if keys_only else dict(self._values)


# --- waiting ---------------------------------------------------------------------------------------------------------

def wait_for_all(promises: Iterable[Promise], raise_exception_on_failure: bool = True, max_wait: float | None = None,
                 callbacks: Iterable[WaitLoopCallBack] = ()) -> None:
    """Wait until all chains have ended; then raise if some failed.

    max_wait: seconds; 0 and None: no limit. callbacks: called meanwhile.
    Raises ChainInterruptedException for one failed chain, MultipleFailuresException for more, ChainRevokedException if
    one was revoked (also without ``raise_exception_on_failure``, as in FireX), and WaitOnChainTimeoutError.
    """
    real = [p for p in promises if not isinstance(p, Injected)]
    if not real:
        return
    engine = real[0]._engine
    if not engine.wait([p._tail for p in real], False, max_wait or None, callbacks):
        late = next((p for p in real if not p.ready()), real[0])
        raise WaitOnChainTimeoutError(f"Result ID {logging_name(late)} was not ready in {max_wait} seconds")
    if not engine.have_succeeded([p._last for p in real]):
        raise_interruption(real, raise_exception_on_failure)


def as_ended(promises: Iterable[Promise], max_wait: float | None = None,
             callbacks: Iterable[WaitLoopCallBack] = ()) -> Iterator[Promise]:
    """The promises of chains, each as soon as its chain has ended, however it did.

    A task that runs again after a crash gets them in the same order: those that have ended come first, as they ended.
    max_wait: seconds for all of them together; 0 and None: no limit. Raises WaitOnChainTimeoutError.
    """
    waiting: dict[int, Promise] = {}
    for promise in promises:
        if isinstance(promise, Injected):
            yield promise
        else:
            waiting[promise._last] = promise
    give_up = time.monotonic() + max_wait if max_wait else None
    ended: list[int] = []
    while waiting:
        engine = next(iter(waiting.values()))._engine
        # With a limit once for each promise, whatever has ended: a replay knows by its number which wait ran out of time.
        if give_up is not None or not ended:
            left = None if give_up is None else max(give_up - time.monotonic(), 0)
            if not engine.wait(waiting, True, left, callbacks):
                late = ", ".join(map(logging_name, waiting.values()))
                raise WaitOnChainTimeoutError(f"Results {late} were still not ready after {max_wait} seconds")
            ended = engine.ended(waiting)
        yield waiting.pop(ended.pop(0))


def logging_name(promise: Promise) -> str:
    """The service and the id of a promise, as FireX's messages show them."""
    return f"{promise.name}[{promise.id}]"


def raise_interruption(promises: Iterable[Promise], failures_too: bool = True) -> None:
    """Raise what a parent is told of chains that did not succeed; a revocation always, failures if asked for."""
    interruptions = [found for promise in promises if (found := promise.interruption())]
    for found in interruptions:
        if isinstance(found, ChainRevokedException):
            raise found
    if failures_too and len(interruptions) > 1:
        raise MultipleFailuresException(tuple(f.task_id or "" for f in interruptions), tuple(interruptions))
    if failures_too and interruptions:
        raise interruptions[0]
