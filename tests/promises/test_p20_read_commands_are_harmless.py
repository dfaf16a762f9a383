"""To look at a run changes nothing and disturbs nobody: it opens nothing for writing, takes no lock that anyone waits for,
and needs no right to write."""
from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, states, wait_until
from spoilt import alter, copy_of, digest_of, falsify, leave_rollback_journal
from warm import STRANGER, Warm

from firexlite.errors import JournalUnusable
from firexlite.history import History, _copy_at_rest, _in_memory
from firexlite.home import RunDirectory
from firexlite.journal import Journal

pytest_plugins = ["sound_runs"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")

LOOKS = ("runs", "runs --json", "flame {id}", "flame --json {id}", "doctor {id}", "doctor --json {id}", "show {id}",
         "show --json last", "show {id} 1", "show --json {id} 1", "why {id}", "why --json last", "logs {id}")
CHANGES = ("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
           "os.utime", "os.setxattr", "shutil.")


def looks_at(run: RunDirectory, warm: Warm, **how: object) -> dict[str, object]:
    how.setdefault("env", {"FIREXLITE_HOME": str(run.path.parent)})
    return {form: warm(*form.replace("{id}", run.firex_id).split(), **how) for form in LOOKS}


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users may look into; those of pytest they may not."""
    place = Path(tempfile.mkdtemp(prefix="firexlite-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_nothing_is_opened_for_writing_or_changed(killed_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(killed_run, tmp_path / "home")
    before = digest_of(tmp_path)

    ended = looks_at(run, warm, is_audited=True)

    for form, one in ended.items():
        assert (one.code, one.err) == (0, ""), form
        assert one.did
        written = [[event, *arguments] for event, *arguments in one.did
                   if event.startswith(CHANGES)
                   or (event == "open" and int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                       and arguments[0] != os.devnull)]
        assert written == [], form
    assert digest_of(tmp_path) == before


def test_the_only_lock_that_is_asked_for_is_whether_the_run_lives(sound_run: RunDirectory, tmp_path: Path,
                                                                 warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")

    for form, one in looks_at(run, warm, is_audited=True).items():
        asked = {tuple(arguments[1:2]) for event, *arguments in one.did if event == "fcntl.flock"}
        assert asked <= {("5",)}, form  # shared, and without waiting


def test_the_journal_file_is_opened_by_sqlite_alone(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    """A close of it anywhere in a process would drop the locks that SQLite holds there."""
    run = copy_of(sound_run, tmp_path / "home")

    for form, one in looks_at(run, warm, is_audited=True).items():
        assert not [arguments for event, *arguments in one.did if event == "open" and "journal.sqlite3" in arguments[0]], form


def test_a_run_that_goes_on_can_be_looked_at_again_and_again(firexlite: Command, plugin, warm: Warm) -> None:
    plugin("""
import pathlib
from firexlite import app

@app.task
def step(n):
    return n

@app.task(bind=True)
def many(self):
    while not pathlib.Path("enough").exists():
        self.enqueue_child_and_get_results(step.s(n=1))
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "many", "--workers", "2")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded"), what="child that is done")
    run = firexlite.only_run()

    for _ in range(5):
        assert {(form, one.code, one.err) for form, one in looks_at(run, warm).items()} == {(form, 0, "") for form in LOOKS}
    (firexlite.folder / "enough").touch()
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "All tasks succeeded" in out


