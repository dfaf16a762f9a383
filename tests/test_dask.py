"""Runs whose tasks are on the workers of a Dask cluster: real processes, each of which is killed, stopped and started again."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import Cluster
from conftest import NOTE, Command, kill_all, query, states, wait_until

from firexlite import host
from firexlite.flame_graph import model_of
from firexlite.history import History

pytestmark = pytest.mark.timeout(240)
long = pytest.mark.long

TREE = NOTE + """
@app.task(bind=True, returns="total")
def tree(self, depth, n=1):
    note(f"tree {n}")
    if not int(depth):
        return n
    children = [self.enqueue_child(tree.s(depth=int(depth) - 1, n=child)) for child in (2 * n, 2 * n + 1)]
    self.wait_for_children()
    return n + sum(child.result["total"] for child in children)
"""
SLOW = NOTE + """
@app.task(returns="slept")
def slow(number=0):
    note(f"began {number}")
    wait_for_file(f"go {number}")
    note(f"ended {number}")
    return int(number)

@app.task(bind=True, returns="all")
def several(self, count):
    children = [self.enqueue_child(slow.s(number=number)) for number in range(int(count))]
    self.wait_for_children()
    return [child.result["slept"] for child in children]
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers of one slot each, none of which a test kills."""
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One to be broken. Who is not heard of for two seconds is lost."""
    cluster = Cluster(tmp_path / "dask", FIREXLITE_LEASE="2")
    yield cluster
    cluster.close()


def go(firexlite: Command, *numbers: int) -> None:
    for number in numbers:
        (firexlite.folder / f"go {number}").touch()


def started(firexlite: Command, plugin: Callable, cluster: Cluster, effects: Callable[[], Counter], count: int = 2
            ) -> subprocess.Popen:
    """A run of which two tasks run."""
    run = firexlite.start("submit", "--plugins", plugin(SLOW), "--chain", "several", "--count", count, "--executor",
                          cluster.executor, FIREXLITE_LEASE="2")
    wait_until(lambda: len(effects()) == 2, what="two that run")
    return run


def attempts(firexlite: Command) -> list[tuple]:
    return query(firexlite.only_run(), "SELECT task, number, outcome, host FROM attempt ORDER BY task, number")


# --- what goes well ------------------------------------------------------------------------------------------------------

def test_a_blocking_tree_of_31_tasks_completes_on_two_slots(firexlite, plugin, effects, shared):
    done = firexlite("submit", "--plugins", plugin(TREE), "--chain", "tree", "--depth", 4, "--executor", shared.executor)

    assert done.code == 0, done.err
    assert f"total  {sum(range(1, 32))}" in done.out
    assert effects() == {f"tree {n}": 1 for n in range(1, 32)}
    assert states(firexlite.only_run()) == {"succeeded": 31}


@long
def test_no_more_tasks_run_at_once_than_the_cluster_has_slots(firexlite, plugin, effects, shared):
    run = started(firexlite, plugin, shared, effects, count=4)
    go(firexlite, 0, 1)
    wait_until(lambda: effects()["began 3"], what="the others")
    assert states(firexlite.only_run())["running"] == 2
    go(firexlite, 2, 3)

    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "[0, 1, 2, 3]" in out


def test_the_output_of_each_task_comes_home_whole_in_order_and_by_host(firexlite, plugin, shared):
    done = firexlite("submit", "--executor", shared.executor, "--chain", "talk", "--plugins", plugin("""
import subprocess, sys
from firexlite import app
from firexlite import get_task_logger
logger = get_task_logger(__name__)
@app.task(bind=True)
def talk(self):
    for number in range(3000):
        print(f"line {number} é")
    logger.warning("it was logged")
    subprocess.run(["echo", "and echoed"])
    self.enqueue_child(whisper.s(), block=True)
    print("and then the last")
@app.task
def whisper():
    print("whispered", file=sys.stderr)
"""))
    assert done.code == 0, done.err
    run = firexlite.only_run()
    with History(run) as history:
        talk, whisper = history.attempts()
        log = history.log(talk, None)[0].splitlines()
        whispered = history.log(whisper)[0]
    assert log[:3000] == [f"line {number} é" for number in range(3000)]
    assert "it was logged" in log[3000] and log[3001:] == ["and echoed", "and then the last"]
    assert whispered == "whispered\n"
    here = os.uname().nodename
    assert {path.name for path in run.logs.iterdir()} == {"run.log", f"1-0@{here}.log", f"1-1@{here}.log"}
    assert "and then the last" in firexlite("logs", done.firex_id, 1).out


