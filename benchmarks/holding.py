"""Whether a result is held back by what its worker does next: many quick tasks, and among them one that sleeps."""
from __future__ import annotations

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .contest import Sample
from .journals import reading
from .ours import submit_words
from .references import WORKERS
from .scratch import CannotMeasure, Scratch, firexlite_command

LOOK_S = 0.001
QUICK, FOLLOWS = "quick", "follow"


def hold(scratch: Scratch, children: int) -> Sample:
    """So many chains of two quick tasks, one of which sleeps; while it does, its worker is killed.

    Gives how long after its return each other result could be read (the longest and the median), how many that could not be
    read while it slept, how long its successor waited at the most, and how many tasks ran again other than the one that slept.
    """
    others = 2 * (children - 1)
    with scratch.spare_file("sleeper") as note:
        words = [*firexlite_command(), "submit", *submit_words("fan_out_pairs", WORKERS, children=children, note=note)]
        try:
            with scratch.started(*words, keeps_home=True) as process:
                delays, waits = _watch(scratch, process, others)
                if process.poll() is None:
                    os.kill(int(note.read_text()), signal.SIGKILL)
                process.communicate(timeout=scratch.limit_s)
            if process.returncode or not delays:
                raise CannotMeasure(f"a run of which one worker was killed ended with {process.returncode}")
            return {"delay": max(delays), "delay_p50": statistics.median(delays), "waited": max(waits),
                    "held": others - len(delays), "repeated": _ran_again(scratch.run_directory()) - 1}
        finally:
            scratch.empty_home()


def _watch(scratch: Scratch, process: subprocess.Popen, others: int) -> tuple[list[float], list[float]]:
    """What a reader of the journal sees until it has seen so many results, or there will be no more."""
    delays, waits = [], []
    for service, result in _results(scratch, process):
        if service.endswith(f".{QUICK}") or service.endswith(f".{FOLLOWS}"):
            delays.append(time.time() - result["returned"])
            if "waited_s" in result:
                waits.append(result["waited_s"])
        if len(delays) == others:
            break
    return delays, waits


def _results(scratch: Scratch, process: subprocess.Popen) -> Iterator[tuple[str, dict]]:
    """Each task that succeeded, as soon as the journal says so: its service, and what it returned."""
    while not scratch.runs() and process.poll() is None:
        time.sleep(LOOK_S)
    last = 0
    with reading(scratch.run_directory()) as db:
        while process.poll() is None:
            for event, service, result in _ended_since(db, last):
                last = event
                yield service, json.loads(result)
            time.sleep(LOOK_S)


def _ended_since(db: sqlite3.Connection, event: int) -> list[tuple[int, str, str]]:
    return db.execute("SELECT event.id, service, result FROM event JOIN task ON task.id = event.task "
                      "WHERE event.id > ? AND event.state = 'succeeded' ORDER BY event.id", (event,)).fetchall()


def _ran_again(directory: Path) -> int:
    with reading(directory) as db:
        [count] = db.execute("SELECT count(*) FROM task WHERE attempt > 1").fetchone()
    return count
