"""Many promises at once, and FireX's functions for them: to wait for some, and to find what did not succeed."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .errors import ChainInterruptedException
from .promises import Promise, WaitLoopCallBack, as_ended, logging_name, raise_interruption, wait_for_all

K = TypeVar("K")


@dataclass(frozen=True)
class Promises(Generic[K]):
    """The promises that `enqueue_many` gives, by the keys or the places of their chains. FireX: ManyFxAsyncResults."""

    by_key: Mapping[K, Promise]

    def __iter__(self) -> Iterator[Promise]:
        """The promises, not the keys."""
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)

    def __getitem__(self, key: K) -> Promise:
        return self.by_key[key]

    def as_dict(self) -> dict[K, Promise]:
        return dict(self.by_key)

    def wait_for_all(self, max_wait: float | None = None, callbacks: Iterable[WaitLoopCallBack] = (), log_msg: bool = True,
                     raise_on_failure: bool = True) -> Promises[K]:
        """Wait until all have ended; returns itself. Raises as `promises.wait_for_all`."""
        wait_for_all(self, raise_on_failure, max_wait, callbacks)
        return self

    def wait_for_any(self, max_wait: float | None = None, callbacks: Iterable[WaitLoopCallBack] = (),
                     raise_on_failure: bool = True) -> Promise:
        """The first one that ends. Raises StopIteration if there are none."""
        return next(self.get_as_completed(max_wait, callbacks=callbacks, raise_on_failure=raise_on_failure))

    def get_as_completed(self, max_wait: float | None = None, poll_max_wait: float | None = None,
                         callbacks: Iterable[WaitLoopCallBack] = (), raise_on_failure: bool = True) -> Iterator[Promise]:
        """The promises in the order in which they end."""
        return wait_for_any_results(self, max_wait, callbacks=callbacks, raise_exception_on_failure=raise_on_failure)

    def get_keyed_as_completed(self, max_wait: float | None = None, poll_max_wait: float | None = None,
                               callbacks: Iterable[WaitLoopCallBack] = (),
                               raise_on_failure: bool = True) -> Iterator[tuple[K, Promise]]:
        """``(key, promise)`` in the order in which they end."""
        keys = {id(promise): key for key, promise in self.by_key.items()}
        for promise in self.get_as_completed(max_wait, callbacks=callbacks, raise_on_failure=raise_on_failure):
            yield keys[id(promise)], promise

    def revoke_non_ready(self, **_: object) -> Promises[int]:
        """Revoke what has not ended; returns the promises of what was revoked."""
        revoked = [promise for promise in self if not promise.ready()]
        for promise in revoked:
            promise.revoke()
        return Promises(dict(enumerate(revoked)))


def wait_on_async_results(results: Promise | Iterable[Promise] | None, max_wait: float | None = None,
                          callbacks: Iterable[WaitLoopCallBack] = (), log_msg: bool = True,
                          raise_exception_on_failure: bool = True, **_: object) -> None:
    """Wait for a promise, or for several. Raises as `promises.wait_for_all`; keywords it does not know are ignored."""
    wait_for_all(_listed(results), raise_exception_on_failure, max_wait, callbacks)


def wait_for_any_results(results: Promise | Iterable[Promise] | None, max_wait: float | None = None,
                         poll_max_wait: float | None = None, log_msg: bool = False,
                         callbacks: Iterable[WaitLoopCallBack] = (), raise_exception_on_failure: bool = True,
                         **_: object) -> Iterator[Promise]:
    """The promises in the order in which they end (see `promises.as_ended`); raises for one that failed, in its turn."""
    for promise in as_ended(_listed(results), max_wait, callbacks):
        raise_interruption([promise], raise_exception_on_failure)
        yield promise


def _listed(results: Promise | Iterable[Promise] | None) -> list[Promise]:
    return [results] if isinstance(results, Promise) else list(results or ())


# --- what went wrong -------------------------------------------------------------------------------------------------

def find_unsuccessful_in_chain(result: Promise) -> dict[str, list[Promise]]:
    """``{'failed': [...], 'not_run': [...]}``, the promises of the tasks of a chain that did not succeed, in its order.

    not_run: whatever neither failed nor succeeded, also what is under way. A key without promises is left out.
    """
    found: dict[str, list[Promise]] = {"failed": [], "not_run": []}
    for promise in result.chain:
        if promise.own_state != "succeeded":
            found["failed" if promise.own_state == "failed" else "not_run"].append(promise)
    return {kind: promises for kind, promises in found.items() if promises}


def find_all_unsuccessful(result: Promise, ignore_non_ready: bool = False, depth: int = 0) -> dict[str, str]:
    """``{id: service[id]}`` of all tasks that failed or did not run, in a chain and below it.

    ignore_non_ready: those that failed only. depth: of FireX, where it indents what is logged.
    """
    found = {}
    for promise in result.chain:
        if promise.own_state == "failed" or not (promise.own_state == "succeeded" or ignore_non_ready):
            found[promise.id] = logging_name(promise)
        for child in promise.children:
            found.update(find_all_unsuccessful(child, ignore_non_ready, depth + 1))
    return found


def get_task_name_from_result(result: Promise) -> str:
    """The long name of the service that a promise stands for."""
    return result.name


def first_non_chain_interrupted_exception(ex: BaseException) -> Any:
    """The failure at the bottom: the first exception along the causes that is not a ChainInterruptedException."""
    while isinstance(ex, ChainInterruptedException) and ex.__cause__ is not None:
        ex = ex.__cause__
    return ex


def last_causing_chain_interrupted_exception(ex: BaseException) -> Any:
    """The interruption that tells of the failure at the bottom: the last ChainInterruptedException along the causes."""
    while isinstance(ex.__cause__, ChainInterruptedException):
        ex = ex.__cause__
    return ex
