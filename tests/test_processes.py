"""Workers: slots, nesting, deaths, and service files that are hard to import."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import NOTE, query, states, wait_until

from firexlite import host

NESTED = """
from firexlite import app

@app.task(bind=True, returns="depth")
def nest(self, left):
    if int(left) == 0:
        return 0
    return 1 + self.enqueue_child_and_get_results(nest.s(left=int(left) - 1), return_keys="depth")[0]
"""


def chain_results(run) -> dict:
    return json.loads(run.run_json.read_text())["results"]["chain_results"]


def test_sixty_nested_blocking_levels_complete_with_two_workers(firexlite, plugin):
    plugin(NESTED)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "nest", "--left", "60", "--workers", "2")

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"depth": 60}


def test_a_worker_is_there_before_the_first_child_is_asked_for(firexlite, plugin):
    plugin("""
import os
import time
from firexlite import app, host

@app.task(returns="x")
def child(): return 1

@app.task(bind=True, returns="x")
def parent(self):
    while len(list(host.children(os.getppid()))) < 2:  # this worker, and another
        time.sleep(0.01)
    return self.enqueue_child_and_get_results(child.s())["x"]
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent")

    assert done.code == 0, done.err


@pytest.mark.timeout(180)
def test_a_thousand_waiting_parents_need_a_dozen_processes(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(returns="y")
def child(x): return x * 2

@app.task(bind=True, returns="z")
def parent(self, x):
    return self.enqueue_child_and_get_results(child.s(x=x))["y"]

@app.task(bind=True, returns="total")
def top(self):
    promises = [self.enqueue_child(parent.s(x=x)) for x in range(1000)]
    self.wait_for_children()
    return sum(promise.result["z"] for promise in promises)
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")
    most = 0
    while process.poll() is None:
        most = max(most, 1 + len(list(host.descendants(process.pid))))
        time.sleep(0.02)
    assert process.returncode == 0, process.communicate()[1]
    assert chain_results(firexlite.only_run()) == {"total": 999000}
    assert 4 <= most <= 12


def test_two_children_overlap_in_time(firexlite, plugin):
    plugin("""
import time
from firexlite import app

@app.task(returns="span")
def nap(number):
    began = time.time()
    time.sleep(1)
    return began, time.time()

@app.task(bind=True, returns="spans")
def both(self):
    promises = [self.enqueue_child(nap.s(number=n)) for n in (1, 2)]
    self.wait_for_children()
    return [promise.result["span"] for promise in promises]
""".replace('returns="span")', 'returns=["span"])').replace("return began, time.time()", "return [began, time.time()]"))

    done = firexlite("submit", "--plugins", "services.py", "--chain", "both", "--workers", "2")

    assert done.code == 0, done.err
    (a, b), (c, d) = chain_results(firexlite.only_run())["spans"]
    assert max(a, c) < min(b, d)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_no_more_bodies_run_at_once_than_there_are_workers(firexlite, plugin, workers):
    plugin("""
import os, time
from firexlite import app

@app.task(returns="most")
def work(number):
    open(f"running/{number}", "w").close()
    most = len(os.listdir("running"))
    time.sleep(0.1)
    os.unlink(f"running/{number}")
    return most

@app.task(bind=True, returns="most")
def middle(self, number):
    return self.enqueue_child_and_get_results(work.s(number=number))["most"]

@app.task(bind=True, returns="most")
def top(self):
    promises = [self.enqueue_child(middle.s(number=n)) for n in range(9)]
    self.wait_for_children()
    return max(promise.result["most"] for promise in promises)
""")
    (firexlite.folder / "running").mkdir()

    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--workers", workers)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run())["most"] == workers


DEADLY = """
import os, signal
from firexlite import app

@app.task(returns="lives"%s)
def deadly(times):
    with open("deaths", "a") as file:
        file.write("x")
    if os.path.getsize("deaths") <= int(times):
        print("going down")
        %s
    return os.path.getsize("deaths")
"""


@pytest.mark.parametrize("end, how", [
    ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)"),
    ("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (SIGSEGV)"),
    ("os._exit(0)", "exit status 0"),
    ("os._exit(7)", "exit status 7"),
])
def test_a_task_survives_three_deaths_of_its_worker_and_fails_at_the_fourth(firexlite, plugin, end, how):
    plugin(DEADLY % ("", end))

    survived = firexlite("submit", "--plugins", "services.py", "--chain", "deadly", "--times", "3")
    assert survived.code == 0, survived.err
    (firexlite.folder / "deaths").unlink()
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "deadly", "--times", "9")

    assert failed.code == 1
    assert f"WorkerLost: the worker of this task died 4 times, at last by {how}" in failed.err
    assert "| going down" in failed.err
    assert (firexlite.folder / "deaths").read_text() == "xxxx"


