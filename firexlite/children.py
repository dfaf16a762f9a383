"""The children of a task: what its body asks for with `self.enqueue_child` and the methods akin to it."""
from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .gathering import Promises
from .promises import Engine, Injected, Place, Promise, WaitLoopCallBack, as_ended, raise_interruption, wait_for_all
from .results import pick
from .signatures import AUTO_QUEUE, Chain, InjectArgs, Signature, as_chain

logger = logging.getLogger("firexlite")


@dataclass
class TaskEnqueueSpec:
    """A chain to be enqueued by somebody else, with the options of `enqueue_child`; inject_abog: with that one's bog."""

    signature: Signature | Chain
    inject_abog: bool = True
    enqueue_opts: dict[str, Any] | None = None


class Parent:
    """What a task can do with its children. Part of `services.Task`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._children: dict[Place, Promise] = {}  # that are kept track of
        self._pending: dict[Place, Promise] = {}   # those of them that were not yet waited for

    # --- enqueuing -----------------------------------------------------------------------------------------------

    def enqueue_child(self, chain: Chain | Signature | InjectArgs, queue: str | None = None, priority: int | None = None,
                      soft_time_limit: float | None = None, add_to_enqueued_children: bool = True,
                      block: bool = False, raise_exception_on_failure: bool | None = None, forget: bool | None = None,
                      max_wait: float | None = None, callbacks: Iterable[WaitLoopCallBack] = (),
                      enqueue_once_key: str | None = None, time_limit: float | None = None, slots: int | None = None,
                      **_: object) -> Promise:
        """Enqueue a chain as a child of this task; returns its promise at once, or with ``block`` when it has ended.

        queue, priority, soft_time_limit, time_limit, slots: for every task of the chain, over what its service declares.
        max_wait: seconds to block at the most.
        callbacks: called while it blocks. forget: ignored, results are in the journal and stay there; so are keywords
        that FireX does not know either, as there.
        enqueue_once_key: whoever in this run asks with the same key gets the same chain, which is enqueued once. If it failed
        it is enqueued anew only for a task that is tried again.
        Raises InvalidChainArgsException if the chain lacks arguments, and with ``block`` what `wait_for_children` raises.
        """
        if raise_exception_on_failure is not None and not block:
            raise ValueError("raise_exception_on_failure makes no sense without block=True")
        if isinstance(chain, InjectArgs):
            return Injected(chain.kwargs)
        options = {"queue": None if queue == AUTO_QUEUE else queue or None, "priority": priority, "slots": slots,
                   "soft_time_limit": soft_time_limit, "time_limit": time_limit}
        given = {name: value for name, value in options.items() if value is not None}
        work = as_chain(chain).with_options(**given) if given else as_chain(chain)
        place = self._engine.enqueue(work, enqueue_once_key or None, is_awaited=block)
        promise = Promise(self._engine, place)
        if add_to_enqueued_children:
            self._children[place] = self._pending[place] = promise
        if block:
            self.wait_for_specific_children([promise], raise_exception_on_failure=raise_exception_on_failure is not False,
                                            max_wait=max_wait, callbacks=callbacks)
        return promise

    def enqueue_child_once(self, chain: Chain | Signature, enqueue_once_key: str, **options: Any) -> Promise:
        """As `enqueue_child` with ``enqueue_once_key``, as older FireX has it."""
        return self.enqueue_child(chain, enqueue_once_key=enqueue_once_key, **options)

    def enqueue_child_once_and_extract(self, chain: Chain | Signature, enqueue_once_key: str, **options: Any) -> Any:
        """As `enqueue_child_and_extract` with ``enqueue_once_key``, as older FireX has it."""
        return self.enqueue_child_and_extract(chain, enqueue_once_key=enqueue_once_key, **options)

    def enqueue_child_and_get_results(self, chain: Chain | Signature | InjectArgs, queue: str | None = AUTO_QUEUE,
                                      priority: int | None = None, soft_time_limit: float | None = None, *,
                                      return_keys: str | Sequence[str] = (), return_keys_only: bool = True,
                                      merge_children_results: bool = False, extract_from_parents: bool = True,
                                      raise_exception_on_failure: bool = True, block: bool = True, **others: Any) -> Any:
        """Enqueue a chain, wait for it, and get its values (see `results.get_results`).

        return_keys: names to get as a tuple, None for those that are not there; without, a dict of all.
        return_keys_only: what tasks returned, without what was supplied to them.
        merge_children_results: also what their children returned. extract_from_parents: of all tasks of the
        chain, not of the last alone. On failure without raising: the values of the tasks that succeeded.
        The other keywords are those of `enqueue_child`.
        """
        if not block:
            logger.warning("block=False is ignored: what a chain returns can only be had when it has ended")
        promise = self.enqueue_child(chain, queue, priority, soft_time_limit, block=True,
                                     raise_exception_on_failure=raise_exception_on_failure, **others)
        return pick(promise.results(return_keys_only, merge_children_results, extract_from_parents), return_keys)

    def enqueue_child_and_extract(self, chain: Chain | Signature | InjectArgs, queue: str | None = AUTO_QUEUE,
                                  priority: int | None = None, soft_time_limit: float | None = None, *,
                                  extract_from_children: bool = True, extract_task_returns_only: bool = False,
                                  **others: Any) -> Any:
        """As `enqueue_child_and_get_results`, but with what was supplied to the tasks, and what their children returned."""
        return self.enqueue_child_and_get_results(chain, queue, priority, soft_time_limit,
                                                  merge_children_results=extract_from_children,
                                                  return_keys_only=extract_task_returns_only, **others)

    def enqueue_many(self, chains: Sequence[Chain | Signature] | Mapping[Any, Chain | Signature],
                     max_parallel_chains: int = 15, block: bool = False, raise_on_failure: bool = False,
                     forget: bool | None = None, max_wait: float | None = None,
                     callbacks: Iterable[WaitLoopCallBack] = ()) -> Promises[Any]:
        """Enqueue chains, the next one as soon as fewer than ``max_parallel_chains`` are under way.

        chains: a sequence, or a mapping whose keys the promises then have. block, raise_on_failure: also wait for
        all, until ``max_wait`` seconds after the call. Raises as `wait_for_children`, but not for failures
        unless told so by ``raise_on_failure``.
        """
        if max_parallel_chains < 1:
            raise ValueError(f"max_parallel_chains must be at least 1, not {max_parallel_chains}")
        began = time.monotonic()
        keyed = dict(chains) if isinstance(chains, Mapping) else dict(enumerate(chains))
        # After a crash first what is recorded, so that the order in which the body has the chains does not matter.
        promises = {key: self.enqueue_child(chain) for key, chain in keyed.items() if self._is_recorded(chain)}
        under_way = {promise._last: promise for promise in promises.values() if not isinstance(promise, Injected)}
        for key, chain in keyed.items():
            if key in promises:
                continue
            while len(under_way) >= max_parallel_chains:
                self._engine.wait(under_way, True, None, callbacks)
                for last in self._engine.ended(under_way):
                    del under_way[last]
            promise = promises[key] = self.enqueue_child(chain)
            if not isinstance(promise, Injected):
                under_way[promise._last] = promise
        found = Promises({key: promises[key] for key in keyed})
        if block or raise_on_failure:
            left = max(round(began + max_wait - time.monotonic(), 3), 0.001) if max_wait else None
            self.wait_for_specific_children(found, raise_exception_on_failure=raise_on_failure, max_wait=left,
                                            callbacks=callbacks)
        return found

    def _is_recorded(self, chain: Chain | Signature | InjectArgs) -> bool:
        return isinstance(chain, (Chain, Signature)) and self._engine.is_recorded(as_chain(chain))

    def enqueue_in_parallel(self, chains: Sequence[Chain | Signature], max_parallel_chains: int = 15,
                            wait_for_completion: bool = True, raise_exception_on_failure: bool = False,
                            forget: bool | None = None, max_wait: float | None = None,
                            callbacks: Iterable[WaitLoopCallBack] = (), **_: object) -> list[Promise]:
        """As `enqueue_many`, with the promises as a list, in the order of the chains; waits unless told otherwise."""
        return list(self.enqueue_many(chains, max_parallel_chains, wait_for_completion, raise_exception_on_failure,
                                      max_wait=max_wait, callbacks=callbacks))

    # --- waiting -------------------------------------------------------------------------------------------------

    @property
    def enqueued_children(self) -> list[Promise]:
        """The children of this task, but for those enqueued with ``add_to_enqueued_children=False``."""
        return list(self._children.values())

    @property
    def pending_enqueued_children(self) -> list[Promise]:
        """The children not yet waited for."""
        return list(self._pending.values())

    @property
    def nonready_enqueued_children(self) -> list[Promise]:
        """The children that have not ended."""
        return [promise for promise in self._children.values() if not promise.ready()]

    def wait_for_children(self, pending_only: bool = True, forget: bool | None = None,
                          raise_exception_on_failure: bool = True, max_wait: float | None = None,
                          callbacks: Iterable[WaitLoopCallBack] = (), **_: object) -> None:
        """Wait for all children not yet waited for, with ``pending_only=False`` for all; then raise if some failed.

        callbacks: called meanwhile. ``forget``, and what neither we nor FireX know, is ignored.
        Raises ChainInterruptedException for one failed child, MultipleFailuresException for more,
        ChainRevokedException if one was revoked (also without ``raise_exception_on_failure``, as in FireX), and
        WaitOnChainTimeoutError after ``max_wait`` seconds (0 and None: no limit).
        """
        waited_for = self.pending_enqueued_children if pending_only else self.enqueued_children
        self.wait_for_specific_children(waited_for, forget, raise_exception_on_failure, max_wait, callbacks)

    def wait_for_specific_children(self, child_results: Promise | Iterable[Promise], forget: bool | None = None,
                                   raise_exception_on_failure: bool = True, max_wait: float | None = None,
                                   callbacks: Iterable[WaitLoopCallBack] = (), **_: object) -> None:
        """Wait for the given children, as `wait_for_children` does for all."""
        promises = [child_results] if isinstance(child_results, Promise) else list(child_results)
        for promise in promises:
            self._was_waited_for(promise)
        wait_for_all(promises, raise_exception_on_failure, max_wait, callbacks)

    def wait_for_any_children(self, max_wait: float | None = None, poll_max_wait: float | None = None,
                              callbacks: Iterable[WaitLoopCallBack] = (), pending_only: bool = True,
                              raise_exception_on_failure: bool = True, **_: object) -> Iterator[Promise]:
        """The promises of the children not yet waited for, each as soon as it has ended; a generator.

        When the task runs again after a crash they come in the same order: those that had ended as they did, then the
        others. After a resume that gave failed children another try, those come later than before.
        Raises as `wait_for_children`, for a child when it is its turn; ``max_wait`` holds for all of them together.
        poll_max_wait: nothing is polled here, so it is ignored.
        """
        children = self.pending_enqueued_children if pending_only else self.enqueued_children
        for promise in as_ended(children, max_wait, callbacks):
            self._was_waited_for(promise)
            raise_interruption([promise], raise_exception_on_failure)
            yield promise

    def _was_waited_for(self, promise: Promise) -> None:
        if isinstance(promise, Injected) or self._pending.pop(promise.place, None) is not None:
            return
        # One of the task by another way, as `promise.chain` gives them.
        for place in [place for place, other in self._pending.items() if other == promise]:
            del self._pending[place]

    def forget_specific_children_results(self, child_results: Iterable[Promise]) -> None:
        """Have these promises forget their results, as FireX frees the broker's memory; the journal keeps them for a resume."""
        for promise in child_results:
            promise.forget()

    # --- revoking ------------------------------------------------------------------------------------------------

    def revoke_child(self, result: Promise, **_: object) -> list[Promise]:
        """Revoke what of a child's chain has not ended, durably and at once; the promises of what was revoked.

        It counts as waited for; who waits for it all the same is told by a ChainRevokedException.
        """
        open_before = [promise for promise in result.chain if not promise.ready()]
        result.revoke()
        self._was_waited_for(result)
        return [promise for promise in open_before if promise.own_state == "revoked"]

    def revoke_nonready_children(self) -> None:
        """Revoke all children that have not ended."""
        for promise in self.nonready_enqueued_children:
            self.revoke_child(promise)
