"""What the adapters share: how one is asked, and how it answers.

They are asked by `python -m benchmarks.peers.NAME WORKLOAD SIZE FOLDER [PHASE]`, answer with a line of JSON, and run in the
environments of the peers, where nothing of ours is installed.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NoReturn

WORKERS = 2
SYNCED, SYNCS = "BENCH_REDIS_SYNCED", "1"  # in the environment: Redis is to sync each write
CRASH = "crash"   # the phase of a resume in which the work begins, and which is killed
WARM_UP = 8       # tasks before the clock starts, so that all workers are there
ABANDONED_S = 3.0 # nothing ends any more for so long: what is left was lost


@dataclass(frozen=True)
class Asked:
    """What an adapter is to do, in a folder of its own."""

    workload: str
    size: int
    folder: Path
    phase: str = ""

    @classmethod
    def from_words(cls) -> Asked:
        workload, size, folder, *phase = sys.argv[1:]
        return cls(workload, int(size), Path(folder), *phase)

    @property
    def steps(self) -> str:
        """The file in which steps leave traces."""
        return str(self.folder / "steps")

    @property
    def expected(self) -> int:
        size = self.size
        return {"startup": 2, "chain": size, "nested": size, "resume": size * (size - 1) // 2}.get(
            self.workload, size * (size + 1) // 2)

    def also(self, workload: str, size: int = 0) -> subprocess.Popen:
        """Start this adapter once more, for another part of the work; what it says goes to a file."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", f"benchmarks.peers.{Path(sys.argv[0]).stem}", workload, str(size),
                                     str(self.folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def timed(self, work: Callable[[], int]) -> NoReturn:
        """Do the work, and answer with what it took."""
        began = perf_counter()
        value = work()
        self.answer(value, perf_counter() - began)

    def answer(self, value: int, seconds: float | None = None, end: float | None = None) -> NoReturn:
        """Print the result of the work, and leave at once. end: when the result was there, if that was not just now."""
        end = end or time.time()
        if value != self.expected:
            print(f"the result is {value} instead of {self.expected}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)
        print(json.dumps({"seconds": seconds, "end": end}), flush=True)
        os._exit(0)  # what else lives of it is killed with its process group


def increment(number: int) -> int:
    return number + 1
