"""Removing runs that nobody needs any more."""
from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import host, keys, lodging
from .errors import FirexliteError, RunActive
from .history import History
from .home import RunDirectory, all_runs, home, storage
from .standing import brief
from .states import RUN_RUNNING, RUN_SUCCEEDED


@dataclass(frozen=True)
class Old:
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
        try:
            with History(directory) as history:
                about = brief(history)
                lives = history.incarnations()
        except FirexliteError:
            continue
        last = max([about["created"], about["ended"] or 0.0, *(life.ended or life.started for life in lives)])
        if about["state"] == RUN_RUNNING or last > before or (keep_failed and about["state"] != RUN_SUCCEEDED):
            continue
        if os.stat(directory.path).st_uid == os.geteuid():
            yield Old(directory, about["state"], about["chain"], last, _size(directory.path))


def remove(old: Old) -> bool:
    """Remove a run, as a whole; False if it goes on meanwhile, and stays. Raises StorageFailure."""
    directory = old.directory
    try:
        alive = directory.take_alive_lock(host.start_time)  # nobody resumes what is being removed
    except RunActive:
        return False
    try:
        with storage(directory.path):
            away = directory.path.with_name(f"{lodging.AWAY}{directory.firex_id}")
            os.rename(directory.path, away)  # it is gone at one blow; a kill leaves nothing that looks like a run
            lodging.remove_pointer(home(), directory.firex_id)
            shutil.rmtree(away)
    finally:
        os.close(alive)
    keys.forget(directory.firex_id)
    return True


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_blocks * 512 for name in names)
    return total
