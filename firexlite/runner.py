"""The runner: one incarnation's scheduler. It begins or takes over a run, forks workers, reaps them, and ends the run.

It starts no thread and has no SQLite connection open at a fork: it opens the journal for one transaction at a time.
Services run only in workers. It tells the front, over a channel, how far it is.
"""
from __future__ import annotations

import gc
import json
import os
import platform
import re
import select
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import host
from .application import app
from .board import CAPACITY, NOBODY, RUNNER, Address, Board, Counter, Doorbell
from .codec import decode_error, encode, encode_error
from .errors import ReturnCodeError, WorkerLost
from .history import History, summary
from .home import RunDirectory, find_run, new_firex_id, write_atomically
from .journal import Journal
from .plugins import load
from .states import RUN_INTERRUPTED, RUN_SUCCEEDED
from .submission import Request, prepare
from .takeover import take_over
from .version import __version__
from .worker import work

GRACE_S = 8.0          # that bodies have to end after a request to stop; below the 10 s of container engines
TICK_S = 1.0           # a safety net behind the wake-ups


class Channel:
    """What a forked job tells its front: short messages, sometimes with a file descriptor."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def tell(self, what: str, fd: int | None = None, **details: object) -> None:
        message = json.dumps({"what": what, **details}).encode()
        with suppress(BrokenPipeError):  # the front is dead, so we soon are
            socket.send_fds(self._socket, [message], [] if fd is None else [fd])

    def hear(self) -> tuple[dict, list[int]] | None:
        """The next message with its file descriptors; None at the end."""
        message, fds, _, _ = socket.recv_fds(self._socket, 1 << 16, 1)
        return (json.loads(message), list(fds)) if message else None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


Job = Callable[[Board, Channel], int]  # what a front forks; gives the exit code


@dataclass
class Incarnation:
    """What a runner needs to know of the run it drives."""

    directory: RunDirectory
    epoch: int
    slots: int
    plugins: list[str]           # paths, for workers that must import the services themselves
    json_file: str | None = None


@dataclass
class ResumeRequest:
    """What was asked for by `resume`; None means what the run recorded."""

    firex_id: str
    workers: int | None = None
    plugins: list[str] | None = None
    json_file: str | None = None


# --- jobs: what the front forks ----------------------------------------------------------------------------------

def begin(request: Request, board: Board, channel: Channel) -> int:
    """Submit a run and drive it. Returns the exit code."""
    firex_id = new_firex_id(time.time())
    prepared = prepare(request, firex_id, lambda path: channel.tell("importing", path=path))
    channel.tell("imported")
    draft = RunDirectory.draft(firex_id)
    alive = draft.take_alive_lock(host.start_time)
    options = {
        "plugins": [{"path": plugin.path, "digest": plugin.digest} for plugin in prepared.plugins],
        "workers": request.workers, "cwd": os.getcwd(), "argv": request.argv, "json_file": request.json_file,
        "user": re.sub(r"^FireX-(.*)-\d+-\d+-\d+$", r"\1", firex_id), "host": platform.node(),
        "python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "firexlite": __version__,
    }
    with Journal(draft, request.workers, Counter(board)) as journal:
        journal.submit(firex_id=firex_id, chain=request.chain, inputs=encode(prepared.inputs, "inputs"),
                       options=json.dumps(options), digest=prepared.digest, members=prepared.members,
                       pid=os.getpid(), host=platform.node())
    directory = draft.publish()
    write_run_json(directory)
    return _drive(Incarnation(directory, 1, request.workers, [p.path for p in prepared.plugins], request.json_file),
                  alive, board, channel)


def resume(request: ResumeRequest, board: Board, channel: Channel) -> int:
    """Take over a run and drive it to its end. Returns the exit code."""
    directory = find_run(request.firex_id)
    alive = directory.take_alive_lock(host.start_time)
    with History(directory) as history:
        run = history.run()
    if run.state == RUN_SUCCEEDED:
        channel.tell("started", path=str(directory.path), fd=alive)
        return 0
    recorded = [_present(plugin["path"], run.options["cwd"]) for plugin in run.options["plugins"]]
    plugins = recorded if request.plugins is None else request.plugins
    loaded = load(plugins, lambda path: channel.tell("importing", path=path))
    channel.tell("imported")
    before = {os.path.basename(plugin["path"]): plugin["digest"] for plugin in run.options["plugins"]}
    changed = [plugin.path for plugin in loaded if before.get(os.path.basename(plugin.path)) != plugin.digest]
    slots = request.workers or run.options["workers"]
    with Journal(directory, slots, Counter(board)) as journal:
        found = take_over(journal, os.getpid(), platform.node(),
                          {service.name: (service.about, service.digest) for service in app})
    Counter(board).count(known=sum(found.counts.values()),
                          **{s: found.counts.get(s, 0) for s in ("succeeded", "failed", "skipped", "revoked")})
    write_run_json(directory)
    channel.tell("resumed", done=found.succeeded, again=found.interrupted, reopened=found.reopened, changed=changed)
    return _drive(Incarnation(directory, found.epoch, slots, [p.path for p in loaded],
                              request.json_file or run.options["json_file"]), alive, board, channel)


def _present(path: str, recorded_cwd: str) -> str:
    """Where a recorded plugin lies now: below the working directory of today, else below that of the submission."""
    return path if os.path.exists(path) else os.path.join(recorded_cwd, path)


def _drive(incarnation: Incarnation, alive: int, board: Board, channel: Channel) -> int:
    """Run workers to the end of the incarnation, here; or, if importing services left threads, in a fresh process.

    A fork would copy the locks that such threads hold at that instant, and nobody would ever release them.
    """
    directory = incarnation.directory
    if host.thread_count() > 1:
        channel.tell("threads", fd=alive, path=str(directory.path), epoch=incarnation.epoch, slots=incarnation.slots,
                     plugins=incarnation.plugins, json_file=incarnation.json_file)
        return 0
    channel.tell("started", path=str(directory.path), fd=alive)
    return Runner(incarnation, board, load_services=None).supervise()


def drive_without_services(incarnation: Incarnation, board: Board, channel: Channel) -> int:
    """Drive a run in a process that has imported no service; each worker imports them after its fork."""
    channel.tell("started", path=str(incarnation.directory.path))
    return Runner(incarnation, board, load_services=lambda: load(incarnation.plugins)).supervise()


# --- the runner ----------------------------------------------------------------------------------------------------

class Runner:
    """Forks, reaps and ends the workers of one incarnation."""

    def __init__(self, incarnation: Incarnation, board: Board, load_services: Callable[[], object] | None) -> None:
        self.directory, self.epoch, self.slots = incarnation.directory, incarnation.epoch, incarnation.slots
        self.json_file = incarnation.json_file
        self.board, self.load_services = board, load_services
        self.workers: dict[int, int] = {}            # pid -> number
        self.revoking: dict[int, float] = {}         # pid -> when it is killed if it still runs what was revoked
        self.stop_signal: int | None = None
        self.stop_by = 0.0                           # monotonic
        self.is_quiet = False

    def supervise(self) -> int:
        """Run the incarnation to its end; returns the exit code of the run."""
        host.adopt_orphans()
        self._prepare_wake_folder()
        self._listen_to_signals()
        gc.freeze()  # or each worker's first collection would copy what it shares with us
        self._look()
        while (not self.is_quiet or self.revoking) and self.stop_signal is None:
            self._sleep_until_something_happens()
            self._reap()
            self._answer_workers()
            self._interrupt_revoked()
        self._end_workers()
        return self._end_run()

    def _prepare_wake_folder(self) -> None:
        self.directory.wake.mkdir(mode=0o700, exist_ok=True)
        for left_over in self.directory.wake.iterdir():
            left_over.unlink()
        self.address = Address(self.directory.wake, RUNNER)
        self.bell = Doorbell(self.board, self.address)

    def _listen_to_signals(self) -> None:
        self._signals, wakeup = socket.socketpair()
        for end in (self._signals, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup  # kept: its descriptor lives as long as it does
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for stopping in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stopping, self._note_stop)

    def _note_stop(self, number: int, frame: object) -> None:
        """A first signal asks to stop, a second one does not wait for bodies to end."""
        self.stop_by = time.monotonic() + (GRACE_S if self.stop_signal is None else 0)
        self.stop_signal = self.stop_signal or number

    def _journal(self) -> Journal:
        return Journal(self.directory, self.slots, self.bell)

    def _sleep_until_something_happens(self) -> None:
        poll = select.poll()
        for source in (self._signals, self.address.socket):
            poll.register(source, select.POLLIN)
        woken = poll.poll(TICK_S * 1000)
        with suppress(BlockingIOError):
            while self._signals.recv(4096):
                pass
        if not woken:
            self._look()

    def _look(self) -> None:
        """See in the journal itself whether there is more to do; workers are called for what can start."""
        with self._journal() as journal:
            self.is_quiet = journal.is_quiet(list(self.workers.values()))

    def _answer_workers(self) -> None:
        for message in self.address.drain():
            if message.startswith(b"fork"):
                for _ in range(int(message.split()[1])):
                    self._fork_worker()
            elif message == b"quiet":
                self._look()

    # --- workers -----------------------------------------------------------------------------------------------------

    def _fork_worker(self) -> None:
        number = next((n for n in range(CAPACITY) if self.board.status(n) == NOBODY), None)
        if number is None:
            return  # the tick asks again when one has ended
        runner = os.getpid()
        self.board.forked(number)  # before the fork: afterwards the worker itself may have changed it
        try:
            pid = os.fork()
        except OSError as error:
            self.board.never_came(number)
            print(f"firexlite: no worker could be forked: {error.strerror}", file=sys.stderr)
            return
        if pid:
            self.workers[pid] = number
            return
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for default in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(default, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            host.die_with_parent(runner, signal.SIGKILL)
            for end in (self._signals, self._wakeup, self.address.socket):
                end.close()
            work(self.directory, self.epoch, number, self.slots, self.board, self.load_services)
        finally:
            os._exit(1)

    def _reap(self) -> None:
        """Take note of every worker that ended: whatever its exit status, one that ends while the run goes on is lost."""
        for pid, status in _ended_children():
            number = self.workers.pop(pid, None)
            self.revoking.pop(pid, None)
            if number is None:
                continue  # an orphan that was adopted
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # shell commands of its service, which are in its session
            how = host.how_it_died(status)
            with self._journal() as journal:
                journal.lose(number, lambda deaths, how=how: encode_error(WorkerLost(deaths, how)))  # type: ignore[misc]
            self._look()

    def _interrupt_revoked(self) -> None:
        """Let bodies end whose task was revoked; kill those that have not after the grace."""
        for pid, number in self.workers.items():
            if self.board.revoked(number) == (0, 0):
                self.revoking.pop(pid, None)
            elif pid not in self.revoking:
                self.revoking[pid] = time.monotonic() + GRACE_S
                os.kill(pid, signal.SIGTERM)
                self.address.send(number)
            elif time.monotonic() > self.revoking[pid]:
                os.kill(pid, signal.SIGKILL)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end_workers(self) -> None:
        """Let every worker end: those at rest at once, bodies within the grace; then kill what is left, orphans too."""
        self.board.stop()
        if self.stop_signal is None:
            self.stop_by = time.monotonic() + 1.0
        for pid, number in self.workers.items():
            if self.stop_signal is not None:
                os.kill(pid, signal.SIGTERM)
            self.address.send(number)
        while self.workers and time.monotonic() < self.stop_by:
            poll = select.poll()
            poll.register(self._signals, select.POLLIN)
            poll.poll(max(1, (self.stop_by - time.monotonic()) * 1000))
            with suppress(BlockingIOError):
                self._signals.recv(4096)
            for pid, _ in _ended_children():
                self.workers.pop(pid, None)
        host.end_descendants()
        self.workers.clear()

    def _end_run(self) -> int:
        with self._journal() as journal:
            state = journal.finish(interrupted=self.stop_signal is not None)
            journal.fold()
        self.address.close()
        for left_over in self.directory.wake.iterdir():
            left_over.unlink()
        self.directory.wake.rmdir()
        write_run_json(self.directory)
        if self.json_file:
            try:
                write_atomically(Path(self.json_file).absolute(), self.directory.run_json.read_text())
            except OSError as error:
                print(f"firexlite: {self.json_file} could not be written: {error.strerror}", file=sys.stderr)
        if self.stop_signal is not None:
            return 128 + self.stop_signal
        return exit_code(self.directory, state)


def _ended_children() -> list[tuple[int, int]]:
    ended = []
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    return ended


def exit_code(directory: RunDirectory, state: str) -> int:
    """The exit code of a run in this state: 0, 5 for a replay that stopped, the code a service chose, else 1."""
    if state == RUN_SUCCEEDED:
        return 0
    if state == RUN_INTERRUPTED:
        return 5
    with History(directory) as history:
        for task in history.submitted_tasks():
            if task.error is not None:
                error = decode_error(task.error)
                if isinstance(error, ReturnCodeError):
                    return error.firex_returncode or 1  # a run that failed never ends with 0
                break
    return 1


def write_run_json(directory: RunDirectory) -> None:
    """Write the run's `run.json`, with the fields of FireX's, as the journal stands."""
    with History(directory) as history:
        write_atomically(directory.run_json, json.dumps(summary(history), indent=1) + "\n")