@long
def test_large_arguments_and_results_cross_and_are_put_away_with_the_journal(firexlite, plugin, shared):
    done = firexlite("submit", "--executor", shared.executor, "--chain", "make,take", "--plugins", plugin("""
from firexlite import app
@app.task(returns="text")
def make():
    return "é" * 300_000
@app.task(bind=True, returns="size")
def take(self, text):
    child = self.enqueue_child(count.s(text=text + "!"), block=True)
    return child.result["size"]
@app.task(returns="size")
def count(text):
    return len(text)
"""))
    assert done.code == 0, done.err
    assert "size  300001" in done.out
    assert len(list(firexlite.only_run().blobs.iterdir())) >= 2


def test_helper_modules_and_folders_of_plugins_come_along_and_keep_the_names_that_they_have_at_home(firexlite, plugin, shared):
    (firexlite.folder / "kitchen").mkdir()
    plugin("def salted(soup): return soup + ' with salt'", "kitchen/spices.py")
    plugin("""
from firexlite import app
from spices import salted
@app.task(returns="soup")
def cook(soup):
    if soup == "stone":
        raise ValueError("there is nothing to cook")
    return salted(soup)
""", "kitchen/cooking.py")

    words = "submit", "--executor", shared.executor, "--plugins", "kitchen/cooking.py", "--chain", "cook", "--soup"
    done = firexlite(*words, "pea")
    assert done.code == 0, done.err
    assert "pea with salt" in done.out

    failed = firexlite(*words, "stone")
    assert failed.code == 1
    assert "at kitchen/cooking.py:7 in cook" in failed.err
    assert 'raise ValueError("there is nothing to cook")' in failed.err


def test_a_secret_reaches_the_body_and_no_log_and_is_not_in_what_dask_carries(firexlite, plugin, shared):
    file = plugin("""
from firexlite import app
@app.task(returns="size")
def use(token):
    print("it is", token)
    return len(token)
""")
    done = firexlite("submit", "--executor", shared.executor, "--chain", "use", "--token", "Secret(env:TOKEN)",
                     "--plugins", file, TOKEN="hunter2-of-the-cluster")
    assert done.code == 0, done.err
    assert "size  22" in done.out
    run = firexlite.only_run()
    for path in (*run.path.rglob("*"), *shared.folder.rglob("*")):
        assert not path.is_file() or b"hunter2-of-the-cluster" not in path.read_bytes(), path
    assert firexlite("logs", done.firex_id, 1).out.endswith("it is [secret env:TOKEN]\n")


@pytest.mark.long
def test_a_silence_that_its_own_run_does_not_bear_is_broken_by_a_worker(firexlite, plugin, shared):
    """The worker would say that it is there every 3.3 s, if it went by what is borne where it was started."""
    done = firexlite("submit", "--executor", shared.executor, "--chain", "rest", "--plugins", plugin("""
import time
from firexlite import app
@app.task
def rest():
    time.sleep(3)
"""), FIREXLITE_LEASE="2")

    assert done.code == 0, done.err
    assert [outcome for _, _, outcome, _ in attempts(firexlite)] == ["succeeded"]


@long
def test_the_report_says_on_which_host_each_attempt_was_made(firexlite, plugin, shared):
    done = firexlite("submit", "--plugins", plugin(TREE), "--chain", "tree", "--depth", 1, "--executor", shared.executor)
    assert done.code == 0, done.err

    with History(firexlite.only_run()) as history:
        model = model_of(history)
    assert {attempt["host"] for task in model["tasks"] for attempt in task["attempts"]} == {os.uname().nodename}


# --- what is asked of tasks that run elsewhere ---------------------------------------------------------------------------

LIMITED = NOTE + """
from firexlite import SoftTimeLimitExceeded
import signal

@app.task(soft_time_limit=0.3, returns="how")
def soft():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "told"

@app.task(time_limit=0.5)
def hard():
    while True:
        try:
            time.sleep(30)
        except BaseException:
            pass

@app.task(worker_deaths=0)
def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

@app.task(max_retries=2, autoretry_for=[OSError], default_retry_delay=0, returns="tries", bind=True)
def again(self):
    note("try")
    if self.request.retries < 2:
        raise OSError("not yet")
    return self.request.retries

@app.task(bind=True, returns="seen")
def waits(self):
    self.sleep(0.5)
    return self.wait_for_event("go", timeout=60)
"""


