"""Who holds the locks of a file, as the kernel tells it; elsewhere than on Linux nobody is named."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from . import host


class Holder(NamedTuple):
    """A process that holds a lock. kind: POSIX (of SQLite) or FLOCK (of ours)."""

    pid: int
    kind: str
    writes: bool

    def __str__(self) -> str:
        command = command_of(self.pid)
        return f"process {self.pid}" + (f" ({command})" if command else "")


def holders(paths: Iterable[Path]) -> list[Holder]:
    """The other processes that hold locks on any of the files, those that keep others out first."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(OSError):
            found = os.stat(path)  # never an `open`: closing it would drop SQLite's own locks in this process
            wanted.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    held: dict[int, Holder] = {}
    for lock in _locks():
        holder, file = lock
        if file in wanted and holder.pid not in (os.getpid(), -1) and not (holder.pid in held and held[holder.pid].writes):
            held[holder.pid] = holder
    return sorted(held.values(), key=lambda holder: (not holder.writes, holder.pid))


def _locks() -> Iterable[tuple[Holder, tuple[int, int, int]]]:
    """`1: POSIX  ADVISORY  WRITE 4711 fd:01:123456 0 EOF`; a lock that is waited for has an arrow before its kind."""
    if host.IS_PORTABLE:
        return
    with contextlib.suppress(OSError, ValueError), open("/proc/locks", encoding="ascii", errors="replace") as file:
        for line in file:
            fields = line.split()
            if len(fields) < 6 or fields[1] == "->":
                continue
            major, minor, inode = fields[5].split(":")
            yield (Holder(int(fields[4]), fields[1], fields[3] == "WRITE"),
                   (int(major, 16), int(minor, 16), int(inode)))


def have_open(path: Path) -> list[int]:
    """The other processes that have a file open, of those that this user may look into."""
    if host.IS_PORTABLE:
        return []
    with contextlib.suppress(OSError):
        wanted = os.stat(path)
        return sorted(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                      if pid != os.getpid() and _has_open(pid, wanted))
    return []


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for fd in fds:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), wanted):
                return True
    return False


def command_of(pid: int) -> str:
    """How a process was started, in one line; empty if it is gone."""
    line = " ".join(host.command_line(pid).split())
    return line if len(line) <= 60 else line[:57] + "..."