def test_a_task_without_worker_deaths_fails_at_the_first(firexlite, plugin):
    plugin(DEADLY % (", worker_deaths=0", "os._exit(1)"))

    failed = firexlite("submit", "--plugins", "services.py", "--chain", "deadly", "--times", "9")

    assert failed.code == 1
    assert "WorkerLost: the worker of this task died once, by exit status 1" in failed.err
    assert (firexlite.folder / "deaths").read_text() == "x"


def test_a_parent_that_raises_has_its_running_children_revoked(firexlite, plugin):
    plugin("""
import time
from firexlite import app

@app.task
def slow():
    try:
        open("began", "w").close()
        time.sleep(60)
    finally:
        open("cleaned up", "w").close()

@app.task(bind=True)
def parent(self):
    import os
    self.enqueue_child(slow.s() | slow.s())
    while not os.path.exists("began"):
        time.sleep(0.01)
    raise ValueError("no more")
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2", timeout=20)

    assert failed.code == 1
    assert states(firexlite.only_run()) == {"failed": 1, "revoked": 2}
    assert (firexlite.folder / "cleaned up").exists()


def test_output_of_a_task_lands_in_the_logs(firexlite, plugin):
    plugin("""
import logging, os, sys
from firexlite import app

@app.task
def chatty():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").info("a record")
    os.system("echo from a shell")
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "chatty")

    assert done.code == 0 and "to stdout" not in done.out
    [log] = firexlite.only_run().logs.glob("*-*.log")
    assert [line.partition(" INFO ")[2] or line for line in log.read_text().splitlines()] == [
        "to stdout", "to stderr", "mine: a record", "from a shell"]
    [task] = firexlite.flame(done.firex_id)["tasks"]
    assert "from a shell" in task["log"]["lines"]


# --- files that are hard to import --------------------------------------------------------------------------------

def test_a_service_file_may_start_a_thread_at_import(firexlite, plugin):
    plugin("""
import threading, time
from firexlite import app

ticks = []
def tick():
    while True:
        ticks.append(time.time())
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()

@app.task(returns="alive")
def ask():
    before = len(ticks)
    time.sleep(0.1)
    return len(ticks) > before

@app.task(bind=True, returns="both")
def top(self):
    promises = [self.enqueue_child(ask.s()) for _ in range(2)]
    self.wait_for_children()
    return [promise.result["alive"] for promise in promises]
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"both": [True, True]}  # each worker has a thread of its own


def test_a_service_file_may_import_numpy(firexlite, plugin):
    pytest.importorskip("numpy", reason="numpy is in the test extra")
    plugin("""
import numpy
from firexlite import app

@app.task(returns="norm")
def norm():
    return float(numpy.linalg.norm(numpy.ones((64, 64)) @ numpy.ones((64, 64))))
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "norm")

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"norm": 4096.0}


def test_the_front_counts_threads_that_python_does_not_see():
    stop = threading.Event()
    before = host.thread_count()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert host.thread_count() == before + 1
    stop.set()
    thread.join()


