"""Whatever is typed, the answer is a sentence and an exit code, and nothing is left behind; and no text that is shown can
command the terminal. The table of commands and kinds of bad input is in `tests/test_bad_input.py`."""
from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Command
from spoilt import alter, copy_of, digest_of, falsify
from warm import Call, Warm

from firexlite.cli import COMMANDS
from firexlite.cli.screen import _failure_lines
from firexlite.flame_graph import model_of
from firexlite.flame_summary import text as as_html
from firexlite.history import History
from firexlite.home import RunDirectory
from firexlite.stopped import ways_to_decide
from firexlite.terminal import visible

pytest_plugins = ["sound_runs"]

ROUNDS, AT_ONCE = 8, 25


def some_words(chance: random.Random, firex_id: str) -> list[str]:
    """A command line of parts that occur in real ones, in any order."""
    parts = ["--chain", "nop", "nop,", ",", "--plugins", "--workers", "0", "-1", "1e9", "--", "-", "=", "--=", "--json", "-o",
             "/", "..", "~", "", " ", "\n", "\x1b[31m", "\u202e", "\udcff", "--limit", "-n", "--import_timeout", "nan", "inf",
             "{}", "--mark-done", "--restart-task", "--accept-new", "--rerun-missing", "--full-wait", "--json_file",
             "--name=@name", "FireX-", firex_id + "x", "FireX-li-261123-101500-4711", "--help=x", "--version=1",
             "--detach=perhaps", "9" * 200]
    return [chance.choice([*COMMANDS, "frob", ""]), *(chance.choice(parts) for _ in range(chance.randint(0, 4)))]


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_words_in_any_order_are_answered_in_a_sentence(seed: int, sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    chance = random.Random(seed)
    run = copy_of(sound_run, tmp_path / "home")
    (tmp_path / "work").mkdir()
    lines = [some_words(chance, run.firex_id) for _ in range(AT_ONCE)]
    before = digest_of(tmp_path)

    ended = warm.all([Call(words, {"FIREXLITE_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]},
                           str(tmp_path / "work")) for words in lines])

    for words, one in zip(lines, ended, strict=True):
        assert "Traceback" not in one.err, words
        if one.code:
            assert one.code in (2, 4), (words, one.err)
            assert re.fullmatch(r"firexlite: .+\n", one.err), (words, one.err)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", one.err), words
    runs = [words for words, one in zip(lines, ended, strict=True) if one.code == 0 and words[0] in ("submit", "resume")]
    if not runs:
        assert digest_of(tmp_path) == before


# --- what is shown --------------------------------------------------------------------------------------------------

COMMANDING = "\x1b]0;mine\x07\x1b[2J\x9b31m\r\x08\x7f\u202edne\u2066\u200f\u2028\ufeff"
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def test_what_a_terminal_would_obey_is_shown_as_its_code() -> None:
    assert visible(COMMANDING) == (r"\x1b]0;mine\x07\x1b[2J\x9b31m\x0d\x08\x7f\u202edne\u2066\u200f\u2028\ufeff")
    hidden = "\xad\u061c\u180e\u200b\u200e\u2028\u202e\u2060\u2065\u2066\u2069\u206a\u206f\ufeff\U000e0000\U000e007f"
    assert not any(char in text for text in (visible(hidden), as_html(hidden)) for char in hidden)
    assert visible("\xad\U000e0001") == r"\u00ad\U000e0001"
    assert visible("two\n\tlines, größer \u4e16\u754c \U0001f600") == "two\n\tlines, größer \u4e16\u754c \U0001f600"


def test_what_services_return_say_and_raise_cannot_command_the_terminal(firexlite: Command, plugin) -> None:
    plugin(f"""
from firexlite import app

BAD = {COMMANDING!r}

@app.task(returns="text")
def tell(value):
    \"\"\"Tells {COMMANDING}\"\"\"
    return "first line\\nsecond\\tline" + BAD

@app.task
def fail(value):
    print("its output" + BAD)
    raise ValueError("its error" + BAD)
""")
    plugins = ("--plugins", "services.py")

    told = firexlite("submit", *plugins, "--chain", "tell", "--value", COMMANDING)
    failed = firexlite("submit", *plugins, "--chain", "fail", "--value", COMMANDING)
    shown = [firexlite("list", *plugins), firexlite("info", "tell", *plugins), firexlite("runs"),
             *(firexlite("doctor", run.firex_id) for run in firexlite.runs()),
             *(firexlite("flame", run.firex_id) for run in firexlite.runs())]

    assert [told.code, failed.code, *(one.code for one in shown)] == [0, 1, *[0] * len(shown)]
    for one in (told, failed, *shown):
        assert not HARMFUL.search(one.out + one.err)
    assert r"\x1b]0;mine\x07" in told.out
    assert "first line\n" in told.out  # lines stay lines
    assert r"ValueError: its error" in failed.err
    assert r"\u202e" in failed.err


def test_what_a_journal_holds_cannot_command_the_terminal(sound_run: RunDirectory, tmp_path: Path, warm: Warm) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    text = COMMANDING.replace("'", "''")
    alter(run, f"UPDATE run SET chain = 'greet{text}'", f"UPDATE incarnation SET host = '{text}'")
    falsify(run, f"UPDATE task SET service = '{text}' WHERE id = 2", f"UPDATE event SET move = '{text}' WHERE id = 5")
    home = {"env": {"FIREXLITE_HOME": str(tmp_path / "home")}}

    ended = [warm("runs", **home), warm("doctor", run.firex_id, **home), warm("flame", run.firex_id, **home),
             warm("flame", run.firex_id, "--json", **home), warm("import", run.path)]

    assert [one.code for one in ended] == [0, 4, 0, 0, 4]
    for one in ended:
        assert not HARMFUL.search(one.out + one.err)
    assert r"\x1b[2J" in ended[0].out


def test_an_id_and_an_option_cannot_command_the_terminal(warm: Warm, tmp_path: Path) -> None:
    for words in (("flame", COMMANDING), ("resume", COMMANDING), (COMMANDING,), ("runs", f"--{COMMANDING}"),
                  ("submit", "--chain", COMMANDING), ("import", COMMANDING), ("list", "--plugins", COMMANDING)):
        ended = warm(*words, env={"FIREXLITE_HOME": str(tmp_path / "home")}, folder=str(tmp_path))
        assert ended.code == 2, words
        assert not HARMFUL.search(ended.err), words


def test_a_working_directory_that_was_removed_is_told(firexlite: Command) -> None:
    for words in (("submit", "--chain", "nop"), ("resume", "FireX-li-261123-101500-4711"), ("list",), ("runs",)):
        gone = firexlite.folder / "gone"
        gone.mkdir()
        code = ("import os, sys; os.rmdir(os.getcwd()); "
                "os.execv(sys.executable, [sys.executable, '-m', 'firexlite', *sys.argv[1:]])")
        home = {"FIREXLITE_HOME": "relative"} if words == ("runs",) else {}
        env = {**firexlite.env, "PYTHONPATH": str(ROOT), **home}
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=gone, env=env, timeout=60, capture_output=True,
                              text=True)

        assert (done.returncode, done.stdout) == (2, ""), words
        assert re.fullmatch("firexlite: .*the working directory.* is not there any more; change to one that is\n", done.stderr)
    assert not firexlite.home.exists()


def test_a_home_of_any_bytes_keeps_runs(firexlite: Command) -> None:
    firexlite.home = firexlite.folder / os.fsdecode(b"\xff home")
    firexlite.env["FIREXLITE_HOME"] = str(firexlite.home)

    done = firexlite("submit", "--chain", "nop")

    assert done.code == 0, done.err
    assert firexlite("flame", done.firex_id).code == firexlite("doctor", done.firex_id).code == 0
    imported = firexlite("import", firexlite.home / done.firex_id, FIREXLITE_HOME=str(firexlite.folder / "another"))
    assert imported.code == 0, imported.err


def test_a_home_of_a_name_that_none_can_have_is_refused(firexlite: Command) -> None:
    home = {"FIREXLITE_HOME": str(firexlite.folder / ("a" * 300))}

    for words in (("submit", "--chain", "nop"), ("runs",), ("flame", "FireX-li-261123-101500-4711")):
        done = firexlite(*words, **home)

        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), words
        assert "File name too long; set FIREXLITE_HOME to a directory" in done.err


