"""The outpost: the processes of one run on another host. It loads the services once, and forks a far worker for each pilot.

A far worker is a worker as on the run's own host, with the same batch, attempts, interrupts and log: only the journal is
called over a link, and what it prints goes into a pipe. Whoever started the outpost passes both on, tells it of what has
changed, and is told of those that end. When that one ends, so does the outpost with all below it.
"""
from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import host, last_words, packets
from ..application import app
from ..batch import Batch
from ..board import RUNNER, Address, Board
from ..converters import InputConverter
from ..errors import BadInput
from ..incarnation import Incarnation
from ..interrupts import take_back_signals, wakeups
from ..journal import Journal
from ..logs import PipedLog, flush_output
from ..pickled import pickles
from ..plugins import load
from ..secrets import vault
from ..worker import Worker, live, stand_apart
from . import shipment, wire
from .far_journal import FarDirectory, FarJournal

EACH = "each"        # the services are loaded by each far worker for itself
_MOST = 1 << 16      # bytes of what it is told
HERE = 0             # the number of every far worker, each of which has a board and a folder for its socket of its own


class FarWorker(Worker):
    """A worker whose journal is elsewhere."""

    def __init__(self, incarnation: Incarnation, board: Board, link: wire.Link, output: int) -> None:
        """output: the pipe into which goes what the services print."""
        self._link, self._output = link, output
        super().__init__(incarnation, HERE, board)

    def _log_of(self, incarnation: Incarnation) -> PipedLog:
        return PipedLog(self._output, self.interrupts)

    def _journal_of(self, incarnation: Incarnation) -> Journal:
        directory = incarnation.directory
        assert isinstance(directory, FarDirectory)
        return FarJournal(directory, self._link, self.board, HERE, self.interrupts)  # type: ignore[return-value]

    def _batch_of(self, journal: Journal) -> Batch:
        return Batch(journal, self.board, self.number, self.interrupts, self.log.size, is_on=False)

    def now(self) -> float:
        return time.time() + self.journal.behind_s  # type: ignore[attr-defined]

    def _limit(self, attempt: Any) -> bool:
        soft, hard = attempt.limits()
        if soft is None and hard is None:
            return False
        self.journal.limit(soft, hard)  # type: ignore[attr-defined]
        return True


@dataclass
class _Post:
    """A far worker, as the outpost knows it. address: where it is woken from."""

    number: int
    board: Board
    wake: Path
    address: Address


