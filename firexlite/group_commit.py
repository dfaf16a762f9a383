"""Group commit: the write-ahead log is synced outside of the write lock, so one sync serves all who committed before it.

Inside, as SQLite does it, nobody could write while the disk is waited for; on a slow disk the workers would settle one
after the other, and a parent could not enqueue. So others may see what a power cut could still take back. That is right as
long as nobody builds on it: whoever gives a body something to do, or something to see, first calls `GroupCommit.wait_for_disk`.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from . import host
from .errors import StorageFailure

# Cells that all processes of an incarnation share. Durable commits are counted: those that were begun, those that were made,
# and those that are on the disk; the last says whether a sync has failed. The first two are written under the write lock, the
# others under that of the log.
BEGUN, MADE, SYNCED, FAILED, MARKS = range(5)


class GroupCommit:
    """The way of one process's durable commits to the disk."""

    def __init__(self, log: Path, marks: memoryview | None, is_on: bool) -> None:
        """log: the write-ahead log. marks: MARKS cells; None for a process that shares none, since others cannot know then
        what is not on the disk, so it lets go of the write lock only when all is. is_on: False makes nothing durable.
        """
        self._log, self.is_on, self.is_alone = log, is_on, marks is None
        self._marks = memoryview(bytearray(8 * MARKS)).cast("q") if marks is None else marks
        self._fd = -1

    def begin(self) -> None:
        """A durable commit is about to be made. If its process is killed before `made`, it stays on the books as one that
        may have been made, and those who read then sync each for itself."""
        if self.is_on:
            self._marks[BEGUN] += 1

    def made(self) -> None:
        """It was made."""
        if self.is_on:
            self._marks[MADE] = self._marks[BEGUN]

    @property
    def is_behind(self) -> bool:
        """Whether the disk may not have all that was to be durable."""
        return self._marks[SYNCED] < self._marks[BEGUN]

    def wait_for_disk(self) -> None:
        """Return when the disk has all that was committed up to now. Raises StorageFailure if it fails, or has failed: what of
        it is there nobody knows then, so nobody may write any more. No sync is tried after that one: Linux tells of what it
        dropped once, and then takes the same pages for written."""
        if not self.is_behind:
            return
        wanted = self._marks[BEGUN]
        try:
            self.open()
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # while another syncs: it may be for us, too
            try:
                self._sync(wanted)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise StorageFailure(f"{self._log} could not be written ({error.strerror})") from error

    def _sync(self, wanted: int) -> None:
        """Under the lock: have so many commits on the disk."""
        if self._marks[SYNCED] >= wanted:
            return
        if self._marks[FAILED]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        made = self._marks[MADE]
        try:
            host.sync_data(self._fd)
        except OSError:
            self._marks[FAILED] = 1
            raise
        self._marks[SYNCED] = made

    def open(self) -> None:
        """Open the log, if it is not. Early: a body may leave no file descriptor free. Raises OSError."""
        if self._fd < 0:
            self._fd = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the log, also in a fork; it is opened again when it is needed."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
