"""Random programs, killed 1 to 5 times at random moments: the front rows of the crash lab."""
from __future__ import annotations

import random
import time

import hypothesis
from hypothesis import strategies as st

from . import programs
from .lab import ACTIONS, Case, Crash, Lab, random_crashes
from .parts import Part, Report, Tally

TRIALS = 5000
OF_ONE_PROGRAM = 6
EXAMPLES = 400  # that hypothesis thinks out


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


class ShrinkingPrograms(Part):
    """Programs and crashes that hypothesis thinks out: what goes wrong it makes as small as it can."""

    name = "hypothesis programs"
    is_random = True

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        wanted = self.wanted or EXAMPLES
        give_up = time.monotonic() + budget_s
        tally = Tally()

        @hypothesis.seed(seed)
        @hypothesis.settings(max_examples=wanted, deadline=None, database=None, print_blob=False,
                             suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(program=PROGRAMS, crashes=CRASHES)
        def ends_as_if_undisturbed(program: programs.Program, crashes: list[Crash]) -> None:
            if time.monotonic() > give_up:
                return
            one = Tally()
            lab.run(Case(program, crashes), one)
            assert one.is_clean, one.failures[0]
            tally.add(one)
            report(min(tally.trials, wanted), wanted)

        with Lab() as lab:
            try:
                ends_as_if_undisturbed()
            except Exception as error:  # an AssertionError, or what hypothesis has to say of one that comes and goes
                tally.wrong += 1
                tally.failures.append(f"the smallest that goes wrong, of seed {seed}: {error}")
        if time.monotonic() > give_up:
            tally.notes.append(f"cut short by --budget: {wanted} trials belong to it")
        return tally


def _node(chains: list, wait: str, **flags: bool) -> programs.Node:
    return programs.foreseeable(programs.node(chains, wait, **flags))


_FLAGS = dict.fromkeys(("handles", "fails", "hasty", "notes", "shown"), st.booleans())
_CHAINS = st.recursive(st.lists(st.builds(_node, chains=st.just([]), wait=st.just("all"), **_FLAGS), min_size=1, max_size=3),
                       lambda below: st.lists(st.builds(_node, chains=st.lists(below, max_size=3),
                                                        wait=st.sampled_from(list(programs.WAITS)), **_FLAGS),
                                              min_size=1, max_size=3),
                       max_leaves=12)
PROGRAMS = st.builds(lambda chain, workers: programs.program(*chain, workers=workers), _CHAINS, st.integers(1, 3))
CRASHES = st.lists(st.builds(Crash, st.integers(1, 120), st.sampled_from(ACTIONS)), min_size=1, max_size=4)


def count(tally: Tally, what: str, number: int) -> None:
    tally.counts[what] = tally.counts.get(what, 0) + number