class Outpost:
    """The process that forks far workers."""

    def __init__(self, control: packets.Packets, scratch: Path) -> None:
        self._control, self._scratch = control, scratch
        self._orders = _orders()
        self._posts: dict[int, _Post] = {}  # by pid
        self._each_by_itself = False

    def serve(self) -> None:
        """To the end of whoever started it."""
        host.adopt_orphans()
        self._signals, self._wakeup = wakeups()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        gc.freeze()
        self._say(ready=True)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._signals.fileno() in ready:
                with suppress(BlockingIOError):
                    self._signals.recv(4096)
                self._reap()
            if self._control.fileno() in ready:
                message, fds = packets.receive(self._control, _MOST)
                if not message:
                    return
                self._do(json.loads(message), fds)

    def _do(self, message: dict[str, Any], fds: list[int]) -> None:
        if "begin" in message:
            self._begin(message["begin"], *fds)
            for fd in fds:
                os.close(fd)
            return
        for pid, post in self._posts.items():
            if post.number == message.get("facts"):
                *facts, spent_task, spent_attempt = message["are"]
                post.board.heed(HERE, *facts)
                post.board.mark_spent(HERE, spent_task, spent_attempt)
                if message["interrupts"]:
                    os.kill(pid, signal.SIGTERM)
                post.address.send(HERE)
            elif post.number == message.get("kill"):
                host.kill_with_descendants(pid)

    def _begin(self, number: int, link: int, output: int) -> None:
        wake = self._scratch / "wake" / str(number)
        wake.mkdir(parents=True, exist_ok=True)
        board, outpost = Board(1), os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._say(ended=number, status=1 << 8, stack="")
            print(f"firexlite: no worker could be forked: {error.strerror}", file=sys.stderr)
            return
        if pid:
            self._posts[pid] = _Post(number, board, wake, Address(wake, RUNNER))
            return
        try:
            stand_apart(outpost)
            self._control.close()
            for post in self._posts.values():
                post.address.socket.close()
            os.set_inheritable(link, False)
            os.set_inheritable(output, False)
            incarnation = Incarnation(FarDirectory(self._run, wake), self._orders["epoch"], 1, [])
            live(lambda: FarWorker(incarnation, board, wire.Link(socket.socket(fileno=link)), output), self._load_here)
        finally:
            os._exit(1)

    def _load_here(self) -> None:
        if self._each_by_itself:
            self._load_services()

    def _reap(self) -> None:
        for pid, status in host.ended_children():
            if (post := self._posts.pop(pid, None)) is None:
                continue
            host.kill_session(pid)
            stack = last_words.take(last_words.path_of(post.wake, HERE))
            post.address.close()
            shutil.rmtree(post.wake, ignore_errors=True)
            self._say(ended=post.number, status=status, stack=stack[-_MOST // 2:])

    def _say(self, **what: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            packets.send(self._control, json.dumps(what).encode())

    # --- its services ---------------------------------------------------------------------------------------------------

    def prepare(self, each_by_itself: bool) -> None:
        """Load the services, and know what the run knows. Raises BadInput if they cannot be loaded here.

        each_by_itself: far workers load them after the fork, since they leave threads behind.
        """
        orders = self._orders
        references, others = orders["secrets"]
        vault.of_run = tuple(references), tuple(others)
        for reference, value in orders["values"].items():
            vault.learn(reference, value)
        vault.begin_attempt()
        if orders["pickles"] is not None:
            pickles.begin_elsewhere(orders["firex_id"], orders["pickles"])
        run = Path(orders["directory"])
        if not os.access(run / "journal.sqlite3", os.W_OK):  # its own is not to be seen here
            run = self._scratch / orders["firex_id"]
            for folder in (run, run / "logs", run / "blobs"):
                folder.mkdir(mode=0o700, exist_ok=True)
        self._run = run
        os.chdir(orders["cwd"] if os.path.isdir(orders["cwd"]) else run)
        shipment.unpack(Path(orders["shipment"]), self._scratch / "code")
        self._each_by_itself = each_by_itself
        if not each_by_itself:
            self._load_services()

    def _load_services(self) -> None:
        InputConverter.pre_load_was_run = True  # at home, before these were loaded
        load(*shipment.as_at_home(self._scratch / "code", self._orders["code"]))
        take_back_signals()
        for name in self._orders["services"]:
            _ = name in app  # some are loaded when they are first asked for
        for service in app.every:
            if (about := self._orders["services"].get(service.name)) is not None:
                service.__dict__["about"], service.digest = about


def _orders() -> dict[str, Any]:
    """What run it is for, from standard input: a file, which is read once more after an `exec`."""
    os.lseek(0, 0, os.SEEK_SET)
    with open(0, "rb", closefd=False) as file:
        return json.load(file)


def main(fd: str, scratch: str, how: str = "") -> int:
    """The life of an outpost's process. Returns its exit code.

    fd: the socket by which it is told what to do. scratch: its folder. how: `each` if far workers load the services themselves.
    """
    control = packets.by_fd(int(fd))
    host.die_with_parent(os.getppid(), signal.SIGKILL)
    outpost = Outpost(control, Path(scratch))
    try:
        outpost.prepare(how == EACH)
    except BaseException as error:
        sentence = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        packets.send(control, json.dumps({"refused": sentence}).encode())
        return 1
    if how != EACH and host.thread_count() > 1:
        # A fork would copy the locks that such threads hold at that instant, and nobody would ever release them.
        flush_output()
        os.set_inheritable(int(fd), True)
        os.execv(sys.executable, [sys.executable, "-m", "firexlite", "--outpost", fd, scratch, EACH])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    outpost.serve()
    host.end_descendants()
    return 0

