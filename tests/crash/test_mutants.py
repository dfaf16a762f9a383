"""The quick set of the planted bugs; `./dev crash` plants them all."""
from __future__ import annotations

import collections

import pytest

from .mutants import PROJECT, Copy, tried
from .planted import BUGS, Bug

QUICK = ("a settling is not durable", "the bell is rung before the commit", "a take-over does not raise the epoch",
         "the name of a run is not durable")


@pytest.mark.parametrize("file", sorted({bug.file for bug in BUGS}))
def test_every_bug_still_fits(file):
    source = (PROJECT / "firexlite" / file).read_text()
    for bug in BUGS:
        if bug.file == file:
            compile(bug.planted_in(source), bug.name, "exec")  # and is a bug, no misprint


def test_every_bug_has_a_name_of_its_own_and_somebody_who_catches_it():
    assert [name for name, count in collections.Counter(bug.name for bug in BUGS).items() if count > 1] == []
    assert len(BUGS) >= 40
    assert [bug.name for bug in BUGS if not (PROJECT / bug.caught_by.split()[0]).is_file()] == []


@pytest.fixture(scope="module")
def copy():
    with Copy.made() as copy:
        yield copy


@pytest.mark.long
@pytest.mark.timeout(100)
@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(name, copy):
    verdict = tried(copy, next(bug for bug in BUGS if bug.name == name))

    assert verdict.is_caught, verdict.what


@pytest.mark.timeout(100)
def test_what_is_no_bug_is_not_caught_and_what_does_not_fit_is_told(copy):
    tests = "tests/test_states.py -k design"
    harmless = Bug("harmless", "states.py", "from __future__", "# No bug.\nfrom __future__", tests)

    assert not tried(copy, harmless).is_caught
    odd = tried(copy, Bug("odd", "states.py", "there is no such text", "", tests))
    assert (odd.is_caught, odd.what) == (
        False, "'odd' no longer fits: what it replaces occurs 0 times in states.py")