@pytest.mark.parametrize("service, told", [
    pytest.param("soft", "how  told", marks=long), pytest.param("hard", "TimeLimitExceeded(0.5,)", marks=long),
    ("crash", "SIGSEGV"), pytest.param("again", "tries  2", marks=long)])
def test_limits_deaths_and_retries_are_as_here(firexlite, plugin, effects, shared, service, told):
    done = firexlite("submit", "--plugins", plugin(LIMITED), "--chain", service, "--executor", shared.executor)

    assert told in done.out + done.err
    assert done.code == (0 if service in ("soft", "again") else 1)


@long
def test_a_body_sleeps_waits_for_an_event_and_is_replayed_without_a_process_meanwhile(firexlite, plugin, shared):
    run = firexlite.start("submit", "--plugins", plugin(LIMITED), "--chain", "waits", "--executor", shared.executor)
    wait_until(lambda: firexlite.runs(), what="run")
    wait_until(lambda: ("suspended",) in query(firexlite.only_run(), "SELECT outcome FROM attempt"), what="suspended attempt")
    assert firexlite("send", firexlite.only_run().firex_id, "go", "4711").code == 0

    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "seen  4711" in out


@long
def test_cancelling_a_run_interrupts_its_bodies_there(firexlite, plugin, effects, shared):
    run = started(firexlite, plugin, shared, effects)
    bodies = [pid for worker in shared.workers for pid in host.descendants(worker.pid)]
    assert firexlite("cancel", firexlite.only_run().firex_id).code == 0

    run.communicate(timeout=60)
    assert run.returncode == 1
    assert states(firexlite.only_run()) == {"revoked": 3}
    wait_until(lambda: sum(host.start_time(pid) is not None for pid in bodies) <= 2, what="end of the bodies")
    assert not [line for line in effects() if line.startswith("ended")]


@long
def test_ctrl_c_interrupts_and_a_resume_goes_on_on_the_same_cluster(firexlite, plugin, effects, shared):
    run = started(firexlite, plugin, shared, effects)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 130

    go(firexlite, 0, 1)
    done = firexlite("resume", "last")
    assert done.code == 0, done.err
    assert effects() == {"began 0": 2, "began 1": 2, "ended 0": 1, "ended 1": 1}
    assert {place for *_, place in attempts(firexlite)} == {os.uname().nodename}


@long
def test_a_queue_has_its_tasks_run_where_a_worker_offers_it(firexlite, plugin, tmp_path):
    cluster = Cluster(tmp_path / "queues", workers=1)
    try:
        cluster.start_worker("--resources", "queue:gpu=1", "--name", "gpu", GPU="1")
        cluster.wait_for_workers(2)
        done = firexlite("submit", "--executor", cluster.executor, "--chain", "top", "--plugins", plugin("""
import os
from firexlite import app
@app.task(queue="gpu", returns="has")
def train(number):
    return os.environ.get("GPU")
@app.task(returns="has")
def plain(number):
    return 1
@app.task(bind=True, returns="seen")
def top(self):
    children = [self.enqueue_child(service.s(number=number)) for number in range(5) for service in (train, plain)]
    self.wait_for_children()
    return [child.result["has"] for child in children[::2]]
"""))
        assert done.code == 0, done.err
        assert "seen  ['1', '1', '1', '1', '1']" in done.out
    finally:
        cluster.close()


# --- what breaks ---------------------------------------------------------------------------------------------------------

def one_body(firexlite: Command, plugin: Callable, cluster: Cluster, effects: Callable[[], Counter]
             ) -> tuple[subprocess.Popen, subprocess.Popen]:
    """A run of one task, which runs, and the worker of the cluster on which it does."""
    run = firexlite.start("submit", "--plugins", plugin(SLOW), "--chain", "slow", "--executor", cluster.executor,
                          FIREXLITE_LEASE="2")
    wait_until(lambda: effects()["began 0"], what="body")
    return run, next(worker for worker in cluster.workers if any(True for _ in host.descendants(worker.pid)))


