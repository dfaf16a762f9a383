"""A worker of an earlier incarnation that thaws after a take-over changes nothing, and ends."""
from __future__ import annotations

import os

import pytest
from conftest import NOTE, query, wait_until
from crash.races import digests

from firexlite import host

# The lock that keeps a second incarnation away is let go here, and so is the tie to the runner: what is left is the fence.
THAWS = NOTE + """
import ctypes, fcntl, signal

def come_loose():
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    for fd in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{fd}") and os.readlink(f"/proc/self/fd/{fd}").endswith("/alive.lock"):
            fcntl.flock(int(fd), fcntl.LOCK_UN)
    with open("worker", "w") as file:
        file.write(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)

@app.task(returns="x")
def first():
    note("first")
    if not os.path.exists("worker"):
        come_loose()
        %s
    return "fresh"

@app.task(returns="y")
def second(x): note("second"); wait_for_file("go"); return x

@app.task(bind=True)
def both(self):
    for task in first.s(), second.s(x=1), second.s(x=2):
        self.enqueue_child(task)
    self.wait_for_children()
"""


@pytest.mark.skipif(host.IS_PORTABLE, reason="no worker outlives its runner there: the guard kills it")
@pytest.mark.parametrize("late", ["return 'stale'", "raise ValueError('stale')", "raise SystemExit"])
def test_what_thaws_after_a_take_over_changes_nothing_and_claims_nothing(late, firexlite, plugin, effects):
    plugin(THAWS % late)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "both", "--workers", "3")
    wait_until(lambda: (firexlite.folder / "worker").exists() and (firexlite.folder / "worker").read_text())
    stale = int((firexlite.folder / "worker").read_text())
    wait_until(lambda: _is_stopped(stale) and effects()["second"] == 2)
    processes = [front.pid, *(pid for pid in host.descendants(front.pid) if pid != stale)]
    for number in (19, 9):
        for pid in processes:
            os.kill(pid, number)
    front.communicate()
    run = firexlite.only_run()
    try:
        resumed = firexlite.start("resume", run.firex_id, "--workers", "1")
        wait_until(lambda: effects()["second"] == 3)  # the other is ready, and not to be claimed by the stale worker
        before = digests(run.path)

        os.kill(stale, 18)
        wait_until(lambda: host.start_time(stale) is None, what="end of the stale worker")
    finally:
        if host.start_time(stale) is not None:
            os.kill(stale, 9)

    after = digests(run.path)
    assert _lasting(after) == _lasting(before)
    (firexlite.folder / "go").touch()
    resumed.communicate(timeout=20)
    assert resumed.returncode == 0
    assert effects() == {"first": 2, "second": 4}
    assert query(run, "SELECT result FROM task WHERE service LIKE '%first'") == [('{"x":"fresh"}',)]


def _lasting(files: dict[str, str]) -> dict[str, str]:
    """Without the index of the write-ahead log, in which every look of the runner leaves traces, and the stale worker's log."""
    return {name: digest for name, digest in files.items() if not name.endswith("-shm") and not name.startswith("logs/1-")}


def _is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"
