"""Batches in whole runs: what may be lost of them, and what others see meanwhile, whatever happens to their worker."""
from __future__ import annotations

import os
import random
import signal
import time

import pytest
from conftest import NOTE, kill_all, query, states, wait_until

from firexlite.batch import MOST_TASKS

FAST = NOTE + """
@app.task(returns="x")
def fast(number):
    note(f"fast {number}")
    return number
"""


def submit(firexlite, workers: int = 2):
    return firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", workers)


def ended(process) -> None:
    """A command succeeds."""
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def is_sound(firexlite, run) -> None:
    done = firexlite("doctor", run.firex_id)
    assert done.code == 0, done.out + done.err
    assert query(run, "SELECT count(*) FROM task WHERE reserved IS NOT NULL") == [(0,)]


SLEEPER = NOTE + """
@app.task(returns="x")
def fast(number):
    note(f"fast {number}")
    if number == 100:
        note(f"pid {os.getpid()}")
        wait_for_file("go")
    return number

@app.task(returns="y")
def after(number):
    note(f"after {number}")
    return number

@app.task(bind=True, returns="total")
def top(self):
    promises = [self.enqueue_child(fast.s(number=number) | after.s()) for number in range(200)]
    self.wait_for_children()
    return sum(promise.result["y"] for promise in promises)
"""
ALL_BUT_ONE = {"blocked": 1, "succeeded": 398, "running": 1, "waiting": 1}


@pytest.mark.parametrize("workers", [2, 3])
def test_while_one_of_a_batch_sleeps_all_others_are_done_by_others(workers, firexlite, plugin, effects):
    plugin(SLEEPER)
    process = submit(firexlite, workers)

    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == ALL_BUT_ONE, what="end of all others")

    assert query(firexlite.only_run(), "SELECT count(*) FROM task WHERE reserved IS NOT NULL") == [(0,)]
    assert query(firexlite.only_run(), "SELECT count(*) FROM attempt WHERE ended IS NULL") == [(2,)]
    (firexlite.folder / "go").touch()
    ended(process)
    assert {count for what, count in effects().items()} == {1}
    is_sound(firexlite, firexlite.only_run())


def test_a_worker_that_is_killed_while_one_of_its_batch_sleeps_has_only_that_repeated(firexlite, plugin, effects):
    plugin(SLEEPER)
    process = submit(firexlite)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == ALL_BUT_ONE, what="end of all others")
    [pid] = [int(what.split()[1]) for what in effects() if what.startswith("pid")]

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: effects()["fast 100"] == 2, what="second attempt")
    (firexlite.folder / "go").touch()
    ended(process)

    run = firexlite.only_run()
    assert [what for what, count in effects().items() if count > 1] == ["fast 100"]
    assert query(run, "SELECT arguments, attempt, deaths FROM task WHERE attempt > 1") == [('{"number":100}', 2, 1)]
    assert query(run, "SELECT outcome FROM attempt WHERE outcome <> 'succeeded'") == [("lost",)]
    is_sound(firexlite, run)


@pytest.mark.parametrize("deaths", [0, 3])
def test_a_task_that_kills_its_worker_in_a_batch_costs_no_other_a_death(deaths, firexlite, plugin, effects):
    plugin(NOTE + f"""
@app.task(returns="x", worker_deaths={deaths})
def fast(number):
    note(f"fast {{number}}")
    if number == 150:
        os.kill(os.getpid(), 9)
    return number

@app.task(bind=True, returns="failed")
def top(self):
    promises = [self.enqueue_child(fast.s(number=number)) for number in range(300)]
    self.wait_for_children(raise_exception_on_failure=False)
    return [number for number, promise in enumerate(promises) if not promise.successful()]
""")
    ended(submit(firexlite))

    run = firexlite.only_run()
    assert states(run) == {"succeeded": 300, "failed": 1}
    assert query(run, "SELECT arguments, deaths FROM task WHERE deaths > 0") == [('{"number":150}', deaths + 1)]
    assert effects()["fast 150"] == deaths + 1
    assert sum(effects().values()) <= 300 + deaths + (deaths + 1) * MOST_TASKS
    is_sound(firexlite, run)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_large_fan_out_that_is_killed_again_and_again_does_each_child_and_repeats_only_short_ones(
        seed, firexlite, plugin, effects):
    dice, workers, kills = random.Random(seed), 2, 5
    plugin(FAST + """
@app.task
def slow(number):
    note(f"slow {number}")
    time.sleep(0.005)

@app.task(bind=True)
def top(self):
    for number in range(6000):
        self.enqueue_child((slow if number % 50 == 0 else fast).s(number=number))
    self.wait_for_children()
""")
    command = ["submit", "--plugins", "services.py", "--chain", "top", "--workers", workers]
    for _ in range(kills):
        before = sum(effects().values())
        process = firexlite.start(*command)
        wait_until(lambda n=before: sum(effects().values()) > n + 100, what="more children")
        time.sleep(dice.random() / 10)
        kill_all(process)
        command = ["resume", firexlite.only_run().firex_id, "--workers", workers]

    ended(firexlite.start(*command))

    run, done = firexlite.only_run(), effects()
    assert states(run) == {"succeeded": 6001}
    assert sorted(done) == sorted(f"{'slow' if number % 50 == 0 else 'fast'} {number}" for number in range(6000))
    assert query(run, "SELECT count(*), count(DISTINCT task) FROM attempt WHERE outcome = 'succeeded'") == [(6001, 6001)]
    assert sum(count - 1 for what, count in done.items() if what.startswith("slow")) <= kills * workers
    assert sum(done.values()) - 6000 <= kills * workers * (MOST_TASKS + 1)
    is_sound(firexlite, run)


