"""What a replay makes of waits that are over: the time of each is its own, and what did not come in time is asked for once."""
from __future__ import annotations

import json

from conftest import NOTE, Command, kill_all, query, states, wait_until

SERVICES = NOTE + """

@app.task(bind=True)
def approved(self):
    note("waits")
    self.wait_for_event("approved", timeout=2.2)  # longer than a body that waits keeps its process

@app.task(bind=True, returns="got")
def patient(self):
    try:
        self.wait_for_event("approved", timeout=0.1)
    except TimeoutError:
        note("nothing yet")
    return self.wait_for_event("approved")

@app.task(bind=True, returns="got")
def twice(self):
    first = self.wait_for_event("approved", timeout=60)
    note("first")
    try:
        return self.wait_for_event("approved", timeout=3)
    except TimeoutError:
        return first
"""
DUE = "SELECT max(due) FROM awaited WHERE nth = ?"


def begun(firexlite: Command, *words: object):
    process = firexlite.start("submit", *words)
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()), what="run")
    return process, firexlite.only_run()


def test_a_reopened_task_waits_anew_for_what_did_not_come_in_time_and_does_so_once(firexlite: Command, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "approved")
    assert (done.code, effects()["waits"]) == (1, 2)

    resumed = firexlite("resume", done.firex_id)

    assert (resumed.code, effects()["waits"]) == (1, 4)
    run = firexlite.only_run()
    assert query(run, "SELECT outcome FROM attempt ORDER BY number") == [("suspended",), ("failed",)] * 2
    starts = [at for (at,) in query(run, "SELECT at FROM event WHERE move IN ('block', 'wake') ORDER BY id")]
    assert starts[3] - starts[2] >= 2


def test_an_event_that_comes_after_a_wait_ran_out_of_time_is_for_the_next_wait(firexlite: Command, plugin, effects):
    process, run = begun(firexlite, "--plugins", plugin(SERVICES), "--chain", "patient")
    wait_until(lambda: effects()["nothing yet"], what="end of the first wait")

    firexlite("send", run.firex_id, "approved", '"late"')

    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert query(run, "SELECT result FROM task") == [('{"got":"late"}',)]


def test_after_a_kill_a_second_wait_for_an_event_has_the_rest_of_its_own_time(firexlite: Command, plugin, effects):
    process, run = begun(firexlite, "--plugins", plugin(SERVICES), "--chain", "twice")
    wait_until(lambda: query(run, DUE, 1) != [(None,)], what="first wait")
    firexlite("send", run.firex_id, "approved", '"early"')
    wait_until(lambda: query(run, DUE, 2) != [(None,)], what="second wait")
    [(due,)] = query(run, DUE, 2)
    kill_all(process)

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    [(ended, result)] = query(run, "SELECT moved, result FROM task")
    assert json.loads(result) == {"got": "early"}
    assert due <= ended < due + 20
