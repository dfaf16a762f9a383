"""The critical path of the page, against one found here by other means: from the moves of `--json` instead of bars."""
from __future__ import annotations

import collections
import json
import random
from itertools import pairwise

import pytest
from browser import Browser, Page
from simulated import START, Simulation

from firexlite.flame_columns import Columns
from firexlite.flame_export import render_html

MS = 0.001
Stretch = tuple[int, float, float, str]  # number of the task, from, to (s after the run's start), kind


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "flame.html"
    path.write_text(render_html(Simulation(0).model()))
    with Browser() as browser:
        page = browser.open(path)
        yield page
        page.evaluate("0")
        assert page.errors == []


def path_in(page: Page, model: dict) -> list[Stretch]:
    """What the page's script finds for a model."""
    columns = Columns(model["run"], model.get("generated_at"))
    for task in model["tasks"]:
        columns.add(task)
    found = page.evaluate(f"""(() => {{
        const run = new Run({{run: {{}}}}, {json.dumps(columns.index([0]))});
        return run.critical.map(({{row, from, to, kind}}) => [run.num[row], from / 1000, to / 1000, kind]);
    }})()""")
    return [tuple(stretch) for stretch in found]


def path_of(model: dict) -> list[Stretch]:
    """The chain of moments that led to the last end: of each moment, the one that it had to wait for."""
    tasks = {task["num"]: task for task in model["tasks"] if task["started"] is not None}
    began = model["run"]["started"]
    path: list[Stretch] = []

    def end_of(task: dict) -> float:
        return task["started"] + task["runtime"]

    def back(task: dict, at: float) -> None:
        """Through the life of a task, from a moment of it, to whoever let it begin; the children in between included."""
        for (state, since), _ in reversed(list(pairwise(task["states"]))):
            if since >= at:
                continue
            ended = [child for child in tasks.values()  # a start and a runtime make no more than nearly the end
                     if child["enqueued_by"] == task["num"] and since < end_of(child) <= at + 1e-5]
            if state == "blocked" and ended:
                last = max(ended, key=end_of)
                take(task, end_of(last), at, "waited")
                return back(last, end_of(last))
            is_retry = state == "ready" and since > task["states"][0][1]
            kind = {"ready": "backoff" if is_retry else "queued", "running": "ran", "blocked": "waited"}[state]
            take(task, since, at, kind)
            at = since
        if task["parent"] != task["enqueued_by"]:
            back(tasks[task["parent"]], at)
        elif task["enqueued_by"]:
            back(tasks[task["enqueued_by"]], at)
        else:
            take(task, began, at, "queued")
        return None

    def take(task: dict, since: float, until: float, kind: str) -> None:
        path.append((task["num"], since - began, until - began, kind))

    last = max(tasks.values(), key=end_of)
    back(last, end_of(last))
    return path[::-1]


def merged(path: list[Stretch]) -> list[Stretch]:
    """Without what is too short to survive rounding, and with neighbours of one task and kind as one."""
    found: list[Stretch] = []
    for num, since, until, kind in path:
        if until - since < MS:
            continue
        if found and (found[-1][0], found[-1][3]) == (num, kind):
            num, since, _, kind = found.pop()
        found.append((num, since, until, kind))
    return found


def spent(path: list[Stretch]) -> collections.Counter:
    """Seconds of the path by task and kind."""
    seconds: collections.Counter = collections.Counter()
    for num, since, until, kind in path:
        seconds[num, kind] += until - since
    return seconds


def is_without_gap(path: list[Stretch]) -> bool:
    return (all(since < until for _, since, until, _ in path)
            and all(a[2] == pytest.approx(b[1], abs=1e-9) for a, b in pairwise(path)))


@pytest.mark.parametrize("seed", range(40))
def test_the_path_is_the_chain_of_moments_that_led_to_the_last_end(page, seed):
    model = Simulation(seed).model()

    found, expected = path_in(page, model), path_of(model)

    assert [(num, kind) for num, _, _, kind in merged(found)] == [(num, kind) for num, _, _, kind in merged(expected)]
    for (_, since, until, _), (_, expected_since, expected_until, _) in zip(merged(found), merged(expected), strict=True):
        assert (since, until) == (pytest.approx(expected_since, abs=MS), pytest.approx(expected_until, abs=MS))
    assert is_without_gap(found)
    assert sum(until - since for _, since, until, _ in found) == pytest.approx(model["run"]["ended"] - START, abs=MS)


def test_simulated_runs_have_what_makes_paths_hard():
    tasks = [task for seed in range(40) for task in Simulation(seed).model()["tasks"]]

    assert any(task["chain_depth"] == 2 for task in tasks)
    assert sum(len(task["attempts"]) > 1 for task in tasks) > 100
    assert sum(task["child_wait"] > 0.1 for task in tasks) > 100


