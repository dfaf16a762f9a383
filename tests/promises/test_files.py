"""A file is a value: a service takes and returns it, and a run goes on only with the files that it left."""
from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from conftest import NOTE, kill_all, query, states, wait_until
from journals import claimed, enqueue, error_after, new_tasks, opened, settle

from firexlite import File, missing
from firexlite.claims import Success
from firexlite.codec import canonical, decode, display, encode, encode_named
from firexlite.errors import NotReadable
from firexlite.history import History
from firexlite.home import SPILL_BYTES
from firexlite.takeover import Decisions, take_over


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`out/app.bin`, of 5 bytes, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out" / "app.bin"
    path.parent.mkdir()
    path.write_bytes(b"\x7fELF\n")
    return path


# --- the value ---------------------------------------------------------------------------------------------------

def test_a_file_is_its_path_as_given_its_size_and_its_digest(program):
    file = File("out/app.bin")

    assert (file.path, file.size, file.sha256) == ("out/app.bin", 5, hashlib.sha256(b"\x7fELF\n").hexdigest())
    assert repr(file) == f"File('out/app.bin', 5 bytes, sha256 {file.sha256[:4]}...)"


def test_a_file_is_used_in_place_of_its_path(program):
    file = File(Path("out/app.bin"))

    with open(file, "rb") as opened:
        assert opened.read() == b"\x7fELF\n"
    assert Path(file) == Path("out/app.bin")
    assert os.path.getsize(file) == 5


def test_files_are_equal_if_path_size_and_content_are(program):
    before = File("out/app.bin")
    assert File("out/app.bin") == before and hash(File("out/app.bin")) == hash(before)
    assert File(program) != before  # another path

    program.write_bytes(b"\x7fELG\n")

    assert File("out/app.bin") != before


def test_a_file_never_changes(program):
    with pytest.raises(AttributeError):
        File("out/app.bin").size = 7  # type: ignore[misc]


def test_a_file_knows_whether_it_is_intact(program):
    file = File("out/app.bin")
    assert file.is_intact()

    program.write_bytes(b"\x7fELG\n")  # of the same size
    assert not file.is_intact()
    program.write_bytes(b"\x7fELF\n")
    assert file.is_intact()
    program.unlink()
    assert not file.is_intact()
    program.mkdir()
    assert not file.is_intact()


def test_what_cannot_be_read_is_no_file(program):
    with pytest.raises(FileNotFoundError):
        File("out/missing.bin")
    with pytest.raises(IsADirectoryError):
        File("out")
    with pytest.raises(TypeError, match="the path of a File is a str, not bytes"):
        File(b"out/app.bin")  # type: ignore[arg-type]


def test_a_file_comes_back_from_the_journal_without_a_look_at_the_disk(program):
    file = File("out/app.bin")
    value = {"all": [file, (file, {"of": file})], "named": {file}}
    text = encode(value)
    program.unlink()

    assert decode(text) == value
    assert canonical(value) == canonical(decode(text))


def test_a_report_shows_path_and_size(program):
    assert display(encode([File("out/app.bin")])) == ["out/app.bin (5 bytes)"]


def test_a_path_of_any_bytes_comes_back(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe \xc3\xa4\"$type\":\"File\"")
    Path(path).write_text("odd")

    assert decode(encode(File(path))) == File(path)


@pytest.mark.parametrize("value", ['["x",1]', '["x",-1,"%s"]' % ("a" * 64), '["x",1,"short"]', '[1,1,"%s"]' % ("a" * 64), "7"])
def test_a_journal_that_lies_about_a_file_is_not_read(value):
    with pytest.raises(NotReadable, match="a stored File cannot be rebuilt"):
        decode('{"$type":"File","value":' + value + "}")


# --- before a run goes on ----------------------------------------------------------------------------------------

