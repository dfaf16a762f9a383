"""The log of a run as a whole: when its processes began, died and ended, a line each, in `logs/run.log`."""
from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from .secrets import masked

NAME = "run.log"
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def note(folder: Path, sentence: str) -> None:
    """Add a line to the log in this folder. A disk without room is no failure."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    with suppress(OSError):
        fd = os.open(folder / NAME, _APPEND, 0o600)
        try:
            os.write(fd, f"{moment} UTC  {' '.join(masked(sentence).split())}\n".encode("utf-8", "backslashreplace"))
        finally:
            os.close(fd)
