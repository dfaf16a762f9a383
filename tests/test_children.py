"""A parent and its children: many at once, whichever ends first, revoking, what promises and `self` tell; and after a crash."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from conftest import NOTE, Command, kill_all, query, states, wait_until
from warm import Warm

from firexlite import InjectArgs, Promise, Signature
from firexlite.children import Parent
from firexlite.flame_export import render_json
from firexlite.flame_graph import model_of
from firexlite.history import History

HEAD = NOTE + """
import time
from firexlite import *
from firexlite import app, returns

def touch(path):
    open(path, "w").close()

def raised_by(call):
    "What a call raises, as text; None if it raises nothing."
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

@app.task(returns="n")
def give(n, until=None):
    if until is not None:
        wait_for_file(until)
    return n

@app.task
def bad(what="burnt"):
    raise ValueError(what)
"""


@dataclass
class Run:
    """A run that ended well: what its chain returned, and the tasks of its report."""

    values: dict
    tasks: list[dict]

    @property
    def seen(self) -> object:
        return self.values["seen"]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(task["name"], task["state"]) for task in self.tasks]

    def ids(self, name: str) -> list[str]:
        return [task["uuid"] for task in self.tasks if task["name"] == name]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    warm = Warm(60)
    yield warm
    warm.close()


@pytest.fixture
def run(warm: Warm, firexlite: Command, plugin, effects) -> Callable[..., Run]:
    """Runs the service `top` of a given source."""

    def run(source: str, *options: object) -> Run:
        ended = warm("submit", "--plugins", plugin(HEAD + source), "--chain", "top", *options,
                     env=firexlite.env, folder=str(firexlite.folder))
        assert ended.code == 0, ended.err
        directory = firexlite.only_run()
        with History(directory) as history:
            tasks = json.loads(render_json(model_of(history)))["tasks"]
        return Run(json.loads(directory.run_json.read_text())["results"]["chain_results"], tasks)

    return run


# --- many at once ----------------------------------------------------------------------------------------------------

def peak(lines: Iterable[str]) -> int:
    """How many were under way at once, of lines that begin with `+` when one begins and with `-` when it ends."""
    under_way = most = 0
    for line in lines:
        under_way += {"+": 1, "-": -1}[line[0]]
        most = max(most, under_way)
    return most


PIECES = """
@app.task(returns="n")
def piece(n):
    note(f"+ {n}")
    while n < 3 and sum(line[0] == "+" for line in open(os.environ["EFFECT_LOG"])) < 3:
        time.sleep(0.005)  # the first three wait for each other, so that the limit is reached
    note(f"- {n}")
    assert n != 5, "five"
    return n
"""


def test_of_chains_in_parallel_never_more_run_than_are_allowed_and_promises_keep_their_order(run, firexlite):
    done = run(PIECES + """
@app.task(bind=True, returns="seen")
def top(self):
    promises = self.enqueue_in_parallel([piece.s(n) for n in range(12)], max_parallel_chains=3)
    return [promise.result["n"] if promise.successful() else promise.state for promise in promises]
""", "--workers", 8)

    assert done.seen == [0, 1, 2, 3, 4, "FAILURE", *range(6, 12)]
    assert peak((firexlite.folder / "effects").read_text().splitlines()) == 3


def test_chains_in_parallel_raise_and_wait_as_they_are_told(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    both = [bad.s(), give.s(1)]
    seen = [raised_by(lambda: self.enqueue_in_parallel(both, raise_exception_on_failure=True)).split(":")[0],
            raised_by(lambda: self.enqueue_in_parallel(both, max_parallel_chains=0)), len(self.pending_enqueued_children)]
    waiting = self.enqueue_in_parallel([give.s(2, until="go")], wait_for_completion=False)
    late = [give.s(3, until="go")]
    seen += [waiting[0].ready(), len(self.pending_enqueued_children),
             raised_by(lambda: self.enqueue_in_parallel(late, max_wait=0.2)).split("[")[0]]
    touch("go")
    return seen
""", "--workers", 3)

    assert done.seen == ["ChainInterruptedException", "ValueError: max_parallel_chains must be at least 1, not 0", 0,
                         False, 1, "WaitOnChainTimeoutError: Result ID services.give"]


