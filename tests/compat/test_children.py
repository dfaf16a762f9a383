"""Children: enqueued, waited for, several at once; and what a parent is told of those that fail."""
from __future__ import annotations

from .flows import Flows, peak

GREET = """
@app.task(returns="greeting")
def greet(name):
    assert len(name) > 1, "too short for a name"
    return f"Hello {name}!"
"""


def test_c02_a_parent_greets_one_guest_after_the_other(flow: Flows) -> None:
    done = flow(GREET + """
@app.task(bind=True, returns="guests_greeting")
def greet_guests(self, guests):
    return " ".join(self.enqueue_child_and_get_results(greet.s(name=guest))["greeting"] for guest in guests.split(","))
""", "greet_guests", "--guests", "John,Mohammad")

    assert done.values == {"guests_greeting": "Hello John! Hello Mohammad!"}


def test_c03_children_that_are_waited_for_together_run_at_the_same_time(flow: Flows) -> None:
    done = flow("""
@app.task(returns="greeting")
def greet(name, other):
    touch(name)
    wait_for_file(other)  # so neither can end before both have begun
    return f"Hello {name}!"

@app.task(bind=True, returns="guests_greeting")
def greet_guests(self):
    promises = [self.enqueue_child(greet.s(name=name, other=other)) for name, other in (("John", "Li"), ("Li", "John"))]
    self.wait_for_children()
    return " ".join(promise.result["greeting"] for promise in promises)
""", "greet_guests", "--workers", 2)

    assert done.values == {"guests_greeting": "Hello John! Hello Li!"}


# --- failures --------------------------------------------------------------------------------------------------------

FAILING = """
@app.task(returns="slept")
def good():
    wait_for_file("one has failed")
    time.sleep(0.2)
    return True

@app.task
def bad(what):
    touch("one has failed")
    raise ValueError(what)
"""


def test_c07_a_failed_child_is_told_of_only_when_all_children_have_ended(flow: Flows) -> None:
    done = flow(FAILING + """
@app.task(bind=True, returns="seen")
def top(self):
    slow, failing = self.enqueue_child(good.s()), self.enqueue_child(bad.s("burnt"))
    error = raised_by(self.wait_for_children)
    return [slow.state, type(error).__name__, error.task_id == failing.id, str(error.__cause__)]
""", "top", "--workers", 2)

    assert done.seen == ["SUCCESS", "ChainInterruptedException", True, "burnt"]


def test_c08_two_failed_children_are_told_of_together(flow: Flows) -> None:
    done = flow(FAILING + """
@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(bad.s(what)) for what in ("burnt", "raw")]
    error = raised_by(self.wait_for_children)
    return [type(error).__name__, isinstance(error, ChainInterruptedException),
            sorted(error.task_ids) == sorted(promise.id for promise in promises)]
""")

    assert done.seen == ["MultipleFailuresException", True, True]


def test_c09_a_parent_may_go_on_without_those_that_failed(flow: Flows) -> None:
    done = flow(GREET + """
@app.task(bind=True, returns=["guests_greeting", "seen"])
def greet_guests(self, guests):
    promises = [self.enqueue_child(greet.s(name=guest)) for guest in guests.split(",")]
    self.wait_for_children(raise_exception_on_failure=False)
    greetings = [promise.result["greeting"] for promise in promises if promise.successful()]
    [failed] = [promise for promise in promises if promise.failed()]
    return " ".join([*greetings, "And apologies to the others."]), [type(failed.result).__name__, str(failed.result)]
""", "greet_guests", "--guests", "Li,A")

    assert done.values == {"guests_greeting": "Hello Li! And apologies to the others.",
                           "seen": ["AssertionError", "too short for a name"]}


def test_c10_a_failure_that_nobody_waits_for_fails_no_parent(flow: Flows) -> None:
    done = flow(FAILING + """
@app.task(bind=True)
def top(self): self.enqueue_child(bad.s("burnt"))
""")

    assert done.states == [("top", "succeeded"), ("bad", "failed")]


# --- the end of a parent ---------------------------------------------------------------------------------------------

