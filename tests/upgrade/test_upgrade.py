"""A run that any firexlite before this one began, and that was killed, is carried on by this one: make.py wrote them."""
from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from conftest import Command, states

from firexlite.doctor import faults_of
from firexlite.home import RunDirectory
from firexlite.schema import SCHEMA

HERE = Path(__file__).parent


@pytest.fixture(params=range(1, SCHEMA + 1), ids="schema {}".format)
def kept(request: pytest.FixtureRequest) -> Path:
    folder = HERE / f"schema{request.param}"
    assert folder.is_dir(), f"{folder.name} is missing: `python tests/upgrade/make.py` writes it"
    return folder


@pytest.fixture
def run(kept: Path, firexlite: Command) -> RunDirectory:
    """The run as it lay when it had been killed, in the home of somebody who has its services."""
    text = (kept / "journal.sql").read_text()
    found = re.search(r"FireX-[\w-]+", text)
    assert found
    run = RunDirectory(firexlite.home / found[0])
    run.path.mkdir(parents=True, mode=0o700)
    for folder in (run.logs, run.blobs):
        shutil.copytree(kept / folder.name, folder)
        folder.chmod(0o700)
    for file in (run.alive_lock, run.write_lock, run.journal):
        file.touch(0o600)
    db = sqlite3.connect(run.journal)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(text)
    db.close()
    shutil.copy(HERE / "pages.py", firexlite.folder)
    (firexlite.folder / "ink").touch()
    firexlite.env["INK"] = str(firexlite.folder / "ink")
    return run


def test_a_run_that_was_killed_is_carried_on_and_nothing_is_done_twice(run: RunDirectory, firexlite: Command, effects) -> None:
    shown = firexlite.flame(run.firex_id)["run"]
    assert (shown["state"], shown["counts"]["succeeded"]) == ("interrupted", 3)

    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert "5 pages, 72000 letters of paper: page 0 on white .. page 4 on white\n" in done.out
    assert effects() == {"write": 1, "page 2": 1, "page 3": 1, "page 4": 1, "bind": 1}
    assert states(run) == {"succeeded": 8}
    assert faults_of(run) == []


def test_what_was_printed_before_is_kept_with_what_is_printed_now(run: RunDirectory, firexlite: Command) -> None:
    firexlite("resume", run.firex_id)

    printed = firexlite("logs", run.firex_id).out

    assert {line: printed.count(line) for line in ("the paper is cut", *(f"page {n} is begun" for n in range(5)))} == {
        "the paper is cut": 1, "page 0 is begun": 1, "page 1 is begun": 1, "page 2 is begun": 2, "page 3 is begun": 2,
        "page 4 is begun": 1}


def test_what_is_kept_tells_of_no_machine(kept: Path) -> None:
    told = "".join(path.read_text() for path in kept.rglob("*") if path.is_file())

    assert not re.search(r"/tmp/|/root|/Users/|/home/(?!li\b)", told)
