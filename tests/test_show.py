"""`firexlite show`: the tree of a run, and one task in full, in a terminal, in a pipe and as JSON."""
from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command, Finished, states, wait_until
from spoilt import alter

from firexlite.flame_words import HIDDEN

pytest_plugins = ["terminals"]

SERVICES = """
import os, time
from firexlite import app

@app.task(bind=True, returns="total")
def top(self, parts="3"):
    for n in range(int(parts)):
        self.enqueue_child(prepare.s(n=n) | part.s())
    self.wait_for_children()
    return int(parts)

@app.task(returns="size")
def prepare(n):
    return n * 10

@app.task(returns="done")
def part(n, size, unit="mm"):
    print(f"part {n}: {size} {unit}")
    if n == 2:
        raise ValueError(f"part {n} is too long")
    return True

@app.task(returns="report")
def close(total, note="", comment=""):
    while note == "now" and not os.path.exists(note):
        time.sleep(0.01)
    return f"{total} parts"
"""
SGR = re.compile("\x1b\\[[0-9;]*m")
ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal obeys, but for line ends
TIME = r" +\d+(\.\d)? (ms|s)"


@pytest.fixture
def run(firexlite: Command, plugin):
    """Submits the services above: ``run("--parts", "2", code=0)``; gives the FireX ID."""
    plugin(SERVICES)

    def submit(*words: str, code: int = 0, chain: str = "top,close") -> str:
        done = firexlite("submit", "--plugins", "services.py", "--chain", chain, "--workers", "1", *words)
        assert done.code == code, done.err
        return done.firex_id

    return submit


def matches(lines: list[str], *patterns: str) -> None:
    assert len(lines) >= len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=False):
        assert re.fullmatch(pattern, line), (pattern, lines)


# --- the tree -------------------------------------------------------------------------------------------------------

def test_a_pipe_gets_the_tree_without_colours(firexlite: Command, run) -> None:
    firex_id = run(code=1)

    done = firexlite("show", "last")

    assert (done.code, done.err) == (0, "")
    matches(done.out.splitlines(),
            f"{firex_id}  failed  top,close",
            r"8 tasks: 5 succeeded, 2 failed, 1 skipped; began \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, took .*",
            "",
            f"1  top +failed{TIME}  because of a child",
            f"3  ├─ prepare +succeeded{TIME}",
            f"4  ├─ \\| part +succeeded{TIME}",
            f"5  ├─ prepare +succeeded{TIME}",
            f"6  ├─ \\| part +succeeded{TIME}",
            f"7  ├─ prepare +succeeded{TIME}",
            f"8  └─ \\| part +failed{TIME}  ValueError: part 2 is too long",
            r"2  \| close +skipped",
            "",
            r"part \(task 8\) failed: ValueError: part 2 is too long",
            "  at services.py:20 in part",
            "",
            f"Why, in full: firexlite why {firex_id}")


def test_a_terminal_gets_the_same_in_colours(firexlite: Command, run, terminal) -> None:
    run(code=1)

    code, screen = terminal("show", "last").finish()

    assert code == 0
    assert "\x1b[32msucceeded\x1b[0m" in screen
    assert "\x1b[31m\x1b[1mfailed" in screen
    assert [line.rstrip() for line in SGR.sub("", screen).splitlines()] == firexlite("show", "last").out.splitlines()


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_may_say_no_to_colours(env, firexlite: Command, run, terminal) -> None:
    run(code=1)

    for words in (("show", "last"), ("show", "last", "8"), ("why", "last")):
        code, screen = terminal(*words, **env).finish()
        assert (code, screen) == (0, firexlite(*words).out)


def test_an_empty_no_color_is_none(run, terminal) -> None:
    run("--parts", "1")

    assert "\x1b[32msucceeded\x1b[0m" in terminal("show", "last", NO_COLOR="").finish()[1]


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
                         ids=["ascii", "C"])
def test_where_nothing_but_ascii_is_shown_the_tree_is_drawn_in_that(env, firexlite: Command, run) -> None:
    run(code=1)

    done = firexlite("show", "last", **env)

    assert done.code == 0, done.err
    assert done.out.isascii()
    assert re.search(r"^3  \|- prepare +succeeded", done.out, re.MULTILINE)
    assert re.search(r"^8  `- \| part +failed", done.out, re.MULTILINE)


