"""Opening what a stranger may have laid into a run: never through a link, never a pipe that hangs, never without end.

And the look at what lies beside a journal, before SQLite does.
"""
from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import JournalUnusable

LARGEST_PAYLOAD = 1 << 30  # bytes: of a file that is read as a whole; a file with a hole may claim any size


def open_own_file(path: Path) -> int:
    """Open a regular file for reading; never what a symbolic link or a pipe of its name leads to. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_own_file(path: Path, limit: int = LARGEST_PAYLOAD) -> bytes:
    """The bytes of a regular file. Raises OSError, also for one of more than ``limit`` bytes."""
    with os.fdopen(open_own_file(path), "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise OSError(errno.EFBIG, f"it has {size} bytes, and at most {limit} are read", str(path))
        return file.read(limit)


def refuse_strange_parts(journal: Path) -> None:
    """Raise JournalUnusable unless SQLite may open a journal that may be a stranger's: of this and what lies beside it.

    What SQLite finds in a `-journal` it rolls back, and then it removes the file that this names as its super-journal:
    any file of who looks. No firexlite ever leaves one (see `journal._NO_ROLLBACK_FILE`). A pipe would hang who opens it.
    """
    real = os.path.realpath(journal)  # SQLite too looks beside the file that a link leads to
    for part in ("", "-wal", "-shm", "-journal"):
        try:
            found = os.lstat(real + part)
        except OSError:  # SQLite will say what is the matter with a journal that is not there
            continue
        if not stat.S_ISREG(found.st_mode):
            if stat.S_ISDIR(found.st_mode) and not part:
                raise JournalUnusable(f"{journal} is a directory, where a journal should be")
            raise JournalUnusable(f"{journal}{part} is no regular file, as it is in a run that firexlite made")
        if part == "-journal" and found.st_size:
            raise JournalUnusable(f"{journal}{part} lies beside the journal, and firexlite never leaves such a file: to undo "
                                  "what it tells of could remove any file of yours; do not trust this run")
