"""A run is shown as running exactly as long as a process of it lives, whatever its journal says."""
from __future__ import annotations

import os
import signal

import pytest
from conftest import NOTE, kill_all, query, wait_until

from firexlite import host


@pytest.fixture
def under_way(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def wait(): note("wait"); wait_for_file("go")
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait", "--workers", "1")
    wait_until(lambda: effects()["wait"] == 1)
    return front


def shown(firexlite) -> str:
    [line] = [line for line in firexlite("runs").out.splitlines() if "FireX-" in line]
    return line.split()[1]


def test_a_run_is_running_while_it_lives_and_interrupted_when_it_was_killed(firexlite, under_way):
    assert shown(firexlite) == "RUNNING"

    kill_all(under_way)

    assert query(firexlite.only_run(), "SELECT state FROM run") == [("running",)]  # nobody was left to write another
    assert shown(firexlite) == "INTERRUPTED"


def test_a_stopped_run_is_still_running(firexlite, under_way):
    processes = [under_way.pid, *host.descendants(under_way.pid)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)

    assert shown(firexlite) == "RUNNING"

    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    (firexlite.folder / "go").touch()
    under_way.communicate(timeout=20)
    assert under_way.returncode == 0 and shown(firexlite) == "SUCCEEDED"


def test_an_orphan_that_still_runs_a_body_is_not_hidden(firexlite, under_way):
    [runner] = host.children(under_way.pid)
    os.kill(under_way.pid, signal.SIGSTOP)  # or it would end what the runner leaves
    os.kill(runner, signal.SIGSTOP)

    assert shown(firexlite) == "RUNNING"

    kill_all(under_way)
    assert shown(firexlite) == "INTERRUPTED"