def spoil(model: dict, chance: random.Random) -> dict:
    """The same tasks with times, states and fields that no run could have."""
    for task in model["tasks"]:
        task.update(chance.choice((
            {}, {"started": None}, {"started": task["started"] + chance.uniform(-9, 9)},
            {"runtime": chance.choice((0.0, 900.0))},
            {"states": chance.sample(task["states"], chance.randrange(len(task["states"])))},
            {"states": [[state, START + chance.uniform(-3, 30)] for state, _ in task["states"]]},
            {"states": [], "attempts": []}, {"state": chance.choice(("running", "blocked", "skipped")), "self": 0.0})))
    return model


@pytest.mark.parametrize("seed", range(40))
def test_times_that_do_not_fit_together_still_give_a_path_without_gap(page, seed):
    model = spoil(Simulation(seed).model(), random.Random(seed))

    path = path_in(page, model)

    assert bool(path) == any(task["started"] is not None for task in model["tasks"])
    assert is_without_gap(path) and all(since <= 0 for _, since, _, _ in path[:1])


def test_nothing_that_ran_means_no_path(page):
    model = Simulation(1).model()
    for task in model["tasks"]:
        task.update(started=None, runtime=None, states=[], attempts=[], state="skipped")

    assert path_in(page, model) == []


def line(size: int, *, is_chain: bool) -> dict:
    """A run of so many tasks of a second: one after the other, or all called by the first and done one by one."""
    model = {"run": {"started": START, "ended": START + size}, "generated_at": START + size, "tasks": []}
    for num in range(1, size + 1):
        caller = None if is_chain or num == 1 else 1
        started, runtime = (START, size) if num == 1 and not is_chain else (START + num - 1, 1.0)
        attempt = {"n": 1, "started": started, "ended": started + runtime, "state": "succeeded"}
        model["tasks"].append({
            "num": num, "name": "one", "state": "succeeded", "started": started, "runtime": runtime, "self": 1.0,
            "parent": num - 1 or None if is_chain else caller, "enqueued_by": caller,
            "chain_depth": num - 1 if is_chain else 0, "states": [], "attempts": [attempt]})
    return model


@pytest.mark.parametrize("is_chain", [True, False], ids=["chain", "fan"])
def test_a_path_through_50_000_tasks_takes_no_time(page, is_chain):
    size = 50_000
    columns = Columns({"started": START}, START + size)
    for task in line(size, is_chain=is_chain)["tasks"]:
        columns.add(task)

    page.evaluate(f"window.run = new Run({{run: {{}}}}, {json.dumps(columns.index([0]))}); 0")
    length, took_ms = page.evaluate(
        "(() => { const since = performance.now(); return [run.critical.length, performance.now() - since]; })()")

    assert length == (size if is_chain else pytest.approx(size, abs=2))
    assert took_ms < 1500  # where each were compared with each, it would be minutes


REAL = """
import time
from firexlite import app

@app.task(returns="x")
def first():
    time.sleep(0.05)
    return 1

@app.task(returns="y")
def second(x):
    time.sleep(0.1)
    return x

@app.task(bind=True, max_retries=1, default_retry_delay=0.4)  # so that it is sure to end last
def again(self):
    time.sleep(0.02)
    if not self.request.retries:
        raise self.retry(exc=OSError("busy"))

@app.task(bind=True)
def top(self):
    self.enqueue_child(first.s() | second.s())
    self.enqueue_child(again.s())
    self.wait_for_children()
    time.sleep(0.03)
    self.enqueue_child(first.s())

@app.task
def last():
    time.sleep(0.02)
"""


def test_the_path_of_a_real_run_is_the_same_and_its_tasks_are_underlined(firexlite, plugin, page):
    plugin(REAL)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top,last", "--workers", "2")
    model = firexlite.flame(done.firex_id)

    found, expected = spent(path_in(page, model)), spent(path_of(model))

    assert sum(found.values()) == pytest.approx(sum(expected.values()), abs=MS)
    for part in found | expected:
        assert found[part] == pytest.approx(expected[part], abs=2 * MS), part
    path = firexlite.folder / "flame.html"
    path.write_text(firexlite("flame", done.firex_id).out)
    tree = page.browser.open(path, fragment="#/tree")
    underlined = tree.each(".row:has(.critical) .num", "textContent")
    assert {int(num) for num in underlined} >= {num for (num, _), seconds in expected.items() if seconds > MS}
    assert len(underlined) < len(model["tasks"])
    assert tree.errors == []
    tree.close()