def test_a_reader_that_has_read_enough_is_no_error(firexlite: Command, run) -> None:
    run(code=1)

    done = subprocess.run(["sh", "-c", f"{shlex.quote(sys.executable)} -m firexlite show last --all | head -n 1"],
                          cwd=firexlite.folder, env=firexlite.env, capture_output=True, text=True, timeout=30)

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_of_many_alike_the_first_are_shown(firexlite: Command, run) -> None:
    run("--parts", "2")
    run("--parts", "9", code=1)

    lines = firexlite("show", "last").out.splitlines()

    matches(lines[3:], " 1 .*", *(f"{n:>2}  ├─ (prepare|\\| part) +succeeded.*" for n in (3, 4, 5, 6, 7)), " 8 .*failed.*",
            "10  ├─ .*", r"    ├─ \.\.\. 6 more prepare +succeeded", r"    └─ \| \.\.\. 5 more part +succeeded", " 2 .*")
    assert any(line.startswith("Of many that are alike the first are shown: --all shows each, ") for line in lines)
    everything = firexlite("show", "last", "--all").out
    assert "more" not in everything
    assert len(re.findall(r"^ *\d+ .*(prepare|part) ", everything, re.MULTILINE)) == 18


def test_only_tasks_in_some_states_are_shown_with_those_above_them(firexlite: Command, run) -> None:
    run(code=1)

    lines = firexlite("show", "last", "--state", "failed", "--state", "skipped").out.splitlines()

    matches(lines[3:], "1  top +failed.*", r"8  └─ \| part +failed.*", r"2  \| close +skipped")
    assert len(lines) == 6


def test_a_part_of_the_tree_is_shown(firexlite: Command, run) -> None:
    run(code=1)

    lines = firexlite("show", "last", "--below", "top").out.splitlines()

    assert len(lines) == 10
    assert not any("close" in line for line in lines[3:])


def test_a_retry_and_a_task_set_aside_are_noted(firexlite: Command, run) -> None:
    run("--parts", "1")
    [run_directory] = firexlite.runs()
    alter(run_directory, "UPDATE task SET aside = 1 WHERE id = 4")

    assert re.search(r"^4 .* succeeded .*  set aside$", firexlite("show", "last").out, re.MULTILINE)


def test_the_tree_as_json(firexlite: Command, run) -> None:
    firex_id = run(code=1)

    told = json.loads(firexlite("show", "last", "--json").out)

    assert (told["firex_id"], told["state"], told["exit_code"], told["chain"]) == (firex_id, "failed", 1, "top,close")
    assert told["counts"] == {"failed": 2, "skipped": 1, "succeeded": 5}
    assert told["left_out"] == 0
    assert [(task["num"], task["name"], task["state"], task["depth"]) for task in told["tasks"]] == [
        (1, "top", "failed", 0), (3, "prepare", "succeeded", 1), (4, "part", "succeeded", 1), (5, "prepare", "succeeded", 1),
        (6, "part", "succeeded", 1), (7, "prepare", "succeeded", 1), (8, "part", "failed", 1), (2, "close", "skipped", 0)]
    assert told["tasks"][6]["exception"] == "part 2 is too long"
    assert all(task["ended"] >= task["started"] for task in told["tasks"][:-1])


# --- one task -------------------------------------------------------------------------------------------------------

def test_a_task_is_shown_with_who_supplied_each_value(firexlite: Command, run) -> None:
    firex_id = run(code=1)

    done = firexlite("show", "last", "8")

    matches(done.out.splitlines(),
            fr"part \(task 8 of {firex_id}\)  failed{TIME}", "",
            "  ValueError: part 2 is too long", "  at services.py:20 in part",
            r'      raise ValueError\(f"part \{n\} is too long"\)', r"  called by: top \(task 1\)", "",
            "arguments",
            r"  n +2 +given by top \(task 1\)",
            r"  size +20 +returned by prepare \(task 7\)",
            "  unit  mm  its default", "",
            "attempts", rf"  1  \d{{4}}-.*{TIME}  failed  ValueError\('part 2 is too long'\)", "",
            "output", r"  \| part 2: 20 mm")


