"""Where the output of tasks goes: one file a worker, of which each attempt owns a stretch.

A worker runs one attempt at a time, and a blocked one keeps its worker, so stretches never mix; a task that
prints nothing costs nothing. Shell commands that a service starts write there too.

As long as a worker knows no secret, all of them write to the file itself. From then on they write to a pipe, and a process
of its own, the filter, brings what comes out of it to the file, with a mask in the place of each secret.
"""
from __future__ import annotations

import codecs
import contextlib
import errno
import gc
import io
import os
import select
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TextIO

from . import host, packets
from .loggers import capture_records
from .secrets import masked, vault
from .trimming import close_holes, log_limit, note, parts, shorten

MOST_LINE = 64 * 1024   # bytes of a line that is waited for until it is complete
TAIL_BYTES = 64 * 1024  # of one attempt's output, as much as a reader is given
MOST_BYTES = 1 << 30    # that are ever read at once; a hole may claim any size
CHUNK_BYTES = 64 * 1024 # that the filter takes at once
ANSWER_S = 10.0         # how long the filter is waited for; it answers in well under a millisecond
TELLING_BYTES = 4       # of the beginning of a value, which are held back for what may follow, even after the body has ended
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
SOME_WAS_LOST = b"[firexlite: some output was lost: the disk was full]\n"
NO_FILTER = b"[firexlite: the output that follows is left out: no process could be started to mask the secrets in it]\n"


class WorkerLog:
    """Sends this process's stdout, stderr and log records to a file from now on; to nowhere if there is no room for one.

    critical: entered while file descriptors change places; holds signals back.
    """

    def __init__(self, path: Path, critical: AbstractContextManager | None = None) -> None:
        self._inherited = sys.stdout, sys.stderr  # kept, never flushed: what is left in them is the runner's
        self._critical = critical or contextlib.nullcontext()
        self._fd = self._opened(path)
        self._output = self._fd                   # where 1 and 2 lead: the file, or the pipe to the filter
        self._filter: _Filter | None = None
        for standard in (1, 2):
            os.dup2(self._output, standard)
        self._streams = sys.stdout, sys.stderr = _stream(1), _stream(2)
        capture_records()

    def _opened(self, path: Path) -> int:
        close_holes(path)  # of a worker before us that had this number
        fd = _open_log(path)
        self._path, self._limit = path, log_limit()
        self._began = os.fstat(fd).st_size  # where the output of the present attempt begins
        return fd

    def size(self) -> int:
        """Bytes written so far, those still buffered or on their way through the filter included: where a stretch ends,
        and the next begins. One that is too long is shortened."""
        flush_output()
        if self._filter is not None:
            self._filter.drained()
        size = os.fstat(self._fd).st_size
        if self._limit and size - self._began > self._limit:
            shorten(self._path, self._began, self._limit)
            size = os.fstat(self._fd).st_size
        self._began = size
        return size

    def end(self) -> None:
        """Wait until all is in the file that was ever flushed: the filter may not live much longer."""
        if self._filter is not None:
            self._filter.ends()

    def restore(self) -> None:
        """Undo what a service may have done to its standard streams, closed or redirected them, and to the filter."""
        if vault.known is not None and (self._filter is None or not self._filter.is_alive()):
            with self._critical:
                self._start_filter()
        for standard in (1, 2):
            os.dup2(self._output, standard)
        if any(stream.closed for stream in self._streams):
            self._streams = (_stream(1), _stream(2))
        sys.stdout, sys.stderr = self._streams

    def mask(self, reference: str, value: str) -> None:
        """Mask one more secret from now on; nobody may have been given its value yet.

        A process that a service forked gets a filter of its own.
        """
        with self._critical:
            if self._filter is None or not self._filter.learns(reference, value):
                self._start_filter()

    def leave_to_service(self) -> None:
        """In a process that a service forks: let the filter end when the worker does."""
        if self._filter is not None:
            self._filter.control.close()

    def _start_filter(self) -> None:
        """Have output go through a filter that knows what this process knows; to nowhere if none can be started."""
        for standard in (0, 1, 2):
            if not _is_open(standard):  # or the pipe would take its place
                os.dup2(self._output, standard)
        # One that a service has led elsewhere comes back when its body has ended.
        leads_here = [standard for standard in (1, 2) if os.path.sameopenfile(standard, self._output)]
        filter_before = self._filter
        try:
            self._filter = _Filter(self._fd)
            self._output = self._filter.pipe
        except OSError:
            self._filter = None
            with io.FileIO(self._fd, "w", closefd=False) as file, suppress(OSError):
                file.write(NO_FILTER)
            self._output = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for standard in leads_here:
            os.dup2(self._output, standard)
        if filter_before is not None:
            filter_before.control.close()


