"""What a service is: its arguments, the names of what it returns, and what `self` tells it."""
from __future__ import annotations

from .flows import Flows


def test_c01_a_service_of_the_command_line_gives_its_result_in_run_json(flow: Flows) -> None:
    done = flow("""
@app.task(returns="greeting")
def greet(name): return f"Hello {name}!"
""", "greet", "--name", "John")

    assert done.summary["results"] == {"chain_results": {"greeting": "Hello John!"}, "unsuccessful_services": {}}
    assert (done.summary["completed"], done.summary["revoked"], done.summary["chain"]) == (True, False, ["greet"])
    assert done.summary["firex_id"] == done.run.firex_id


# --- names of what is returned ---------------------------------------------------------------------------------------

def test_c26_two_values_have_the_two_names_that_are_declared(flow: Flows) -> None:
    done = flow("""
@app.task(returns=["a", "b"])
def by_option(): return 1, 2

@app.task
@returns("c", "d")
def by_decorator(): return 3, 4
""", "by_option,by_decorator")

    assert done.values == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_c27_too_few_values_fail_the_task(flow: Flows) -> None:
    done = flow("""
@app.task(returns=["a", "b"])
def bake(): return 1
""", "bake", code=1)

    assert done.only("bake")["exception"].startswith("ReturnsCodingException(")
    assert done.values == {}


def test_c28_a_namedtuple_is_one_value_and_stays_what_it_is(flow: Flows) -> None:
    done = flow("""
from collections import namedtuple
Loaf = namedtuple("Loaf", "flour grams")

@app.task(returns="loaf")
def bake(): return Loaf("rye", 500)

@app.task(returns="seen")
def top(loaf): return [type(loaf).__name__, loaf.flour, loaf.grams]
""", "bake,top")

    assert done.seen == ["Loaf", "rye", 500]


def test_c29_each_wrong_declaration_of_returns_is_a_coding_error(flow: Flows) -> None:
    done = flow("""
from firexkit.task import ReturnsCodingException

def above():
    @returns("a")
    @app.task
    def service(): pass

def duplicates():
    @app.task
    @returns("a", "a")
    def service(): pass

def duplicates_in_the_option():
    @app.task(returns=["a", "a"])
    def service(): pass

def empty():
    @app.task
    @returns()
    def service(): pass

def both_forms():
    @app.task(returns="a")
    @returns("a")
    def service(): pass

WRONG = [above, duplicates, duplicates_in_the_option, empty, both_forms]
ERRORS = [raised_by(wrong) for wrong in WRONG]

@app.task(returns="seen")
def top(): return [wrong.__name__ for wrong, error in zip(WRONG, ERRORS) if not isinstance(error, ReturnsCodingException)]
""")

    assert done.seen == []


def test_c30_dicts_that_name_their_values_are_merged_from_left_to_right(flow: Flows) -> None:
    done = flow("""
D = FireXTask.DYNAMIC_RETURN

@app.task(returns=D)
def alone(): return {"p": 1, "q": 2}

@app.task(returns=["x", D])
def name_first(): return 7, {"x": 1, "p": 3}

@app.task(returns=[D, "x"])
def dict_first(): return {"x": 1, "p": 3}, 7

@app.task(returns=[D, D])
def twice(): return {"x": 1, "p": 3}, {"x": 2}

@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child_and_get_results(service.s()) for service in (alone, name_first, dict_first, twice)]
""")

    assert done.seen == [{"p": 1, "q": 2}, {"x": 1, "p": 3}, {"x": 7, "p": 3}, {"x": 2, "p": 3}]


def test_c31_a_value_that_should_name_others_must_be_a_dict_or_nothing(flow: Flows) -> None:
    done = flow("""
VALUES = [5, "text", [1], None, 0, "", {}, []]

@app.task(returns=FireXTask.DYNAMIC_RETURN)
def give(number): return VALUES[number]

@app.task(bind=True, returns="seen")
def top(self):
    seen = []
    for number in range(len(VALUES)):
        promise = self.enqueue_child(give.s(number=number), block=True, raise_exception_on_failure=False)
        values = self.enqueue_child_and_get_results(give.s(number=number), raise_exception_on_failure=False)
        seen.append(type(promise.result).__name__ if promise.failed() else values)
    return seen
""")

    assert done.seen == ["TypeError"] * 3 + [{}] * 5


def test_c32_what_follows_values_of_unknown_names_is_not_refused_when_it_is_enqueued(flow: Flows) -> None:
    done = flow("""
@app.task(returns=FireXTask.DYNAMIC_RETURN)
def give(values): return values

@app.task(returns="got")
def take(flour): return flour

@app.task(bind=True, returns="seen")
def top(self):
    there = self.enqueue_child(give.s(values={"flour": "rye"}) | take.s())
    missing = self.enqueue_child(give.s(values={}) | take.s())
    self.wait_for_children(raise_exception_on_failure=False)
    return [there.result["got"], missing.parent.state, missing.state, "flour" in str(missing.result)]
""")

    assert done.seen == ["rye", "SUCCESS", "FAILURE", True]