SLOW = """
@app.task
def slow():
    touch("slow began")
    wait_for_file("go")
    touch("slow ended")
"""


def test_c11_a_parent_that_returns_is_not_done_before_its_children(flow: Flows) -> None:
    done = flow(SLOW + """
@app.task(bind=True)
def top(self):
    self.enqueue_child(slow.s())
    wait_for_file("slow began")
    touch("go")

@app.task(returns="seen")
def after(): return os.path.exists("slow ended")
""", "top,after", "--workers", 2)

    assert done.seen is True
    assert done.states == [("top", "succeeded"), ("after", "succeeded"), ("slow", "succeeded")]


def test_c12_a_parent_that_raises_has_its_children_revoked(flow: Flows) -> None:
    done = flow(SLOW + """
@app.task(bind=True)
def top(self):
    self.enqueue_child(slow.s())
    wait_for_file("slow began")
    raise ValueError("burnt")
""", "top", "--workers", 2, code=1)

    assert done.states == [("top", "failed"), ("slow", "revoked")]
    assert not (flow.folder / "slow ended").exists()


def test_c13_a_parent_may_end_before_its_children(flow: Flows) -> None:
    done = flow(SLOW + """
from firexkit.task import PendingChildStrategy

@app.task(bind=True, pending_child_strategy=PendingChildStrategy.CONTINUE)
def top(self):
    self.enqueue_child(slow.s())
    wait_for_file("slow began")

@app.task(returns="seen")
def after():
    try:
        return os.path.exists("slow ended")
    finally:
        touch("go")
""", "top,after", "--workers", 2)

    assert done.seen is False
    assert done.states == [("top", "succeeded"), ("after", "succeeded"), ("slow", "succeeded")]


# --- what is refused -------------------------------------------------------------------------------------------------

def test_c21_a_missing_argument_is_an_error_of_the_parent_and_no_child_is_made(flow: Flows) -> None:
    done = flow("""
@app.task
def bake(flour, salt=1): pass

@app.task(bind=True, returns="seen")
def top(self):
    error = raised_by(lambda: self.enqueue_child(bake.s(salt=2)))
    return [type(error).__name__, {name: list(args) for name, args in error.wrong_args.items()}, str(error)]
""")

    kind, wrong, text = done.seen
    assert (kind, wrong) == ("InvalidChainArgsException", {"services.bake": ["flour"]})
    assert text.startswith("Missing mandatory arguments:") and "flour" in text and "services.bake" in text
    assert done.states == [("top", "succeeded")]


def test_c53_only_a_blocking_enqueue_can_raise_on_failure(flow: Flows) -> None:
    done = flow(GREET + """
@app.task(bind=True, returns="seen")
def top(self):
    return [type(raised_by(lambda: self.enqueue_child(greet.s("Li"), raise_exception_on_failure=wanted))).__name__
            for wanted in (True, False)]
""")

    assert done.seen == ["ValueError", "ValueError"]
    assert done.states == [("top", "succeeded")]


def test_c54_injected_values_alone_are_a_result_and_no_task(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, returns="seen")
def top(self):
    promise = self.enqueue_child(InjectArgs(x=1))
    return [promise.successful(), promise.ready(), promise.result]
""")

    assert done.seen == [True, True, {"x": 1}]
    assert done.states == [("top", "succeeded")]


# --- how long to wait ------------------------------------------------------------------------------------------------

def test_c51_a_wait_that_is_too_long_is_given_up_and_is_no_failure_of_a_chain(flow: Flows) -> None:
    done = flow(SLOW + """
@app.task(bind=True, returns="seen")
def top(self):
    child = self.enqueue_child(slow.s())
    wait_for_file("slow began")
    error = raised_by(lambda: self.wait_for_children(max_wait=0.2))
    seen = [type(error).__name__, isinstance(error, WaitOnChainTimeoutError), isinstance(error, ChainException), child.ready()]
    touch("go")
    return seen
""", "top", "--workers", 2)

    assert done.seen == ["WaitOnChainTimeoutError", True, False, False]


def test_c52_no_limit_is_written_as_nothing_or_as_0(flow: Flows) -> None:
    done = flow("""