def test_a_service_may_use_multiprocessing(firexlite, plugin):
    plugin("""
import multiprocessing, time
from firexlite import app

def square(x): return x * x

@app.task(returns=["squares", "ended_by"])
def compute():
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        squares = pool.map(square, range(5))
    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    return squares, process.exitcode
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "compute", timeout=30)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"squares": [0, 1, 4, 9, 16], "ended_by": -15}


def test_shell_commands_of_a_revoked_body_end_with_it(firexlite, plugin):
    plugin("""
import os, subprocess, time
from firexlite import app

def is_alive():
    try:
        return b" Z " not in open("/proc/" + open("pid").read() + "/stat", "rb").read()
    except OSError:
        return False

@app.task
def slow():
    shell = subprocess.Popen(["sleep", "300"])
    with open("pid.part", "w") as file:
        file.write(str(shell.pid))
    os.rename("pid.part", "pid")
    shell.wait()

@app.task(bind=True, returns="gone")
def parent(self):
    promise = self.enqueue_child(slow.s())
    while not os.path.exists("pid"):
        time.sleep(0.01)
    promise.revoke()
    give_up = time.monotonic() + 10
    while is_alive() and time.monotonic() < give_up:
        time.sleep(0.01)
    return not is_alive(), promise.state
""".replace('returns="gone"', 'returns=["gone", "state"]'))
    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2", timeout=30)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"gone": True, "state": "REVOKED"}


def test_a_service_whose_alarm_raises_never_leaves_the_write_lock_held(firexlite, plugin):
    plugin("""
import random, signal, time
from firexlite import app

class TooSlow(Exception): pass

def ring(number, frame):
    raise TooSlow

@app.task(returns="x")
def child(n): return n

@app.task(bind=True, returns="rung")
def impatient(self):
    signal.signal(signal.SIGALRM, ring)
    rung = 0
    for n in range(300):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.002))
            while True:
                self.enqueue_child(child.s(n=n))
        except TooSlow:
            rung += 1
    return rung
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "impatient", "--workers", "2", timeout=60)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"rung": 300}


def test_a_service_file_may_replace_stdout_at_import(firexlite, plugin):
    plugin("""
import codecs, sys
sys.stdout = codecs.getwriter("utf8")(sys.stdout.buffer)
from firexlite import app

@app.task
def speak():
    print("spoken")
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "speak", timeout=20)

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["log"]["lines"] == ["spoken"]


def test_a_service_may_remove_the_working_directory(firexlite, plugin):
    plugin("""
import os, shutil
from firexlite import app

@app.task(returns="x")
def clean():
    shutil.rmtree(os.getcwd())
    return 1

@app.task(returns="y")
def after(x): return x + 1
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "clean,after", timeout=20)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"x": 1, "y": 2}


def test_workers_that_cannot_even_begin_end_the_run_with_a_reason(firexlite, plugin):
    plugin("""
import os, threading, time
from firexlite import app
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()  # so workers import this file themselves
if os.path.exists("once"):
    raise RuntimeError("the licence is taken")
open("once", "w").close()

@app.task
def never(): pass
""")
    stopped = firexlite("submit", "--plugins", "services.py", "--chain", "never", timeout=30)

    assert stopped.code == 1
    assert "5 workers in a row ended before they could begin, at last by exit status 1" in stopped.err
    assert "the licence is taken" in stopped.err and "firexlite resume" in stopped.err
    assert states(firexlite.only_run()) == {"ready": 1}