BUILD = NOTE + """
from firexlite import File

def write(name, text):
    with open(name, "w") as file:
        file.write(text)
    return File(name)

@app.task(returns="source")
def generate():
    note("generate")
    return write("gen.c", "source")

@app.task(returns=["object", "listing"])
def compile(source):
    note("compile")
    text = open(source).read()
    return write("app.o", "object of " + text), {"all": [write("app.lst", "listing")]}

@app.task(returns="program")
def link(object):
    note("link")
    if not os.path.exists("go"):
        open("linking", "w").close()
        wait_for_file("go")
    return write("app.bin", "linked " + open(object).read())
"""


@pytest.fixture
def killed_while(firexlite, effects):
    """Submits a chain and kills it at once when a file is there: ``killed_while("linking", "generate,compile,link")``."""

    def submit_and_kill(sign: str, chain: str):
        process = firexlite.start("submit", "--plugins", "services.py", "--chain", chain)
        wait_until(lambda: (firexlite.folder / sign).exists(), what=f"file {sign}: {process.args}")
        run = firexlite.only_run()
        kill_all(process)
        (firexlite.folder / "go").touch()
        return run

    return submit_and_kill


@pytest.fixture
def build(plugin, killed_while, effects):
    """A build that was killed in `link`, task 3."""
    plugin(BUILD)
    return killed_while("linking", "generate,compile,link")


def test_a_run_whose_files_are_intact_goes_on(firexlite, build, effects):
    done = firexlite("resume", build.firex_id)

    assert done.code == 0, done.err
    assert "app.bin (23 bytes)" in done.out
    assert effects() == {"generate": 1, "compile": 1, "link": 2}


def test_a_run_whose_files_are_missing_or_changed_is_refused_with_their_producers(firexlite, build, effects):
    (firexlite.folder / "app.o").unlink()
    (firexlite.folder / "app.lst").write_text("LISTING")  # of the same size, in a dict in a list
    before = query(build, "SELECT id, state, attempt, epoch FROM task"), query(build, "SELECT epoch FROM run")

    refused = firexlite("resume", build.firex_id)

    assert refused.code == 2
    assert refused.err.split() == (
        f"firexlite: {build.firex_id} cannot go on, and nothing was changed, since 2 files are not what its tasks need: "
        "app.o is missing: made by compile (task 2), needed by link (task 3); "
        "app.lst was changed: made by compile (task 2), needed by link (task 3); "
        f"`firexlite resume {build.firex_id} --rerun-missing` runs just those tasks again that made them").split()
    assert (query(build, "SELECT id, state, attempt, epoch FROM task"), query(build, "SELECT epoch FROM run")) == before
    assert effects() == {"generate": 1, "compile": 1, "link": 1}


def test_a_file_that_is_put_back_is_as_good_as_before(firexlite, build):
    (firexlite.folder / "app.o").rename(firexlite.folder / "away.o")
    assert firexlite("resume", build.firex_id).code == 2
    (firexlite.folder / "away.o").rename(firexlite.folder / "app.o")

    assert firexlite("resume", build.firex_id).code == 0


def test_just_the_producer_of_a_missing_file_runs_again(firexlite, build, effects):
    (firexlite.folder / "app.o").unlink()

    done = firexlite("resume", build.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 2, "link": 2}
    assert (firexlite.folder / "app.bin").read_text() == "linked object of source"
    assert query(build, "SELECT service, redoes, state FROM task WHERE redoes IS NOT NULL") == [
        ("services.compile", 2, "succeeded")]
    assert query(build, "SELECT state, attempt FROM task WHERE id = 2") == [("succeeded", 1)]


