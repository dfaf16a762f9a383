"""Whatever ends a run ends all of it: two seconds later no process of it lives, shell commands and daemons included."""
from __future__ import annotations

import random

import pytest
from conftest import query, wait_until
from crash.orphans import WAYS, one_round


@pytest.mark.parametrize("way", WAYS)
def test_two_seconds_later_nothing_of_the_run_lives(way):
    # After a kill of all of firexlite's processes at once, nobody is left to end the daemons that services made.
    ended = one_round(way, random.Random(way), is_stubborn="SIG" not in way)

    assert ended.is_as_promised, ended


def test_a_crashed_runner_takes_its_workers_along(firexlite, plugin):
    plugin("""
import os, signal, time
from firexlite import app

@app.task
def patricide():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "patricide", timeout=20)

    assert done.code == 137
    assert "the runner died of signal 9 (SIGKILL)" in done.err and "firexlite resume" in done.err
    run = firexlite.only_run()
    wait_until(lambda: not run.is_alive())
    assert query(run, "SELECT state FROM task") == [("running",)]
