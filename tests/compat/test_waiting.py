"""Waiting that holds no slot and outlives the processes: for a time, and for an event from outside."""
from __future__ import annotations

import json
import time

from conftest import Command, kill_all, states, wait_until

from .flows import Flows


def test_a_task_that_sleeps_leaves_its_slot_to_others(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="slept")
def sleepy(self):
    touch("asleep")
    began = time.time()
    self.sleep(1)
    note("awake")
    return time.time() - began

@app.task
def other():
    wait_for_file("asleep")
    note("other")

@app.task(bind=True)
def top(self):
    self.enqueue_child(sleepy.s())
    self.enqueue_child(other.s())
    self.wait_for_children()
""", "top", "--workers", 1)

    assert flow.notes() == ["other", "awake"]
    assert 1 <= done.only("sleepy")["runtime"] < 5


EVENT = """
@app.task(bind=True, returns="seen")
def top(self):
    touch("began")
    wait_for_file("go")
    touch("waits")
    return self.wait_for_event("approved")
"""


def start(flow: Flows) -> tuple:
    firexlite = flow.firexlite
    process = firexlite.start("submit", "--plugins", flow.write(services=EVENT), "--chain", "top")
    wait_until(lambda: firexlite.runs() and (flow.folder / "began").exists(), what="task that began")
    return process, firexlite.only_run()


def seen(firexlite: Command) -> object:
    return json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"]["seen"]


def test_an_event_reaches_the_task_that_waits_for_it(flow: Flows) -> None:
    process, run = start(flow)
    (flow.folder / "go").touch()
    wait_until(lambda: (flow.folder / "waits").exists() and not states(run).get("running"), what="task that waits")

    sent = flow.firexlite("send", run.firex_id, "approved", '{"by": "Li"}')

    assert sent.code == 0, sent.err
    assert process.wait(timeout=20) == 0
    assert seen(flow.firexlite) == {"by": "Li"}


def test_an_event_that_comes_before_the_wait_is_not_lost(flow: Flows) -> None:
    process, run = start(flow)

    sent = flow.firexlite("send", run.firex_id, "approved", "5")
    (flow.folder / "go").touch()

    assert sent.code == 0, sent.err
    assert process.wait(timeout=20) == 0
    assert seen(flow.firexlite) == 5


def test_an_event_is_delivered_to_a_run_whose_processes_are_dead(flow: Flows) -> None:
    process, run = start(flow)
    (flow.folder / "go").touch()
    wait_until(lambda: (flow.folder / "waits").exists() and not states(run).get("running"), what="task that waits")
    kill_all(process)

    sent = flow.firexlite("send", run.firex_id, "approved", '"late"')
    resumed = flow.firexlite("resume", run.firex_id)

    assert (sent.code, resumed.code) == (0, 0), sent.err + resumed.err
    assert seen(flow.firexlite) == "late"


def test_a_run_that_was_killed_in_a_sleep_sleeps_only_the_rest(flow: Flows) -> None:
    firexlite = flow.firexlite
    plugins = flow.write(services="""
@app.task(bind=True, returns="seen")
def top(self):
    if not os.path.exists("began"):
        note(time.time(), "began")
    self.sleep(2)
    return time.time() - float(open("began").read())
""")
    process = firexlite.start("submit", "--plugins", plugins, "--chain", "top")
    wait_until(lambda: firexlite.runs() and (flow.folder / "began").exists(), what="task that began")
    run = firexlite.only_run()
    wait_until(lambda: states(run) and not states(run).get("running"), what="sleeping task")
    began = time.time()
    kill_all(process)

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    assert 2 <= seen(firexlite) < 2 + (time.time() - began)
    assert seen(firexlite) < 3.9  # two whole sleeps would be 4


def test_a_wait_for_an_event_may_have_a_limit(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="seen")
def top(self):
    return type(raised_by(lambda: self.wait_for_event("approved", timeout=0.3))).__name__
""")

    assert "Timeout" in str(done.seen)