def test_a_producer_that_needs_missing_files_itself_runs_after_theirs(firexlite, build, effects):
    (firexlite.folder / "app.o").unlink()
    (firexlite.folder / "gen.c").unlink()

    done = firexlite("resume", build.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects() == {"generate": 2, "compile": 2, "link": 2}
    assert query(build, "SELECT redoes FROM task WHERE redoes IS NOT NULL ORDER BY id") == [(1,), (2,)]


def test_without_missing_files_nothing_runs_again(firexlite, build, effects):
    assert firexlite("resume", build.firex_id, "--rerun-missing").code == 0
    assert effects() == {"generate": 1, "compile": 1, "link": 2}


def test_a_file_that_nobody_needs_any_more_may_be_gone(firexlite, plugin, killed_while, effects):
    plugin(BUILD + """
@app.task(returns="object")
def strip(object):
    note("strip")
    stripped = write("stripped.o", open(object).read())
    os.unlink(object)
    return stripped
""")
    run = killed_while("linking", "generate,compile,strip,link")  # `object` is stripped.o now; app.o flows no more

    assert firexlite("resume", run.firex_id).code == 0
    assert effects() == {"generate": 1, "compile": 1, "strip": 1, "link": 2}


IN_PLACE = BUILD + """
@app.task(returns="signed")
def sign(object):
    note("sign")
    return write("app.o", open(object).read() + ", signed")
"""


def test_the_last_task_that_returned_a_path_says_how_the_file_should_be(firexlite, plugin, killed_while, effects):
    plugin(IN_PLACE)
    run = killed_while("linking", "generate,compile,sign,link")

    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 1, "sign": 1, "link": 2}


def test_a_file_that_was_changed_in_place_is_made_and_changed_again(firexlite, plugin, killed_while, effects):
    plugin(IN_PLACE)
    run = killed_while("linking", "generate,compile,sign,link")
    (firexlite.folder / "app.o").unlink()
    refused = firexlite("resume", run.firex_id)
    assert refused.code == 2 and "app.o is missing: made by sign (task 3)" in refused.err

    done = firexlite("resume", run.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 2, "sign": 2, "link": 2}
    assert (firexlite.folder / "app.bin").read_text() == "linked object of source, signed"


def test_who_makes_a_file_again_that_others_changed_has_them_change_it_again(firexlite, plugin, killed_while, effects):
    plugin(IN_PLACE)
    run = killed_while("linking", "generate,compile,sign,link")
    (firexlite.folder / "app.lst").unlink()  # made by compile, which makes app.o anew with it

    done = firexlite("resume", run.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 2, "sign": 2, "link": 2}
    assert (firexlite.folder / "app.bin").read_text() == "linked object of source, signed"


PARENT = BUILD + """
@app.task(bind=True, returns="done")
def build(self):
    note("build")
    got = self.enqueue_child_and_get_results(generate.s() | compile.s())
    made = self.enqueue_child_and_get_results(link.s(object=got["object"]))
    return made["program"]
"""


