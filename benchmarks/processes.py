"""What the kernel says of running processes: their processor time and memory; and how to end all of them."""
from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

from firexlite import host

KIB = 1024


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    return [pid, *host.descendants(pid)]


def cpu_s(pids: Iterable[int]) -> float:
    """The processor time that these have used so far, to the nanosecond; what has ended counts nothing."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime(~pid << 3 | 2)  # the kernel's number for the clock of another process
    return total


def used_s(pids: Iterable[int]) -> float:
    """The processor time that these have used so far, and all below them that has ended, in steps of 10 ms a process."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def pss(pids: Iterable[int]) -> int:
    """Bytes of memory that these have in all; of pages that several share, each has its part."""
    return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids) * KIB


def peak(pid: int) -> int:
    """The most bytes of memory that a process had at once, pages that it shares with others included."""
    return _kib(f"/proc/{pid}/status", "VmHWM:") * KIB


def _kib(path: str, name: str) -> int:
    with contextlib.suppress(OSError), open(path) as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def kill_family(pid: int) -> None:
    """SIGKILL a process and everything below it, all at the same moment as far as that can be."""
    for _ in range(2):  # what was forked while we looked
        for doomed in family(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(doomed, signal.SIGKILL)
