"""Shell commands of services, in the manner of FireX's `firex_subprocess`: their output is in the task's log while they run,
they are in the report, and nothing of them is left behind by a time-out, or by a body that is interrupted."""
from __future__ import annotations

import contextlib
import glob
import itertools
import logging
import os
import platform
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from . import host, recorded
from .loggers import get_task_logger
from .logs import flush_output

CHARS = 32_000            # of the output that an exception carries, and of what is returned of a `file`
SHOWN_CHARS = 8_000       # of the output, in the report
INACTIVITY_S = 30 * 60.0
GRACE_S = 2.0             # that a command has to end when its time is over
UNKILLABLE_S = 5.0        # that one which may not be killed, as `sudo` makes them, is waited for
LOOK_S = 0.05             # where a system does not tell that a process has ended
CHUNK_BYTES = 64 * 1024
TAIL_STEP_BYTES = 8 << 20

_numbers = itertools.count(1)

Command = str | Sequence[str]
SHOWN_OUTPUT = 8000  # characters of what a command printed, in the text of an error


class CommandFailed(subprocess.CalledProcessError):
    """A shell command ended with an exit code other than 0. output: the last of what it printed."""

    def __str__(self) -> str:
        how = f"signal {-self.returncode}" if self.returncode < 0 else f"exit code {self.returncode}"
        return f"the command {_in_one_line(self.cmd)} ended with {how}{_what_it_printed(self.output)}"


class InactivityTimeoutExpired(subprocess.TimeoutExpired):
    """A shell command printed nothing for too long, and was ended (FireX's FireXInactivityTimeoutExpired)."""

    def __str__(self) -> str:
        return (f"the command {_in_one_line(self.cmd)} was ended after it had printed nothing for {self.timeout:g} s"
                f"{_what_it_printed(self.output)}")


def _in_one_line(cmd: object) -> str:
    return repr(cmd if isinstance(cmd, str) else shlex.join(map(str, cmd)) if isinstance(cmd, (list, tuple)) else str(cmd))


def _what_it_printed(output: object) -> str:
    text = str(output or "").rstrip()
    cut = f"; its output, the last {SHOWN_OUTPUT} characters:\n..." if len(text) > SHOWN_OUTPUT else "; its output:\n"
    return cut + text[-SHOWN_OUTPUT:] if text else ""


@dataclass
class ProcStats:
    """Filled in by a command that is given one: what it took, with all below it that it has waited for."""

    include_children: bool = True
    collection_interval: int = 2
    interval_increase: bool = True
    cpu_percent_used: int = 0      # of all CPUs of the machine
    mem_mb_used: int = 0           # MiB; the peak of its largest process
    mem_mb_high_wm: int = 0
    elapsed_time: float = 0.0      # seconds
    num_cpu: int = 0
    total_mem: int = 0             # MiB


def check_output(cmd: Command, retries: int = 0, retry_delay: float = 3, **options: Any) -> str:
    """Run a command; returns what it printed, on stdout and stderr, as text.

    cmd: a str is split into words as a shell does, unless ``shell=True``. retries: how often it is tried again after
    it failed, after ``retry_delay`` seconds each. Of the options:
        file: the name of a file for the output; then the last ``chars`` characters are returned.
        timeout: seconds that it may take. inactivity_timeout: seconds that it may be silent (30 minutes; None: any).
        monitor_activity_files: files, or patterns, that count as activity when they grow.
        copy_file_path: where a copy of the output is to lie. log_level: None keeps it out of log and report.
        remove_firex_pythonpath: it does not inherit this process's PYTHONPATH (the default). proc_stats: see `ProcStats`.
        cwd, env, shell, input, stdin, stderr and all else as `subprocess.Popen` has them.
    Raises CommandFailed for an exit code other than 0, subprocess.TimeoutExpired, InactivityTimeoutExpired, and OSError for a
    command that cannot be started.
    """
    options = _without(options, "check_output", "capture_output", "check")
    return _try("check_output", cmd, retries, retry_delay, check=True, capture_output=True, **options).stdout


def check_call(cmd: Command, retries: int = 0, retry_delay: float = 3, **options: Any) -> None:
    """As `check_output`, for who does not want the output."""
    options = _without(options, "check_call", "capture_output", "check")
    _try("check_call", cmd, retries, retry_delay, check=True, capture_output=False, **options)


def run(cmd: Command, retries: int = 0, retry_delay: float = 3, **options: Any) -> subprocess.CompletedProcess:
    """As `check_output`; returns a CompletedProcess, whatever the exit code, unless ``check=True``.

    capture_output: True unless said otherwise.
    """
    return _try("run", cmd, retries, retry_delay, **_without(options, "run", "input"))


