"""SIGTERM stops a run within a container engine's patience, SIGHUP does not, and a run may be PID 1."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import NOTE, states, wait_until

from firexlite import host

WAIT = NOTE + """
@app.task(returns="x")
def wait(): note("wait"); wait_for_file("go"); return 1
"""


@pytest.mark.parametrize("whose", ["front", "runner", "worker"])
def test_a_closed_terminal_does_not_end_a_run(whose, firexlite, plugin, effects):
    plugin(WAIT)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait", "--workers", "1")
    wait_until(lambda: effects()["wait"] == 1)
    processes = dict(zip(["front", "runner", "worker"], [front.pid, *host.descendants(front.pid)], strict=True))

    os.kill(processes[whose], signal.SIGHUP)
    (firexlite.folder / "go").touch()
    front.communicate(timeout=20)

    assert front.returncode == 0
    assert effects() == {"wait": 1}


def test_sigterm_waits_eight_seconds_for_a_body_and_no_longer(firexlite, plugin, effects):
    plugin(NOTE + """
import signal

@app.task
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("deaf")
    time.sleep(60)
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "deaf")
    wait_until(lambda: effects()["deaf"] == 1)

    asked = time.monotonic()
    front.send_signal(signal.SIGTERM)
    front.communicate(timeout=20)

    assert front.returncode == 143
    assert 7.5 < time.monotonic() - asked < 10


# --- in a container -------------------------------------------------------------------------------------------------

def _no_namespace() -> str:
    """Why no process can be PID 1 of its own here; empty if it can."""
    if not shutil.which("unshare"):
        return "unshare is not in PATH"
    done = subprocess.run([*AS_PID_1, "true"], capture_output=True, text=True, timeout=20)
    return done.stderr


AS_PID_1 = ["unshare", *([] if os.getuid() == 0 else ["-r"]), "--pid", "--fork", "--kill-child", "--mount-proc"]
in_a_container = pytest.mark.skipif(bool(_no_namespace()), reason=_no_namespace())


def _pid_1(firexlite, *words: str) -> subprocess.Popen:
    return subprocess.Popen([*AS_PID_1, sys.executable, "-m", "firexlite", *words], cwd=firexlite.folder, env=firexlite.env,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@in_a_container
def test_as_pid_1_a_run_reaps_what_its_services_leave_behind(firexlite, plugin):
    plugin("""
import os, subprocess, time
from firexlite import app

subprocess.run(["sh", "-c", "setsid sleep 0.05 &"])  # at import, before the runner adopts orphans: it is left to the front

def zombies():
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            pass
    return found

@app.task(returns=["front", "left"])
def leave():
    for _ in range(20):
        subprocess.run(["sh", "-c", "setsid sleep 0.05 & setsid true &"])
    give_up = time.monotonic() + 5
    time.sleep(0.1)
    while zombies() and time.monotonic() < give_up:
        time.sleep(0.01)
    return b"firexlite" in open("/proc/1/cmdline", "rb").read(), zombies()
""")
    front = _pid_1(firexlite, "submit", "--plugins", "services.py", "--chain", "leave", "--workers", "1")
    out, err = front.communicate(timeout=30)

    assert front.returncode == 0, err
    assert "front  True" in out and "left   0" in out


@in_a_container
def test_as_pid_1_a_run_stops_at_sigterm_and_says_so(firexlite, plugin, effects):
    plugin(WAIT)
    front = _pid_1(firexlite, "submit", "--plugins", "services.py", "--chain", "wait")
    wait_until(lambda: effects()["wait"] == 1)
    [pid_1] = host.children(front.pid)

    os.kill(pid_1, signal.SIGTERM)
    _, err = front.communicate(timeout=20)

    assert front.returncode == 143 and "firexlite resume" in err
    assert states(firexlite.only_run()) == {"running": 1}