def test_many_chains_are_known_by_their_keys(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    many = self.enqueue_many({"last": give.s(1, until="go"), "first": give.s(2), "none": InjectArgs(n=3)})
    order = []
    for key, promise in many.get_keyed_as_completed():
        order.append(key)
        if key == "first":
            touch("go")
    failing = self.enqueue_many([give.s(4), bad.s()])
    return {"order": order, "values": {key: promise.result["n"] for key, promise in many.as_dict().items()},
            "size": [len(many), len(list(many)), many["last"].result["n"]],
            "raised": raised_by(lambda: failing.wait_for_all()).split(":")[0],
            "quiet": [promise.state for promise in failing.wait_for_all(raise_on_failure=False)],
            "any": many.wait_for_any().id == many["none"].id, "revoked": len(failing.revoke_non_ready())}
""", "--workers", 2)

    assert done.seen == {"order": ["none", "first", "last"], "values": {"last": 1, "first": 2, "none": 3}, "size": [3, 3, 1],
                         "raised": "ChainInterruptedException", "quiet": ["SUCCESS", "FAILURE"], "any": True, "revoked": 0}


# --- whichever ends first --------------------------------------------------------------------------------------------

def test_children_come_in_the_order_in_which_they_end(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    for n in range(3):
        self.enqueue_child(give.s(n, until=f"go {n}") | give.s())
    seen = []
    touch("go 2")
    for promise in self.wait_for_any_children():
        seen.append([promise.result["n"], promise.ready(), len(self.pending_enqueued_children)])
        touch(f"go {len(seen) - 1}")
    return seen + [len(list(self.wait_for_any_children())), len(list(self.wait_for_any_children(pending_only=False)))]
""", "--workers", 4)

    assert done.seen == [[2, True, 2], [0, True, 1], [1, True, 0], 0, 3]


def test_a_child_that_failed_is_told_of_in_its_turn_and_the_others_can_still_be_had(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    self.enqueue_child(bad.s(until="now"))
    self.enqueue_child(give.s(1, until="go"))
    seen = [raised_by(lambda: next(self.wait_for_any_children())).split(":")[0]]
    touch("go")
    seen += [promise.state for promise in self.wait_for_any_children()]
    self.enqueue_child(bad.s())
    seen += [promise.state for promise in self.wait_for_any_children(raise_exception_on_failure=False)]
    self.enqueue_child(give.s(2, until="never")).revoke()
    return seen + [raised_by(lambda: list(self.wait_for_any_children(raise_exception_on_failure=False))).split(":")[0]]
""", "--workers", 3)

    assert done.seen[:3] == ["ChainInterruptedException", "SUCCESS", "FAILURE"]
    assert done.seen[3] in ("ChainRevokedException", "ChainRevokedPreRunException")


def test_a_limit_holds_for_all_that_any_may_end_and_who_is_late_is_named(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    self.enqueue_child(give.s(0))
    self.enqueue_child(give.s(1, until="go"))
    seen = []
    def wait():
        for promise in self.wait_for_any_children(max_wait=0.6, poll_max_wait=0.1):
            seen.append(promise.result["n"])
    began = time.monotonic()
    seen.append(raised_by(wait))
    seen.append(0.6 <= time.monotonic() - began < 3)
    touch("go")
    return seen  # the end of a task waits for the late one too
""", "--workers", 3)

    late = done.ids("give")[1]
    assert done.seen == [0, f"WaitOnChainTimeoutError: Results services.give[{late}] were still not ready after 0.6 seconds",
                         True]
    assert done.states == [("top", "succeeded"), ("give", "succeeded"), ("give", "succeeded")]


# --- what happens meanwhile ------------------------------------------------------------------------------------------