@as_root
def test_a_killed_run_is_shown_from_where_this_user_cannot_write(killed_run: RunDirectory, shared: Path, warm: Warm) -> None:
    """Its journal is still in WAL mode, for which SQLite wants to write beside it."""
    run = copy_of(killed_run, shared / "home")
    for path in run.path.glob("*-shm"):
        path.unlink()
    for path in (run.path, *run.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before, left = digest_of(shared), in_temp()

    ended = looks_at(run, warm, env={"FIREXLITE_HOME": str(shared / "home"), "TMPDIR": tempfile.gettempdir()}, uid=STRANGER)

    assert (ended["flame {id}"].code, ended["flame {id}"].err) == (0, "")
    assert '"state":"running"' in ended["flame --json {id}"].out
    assert "1 of 2 succeeded" in ended["runs"].out
    assert ended["doctor {id}"].err.startswith(f"firexlite: {run.path} belongs to root; ")  # and is only to be looked at
    assert "whole (quick_check)" in ended["doctor {id}"].out
    assert digest_of(shared) == before
    assert in_temp() - left == set()


def in_temp() -> set[str]:
    """What may be ours in the folder for temporary files; links to sockets are of runs that go on beside, on some hosts."""
    return {entry.name for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith("firexlite-")
            and not entry.is_symlink()}


@as_root
def test_a_journal_that_was_closed_in_wal_mode_is_shown_from_where_this_user_cannot_write(
        killed_run: RunDirectory, shared: Path, warm: Warm) -> None:
    run = copy_of(killed_run, shared / "home")
    alter(run, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert {path.name for path in run.path.glob("journal*")} == {"journal.sqlite3"}
    for path in (run.path, *run.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    ended = warm("flame", run.firex_id, "--json", env={"FIREXLITE_HOME": str(shared / "home")}, uid=STRANGER)

    assert (ended.code, ended.err) == (0, "")


@as_root
def test_a_finished_run_is_one_file_that_opens_from_where_this_user_cannot_write(firexlite: Command, shared: Path,
                                                                               warm: Warm) -> None:
    firexlite("submit", "--chain", "nop")
    run = copy_of(firexlite.only_run(), shared / "home")
    assert {path.name for path in run.path.glob("journal*")} == {"journal.sqlite3"}
    for path in (run.path, *run.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    # Not even for a copy in memory is there a place.
    ended = looks_at(run, warm, env={"FIREXLITE_HOME": str(shared / "home"), "TMPDIR": "/nonexistent"}, uid=STRANGER)

    assert (ended["flame {id}"].code, ended["flame {id}"].err) == (0, "")
    assert "1 of 1 succeeded" in ended["runs"].out


def test_a_reader_holds_no_lock_between_its_looks(killed_run: RunDirectory, tmp_path: Path) -> None:
    import sqlite3

    run = copy_of(killed_run, tmp_path / "home")
    with History(run) as history:
        history.run()
        writer = sqlite3.connect(run.journal, timeout=0, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE run SET epoch = epoch")
        assert history.run().state == "interrupted"
        writer.execute("COMMIT")
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # not busy
        writer.close()


def test_no_look_and_no_writer_rolls_back_what_a_stranger_left(sound_run: RunDirectory, tmp_path: Path) -> None:
    """The name in it is that of any file of who looks: SQLite would remove that."""
    run, victim = copy_of(sound_run, tmp_path / "home"), tmp_path / "precious.txt"
    victim.write_text("mine")
    leave_rollback_journal(run, victim)

    for opened in (History(run), Journal(run, 1)):
        with pytest.raises(JournalUnusable, match="-journal lies beside the journal, and firexlite never leaves such a file"), \
                opened:
            pass
    _copy_at_rest(run.journal, tmp_path / "copy")

    assert victim.exists()
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy"]


def test_what_stands_in_a_journal_is_not_trusted_by_sqlite(sound_run: RunDirectory, tmp_path: Path) -> None:
    with History(copy_of(sound_run, tmp_path / "home")) as history:
        assert [history.execute(f"PRAGMA {caution}") for caution in ("trusted_schema", "cell_size_check")] == [[(0,)], [(1,)]]
        in_memory = _in_memory(history._db)
        assert in_memory.execute_sql("PRAGMA trusted_schema").fetchall() == [(0,)]
        in_memory.close()


def test_a_journal_that_is_written_to_while_it_is_copied_is_not_shown(sound_run: RunDirectory, tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    times = itertools.count(1)

    def copied_while_another_writes(source, target) -> None:
        target.write(source.read())
        os.utime(run.journal, ns=(next(times), next(times)))

    monkeypatch.setattr(shutil, "copyfileobj", copied_while_another_writes)

    with pytest.raises(JournalUnusable, match="is being written by another user"):
        _copy_at_rest(run.journal, tmp_path / "copy")


def test_a_lock_that_a_link_leads_to_says_nothing_of_a_run(sound_run: RunDirectory, tmp_path: Path) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    with open(tmp_path / "held", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run.alive_lock.unlink()
        run.alive_lock.symlink_to(tmp_path / "held")

        assert not run.is_alive()


def test_a_pipe_in_the_place_of_a_lock_or_a_payload_holds_nobody_up(sound_run: RunDirectory, tmp_path: Path,
                                                                    firexlite: Command) -> None:
    run = copy_of(sound_run, firexlite.home)
    [blob] = run.blobs.iterdir()
    for path in (run.alive_lock, blob):
        path.unlink()
        os.mkfifo(path)

    assert firexlite("runs", timeout=20).code == 0
    assert firexlite("flame", run.firex_id, timeout=20).code == 4


def test_output_that_lies_in_the_folder_of_another_is_not_shown(sound_run: RunDirectory, tmp_path: Path) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    run.logs.rename(tmp_path / "elsewhere")
    run.logs.symlink_to(tmp_path / "elsewhere")
    for log in (tmp_path / "elsewhere").iterdir():
        log.write_text("what only I may read")
    falsify(run, "UPDATE attempt SET log_end = 10")

    with History(run) as history:
        assert {history.log(attempt) for attempt in history.attempts()} == {("", 0)}
