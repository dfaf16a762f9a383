"""How a run is left when its last process ends: one file, no sockets, a `run.json`, at home, and an exit code."""
from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from . import faults, host, lodging
from .errors import FirexliteError, JournalUnusable, StorageFailure
from .history import History, summary
from .home import RunDirectory, home, storage, write_atomically, write_where_told
from .journal import Journal
from .states import RUN_INTERRUPTED, RUN_RUNNING
from .trimming import close_holes, worker_of


def leave_tidy(directory: RunDirectory, json_file: str | None) -> RunDirectory:
    """What remains to be done when the journal says how a run ended; a kill may have prevented it, so it is idempotent.

    A full disk does not change how the run ended, so it is no failure here. Returns where the run lies now.
    """
    if not lodging.is_network(directory.path):  # what lies there was folded before it came there
        with suppress(StorageFailure), Journal(directory, slots=0, full_wait_s=0) as journal:
            journal.fold()
    remove_folder(directory.wake)
    with suppress(FirexliteError), History(directory) as history:  # in what workers printed that were killed
        for log in directory.logs.glob("*.log"):
            if of := worker_of(log.name):
                close_holes(log, history.output_begins(*of))
    write_run_json(directory)
    faults.reach("tidied")
    directory = bring_home(directory)
    if json_file:
        try:
            write_where_told(Path(json_file).absolute(), directory.run_json.read_text(), mode=0o600)
        except OSError as error:
            print(f"firexlite: {json_file} could not be written: {error.strerror}", file=sys.stderr)
    return directory


def off_the_network(directory: RunDirectory, alive: int) -> tuple[RunDirectory, int]:
    """Where a run can be written to, and what holds its lock there: a home on a network file system is no place for it.

    alive: what holds its lock now; if the run is moved, that is closed. `bring_home` is the way back.
    """
    with storage(directory.path):
        path, alive = lodging.move_out(home(), directory.path, alive,
                                       lambda path: RunDirectory(path).take_alive_lock(host.start_time))
    return RunDirectory(path), alive


def bring_home(directory: RunDirectory) -> RunDirectory:
    """Move a run that has ended home if it lodges elsewhere; returns where it lies. A home that is full is no failure."""
    if lodging.token_in(directory.path) is None:
        return directory
    with History(directory) as history:
        if history.run().state in (RUN_RUNNING, RUN_INTERRUPTED):
            return directory
    try:
        return RunDirectory(lodging.move_home(home(), directory.path))
    except (OSError, JournalUnusable) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"firexlite: {directory.firex_id} could not be moved to {home()}: {why}; it stays in {directory.path}, where "
              "every command finds it, until a resume moves it", file=sys.stderr)
        return directory


def remove_folder(folder: Path) -> None:
    """Remove a folder of files. What a link in its place leads to is none of ours."""
    host.forget_socket_folder(folder)
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        for left_over in folder.iterdir():
            left_over.unlink()
        folder.rmdir()


def write_run_json(directory: RunDirectory) -> None:
    """Write the run's `run.json`, with the fields of FireX's, as the journal stands; on a full disk it stays as it was."""
    with suppress(OSError, StorageFailure), History(directory) as history:
        write_atomically(directory.run_json, json.dumps(summary(history), indent=1) + "\n")
    faults.reach("run.json written")
