"""What a person may call a run: its FireX ID, how that begins or ends, its key, or `last`."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from spoilt import alter, copy_of
from warm import Ended, Warm

from firexlite.home import RunDirectory

pytest_plugins = ["sound_runs"]

IDS = ("FireX-li-261123-101500-4711", "FireX-li-261123-101500-4712", "FireX-mo-261124-080000-15", "FireX-mo-261124-080000-4711")


@pytest.fixture
def home(sound_run: RunDirectory, tmp_path: Path) -> Path:
    """A home with four runs, of which the third has a key."""
    for n, firex_id in enumerate(IDS):
        run = copy_of(sound_run, tmp_path)
        (tmp_path / "home").mkdir(exist_ok=True)
        shutil.move(run.path, tmp_path / "home" / firex_id)
        os.utime(tmp_path / "home" / firex_id / "write.lock", (n, n))  # it tells the order within a second
    alter(RunDirectory(tmp_path / "home" / IDS[2]), "UPDATE run SET options = json_set(options, '$.key', 'nightly')")
    (tmp_path / "home" / IDS[2] / "run.json").write_text('{"key": "nightly"}')
    return tmp_path / "home"


@pytest.fixture
def doctor(home: Path, warm: Warm):
    """Has a run examined, whatever it is called: the shortest of all commands."""
    return lambda name: warm("doctor", name, "--json", env={"FIREXLITE_HOME": str(home)})


def found(ended: Ended) -> str:
    """The run that was examined; its journal is a copy, so that the doctor finds another name in it."""
    import json
    return json.loads(ended.out)["firex_id"] if ended.out else ended.err


@pytest.mark.parametrize(("name", "meant"), [
    (IDS[0], IDS[0]), ("last", IDS[3]), ("nightly", IDS[2]), ("4712", IDS[1]), ("15", IDS[2]), ("080000-4711", IDS[3]),
    ("261123-101500-4711", IDS[0]), ("FireX-mo-261124-080000-4", IDS[3]), ("FireX-mo-261124-080000-1", IDS[2])])
def test_a_run_is_known_by_its_short_names(name, meant, doctor) -> None:
    assert found(doctor(name)) == meant


@pytest.mark.parametrize(("name", "shown"), [
    ("4711", f"2 runs ({IDS[3]}, {IDS[0]})"), ("FireX-mo", f"2 runs ({IDS[3]}, {IDS[2]})"),
    ("FireX", f"4 runs ({IDS[3]}, {IDS[2]}, {IDS[1]} and 1 more)")])
def test_a_name_of_several_is_answered_with_them(name, shown, doctor) -> None:
    assert (doctor(name).code, doctor(name).err) == (2, f"firexlite: '{name}' may mean any of {shown}; give more of it\n")


@pytest.mark.parametrize("name", ["5", "711", "FireX-", "li", "nightl", "night", "last2", "LAST", "*", "FireX-*", "-"])
def test_no_run_is_guessed_from_a_part_that_is_neither_beginning_nor_end(name, doctor) -> None:
    ended = doctor(name)

    assert ended.code == 2
    assert ended.err.startswith("firexlite: ") and ended.err.count("\n") == 1


def test_a_key_goes_before_the_end_of_an_id(home: Path, doctor) -> None:
    (home / IDS[2] / "run.json").write_text('{"key": "4712"}')

    assert found(doctor("4712")) == IDS[2]


def test_there_is_no_last_run_in_an_empty_home(warm: Warm, tmp_path: Path) -> None:
    ended = warm("show", "last", env={"FIREXLITE_HOME": str(tmp_path / "none")})

    assert (ended.code, ended.err) == (2, f"firexlite: there is no last run: there are no runs in {tmp_path}/none yet\n")


@pytest.mark.parametrize("command", ["show", "why", "flame", "logs", "doctor", "wait", "attach", "resume", "cancel"])
def test_every_command_that_takes_a_run_takes_its_short_name(command, home: Path, warm: Warm) -> None:
    ended = warm(command, "nowhere", env={"FIREXLITE_HOME": str(home)})

    assert ended.code == 2
    assert "the key of the run, or as 'last'" in ended.err


def test_send_takes_the_short_name_of_a_run(home: Path, warm: Warm) -> None:
    ended = warm("send", "4711", "approved", env={"FIREXLITE_HOME": str(home)})

    assert (ended.code, "may mean any of 2 runs" in ended.err) == (2, True)


def test_a_name_of_bytes_that_are_no_text_is_refused_as_any_other(firexlite):
    refused = firexlite("show", b"\xff".decode(errors="surrogateescape"))

    assert (refused.code, refused.out) == (2, "")
    assert "is not a FireX ID" in refused.err