def test_functions_are_called_while_a_task_waits(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    calls = []
    def look(what):
        calls.append(what)
        if calls.count("often") == 3:
            touch("go")
    callbacks = [WaitLoopCallBack(look, 0.1, {"what": "often"}),
                 WaitLoopCallBack(func=look, frequency=60, kwargs={"what": "never"})]
    self.enqueue_child(give.s(1, until="go"), block=True, callbacks=callbacks)
    counts = [calls.count("often") >= 3, "never" in calls]

    def fail(): raise KeyError("from the call")
    child = self.enqueue_child(give.s(2, until="go on"))
    for wait in (self.wait_for_children, lambda **more: list(self.wait_for_any_children(**more))):
        counts.append(raised_by(lambda: wait(pending_only=False, callbacks=[WaitLoopCallBack(fail, 0, {})])))
    counts.append(child.ready())
    touch("go on")
    self.wait_for_children(pending_only=False)
    return counts + [child.ready()]
""", "--workers", 2)

    assert done.seen == [True, False, "KeyError: 'from the call'", "KeyError: 'from the call'", False, True]


def test_a_task_runs_again_when_a_function_that_was_called_meanwhile_has_failed(firexlite, plugin, effects):
    plugin(HEAD + """
def fail(): raise KeyError("from the call")

@app.task(bind=True)
def top(self):
    self.enqueue_child(give.s(1, until="go"))
    raised_by(lambda: self.wait_for_children(callbacks=[WaitLoopCallBack(fail, 0, {})]))
    note("it failed")
    wait_for_file("go")
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "2")
    wait_until(lambda: effects()["it failed"] == 1)

    assert query(firexlite.only_run(), "SELECT state FROM task WHERE id = 1") == [("running",)]
    (firexlite.folder / "go").touch()
    assert process.wait(30) == 0


def test_a_parent_knows_its_children_and_revokes_some(run):
    done = run("""
@app.task(bind=True, returns="seen")
def top(self):
    ended = self.enqueue_child(give.s(0), block=True)
    untracked = self.enqueue_child(give.s(9), add_to_enqueued_children=False, block=True)
    running = self.enqueue_child(give.s(1, until="never") | give.s())
    second, third = [self.enqueue_child(give.s(n, until="never")) for n in (2, 3)]
    def which(promises): return [["ended", "running", "second", "third"][[ended, running, second, third].index(p)]
                                 for p in promises]
    seen = {"all": which(self.enqueued_children), "pending": which(self.pending_enqueued_children),
            "open": which(self.nonready_enqueued_children)}
    revoked = self.revoke_child(running)
    seen["revoked"] = [len(revoked), running in revoked, running.parent in revoked, running.state]
    seen["pending then"] = which(self.pending_enqueued_children)
    seen["told"] = raised_by(lambda: self.wait_for_specific_children(running, raise_exception_on_failure=False)).split(":")[0]
    self.revoke_nonready_children()
    seen["in the end"] = [promise.state for promise in self.enqueued_children]
    seen["again"] = self.revoke_child(ended)
    self.forget_specific_children_results([ended])
    return seen | {"forgotten": ended.result}
""", "--workers", 2)

    assert done.seen["told"] in ("ChainRevokedException", "ChainRevokedPreRunException")
    assert {key: value for key, value in done.seen.items() if key != "told"} == {
        "all": ["ended", "running", "second", "third"], "pending": ["running", "second", "third"],
        "open": ["running", "second", "third"], "revoked": [2, True, True, "REVOKED"], "pending then": ["second", "third"],
        "in the end": ["SUCCESS", "REVOKED", "REVOKED", "REVOKED"], "again": [], "forgotten": None}


# --- other ways to enqueue -------------------------------------------------------------------------------------------

NESTED = """
@app.task(bind=True, returns="a")
def mid(self, given):
    self.enqueue_child(give.s(7), block=True)
    return given + 1
"""


