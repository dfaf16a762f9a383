"""Removing runs that nobody needs any more."""
from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from . import faults, host, keys, lodging
from .errors import FirexliteError, RunActive
from .history import History
from .home import RunDirectory, all_runs, home, storage
from .standing import brief
from .states import RUN_RUNNING, RUN_SUCCEEDED

_PRUNED = ".pruned-"  # before the name of a directory that was a run


class Old(NamedTuple):
    """A run that may be removed. state: as `standing.brief` has it. ended: when it last did anything, in seconds since the
    epoch. size: bytes on the disk."""

    directory: RunDirectory
    state: str
    chain: str
    ended: float
    size: int


def old_runs(older_than_s: float, keep_failed: bool) -> Iterator[Old]:
    """Runs of this user, on this host, that have done nothing for so long; the newest first. One that cannot be read is none.

    keep_failed: only those that succeeded.
    """
    before = time.time() - older_than_s
    for directory in all_runs():
        with suppress(FirexliteError, FileNotFoundError):  # somebody else prunes too
            with History(directory) as history:
                about, last = brief(history), _last_act(history)
            if (about["state"] != RUN_RUNNING and last <= before and (about["state"] == RUN_SUCCEEDED or not keep_failed)
                    and os.stat(directory.path).st_uid == os.geteuid()):
                yield Old(directory, about["state"], about["chain"], last, _size(directory.path))


def _last_act(history: History) -> float:
    """When a run last did anything, in seconds since the epoch."""
    run = history.run()
    return max([run.created, run.ended or 0.0, *(life.ended or life.started for life in history.incarnations())])


def remove(old: Old) -> bool:
    """Remove a run, as a whole; False if it is running, or has gone on since it was looked at, and stays.

    Raises StorageFailure, and JournalUnusable for one that cannot be written to.
    """
    directory = old.directory
    if not directory.is_there():
        return False  # somebody else prunes too
    try:
        alive = directory.take_alive_lock(host.start_time)  # nobody resumes what is being removed
    except RunActive:
        return False
    try:
        with History(directory) as history:
            if _last_act(history) > old.ended:
                return False
        with storage(directory.path):
            away = directory.path.with_name(f"{_PRUNED}{directory.firex_id}")
            os.rename(directory.path, away)  # it is gone at one blow; a kill leaves nothing that looks like a run
            faults.reach("run set aside")
            lodging.remove_pointer(home(), directory.firex_id)
            for left_over in away.parent.glob(f"{_PRUNED}*"):  # also by those who were killed here
                shutil.rmtree(left_over, ignore_errors=left_over != away)
    finally:
        os.close(alive)
    keys.forget(directory.firex_id)
    return True


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_blocks * 512 for name in names)
    return total
