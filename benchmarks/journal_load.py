"""What a journal bears, each figure by a process of its own: `python -m benchmarks.journal_load NAME FOLDER ...`.

Journals are made directly, with tasks that are ready, and no body runs: what is measured is the journal, and the processes
beside it. Each prints its figures as JSON.
"""
from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from firexlite.board import Board, Counter
from firexlite.claims import NO_APPETITE, Claim, Ended, Enqueued, Hand, NewChain, NewTask, Success
from firexlite.executors import wire
from firexlite.executors.far_journal import FarDirectory, FarJournal
from firexlite.executors.stand_in import stand_in
from firexlite.home import RunDirectory
from firexlite.incarnation import Incarnation
from firexlite.journal import Journal
from firexlite.takeover import take_over
from firexlite.waiting import come_due

FIREX_ID = "FireX-bench-261127-000000-1"
HOST = "node-0001.cluster.example"
AT_ONCE = 10_000   # chains that are enqueued in one transaction
LOOKS = 20
PARENT = 0         # the number of the worker that has the parent of them all


def made(folder: Path, tasks: int, slots: int) -> RunDirectory:
    """A run with so many tasks that are ready, below one that runs and takes a slot of its own."""
    run = RunDirectory(folder / FIREX_ID)
    for path in (run.path, run.logs, run.blobs, run.wake):
        path.mkdir()
    for file in (run.journal, run.alive_lock, run.write_lock):
        file.touch()
    with Journal(run, slots + 1, Counter(Board())) as journal:
        journal.submit(firex_id=FIREX_ID, chain="parent", inputs="{}", options="{}", digest="submitted",
                       members=[_task("parent", 0)], pid=os.getpid(), host=HOST)
        parent = journal.claim(PARENT, 0)
        assert parent is not None
        for first in range(0, tasks, AT_ONCE):
            chains = [NewChain("child", [_task("child", number)]) for number in range(first, min(tasks, first + AT_ONCE))]
            journal.catch_up(Hand(PARENT, [], (), parent, None, [Enqueued(chain, lambda: None) for chain in chains]))
    return run


def _task(service: str, number: int) -> NewTask:
    return NewTask(service, f'{{"number": {number}}}', 3, "{}", service)


def _outcome(claim: Claim, payload: int) -> list[Ended]:
    text = "x" * payload if payload else str(claim.task)
    return [Ended(claim, Success(f'{{"number": "{text}"}}', "{}"), 0, False)]


# --- transactions --------------------------------------------------------------------------------------------------------

def transactions(folder: str, processes: str, tasks: str, payload: str = "0") -> dict[str, float]:
    """So many processes that settle a task and claim the next in one durable transaction each, until there is none left.

    payload: bytes of each result; 0: a number.
    """
    run, board = made(Path(folder), int(tasks), int(processes)), Board()

    def settle_all(number: int) -> None:
        with Journal(run, int(processes) + 1, Counter(board), epoch=1, host=HOST) as journal:
            claim = journal.claim(number, 0)
            while claim is not None:
                claim = journal.settle_all(_outcome(claim, int(payload)), number, 0)

    seconds, cpu_s = _all_at_once([lambda number=number: settle_all(number) for number in range(1, int(processes) + 1)])
    return {"seconds": seconds, "rate": int(tasks) / seconds, "cpu": cpu_s / int(tasks), "bytes": _size(run) / int(tasks)}


def stand_ins(folder: str, processes: str, tasks: str) -> dict[str, float]:
    """The same by so many stand-ins, for far ends beside them whose tasks do nothing."""
    run, board = made(Path(folder), int(tasks), int(processes)), Board()
    incarnation = Incarnation(run, 1, int(processes) + 1, [])
    runner_cpu = 0.0
    pids, ends = [], []
    for number in range(1, int(processes) + 1):
        ours, theirs = socket.socketpair()
        board.forked(number)
        if not (pid := os.fork()):
            ours.close()
            for end in ends:
                end.close()
            stand_in(incarnation, number, board, theirs, HOST, None)
        theirs.close()
        pids.append(pid)
        ends.append(ours)

    def work(number: int) -> None:
        for other in ends:
            if other is not ends[number]:
                other.close()
        journal = FarJournal(FarDirectory(run.path, run.wake), wire.Link(ends[number]), Board(1), 0, contextlib.nullcontext())
        claim = journal.claim(0, 0, NO_APPETITE)
        while claim is not None:
            claim = journal.settle_all(_outcome(claim, 0), 0, 0, True, [], NO_APPETITE)

    seconds, far_cpu_s = _all_at_once([lambda number=number: work(number) for number in range(int(processes))])
    for end in ends:
        end.close()
    for pid in pids:
        _, _, usage = os.wait4(pid, 0)
        runner_cpu += usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "rate": int(tasks) / seconds, "cpu": runner_cpu / int(tasks), "far_cpu": far_cpu_s / int(tasks)}


def _all_at_once(parts: list[Callable[[], None]]) -> tuple[float, float]:
    """Do these in a process each, from the same moment on; the seconds until all are done, and their processor time."""
    go, gate = os.pipe()
    pids = []
    for part in parts:
        if not (pid := os.fork()):
            code = 1
            try:
                os.close(gate)
                os.read(go, 1)  # it ends when all are there
                part()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    began = perf_counter()
    os.close(gate)
    os.close(go)
    used_s = 0.0
    for pid in pids:
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise SystemExit(f"a process ended with {status}")
        used_s += usage.ru_utime + usage.ru_stime
    return perf_counter() - began, used_s


def _size(run: RunDirectory) -> int:
    db = sqlite3.connect(run.journal, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return run.journal.stat().st_size


# --- how much each transaction takes as more tasks run, and as the journal grows ------------------------------------------

def among_running(folder: str, running: str, times: str) -> dict[str, float]:
    """One process that settles and claims in turn, while so many other tasks run: seconds of each transaction."""
    run = made(Path(folder), int(running) + int(times) + 1, int(running) + 1)
    with Journal(run, int(running) + 2, Counter(Board()), host=HOST) as journal:
        for number in range(int(running)):
            journal.claim(number + 1, 0)
        claim = journal.claim(int(running) + 1, 0)
        assert claim is not None
        taken = []
        for _ in range(int(times)):
            began, used_s = perf_counter(), time.process_time()
            claim = journal.settle_all(_outcome(claim, 0), int(running) + 1, 0)
            taken.append((perf_counter() - began, time.process_time() - used_s))
            assert claim is not None
        looks = _looks(journal)
    return {"seconds": statistics.median(each for each, _ in taken), "cpu": statistics.median(each for _, each in taken),
            "look": looks}


def standing(folder: str) -> dict[str, float]:
    """Of a run whose processes are dead: the seconds of a look at it, and of taking it over."""
    with Journal(RunDirectory(Path(folder)), 2, Counter(Board())) as journal:
        look = _looks(journal)
        began = perf_counter()
        take_over(journal, os.getpid(), HOST, {})
        return {"look": look, "take_over": perf_counter() - began}


def _looks(journal: Journal) -> float:
    taken = []
    for _ in range(LOOKS):
        began = perf_counter()
        journal.look([], come_due)
        taken.append(perf_counter() - began)
    return statistics.median(taken)


LOADS: dict[str, Callable[..., dict[str, float]]] = {
    "transactions": transactions, "stand_ins": stand_ins, "among_running": among_running, "standing": standing}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps(LOADS[name](*arguments)))