def test_what_ran_on_a_worker_that_was_killed_runs_again_elsewhere(firexlite, plugin, effects, cluster):
    run, worker = one_body(firexlite, plugin, cluster, effects)
    cluster.kill(worker)
    wait_until(lambda: effects()["began 0"] == 2, 60, what="another attempt")
    go(firexlite, 0)

    _, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert effects() == {"began 0": 2, "ended 0": 1}
    assert [outcome for _, _, outcome, _ in attempts(firexlite)] == ["lost", "succeeded"]


@long
def test_the_late_result_of_a_worker_that_was_given_up_is_dropped(firexlite, plugin, effects, cluster):
    run, worker = one_body(firexlite, plugin, cluster, effects)
    frozen = [worker.pid, *host.descendants(worker.pid)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)  # as if its cable had been pulled
    try:
        wait_until(lambda: effects()["began 0"] == 2, 60, what="another attempt")
    finally:
        go(firexlite, 0)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    _, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert [outcome for _, _, outcome, _ in attempts(firexlite)] == ["lost", "succeeded"]
    wait_until(lambda: all(host.start_time(pid) is None for pid in frozen[1:]), what="end of those that nobody waits for")


@long
def test_a_run_goes_on_when_the_scheduler_was_killed_and_is_back(firexlite, plugin, effects, cluster):
    run = started(firexlite, plugin, cluster, effects, count=4)
    cluster.kill(cluster.scheduler)
    for worker in cluster.workers:
        worker.wait(60)  # a worker of Dask ends without its scheduler; whoever keeps it starts another
    wait_until(lambda: "is lost" in (firexlite.only_run().logs / "run.log").read_text(), what="word of it")
    cluster.start_scheduler()
    cluster.workers.clear()
    for _ in range(2):
        cluster.start_worker()
    go(firexlite, 0, 1, 2, 3)

    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    assert "[0, 1, 2, 3]" in out
    assert "is lost; the run goes on when it is back" in err and "is back" in err
    seen = effects()
    assert [seen[f"ended {number}"] for number in range(4)] == [1, 1, 1, 1]


@long
def test_a_run_whose_own_processes_were_killed_is_resumed_on_the_same_cluster(firexlite, plugin, effects, cluster):
    run = started(firexlite, plugin, cluster, effects)
    bodies = [pid for worker in cluster.workers for outpost in host.children(worker.pid) for pid in host.children(outpost)]
    kill_all(run)
    assert len(bodies) == 3
    wait_until(lambda: all(host.start_time(pid) is None for pid in bodies), what="end of the bodies")
    go(firexlite, 0, 1)

    done = firexlite("resume", "last", timeout=90)
    assert done.code == 0, done.err
    assert "[0, 1]" in done.out
    seen = effects()
    assert (seen["began 0"], seen["began 1"]) == (2, 2)
    assert (seen["ended 0"], seen["ended 1"]) == (1, 1)


@long
def test_a_run_goes_on_when_the_process_that_speaks_with_the_scheduler_is_killed(firexlite, plugin, effects, cluster):
    run = started(firexlite, plugin, cluster, effects)
    journal = firexlite.only_run()
    os.kill(bridge_of(run), signal.SIGKILL)
    wait_until(lambda: "lost" in [outcome for _, _, outcome, _ in attempts(firexlite)], what="loss")
    go(firexlite, 0, 1)

    out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert "[0, 1]" in out
    assert "the process that speaks with dask:tcp://" in (journal.logs / "run.log").read_text()


def bridge_of(run: subprocess.Popen) -> int:
    """The first that the job of a run has forked."""
    [job] = host.children(run.pid)
    return min(host.children(job))


# --- what is refused -----------------------------------------------------------------------------------------------------

PLAIN = "from firexlite import app\n@app.task\ndef nop(): pass\n"


