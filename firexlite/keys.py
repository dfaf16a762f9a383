"""The key of a run: a name of its user's own, under which the same command starts a run, resumes it, or finds it done."""
from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from . import faults, host
from .errors import BadInput
from .home import FIREX_ID, RunDirectory, all_runs, find_run, has_failed, home, make_private_folders, storage
from .lodging import fsync_directory
from .own_files import read_own_file

LAST = "last"                # what stands for the newest run, so it can be no key
LONGEST = 200                # bytes of the name of its file
LARGEST_RUN_JSON = 1 << 20   # bytes
_NOTE_BYTES = 200


def refuse_unfit(key: str, option: str = "--key ") -> None:
    """Raise BadInput for a key that could be taken for something else, or makes no name of a file."""
    why = None
    if not key or not key.isprintable() or key != key.strip():
        why = "is printable, and neither begins nor ends with a space"
    elif key == LAST or key.startswith(("FireX-", "-")):
        why = f"is not '{LAST}', and begins neither with 'FireX-' nor with a dash"
    elif len(_file_name(key)) > LONGEST:
        why = f"is no longer than some {LONGEST} letters"
    if why:
        raise BadInput(f"{option.strip()} takes a name of your own for the run, which {why}, as in {option}nightly-2026-11-23; "
                       f"not {key!r}")


def run_of(key: str) -> RunDirectory | None:
    """The run that was submitted under a key; None if there is none in this home."""
    path = home() / "keys" / _file_name(key)
    with suppress(OSError, ValueError):
        if found := _there(read_own_file(path, _NOTE_BYTES).decode().strip()):
            return found
    return _among_runs(key)


class HeldKey:
    """A key that nobody else can submit under meanwhile: two commands at once start one run."""

    def __init__(self, key: str) -> None:
        """Wait until it is free. Raises BadInput where it cannot be held."""
        self.key = key
        folder = home() / "keys"
        with storage(folder):
            try:
                make_private_folders(folder)
                self._fd = _locked(folder / _file_name(key))
            except OSError as error:
                if has_failed(error):
                    raise
                raise BadInput(f"keys cannot be kept in {folder}: {error.strerror}; "
                               "set FIREXLITE_HOME to a directory that you may write to") from error

    def run(self) -> RunDirectory | None:
        """The run of this key; None if there is none, or one that was killed before it was durable."""
        with suppress(ValueError):
            if found := _there(os.pread(self._fd, _NOTE_BYTES, 0).decode().strip()):
                return found
        if found := _among_runs(self.key):
            self.note(found.firex_id)  # or all runs would be looked through each time
        return found

    def note(self, firex_id: str) -> None:
        """Note, durably, which run has the key. To be called before that run can be found by anybody."""
        with storage(home() / "keys"):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{firex_id}\n".encode(), 0)
            host.sync(self._fd)
            fsync_directory(home() / "keys")
            faults.reach("key noted")

    def release(self) -> None:
        """Let others have it: the run lives, so they see that."""
        os.close(self._fd)


def forget(firex_id: str) -> None:
    """Remove what was noted of a run that is gone."""
    with suppress(FileNotFoundError):
        for file in os.scandir(home() / "keys"):
            with suppress(OSError, ValueError):
                if read_own_file(home() / "keys" / file.name, _NOTE_BYTES).decode().strip() == firex_id:
                    os.unlink(file.path)


def _locked(path: Path) -> int:
    """Hold the lock of a file that others find by its name: while we waited, it may have been removed by `forget`."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        host.flock(fd, waits=True)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                return fd
        os.close(fd)


def _file_name(key: str) -> str:
    name = quote(key, safe="", errors="surrogateescape")  # of bytes that are no UTF-8 the bytes
    return name.replace(".", "%2E") if key in (".", "..") else name


def _there(firex_id: str) -> RunDirectory | None:
    if FIREX_ID.match(firex_id):
        with suppress(BadInput):
            return find_run(firex_id)
    return None


def _among_runs(key: str) -> RunDirectory | None:
    """The newest run that says itself that it has the key: of a home that was restored without what was noted."""
    for directory in all_runs():
        with suppress(OSError, ValueError, TypeError, AttributeError):
            about = read_own_file(directory.run_json, LARGEST_RUN_JSON)
            if b'"key"' in about and json.loads(about).get("key") == key:
                return directory
    return None
