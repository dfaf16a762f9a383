"""What a service's body has in its hands: `self`, the bound task, and the promises of the children it enqueued."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .binding import Bog
from .errors import (
    ChainInterruptedException,
    ChainRevokedException,
    ChainRevokedPreRunException,
    MultipleFailuresException,
    WaitOnChainTimeoutError,
)
from .results import DYNAMIC_RETURN, pick
from .showing import Row, Showcase
from .signatures import Chain, InjectArgs, Signature, as_chain

if TYPE_CHECKING:
    from .application import Service
    from .uid import Uid

PENDING, STARTED, SUCCESS, FAILURE, REVOKED = "PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED"  # FireX's (Celery's) words
FIREX_OPTIONS = ("callbacks", "enqueue_once_key", "forget", "priority", "queue", "soft_time_limit")  # of enqueue_child
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})


@dataclass(frozen=True)
class MemberView:
    """How one task of an enqueued chain stands. state: of `states`. began: it was claimed at least once."""

    num: int
    uuid: str
    service: str
    state: str
    began: bool
    error: BaseException | None


class Engine(Protocol):
    """What a body's `self` and promises need of whoever runs the task."""

    def enqueue(self, chain: Chain) -> tuple[int, int]:
        """Journal a chain as a child; its first and last task."""

    def wait(self, tails: Iterable[int], any_is_enough: bool, max_wait_s: float | None) -> bool:
        """Wait for the ends of chains; False if time ran out."""

    def members(self, head: int, last: int) -> list[MemberView]:
        """How the tasks of a chain stand."""

    def flow_after(self, head: int, upto: int) -> dict[str, object]:
        """All that flows from a finished task of a chain."""

    def returned(self, head: int, last: int) -> list[tuple[int, dict[str, object], dict[str, object]]]:
        """``(task, supplied, returned)`` of the tasks of a chain that succeeded, in order."""

    def children_of(self, num: int) -> list[tuple[int, int]]:
        """The chains that a task enqueued."""

    def revoke(self, head: int) -> None:
        """Revoke what of a chain has not ended."""

    def uuid(self, num: int) -> str:
        """The id of a task."""

    def show(self, rows: list[Row]) -> None:
        """Journal what the task shows of itself."""

    def noted(self, name: str, make: Callable[[], object]) -> Any:
        """A value that replays get again."""

    @property
    def log_file(self) -> str:
        """The path of the file that has what the body prints."""

    @property
    def num(self) -> int:
        """The number of the task in its run."""

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""

    @property
    def task_key(self) -> str:
        """A name that only this task has, in all runs."""


class Promise:
    """The future end of an enqueued chain, with FireX's values and words; it stands for the chain's last task."""

    def __init__(self, engine: Engine, head: int, last: int) -> None:
        self._engine, self._head, self._last = engine, head, last
        self._final: list[MemberView] | None = None

    @property
    def id(self) -> str:
        return self._engine.uuid(self._last)

    @property
    def parent(self) -> Promise | None:
        """The promise of the task before this one in its chain."""
        return Promise(self._engine, self._head, self._last - 1) if self._last > self._head else None

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
    def result(self) -> dict[str, object] | BaseException | None:
        """On success all that flows from the chain, by name; on failure the exception; before, None."""
        state = self.state
        if state == SUCCESS:
            return self._engine.flow_after(self._head, self._last)
        if state == FAILURE:
            return self._culprit().error  # type: ignore[union-attr]
        return self.interruption() if state == REVOKED else None

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task, as text."""
        culprit = self._culprit()
        return getattr(culprit.error, "__firexlite_traceback__", None) if culprit and culprit.error else None

    def successful(self) -> bool:
        return self.state == SUCCESS

    def failed(self) -> bool:
        return self.state == FAILURE

    def ready(self) -> bool:
        return self.state in READY_STATES

    def revoke(self) -> None:
        """Revoke what of the chain has not ended."""
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

    def results(self, keys_only: bool, children: bool, parents: bool) -> dict[str, object]:
        """Values by name, from the chain's first task to its last, later ones over earlier ones (FireX's get_results)."""
        merged: dict[str, object] = {}
        for num, supplied, returned in self._engine.returned(self._head, self._last):
            if not parents and num != self._last:
                continue
            if not keys_only:
                merged.update(supplied)
            if children:
                for head, last in self._engine.children_of(num):
                    merged.update(Promise(self._engine, head, last).results(keys_only, children, parents=True))
            merged.update(returned)
        return merged

    def __repr__(self) -> str:
        return f"<Promise {self.id} {self.state}>"


class Injected(Promise):
    """The promise of InjectArgs enqueued alone: no task, and the values at once."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    id, state, parent, traceback = "", SUCCESS, None, None

    @property
    def result(self) -> dict[str, object]:
        return dict(self._values)

    def interruption(self) -> None:
        return None

    def revoke(self) -> None:
        """There is nothing to revoke."""

    def results(self, keys_only: bool, children: bool, parents: bool) -> dict[str, object]:
        return {} if keys_only else dict(self._values)


