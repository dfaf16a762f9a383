"""What a service's body has in its hands: promises, children, values and failures, in whole runs of the command."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from conftest import Command, Finished

HEAD = """
import os, sys, time
from firexlite import *
from firexlite import app, returns

def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.005)

def touch(path):
    open(path, "w").close()

def told(error):
    "An exception and its causes, as text."
    text = f"{type(error).__name__}: {error}"
    return [text] + (told(error.__cause__) if error.__cause__ else [])
"""


@dataclass
class Run:
    """A run that ended, and its report."""

    ended: Finished
    values: dict          # what its submitted chain returned
    tasks: list[dict]     # of the report

    def only(self, name: str) -> dict:
        [task] = self.named(name)
        return task

    def named(self, name: str) -> list[dict]:
        return [task for task in self.tasks if task["name"] == name]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(task["name"], task["state"]) for task in self.tasks]


@pytest.fixture
def run(firexlite: Command, plugin) -> Callable[..., Run]:
    """Runs a chain of services whose source is given; gives what came of it."""

    def run(source: str, chain: str = "top", *options: object, code: int = 0, **files: str) -> Run:
        paths = [plugin(HEAD + source), *(plugin(HEAD + text, f"{name}.py") for name, text in files.items())]
        ended = firexlite("submit", "--plugins", ",".join(map(str, paths)), "--chain", chain, *options, timeout=25)
        assert ended.code == code, ended.err
        summary = json.loads(firexlite.only_run().run_json.read_text())
        return Run(ended, summary["results"]["chain_results"], firexlite.flame(ended.firex_id)["tasks"])

    return run


# --- promises --------------------------------------------------------------------------------------------------------

LOOK = """
def look(promise):
    result = promise.result
    return {"state": promise.state, "successful": promise.successful(), "failed": promise.failed(), "ready": promise.ready(),
            "result": told(result)[0] if isinstance(result, BaseException) else result,
            "parents": [p.state for p in parents(promise)]}

def parents(promise):
    found = []
    while promise.parent is not None:
        promise = promise.parent
        found.append(promise)
    return found
"""


def test_a_promise_tells_how_its_chain_stands(run):
    seen = run(LOOK + """
@app.task(returns="a")
def first():
    touch("began")
    wait_for_file("go")
    return 1

@app.task(returns="b")
def second(a):
    touch("second began")
    wait_for_file("go on")
    return a + 1

@app.task
def bad(b=0):
    raise ValueError("broken")

@app.task(returns="never")
def never():
    return 9

@app.task(bind=True, returns="seen")
def top(self):
    seen = {}
    good = self.enqueue_child(first.s(x=5) | second.s())
    wait_for_file("began")
    seen["before"] = look(good)
    touch("go")
    wait_for_file("second began")
    seen["while"] = look(good)
    touch("go on")
    self.wait_for_children()
    seen["after"] = look(good)
    failing = self.enqueue_child(first.s() | bad.s() | never.s() | never.s(), block=True, raise_exception_on_failure=False)
    seen["failed"] = look(failing)
    seen["the one before"] = look(parents(failing)[2])
    seen["traceback"] = failing.traceback.splitlines()[-1]
    seen["ids"] = [good.id, failing.id] + [p.id for p in parents(failing)]
    return seen
""", "top", "--workers", 3)

    task_ids = [task["uuid"] for task in run_tasks(seen)]
    seen = seen.values["seen"]
    assert seen["before"] == {"state": "PENDING", "successful": False, "failed": False, "ready": False, "result": None,
                              "parents": ["STARTED"]}
    assert seen["while"] == {"state": "STARTED", "successful": False, "failed": False, "ready": False, "result": None,
                             "parents": ["SUCCESS"]}
    assert seen["after"] == {"state": "SUCCESS", "successful": True, "failed": False, "ready": True,
                             "result": {"x": 5, "a": 1, "b": 2, "__task_return_keys": ["b"]}, "parents": ["SUCCESS"]}
    # The chain's last two tasks never ran: their promises tell of the one that kept them from it.
    assert seen["failed"] == {"state": "FAILURE", "successful": False, "failed": True, "ready": True,
                              "result": "ValueError: broken", "parents": ["FAILURE", "FAILURE", "SUCCESS"]}
    assert seen["the one before"] == {"state": "SUCCESS", "successful": True, "failed": False, "ready": True,
                                      "result": {"a": 1, "__task_return_keys": ["a"]}, "parents": []}
    assert seen["traceback"] == "ValueError: broken"
    assert seen["ids"] == [task_ids[2], *reversed(task_ids[3:])]


def run_tasks(run: Run) -> list[dict]:
    return sorted(run.tasks, key=lambda task: task["num"])


def test_a_revoked_promise_says_whether_its_task_had_begun(run):
    done = run(LOOK + """
@app.task
def slow():
    touch("began")
    time.sleep(60)

