"""How a command is killed in the middle of its work: with SIGKILL, and all that it started with it."""
from __future__ import annotations

import time
from pathlib import Path

from .processes import kill_family
from .scratch import CannotMeasure, Scratch
from .work import steps_left

LOOK_S = 0.001


def kill_at(steps: int, traces: Path, scratch: Scratch, *words: str, **environment: str) -> None:
    """Start a command, and kill it when it has left so many traces of steps.

    Raises CannotMeasure if it ends before, or does not get so far in time.
    """
    give_up = time.monotonic() + scratch.limit_s
    with scratch.started(*words, keeps_home=True, **environment) as process:
        while steps_left(traces) < steps:
            if process.poll() is not None or time.monotonic() > give_up:
                raise CannotMeasure(f"`{Path(words[0]).name}` was to be killed after {steps} steps, and took only "
                                    f"{steps_left(traces)}")
            time.sleep(LOOK_S)
        kill_family(process.pid)
        process.wait()


def count_steps(traces: Path, steps: int) -> dict[str, float]:
    """How many of so many steps never ran, and how often one ran that had run before."""
    taken = traces.read_text().split()
    return {"lost": steps - len(set(taken)), "repeated": len(taken) - len(set(taken))}
