"""What type checkers see of `@app.task`; nothing of it is ever imported."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypedDict, TypeVar

if TYPE_CHECKING:
    from .application import Service
    from .services import Task
    from .task_options import PendingChildStrategy, ValidateArgs

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """Makes a service of a function."""

    def __call__(self, function: Callable[P, R], /) -> Service[P, R]: ...


class BoundDecorator(Protocol):
    """Makes a service of a function whose first parameter is the task, which no caller gives."""

    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Service[P, R]: ...


class Options(TypedDict, total=False):
    """The options of `App.task`, where they are explained; the last ones are of Celery, and mean nothing."""

    returns: str | Iterable[str] | None
    flame: str | Iterable[str] | Mapping[str, Any] | None
    base: type[Task]
    name: str | None
    worker_deaths: int
    on_interrupt: str
    soft_time_limit: float | None
    time_limit: float | None
    max_retries: int | None
    default_retry_delay: float
    autoretry_for: Iterable[type[BaseException]]
    dont_autoretry_for: Iterable[type[BaseException]]
    retry_kwargs: Mapping[str, Any] | None
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    use_cache: bool
    pending_child_strategy: PendingChildStrategy
    queue: str | None
    slots: int
    priority: int | None
    pydantic_validate: ValidateArgs | None

    acks_late: Any
    acks_on_failure_or_timeout: Any
    compression: Any
    forget: Any
    ignore_result: Any
    reject_on_worker_lost: Any
    send_events: Any
    serializer: Any
    store_errors_even_if_ignored: Any
    throws: Any
    track_started: Any
    trail: Any
    typing: Any
