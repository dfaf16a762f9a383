"""The report as a trace: bars of made-up and of real runs, and that none crosses another on its lane."""
from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys

import pytest
from conftest import ROOT, kill_all, states, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_models import ZERO, attempt, life, made_up, task, walked_once

from firexlite.flame_trace import write_trace


def trace_of(model: dict) -> list[dict]:
    """The events of a model's trace."""
    out = io.StringIO()
    write_trace(model, out)
    trace = json.loads(out.getvalue())
    assert out.getvalue().isascii() and list(trace) == ["displayTimeUnit", "traceEvents"]
    return trace["traceEvents"]


def bars(events: list[dict]) -> dict[str, tuple[int, int, int]]:
    """``{name: (lane, start, end)}``, in microseconds; for names that occur once."""
    found = of_kind(events, "X")
    assert len({bar["name"] for bar in found}) == len(found)
    return {bar["name"]: (bar["tid"], bar["ts"], bar["ts"] + bar["dur"]) for bar in found}


def of_kind(events: list[dict], kind: str) -> list[dict]:
    return [event for event in events if event["ph"] == kind]


def check_lanes(events: list[dict], callers: dict[int, int | None]) -> None:
    """That bars of a lane are apart or contain each other, and that whatever contains another task's bar called it."""
    assert [event for event in events if event["ph"] not in "MXsfi"] == []
    by_lane: dict[int, list[dict]] = {}
    for bar in of_kind(events, "X"):
        assert isinstance(bar["ts"], int) and isinstance(bar["dur"], int) and bar["ts"] >= 0 and bar["dur"] >= 1
        by_lane.setdefault(bar["tid"], []).append(bar)
    named = {event["tid"]: event["args"]["name"] for event in of_kind(events, "M") if event["name"] == "thread_name"}
    assert named == {lane: f"lane {lane}" for lane in by_lane}
    for lane in by_lane.values():
        for one, other in itertools.combinations(lane, 2):
            a, b, c, d = one["ts"], one["ts"] + one["dur"], other["ts"], other["ts"] + other["dur"]
            apart = b <= c or d <= a
            assert apart or a <= c <= d <= b or c <= a <= b <= d, f"{one} crosses {other}"
            inner, outer = sorted((one["args"]["task"], other["args"]["task"]), reverse=True)
            assert apart or inner == outer or outer in above(inner, callers), f"{one} and {other} are strangers"


def test_the_bars_of_each_host_are_on_lanes_of_its_own() -> None:
    events = trace_of(made_up(task(1, 0.0, 4.0, host="home"), task(2, 1.0, 1.0, host="a", enqueued_by=1),
                              task(3, 1.0, 1.0, host="b", enqueued_by=1),
                              task(4, 2.0, 1.0, host="a", enqueued_by=1), host="home"))

    processes = {event["pid"]: event["args"]["name"] for event in of_kind(events, "M") if event["name"] == "process_name"}
    assert len(processes) == 3 and {"a", "b"} <= set(processes.values())
    where = {bar["args"]["task"]: (processes[bar["pid"]], bar["tid"]) for bar in of_kind(events, "X")}
    assert where[1][0] not in ("a", "b")
    assert where[2] == where[4] == ("a", 1) and where[3] == ("b", 1)
    assert len(of_kind(events, "s")) == len(of_kind(events, "f")) == 3


def above(num: int, callers: dict[int, int | None]) -> set[int]:
    found = set()
    while (caller := callers[num]) is not None:
        found.add(caller)
        num = caller
    return found


def check_arrows(events: list[dict]) -> None:
    """That each leaves a bar on its lane and reaches the start of one on another, and does not point back in time."""
    leaving, reaching = of_kind(events, "s"), of_kind(events, "f")
    drawn = of_kind(events, "X")
    assert [event["id"] for event in leaving] == [event["id"] for event in reaching]
    assert len({event["id"] for event in leaving}) == len(leaving)
    for tail, head in zip(leaving, reaching, strict=True):
        assert tail["tid"] != head["tid"] and tail["ts"] <= head["ts"] and head["bp"] == "e"
        assert any(bar["tid"] == tail["tid"] and bar["ts"] <= tail["ts"] < bar["ts"] + bar["dur"] for bar in drawn)
        assert any(bar["tid"] == head["tid"] and bar["ts"] == head["ts"] and bar["args"]["task"] == head["id"] for bar in drawn)


