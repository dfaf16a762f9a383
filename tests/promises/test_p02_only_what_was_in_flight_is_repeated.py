"""A crash repeats the tasks that were running and no others: each has one attempt more than deaths that hit it."""
from __future__ import annotations

from conftest import NOTE, kill_all, query, states, wait_until

LEAVES = NOTE + """
@app.task(returns="x")
def leaf(number):
    note(f"leaf {number}")
    if number >= 3:
        wait_for_file("open")
    return number

@app.task(bind=True, returns="total")
def top(self):
    note("top")
    promises = [self.enqueue_child(leaf.s(number=number)) for number in range(7)]
    self.wait_for_children()
    return sum(promise.result["x"] for promise in promises)
"""


def test_a_crash_repeats_what_was_running_and_what_waited_for_it(firexlite, plugin, effects):
    plugin(LEAVES)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "3")
    in_flight(firexlite, effects, {"blocked": 1, "succeeded": 3, "running": 3, "ready": 1}, begun=1)
    kill_all(process)
    run = firexlite.only_run()

    process = firexlite.start("resume", run.firex_id)
    # The leaves come first, as the deepest, and fill all slots: so the parent is not in flight at the second crash.
    in_flight(firexlite, effects, {"succeeded": 3, "running": 3, "ready": 2}, begun=2)
    kill_all(process)
    (firexlite.folder / "open").touch()
    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert "21" in done.out
    assert effects() == {"top": 2, "leaf 3": 3, "leaf 4": 3, "leaf 5": 3, "leaf 0": 1, "leaf 1": 1, "leaf 2": 1, "leaf 6": 1}
    assert query(run, "SELECT id, attempt FROM task WHERE attempt > 1 ORDER BY id") == [(1, 2), (5, 3), (6, 3), (7, 3)]
    assert query(run, "SELECT count(*) FROM attempt WHERE outcome = 'lost'") == [(7,)]


def in_flight(firexlite, effects, expected: dict[str, int], begun: int) -> None:
    wait_until(lambda: all(effects()[f"leaf {number}"] == begun for number in (3, 4, 5)), what="three leaves that wait")
    wait_until(lambda: states(firexlite.only_run()) == expected, what="tasks in these states")
