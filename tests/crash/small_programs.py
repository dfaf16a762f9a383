"""Every program of up to 3 tasks, and one of each kind that waits, tries again or shares, struck at every moment: most bugs
need no more than that to show."""
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
            own = list(self.all())[self.share::self.shares]
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

    def all(self) -> Iterator[tuple[str, programs.Program]]:
        """The programs, each with a name."""
        return programs.small_programs()

    def smallest(self) -> Iterator[tuple[str, programs.Program]]:
        """Those of which a quick set tries some moments."""
        return programs.small_programs(2)

    def _sample(self, lab: Lab, tally: Tally, chance: random.Random, report: Report) -> None:
        """Some moments of each of the smallest."""
        small = list(self.smallest())[self.share::self.shares]
        for done, (name, program) in enumerate(small):
            for case in chance.sample(list(cases(lab, program, tally)), self.wanted // self.shares // len(small)):
                if len(tally.failures) >= self.enough:
                    return
                if not lab.run(case, tally):
                    tally.failures[-1] = f"program '{name}': {tally.failures[-1]}"
            report(done + 1, len(small))


class PatientPrograms(SmallPrograms):
    """The same with programs that sleep, wait for events, are tried again, share what is done once, or reach a limit."""

    name = "patient programs"

    def all(self) -> Iterator[tuple[str, programs.Program]]:
        return programs.patient_programs()

    smallest = all


def cases(lab: Lab, program: dict, tally: Tally) -> Iterator[Case]:
    for action in ACTIONS:
        for moment in range(1, len(lab.moments_of(program, tally)) + 1):
            yield Case(program, [Crash(moment, action)])
