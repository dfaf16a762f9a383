"""How values travel down a chain, and what is refused before anything of it runs."""
from __future__ import annotations

from .flows import Flows

# --- what flows ------------------------------------------------------------------------------------------------------


def test_c04_a_task_receives_by_name_what_the_one_before_it_returned(flow: Flows) -> None:
    done = flow("""
@app.task(returns="flour")
def grind(grain): return grain + " flour"

@app.task(returns="seen")
def bake(flour): return "bread of " + flour

@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(grind.s(grain="rye") | bake.s())["seen"]
""")

    assert done.seen == "bread of rye flour"


def test_c05_a_reference_binds_an_argument_to_a_value_of_another_name(flow: Flows) -> None:
    done = flow("""
@app.task(returns="guests_greeting")
def greet_guests(guests): return f"Hello {guests}!"

@app.task(returns="seen")
def amplify(to_amplify): return to_amplify.upper()

@app.task(bind=True, returns="seen")
def top(self):
    chain = greet_guests.s(guests="Li") | amplify.s(to_amplify="@guests_greeting")
    return self.enqueue_child_and_get_results(chain)["seen"]
""")

    assert done.seen == "HELLO LI!"


TELL = """
@app.task(returns="seen")
def tell(x): return x
"""


def test_c14_an_explicit_argument_wins_over_what_flows(flow: Flows) -> None:
    done = flow(TELL + """
@app.task(returns="x")
def give(): return 1

@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(give.s() | tell.s(x=9))["seen"]
""")

    assert done.seen == 9


def test_c15_what_a_task_returned_wins_over_what_it_was_given(flow: Flows) -> None:
    done = flow(TELL + """
@app.task(returns="x")
def raise_it(x): return x + 1

@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(raise_it.s(x=1) | tell.s())["seen"]
""")

    assert done.seen == 2


def test_c16_a_default_belongs_to_its_own_service_and_does_not_flow(flow: Flows) -> None:
    done = flow(TELL + """
@app.task
def has_default(x=7): pass

@app.task(bind=True, returns="seen")
def top(self):
    error = raised_by(lambda: self.enqueue_child(has_default.s() | tell.s()))
    return [type(error).__name__, {name: list(args) for name, args in error.wrong_args.items()}]
""")

    assert done.seen == ["InvalidChainArgsException", {"services.tell": ["x"]}]
    assert done.states == [("top", "succeeded")]


def test_c17_injected_values_flow_past_a_task_that_does_not_take_them(flow: Flows) -> None:
    done = flow(TELL + """
@app.task
def pass_by(): pass

@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(InjectArgs(x=1) | pass_by.s() | tell.s())["seen"]
""")

    assert done.seen == 1


def test_c18_an_explicit_argument_wins_over_an_injected_one(flow: Flows) -> None:
    done = flow(TELL + """
@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(InjectArgs(x=1) | tell.s(x=2))["seen"]
""")

    assert done.seen == 2


def test_c19_a_parent_hands_all_its_values_down_those_of_the_command_line_too(flow: Flows) -> None:
    done = flow("""
@app.task(returns="guests_greeting")
def greet_guests(guests): return f"Hello {guests}!"

@app.task(returns="amplified")
def amplify(to_amplify, underline_char=None, overline_char=None, surround_str=None):
    text = (surround_str or "") + to_amplify.upper() + (surround_str or "")
    return [(char or "") * 3 for char in (overline_char, underline_char)] + [text]

@app.task(bind=True, returns="seen")
def top(self, guests):
    chain = InjectArgs(**self.abog) | greet_guests.s() | amplify.s(to_amplify="@guests_greeting")
    return self.enqueue_child_and_get_results(chain)["amplified"]
""", "top", "--guests", "Li", "--underline_char", "=", "--overline_char", "-", "--surround_str", "***")

    assert done.seen == ["---", "===", "***HELLO LI!***"]


def test_c25_an_argument_that_a_service_does_not_take_is_kept_from_its_call_and_flows_on(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="at_first")
def first(self, flour): return self.abog["extra"]

@app.task(returns="later")
def second(extra): return extra + 1

@app.task(bind=True, returns="seen")
def top(self):
    got = self.enqueue_child_and_get_results(first.s(flour="rye", extra=1) | second.s())
    return [got["at_first"], got["later"]]
""")

    assert done.seen == [1, 2]
    assert done.only("first")["args"] == {"flour": "rye"}


def test_c90_later_tasks_see_a_returned_dict_and_the_callers_own_stays_as_it_was(flow: Flows) -> None:
    done = flow("""
@app.task(returns="recipe")
def knead(recipe):
    recipe["kneaded"] = True
    return recipe

@app.task(returns="baked")
def bake(recipe): return recipe

@app.task(bind=True, returns="seen")
def top(self):
    mine = {"flour": "rye"}
    got = self.enqueue_child_and_get_results(knead.s(recipe=mine) | bake.s())
    return [mine, got["baked"]]