class PipedLog(WorkerLog):
    """One that goes into a pipe, at whose other end its bytes are counted."""

    def __init__(self, pipe: int, critical: AbstractContextManager | None = None) -> None:
        self._pipe = pipe
        super().__init__(Path(os.devnull), critical)

    def _opened(self, path: Path) -> int:
        return self._pipe

    def size(self) -> int:
        """All is in the pipe that was written so far; 0."""
        flush_output()
        if self._filter is not None:
            self._filter.drained()
        return 0


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _open_log(path: Path) -> int:
    try:
        # Neither through a link nor into a pipe, which a stranger may have put there.
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        os.set_blocking(fd, True)  # for the commands of services, which inherit it
        return fd
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


class _Lossy(io.FileIO):
    """Output for which a full disk has no room is dropped: it fails no task. Later a note says so."""

    has_lost = False

    def write(self, data: Any) -> int:
        try:
            if self.has_lost:
                super().write(SOME_WAS_LOST)
                self.has_lost = False
            while (written := super().write(data)) is None:  # a command has made the pipe that it shares with us non-blocking
                select.select([], [self], [])
            return written
        except OSError as error:
            if error.errno not in NO_ROOM and error.errno != errno.EPIPE:  # the filter is gone; the next attempt has another
                raise
            self.has_lost = error.errno != errno.EPIPE
            return len(data)


def _as_it_was(error: UnicodeError) -> tuple[str | bytes, int]:
    """One character that has no form in UTF-8: a byte that Python could not decode as that byte, another as an escape.

    Where the locale is POSIX, Python has such bytes for all beyond ASCII; escaped, a value would not be known again.
    """
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    is_byte = "\udc80" <= character <= "\udcff"
    return bytes([ord(character) - 0xdc00]) if is_byte else f"\\u{ord(character):04x}", error.start + 1


codecs.register_error("firexlite.as_it_was", _as_it_was)


def _stream(fd: int) -> TextIO:
    return io.TextIOWrapper(io.BufferedWriter(_Lossy(fd, "w", closefd=False)), encoding="utf-8",
                            errors="firexlite.as_it_was", line_buffering=True)


