"""The front and what it forks: signals that come at odd moments, orphans that are not ours to end, messages between them."""
from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NOTE, Command, query, states, wait_until

from firexlite import host
from firexlite.launch import LONGEST, Channel

ONE = "from firexlite import app\n\n@app.task(returns='x')\ndef one(): return 1\n"
# At import: leaves a thread, so that another process drives the run and each worker imports the file itself.
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
IMPORT_WAITS = NOTE + """
open("importing", "w").close()
%s
@app.task
def never(): note("never")
"""


def is_there(firexlite: Command, name: str) -> bool:
    return (firexlite.folder / name).exists()


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def kill_at_once(*pids: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)


# --- to be stopped before there is a run --------------------------------------------------------------------------------

SWALLOWS = """
import signal
signal.signal(signal.SIGTERM, lambda *_: None)
try:
    wait_for_file("go")
except BaseException:
    open("go", "w").close()
"""


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_run_is_not_begun_though_an_import_catches_what_is_to_stop_it(firexlite, plugin, effects, number, code):
    plugin(IMPORT_WAITS % SWALLOWS)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "never")
    wait_until(lambda: is_there(firexlite, "importing"))

    front.send_signal(number)
    (firexlite.folder / "go").touch()
    front.communicate(timeout=20)

    assert front.returncode == code
    assert firexlite.runs() == [] and effects() == {}


@pytest.mark.parametrize("handler", ["lambda *_: None", "signal.SIG_IGN"])
def test_a_run_is_not_begun_for_a_front_that_was_killed(firexlite, plugin, effects, handler):
    plugin(IMPORT_WAITS % f"import signal\nsignal.signal(signal.SIGTERM, {handler})\nwait_for_file('go')\n")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "never")
    wait_until(lambda: is_there(firexlite, "importing"))
    [job] = host.children(front.pid)

    front.kill()
    front.wait()
    (firexlite.folder / "go").touch()

    wait_until(lambda: host.start_time(job) is None)
    assert firexlite.runs() == [] and effects() == {}


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_detached_run_is_stopped_with_the_command_that_waits_for_its_beginning(firexlite, plugin, effects, number, code):
    plugin(IMPORT_WAITS % "wait_for_file('go')\n")
    command = firexlite.start("submit", "--plugins", "services.py", "--chain", "never", "--detach", "--import_timeout", "60")
    wait_until(lambda: is_there(firexlite, "importing"))
    below = list(host.descendants(command.pid))

    command.send_signal(number)
    _, err = command.communicate(timeout=20)

    assert command.returncode == code
    assert err == "firexlite: stopped before the run began; nothing was created\n"
    assert [pid for pid in below if host.start_time(pid) is not None] == []
    assert firexlite.runs() == [] and effects() == {}


def test_a_detached_run_has_sessions_of_its_own_from_the_first(firexlite, plugin, effects):
    plugin(IMPORT_WAITS % "wait_for_file('go')\n")
    command = firexlite.start("submit", "--plugins", "services.py", "--chain", "never", "--detach")
    wait_until(lambda: is_there(firexlite, "importing"))

    sessions = [os.getsid(pid) for pid in host.descendants(command.pid)]

    assert len({os.getsid(command.pid), *sessions}) == 3  # those of a terminal, the front, and the job
    (firexlite.folder / "go").touch()
    assert command.wait(20) == 0
    wait_until(lambda: states(firexlite.only_run()) == {"succeeded": 1})
    wait_until(lambda: not firexlite.only_run().is_alive())


def test_a_ctrl_c_of_the_terminal_reaches_the_front_alone(firexlite, plugin):
    plugin(IMPORT_WAITS % "wait_for_file('go')\n")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "never")
    wait_until(lambda: is_there(firexlite, "importing"))

    [job] = host.children(front.pid)

    assert os.getsid(job) == job != os.getsid(front.pid)


# --- between two jobs ----------------------------------------------------------------------------------------------------

def test_a_run_that_is_stopped_before_its_second_process_says_how_to_resume(firexlite, plugin):
    plugin(THREAD + IMPORT_WAITS % "wait_for_file('go')\n")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "never")
    wait_until(lambda: is_there(firexlite, "importing"))
    [job] = host.children(front.pid)
    with stopped(front.pid):
        (firexlite.folder / "go").touch()
        wait_until(lambda: host.start_time(job) is None)
        front.send_signal(signal.SIGINT)
    out, err = front.communicate(timeout=20)

    assert front.returncode == 130
    firex_id = firexlite.only_run().firex_id
    assert f"FireX ID: {firex_id}" in out and f"firexlite resume {firex_id}" in err
    assert not is_there(firexlite, "effects")


HAS_LOCK = """
def has_lock():
    import subprocess
    return "alive.lock" in subprocess.run("ls -l /proc/self/fd", shell=True, close_fds=False, capture_output=True,
                                          text=True).stdout
"""


