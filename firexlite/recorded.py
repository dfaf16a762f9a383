"""What a body gets from the world and gets again when it is replayed: the time, chance, and names that are its own.

Each value is journaled, durably, before the body has it. A body that decides by them what children to enqueue asks for
the same ones after a crash. Outside of a task they are the plain values.
"""
from __future__ import annotations

import datetime
import random as chance
import uuid as uuids
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .services import Task


class Body(Protocol):
    """A running attempt, for code that has no `self`."""

    task: Task | None
    """What the body calls `self`; None before its arguments are bound."""

    def noted(self, name: str, make: Callable[[], object]) -> Any:
        """The next value of this name: what an earlier attempt noted, else what ``make`` gives, which is noted."""

    def tell_command(self, number: int, about: dict[str, Any]) -> None:
        """How a shell command of the body stands: its begin, then its end. number: no other has it in this process."""


running: Body | None = None  # in this process


def _noted(name: str, make: Callable[[], object]) -> Any:
    return make() if running is None else running.noted(name, make)


def now() -> datetime.datetime:
    """The present time, in UTC; in a replay the time that it was."""
    return _noted("now", lambda: datetime.datetime.now(datetime.timezone.utc))


def random() -> float:
    """A random number from 0 to below 1; in a replay the same."""
    return _noted("random", chance.SystemRandom().random)


def uuid() -> uuids.UUID:
    """A random UUID; in a replay the same."""
    return _noted("uuid", uuids.uuid4)
