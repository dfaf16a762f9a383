"""Big runs need no more than small ones: processes, open files and depth have no limit that a run meets."""
from __future__ import annotations

import json

import pytest
from conftest import states

BIG = """
import os, sys
from firexlite import app

def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))

@app.task(returns=["runner", "worker"])
def files(number):
    return open_files(os.getppid()), open_files(os.getpid())

@app.task(bind=True, returns=["runner", "worker", "most"])
def broad(self):
    few = self.enqueue_child_and_get_results(files.s(number=-1))
    promises = [self.enqueue_child(files.s(number=number)) for number in range(1000)]
    self.wait_for_children()
    grown = [promise.result["worker"] - few["worker"] for promise in promises]
    return max(promise.result["runner"] for promise in promises) - few["runner"], max(grown), few["worker"]

@app.task(bind=True, returns="depth")
def nest(self, left):
    return 0 if int(left) == 0 else 1 + self.enqueue_child_and_get_results(nest.s(left=int(left) - 1))["depth"]

@app.task(bind=True, returns="sum")
def long(self):
    chain = count.s(number=0)
    for _ in range(499):
        chain |= count.s()
    return self.enqueue_child_and_get_results(chain)["number"]

@app.task(returns="number")
def count(number): return number + 1
"""


def results(run) -> dict:
    return json.loads(run.run_json.read_text())["results"]["chain_results"]


def test_a_thousand_children_of_one_parent_need_no_more_open_files_than_one(firexlite, plugin):
    plugin(BIG)

    done = firexlite("submit", "--plugins", "services.py", "--chain", "broad", "--workers", "2")

    assert done.code == 0, done.err
    found = results(firexlite.only_run())
    assert found["worker"] <= 2 and found["runner"] <= 8 and found["most"] <= 20
    assert states(firexlite.only_run()) == {"succeeded": 1002}


@pytest.mark.parametrize("words, expected", [(("nest", "--left", "120"), {"depth": 120}), (("long",), {"sum": 500})])
def test_deep_nesting_and_long_chains_complete(words, expected, firexlite, plugin):
    plugin(BIG)

    done = firexlite("submit", "--plugins", "services.py", "--chain", *words, "--workers", "2")

    assert done.code == 0, done.err
    assert results(firexlite.only_run()) == expected
