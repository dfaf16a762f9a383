"""A home on a network file system works: a run goes on where a live journal may lie, and comes home when it has ended."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys

import pytest
from conftest import NOTE, Command, kill_all, query, states, wait_until
from journals import opened, run_directory, submit
from spoilt import leave_rollback_journal

from firexlite import host, lodging
from firexlite.errors import JournalUnusable, RunActive
from firexlite.home import RunDirectory

ON_A_NETWORK = "import sys, firexlite.lodging as l; l.MOUNTINFO = sys.argv.pop(1); from firexlite.__main__ import main; main()"
MOUNTS = """\
21 28 0:19 / /proc rw,nosuid shared:12 - proc proc rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
"""


class OnANetwork(Command):
    """Runs `firexlite` as on a host where its home is mounted over a network; its local disk is another folder."""

    def __init__(self, home, folder):
        super().__init__(home, folder)
        home.mkdir()
        self.local = folder.parent / "local disk"
        self.local.mkdir()
        self.mounts = folder.parent / "mountinfo"
        self.mount("nfs4", home)
        self.env["FIREXLITE_LOCAL"] = str(self.local)
        self.lodgings = self.local / f"firexlite-{os.getuid()}"

    def mount(self, kind, *points):
        escaped = [str(point).replace(" ", "\\040") for point in points]
        self.mounts.write_text(MOUNTS + "".join(
            f"{90 + i} 28 0:{60 + i} / {point} rw,relatime shared:7 master:2 - {kind} filer:/vol{i} rw,vers=4.2\n"
            for i, point in enumerate(escaped)))

    def start(self, *args, **env):
        process = subprocess.Popen(
            [sys.executable, "-c", ON_A_NETWORK, str(self.mounts), *map(str, args)], cwd=self.folder, env={**self.env, **env},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def lodging_run(self):
        [path] = self.lodgings.glob("FireX-*")
        return RunDirectory(path)

    def pointer(self):
        [path] = self.home.glob("*.elsewhere")
        return path

    def everything(self):
        """What lies in the home and on the local disk: ``{("home", "pointer"), ("local", "run")}``."""
        at_home = {("home", kind_of(path)) for path in self.home.iterdir()}
        lodging = {("local", kind_of(path)) for path in self.lodgings.iterdir()} if self.lodgings.is_dir() else set()
        return at_home | lodging


def kind_of(path):
    for kind in (".draft", ".moving", ".away"):
        if path.name.startswith(kind):
            return kind
    return "pointer" if path.name.endswith(".elsewhere") else "run" if path.name.startswith("FireX-") else path.name


@pytest.fixture
def firexlite(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    command = OnANetwork(tmp_path / "home", folder)
    yield command
    command.close()


GREET = NOTE + """
@app.task(returns="greeting")
def greet():
    note("greet")
    return "Hello" * 20_000        # too much for a row: it lies in a blob

@app.task(returns="said")
def say(greeting):
    note("say")
    if not os.path.exists("go"):
        open("saying", "w").close()
        wait_for_file("go")
    assert not os.path.exists("hoarse")
    return len(greeting)
