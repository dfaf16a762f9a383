"""Calling off: a run, a task, a child; durably, at once, and also what never began."""
from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import Command, states, wait_until

from .flows import Flow, Flows, tasks_of

WORK = """
@app.task
def slow(number=0):
    touch(f"slow {number} began")
    wait_for_file(f"go {number}")
    note(f"slow {number} ended")

@app.task
def never(): note("never began")
"""


@pytest.fixture
def cancelled(flow: Flows, firexlite: Command) -> Iterator[Flow]:
    """A run of a blocked parent, a running child, one that waits for a slot and one behind another, after its cancel."""
    plugins = flow.write(services=WORK + """
@app.task(bind=True)
def top(self):
    self.enqueue_child(slow.s() | never.s())
    self.enqueue_child(never.s())
    self.wait_for_children()

@app.task
def after(): note("after began")
""")
    process = firexlite.start("submit", "--plugins", plugins, "--chain", "top,after", "--workers", 1)
    wait_until(lambda: firexlite.runs() and (firexlite.folder / "slow 0 began").exists(), what="running child")
    run = firexlite.only_run()
    wait_until(lambda: states(run) == {"blocked": 1, "running": 1, "ready": 1, "waiting": 2}, what="blocked parent")

    cancel = firexlite("cancel", run.firex_id)

    assert cancel.code == 0, cancel.err
    out, err = process.communicate(timeout=20)
    yield Flow(process.returncode, out, err, run)


def test_c68_a_run_is_revoked_with_all_that_runs_and_all_that_waits(cancelled: Flow, flow: Flows) -> None:
    assert cancelled.code != 0
    assert {state for name, state in cancelled.states if name != "after"} == {"revoked"}
    assert dict(cancelled.states)["after"] in ("revoked", "skipped")
    assert flow.notes() == []
    summary = json.loads(cancelled.run.run_json.read_text())
    assert (summary["state"], summary["revoked"], summary["completed"]) == ("revoked", True, True)
    assert summary["revoked_details"]["reason"]


def test_resuming_a_revoked_run_runs_what_was_revoked(cancelled: Flow, flow: Flows) -> None:
    (flow.folder / "go 0").touch()

    resumed = flow.firexlite("resume", cancelled.run.firex_id)

    assert resumed.code == 0, resumed.err
    assert sorted(flow.notes()) == ["after began", "never began", "never began", "slow 0 ended"]
    assert {task["state"] for task in tasks_of(cancelled.run) if not task["aside"]} == {"succeeded"}


def test_one_task_is_called_off_and_its_parent_told(flow: Flows, firexlite: Command) -> None:
    plugins = flow.write(services=WORK + """
@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(slow.s(number=number)) for number in (1, 2)]
    error = raised_by(lambda: self.wait_for_children(raise_exception_on_failure=False))
    return [type(error).__name__, [promise.state for promise in promises]]
""")
    process = firexlite.start("submit", "--plugins", plugins, "--chain", "top", "--workers", 2)
    wait_until(lambda: all((firexlite.folder / f"slow {number} began").exists() for number in (1, 2)), what="two children")
    run = firexlite.only_run()
    [first] = [task["num"] for task in tasks_of(run) if task["args"] == {"number": 1}]

    cancel = firexlite("cancel", run.firex_id, first)

    assert cancel.code == 0, cancel.err
    wait_until(lambda: states(run).get("revoked") == 1, what="revoked task")
    (firexlite.folder / "go 2").touch()
    assert process.wait(timeout=20) == 0
    assert json.loads(run.run_json.read_text())["results"]["chain_results"]["seen"] == [
        "ChainRevokedException", ["REVOKED", "SUCCESS"]]
    assert flow.notes() == ["slow 2 ended"]


def test_c69_a_revoked_child_is_told_of_also_where_failures_are_not(flow: Flows) -> None:
    done = flow(WORK + """
@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(slow.s())
    wait_for_file("slow 0 began")
    promise.revoke()
    error = raised_by(lambda: self.wait_for_children(raise_exception_on_failure=False))
    return [type(error).__name__, isinstance(error, ChainException), isinstance(error, ChainInterruptedException),
            error.task_id == promise.id]
""", "top", "--workers", 2)

    assert done.seen == ["ChainRevokedException", True, False, True]
    assert flow.notes() == []


def test_c70_a_child_that_never_began_is_revoked_at_once_and_never_runs(flow: Flows) -> None:
    """In FireX it is pending until a worker would run it."""
    done = flow(WORK + """
@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(never.s())
    promise.revoke()
    return [promise.state, promise.ready()]
""", "top", "--workers", 1)

    assert done.seen == ["REVOKED", True]
    assert flow.notes() == []
    assert done.only("never")["state"] == "revoked" and done.only("never")["started"] is None


def test_a_parent_calls_off_a_child_with_all_of_its_chain(flow: Flows) -> None:
    done = flow(WORK + """
@app.task(bind=True, returns="seen")
def top(self):
    promise, other = self.enqueue_child(slow.s(1) | never.s()), self.enqueue_child(slow.s(2))
    wait_for_file("slow 1 began"), wait_for_file("slow 2 began")
    self.revoke_child(promise)
    seen = [promise.state, other.ready()]
    touch("go 2")
    self.wait_for_specific_children([other])
    return [*seen, other.state]
""", "top", "--workers", 3)

    assert done.seen == ["REVOKED", False, "SUCCESS"]
    assert flow.notes() == ["slow 2 ended"]
