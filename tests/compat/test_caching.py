"""Work that is done once: by a cache of results, and by a key that several parents share."""
from __future__ import annotations

from .flows import Flows

BAKE = """
@app.task(returns="bread", use_cache=True)
def bake(flour, salt=1):
    note(flour)
    return f"{flour} bread"
"""


def test_c65_of_two_equal_tasks_the_second_takes_the_result_of_the_first(flow: Flows) -> None:
    done = flow(BAKE + """
@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child_and_get_results(bake.s(flour=flour)) for flour in ("rye", "rye", "oat")]
""")

    assert done.seen == [{"bread": "rye bread"}, {"bread": "rye bread"}, {"bread": "oat bread"}]
    assert flow.notes() == ["rye", "oat"]
    ran, cached, other = done.named("bake")
    assert (ran["cached_from"], other["cached_from"]) == (None, None)
    assert cached["cached_from"] in (ran["num"], ran["uuid"])
    assert cached["state"] == "succeeded"


def test_equal_tasks_at_the_same_time_run_once(flow: Flows) -> None:
    """FireX runs all that begin before the first has ended."""
    done = flow("""
@app.task(returns="bread", use_cache=True)
def bake(flour):
    note(flour)
    time.sleep(0.3)
    return f"{flour} bread"

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(bake.s(flour="rye")) for _ in range(4)]
    self.wait_for_children()
    return [promise.result["bread"] for promise in promises]
""", "top", "--workers", 4)

    assert done.seen == ["rye bread"] * 4
    assert flow.notes() == ["rye"]


def test_c66_a_signature_may_go_past_the_cache_and_a_default_is_worth_the_same_when_it_is_given(flow: Flows) -> None:
    done = flow(BAKE + """
@app.task(returns="bread")
def fry(flour):
    note(f"fried {flour}")
    return f"{flour} pancake"

def cached(signature, wanted):
    signature.set_use_cache(wanted)
    return signature

@app.task(bind=True, returns="seen")
def top(self):
    for signature in (bake.s(flour="rye"), cached(bake.s(flour="rye"), False), bake.s(flour="rye", salt=1),
                      cached(fry.s(flour="oat"), True), cached(fry.s(flour="oat"), True), fry.s(flour="oat")):
        self.enqueue_child(signature, block=True)
    return "done"
""")

    assert done.seen == "done"
    assert flow.notes() == ["rye", "rye", "fried oat", "fried oat"]
    assert [bool(task["cached_from"]) for task in done.named("bake") + done.named("fry")] == [
        False, False, True, False, True, False]


def test_a_failure_is_not_cached(flow: Flows) -> None:
    done = flow("""
@app.task(returns="bread", use_cache=True)
def bake():
    note("baking")
    assert len(open("notes").readlines()) > 1, "the oven is cold"
    return "bread"

@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child(bake.s(), block=True, raise_exception_on_failure=False).state for _ in range(3)]
""")

    assert done.seen == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert flow.notes() == ["baking", "baking"]


ONCE = """
PARENTS = 5

@app.task(returns="bread")
def bake():
    note("baking")
    return "bread"

@app.task(bind=True, returns="got")
def parent(self, number):
    note(number, "parents")
    give_up = time.monotonic() + 20
    while len(open("parents").readlines()) < PARENTS and time.monotonic() < give_up:
        time.sleep(0.005)
    return self.enqueue_child_and_get_results(bake.s(), extract_from_parents=False, enqueue_once_key="the bread")["bread"]

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(parent.s(number)) for number in range(PARENTS)]
    self.wait_for_children()
    return [promise.result["got"] for promise in promises]
"""


def test_c67_five_parents_share_what_is_enqueued_once(flow: Flows) -> None:
    done = flow(ONCE, "top", "--workers", 5)

    assert done.seen == ["bread"] * 5
    assert flow.notes() == ["baking"]
    bake, parents = done.only("bake"), {task["num"] for task in done.named("parent")}
    assert {bake["parent"], *bake["extra_parents"]} == parents
    assert len(bake["extra_parents"]) == 4


def test_another_key_is_another_task(flow: Flows) -> None:
    done = flow("""
@app.task(returns="bread")
def bake(flour):
    note(flour)
    return flour

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(bake.s(flour), enqueue_once_key=key)
                for flour, key in (("rye", "a"), ("oat", "a"), ("spelt", "b"))]
    self.wait_for_children()
    return [[promise.result["bread"] for promise in promises], promises[0].id == promises[1].id]
""", "top")

    assert done.seen == [["rye", "rye", "spelt"], True]
    assert sorted(flow.notes()) == ["rye", "spelt"]
