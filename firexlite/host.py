"""What only Linux has, each with a way for hosts that lack it.

Those ways are taken on Linux too where the environment says FIREXLITE_PORTABLE=1: so they are tested. What they cannot
promise is in docs/reliability.md.
"""
from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

from . import processes

IS_PORTABLE = not sys.platform.startswith("linux") or os.environ.get("FIREXLITE_PORTABLE") == "1"
STOPPING = (signal.SIGINT, signal.SIGTERM)  # those by which a person, or a container engine, stops a run
GRACE_S = 8.0  # that bodies have to end after a request to stop; below the 10 s of container engines
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2
OF_OTHERS_S = 0.5  # that processes which cannot be killed, as another user's, have to end when all around them has ended
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_SOCKET_PATH_BYTES = 103   # that BSD has room for; Linux has a few more
_SOCKET_NAME_BYTES = 32
_LOOK_S = 0.02             # between two looks at processes that are not our children


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
    return os.cpu_count() or 1 if IS_PORTABLE else len(os.sched_getaffinity(0))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (PR_SET_CHILD_SUBREAPER); else they go to init."""
    if IS_PORTABLE:
        return
    with contextlib.suppress(AttributeError, OSError):
        _libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # type: ignore[attr-defined]


def die_with_parent(parent: int, signal_number: int) -> None:
    """Be sent a signal when the parent process ends. To be called in a child, from its main thread, with its parent's pid.

    The kernel forgets it when the process changes its user or group, as a service may: then it is to be called again. Where
    it knows no such thing, `guard` sees to it.
    """
    if not IS_PORTABLE:
        with contextlib.suppress(AttributeError, OSError):
            _libc().prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)  # type: ignore[attr-defined]
    if os.getppid() != parent:  # it died before the call
        os._exit(128 + signal_number)


def start_time(pid: int) -> int | None:
    """When a process began: with the pid it names a process for ever. None if it is gone, or a zombie.

    In clock ticks since boot; in seconds since 1970 where a host does not tell these.
    """
    if IS_PORTABLE:
        found = processes.process(pid)
        return None if found is None else found.start
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def thread_count() -> int:
    """Threads of this process as the kernel counts them: `threading` does not see those of a C library.

    Where it does not tell, those that `threading` sees.
    """
    if not IS_PORTABLE:
        with contextlib.suppress(OSError):
            return len(os.listdir("/proc/self/task"))
    import threading
    return processes.thread_count() or threading.active_count()


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    if IS_PORTABLE:
        return [one.pid for one in processes.look().values() if one.parent == pid]
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    return found


def parent(pid: int) -> int | None:
    """The parent of a process; None if it is gone."""
    if IS_PORTABLE:
        found = processes.process(pid)
        return None if found is None else found.parent
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def descendants(pid: int) -> Iterator[int]:
    """Everything below a process, parents before their children."""
    if IS_PORTABLE:
        yield from processes.below([pid], processes.look())
        return
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


def end_descendants(spared: Collection[int] = (), sessions: Collection[int] = ()) -> None:
    """Kill and reap whatever lives below this process; with a subreaper that is all it ever started.

    What may not be killed is let go after `OF_OTHERS_S`. sessions: their leaders, which were below this process; without a
    subreaper what they left behind is found by that.
    """
    if IS_PORTABLE:
        _end_family([os.getpid()], sessions, spared)
        return
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


def _end_family(roots: Collection[int], sessions: Collection[int], spared: Collection[int] = (), limit_s: float | None = None
                ) -> None:
    """Kill what `processes.family` finds, again until there is nothing; what may not be killed is let go after `OF_OTHERS_S`.

    limit_s: of all of it.
    """
    began, refused_at = time.monotonic(), 0.0
    killed: set[int] = set()
    while doomed := processes.family(roots, sessions, spared):
        is_allowed = True
        for pid in doomed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                is_allowed = False
        killed.update(doomed)
        now = time.monotonic()
        if limit_s is not None and now > began + limit_s:
            break
        if not is_allowed:
            refused_at = refused_at or now
            if now > refused_at + OF_OTHERS_S:
                break
        _reap(killed)
        time.sleep(_LOOK_S)
    _reap(killed)


def _reap(pids: Collection[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def end_sessions(leaders: Collection[int]) -> None:
    """SIGKILL whatever lives in the sessions of these leaders, or below that, whoever its parent is by now."""
    _end_family([], leaders)


def has_ended(child: int) -> bool:
    """Whether a child has ended, which is not reaped by it."""
    if IS_PORTABLE or not hasattr(os, "waitid"):
        return processes.process(child) is None
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return True


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def command_line(pid: int) -> str:
    """How a process was started; empty if it is gone."""
    if IS_PORTABLE:
        return processes.command_line(pid)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(4096).decode("utf-8", "replace").replace("\0", " ")
    return ""


def pidfd(pid: int) -> int | None:
    """A file descriptor that is readable when a child has ended; None where there is no such thing."""
    if IS_PORTABLE:
        return None
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def kill_session(leader: int) -> None:
    """SIGKILL what lives below this process in the session of a process that has ended: what that has left to us.

    Returns when it is gone, or after `OF_OTHERS_S`.
    """
    if IS_PORTABLE:
        _end_family([], [leader], limit_s=OF_OTHERS_S)
        return
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
    if IS_PORTABLE:
        return False
    import ctypes
    try:
        fallocate = _libc().fallocate  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return False
    return fallocate(fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length)) == 0


def sync_data(fd: int) -> None:
    """Have on the disk what was written to a file. Raises OSError if it fails."""
    if not IS_PORTABLE:
        os.fdatasync(fd)
    else:
        sync(fd)


def sync(fd: int) -> None:
    """Have a file or a directory on the disk. Raises OSError if it fails."""
    import fcntl

    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves it in the cache of the disk
        with contextlib.suppress(OSError):  # some file systems have no such thing
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def forget_peak() -> bool:
    """Have the kernel forget how much memory this process once held; whether it did."""
    if IS_PORTABLE:
        return False
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, b"5")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def memory_held() -> int:
    """Bytes of memory that this process holds; 0 if the system does not tell."""
    if not IS_PORTABLE:
        with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def keep_only(fds: Collection[int]) -> None:
    """Close all files of this process but these; the standard ones lead nowhere then."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in fds:
            os.dup2(nowhere, standard)
    kept = {0, 1, 2, *fds}
    if IS_PORTABLE:  # a BSD lists the first three alone in /dev/fd
        last = min(os.sysconf("SC_OPEN_MAX"), 1 << 20)
        begin = 0
        for fd in [*sorted(kept), last]:
            if fd > begin:  # of nothing before 0 it would make all there is
                os.closerange(begin, fd)
            begin = fd + 1
        return
    for inherited in map(int, os.listdir("/dev/fd")):
        if inherited not in kept:
            with contextlib.suppress(OSError):  # the one by which they were listed
                os.close(inherited)


