"""What a CI system is told when a run has ended: a summary in Markdown, and the lines of code that failed."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NOTE, Finished, kill_all, wait_until
from markdown_it import MarkdownIt
from markdown_it.token import Token

from firexlite.history import History

HOSTILE = ("``` \n~~~\n</details></summary><script>alert(1)</script><img src=x onerror=y>\n# a heading\n"
           "[a link](http://there.example) ![an image](http://there.example/i.png) <http://there.example>\n"
           "::warning file=x::of others ##[error] 100% %0A sure\x1b[31m\u202e\r\n"
           "| a | b |\n|---|---|\n````\n  ::stop-commands::token\n- item\n&amp; `code` *bold* _thin_ \\ end")
FAILS = NOTE + f"""
TEXT = {HOSTILE!r}

@app.task
def fail():
    print(TEXT)
    raise AssertionError(TEXT)

@app.task(returns="said")
def say():
    return TEXT
"""
SIMPLE = NOTE + """
@app.task(returns="x")
def one():
    note("one")
    assert not os.path.exists("broken"), "it is broken"
    return 1

@app.task
def two(x):
    note("two")
    if os.path.exists("wait"):
        wait_for_file("go")
"""
BROKEN = str(next(number for number, line in enumerate(SIMPLE.splitlines(), start=1) if "it is broken" in line))
SUBMIT = ("submit", "--plugins", "services.py", "--chain")


def parts(markdown: str) -> Iterator[Token]:
    """What a page makes of it, tables and all."""
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        yield block
        yield from block.children or ()


def commands_in(done: Finished) -> list[tuple[str, dict[str, str], str]]:
    """``(command, properties, message)`` of each line that GitHub would obey, of either stream, as its runner reads them."""
    found = []
    for line in (done.out + done.err).split("\n"):
        assert "##[" not in line or line.startswith("::")  # of one that is a command no other is looked for in it
        if line.lstrip().startswith("::"):
            command = re.fullmatch(r"::([\w-]+)(?: (.*?))?::(.*)", line)
            assert command, line
            given = dict(pair.split("=", 1) for pair in (command[2] or "").split(",") if pair)
            found.append((command[1], {name: plain(text) for name, text in given.items()}, plain(command[3])))
    return found


def plain(text: str) -> str:
    for code, char in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, char)
    return text


@pytest.fixture
def summary(firexlite):
    """The text of the summary, of commands in whose environment it was asked for."""
    path = firexlite.folder / "summary.md"
    firexlite.env["GITHUB_STEP_SUMMARY"] = str(path)
    return lambda: path.read_text(encoding="utf-8")


@pytest.fixture
def marks(firexlite):
    firexlite.env["GITHUB_ACTIONS"] = "true"


# --- text of others ---------------------------------------------------------------------------------------------------

def test_text_of_others_is_neither_markdown_nor_html_in_a_summary(firexlite, plugin, summary):
    plugin(FAILS)

    firexlite(*SUBMIT, "fail")

    found = list(parts(summary()))
    kinds = {token.type for token in found}
    assert not kinds & {"link_open", "image", "table_open", "bullet_list_open", "em_open", "hr"}
    html = [token.content.strip() for token in found if token.type.startswith("html")]
    assert html == ["<details><summary>last output</summary>", "</details>"]
    assert [token.tag for token in found if token.type == "heading_open"] == ["h3"]
    told, printed = (token.content for token in found if token.type == "fence")
    for text in (told, printed):
        assert "# a heading\n" in text and "\\x1b[31m\\u202e\n" in text


def test_text_of_others_commands_nothing_in_the_log_of_a_job(firexlite, plugin, marks):
    plugin(FAILS)

    failed, succeeded = firexlite(*SUBMIT, "fail"), firexlite(*SUBMIT, "say")

    [(command, given, message)] = commands_in(failed)
    assert (command, given["file"], given["title"]) == ("error", "services.py", "fail (task 1) failed")
    line = next(number for number, text in enumerate(FAILS.splitlines(), 1) if "raise AssertionError(TEXT)" in text)
    assert given["line"] == str(line)
    assert message.startswith("AssertionError: ``` \n~~~\n") and " 100% %0A sure\\x1b[31m\\u202e" in message
    assert succeeded.code == 0 and commands_in(succeeded) == []


def test_where_no_ci_system_listens_text_is_printed_as_it_is(firexlite, plugin):
    plugin(FAILS)

    assert "::warning file=x::of others ##[error]" in firexlite(*SUBMIT, "say").out


def test_a_path_of_any_letters_leads_to_the_line(firexlite, plugin, marks):
    root, firexlite.folder = firexlite.folder, firexlite.folder / "a in b, c: `d` 100%"
    firexlite.folder.mkdir()
    plugin(FAILS)

    done = firexlite(*SUBMIT, "fail", GITHUB_WORKSPACE=str(root))

    [(_, given, _)] = commands_in(done)
    assert given["file"] == "a in b, c: `d` 100%/services.py"


def test_a_summary_stays_small_whatever_was_said(firexlite, plugin, marks, summary):
    plugin("from firexlite import app\n\n@app.task\ndef fail():\n"
           "    print(*['x' * 100_000] * 20, sep='\\n')\n    raise ValueError('\\n'.join(['y' * 1000] * 3000))\n")

    done = firexlite(*SUBMIT, "fail", "--flame", "flame.html")

    assert "<html" in (firexlite.folder / "flame.html").read_text()
    assert len(summary().encode()) < 32 * 1024
    [(_, _, message)] = commands_in(done)
    assert len(message) == 4000


# --- what is told -----------------------------------------------------------------------------------------------------

def test_nothing_is_told_where_nobody_asks(firexlite, plugin, effects):
    plugin(SIMPLE)
    (firexlite.folder / "broken").touch()

    done = firexlite(*SUBMIT, "one")

    assert done.code == 1 and commands_in(done) == []
    assert {path.name for path in firexlite.folder.iterdir()} - {"__pycache__"} == {"services.py", "effects", "broken"}


def test_each_run_of_a_job_adds_to_its_summary_and_one_that_is_resumed_tells_how_that_ended(
        firexlite, plugin, effects, marks, summary):
    plugin(SIMPLE)
    (firexlite.folder / "broken").touch()
    failed = firexlite(*SUBMIT, "one,two", "--key", "k")
    (firexlite.folder / "broken").unlink()
    succeeded = firexlite(*SUBMIT, "one,two", "--key", "k")

    assert (failed.code, succeeded.code) == (1, 0)
    assert [mark[1]["line"] for mark in commands_in(failed)] == [BROKEN] and commands_in(succeeded) == []
    headings = re.findall(r"^### .*$", summary(), re.MULTILINE)
    assert [line.rpartition(" in ")[0] for line in headings] == ["### ❌ one,two: failed", "### ✅ one,two: succeeded"]
    assert f"Carry on: `firexlite resume {failed.firex_id}`" in summary()
    assert "it is broken" not in summary().partition("✅")[2]


def test_the_file_that_is_asked_of_firexlite_goes_before_that_of_the_ci_system(firexlite, plugin, effects, summary):
    plugin(SIMPLE)

    firexlite(*SUBMIT, "one", FIREXLITE_SUMMARY="other.md")

    assert (firexlite.folder / "other.md").read_text().startswith("### ✅ one: succeeded")
    assert not (firexlite.folder / "summary.md").exists()


@pytest.mark.parametrize("path, why", [("no/such/folder.md", "No such file or directory"), (".", "Is a directory"),
                                       ("/dev/full", "No space left on device")])
def test_a_summary_that_cannot_be_written_changes_nothing_of_how_the_run_ends(firexlite, plugin, effects, marks, path, why):
    plugin(SIMPLE)

    done = firexlite(*SUBMIT, "one", "--flame", "flame.html", GITHUB_STEP_SUMMARY=path)

    assert done.code == 0
    [sentence] = [line for line in done.err.splitlines() if "CI system" in line]
    assert sentence.startswith("firexlite: the CI system could not be told: ") and why in sentence
    assert (firexlite.folder / "flame.html").exists()
    assert sentence.removeprefix("firexlite: ") in firexlite("logs", "last").out  # of a detached run nobody sees the screen


def test_a_failure_is_marked_though_the_summary_cannot_be_written(firexlite, plugin, effects, marks):
    plugin(SIMPLE)
    (firexlite.folder / "broken").touch()

    done = firexlite(*SUBMIT, "one", GITHUB_STEP_SUMMARY="no/such/folder.md")

    assert done.code == 1 and [mark[1]["line"] for mark in commands_in(done)] == [BROKEN]


def test_lines_are_named_from_the_root_of_what_was_checked_out(firexlite, plugin, effects, marks, tmp_path):
    plugin(SIMPLE)
    (firexlite.folder / "broken").touch()
    (tmp_path / "link").symlink_to(tmp_path)

    for root, seen in ((tmp_path, "work/services.py"), (tmp_path / "link", "work/services.py"),
                       (tmp_path / "elsewhere", str(firexlite.folder / "services.py"))):
        [(_, given, _)] = commands_in(firexlite(*SUBMIT, "one", GITHUB_WORKSPACE=str(root)))
        assert given["file"] == seen


def test_a_detached_run_writes_its_summary_when_it_ends(firexlite, plugin, effects, marks, summary):
    plugin(SIMPLE)
    (firexlite.folder / "broken").touch()

    done = firexlite(*SUBMIT, "one", "--detach")
    firexlite("wait", "last")

    assert done.code == 0 and commands_in(done) == []
    wait_until(lambda: (firexlite.folder / "summary.md").exists() and "it is broken" in summary(), what="summary")


def test_a_command_that_attaches_tells_its_own_ci_system_and_writes_its_own_report(firexlite, plugin, effects):
    plugin(SIMPLE)
    (firexlite.folder / "wait").touch()
    first = firexlite.start(*SUBMIT, "one,two", "--key", "k", "--on-end", "echo ended >> ended")
    wait_until(lambda: effects()["two"] == 1)
    second = firexlite.start(*SUBMIT, "one,two", "--key", "k", "--flame", "flame.html", FIREXLITE_SUMMARY="summary.md")
    said = [line for line in iter(lambda: second.stderr.readline(), "")
            if "It goes on in other processes" in line and go(firexlite.folder)]

    assert (first.wait(20), second.wait(20)) == (0, 0)
    assert len(said) == 1
    assert "<html" in (firexlite.folder / "flame.html").read_text()
    assert (firexlite.folder / "summary.md").read_text().startswith("### ✅ one,two: succeeded")
    assert (firexlite.folder / "ended").read_text() == "ended\n"
    assert effects() == {"one": 1, "two": 1}


def go(folder: Path) -> bool:
    (folder / "go").touch()
    return True


def test_the_summary_of_an_interrupted_run_says_what_was_under_way_and_how_it_goes_on(firexlite, plugin, effects, summary):
    plugin(SIMPLE)
    (firexlite.folder / "wait").touch()
    front = firexlite.start(*SUBMIT, "one,two")
    wait_until(lambda: effects()["two"] == 1)

    front.terminate()
    front.communicate(timeout=20)

    assert front.returncode == 143
    assert summary().startswith("### ⚠️ one,two: interrupted")
    assert "**two** (task 2) was under way at `services.py:" in summary()
    assert "It was stopped after signal 15" in summary()
    assert f"Carry on: `firexlite resume {firexlite.only_run().firex_id}`" in summary()


def test_of_a_run_whose_processes_were_all_killed_the_next_one_tells(firexlite, plugin, effects, summary):
    plugin(SIMPLE)
    (firexlite.folder / "wait").touch()
    front = firexlite.start(*SUBMIT, "one,two", "--key", "k")
    wait_until(lambda: effects()["two"] == 1)
    kill_all(front)
    assert not (firexlite.folder / "summary.md").exists()

    go(firexlite.folder)
    assert firexlite(*SUBMIT, "one,two", "--key", "k").code == 0

    assert summary().startswith("### ✅ one,two: succeeded")
    with History(firexlite.only_run()) as history:
        assert history.run().state == "succeeded"
