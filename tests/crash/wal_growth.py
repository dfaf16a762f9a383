"""How large the write-ahead log becomes under load while readers follow the run: two of them, overlapping all the time."""
from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import firexlite
from firexlite.history import History
from firexlite.home import RunDirectory

from .parts import Part, Report, Tally

BOUND = 128 << 20   # bytes
SECONDS = 600       # of load; `--wanted` asks for another number
PATIENCE_S = 60.0   # for what the load takes to begin and to end

LOAD = """
import os, time
from firexlite import app

@app.task(returns="text")
def write(number): return "x" * 20000

@app.task(bind=True, returns="written")
def load(self, seconds):
    give_up, number = time.monotonic() + float(seconds), 0
    while time.monotonic() < give_up:
        for number in range(number + 1, number + 101):
            self.enqueue_child(write.s(number=number))
        self.wait_for_children()
    return number
"""
READER = """
import sys, time
from pathlib import Path
from firexlite.errors import FirexliteError
from firexlite.history import History
from firexlite.home import RunDirectory

run = RunDirectory(Path(sys.argv[1]))
while True:
    try:
        # In place, for as long as it takes: a report is made from a copy, which holds up nobody.
        with History(run) as history, history._db.atomic("DEFERRED"):
            for task in history.tasks():
                pass
            time.sleep(0.3)  # reading is fast, and readers whose looks do not overlap hold up nobody
    except FirexliteError:
        time.sleep(0.01)
"""


@dataclass
class Growth:
    """What became of the log. largest: its size in bytes at its largest. shrank: how often it was begun anew under load."""

    largest: int = 0
    shrank: int = 0
    tasks: int = 0


def growth_of_wal(seconds: float, report: Report = lambda done, of: None) -> Growth:
    """Run a load for so long, beside two readers, and look at the log all the time."""
    with tempfile.TemporaryDirectory(prefix="wal-") as folder, contextlib.ExitStack() as processes:
        env = {**os.environ, "FIREXLITE_HOME": f"{folder}/home", "PYTHONPATH": str(Path(firexlite.__file__).parent.parent)}
        Path(folder, "load.py").write_text(LOAD)

        def start(*words: str) -> subprocess.Popen:
            process = processes.enter_context(subprocess.Popen(
                [sys.executable, *words], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL))
            processes.callback(process.kill)
            return process

        front = start("-m", "firexlite", "submit", "--plugins", "load.py", "--chain", "load", "--seconds", str(seconds))
        give_up = time.monotonic() + PATIENCE_S
        while not (found := list(Path(folder, "home").glob("FireX-*"))):
            assert front.poll() is None and time.monotonic() < give_up, "the run did not begin"
            time.sleep(0.01)
        run = RunDirectory(found[0])
        readers = [start("-c", READER, str(run.path)) for _ in range(2)]
        growth, before, began = Growth(), 0, time.monotonic()
        while front.poll() is None:
            lasted_s = time.monotonic() - began
            assert lasted_s < seconds + PATIENCE_S, "the run did not end"
            with contextlib.suppress(FileNotFoundError):
                size = os.stat(f"{run.journal}-wal").st_size
                growth.largest = max(growth.largest, size)
                growth.shrank += size < before and lasted_s < seconds  # at its end a run folds its journal
                before = size
            report(min(int(lasted_s), int(seconds)), int(seconds))
            time.sleep(0.05)
        assert front.returncode == 0, f"the run ended with {front.returncode}"
        assert all(reader.poll() is None for reader in readers), "a reader ended"
        with History(run) as history:
            growth.tasks = sum(history.counts().values())
        return growth


class LogGrowth(Part):
    """Ten minutes of load, or as many seconds as are wanted, beside two readers; each task of the load is a trial."""

    name = "log growth"
    is_alone = True

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        seconds = self.wanted or SECONDS
        growth = growth_of_wal(seconds, report)
        tally = Tally(trials=growth.tasks, counts={"MiB at the most": growth.largest >> 20, "times begun anew": growth.shrank,
                                                   "seconds of load": seconds})
        if growth.largest > BOUND:
            tally.wrong = 1
            tally.failures.append(f"the write-ahead log grew to {growth.largest >> 20} MiB in {seconds} s of load")
        return tally
