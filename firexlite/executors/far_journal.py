"""The journal as a far worker has it: each use is a call to its stand-in, beside the journal itself.

It has those methods of `Journal` that a worker and its attempts use, and what they take and give. What the stand-in puts in by
itself, the number of the worker and the place in its log, is not sent.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..board import Board
from ..claims import Appetite, Claim, Ended, Enqueued, Hand, NewTask
from ..codec import decode_error
from ..home import RunDirectory
from ..waiting import suspend
from . import wire


class FarDirectory(RunDirectory):
    """The directory of a run as a far worker has it: its own, if that is to be seen here, else one that stands for it.

    Payloads are with the journal, and the sockets by which processes wake each other are of this host.
    """

    journal_at: FarJournal | None = None

    def __init__(self, path: Path, wake: Path) -> None:
        super().__init__(path)
        self.wake = wake

    def spill(self, text: str) -> str:
        return text  # who journals it puts it away

    def unspill(self, text: str) -> str:
        return super().unspill(text) if self.journal_at is None else self.journal_at.unspill(text)


class FarJournal:
    """Calls the stand-in. Every method raises what it raised there."""

    def __init__(self, directory: FarDirectory, link: wire.Link, board: Board, number: int,
                 critical: AbstractContextManager) -> None:
        """board, number: where the worker finds what concerns it. critical: holds signals back."""
        self.directory = directory
        self._link, self._board, self._number, self._critical = link, board, number, critical
        self._mutex = threading.RLock()
        self.behind_s = 0.0  # by which the clock here is slower than that of the journal
        self._pid = os.getpid()
        directory.journal_at = self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self._call(name, *args)

    def _call(self, name: str, *args: object) -> Any:
        if self._pid != os.getpid():
            raise RuntimeError(f"process {os.getpid()} is using the journal by way of process {self._pid}, which forked it")
        with self._critical, self._mutex:
            try:
                self._link.send(wire.CALL, wire.packed([name, *args]))
                frame = self._link.receive()
            except OSError:
                frame = None
            if frame is None:
                os._exit(1)  # nobody is there for whom it works
            value, raised, facts, now = wire.unpacked(frame[1])
            self._board.heed(self._number, *facts)
            self.behind_s = now - time.time()
        if raised is not None:
            raise decode_error(raised)
        return value

    def open(self) -> None:
        """It is open as long as the stand-in is there."""

    def forget(self) -> None:
        """For a service's own fork: it has no part in the journal."""
        self._link.close()

    def do(self, function: Callable[..., Any], *args: object) -> Any:
        """Have a function of the journal called there."""
        if function is suspend:
            return self._call("suspend", args[0])  # where its output ends is known there
        return self._call("function", function.__module__, function.__name__, *args)

    def claim(self, worker: int, log_at: int, appetite: Appetite) -> Claim | None:
        return self._call("claim")

    def settle_all(self, ended: Sequence[Ended], worker: int, log_at: int, claims_next: bool, left: Sequence[Claim],
                   appetite: Appetite) -> Claim | None:
        return self._call("settle_all", list(ended), claims_next)

    def stop(self, claim: Claim, mismatch: str | None, worker: int, log_end: int) -> Claim | None:
        return self._call("stop", claim, mismatch)

    def enqueue(self, claim: Claim, digest: str, members: Sequence[NewTask], held: bool = False,
                once: str | None = None) -> tuple[int, int]:
        return self._call("enqueue", claim, digest, list(members), held, once)

    def catch_up(self, hand: Hand) -> None:
        self._place(hand.enqueued, self._call("catch_up", hand.present, [one.chain for one in hand.enqueued]))

    def block(self, claim: Claim, tails: Sequence[int | Enqueued], wait: int, any_is_enough: bool,
              may_wait: object, hand: Hand) -> bool:
        # Of a chain that is about to be journaled, its index among those in hand, from -1 down.
        awaited = [one if isinstance(one, int) else one.place[1] if one.place else -1 - hand.enqueued.index(one)
                   for one in tails]
        has_to_wait, places = self._call("block", claim, awaited, wait, any_is_enough, [one.chain for one in hand.enqueued])
        self._place(hand.enqueued, places)
        return has_to_wait

    @staticmethod
    def _place(enqueued: Sequence[Enqueued], places: Sequence[tuple[int, int]]) -> None:
        for one, place in zip(enqueued, places, strict=True):
            one.place = place

    def release_held(self, heads: Sequence[int]) -> None:
        self._call("release_held", list(heads))
