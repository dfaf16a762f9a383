"""`firexlite diff`: two runs compared, task by task."""
from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import NOTE, query, wait_until

BAKERY = """
import time
from firexlite import app, InjectArgs

@app.task(returns="dough")
def mix(grain, water="1 l"):
    return f"{grain} dough, {water}"

@app.task(bind=True, returns="shelf")
def bake_all(self, dough, loaves):
    chains = [InjectArgs(uid=self.abog["uid"]) | bake.s(dough=dough, number=number) | cool.s() for number in range(int(loaves))]
    promises = self.enqueue_in_parallel(chains, raise_exception_on_failure=True)
    return [promise.result["cooled"] for promise in promises]

@app.task(returns="loaf")
def bake(dough, number, degrees=200):
    if degrees > 300:
        raise ValueError(f"loaf {number} burnt at {degrees} degrees")
    return f"loaf {number} of {dough}"

@app.task(returns="cooled")
def cool(loaf):
    return loaf.upper()
"""


@pytest.fixture
def run_of(firexlite, plugin) -> Callable[..., str]:
    """Submits mix,bake_all with changes of the source, and gives the FireX ID: ``run_of({"200": "400"}, loaves=2)``."""

    def submit(changes: dict[str, str] | None = None, chain: str = "mix,bake_all", **arguments: object) -> str:
        source = BAKERY
        for old, new in (changes or {}).items():
            assert old in source
            source = source.replace(old, new)
        plugin(source)
        given = {"grain": "rye", "loaves": 2, **arguments}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        return firexlite("submit", "--plugins", "services.py", "--chain", chain, *words).firex_id

    return submit


def told(text: str) -> str:
    """What is printed, without what differs from one time to the next."""
    return re.sub(r"FireX-\S+-(\d{6})-(\d{6})-\d+, \S+ \S+, (\w+) after \S+ s", r"ID, \3", text)


def test_two_runs_of_the_same_are_alike_and_end_with_0(firexlite, run_of):
    done = firexlite("diff", run_of(), run_of())

    assert (done.code, done.err) == (0, "")
    assert told(done.out) == """\
A: ID, succeeded, 6 tasks: mix,bake_all
B: ID, succeeded, 6 tasks: mix,bake_all
The runs are alike: 6 tasks, with the same states, arguments and results, of the same code and inputs.
"""


def test_code_and_inputs_and_what_follows_from_them_are_told(firexlite, run_of):
    done = firexlite("diff", run_of(), run_of({"loaf.upper()": "loaf.title()"}, grain="oat"))

    assert done.code == 1
    assert told(done.out) == """\
A: ID, succeeded, 6 tasks: mix,bake_all
B: ID, succeeded, 6 tasks: mix,bake_all
Other in B as a whole:
  services.py: changed
  --grain: rye -> oat
Other arguments:
  bake (task 3) dough: rye dough, 1 l -> oat dough, 1 l
  bake (task 5) dough: rye dough, 1 l -> oat dough, 1 l
Other results:
  mix (task 1) dough: rye dough, 1 l -> oat dough, 1 l
  bake_all (task 2) shelf: ["LOAF 0 OF RYE DOUGH, 1 L", "LOAF 1 OF RYE DOUGH, 1 L"] -> ["Loaf 0 Of Oat Dough, 1 L", "Loaf 1 \
Of Oat Dough, 1 L"]
  bake (task 3) loaf: loaf 0 of rye dough, 1 l -> loaf 0 of oat dough, 1 l
  cool (task 4) cooled: LOAF 0 OF RYE DOUGH, 1 L -> Loaf 0 Of Oat Dough, 1 L
  bake (task 5) loaf: loaf 1 of rye dough, 1 l -> loaf 1 of oat dough, 1 l
  cool (task 6) cooled: LOAF 1 OF RYE DOUGH, 1 L -> Loaf 1 Of Oat Dough, 1 L
The runs differ: 2 of the run as a whole, 2 in arguments, 6 in results.
"""


def test_what_failed_is_told_with_the_error_where_it_happened(firexlite, run_of):
    done = firexlite("diff", run_of(), run_of({"degrees=200": "degrees=400"}, loaves=1))

    assert done.code == 1
    assert told(done.out) == """\
A: ID, succeeded, 6 tasks: mix,bake_all
B: ID, failed, 4 tasks: mix,bake_all
Other in B as a whole:
  services.py: changed
  --loaves: 2 -> 1
Other state:
  bake_all (task 2): succeeded -> failed because of what failed below it
  bake (task 3): succeeded -> failed of ValueError: loaf 0 burnt at 400 degrees
  cool (task 4): succeeded -> skipped
In A alone:
  bake (task 5): succeeded
  cool (task 6): succeeded
The runs differ: 2 of the run as a whole, 3 in states, 2 in A alone.
"""


def test_a_failure_that_is_another_one_is_told(firexlite, run_of):
    done = firexlite("diff", run_of({"degrees=200": "degrees=400"}, loaves=1), run_of({"degrees=200": "degrees=500"}, loaves=1))

    assert "Failed otherwise:\n  bake (task 3): ValueError: loaf 0 burnt at 400 degrees -> ValueError: loaf 0 burnt at 500 " \
           "degrees\n" in done.out


