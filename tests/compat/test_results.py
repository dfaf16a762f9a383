"""What a parent gets of the values of its children, and the functions of firexkit.result."""
from __future__ import annotations

from .flows import Flows

PICKING = """
@app.task(returns="leaf")
def grow(): return "rye"

@app.task(bind=True, returns="a")
def first(self, given=0):
    self.enqueue_child(grow.s(), block=True)
    return 1

@app.task(returns="b")
def second(a): return a + 1
"""


# With inputs FireX gives some names of its own too, such as chain_depth.
PLAIN = """
def plain(values):
    return {name: value for name, value in values.items() if name != "chain_depth" and not name.startswith("__")}
"""


def picked(flow: Flows, what: str) -> object:
    """What an expression over ``get`` and ``chain`` gives in a parent."""
    return flow(PICKING + PLAIN + f"""
@app.task(bind=True, returns="seen")
def top(self):
    def get(work=None, **options):
        return self.enqueue_child_and_get_results(work or (first.s(given=5) | second.s(more=6)), **options)
    return {what}
""").seen


def test_c43_values_are_picked_by_name_and_come_in_a_tuple(flow: Flows) -> None:
    assert picked(flow, """[(type(values).__name__, list(values)) for values in (
        get(first.s(), return_keys="a"), get(first.s(), return_keys=("a", "z")), get(first.s(), return_keys=()))]""") == [
            ["tuple", [1]], ["tuple", [1, None]], ["dict", ["a"]]]


def test_c44_inputs_are_given_too_where_that_is_asked_for_and_returns_win_over_them(flow: Flows) -> None:
    assert picked(flow, "[get(), plain(get(return_keys_only=False)), plain(get(first.s(a=9), return_keys_only=False))]") == [
        {"a": 1, "b": 2}, {"given": 5, "a": 1, "more": 6, "b": 2}, {"a": 1}]


def test_c45_what_grandchildren_returned_is_merged_where_that_is_asked_for(flow: Flows) -> None:
    assert picked(flow, "[get(), get(merge_children_results=True)]") == [{"a": 1, "b": 2}, {"leaf": "rye", "a": 1, "b": 2}]


def test_c45_what_a_child_itself_returned_wins_over_what_its_children_did(flow: Flows) -> None:
    done = flow(PICKING + """
@app.task(bind=True, returns="leaf")
def cut(self): return "half of " + self.enqueue_child_and_get_results(grow.s())["leaf"]

@app.task(bind=True, returns="seen")
def top(self): return self.enqueue_child_and_get_results(cut.s(), merge_children_results=True)
""")

    assert done.seen == {"leaf": "half of rye"}


def test_c46_the_last_of_a_chain_can_be_asked_alone(flow: Flows) -> None:
    assert picked(flow, "get(extract_from_parents=False)") == {"b": 2}


def test_the_older_way_to_get_values_gives_inputs_and_what_grandchildren_returned(flow: Flows) -> None:
    assert picked(flow, """[
        plain(self.enqueue_child_and_extract(first.s(given=5) | second.s())),
        self.enqueue_child_and_extract(first.s(given=5), extract_task_returns_only=True),
        plain(self.enqueue_child_and_extract(first.s(given=5), extract_from_children=False)),
        list(self.enqueue_child_and_extract(first.s(given=5), return_keys=("leaf", "a")))]""") == [
            {"given": 5, "leaf": "rye", "a": 1, "b": 2}, {"leaf": "rye", "a": 1}, {"given": 5, "a": 1}, ["rye", 1]]


# --- copies under other names ----------------------------------------------------------------------------------------

COPYING = """
from firexapp.tasks.core_tasks import CopyBogKeys

@app.task(returns="greeting")
def greet(name): return f"Hello {name}!"
"""


def test_c47_a_value_is_copied_before_a_later_task_overwrites_it(flow: Flows) -> None:
    done = flow(COPYING + """
@app.task(bind=True, returns=["lee", "tom"])
def top(self):
    chain = (greet.s(name="Lee") | CopyBogKeys.s({"greeting": "lee_greeting"})
             | greet.s(name="Tom") | CopyBogKeys.s(bog_key_map={"greeting": "tom_greeting"}))
    return self.enqueue_child_and_get_results(chain, return_keys=("lee_greeting", "tom_greeting"))
""")

    assert done.values == {"lee": "Hello Lee!", "tom": "Hello Tom!"}


def test_c47_a_strict_copy_of_what_is_not_there_fails(flow: Flows) -> None:
    done = flow(COPYING + """
@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    for strict in (False, True):
        chain = greet.s(name="Lee") | CopyBogKeys.s({"farewell": "x"}, strict=strict)
        promise = self.enqueue_child(chain, block=True, raise_exception_on_failure=False)
        seen.append([promise.successful(), type(promise.result).__name__])
    return seen
""")

    assert done.seen == [[True, "dict"], [False, "AssertionError"]]


# --- functions over promises -----------------------------------------------------------------------------------------

def test_promises_are_waited_for_and_asked_by_functions_too(flow: Flows) -> None:
    done = flow(PICKING + PLAIN + """
from firexkit.result import get_results, get_results_with_default, wait_on_async_results

@app.task
def bad(a): raise ValueError("burnt")

@app.task(bind=True, returns="seen")
def top(self):
    good, failing = self.enqueue_child(first.s(given=5) | second.s()), self.enqueue_child(first.s() | bad.s())
    wait_on_async_results([good])
    wait_on_async_results([failing], raise_exception_on_failure=False)
    return {"all": get_results(good), "one": list(get_results(good, return_keys="b")),
            "with inputs": plain(get_results(good, return_keys_only=False)),
            "of grandchildren": get_results(good, merge_children_results=True),
            "of the last": get_results(good, extract_from_parents=False),
            "what there is": get_results(failing),
            "default": get_results_with_default(failing, default={"b": 0})}
""")

    assert done.seen == {"all": {"a": 1, "b": 2}, "one": [2], "with inputs": {"given": 5, "a": 1, "b": 2},
                         "of grandchildren": {"leaf": "rye", "a": 1, "b": 2}, "of the last": {"b": 2},
                         "what there is": {"a": 1}, "default": {"b": 0}}


def test_the_cause_at_the_bottom_of_a_failure_can_be_asked_for(flow: Flows) -> None:
    done = flow("""
from firexkit.result import first_non_chain_interrupted_exception, last_causing_chain_interrupted_exception

@app.task
def low(): raise KeyError("flour")

@app.task(bind=True)
def mid(self): self.enqueue_child(low.s(), block=True)

@app.task(bind=True, returns="seen")
def top(self):
    error = raised_by(lambda: self.enqueue_child(mid.s(), block=True))
    return [type(first_non_chain_interrupted_exception(error)).__name__,
            last_causing_chain_interrupted_exception(error).task_name]
""")

    assert done.seen == ["KeyError", "services.low"]


def test_what_did_not_succeed_in_a_chain_can_be_asked_for(flow: Flows) -> None:
    done = flow("""
from firexkit.result import find_unsuccessful_in_chain

@app.task
def a(): pass

@app.task
def b(): raise ValueError("burnt")

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(a.s() | b.s() | a.s(), block=True, raise_exception_on_failure=False)
    return {kind: len(found) for kind, found in find_unsuccessful_in_chain(promise).items() if found}
""")

    assert done.seen == {"failed": 1, "not_run": 1}