def test_values_with_inputs_and_those_from_below_can_be_extracted(run):
    done = run(NESTED + """
@app.task(bind=True, returns="seen")
def top(self):
    get = self.enqueue_child_and_extract
    return [get(mid.s(given=1)), get(mid.s(given=1), extract_from_children=False),
            get(mid.s(given=1), extract_task_returns_only=True), list(get(mid.s(given=1), return_keys=("n", "given", "z"))),
            get(mid.s(given=1), block=False, extract_task_returns_only=True)]
""")

    assert done.seen == [{"given": 1, "n": 7, "a": 2}, {"given": 1, "a": 2}, {"n": 7, "a": 2}, [7, 1, None], {"n": 7, "a": 2}]


def test_code_without_self_enqueues_signatures_as_children_of_the_task_that_runs(run):
    done = run(NESTED + """
def helper():
    promise = give.s(5, until="go").enqueue()
    touch("go")
    (give.s(6) | give.s()).enqueue(block=True)
    error = raised_by(lambda: bad.s().enqueue(block=True))
    quiet = bad.s().enqueue(block=True, raise_exception_on_failure=False)
    return [promise.state in ("PENDING", "STARTED", "SUCCESS"), error.split(":")[0], quiet.state,
            mid.s(given=1).enqueue_and_extract(), list(mid.s(given=1).enqueue_and_extract(return_keys="a"))]

@app.task(returns="helped")
def unbound(): return helper()

@app.task(bind=True, returns="seen")
def top(self):
    return [helper(), self.enqueued_children, self.enqueue_child_and_get_results(unbound.s())["helped"]]
""", "--workers", 2)

    helped = [True, "ChainInterruptedException", "FAILURE", {"given": 1, "n": 7, "a": 2}, [2]]
    assert done.seen == [helped, [], helped]
    assert {task["name"] for task in done.tasks if task["parent"] == 1} == {"give", "bad", "mid", "unbound"}


def test_a_spec_is_enqueued_with_the_bog_of_the_task_unless_it_says_no(run):
    done = run("""
from firexlite.children import TaskEnqueueSpec

@app.task(bind=True, returns="names")
def tell(self): return {name: value for name, value in self.abog.items() if name in ("own", "default", "extra")}

@app.task(bind=True, returns="told")
def mid(self, own, default="d"):
    specs = [(TaskEnqueueSpec(tell.s(), enqueue_opts={"block": True}), {"extra": 1}),
             (TaskEnqueueSpec(tell.s(own="its own")), None),
             (TaskEnqueueSpec(tell.s(), inject_abog=False), {"extra": 2}), (TaskEnqueueSpec(tell.s(), False), None)]
    returned = [self.enqueue_child_from_spec(spec, inject_args=injected) for spec, injected in specs]
    self.wait_for_children()
    return [promise.result["names"] for promise in self.enqueued_children] + returned

@app.task(bind=True, returns="seen")
def top(self): return self.enqueue_child_and_get_results(mid.s(own="mine"))["told"]
""")

    assert done.seen == [{"own": "mine", "default": "d", "extra": 1}, {"own": "its own", "default": "d"}, {"extra": 2}, {},
                         None, None, None, None]


class Recording:
    """An engine that only remembers the chains it is given."""

    def __init__(self) -> None:
        self.chains: list = []

    def enqueue(self, chain, key=None, is_awaited=False):
        self.chains.append(chain)
        return len(self.chains), len(self.chains)


def test_options_of_an_enqueue_are_those_of_each_task_and_leave_the_signatures_alone():
    engine = Recording()
    parent = Parent(engine)  # type: ignore[arg-type]
    work = Signature("a").set_priority(1) | Signature("b")

    parent.enqueue_child(work, queue="gpu", priority=5, soft_time_limit=60)
    parent.enqueue_child(work, "gpu")
    parent.enqueue_child(work, queue="auto", priority=0)
    parent.enqueue_child(work, queue=None, forget=True, callbacks=(), unknown=1)

    given = {"queue": "gpu", "priority": 5, "soft_time_limit": 60}
    assert [[member.options for member in chain] for chain in engine.chains] == [
        [given, given], [{"priority": 1, "queue": "gpu"}, {"queue": "gpu"}], [{"priority": 0}] * 2, [{"priority": 1}, {}]]
    assert engine.chains[3] == work



