"""Where a body was when its worker crashed, or was killed at its limit."""
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from conftest import query, wait_until

from firexlite import last_words
from firexlite.codec import display_error, encode_error
from firexlite.errors import WorkerLost

CRASHES = """
import ctypes, os, signal, time
from firexlite import app

def read(address):
    return ctypes.c_int.from_address(address).value

@app.task(worker_deaths=0)
def crashes():
    print("reading", flush=True)
    read(0)

@app.task(time_limit=0.5)
def waits():
    while True:
        time.sleep(1)  # not busy

@app.task(worker_deaths=0)
def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(worker_deaths=0)
def its_fork_crashes():
    child = os.fork()
    if not child:
        read(0)
    os.waitpid(child, 0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def failed(firexlite, plugin):
    """The only task of a run that failed: ``failed("crashes")``."""
    def run(chain: str) -> dict:
        plugin(CRASHES)
        done = firexlite("submit", "--plugins", "services.py", "--chain", chain)
        assert done.code == 1, done.err
        [task] = firexlite.flame(done.firex_id)["tasks"]
        return {**task, "err": done.err}

    return run


def test_a_crash_in_native_code_is_led_back_to_the_users_line(failed):
    task = failed("crashes")

    assert task["error_context"].endswith("services.py:6 in read")
    frames, quoted = task["traceback"].splitlines()[1:-1:2], task["traceback"].splitlines()[2:-1:2]
    assert [frame.rpartition(" in ")[2] for frame in frames] == ["crashes", "read"]
    assert [line.strip() for line in quoted] == ["read(0)", "return ctypes.c_int.from_address(address).value"]
    assert "services.py:6 in read\n      return ctypes.c_int.from_address(address).value" in task["err"]
    assert task["log"]["lines"] == ["reading"]  # the stack is no output of the body


def test_a_body_that_is_killed_at_its_limit_is_found_where_it_was(failed):
    task = failed("waits")

    assert task["error_context"].endswith("services.py:16 in waits")
    assert "    time.sleep(1)  # not busy\nfirexlite.errors.TimeLimitExceeded" in task["traceback"]


@pytest.mark.parametrize("service, line", [("is_killed", 18), ("its_fork_crashes", 22)])
def test_who_was_killed_and_could_write_nothing_is_told_by_where_its_service_begins(failed, service, line):
    assert failed(service)["error_context"].endswith(f"services.py:{line} in {service}")


def test_nothing_is_left_of_it_in_the_run(failed, firexlite):
    failed("crashes")

    run = firexlite.only_run()
    assert not run.wake.exists()
    assert query(run, "SELECT state FROM run") == [("failed",)]


def test_a_stack_without_a_line_of_the_users_changes_nothing():
    error = WorkerLost(1, "signal 11 (SIGSEGV)")
    stack = f'Fatal error\n\nCurrent thread 0x00 (most recent call first):\n  File "{os.__file__}", line 3 in fdopen\n'

    for told in ("", "garbage", stack):
        assert display_error(encode_error(last_words.at(told, error)))["where"] is None


@pytest.mark.skipif(last_words.ASK is None, reason="there are no real-time signals here")
def test_who_does_not_answer_is_not_waited_for(tmp_path):
    path = tmp_path / "1.stack"
    program = f"from firexlite import last_words, host; from pathlib import Path; import time\n" \
              f"last_words.write_at_last(Path({str(path)!r})); print('there', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "there\n"
        assert "in <module>" in last_words.ask(process.pid, path)
        assert path.read_text() == ""  # it is told once
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), what="stop")

        assert last_words.ask(process.pid, path) == ""

        process.kill()


def test_who_has_no_file_is_not_asked(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as process:
        assert last_words.ask(process.pid, tmp_path / "1.stack") == ""
        assert process.poll() is None
        process.kill()
