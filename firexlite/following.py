"""How far a run is, while it goes on, and what a person is shown of it."""
from __future__ import annotations

import time
from typing import NamedTuple

from .codec import display_error
from .history import History, innermost
from .home import RunDirectory
from .states import FINAL

_FAILED = "SELECT task FROM event WHERE id > ? AND id <= ? AND move = 'fail' ORDER BY id"
_RUNNING = ("SELECT task.service, attempt.started FROM task JOIN attempt ON attempt.task = task.id AND "
            "attempt.number = task.attempt WHERE task.state = 'running' ORDER BY attempt.started LIMIT ?")
RUNNING_SHOWN = 4    # the longest of those that run
FAILED_SHOWN = 5     # of those that failed since the last look


class Progress(NamedTuple):
    """Numbers of tasks."""

    ended: int
    known: int
    failed: int


def in_journal(history: History) -> Progress:
    """As anybody may read it."""
    counts = history.counts()
    return Progress(sum(n for state, n in counts.items() if state in FINAL), sum(counts.values()), counts.get("failed", 0))


class Screen:
    """What a person is shown while a run goes on. All methods are no-ops: override what you need."""

    def started(self, directory: RunDirectory) -> None:
        """The run is durable and has begun, or goes on."""

    def resumed(self, done: int | None, again: int, reopened: int, changed: list[str], decided: list[str]) -> None:
        """What a resume found. done: tasks; None: all of them had succeeded. decided: what a person did, in words."""

    def progress(self, progress: Progress) -> None:
        """Called several times a second, while nobody works more seldom."""

    def stopping(self, signal_number: int) -> None:
        """A first signal has come; bodies have some seconds to end."""

    def sending(self, sinks: list[str]) -> None:
        """The run has ended, and these sinks have not taken all of its events yet."""


class Sight(NamedTuple):
    """What a look showed. running: ``(name, seconds)`` of the longest; failed: ``(task, name, what)``; more: failed beyond."""

    running: tuple[tuple[str, float], ...]
    failed: tuple[tuple[int, str, str], ...]
    more: int


class Follower:
    """Looks at a run now and then; each failure is told once, at its bottom and not again in those above it."""

    def __init__(self) -> None:
        self._seen: int | None = None  # the last move that was looked at

    def look(self, history: History) -> Sight:
        """What runs now, and what has failed since the last look; the first look only tells what runs."""
        [(last,)] = history.execute("SELECT coalesce(max(id), 0) FROM event")
        failed: list[tuple[int, str, str]] = []
        if self._seen is not None:
            for (num,) in history.execute(_FAILED, self._seen, last):
                task = history.task(num)
                if task is not None and task.error and task.state == "failed" and history.cause(task) is None:
                    error = innermost(display_error(task.error))
                    failed.append((num, history.short_name(task.service), f"{error['name']}: {error['text']}".rstrip(": ")))
        self._seen = last
        now = time.time()
        running = [(history.short_name(service), max(0.0, now - started))
                   for service, started in history.execute(_RUNNING, RUNNING_SHOWN)]
        return Sight(tuple(running), tuple(failed[:FAILED_SHOWN]), max(0, len(failed) - FAILED_SHOWN))
