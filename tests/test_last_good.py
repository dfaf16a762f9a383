"""What is other than in the last run of the same chain that succeeded."""
from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from conftest import kill_all, wait_until

from firexlite.history import History
from firexlite.home import RunDirectory
from firexlite.last_good import NEWEST, Change, Difference, since_last_good

SERVICES = """
from firexlite import app
import limits

@app.task(returns="volts")
def measure(board, channel="A", note=""):
    if board == "kestrel":
        raise ValueError(f"{board}: no contact")
    return limits.VOLTS
"""


@pytest.fixture
def measured(firexlite, plugin):
    """Submits a measurement: ``measured("--board", "hawk")``; gives its run."""
    plugin(SERVICES)
    (firexlite.folder / "limits.py").write_text("VOLTS = 5\n")

    def submit(*arguments: str, code: int = 0, chain: str = "measure") -> RunDirectory:
        done = firexlite("submit", "--plugins", "services.py", "--chain", chain, *arguments)
        assert done.code == code, done.err
        return RunDirectory(firexlite.home / done.firex_id)

    return submit


def change_of(run: RunDirectory) -> Change | None:
    with History(run) as history:
        return since_last_good(history)


def differences(run: RunDirectory) -> list[tuple[str, str, str | None, str | None]]:
    change = change_of(run)
    assert change is not None
    return [(one.what, one.name, one.was, one.now) for one in change.differences]


def test_inputs_that_are_other_are_told_by_name(measured):
    good = measured("--board", "hawk", "--channel", "B")
    bad = measured("--board", "kestrel", "--note", "again", code=1)

    change = change_of(bad)

    assert change.firex_id == good.firex_id
    with History(good) as history:
        assert change.created == history.run().created
    assert change.differences == (
        Difference("input", "board", "hawk", "kestrel"), Difference("input", "channel", "B", None),
        Difference("input", "note", None, "again"))


def test_the_same_once_more_has_no_difference(measured):
    measured("--board", "hawk")

    assert differences(measured("--board", "hawk")) == []


def test_the_first_run_of_a_chain_has_nothing_to_be_compared_with(measured):
    assert change_of(measured("--board", "hawk")) is None


def test_runs_that_failed_and_later_runs_are_passed_over(measured):
    good = measured("--board", "hawk")
    measured("--board", "kestrel", "--note", "first", code=1)
    bad = measured("--board", "kestrel", code=1)
    wait_until(lambda: int(time.time()) > int(os.stat(bad.write_lock).st_mtime), what="next second")
    measured("--board", "osprey")

    assert change_of(bad).firex_id == good.firex_id


def test_runs_of_other_chains_are_passed_over(measured):
    measured("--board", "hawk", chain="measure,measure")

    assert change_of(measured("--board", "kestrel", code=1)) is None


def test_files_that_were_changed_are_told_also_those_that_a_plugin_imports(measured, firexlite):
    measured("--board", "hawk")
    (firexlite.folder / "limits.py").write_text("VOLTS = 3\n")

    [(what, name, was, now)] = differences(measured("--board", "hawk"))

    assert (what, name) == ("code", "limits.py")
    assert was != now and len(was) == len(now) == 16


def test_code_that_was_changed_before_a_resume_is_told_by_its_service(measured, firexlite, plugin):
    measured("--board", "hawk")
    bad = measured("--board", "kestrel", code=1)
    assert [what for what, *_ in differences(bad)] == ["input"]

    plugin(SERVICES.replace("no contact", "still no contact"))
    assert firexlite("resume", bad.firex_id).code == 1

    assert [(what, name) for what, name, *_ in differences(bad)] == [("code", "services.py"), ("input", "board")]


def test_a_checkout_in_another_place_is_no_difference(measured, firexlite):
    measured("--board", "hawk")
    elsewhere = firexlite.folder.with_name("checkout-2")
    shutil.copytree(firexlite.folder, elsewhere)
    firexlite.folder = elsewhere

    assert differences(measured("--board", "hawk")) == []


