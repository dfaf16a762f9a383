"""`firexlite prune` removes old runs, and nothing else."""
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from conftest import Command, states, wait_until
from spoilt import alter

from firexlite import host, pruning
from firexlite.home import RunDirectory

pytest_plugins = ["terminals"]

DAY_S = 86400
HOLDING = """
import os, time
from firexlite import app

@app.task
def hold():
    while not os.path.exists("now"):
        time.sleep(0.01)
"""
FAILING = "from firexlite import app\n\n@app.task\ndef fail():\n    raise ValueError('no')\n"


def made_older(run: RunDirectory, days: float) -> RunDirectory:
    """A run that did all that it did so long ago."""
    by = days * DAY_S
    alter(run, "DROP TRIGGER IF EXISTS no_such", f"UPDATE run SET created = created - {by}, ended = ended - {by}",
          f"UPDATE incarnation SET started = started - {by}, ended = ended - {by}")
    return run


@pytest.fixture
def runs(firexlite: Command, plugin) -> dict[str, RunDirectory]:
    """One of each kind: all but the first are 40 days old."""
    plugin(FAILING)
    made = {}
    for name, words in (("new", ("--chain", "nop")), ("old", ("--chain", "nop", "--key", "nightly")),
                        ("failed", ("--plugins", "services.py", "--chain", "fail"))):
        run = RunDirectory(firexlite.home / firexlite("submit", *words).firex_id)
        made[name] = run if name == "new" else made_older(run, 40)
    return made


def left(firexlite: Command, runs: dict[str, RunDirectory]) -> set[str]:
    there = {run.firex_id for run in firexlite.runs()}
    return {name for name, run in runs.items() if run.firex_id in there}


def test_old_runs_are_removed_with_all_that_is_theirs(firexlite: Command, runs) -> None:
    done = firexlite("prune", "--older-than", "30d", "--yes")

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "Removed 2 runs."
    assert left(firexlite, runs) == {"new"}
    assert {path.name for path in firexlite.home.iterdir()} == {runs["new"].firex_id, "keys"}
    assert list((firexlite.home / "keys").iterdir()) == []


def test_failed_runs_may_be_kept(firexlite: Command, runs) -> None:
    done = firexlite("prune", "--older-than", "30d", "--keep-failed", "-y")

    assert done.out.splitlines()[-1] == "Removed 1 run."
    assert left(firexlite, runs) == {"new", "failed"}


def test_a_dry_run_says_what_it_would_do_and_does_nothing(firexlite: Command, runs) -> None:
    done = firexlite("prune", "--older-than", "30d", "--dry-run")

    rows = done.out.splitlines()
    assert [row.split()[:5] for row in rows[:2]] == [[runs["failed"].firex_id, "failed", "40", "d", "0"],
                                                     [runs["old"].firex_id, "succeeded", "40", "d", "0"]]
    assert rows[2].startswith("Would remove 2 runs, ")
    assert left(firexlite, runs) == set(runs)


def test_without_a_terminal_it_does_not_remove_what_it_could_not_ask_about(firexlite: Command, runs) -> None:
    done = firexlite("prune", "--older-than", "30d")

    assert done.code == 2
    assert done.err.startswith("firexlite: prune asks before it removes 2 runs, ")
    assert done.err.endswith("and there is no terminal to ask in; --yes answers it\n")
    assert left(firexlite, runs) == set(runs)


@pytest.mark.parametrize(("answer", "kept", "said"), [
    (b"y\n", {"new"}, "Removed 2 runs."), (b"n\n", None, "Nothing was removed."), (b"\n", None, "Nothing was removed."),
    (b"\x03", None, "")])
def test_in_a_terminal_it_asks(answer, kept, said, firexlite: Command, runs, terminal) -> None:
    screen = terminal("prune", "--older-than", "30d")
    screen.read_until(r"Remove 2 runs, .*\? \[y/N\]")
    screen.press(answer)
    if answer == b"\x03":  # Python does not see one that comes just before it begins to read
        screen.press_until_it_ends(answer)

    code, shown = screen.finish()

    assert code == (130 if answer == b"\x03" else 0)
    assert said in shown
    assert left(firexlite, runs) == (set(runs) if kept is None else kept)