def test_a_value_is_followed_through_references_and_the_command_line(firexlite: Command, run) -> None:
    run("--parts", "1", "--note", "@comment", "--comment", "later")

    out = firexlite("show", "last", "close").out

    assert re.search(r"^  total +1 +returned by top \(task 1\)$", out, re.MULTILINE)
    assert re.search(r"^  note +later +given to the run as comment$", out, re.MULTILINE)
    assert re.search(r"^  comment +later +given to the run$", out, re.MULTILINE)
    assert "\nreturned\n  report  1 parts\n" in out


def test_a_parent_tells_of_its_children(firexlite: Command, run) -> None:
    firex_id = run(code=1)

    out = firexlite("show", "last", "top").out

    assert f"\nchildren  5 succeeded, 1 failed: firexlite show {firex_id} --below 1\n" in out


def test_a_task_as_json(firexlite: Command, run) -> None:
    run(code=1)

    told = json.loads(firexlite("show", "last", "8", "--json").out)

    assert (told["num"], told["name"], told["state"]) == (8, "part", "failed")
    assert told["suppliers"] == {
        "n": {"how": "given", "task": 1, "name": None}, "size": {"how": "returned", "task": 7, "name": None},
        "unit": {"how": "default", "task": None, "name": None}}


def test_a_task_may_be_named_by_its_service_or_its_uuid(firexlite: Command, run) -> None:
    firex_id = run(code=1)
    uuid = firexlite.flame(firex_id)["tasks"][7]["uuid"]

    of_service, of_uuid = firexlite("show", "last", "part").out, firexlite("show", "last", uuid).out

    assert of_service == of_uuid == firexlite("show", "last", "8").out  # of several, that which ended the run


REFUSED = {
    "a task that is none": (("99",), "{id} has no task '99'. `firexlite show {id}` lists them."),
    "a service that is nearly one": (("prepar",), "{id} has no task 'prepar'. Did you mean 'prepare'?"),
    "one of several": (("prepare",), "{id} has 3 tasks 'prepare' (3, 5, 7); give the number of one"),
    "a number as no number is written": (("\u0664",), "{id} has no task '\u0664'. `firexlite show {id}` lists them."),
    "one task and all": (("8", "--all"), "show prints one task in full, or a tree with --all, --state, --below or --watch"),
    "a watch without a terminal": (("--watch",), "--watch shows the run anew in a terminal; to wait for its end there is "
                                                 "`firexlite wait`"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_there_is_told_in_a_sentence(kind, firexlite: Command, run) -> None:
    firex_id = run(code=1)
    words, sentence = REFUSED[kind]

    assert firexlite("show", "last", *words) == Finished(2, "", f"firexlite: {sentence.replace('{id}', firex_id)}\n")


# --- a run that goes on ---------------------------------------------------------------------------------------------

def test_watch_shows_it_anew_until_it_has_ended(firexlite: Command, run, terminal) -> None:
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top,close", "--parts", "1", "--note", "now")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running") == 1
               and states(firexlite.only_run()).get("succeeded") == 3, what="last task")
    screen = terminal("show", "last", "--watch")
    screen.read_until(r"close.*running")
    (firexlite.folder / "now").touch()

    code, shown = screen.finish()

    assert code == 0
    first, *_, last = SGR.sub("", shown).split("\x1b[H\x1b[J")[1:]
    assert re.search(r"^2  \| close +running", first, re.MULTILINE)
    assert re.search(r"^2  \| close +succeeded", last, re.MULTILINE)
    assert process.wait(timeout=30) == 0


def test_ctrl_c_ends_a_watch_and_leaves_the_run_alone(firexlite: Command, run, terminal) -> None:
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top,close", "--parts", "1", "--note", "now")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("succeeded") == 3, what="last task")
    screen = terminal("show", "last", "--watch")
    screen.read_until("close.*running")
    screen.press_ctrl_c()

    code, shown = screen.finish()

    assert (code, "Traceback" in shown) == (130, False)
    (firexlite.folder / "now").touch()
    assert process.wait(timeout=30) == 0


