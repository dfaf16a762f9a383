"""The report as JUnit XML: what a CI server would show of made-up and of real runs."""
from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import junitparser
import pytest
from conftest import kill_all, states, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_models import life, made_up, task, walked_once

from firexlite import flame_junit
from firexlite.flame_junit import write_junit

BROKEN = {"state": "failed", "exception": "ValueError('thirteen')", "traceback": "Traceback\n  raise ValueError",
          "error_context": "/home/li/services.py:13 in second"}


def junit_of(model: dict) -> str:
    out = io.StringIO()
    write_junit(model, out)
    assert out.getvalue().isascii()
    return out.getvalue()


def suite_of(model: dict) -> junitparser.TestSuite:
    """The one suite of a model's JUnit file, whose head has the tally of what lies in it."""
    suites = junitparser.JUnitXml.fromstring(junit_of(model).encode())
    [suite] = suites
    said = [(one.tests, one.failures, one.errors, one.skipped) for one in (suite, suites)]
    wall_s = suite.time
    suite.update_statistics()  # counts anew
    assert said == [(suite.tests, suite.failures, suite.errors, suite.skipped)] * 2
    suite.time = wall_s
    return suite


def results(suite: junitparser.TestSuite) -> dict[str, tuple[str, str, str] | None]:
    """``{name of the case: (element, type, message)}``; None for a success."""
    found = {}
    for case in suite:
        assert len(case.result) <= 1
        found[case.name] = next(((one._tag, one.type, one.message) for one in case.result), None)
    return found


# --- what each task is ------------------------------------------------------------------------------------------

def test_a_task_that_succeeded_is_a_case_that_passed():
    suite = suite_of(made_up(task(1, 0, 2.5, name="build", long_name="services.build")))

    [case] = suite
    assert (case.classname, case.name, case.time, case.result) == ("services.build", "build #1", 2.5, [])
    assert (suite.name, suite.hostname, suite.timestamp, suite.time) == (
        "FireX-li-261123-101500-4711", "lab-3", "2026-11-18T11:06:40", 100.0)
    assert {one.name: one.value for one in suite.properties()} == {"chain": "top", "state": "succeeded", "firexlite": "0.1.0"}


def test_a_task_that_raised_is_a_failure_with_its_traceback():
    [case] = suite_of(made_up(task(1, 0, 1, **BROKEN), state="failed"))

    [failure] = case.result
    assert isinstance(failure, junitparser.Failure)
    assert (failure.type, failure.message) == ("ValueError", "ValueError('thirteen')")
    assert failure.text == "Traceback\n  raise ValueError\nat /home/li/services.py:13 in second"


def test_only_the_root_cause_is_a_failure():
    interrupted = {"state": "failed", "exception": "ChainInterruptedException('...')"}
    model = made_up(task(1, 0, 9, name="top", cause=2, **interrupted),
                    task(2, 1, 7, name="suite", cause=4, enqueued_by=1, **interrupted),
                    task(3, 1, 1, name="flash", enqueued_by=2),
                    task(4, 2, 1, name="case", enqueued_by=2, parent=3, **BROKEN),
                    task(5, state="skipped", name="report", enqueued_by=2, parent=4), state="failed")

    suite = suite_of(model)

    assert results(suite) == {
        "top #1": ("skipped", None, "failed because of suite #2"),
        "suite #2": ("skipped", None, "failed because of case #4"),
        "flash #3": None,
        "case #4": ("failure", "ValueError", "ValueError('thirteen')"),
        "report #5": ("skipped", None, "a task before it in its chain did not succeed")}
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 1, 0, 3)


@pytest.mark.parametrize("cause", [
    task(2, state="revoked", enqueued_by=1), task(2, 0, 1, enqueued_by=1), task(2, 0, 1, enqueued_by=1, aside=True, **BROKEN)],
    ids=["revoked", "succeeded", "set aside"])
def test_a_task_whose_cause_did_not_fail_is_a_failure_itself(cause):
    assert suite_of(made_up(task(1, 0, 3, cause=2, **BROKEN), cause, task(3, 0, 1, **BROKEN))).failures == 2


