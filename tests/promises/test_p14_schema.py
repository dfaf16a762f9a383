"""A journal says of which firexlite it is: an older one is shown as it is and brought up to date by a resume, a newer
one is refused."""
from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from conftest import FIXTURES, Command
from spoilt import alter, digest_of
from warm import Warm

from firexlite.doctor import faults_of
from firexlite.home import RunDirectory
from firexlite.schema import APPLICATION_ID, SCHEMA

pytest_plugins = ["sound_runs"]

FIREX_ID = "FireX-li-261123-101500-4711"
GUESTS = """
import os
from firexlite import app


@app.task(returns="greeting")
def greet(name):
    raise RuntimeError("it is done already")


@app.task(returns="greetings", bind=True)
def greet_all(self, names):
    raise RuntimeError("it is done already")


@app.task(returns="loud")
def amplify(greetings):
    return " ".join(greetings).upper()
"""


@pytest.fixture(params=range(1, SCHEMA), ids="schema {}".format)
def schema(request) -> int:
    return request.param


@pytest.fixture
def old_run(firexlite: Command, schema: int) -> RunDirectory:
    """A run of four tasks, of which one failed, as a firexlite of that schema wrote it."""
    run = RunDirectory(firexlite.home / FIREX_ID)
    for folder in (run.path, run.logs, run.blobs):
        folder.mkdir(parents=True, mode=0o700)
    for file in (run.alive_lock, run.write_lock, run.journal):
        file.touch(0o600)
    db = sqlite3.connect(run.journal)
    db.executescript((FIXTURES / f"schema{schema}.sql").read_text())
    db.close()
    return run


def version_of(journal: Path) -> int:
    db = sqlite3.connect(journal)
    [(version,)] = db.execute("PRAGMA user_version")
    db.close()
    return version


def test_a_journal_names_its_application_and_its_schema(sound_run: RunDirectory) -> None:
    db = sqlite3.connect(sound_run.journal)

    assert [db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")] == [
        (APPLICATION_ID,), (SCHEMA,)]
    db.close()


def test_an_older_journal_is_shown_and_not_touched(firexlite: Command, old_run: RunDirectory, warm: Warm) -> None:
    before = digest_of(firexlite.home)

    ended = [warm(*words, env={"FIREXLITE_HOME": str(firexlite.home)})
             for words in (("flame", FIREX_ID), ("flame", FIREX_ID, "--json"), ("doctor", FIREX_ID), ("runs",))]

    assert [(one.code, one.err) for one in ended] == [(0, "")] * 4
    assert "the amplifier is broken" in ended[0].out
    assert "3 of 4 succeeded" in ended[3].out
    assert faults_of(old_run) == []
    assert digest_of(firexlite.home) == before


def test_an_older_journal_is_brought_up_to_date_by_a_resume_and_kept_as_it_was(firexlite: Command, old_run: RunDirectory,
                                                                               schema: int, plugin) -> None:
    plugin(GUESTS, "guests.py")

    done = firexlite("resume", FIREX_ID)

    assert (done.code, done.out) == (0, f"FireX ID: {FIREX_ID}\nAll tasks succeeded\n\nReturned values:\n"
                                        "  greetings  ['Hello Li!', 'Hello Mohamed!']\n  loud       HELLO LI! HELLO MOHAMED!\n")
    assert version_of(old_run.journal) == SCHEMA
    kept = old_run.path / f"journal.schema{schema}.sqlite3"
    assert version_of(kept) == schema
    assert kept.stat().st_mode & 0o777 == 0o600
    assert faults_of(old_run) == []


def test_an_older_journal_that_is_imported_is_of_the_present_schema(firexlite: Command, old_run: RunDirectory,
                                                                   schema: int, tmp_path: Path, warm: Warm) -> None:
    ended = warm("import", old_run.path, env={"FIREXLITE_HOME": str(tmp_path / "other")})

    assert ended.code == 0, ended.err
    imported = RunDirectory(tmp_path / "other" / FIREX_ID)
    assert version_of(imported.journal) == SCHEMA
    assert version_of(old_run.journal) == schema
    assert faults_of(imported) == []


def test_an_older_journal_with_a_trigger_of_another_is_refused(firexlite: Command, old_run: RunDirectory, warm: Warm) -> None:
    alter(old_run, "CREATE TRIGGER mine AFTER UPDATE ON run BEGIN DELETE FROM flame; END")

    ended = warm("flame", FIREX_ID, env={"FIREXLITE_HOME": str(firexlite.home)})

    assert (ended.code, ended.out) == (4, "")
    assert ended.err.endswith("it has the trigger 'mine', which is none of ours\n")


@pytest.mark.parametrize("words", [("flame", FIREX_ID), ("doctor", FIREX_ID), ("resume", FIREX_ID)])
def test_a_newer_journal_is_refused_with_both_versions(words: tuple[str, ...], firexlite: Command, old_run: RunDirectory,
                                                       warm: Warm) -> None:
    alter(old_run, f"PRAGMA user_version = {SCHEMA + 7}")

    ended = warm(*words, env={"FIREXLITE_HOME": str(firexlite.home)})

    assert (ended.code, ended.err) == (
        4, f"firexlite: {old_run.journal} has schema {SCHEMA + 7}, and this firexlite reads up to {SCHEMA}; "
           "use a newer firexlite\n")
