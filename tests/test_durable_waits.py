"""Waits of whole runs: who gives up its process and who keeps it, what a replay makes of waits that are over, and what of a run
is done once."""
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

@app.task(bind=True)
def sleeps(self):
    print("half a line", end="")
    self.sleep(2.5)
    print(", and the rest")

@app.task(bind=True)
def is_at_work(self):
    import threading
    at_work = threading.Thread(target=lambda: (time.sleep(2.6), note("worked")))
    at_work.start()
    self.sleep(2.5)
    at_work.join()

@app.task(use_cache=True, returns="number")
def double(number):
    note("double")
    return 2 * number

@app.task(use_cache=True, returns="number")
def half(number):
    note("half")
    return number // 2

@app.task(bind=True, returns="numbers")
def sums(self):
    promises = [self.enqueue_child(service.s(number=8)) for service in (double, half, double, half)]
    self.wait_for_children()
    return [promise.result["number"] for promise in promises]

@app.task(bind=True, pending_child_strategy="continue")
def leaves(self):
    self.enqueue_child(waits_for_go.s())

@app.task
def waits_for_go():
    wait_for_file("go")
    note("went")

@app.task
def after():
    open("go", "w").close()
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


def outcomes(run) -> list[str]:
    return [outcome for (outcome,) in query(run, "SELECT outcome FROM attempt ORDER BY task, number")]


def test_who_sleeps_for_long_gives_up_its_process_and_what_it_printed_is_kept(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "sleeps")

    assert done.code == 0, done.err
    assert outcomes(firexlite.only_run()) == ["suspended", "succeeded"]
    assert firexlite("logs", done.firex_id).out.count("half a line") == 2


def test_a_body_with_a_thread_at_work_keeps_its_process(firexlite: Command, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "is_at_work")

    assert done.code == 0, done.err
    assert (outcomes(firexlite.only_run()), effects()) == (["succeeded"], {"worked": 1})


def test_equal_arguments_of_two_services_are_two_results(firexlite: Command, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "sums")

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["result"] == {"numbers": [16, 4, 16, 4]}
    assert effects() == {"double": 1, "half": 1}


def test_children_that_continue_are_not_waited_for_by_their_parent_but_by_the_run(firexlite: Command, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "leaves,after", "--workers", 2)

    assert done.code == 0, done.err
    assert (effects()["went"], states(firexlite.only_run())) == (1, {"succeeded": 3})


def test_a_run_may_end_when_it_only_waits(firexlite: Command, plugin, effects):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "patient", "--exit-when-waiting")
    assert (done.code, outcomes(firexlite.only_run())) == (7, ["suspended"]), done.err

    firexlite("send", done.firex_id, "approved", "1")
    resumed = firexlite("resume", done.firex_id)

    assert resumed.code == 0, resumed.err
    assert (outcomes(firexlite.only_run()), effects()) == (["suspended", "succeeded"], {"nothing yet": 2})