@app.task
def never(): pass

@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    running = self.enqueue_child(slow.s() | never.s())
    queued = self.enqueue_child(never.s(), add_to_enqueued_children=False)
    wait_for_file("began")
    for promise in (queued, running):
        promise.revoke()
        seen.append(look(promise) | {"result": f"{type(promise.result).__name__} of {promise.result.task_name}"})
        try:
            self.wait_for_specific_children([promise], raise_exception_on_failure=False)
        except ChainRevokedException as error:
            seen.append(told(error)[0].split("[")[0])
    return seen
""", "top", "--workers", 2)

    revoked = {"state": "REVOKED", "successful": False, "failed": False, "ready": True}
    message = "The chain has been interrupted by the revocation of microservice services"
    assert done.values["seen"] == [
        {**revoked, "result": "ChainRevokedPreRunException of services.never", "parents": []},
        f"ChainRevokedPreRunException: {message}.never",
        {**revoked, "result": "ChainRevokedException of services.slow", "parents": ["REVOKED"]},
        f"ChainRevokedException: {message}.slow",
    ]


# --- failures of children --------------------------------------------------------------------------------------------

def test_an_interruption_tells_which_service_failed_of_what_however_deep(run):
    done = run("""
@app.task
def low():
    raise KeyError("no such bread")

@app.task(bind=True)
def mid(self):
    self.enqueue_child(low.s(), block=True)

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(mid.s())
    try:
        self.wait_for_children()
    except ChainException as error:
        cause = error.__cause__
        return [type(error).__name__, error.task_name, error.task_id, str(error), promise.id,
                type(cause).__name__, cause.task_name, cause.task_id,
                type(cause.__cause__).__name__, cause.__cause__.args]
""")
    mid, low = done.only("mid")["uuid"], done.only("low")["uuid"]

    assert done.values["seen"] == [
        "ChainInterruptedException", "services.mid", mid,
        f"The chain has been interrupted by a failure in microservice services.mid[{mid}]", mid,
        "ChainInterruptedException", "services.low", low,
        "KeyError", ["no such bread"]]
    assert done.only("mid")["cause"] == done.only("low")["num"]


def test_a_run_names_the_failure_at_the_bottom(run):
    done = run("""
@app.task
def low():
    raise KeyError("no such bread")

@app.task(bind=True)
def mid(self):
    self.enqueue_child(low.s(), block=True)

@app.task(bind=True)
def top(self):
    self.enqueue_child_and_get_results(mid.s())
""", code=1)

    assert done.states == [("top", "failed"), ("mid", "failed"), ("low", "failed")]
    assert "KeyError: 'no such bread'" in done.ended.err
    assert done.only("low")["exception"] == "KeyError('no such bread')"
    assert 'raise KeyError("no such bread")' in done.only("low")["traceback"]
    assert [done.only(name)["cause"] for name in ("top", "mid", "low")] == [2, 3, None]


SEVERAL = """
@app.task
def bad(what):
    raise ValueError(what)

@app.task(returns="slept")
def slow():
    time.sleep(0.3)
    return True
"""


def test_all_children_are_waited_for_before_failures_are_told_once(run):
    done = run(SEVERAL + """
@app.task(bind=True, returns="seen")
def top(self):
    seen = {}
    a, good, b = [self.enqueue_child(sig) for sig in (bad.s("a"), slow.s(), bad.s("b"))]
    try:
        self.wait_for_children()
    except MultipleFailuresException as error:
        message = "The chain has been interrupted by multiple failing microservices: "
        seen["several"] = [isinstance(error, ChainInterruptedException), list(error.task_ids) == [a.id, b.id],
                           str(error) == message + a.id + "," + b.id, [told(one)[1] for one in error.failures], told(error)[1]]
    seen["then"] = [good.successful(), len(self.pending_enqueued_children)]
    self.wait_for_children()  # they have been waited for

    single, good = self.enqueue_child(bad.s("c")), self.enqueue_child(slow.s())
    seen["pending"] = [p is q for p, q in zip(self.pending_enqueued_children, [single, good])]
    try:
        self.wait_for_children()
    except ChainInterruptedException as error:
        seen["one"] = [type(error).__name__, error.task_id == single.id, told(error)[1], good.ready()]
    self.wait_for_children()

    quiet = self.enqueue_child(bad.s("d"))
    self.wait_for_children(raise_exception_on_failure=False)
    seen["quiet"] = [quiet.failed(), told(quiet.result)]
    try:
        self.wait_for_specific_children([quiet])
    except ChainInterruptedException as error:
        seen["again"] = told(error)[1]
    return seen