def test_tasks_that_name_each_other_as_cause_are_failures():
    assert suite_of(made_up(task(1, 0, 3, cause=2, **BROKEN), task(2, 0, 3, cause=1, **BROKEN))).failures == 2
    assert suite_of(made_up(task(1, 0, 3, cause=1, **BROKEN))).failures == 1


def test_a_task_that_died_with_its_workers_is_an_error():
    lost = "WorkerLost(4, 'signal 9 (SIGKILL)', False)"

    suite = suite_of(made_up(task(1, 0, 1, cause=2, **BROKEN), task(2, 0, 1, "failed", exception=lost), state="failed"))

    assert results(suite) == {"work #1": ("skipped", None, "failed because of work #2"),
                              "work #2": ("error", "WorkerLost", lost)}


def test_what_is_not_over_is_an_error_and_what_never_started_is_skipped():
    tasks = [task(1, 0, 9, "blocked"), task(2, 1, 8, "running"), task(3, 1, 8, "ready"), task(4, state="ready"),
             task(5, state="waiting"), task(6, state="revoked"), task(7, 1, 2, "revoked", revoke_reason="too slow")]
    end = "when the run was interrupted"

    assert results(suite_of(made_up(*tasks, state="interrupted", ended=None, incarnations=[life(1, 0, 9, "crash")]))) == {
        "work #1": ("error", "incomplete", f"blocked {end}"), "work #2": ("error", "incomplete", f"running {end}"),
        "work #3": ("error", "incomplete", f"ready {end}"), "work #4": ("skipped", None, "never started"),
        "work #5": ("skipped", None, "never started"), "work #6": ("skipped", None, "revoked"),
        "work #7": ("skipped", None, "revoked: too slow")}
    assert results(suite_of(made_up(tasks[1], state="running", ended=None)))["work #2"][2] == "running when this was written"


def test_what_was_set_aside_is_left_out_with_all_below_it():
    suite = suite_of(made_up(task(1, 0, 1), task(2, 0, 1, aside=True, enqueued_by=1, **BROKEN), task(3, 0, 1, enqueued_by=1),
                             task(4, 0, 1, enqueued_by=2, **BROKEN), task(5, 0, 1, enqueued_by=4, **BROKEN)))

    assert results(suite) == {"work #1": None, "work #3": None}


def test_a_run_without_tasks_is_a_valid_file():
    assert suite_of(made_up()).tests == 0
    assert suite_of({"run": {}, "tasks": iter([])}).tests == 0


def test_the_log_is_the_output_of_the_case():
    [case] = suite_of(made_up(task(1, 0, 1, log={"lines": ["one", "two"], "total": 2, "bytes_before": 0}, **BROKEN)))
    [cut] = suite_of(made_up(task(1, 0, 1, log={"lines": ["two"], "total": 1, "bytes_before": 12345})))

    assert case.system_out == "one\ntwo" and isinstance(case.result[0], junitparser.Failure)
    assert cut.system_out == "[the first 12,345 bytes are left out]\ntwo"


# --- any text ---------------------------------------------------------------------------------------------------

def test_characters_that_xml_cannot_hold_are_shown_as_python_writes_them():
    odd = "\x1b[31mred\x00 \ud800 \ufffe \uffff é 😀 ]]> </system-out> &amp;"

    [case] = suite_of(made_up(task(1, 0, 1, log={"lines": [odd]})))

    assert case.system_out == "\\x1b[31mred\\x00 \\ud800 \\ufffe \\uffff é 😀 ]]> </system-out> &amp;"


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])), st.text(st.characters(exclude_categories=[])))
def test_any_text_comes_back_as_it_was_but_for_what_xml_cannot_hold(one, other):
    def legal(text: str) -> str:
        return "".join(char if ET_takes(char) else char.encode("unicode_escape").decode() for char in text)

    root = ET.fromstring(junit_of(made_up(
        task(1, 0, 1, "failed", name=one, exception=f"E({other})", traceback=other or "-", log={"lines": [one]}), id=other)))

    [case] = root.iter("testcase")
    assert root.get("name") == legal(other)
    assert case.get("name") == f"{legal(one) or '?'} #1"
    assert case.find("failure").get("message") == f"E({legal(other)})"
    assert case.find("failure").text == (legal(other) or "-")
    assert (case.findtext("system-out") or "") == legal(one)


