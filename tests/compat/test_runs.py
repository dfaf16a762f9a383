"""What FireX's programs ask about runs, and its flow tests, over runs of firexlite."""
from __future__ import annotations

import subprocess
import sys

import pytest

from firexlite.compat import task_query
from firexlite.compat.run_data import FireXRunData, FireXRunStatus
from firexlite.compat.task_query import FireXTaskQueryException

SERVICES = """
from firexapp.engine.celery import app
from firexkit.chain import returns
from firexkit.task import FireXTask

@app.task
@returns("loaf")
def bake(flour, hours=1):
    assert flour != "air", "no flour"
    return f"{flour} bread"

@app.task(bind=True, returns="table")
def lay(self: FireXTask, flour):
    return self.enqueue_child_and_get_results(bake.s(flour=flour))["loaf"]
"""


@pytest.fixture
def ended(firexlite, plugin):
    """Gives the directory of a run of `lay,bake` that has ended."""
    def run(flour: str):
        firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "lay,bake", "--flour", flour)
        return firexlite.only_run().path

    return run


def test_the_tasks_of_a_run_are_found_by_what_is_known_of_them(ended):
    logs_dir = ended("rye")

    lay, second, child = task_query.all_tasks(logs_dir)
    assert [(task.name, task.long_name, task.state) for task in (lay, second, child)] == [
        ("lay", "services.lay", "task-succeeded"), ("bake", "services.bake", "task-succeeded"),
        ("bake", "services.bake", "task-succeeded")]
    assert (child.firex_bound_args, child.firex_default_bound_args, child.firex_result) == (
        {"flour": "rye"}, {"hours": 1}, {"loaf": "rye bread"})
    assert (lay.parent_id, second.parent_id, child.parent_id, second.chain_depth) == (None, lay.uuid, lay.uuid, 1)
    assert task_query.task_by_uuid(logs_dir, child.uuid) == child
    assert task_query.tasks_by_name(logs_dir, "services.bake") == task_query.tasks_by_name(logs_dir, "bake") == [second, child]
    assert task_query.task_by_name_and_arg_value(logs_dir, "bake", "flour", "rye") == [second, child]
    assert {node.uuid for node in task_query.get_descendants(logs_dir, lay.uuid)} == {second.uuid, child.uuid}
    assert task_query.ancestor_by_long_name(logs_dir, child.uuid, "services.lay").uuid == lay.uuid
    assert task_query.ancestor_by_long_name(logs_dir, child.uuid, "services.bake") is None
    assert task_query.wait_on_keeper_complete(logs_dir)
    with pytest.raises(FireXTaskQueryException, match="Required exactly one task named 'bake', found 2"):
        task_query.single_task_by_name(logs_dir, "bake")
    with pytest.raises(FireXTaskQueryException, match="Found no task with UUID 1"):
        task_query.task_by_uuid(logs_dir, "1")


def test_failed_tasks_lead_to_the_one_where_it_began(ended):
    logs_dir = ended("air")

    lay, second, child = task_query.all_tasks(logs_dir)

    assert task_query.failed_tasks(logs_dir) == [lay, child]
    assert task_query.failed_by_tasks(logs_dir, child.uuid) == [lay]
    assert (second.state, task_query.running_tasks(logs_dir)) == ("task-incomplete", [])
    assert task_query.find_task_causing_chain_exception(task_query._tree(logs_dir)[lay.uuid]).uuid == child.uuid


def test_a_run_tells_how_it_stands(ended, firexlite, monkeypatch):
    run = FireXRunData.load_from_logs_dir(ended("rye"))
    monkeypatch.setenv("FIREXLITE_HOME", str(firexlite.home))

    assert (run.get_status(), run.chain_results(), run.get_result("table")) == (
        FireXRunStatus.SUCCESS, {"table": "rye bread", "loaf": "rye bread"}, "rye bread")
    assert run.wait(0) and run.get_proc_duration() > 0 and run.get_input("flour") == "rye"
    assert (run.chain_has_service("services.LAY"), run.chain_has_service(["nop"])) == (True, False)
    assert FireXRunData.load_from_firex_id(run.firex_id) == run.reload() == run
    assert run.as_serializable()["completed_timestamp"] == run.completed_timestamp.isoformat()


def test_a_failed_run_names_the_services_that_failed(ended):
    run = FireXRunData.load_from_logs_dir(ended("air"))

    status, description = run.get_status_and_description()
    assert status.is_failed() and status.is_complete()
    assert description == ", ".join(run.get_failed_submitted_services()) and "lay" in description


FLOW_TESTS = SERVICES + '''
from firexapp.testing.config_base import FlowTestConfiguration, assert_is_bad_run, assert_is_good_run, skip_test

class Good(FlowTestConfiguration):
    def initial_firex_options(self):
        return ["submit", "--chain", "lay", "--flour", "rye", "--flame_port", "7"]

    def assert_expected_firex_output(self, cmd_output, cmd_err):
        assert not cmd_err
        assert self.completed_run.get_result("table") == "rye bread"

class Bad(FlowTestConfiguration):
    def initial_firex_options(self):
        return ["submit", "--chain", "lay", "--flour", "air"]

    def assert_expected_return_code(self, ret_value):
        assert_is_bad_run(ret_value)

    def assert_expected_firex_output(self, cmd_output, cmd_err):
        assert "no flour" in cmd_err

class Wrong(Bad):
    assert_expected_return_code = staticmethod(assert_is_good_run)

@skip_test
class Skipped(Bad):
    pass
'''


def test_flow_tests_of_firex_are_run_and_told_of(firexlite, plugin):
    plugin(FLOW_TESTS, "kitchen_tests.py")

    done = subprocess.run([sys.executable, "-m", "firexlite.compat.flow_tests", "--tests", "kitchen_tests.py"], timeout=90,
                          capture_output=True, text=True, cwd=firexlite.folder, env=firexlite.env)

    assert done.returncode == 1
    told = [line for line in done.stdout.splitlines() if line.startswith(("passed ", "FAILED ")) or line.endswith("passed")]
    assert told == ["passed Bad", "passed Good", "FAILED Wrong", "2 of 3 passed"]
    assert "AssertionError: Test expects a CLEAN run, but returned 1" in done.stdout and "no flour" in done.stdout
