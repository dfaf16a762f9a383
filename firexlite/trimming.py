"""Keeps what tasks print from filling the disk: of an attempt's output the first and the last part stay.

While the attempt goes on, the front takes the space of what lies in between from the file, as a hole: every byte keeps its
place, so whoever is writing, a shell command say, notices nothing. When the attempt has ended its worker closes the gap, with
a sentence in its place. A hole that a dead worker left is always in the last stretch of its file, and is closed by who
writes there next, or when the run ends.

A lock on the file keeps the two apart: no hole is made in what has just been closed.
"""
from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from . import faults, host
from .errors import BadInput

LOG_LIMIT = 16 << 20    # bytes of one attempt's output that are kept
BLOCK = 64 << 10        # a hole begins and ends at a multiple of it, as all file systems can
COPY_BYTES = 1 << 20
SMALLEST = 4096
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def log_limit() -> int:
    """How many bytes of one attempt's output are kept; 0: all. Raises BadInput for what FIREXLITE_LOG_LIMIT cannot be."""
    chosen = os.environ.get("FIREXLITE_LOG_LIMIT", "").strip()
    if not chosen:
        return LOG_LIMIT
    found = re.fullmatch(r"(\d{1,12})([KMG]?)", chosen.upper(), re.ASCII)
    limit = int(found[1]) * _UNITS[found[2]] if found else -1
    if limit and limit < SMALLEST:
        raise BadInput(f"FIREXLITE_LOG_LIMIT is '{chosen}'; it takes a number of bytes from {SMALLEST} on, 16M say, or 0 to "
                       "keep all that tasks print")
    return limit


def note(left_out: int) -> str:
    """What stands in the place of output that is not there."""
    return f"\n[firexlite: {left_out:,} bytes of output are left out here]\n"


def shorten(path: Path, start: int, limit: int) -> None:
    """Cut what lies in the middle of a stretch that begins at ``start`` and ends with the file, if it is above the limit."""
    with contextlib.suppress(OSError), _locked(path) as fd:
        _shorten(fd, start, limit)


def _shorten(fd: int, start: int, limit: int) -> None:
    size = os.fstat(fd).st_size
    if size - start > limit:
        _close(fd, start + limit // 2, size - limit // 2)


def relieve(path: Path, limit: int, start_of: Callable[[], int]) -> None:
    """Take the space of a middle from the last stretch of a file, which grows; what a file system cannot do is done by cutting.

    start_of: where the stretch begins; asked under the lock, after the look at the size: what has begun since is not touched.
    """
    with contextlib.suppress(OSError), _locked(path) as fd:
        size = os.fstat(fd).st_size
        start = start_of()
        first = -(-(start + limit // 2) // BLOCK) * BLOCK
        last = (size - limit // 2) // BLOCK * BLOCK
        if last - first >= BLOCK and not host.punch_hole(fd, first, last - first):
            _shorten(fd, start, limit)


def close_holes(path: Path, since: int = 0) -> None:
    """Put the sentence in the place of a hole, in a file to which nobody writes; not if a stretch begins behind it.

    since: where the last stretch of the file begins.
    """
    with contextlib.suppress(OSError), _locked(path) as fd:
        size = os.fstat(fd).st_size
        holes = [(start, end) for start, end, is_there in parts(fd, 0, size) if not is_there]
        if holes and holes[0][0] >= since:
            _close(fd, holes[0][0], holes[-1][1])


def parts(fd: int, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """``(start, end, whether it is there)`` of what a file holds between two places: data, and holes."""
    if not hasattr(os, "SEEK_DATA") and begin < end:
        yield begin, end, True
        return
    while begin < end:
        try:
            data = min(end, os.lseek(fd, begin, os.SEEK_DATA))
        except OSError as error:  # nothing but a hole, up to the end; or a system that knows none
            data = end if error.errno == errno.ENXIO else begin
        if data > begin:
            yield begin, data, False
        if data < end:
            try:
                hole = min(end, os.lseek(fd, data, os.SEEK_HOLE))
            except OSError:
                hole = end
            yield data, hole, True
            data = hole
        begin = data


def _close(fd: int, first: int, last: int) -> None:
    """Move what begins at ``last`` to ``first``, behind the sentence, and end the file there. A kill in between tears a log."""
    size = os.fstat(fd).st_size
    text = note(last - first).encode()
    if first + len(text) >= last:
        return
    os.pwrite(fd, text, first)
    target = first + len(text)
    while last < size and (data := os.pread(fd, min(COPY_BYTES, size - last), last)):
        last += len(data)
        while data:
            written = os.pwrite(fd, data, target)
            target, data = target + written, data[written:]
        faults.reach("log moved")
    os.ftruncate(fd, target)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A log of ours, open for writing wherever in it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        host.flock(fd, waits=True)
        yield fd
    finally:
        os.close(fd)


def worker_of(name: str) -> tuple[int, int] | None:
    """The incarnation and the worker whose log has this name."""
    found = re.fullmatch(r"(\d{1,9})-(\d{1,9})(?:@[\w.-]{1,64})?\.log", name, re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


class Watch:
    """Looks after the logs of a run that goes on. Cheap: a look is a stat for each worker's file.

    start_of: from an incarnation and a worker to where its present attempt's output begins.
    """

    def __init__(self, folder: Path, start_of: Callable[[int, int], int]) -> None:
        self._folder, self._start_of = folder, start_of
        self._limit = log_limit()
        self._seen: dict[str, int] = {}  # the size of each file when it was relieved last

    def look(self) -> None:
        """Relieve each file that has grown by more than the limit. What goes wrong is left for the next look."""
        if not self._limit:
            return
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                if (of := worker_of(entry.name)) is None:
                    continue
                size = entry.stat(follow_symlinks=False).st_size
                seen = min(size, self._seen.get(entry.name, 0))
                if size - seen > self._limit:
                    relieve(Path(entry.path), self._limit, functools.partial(self._start_of, *of))
                    seen = size
                self._seen[entry.name] = seen