# --- text of others ----------------------------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp\x9b31m\r\x00"
HOSTILE = """
from firexlite import app

EVIL = THE_EVIL

@app.task(bind=True, returns="value")
def top(self):
    return self.enqueue_child_and_get_results(speak.s(word=EVIL, words={EVIL: [EVIL]}))["value"]

@app.task(returns="value")
def speak(word, words):
    print("said", EVIL.replace(chr(0), ""))
    raise type("Evil" + EVIL.replace(chr(0), ""), (ValueError,), {})(EVIL * 3 + chr(10) + EVIL)
""".replace("THE_EVIL", repr(EVIL))


def test_no_text_of_others_commands_the_terminal(firexlite: Command, plugin, terminal) -> None:
    plugin(HOSTILE)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    assert done.code == 1
    alter(firexlite.only_run(), "UPDATE run SET chain = 'top' || char(27) || '[2J' || char(10)",
          "UPDATE run SET options = json_set(options, '$.key', char(27) || '[31m', '$.cwd', '/' || char(27))",
          "UPDATE task SET reason = char(27) || 'c' || char(8238)")

    for words in ("show last", "show last --all", "show last 1", "show last 2", "why last", "runs", "logs last",
                  "prune --older-than 0s --dry-run", "wait last", "attach last"):
        code, screen = terminal(*words.split()).finish()
        assert code == (1 if words in ("wait last", "attach last") else 0), screen
        shown = SGR.sub("", screen)
        assert not ESCAPES.search(shown.replace("\r", "")), (words, shown)
        assert not HIDDEN.search(shown.replace("\r", "")), (words, shown)
        assert "\r" not in shown, words


def test_nor_do_names_in_a_journal(firexlite: Command, run, terminal) -> None:
    run(code=1)
    alter(firexlite.only_run(),
          "UPDATE service SET about = json_set(about, '$.short_name', 'pa' || char(27) || '[2J' || char(10) || 'rt')")

    for words in (("show", "last"), ("show", "last", "8"), ("why", "last")):
        code, screen = terminal(*words, NO_COLOR="1").finish()
        assert code == 0
        assert not ESCAPES.search(screen)
        assert "pa\\x1b[2J rt" in screen


def test_a_long_value_is_cut_and_a_long_name_leaves_the_table_readable(firexlite: Command, plugin) -> None:
    plugin(f"from firexlite import app\n\n@app.task(returns='x')\ndef {'long_' * 30}name(word):\n    return word * 9000\n")
    firexlite("submit", "--plugins", "services.py", "--chain", f"{'long_' * 30}name", "--word", "abcdefghij")

    assert "... (90,000 characters)" in firexlite("show", "last", "1").out
    assert "succeeded" in firexlite("show", "last").out


# --- the list of runs -------------------------------------------------------------------------------------------------

def test_runs_may_be_filtered(firexlite: Command, run) -> None:
    good, bad = run("--parts", "1"), run(code=1)

    def listed(*words: str) -> list[str]:
        return [about["firex_id"] for about in json.loads(firexlite("runs", "--json", *words).out)]

    assert listed() == [bad, good]
    assert listed("--state", "failed") == [bad]
    assert listed("--state", "failed", "--state", "succeeded") == [bad, good]
    assert listed("--service", "part") == [bad, good]
    assert listed("--service", "nop") == []
    assert listed("--newer-than", "1h", "-n", "1") == [bad]
    assert listed("--older-than", "1h") == []
    assert firexlite("runs", "--older-than", "1h").out == f"There are no such runs in {firexlite.home}.\n"


def test_runs_in_a_terminal_and_in_a_pipe_are_the_same(firexlite: Command, run, terminal) -> None:
    firex_id = run("--key", "nightly", "--parts", "1")

    piped = firexlite("runs").out
    _, shown = terminal("runs").finish()

    hide = re.compile(r"\d+ s |\d+ min \d+ s |-{3,}| {2,}")
    assert hide.sub("", shown) == hide.sub("", piped)
    assert re.search(rf"^{firex_id}  SUCCEEDED  .*  top,close \(nightly\)  4 of 4 succeeded$", piped, re.MULTILINE)


def test_a_state_that_is_none_is_refused(firexlite: Command, tmp_path: Path) -> None:
    done = firexlite("runs", "--state", "perfect")

    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