@pytest.mark.parametrize("executor, sentence", [
    ("ray", "--executor takes local, dask:local or dask:tls://HOST:PORT, not 'ray'"),
    ("dask", "--executor takes local, dask:local or dask:tls://HOST:PORT, not 'dask'"),
    ("dask:8786", "--executor dask: takes the address of a Dask scheduler, as in dask:tls://host:8786, or local, not '8786'"),
    ("dask:tcp://192.0.2.1:8786", "the connection to tcp://192.0.2.1:8786 would be neither encrypted nor checked"),
    ("dask:tls://127.0.0.1:1", "dask:tls://127.0.0.1:1 needs a certificate of ours, and Dask's configuration does not name it: "
                               "distributed.comm.tls.ca-file, distributed.comm.tls.client.cert"),
])
def test_what_is_no_place_for_tasks_is_refused_and_nothing_created(firexlite, plugin, executor, sentence):
    refused = firexlite("submit", "--plugins", plugin(PLAIN), "--chain", "nop", "--executor", executor)

    assert (refused.code, refused.out) == (2, "")
    assert sentence in refused.err.replace("tls://127.0.0.1:1 needs", "dask:tls://127.0.0.1:1 needs"), refused.err
    assert firexlite.runs() == []


def test_a_scheduler_that_is_not_there_is_told_of_before_anything_is_created(firexlite, plugin):
    refused = firexlite("submit", "--plugins", plugin(PLAIN), "--chain", "nop", "--executor", "dask:tcp://127.0.0.1:1")

    assert (refused.code, refused.out) == (2, "")
    assert "the Dask scheduler tcp://127.0.0.1:1 cannot be used: " in refused.err
    assert "Connection refused" in refused.err or "Timed out trying to connect" in refused.err  # as the last try ended
    assert firexlite.runs() == []


def test_without_dask_the_extra_that_brings_it_is_named(firexlite, plugin, tmp_path):
    (tmp_path / "hidden" / "distributed").mkdir(parents=True)
    (tmp_path / "hidden" / "distributed" / "__init__.py").write_text("raise ImportError('it is not installed')")

    refused = firexlite("submit", "--plugins", plugin(PLAIN), "--chain", "nop", "--executor", "dask:local",
                        PYTHONPATH=os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")]))
    assert (refused.code, refused.out) == (2, "")
    assert "`pip install 'firexlite[dask]'` brings it" in refused.err
    assert firexlite.runs() == []


def test_a_service_file_that_cannot_be_imported_there_stops_the_run_with_the_reason(firexlite, plugin, shared):
    refused = firexlite("submit", "--executor", shared.executor, "--chain", "nop", "--plugins", plugin("""
import os
if "ONLY_AT_HOME" not in os.environ:
    raise RuntimeError("this is not home")
from firexlite import app
@app.task
def nop(): pass
"""), ONLY_AT_HOME="1")

    assert refused.code == 2
    assert "the services could not be loaded on " in refused.err and "RuntimeError: this is not home" in refused.err
    assert f"`firexlite resume {firexlite.only_run().firex_id}` goes on" in refused.err


# --- a cluster of one's own ----------------------------------------------------------------------------------------------

def test_a_cluster_started_for_the_run_ends_with_it(firexlite, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(TREE), "--chain", "tree", "--depth", 2, "--executor", "dask:local",
                     "--workers", 2)

    assert done.code == 0, done.err
    assert sum(effects().values()) == 7
    assert not [path for path in firexlite.home.parent.rglob("worker-*") if path.is_dir()]
    mine = str(firexlite.home).encode()  # in the environment of all that the run has started
    assert not [path for path in Path("/proc").glob("[0-9]*") if mine in environment(path)]


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@long
def test_a_script_has_its_tasks_on_a_cluster_too(firexlite, plugin, shared):
    plugin("""
import firexlite
from firexlite import app

@app.task(returns="greeting")
def greet(name):
    return f"Hello {name}!"

if __name__ == "__main__":
    result = firexlite.run(greet.s(name="Li"), executor=EXECUTOR)
    print(result["greeting"])
""".replace("EXECUTOR", repr(shared.executor)), "script.py")
    done = subprocess.run([sys.executable, "script.py"], cwd=firexlite.folder, env=firexlite.env, capture_output=True,
                          text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "Hello Li!\n"), done.stderr
    assert attempts(firexlite) == [(1, 1, "succeeded", os.uname().nodename)]


def test_nothing_of_dask_is_imported_unless_it_is_asked_for(firexlite, plugin):
    code = ("import sys; import firexlite.__main__, firexlite.cli, firexlite.launch, firexlite.runner; "
            "from firexlite.executors import engine; "
            "print([name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed', 'tornado', 'asyncio')])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout == "[]\n"
