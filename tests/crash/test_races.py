"""The quick set of the races; `./dev crash` runs a hundred."""
from __future__ import annotations

import random

import pytest

from .races import Course


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return Course(tmp_path_factory.mktemp("course"))


@pytest.mark.parametrize("number", range(6))
def test_of_two_resumes_at_once_one_wins_and_the_other_changes_nothing(course, number):
    race = course.race(number, random.Random(number))

    assert race.is_fair, race


@pytest.mark.parametrize("victim", ["runner", "all"])
def test_a_resume_takes_over_from_an_incarnation_that_is_just_dying(course, victim):
    assert course.race_the_dying(1, victim) == (0, 3, "succeeded")


def test_a_resume_of_a_run_that_is_just_ending_runs_nothing_again(course):
    code, effects, state = course.race_the_dying(1, "none")

    assert code in (0, 3) and (effects, state) == (2, "succeeded")