def test_a_command_of_a_service_does_not_inherit_the_run_s_lock(firexlite, plugin):
    plugin(THREAD + NOTE + HAS_LOCK + "@app.task(returns='held')\ndef one(): return has_lock()\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "one", timeout=20)

    assert done.code == 0, done.err
    assert query(firexlite.only_run(), "SELECT result FROM task") == [('{"held":false}',)]


def test_nor_does_it_when_lost_files_were_made_again_first(firexlite, plugin):
    plugin(NOTE + HAS_LOCK + """
from firexlite import File

@app.task(returns="made")
def make():
    open("made.txt", "w").close()
    return File("made.txt")

@app.task(returns="held")
def use(made):
    assert os.path.exists("may succeed")
    return has_lock()
""")
    firexlite("submit", "--plugins", "services.py", "--chain", "make,use")
    (firexlite.folder / "made.txt").unlink()
    (firexlite.folder / "may succeed").touch()

    done = firexlite("resume", firexlite.only_run().firex_id, "--rerun-missing", timeout=20)

    assert done.code == 0, done.err
    assert query(firexlite.only_run(), "SELECT result FROM task WHERE id = 2") == [('{"held":false}',)]


@pytest.mark.parametrize("start", ["", THREAD], ids=["forked", "imported by each worker"])
def test_a_fork_of_a_service_that_outlives_all_does_not_keep_a_run_from_being_resumed(firexlite, plugin, effects, start):
    plugin(start + NOTE + """
@app.task(returns="x")
def begets():
    if os.path.exists("daemon"):
        return 1
    if not os.fork():
        os.setsid()
        with open("daemon.part", "w") as file:
            file.write(str(os.getpid()))
        os.rename("daemon.part", "daemon")
        wait_for_file("go")
        os._exit(0)
    wait_for_file("never")
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "begets", "--workers", "1")
    wait_until(lambda: is_there(firexlite, "daemon"))
    daemon = int((firexlite.folder / "daemon").read_text())
    kill_at_once(*(pid for pid in [front.pid, *host.descendants(front.pid)] if pid != daemon))
    front.wait()

    resumed = firexlite("resume", firexlite.only_run().firex_id, timeout=20)

    survived = host.start_time(daemon) is not None
    (firexlite.folder / "go").touch()
    assert resumed.code == 0, resumed.err
    assert survived
    wait_until(lambda: host.start_time(daemon) is None)


# --- workers that import the services themselves ---------------------------------------------------------------------------

def test_an_import_that_hangs_in_a_worker_is_refused(firexlite, plugin):
    plugin(THREAD + NOTE + """
if os.path.exists("once"):
    wait_for_file("never")
open("once", "w").close()

@app.task
def never(): pass
""")
    refused = firexlite("submit", "--plugins", "services.py", "--chain", "never", "--import_timeout", "1", timeout=20)

    firex_id = firexlite.only_run().firex_id
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        f"firexlite: {firex_id} was stopped: importing 'services.py' in a worker has not finished after 1 s; look for what it "
        f"waits for, or give it longer with --import_timeout SECONDS: `firexlite resume {firex_id}` goes on")
    assert states(firexlite.only_run()) == {"ready": 1} and not firexlite.only_run().is_alive()


def test_a_worker_that_has_imported_the_services_may_take_its_time(firexlite, plugin):
    plugin(THREAD + "from firexlite import app\n\n@app.task(returns='x')\ndef slow():\n    time.sleep(2.2)\n    return 1\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "slow", "--import_timeout", "1", timeout=20)

    assert done.code == 0, done.err


# --- workers whose runner dies ----------------------------------------------------------------------------------------------

FORGETS = NOTE + """
import ctypes
libc = ctypes.CDLL(None)

def told_at_death():
    number = ctypes.c_int()
    libc.prctl(2, ctypes.byref(number), 0, 0, 0)  # PR_GET_PDEATHSIG
    return number.value

def forget():
    libc.prctl(1, 0, 0, 0, 0)  # as the kernel does when a process changes its user
"""


@pytest.mark.skipif(host.IS_PORTABLE, reason="asks Linux for the signal that it sends; here the guard does it")
def test_a_worker_ends_with_its_runner_again_after_a_body_that_changed_its_user(firexlite, plugin):
    plugin(FORGETS + """
@app.task(returns=["before", "then"])
def changes():
    before = told_at_death()
    forget()
    return before, told_at_death()

@app.task(returns="after")
def after(): return told_at_death()
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "changes,after", "--workers", "1", timeout=20)

    assert done.code == 0, done.err
    assert query(firexlite.only_run(), "SELECT result FROM task ORDER BY id") == [
        ('{"before":9,"then":0}',), ('{"after":9}',)]


def test_a_body_that_changed_its_user_and_waits_notices_the_death_of_the_runner(firexlite, plugin, effects):
    plugin(FORGETS + """
@app.task
def child():
    note("child")
    wait_for_file("never")

@app.task(bind=True)
def parent(self):
    forget()
    self.enqueue_child(child.s(), block=True)
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "1")
    wait_until(lambda: effects()["child"] == 1)
    [runner] = host.children(front.pid)
    workers = host.children(runner)

    kill_at_once(front.pid, runner)
    front.wait()

    wait_until(lambda: not any(host.start_time(pid) for pid in workers), limit_s=5)


# --- what is not ours, and what is nobody's ---------------------------------------------------------------------------------

def test_the_background_jobs_of_a_script_that_became_the_front_are_left_alone(firexlite, plugin):
    plugin(ONE)
    script = subprocess.run(
        ["sh", "-c", 'sleep 60 < /dev/null > /dev/null 2>&1 & echo $! > job; exec "$@"', "sh", sys.executable, "-m",
         "firexlite", "submit", "--plugins", "services.py", "--chain", "one"], cwd=firexlite.folder, env=firexlite.env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    job = int((firexlite.folder / "job").read_text())
    lives = host.start_time(job) is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(job, signal.SIGKILL)

    assert script.returncode == 0, script.stderr
    assert lives


def test_what_belongs_to_another_user_does_not_hold_up_the_end():
    ends = """
import os, subprocess, sys, time
from firexlite import host

others = subprocess.Popen(["sleep", "60"])
ours = subprocess.Popen(["sleep", "60"])
kill = os.kill

def refused(pid, number):
    if pid == others.pid:
        raise PermissionError(1, "Operation not permitted")
    kill(pid, number)

os.kill = refused
began = time.monotonic()
host.end_descendants()
os.kill = kill
print(others.poll(), ours.poll() is not None, time.monotonic() - began < 5)
others.kill()
"""
    done = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True, timeout=30)

    assert done.stdout == "None True True\n", done.stderr


# --- bodies -----------------------------------------------------------------------------------------------------------------

def test_a_body_that_has_forked_still_hears_ctrl_c(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def forks():
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
    try:
        note("began")
        wait_for_file("never")
    finally:
        note("cleaned up")
""")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "forks")
    wait_until(lambda: effects()["began"] == 1)

    front.send_signal(signal.SIGINT)
    front.communicate(timeout=20)

    assert front.returncode == 130
    assert effects() == {"began": 1, "cleaned up": 1}


