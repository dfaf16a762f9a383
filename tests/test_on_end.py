"""`--on-end CMD`: a command of the user's own is run when the run has ended, however it did."""
from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from conftest import Command, kill_all, states, wait_until

FAILING = "from firexlite import app\n\n@app.task\ndef fail():\n    raise ValueError('no')\n"
HOLDING = """
import os, time
from firexlite import app

@app.task
def hold():
    while not os.path.exists("now"):
        time.sleep(0.01)
"""
TELL = ('echo "$FIREXLITE_ID $FIREXLITE_STATE $FIREXLITE_EXIT_CODE [$FIREXLITE_REPORT] [$FIREXLITE_KEY] $FIREXLITE_CHAIN" '
        ">> told")


@pytest.fixture
def told(firexlite: Command):
    """What the command was told, a line each time."""
    path = firexlite.folder / "told"
    return lambda: path.read_text().splitlines() if path.exists() else []


def test_it_is_told_which_run_ended_how_and_where_the_report_is(firexlite: Command, told) -> None:
    done = firexlite("submit", "--chain", "nop", "--key", "nightly", "--on-end", TELL, "--flame", "out.html")

    assert done.code == 0, done.err
    assert told() == [f"{done.firex_id} succeeded 0 [{firexlite.folder}/out.html] [nightly] nop"]
    assert (firexlite.folder / "out.html").exists()


def test_the_report_is_there_when_it_begins(firexlite: Command, told) -> None:
    firexlite("submit", "--chain", "nop", "--on-end", 'grep -c "</html>" "$FIREXLITE_REPORT" >> told', "--flame", "out.html")

    assert told() == ["1"]


def test_a_failure_is_told_with_its_exit_code(firexlite: Command, plugin, told) -> None:
    plugin(FAILING)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "fail", "--on-end", TELL)

    assert (done.code, told()) == (1, [f"{done.firex_id} failed 1 [] [] fail"])


def test_what_it_prints_is_shown_and_leaves_stdout_to_the_run(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop", "--on-end", "echo sent; echo and said >&2")

    assert done.out == f"FireX ID: {done.firex_id}\nAll tasks succeeded\n"
    assert done.err == "sent\nand said\n"


def test_that_it_fails_is_told_and_changes_nothing_of_how_the_run_ended(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop", "--on-end", "exit 7")

    sentence = "the command of --on-end ended with exit status 7: exit 7"
    assert (done.code, done.err) == (0, f"firexlite: {sentence}\n")
    assert sentence in firexlite("logs", "last").out


def test_a_resume_does_what_the_submission_recorded(firexlite: Command, plugin, told) -> None:
    plugin(FAILING)
    firexlite("submit", "--plugins", "services.py", "--chain", "fail", "--on-end", TELL)
    plugin(FAILING.replace("raise ValueError('no')", "pass"))

    assert firexlite("resume", "last").code == 0

    assert [line.split()[1] for line in told()] == ["failed", "succeeded"]


def test_a_resume_may_name_another(firexlite: Command, plugin, told) -> None:
    plugin(FAILING)
    firexlite("submit", "--plugins", "services.py", "--chain", "fail", "--on-end", TELL)

    firexlite("resume", "last", "--on-end", "echo other >> told")

    assert told()[1:] == ["other"]


def test_the_end_of_a_run_is_told_once(firexlite: Command, told) -> None:
    words = ("submit", "--chain", "nop", "--key", "nightly", "--on-end", TELL)
    firexlite(*words)

    assert firexlite(*words).code == 0
    assert firexlite("resume", "nightly").code == 0
    assert len(told()) == 1


def test_who_is_attached_does_not_tell_it_again(firexlite: Command, plugin, told) -> None:
    plugin(HOLDING)
    words = ("submit", "--plugins", "services.py", "--chain", "hold", "--key", "nightly", "--on-end", TELL)
    first = firexlite.start(*words)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"), what="running service")
    second = firexlite.start(*words)
    second.stderr.readline()
    (firexlite.folder / "now").touch()

    assert [process.wait(timeout=30) for process in (first, second)] == [0, 0]
    assert len(told()) == 1


def test_in_the_background_it_is_run_too(firexlite: Command, told) -> None:
    firexlite("submit", "--detach", "--chain", "nop", "--on-end", TELL)

    wait_until(told, what="end of the run")
    assert told()[0].split()[1] == "succeeded"


def test_a_run_that_was_stopped_tells_its_end(firexlite: Command, plugin, told) -> None:
    plugin(HOLDING)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "hold", "--on-end", TELL)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"), what="running service")
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=30) == 143
    assert told() == [f"{firexlite.only_run().firex_id} interrupted 143 [] [] hold"]


def test_a_signal_ends_the_command_of_the_end(firexlite: Command) -> None:
    process = firexlite.start("submit", "--chain", "nop", "--on-end", "echo begun >&2; exec sleep 300")
    assert process.stderr.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert err == "firexlite: the command of --on-end ended with signal 15: echo begun >&2; exec sleep 300\n"


def test_nothing_of_the_run_lives_when_it_begins(firexlite: Command) -> None:
    done = firexlite("submit", "--chain", "nop", "--on-end", 'python -m firexlite runs --json > listed',
                     PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin")

    assert done.err == ""
    assert json.loads((firexlite.folder / "listed").read_text())[0]["state"] == "succeeded"


def test_a_run_that_could_not_begin_has_no_end(firexlite: Command, told) -> None:
    assert firexlite("submit", "--chain", "no_such_service", "--on-end", TELL).code == 2
    assert told() == []


def test_a_run_that_is_killed_whole_tells_nothing_until_it_is_resumed(firexlite: Command, plugin, told) -> None:
    plugin(HOLDING)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "hold", "--on-end", TELL)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()).get("running"), what="running service")
    kill_all(process)
    assert told() == []
    (firexlite.folder / "now").touch()

    assert firexlite("resume", "last").code == 0
    assert [line.split()[1] for line in told()] == ["succeeded"]
