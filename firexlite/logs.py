"""Where the output of tasks goes: one file a worker, of which each attempt owns a stretch.

A worker runs one attempt at a time, and a blocked one keeps its worker, so stretches never mix; a task that
prints nothing costs nothing. Shell commands that a service starts write there too.
"""
from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

TAIL_BYTES = 64 * 1024  # of one attempt's output, as much as a reader is given


class WorkerLog:
    """Sends this process's stdout, stderr and log records to a file from now on."""

    def __init__(self, path: Path) -> None:
        self._inherited = sys.stdout, sys.stderr  # kept, never flushed: what is left in them is the runner's
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for standard in (1, 2):
            os.dup2(self._fd, standard)
        self._streams = sys.stdout, sys.stderr = _stream(1), _stream(2)
        self._log_records_to_stderr()

    @staticmethod
    def _log_records_to_stderr() -> None:
        root = logging.getLogger()
        if not root.handlers:  # a service file that configured logging itself keeps what it chose
            handler = _ToStderr()
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
            root.addHandler(handler)
            root.setLevel(logging.INFO)

    def size(self) -> int:
        """Bytes written so far, those still buffered included."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # the service closed it, or put another in its place
                stream.flush()
        return os.fstat(self._fd).st_size

    def restore(self) -> None:
        """Undo what a service may have done to its standard streams: closed or redirected them."""
        for standard in (1, 2):
            os.dup2(self._fd, standard)
        if any(stream.closed for stream in self._streams):
            self._streams = (_stream(1), _stream(2))
        sys.stdout, sys.stderr = self._streams


def _stream(fd: int) -> TextIO:
    return os.fdopen(fd, "w", buffering=1, errors="backslashreplace", closefd=False)


class _ToStderr(logging.StreamHandler):
    """Writes to what is stderr at that moment: a service may have closed the one of before."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # not StreamHandler's, which would keep the stderr of now

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("this handler always writes to stderr")


def read_stretch(path: Path, start: int, end: int | None, limit: int = TAIL_BYTES) -> tuple[str, int]:
    """``(text, bytes left out before it)``: the last ``limit`` bytes of a stretch; a missing file is empty."""
    try:
        with open(path, "rb") as file:
            stop = os.fstat(file.fileno()).st_size if end is None else end
            begin = max(start, stop - limit)
            file.seek(begin)
            return file.read(max(0, stop - begin)).decode("utf-8", "replace"), begin - start
    except FileNotFoundError:
        return "", 0