def _without(options: dict[str, Any], name: str, *more: str) -> dict[str, Any]:
    """Options less those that are decided here."""
    decided = {"stdout", "universal_newlines", "text", *more} & options.keys()
    if decided:
        get_task_logger(__name__).error("%s takes no %s, and goes on without", name, ", ".join(sorted(decided)))
    return {option: value for option, value in options.items() if option not in decided}


def _try(name: str, cmd: Command, retries: int, retry_delay: float, **options: Any) -> subprocess.CompletedProcess:
    for retry in itertools.count():
        try:
            header = f"[{name}]" + f"[retry {retry}/{retries}]" * bool(retry)
            return _Execution(header, cmd, **options).run()
        except (subprocess.SubprocessError, FileNotFoundError):
            if retry >= (retries or 0):
                raise
            time.sleep(retry_delay or 0)
    raise AssertionError("there is always another try, or an exception")


class _Expired(Exception):
    """The time of a command is over. is_silent: it has printed nothing for too long."""

    def __init__(self, is_silent: bool) -> None:
        super().__init__(is_silent)
        self.is_silent = is_silent


class _Execution:
    """One execution of a command."""

    def __init__(self, header: str, cmd: Command, *, file: str | os.PathLike | None = None, chars: int | None = CHARS,
                 timeout: float | None = None, capture_output: bool = True, check: bool = False,
                 inactivity_timeout: float | None = INACTIVITY_S,
                 monitor_activity_files: str | Iterable[str] | None = None, log_level: int | None = logging.DEBUG,
                 copy_file_path: str | os.PathLike | None = None, shell: bool = False, cwd: str | os.PathLike | None = None,
                 env: Mapping[str, str] | None = None, remove_firex_pythonpath: bool = True,
                 logger: logging.Logger | None = None, stderr: Any = subprocess.STDOUT,
                 proc_stats: ProcStats | None = None, stdin: Any = subprocess.PIPE, input: str | bytes | None = None,
                 **popen: Any) -> None:
        self.header, self.shell = header, shell
        self.words = shlex.split(cmd) if isinstance(cmd, str) and not shell else cmd
        self.text = cmd if isinstance(cmd, str) else shlex.join(map(str, cmd))
        self.cwd = os.fspath(cwd) if cwd is not None else os.getcwd()
        self.file, self.chars = file, chars
        self.timeout, self.inactivity_timeout = timeout, inactivity_timeout
        self.monitored = [monitor_activity_files] if isinstance(monitor_activity_files, str) else monitor_activity_files
        self.capture_output, self.check, self.copy_file_path = capture_output, check, copy_file_path
        self.log_level, self.logger = log_level, logger or get_task_logger(__name__)
        self.stats, self.input = proc_stats, input
        self.is_wanted = bool(capture_output or file or copy_file_path or not chars)  # all of the output
        self.size = self.given_back = 0  # bytes that were printed; of them those whose space was given back
        self.popen = {"stdin": stdin, "stderr": subprocess.STDOUT if stderr == subprocess.PIPE else stderr, "shell": shell,
                      "cwd": cwd, "env": _own_environment(env) if remove_firex_pythonpath else env, **popen}
        self.number = next(_numbers)
        self.entry: dict[str, Any] = {"cmd": self.text, "cwd": self.cwd, "host": platform.node(),
                                      "output_file": os.path.abspath(os.fspath(file)) if file else None}

    def run(self) -> subprocess.CompletedProcess:
        with contextlib.ExitStack() as open_files:
            self.output = open_files.enter_context(_file_for_output(self.file))
            if self.input is not None:
                self.popen["stdin"] = open_files.enter_context(_readable(self.input))
            self._log(f"$ {self.text}")
            self._tell(start_time=time.time())
            return self._run()

    def _run(self) -> subprocess.CompletedProcess:
        process, expired = None, None
        try:
            process = _Process(self.words, self.popen)
            try:
                self._stay_with(process)
            except _Expired as error:
                expired = error
                process.end(gently=True)
            except BaseException:  # the body is interrupted: nothing of it is to stay
                process.end(gently=False)
                raise
            finally:
                process.close()
        finally:
            self._has_ended(process, expired)
        return self._outcome(process, expired)

    def _stay_with(self, process: _Process) -> None:
        """Pass on what the command prints until it ends. Raises _Expired."""
        self.began = self.spoke = time.monotonic()
        self.monitored_bytes = self._bytes_of_monitored()
        while not process.has_ended:
            if data := process.read(self._seconds_left()):
                self.spoke = time.monotonic()
                self._pass_on(data)
        self._pass_on(process.rest())

    def _seconds_left(self) -> float | None:
        """How long the command may still be silent; None: for ever. Raises _Expired."""
        now = time.monotonic()
        if self.timeout and now - self.began >= self.timeout:
            raise _Expired(is_silent=False)
        if self.inactivity_timeout and now - self.spoke >= self.inactivity_timeout:
            before, self.monitored_bytes = self.monitored_bytes, self._bytes_of_monitored()
            if before == self.monitored_bytes:
                raise _Expired(is_silent=True)
            self.spoke = now
        ends = [self.began + self.timeout] if self.timeout else []
        ends += [self.spoke + self.inactivity_timeout] if self.inactivity_timeout else []
        return max(0.0, min(ends) - now) if ends else None

    def _bytes_of_monitored(self) -> int:
        size = 0
        for pattern in self.monitored or ():
            for path in glob.glob(os.path.join(self.cwd, pattern), recursive=True):
                with contextlib.suppress(OSError):
                    size += os.path.getsize(path)
        return size

    def _pass_on(self, data: bytes) -> None:
        left = data
        while left:
            left = left[self.output.write(left):]
        if self.log_level is not None and recorded.running is not None:
            _write_to_log(data)
        self.size += len(data)
        if not self.is_wanted and self.size > self.given_back + TAIL_STEP_BYTES:
            self.given_back = self.size - TAIL_STEP_BYTES // 2  # nobody will ask for more than the end
            host.punch_hole(self.output.fileno(), 0, self.given_back)

    # --- what is told of it ---------------------------------------------------------------------------

    def _log(self, sentence: str) -> None:
        if self.log_level is not None:
            self.logger.log(self.log_level, "%s %s", self.header, sentence)

    def _tell(self, **more: Any) -> None:
        """Have the report of the task show how the command stands."""
        self.entry.update(more)
        if self.log_level is not None and recorded.running is not None:
            recorded.running.tell_command(self.number, self.entry)

    def _has_ended(self, process: _Process | None, expired: _Expired | None) -> None:
        code = process.returncode if process is not None else None
        shown = self._last(SHOWN_CHARS)
        self._tell(end_time=time.time(), result={
            "completed": expired is None and code is not None, "timeout": expired is not None and not expired.is_silent,
            "inactive": expired is not None and expired.is_silent, "output": shown,
            "output_truncated": os.fstat(self.output.fileno()).st_size > len(shown.encode()), "returncode": code})
        if expired is not None:
            self._log(f"ended it after {self.inactivity_timeout if expired.is_silent else self.timeout} s"
                      + " of silence" * expired.is_silent)
        elif code:
            self._log(f"exit code {code}")
        if self.copy_file_path is not None and not os.path.isfile(self.copy_file_path):
            self.output.seek(0)
            with open(self.copy_file_path, "wb") as copy:
                shutil.copyfileobj(self.output, copy)

    def _outcome(self, process: _Process, expired: _Expired | None) -> subprocess.CompletedProcess:
        if self.stats is not None:
            process.fill_in(self.stats, time.monotonic() - self.began)
        tail = self._last(self.chars)
        if expired is not None:
            kind, limit = ((InactivityTimeoutExpired, self.inactivity_timeout) if expired.is_silent else
                           (subprocess.TimeoutExpired, self.timeout))
            raise kind(self.words, limit, output=tail, stderr=tail)  # type: ignore[arg-type]
        if self.check and process.returncode:
            raise CommandFailed(process.returncode, self.words, output=tail, stderr=tail)
        output = None
        if self.capture_output:
            output = tail if self.file else self._last(None)
        return subprocess.CompletedProcess(self.words, process.returncode or 0, stdout=output, stderr=output)

    def _last(self, chars: int | None) -> str:
        """The last characters of the output; None or 0: all."""
        size = os.fstat(self.output.fileno()).st_size
        self.output.seek(max(0, size - 4 * chars) if chars else 0)
        text = self.output.read().decode("utf-8", "replace")
        return text[-chars:] if chars else text