def test_other_options_of_the_command_are_told_without_those_of_inputs(measured):
    measured("--board", "hawk", "--workers", "1")

    found = differences(measured("--board", "osprey", "--workers", "2", "--full-wait", "5"))

    assert found == [("input", "board", "hawk", "osprey"), ("command", "command", "--workers 1", "--workers 2 --full-wait 5")]


def test_other_versions_and_hosts_are_told(measured):
    good = measured("--board", "hawk")
    alter(good, "$.python", "3.9.1")
    alter(good, "$.host", "rack-7")

    found = differences(measured("--board", "hawk"))

    assert [(what, was) for what, _, was, _ in found] == [("python", "3.9.1"), ("host", "rack-7")]


def test_long_values_are_cut_to_what_differs(measured):
    same = "x" * 300
    measured("--board", "hawk", "--note", f"{same} one {same}")

    [(_, _, was, now)] = differences(measured("--board", "hawk", "--note", f"{same} two {same}"))

    assert " one " in was and " two " in now
    assert len(was) <= 80 and was.startswith("...") and was.endswith("...")


def test_broken_and_foreign_runs_are_passed_over(measured, firexlite):
    good = measured("--board", "hawk")
    broken = {name: RunDirectory(shutil.copytree(good.path, firexlite.home / f"FireX-li-990101-000000-{number}"))
              for number, name in enumerate(("no json", "pipe", "no journal", "garbage", "other run"), 1)}
    broken["no json"].run_json.write_text("{")
    broken["pipe"].run_json.unlink()
    os.mkfifo(broken["pipe"].run_json)
    broken["no journal"].journal.unlink()
    broken["garbage"].journal.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    alter(broken["other run"], "$.plugins", 17)
    (firexlite.home / "FireX-li-990101-000000-9").write_text("no directory")
    bad = measured("--board", "kestrel", code=1)
    bad = RunDirectory(bad.path.rename(firexlite.home / "FireX-li-990102-000000-1"))  # later than all of them

    assert change_of(bad).firex_id == good.firex_id


def test_a_run_that_is_under_way_is_passed_over(measured, firexlite, plugin):
    good = measured("--board", "hawk")
    plugin(SERVICES.replace("    if board", "    while board == 'osprey': pass\n    if board"))
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "measure", "--board", "osprey")
    wait_until(lambda: len(firexlite.runs()) == 2, what="second run")
    plugin(SERVICES)

    bad = measured("--board", "kestrel", code=1)
    kill_all(process)

    assert change_of(bad).firex_id == good.firex_id


def test_only_the_newest_runs_are_looked_at_and_that_is_fast(measured, firexlite):
    good = measured("--board", "hawk")
    RunDirectory(good.path.rename(firexlite.home / "FireX-li-100101-000000-1"))
    for number in range(NEWEST - 1):
        folder = firexlite.home / f"FireX-li-200101-000000-{number + 1}"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"state": "failed", "chain": ["measure"]}))
    bad = measured("--board", "kestrel", code=1)
    assert change_of(bad) is not None

    (firexlite.home / "FireX-li-200101-000000-9999").mkdir()
    began = time.monotonic()
    assert change_of(bad) is None
    assert time.monotonic() - began < 2  # it takes some 10 ms


def test_a_report_has_it_and_is_the_same_each_time(measured, firexlite):
    good = measured("--board", "hawk")
    bad = measured("--board", "kestrel", code=1)

    one, other = (firexlite.flame(bad.firex_id)["run"] for _ in range(2))

    assert one == other
    assert one["since_last_good"]["firex_id"] == good.firex_id
    assert one["since_last_good"]["differences"] == [{"what": "input", "name": "board", "was": "hawk", "now": "kestrel"}]


def alter(run: RunDirectory, path: str, value: object) -> None:
    """Change what a run recorded of itself."""
    import sqlite3

    with sqlite3.connect(run.journal) as connection:
        connection.execute("UPDATE run SET options = json_set(options, ?, ?)", (path, value))
    connection.close()
