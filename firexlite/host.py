"""What only Linux has, each with a way for hosts that lack it."""
from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator

STOPPING = (signal.SIGINT, signal.SIGTERM)  # those by which a person, or a container engine, stops a run
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2
OF_OTHERS_S = 0.5  # that processes which cannot be killed, as another user's, have to end when all around them has ended


@functools.cache
def _libc() -> object:
    import ctypes
    return ctypes.CDLL(None, use_errno=True)


def flock(fd: int, is_shared: bool = False, waits: bool = False) -> None:
    """Lock an open file, for all who have it from this process. Raises BlockingIOError if others hold it, and nobody waits.

    Where there is no such thing no run can live, so nobody holds anything.
    """
    try:
        import fcntl  # here: who only reads on a host without it must not fail
    except ImportError:
        return
    fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))


def waiting_bytes(fd: int) -> int:
    """How many bytes of a pipe can be read at once."""
    import fcntl
    import termios

    waiting = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (PR_SET_CHILD_SUBREAPER); else they go to init."""
    with contextlib.suppress(AttributeError, OSError):
        _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # type: ignore[attr-defined]


def die_with_parent(parent: int, signal_number: int) -> None:
    """Be sent a signal when the parent process ends. To be called in a child, from its main thread, with its parent's pid.

    The kernel forgets it when the process changes its user or group, as a service may: then it is to be called again.
    """
    with contextlib.suppress(AttributeError, OSError):
        _libc().prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)  # type: ignore[attr-defined]
    if os.getppid() != parent:  # it died before the call
        os._exit(128 + signal_number)


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot: with the pid it names a process for ever. None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def thread_count() -> int:
    """Threads of this process as the kernel counts them: `threading` does not see those of a C library."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading
        return threading.active_count()


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    return found


def parent(pid: int) -> int | None:
    """The parent of a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def descendants(pid: int) -> Iterator[int]:
    """Everything below a process, parents before their children."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def kill_with_descendants(pid: int) -> None:
    """SIGKILL a process and all that it has started."""
    for doomed in [pid, *descendants(pid)]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(doomed, signal.SIGKILL)


def kill_descendants(spared: Collection[int] = ()) -> bool:
    """SIGKILL whatever lives below this process; returns whether that was allowed: a process may be another user's.

    spared: children that are left alone, with all below them.
    """
    is_allowed = True
    for child in children(os.getpid()):
        if child in spared:
            continue
        for pid in [child, *descendants(child)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                is_allowed = False
    return is_allowed


def end_descendants(spared: Collection[int] = ()) -> None:
    """Kill and reap whatever lives below this process; with a subreaper that is all it ever started.

    What may not be killed is let go after `OF_OTHERS_S`.
    """
    give_up = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ours = [child for child in children(os.getpid()) if child not in spared]
            if spared and not ours:
                return
            awaited = ours[0] if spared else -1
            if kill_descendants(spared):  # again each time: one that died may have left us children of its own
                os.waitpid(awaited, 0)
                continue
            give_up = time.monotonic() + OF_OTHERS_S if give_up is None else give_up
            while not os.waitpid(awaited, os.WNOHANG)[0]:
                if time.monotonic() > give_up:
                    return
                time.sleep(0.01)


def pidfd(pid: int) -> int | None:
    """A file descriptor that is readable when a child has ended; None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def kill_session(leader: int) -> None:
    """SIGKILL what lives below this process in the session of a process that has ended: what that has left to us.

    Returns when it is gone, or after `OF_OTHERS_S`.
    """
    give_up = time.monotonic() + OF_OTHERS_S
    doomed = []
    for pid in list(descendants(os.getpid())):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                doomed.append(pidfd(pid))
                os.kill(pid, signal.SIGKILL)
    for ended in filter(None, doomed):
        select.select([ended], [], [], max(0.0, give_up - time.monotonic()))
        os.close(ended)


def punch_hole(fd: int, start: int, length: int) -> bool:
    """Give back the space of a part of a file, whose bytes keep their places; False where that cannot be done."""
    import ctypes
    try:
        fallocate = _libc().fallocate  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return False
    return fallocate(fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length)) == 0


def ended_children() -> list[tuple[int, int]]:
    """``(pid, status)`` of the children that have ended, which are reaped by it."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def how_it_died(status: int) -> str:
    """The status that `os.waitpid` gave, in words: `signal 9 (SIGKILL)` or `exit status 3`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