@app.task(returns="slept")
def sleepy():
    time.sleep(0.1)
    return True

@app.task(bind=True, returns="seen")
def top(self):
    return [self.enqueue_child_and_get_results(sleepy.s(), max_wait=limit)["slept"] for limit in (0, None)]
""")

    assert done.seen == [True, True]


# --- many at once ----------------------------------------------------------------------------------------------------

PARALLEL = """
@app.task(returns="number")
def work(number, at_once=1):
    note(f"+{number}")
    give_up = time.monotonic() + 20
    # The first few wait for each other, so that the limit is reached.
    while number < at_once and len(open("notes").readlines()) < at_once and time.monotonic() < give_up:
        time.sleep(0.005)
    time.sleep(0.01)
    note(f"-{number}")
    if number == 13:
        raise ValueError("thirteen")
    return number
"""


def test_c48_of_many_chains_never_more_run_than_are_allowed(flow: Flows) -> None:
    done = flow(PARALLEL + """
@app.task(bind=True, returns="seen")
def top(self):
    chains = [work.s(number=number if number != 13 else 20, at_once=3) for number in range(20)]
    promises = self.enqueue_in_parallel(chains, max_parallel_chains=3)
    return [promise.result["number"] for promise in promises]
""", "top", "--workers", 6)

    assert done.seen == [*range(13), 20, *range(14, 20)]
    assert peak(flow.notes()) == 3


def test_c49_chains_in_parallel_that_fail_are_promises_like_others(flow: Flows) -> None:
    done = flow(PARALLEL + """
@app.task(bind=True, returns="seen")
def top(self):
    chains = [work.s(number=number) for number in (12, 13, 14)]
    promises = self.enqueue_in_parallel(chains)
    error = raised_by(lambda: self.enqueue_in_parallel(chains, raise_exception_on_failure=True))
    return [[promise.failed() for promise in promises], type(error).__name__]
""")

    assert done.seen == [[False, True, False], "ChainInterruptedException"]


def test_chains_in_parallel_need_not_be_waited_for(flow: Flows) -> None:
    done = flow(SLOW + """
@app.task(bind=True, returns="seen")
def top(self):
    promises = self.enqueue_in_parallel([slow.s(), slow.s()], wait_for_completion=False)
    wait_for_file("slow began")
    seen = [promise.ready() for promise in promises]
    touch("go")
    return seen
""", "top", "--workers", 3)

    assert done.seen == [False, False]


def test_c50_children_are_given_as_they_end(flow: Flows) -> None:
    done = flow(SLOW + """
@app.task
def quick(): pass

@app.task(bind=True, returns="seen")
def top(self):
    names = {self.enqueue_child(slow.s()).id: "slow", self.enqueue_child(quick.s()).id: "quick"}
    seen = []
    for promise in self.wait_for_any_children():
        seen.append([names[promise.id], promise.ready()])
        touch("go")
    return seen
""", "top", "--workers", 2)

    assert done.seen == [["quick", True], ["slow", True]]


def test_many_chains_are_one_collection_of_results(flow: Flows) -> None:
    done = flow(GREET + """
@app.task(bind=True, returns="seen")
def top(self):
    many = self.enqueue_many({"first": greet.s("Li"), "second": greet.s("Mohamed")}, block=True)
    return {key: many[key].result["greeting"] for key in ("first", "second")}
""")

    assert done.seen == {"first": "Hello Li!", "second": "Hello Mohamed!"}


# --- depth -----------------------------------------------------------------------------------------------------------

def test_c73_sixty_parents_that_wait_in_each_other_need_no_sixty_workers(flow: Flows) -> None:
    """FireX hangs for ever when all its slots hold parents that wait."""
    done = flow("""
@app.task(bind=True, returns="depth")
def nest(self, level):
    level = int(level)
    return 1 + (self.enqueue_child_and_get_results(nest.s(level=level - 1))["depth"] if level > 1 else 0)
""", "nest", "--level", 60, "--workers", 4)

    assert done.values == {"depth": 60}
