"""The death of a worker is noticed within a second, by the kernel's word and not by a heartbeat, whatever it died of."""
from __future__ import annotations

import json

import pytest
from conftest import NOTE, query, states


def chain_results(run) -> dict:
    return json.loads(run.run_json.read_text())["results"]["chain_results"]


def test_a_dead_worker_is_noticed_at_once_and_its_parent_told(firexlite, plugin):
    plugin("""
import os, time
from firexlite import app, ChainInterruptedException

@app.task(worker_deaths=0)
def dies():
    os._exit(3)

@app.task(bind=True, returns=["said", "seconds"])
def parent(self):
    began = time.monotonic()
    try:
        self.enqueue_child(dies.s(), block=True)
    except ChainInterruptedException as error:
        return type(error.__cause__).__name__, time.monotonic() - began
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent")

    assert done.code == 0, done.err
    results = chain_results(firexlite.only_run())
    assert results["said"] == "WorkerLost" and results["seconds"] < 1.0


ENDS = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "segmentation fault": "os.kill(os.getpid(), 11)",
    "abort": "os.abort()",
    "os._exit(0)": "os._exit(0)",
    "exec": "os.execvp('true', ['true'])",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_worker_that_ends_without_an_answer_is_dead_whatever_its_exit_status(end, firexlite, plugin, effects):
    plugin(NOTE + f"""
@app.task(returns="lives")
def nine_lives():
    note("life")
    if not os.path.exists("died"):
        open("died", "w").close()
        {ENDS[end]}
    return 8
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "nine_lives", "--workers", "1")

    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert effects() == {"life": 2}
    [(noticed_after_s,)] = query(run, "SELECT second.started - first.started FROM attempt AS first JOIN attempt AS second "
                                      "ON first.number = 1 AND second.number = 2")
    assert noticed_after_s < 1.0
    assert query(run, "SELECT outcome FROM attempt ORDER BY number") == [("lost",), ("succeeded",)]


@pytest.mark.parametrize("moment", ["settle written", "settle committed", "settle rung"])
def test_a_worker_that_dies_as_it_answers_loses_nothing_and_doubles_nothing(moment, firexlite, plugin, effects, tmp_path):
    plugin(NOTE + """
@app.task(returns="x")
def step(number): note(f"step {number}"); return number

@app.task(bind=True, returns="total")
def top(self):
    promises = [self.enqueue_child(step.s(number=number)) for number in range(4)]
    self.wait_for_children()
    return sum(promise.result["x"] for promise in promises)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2", timeout=20,
                     FIREXLITE_FAULT=f"{moment}#3=kill", FIREXLITE_FAULT_LOG=str(tmp_path / "moments"))

    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert chain_results(run) == {"total": 6}
    again = 1 if moment == "settle written" else 0  # what was not committed was never answered
    assert sum(effects().values()) == 4 + again
    assert query(run, "SELECT count(*) FROM event WHERE move = 'succeed'") == [(5,)]
    assert states(run) == {"succeeded": 5}