def test_outside_of_a_task_a_signature_cannot_be_enqueued():
    work = Signature("mod.a", (), {"x": 1})

    for enqueue in (work.enqueue, work.enqueue_and_extract, (work | work).enqueue):
        with pytest.raises(RuntimeError) as raised:
            enqueue()
        assert str(raised.value).removeprefix("mod.a(x=1) | ") == (
            "mod.a(x=1) was to be enqueued, but only a task that runs can do that, in its own process; "
            "a run begins with `firexlite submit --chain`")


# --- promises --------------------------------------------------------------------------------------------------------

def test_promises_of_one_task_are_equal_and_are_asked_as_celerys_are(run):
    done = run("""
@app.task(bind=True, returns="a")
def mid(self, n):
    self.enqueue_child(give.s(7))
    return n + 1

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(give.s(1) | mid.s())
    same = self.enqueued_children[0].chain[1]
    injected = self.enqueue_child(InjectArgs(x=1))
    never = raised_by(promise.get)
    self.wait_for_children()
    [child] = promise.children
    return {"equal": [promise == same, promise is same, promise == promise.id, promise != promise.parent, promise == 1,
                      len({promise, same, promise.parent}), injected == injected, injected == InjectArgs(x=1)],
            "told": [promise.status, str(promise) == promise.id, repr(promise) == f"<Promise {promise.id} SUCCESS>",
                     promise.name, promise.parent.name, [one.name for one in promise.chain], injected.children],
            "below": [child.name, child.result["n"], child.children, promise.parent.children],
            "never": [never, raised_by(lambda: promise.get(timeout=1)) == never, raised_by(injected.get) == never],
            "result": promise.result,
            "values": [promise.get_results(), list(promise.get_many_results(["a", "z"])), promise.get_result_key("n")]}
""", "--workers", 2)

    assert done.seen == {
        "equal": [True, False, True, True, False, 2, True, False],
        "told": ["SUCCESS", True, True, "services.mid", "services.give", ["services.give", "services.mid"], []],
        "below": ["services.give", 7, [], []],
        "never": ["RuntimeError: Never call result.get() within a task!\nSee https://docs.celeryq.dev/en/latest/userguide/"
                  "tasks.html#avoid-launching-synchronous-subtasks\n", True, True],
        "result": {"n": 1, "a": 2, "__task_return_keys": ["a"]},
        "values": [{"n": 1, "a": 2}, [2, None], 1]}


def test_the_names_that_a_task_returned_are_no_value_that_is_handed_on(run):
    done = run("""
@app.task(bind=True, returns=DYNAMIC_RETURN)
def hand_on(self): return self.enqueue_child(give.s(1), block=True).result

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(hand_on.s(), block=True)
    nothing = self.enqueue_child(nop.s(), block=True)
    injected = InjectArgs(**promise.result) | give.s()
    return [self.enqueue_child_and_get_results(hand_on.s()), promise.result, nothing.result,
            self.enqueue_child_and_get_results(injected, return_keys_only=False)]

from firexlite.builtin import nop
""")

    assert done.seen == [{"n": 1}, {"n": 1, "__task_return_keys": ["n"]}, {}, {"n": 1}]


