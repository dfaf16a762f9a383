"""A run that someone sent: it is shown, or refused in a sentence, whatever it holds; `firexlite import` makes it one's own."""
from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from conftest import Command, query
from spoilt import alter, copy_of, digest_of, falsify
from warm import Call, Ended, Warm

from firexlite import importing, missing
from firexlite.doctor import faults_of
from firexlite.flame_graph import MOST_LOG_BYTES, model_of
from firexlite.history import History, interrupted_by
from firexlite.home import RunDirectory

pytest_plugins = ["sound_runs"]

SERVICES = """
from firexlite import app

@app.task(returns="text")
def write(size): raise RuntimeError("it is done already")

@app.task(returns="length")
def wait(text): return len(text)
"""


@pytest.fixture
def sent(sound_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A run in the folder of someone else."""
    return copy_of(sound_run, tmp_path / "sent")


@pytest.fixture
def bring(tmp_path: Path, warm: Warm):
    """Import a path into a home that is not there yet."""
    def bring(path: Path) -> Ended:
        return warm("import", path, env={"FIREXLITE_HOME": str(tmp_path / "home" / "mine")}, folder=str(tmp_path))

    return bring


def imported(tmp_path: Path, run: RunDirectory) -> RunDirectory:
    return RunDirectory(tmp_path / "home" / "mine" / run.firex_id)


# --- import -----------------------------------------------------------------------------------------------------------

def test_an_imported_run_is_shown_and_resumed(sent: RunDirectory, bring, tmp_path: Path, firexlite: Command) -> None:
    (firexlite.folder / "services.py").write_text(SERVICES)
    recorded = json.loads(query(sent, "SELECT options FROM run")[0][0])["cwd"]

    ended = bring(sent.path)
    firexlite.env["FIREXLITE_HOME"] = str(tmp_path / "home" / "mine")
    shown = firexlite.flame(sent.firex_id)
    done = firexlite("resume", sent.firex_id, "--plugins", "services.py")

    assert (ended.code, ended.out) == (0, f"FireX ID: {sent.firex_id}\n")
    assert ended.err.splitlines() == [
        "Imported: interrupted, 1 of 2 tasks succeeded.",
        f"Look at it with: firexlite flame {sent.firex_id} > out.html",
        f"Resume it with: firexlite resume {sent.firex_id} --plugins services.py",
        f"Another person chose these plugins, so look at them first: {recorded}/services.py"]
    assert [task["state"] for task in shown["tasks"]] == ["succeeded", "running"]
    assert (done.code, done.out.splitlines()[-2]) == (0, "  length  100000"), done.err
    assert faults_of(imported(tmp_path, sent)) == []


def test_an_imported_run_has_files_of_its_own(sent: RunDirectory, bring, tmp_path: Path) -> None:
    for path in (sent.path, *sent.path.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (sent.path / "more").mkdir()
    (sent.logs / "link.log").symlink_to("/etc/passwd")
    (sent.blobs / "more").write_text("of no row")
    sent.alive_lock.write_text("what another wrote")

    assert bring(sent.path).code == 0

    run = imported(tmp_path, sent)
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*")} == {
        "journal.sqlite3", "run.json", "alive.lock", "write.lock", "imported", "logs", "blobs",
        *(f"blobs/{path.name}" for path in sent.blobs.iterdir() if path.name != "more"),
        *(f"logs/{path.name}" for path in sent.logs.iterdir() if path.name != "link.log")}
    assert {stat.S_IMODE(path.stat().st_mode) for path in run.path.rglob("*") if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (run.path, run.logs, run.blobs)} == {0o700}
    assert "what another wrote" not in run.alive_lock.read_text()


def test_a_journal_alone_is_imported_with_what_lies_beside_it(sent: RunDirectory, bring, tmp_path: Path) -> None:
    renamed = sent.journal.rename(sent.path / "of last night.sqlite3")

    assert bring(renamed).code == 0
    assert faults_of(imported(tmp_path, sent)) == []


def test_a_journal_as_a_kill_left_it_is_imported_as_it_stood(killed_run: RunDirectory, bring, tmp_path: Path) -> None:
    before = digest_of(killed_run.path)

    assert bring(killed_run.path).code == 0

    assert query(imported(tmp_path, killed_run), "SELECT state FROM task") == [("succeeded",), ("running",)]
    assert digest_of(killed_run.path) == before


def test_a_journal_that_is_written_meanwhile_is_imported_as_it_stood_at_one_moment(sent: RunDirectory, bring,
                                                                                  tmp_path: Path) -> None:
    writer = sqlite3.connect(sent.journal, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM service")

    ended = bring(sent.path)
    writer.execute("COMMIT")
    writer.close()

    assert ended.code == 0, ended.err
    assert faults_of(imported(tmp_path, sent)) == []


def test_no_run_is_overwritten(sent: RunDirectory, bring, tmp_path: Path) -> None:
    bring(sent.path)
    before = digest_of(tmp_path)

    again, itself = bring(sent.path), bring(imported(tmp_path, sent).path)

    home = tmp_path / "home" / "mine"
    for ended in (again, itself):
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (f"firexlite: {sent.firex_id} is in {home} already, and no run is ever overwritten; "
                             "FIREXLITE_HOME names another home for it\n")
    assert digest_of(tmp_path) == before


def test_where_a_stranger_wanted_a_copy_of_the_outcome_is_forgotten(sent: RunDirectory, bring, tmp_path: Path) -> None:
    alter(sent, f"UPDATE run SET options = json_set(options, '$.json_file', '{tmp_path}/.bashrc')")
    alter(sent, f"UPDATE run SET options = json_set(options, '$.flame', '{tmp_path}/.zshrc')")

    assert bring(sent.path).code == 0
    options = json.loads(query(imported(tmp_path, sent), "SELECT options FROM run")[0][0])
    assert options["json_file"] is None and options["flame"] is None


def test_neither_the_command_nor_the_key_of_a_stranger_is_heeded(sent: RunDirectory, bring, tmp_path: Path,
                                                                 firexlite: Command) -> None:
    (firexlite.folder / "services.py").write_text(SERVICES)
    alter(sent, "UPDATE run SET options = json_set(options, '$.on_end', 'touch was_here', '$.key', 'nightly')")
    (sent.path / "run.json").write_text('{"key": "nightly"}')
    assert bring(sent.path).code == 0
    firexlite.env["FIREXLITE_HOME"] = str(tmp_path / "home" / "mine")

    resumed = firexlite("resume", sent.firex_id, "--plugins", "services.py")
    own = firexlite("submit", "--chain", "nop", "--key", "nightly")

    assert (resumed.code, resumed.err.count("on-end")) == (0, 0), resumed.err
    assert not (firexlite.folder / "was_here").exists()
    assert (own.code, own.firex_id != sent.firex_id) == (0, True)
    options = json.loads(query(imported(tmp_path, sent), "SELECT options FROM run")[0][0])
    assert options["on_end"] is None and options["key"] is None


def test_submit_like_a_strangers_run_does_not_load_his_plugins(sent: RunDirectory, bring, tmp_path: Path,
                                                               firexlite: Command) -> None:
    evil = firexlite.folder / "evil.py"
    evil.write_text(f"open('was_here', 'w')\n{SERVICES}")
    alter(sent, f"""UPDATE run SET options = json_set(options, '$.plugins', json('[{{"path": "{evil}", "digest": ""}}]'))""")
    bring(sent.path)
    firexlite.env["FIREXLITE_HOME"] = str(tmp_path / "home" / "mine")

    done = firexlite("submit", "--like", "last")

    assert (done.code, done.out) == (2, "")
    assert f"firexlite submit --like {sent.firex_id} --plugins evil.py" in done.err
    assert not (firexlite.folder / "was_here").exists()


def test_the_plugins_of_a_stranger_are_loaded_when_they_were_named_and_not_before(
        sent: RunDirectory, bring, tmp_path: Path, firexlite: Command) -> None:
    evil = firexlite.folder / "evil.py"
    evil.write_text(f"open('was here', 'w')\n{SERVICES}")
    alter(sent, f"""UPDATE run SET options = json_set(options, '$.plugins', json('[{{"path": "{evil}", "digest": ""}}]'))""")
    (firexlite.folder / "services.py").write_text(SERVICES)
    bring(sent.path)
    firexlite.home = tmp_path / "home" / "mine"
    firexlite.env["FIREXLITE_HOME"] = str(firexlite.home)
    before = digest_of(firexlite.home)

    refused = firexlite("resume", sent.firex_id)
    unchanged = digest_of(firexlite.home) == before
    done = firexlite("resume", sent.firex_id, "--plugins", "services.py")
    [(options,)] = query(imported(tmp_path, sent), "SELECT options FROM run")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"firexlite: {sent.firex_id} was imported, and the plugins that it names are another person's choice (evil.py); "
        f"look at them and say which to load: firexlite resume {sent.firex_id} --plugins evil.py\n")
    assert unchanged
    assert done.code == 0, done.err
    assert not (firexlite.folder / "was here").exists()
    assert [(plugin["path"], "foreign" in plugin) for plugin in json.loads(options)["plugins"]] == [("services.py", False)]


REFUSED = {
    "a path where nothing is": ("gone", 2, "'{path}' cannot be imported: No such file or directory"),
    "a folder without a journal": ("folder", 2, "{path} holds no run: there is no journal.sqlite3 in it"),
    "a path through a file": ("file/below", 2, "'{path}' cannot be imported: Not a directory"),
    "a circle of links": ("circle", 2, "'{path}' cannot be imported: (Symlink loop.*|Too many levels of symbolic links)"),
    "a pipe": ("pipe", 4, "{path} is no regular file, as it is in a run that firexlite made"),
    "a device": ("/dev/zero", 4, "{path} is no regular file, as it is in a run that firexlite made"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_run_is_not_imported(kind: str, bring, tmp_path: Path) -> None:
    import re

    name, code, pattern = REFUSED[kind]
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    path = str(tmp_path / name)

    ended = bring(Path(path))

    assert (ended.code, ended.out) == (code, "")
    assert re.fullmatch(f"firexlite: {pattern.format(path=re.escape(path))}\n", ended.err), ended.err
    assert not (tmp_path / "home").exists()


STRANGE = {
    "a name that leads elsewhere": ("UPDATE run SET firex_id = 'FireX-../../li-261123-101500-4711'", "which is not a FireX ID"),
    "a name that is no text": ("UPDATE run SET firex_id = x'00'", "which is not a FireX ID"),
    "no run": ("DELETE FROM run", "which is not a FireX ID"),
    "two states at once": ("UPDATE run SET state = 'succeeded', ended = 2e9", "the run is succeeded, and"),
    "a payload outside of its folder": ("UPDATE task SET result = 'blob:../../../etc/passwd' WHERE id = 1",
                                        "which is no name of a blob"),
    "a payload of a name that is too long": (f"UPDATE task SET result = 'blob:{'0' * 5000}' WHERE id = 1",
                                             "which is no name of a blob"),
    "a payload that nests without end": (f"UPDATE task SET arguments = '{'[' * 100000}' WHERE id = 1", "too deeply nested"),
    "a time beyond all calendars": ("UPDATE task SET moved = 9e999 WHERE id = 1", "of another type"),
    "a number that is a text": ("UPDATE attempt SET log_start = 'x'", "of another type"),
    "a text that is no UTF-8": ("UPDATE task SET arguments = CAST(x'ff' AS TEXT) WHERE id = 1", "UTF-8"),
    "tasks that are above each other": ("UPDATE task SET parent = 2 WHERE id = 1",
                                        "task 2 is in the chain of task 1 and differs"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_journal_that_firexlite_never_wrote_is_not_imported(kind: str, sent: RunDirectory, bring, tmp_path: Path) -> None:
    statement, words = STRANGE[kind]
    falsify(sent, statement)
    before = digest_of(tmp_path)

    ended = bring(sent.path)

    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("firexlite: ")
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert digest_of(tmp_path) == before


def test_a_payload_or_a_folder_that_is_a_link_is_not_imported(sent: RunDirectory, bring, tmp_path: Path) -> None:
    [blob] = sent.blobs.iterdir()
    elsewhere = blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(elsewhere)
    as_link = bring(sent.path)
    shutil.rmtree(sent.blobs)
    sent.blobs.symlink_to(tmp_path)
    as_folder = bring(sent.path)

    assert (as_link.code, as_folder.code) == (4, 4)
    assert f"the payload blobs/{blob.name} cannot be read" in as_link.err
    assert as_folder.err == f"firexlite: {sent.blobs} is a symbolic link, and not a folder as in a run that firexlite made\n"
    assert not (tmp_path / "home").exists()


def test_a_run_larger_than_the_disk_is_not_imported(sent: RunDirectory, bring, tmp_path: Path) -> None:
    [(epoch, worker)] = query(sent, "SELECT epoch, worker FROM attempt WHERE task = 1")
    with open(sent.log_file(epoch, worker), "ab") as file:
        file.truncate(shutil.disk_usage(tmp_path).free)  # a hole: it takes no space here

    ended = bring(sent.path)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"firexlite: {sent.path} holds more of a run than 1/2 of the ")
    assert not (tmp_path / "home").exists()


# --- any values at all ------------------------------------------------------------------------------------------------

VALUES = ["NULL", "''", "'x'", "-1", "0", "1", "2", "9223372036854775807", "-1.5", "9e999", "-9e999", "x'00ff'", "'[]'", "'{}'",
          "'\"text\"'", "'null'", "'[1, [2]]'", "'{\"a\": {\"$type\": \"tuple\", \"value\": [1]}}'", "'{\"$type\": 1}'",
          "'{\"$type\": \"exceptions\", \"table\": [], \"value\": 1}'", "'{\"$type\": \"exception\", \"value\": 0}'",
          "'{\"$type\": \"int\", \"value\": \"zz\"}'", "'{\"$type\": \"timezone\", \"value\": [[1e300], \"x\"]}'",
          "'{\"$type\": \"dict\", \"value\": [[[1], 2]]}'", "'blob:'", "'blob:/dev/zero'", "CAST(x'c328' AS TEXT)",
          "'{\"ask\": 1}'", "'{\"recorded\": [[{}]], \"new\": 3}'", "'succeeded'", "'running'", "'blocked'", "char(0)"]
ROUNDS, QUICK, AT_ONCE = 6, 2, 20  # QUICK: rounds for `./dev test`; the others are for `./dev large`


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.long] * (n >= QUICK)) for n in range(ROUNDS)])
def test_whatever_stands_in_a_row_it_is_shown_or_refused_in_a_sentence(seed: int, sound_run: RunDirectory, tmp_path: Path,
                                                                      warm: Warm) -> None:
    chance = random.Random(seed)
    runs = []
    for n in range(AT_ONCE):
        run = copy_of(sound_run, tmp_path / str(n))
        columns = [(table, column) for table in ("run", "incarnation", "service", "task", "attempt", "event")
                   for (_, column, *_, key) in query(run, f"PRAGMA table_info({table})") if not key]
        changes = [(*chance.choice(columns), chance.choice(VALUES)) for _ in range(chance.choice((1, 1, 1, 2, 5)))]
        falsify(run, *(f"UPDATE OR IGNORE {table} SET \"{column}\" = {value}" for table, column, value in changes))
        runs.append((run, changes))
    calls = [(changes, Call([word.replace("{id}", run.firex_id).replace("{path}", str(run.path)) for word in words.split()],
                            {"FIREXLITE_HOME": str(tmp_path / ("home" if "{path}" in words else str(n)))}, str(tmp_path)))
             for n, (run, changes) in enumerate(runs)
             for words in ("runs", "flame {id}", "flame --json {id}", "doctor {id}")]

    ended = warm.all([call for _, call in calls])

    for (changes, call), one in zip(calls, ended, strict=True):
        assert "Traceback" not in one.err, (changes, call.words, one.err[-1500:])
        assert one.code in (0, 4), (changes, call.words, one)
        if one.code == 4:
            assert one.err.startswith("firexlite: "), (changes, call.words)
            assert one.err.count("\n") == 1, (changes, call.words)


# --- what passes for a journal of ours ---------------------------------------------------------------------------------

NO_PAYLOADS = {
    "run.options": "UPDATE run SET options = '{mark}'",
    "run.inputs": "UPDATE run SET inputs = '{mark}'",
    "service.about": "UPDATE service SET about = '{mark}'",
    "incarnation.about": "UPDATE incarnation SET about = '{mark}'",
    "task.stopped": "UPDATE task SET stopped = '{mark}' WHERE id = 2",
    "flame.value": "INSERT INTO flame VALUES (1, 'k', 'html', '{mark}', 1)",
    "noted.value": "INSERT INTO noted (task, retry, name, number, value) VALUES (1, 0, 'n', 0, '{mark}')",
}


@pytest.mark.parametrize("column", NO_PAYLOADS)
def test_only_a_payload_is_looked_for_among_the_files(column: str, sent: RunDirectory, tmp_path: Path, warm: Warm,
                                                      bring) -> None:
    """A check that looks there for more than the readers do takes a journal for sound that they stumble over."""
    table, _, name = column.partition(".")
    [(text, *_), *_] = [*query(sent, f"SELECT {name} FROM {table} WHERE {name} IS NOT NULL"), ("{}",)]
    blob = hashlib.sha256(text.encode()).hexdigest()
    (sent.blobs / blob).write_text(text)
    falsify(sent, NO_PAYLOADS[column].format(mark=f"blob:{blob}"))
    looks = [warm(*words, env={"FIREXLITE_HOME": str(sent.path.parent)})
             for words in (("runs",), ("flame", sent.firex_id), ("flame", "--json", sent.firex_id))]

    assert faults_of(sent) != []
    assert bring(sent.path).code == 4
    assert looks[0].code == 0
    assert [one.err for one in looks if "Traceback" in one.err or one.code not in (0, 4)] == []


CONTRADICTIONS = {
    "an epoch beyond all numbers": ("UPDATE run SET epoch = 9223372036854775807",
                                    "the run is in epoch 9223372036854775807, and its incarnations are 1, up to 1"),
    "a task above itself": ("UPDATE task SET parent = 2 WHERE id = 2",
                            "task 2 is in the chain of task 1 and differs from it"),
    "a number that is a text": ("UPDATE task SET depth = 'x' WHERE id = 2",
                                "1 row of the table task with a depth of another type"),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_journal_that_contradicts_itself_is_not_resumed(kind: str, sent: RunDirectory, warm: Warm) -> None:
    statement, fault = CONTRADICTIONS[kind]
    falsify(sent, statement)

    ended = warm("resume", sent.firex_id, env={"FIREXLITE_HOME": str(sent.path.parent)})

    assert (ended.code, ended.out) == (4, "")
    assert ended.err == f"firexlite: {sent.journal} holds what firexlite never writes: {fault}\n"


def test_a_payload_of_a_name_that_none_has_is_not_asked_for(sent: RunDirectory, warm: Warm) -> None:
    falsify(sent, "UPDATE task SET result = 'blob:../../x' WHERE id = 1")

    ended = warm("resume", sent.firex_id, env={"FIREXLITE_HOME": str(sent.path.parent)})

    assert (ended.code, ended.err) == (4, f"firexlite: {sent.path}: a payload is said to lie in blobs/../../x, "
                                          "which is no name of a blob\n")


def test_a_circle_of_tasks_is_walked_once(sent: RunDirectory) -> None:
    falsify(sent, "UPDATE task SET parent = 2 WHERE id = 2")

    with History(sent) as history:
        assert list(missing._Survey(history).above(2)) == []


def test_a_payload_that_claims_any_size_is_refused_before_it_is_read(sent: RunDirectory, warm: Warm) -> None:
    [blob] = sent.blobs.iterdir()
    os.truncate(blob, 1 << 42)  # a hole: it takes no space here

    ended = warm("flame", sent.firex_id, env={"FIREXLITE_HOME": str(sent.path.parent)})

    assert (ended.code, ended.out) == (4, "")
    assert ended.err == (f"firexlite: {sent.path}: the payload blobs/{blob.name} cannot be read: "
                         f"it has {1 << 42} bytes, and at most {1 << 30} are read\n")


def test_of_a_log_that_claims_any_size_only_the_end_is_read(sent: RunDirectory) -> None:
    [(epoch, worker)] = query(sent, "SELECT epoch, worker FROM attempt WHERE task = 1")
    falsify(sent, f"UPDATE attempt SET log_start = 0, log_end = {1 << 42} WHERE task = 1")
    sent.log_file(epoch, worker).touch()
    os.truncate(sent.log_file(epoch, worker), 1 << 42)

    with History(sent) as history:
        task = model_of(history)["tasks"][0]

    assert task["log"]["bytes_before"] == (1 << 42) - MOST_LOG_BYTES


def test_an_error_may_name_anything_in_the_place_of_a_task() -> None:
    """A service may raise what it likes, so this is no fault of the journal."""
    told = {"name": "ChainInterruptedException", "attributes": {"task_id": [1]}}
    many = {"name": "MultipleFailuresException", "attributes": {"task_ids": {"a": 1}}}

    assert [interrupted_by(_error(**one)) for one in (told, many)] == [None, None]


def _error(name: str, attributes: dict) -> str:
    raised = {"$type": "raised", "type": f"m:{name}", "name": name, "text": "t", "args": None, "attributes": attributes,
              "traceback": "t", "where": None, "cause": None, "explicit": False}
    return json.dumps({"$type": "exceptions", "table": [raised], "value": {"$type": "exception", "value": 0}})


# --- how an import copies ------------------------------------------------------------------------------------------------

def test_all_that_is_imported_is_durable_before_it_has_its_name(sent: RunDirectory, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "mine"))
    [(epoch, worker)] = query(sent, "SELECT epoch, worker FROM attempt WHERE task = 1")
    sent.log_file(epoch, worker).write_text("some output")
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))

    importing.import_run(sent.path)

    draft = tmp_path / "mine" / f".draft-{sent.firex_id}"
    [blob] = sent.blobs.iterdir()
    assert {str(path) for path in (draft, draft / "blobs", draft / "logs", draft / "blobs" / blob.name,
                                   draft / "logs" / sent.log_file(epoch, worker).name)} <= set(synced)


def test_of_a_file_that_grows_while_it_is_copied_as_much_is_taken_as_there_is_room_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 10)

    class Growing:
        def take(self, size: int) -> None:
            assert size == 10
            with open(tmp_path / "log", "ab") as file:
                file.write(b"y" * 1000)

    with open(tmp_path / "log", "rb") as source:
        importing._copy(source.fileno(), tmp_path / "copy", Growing())  # type: ignore[arg-type]

    assert (tmp_path / "copy").read_bytes() == b"x" * 10


def test_a_run_that_lies_on_another_host_is_not_imported_once_more(sent: RunDirectory, bring, tmp_path: Path) -> None:
    home = tmp_path / "home" / "mine"
    home.mkdir(parents=True)
    (home / f"{sent.firex_id}.elsewhere").write_text("{}")

    ended = bring(sent.path)

    assert ended.code == 2
    assert f"{sent.firex_id} is in {home} already" in ended.err