def test_c91_a_value_without_a_name_is_accepted_not_kept_and_warned_of(flow: Flows) -> None:
    """The first service of FireX's quick start; FireX fails its task."""
    done = flow("""
@app.task
def hello_world(): return "Hello World!"
""", "hello_world")

    assert done.values == {}
    [warning] = done.only("hello_world")["log"]["lines"]
    assert "WARNING" in warning and "without a name" in warning


# --- arguments -------------------------------------------------------------------------------------------------------

def test_c78_changing_the_bog_changes_nothing_else(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="again")
def first(self, flour, mode="slow"):
    bog = self.abog
    before = dict(bog)
    bog["flour"] = bog["smuggled"] = "changed"
    return self.abog == before

@app.task(bind=True, returns="later")
def second(self, flour): return [flour, "smuggled" in self.abog]

@app.task(bind=True, returns="seen")
def top(self):
    got = self.enqueue_child_and_get_results(first.s(flour="rye") | second.s())
    return [got["again"], got["later"]]
""")

    assert done.seen == [True, ["rye", False]]


def test_c79_a_task_tells_its_arguments_apart(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="seen")
def f(self, a, b=None, **kw):
    return {"bound": self.bound_args, "defaults": self.default_bound_args, "all": dict(self.all_args),
            "required": list(self.required_args), "optional": dict(self.optional_args)}

@app.task(bind=True, returns="seen")
def top(self):
    get = self.enqueue_child_and_get_results
    return [get(f.s(1))["seen"], get(f.s(1, b=2))["seen"], get(f.s(a=1, c=3))["seen"]]
""")

    only_a, with_b, with_more = done.seen
    assert only_a["bound"] == {"a": 1} and only_a["defaults"] == {"b": None} and only_a["all"] == {"a": 1, "b": None}
    assert with_b["bound"] == {"a": 1, "b": 2} and with_b["defaults"] == {} and with_b["all"] == {"a": 1, "b": 2}
    assert with_more["bound"] == {"a": 1, "kw": {"c": 3}} and with_more["all"] == {"a": 1, "b": None, "kw": {"c": 3}}
    for one in done.seen:
        assert (one["required"], one["optional"]) == (["a"], {"b": None})


def test_arguments_are_coerced_by_annotation_where_that_is_asked_for(flow: Flows) -> None:
    done = flow("""
@app.task(returns="plain")
def plain(n: int): return n

@app.task(returns="tried", pydantic_validate=FireXTask.Validate.ATTEMPT)
def tried(n: int): return n

@app.task(returns="required", pydantic_validate=FireXTask.Validate.REQUIRE)
def required(n: int): return n

@app.task(bind=True, returns="seen")
def top(self):
    get = self.enqueue_child_and_get_results
    refused = self.enqueue_child(required.s(n="five"), block=True, raise_exception_on_failure=False)
    return [get(plain.s(n="5"))["plain"], get(tried.s(n="5"))["tried"], get(tried.s(n="five"))["tried"],
            get(required.s(n="5"))["required"], type(refused.result).__name__]
""")

    assert done.seen == ["5", 5, "five", 5, "ValueError"]


# --- what a service may be -------------------------------------------------------------------------------------------

def test_a_service_may_be_a_coroutine(flow: Flows) -> None:
    done = flow("""
import asyncio

@app.task(returns="flour")
async def grind(grain):
    await asyncio.sleep(0)
    return grain + " flour"

@app.task(bind=True, returns="seen")
async def top(self):
    both = await asyncio.gather(asyncio.sleep(0, "and"), asyncio.sleep(0, "salt"))
    return [self.enqueue_child_and_get_results(grind.s(grain="rye"))["flour"], *both]
""")

    assert done.seen == ["rye flour", "and", "salt"]


def test_a_base_class_gives_its_tasks_methods(flow: Flows) -> None:
    done = flow("""
class Baker(FireXTask):
    oven = "stone"

    def bake(self, flour):
        return f"{flour} bread of a {self.oven} oven, by {self.short_name}"

@app.task(base=Baker, bind=True, returns="seen")
def top(self, flour="rye"): return self.bake(flour)
""")

    assert done.seen == "rye bread of a stone oven, by top"


def test_a_task_knows_its_request(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="got")
def child(self): return [self.request.id, self.request.parent_id, self.request.retries]

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(child.s(), block=True)
    return [promise.result["got"], promise.id, self.request.id, self.request.retries]
""")

    got, promise_id, own_id, own_retries = done.seen
    assert got == [promise_id, own_id, 0]
    assert (own_id, own_retries) == (done.only("top")["uuid"], 0)


def test_a_service_called_directly_is_the_plain_function(flow: Flows) -> None:
    """FireX runs the task in the caller's process and gives a dict; `undecorated` is the function there too."""
    done = flow("""
@app.task(returns="flour")
def grind(grain): return grain + " flour"

@app.task(returns="seen")
def top(): return [grind("rye"), grind.undecorated("rye")]
""")

    assert done.seen == ["rye flour", "rye flour"]
