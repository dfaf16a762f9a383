"""`firexlite doctor` finds whatever is wrong with a run, and nothing with one that is sound, however it was killed."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import Command, kill_all, states, wait_until
from spoilt import LockedJournals, copy_of, digest_of, falsify
from warm import Warm

from firexlite import host
from firexlite.doctor import faults_of, has_reset_race, in_words
from firexlite.home import RunDirectory
from firexlite.schema import SCHEMA
from firexlite.soundness import RULES

pytest_plugins = ["sound_runs"]

# Task 1 succeeded, task 2 is running: what is done to the rows, and the fault that is found among others.
FALSE = {
    "a follower that is released though the one before is unfinished": (
        "UPDATE task SET state = 'ready', move = 'release', result = NULL, changes = NULL WHERE id = 1",
        "task 2 is running behind task 1, which is ready"),
    "a follower that runs though the one before failed": (
        "UPDATE task SET state = 'failed', move = 'fail', result = NULL, changes = NULL WHERE id = 1",
        "task 2 is running behind task 1, which is failed"),
    "a success that was forgotten to be followed": (
        "UPDATE task SET state = 'waiting', move = NULL, attempt = 0, epoch = NULL, worker = NULL WHERE id = 2",
        "task 2 is waiting behind task 1, which is succeeded"),
    "a task that was claimed twice": (
        "INSERT INTO attempt (task, number, epoch, worker, started, log_start) VALUES (2, 2, 1, 1, 1e9, 0)",
        "task 2 was claimed 1 times, and its attempts are 2, up to 2"),
    "an attempt that nobody ended": ("UPDATE attempt SET ended = NULL, outcome = NULL WHERE task = 1",
                                     "task 1 is succeeded, and 1 of its attempts are under way"),
    "a task in flight without an attempt": ("UPDATE attempt SET ended = 1e9, outcome = 'lost' WHERE task = 2",
                                            "task 2 is running, and 0 of its attempts are under way"),
    "a task of an epoch that is over": ("UPDATE run SET epoch = 2",
                                        "task 2 is running in epoch 1, and the run is in 2"),
    "an incarnation too few": ("UPDATE run SET epoch = 2", "the run is in epoch 2, and its incarnations are 1, up to 1"),
    "a worker with two tasks at once": (
        "UPDATE task SET state = 'running', move = 'claim', result = NULL, changes = NULL WHERE id = 1",
        "worker 0 has 2 tasks under way at once|worker 1 has 2 tasks under way at once|task 2 is running behind task 1, .*"),
    "a success without a result": ("UPDATE task SET result = NULL WHERE id = 1", "task 1 is succeeded and has no result"),
    "a success without an attempt that was one": ("UPDATE attempt SET outcome = 'failed', error = '{}' WHERE task = 1",
                                                  ".*error of task 1: .*|task 1 is succeeded, and its last attempt failed"),
    "a state that no event tells of": ("UPDATE task SET state = 'blocked', move = 'block' WHERE id = 2",
                                       "task 2 is blocked, and its last event led to running"),
    "a move that is none": ("UPDATE event SET move = 'release' WHERE move = 'succeed'",
                            "task 1 went from running to succeeded by 'release', which is no move"),
    "a lost event": ("DELETE FROM event WHERE id = 2", "the events are numbered up to [0-9]+, and there are [0-9]+"),
    "an awaited chain that is over": ("INSERT INTO awaited (tail, waiter, wait, any) VALUES (1, 2, 1, 0)",
                                      "task 2 waits for task 1, which is succeeded"),
    "one that waits for nothing": ("UPDATE task SET state = 'blocked', move = 'block' WHERE id = 2",
                                   "task 2 is blocked, waits for nothing and may not go on"),
    "a chain with a gap": ("UPDATE task SET id = 7 WHERE id = 2", "the tasks are numbered up to 7, and there are 2"),
    "a chain of two heads": ("UPDATE task SET chain = 2 WHERE id = 2",
                             "task 1 is said to begin a chain at task 2, which belongs to chain 2"),
    "a child before its parent": ("UPDATE task SET parent = 2 WHERE id = 1",
                                  "task 1 has task 2 above it, which is not before it"),
    "a run that ended with tasks in flight": (
        "UPDATE run SET state = 'succeeded', ended = 2e9", "the run is succeeded, and task 2 is running"),
    "a service that is not described": ("DELETE FROM service WHERE name LIKE '%wait'",
                                        "task 2 calls 'services.wait', which the journal does not describe"),
    "flame data of no task": ("INSERT INTO flame VALUES (9, 'k', 'html', '\"v\"', 1)",
                              "there is flame data of task 9, which does not exist"),
    "a legal move too many": ("INSERT INTO legal VALUES ('reopen', 'succeeded', 'ready')",
                              "the table of legal moves is another than that of this firexlite"),
    "a text in the place of a time": ("UPDATE task SET moved = 'soon' WHERE id = 2",
                                      "1 row of the table task with a moved of another type"),
    "a wait for space that is longer than any": (
        "UPDATE run SET options = json_set(options, '$.full_wait_s', 1e9)",
        "the options of run 1: full_wait_s is 1000000000.0"),
    "arguments that are no JSON": ("UPDATE task SET arguments = '{' WHERE id = 2", "the arguments of task 2: .*"),
    "the name of another run": ("UPDATE run SET firex_id = 'FireX-li-261123-101500-4712'",
                                "the journal is that of FireX-li-261123-101500-4712, and its directory is called .*"),
}


@pytest.mark.parametrize("wrong", FALSE)
def test_the_doctor_finds(wrong: str, sound_run: RunDirectory, tmp_path: Path) -> None:
    statement, sentence = FALSE[wrong]
    run = copy_of(sound_run, tmp_path / "home")
    falsify(run, statement)

    found = faults_of(run)

    assert any(re.fullmatch(sentence, fault) for fault in found), found


def test_a_killed_run_is_sound(killed_run: RunDirectory, tmp_path: Path) -> None:
    assert faults_of(copy_of(killed_run, tmp_path / "home")) == []


def test_every_rule_can_be_asked_of_every_journal(sound_run: RunDirectory, tmp_path: Path) -> None:
    """A query with a slip of the pen would hide behind the ones before it."""
    from firexlite.history import History

    with History(sound_run) as history:
        assert [history.execute(query) for _, query in RULES] == [[]] * len(RULES)


def test_the_report_of_a_sound_run_has_a_line_for_each_thing_that_was_looked_at(
        sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    before = digest_of(tmp_path)

    ended = warm("doctor", run.firex_id, env={"FIREXLITE_HOME": str(tmp_path / "home")})

    assert (ended.code, ended.err) == (0, "")
    lines = dict(re.split(r"  +", line, maxsplit=1) for line in ended.out.splitlines())
    assert lines["integrity"] == f"whole (quick_check), schema {SCHEMA}"
    assert lines["invariants"].endswith("over 2 tasks, 2 attempts, 5 events")
    assert lines["incarnations"] == "the run is interrupted; 1 was killed"
    assert lines["blobs"] == "1 payload in files, all there and unchanged"
    assert lines["modes"].endswith(", for nobody else")
    assert lines["locks"] == "free: no process of the run lives"
    assert lines["processes"] == "none"
    assert re.fullmatch(r".+, [\d.]+ [KMGT]iB free", lines["file system"])
    assert lines["sqlite"].startswith("SQLite 3.")
    assert lines["home"] == f"{tmp_path / 'home'} (FIREXLITE_HOME)"
    assert lines["durability"] == "full (the default)"
    assert lines["workers"] == "2 (recorded by the run)"
    assert lines["full wait"] == "60 s (recorded by the run)"
    assert digest_of(tmp_path) == before


def test_settings_are_named_with_what_chose_them(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    copy_of(sound_run, tmp_path / "firexlite")

    ended = warm("doctor", sound_run.firex_id, "--json",
                 env={"XDG_STATE_HOME": str(tmp_path), "FIREXLITE_DURABILITY": "normal"})

    found = json.loads(ended.out)["found"]
    assert found["home"] == f"{tmp_path / 'firexlite'} (XDG_STATE_HOME)"
    assert found["durability"] == "normal (FIREXLITE_DURABILITY)"


def test_what_is_wrong_is_numbered_and_the_exit_code_is_4(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    falsify(run, "INSERT INTO flame VALUES (9, 'k', 'html', '\"v\"', 1)", "DELETE FROM service WHERE name LIKE '%wait'")

    text, as_json = (warm("doctor", run.firex_id, *more, env={"FIREXLITE_HOME": str(tmp_path / "home")})
                     for more in ((), ("--json",)))

    faults = ["task 2 calls 'services.wait', which the journal does not describe",
              "there is flame data of task 9, which does not exist"]
    assert text.out.splitlines()[-2:] == [f"{number}. {fault}" for number, fault in enumerate(faults, 1)]
    assert "WRONG: 2 broken, of" in text.out
    assert json.loads(as_json.out)["faults"] == faults
    assert [text.code, as_json.code] == [4, 4]
    assert text.err == as_json.err == f"firexlite: 2 things are wrong with {run.firex_id}\n"


def test_payloads_that_are_lost_changed_or_left_over_are_told_apart(sound_run: RunDirectory, tmp_path: Path,
                                                                    warm: Warm) -> None:
    lost, changed, more = (copy_of(sound_run, tmp_path / name) for name in ("lost", "changed", "more"))
    [blob] = [path.name for path in sound_run.blobs.iterdir()]
    (lost.blobs / blob).unlink()
    (changed.blobs / blob).write_bytes(b"else")
    (more.blobs / ("0" * 64)).touch()

    ended = {run.path.parent.name: warm("doctor", run.firex_id, "--json", env={"FIREXLITE_HOME": str(run.path.parent)})
             for run in (lost, changed, more)}

    # The rows that name it cannot be read, so nothing more is looked at.
    assert f"the result of task 1: {lost.path}: the payload blobs/{blob} cannot be read: No such file" in ended["lost"].err
    assert f"the payload blobs/{blob} was changed after it was written" in ended["changed"].err
    assert ended["more"].code == 0
    assert json.loads(ended["more"].out)["found"]["blobs"] == (
        "1 payload in files, all there and unchanged; 1 file that nothing names "
        "(harmless: a writer was killed before its commit)")


def test_modes_that_let_others_in_are_named_with_the_way_out(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    run.journal.chmod(0o644)

    ended = warm("doctor", run.firex_id, "--json", env={"FIREXLITE_HOME": str(tmp_path / "home")})

    assert f"1 of them open to others (chmod -R go= {run.path})" in json.loads(ended.out)["found"]["modes"]
    assert ended.code == 0


def test_what_its_group_may_read_is_open_to_others(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "my home")
    run.journal.chmod(0o640)

    ended = warm("doctor", run.firex_id, "--json", env={"FIREXLITE_HOME": str(tmp_path / "my home")})

    assert f"1 of them open to others (chmod -R go= '{run.path}')" in json.loads(ended.out)["found"]["modes"]


@pytest.mark.skipif(host.IS_PORTABLE, reason="who holds a file is not to be found out there")
def test_who_is_at_work_is_named(firexlite: Command, plugin) -> None:
    plugin("from firexlite import app\nimport threading\n\n@app.task\ndef hang():\n    threading.Event().wait()\n")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "hang")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == {"running": 1}, what="running task")
    run = firexlite.only_run()

    done = firexlite("doctor", run.firex_id, "--json")

    kill_all(process)
    found = json.loads(done.out)["found"]
    assert done.code == 0, done.err
    assert re.fullmatch(r"alive\.lock is held by process \d+ \(.* -m firexlite submit .*\)", found["locks"])
    assert int(found["processes"].partition(":")[0]) >= 3  # front, runner, worker
    assert found["incarnations"] == "the run is running; 1 goes on"
    assert faults_of(run) == []


def test_a_locked_journal_keeps_the_rest_of_the_report(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")

    with LockedJournals(run.journal):
        ended = warm("doctor", run.firex_id, env={"FIREXLITE_HOME": str(tmp_path / "home")})

    assert ended.code == 4
    assert "WRONG: the journal cannot be read" in ended.out
    assert "file system" in ended.out


@pytest.mark.parametrize("version, expected", [
    ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True),
    ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 0), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False)])
def test_the_releases_with_the_wal_reset_race_are_known(version: tuple[int, ...], expected: bool) -> None:
    assert has_reset_race(version) is expected


def test_sizes_are_told_in_units() -> None:
    assert [in_words(size) for size in (0, 1023, 1024, 5 << 30)] == ["0 bytes", "1023 bytes", "1.0 KiB", "5.0 GiB"]
