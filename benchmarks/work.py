"""What bodies do that are to have something to do; firexlite's services and those of its peers do the same."""
from __future__ import annotations

import os
import time
from pathlib import Path

SPIN_S = 0.05
STEP_BYTES = 7
LINE = "x" * 63
LOG_LINES = 32  # of LINE: 2 KB


def spin(seconds: float = SPIN_S) -> int:
    """Use up so much processor time of this thread, whatever it takes on the clock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(2000):
            pass
    return 1


def leave_step(path: str, number: int) -> int:
    """Leave a trace of one step, so that steps that ran again can be counted."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"%06d\n" % number)
    finally:
        os.close(fd)
    return number


def steps_left(path: Path) -> int:
    """How many traces there are."""
    try:
        return path.stat().st_size // STEP_BYTES
    except FileNotFoundError:
        return 0