def test_functions_of_firexkit_wait_for_promises_and_get_their_values(run):
    done = run("""
from firexlite.gathering import *
from firexlite.gathering import wait_for_any_results, wait_on_async_results
from firexlite.results import get_results, get_results_with_default

@app.task(bind=True, returns="a")
def mid(self, n): return self.enqueue_child_and_get_results(give.s(n + 1), return_keys="n")[0]

@app.task(bind=True, returns="seen")
def top(self):
    good, failing = self.enqueue_child(give.s(1) | mid.s(x=2)), self.enqueue_child(give.s(3) | bad.s() | give.s())
    wait_on_async_results(good)
    error = raised_by(lambda: wait_on_async_results([good, failing], log_msg=False, caller_task=self))
    seen = {"raised": error.split(":")[0]}
    wait_on_async_results([failing], raise_exception_on_failure=False)
    wait_on_async_results(None)
    seen["any"] = sorted(p.state for p in wait_for_any_results([good, failing], raise_exception_on_failure=False))
    seen["any raises"] = raised_by(lambda: list(wait_for_any_results(failing))).split(":")[0]
    first = good.parent.id
    return seen | {
        "all": get_results(good), "after": get_results(good, parent_id=first, merge_children_results=True),
        "one": list(get_results(good, return_keys="a")), "both": list(get_results(good, ("a", "z"))),
        "inputs": get_results(good, return_keys_only=False, parent_id=first),
        "of the last": get_results(good, extract_from_parents=False), "what there is": get_results(failing),
        "default": [get_results_with_default(failing, default=0), get_results_with_default(good, return_keys_only=True)]}
""", "--workers", 3)

    [top_log] = [task["log"]["lines"] for task in done.tasks if task["name"] == "top"]
    assert any("There is no result of " in line for line in top_log) and "ValueError: burnt" in "\n".join(top_log)
    assert done.seen == {
        "raised": "ChainInterruptedException", "any": ["FAILURE", "SUCCESS"], "any raises": "ChainInterruptedException",
        "all": {"n": 1, "a": 2}, "after": {"n": 2, "a": 2}, "one": [2], "both": [2, None],
        "inputs": {"n": 1, "x": 2, "a": 2, "chain_depth": 1}, "of the last": {"a": 2}, "what there is": {"n": 3},
        "default": [0, {"n": 1, "a": 2}]}


def test_what_did_not_succeed_can_be_found(run):
    done = run("""
from firexlite.gathering import find_all_unsuccessful, find_unsuccessful_in_chain, get_task_name_from_result

@app.task(bind=True)
def mid(self, n): self.enqueue_child(bad.s(), block=True, raise_exception_on_failure=False)

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(give.s(1) | mid.s() | bad.s() | give.s(), block=True, raise_exception_on_failure=False)
    good = self.enqueue_child(give.s(1), block=True)
    [below] = promise.chain[1].children
    named = {p.id: name for name, p in zip(["first", "mid", "bad", "last"], promise.chain)} | {below.id: "below"}
    return [{kind: [named[p.id] for p in found] for kind, found in find_unsuccessful_in_chain(promise).items()},
            find_unsuccessful_in_chain(good), get_task_name_from_result(promise),
            {named[id]: text == f"services.{text.split('[')[0].split('.')[1]}[{id}]"
             for id, text in find_all_unsuccessful(promise).items()},
            [named[id] for id in find_all_unsuccessful(promise, ignore_non_ready=True)], find_all_unsuccessful(good)]
""")

    assert done.seen == [{"failed": ["bad"], "not_run": ["last"]}, {}, "services.give",
                         {"below": True, "bad": True, "last": True}, ["below", "bad"], {}]


# --- what a task knows of itself -------------------------------------------------------------------------------------

def test_a_task_knows_its_service_and_its_arguments(run, plugin):
    done = run("""
@app.task(bind=True, returns=["x", "y"])
def wide(self, first, second=2, *rest, only=3, **more):
    try:
        self.all_args["first"] = 0
    except TypeError:
        frozen = True
    return {
        "names": [self.name, self.short_name, self.name_without_orig, self.short_name_without_orig, self.called_as_orig,
                  self.from_plugin, self.orig, self.root_orig is wide, self.is_overriding_task()],
        "declared": [self.required_args, self.optional_args, list(self.return_keys), str(self.sig)],
        "given": [list(self.args), self.kwargs, dict(self.all_args), frozen],
        "mapped": [self.map_args(1), self.map_args(1, 2, 3, only="@first", z=5)],
        "code": [os.path.basename(self.code_filepath), self.undecorated is wide.undecorated, self.DYNAMIC_RETURN],
    }, None

@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child_and_get_results(chain)["x"] for chain in (wide.s(1, 5, 6, z=7), wide.s(first=1))]
""")

    by_position, by_name = done.seen
    assert by_position["names"] == ["services.wide", "wide", "services.wide", "wide", False, True, None, True, False]
    assert by_position["declared"] == [["first"], {"second": 2, "only": 3}, ["x", "y"],
                                       "(first, second=2, *rest, only=3, **more)"]
    assert by_position["given"] == [[1, 5, 6], {"z": 7}, {"first": 1, "second": 5, "rest": [6], "only": 3, "more": {"z": 7}},
                                    True]
    assert by_position["mapped"] == [{"first": 1, "second": 2, "only": 3},
                                     {"first": 1, "second": 2, "rest": [3], "only": 1, "z": 5}]
    assert by_position["code"] == ["services.py", True, "__DYNAMIC_RETURN__"]
    assert by_name["given"] == [[], {"first": 1}, {"first": 1, "second": 2, "only": 3}, True]