def socket_folder(folder: Path, fd: int) -> str:
    """A short path of a folder that is open: that of a socket may have some hundred bytes only, and a folder has any length.

    Where an open file has no path it is the folder's own, or that of a link to it, which `forget_socket_folder` removes.
    Raises OSError.
    """
    if not IS_PORTABLE:
        return f"/proc/self/fd/{fd}"
    path = os.path.abspath(folder)
    if len(os.fsencode(path)) + _SOCKET_NAME_BYTES <= _SOCKET_PATH_BYTES:
        return path
    link = _link_to(path)
    with contextlib.suppress(FileExistsError):
        os.symlink(path, link)
    if os.readlink(link) != path or os.lstat(link).st_uid != os.geteuid():
        raise FileExistsError(errno.EEXIST, "somebody else's file is in the place of a link that is needed", link)
    return link


def forget_socket_folder(folder: Path) -> None:
    """Remove what `socket_folder` made."""
    if IS_PORTABLE:
        link = _link_to(os.path.abspath(folder))
        with contextlib.suppress(OSError):
            if os.lstat(link).st_uid == os.geteuid():
                os.unlink(link)


def _link_to(path: str) -> str:
    import hashlib

    return f"/tmp/firexlite-{os.geteuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"


def mounts() -> Iterator[tuple[str, str]]:
    """``(mount point, type)`` of all that is mounted, as a `mount` tells that writes as those of BSD and Linux do."""
    if not IS_PORTABLE:
        return
    import re
    for line in processes.output("mount"):
        # `/dev/disk3s1 on / (apfs, local)`, or `/dev/sda1 on / type ext4 (rw)`
        if found := re.match(r".*? on (/.*?) (?:type (\S+) )?\((\w+)[^()]*\)$", line):
            yield found[1], found[2] or found[3]


def ended_children() -> list[tuple[int, int]]:
    """``(pid, status)`` of the children that have ended, which are reaped by it."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def die_of(status: int) -> NoReturn:
    """End this process as another one ended, with the status that `os.waitpid` gave of that; without a core file."""
    if os.WIFSIGNALED(status):
        import resource

        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def how_it_died(status: int) -> str:
    """The status that `os.waitpid` gave, in words: `signal 9 (SIGKILL)` or `exit status 3`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
