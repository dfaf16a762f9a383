"""What a command of its own does to a run that may be alive in other processes: it cancels tasks, or sends an event.

The journal is written under the run's write lock as by its workers; then the runner is woken, who looks at what has changed.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from . import host
from .board import RUNNER, Address
from .ending import leave_tidy, off_the_network
from .errors import BadInput, RunActive
from .history import History
from .home import RunDirectory
from .journal import Journal
from .journal_file import patient
from .schema import SQL_OPEN
from .states import OPEN, RUN_SUCCEEDED

T = TypeVar("T")


def write_to_run(directory: RunDirectory, write: Callable[[Journal], T]) -> T:
    """Have something written to a run, be it alive or not; returns what ``write`` does.

    Raises JournalUnusable, StorageFailure, and what ``write`` raises; then nothing has changed.
    """
    directory.refuse_unsafe()
    try:
        alive = directory.take_alive_lock(host.start_time)
    except RunActive as error:
        with History(directory) as history:
            if history.is_of_an_older_schema:
                raise RunActive(f"{directory.firex_id} is running under an older firexlite, which alone may write to it; use "
                                "that, or wait for it") from error
        with Journal(directory, slots=0) as journal:
            found = write(journal)
        _wake_runner(directory)
        return found
    try:
        directory, alive = off_the_network(directory, alive)
        return _write_at_rest(directory, write)
    finally:
        os.close(alive)


def _write_at_rest(directory: RunDirectory, write: Callable[[Journal], T]) -> T:
    with History(directory) as history:
        history.refuse_damaged()
    with Journal(directory, slots=0) as journal:
        had_ended = not journal.has_open_tasks()
        found = write(journal)
        if not had_ended and not journal.has_open_tasks():
            journal.finish()
    leave_tidy(directory, None)
    return found


def _wake_runner(directory: RunDirectory) -> None:
    with suppress(OSError):  # the run has just ended
        address = Address(directory.wake, f"command-{os.getpid()}")
        address.send(RUNNER, b"look")
        address.close()


@patient
def cancel(journal: Journal, task: int | None, reason: str) -> list[int]:
    """Revoke all that is left of a run, or a task with what is open below it and what stands behind it in its chain.

    Returns the tasks that were revoked. Raises BadInput if there is nothing to cancel.
    """
    with journal.transaction(durable=True, operation="cancel") as now:
        [(firex_id, run)] = journal.execute("SELECT firex_id, state FROM run")
        if task is None:
            tasks = [num for (num,) in journal.execute(f"SELECT id FROM task WHERE state IN {SQL_OPEN}")]
            if not tasks:
                ended = "succeeded" if run == RUN_SUCCEEDED else "ended"
                raise BadInput(f"{firex_id} has {ended}, so there is nothing to cancel")
            return journal.revoke(now, tasks, reason)
        found = journal.execute("SELECT state, last, service FROM task WHERE id = ?", task)
        if not found:
            raise BadInput(f"{firex_id} has no task {task}; `firexlite flame {firex_id}` shows its tasks")
        [(state, last, service)] = found
        if state not in OPEN:
            raise BadInput(f"task {task} ({service.rpartition('.')[2]}) of {firex_id} is {state}, so it cannot be cancelled")
        revoked = journal.revoke(now, [task], reason)
        journal.skip_after(now, task, last)
        return revoked