""", "top", "--workers", 2)

    assert done.values["seen"] == {
        "several": [True, True, True, ["ValueError: a", "ValueError: b"], "ValueError: a"],
        "then": [True, 0],
        "pending": [True, True],
        "one": ["ChainInterruptedException", True, "ValueError: c", True],
        "quiet": [True, ["ValueError: d"]],
        "again": "ValueError: d",
    }


def test_a_blocking_enqueue_waits_and_raises_unless_told_otherwise(run):
    done = run(SEVERAL + """
@app.task(bind=True, returns="seen")
def top(self):
    good = self.enqueue_child(slow.s(), block=True)
    seen = [good.result["slept"]]
    for options in ({}, {"raise_exception_on_failure": True}, {"raise_exception_on_failure": None}):
        try:
            self.enqueue_child(bad.s("a"), block=True, **options)
        except ChainInterruptedException as error:
            seen.append(told(error)[1])
    seen.append(self.enqueue_child(bad.s("b"), block=True, raise_exception_on_failure=False).state)
    for wanted in (True, False):
        try:
            self.enqueue_child(bad.s("never"), raise_exception_on_failure=wanted)
        except ValueError as error:
            seen.append(str(error))
    seen.append(len(self.pending_enqueued_children))
    return seen
""")

    refused = "raise_exception_on_failure makes no sense without block=True"
    assert done.values["seen"] == [True, "ValueError: a", "ValueError: a", "ValueError: a", "FAILURE",
                                   refused, refused, 0]
    assert len(done.named("bad")) == 4


def test_a_wait_that_takes_too_long_is_given_up_and_the_child_is_revoked_in_the_end(run):
    done = run("""
@app.task
def slow():
    time.sleep(6)

@app.task(returns="brief")
def brief():
    time.sleep(0.1)
    return 1

@app.task(bind=True, returns="seen")
def top(self):
    child = self.enqueue_child(slow.s())
    began = time.monotonic()
    try:
        self.wait_for_children(max_wait=0.2)
    except WaitOnChainTimeoutError as error:
        seen = [0.2 <= time.monotonic() - began < 2, isinstance(error, ChainException), child.state,
                str(error) == f"Result ID services.slow[{child.id}] was not ready in 0.2 seconds"]
    for unlimited in (0, None):
        seen.append(self.enqueue_child_and_get_results(brief.s(), max_wait=unlimited))
    return seen
""", "top", "--workers", 2)

    assert done.values["seen"] == [True, False, "STARTED", True, {"brief": 1}, {"brief": 1}]
    assert done.states[:2] == [("top", "succeeded"), ("slow", "revoked")]
    assert done.only("top")["runtime"] < 5


def test_a_child_that_nobody_waits_for_is_awaited_in_the_end_and_its_failure_ignored(run):
    done = run("""
@app.task
def slow():
    wait_for_file("top has returned")
    time.sleep(0.1)
    touch("slow ended")
    raise ValueError("nobody cares")

@app.task(bind=True, returns="said")
def top(self):
    self.enqueue_child(slow.s())
    try:
        return "done"
    finally:
        touch("top has returned")

@app.task(returns="ended")
def after():
    return os.path.exists("slow ended")
""", "top,after")

    assert done.values == {"said": "done", "ended": True}
    assert done.states == [("top", "succeeded"), ("after", "succeeded"), ("slow", "failed")]


# --- values ----------------------------------------------------------------------------------------------------------

def test_inject_args_alone_are_values_at_once(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(InjectArgs(x=1), block=True)
    seen = [promise.state, promise.result, promise.successful(), promise.failed(), promise.ready()]
    self.wait_for_children()
    self.wait_for_specific_children([promise])
    promise.revoke()
    seen += [self.enqueue_child_and_get_results(InjectArgs(x=1)),
             self.enqueue_child_and_get_results(InjectArgs(x=1), return_keys_only=False)]
    return seen
""")

    assert done.values["seen"] == ["SUCCESS", {"x": 1}, True, False, True, {}, {"x": 1}]
    assert [task["name"] for task in done.tasks] == ["top"]


