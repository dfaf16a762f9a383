"""The report of real runs: its data, and the page in a browser."""
from __future__ import annotations

import pytest
from conftest import kill_all, states, wait_until

HOSTILE = """
from firexlite import app, flame

@app.task(name="<img src=x onerror=alert(1)>", returns="text")
@flame("text", lambda text: text)
def hostile(given="<b onclick=alert(2)>bold</b>"):
    print("<script>window.PWN = 3</script>")
    return "</script><script>window.PWN = 4</script>"

@app.task(bind=True, returns="all")
def top(self):
    promises = [self.enqueue_child(hostile.s()) for _ in range(3)]
    self.wait_for_children()
    return [promise.result["text"] for promise in promises]
"""


def test_the_page_of_a_run_shows_every_task_and_runs_nothing_of_its_data(firexlite, plugin, browser):
    plugin(HOSTILE)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    assert done.code == 0, done.err
    page_file = firexlite.folder / "out.html"
    page_file.write_text(firexlite("flame", done.firex_id).out)

    page = browser.open(page_file)
    page.wait_for("document.querySelectorAll('[role=treeitem]').length === 4")

    assert page.evaluate("window.PWN === undefined")
    assert page.errors == [] and page.requests == [page_file.as_uri()]
    assert page.text().count("<img src=x onerror=alert(1)>") >= 3
    page.click("[role=treeitem]:nth-of-type(2)")
    page.wait_for("document.body.textContent.includes('</script><script>window.PWN = 4</script>')")
    assert page.count("img") == 0 and page.evaluate("window.PWN === undefined")
    page.close()


TREE = """
import time
from firexlite import app

@app.task(returns="x")
def first(a, b="the default"):
    time.sleep(0.05)
    return a + 1

@app.task(returns="y")
def second(x, other="@x"):
    if x == 13:
        raise ValueError("thirteen")
    return x * 2

@app.task
def third(y): pass

@app.task(bind=True, returns="done")
def top(self, start="1"):
    self.enqueue_child(first.s(a=int(start)) | second.s() | third.s(), block=True)
    return "well"
"""


def test_the_data_tell_who_called_whom_with_what(firexlite, plugin):
    plugin(TREE)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--start", "5", "--workers", "3")

    data = firexlite.flame(done.firex_id)
    assert data["run"]["options"]["workers"] == 3
    assert next(iter(data)) == "schema" and data["schema"] == "firexlite.flame/1"
    assert data["run"]["state"] == "succeeded" and data["run"]["counts"] == {"succeeded": 4}
    top, first, second, third = data["tasks"]
    assert [(t["num"], t["name"], t["parent"], t["enqueued_by"], t["chain_depth"]) for t in data["tasks"]] == [
        (1, "top", None, None, 0), (2, "first", 1, 1, 0), (3, "second", 2, 1, 1), (4, "third", 3, 1, 2)]
    assert (first["args"], first["defaults"], first["result"]) == ({"a": 5}, {"b": "the default"}, {"x": 6})
    assert (second["args"], second["result"]) == ({"x": 6, "other": 6}, {"y": 12})
    assert (third["args"], third["result"]) == ({"y": 12}, {})
    assert top["args"] == {"start": "5"} and top["result"] == {"done": "well"}
    assert [state for state, _ in top["states"]] == ["ready", "running", "blocked", "running", "succeeded"]
    assert top["child_wait"] > 0.05 and top["self"] < top["runtime"]


def test_the_parts_of_a_tasks_time_sum_to_the_whole(firexlite, plugin):
    plugin(TREE)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--start", "5")

    for task in firexlite.flame(done.firex_id)["tasks"]:
        wall = task["states"][-1][1] - task["states"][0][1]
        parts = [task[name] for name in ("queue", "self", "child_wait", "backoff", "asleep", "down")]
        assert sum(parts) == pytest.approx(wall, abs=1e-6) and min(parts) >= 0


def test_a_failure_is_led_back_to_its_cause(firexlite, plugin):
    plugin(TREE)
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--start", "12")
    assert failed.code == 1

    top, _, second, third = firexlite.flame(failed.firex_id)["tasks"]
    assert (top["state"], top["cause"]) == ("failed", second["num"])
    assert second["exception"] == "ValueError('thirteen')" and second["cause"] is None
    assert 'raise ValueError("thirteen")' in second["traceback"]
    assert second["error_context"].endswith("services.py:13 in second")
    assert top["traceback"].index("thirteen") < top["traceback"].index("ChainInterruptedException")
    assert (third["state"], third["started"], third["args"], third["result"]) == ("skipped", None, {}, None)


def test_a_killed_run_is_shown_as_interrupted_and_its_lives_are_counted(firexlite, plugin, browser):
    plugin("""
import os, time
from firexlite import app

@app.task(returns="x")
def quick(): return 1

@app.task
def slow(x):
    while not os.path.exists("go"):
        time.sleep(0.01)
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "quick,slow")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run) == {"succeeded": 1, "running": 1})
    live = firexlite.flame(run.firex_id)
    kill_all(process)
    dead = firexlite.flame(run.firex_id)
    (firexlite.folder / "go").touch()
    assert firexlite("resume", run.firex_id).code == 0
    whole = firexlite.flame(run.firex_id)

    assert live["run"]["state"] == "running" and live["run"]["snapshot"]
    assert live["run"]["incarnations"][0]["end"] == "open" and live["run"]["resume"] is None
    assert dead["run"]["state"] == "interrupted" and dead["run"]["resume"] == f"firexlite resume {run.firex_id}"
    assert [life["end"] for life in dead["run"]["incarnations"]] == ["crash"]
    assert [life["end"] for life in whole["run"]["incarnations"]] == ["crash", "clean"]
    quick, slow = whole["tasks"]
    assert [attempt["state"] for attempt in slow["attempts"]] == ["lost", "succeeded"] and slow["replayed_in"] == [2]
    assert slow["down"] > 0 and quick["down"] == 0


def test_reading_leaves_a_finished_journal_untouched(firexlite, plugin):
    plugin(TREE)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    run = firexlite.only_run()
    before = {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()}

    for command in (("flame", done.firex_id), ("flame", done.firex_id, "--json"), ("runs",)):
        assert firexlite(*command).code == 0

    assert {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before
    assert not [path for path in before if path.name.endswith(("-wal", "-shm"))]
