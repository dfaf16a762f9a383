"""A clock that jumps changes nothing that is decided: limits are monotonic, order is that of the journal."""
from __future__ import annotations

import json

from conftest import NOTE, states

JUMPS = NOTE + """
import itertools

_now, _jumps = time.time, itertools.cycle([0, 10, -10, 3, -7])
time.time = lambda: _now() + next(_jumps) * 365 * 86400   # of runner and workers: whatever they ask, it is another year

@app.task(returns="x")
def step(number): note(f"step {number}"); return number

@app.task(bind=True, returns="total")
def top(self):
    promises = [self.enqueue_child(step.s(number=number) | step.s(number=-number)) for number in range(1, 6)]
    self.wait_for_children(max_wait=30)
    return len(promises)

@app.task(returns="said")
def last(total): return f"{total} of 5"
"""


def test_jumps_of_ten_years_change_no_decision_and_make_no_time_negative(firexlite, plugin, effects):
    plugin(JUMPS)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "top,last", "--workers", "2", timeout=20)

    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert states(run) == {"succeeded": 12}
    assert max(effects().values()) == 1
    shown = firexlite.flame(run.firex_id)["tasks"]
    assert [task["num"] for task in shown] == sorted(task["num"] for task in shown)
    assert all((task.get("seconds") or 0) >= 0 for task in shown), json.dumps(shown)[:500]
    assert firexlite("doctor", run.firex_id).code == 0
