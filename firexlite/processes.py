"""The processes of this host as `ps` tells of them, for hosts without /proc.

Each look starts a `ps`, so what asks often on Linux asks seldom here. It is started in a session of its own: a Ctrl-C of the
terminal is not meant for it.
"""
from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection
from typing import NamedTuple

# Each by itself: a BSD would take `,ppid=` for the header of the first.
_COLUMNS = ("-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "lstart=")


class Process(NamedTuple):
    """One that lives. began: as `ps` writes it, `Thu Nov 26 17:56:58 2026`, in UTC."""

    pid: int
    parent: int
    began: str

    @property
    def start(self) -> int:
        """When it began, in seconds since 1970."""
        import calendar
        return calendar.timegm(time.strptime(self.began))


def look(*which: str) -> dict[int, Process]:
    """``{pid: process}`` of those that live, zombies and the `ps` itself left out.

    which: ``-p PID`` for one; all unless given.
    """
    found = {}
    for line in _ps(*(which or ("-A",)), *_COLUMNS):
        words = line.split()
        if len(words) == 8 and not words[2].startswith(("Z", "X")):
            found[int(words[0])] = Process(int(words[0]), int(words[1]), " ".join(words[3:]))
    return found


def process(pid: int) -> Process | None:
    return look("-p", str(pid)).get(pid)


def command_line(pid: int) -> str:
    return " ".join(_ps("-p", str(pid), "-o", "command="))


def thread_count() -> int:
    """Threads of this process; 0 if `ps` does not tell."""
    if sys.platform == "darwin":
        return max(0, len(list(_ps("-M", "-p", str(os.getpid())))) - 1)  # a line of each, below a header
    counts = [line.strip() for line in _ps("-p", str(os.getpid()), "-o", "nlwp=")]
    return int(counts[0]) if counts and counts[0].isdigit() else 0


def _ps(*arguments: str) -> list[str]:
    """The lines that `ps` prints but for that on itself."""
    return output("ps", *arguments)


def output(*words: str) -> list[str]:
    """The lines that a program prints, but for one that begins with its own pid; none where there is no such program."""
    import subprocess  # here: on Linux nobody needs it

    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    environment.pop("PS_FORMAT", None)
    with contextlib.suppress(OSError), subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
            env=environment, start_new_session=True) as program:
        said, _ = program.communicate()
        return [line for line in said.splitlines() if line.split()[:1] != [str(program.pid)]]
    return []


def below(roots: Collection[int], table: dict[int, Process]) -> list[int]:
    """Everything below some processes, parents before their children."""
    children: dict[int, list[int]] = {}
    for one in table.values():
        children.setdefault(one.parent, []).append(one.pid)
    found, waiting = [], list(roots)
    while waiting:
        next_ones = [child for parent in waiting for child in children.get(parent, ()) if child != parent]
        found += next_ones
        waiting = next_ones
    return found


def family(roots: Collection[int], sessions: Collection[int] = (), spared: Collection[int] = ()) -> list[int]:
    """What lives below some processes, and in the sessions that were begun there, or had these leaders, with all below it.

    That is who is left to us where orphans go to process 1: those that begin a session of their own, and whose parent has
    ended, are not found. spared: left out, with all below them.
    """
    table = look()
    members: dict[int, list[int]] = {}
    for pid in table:
        with contextlib.suppress(OSError):
            members.setdefault(os.getsid(pid), []).append(pid)
    kept = {os.getpid(), *spared, *below(spared, table)}
    found: dict[int, None] = {}
    waiting = below(roots, table)
    led = list(sessions)
    while waiting or led:
        waiting += [pid for leader in [*led, *waiting] for pid in members.get(leader, ())]
        led = []
        waiting = [pid for pid in dict.fromkeys(waiting) if pid not in found and pid not in kept and pid > 1]
        found.update(dict.fromkeys(waiting))
        waiting = below(waiting, table)
    return list(found)
