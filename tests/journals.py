"""A journal of one process, for tests: a run made of a few words, a bell that remembers, and short ways to look."""
from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from firexlite import faults, host
from firexlite.claims import Bell, Claim, Failure, NewTask, Retry, Success
from firexlite.home import RunDirectory
from firexlite.journal import Journal

FIREX_ID = "FireX-li-261123-101500-4711"
MAIN, SECOND, THIRD = 0, 1, 2  # numbers of workers
DONE = Success("{}", "{}")
BROKEN = Failure('"broken"')


class Chimes(Bell):
    """Remembers what the journal told it: `calls`, and of one kind `of("ring")`."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.is_stopping = False

    def of(self, kind: str) -> list:
        return [rest[0] if len(rest) == 1 else tuple(rest) for name, *rest in self.calls if name == kind]

    def forget(self) -> None:
        self.calls.clear()

    @property
    def stopping(self) -> bool:
        return self.is_stopping

    def work(self, worker: int, task: int, attempt: int) -> None:
        self.calls.append(("work", worker))

    def gone(self, worker: int) -> None:
        self.calls.append(("gone", worker))

    def ring(self, unblocked: Sequence[int], startable: int) -> None:
        self.calls.append(("ring", list(unblocked), startable))

    def interrupt(self, attempts: Sequence[tuple[int, int, int]]) -> None:
        self.calls.append(("interrupt", sorted(attempts)))

    def rest(self, worker: int, quiet: bool) -> None:
        self.calls.append(("rest", worker, quiet))

    def withdraw(self, workers: Sequence[int]) -> None:
        self.calls.append(("withdraw", sorted(workers)))

    def comes_due(self, in_s: float) -> None:
        self.calls.append(("comes_due", in_s))

    def count(self, **changes: int) -> None:
        self.calls += [("count", name, change) for name, change in changes.items() if change]


def run_directory(folder: Path) -> RunDirectory:
    """The files of a new run below ``folder``."""
    run = RunDirectory(folder / FIREX_ID)
    for path in (run.path, run.logs, run.blobs):
        path.mkdir()
    for file in (run.journal, run.alive_lock, run.write_lock):
        file.touch()
    return run


def opened(folder: Path, slots: int = 1, queues: Mapping[str, int] | None = None) -> Journal:
    """An open journal without a run; its clock gives each transaction a time of its own."""
    journal = Journal(run_directory(folder), slots, Chimes(), queues=queues)
    journal.clock = itertools.count(1000.0).__next__  # type: ignore[assignment]
    return journal.open()


def new_tasks(*services: str, arguments: str = "{}", worker_deaths: int = 3, **more: object) -> list[NewTask]:
    """Members of a chain; the digest of a service's code is its name. more: of each `NewTask`, as ``queue="gpu"``."""
    return [NewTask(service, arguments, worker_deaths, "{}", service, **more) for service in services]  # type: ignore[arg-type]


def submit(journal: Journal, *services: str, **more: object) -> None:
    journal.submit(firex_id=FIREX_ID, chain=",".join(services), inputs="{}", options="{}", digest="submitted",
                   members=new_tasks(*services, **more), pid=os.getpid(), host="here")  # type: ignore[arg-type]


def enqueue(journal: Journal, claim: Claim, *services: str, held: bool = False, once: str | None = None,
            **more: object) -> tuple[int, int]:
    """A chain below a task; its digest is the names of its services."""
    return journal.enqueue(claim, "|".join(services), new_tasks(*services, **more), held, once)  # type: ignore[arg-type]


def claimed(journal: Journal, worker: int = 0) -> Claim:
    claim = journal.claim(worker, 0)
    assert claim is not None, "there is nothing to claim"
    return claim


def settle(journal: Journal, claim: Claim, outcome: Success | Failure | Retry = DONE, worker: int = MAIN,
           is_parent: bool = False, claims_next: bool = True) -> Claim | None:
    return journal.settle(claim, outcome, worker, 0, is_parent=is_parent, claims_next=claims_next)


def states(journal: Journal) -> list[str]:
    """The state of each task, in order of enqueuing."""
    return [state for (state,) in journal.execute("SELECT state FROM task ORDER BY id")]


def state(journal: Journal, task: int) -> str:
    return states(journal)[task - 1]


def moves(journal: Journal, since: float = 0) -> list[tuple[int, str]]:
    """``(task, move)`` of each event, in order."""
    return journal.execute("SELECT task, move FROM event WHERE at >= ? ORDER BY id", since)


def column(journal: Journal, name: str) -> list:
    return [value for (value,) in journal.execute(f"SELECT {name} FROM task ORDER BY id")]


def attempts(journal: Journal, task: int) -> list[tuple]:
    """``(outcome, error)`` of each attempt at a task."""
    return journal.execute("SELECT outcome, error FROM attempt WHERE task = ? ORDER BY number", task)


def turn_clock(journal: Journal, to: float) -> None:
    """Let each transaction from now on have a time of its own from then on."""
    journal.clock = itertools.count(float(to)).__next__  # type: ignore[assignment]


def error_after(deaths: int, unsure: bool = False) -> str:
    return json.dumps(f"died {deaths} times")


def is_locked(run: RunDirectory) -> bool:
    """Whether somebody holds the write lock of a run."""
    fd = os.open(run.write_lock, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def moments_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each moment of a transaction from now on, as "settle committed", and "sync" when the disk was told to have it all."""
    moments: list[str] = []
    name = "fsync" if host.IS_PORTABLE else "fdatasync"
    sync = getattr(os, name)
    monkeypatch.setattr(faults, "reach", lambda *moment: moments.append(" ".join(moment)))
    monkeypatch.setattr(os, name, lambda fd: (sync(fd), moments.append("sync")))
    return moments