class Task:
    """The `self` of a service with `bind=True`: one attempt at one task. FireX calls the class FireXTask."""

    DYNAMIC_RETURN = DYNAMIC_RETURN

    def __init__(self, service: Service, engine: Engine, bog: Bog) -> None:
        self._service, self._engine, self._bog = service, engine, bog
        self._key: str | None = None
        self._pending: dict[int, Promise] = {}  # enqueued and not yet waited for, by last task
        self._showcase = Showcase(service.flame, self, engine.show)

    @property
    def name(self) -> str:
        return self._service.name

    @property
    def short_name(self) -> str:
        return self._service.short_name

    @property
    def abog(self) -> dict[str, Any]:
        """A copy of all values within the task's reach, its own defaults included; changing it changes nothing else."""
        return self._bog.abog

    @property
    def bound_args(self) -> dict[str, Any]:
        """The arguments that were supplied for this service's parameters."""
        return self._bog.bound_args

    @property
    def default_bound_args(self) -> dict[str, Any]:
        """The parameters left to their defaults, with these."""
        return dict(self._bog.defaults)

    @property
    def orig(self) -> Service:
        """The service that this one overrides. Raises AttributeError if it overrides none."""
        if self._service.orig is None:
            raise AttributeError(f"{self.name} overrides no other service, so it has no orig")
        return self._service.orig

    @property
    def uuid(self) -> str:
        """The id of this task in FireX's interfaces; the same in all attempts."""
        return self._engine.uuid(self._engine.num)

    @property
    def uid(self) -> Uid | None:
        """The FireX ID of the run, if the service takes `uid`; else None, as in FireX. `self.abog['uid']` always has it."""
        return self.bound_args.get("uid")

    @property
    def attempt(self) -> int:
        """Which attempt at this task this is, from 1; more if its worker or the whole run was killed."""
        return self._engine.attempt

    @property
    def task_key(self) -> str:
        """A name that no other task of any run has, the same in all attempts and resumes: an idempotency key for what
        the body does outside. When it is given out, the task is durable, so not even a power cut makes it another's."""
        if self._key is None:
            self._key = self._engine.noted("key", lambda: self._engine.task_key)
        return self._key

    # --- where it logs -------------------------------------------------------------------------------------

    @property
    def task_logfile(self) -> str:
        """The file that has what this task prints and logs, among what others did whom this worker ran."""
        return self._engine.log_file

    worker_log_file = task_log_url = worker_log_url = task_logfile

    @property
    def logs_dir_for_worker(self) -> str:
        """The folder of the logs of this run."""
        return os.path.dirname(self.task_logfile)

    task_logging_dirpath = file_logging_dirpath = logs_dir_for_worker

    # --- what the report shows -----------------------------------------------------------------------------

    def send_flame(self, data: Mapping[str, object]) -> None:
        """Show values by name, as the service's `@flame` declares; done for arguments and results without being asked."""
        self._showcase.show(data)

    def send_firex_html(self, **texts: object) -> None:
        """Show HTML at once, each text under its name; one of the same name takes its place."""
        self._showcase.show_html(texts)

    send_flame_html = send_firex_html

    def send_display_collapse(self, task_uuid: str | None = None) -> None:
        """Have this task, or the one of another uuid, drawn collapsed."""
        self._showcase.collapse(task_uuid or self.uuid)

    # --- children ------------------------------------------------------------------------------------------

    def enqueue_child(self, chain: Chain | Signature | InjectArgs, *, add_to_enqueued_children: bool = True,
                      block: bool = False, raise_exception_on_failure: bool | None = None,
                      max_wait: float | None = None, **others: object) -> Promise:
        """Enqueue a chain as a child of this task; returns its promise at once, or with ``block`` when it has ended.

        max_wait: seconds to block at the most. Keywords that FireX does not know either are ignored, as there.
        Raises TypeError for an option of FireX that firexlite does not have, InvalidChainArgsException if the chain
        lacks arguments, and with ``block`` what `wait_for_children` raises.
        """
        if missing := sorted(name for name in FIREX_OPTIONS if others.get(name)):
            raise TypeError(f"enqueue_child has no {', '.join(missing)}, and would change what the run does by leaving it out")
        if raise_exception_on_failure is not None and not block:
            raise ValueError("raise_exception_on_failure makes no sense without block=True")
        if isinstance(chain, InjectArgs):
            return Injected(chain.kwargs)
        head, last = self._engine.enqueue(as_chain(chain))
        promise = Promise(self._engine, head, last)
        if add_to_enqueued_children:
            self._pending[last] = promise
        if block:
            self.wait_for_specific_children([promise], max_wait=max_wait,
                                            raise_exception_on_failure=raise_exception_on_failure is not False)
        return promise

    def enqueue_child_and_get_results(self, chain: Chain | Signature | InjectArgs, *,
                                      return_keys: str | Sequence[str] = (), return_keys_only: bool = True,
                                      merge_children_results: bool = False, extract_from_parents: bool = True,
                                      raise_exception_on_failure: bool = True, max_wait: float | None = None,
                                      **others: object) -> Any:
        """Enqueue a chain, wait for it, and get its values.

        return_keys: names to get as a tuple, None for those that are not there; without, a dict of all.
        return_keys_only: what tasks returned, without what was supplied to them.
        merge_children_results: also what their children returned. extract_from_parents: of all tasks of the
        chain, not of the last alone. On failure without raising: the values of the tasks that succeeded.
        """
        promise = self.enqueue_child(chain, block=True, raise_exception_on_failure=raise_exception_on_failure,
                                     max_wait=max_wait, **others)  # type: ignore[arg-type]
        return pick(promise.results(return_keys_only, merge_children_results, extract_from_parents), return_keys)

    @property
    def pending_enqueued_children(self) -> list[Promise]:
        """The children not yet waited for."""
        return list(self._pending.values())

    def wait_for_children(self, raise_exception_on_failure: bool = True, max_wait: float | None = None,
                          **_: object) -> None:
        """Wait for all children not yet waited for; then raise if some failed.

        Raises ChainInterruptedException for one failed child, MultipleFailuresException for more,
        ChainRevokedException if one was revoked (also without ``raise_exception_on_failure``, as in FireX), and
        WaitOnChainTimeoutError after ``max_wait`` seconds (0 and None: no limit).
        """
        self.wait_for_specific_children(self.pending_enqueued_children, raise_exception_on_failure, max_wait)

    def wait_for_specific_children(self, child_results: Iterable[Promise], raise_exception_on_failure: bool = True,
                                   max_wait: float | None = None, **_: object) -> None:
        """Wait for the given children, as `wait_for_children` does for all."""
        promises = [p for p in child_results if not isinstance(p, Injected)]
        for promise in promises:
            self._pending.pop(promise._last, None)
        if not promises:
            return
        if not self._engine.wait([p._last for p in promises], any_is_enough=False, max_wait_s=max_wait or None):
            raise WaitOnChainTimeoutError(f"{', '.join(p.id for p in promises)} was not ready in {max_wait} seconds")
        raise_interruption([found for p in promises if (found := p.interruption())], raise_exception_on_failure)


def raise_interruption(interruptions: Sequence[ChainInterruptedException | ChainRevokedException],
                       failures_too: bool) -> None:
    """Raise what a parent is told of children that did not succeed; a revocation always, failures if asked for."""
    for found in interruptions:
        if isinstance(found, ChainRevokedException):
            raise found
    if failures_too and len(interruptions) > 1:
        raise MultipleFailuresException(tuple(f.task_id or "" for f in interruptions), tuple(interruptions))
    if failures_too and interruptions:
        raise interruptions[0]
