"""Exports of a run: the same bytes each time, whatever draws them; long values cut in the page and nowhere else."""
from __future__ import annotations

import io
import json
import re

import pytest
from conftest import wait_until
from pages import detail_lines, index_of
from test_flame_page import model, task

from firexlite import flame_graph
from firexlite.flame_export import Settings, export, render_html, render_json
from firexlite.flame_graph import model_of
from firexlite.flame_page import write_page
from firexlite.history import History

MANY = """
from firexlite import app, flame_collapse

@app.task(returns="total")
def add(a, b=1):
    if a == 7:
        raise ValueError("seven")
    return a + b

@app.task(returns="twice")
def double(total):
    print("doubling", total)
    return 2 * total

@app.task(bind=True, returns="all")
@flame_collapse("descendants")
def top(self, count=20):
    promises = [self.enqueue_child(add.s(a=n) | double.s()) for n in range(int(count))]
    self.wait_for_children(raise_exception_on_failure=False)
    return len(promises)
"""
NOW = 1_795_600_000.0


def exported(run, name: str = "html", processes: int = 1) -> str:
    out = io.StringIO()
    export(run, out, Settings(name, NOW, processes=processes))
    return out.getvalue()


@pytest.fixture
def many(firexlite, plugin):
    """A run of some forty tasks in chains of two."""
    plugin(MANY)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    assert done.code == 0, done.err
    return firexlite.only_run()


@pytest.mark.parametrize("name", ["html", "json"])
def test_two_exports_of_a_run_at_one_moment_have_the_same_bytes(many, name):
    assert exported(many, name) == exported(many, name)


def test_a_large_run_is_drawn_in_stretches_and_says_the_same(many, monkeypatch):
    whole = exported(many)
    monkeypatch.setattr(flame_graph, "WORTH_A_PROCESS", 10)

    alone, together = exported(many, processes=1), exported(many, processes=3)

    assert alone == together
    assert index_of(whole) | {"chunks": None} == index_of(together) | {"chunks": None}
    assert len(index_of(together)["chunks"]) == 4 > len(index_of(whole)["chunks"])
    assert detail_lines(together) == detail_lines(whole)


def test_a_run_that_goes_on_is_drawn_from_one_state_of_its_journal(firexlite, plugin, monkeypatch):
    plugin("""
import os, time
from firexlite import app

@app.task
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
""")
    started = firexlite.start("submit", "--plugins", "services.py", "--chain", "wait_for", "--path", firexlite.folder / "go")
    run = wait_until(lambda: next(iter(firexlite.runs()), None), what="run")
    wait_until(lambda: json.loads(exported(run, "json"))["run"]["counts"] == {"running": 1}, what="running task")
    monkeypatch.setattr(flame_graph, "WORTH_A_PROCESS", 1)

    with History(run) as history, history.snapshot():
        before = history.counts()
        (firexlite.folder / "go").touch()
        started.communicate(timeout=60)
        assert history.counts() == before == {"running": 1}

    assert json.loads(exported(run, "json"))["run"]["counts"] == {"succeeded": 1}


def test_the_page_cuts_long_values_and_says_how_long_they_were_and_the_json_does_not():
    long = "x" * 200_000
    given = model(task(1, args={"text": long}, result={"rows": [[n, "y" * 50] for n in range(10_000)]}))

    [shown] = detail_lines(render_html(given))
    text = shown["args"]["text"]

    assert len(text) < 70_000 and "[... 134,464 of 200,000 characters left out ...]" in text
    assert re.fullmatch(r"the first 4,096 of \d{3},\d{3} characters of JSON", shown["result"]["rows"]["$cut"])
    assert json.loads(render_json(given))["tasks"][0]["args"] == {"text": long}


def test_a_page_that_grows_too_large_leaves_out_details_but_not_of_what_failed(monkeypatch):
    monkeypatch.setattr("firexlite.flame_columns.CHUNK_TASKS", 10)
    tasks = [task(n, args={"word": f"{n * 7919:x}" * 20}, state="failed" if n == 90 else "succeeded") for n in range(1, 101)]

    out = io.StringIO()
    write_page(model(*tasks), out, most_bytes=2_000)
    page = out.getvalue()

    lines = detail_lines(page)
    assert lines[0]["args"] and lines[89]["args"] and lines[99] is None
    assert f'"truncated":{{"tasks":{lines.count(None)}}}' in page


def test_the_page_knows_the_tasks_of_collapse_rules_by_their_numbers(many):
    [operations] = index_of(exported(many))["collapse"].values()

    assert operations[0]["targets"] == ["descendants"]
    assert operations[0]["relative_to_nodes"] == operations[0]["source_node"] == {"type": "task_num", "value": 1}


def test_numbers_that_a_browser_would_round_are_told_in_words(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(returns="same")
def give(number=2**60 + 1):
    return number
""")
    firexlite("submit", "--plugins", "services.py", "--chain", "give", "--number", "7")
    run = firexlite.only_run()
    firexlite("submit", "--plugins", "services.py", "--chain", "give")
    other = next(one for one in firexlite.runs() if one.firex_id != run.firex_id)

    assert json.loads(exported(other, "json"))["tasks"][0]["result"] == {"same": {"$int": str(2 ** 60 + 1)}}
    with History(other) as history:
        assert model_of(history)["tasks"][0]["result"] == {"same": 2 ** 60 + 1}