""")

    assert done.seen == [{"flour": "rye"}, {"flour": "rye", "kneaded": True}]


# --- references ------------------------------------------------------------------------------------------------------

def test_c22_a_reference_to_nothing_is_refused_naming_argument_and_target(flow: Flows) -> None:
    done = flow(TELL + """
@app.task
def begin(): pass

@app.task(bind=True, returns="seen")
def top(self):
    error = raised_by(lambda: self.enqueue_child(begin.s() | tell.s(x="@zzz")))
    return [type(error).__name__, error.wrong_args, str(error)]
""")

    kind, wrong, text = done.seen
    assert (kind, wrong) == ("InvalidChainArgsException", {"x": "zzz"})
    assert "x" in text and "zzz" in text and "services.tell" in text
    assert done.states == [("top", "succeeded")]


def test_c80_a_circle_of_references_on_the_command_line_is_an_error_at_once(flow: Flows) -> None:
    """FireX hangs in the submitting process."""
    done = flow("""
@app.task
def bake(a, b): pass
""", "bake", "--a", "@b", "--b", "@a", code=2)

    assert "@a -> @b -> @a is a circle of references" in done.err
    assert done.run is None


def test_c92_a_reference_is_followed_over_four_steps(flow: Flows) -> None:
    """FireX leaves the first of them as text in the body."""
    done = flow("""
@app.task(returns="seen")
def bake(a, b, c, d): return [a, b, c, d]

@app.task(bind=True, returns="seen")
def top(self):
    chain = InjectArgs(x=5) | bake.s(a="@b", b="@c", c="@d", d="@x")
    return self.enqueue_child_and_get_results(chain)["seen"]
""")

    assert done.seen == [5, 5, 5, 5]


# --- the place in the chain is no argument ---------------------------------------------------------------------------

def test_c81_a_positional_dict_reaches_its_task_below_one_that_is_not_first_in_its_chain(flow: Flows) -> None:
    """FireX takes the dict for the results of a task before."""
    done = flow("""
@app.task(returns="got")
def take(given): return given

@app.task
def first(): pass

@app.task(bind=True, returns="got")
def second(self):
    return self.enqueue_child_and_get_results(InjectArgs(**self.abog) | take.s({"k": 1}))["got"]

@app.task(bind=True, returns="seen")
def top(self):
    return self.enqueue_child_and_get_results(first.s() | second.s())["got"]
""")

    assert done.seen == {"k": 1}


def test_c82_keywords_of_a_task_in_a_chain_are_what_flows_and_nothing_else(flow: Flows) -> None:
    """FireX adds chain_depth."""
    done = flow("""
@app.task(returns="flour")
def grind(): return "rye"

@app.task(bind=True, returns=["got", "bog"])
def take(self, **kw): return kw, sorted(self.abog)

@app.task(bind=True, returns="seen")
def top(self):
    got = self.enqueue_child_and_get_results(grind.s() | take.s(salt=1))
    return [got["got"], got["bog"]]
""")

    assert done.seen == [{"flour": "rye", "salt": 1}, ["flour", "salt"]]


# --- signatures ------------------------------------------------------------------------------------------------------

def test_c88_a_signature_is_not_changed_by_what_is_composed_of_it(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="got")
def take(self, x=0): return [x, sorted(self.abog)]

@app.task(bind=True, returns="seen")
def top(self):
    signature = take.s()
    injected = InjectArgs(x=1, y=2) | signature
    twice = signature | signature
    get = self.enqueue_child_and_get_results
    return [get(injected)["got"], get(signature)["got"], get(twice)["got"], get(signature)["got"]]
""")

    assert done.seen == [[1, ["x", "y"]], [0, ["x"]], [0, ["got", "x"]], [0, ["x"]]]


def test_a_chain_grows_in_a_loop(flow: Flows) -> None:
    done = flow("""
@app.task(returns="x")
def add(x, n=1): return x + n

@app.task(bind=True, returns="seen")
def top(self):
    chain = InjectArgs(x=0)
    for number in (1, 2, 3):
        chain |= add.s(n=number)
    return self.enqueue_child_and_get_results(chain)["x"]
""")

    assert done.seen == 6


# --- a failure in a chain --------------------------------------------------------------------------------------------

def test_c06_after_a_failure_nothing_of_a_chain_begins_and_its_parent_learns_which_task_it_was(flow: Flows) -> None:
    done = flow("""
@app.task
def a(): raise ValueError("no flour")

@app.task
def b(): note("b began")

@app.task
def c(): note("c began")

@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(a.s() | b.s() | c.s())
    error = raised_by(self.wait_for_children)
    return [type(error).__name__, error.task_id == promise.parent.parent.id, type(error.__cause__).__name__,
            str(error.__cause__)]
""")

    assert done.seen == ["ChainInterruptedException", True, "ValueError", "no flour"]
    assert flow.notes() == []
    # FireX leaves b and c pending for ever.
    assert done.states == [("top", "succeeded"), ("a", "failed"), ("b", "skipped"), ("c", "skipped")]
