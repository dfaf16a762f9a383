"""The stand-in: a process beside the journal that stands for one far worker.

To the runner it is a worker like any other: it is forked, has a number, is told and killed, and what it held is given back when
it dies. But the bodies run in the far worker, and it does for that what is done in the journal, one call after the other. When
either of the two ends, so does the other.
"""
from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import faults, host, last_words, logs, waiting
from ..board import RUNNER, Address, Board, Doorbell
from ..claims import Claim, Ended, Enqueued, Hand, NewChain
from ..codec import encode_error
from ..deadlocks import refuse_deadlock
from ..errors import FirexliteError
from ..incarnation import Incarnation
from ..interrupts import wakeups
from ..journal import Journal
from ..journal_file import wait_for_space
from ..worker import may_have_children
from . import wire

LINGER_S = 1.0    # that a far worker with nothing to do keeps its slot
_BYE_S = 10.0     # that it is given to end when it is to
HOW = ".how"      # what the name of a file ends in, beside the sockets of the run, that says how a far worker was lost

# What a far worker may have called of the journal as it is, besides the functions that are marked so.
_METHODS = frozenset((
    "be_sure", "is_waiting", "end_wait", "show", "note", "notes", "recorded_calls", "enqueue", "release_held", "revoke_chain",
    "ended", "have_succeeded", "flow_steps", "chain_of", "chain_members", "children_of", "tasks_and_chains"))
_PACKAGE = __name__.partition(".")[0]


