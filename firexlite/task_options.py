"""What a service declares of how its tasks are run, beside its function and its values."""
from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .limits import HARD, SOFT, as_limit
from .retries import RetryRule, as_rule

WORKER_DEATHS = 3         # how many deaths of its worker a task survives
ON_INTERRUPT = ("retry", "fail", "ask")

# Of FireX's (Celery's) options those that say how a broker is to be used, or what it may forget. There is none here.
WITHOUT_MEANING = frozenset({"acks_late", "acks_on_failure_or_timeout", "compression", "forget", "ignore_result",
                             "reject_on_worker_lost", "send_events", "serializer", "store_errors_even_if_ignored", "throws",
                             "track_started", "trail", "typing"})


class PendingChildStrategy(enum.Enum):
    """What becomes of the children that a task has not waited for when its body has returned."""

    BLOCK = "block"        # they are waited for
    CONTINUE = "continue"  # they go on by themselves
    Block = BLOCK          # as older FireX spelt them
    Continue = CONTINUE


class ValidateArgs(enum.Enum):
    """Whether arguments are converted to what a service's annotations say, by pydantic."""

    DISABLED = "disabled"
    ATTEMPT = "attempt"    # what cannot be converted stays as it is
    REQUIRE = "require"    # what cannot be converted fails the task


@dataclass(frozen=True)
class TaskOptions:
    """How tasks of a service are run. soft_time_limit, time_limit: seconds of an attempt; None: no limit."""

    worker_deaths: int = WORKER_DEATHS
    on_interrupt: str = "retry"
    soft_time_limit: float | None = None
    time_limit: float | None = None
    retry: RetryRule = field(default_factory=RetryRule)
    use_cache: bool = False
    keeps_children: bool = False
    queue: str | None = None
    slots: int = 1
    priority: int = 0
    validate: ValidateArgs | None = None  # as the service that it overrides, if any


def as_options(*, worker_deaths: int, on_interrupt: str, soft_time_limit: float | None, time_limit: float | None,
               use_cache: bool, pending_child_strategy: PendingChildStrategy, queue: str | None, slots: int, priority: int,
               pydantic_validate: ValidateArgs | str | None, retry: Mapping[str, Any],
               others: Mapping[str, object]) -> TaskOptions:
    """The options of a service from what `@app.task` was given. Raises ValueError or TypeError for what cannot be meant."""
    if unknown := sorted(set(others) - WITHOUT_MEANING):
        raise TypeError(f"@app.task has no option {', '.join(unknown)}")
    if on_interrupt not in ON_INTERRUPT:
        raise ValueError(f"on_interrupt takes {', '.join(ON_INTERRUPT)}, not {on_interrupt!r}")
    return TaskOptions(
        worker_deaths, on_interrupt, as_limit(soft_time_limit, SOFT), as_limit(time_limit, HARD), as_rule(**retry),
        bool(use_cache), PendingChildStrategy(pending_child_strategy) is PendingChildStrategy.CONTINUE,
        as_queue(queue), as_slots(slots), as_priority(priority),
        None if pydantic_validate is None else ValidateArgs(pydantic_validate))


def as_queue(queue: object) -> str | None:
    """A queue's name, None for none. Raises TypeError."""
    if queue is not None and (not isinstance(queue, str) or not queue):
        raise TypeError(f"queue takes a name, not {queue!r}")
    return queue


def as_slots(slots: object) -> int:
    """How many slots a task takes. Raises ValueError."""
    if isinstance(slots, bool) or not isinstance(slots, int) or slots < 1:
        raise ValueError(f"slots takes a whole number from 1 on, not {slots!r}")
    return slots


def as_priority(priority: object) -> int:
    """A priority; lower ones are claimed first, as FireX does with Redis. Raises ValueError."""
    if priority is None:
        return 0
    if isinstance(priority, bool) or not isinstance(priority, (int, float)) or not math.isfinite(priority):
        raise ValueError(f"priority takes a whole number, of which lower ones go first, not {priority!r}")
    return int(priority)


# What a signature may set for the task that it becomes, and how that is checked.
OF_SIGNATURES = {SOFT: lambda value: as_limit(value, SOFT), HARD: lambda value: as_limit(value, HARD), "queue": as_queue,
                 "priority": as_priority, "slots": as_slots, "use_cache": lambda value: value if value is None else bool(value),
                 "label": lambda value: value if value is None else str(value)}


def of_signature(given: Mapping[str, object]) -> dict[str, Any]:
    """The options of a signature, checked, without those that say nothing. Raises ValueError or TypeError."""
    checked = {name: OF_SIGNATURES[name](value) for name, value in given.items()}
    return {name: value for name, value in checked.items() if value is not None}
