"""A run has one incarnation: whoever comes second is told who is there, at once, and changes nothing."""
from __future__ import annotations

import os
import time

import pytest
from conftest import NOTE, kill_all, query, wait_until
from crash.races import digests

from firexlite import host

WAIT = NOTE + """
@app.task
def wait(): note("wait"); wait_for_file("go")
"""


@pytest.fixture
def under_way(firexlite, plugin, effects):
    """The front of a run whose body waits for the file `go`."""
    plugin(WAIT)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait", "--workers", "1")
    wait_until(lambda: effects()["wait"] == 1)
    return front


def test_of_two_resumes_at_once_one_works_and_the_other_changes_nothing(firexlite, effects, under_way):
    kill_all(under_way)
    run = firexlite.only_run()

    first, second = firexlite.start("resume", run.firex_id), firexlite.start("resume", run.firex_id)
    wait_until(lambda: first.poll() is not None or second.poll() is not None)
    loser, winner = (first, second) if first.poll() is not None else (second, first)
    assert loser.returncode == 3
    assert loser.communicate()[1].startswith(f"firexlite: {run.firex_id} is running in process ")
    (firexlite.folder / "go").touch()
    winner.communicate(timeout=20)

    assert winner.returncode == 0
    assert effects() == {"wait": 2}
    assert query(run, "SELECT epoch FROM incarnation ORDER BY epoch") == [(1,), (2,)]


def test_a_resume_of_a_run_under_way_ends_within_a_second_and_changes_no_byte(firexlite, under_way):
    run = firexlite.only_run()
    before = digests(run.path)

    looks, seconds = [], []
    for _ in range(3):  # the quickest counts, and what a mere look takes does not: other tests run beside this one
        began = time.monotonic()
        assert firexlite("show", run.firex_id).code == 0
        between = time.monotonic()
        refused = firexlite("resume", run.firex_id)
        looks.append(between - began)
        seconds.append(time.monotonic() - between)
        assert refused.code == 3 and len(refused.err.splitlines()) == 1

    [runner] = host.children(under_way.pid)
    assert f"{run.firex_id} is running in process {runner}" in refused.err
    assert min(seconds) - min(looks) < 1.0
    assert digests(run.path) == before


@pytest.mark.skipif(host.IS_PORTABLE, reason="no worker outlives its runner there: the guard kills it")
def test_a_worker_that_outlives_its_runner_keeps_the_run_to_itself(firexlite, plugin, effects):
    # It asked not to die with its runner, as on a host that knows no such wish.
    plugin(NOTE + """
import ctypes

@app.task
def stubborn():
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    with open("worker", "w") as file:
        file.write(str(os.getpid()))
    note("stubborn")
    wait_for_file("go")
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "stubborn", "--workers", "1")
    wait_until(lambda: effects()["stubborn"] == 1)
    worker = int((firexlite.folder / "worker").read_text())
    for pid in (front.pid, *host.children(front.pid)):
        os.kill(pid, 19)
    for pid in (front.pid, *host.children(front.pid)):
        os.kill(pid, 9)
    wait_until(lambda: host.parent(worker) != 0 and front.poll() is not None)
    run = firexlite.only_run()

    try:
        refused = firexlite("resume", run.firex_id)
        assert refused.code == 3 and f"process {worker}" in refused.err
        assert effects() == {"stubborn": 1}
    finally:
        os.kill(worker, 9)
    wait_until(lambda: not run.is_alive())
    (firexlite.folder / "go").touch()
    assert firexlite("resume", run.firex_id).code == 0