def test_children_start_while_the_body_that_enqueued_them_goes_on(firexlite, plugin, effects):
    plugin(FAST + """
@app.task(bind=True)
def top(self):
    for number in range(3):
        self.enqueue_child(fast.s(number=number))
    while not os.path.exists("go"):
        pass
""")
    process = submit(firexlite)

    wait_until(lambda: sum(effects().values()) == 3, what="all three children")

    (firexlite.folder / "go").touch()
    ended(process)


def test_a_parent_that_is_revoked_while_its_children_are_reserved_takes_them_along(firexlite, plugin, effects):
    plugin(FAST + """
@app.task(bind=True)
def middle(self):
    for number in range(500):
        self.enqueue_child(fast.s(number=number))
    self.wait_for_children()

@app.task(bind=True)
def top(self):
    for number in range(5):
        promise = self.enqueue_child(middle.s())
        wait_for_file(os.environ["EFFECT_LOG"])
        time.sleep(0.01 * number)
        promise.revoke()
        os.unlink(os.environ["EFFECT_LOG"])
    note("revoked all")
""")
    ended(submit(firexlite, 3))

    run = firexlite.only_run()
    assert set(states(run)) <= {"succeeded", "revoked"}
    assert states(run)["revoked"] > 5
    assert query(run, "SELECT count(*) FROM task JOIN attempt ON attempt.task = task.id "
                      "WHERE attempt.outcome = 'succeeded' AND task.state <> 'succeeded'") == [(0,)]
    is_sound(firexlite, run)


def test_ctrl_c_in_the_midst_of_batches_loses_nothing_that_ended(firexlite, plugin, effects):
    plugin(FAST + """
@app.task(bind=True)
def top(self):
    for number in range(5000):
        self.enqueue_child(fast.s(number=number))
    self.wait_for_children()
""")
    process = submit(firexlite)
    wait_until(lambda: sum(effects().values()) > 300, what="children")

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 130
    run = firexlite.only_run()
    assert 0 <= sum(effects().values()) - states(run)["succeeded"] <= 2
    is_sound(firexlite, run)
    ended(firexlite.start("resume", run.firex_id, "--workers", 2))
    assert states(run) == {"succeeded": 5001}
    assert len(effects()) == 5000 and sum(effects().values()) <= 5002


def test_bodies_that_fork_in_the_midst_of_a_batch_are_settled_once(firexlite, plugin, effects):
    plugin(FAST.replace("    return number", """
    if number % 10 == 0:
        if not (pid := os.fork()):
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    return number""") + """
@app.task(bind=True)
def top(self):
    for number in range(200):
        self.enqueue_child(fast.s(number=number))
    if not (pid := os.fork()):
        note("forked")
        os._exit(0)
    os.waitpid(pid, 0)
    self.wait_for_children()
""")
    ended(submit(firexlite))

    assert states(firexlite.only_run()) == {"succeeded": 201}
    assert effects() == {"forked": 1, **{f"fast {number}": 1 for number in range(200)}}
    is_sound(firexlite, firexlite.only_run())


def test_threads_of_a_body_enqueue_at_once(firexlite, plugin, effects):
    plugin(FAST + """
import threading

@app.task(bind=True, returns="total")
def top(self):
    promises = []
    def enqueue(first):
        for number in range(first, first + 20):
            promise = self.enqueue_child(fast.s(number=number))
            if number % 7 == 0:
                self.wait_for_specific_children([promise])
            promises.append(promise)
    threads = [threading.Thread(target=enqueue, args=(20 * i,)) for i in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    self.wait_for_children()
    assert len({promise.id for promise in promises}) == 160
    return sum(promise.result["x"] for promise in promises)
""")
    ended(submit(firexlite))

    assert states(firexlite.only_run()) == {"succeeded": 161}
    assert set(effects().values()) == {1}
    assert query(firexlite.only_run(), "SELECT result FROM task WHERE id = 1") == [(f'{{"total":{sum(range(160))}}}',)]


def test_what_a_body_enqueued_before_it_raised_is_done_if_its_service_keeps_its_children(firexlite, plugin, effects):
    plugin(FAST + """
from firexlite import PendingChildStrategy

@app.task(bind=True, pending_child_strategy=PendingChildStrategy.CONTINUE)
def careless(self, number):
    self.enqueue_child(fast.s(number=number))
    raise ValueError("careless")

@app.task(bind=True)
def top(self):
    for number in range(50):
        self.enqueue_child(careless.s(number=number))
    self.wait_for_children(raise_exception_on_failure=False)
""")
    ended(submit(firexlite))

    run = firexlite.only_run()
    assert states(run) == {"succeeded": 51, "failed": 50}
    assert query(run, "SELECT count(*) FROM task AS child JOIN task AS above ON above.id = child.parent "
                      "WHERE child.arguments = above.arguments AND above.parent = 1") == [(50,)]
    is_sound(firexlite, run)
