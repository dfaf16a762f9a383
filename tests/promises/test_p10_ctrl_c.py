"""Ctrl-C asks a run to stop: bodies have a grace to end, a second one gives none; the way to go on is told."""
from __future__ import annotations

import os
import signal
import time

import pytest
from conftest import NOTE, states, wait_until

STUBBORN = NOTE + """
@app.task
def stubborn():
    note("stubborn")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            note("asked")
"""


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_how_to_resume_and_leaves_no_process(firexlite, plugin, effects, number, code):
    plugin(NOTE + """
import subprocess

@app.task
def busy():
    shell = subprocess.Popen(["sh", "-c", "setsid sleep 300 & sleep 300"])
    note("busy")
    wait_for_file("go")
    shell.kill()
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "busy")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: effects()["busy"] == 1)
    wait_until(lambda: len(_processes_of(firexlite)) >= 5, what="front, runner, worker and two shell commands")

    process.send_signal(number)
    _, err = process.communicate(timeout=20)

    assert process.returncode == code
    assert f"firexlite resume {run.firex_id}" in err
    assert not _processes_of(firexlite)
    assert "INTERRUPTED" in firexlite("runs").out


def _processes_of(firexlite) -> list[str]:
    """Living processes with the test's home in their environment, as all that a run starts has."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if str(firexlite.home).encode() in file.read():
                    found.append(pid)
        except OSError:
            pass
    return found


def test_a_second_ctrl_c_does_not_wait_for_bodies_to_end(firexlite, plugin, effects):
    plugin(STUBBORN)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "stubborn")
    wait_until(lambda: effects()["stubborn"] == 1)

    front.send_signal(signal.SIGINT)
    wait_until(lambda: effects()["asked"] == 1)
    time.sleep(1.1)  # two that come closer together are one request, told by a terminal and a parent say
    asked_again = time.monotonic()
    front.send_signal(signal.SIGINT)
    _, err = front.communicate(timeout=20)

    assert front.returncode == 130 and "firexlite resume" in err
    assert "1 running service was killed that had not ended" in err
    assert time.monotonic() - asked_again < 3
    assert effects() == {"stubborn": 1, "asked": 1}


def test_a_ctrl_c_starts_nothing_new_and_lets_bodies_clean_up(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def careful():
    try:
        note("began")
        time.sleep(60)
    finally:
        note("cleaned up")

@app.task
def never(): note("never")
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "careful,never")
    wait_until(lambda: effects()["began"] == 1)

    front.send_signal(signal.SIGINT)
    front.communicate(timeout=20)

    assert effects() == {"began": 1, "cleaned up": 1}
    assert states(firexlite.only_run()) == {"running": 1, "waiting": 1}


def test_shell_commands_of_a_body_are_not_immune_to_ctrl_c(firexlite, plugin):
    plugin("""
import subprocess
from firexlite import app

@app.task(returns="ignored")
def ask():
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    return [number for number in (1, 2, 15) if mask >> (number - 1) & 1]
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "ask")

    assert done.code == 0 and "ignored  []" in done.out
