"""A task that succeeded is never started again in its run, and its row never changes."""
from __future__ import annotations

import sqlite3

import pytest
from conftest import NOTE, query, states

STEPS = NOTE + """
@app.task(returns="x")
def step(number):
    note(f"step {number}")
    return number * 10

@app.task(bind=True, returns="total")
def top(self):
    note("top")
    promises = [self.enqueue_child(step.s(number=number)) for number in range(3)]
    self.wait_for_children()
    return sum(promise.result["x"] for promise in promises)

@app.task(returns="doubled")
def double(total):
    note("double")
    return 2 * total
"""
NAMES = {1: "top", 2: "double", 3: "step 0", 4: "step 1", 5: "step 2"}  # by number: the order of enqueuing
SUCCEEDED = ("SELECT id, attempt, epoch, worker, moved, result, changes, (SELECT count(*) FROM event WHERE task = task.id) "
             "FROM task WHERE state = 'succeeded' ORDER BY id")


@pytest.mark.parametrize("moment", ["settle committed#1", "settle rung#2", "settle committed#4", "settle rung#5"])
def test_what_succeeded_before_a_crash_is_not_started_again_and_stays_as_it_was(moment, firexlite, plugin, effects, struck):
    plugin(STEPS)
    firexlite("submit", "--plugins", "services.py", "--chain", "top,double", "--workers", "2", **struck(f"{moment}=all"))
    run = firexlite.only_run()
    before, begun = query(run, SUCCEEDED), effects()
    assert before

    done = firexlite("resume", run.firex_id)

    assert (done.code, "doubled" in done.out) == (0, True), done.err
    assert set(before) <= set(query(run, SUCCEEDED))
    finished = [NAMES[task] for task, *_ in before]
    assert [effects()[name] for name in finished] == [begun[name] for name in finished]
    assert states(run) == {"succeeded": 5}


@pytest.mark.parametrize("statement", [
    "UPDATE task SET state = 'ready', move = 'reopen' WHERE id = 2",
    "UPDATE task SET result = '{}' WHERE id = 2",
    "UPDATE task SET attempt = attempt + 1 WHERE id = 2",
    "DELETE FROM task WHERE id = 2",
    "UPDATE attempt SET outcome = 'lost' WHERE task = 2",
    "DELETE FROM attempt WHERE task = 2",
])
def test_sqlite_itself_refuses_to_change_it(statement, firexlite, plugin, effects):
    plugin(STEPS)
    assert firexlite("submit", "--plugins", "services.py", "--chain", "top,double").code == 0
    run = firexlite.only_run()
    connection = sqlite3.connect(run.journal)

    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)

    connection.close()