def flush_output() -> None:
    """Write out what stands in this process's stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a service may have put anything there, or closed it; a reader may be gone
            stream.flush()


class _Masked(io.TextIOWrapper):
    """Masks each text that is written; a value that comes in two pieces gets through."""

    def write(self, text: str) -> int:
        super().write(masked(text))
        return len(text)


class _Terminal:
    """Where a process that imports services prints, and the commands that they start: from its first secret on to a filter."""

    def __init__(self) -> None:
        self._filter: _Filter | None = None
        self._fd = -1  # where 1 and 2 led before

    def mask(self, reference: str, value: str) -> None:
        if self._filter is None:
            flush_output()
            self._start_filter()
        elif not self._filter.learns(reference, value):
            self._start_filter()

    def _start_filter(self) -> None:
        stream: Callable[[int], TextIO] = _stream
        try:
            if self._fd < 0:
                self._fd = os.dup(2)
            self._filter = _Filter(self._fd)
        except OSError:  # there is no room for a process, or nothing to print to; what comes by other ways is not masked then
            stream = lambda fd: _Masked(io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), errors="backslashreplace",  # noqa: E731
                                        line_buffering=True)
        else:
            for standard in (1, 2):
                os.dup2(self._filter.pipe, standard)
        sys.stdout, sys.stderr = stream(1), stream(2)

    def settle(self) -> None:
        """Wait until all that was printed is there; what another process says next is to follow it."""
        if self._filter is not None:
            flush_output()
            self._filter.drained()

    def end(self) -> None:
        """Wait until all is there that was ever flushed: the filter may not live much longer."""
        if self._filter is not None:
            self._filter.ends()

    def leave(self) -> None:
        """In a fork: let the filter end when the process that started it does."""
        if self._filter is not None:
            self._filter.control.close()


terminal = _Terminal()
if hasattr(os, "register_at_fork"):  # where nothing forks, there is nothing to leave
    os.register_at_fork(after_in_child=terminal.leave)


# --- the filter --------------------------------------------------------------------------------

class _Filter:
    """The worker's side of its filter: the pipe into it, and a socket over which it is asked and told. Raises OSError.

    It is no child of the worker: a service that waits for its own children must not find it, nor kill it with them.
    """

    def __init__(self, log_fd: int) -> None:
        source, self.pipe = os.pipe()
        self.control, theirs = packets.pair()
        self.control.settimeout(ANSWER_S)
        self._number = 0
        self._lock = threading.RLock()
        self._is_gone = False
        try:
            if not (pid := _fork()):
                _be_the_filter(source, theirs.fileno(), log_fd)
            with suppress(ChildProcessError):  # a service may have its children reaped by the kernel
                if os.waitpid(pid, 0)[1]:
                    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError:
            os.close(self.pipe)
            self.control.close()
            raise
        finally:
            os.close(source)
            theirs.close()

    def drained(self) -> int | None:
        """The size of the log when all is in it that was written before; None if the filter does not answer."""
        return self._ask(b"drain")

    def ends(self) -> None:
        """Have it write what it holds back, as nothing follows, and end."""
        self._ask(b"end")

    def learns(self, reference: str, value: str) -> bool:
        """Whether it masks one more secret from now on."""
        return self._ask(f"{reference}\0{value}".encode("utf-8", "surrogateescape")) is not None

    def is_alive(self) -> bool:
        return not self._is_gone and not select.select([self.control], [], [], 0)[0]

    def _ask(self, message: bytes) -> int | None:
        with self._lock:
            self._number += 1
            try:
                self.control.send(b"%d " % self._number + message)
                while reply := self.control.recv(64):
                    number, size = map(int, reply.split())
                    if number == self._number:  # else an answer to what a signal kept from being heard
                        return size
            except OSError:
                pass
            self._is_gone = True
            return None


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which Python 3.12 warns of; the filter uses nothing they may hold
        return os.fork()


def _be_the_filter(source: int, control: int, log_fd: int) -> None:
    """The forked side; does not return. Of what it inherits it keeps three files: no lock, no journal."""
    code = 1
    try:
        gc.disable()  # or it would write to all that it shares with the worker
        os.setsid()   # what is meant for the commands of a service is not meant for it
        pid = os.fork()
        code = 0
        if pid:
            return
        for unheeded in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(unheeded, signal.SIG_IGN)
        host.keep_only({source, control, log_fd})
        _Masking(source, packets.by_fd(control), log_fd).run()
    finally:
        os._exit(code)


class _Masking:
    """The filter at work: from a pipe to a log. It ends with its worker, whoever else may still hold the pipe."""

    def __init__(self, source: int, control: packets.Packets, log_fd: int) -> None:
        self._source, self._control = source, control
        self._log = _Lossy(log_fd, "w", closefd=False)
        self._held = b""  # the end of what came, if a value may begin there
        self._shown = 0   # bytes of it that are in the log already

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        goes_on = True
        while goes_on:
            ready = dict(poll.poll())
            if self._source in ready:
                goes_on = self._pass_on(CHUNK_BYTES) > 0
            if self._control.fileno() in ready:
                try:
                    goes_on = self._answer()
                except OSError:  # it ended in the middle of a question
                    goes_on = False
        self._finish()

    def _answer(self) -> bool:
        """Do what the worker asks for; False if it has ended, or is about to."""
        request = self._control.recv(1 << 20)
        if not request:
            return False
        number, _, message = request.partition(b" ")
        if message == b"drain":
            self._drain()
        elif message == b"end":
            self._finish()
        else:
            reference, _, value = message.decode("utf-8", "surrogateescape").partition("\0")
            vault.learn(reference, value)
        self._control.send(b"%s %d" % (number, os.fstat(self._log.fileno()).st_size))
        return message != b"end"

    def _finish(self) -> None:
        """Pass on all there is, what was held back included: nothing follows it any more."""
        self._drain()
        if len(self._held) >= TELLING_BYTES:
            assert vault.known is not None
            self._write(vault.known.mask_held(self._held))
        self._held, self._shown = b"", 0

    def _drain(self) -> None:
        """Pass on what is in the pipe by now; there may never be an end of what comes."""
        left = host.waiting_bytes(self._source)
        while left > 0 and (came := self._pass_on(min(left, CHUNK_BYTES))):
            left -= came
        if len(self._held) < TELLING_BYTES:
            self._write(self._held[self._shown:])
            self._shown = len(self._held)

    def _pass_on(self, limit: int) -> int:
        """Mask and write what comes next; how many bytes that were, 0 at the end."""
        came = os.read(self._source, limit)
        assert vault.known is not None
        data = self._held + came
        text, self._held = vault.known.mask_stream(data)
        shown = data[:self._shown]
        while not text.startswith(shown):  # a mask stands in the place of what followed
            shown = shown[:-1]
        self._write(text[len(shown):])
        self._shown = max(0, self._shown - (len(data) - len(self._held)))
        return len(came)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._log.write(data):]


def read_stretch(path: Path, start: int, end: int | None, limit: int | None = TAIL_BYTES) -> tuple[str, int]:
    """``(text, bytes left out before it)``: the last ``limit`` bytes of a stretch; a missing file is empty.

    limit: None for all that is there. A hole, as the front makes them in what is too long, is told of in a sentence.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size  # a stranger's journal may point anywhere
            stop = size if end is None else min(end, size)
            begin = min(start if limit is None else max(start, stop - limit), size)
            found, left = [], MOST_BYTES
            for first, last, is_there in parts(file.fileno(), begin, max(begin, stop)):
                file.seek(first)
                data = file.read(min(last - first, left)) if is_there else note(last - first).encode()
                left -= len(data)
                found.append(data)
            return b"".join(found).decode("utf-8", "replace"), max(0, begin - start)
    except FileNotFoundError:
        return "", 0


def end_of_lines(path: Path, start: int, stop: int) -> int:
    """Behind the last line that is complete in a stretch; ``stop`` if that is a line of more than `MOST_LINE` bytes."""
    with open(path, "rb") as file:
        begin = max(start, stop - MOST_LINE)
        file.seek(begin)
        found = file.read(stop - begin).rfind(b"\n")
    return begin + found + 1 if found >= 0 else start if begin == start else stop