def test_files_that_finished_children_returned_to_an_unfinished_parent_count(firexlite, plugin, killed_while, effects):
    plugin(PARENT)
    run = killed_while("linking", "build")
    (firexlite.folder / "app.lst").unlink()  # reached nobody but the parent
    refused = firexlite("resume", run.firex_id)
    assert refused.code == 2
    assert "app.lst is missing: made by compile (task 3), needed by build (task 1)" in refused.err

    done = firexlite("resume", run.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects() == {"build": 2, "generate": 1, "compile": 2, "link": 2}
    assert states(run) == {"succeeded": 5}


def test_a_producer_whose_file_comes_out_differently_is_fine(firexlite, plugin, killed_while, effects):
    plugin(PARENT.replace('"object of " + text', 'f"object {os.getpid()} of " + text'))
    run = killed_while("linking", "build")
    (firexlite.folder / "app.o").unlink()

    done = firexlite("resume", run.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert effects()["compile"] == 2 and effects()["generate"] == 1
    made = (firexlite.folder / "app.o").read_text()
    assert (firexlite.folder / "app.bin").read_text() == f"linked {made}"


def test_the_newest_content_is_the_truth_after_files_were_made_again(firexlite, plugin, killed_while, effects):
    plugin(BUILD.replace('"object of " + text', '"object" * len(open("effects").read()) + text').replace(
        'not os.path.exists("go")', 'not os.path.exists("go2")').replace('wait_for_file("go")', 'wait_for_file("go2")'))
    run = killed_while("linking", "generate,compile,link")
    for _ in range(2):  # lost twice, and each time other than before
        (firexlite.folder / "app.o").unlink()
        (firexlite.folder / "linking").unlink()
        process = firexlite.start("resume", run.firex_id, "--rerun-missing")
        wait_until(lambda: (firexlite.folder / "linking").exists())
        kill_all(process)
    (firexlite.folder / "go2").touch()

    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 3, "link": 4}
    size = (firexlite.folder / "app.o").stat().st_size
    assert f"app.o ({size} bytes)" in done.out
    assert query(run, "SELECT DISTINCT redoes FROM task WHERE redoes IS NOT NULL") == [(2,)]


def test_of_a_run_that_failed_the_files_count_that_its_reopened_tasks_need(firexlite, plugin, effects):
    plugin(BUILD + """
@app.task(returns="report")
def report(program):
    assert os.path.exists("paper")
    return open(program).read()
""")
    (firexlite.folder / "go").touch()
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "generate,compile,link,report")
    assert failed.code == 1
    (firexlite.folder / "app.bin").unlink()
    (firexlite.folder / "paper").touch()
    refused = firexlite("resume", failed.firex_id)
    assert refused.code == 2 and "app.bin is missing: made by link (task 3), needed by report (task 4)" in refused.err

    done = firexlite("resume", failed.firex_id, "--rerun-missing")

    assert done.code == 0, done.err
    assert "linked object of source" in done.out
    assert effects() == {"generate": 1, "compile": 1, "link": 2}


def test_of_a_run_that_succeeded_no_file_is_needed(firexlite, plugin, effects):
    plugin(BUILD)
    (firexlite.folder / "go").touch()
    done = firexlite("submit", "--plugins", "services.py", "--chain", "generate,compile,link")
    (firexlite.folder / "app.bin").unlink()

    assert firexlite("resume", done.firex_id).code == 0


HANDED_ON = BUILD + """
@app.task(bind=True, returns="done")
def pack(self, listing=None):
    note("pack")
    notes = write("notes.txt", "notes")
    if os.path.exists("linking"):
        time.sleep(60)
    return self.enqueue_child_and_get_results(link.s(object=notes))["program"]
"""


def test_a_file_that_no_task_returned_must_be_put_back_or_its_giver_restarted(firexlite, plugin, killed_while, effects):
    plugin(HANDED_ON.replace('    if os.path.exists("linking"):\n        time.sleep(60)\n', ""))
    run = killed_while("linking", "pack")
    (firexlite.folder / "notes.txt").unlink()

    for option in ((), ("--rerun-missing",)):
        refused = firexlite("resume", run.firex_id, *option)
        assert refused.code == 2
        assert " ".join(refused.err.split()).endswith(
            "notes.txt is missing: handed on by pack (task 1), needed by link (task 2); "
            "put it back and resume; `--restart-task 1` has pack (task 1) run afresh")
    assert firexlite("resume", run.firex_id, "--restart-task", "1").code == 0
    assert (firexlite.folder / "app.bin").read_text() == "linked notes"


def test_whoever_resumes_in_another_folder_is_told_where_the_files_are(firexlite, build):
    elsewhere = firexlite.folder.parent / "elsewhere"
    elsewhere.mkdir()
    here, firexlite.folder = firexlite.folder, elsewhere

    refused = firexlite("resume", build.firex_id)

    assert refused.code == 2
    told = " ".join(refused.err.split())
    assert f"or resume it in {here}, where it was submitted and files of these names are intact" in told


