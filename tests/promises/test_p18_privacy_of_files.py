"""A run belongs to its user alone: nobody else may read it, and nobody else's is ever resumed."""
from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, kill_all, query, states, wait_until
from spoilt import copy_of
from warm import STRANGER, Warm

from firexlite import ending, logs
from firexlite.home import SPILL_BYTES, RunDirectory, write_atomically

pytest_plugins = ["sound_runs"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

SERVICES = """
import threading
from firexlite import app

@app.task(returns="text")
def write():
    print("something for the log")
    return "x" * 100_000

@app.task(bind=True)
def ask(self):
    self.enqueue_child_and_get_results(write.s())
    if not __import__("os").path.exists("go on"):
        threading.Event().wait()
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into; those of pytest they may not."""
    place = Path(tempfile.mkdtemp(prefix="firexlite-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def modes_of(folder: Path) -> dict[str, str]:
    """What is not for its owner alone: its name and mode. Sockets do not count: only who may enter the folder can use them."""
    wrong = {}
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        expected = 0o700 if stat.S_ISDIR(mode) else 0o600
        if stat.S_IMODE(mode) != expected and not stat.S_ISSOCK(mode):
            wrong[str(path.relative_to(folder.parent))] = oct(stat.S_IMODE(mode))
    return wrong


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777], ids=oct)
def test_all_of_a_run_is_for_its_owner_alone_whatever_the_umask(umask: int, firexlite: Command, plugin) -> None:
    plugin(SERVICES)
    firexlite.home = firexlite.home / "below" / "another"
    firexlite.env["FIREXLITE_HOME"] = str(firexlite.home)
    before = os.umask(umask)
    try:
        process = firexlite.start("submit", "--plugins", "services.py", "--chain", "ask", "--workers", "2")
    finally:
        os.umask(before)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded"), what="child that is done")

    while_it_runs = modes_of(firexlite.home.parent.parent)
    kill_all(process)
    killed = modes_of(firexlite.home.parent.parent)
    (firexlite.folder / "go on").touch()
    done = firexlite("resume", firexlite.only_run().firex_id)

    assert done.code == 0, done.err
    assert {path.suffix for path in firexlite.only_run().path.iterdir()} >= {".sqlite3", ".json", ".lock"}
    assert (while_it_runs, killed, modes_of(firexlite.home.parent.parent)) == ({}, {}, {})


def test_a_home_that_is_there_keeps_its_mode(firexlite: Command) -> None:
    firexlite.home.mkdir(mode=0o750)

    assert firexlite("submit", "--chain", "nop").code == 0
    assert stat.S_IMODE(firexlite.home.stat().st_mode) == 0o750
    assert modes_of(firexlite.only_run().path) == {}


def test_a_copy_by_cp_is_shown_and_resumed_elsewhere(killed_run: RunDirectory, firexlite: Command) -> None:
    firexlite.home.mkdir()
    subprocess.run(["cp", "-r", killed_run.path, firexlite.home], check=False, capture_output=True, timeout=60)
    run = firexlite.only_run()
    shutil.rmtree(run.wake, ignore_errors=True)
    (firexlite.folder / "services.py").write_text("""
from firexlite import app

@app.task(returns="text")
def write(size): raise RuntimeError("it is done already")

@app.task(returns="length")
def wait(text): return len(text)
""")

    shown = firexlite.flame(run.firex_id)
    done = firexlite("resume", run.firex_id, "--plugins", "services.py")

    assert [task["state"] for task in shown["tasks"]] == ["succeeded", "running"]
    assert (done.code, done.out.splitlines()[-2]) == (0, "  length  100000"), done.err


@as_root
def test_a_copy_that_was_given_to_another_user_of_another_host_is_shown_and_resumed_by_him(
        killed_run: RunDirectory, shared: Path, warm: Warm) -> None:
    run = copy_of(killed_run, shared / "home")
    (shared / "services.py").write_text("""
from firexlite import app

@app.task
def write(size): ...

@app.task(returns="length")
def wait(text): return len(text)
""")
    for path in (shared, *shared.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    stranger = {"env": {"FIREXLITE_HOME": str(shared / "home"), "HOME": str(shared)}, "folder": str(shared), "uid": STRANGER}

    shown = warm("flame", run.firex_id, **stranger)
    mine = warm("resume", run.firex_id, env={"FIREXLITE_HOME": str(shared / "home")}, folder=str(shared))
    his = warm("resume", run.firex_id, "--plugins", "services.py", **stranger)

    assert (shown.code, shown.err) == (0, "")
    assert mine.code == 4
    assert his.code == 0, his.err
    assert "length  100000" in his.out


@as_root
def test_a_run_of_another_user_is_shown_and_not_resumed_but_a_copy_can_be_made(sound_run: RunDirectory, shared: Path,
                                                                              warm: Warm) -> None:
    run = copy_of(sound_run, shared / "home")
    for path in (run.path, *run.path.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    home = {"env": {"FIREXLITE_HOME": str(shared / "home")}}

    shown, refused = warm("flame", run.firex_id, **home), warm("resume", run.firex_id, **home)
    imported = warm("import", run.path, env={"FIREXLITE_HOME": str(shared / "another")})

    assert (shown.code, shown.err) == (0, "")
    assert (refused.code, refused.out) == (4, "")
    assert refused.err == (
        f"firexlite: {run.path} belongs to uid{STRANGER}; look at it freely, or make a copy of your own with "
        f"`FIREXLITE_HOME=ANOTHER_FOLDER firexlite import {run.path}`\n")
    assert imported.code == 0, imported.err
    assert {path.lstat().st_uid for path in (shared / "another").rglob("*")} == {os.geteuid()}
    assert modes_of(shared / "another") == {}


@as_root
def test_what_this_user_may_not_read_is_refused_in_a_sentence(sound_run: RunDirectory, shared: Path, warm: Warm) -> None:
    hidden, unreadable = copy_of(sound_run, shared / "hidden"), copy_of(sound_run, shared / "unreadable")
    unreadable.path.chmod(0o755)

    def said(home: str, *words: str) -> tuple[int, str, str]:
        ended = warm(*words, env={"FIREXLITE_HOME": str(shared / home)}, folder=str(shared), uid=STRANGER)
        return ended.code, ended.out, ended.err

    for command in ("flame", "resume"):
        code, out, err = said("hidden", command, hidden.firex_id)
        assert (code, out) == (4, "")
        assert err == f"firexlite: {hidden.path} may not be looked into by this user: Permission denied\n"
    assert said("unreadable", "flame", unreadable.firex_id) == (
        4, "", f"firexlite: {unreadable.journal} may not be read by this user: it belongs to root\n")
    assert said("hidden", "import", str(hidden.path))[0] == 4
    assert said("nowhere", "import", str(unreadable.journal))[0] == 4
    assert "UNREADABLE" in said("hidden", "runs")[1]
    assert "UNREADABLE" in said("unreadable", "runs")[1]


@as_root
def test_a_user_without_name_and_home_needs_only_a_place(shared: Path, warm: Warm) -> None:
    (shared / "place").mkdir()
    os.chown(shared / "place", STRANGER, STRANGER)
    nobody = {"folder": str(shared), "uid": STRANGER}

    without = warm("submit", "--chain", "nop", **nobody)
    in_the_root = warm("submit", "--chain", "nop", env={"HOME": "/"}, **nobody)
    with_it = warm("submit", "--chain", "nop", env={"FIREXLITE_HOME": str(shared / "place" / "runs")}, **nobody)

    way_out = "set FIREXLITE_HOME to a directory that you may write to"
    assert (without.code, without.err) == (2, f"firexlite: user {STRANGER} has no home directory to keep runs in; {way_out}\n")
    assert (in_the_root.code, in_the_root.err) == (
        2, f"firexlite: runs cannot be kept in /.local/state/firexlite: Permission denied; {way_out}\n")
    assert with_it.code == 0, with_it.err
    assert with_it.out.startswith(f"FireX ID: FireX-uid{STRANGER}-")
    assert modes_of(shared / "place" / "runs") == {}
    assert os.listdir(shared) == ["place"]  # nothing of the name ~


@pytest.mark.parametrize("place, why", [("file", "Not a directory"), ("file/below", "Not a directory")])
def test_a_home_that_cannot_be_one_is_refused(place: str, why: str, tmp_path: Path, warm: Warm) -> None:
    (tmp_path / "file").touch()

    ended = warm("submit", "--chain", "nop", env={"FIREXLITE_HOME": str(tmp_path / place)})

    assert (ended.code, ended.err) == (2, f"firexlite: runs cannot be kept in {tmp_path / place}: {why}; "
                                          "set FIREXLITE_HOME to a directory that you may write to\n")


def test_a_resume_takes_nothing_that_a_link_brings_in(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    secret = tmp_path / "secret"
    secret.write_text("what only I may read\n")
    [(epoch, worker)] = query(run, "SELECT epoch, worker FROM attempt WHERE task = 2")
    run.log_file(epoch, worker).unlink(missing_ok=True)
    run.log_file(epoch, worker).symlink_to(secret)
    for path in run.blobs.iterdir():
        path.unlink()
        path.symlink_to(secret)
    home = {"env": {"FIREXLITE_HOME": str(tmp_path / "home")}}

    shown = warm("flame", run.firex_id, "--json", **home)

    assert shown.code == 4  # the blob is no file of the run
    assert "what only I may read" not in shown.out + shown.err
    shutil.copy(next(sound_run.blobs.iterdir()), run.blobs / "copied")
    for path in run.blobs.iterdir():
        if path.is_symlink():
            (run.blobs / "copied").rename(path)
    shown = warm("flame", run.firex_id, "--json", **home)
    assert shown.code == 0
    assert "what only I may read" not in shown.out


# --- links that lead out of a run --------------------------------------------------------------------------------------

@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user, to which a stranger has links lead."""
    path = tmp_path / "precious.txt"
    path.write_text("mine")
    return path


def test_a_file_is_replaced_by_way_of_none_that_another_can_have_laid_there(tmp_path: Path, precious: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / f".run.json.{os.getpid()}").symlink_to(precious)

    write_atomically(folder / "run.json", "told")

    assert ((folder / "run.json").read_text(), precious.read_text()) == ("told", "mine")


def test_a_payload_is_put_away_by_way_of_no_link(tmp_path: Path, precious: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.blobs.mkdir(parents=True)
    text = "x" * (SPILL_BYTES + 1)
    (run.blobs / f".{hashlib.sha256(text.encode()).hexdigest()}.{os.getpid()}").symlink_to(precious)

    mark = run.spill(text)

    assert (run.unspill(mark), precious.read_text()) == (text, "mine")
    assert not any(path.is_symlink() for path in run.blobs.iterdir())


def test_output_goes_neither_through_a_link_nor_into_a_pipe(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "link.log").symlink_to(precious)
    os.mkfifo(tmp_path / "pipe.log")
    reader = os.open(tmp_path / "pipe.log", os.O_RDONLY | os.O_NONBLOCK)

    for name in ("link.log", "pipe.log"):
        with pytest.raises(OSError):
            logs._open_log(tmp_path / name)

    os.close(reader)


def test_a_link_in_the_place_of_the_wake_folder_is_removed_and_not_what_it_leads_to(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "wake").symlink_to(precious.parent)

    ending.remove_folder(tmp_path / "wake")

    assert (os.path.lexists(tmp_path / "wake"), precious.exists()) == (False, True)