def check_attempts(events: list[dict]) -> None:
    """That each lies within the bar of its task."""
    whole = {bar["args"]["task"]: bar for bar in of_kind(events, "X") if "attempt" not in bar["args"]}
    for bar in of_kind(events, "X"):
        task = whole[bar["args"]["task"]]
        assert bar["tid"] == task["tid"] and task["ts"] <= bar["ts"] and bar["ts"] + bar["dur"] <= task["ts"] + task["dur"]


# --- what is drawn ----------------------------------------------------------------------------------------------

def test_a_task_lies_within_the_one_that_called_it_and_a_second_at_the_same_time_beside_it():
    events = trace_of(made_up(
        task(1, 0, 10, name="top"),
        task(2, 1, 4, name="left", enqueued_by=1),
        task(3, 2, 4, name="right", enqueued_by=1, states=[["ready", ZERO + 0.5]]),
        task(4, 6, 2, name="last", enqueued_by=1)))

    assert bars(events) == {"top": (1, 0, 10_000_000), "left": (1, 1_000_000, 5_000_000),
                            "right": (2, 2_000_000, 6_000_000), "last": (1, 6_000_000, 8_000_000)}
    assert [(event["ph"], event["name"], event["tid"], event["ts"]) for event in events if event["ph"] in "sf"] == [
        ("s", "call", 1, 500_000), ("f", "call", 2, 2_000_000)]


def test_a_task_does_not_lie_within_a_stranger():
    events = trace_of(made_up(task(1, 0, 10, name="one"), task(2, 1, 2, name="other")))

    assert bars(events) == {"one": (1, 0, 10_000_000), "other": (2, 1_000_000, 3_000_000)}


def test_a_task_that_outlives_its_caller_has_a_lane_for_itself():
    events = trace_of(made_up(task(1, 0, 2, name="caller"), task(2, 1, 4, name="called", enqueued_by=1)))

    assert bars(events) == {"caller": (1, 0, 2_000_000), "called": (2, 1_000_000, 5_000_000)}
    check_arrows(events)


def test_the_next_of_a_chain_takes_the_lane_that_is_free():
    events = trace_of(made_up(task(1, 0, 2, name="first"), task(2, 2, 3, name="second", parent=1)))

    assert bars(events) == {"first": (1, 0, 2_000_000), "second": (1, 2_000_000, 5_000_000)}
    assert of_kind(events, "s") == []


def test_an_arrow_leads_from_the_task_before_in_the_chain():
    events = trace_of(made_up(
        task(1, 0, 10, name="top"),
        task(2, 1, 3, name="first", enqueued_by=1),
        task(3, 4, 5, name="second", enqueued_by=1, parent=2),
        task(4, 1, 7, name="other", enqueued_by=1)))

    assert bars(events)["other"][0] == 1 and bars(events)["first"][0] == bars(events)["second"][0] == 2
    [leaving] = of_kind(events, "s")
    assert (leaving["name"], leaving["id"]) == ("call", 2)
    moved = trace_of(made_up(
        task(1, 0, 3, name="first"), task(2, 0, 9, name="other"), task(3, 0, 9, name="third"),
        task(4, 4, 1, name="short"), task(5, 4.5, 5, name="second", parent=1)))
    assert [(event["ph"], event["name"], event["id"], event["ts"]) for event in moved if event["ph"] in "sf"] == [
        ("s", "then", 5, 2_999_999), ("f", "then", 5, 4_500_000)]


def test_attempts_are_bars_of_their_own_within_the_task():
    events = trace_of(made_up(task(1, 0, 5, "failed", name="flaky", exception="ValueError('no')\nmore", attempts=[
        attempt(1, 0, 1, "retried", exc="ValueError('no')", cpu=0.25, peak=3 * 2 ** 20), attempt(2, 4, 5, "failed")])))

    assert bars(events) == {"flaky": (1, 0, 5_000_000), "flaky (attempt 1)": (1, 0, 1_000_000),
                            "flaky (attempt 2)": (1, 4_000_000, 5_000_000)}
    whole, first, _ = of_kind(events, "X")
    assert whole["cat"] == "failed" and first["cat"] == "retried"
    assert whole["args"] == {"task": 1, "service": "services.work", "error": "ValueError('no') more"}
    assert first["args"] == {"task": 1, "attempt": 1, "cpu_ms": 250.0, "peak_mib": 3.0, "error": "ValueError('no')"}


def test_an_attempt_takes_the_place_of_the_one_before_it_whatever_else_still_runs():
    events = trace_of(made_up(
        task(1, 0, 9, name="again", attempts=[attempt(1, 0, 3, "lost"), attempt(2, 3, 6, "lost"), attempt(3, 7, 9)]),
        task(2, 6, 2, name="called", enqueued_by=1), task(3, 7, 1, name="called too", enqueued_by=1)))

    assert {name: lane for name, (lane, _, _) in bars(events).items()} == {
        "again": 1, "again (attempt 1)": 1, "again (attempt 2)": 1, "again (attempt 3)": 1, "called": 2, "called too": 1}


