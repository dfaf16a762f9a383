"""`firexkit.run_time`: limits that depend on how much of a run's time is left."""
from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from ..own_files import read_own_file
from .running import run_directory

LEAST_S = 60.0


@dataclass(frozen=True)
class RunTimeReserve:
    """All the time that the run has left but ``reserve`` seconds, and never less than ``minimum`` seconds.

    A run without a limit of its own has any time left: then these are infinite.
    """

    reserve: float = 0
    minimum: float = LEAST_S

    def remaining(self, app: Any = None) -> float:
        """Seconds until the run's limit, less the reserve; below zero when that is past."""
        limit_s, began = _limit_of_run()
        return math.inf if limit_s is None else began + limit_s - time.time() - self.reserve

    def resolve(self, app: Any = None) -> float:
        """As `remaining`, but at least ``minimum``."""
        return max(self.remaining(), self.minimum)

    def __str__(self) -> str:
        return f"the run time remaining less {self.reserve}s"


def _limit_of_run() -> tuple[float | None, float]:
    """The limit of the run that this process works for, in seconds, and when the run began."""
    directory = run_directory()
    if directory is None:
        return None, 0.0
    run = json.loads(read_own_file(directory.run_json))
    return run.get("run_soft_time_limit"), run["submit_proc_start_timestamp"]