def test_a_service_that_overrides_another_one_knows_it(warm, firexlite, plugin, effects):
    source = """
@app.task(bind=True, returns="told")
def tell(self):
    below = self.enqueue_child_and_get_results(self.orig.s())["told"] if self.is_overriding_task() else []
    return [[self.name, self.name_without_orig, self.short_name_without_orig, self.called_as_orig,
             self.is_overriding_task() and self.get_overridden_task().name, self.root_orig.name]] + below
"""
    files = [plugin(HEAD + source, name) for name in ("low.py", "mid.py", "high.py")]

    ended = warm("submit", "--plugins", ",".join(map(str, files)), "--chain", "tell", env=firexlite.env,
                 folder=str(firexlite.folder))

    assert ended.code == 0, ended.err
    assert json.loads(firexlite.only_run().run_json.read_text())["results"]["chain_results"]["told"] == [
        ["high.tell", "high.tell", "tell", False, "mid.tell_orig", "low.tell_orig_orig"],
        ["mid.tell_orig", "mid.tell", "tell", True, "low.tell_orig_orig", "low.tell_orig_orig"],
        ["low.tell_orig_orig", "low.tell", "tell", True, False, "low.tell_orig_orig"]]


def test_a_task_knows_its_place_in_the_run(run):
    done = run("""
import socket

@app.task(bind=True, returns="told")
def tell(self):
    request = self.request
    return [request.id, request.parent_id, request.root_id, request.retries, request.called_directly,
            request.hostname == f"mc@{socket.gethostname()}", self.task_label,
            abs(self.start_time() + self.duration() - time.time()) < 1, 0 <= self.duration() < 20]

@app.task(bind=True, returns="seen")
def top(self):
    chain = tell.s() | give.s(1) | tell.s()
    promise = self.enqueue_child(chain, block=True)
    return [self.request.parent_id, self.request.id == self.request.root_id,
            *[one.result["told"] for one in (promise.chain[0], promise)]]
""")

    [top], [first, last], [between] = done.ids("top"), done.ids("tell"), done.ids("give")
    rest = [top, 0, False, True]
    assert done.seen == [None, True, [first, top, *rest, first, True, True], [last, between, *rest, last, True, True]]


# --- after a crash ---------------------------------------------------------------------------------------------------

IN_TURN = HEAD + """
@app.task(returns="name")
def piece(name):
    wait_for_file(f"go {name}")
    note(f"piece {name}")
    return name

@app.task(returns="done")
def after(place, name):
    note(f"after {place} {name}")
    return f"{place} {name}"

@app.task(bind=True, returns="order")
def top(self):
    for name in "abcd":
        self.enqueue_child(piece.s(name=name))
    order = []
    for promise in self.wait_for_any_children():
        name = promise.result["name"]
        order.append(self.enqueue_child_and_get_results(after.s(place=len(order), name=name))["done"])
        note(f"got {name}")
    return order
"""