class _Process:
    """A command that runs, in a process group of its own, whose output comes through a pipe."""

    def __init__(self, words: Command, options: Mapping[str, Any]) -> None:
        self._source, pipe = os.pipe()
        flush_output()  # what was printed before it stands above what it prints
        try:
            self._popen = subprocess.Popen(words, stdout=pipe, **_in_a_group(options))
        except BaseException:
            os.close(self._source)
            raise
        finally:
            os.close(pipe)
        os.set_blocking(self._source, False)
        self._ended = host.pidfd(self._popen.pid)  # readable when it has ended
        self._poll = select.poll()
        for fd in (self._source, self._ended):
            if fd is not None:
                self._poll.register(fd, select.POLLIN)
        self._usage: resource.struct_rusage | None = None
        self.has_ended = False
        self.returncode: int | None = None

    def read(self, limit_s: float | None) -> bytes:
        """What it prints next; nothing if it ends, or time runs out."""
        wait_s = limit_s if self._ended is not None else LOOK_S if limit_s is None else min(limit_s, LOOK_S)
        ready = dict(self._poll.poll(None if wait_s is None else wait_s * 1000 + 1))
        data = b""
        if self._source in ready:
            data = _read(self._source)
            if not data:  # it has closed its output, and may live on
                self._poll.unregister(self._source)
        if not data and (self._ended is None or self._ended in ready):
            self._look(os.WNOHANG)
        return data

    def rest(self) -> bytes:
        """What is in the pipe now that it has ended; something that it left behind may hold that open for ever."""
        waiting = 0
        with contextlib.suppress(OSError):
            waiting = host.waiting_bytes(self._source)
        data = b""
        while len(data) < waiting and (more := _read(self._source)):
            data += more
        return data

    def _look(self, how: int) -> None:
        """Take note of its end. Something else in this process may have reaped it: then nobody knows the exit code."""
        try:
            pid, status, usage = os.wait4(self._popen.pid, how)
        except ChildProcessError:
            pid, status, usage = self._popen.pid, 0, None
        if pid:
            self._usage, self.has_ended = usage, True
            self.returncode = self._popen.returncode = os.waitstatus_to_exitcode(status)

    def end(self, gently: bool) -> None:
        """Kill it with its group; gently: after a time in which it can end by itself."""
        if gently:
            self._signal(signal.SIGTERM)
            self._wait(GRACE_S)
        # Before it is reaped: as long as it is there, no other process can have its number.
        if self._signal(signal.SIGKILL):
            self._look(0)
        else:
            self._wait(UNKILLABLE_S)
            self._look(os.WNOHANG)

    def _signal(self, number: int) -> bool:
        """Whether it may be killed by us."""
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            return False
        return True

    def _wait(self, limit_s: float) -> None:
        """Wait for its end, without reaping it; what it still prints is thrown away, or it might wait for us."""
        give_up = time.monotonic() + limit_s
        while (left := give_up - time.monotonic()) > 0:
            ready = dict(self._poll.poll(min(left, LOOK_S if self._ended is None else left) * 1000 + 1))
            if self._source in ready and not _read(self._source):
                with contextlib.suppress(KeyError):
                    self._poll.unregister(self._source)
            if self._ended in ready or (self._ended is None and host.has_ended(self._popen.pid)):
                return

    def close(self) -> None:
        os.close(self._source)
        if self._ended is not None:
            os.close(self._ended)
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def fill_in(self, stats: ProcStats, elapsed_s: float) -> None:
        stats.num_cpu, stats.elapsed_time = os.cpu_count() or 1, elapsed_s
        stats.total_mem = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        if self._usage is not None:
            used_s = self._usage.ru_utime + self._usage.ru_stime
            stats.cpu_percent_used = round(100 * used_s / (max(elapsed_s, 1e-6) * stats.num_cpu))
            stats.mem_mb_used = stats.mem_mb_high_wm = self._usage.ru_maxrss * host.RSS_UNIT >> 20


