"""`firexlite attach` and `wait`: being with a run that goes on in other processes."""
from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import NOTE, Command, Finished, states, wait_until, without_rich

pytest_plugins = ["terminals"]

HOLDING = NOTE + """
@app.task(returns="value")
def hold(number="1"):
    note("held")
    wait_for_file("now")
    if number == "13":
        raise ValueError("thirteen")
    return number
"""
TELLS = "It goes on in other processes: Ctrl-C leaves it alone, Ctrl-C twice cancels it.\n"
DETACHING = "Detaching in 2 s, and the run goes on; Ctrl-C once more cancels it."


@pytest.fixture
def held(firexlite: Command, plugin, effects) -> Iterator[Callable[..., str]]:
    """Submits, in the background, a run whose service waits: ``held("--number", "13")``; gives the FireX ID."""
    plugin(HOLDING)

    def submit(*words: str) -> str:
        done = firexlite("submit", "--plugins", "services.py", "--chain", "hold", "--detach", *words)
        assert done.code == 0, done.err
        wait_until(lambda: states(firexlite.only_run()).get("running"), what="running service")
        return done.firex_id

    yield submit
    (firexlite.folder / "now").touch()
    if firexlite.runs():
        wait_until(lambda: not firexlite.only_run().is_alive(), what="end of the run")


def go_on(firexlite: Command) -> None:
    (firexlite.folder / "now").touch()


def test_attach_follows_a_run_to_its_end_and_exits_with_its_code(firexlite: Command, held) -> None:
    firex_id = held()
    process = firexlite.start("attach", "last")
    assert process.stderr.readline() == TELLS
    go_on(firexlite)

    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (0, f"FireX ID: {firex_id}\nAll tasks succeeded\n\nReturned values:\n  value  1\n")
    assert re.fullmatch(r"([01] of 1 task ended, \d+:\d\d\n)*", err)


def test_attach_tells_a_failure_as_the_run_itself_would(firexlite: Command, held) -> None:
    held("--number", "13")
    process = firexlite.start("attach", "last")
    process.stderr.readline()
    go_on(firexlite)

    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "FAILED: hold (task 1): ValueError: thirteen\n" in err
    assert "Resume it with: firexlite resume " in err


def test_attach_to_what_has_ended_tells_its_end(firexlite: Command) -> None:
    first = firexlite("submit", "--chain", "nop")

    assert firexlite("attach", "last") == Finished(0, first.out, "")


def test_attach_to_a_run_that_was_killed_says_so(firexlite: Command, held, effects) -> None:
    held()
    process = firexlite.start("attach", "last")
    process.stderr.readline()
    kill_all_of(firexlite)

    _, err = process.communicate(timeout=40)

    assert process.returncode == 1
    assert "The run was interrupted. 1 task: 1 unfinished." in err


def kill_all_of(firexlite: Command) -> None:
    """SIGKILL all processes of the only run: those that hold its lock."""
    import os

    from firexlite.holders import have_open

    def kill() -> bool:
        for pid in have_open(firexlite.only_run().alive_lock):
            with contextlib.suppress(ProcessLookupError):  # it has just ended with the one before
                os.kill(pid, signal.SIGKILL)
        return not firexlite.only_run().is_alive()

    wait_until(kill, what="end of all processes")


def test_quiet_shows_only_the_id_and_the_end(firexlite: Command, held) -> None:
    held()
    process = firexlite.start("attach", "-q", "last")
    assert process.stdout.readline().startswith("FireX ID: ")
    go_on(firexlite)

    assert process.communicate(timeout=30)[1] == ""


# --- in a terminal ----------------------------------------------------------------------------------------------------

def test_a_terminal_shows_what_runs_and_for_how_long(firexlite: Command, held, terminal) -> None:
    held()
    firexlite.env |= without_rich(firexlite.folder)
    screen = terminal("attach", "last")
    screen.read_until(r"\r\x1b\[K0 of 1 task ended, \d:\d\d  hold \d+ s")
    go_on(firexlite)

    code, shown = screen.finish()

    assert code == 0
    assert TELLS in shown
    assert shown.endswith("\r\x1b[KAll tasks succeeded\n\nReturned values:\n  value  1\n")


def test_ctrl_c_detaches_and_the_run_goes_on(firexlite: Command, held, terminal) -> None:
    firex_id = held()
    screen = terminal("attach", "last")
    screen.read_until("0 of 1 task ended")
    screen.press_ctrl_c()

    code, shown = screen.finish()

    assert code == 130
    assert DETACHING in shown
    assert shown.endswith(f"Detached: the run goes on; `firexlite attach {firex_id}` comes back to it.\n")
    assert states(firexlite.only_run()) == {"running": 1}
    go_on(firexlite)
    assert firexlite("wait", "last").code == 0