def test_whoever_waits_for_any_child_gets_them_in_the_same_order_after_a_crash(firexlite, plugin, effects):
    plugin(IN_TURN)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "5")
    for name in "ca":
        (firexlite.folder / f"go {name}").touch()
        wait_until(lambda name=name: effects()[f"got {name}"] == 1)
    run = firexlite.only_run()
    kill_all(process)
    for name in "bd":
        (firexlite.folder / f"go {name}").touch()

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    order = json.loads(run.run_json.read_text())["results"]["chain_results"]["order"]
    assert order[:2] == ["0 c", "1 a"] and sorted(order[2:]) in (["2 b", "3 d"], ["2 d", "3 b"])
    counts = effects()
    assert {name: counts[f"piece {name}"] for name in "abcd"} == dict.fromkeys("abcd", 1)
    assert (counts["after 0 c"], counts["after 1 a"]) == (1, 1)
    assert states(run) == {"succeeded": 9}


PARALLEL = HEAD + """
NAMES = {f"n{i}" for i in range(12)}

@app.task(returns="name")
def piece(name):
    note(f"+ {name}")
    time.sleep(0.05)
    note(f"- {name}")
    return name

@app.task(bind=True, returns=["names", "states"])
def top(self):
    promises = self.enqueue_in_parallel([piece.s(name=name) for name in NAMES], max_parallel_chains=2)
    return sorted(promise.result["name"] for promise in promises), [promise.state for promise in promises]
"""


@pytest.mark.parametrize("done_before", [0, 3, 8])
def test_chains_in_parallel_go_on_after_a_crash_in_whatever_order_the_body_has_them(firexlite, plugin, effects, done_before):
    plugin(PARALLEL)
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "4", PYTHONHASHSEED="1")
    run = wait_until(lambda: firexlite.runs() and firexlite.only_run())
    wait_until(lambda: states(run).get("succeeded", 0) >= done_before and sum(states(run).values()) > 1)
    kill_all(process)
    finished = [json.loads(arguments)["name"] for arguments, in
                query(run, "SELECT arguments FROM task WHERE state = 'succeeded'")]
    before = (firexlite.folder / "effects").read_text().splitlines() if effects() else []

    resumed = firexlite("resume", run.firex_id, PYTHONHASHSEED="2")

    assert resumed.code == 0, resumed.err
    returned = json.loads(run.run_json.read_text())["results"]["chain_results"]
    assert returned == {"names": sorted(f"n{i}" for i in range(12)), "states": ["SUCCESS"] * 12}
    after = (firexlite.folder / "effects").read_text().splitlines()[len(before):]
    assert not set(finished) & {line[2:] for line in after}
    assert peak(before) <= 2 and peak(after) <= 2
    assert states(run) == {"succeeded": 13}  # no chain was journaled twice


def test_a_wait_for_any_that_ran_out_of_time_runs_out_again_in_a_replay_though_the_child_is_there_by_then(
        firexlite, plugin, effects):
    plugin(HEAD + """
@app.task(bind=True, returns="seen")
def top(self):
    first, second = self.enqueue_child(give.s(1)), self.enqueue_child(give.s(2, until="go"))
    seen = []
    def wait():
        for promise in self.wait_for_any_children(max_wait=1.5):
            seen.append(promise.result["n"])
    seen.append(raised_by(wait).split(":")[0])
    note(str(seen))
    wait_for_file("go on")
    self.wait_for_children()
    return seen + [second.state]
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "top", "--workers", "3")
    seen = str([1, "WaitOnChainTimeoutError"])
    wait_until(lambda: effects()[seen] == 1)
    run = firexlite.only_run()
    (firexlite.folder / "go").touch()
    wait_until(lambda: states(run).get("succeeded") == 2)
    kill_all(process)
    (firexlite.folder / "go on").touch()

    resumed = firexlite("resume", run.firex_id)

    assert resumed.code == 0, resumed.err
    assert effects() == {seen: 2}
    assert json.loads(run.run_json.read_text())["results"]["chain_results"] == {
        "seen": [1, "WaitOnChainTimeoutError", "SUCCESS"]}


def test_promises_need_no_run_to_be_told_from_injected_values():
    injected = Parent(Recording()).enqueue_child(InjectArgs(x=1))  # type: ignore[arg-type]

    assert isinstance(injected, Promise) and injected.chain == [injected]
    assert injected.get_results() == {} and injected.get_result_key("x") is None
