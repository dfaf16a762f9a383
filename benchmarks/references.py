"""What firexlite is measured against, each in a process of its own: `python -m benchmarks.references NAME ...`.

Each prints the seconds that its work took, without the start of the interpreter and of the pool.
"""
from __future__ import annotations

import multiprocessing
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

WORKERS = 2


def child(number: int) -> int:
    return number


def hop(hops: int) -> int:
    return hops + 1


def warm_pool() -> ProcessPoolExecutor:
    """A pool whose workers are forked and have worked."""
    pool = ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))
    list(pool.map(child, range(50 * WORKERS)))
    return pool


def pool_fan_out(children: str) -> float:
    """So many independent calls, all submitted before the first result is asked for."""
    with warm_pool() as pool:
        began = perf_counter()
        futures = [pool.submit(child, number) for number in range(int(children))]
        results = [future.result() for future in futures]
        seconds = perf_counter() - began
    assert results == list(range(int(children)))
    return seconds


def pool_walk(length: str) -> float:
    """So many calls, each of which needs what the one before it returned."""
    with warm_pool() as pool:
        began = perf_counter()
        hops = 0
        for _ in range(int(length)):
            hops = pool.submit(hop, hops).result()
        seconds = perf_counter() - began
    assert hops == int(length)
    return seconds


def sqlite_walk(length: str, path: str) -> float:
    """One row and one durable commit a hop, in a plain loop: what the disk and SQLite ask for, with no work at all."""
    db = sqlite3.connect(path, isolation_level=None)
    [journal_mode] = db.execute("PRAGMA journal_mode = WAL").fetchone()
    assert journal_mode == "wal"
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE hop (id INTEGER PRIMARY KEY, hops INTEGER)")
    began = perf_counter()
    for hops in range(1, int(length) + 1):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO hop (hops) VALUES (?)", (hops,))
        db.execute("COMMIT")
    seconds = perf_counter() - began
    assert db.execute("SELECT max(hops) FROM hop").fetchone() == (int(length),)
    db.close()
    return seconds


REFERENCES: dict[str, Callable[..., float]] = {
    "pool_fan_out": pool_fan_out,
    "pool_walk": pool_walk,
    "sqlite_walk": sqlite_walk,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(REFERENCES[name](*arguments))
