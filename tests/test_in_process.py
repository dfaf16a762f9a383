"""Runs in the calling process and thread: the same rules, the same journal, and a debugger that stops in a grandchild."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from unittest.mock import Mock

import pytest
from conftest import NOTE, query, wait_until

import firexlite as fx
from firexlite import Task, app
from firexlite.rehearsal import Rehearsal

seen: list = []


class Burnt(Exception):
    """It was in the oven for too long."""


@app.task(returns="flour")
def grind(grain):
    seen.append(("grind", grain, os.getpid(), threading.get_ident()))
    return f"{grain} flour"


@app.task(returns=["dough", "water"])
def knead(flour, water=2, *, salt="a pinch"):
    return f"{flour}, {water}, {salt}", water


@app.task(bind=True, returns="loaf")
def bake(self: Task, grain):
    return self.enqueue_child_and_extract(grind.s(grain=grain) | knead.s(water=3))["dough"]


@app.task(bind=True, returns="shelf")
def fill_shelf(self: Task, grains):
    promises = [self.enqueue_child(bake.s(grain=grain)) for grain in grains]
    self.wait_for_children()
    return [promise.result["loaf"] for promise in promises]


@app.task(bind=True, returns="first")
def take_the_first(self: Task):
    for grain in ("rye", "spelt"):
        self.enqueue_child(grind.s(grain=grain))
    return next(self.wait_for_any_children()).result["flour"]


@app.task(bind=True)
def burn(self: Task, grain="rye"):
    self.enqueue_child(scorch.s(grain=grain), block=True)


@app.task
def scorch(grain):
    raise Burnt(f"{grain} is black")


@app.task(bind=True, returns="tries", autoretry_for=(Burnt,), default_retry_delay=0, max_retries=3)
def try_hard(self: Task):
    if self.request.retries < 2:
        raise Burnt("not yet")
    return self.request.retries


@app.task(bind=True, returns="told")
def nap_and_note(self: Task):
    self.sleep(0.05)
    return self.name, fx.uuid().version, self.request.retries, self.attempt


@app.task(returns="price", use_cache=True)
def price(grain):
    seen.append(("price", grain))
    return len(grain)


@app.task(bind=True, returns="prices")
def ask_twice(self: Task):
    return [self.enqueue_child_and_extract(price.s(grain="rye"))["price"] for _ in range(2)]


@app.task
def leave():
    raise KeyboardInterrupt


@app.task(bind=True)
def leave_below(self: Task):
    try:
        self.enqueue_child(leave.s(), block=True)
    except Exception:
        seen.append("caught")


@app.task(bind=True)
def run_within(self: Task):
    fx.run(grind.s(grain="rye"), in_process=True)


@app.task(bind=True, returns="word")
def wait_for_a_word(self: Task):
    return self.wait_for_event("word")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    seen.clear()
    return tmp_path / "home"


def here(chain, **options):
    return fx.run(chain, in_process=True, **options)


def test_everything_is_done_in_the_calling_thread_depth_first():
    result = here(fill_shelf.s(grains=["rye", "spelt"]))

    assert result["shelf"] == ["rye flour, 3, a pinch", "spelt flour, 3, a pinch"]
    assert seen == [("grind", grain, os.getpid(), threading.get_ident()) for grain in ("rye", "spelt")]
    assert result.tree == "fill_shelf\n  bake\n    grind\n    knead\n  bake\n    grind\n    knead"


@pytest.mark.parametrize("chain", [
    lambda: fill_shelf.s(grains=["rye", "spelt"]), lambda: grind.s(grain="rye") | knead.s(salt="@grain"),
    lambda: take_the_first.s(), lambda: try_hard.s(), lambda: nap_and_note.s(), lambda: ask_twice.s(), lambda: burn.s(),
    lambda: grind.s(grain="rye") | burn.s() | knead.s(), lambda: knead.s(1, flour=2)],
    ids=["children", "chain", "any", "retries", "sleep", "cache", "failure", "skipped", "position"])
def test_a_run_here_is_the_same_as_one_in_processes_of_its_own(chain):
    of_here, of_others = here(chain(), check=False), fx.run(chain(), check=False, workers=1)

    def told(result):
        return (result.state, result.exit_code, result.values, result.tree,
                [(task.name, task.state, task.attempts, task.retries, task.arguments, task.values) for task in result.tasks],
                [(why.name, why.text, why.file, why.line, why.through) for why in result.failures])

    assert told(of_here) == told(of_others)


def test_it_is_journaled_as_every_run_is_and_shown(place):
    result = here(fill_shelf.s(grains=["rye"]))

    shown = subprocess.run([sys.executable, "-m", "firexlite", "flame", result.firex_id, "--json"], capture_output=True,
                           text=True, timeout=60)
    assert json.loads(shown.stdout)["run"]["state"] == "succeeded"
    examined = subprocess.run([sys.executable, "-m", "firexlite", "doctor", result.firex_id], capture_output=True, text=True,
                              timeout=60)
    assert examined.returncode == 0, examined.stdout
    assert sorted(os.listdir(result.path)) == ["alive.lock", "blobs", "journal.sqlite3", "logs", "run.json", "write.lock"]


def test_what_is_computed_once_is():
    here(ask_twice.s())

    assert seen == [("price", "rye")]


def test_a_failure_has_the_very_exception_with_its_traceback():
    with pytest.raises(fx.RunFailed) as caught:
        here(burn.s(grain="rye"))

    cause = caught.value.__cause__
    assert type(cause) is Burnt
    frames = []
    trace = cause.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    assert frames[-1].f_code.co_name == "scorch"
    assert frames[-1].f_locals == {"grain": "rye"}


def test_ctrl_c_in_a_body_ends_the_run_and_no_body_catches_it():
    with pytest.raises(KeyboardInterrupt):
        here(leave_below.s())

    [run] = os.listdir(os.environ["FIREXLITE_HOME"])
    assert seen == []
    resumed = fx.resume(run, check=False)
    assert resumed.task("leave").attempts >= 2


def test_services_of_a_function_can_be_run_here():
    @app.task(bind=True, returns="doubled")
    def double(self, number):
        return self.enqueue_child_and_extract(add.s(a=number, b=number))["sum"]

    @app.task(returns="sum")
    def add(a, b):
        return a + b

    assert here(double.s(number=4))["doubled"] == 8


def test_a_service_at_a_prompt_can_be_run_here():
    done = subprocess.run([sys.executable, "-"], capture_output=True, text=True, timeout=60, input="""
