"""Random programs, killed 1 to 5 times at random moments: the front row of the crash lab."""
from __future__ import annotations

import random
import time

from . import programs
from .lab import ACTIONS, Case, Lab, random_crashes
from .parts import Part, Report, Tally

TRIALS = 5000
OF_ONE_PROGRAM = 6


class Programs(Part):
    """Programs of 5 to 40 tasks, a third with nested waits."""

    name = "programs"
    shares = 2
    is_random = True

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        wanted = (self.wanted or TRIALS) // self.shares
        give_up = time.monotonic() + budget_s
        tally = Tally()
        number = 0
        with Lab() as lab:
            while tally.trials < wanted and time.monotonic() < give_up and len(tally.failures) < self.enough:
                chance = random.Random(f"{seed} {self.share} {number}")
                program = programs.random_program(chance, has_nested_waits=number % 3 == 0)
                moments = lab.moments_of(program, tally)
                tally.reached |= {f"{moment} by {action}" for moment in moments for action in ACTIONS}
                count(tally, "programs", 1)
                for _ in range(min(OF_ONE_PROGRAM, wanted - tally.trials)):
                    lab.run(Case(program, random_crashes(chance, len(moments))), tally)
                    count(tally, "trials with nested waits", programs.has_nested_waits(program))
                    report(tally.trials, wanted)
                    if len(tally.failures) >= self.enough:
                        tally.notes.append(f"given up after {len(tally.failures)} failures")
                        break
                number += 1
        if tally.trials < wanted and not tally.failures:
            tally.notes.append(f"cut short by --budget: {self.wanted or TRIALS} trials belong to it")
        return tally


def count(tally: Tally, what: str, number: int) -> None:
    tally.counts[what] = tally.counts.get(what, 0) + number