def _in_a_group(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with which a command becomes the leader of a group of its own, in our session: with us it is killed too."""
    if options.get("start_new_session") or "process_group" in options:
        return dict(options)
    if sys.version_info >= (3, 11):
        return {**options, "process_group": 0}
    before = options.get("preexec_fn")

    def lead() -> None:
        os.setpgid(0, 0)
        if before is not None:
            before()

    return {**options, "preexec_fn": lead}


def _own_environment(env: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Without what this process has in its PYTHONPATH."""
    ours = os.environ.get("PYTHONPATH")
    if ours is None or (env is not None and "PYTHONPATH" not in env):
        return env
    if env is None:
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    others = [path for path in env["PYTHONPATH"].split(os.pathsep) if path not in ours.split(os.pathsep)]
    return {**env, "PYTHONPATH": os.pathsep.join(others)}


def _file_for_output(path: str | os.PathLike | None) -> IO[bytes]:
    return tempfile.TemporaryFile("wb+", buffering=0) if path is None else open(path, "wb+", buffering=0)


def _readable(text: str | bytes) -> IO[bytes]:
    """A file to be a command's stdin."""
    file = _file_for_output(None)
    file.write(text.encode() if isinstance(text, str) else text)
    file.seek(0)
    return file


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        return b""


def _write_to_log(data: bytes) -> None:
    """Where all goes that a service prints; a disk without room drops it."""
    with contextlib.suppress(OSError):
        while data:
            try:
                data = data[os.write(1, data):]
            except BlockingIOError:  # another command has made the pipe that it shares with us non-blocking
                select.select([], [1], [])
