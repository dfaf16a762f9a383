"""Named values of one run, which all its workers share: what services of FireX keep in `app.backend`, that is in Redis.

The values lie in one file of the run's directory, which is replaced as a whole, durably, under a lock. A task that runs
again from its top does so with what it has stored before, as in FireX.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import host
from ..home import RunDirectory, storage
from ..journal import Journal, of_the_journal
from ..lodging import fsync_directory
from ..own_files import read_own_file

Value = str | bytes | int | float


class RunStore:
    """`get`, `set`, `incr` and their like, with Redis' manners: whatever was stored, bytes are what comes back."""

    def __init__(self, directory: RunDirectory) -> None:
        self._file = directory.path / "store.json"
        self._lock = directory.path / "store.lock"

    def get(self, key: str) -> bytes | None:
        """What was stored under a name, None if nothing was."""
        return self._read().get(_text(key))

    def mget(self, keys: list[str]) -> list[bytes | None]:
        values = self._read()
        return [values.get(_text(key)) for key in keys]

    def exists(self, *keys: str) -> int:
        """How many of the names have a value."""
        values = self._read()
        return sum(_text(key) in values for key in keys)

    def set(self, key: str, value: Value, nx: bool = False, **_: object) -> bool:
        """Store a value; with ``nx`` only if there is none yet. Returns whether it was stored."""
        def store(values: dict[str, bytes]) -> bool:
            if nx and _text(key) in values:
                return False
            values[_text(key)] = _bytes(value)
            return True

        return self._change(store)

    def setnx(self, key: str, value: Value) -> bool:
        return self.set(key, value, nx=True)

    def incr(self, key: str, amount: int = 1) -> int:
        """Add to a whole number, 0 if there is none yet; returns the sum. No other worker comes in between."""
        def add(values: dict[str, bytes]) -> int:
            total = int(values.get(_text(key), b"0")) + amount
            values[_text(key)] = _bytes(total)
            return total

        return self._change(add)

    def decr(self, key: str, amount: int = 1) -> int:
        return self.incr(key, -amount)

    def delete(self, *keys: str) -> int:
        """Forget what was stored under these names; returns how many had a value."""
        return self._change(lambda values: sum(values.pop(_text(key), None) is not None for key in keys))

    # --- the file ------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, bytes]:
        try:
            stored = json.loads(read_own_file(self._file))
        except FileNotFoundError:
            return {}
        return {key: value.encode("latin-1") for key, value in stored.items()}

    def _change(self, change: Callable[[dict[str, bytes]], Any]) -> Any:
        with self._alone():
            values = self._read()
            answer = change(values)
            self._replace(json.dumps({key: value.decode("latin-1") for key, value in values.items()}))
        return answer

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing alone: a process that the service forks has it open too
            os.close(fd)

    def _replace(self, text: str) -> None:
        draft = Path(f"{self._file}.draft")
        with storage(self._file):
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(text)
                file.flush()
                host.sync(file.fileno())
            os.replace(draft, self._file)
            fsync_directory(self._file.parent)


@of_the_journal
def do_with_store(journal: Journal, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a method of the store of a run."""
    return getattr(RunStore(journal.directory), name)(*args, **options)


def _text(key: str | bytes) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


def _bytes(value: Value) -> bytes:
    if isinstance(value, bool) or not isinstance(value, (str, bytes, int, float)):
        raise TypeError(f"app.backend stores text, bytes and numbers, not {value!r}")
    return value if isinstance(value, bytes) else str(value).encode()
