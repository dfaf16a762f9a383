"""What the journal of a run tells of it to the benchmarks."""
from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .contest import Sample

BLOCK = 512  # the unit of st_blocks


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[sqlite3.Connection]:
    """The journal of a run, of which nothing is changed."""
    db = sqlite3.connect(f"{(directory / 'journal.sqlite3').as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


def growth(directory: Path) -> Sample:
    """How many bytes the journal of a finished run has for each task, over its arguments and its result."""
    with reading(directory) as db:
        tasks, payload = db.execute("SELECT count(*), sum(length(CAST(arguments AS BLOB)) "
                                    "+ coalesce(length(CAST(result AS BLOB)), 0)) FROM task").fetchone()
    return {"journal": ((directory / "journal.sqlite3").stat().st_size - payload) / tasks}


def in_flight(directory: Path, service: str) -> Sample:
    """How many tasks of a service ran when all processes of the run died, and how many their workers had reserved: of those
    some may have run, and their results been in nothing but a worker's hand."""
    with reading(directory) as db:
        running, reserved = db.execute(
            "SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE reserved IS NOT NULL) FROM task "
            "WHERE state IN ('running', 'ready') AND service LIKE '%' || ?", (f".{service}",)).fetchone()
    return {"running": running, "reserved": reserved}


def room(directory: Path) -> Sample:
    """The bytes that a run's directory takes up on the disk, and how many files are in it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {"room": sum(path.stat().st_blocks for path in files) * BLOCK, "files": len(files)}
