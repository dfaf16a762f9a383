"""Replay: a task that runs again from its top gets the children that it enqueued before."""
from __future__ import annotations

import collections
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .claims import Recorded
from .codec import display
from .journal import Journal


class ReplayStopped(BaseException):
    """Raised in a body whose replay waits for a call that is not recorded; it cannot go on."""


class Replay:
    """Matches what a body asks for with what earlier attempts of it enqueued (DESIGN: resume is replay).

    strict: the task was merely interrupted, so it must ask for all that is recorded, in any order. A call that is
    not recorded is held until it has; if the body waits for it or ends before, the replay stops.
    Otherwise the body may take another path, and what it leaves out is set aside.
    """

    def __init__(self, recorded: Sequence[Recorded], strict: bool) -> None:
        self.total = len(recorded)
        self._strict = strict
        self._left: dict[str, collections.deque[Recorded]] = collections.defaultdict(collections.deque)
        for call in recorded:
            self._left[call.digest].append(call)
        self._unmatched = self.total
        self._to_ask = sum(not call.held for call in recorded)
        self._held: dict[int, tuple[int, int]] = {}  # last task -> chain
        self._lock = threading.Lock()

    def enqueue(self, digest: str, may_hold: bool,
                journal_chain: Callable[[bool], tuple[int, int]],
                release: Callable[[Sequence[int]], None]) -> tuple[int, int]:
        """The recorded chain of this digest, the oldest not yet asked for; else a new one, held if it must be."""
        with self._lock:
            if calls := self._left.get(digest):
                call = calls.popleft()
                chain, held = (call.head, call.last), call.held
                self._unmatched -= 1
                self._to_ask -= not call.held
            else:
                held = may_hold and self._strict and self._to_ask > 0
                chain = journal_chain(held)
            if held:
                self._held[chain[1]] = chain
            if self._held and not (self._strict and self._to_ask):
                release([head for head, _ in self._held.values()])
                self._held.clear()
            return chain

    @property
    def is_over(self) -> bool:
        """Whether all that was recorded has been asked for, so that whatever comes now is new."""
        return not self._unmatched and not self._held

    def expects(self, digest: str) -> bool:
        """Whether a recorded chain of this digest has not been asked for yet."""
        with self._lock:
            return bool(self._left.get(digest))

    def holds_any(self, tails: Sequence[object]) -> bool:
        return any(tail in self._held for tail in tails)

    def must_stop(self) -> bool:
        """Whether the body ended without asking for all that it must."""
        return self._strict and self._to_ask > 0

    def unasked(self) -> tuple[int, ...]:
        """The first tasks of the recorded chains that the body left out."""
        return tuple(call.head for calls in self._left.values() for call in calls) if self.total else ()

    def left(self) -> list[Recorded]:
        """The recorded calls that the body has not asked for yet, in their order."""
        return sorted((call for calls in self._left.values() for call in calls), key=lambda call: call.head)

    def mismatch(self, journal: Journal, raised: BaseException | None) -> str:
        """What is to be told of a replay that stopped, as JSON: the calls recorded and not asked for, and the new ones."""
        missing = [told_of(journal, call.head, call.last) for calls in self._left.values() for call in calls if not call.held]
        return json.dumps({"recorded": missing, "new": [told_of(journal, *chain) for chain in self._held.values()],
                           "raised": None if raised is None else f"{type(raised).__name__}: {raised}"})


def told_of(journal: Journal, head: int, last: int) -> list[dict[str, Any]]:
    """What people are told of a journaled chain: ``{service, num, arguments}`` of each of its tasks."""
    members = journal.chain_members(head, last)
    steps = journal.flow_steps(head, last)
    return [{"service": service, "num": num, "arguments": display(step[0])}
            for (num, service, *_), step in zip(members, steps, strict=True)]