import firexlite
from firexlite import app

@app.task(returns="bread")
def bake():
    return "rye"

print(firexlite.run(bake.s(), in_process=True)["bread"])
""")

    assert done.stdout == "rye\n", done.stderr


DEBUGGED = NOTE + """
import firexlite

@app.task(bind=True, returns="loaf")
def bake(self, grain):
    return self.enqueue_child_and_extract(sift.s(grain=grain))["flour"]

@app.task(bind=True, returns="flour")
def sift(self, grain):
    return self.enqueue_child_and_extract(grind.s(grain=grain))["flour"]

@app.task(returns="flour")
def grind(grain):
    flour = grain + " flour"
    breakpoint()
    return flour

if __name__ == "__main__":
    print(firexlite.run(bake.s(grain="rye"), in_process=True)["loaf"])
"""


@pytest.mark.parametrize("commands, code, shown", [
    ("p flour\nbt\nc\n", 0, ["'rye flour'", "bake", "sift", "rye flour"]),
    ("p flour\nq\n", 1, ["'rye flour'", "bdb.BdbQuit"])])
def test_a_breakpoint_stops_in_a_grandchild(firexlite, commands, code, shown):
    (firexlite.folder / "debugged.py").write_text(DEBUGGED)

    done = subprocess.run([sys.executable, "debugged.py"], cwd=firexlite.folder, input=commands, capture_output=True, text=True,
                          env=firexlite.env, timeout=60)

    assert done.returncode == code, done.stderr
    for text in shown:
        assert text in done.stdout + done.stderr
    assert query(firexlite.only_run(), "SELECT state FROM run") == [("succeeded" if code == 0 else "interrupted",)]


def test_an_event_reaches_it_from_outside(place):
    def send():
        [run] = wait_until(lambda: [run for run in os.listdir(place) if run.startswith("FireX-")] if place.exists() else [])
        subprocess.run([sys.executable, "-m", "firexlite", "send", run, "word", '"now"'], check=True, timeout=60,
                       capture_output=True)

    sender = threading.Thread(target=send)
    sender.start()
    result = here(wait_for_a_word.s())
    sender.join()

    assert result["word"] == "now"


def test_a_run_that_only_waits_can_end_and_goes_on_in_processes_of_its_own():
    result = here(wait_for_a_word.s(), exit_when_waiting=True)

    assert (result.state, result.waits) == ("interrupted", True)
    subprocess.run([sys.executable, "-m", "firexlite", "send", result.firex_id, "word", '"now"'], check=True, timeout=60,
                   capture_output=True)
    assert result.resume()["word"] == "now"


def test_its_processes_death_leaves_a_run_to_resume(firexlite, effects):
    (firexlite.folder / "door.py").write_text(NOTE + """
@app.task
def close():
    note("begun")
    wait_for_file("open")
""")
    process = subprocess.Popen([sys.executable, "-c", "import firexlite, door\nfirexlite.run(door.close.s(), in_process=True)"],
                               cwd=firexlite.folder, env=firexlite.env)
    wait_until(lambda: effects()["begun"], what="body that began")
    process.send_signal(signal.SIGKILL)
    process.wait()

    (firexlite.folder / "open").touch()
    done = firexlite("resume", firexlite.only_run().firex_id)
    assert done.code == 0, done.err


@pytest.mark.parametrize("options", [{"timeout": 3}, {"soft_time_limit": 3}])
def test_a_limit_that_nobody_would_keep_is_refused(options, place):
    with pytest.raises(fx.FirexliteError) as caught:
        here(grind.s(grain="rye"), **options)

    assert str(caught.value) == ("with in_process=True nobody keeps time, so it goes with neither timeout= nor "
                                 "soft_time_limit=")
    assert not place.exists()


def test_a_run_within_a_task_is_refused():
    result = here(run_within.s(), check=False)

    [why] = result.failures
    assert why.text == "BadInput: with in_process=True one run at a time is done in a process, and in none of a task"


def test_fakes_are_played_here_too():
    bake_it = Mock(side_effect=["rye loaf", "spelt loaf"])

    result = Rehearsal(None)(fill_shelf.s(grains=["rye", "spelt"]), in_process=True, fakes={"bake": bake_it})

    assert result["shelf"] == ["rye loaf", "spelt loaf"]
    assert [call.kwargs for call in bake_it.call_args_list] == [{"grain": "rye"}, {"grain": "spelt"}]
    assert here(bake.s(grain="rye"))["loaf"] == "rye flour, 3, a pinch"
