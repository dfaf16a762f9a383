"""Whether a wait could ever end. A blocked task keeps its place in a queue with a limit, and several tasks may wait for one
chain that is enqueued once for all: with either, tasks could wait for each other for ever. Such a wait is refused.
"""
from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import SchedulingDeadlockException
from .journal import IN_QUEUE, Journal
from .schema import SQL_OPEN

_SHOWN = 3


@dataclass
class _Open:
    """An open task, and what has to end before it can: all of `needs`, one of each of `choices`, and one of `places` if
    there are any."""

    task: int
    service: str
    queue: str                                        # that it needs a place of; empty if it has one, or needs none
    needs: list[int] = field(default_factory=list)
    choices: list[list[int]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)   # the tasks that have all the places of its queue


def refuse_deadlock(journal: Journal, waiter: int) -> None:
    """Raise SchedulingDeadlockException if the waits of a task, as journaled, could never end. Inside a transaction.

    Tasks that run, wait for a time or an event, or may be claimed are taken to end; what they enqueue and wait for
    will be looked at then.
    """
    if not journal.queues and not journal.execute("SELECT 1 FROM once LIMIT 1"):
        return  # then whoever is waited for stands below the one who waits, and slots are given back by those who wait
    known = _reachable_from(journal, waiter)
    stuck = set(known)
    while ending := [task for task in stuck if _can_end(known[task], stuck)]:
        stuck.difference_update(ending)
    if waiter in stuck:
        raise SchedulingDeadlockException(_why(journal, known, stuck, waiter))


def _can_end(task: _Open, stuck: set[int]) -> bool:
    one_of = [*task.choices, *([task.places] if task.places else [])]
    return not any(need in stuck for need in task.needs) and all(any(one not in stuck for one in some) for some in one_of)


def _reachable_from(journal: Journal, waiter: int) -> dict[int, _Open]:
    """The open tasks on which the end of a task depends, itself among them."""
    known: dict[int, _Open] = {}
    left = [waiter]
    while left:
        task = left.pop()
        if task not in known and (found := _look_at(journal, task)) is not None:
            known[task] = found
            left += [*found.needs, *itertools.chain(*found.choices), *found.places]
    return known


def _look_at(journal: Journal, task: int) -> _Open | None:
    for state, service, queue, chain in journal.execute(
            f"SELECT state, service, CASE WHEN state IN ('ready', 'waiting') AND move IS NOT 'wake' THEN limited ELSE '' END, "
            f"chain FROM task WHERE id = ? AND state IN {SQL_OPEN}", task):
        found = _Open(task, service, queue)
        if state == "blocked":
            waits = journal.execute("SELECT wait, any, tail FROM awaited WHERE waiter = ? AND tail <> 0 ORDER BY wait, tail",
                                    task)
            found.needs = [tail for _, any_is_enough, tail in waits if not any_is_enough]
            found.choices = [[tail for *_, tail in some] for (_, any_is_enough), some
                             in itertools.groupby(waits, key=lambda row: row[:2]) if any_is_enough]
        elif state == "waiting" and task > chain:
            found.needs = [task - 1]
        if found.queue and not journal.has_place(found.queue):
            found.places = [holder for (holder,) in journal.execute(IN_QUEUE, found.queue)]
        return found
    return None


def _why(journal: Journal, known: dict[int, _Open], stuck: set[int], waiter: int) -> str:
    me = _name(known[waiter])
    for task in sorted(stuck):
        if known[task].places:
            queue, limit = known[task].queue, journal.queues[known[task].queue]
            places = "its only place" if limit == 1 else f"its {limit} places"
            keep = " and ".join(_name(known[one]) for one in known[task].places[:_SHOWN])
            keep += " keeps" if len(known[task].places) == 1 else " keep"
            return (f"{me} would wait for ever: {_name(known[task])} needs a place in the queue '{queue}', and {keep} {places} "
                    "while waiting; enqueue it to another queue, do not wait for it, or give the queue more places "
                    f"(--queue {queue}={limit + 1})")
    circle = " waits for ".join(_name(known[task]) for task in _circle(known, stuck, waiter))
    return f"{me} would wait for ever, for itself: {circle}"


def _circle(known: dict[int, _Open], stuck: set[int], waiter: int) -> Iterator[int]:
    """The tasks of a circle of waits, from the first one that comes again to itself."""
    path = [waiter]
    while True:
        task = known[path[-1]]
        following = next(need for need in (*task.needs, *itertools.chain(*task.choices)) if need in stuck)
        if following in path:
            yield from [*path[path.index(following):], following]
            return
        path.append(following)


def _name(task: _Open) -> str:
    return f"{task.service.rpartition('.')[2]} (task {task.task})"
