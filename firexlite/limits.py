"""Time limits in the journal: a task, or the run, that took longer than it may.

Limits are kept by the runner, by the monotonic clock, which stands still while a laptop sleeps.
"""
from __future__ import annotations

import json
import math
from collections.abc import Callable

from . import last_words
from .codec import encode_error
from .errors import TimeLimitExceeded
from .journal import Journal
from .journal_file import patient
from .schema import SQL_OPEN

SOFT, HARD = "soft_time_limit", "time_limit"


def as_limit(value: object, name: str) -> float | None:
    """A limit in seconds as a service or a signature declares it; None, 0 and infinity: there is none.

    Raises ValueError for what is no number of seconds.
    """
    if value is None or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{name} takes a number of seconds, not {value!r}")
    return None if math.isinf(value) else value or None


@patient
def expire(journal: Journal, task: int, attempt: int, kill: Callable[[], None], stack: str = "") -> None:
    """Fail a task whose attempt has reached its hard limit; nothing happens if that has ended.

    kill: called after the commit and under the write lock, so that its worker cannot have claimed another task.
    stack: where its body was, as `last_words` has it.
    """
    with journal.transaction(durable=True, operation="expire") as now:
        found = journal.execute("SELECT deaths, options, about FROM task JOIN service ON service.name = task.service "
                                "WHERE id = ? AND attempt = ? AND epoch = ? "
                                "AND state IN ('running', 'blocked') AND worker IS NOT NULL", task, attempt, journal.epoch())
        for deaths, options, about in found:
            limit = json.loads(options or "{}").get(HARD) or json.loads(about).get(HARD)
            error = last_words.at(stack, TimeLimitExceeded(limit))
            journal.give_back(now, task, deaths, encode_error(error), unsure=False, fails=True)
            journal.tell(kill)
            journal.note_startable(journal.unblock_who_can_go_on(now))


@patient
def expire_run(journal: Journal, limit_s: float) -> None:
    """Revoke all that is left of a run that has reached its limit."""
    with journal.transaction(durable=True, operation="expire run") as now:
        left = [task for (task,) in journal.execute(f"SELECT id FROM task WHERE state IN {SQL_OPEN}")]
        journal.revoke(now, left, f"the run reached its soft_time_limit of {limit_s:g} s")
