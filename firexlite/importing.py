"""Making a run that someone sent one's own: it is copied, examined, and only then appears in the home.

What lies in the folder of a stranger may be anything. So only what the journal itself names is copied, byte by byte into
new files of this user; and the copy, which nobody else can change any more, is what is examined.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import host, runlog, soundness
from .doctor import in_words
from .ending import bring_home, write_run_json
from .errors import BadInput, JournalUnusable
from .history import History
from .home import FIREX_ID, RunDirectory, home, storage, write_atomically
from .lodging import fsync_directory
from .own_files import open_own_file

_BLOB = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_SHARE = 2  # a run takes at most one in so many of the bytes that are free


@dataclass(frozen=True)
class Imported:
    """A run that is this user's now. plugins: those that the other user chose, absolute."""

    directory: RunDirectory
    state: str
    counts: dict[str, int]
    plugins: list[str]


def import_run(path: Path) -> Imported:
    """Copy a run into the home, under its own FireX ID. path: its directory, or its journal with what lies beside it.

    Raises BadInput for a path that holds none and for a run that is here already, JournalUnusable for a journal that is
    damaged or holds what firexlite never writes. Then nothing has been created.
    """
    source = _source(path)
    with History(source) as history:
        [(firex_id,)] = history.execute("SELECT firex_id FROM run LIMIT 1") or [(None,)]
        if type(firex_id) is not str or not FIREX_ID.match(firex_id):
            raise JournalUnusable(f"{source.journal} names its run {str(firex_id)[:80]!r}, which is not a FireX ID")
        _refuse_known(firex_id)
        with _draft_or_nothing(firex_id) as draft:
            room = _Room(source, draft)
            room.take(os.path.getsize(source.journal))
            try:
                with storage(draft.path):
                    history.copy_to(draft.journal)
                    _copy_what_is_named(source, draft, room)
                _refuse_unsound(draft)
            except JournalUnusable as error:  # of the copy, of which nobody knows
                raise JournalUnusable(str(error).replace(str(draft.journal), str(source.journal))
                                      .replace(str(draft.path), str(source.path))) from error
            _distrust_what_is_not_ours(draft)
            with storage(draft.path):
                write_atomically(draft.imported, f"{time.time()}\n")
            directory = _publish(draft)
            write_run_json(directory)
            directory = bring_home(directory)  # on a network file system, where only what has ended may lie
    return _imported(directory)


def _source(path: Path) -> RunDirectory:
    """Where the run lies. Raises BadInput if there is none, JournalUnusable if parts of it are links or the like."""
    try:
        real = path.resolve(strict=True)
        is_folder = real.is_dir()
        run = RunDirectory(real if is_folder else real.parent)
        if not is_folder:
            run.journal = real
        elif not run.is_there():
            raise BadInput(f"{path} holds no run: there is no {run.journal.name} in it")
        run.refuse_strange_parts()
    except (OSError, RuntimeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{str(path)!r} cannot be imported: {why}") from error
    return run


def _refuse_known(firex_id: str) -> None:
    if os.path.lexists(home() / firex_id) or os.path.lexists(home() / f"{firex_id}.elsewhere"):
        raise BadInput(f"{firex_id} is in {home()} already, and no run is ever overwritten; "
                       "FIREXLITE_HOME names another home for it")


@contextlib.contextmanager
def _draft_or_nothing(firex_id: str) -> Iterator[RunDirectory]:
    """A draft that is gone again, with the folders made for it, unless the block comes to its end."""
    missing = [folder for folder in (home(), *home().parents) if not folder.exists()]
    draft = RunDirectory.draft(firex_id)
    alive = draft.take_alive_lock(host.start_time)  # a draft that nobody holds is removed as a left-over
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    finally:
        os.close(alive)


class _Room:
    """How many bytes a run may still take here."""

    def __init__(self, source: RunDirectory, draft: RunDirectory) -> None:
        self._source = source
        self._free = shutil.disk_usage(draft.path).free
        self._left = self._free // _SHARE

    def take(self, size: int) -> None:
        """Raises BadInput if that is too much."""
        self._left -= size
        if self._left < 0:
            raise BadInput(f"{self._source.path} holds more of a run than 1/{_SHARE} of the {in_words(self._free)} "
                           f"that are free in {home()}")


def _copy_what_is_named(source: RunDirectory, draft: RunDirectory, room: _Room) -> None:
    """Copy the payloads and logs that belong to rows of the journal; a log that is missing is an empty one."""
    with History(draft) as history:
        blobs = [name for name in sorted(soundness.blobs_of(history)) if _BLOB.match(name)]
        logs = [draft.log_file(epoch, worker, host).name for epoch, worker, host in history.execute(
            "SELECT DISTINCT epoch, worker, host FROM attempt WHERE typeof(epoch) = 'integer' "
            "AND typeof(worker) = 'integer'")]
        logs.append(runlog.NAME)
    for folder, target, names in ((source.blobs, draft.blobs, blobs), (source.logs, draft.logs, logs)):
        if names and os.path.islink(folder):
            raise JournalUnusable(f"{folder} is a symbolic link, and not a folder as in a run that firexlite made")
        for name in names:
            try:
                fd = open_own_file(folder / name)
            except OSError:
                continue  # of a payload that cannot be had the examination will tell
            try:
                _copy(fd, target / name, room)
            finally:
                os.close(fd)


def _copy(fd: int, target: Path, room: _Room) -> None:
    size = os.fstat(fd).st_size
    room.take(size)
    to = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(to, "wb") as file:
        while size > 0 and (chunk := os.read(fd, min(size, 1 << 20))):  # not what is written to it meanwhile
            file.write(chunk)
            size -= len(chunk)
        file.flush()
        host.sync(file.fileno())


def _refuse_unsound(draft: RunDirectory) -> None:
    """Raise JournalUnusable for whatever the journal holds that firexlite never writes."""
    with History(draft) as history:
        if damage := history.damage():
            raise JournalUnusable(f"{draft.journal} is damaged ({damage[0]}); ask for another copy of it")
        found = list(soundness.faults_of(history))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise JournalUnusable(f"{draft.journal} holds what firexlite never writes: {found[0]}{more}")


def _distrust_what_is_not_ours(draft: RunDirectory) -> None:
    """It is not for a stranger to say where we write, nor what we execute.

    The files to which he wanted a copy of the outcome and the report are dropped, as are his command for the end, his key, and
    the sinks to which he sent his events;
    his plugins are marked as another person's choice: a resume loads none of them by itself.
    """
    db = sqlite3.connect(draft.journal)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        [(text,)] = db.execute("SELECT options FROM run")
        options = json.loads(text)
        options |= {"json_file": None, "flame": None, "on_end": None, "key": None, "sinks": [],
                    "plugins": [{**plugin, "foreign": True} for plugin in options["plugins"]]}
        with db:
            db.execute("UPDATE run SET options = ?", (json.dumps(options),))
    finally:
        db.close()


def _publish(draft: RunDirectory) -> RunDirectory:
    with storage(draft.path):
        for folder in (draft.blobs, draft.logs):
            fsync_directory(folder)
        try:
            return draft.publish()
        except OSError as error:
            if os.path.lexists(home() / draft.path.name.partition("-")[2]):
                raise BadInput(f"{draft.path.name.partition('-')[2]} has come into {home()} meanwhile") from error
            raise


def _imported(directory: RunDirectory) -> Imported:
    with History(directory) as history:
        run = history.run()
        return Imported(directory, run.state, history.counts(),
                        [os.path.join(run.options["cwd"], plugin["path"]) for plugin in run.options["plugins"]])