def test_children_are_paired_by_what_they_are_asked_for_wherever_they_stand(firexlite, run_of):
    """Their own FireX IDs, which are among their arguments, do not matter."""
    done = firexlite("diff", run_of(), run_of({"range(int(loaves))": "[9, 0, 1]"}))

    assert "Other arguments" not in done.out
    assert "In B alone:\n  bake (task 3): succeeded\n  cool (task 4): succeeded\n" in done.out
    assert "  bake_all (task 2) shelf: " in done.out


def test_a_service_more_in_the_chain_leaves_the_others_paired(firexlite, run_of):
    done = firexlite("diff", run_of(chain="mix"), run_of(chain="getusername,mix"), "--json")

    found = json.loads(done.out)
    assert [(only["task"], only["service"]) for only in found["only_in_b"]] == [(1, "getusername")]
    assert (found["only_in_a"], found["states"], found["results"], found["arguments"]) == ([], [], [], [])
    assert (found["alike"], done.code) == (False, 1)


def test_a_task_with_all_that_is_below_it_is_told_once(firexlite, run_of):
    done = firexlite("diff", run_of(), run_of(chain="mix"))

    assert "In A alone:\n  bake_all (task 2): succeeded, and 4 tasks below it\n" in done.out


def test_it_is_shown_ten_of_a_kind_unless_all_are_asked_for(firexlite, run_of):
    a, b = run_of(loaves=12), run_of({"loaf.upper()": "loaf"}, loaves=12)

    few, every = firexlite("diff", a, b), firexlite("diff", a, b, "--all")

    assert few.out.count(" cooled: ") == 9  # and one of bake_all
    assert "  ... and 3 more; --all shows them\n" in few.out
    assert every.out.count(" cooled: ") == 12
    assert "more" not in every.out


def test_all_of_it_is_to_be_had_as_json(firexlite, run_of):
    a, b = run_of(), run_of({'"1 l"': '"2 l"'})

    found = json.loads(firexlite("diff", a, b, "--json").out)

    assert (found["a"]["firex_id"], found["b"]["firex_id"], found["a"]["tasks"]) == (a, b, 6)
    assert [(one["what"], one["name"]) for one in found["run"]] == [("code", "services.py")]
    assert found["results"][0] == {"a": 1, "b": 1, "service": "mix", "name": "dough", "was": "rye dough, 1 l",
                                   "now": "rye dough, 2 l", "why": None}
    assert found["alike"] is False


def test_a_time_that_is_much_longer_is_told_and_leaves_the_runs_alike(firexlite, run_of):
    a, b = run_of(), run_of()
    path = firexlite.home / b / "journal.sqlite3"
    stretch(path, 3, 7.5)

    done = firexlite("diff", a, b)

    assert done.code == 0
    assert re.search(r"Other times:\n  bake \(task 3\): 0\.\d s -> 7\.5 s\nThe runs are alike: .* 1 task took another time\.",
                     done.out)


def stretch(journal: Path, task: int, seconds: float) -> None:
    """Have a task of a run that ended have taken so long."""
    db = sqlite3.connect(journal)
    [(trigger,)] = db.execute("SELECT sql FROM sqlite_master WHERE name = 'an_ended_attempt_stays'")
    db.execute("DROP TRIGGER an_ended_attempt_stays")
    db.execute("UPDATE attempt SET ended = started + ? WHERE task = ?", (seconds, task))
    db.execute(trigger)
    db.commit()
    db.close()


def test_a_task_that_was_tried_again_is_told(firexlite, plugin):
    plugin("""
import os
from firexlite import app

@app.task(bind=True, autoretry_for=(ValueError,), max_retries=3, retry_backoff=False, default_retry_delay=0)
def heat(self):
    if self.request.retries < int(os.environ["FAILS"]):
        raise ValueError("cold")
""")
    a, b = (firexlite("submit", "--plugins", "services.py", "--chain", "heat", FAILS=fails).firex_id for fails in "02")

    done = firexlite("diff", a, b)

    assert done.code == 1
    assert "Tried again:\n  heat (task 1): 0 times -> 2 times\n" in done.out


def test_nothing_of_a_run_is_changed_by_looking(firexlite, run_of):
    a, b = run_of(), run_of()
    before = {path: path.read_bytes() for path in firexlite.home.rglob("*") if path.is_file()}

    firexlite("diff", a, b)

    assert {path: path.read_bytes() for path in firexlite.home.rglob("*") if path.is_file()} == before


def test_a_run_that_is_not_there_is_refused(firexlite, run_of):
    done = firexlite("diff", run_of(), "FireX-li-261123-101500-4711")

    assert done.code == 2
    assert done.err.startswith("firexlite: there is no run 'FireX-li-261123-101500-4711'")


def test_a_run_that_goes_on_can_be_compared(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def wait(path="gone"):
    note("begun")
    wait_for_file(path)
""")
    (firexlite.folder / "there").touch()
    ended = firexlite("submit", "--plugins", "services.py", "--chain", "wait", "--path", "there").firex_id
    firexlite.start("submit", "--plugins", "services.py", "--chain", "wait")
    wait_until(lambda: effects()["begun"] == 2)
    [goes_on] = [run for run in firexlite.runs() if run.firex_id != ended]
    assert query(goes_on, "SELECT state FROM task") == [("running",)]

    done = firexlite("diff", ended, goes_on.firex_id)

    assert done.code == 1
    assert "Other state:\n  wait (task 1): succeeded -> running\n" in done.out