def test_ctrl_c_twice_cancels_the_run_and_awaits_its_end(firexlite: Command, held, terminal) -> None:
    held()
    screen = terminal("attach", "last")
    screen.read_until("0 of 1 task ended")
    screen.press_ctrl_c()
    screen.read_until(re.escape(DETACHING))
    screen.press_ctrl_c()

    code, shown = screen.finish()

    assert code == 1
    assert "Cancelled: 1 task was revoked.\n" in shown
    assert re.search(r"The run was revoked \(cancelled by \w+\)\. 1 task: 1 revoked\.", shown)
    assert "Traceback" not in shown
    assert not firexlite.only_run().is_alive()


def test_ctrl_c_in_the_first_instant_is_not_lost(firexlite: Command, held, terminal) -> None:
    held()
    screen = terminal("attach", "last")
    screen.read_until(re.escape(TELLS.strip()))
    screen.press_ctrl_c()

    assert screen.finish()[0] == 130
    assert states(firexlite.only_run()) == {"running": 1}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_detaches(number, code, firexlite: Command, held) -> None:
    held()
    process = firexlite.start("attach", "last")
    process.stderr.readline()
    process.send_signal(number)

    _, err = process.communicate(timeout=30)

    assert process.returncode == code
    assert "Detached: the run goes on; " in err
    assert states(firexlite.only_run()) == {"running": 1}


def test_sigterm_after_ctrl_c_detaches_and_cancels_nothing(firexlite: Command, held, terminal) -> None:
    held()
    screen = terminal("attach", "last")
    screen.read_until("0 of 1 task ended")
    screen.press_ctrl_c()
    screen.read_until(re.escape(DETACHING))
    screen.process.send_signal(signal.SIGTERM)

    code, shown = screen.finish()

    assert code in (130, 143)
    assert "Detached: the run goes on" in shown
    assert states(firexlite.only_run()) == {"running": 1}


def test_ctrl_c_detaches_who_attached_by_the_key(firexlite: Command, held, terminal) -> None:
    held("--key", "nightly")
    screen = terminal("submit", "--plugins", "services.py", "--chain", "hold", "--key", "nightly")
    screen.read_until("0 of 1 task ended")
    screen.press_ctrl_c()

    assert screen.finish()[0] == 130
    assert states(firexlite.only_run()) == {"running": 1}


# --- wait -------------------------------------------------------------------------------------------------------------

def test_wait_says_nothing_until_the_end(firexlite: Command, held) -> None:
    firex_id = held()
    process = firexlite.start("wait", "last")
    assert process.stdout.readline() == f"FireX ID: {firex_id}\n"
    go_on(firexlite)

    out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (0, "All tasks succeeded\n\nReturned values:\n  value  1\n", "")


def test_wait_gives_up_in_time(firexlite: Command, held) -> None:
    firex_id = held()

    done = firexlite("wait", "last", "--timeout", "0.5s")

    assert done == Finished(3, f"FireX ID: {firex_id}\n", f"firexlite: {firex_id} is still running after 0.5 s; "
                                                         f"`firexlite show {firex_id}` tells how far it is\n")


@pytest.mark.parametrize(("source", "code"), [
    ("raise ValueError('no')", 1), ("raise ReturnCodeError('busy', 75)", 75), ("pass", 0)])
def test_wait_and_attach_exit_with_the_code_of_the_run(source, code, firexlite: Command, plugin) -> None:
    plugin(f"from firexlite import app\nfrom firexlite.errors import ReturnCodeError\n\n@app.task\ndef end():\n    {source}\n")
    assert firexlite("submit", "--plugins", "services.py", "--chain", "end").code == code

    assert [firexlite(command, "last").code for command in ("wait", "attach")] == [code, code]


def test_a_run_that_waits_gives_seven(firexlite: Command, plugin) -> None:
    plugin("from firexlite import app\n\n@app.task(bind=True)\ndef approve(self):\n    self.wait_for_event('approved')\n")
    first = firexlite("submit", "--plugins", "services.py", "--chain", "approve", "--exit-when-waiting")
    assert first.code == 7, first.err

    done = firexlite("wait", "last")

    assert done.code == 7
    assert done.err.startswith("The run waits. 1 task: 1 unfinished.\nWAITS: approve (task 1) for the event 'approved'\n")
    assert first.err.endswith(done.err)


def test_ctrl_c_ends_a_wait_and_leaves_the_run_alone(firexlite: Command, held, terminal) -> None:
    held()
    screen = terminal("wait", "last")
    screen.read_until("FireX ID: ")
    screen.press_ctrl_c()

    code, shown = screen.finish()

    assert (code, "Traceback" in shown) == (130, False)
    assert states(firexlite.only_run()) == {"running": 1}


def test_who_was_attached_leaves_no_process(firexlite: Command, held, tmp_path: Path) -> None:
    from firexlite import host

    held()
    process = firexlite.start("attach", "last")
    process.stderr.readline()

    assert list(host.descendants(process.pid)) == []
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