def test_inject_args_alone_make_a_promise_like_any_other(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(InjectArgs(x=1))
    return [promise.parent, promise.traceback, promise.id, repr(promise)]
""")

    assert done.values["seen"][:3] == [None, None, ""]


PICKING = """
@app.task(returns="grain")
def deep(): return "rye"

@app.task(bind=True, returns=["a", "x"])
def first(self, x=0, given=None):
    self.enqueue_child(deep.s(), block=True)
    return 1, x + 1

@app.task(returns="b")
def second(a, other=5): return a + 1

@app.task(returns="c")
def bad(): raise ValueError("broken")
"""


def test_a_parent_gets_the_values_it_asks_for(run):
    done = run(PICKING + """
@app.task(bind=True, returns="seen")
def top(self):
    def get(work=None, **options):
        return self.enqueue_child_and_get_results(work or (first.s(x=10, given="g") | second.s(a2=3)), **options)
    return {
        "all": get(),
        "one": list(get(return_keys="b")),
        "some": list(get(return_keys=("x", "nothing", "a"))),
        "no inputs": list(get(return_keys=("given", "a2", "other"))),
        "with inputs": get(return_keys_only=False),
        "with children": get(merge_children_results=True),
        "of the last": get(extract_from_parents=False),
        "inputs of the last": get(extract_from_parents=False, return_keys_only=False),
        "all in a tuple": list(get(return_keys=("b", DYNAMIC_RETURN))),
        "what there is": get(first.s() | bad.s() | second.s(), raise_exception_on_failure=False),
        "none there": list(get(bad.s(), raise_exception_on_failure=False, return_keys="c")),
    }
""")

    assert done.values["seen"] == {
        "all": {"a": 1, "x": 11, "b": 2},
        "one": [2],
        "some": [11, None, 1],
        "no inputs": [None, None, None],
        "with inputs": {"x": 11, "given": "g", "a": 1, "a2": 3, "b": 2, "chain_depth": 1},
        "with children": {"grain": "rye", "a": 1, "x": 11, "b": 2},
        "of the last": {"b": 2},
        "inputs of the last": {"x": 11, "given": "g", "a": 1, "a2": 3, "b": 2, "chain_depth": 1},
        "all in a tuple": [2, {"a": 1, "x": 11, "b": 2}],
        "what there is": {"a": 1, "x": 1},
        "none there": [None],
    }


def test_a_tuple_is_what_a_caller_gets_for_the_names_it_gives(run):
    done = run(PICKING + """
@app.task(bind=True, returns="seen")
def top(self):
    return [type(self.enqueue_child_and_get_results(first.s(), return_keys=keys)).__name__ for keys in ("a", ["a"], (), None)]
""")

    assert done.values["seen"] == ["tuple", "tuple", "dict", "dict"]


def test_the_bog_is_a_copy_and_mutable_values_are_nobody_elses(run):
    done = run("""
@app.task(bind=True, returns="seen_first")
def first(self, breads, mode="default"):
    bog = self.abog
    seen = [sorted(bog), bog["mode"], str(self.bound_args), self.default_bound_args, self.short_name, self.name]
    bog["breads"] = bog["smuggled"] = "changed"
    seen.append(sorted(self.abog) == sorted(k for k in bog if k != "smuggled"))
    breads.append("wheat")
    return seen

@app.task(bind=True, returns=["breads", "seen_second"])
def second(self, breads):
    seen = [list(breads), "smuggled" in self.abog, "mode" in self.abog]
    breads.append("oat")
    return breads, seen

@app.task(returns="seen_third")
def third(breads): return list(breads)

@app.task(bind=True, returns="seen")
def top(self):
    mine = ["rye"]
    sig = first.s(breads=mine, loose=1)
    got = self.enqueue_child_and_get_results(sig | second.s() | third.s())
    again = self.enqueue_child_and_get_results(second.s(breads=mine))
    return [mine, got["seen_first"], got["seen_second"], got["seen_third"], again["seen_second"]]
""")

    mine, seen_first, seen_second, seen_third, again = done.values["seen"]
    assert mine == ["rye"]
    assert seen_first == [["breads", "loose", "mode"], "default", "{'breads': ['rye']}", {"mode": "default"},
                          "first", "services.first", True]
    assert seen_second == [["rye"], False, False]  # a change in place is no return
    assert seen_third == ["rye", "oat"]
    assert again == [["rye"], False, False]


def test_positional_arguments_beyond_the_named_ones_do_not_flow_on(run):
    done = run("""
@app.task(returns="sum")
def add(first, *more): return first + sum(more)

@app.task(returns="plain")
def plain(first, sum): return [first, sum]

@app.task(bind=True, returns="names")
def names(self): return sorted(self.abog)

@app.task(bind=True, returns="handed")
def hand_on(self):
    return self.enqueue_child_and_get_results(InjectArgs(**self.abog) | plain.s())["plain"]

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(add.s(1, 2, 3) | plain.s() | names.s() | hand_on.s(), block=True,
                                 raise_exception_on_failure=False)
    with_inputs = self.enqueue_child_and_get_results(add.s(1, 2, 3), return_keys_only=False)
    result = promise.result
    return [told(result) if promise.failed() else result, with_inputs]
""")

    result, with_inputs = done.values["seen"]
    assert with_inputs == {"first": 1, "sum": 6}
    assert result == {"first": 1, "sum": 6, "plain": [1, 6], "names": ["first", "plain", "sum"], "handed": [1, 6],
                      "__task_return_keys": ["handed"]}


def test_a_returned_text_that_looks_like_a_reference_stays_data_in_the_hands_of_a_parent(run):
    done = run("""
@app.task(returns="handle")
def make(): return "@li"

@app.task(returns="got")
def take(x): return "got " + x

@app.task(bind=True, returns="seen")
def top(self, li="a secret"):
    by_flow = self.enqueue_child_and_get_results(make.s() | take.s(x="@handle"))["got"]
    handle = self.enqueue_child(make.s(), block=True).result["handle"]
    by_promise = self.enqueue_child_and_get_results(InjectArgs(li=1) | take.s(x=handle))["got"]
    handle = self.enqueue_child_and_get_results(make.s())["handle"]
    by_results = self.enqueue_child_and_get_results(InjectArgs(li="a secret") | take.s(x=handle))["got"]
    handle, = self.enqueue_child_and_get_results(make.s(), return_keys="handle")
    by_key = self.enqueue_child_and_get_results(InjectArgs(li="a secret") | take.s(x=handle))["got"]
    return [by_flow, by_promise, by_results, by_key]
""")

    assert done.values["seen"] == ["got @li"] * 4


def test_values_of_all_kinds_pass_through_the_journal(run):
    done = run("""
import collections, datetime, decimal, enum, fractions, pathlib, uuid
from dataclasses import dataclass, field

class Grain(enum.Enum):
    RYE = "rye"
    SPELT = "spelt"

@dataclass(frozen=True)
class Bread:
    grain: Grain
    price: decimal.Decimal
    tags: tuple = ()

@dataclass
class Shop:
    breads: list = field(default_factory=list)

Pair = collections.namedtuple("Pair", "left right")

VALUES = [
    None, True, 0, -1, 10 ** 30, 0.1, float("inf"), "", "text \\u00e9 \\U0001f35e \\x00", b"bytes\\xff",
    [], {}, (), (1, (2, [3])),
    {1, 2}, frozenset({"a"}), {1: "one", (2, 3): {"x": None}}, {"$type": "tuple"}, complex(1, 2), bytearray(b"x"), range(3),
    datetime.datetime(2026, 11, 23, 7, 45, tzinfo=datetime.timezone.utc), datetime.date(2026, 2, 28),
    datetime.timedelta(days=1, microseconds=3), pathlib.Path("/tmp/x"), pathlib.PurePosixPath("a/b"), decimal.Decimal("1.10"),
    fractions.Fraction(1, 3), uuid.UUID(int=5), Grain.RYE, Bread(Grain.SPELT, decimal.Decimal("2.50"), ("new",)),
    Shop([Bread(Grain.RYE, decimal.Decimal(1))]), Pair(1, [2]), "x" * 200_000,
    {"deep": [{"deeper": (Grain.RYE, {Bread(Grain.RYE, decimal.Decimal(3))})}]},
]

def same(a, b):
    return a == b and type(a) is type(b)

@app.task(returns=["value", "arrived"])
def echo(number, value):
    return (value, same(value, VALUES[number]))

@app.task(returns="flowed")
def check(number, value):
    return same(value, VALUES[number])

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(echo.s(number, value) | check.s()) for number, value in enumerate(VALUES)]
    self.wait_for_children()
    wrong = []
    for value, result in zip(VALUES, [promise.result for promise in promises]):
        if not (result["arrived"] and result["flowed"] and same(result["value"], value)):
            wrong.append([repr(value), result["arrived"], result["flowed"], repr(result["value"])])
    return wrong
