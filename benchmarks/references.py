"""What firexlite is measured against, each in a process of its own: `python -m benchmarks.references NAME ...`.

Each prints its figures as JSON: the seconds that its work took, without the start of the interpreter and of the pool.
"""
from __future__ import annotations

import gc
import json
import multiprocessing
import os
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from .processes import cpu_s, family
from .work import spin

WORKERS = 2


def child(number: int) -> int:
    return number


def hop(hops: int) -> int:
    return hops + 1


def turn(number: int) -> int:
    return spin()


def warm_pool(workers: int = WORKERS) -> ProcessPoolExecutor:
    """A pool whose workers are forked and have worked."""
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    list(pool.map(child, range(50 * workers)))
    return pool


def pool_fan_out(children: str, workers: str) -> dict[str, float]:
    """So many independent calls, all submitted before the first result is asked for."""
    return _fan_out(child, int(children), int(workers))


def pool_turns(children: str, workers: str) -> dict[str, float]:
    """The same with calls that each keep a processor busy."""
    return _fan_out(turn, int(children), int(workers))


def _fan_out(call: Callable[[int], int], children: int, workers: int) -> dict[str, float]:
    with warm_pool(workers) as pool:
        used_s = cpu_s(family(os.getpid()))
        began = perf_counter()
        futures = [pool.submit(call, number) for number in range(children)]
        results = [future.result() for future in futures]
        seconds = perf_counter() - began
        used_s = cpu_s(family(os.getpid())) - used_s
    assert len(results) == children
    return {"seconds": seconds, "cpu": used_s}


def pool_walk(length: str) -> dict[str, float]:
    """So many calls, each of which needs what the one before it returned."""
    with warm_pool() as pool:
        began = perf_counter()
        hops = 0
        for _ in range(int(length)):
            hops = pool.submit(hop, hops).result()
        seconds = perf_counter() - began
    assert hops == int(length)
    return {"seconds": seconds}


def pool_round_trip(times: str, path: str) -> dict[str, float]:
    """One call of an idle pool, and two durable commits: the median of so many, each after a rest."""
    db = wal_database(path)
    taken = []
    with warm_pool() as pool:
        for number in range(int(times)):
            time.sleep(0.01)
            began = perf_counter()
            pool.submit(child, number).result()
            for _ in range(2):
                commit_row(db, number)
            taken.append(perf_counter() - began)
    db.close()
    return {"seconds": statistics.median(taken)}


def sqlite_steps(steps: str, commits: str, path: str) -> dict[str, float]:
    """So many durable commits a step, each of one row, in a plain loop: what the disk and SQLite ask for, with no work."""
    db = wal_database(path)
    began = perf_counter()
    for number in range(int(steps)):
        for _ in range(int(commits)):
            commit_row(db, number)
    seconds = perf_counter() - began
    assert db.execute("SELECT count(*) FROM step").fetchone() == (int(steps) * int(commits),)
    db.close()
    return {"seconds": seconds}


def wal_database(path: str) -> sqlite3.Connection:
    """A database whose commits are durable, as those of a journal are."""
    db = sqlite3.connect(path, isolation_level=None)
    [journal_mode] = db.execute("PRAGMA journal_mode = WAL").fetchone()
    assert journal_mode == "wal"
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE step (id INTEGER PRIMARY KEY, number INTEGER)")
    return db


def commit_row(db: sqlite3.Connection, number: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO step (number) VALUES (?)", (number,))
    db.execute("COMMIT")


def fork(times: str) -> dict[str, float]:
    """The processor time of a bare fork, exit and wait, of a process that has imported what a runner has."""
    import firexlite.cli
    import firexlite.launch  # noqa: F401
    from firexlite.plugins import load

    from .ours import SERVICES
    load([SERVICES], lambda path: None)
    gc.freeze()  # as a runner does
    used_s = _used_s()
    for _ in range(int(times)):
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    return {"cpu": (_used_s() - used_s) / int(times)}


def _used_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


REFERENCES: dict[str, Callable[..., dict[str, float]]] = {
    "pool_fan_out": pool_fan_out,
    "pool_turns": pool_turns,
    "pool_walk": pool_walk,
    "pool_round_trip": pool_round_trip,
    "sqlite_steps": sqlite_steps,
    "fork": fork,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps(REFERENCES[name](*arguments)))
