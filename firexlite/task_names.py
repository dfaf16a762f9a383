"""What a person may call a task of a run: its number, its uuid, or the name of its service."""
from __future__ import annotations

import json
from collections.abc import Iterable

from .errors import BadInput, nearest
from .history import History
from .home import task_uuid

SHOWN = 5  # of the tasks that a name may mean


def names_of(history: History, nums: Iterable[int] | None = None) -> dict[int, str]:
    """``{number: short name}`` of these tasks, or of all."""
    services = history.services
    which = "" if nums is None else "WHERE id IN (SELECT value FROM json_each(?)) "
    return {num: services[name].short_name if name in services else name
            for num, name in history.execute(f"SELECT id, service FROM task {which}ORDER BY id",
                                             *([] if nums is None else [json.dumps([*nums])]))}


def tasks_named(history: History, asked: str) -> list[int]:
    """All tasks that a person may mean, in order. Raises BadInput if there are none."""
    if asked.isascii() and asked.isdigit() and len(asked) < 19:
        if history.execute("SELECT 1 FROM task WHERE id = ?", int(asked)):
            return [int(asked)]
        raise no_such_task(history, asked)
    names = names_of(history)
    firex_id = history.directory.firex_id
    found = [num for num, name in names.items() if name == asked] or [num for num in names if task_uuid(firex_id, num) == asked]
    if not found:
        raise no_such_task(history, asked, nearest(asked, set(names.values())))
    return found


def task_named(history: History, asked: str) -> int:
    """The one task that a person means: of several of a service, that which ended the run.

    Raises BadInput if there is none, or several of which none stands out.
    """
    found = tasks_named(history, asked)
    if len(found) > 1:
        causes = set(history.root_cause_numbers())
        failed = {num for (num,) in history.execute("SELECT id FROM task WHERE state = 'failed'")}
        for chosen in (causes, failed):
            if len(of := [num for num in found if num in chosen]) == 1:
                return of[0]
        shown = ", ".join(map(str, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        raise BadInput(f"{history.directory.firex_id} has {len(found)} tasks '{asked}' ({shown}); give the number of one")
    return found[0]


def no_such_task(history: History, asked: str, close: str = "") -> BadInput:
    """The sentence about a task that is not there."""
    firex_id = history.directory.firex_id
    return BadInput(f"{firex_id} has no task '{asked}'.{close or f' `firexlite show {firex_id}` lists them.'}")
