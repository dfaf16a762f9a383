"""An engine as the runner has it: numbers it has asked workers for, and the process that speaks with the engine's scheduler.

That process, the bridge, is forked before a run is made, so that a scheduler that cannot be reached is told of while nothing is
there. Of each far worker that comes it hands the runner one end of a stream, for which the runner forks a stand-in.
"""
from __future__ import annotations

import functools
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import host, packets, runlog
from ..board import NOBODY
from ..errors import BadInput
from . import Place
from .stand_in import stand_in

if TYPE_CHECKING:
    from ..home import RunDirectory
    from ..journal import Journal
    from ..runner import Runner

CONNECT_S = 30.0  # in which the bridge tells whether there is a cluster; it gives up before
END_S = 5.0       # that the bridge has to take back what it has asked for
MOST_BRIDGES = 3  # in a row that end by themselves
_MOST = 1 << 16   # bytes of what it tells


class Engine:
    """Brings workers from a cluster. Made by `start`."""

    def __init__(self, place: Place, orders: dict[str, Any], shipment: bytes) -> None:
        """orders: what an outpost has to know of the run, but for what is known only when it begins."""
        self.place, self._orders, self._shipment = place, orders, shipment
        self._wanted: dict[int, str] = {}     # numbers that have been asked for, and for which queue
        self._hosts: dict[int, str] = {}      # on which a number was last; it is never used for another
        self._run: dict[str, Any] = {}
        self._ended = 0                       # bridges in a row that ended by themselves
        self.slots = 0                        # of the cluster
        self.queues: dict[str, int] = {}      # for which some of its workers are, and how many tasks of each these run at once
        self._fork_bridge()

    def _fork_bridge(self) -> None:
        ours, theirs = packets.pair()
        job = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        if not (pid := os.fork()):
            ours.close()
            _be_the_bridge(theirs, job, self.place, self._orders, self._shipment)
        theirs.close()
        self._pid, self._end = pid, ours
        self._is_there = True

    # --- before the run is there ---------------------------------------------------------------------------------------

    def wait_until_connected(self) -> None:
        """Raises BadInput if there is no such cluster, or it will not have us."""
        self._end.settimeout(CONNECT_S)
        told: dict[str, Any] = {"refused": f"{self.place} did not answer within {CONNECT_S:g} s"}
        with suppress(TimeoutError):
            message, _ = packets.receive(self._end, _MOST)
            told = json.loads(message) if message else {"refused": f"the process that speaks with {self.place} has ended"}
        self._end.settimeout(None)
        if "refused" in told:
            self.end()
            raise BadInput(told["refused"])
        self.slots, self.queues = told["slots"], told["queues"]

    def begin(self, directory: RunDirectory, epoch: int) -> None:
        """The run is there; from now on workers may be brought to it."""
        self._run = {"firex_id": directory.firex_id, "directory": str(directory.path), "epoch": epoch}
        self._tell(run=self._run)

    # --- as the runner has it ------------------------------------------------------------------------------------------

    def sources(self) -> Sequence[object]:
        return (self._end,) if self._is_there else ()

    def coming(self) -> Sequence[int]:
        return list(self._wanted)

    def bring(self, runner: Runner, wanted: int) -> None:
        if not self.queues:
            self._bring(runner, wanted, "")
            return
        with runner.journal() as journal:
            self.look(runner, journal)

    def look(self, runner: Runner, journal: Journal) -> None:
        """Where some workers are for a queue, bring as many of each kind as tasks could start."""
        if not self.queues:
            return
        lacking = dict.fromkeys(("", *self.queues), 0)
        for queue, count in journal.startable_by_queue().items():
            lacking[queue if queue in self.queues else ""] += count
        for queue, count in lacking.items():
            self._bring(runner, count - list(self._wanted.values()).count(queue), queue)

    def _bring(self, runner: Runner, wanted: int, queue: str) -> None:
        for _ in range(wanted):
            if (number := runner.free_number()) is None:
                return
            runner.board.forked(number)
            self._wanted[number] = queue
            self._tell(want=number, queue=queue)

    def attend(self, runner: Runner) -> bool:
        is_told = False
        while self._is_there and select.select([self._end], [], [], 0)[0]:
            message, fds = packets.receive(self._end, _MOST)
            if not message:
                self._is_there = False  # it is about to be reaped
                break
            told = json.loads(message)
            if "begun" in told:
                self._begin(runner, told["begun"], told["about"], socket.socket(fileno=fds[0]))
                self._ended = 0
            elif "refused" in told:
                raise BadInput(f"{runner.directory.firex_id} was stopped: {told['refused']}; "
                               f"`firexlite resume {runner.directory.firex_id}` goes on")
            elif "say" in told:
                runlog.note(runner.directory.logs, told["say"])
                print(f"firexlite: {told['say']}", file=sys.stderr)
            is_told = True
        return is_told

    def _begin(self, runner: Runner, number: int, about: dict[str, Any], stream: socket.socket) -> None:
        """A far worker is there: fork its stand-in."""
        with stream:
            if (queue := self._wanted.pop(number, None)) is None:
                return  # it was lost on the way, as the stream tells it
            runlog.note(runner.directory.logs, f"worker {number} runs on {about['host']} ({about['where']})")
            number = self._number_for(runner, number, about["host"])
            os.set_inheritable(stream.fileno(), False)
            runner.fork_worker(number, functools.partial(
                stand_in, stream=stream, host_name=about["host"], serves=self._serves(queue) if self.queues else None))

    def _serves(self, queue: str) -> Callable[[str], bool]:
        """Which queues a worker serves that was brought for one, or for all for which there are no workers of their own."""
        return queue.__eq__ if queue else lambda other: other not in self.queues

    def _number_for(self, runner: Runner, number: int, name: str) -> int:
        """One that no worker of another host has had: the output of each is in a file by its number."""
        board = runner.board
        if self._hosts.setdefault(number, name) == name:
            return number
        board.never_came(number)
        free = (other for other in range(len(self._hosts) + len(runner.workers) + 1)
                if other not in self._wanted and board.status(other) == NOBODY and self._hosts.get(other, name) == name)
        number = next(free)
        board.forked(number)
        self._hosts[number] = name
        return number

    def note_end_of(self, runner: Runner, pid: int, status: int) -> None:
        if pid != self._pid:
            return
        self._is_there = False
        self._end.close()
        self._ended += 1
        if self._ended > MOST_BRIDGES:
            raise BadInput(f"{runner.directory.firex_id} was stopped: the process that speaks with {self.place} ended by "
                           f"{host.how_it_died(status)}, {self._ended} times; `firexlite resume {runner.directory.firex_id}` "
                           "goes on")
        runlog.note(runner.directory.logs, f"the process that speaks with {self.place} ended by {host.how_it_died(status)}")
        self._fork_bridge()
        self._tell(run=self._run)
        for number, queue in self._wanted.items():
            self._tell(want=number, queue=queue)

    def _tell(self, **what: object) -> None:
        with suppress(OSError):  # that it is gone is seen when it is reaped
            packets.send(self._end, json.dumps(what).encode())

    def end(self) -> None:
        """Have the bridge take back what it has asked for, and end. Once more does nothing."""
        if not self._pid:
            return
        pid, self._pid = self._pid, 0
        self._tell(end=True)
        give_up = time.monotonic() + END_S
        with suppress(OSError):
            while self._is_there and (left := give_up - time.monotonic()) > 0:
                if select.select([self._end], [], [], left)[0]:
                    message, fds = packets.receive(self._end, _MOST)
                    for fd in fds:
                        os.close(fd)
                    if not message:
                        break
        self._is_there = False
        with suppress(ProcessLookupError, ChildProcessError):  # it may have been reaped, but by nobody before us
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._end.close()


def _be_the_bridge(end: packets.Packets, job: int, *about: Any) -> None:
    """The forked side; does not return."""
    code = 1
    try:
        os.setsid()  # the terminal's Ctrl-C is not for it, nor what is meant for a worker
        for unheeded in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(unheeded, signal.SIG_IGN)
        host.die_with_parent(job, signal.SIGKILL)
        gc.freeze()
        from .dask_bridge import cross  # here: it takes longer to import than a short run takes

        code = cross(end, *about)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)
