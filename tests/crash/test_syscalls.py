"""The quick set of the system-call faults: every so many points of all there are; `./dev crash` tries each."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from .syscalls import BROKEN, FULL, FULL_A_WHILE, KILL, Scene, strace_is_missing, try_out

pytestmark = pytest.mark.skipif(bool(strace_is_missing()), reason=str(strace_is_missing()))


@pytest.fixture(scope="module", params=[(1, False), (1, True)], ids=["submit", "resume"])
def scene(request):
    return Scene(*request.param)


@pytest.mark.parametrize("fault, every", [(KILL, 75), *(
    pytest.param(*one, marks=pytest.mark.long) for one in ((FULL_A_WHILE, 80), (FULL, 120), (BROKEN, 80)))])
def test_a_run_ends_as_if_undisturbed_whatever_call_fails_or_is_its_last(scene, fault, every):
    points = scene.points_for(fault)[every // 2::every]
    with ThreadPoolExecutor(2) as tries:  # most of a trial is waiting for the processes of it
        trials = list(tries.map(lambda point: try_out(scene, point, fault), points))

    assert [str(trial) for trial in trials if trial.wrong] == []
    assert any(trial.hit for trial in trials)
