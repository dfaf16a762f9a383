"""However often a run is killed, each task comes to the state and the result it would have had."""
from __future__ import annotations

import itertools
import json

import pytest
from conftest import query

PROGRAM = """
from firexlite import app, ChainInterruptedException

@app.task(returns="word")
def shout(word):
    return word.upper()

@app.task
def fails(word):
    raise ValueError(f"not {word}")

@app.task(returns="never")
def unreached():
    return 1

@app.task(bind=True, returns="words")
def talk(self, words):
    found = []
    for word in words.split("-"):
        found.append(self.enqueue_child_and_get_results(shout.s(word=word))["word"])
    try:
        self.enqueue_child(fails.s(word=found[0]) | unreached.s(), block=True)
    except ChainInterruptedException as error:
        found.append(str(error.__cause__))
    return "-".join(found)

@app.task(returns="count")
def count(words):
    return len(words)
"""
SUBMIT = ("submit", "--plugins", "services.py", "--chain", "talk,count", "--words", "one-two-three", "--workers", "2")
OUTCOME = "SELECT service, state, result FROM task ORDER BY id"


@pytest.mark.parametrize("way, first", [("all", 30), ("all", 41), ("front", 20), ("runner", 24)])
def test_a_run_that_is_killed_again_and_again_comes_to_what_it_would_have_come_to(way, first, firexlite, plugin, struck):
    plugin(PROGRAM)
    assert firexlite(*SUBMIT).code == 0
    undisturbed = firexlite.only_run()

    firexlite(*SUBMIT, **struck(f"*#{first}={way}"))
    [run] = [run for run in firexlite.runs() if run.path != undisturbed.path]
    for deaths in itertools.count(1):
        if query(run, "SELECT state FROM run") == [("succeeded",)]:
            break
        assert deaths < 40
        # Always a little later: one that dies again and again before the first result of a replay gets nowhere.
        firexlite("resume", run.firex_id, **struck(f"*#{first + 4 * deaths}={way}"))
    done = firexlite("resume", run.firex_id)

    assert done.code == 0, done.err
    assert deaths > 2
    assert query(run, OUTCOME) == query(undisturbed, OUTCOME)
    results = [json.loads(one.run_json.read_text())["results"]["chain_results"] for one in (run, undisturbed)]
    assert results == [{"words": "ONE-TWO-THREE-not ONE", "count": 21}] * 2