""")

    assert done.values["seen"] == []


def test_what_cannot_be_stored_is_refused_with_its_name(run):
    done = run("""
class Oven:
    pass

@app.task(returns="x")
def bake(pan): return 1

@app.task(returns="oven")
def buy(): return {"list": [1, Oven()]}

@app.task(returns=DYNAMIC_RETURN)
def buy_several(): return {"fine": 1, "oven": Oven()}

@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    for sig in (bake.s(pan={"size": 3, "what": [lambda: 1]}), bake.s(pan=1) | bake.s(pan=Oven())):
        try:
            self.enqueue_child(sig)
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")
    seen.append(len(self.pending_enqueued_children))
    for sig in (buy.s(), buy_several.s()):
        try:
            self.enqueue_child(sig, block=True)
        except ChainInterruptedException as error:
            seen += told(error)[1:] + [isinstance(error.__cause__, TypeError), error.__cause__.path]
    return seen
""")

    way_out = ("which the journal cannot store; pass plain data or a File, register a codec (firexlite.register_codec), "
               "or use --pickle (FIREXLITE_PICKLE=1)")
    *refused, pending, buy, is_type_error, path, several, _, several_path = done.values["seen"]
    assert refused == [f"NotStorable: arguments of bake: pan['what'][0] is a function, {way_out}",
                       f"NotStorable: arguments of bake: pan is a services.Oven, {way_out}"]
    assert pending == 0
    assert buy == f"NotStorable: what buy returned as oven['list'][1] is a services.Oven, {way_out}"
    assert several == f"NotStorable: what buy_several returned as oven is a services.Oven, {way_out}"
    assert (path, is_type_error) == ("what buy returned as oven['list'][1]", True)
    assert several_path == "what buy_several returned as oven"
    assert done.states == [("top", "succeeded"), ("buy", "failed"), ("buy_several", "failed")]  # nothing else was enqueued


def test_a_dict_whose_keys_are_no_names_fails_its_task_in_words_that_help(run):
    done = run("""