def test_a_report_for_a_file_of_a_name_that_none_can_have_is_refused(sound_run: RunDirectory, warm: Warm) -> None:
    ended = warm("flame", sound_run.firex_id, "-o", "a" * 300, env={"FIREXLITE_HOME": str(sound_run.path.parent)})

    assert (ended.code, ended.out, ended.err) == (
        2, "", f"firexlite: the report cannot be written to '{'a' * 200}...': File name too long\n")


# --- commands that are shown to be copied ---------------------------------------------------------------------------------

def test_a_command_to_be_copied_names_the_directory_of_the_run_and_not_what_its_journal_says(
        sound_run: RunDirectory, tmp_path: Path) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    alter(run, "UPDATE run SET firex_id = 'FireX-li-261123-101500-4712'")

    with History(run) as history:
        shown = [model_of(history)["run"]["resume"], *_failure_lines(history)[-2:]]

    assert shown == [f"firexlite resume {run.firex_id}", f"Look at it with: firexlite flame {run.firex_id} > out.html",
                     f"Resume it with: firexlite resume {run.firex_id}"]


def test_a_command_to_be_copied_is_one_to_a_shell_whatever_a_service_calls_its_values(
        sound_run: RunDirectory, tmp_path: Path) -> None:
    run = copy_of(sound_run, tmp_path / "home")
    alter(run, """UPDATE service SET about = json_set(about, '$.returns', json('["a''; rm -rf ~; #"]'))""")

    with History(run) as history:
        [*_, if_it_has] = ways_to_decide(history, history.task(2))

    assert shlex.split(if_it_has.partition(": ")[2]) == [
        "firexlite", "resume", run.firex_id, "--mark-done", "2", """{"a'; rm -rf ~; #": VALUE}"""]