"""
SUBMIT = ("submit", "--plugins", "services.py", "--chain", "greet,say")


@pytest.fixture
def services(plugin, effects):
    return plugin(GREET)


@pytest.fixture
def go(firexlite, services):
    """Nobody waits in `say`."""
    (firexlite.folder / "go").touch()


@pytest.fixture
def killed(firexlite, services):
    """A run that was killed in its second task."""
    process = firexlite.start(*SUBMIT)
    wait_until(lambda: (firexlite.folder / "saying").exists())
    kill_all(process)
    (firexlite.folder / "go").touch()
    return firexlite.lodging_run()


def is_plain_and_whole(run, firexlite):
    """Whether a run is at home as one that never was elsewhere, which opens without another file beside its journal."""
    names = {path.name for path in run.path.iterdir()} - {run.imported.name}
    assert names == {"alive.lock", "blobs", "journal.sqlite3", "logs", "run.json", "write.lock"}
    with open(run.journal, "rb") as file:
        assert file.read(20)[18:20] == b"\x01\x01"  # not in WAL mode
    assert json.loads(run.run_json.read_text())["logs_path"] == str(run.path)
    assert [oct(os.stat(path).st_mode & 0o777) for path in (run.path, run.blobs, run.logs, run.journal, run.run_json)] == [
        "0o700", "0o700", "0o700", "0o600", "0o600"]
    return firexlite.everything() == {("home", "run")}


# --- the whole way -----------------------------------------------------------------------------------------------

def test_a_run_goes_on_on_the_local_disk_and_comes_home(firexlite, services, effects):
    process = firexlite.start(*SUBMIT)
    wait_until(lambda: (firexlite.folder / "saying").exists())
    assert not list(firexlite.home.rglob("journal*"))  # a live journal never lies there
    run = firexlite.lodging_run()
    assert json.loads(firexlite.pointer().read_text()) == {
        "host": platform.node(), "path": str(run.path), "token": lodging.token_in(run.path)}
    listed = firexlite("runs")
    assert f"{run.firex_id}  RUNNING" in listed.out
    shown = {task["name"]: task["state"] for task in firexlite.flame(run.firex_id)["tasks"]}
    assert shown == {"greet": "succeeded", "say": "running"}

    (firexlite.folder / "go").touch()
    out, err = process.communicate(timeout=30)

    assert process.returncode == 0, err
    assert f"FireX ID: {run.firex_id}" in out and "100000" in out
    assert is_plain_and_whole(firexlite.only_run(), firexlite)
    assert f"{run.firex_id}  SUCCEEDED" in firexlite("runs").out
    assert [task["state"] for task in firexlite.flame(run.firex_id)["tasks"]] == ["succeeded", "succeeded"]
    assert effects() == {"greet": 1, "say": 1}


def test_a_run_that_was_killed_stays_where_it_is_until_a_resume_has_finished_it(firexlite, killed, effects):
    assert f"{killed.firex_id}  INTERRUPTED" in firexlite("runs").out
    assert firexlite.everything() == {("home", "pointer"), ("local", "run")}

    done = firexlite("resume", killed.firex_id, "--json_file", "result.json")

    assert done.code == 0, done.err
    assert is_plain_and_whole(firexlite.only_run(), firexlite)
    assert effects() == {"greet": 1, "say": 2}
    result = json.loads((firexlite.folder / "result.json").read_text())
    assert result["completed"] and result["logs_path"] == str(firexlite.home / killed.firex_id)


def test_a_run_that_failed_comes_home_and_moves_out_again_to_be_resumed(firexlite, go, effects):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    assert failed.code == 1 and "hoarse" in failed.err
    assert is_plain_and_whole(firexlite.only_run(), firexlite)
    (firexlite.folder / "hoarse").unlink()

    done = firexlite("resume", failed.firex_id)

    assert done.code == 0, done.err
    assert is_plain_and_whole(firexlite.only_run(), firexlite)
    assert effects() == {"greet": 1, "say": 2}


def test_a_resume_of_a_run_that_succeeded_moves_nothing(firexlite, go):
    done = firexlite(*SUBMIT)
    journal = firexlite.only_run().journal
    before = os.stat(journal).st_ino, journal.read_bytes()

    again = firexlite("resume", done.firex_id, "--json_file", "result.json")

    assert again.code == 0 and "100000" in again.out
    assert (os.stat(journal).st_ino, journal.read_bytes()) == before
    assert json.loads((firexlite.folder / "result.json").read_text())["completed"]
    assert not list(firexlite.lodgings.iterdir())


def test_an_event_is_sent_to_a_run_that_lies_at_home_and_it_comes_home_again(firexlite, go):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    before = firexlite.everything()

    sent = firexlite("send", failed.firex_id, "approved", "5")

    assert (sent.code, sent.out, sent.err) == (0, "Sent: 'approved'.\n", "")
    assert firexlite.everything() == before
    assert query(firexlite.only_run(), "SELECT name, nth, value FROM sent") == [("approved", 1, "5")]
    (firexlite.folder / "hoarse").unlink()
    assert firexlite("resume", failed.firex_id).code == 0


def test_an_interrupted_run_that_was_copied_into_such_a_home_moves_out_to_be_resumed(firexlite, killed, effects):
    shutil.copytree(killed.path, firexlite.home / killed.firex_id, ignore=shutil.ignore_patterns("wake", "lodging"))
    shutil.rmtree(killed.path)
    firexlite.pointer().unlink()
    assert (firexlite.home / killed.firex_id / "journal.sqlite3-wal").exists()

    done = firexlite("resume", killed.firex_id)

    assert done.code == 0, done.err
    assert is_plain_and_whole(firexlite.only_run(), firexlite)
    assert effects() == {"greet": 1, "say": 2}


def test_a_resume_that_is_refused_leaves_a_run_at_home(firexlite, go):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    (firexlite.folder / "services.py").write_text("import no_such_module")

    assert firexlite("resume", failed.firex_id).code == 2
    assert firexlite.everything() == {("home", "run")}


def test_a_detached_run_comes_home_too(firexlite, go):
    started = firexlite(*SUBMIT, "--detach")
    assert started.code == 0, started.err

    wait_until(lambda: firexlite.everything() == {("home", "run")}, what="run at home")


def test_a_run_that_is_sent_to_a_sink_comes_home_with_what_was_stored_of_it(firexlite, go):
    kafka = pytest.importorskip("confluent_kafka")
    maker = kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    [broker] = maker.list_topics(timeout=10).brokers.values()

    done = firexlite(*SUBMIT, "--sink", f"kafka:{broker.host}:{broker.port}/firex")

    assert (done.code, "not sent" in done.err) == (0, False)
    run = firexlite.only_run()
    [place] = [json.loads(path.read_text()) for path in (run.path / "sinks").iterdir()]
    assert (place["seq"],) == query(run, "SELECT max(id) FROM event")[0]
    assert place["ended"] and firexlite.everything() == {("home", "run")}


def test_a_run_comes_home_while_somebody_looks_at_it(firexlite, killed):
    reader = sqlite3.connect(f"file:{killed.journal}?mode=ro", uri=True)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM task").fetchall()  # keeps the journal in WAL mode

    done = firexlite("resume", killed.firex_id)
    reader.close()

    assert done.code == 0, done.err
    assert is_plain_and_whole(firexlite.only_run(), firexlite)


# --- other hosts ---------------------------------------------------------------------------------------------------

def test_what_is_imported_lies_at_home_if_it_has_ended_and_on_the_local_disk_if_not(firexlite, killed, go, tmp_path):
    sent = tmp_path / "sent"
    interrupted = shutil.copytree(killed.path, sent / "interrupted" / killed.firex_id, ignore=shutil.ignore_patterns("wake"))
    assert firexlite("resume", killed.firex_id).code == 0
    ended = shutil.copytree(firexlite.home / killed.firex_id, sent / "ended" / killed.firex_id)
    shutil.rmtree(firexlite.home / killed.firex_id)

    imported = firexlite("import", ended)
    assert (imported.code, firexlite.everything()) == (0, {("home", "run")}), imported.err
    is_plain_and_whole(firexlite.only_run(), firexlite)

    shutil.rmtree(firexlite.home / killed.firex_id)
    imported = firexlite("import", interrupted)
    assert (imported.code, firexlite.everything()) == (0, {("home", "pointer"), ("local", "run")}), imported.err
    resumed = firexlite("resume", killed.firex_id, "--plugins", "services.py")
    assert (resumed.code, firexlite.everything()) == (0, {("home", "run")}), resumed.err


@pytest.fixture
def on_another_host(firexlite, killed):
    """The killed run, seen from another host, whose local disk does not hold it."""
    told = json.loads(firexlite.pointer().read_text())
    firexlite.pointer().write_text(json.dumps({**told, "host": "build7"}))
    firexlite.env["FIREXLITE_LOCAL"] = str(firexlite.folder)
    killed.path.rename(killed.path.with_name("FireX-on-build7"))
    return killed


@pytest.mark.parametrize("command", ["resume", "flame"])
def test_another_host_says_where_a_run_lies(firexlite, on_another_host, command):
    refused = firexlite(command, on_another_host.firex_id)

    assert (refused.code, refused.out) == (3, "")
    assert refused.err == (
        f"firexlite: {on_another_host.firex_id} lies on host build7, in {on_another_host.path}, since {firexlite.home} is on a "
        "network file system; it can be shown and resumed there, and comes home when it has ended\n")


def test_another_host_lists_a_run_with_its_host(firexlite, on_another_host):
    listed = firexlite("runs")

    [line] = [line for line in listed.out.splitlines() if on_another_host.firex_id in line]
    assert "ON build7" in line and str(on_another_host.path) in line
    assert json.loads(firexlite("runs", "--json").out) == [
        {"firex_id": on_another_host.firex_id, "state": "elsewhere", "host": "build7", "path": str(on_another_host.path)}]


def test_a_copy_that_stayed_behind_is_not_taken_for_the_run(firexlite, killed):
    told = json.loads(firexlite.pointer().read_text())
    firexlite.pointer().write_text(json.dumps({**told, "host": "build7", "token": "0" * 32}))

    refused = firexlite("resume", killed.firex_id)

    assert refused.code == 3 and "lies on host build7" in refused.err


def test_a_run_that_is_gone_from_its_place_is_told_to_be(firexlite, killed):
    shutil.rmtree(killed.path)

    refused = firexlite("flame", killed.firex_id)

    assert refused.code == 4
    assert f"lay in {killed.path}" in refused.err and "is not there any more" in refused.err
    assert f"remove {firexlite.pointer()} to forget the run" in refused.err


def test_a_pointer_that_says_nothing_is_named(firexlite, killed):
    firexlite.pointer().write_text("{}")

    refused = firexlite("resume", killed.firex_id)

    assert refused.code == 4
    assert refused.err == f"firexlite: {firexlite.pointer()} should say where the run lies, and does not\n"
    assert firexlite("runs").code == 0


@pytest.mark.parametrize("name", ["pointer", "token"])
def test_a_pipe_in_the_place_of_a_pointer_or_a_token_holds_nobody_up(firexlite, killed, name):
    path = {"pointer": firexlite.pointer(), "token": killed.path / "lodging"}[name]
    path.unlink()
    os.mkfifo(path)

    assert firexlite("runs").code == 0
    assert firexlite("flame", killed.firex_id).code == 4


def test_a_journal_with_a_rollback_journal_is_not_copied_home(firexlite, killed, tmp_path):
    (tmp_path / "precious.txt").write_text("a file of the user")
    leave_rollback_journal(killed, tmp_path / "precious.txt")

    with pytest.raises(JournalUnusable, match="-journal lies beside the journal, and firexlite never leaves such a file"):
        lodging.move_home(firexlite.home, killed.path)

    assert (tmp_path / "precious.txt").exists()


# --- a kill after any step ---------------------------------------------------------------------------------------

def killed_at(firexlite, moment, *command):
    """Run a command that dies, with all its processes, when it reaches a moment; the moment is not passed over."""
    log = firexlite.folder / f"moments of {moment}"
    process = firexlite.start(*command, FIREXLITE_FAULT=f"{moment}#1=all", FIREXLITE_FAULT_LOG=str(log),
                              FIREXLITE_FAULT_ROOT=str(os.getpid()))
    process.communicate(timeout=30)
    assert process.returncode == -9 and log.read_text() == f"{moment}\n", moment


COMING_HOME = {
    "tidied": {("home", "pointer"), ("local", "run")},
    "home copied": {("home", "pointer"), ("home", ".moving"), ("local", "run")},
    "home renamed": {("home", "run"), ("home", "pointer"), ("local", "run")},
    "pointer removed": {("home", "run"), ("local", "run")},
    "local removed": {("home", "run")},
}


@pytest.mark.parametrize("moment", COMING_HOME)
def test_a_kill_while_a_run_comes_home_leaves_one_truth(firexlite, go, effects, moment):
    killed_at(firexlite, moment, *SUBMIT)
    assert firexlite.everything() == COMING_HOME[moment]
    firex_id = next(path.name for folder in (firexlite.home, firexlite.lodgings) for path in folder.glob("FireX-*[0-9]"))
    assert [task["state"] for task in firexlite.flame(firex_id)["tasks"]] == ["succeeded", "succeeded"]

    done = firexlite("resume", firex_id)

    assert done.code == 0 and "100000" in done.out, done.err
    assert effects() == {"greet": 1, "say": 1}
    assert firexlite(*SUBMIT).code == 0  # which sweeps up what is left
    assert firexlite.everything() == {("home", "run")} and len(firexlite.runs()) == 2


MOVING_OUT = {
    "local copied": {("home", "run"), ("local", "run")},
    "pointer written": {("home", "run"), ("home", "pointer"), ("local", "run")},
    "home set aside": {("home", ".away"), ("home", "pointer"), ("local", "run")},
    "home removed": {("home", "pointer"), ("local", "run")},
}


@pytest.mark.parametrize("moment", MOVING_OUT)
def test_a_kill_while_a_run_moves_out_leaves_one_truth(firexlite, go, effects, moment):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    (firexlite.folder / "hoarse").unlink()

    killed_at(firexlite, moment, "resume", failed.firex_id)

    assert firexlite.everything() == MOVING_OUT[moment]
    assert [task["state"] for task in firexlite.flame(failed.firex_id)["tasks"]] == ["succeeded", "failed"]
    done = firexlite("resume", failed.firex_id)
    assert done.code == 0, done.err
    assert effects() == {"greet": 1, "say": 2}
    assert is_plain_and_whole(firexlite.only_run(), firexlite)


@pytest.mark.parametrize("moment", ["draft made", "pointer written"])
def test_a_kill_before_a_run_is_durable_leaves_none(firexlite, go, moment):
    killed_at(firexlite, moment, *SUBMIT)

    assert "There are no runs" in firexlite("runs").out
    for draft in firexlite.lodgings.glob(".draft-*"):
        os.utime(draft, (0, 0))
    assert firexlite(*SUBMIT).code == 0
    assert firexlite.everything() == {("home", "run")} and len(firexlite.runs()) == 1


def test_of_two_that_move_a_run_out_one_gives_way(firexlite, go, effects):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    (firexlite.folder / "hoarse").unlink()

    both = [firexlite.start("resume", failed.firex_id) for _ in range(2)]
    told = [process.communicate(timeout=30)[1] for process in both]

    # One that comes late finds the run succeeded, which is no failure.
    assert {process.returncode for process in both} in ({0}, {0, 3}), told
    assert effects() == {"greet": 1, "say": 2}
    assert is_plain_and_whole(firexlite.only_run(), firexlite)


def test_the_lock_of_a_directory_that_was_moved_meanwhile_counts_for_nothing(tmp_path):
    run, fd = run_directory(tmp_path), -1
    moved = tmp_path / "moved"

    def move_it_and_let_go(pid):
        if not moved.exists():
            run.path.rename(moved)
            os.close(fd)
        return None

    fd = run.take_alive_lock(lambda pid: 1)
    with pytest.raises(RunActive, match=f"{run.firex_id} has just been moved by another process; try again"):
        run.take_alive_lock(move_it_and_let_go)


def test_a_run_that_is_being_moved_by_another_host_is_left_to_it(firexlite, go):
    (firexlite.folder / "hoarse").touch()
    failed = firexlite(*SUBMIT)
    pointer = lodging.pointer_file(firexlite.home, failed.firex_id)
    pointer.write_text(json.dumps({"host": "build7", "path": f"/var/tmp/firexlite-1/{failed.firex_id}", "token": "0" * 32}))

    assert firexlite("flame", failed.firex_id).code == 0
    refused = firexlite("resume", failed.firex_id)

    assert refused.code == 3
    assert refused.err == (f"firexlite: {failed.firex_id} was just being moved to or from host build7; resume it there, or, if "
                           f"that host is gone for ever, remove {pointer} first\n")


def test_a_home_that_takes_no_more_files_does_not_change_how_a_run_ended(firexlite, killed):
    (firexlite.home / killed.firex_id).mkdir()
    (firexlite.home / killed.firex_id / "in the way").touch()

    done = firexlite("resume", killed.firex_id)

    assert done.code == 0 and "100000" in done.out
    assert f"could not be moved to {firexlite.home}" in done.err and "Traceback" not in done.err
    (firexlite.home / killed.firex_id / "in the way").unlink()
    assert firexlite("resume", killed.firex_id).code == 0
    assert is_plain_and_whole(firexlite.only_run(), firexlite)


# --- the steps of a move, one by one ----------------------------------------------------------------------------------

class Mover:
    """A home and a local folder between which a run is moved, in this process.

    steps: what was done, in order, `("fsync", name)` or `("moment", name)`. at_moment: called at each of these moments.
    """

    def __init__(self, tmp_path, monkeypatch):
        self.home, self.local = tmp_path / "home", tmp_path / "local" / f"firexlite-{os.getuid()}"
        for folder in (self.home, self.local):
            folder.mkdir(parents=True, mode=0o700)
        monkeypatch.setenv("FIREXLITE_LOCAL", str(self.local.parent))
        monkeypatch.setattr(lodging, "is_network", lambda path: self.home in (path, *path.parents))
        self.steps = []
        self.at_moment = lambda moment: None
        monkeypatch.setattr(lodging.faults, "reach", self._reach)
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._note_fsync)

    def _reach(self, *moment):
        self.steps.append(("moment", " ".join(moment)))
        self.at_moment(" ".join(moment))

    def _note_fsync(self, fd):
        self.steps.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))
        self._fsync(fd)

    def run_in(self, folder):
        """A run without processes, with an output of a worker and a payload."""
        with contextlib.closing(opened(folder)) as journal:
            submit(journal, "one")
        run = journal.directory
        run.log_file(1, 0).write_text("output")
        (run.blobs / ("a" * 64)).write_text("payload")
        return run

    def lodging_run(self):
        """A run on the local disk, to which a pointer in the home leads."""
        run = self.run_in(self.local)
        lodging.lodge(run.path)
        lodging.leave_pointer(self.home, run.path, made_as=run.path)
        self.steps.clear()
        return run


@pytest.fixture
def mover(tmp_path, monkeypatch):
    before = set(os.listdir("/proc/self/fd"))
    yield Mover(tmp_path, monkeypatch)
    for fd in set(os.listdir("/proc/self/fd")) - before:  # what comes home is held to the end of the process
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").endswith("alive.lock"):
                os.close(int(fd))


def test_a_run_that_comes_home_is_held_by_its_mover_as_soon_as_it_is_there(mover):
    run, is_held = mover.lodging_run(), {}
    at_home = RunDirectory(mover.home / run.firex_id)
    mover.at_moment = lambda moment: is_held.update({moment: at_home.is_alive()})

    lodging.move_home(mover.home, run.path)

    assert is_held == {"home copied": False, "home renamed": True, "pointer removed": True, "local removed": True}


def test_all_files_of_a_run_that_comes_home_are_durable_before_it_counts(mover):
    run = mover.lodging_run()

    at_home = lodging.move_home(mover.home, run.path)

    names = {path.name for path in at_home.rglob("*")} | {f".moving-{run.firex_id}"}
    assert names >= {"journal.sqlite3", "1-0.log", "a" * 64, "blobs", "logs"}
    assert {("fsync", name) for name in names} <= set(mover.steps[:mover.steps.index(("moment", "home copied"))])


def test_a_pointer_is_durable_before_anything_follows_from_it(mover):
    run = mover.run_in(mover.local)
    lodging.lodge(run.path)

    lodging.leave_pointer(mover.home, run.path, made_as=run.path)

    assert mover.steps[-2:] == [("fsync", "home"), ("moment", "pointer written")]


def test_a_run_that_moves_out_is_locked_before_any_file_of_it_is_there(mover):
    run, found = mover.run_in(mover.home), []
    alive = run.take_alive_lock(lambda pid: 1)

    def take_lock(directory):
        found.extend(path.name for path in directory.iterdir())
        return RunDirectory(directory).take_alive_lock(lambda pid: 1)

    place, held = lodging.move_out(mover.home, run.path, alive, take_lock)

    assert found == ["alive.lock"]
    assert place == mover.local / run.firex_id and RunDirectory(place).is_alive()
    os.close(held)
    assert not RunDirectory(place).is_alive()


def test_whoever_moved_a_run_out_lets_go_of_the_one_at_home(mover):
    run = mover.run_in(mover.home)
    alive = run.take_alive_lock(lambda pid: 1)

    _, held = lodging.move_out(mover.home, run.path, alive, lambda moving: RunDirectory(moving).take_alive_lock(lambda pid: 1))

    assert held != alive
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(alive)


@pytest.mark.parametrize("is_held", [True, False])
def test_a_copy_that_somebody_holds_is_not_swept_away(mover, is_held):
    run, copy = mover.run_in(mover.home), mover.run_in(mover.local)
    if is_held:
        copy.take_alive_lock(lambda pid: 1)

    lodging.sweep(mover.home, mover.local)

    assert run.journal.exists()
    assert copy.journal.exists() == is_held


# --- where a run may lodge ---------------------------------------------------------------------------------------

def refused_submission(firexlite):
    refused = firexlite(*SUBMIT)
    assert refused.code == 2 and refused.out == ""
    assert not list(firexlite.home.iterdir())
    return refused.err


def test_without_a_local_disk_nothing_begins(firexlite, go):
    firexlite.mount("nfs4", firexlite.home, firexlite.local)

    assert refused_submission(firexlite) == (
        f"firexlite: {firexlite.home} lies on a network file system, where no run can go on, and so does {firexlite.local} "
        "(nfs4); set FIREXLITE_LOCAL to a folder on a local disk\n")


@pytest.mark.parametrize("spoil", [
    lambda path: path.mkdir(mode=0o755),
    lambda path: path.symlink_to(path.parent),
    lambda path: path.touch(),
])
def test_a_folder_that_others_may_have_made_is_not_used(firexlite, go, spoil):
    spoil(firexlite.lodgings)

    assert f"{firexlite.lodgings}, which is not a directory of this user alone (mode 0700)" in refused_submission(firexlite)


def test_a_local_folder_that_is_not_there_is_named(firexlite, go):
    firexlite.env["FIREXLITE_LOCAL"] = "/nowhere/at/all"

    assert "go on in /nowhere/at/all/firexlite-" in refused_submission(firexlite)


def test_a_home_on_a_local_disk_is_used_as_it_is(firexlite, services):
    firexlite.mount("ext4", firexlite.home)
    process = firexlite.start(*SUBMIT)
    wait_until(lambda: (firexlite.folder / "saying").exists())
    assert states(firexlite.only_run())["running"] == 1
    (firexlite.folder / "go").touch()
    process.communicate(timeout=30)

    assert process.returncode == 0
    assert not firexlite.lodgings.exists()


# --- file systems ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path, kind", [
    ("/home/li/runs", "nfs4"),
    ("/home", "nfs4"),
    ("/homestead", "ext4"),
    ("/home/li/fast disk/runs", "xfs"),
    ("/home/li/fast", "nfs4"),
    ("/mnt/x", "fuse.sshfs"),     # the later of two at one point
    ("/", "ext4"),
])
def test_the_longest_mount_point_above_a_path_tells_its_file_system(tmp_path, monkeypatch, path, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS + """\
30 28 0:44 / /home rw shared:3 - nfs4 filer:/home rw
31 30 8:17 / /home/li/fast\\040disk rw - xfs /dev/sdb1 rw
32 28 8:33 / /mnt/x rw - ext4 /dev/sdc1 rw
33 32 0:45 / /mnt/x rw shared:9 master:3 - fuse.sshfs li@host:/ rw
""")
    monkeypatch.setattr(lodging, "MOUNTINFO", str(mounts))
    monkeypatch.setattr(os.path, "realpath", os.fspath)

    assert lodging.file_system(path) == kind
    assert lodging.is_network(path) == (kind in ("nfs4", "fuse.sshfs"))


def test_a_link_leads_to_the_file_system_of_its_target(tmp_path, monkeypatch):
    (tmp_path / "filer").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "filer")
    (tmp_path / "mountinfo").write_text(MOUNTS + f"30 28 0:44 / {tmp_path}/filer rw shared:3 - cifs //filer/home rw\n")
    monkeypatch.setattr(lodging, "MOUNTINFO", str(tmp_path / "mountinfo"))

    assert lodging.is_network(tmp_path / "home" / "firexlite")


@pytest.mark.skipif(host.IS_PORTABLE, reason="`mount` tells it there")
def test_where_the_system_does_not_tell_a_path_is_taken_for_local(tmp_path, monkeypatch):
    monkeypatch.setattr(lodging, "MOUNTINFO", str(tmp_path / "missing"))

    assert lodging.file_system(tmp_path) == "" and not lodging.is_network(tmp_path)