def test_the_front_holds_the_run_s_lock_as_long_as_it_may_have_to_clean_up(firexlite, plugin, effects):
    plugin(NOTE + "@app.task\ndef waits():\n    note('began')\n    wait_for_file('go')\n")
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "waits")
    wait_until(lambda: effects()["began"] == 1)

    held = [os.readlink(fd) for fd in Path(f"/proc/{front.pid}/fd").iterdir() if fd.is_symlink()]

    assert str(firexlite.only_run().alive_lock) in held
    (firexlite.folder / "go").touch()
    assert front.wait(20) == 0


def test_what_a_resume_asks_for_wins_over_what_the_run_recorded(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task\ndef fails(): raise ValueError\n")
    firexlite("submit", "--plugins", "services.py", "--chain", "fails", "--workers", "2", "--full-wait", "5",
              "--json_file", "a")
    resumes = """
import sys
from firexlite import cli, launch
launch._drive = lambda incarnation, *_: print(incarnation.slots, incarnation.full_wait_s, incarnation.json_file) or 0
cli.run(["resume", *sys.argv[1:]])
"""

    def resumed(*options: str) -> str:
        done = subprocess.run([sys.executable, "-c", resumes, firexlite.only_run().firex_id, *options], cwd=firexlite.folder,
                              env=firexlite.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        return done.stderr.splitlines()[0]

    assert resumed() == "2 5.0 a"
    assert resumed("--workers", "3", "--full-wait", "7", "--json_file", "b") == "3 7.0 b"


# --- messages ---------------------------------------------------------------------------------------------------------------

def test_a_sentence_that_is_too_long_for_a_message_is_told_without_its_middle(firexlite, plugin):
    plugin("raise RuntimeError('a' * 300_000)\n")

    refused = firexlite("submit", "--plugins", "services.py", "--chain", "nop")

    assert refused.code == 2
    assert refused.err.startswith("firexlite: ") and "aaa ... " in refused.err and len(refused.err) < LONGEST + 100


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", "\n", "\udc80"])
def test_any_sentence_fits_into_a_message(letter):
    ours, theirs = Channel.pair()

    theirs.tell("refused", sentence=letter * 300_000, code=2)
    heard = ours.hear()

    assert heard is not None and len(heard[0]["sentence"]) == LONGEST + len(" ... ")
    ours.close()
    theirs.close()


def test_a_file_descriptor_that_was_told_is_not_inherited_by_commands():
    ours, theirs = Channel.pair()
    with socket.socket() as any_fd:
        theirs.tell("started", fd=any_fd.fileno())
        heard = ours.hear()

    assert heard is not None
    [fd] = heard[1]
    assert not os.get_inheritable(fd)
    os.close(fd)
    ours.close()
    theirs.close()
