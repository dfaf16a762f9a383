"""Fixtures: a warm process that gives commands, and a run that was killed, whole, to be copied and spoilt."""
from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Command, kill_all, states, wait_until
from spoilt import alter, copy_of
from warm import Warm

from firexlite.home import RunDirectory

SERVICES = """
import threading
from firexlite import app

@app.task(returns="text")
def write(size):
    return "x" * int(size)

@app.task
def wait(text):
    threading.Event().wait()
"""


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of two tasks that was killed in the second; the result of the first lies in a blob. As the kill left it."""
    place = tmp_path_factory.mktemp("killed")
    (place / "work").mkdir()
    (place / "work" / "services.py").write_text(SERVICES)
    firexlite = Command(place / "home", place / "work")
    try:
        process = firexlite.start("submit", "--plugins", "services.py", "--chain", "write,wait", "--size", "100000",
                                  "--workers", "2")
        wait_until(lambda: firexlite.runs() or process.poll() is not None, what="run")
        assert process.poll() is None, process.communicate()
        run = firexlite.only_run()
        wait_until(lambda: states(run) == {"succeeded": 1, "running": 1}, what="task that waits")
        kill_all(process)
    finally:
        firexlite.close()
    return run


@pytest.fixture(scope="session")
def sound_run(killed_run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same as one file without a log beside it, so that what is spoilt there is spoilt."""
    run = copy_of(killed_run, tmp_path_factory.mktemp("sound"))
    alter(run, "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode = DELETE")
    return run
