"""`firexapp.engine.celery.app` and what else service files ask of FireX while a task runs."""
from __future__ import annotations

import json
import multiprocessing

import pytest
from conftest import query, wait_until

from firexlite.compat.celery_app import Celery, FirexApp, app
from firexlite.compat.running import current_task
from firexlite.compat.store import RunStore
from firexlite.errors import NotRegistered
from firexlite.home import RunDirectory


def results(firexlite) -> dict:
    return json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"]


# --- while a task runs ---------------------------------------------------------------------------------------------------

RUNNING = """
from celery import current_app, current_task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from celery.states import REVOKED, SUCCESS
from firexapp.engine.celery import app
from firexapp.submit.arguments import whitelist_arguments
from firexkit.task import FireXTask

whitelist_arguments("ticket")

@app.task(base=FireXTask, acks_late=True)
def child(x): pass

@current_app.task
def never(x: AsyncResult | None): pass

@app.task(bind=True, returns=("conf", "task", "asked", "revoked", "ticket", "counted"))
def parent(self: FireXTask):
    done = self.enqueue_child(child.s(x=1), block=True)
    late = self.enqueue_child(child.s(x=2) | never.s())
    app.control.revoke(late.id)
    assert isinstance(done, AsyncResult) and not isinstance(done.id, AsyncResult) and AsyncResult(late.id).id == late.id
    app.backend.set("greeting", "Hello")
    app.backend.incr("count"), app.backend.incr("count", 2)
    return ([app.conf.uid, app.conf.logs_dir, app.conf.get("nothing", 7)], [current_task.name, bool(current_task)],
            [app.AsyncResult(done.id).state == SUCCESS, app.AsyncResult(done.id).id == done.id],
            app.AsyncResult(late.id).state, self.abog["ticket"],
            [int(app.backend.get("count")), app.backend.get("greeting").decode(), app.backend.get("nothing")])
"""


def test_a_task_can_ask_the_app_of_its_run(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(RUNNING), "--chain", "parent", "--ticket", "T-1", "--workers", "1")

    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert results(firexlite) == {
        "conf": [run.firex_id, str(run.path), 7], "task": ["services.parent", True], "asked": [True, True],
        "revoked": "REVOKED", "ticket": "T-1", "counted": [3, "Hello", None]}


def test_an_argument_that_is_not_whitelisted_is_still_a_typing_error(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(RUNNING), "--chain", "parent", "--ticked", "T-1")

    assert (done.code, done.err) == (2, "firexlite: no service has an argument 'ticked' (given as --ticked). "
                                        "Did you mean 'ticket'?\n")


def test_outside_of_a_task_there_is_no_run_to_ask_about():
    assert not current_task
    assert app.current_task is None
    assert (app.conf.uid, app.conf.logs_dir) == (None, None)
    with pytest.raises(RuntimeError) as refused:
        app.AsyncResult("1")
    assert str(refused.value) == ("AsyncResult is there only while a task runs: outside of one there is no run that it could "
                                  "belong to")
    with pytest.raises(AttributeError, match=r"app.control has no 'inspect': there are no celery workers to be asked"):
        app.control.inspect()


# --- services by name ----------------------------------------------------------------------------------------------------

def test_services_are_found_by_long_and_short_names_in_any_letter_case():
    apart = Celery()

    @apart.task(name="kitchen.bake")
    def bake(): pass

    assert apart.get_app_task("BAKE") is bake
    assert apart.get_app_tasks("kitchen.bake, bake") == [bake, bake]
    assert apart.tasks == {"kitchen.bake": bake}
    assert apart.signature("bake", kwargs={"x": 1}) == bake.s(x=1)
    with pytest.raises(NotRegistered):
        FirexApp(apart._services).get_app_task("brew")


LATE = """
from firexlite import app

@app.task(bind=True, returns="greeting")
def greet(self, name):
    return self.enqueue_child_and_get_results(self.orig.s(name=name))["greeting"] + " Welcome!"
"""


def test_a_plugin_overrides_a_service_that_is_imported_after_it(firexlite, plugin):
    done = firexlite("submit", "--plugins", plugin(LATE), "--chain", "greet_guests", "--guests", "Li,Dash")

    assert done.code == 0, done.err
    assert results(firexlite) == {"guests_greeting": "Hello Li! Welcome! Hello Dash! Welcome!"}


# --- values that the workers of a run share ------------------------------------------------------------------------------

@pytest.fixture
def store(tmp_path) -> RunStore:
    return RunStore(RunDirectory(tmp_path))


def test_whatever_is_stored_comes_back_as_bytes(store):
    for key, value in {"text": "Zoë", "bytes": b"\xff", "whole": 7, "part": 0.5}.items():
        assert store.set(key, value)

    assert store.mget(["text", "bytes", "whole", "part", "nothing"]) == ["Zoë".encode(), b"\xff", b"7", b"0.5", None]
    assert (store.exists("text", "nothing"), store.delete("text", "nothing"), store.get("text")) == (1, 1, None)
    assert (store.setnx("whole", 8), store.get("whole")) == (False, b"7")


def test_a_value_that_redis_would_not_take_is_refused(store):
    with pytest.raises(TypeError, match=r"app.backend stores text, bytes and numbers, not \[1\]"):
        store.set("list", [1])


def test_no_increment_of_several_processes_is_lost(store):
    def count():
        for _ in range(20):
            store.incr("count")

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=count) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)

    assert store.get("count") == b"80"


def test_what_was_stored_is_there_after_a_resume(firexlite, plugin):
    path = plugin("""
import os
from firexapp.engine.celery import app

@app.task(returns="times")
def tried():
    times = app.backend.incr("times")
    if not os.path.exists("go on"):
        open("tried", "w").close()
        raise RuntimeError("not yet")
    return times
""")
    failed = firexlite("submit", "--plugins", path, "--chain", "tried")
    wait_until((firexlite.folder / "tried").exists)
    (firexlite.folder / "go on").touch()

    done = firexlite("resume", failed.firex_id)

    assert done.code == 0, done.err
    assert results(firexlite) == {"times": 2}


def test_a_service_of_firex_that_a_run_names_is_found_again_by_its_resume(firexlite):
    failed = firexlite("submit", "--chain", "firexapp.tasks.example.greet", "--name", "A")
    assert failed.code == 1

    again = firexlite("resume", failed.firex_id)

    assert "Cannot greet a name with 1 or fewer characters." in again.err
    assert query(firexlite.only_run(), "SELECT service FROM task") == [("firexapp.tasks.example.greet",)]