@app.task
def count(): return {1: "one"}

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(count.s(), block=True, raise_exception_on_failure=False)
    return told(promise.result)
""")

    [error] = done.values["seen"]
    assert error.startswith("ReturnsCodingException: ") and "1" in error


# --- what a body may raise and do ------------------------------------------------------------------------------------

def test_exceptions_of_every_make_reach_the_parent(run):
    done = run("""
import builtins

class TwoArguments(Exception):
    def __init__(self, bread, degrees):
        super().__init__(f"{bread} at {degrees}")
        self.bread, self.degrees = bread, degrees

class WithLambda(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.callback = lambda: 1
        self.kept = [1, (2,)]

class Nameless(Exception):
    def __str__(self):
        raise RuntimeError("no text")

def local():
    class Local(ValueError):
        pass
    return Local("from a local class")

RAISERS = {
    "two": lambda: TwoArguments("rye", 200),
    "lambda": lambda: WithLambda("has a lambda"),
    "lambda in args": lambda: ValueError("x", lambda: 1),
    "local": local,
    "os": lambda: FileNotFoundError(2, "No such file or directory", "/nowhere"),
    "key": lambda: KeyError("k"),
    "nameless": Nameless,
    "group": lambda: getattr(builtins, "ExceptionGroup", ValueError)("several", [ValueError("a")]),  # Python 3.11
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "generator": lambda: GeneratorExit("odd"),
    "stop": lambda: StopIteration(5),
}

@app.task
def raises(what):
    raise RAISERS[what]() from (IndexError("the cause") if what == "two" else None)

@app.task(bind=True, returns="seen")
def top(self):
    promises = {what: self.enqueue_child(raises.s(what)) for what in RAISERS}
    self.wait_for_children(raise_exception_on_failure=False)
    errors = {what: promise.result for what, promise in promises.items()}
    two, with_lambda, missing = errors["two"], errors["lambda"], errors["os"]
    return {
        "texts": {what: f"{type(error).__name__}: {error}" for what, error in errors.items()
                  if what not in ("nameless", "lambda in args")},
        "args": [type(errors["lambda in args"]).__name__, type(errors["nameless"]).__name__],
        "states": sorted({promise.state for promise in promises.values()}),
        "two": [isinstance(two, TwoArguments), two.bread, two.degrees, told(two)[1:]],
        "lambda": [isinstance(with_lambda, WithLambda), with_lambda.kept, hasattr(with_lambda, "callback")],
        "os": [isinstance(missing, FileNotFoundError), missing.errno, missing.filename],
        "local": isinstance(errors["local"], Exception),
    }
""", "top", "--workers", 1)

    seen = done.values["seen"]
    assert seen["states"] == ["FAILURE"]
    assert seen["texts"] == {
        "two": "TwoArguments: rye at 200", "lambda": "WithLambda: has a lambda", "local": "Local: from a local class",
        "os": "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'", "key": "KeyError: 'k'",
        "group": seen["texts"]["group"], "exit": "SystemExit: 3", "interrupt": "KeyboardInterrupt: ",
        "generator": "GeneratorExit: odd", "stop": "StopIteration: 5"}
    assert "several" in seen["texts"]["group"]
    assert seen["args"] == ["ValueError", "Nameless"]
    assert seen["two"] == [True, "rye", 200, ["IndexError: the cause"]]
    assert seen["lambda"] == [True, [1, [2]], False]
    assert seen["os"] == [True, 2, "/nowhere"]
    assert seen["local"] is True
    # No worker died of it: two sufficed, one for the parent and one for the slot.
    assert {attempt["worker"] for task in done.tasks for attempt in task["attempts"]} <= {0, 1}
    assert all(len(task["attempts"]) == 1 for task in done.tasks)


@pytest.mark.parametrize("what", ["SystemExit(0)", "KeyboardInterrupt()"])
def test_leaving_the_interpreter_fails_the_task_and_not_the_worker(run, what):
    done = run(f"""
@app.task
def leaves():
    raise {what}

@app.task
def after(): pass
""", "leaves,after", code=1)

    assert done.states == [("leaves", "failed"), ("after", "skipped")]
    assert what.split("(")[0] in done.ended.err
    assert len(done.only("leaves")["attempts"]) == 1


def test_the_report_shows_text_and_traceback_of_a_failure(run):
    done = run("""
@app.task
def bake(bread, degrees=200):
    print("heating")
    burn(bread)

def burn(bread):
    try:
        {}["oven"]
    except KeyError as error:
        raise RuntimeError(f"{bread} <b>burnt</b>") from error
""", "bake", "--bread", "rye", code=1)

    task = done.only("bake")
    assert task["exception"] == "RuntimeError('rye <b>burnt</b>')"
    assert "KeyError: 'oven'" in task["traceback"]
    assert "in burn" in task["traceback"] and 'raise RuntimeError(f"{bread} <b>burnt</b>") from error' in task["traceback"]
    assert (task["args"], task["defaults"]) == ({"bread": "rye"}, {"degrees": 200})
    assert task["log"]["lines"] == ["heating"]


def test_what_a_service_shows_is_read_when_it_begins_and_when_it_succeeds(run):
    done = run("""
@app.task(returns=["loaf", "nothing"], flame=["bread", "loaf", "nothing", "absent"])
def bake(bread): return {"of": bread}, None

@app.task(flame={"bread": lambda bread: f"<b>{bread}</b>"})
def with_mapping(bread): pass

def broken(value): raise ValueError("cannot be shown")

@app.task(bind=True, returns="loaf")
@flame("bread", broken)
@flame("loaf", lambda loaf, task: f"{loaf} by {task.short_name}", bind=True)
@flame("*", lambda values: ",".join(sorted(values)))
@flame("weight", data_type="text")
def formatted(self, bread, weight=500): return "loaf"

@app.task(flame="bread")
def fails(bread): raise ValueError("burnt")

@app.task(bind=True)
def top(self):
    for service in (bake, with_mapping, formatted, fails):
        self.enqueue_child(service.s(bread="rye"))
""", "top", "--workers", 1)

    def shown(name: str) -> dict:
        return {key: (one["value"], one["type"]) for key, one in done.only(name)["flame_data"].items()}

    assert shown("bake") == {"bread": ("rye", "html"), "loaf": ('{"of": "rye"}', "html")}
    assert shown("with_mapping") == {"bread": ("<b>rye</b>", "html")}
    assert shown("formatted") == {"loaf": ("loaf by formatted", "html"), "*": ("bread,loaf,weight", "html"),
                                  "weight": ("500", "text")}
    assert shown("fails") == {"bread": ("rye", "html")}
    formatted = done.only("formatted")
    assert formatted["state"] == "succeeded"
    assert "ValueError: cannot be shown" in "\n".join(formatted["log"]["lines"])


def test_what_a_body_does_to_its_process_does_not_reach_the_next_task(run):
    done = run("""
import io

@app.task
def closes():
    print("before closing")
    sys.stdout.close()
    sys.stderr.close()

@app.task
def redirects():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("nobody reads this")

@app.task
def wanders():
    os.chdir("/")

@app.task(returns="folder")
def speaks(number):
    print(f"speaking {number}")
    print(f"aside {number}", file=sys.stderr)
    return os.getcwd()

@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    for number, service in enumerate((closes, redirects, wanders)):
        self.enqueue_child(service.s(), block=True)
        seen.append(self.enqueue_child_and_get_results(speaks.s(number))["folder"] == os.getcwd())
    return seen
""", "top", "--workers", 1)

    assert done.values["seen"] == [True, True, True]
    assert [task["log"]["lines"] for task in done.named("speaks")] == [
        [f"speaking {number}", f"aside {number}"] for number in range(3)]
    assert done.only("closes")["log"]["lines"] == ["before closing"]
    workers = {attempt["worker"] for task in done.tasks for attempt in task["attempts"]}
    assert workers == {0, 1}  # none of them died


@pytest.mark.parametrize("replace", ["sys.stdout = io.StringIO()", "sys.stdout = None", "sys.stderr = sys.stdout = None"])
def test_a_body_that_replaces_stdout_leaves_the_next_task_its_own(run, replace):
    done = run(f"""
import io

@app.task
def replaces():
    {replace}

@app.task
def speaks():
    print("speaking")
""", "replaces,speaks", "--workers", 1)

    assert done.only("speaks")["log"]["lines"] == ["speaking"]
    assert len(done.only("replaces")["attempts"]) == 1


def test_a_stdout_that_cannot_be_flushed_costs_no_worker(run):
    done = run("""
import threading

class Deaf:
    def write(self, text): return len(text)
    def flush(self): raise RuntimeError("cannot be flushed")

threading.Thread(target=threading.Event().wait, daemon=True).start()  # so workers import this file themselves
sys.stdout = Deaf()

@app.task(returns="x")
def top(): return 1
""", "top", "--workers", 1)

    assert done.values == {"x": 1}
    assert len(done.only("top")["attempts"]) == 1


def test_log_records_are_kept_after_another_task_closed_stderr(run):
    done = run("""
import logging

@app.task
def closes():
    sys.stderr.close()

@app.task
def speaks():
    logging.getLogger("mine").warning("a record")
""", "closes,speaks", "--workers", 1)

    [line] = done.only("speaks")["log"]["lines"]
    assert line.endswith("WARNING mine: a record")


# --- plugins and converters ------------------------------------------------------------------------------------------

def test_the_last_plugin_wins_and_reaches_the_others_through_orig(run):
    override = """
@app.task(bind=True, returns="greeting")
def greet(self, name):
    before = self.enqueue_child_and_get_results(self.orig.s(name=name + " of {0}"))["greeting"]
    return before + " and {0}"
"""
    done = run("""
@app.task(returns="greeting")
def greet(name): return "Hello " + name

@app.task(bind=True, returns="seen")
def top(self):
    try:
        self.get_overridden_task()
    except TypeError as error:
        none = str(error)
    return [self.enqueue_child_and_get_results(greet.s(name="Li"))["greeting"], self.orig, none]
""", first=override.format("first"), second=override.format("second"))

    assert done.values["seen"] == ["Hello Li of second of first and first and second", None,
                                   "services.top overrides no other service, so it has no orig"]
    assert [task["long_name"] for task in run_tasks(done)] == [
        "services.top", "second.greet", "first.greet_orig", "services.greet_orig_orig"]
    assert [task["parent"] for task in run_tasks(done)] == [None, 1, 2, 3]


def test_converters_of_a_service_change_what_goes_in_and_what_comes_out(run):
    done = run("""
@app.task(returns="loaf")
def bake(degrees, bread="white", added=None):
    return f"{bread} at {degrees + 1}, {added}"

@ConverterRegister.register_for_task(bake)
def degrees_to_number(arguments):
    assert "bread" not in arguments  # defaults are not converted
    arguments["degrees"] = int(arguments["degrees"])
    return {"added": "by converter"}

@ConverterRegister.register_for_task(bake, False)
def shout(values):
    return {"loaf": values["loaf"].upper(), "wrapped": True}

@app.task(bind=True, returns="after")
def after(self, degrees, loaf): return [degrees, loaf, self.abog["added"], self.abog["wrapped"]]

@app.task(bind=True, returns="seen")
def top(self):
    chain = bake.s(degrees="200") | after.s()
    got = self.enqueue_child_and_get_results(chain)
    promise = self.enqueue_child(bake.s(degrees="hot"), block=True, raise_exception_on_failure=False)
    return [got, told(promise.result)]
""")

    loaf = "WHITE AT 201, BY CONVERTER"
    assert done.values["seen"] == [
        {"loaf": loaf, "after": [200, loaf, "by converter", True]},
        ["ArgumentConversionException: Converter degrees_to_number failed: invalid literal for int() with base 10: 'hot'",
         "ValueError: invalid literal for int() with base 10: 'hot'"]]
    assert done.named("bake")[0]["args"] == {"degrees": 200, "added": "by converter"}


# --- what is refused when it is enqueued -----------------------------------------------------------------------------

def test_a_chain_that_cannot_run_is_refused_in_its_parent(run):
    done = run("""
@app.task(returns="b")
def first(a): return 1

@app.task
def second(b, c): pass

@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    for work in (first.s() | second.s(), first.s(a="@z"), first.s(1, 2), first.s(a="@x", x="@a"), "first", None):
        try:
            self.enqueue_child(work)
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")
    return seen
""")

    assert done.values["seen"] == [
        "InvalidChainArgsException: Missing mandatory arguments: \n a \t required by services.first\n"
        " c \t required by services.second",
        "InvalidChainArgsException: Service services.first indirectly references the following unavailable parameters: \na: z",
        "TypeError: too many positional arguments",
        "InvalidChainArgsException: @a -> @x -> @a is a circle of references",
        "TypeError: 'first' is neither a signature nor a chain; write service.s(...)",
        "TypeError: None is neither a signature nor a chain; write service.s(...)",
    ]
    assert done.states == [("top", "succeeded")]


def test_a_body_may_wait_for_a_task_in_the_midst_of_a_chain(firexlite, plugin):
    plugin("""
from firexlite import app

@app.task(returns="x")
def first(): return 1

@app.task(returns="y")
def second(x): return x + 1

@app.task(bind=True, returns="z")
def top(self):
    promise = self.enqueue_child(first.s() | second.s())
    self.wait_for_specific_children([promise.parent])
    return promise.parent.result["x"]
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")

    assert (done.code, "z  1" in done.out) == (0, True), done.err


def test_a_chain_that_is_revoked_by_a_task_of_it_is_revoked_as_a_whole(firexlite, plugin):
    plugin("""
import threading
from firexlite import app

@app.task
def first(): threading.Event().wait()

@app.task
def second(): ...

@app.task(bind=True, returns="said")
def top(self):
    promise = self.enqueue_child(first.s() | second.s())
    promise.parent.revoke()
    try:
        self.wait_for_children()
    except Exception as error:
        return type(error).__name__
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")

    assert (done.code, "said  ChainRevoked" in done.out) == (0, True), done.err
    assert firexlite("doctor", done.firex_id).code == 0
