"""The task that runs in this process, for code that has no `self`: celery's `current_task` and `AsyncResult`."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import recorded
from ..home import RunDirectory, task_uuid
from ..promises import Promise
from ..services import Task

if TYPE_CHECKING:
    from ..attempt import Attempt


def running_attempt() -> Attempt | None:
    """The attempt whose body runs in this process, None outside of a task."""
    return recorded.running  # type: ignore[return-value]


def running_task() -> Task | None:
    """The `self` of the body that runs in this process, None outside of a task."""
    attempt = running_attempt()
    return None if attempt is None else attempt.task


def attempt_for(purpose: str) -> Attempt:
    """As `running_attempt`. Raises RuntimeError outside of a task, naming what asked for it."""
    if (attempt := running_attempt()) is None:
        raise RuntimeError(f"{purpose} is there only while a task runs: outside of one there is no run that it could belong to")
    return attempt


def run_directory() -> RunDirectory | None:
    """The directory of the run that a task of this process belongs to."""
    attempt = running_attempt()
    return None if attempt is None else attempt.directory


def promise_of(task_id: str, purpose: str = "AsyncResult") -> Promise:
    """The promise of a task of this run, by the id that `promise.id` gives.

    Raises RuntimeError outside of a task, LookupError if the run has no task of this id.
    """
    attempt = attempt_for(purpose)
    directory = attempt.directory
    for num, head in attempt.journal.tasks_and_chains():
        if task_uuid(directory.firex_id, num) == task_id:
            return Promise(attempt, (head, num))
    raise LookupError(f"{directory.firex_id} has no task with the id '{task_id}'")


class AnyPromise(type):
    """The class of a class that every promise is an instance of."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Promise)


class AsyncResult(metaclass=AnyPromise):
    """Celery's name for a promise: called with the id of a task it gives the promise of that, as `promise_of`."""

    def __new__(cls, id: str, *_: Any, **__: Any) -> Any:
        return promise_of(id)


class CurrentTask:
    """Stands for the `self` of whichever body runs when it is asked; false outside of a task."""

    def __bool__(self) -> bool:
        return running_task() is not None

    def __getattr__(self, name: str) -> Any:
        if (task := running_task()) is None:
            raise AttributeError(f"there is no current task, so it has no {name}")
        return getattr(task, name)

    def __repr__(self) -> str:
        return repr(running_task())


current_task = CurrentTask()
