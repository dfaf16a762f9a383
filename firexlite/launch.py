"""What a front forks: beginning a run and taking over a run, both of which end in a runner. Services are imported here.

It tells the front, over a channel, how far it is.
"""
from __future__ import annotations

import json
import os
import platform
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from . import host
from .application import app
from .board import Board, Counter
from .codec import encode
from .history import History
from .home import RunDirectory, find_run, new_firex_id, record_holder, user_name
from .journal import Journal
from .plugins import load
from .runner import Incarnation, Runner, leave_tidy, write_run_json
from .states import RUN_SUCCEEDED
from .submission import Request, prepare
from .takeover import take_over
from .version import __version__


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
class ResumeRequest:
    """What was asked for by `resume`; None means what the run recorded."""

    firex_id: str
    workers: int | None = None
    plugins: list[str] | None = None
    json_file: str | None = None


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
        "user": user_name(), "host": platform.node(),
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
        if request.json_file or not _is_tidy(directory):
            leave_tidy(directory, request.json_file)
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


def _is_tidy(directory: RunDirectory) -> bool:
    """Whether all was done after the end of a run that succeeded."""
    with suppress(OSError, ValueError):
        return not directory.wake.exists() and json.loads(directory.run_json.read_text())["completed"]
    return False


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


def drive_without_services(incarnation: Incarnation, alive: int, board: Board, channel: Channel) -> int:
    """Drive a run in a process that has imported no service; each worker imports them after its fork.

    alive: the file descriptor that holds the run's lock.
    """
    record_holder(alive, host.start_time)
    channel.tell("started", path=str(incarnation.directory.path))
    return Runner(incarnation, board, load_services=lambda: load(incarnation.plugins)).supervise()
