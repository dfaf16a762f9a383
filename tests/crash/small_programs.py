"""Every program of up to 3 tasks, struck at every moment: most bugs need no more than that to show."""
from __future__ import annotations

import random
from collections.abc import Iterator

from . import programs
from .lab import Case, Crash, Lab
from .parts import Part, Report, Tally

ACTIONS = ("kill", "all")


class SmallPrograms(Part):
    """One process killed, and all at once, at each moment of the submission; then resumed if need be."""

    name = "small programs"
    shares = 2

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        tally = Tally()
        with Lab() as lab:
            if self.wanted:
                self._sample(lab, tally, random.Random(f"{seed} {self.share}"), report)
                return tally
            own = list(programs.small_programs())[self.share::self.shares]
            for done, (name, program) in enumerate(own):
                for case in cases(lab, program, tally):
                    if len(tally.failures) >= self.enough:
                        tally.notes.append(f"given up after {len(tally.failures)} failures")
                        return tally
                    if not lab.run(case, tally):
                        tally.failures[-1] = f"program '{name}': {tally.failures[-1]}"
                report(done + 1, len(own))
                tally.counts["programs"] = done + 1
        return tally

    def _sample(self, lab: Lab, tally: Tally, chance: random.Random, report: Report) -> None:
        """Some moments of every program of up to 2 tasks."""
        small = [program for _, program in programs.small_programs(2)][self.share::self.shares]
        for done, program in enumerate(small):
            for case in chance.sample(list(cases(lab, program, tally)), self.wanted // self.shares // len(small)):
                if len(tally.failures) >= self.enough:
                    return
                lab.run(case, tally)
            report(done + 1, len(small))


def cases(lab: Lab, program: dict, tally: Tally) -> Iterator[Case]:
    for action in ACTIONS:
        for moment in range(1, len(lab.moments_of(program, tally)) + 1):
            yield Case(program, [Crash(moment, action)])