def test_a_producer_that_fails_leaves_the_run_as_it_was(firexlite, build, plugin, effects):
    (firexlite.folder / "app.o").unlink()
    plugin(BUILD.replace('note("compile")', 'note("compile"); assert os.path.exists("compiler")'))

    failed = firexlite("resume", build.firex_id, "--rerun-missing")

    assert failed.code not in (0, 2), failed.err
    assert "compiler" in failed.err
    assert effects() == {"generate": 1, "compile": 2, "link": 1}
    (firexlite.folder / "compiler").touch()
    done = firexlite("resume", build.firex_id, "--rerun-missing")
    assert done.code == 0, done.err
    assert effects() == {"generate": 1, "compile": 3, "link": 2}


def test_a_run_of_many_tasks_without_files_is_looked_through_quickly(tmp_path):
    journal = opened(tmp_path)
    journal.submit(firex_id=journal.directory.firex_id, chain="a", inputs="{}", options="{}", digest="d", pid=1, host="h",
                   members=new_tasks(*["greet"] * 10_000))
    journal.close()
    with History(journal.directory) as history:
        began = time.process_time()
        assert missing.check(history) == []
        assert time.process_time() - began < 1.0


def test_producers_below_different_parents_leave_a_sound_journal(firexlite, plugin):
    plugin(NOTE + """
import firexlite

@app.task(returns="f")
def make(name):
    with open(name, "w") as file:
        file.write(name)
    return firexlite.File(name)

@app.task(bind=True, returns="f")
def mid(self, name): return self.enqueue_child_and_get_results(make.s(name=name))["f"]

@app.task(returns="z")
def use(f, g):
    assert os.path.exists("water")
    return f.path + g.path

@app.task(bind=True, returns="z")
def top(self):
    f, g = (self.enqueue_child_and_get_results(mid.s(name=name))["f"] for name in ("one", "two"))
    return self.enqueue_child_and_get_results(use.s(f=f, g=g))["z"]
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    for name in ("one", "two"):
        (firexlite.folder / name).unlink()
    (firexlite.folder / "water").touch()

    assert firexlite("resume", failed.firex_id, "--rerun-missing").code == 0
    checked = firexlite("doctor", failed.firex_id)
    assert checked.code == 0, checked.out


def test_the_files_of_a_branch_whose_code_was_corrected_are_looked_at_too(firexlite, plugin, effects):
    use = "from firexlite import app\n\n@app.task(returns='y')\ndef use(f): %s\n"
    plugin(use % "raise ValueError", "use.py")
    plugin(NOTE + """
import firexlite

@app.task(returns="f")
def make():
    with open("made", "w") as file:
        file.write("made")
    return firexlite.File("made")

@app.task(bind=True, returns="y")
def mid(self):
    f = self.enqueue_child_and_get_results(make.s())["f"]
    return self.enqueue_child_and_get_results(app.service("use").s(f=f))["y"]

@app.task(bind=True, returns="z")
def top(self):
    promise = self.enqueue_child(mid.s(), block=True, raise_exception_on_failure=False)
    note("waits")
    wait_for_file("go")
    return promise.result["y"] if promise.successful() else "sorry"
""")
    process = firexlite.start("submit", "--plugins", "use.py,services.py", "--chain", "top")
    wait_until(lambda: effects()["waits"] == 1)
    kill_all(process)
    (firexlite.folder / "made").unlink()
    (firexlite.folder / "go").touch()
    plugin(use % "return open(f).read()", "use.py")
    firex_id = firexlite.only_run().firex_id

    refused = firexlite("resume", firex_id)
    done = firexlite("resume", firex_id, "--rerun-missing")

    assert refused.code == 2 and "made is missing" in refused.err
    assert "z  made" in done.out, done.err


# --- which files are needed, and who makes them again ----------------------------------------------------------------

@pytest.fixture
def new_run(new_run, tmp_path, monkeypatch):
    """As everywhere; the folder of its files is the present one."""
    monkeypatch.chdir(tmp_path)
    return new_run


def written(name: str, text: str) -> File:
    Path(name).write_text(text)
    return File(name)


def succeed(journal, claim, worker: int = 0, **returned: object) -> None:
    journal.settle(claim, Success(encode_named(returned, ""), "{}"), worker, 0, is_parent=False, claims_next=False)


def needed(journal, **decided) -> list[tuple[str, int, int | None]]:
    """``(path, task that needs it, its producer)`` of each file that a resume looks for."""
    with History(journal.directory) as history:
        return [(need.file.path, need.task, need.producer) for need in missing.needed_by(history, missing.Prospect(**decided))]


def to_run_again(journal) -> list[int]:
    with History(journal.directory) as history:
        return missing.to_run_again(history, missing.check(history))


@pytest.fixture
def parent_of_a_maker(new_run):
    """The journal of a task under way, whose child, task 2, returned `gen.c`."""
    journal = new_run("build", slots=2)
    enqueue(journal, claimed(journal), "generate")
    succeed(journal, claimed(journal, 1), 1, source=written("gen.c", "source"))
    assert needed(journal) == [("gen.c", 1, 2)]
    return journal


def test_a_task_that_is_restarted_needs_no_files_of_its_children(parent_of_a_maker):
    assert needed(parent_of_a_maker, restarted=[1]) == []


def test_files_of_children_that_were_set_aside_are_not_needed(parent_of_a_maker):
    with parent_of_a_maker.transaction(durable=True):
        parent_of_a_maker.set_aside([2])

    assert needed(parent_of_a_maker) == []


@pytest.mark.parametrize("where", ["arguments", "changes", "result", "a payload"])
def test_a_file_is_found_wherever_it_stands(where, new_run):
    more = {"filler": "x" * (2 * SPILL_BYTES)} if where == "a payload" else {}
    text = encode({"source": written("gen.c", "source"), **more})
    arguments = {"arguments": text} if where == "arguments" else {}
    journal = new_run("compile", "link", **arguments)
    settle(journal, claimed(journal), Success(text if where in ("result", "a payload") else "{}",
                                              text if where == "changes" else "{}"))

    assert [(path, task) for path, task, _ in needed(journal)] == [("gen.c", 2)]


@pytest.mark.parametrize("on_interrupt, needs", [("retry", [("gen.c", 2, 1)]), ("fail", [])])
def test_a_failed_task_that_does_not_run_again_by_itself_needs_no_files(new_run, on_interrupt, needs):
    journal = new_run("generate", "flash", worker_deaths=0)
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET on_interrupt = ? WHERE id = 2", on_interrupt)
    succeed(journal, claimed(journal), source=written("gen.c", "source"))
    claimed(journal)

    assert journal.lose(0, error_after) == [2]

    assert needed(journal) == needs


def test_who_runs_again_finds_a_file_as_it_was_changed_last_before(new_run):
    journal = new_run("compile", "sign", "link", "ship")
    for text in "object", "object, signed":
        succeed(journal, claimed(journal), object=written("app.o", text))
    succeed(journal, claimed(journal), object=written("app.bin", "linked object, signed"))  # app.o flows no more

    for name in "app.o", "app.bin":
        os.unlink(name)

    assert to_run_again(journal) == [1, 2, 3]


def test_who_runs_again_finds_a_file_as_it_was_made_anew_since(new_run):
    journal = new_run("compile", "link", "ship")
    succeed(journal, claimed(journal), object=written("app.o", "object"))
    succeed(journal, claimed(journal), object=written("app.bin", "linked"))
    for text in "object of today", "object of tonight":
        take_over(journal, 1, "here", {}, Decisions(redo=[1]))
        succeed(journal, claimed(journal), object=written("app.o", text))

    os.unlink("app.bin")

    assert to_run_again(journal) == [2]


def test_what_a_task_made_last_is_what_is_needed_of_it(new_run):
    journal = new_run("compile", "link")
    succeed(journal, claimed(journal), object=written("app.o", "object"))
    for name in "first.o", "second.o":
        take_over(journal, 1, "here", {}, Decisions(redo=[1]))
        succeed(journal, claimed(journal), object=written(name, name))

    assert needed(journal) == [("second.o", 2, 1)]