class StandIn:
    """Serves one far worker. host_name: where that is. serves: as of a `Journal`."""

    def __init__(self, incarnation: Incarnation, number: int, board: Board, stream: socket.socket, host_name: str,
                 serves: Callable[[str], bool] | None) -> None:
        directory = incarnation.directory
        self.directory, self.number, self.board, self.link = directory, number, board, wire.Link(stream)
        self.host, self._is_of_a_queue = host_name, serves is not None
        self._runner = os.getppid()
        self._listen_to_signals()
        self.log = logs.WorkerLog(directory.log_file(incarnation.epoch, number, self.host))
        self.log.restore()
        self.address = Address(directory.wake, number)
        self.journal = Journal(directory, incarnation.slots, Doorbell(board, self.address, may_have_children), None,
                               incarnation.full_wait_s, incarnation.epoch, incarnation.queues, self.host, serves)
        self._rests_since: float | None = None
        self._gave_up_slot = False
        self._leaves_by: float | None = None

    def _listen_to_signals(self) -> None:
        """The runner's SIGTERM is for the body, and one to all processes of a job for nobody here: it wakes us, no more."""
        self._signals, self._wakeup = wakeups()
        signal.signal(signal.SIGTERM, lambda *_: None)

    def serve(self) -> int:
        """To the end of the far worker. Returns its exit status, as `os.waitpid` gives one."""
        self.journal.open()
        poll = select.poll()
        for source in (self.link, self.address.socket, self._signals):
            poll.register(source, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(self._patience_ms())}
            if self._signals.fileno() in ready:
                with suppress(BlockingIOError):
                    self._signals.recv(4096)
                self._tell(interrupts=True)
            if self.address.socket.fileno() in ready:
                self.address.drain()
                self._rests_since = self._rests_since and time.monotonic()
                self._tell(interrupts=False)
            if self.link.fileno() in ready:
                frame = self.link.receive()
                if frame is None:
                    self._is_lost("its connection was lost")
                kind, payload = frame  # type: ignore[misc]
                if kind == wire.CALL:
                    self._answer(*wire.unpacked(payload))
                elif kind == wire.LOG:
                    _write(payload)
                elif kind == wire.END:
                    return self._has_ended(**dict(wire.unpacked(payload)))
            self._leave_if_idle()
            if os.getppid() != self._runner:
                os._exit(128 + signal.SIGKILL)

    # --- what it is told -------------------------------------------------------------------------------------------------

    def _tell(self, interrupts: bool) -> None:
        """Have the far worker wake up and see what has changed for it; its body is interrupted if that is the reason."""
        facts = (*self.board.facts(self.number), *self.board.spent(self.number))
        if interrupts:
            self.board.mark_spent(self.number, 0, 0)  # it is told once
        self._send(wire.FACTS, wire.packed([interrupts, facts]))

    def _send(self, kind: bytes, payload: bytes) -> None:
        with suppress(OSError):  # that it is gone is read from it
            self.link.send(kind, payload)

    # --- one that has nothing to do --------------------------------------------------------------------------------------

    def _patience_ms(self) -> float | None:
        now = time.monotonic()
        if self._leaves_by is not None:
            return max(0.0, self._leaves_by - now) * 1000
        if self._rests_since is not None:
            return max(0.0, self._rests_since + LINGER_S - now) * 1000 + 1
        return None

    def _leave_if_idle(self) -> None:
        """Give back a slot of the cluster that nobody has needed for a while; it is asked for again when there is more."""
        now = time.monotonic()
        if self._leaves_by is not None:
            if now >= self._leaves_by:
                self._is_lost("it did not end")
        elif self._rests_since is not None and now >= self._rests_since + LINGER_S:
            with self.journal.transaction(durable=False, operation="leave"):  # so that nobody calls it meanwhile
                leaves = self.board.leaves(self.number)
            if leaves:
                self._leaves_by = now + _BYE_S
                self._send(wire.FACTS, wire.packed([False, (True, 0, 0, False, 0, 0)]))
            else:
                self._rests_since = now

    # --- what it asks for ------------------------------------------------------------------------------------------------

    def _answer(self, name: str, *args: Any) -> None:
        value, raised = None, None
        self._rests_since = None
        try:
            value = self._done(name, *args)
        except Exception as error:
            raised = encode_error(error)
        self._send(wire.ANSWER, wire.packed([value, raised, self.board.facts(self.number), time.time()]))

    def _done(self, name: str, *args: Any) -> Any:
        """Raises what the journal raises, and FirexliteError for what nobody may have done."""
        if name in _METHODS:
            value = getattr(self.journal, name)(*args)
            if name == "end_wait" or (name == "is_waiting" and not value):
                self._has_slot_again()
            return value
        if (own := getattr(self, f"_do_{name}", None)) is None:
            raise FirexliteError(f"a worker on {self.host} asks for '{name}', which this firexlite does not know")
        return own(*args)

    def _do_function(self, module: str, name: str, *args: Any) -> Any:
        function = None
        if module.startswith(f"{_PACKAGE}."):
            function = getattr(importlib.import_module(module), name, None)
        if not getattr(function, "is_of_the_journal", False):
            raise FirexliteError(f"a worker on {self.host} asks for '{module}.{name}', which is no function of the journal")
        value = self.journal.do(function, *args)  # type: ignore[arg-type]
        if function is waiting.begin_wait and value:
            self._gives_up_slot()
        return value

    def _do_claim(self) -> Claim | None:
        return self._begun(self.journal.claim(self.number, self.log.size()))

    def _do_settle_all(self, ended: list[Ended], claims_next: bool) -> Claim | None:
        self.board.limit(self.number, None, None)
        size = self.log.size()
        ended = [one._replace(log_end=size) for one in ended]
        return self._begun(self.journal.settle_all(ended, self.number, size, claims_next))

    def _do_stop(self, claim: Claim, mismatch: str | None) -> Claim | None:
        self.board.limit(self.number, None, None)
        return self._begun(self.journal.stop(claim, mismatch, self.number, self.log.size()))

    def _begun(self, claim: Claim | None) -> Claim | None:
        self._has_slot_again()
        self._rests_since = time.monotonic() if claim is None else None
        if claim is None and self._is_of_a_queue:  # what it has found may be for others, of whom there are none yet
            self.address.send(RUNNER, b"look")
        return claim

    def _do_suspend(self, claim: Claim) -> bool:
        return waiting.suspend(self.journal, claim, self.log.size())

    def _do_catch_up(self, present: Claim, chains: list[NewChain]) -> list[tuple[int, int]]:
        hand = self._hand(present, chains)
        self.journal.catch_up(hand)
        return [one.known() for one in hand.enqueued]

    def _do_block(self, claim: Claim, tails: list[int], wait: int, any_is_enough: bool, chains: list[NewChain]
                  ) -> tuple[bool, list[tuple[int, int]]]:
        hand = self._hand(claim, chains)
        awaited = [tail if tail >= 0 else hand.enqueued[-1 - tail] for tail in tails]
        has_to_wait = self.journal.block(claim, awaited, wait, any_is_enough, refuse_deadlock, hand)
        if has_to_wait:
            self._gives_up_slot()
        return has_to_wait, [one.known() for one in hand.enqueued]

    def _hand(self, present: Claim, chains: list[NewChain]) -> Hand:
        return Hand(self.number, [], (), present, None, [Enqueued(chain, lambda: None) for chain in chains])

    def _do_limit(self, soft: float | None, hard: float | None) -> None:
        """Limits of the attempt, in seconds from now."""
        now = time.monotonic()
        self.board.limit(self.number, soft and now + soft, hard and now + hard)
        if self.board.is_before_next_look(min(limit for limit in (soft, hard) if limit is not None)):
            self.address.send(RUNNER, b"limit")

    def _do_unspill(self, text: str) -> str:
        return self.directory.unspill(text)

    # --- its slot on its host --------------------------------------------------------------------------------------------

    def _gives_up_slot(self) -> None:
        if not self._gave_up_slot:
            self._gave_up_slot = True
            self._send(wire.SLOT, b"0")

    def _has_slot_again(self) -> None:
        if self._gave_up_slot:
            self._gave_up_slot = False
            self._send(wire.SLOT, b"1")

    # --- the end ---------------------------------------------------------------------------------------------------------

    def _has_ended(self, status: int, stack: str) -> int:
        if stack:
            with suppress(OSError):
                last_words.path_of(self.directory.wake, self.number).write_text(stack)
        return status

    def _is_lost(self, how: str) -> None:
        with suppress(OSError):
            path_of_how(self.directory.wake, self.number).write_text(f"{how} ({self.host})")
        logs.flush_output()
        os._exit(1)


def path_of_how(wake: Any, number: int) -> Any:
    """Where it stands how the far worker of this number was lost, if that is no exit status."""
    return wake / f"{number}{HOW}"


def _write(data: bytes) -> None:
    """To the log, as a worker's own output: what a full disk has no room for is lost."""
    while data:
        try:
            data = data[os.write(1, data):]
        except OSError:
            return


def stand_in(incarnation: Incarnation, number: int, board: Board, stream: socket.socket, host_name: str,
             serves: Callable[[str], bool] | None) -> None:
    """The whole life of a forked stand-in; does not return. It dies as its far worker died."""
    status = 1 << 8
    try:
        faults.reach("worker forked")
        made = wait_for_space(lambda: StandIn(incarnation, number, board, stream, host_name, serves), incarnation.full_wait_s,
                              Doorbell(board, None))  # type: ignore[arg-type]
        status = made.serve()
    except FirexliteError as error:
        print(f"firexlite: {error}", file=sys.stderr)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        logs.flush_output()
        host.die_of(status)