def test_there_may_be_nothing_to_remove(firexlite: Command, runs) -> None:
    done = firexlite("prune", "--older-than", "60d")

    assert (done.code, done.out) == (0, f"There is nothing to remove in {firexlite.home}.\n")


def test_a_run_that_goes_on_stays_however_old(firexlite: Command, plugin) -> None:
    plugin(HOLDING)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "hold")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"), what="running service")
    firexlite("wait", "last", "--timeout", "1s")  # so that it is older than nothing

    done = firexlite("prune", "--older-than", "0s", "--yes")
    (firexlite.folder / "now").touch()

    assert (done.code, done.out) == (0, f"There is nothing to remove in {firexlite.home}.\n")
    assert process.wait(timeout=30) == 0


def test_an_old_run_that_went_on_lately_is_not_old(firexlite: Command, runs) -> None:
    firexlite("resume", runs["failed"].firex_id)

    firexlite("prune", "--older-than", "30d", "--yes")

    assert left(firexlite, runs) == {"new", "failed"}


def test_what_goes_on_while_it_asks_stays(firexlite: Command, runs, monkeypatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    found = {old.directory.firex_id: old for old in pruning.old_runs(30 * DAY_S, keep_failed=False)}
    firexlite("resume", runs["failed"].firex_id)
    alive = runs["old"].take_alive_lock(host.start_time)

    removed = [pruning.remove(found[runs[name].firex_id]) for name in ("failed", "old")]
    os.close(alive)

    assert removed == [False, False]
    assert left(firexlite, runs) == set(runs)


def test_what_another_removed_meanwhile_is_no_error(firexlite: Command, runs, monkeypatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))
    found = list(pruning.old_runs(30 * DAY_S, keep_failed=False))

    assert [pruning.remove(old) for old in (*found, *found)] == [True, True, False, False]


def test_a_prune_that_was_killed_leaves_nothing_that_looks_like_a_run_and_the_next_one_removes_the_rest(
        firexlite: Command, runs, struck) -> None:
    killed = firexlite("prune", "--older-than", "30d", "--yes", **struck("run set aside#1=kill"))
    assert killed.code == -9
    assert len(firexlite.runs()) == 2
    assert firexlite("runs").code == 0

    assert firexlite("prune", "--older-than", "30d", "--yes").code == 0

    assert {path.name for path in firexlite.home.iterdir()} == {runs["new"].firex_id, "keys"}


def test_what_is_no_run_stays(firexlite: Command, runs) -> None:
    (firexlite.home / "notes").mkdir()
    (firexlite.home / "FireX-li-200101-101500-1").mkdir()
    (outside := firexlite.home.with_name("outside")).mkdir()
    (firexlite.home / "FireX-li-200101-101500-2").symlink_to(outside)
    firexlite("prune", "--older-than", "30d", "--yes")

    assert {"notes", "FireX-li-200101-101500-1", "FireX-li-200101-101500-2"} <= {path.name for path in firexlite.home.iterdir()}
    assert outside.is_dir()


def test_a_link_to_a_run_elsewhere_is_not_followed(firexlite: Command, runs, tmp_path: Path) -> None:
    elsewhere = runs["old"].path.rename(tmp_path / runs["old"].firex_id)
    runs["old"].path.symlink_to(elsewhere)

    firexlite("prune", "--older-than", "30d", "--yes")

    assert (elsewhere / "journal.sqlite3").exists()


def test_a_run_that_cannot_be_read_stays(firexlite: Command, runs) -> None:
    runs["old"].journal.write_bytes(b"no journal")
    os.utime(runs["old"].journal, (time.time() - 40 * DAY_S,) * 2)

    firexlite("prune", "--older-than", "30d", "--yes")

    assert left(firexlite, runs) == {"new", "old"}


@pytest.mark.parametrize("words", [("--older-than", "soon"), ("--older-than", "-1d"), ("--older-than", "1e9"), ()])
def test_a_span_that_is_none_is_refused(words, firexlite: Command) -> None:
    done = firexlite("prune", *words)

    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "--older-than" in done.err