@pytest.mark.parametrize("name", ["Interrupted", "TaskRevoked"])
def test_a_body_that_raises_what_only_we_raise_fails_its_task(firexlite, plugin, name):
    plugin(f"""
from firexlite import app
from firexlite.errors import {name}

@app.task
def odd():
    raise {name}("by myself")
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "odd", timeout=20)

    assert failed.code == 1
    assert f"{name}: by myself" in failed.err


WITH_COMMAND = NOTE + """
import subprocess

@app.task(returns="x")
def wait():
    note("wait")
    if not os.path.exists("go"):
        subprocess.run(["sleep", "60"], check=True)
    return 1

@app.task(bind=True, returns="y")
def above(self):
    return self.enqueue_child_and_get_results(wait.s())["x"] + 1
"""


def _the_command_below(front):
    """The process of the command, its worker, and the runner."""
    found = wait_until(lambda: [pid for pid in host.descendants(front.pid) if host.command_line(pid).startswith("sleep")])
    worker = host.parent(found[0])
    return found[0], worker, host.parent(worker)


@pytest.mark.parametrize("has_ended", [True, False], ids=["ended-before-the-run-is-told", "told-a-moment-before"])
def test_a_command_that_is_told_to_end_with_its_run_fails_no_task(firexlite, plugin, effects, has_ended):
    plugin(WITH_COMMAND)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "above")
    command, worker, runner = _the_command_below(front)

    os.kill(command, signal.SIGTERM)
    os.kill(worker, signal.SIGTERM)
    if has_ended:
        wait_until(lambda: host.start_time(command) is None)
    for pid in (runner, front.pid):
        os.kill(pid, signal.SIGTERM)

    assert front.wait(20) == 143
    assert states(firexlite.only_run()) == {"blocked": 1, "running": 1}
    (firexlite.folder / "go").touch()
    assert firexlite("resume", "last").code == 0
    assert chain_results(firexlite.only_run()) == {"y": 2} and effects() == {"wait": 2}


def test_a_command_that_alone_is_told_to_end_fails_its_task(firexlite, plugin, effects):
    plugin(WITH_COMMAND)
    front = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait")
    command, _, _ = _the_command_below(front)

    os.kill(command, signal.SIGTERM)
    _, err = front.communicate(timeout=20)

    assert front.returncode == 1
    assert "died with <Signals.SIGTERM: 15>" in err
    assert states(firexlite.only_run()) == {"failed": 1}


@pytest.mark.parametrize("code, expected", [(7, 7), (0, 1), (256, 1), ("'x'", 1)])
def test_a_service_chooses_the_exit_code_of_a_failed_run(firexlite, plugin, code, expected):
    plugin(f"""
from firexlite import app, ReturnCodeError

@app.task
def choose():
    raise ReturnCodeError("chosen", {code})
""")
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "choose", timeout=20)

    assert failed.code == expected and "chosen" in failed.err


def test_an_alarm_that_a_service_leaves_behind_does_not_hit_the_next_task(firexlite, plugin):
    plugin("""
import signal, subprocess, time
from firexlite import app

@app.task(returns="x")
def careless():
    signal.alarm(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return 1

@app.task(returns="code")
def careful(x):
    time.sleep(1.3)
    return subprocess.run(["false"]).returncode
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "careless,careful", "--workers", "1", timeout=20)

    assert done.code == 0, done.err
    assert chain_results(firexlite.only_run()) == {"x": 1, "code": 1}
    assert query(firexlite.only_run(), "SELECT max(number) FROM attempt") == [(1,)]


def test_a_resume_completes_what_a_kill_right_after_the_end_left_undone(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(returns='x')\ndef one(): return 1\n")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "one")
    run = firexlite.only_run()
    report = json.loads(run.run_json.read_text())
    run.run_json.write_text(json.dumps({**report, "completed": False, "state": "running"}))  # as it was before the end

    again = firexlite("resume", done.firex_id, "--json_file", "copy.json")

    assert again.code == 0
    assert json.loads(run.run_json.read_text()) == report == json.loads((firexlite.folder / "copy.json").read_text())


def test_a_run_goes_on_when_nobody_reads_its_output(firexlite, plugin):
    plugin("print('loading', flush=False)\nfrom firexlite import app\n\n@app.task(returns='x')\ndef one(): return 1\n")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "one", PYTHONUNBUFFERED="")
    process.stdout.close()
    process.stderr.close()

    wait_until(lambda: process.poll() is not None)
    assert states(firexlite.only_run()) == {"succeeded": 1}
    process.stdout = process.stderr = None


@pytest.mark.parametrize("limit", [9, 13])
def test_a_process_that_may_open_no_more_files_says_so_at_once(firexlite, plugin, limit):
    plugin("from firexlite import app\n\n@app.task(returns='x')\ndef one(): return 1\n")

    done = subprocess.run(["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", sys.executable, "-m", "firexlite", "submit",
                           "--plugins", "services.py", "--chain", "one"], cwd=firexlite.folder, env=firexlite.env,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)

    assert done.returncode == 4, done.stderr
    assert f"could not be opened: this process may have no more than {limit} files open; raise that limit (`ulimit -n`)" \
        in done.stderr
