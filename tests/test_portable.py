"""What a run promises, with the ways of hosts that have neither a subreaper nor /proc, taken here by force.

The tests themselves look at processes in the ways of Linux. With FIREXLITE_PORTABLE=1 in the environment of pytest any other
file of tests takes these ways too, the looks of the tests included; docs/reliability.md says which tests are left out then.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from conftest import NOTE, ROOT, Command, query, states, wait_until

from firexlite import host, packets, processes

pytestmark = pytest.mark.skipif(host.IS_PORTABLE, reason="the looks of these tests at processes are those of Linux")

KENNEL = NOTE + """
import subprocess

@app.task(returns="n")
def keep(n):
    shell = subprocess.Popen(["sh", "-c", "echo $$ >> pids; sleep 60 & echo $! >> pids; wait"])
    note("kept")
    wait_for_file("go")
    shell.kill()
    shell.wait()
    return n

@app.task(bind=True, returns="all")
def kennel(self):
    for n in range(2):
        self.enqueue_child(keep.s(n=n))
    self.wait_for_children()
    return 2
"""


@pytest.fixture(autouse=True)
def _forced(firexlite: Command) -> None:
    firexlite.env["FIREXLITE_PORTABLE"] = "1"


def under_way(firexlite: Command, effects, *more: str) -> subprocess.Popen:
    """A run with two bodies that wait, and four processes that these have started."""
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "kennel", "--workers", "2", *more)
    wait_until(lambda: effects()["kept"] == 2)
    wait_until(lambda: len(commands(firexlite)) == 4)
    return front


def commands(firexlite: Command) -> list[int]:
    path = firexlite.folder / "pids"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def of_the_run(firexlite: Command) -> list[int]:
    """All that lives and was started with the home of the run: its own processes, the guard, and commands of services."""
    wanted, found = f"FIREXLITE_HOME={firexlite.home}\0".encode(), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if wanted in file.read():
                found.append(int(pid))
    return found


def role(front: int, which: str) -> int:
    [runner] = host.children(front)
    return {"front": front, "runner": runner, "worker": host.children(runner)[-1]}[which]


@pytest.mark.parametrize("which", ["front", "runner", "both"])
def test_nothing_lives_on_after_a_kill_and_a_resume_does_the_rest(firexlite, plugin, effects, which):
    plugin(KENNEL)
    front = under_way(firexlite, effects)
    doomed = [role(front.pid, one) for one in (["front", "runner"] if which == "both" else [which])]
    for pid in doomed:
        os.kill(pid, signal.SIGSTOP)
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    front.communicate(timeout=20)

    wait_until(lambda: of_the_run(firexlite) == [], limit_s=10, what="end of all of the run")

    run = firexlite.only_run()
    assert not run.is_alive()
    (firexlite.folder / "go").touch()
    resumed = firexlite("resume", run.firex_id)
    assert resumed.code == 0, resumed.err
    assert states(run) == {"succeeded": 3}


def test_a_worker_that_is_killed_takes_its_commands_along_and_loses_its_task_to_another(firexlite, plugin, effects):
    plugin(KENNEL)
    front = under_way(firexlite, effects)
    before = commands(firexlite)
    worker = role(front.pid, "worker")

    os.kill(worker, signal.SIGKILL)

    wait_until(lambda: effects()["kept"] == 3)
    wait_until(lambda: sum(host.start_time(pid) is None for pid in before) == 2, what="end of the commands of the dead worker")
    (firexlite.folder / "go").touch()
    _, err = front.communicate(timeout=30)
    assert front.returncode == 0, err
    assert query(firexlite.only_run(), "SELECT attempt FROM task WHERE id > 1 ORDER BY attempt") == [(1,), (2,)]


def test_a_ctrl_c_ends_bodies_and_their_commands(firexlite, plugin, effects):
    plugin(KENNEL)
    front = under_way(firexlite, effects)

    front.send_signal(signal.SIGINT)
    _, err = front.communicate(timeout=20)

    assert front.returncode == 130, err
    wait_until(lambda: of_the_run(firexlite) == [], what="end of all of the run")


def test_an_import_ends_with_a_front_that_was_killed(firexlite, plugin):
    plugin("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "never")
    wait_until(lambda: (firexlite.folder / "importing").exists())

    front.kill()
    front.communicate(timeout=20)

    wait_until(lambda: of_the_run(firexlite) == [], limit_s=10, what="end of the import")
    assert firexlite.runs() == []


def test_an_import_may_leave_threads(firexlite, plugin, effects):
    plugin("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n" + KENNEL)
    (firexlite.folder / "go").touch()

    done = firexlite("submit", "--plugins", "services.py", "--chain", "kennel", "--workers", "2")

    assert done.code == 0, done.err
    assert states(firexlite.only_run()) == {"succeeded": 3}
    wait_until(lambda: of_the_run(firexlite) == [], what="end of all of the run")


def test_a_detached_run_is_cancelled(firexlite, plugin, effects):
    plugin(KENNEL)
    started = under_way(firexlite, effects, "--detach")
    assert started.wait(20) == 0
    run = firexlite.only_run()

    assert firexlite("cancel", run.firex_id).code == 0

    wait_until(lambda: of_the_run(firexlite) == [], what="end of all of the run")
    assert set(states(run)) == {"revoked"}


def test_a_second_resume_names_the_process_that_holds_the_run(firexlite, plugin, effects):
    plugin(KENNEL)
    front = under_way(firexlite, effects)
    runner = role(front.pid, "runner")

    refused = firexlite("resume", firexlite.only_run().firex_id)

    assert refused.code == 3
    assert f"is running in process {runner};" in refused.err
    (firexlite.folder / "go").touch()
    assert front.wait(30) == 0


def test_secrets_are_masked(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(returns="n")
def tells(token):
    print("it is", token)
    return len(token)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "tells", "--token", "Secret(env:TOKEN)",
                     TOKEN="swordfish")

    assert done.code == 0, done.err
    assert "it is [secret env:TOKEN]\n" in firexlite("logs", done.firex_id).out


def test_a_socket_is_found_in_a_folder_whose_path_is_too_long_for_it(firexlite, plugin, effects):
    plugin(KENNEL)
    firexlite.home = firexlite.home / ("deep" * 30)
    firexlite.env["FIREXLITE_HOME"] = str(firexlite.home)
    (firexlite.folder / "go").touch()

    done = firexlite("submit", "--plugins", "services.py", "--chain", "kennel", "--workers", "2")

    assert done.code == 0, done.err
    wake = firexlite.only_run().wake
    links = [link for link in os.scandir("/tmp") if link.name.startswith("firexlite-") and link.is_symlink()]
    assert [link.name for link in links if os.readlink(link) == str(wake)] == []


OTHERS = ["test_front", "test_processes", "test_children", "test_resume", "test_waits_survive_kills", "test_crash", "promises",
          "crash"]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OTHERS)
def test_other_tests_pass_as_well(name):
    place = ROOT / "tests" / name
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", place if place.is_dir() else f"{place}.py"],
        cwd=ROOT, env={**os.environ, "FIREXLITE_PORTABLE": "1"}, capture_output=True, text=True, timeout=890)

    assert done.returncode == 0, done.stdout


# --- the ways themselves ---------------------------------------------------------------------------------------------------

def test_ps_tells_of_processes_what_proc_does():
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        [sleep] = wait_until(lambda: host.children(shell.pid))

        table = processes.look()

        assert processes.below([shell.pid], table) == [sleep]
        assert table[sleep].parent == shell.pid and processes.process(shell.pid).parent == os.getpid()
        assert abs(table[shell.pid].start - time.time()) < 60
        assert set(processes.family([], [shell.pid])) == {shell.pid, sleep}
        assert not {shell.pid, sleep} & set(processes.family([os.getpid()], spared=[shell.pid]))
        shell.kill()
        wait_until(lambda: processes.process(shell.pid) is None)  # a zombie, which is not reaped
        assert processes.family([], [shell.pid]) == [sleep]
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def test_messages_come_whole_and_the_end_is_seen(monkeypatch):
    monkeypatch.setattr(host, "IS_PORTABLE", True)
    ours, theirs = packets.pair()
    sent = os.open(os.devnull, os.O_RDONLY)

    packets.send(ours, b"one", [sent])
    ours.send(b"two" * 20_000)
    ours.send(b"")
    message, [came] = packets.receive(theirs, 1 << 18)

    assert message == b"one" and os.path.sameopenfile(came, sent)
    assert theirs.recv(1 << 18) == b"two" * 20_000
    ours.close()
    assert packets.receive(theirs, 1 << 18) == (b"", [])
    assert theirs.recv(64) == b""
    theirs.close()
    for fd in (sent, came):
        os.close(fd)


def test_a_message_that_arrives_in_parts_is_taken_as_a_whole(monkeypatch):
    monkeypatch.setattr(host, "IS_PORTABLE", True)
    one, other = socket.socketpair()
    reader = packets.by_fd(other.detach())
    data = struct.pack("!I", 6) + b"abcdef"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        one.send(data[:2])
        whole = pool.submit(reader.recv, 64)
        for part in (data[2:7], data[7:]):
            assert not whole.done()
            one.send(part)
        assert whole.result(10) == b"abcdef"
    one.send(data[:7])
    one.close()
    assert reader.recv(64) == b""  # whoever was to send the rest has ended
    reader.close()


def test_only_what_is_wanted_stays_open():
    keeps = """
import os
from firexlite import host
kept = os.dup(os.open(os.devnull, os.O_RDONLY))
host.keep_only({1, kept})
os.write(1, " ".join(sorted(fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))).encode())
"""
    done = subprocess.run([sys.executable, "-c", keeps], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "FIREXLITE_PORTABLE": "1"})

    assert done.stdout == "0 1 2 4", done.stderr


@pytest.mark.parametrize("line", [
    "/dev/disk3s5 on /Volumes/a (b) (apfs, local, journaled)", "host:/x on /Volumes/a (b) type apfs (rw,relatime)"])
def test_mounts_are_read_as_each_system_writes_them(monkeypatch, line):
    monkeypatch.setattr(host, "IS_PORTABLE", True)
    monkeypatch.setattr(processes, "output", lambda *words: [line])

    assert list(host.mounts()) == [("/Volumes/a (b)", "apfs")]