def ET_takes(char: str) -> bool:
    """Whether a character can stand in XML as a reference."""
    try:
        ET.fromstring(f"<a>&#{ord(char)};</a>")
    except ET.ParseError:
        return False
    return True


def test_failures_whose_cause_comes_late_are_replaced_in_place_however_large_the_file(monkeypatch):
    monkeypatch.setattr(flame_junit, "IN_MEMORY", 1000)
    monkeypatch.setattr(flame_junit, "AT_ONCE", 7)
    log = {"lines": ["läuft 😀"] * 50, "bytes_before": 0}
    tasks = [task(num, 0, 1, log=log, cause=100 if num % 3 else None, **BROKEN) if num % 2 else task(num, 0, 1, log=log)
             for num in range(1, 100)]

    suite = suite_of(made_up(*tasks, task(100, 0, 1, **BROKEN)))

    roots = {f"work #{num}" for num in (*range(3, 100, 6), 100)}
    assert {name for name, result in results(suite).items() if result and result[0] == "failure"} == roots
    assert suite.skipped == 50 - 17 and all(case.system_out == "\n".join(log["lines"]) for case in list(suite)[:-1])


# --- real runs --------------------------------------------------------------------------------------------------

SERVICES = """
import os, signal, time
from firexlite import app

@app.task(returns="x")
def good():
    print("all \\x1b[32mgood\\x1b[0m <here>")
    return 1

@app.task(autoretry_for=ValueError, max_retries=1, default_retry_delay=0.01)
def bad(x):
    raise ValueError(f"no <{x}>")

@app.task
def never(): pass

@app.task
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task
def slow():
    while not os.path.exists("go"):
        time.sleep(0.01)

@app.task(bind=True)
def top(self, with_slow=False):
    for child in (good.s() | bad.s() | never.s(), deadly.s(), *([slow.s()] if with_slow else [])):
        self.enqueue_child(child)
    self.wait_for_children()
"""


def test_a_failed_run_shows_its_root_causes(firexlite, plugin):
    plugin(SERVICES)
    failed = firexlite("submit", "--plugins", "services.py", "--chain", "top")
    data = firexlite.flame(failed.firex_id)

    suite = suite_of({**data, "tasks": walked_once(data["tasks"])})

    found = results(suite)
    assert found["top #1"] == ("skipped", None, "failed because of bad #3")
    assert found["good #2"] is None
    assert found["bad #3"] == ("failure", "ValueError", "ValueError('no <1>')")
    assert found["never #4"] == ("skipped", None, "a task before it in its chain did not succeed")
    assert found["deadly #5"][:2] == ("error", "WorkerLost")
    good, bad = list(suite)[1:3]
    assert good.system_out == "all \\x1b[32mgood\\x1b[0m <here>"
    assert 'raise ValueError(f"no <{x}>")' in bad.result[0].text and bad.result[0].text.endswith("services.py:12 in bad")
    assert suite.time == pytest.approx(data["run"]["ended"] - data["run"]["started"], abs=0.001)


def test_a_killed_run_shows_what_was_not_over(firexlite, plugin):
    plugin(SERVICES)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--with_slow", "1")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run).get("failed") == 2 and states(run).get("running") == 1)
    kill_all(process)
    data = firexlite.flame(run.firex_id)

    found = results(suite_of({**data, "tasks": walked_once(data["tasks"])}))

    assert found["top #1"] == ("error", "incomplete", "blocked when the run was interrupted")
    assert found["slow #6"] == ("error", "incomplete", "running when the run was interrupted")
    assert found["bad #3"][0] == "failure" and found["deadly #5"][0] == "error"
