"""Programs that are killed at chosen moments end as if nobody had disturbed them: the quick set of `./dev crash`."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import programs
from .parts import Tally

TESTS = Path(__file__).parents[1]


def job(told: str, wanted: int, seed: int) -> Tally:
    """What came of one job of the lab, which needs a process without threads to fork from."""
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-m", "crash", "--job", told, "--wanted", str(wanted), "--seed", str(seed)],
                          env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return Tally.from_json(json.loads(done.stdout.splitlines()[-1])["tally"])


@pytest.mark.long
@pytest.mark.timeout(300)
def test_random_programs_that_are_killed_one_to_five_times_end_as_if_undisturbed():
    tally = job("programs", wanted=24, seed=1)

    assert tally.is_clean, "\n\n".join(tally.failures)
    assert tally.trials == 24
    assert any(point.startswith("settle ") for point in tally.points)
    assert len(tally.points) > 24


@pytest.mark.long
@pytest.mark.timeout(300)
def test_more_random_programs_are_killed_at_more_points():
    tally = job("programs", wanted=72, seed=1)

    assert tally.is_clean, "\n\n".join(tally.failures)
    assert tally.trials == 72
    assert {"settle written by all", "settle committed by all"} & tally.points
    assert len(tally.points) > 60


@pytest.mark.timeout(300)
def test_programs_that_hypothesis_thinks_out_end_as_if_undisturbed():
    tally = job("hypothesis programs", wanted=15, seed=1)

    assert tally.is_clean, "\n\n".join(tally.failures)
    assert tally.trials == 15


@pytest.mark.timeout(300)
@pytest.mark.parametrize("of_each", [3, pytest.param(6, marks=pytest.mark.long)])
def test_small_programs_that_are_killed_at_any_moment_end_as_if_undisturbed(of_each):
    wanted = of_each * len(list(programs.small_programs(2)))

    tally = job("small programs", wanted, seed=1)

    assert tally.is_clean, "\n\n".join(tally.failures)
    assert tally.trials == wanted


@pytest.mark.timeout(300)
@pytest.mark.long
def test_programs_that_wait_try_again_and_share_end_as_if_undisturbed_though_killed_at_any_moment():
    wanted = 5 * len(list(programs.patient_programs()))

    tally = job("patient programs", wanted, seed=1)

    assert tally.is_clean, "\n\n".join(tally.failures)
    assert tally.trials == wanted


def test_what_a_program_must_come_to_is_thought_out_without_running_it():
    failing = programs.node(fails=True)
    told = programs.program(programs.node([[failing, programs.node()]], "all"), programs.node())

    expected = programs.expected_of(told)

    assert not expected.succeeds
    assert {task[:2] + task[3:]: n for task, n in expected.tasks.items()} == {
        ("0", "failed", "ChainInterruptedException"): 1, ("0.0.0", "failed", "ValueError"): 1,
        ("0.0.1", "skipped", None): 1, ("1", "skipped", None): 1}
    assert dict(expected.begins) == {"0": 1, "0.0.0": 1}


def test_a_program_is_told_in_short_and_read_again():
    for _, told in [*programs.small_programs(), *programs.patient_programs()]:
        assert programs.from_short(programs.in_short(told)) == told