def test_what_still_runs_lasts_until_the_report_was_made():
    events = trace_of(made_up(task(1, 10, 30, "running", name="busy"), task(2, name="waits", state="waiting"), now=40,
                              state="running", ended=None, incarnations=[life(1, 0, 35, "open")]))

    assert bars(events) == {"busy": (1, 10_000_000, 40_000_000)}


def test_what_ran_when_a_run_was_killed_lasts_until_then_however_late_the_report_is():
    events = trace_of(made_up(task(1, 10, 9_990, "running", name="busy"), now=10_000, state="interrupted", ended=None,
                              incarnations=[life(1, 0, 12, "crash"), life(2, 15, 40, "crash")]))

    assert bars(events) == {"busy": (1, 10_000_000, 40_000_000)}
    assert [(mark["name"], mark["ts"]) for mark in of_kind(events, "i")] == [
        ("killed", 12_000_000), ("resumed (life 2)", 15_000_000), ("killed", 40_000_000)]


def test_a_run_of_which_nothing_started_is_a_valid_trace():
    assert trace_of(made_up(task(1, state="ready"))) == trace_of(made_up()) == [
        {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": "FireX-li-261123-101500-4711"}}]


# --- any run ----------------------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 12)  # few, so that starts and ends coincide


@st.composite
def models(draw: st.DrawFn) -> dict:
    """A run of up to twelve tasks; much in it could only be if the clock went back."""
    tasks = []
    for num in range(1, draw(st.integers(1, 12)) + 1):
        caller = draw(st.none() | st.integers(1, num - 1)) if num > 1 else None
        before = draw(st.just(caller) | st.integers(1, num - 1)) if num > 1 else None
        began = draw(st.none() | st.integers(-2, 12))
        scale = draw(st.sampled_from([1.0, 1e-7]))
        state = draw(st.sampled_from(["succeeded", "failed", "revoked", "running", "blocked", "ready"]))
        tries = draw(st.lists(st.tuples(MOMENTS, st.none() | MOMENTS), max_size=3)) if began is not None else []
        tasks.append(task(
            num, began, draw(MOMENTS) * scale if began is not None else None, state, enqueued_by=caller, parent=before,
            states=[["ready", ZERO + draw(MOMENTS)]],
            attempts=[attempt(n, at, until, "lost") for n, (at, until) in enumerate(tries, 1)]))
    return made_up(*tasks, now=draw(MOMENTS), state=draw(st.sampled_from(["running", "interrupted", "succeeded"])))


@settings(max_examples=300, deadline=None)
@given(models())
def test_no_bars_cross_whatever_the_run(model):
    tasks = list(model["tasks"])

    events = trace_of({**model, "tasks": walked_once(tasks)})

    check_lanes(events, {task["num"]: task["enqueued_by"] for task in tasks})
    check_arrows(events)
    check_attempts(events)
    drawn = [bar["args"] for bar in of_kind(events, "X")]
    assert sorted(each["task"] for each in drawn if "attempt" not in each) == [
        each["num"] for each in tasks if each["started"] is not None]
    assert sorted((each["task"], each["attempt"]) for each in drawn if "attempt" in each) == [
        (each["num"], one["n"]) for each in tasks for one in each["attempts"] if len(each["attempts"]) > 1]


def test_crossing_bars_and_strangers_would_be_noticed():
    lane = {"ph": "M", "tid": 1, "name": "thread_name", "args": {"name": "lane 1"}}

    def drawn(num: int, start: int, end: int) -> dict:
        return {"ph": "X", "tid": 1, "ts": start, "dur": end - start, "args": {"task": num}}

    check_lanes([lane, drawn(1, 0, 10), drawn(2, 10, 20), drawn(3, 10, 15)], {1: None, 2: None, 3: 2})
    with pytest.raises(AssertionError, match="crosses"):
        check_lanes([lane, drawn(1, 0, 10), drawn(2, 9, 20)], {1: None, 2: 1})
    with pytest.raises(AssertionError, match="strangers"):
        check_lanes([lane, drawn(1, 0, 10), drawn(2, 2, 4)], {1: None, 2: None})


# --- real runs --------------------------------------------------------------------------------------------------

SERVICES = """
import os, signal, time
from firexlite import app

@app.task(returns="x", autoretry_for=ValueError, max_retries=2, default_retry_delay=0.01)
def flaky():
    raise ValueError("no")

@app.task
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(returns="x")
def first(): return 1

@app.task
def second(x): pass

@app.task
def slow():
    while not os.path.exists("go"):
        time.sleep(0.01)

@app.task(bind=True)
def suite(self, with_slow=False):
    for child in (first.s() | second.s(), flaky.s() | second.s(), deadly.s(), *([slow.s()] if with_slow else [])):
        self.enqueue_child(child)
    self.wait_for_children(raise_exception_on_failure=False)

@app.task(bind=True)
def top(self, with_slow=False):
    for _ in range(3):
        self.enqueue_child(suite.s(with_slow=with_slow))
    self.wait_for_children(raise_exception_on_failure=False)
"""


def callers_of(data: dict) -> dict[int, int | None]:
    return {task["num"]: task["enqueued_by"] for task in data["tasks"]}


def test_the_trace_of_a_run_has_every_task_that_ran(firexlite, plugin):
    plugin(SERVICES)
    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--workers", "3")
    data = firexlite.flame(done.firex_id)

    events = trace_of({**data, "tasks": walked_once(data["tasks"])})

    check_lanes(events, callers_of(data))
    check_arrows(events)
    check_attempts(events)
    drawn = of_kind(events, "X")
    assert {bar["args"]["task"] for bar in drawn} == {task["num"] for task in data["tasks"] if task["started"]}
    assert sum(bar["name"] == "flaky (attempt 3)" for bar in drawn) == 3
    assert len([bar for bar in drawn if bar["cat"] == "lost"]) == sum(
        attempt["state"] == "lost" for task in data["tasks"] for attempt in task["attempts"]) > 0
    for bar in drawn:
        task = data["tasks"][bar["args"]["task"] - 1]
        if "attempt" not in bar["args"]:
            assert bar["ts"] == pytest.approx((task["started"] - data["run"]["started"]) * 1e6, abs=1)
            assert bar["dur"] == pytest.approx(task["runtime"] * 1e6, abs=2)


def test_a_run_has_a_trace_while_it_runs_when_it_was_killed_and_when_it_was_resumed(firexlite, plugin):
    plugin(SERVICES)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--with_slow", "1", "--workers", "3")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run).get("running") == 3 and states(run).get("failed", 0) > 1)
    live = firexlite.flame(run.firex_id)
    kill_all(process)
    dead = firexlite.flame(run.firex_id)
    (firexlite.folder / "go").touch()
    firexlite("resume", run.firex_id)
    whole = firexlite.flame(run.firex_id)

    for data, marks in ((live, []), (dead, ["killed"]), (whole, ["killed", "resumed (life 2)"])):
        events = trace_of({**data, "tasks": walked_once(data["tasks"])})
        check_lanes(events, callers_of(data))
        check_arrows(events)
        assert [mark["name"] for mark in of_kind(events, "i")] == marks
        assert {bar["args"]["task"] for bar in of_kind(events, "X")} == {
            task["num"] for task in data["tasks"] if task["started"]}


# --- a large one ------------------------------------------------------------------------------------------------

LARGE = """
import sys
from made_up_models import attempt, made_up, task
from firexlite.flame_junit import write_junit
from firexlite.flame_trace import write_trace

def tasks():
    yield task(1, 0, 2000)
    for num in range(2, 100_001):
        is_suite = num % 500 == 2
        suite = num - (num - 2) % 500
        began = num * 0.01
        yield task(num, began, 7.0 if is_suite else 0.015, "failed" if num % 100 == 0 else "succeeded",
                   enqueued_by=1 if is_suite else suite, traceback="frame" * 200, exception="ValueError('no')",
                   attempts=[attempt(1, began, began + 0.01, exc="ValueError('no')")],
                   log={"lines": ["a line"] * 20, "bytes_before": 0})

with open(sys.argv[2], "w") as out:
    {"trace": write_trace, "junit": write_junit}[sys.argv[1]]({**made_up(), "tasks": tasks()}, out)
# Of this program alone: what `getrusage` says begins with what the process that started it had.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.long
@pytest.mark.parametrize("name, most_mib", [("trace", 150), ("junit", 50)])
def test_100_000_tasks_need_little_memory(name, most_mib, tmp_path):
    ended = subprocess.run([sys.executable, "-c", LARGE, name, str(tmp_path / "out")], cwd=ROOT / "tests", text=True,
                           capture_output=True, timeout=60)

    assert ended.returncode == 0, ended.stderr
    assert 5 < int(ended.stdout) < most_mib
    if name == "trace":
        events = json.loads((tmp_path / "out").read_text())["traceEvents"]
        assert len(of_kind(events, "X")) == 100_000
