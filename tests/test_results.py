"""From what a service returned to values by name, and to what its caller asked for."""
from __future__ import annotations

import collections
import functools
import types

import pytest

from firexlite import App, ReturnsCodingException, returns
from firexlite.errors import ChainException, ChainInterruptedException, MultipleFailuresException
from firexlite.gathering import first_non_chain_interrupted_exception, last_causing_chain_interrupted_exception
from firexlite.results import DYNAMIC_RETURN, RETURN_KEYS_KEY, name_values, pick, return_names

Pair = collections.namedtuple("Pair", "left right")


# --- declaring -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("declared, names", [
    (None, None),
    ("greeting", ("greeting",)),
    ("a,b", ("a,b",)),
    (["a", "b"], ("a", "b")),
    (("a", "b"), ("a", "b")),
    ({"a"}, ("a",)),
    ((DYNAMIC_RETURN, "a", DYNAMIC_RETURN), (DYNAMIC_RETURN, "a", DYNAMIC_RETURN)),
])
def test_names_may_be_declared_in_several_ways(declared, names):
    assert return_names(declared, "greet") == names


def test_a_name_may_not_be_declared_twice():
    with pytest.raises(ReturnsCodingException) as raised:
        return_names(["a", "b", "a"], "mod.greet")

    assert str(raised.value) == "mod.greet declares a return name twice: a, b, a"


@pytest.fixture
def app():
    return App()


def test_the_decorator_and_the_option_say_the_same(app):
    @app.task
    @returns("a", "b")
    def decorated():
        return 1, 2

    @app.task(returns=["a", "b"])
    def with_option():
        return 1, 2

    assert decorated.returns == with_option.returns == ("a", "b")
    assert decorated() == (1, 2)


def test_the_decorator_is_seen_through_others(app):
    def loud(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    @app.task
    @loud
    @loud
    @returns("a")
    def service():
        return 1

    assert service.returns == ("a",)


def test_the_decorator_must_stand_below_the_task(app):
    with pytest.raises(ReturnsCodingException) as raised:
        @returns("a")
        @app.task
        def service():
            return 1

    assert str(raised.value) == "@returns must stand below @app.task"


def test_returns_may_not_be_declared_in_both_ways(app):
    with pytest.raises(ReturnsCodingException) as raised:
        @app.task(returns="a")
        @returns("b")
        def service():
            return 1

    assert str(raised.value) == "service declares its returns twice, by @returns and by returns="


@pytest.mark.parametrize("names, message", [
    ((), "@returns needs at least one name"),
    (("a", "b", "a"), "@returns declares a return name twice: a, b, a"),
])
def test_the_decorator_refuses_no_name_and_the_same_name_twice(names, message):
    with pytest.raises(ReturnsCodingException) as raised:
        returns(*names)

    assert str(raised.value) == message


# --- naming ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("names, value, named", [
    (("a",), 1, {"a": 1}),
    (("a",), None, {"a": None}),
    (("a",), [1, 2], {"a": [1, 2]}),
    (("a",), {"b": 1}, {"a": {"b": 1}}),
    (("a",), (1,), {"a": 1}),
    (("a",), Pair(1, 2), {"a": Pair(1, 2)}),
    (("a", "b"), (1, 2), {"a": 1, "b": 2}),
    (("a", "b"), (None, (1, 2)), {"a": None, "b": (1, 2)}),
    # without names
    (None, None, {}),
    (None, "Hello", {}),
    (None, (1, 2), {}),
    (None, {}, {}),
    (None, {"a": 1}, {"a": 1}),
    ((), {"a": 1}, {"a": 1}),
    # named when it runs
    ((DYNAMIC_RETURN,), {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ((DYNAMIC_RETURN,), types.MappingProxyType({"a": 1}), {"a": 1}),
    ((DYNAMIC_RETURN,), None, {}),
    ((DYNAMIC_RETURN,), {}, {}),
    ((DYNAMIC_RETURN,), [], {}),
    ((DYNAMIC_RETURN,), "", {}),
    (("a", DYNAMIC_RETURN), (1, {"b": 2}), {"a": 1, "b": 2}),
    (("a", DYNAMIC_RETURN), (1, {"a": 2}), {"a": 2}),
    ((DYNAMIC_RETURN, "a"), ({"a": 2}, 1), {"a": 1}),
    ((DYNAMIC_RETURN, "x", DYNAMIC_RETURN), ({"a": 1, "b": 1}, 0, {"b": 2}), {"a": 1, "b": 2, "x": 0}),
    # the result of a promise, handed on
    (None, {"a": 1, RETURN_KEYS_KEY: ("a",)}, {"a": 1}),
    ((DYNAMIC_RETURN,), {"a": 1, RETURN_KEYS_KEY: ("a",)}, {"a": 1}),
    (("a",), {RETURN_KEYS_KEY: ()}, {"a": {RETURN_KEYS_KEY: ()}}),
])
def test_values_get_the_declared_names(names, value, named):
    result = name_values(names, value)

    assert result == named
    assert [type(one) for one in result.values()] == [type(one) for one in named.values()]


@pytest.mark.parametrize("names, value, shown", [
    (("a", "b"), 1, "found length: 1: (1,)"),
    (("a", "b"), None, "found length: 1: (None,)"),
    (("a", "b"), [1, 2], "found length: 1: ([1, 2],)"),
    (("a", "b"), {"a": 1, "b": 2}, "found length: 1: ({'a': 1, 'b': 2},)"),
    (("a", "b"), Pair(1, 2), "found length: 1: (Pair(left=1, right=2),)"),
    (("a", "b"), (1, 2, 3), "found length: 3: (1, 2, 3)"),
    (("a", "b"), (), "found length: 0: ()"),
    (("a", DYNAMIC_RETURN), {"a": 1}, "found length: 1: ({'a': 1},)"),
])
def test_a_wrong_number_of_values_is_refused(names, value, shown):
    with pytest.raises(ReturnsCodingException) as raised:
        name_values(names, value)

    assert str(raised.value) == f"Expected return keys {names} (length 2) in service results, but {shown}"


def test_one_name_does_not_take_several_values():
    with pytest.raises(ReturnsCodingException) as raised:
        name_values(("a",), (1, 2))

    assert str(raised.value) == "Expected return keys ('a',) (length 1) in service results, but found length: 2: (1, 2)"


@pytest.mark.parametrize("value", [1, "text", [1], True])
def test_a_dynamic_return_must_be_a_dict(value):
    with pytest.raises(TypeError) as raised:
        name_values((DYNAMIC_RETURN,), value)

    assert str(raised.value) == ("The value of the dynamic returns __DYNAMIC_RETURN__ must be a dictionary."
                                 f"Current return value {value} is of type {type(value).__name__}")


@pytest.mark.parametrize("names", [None, (DYNAMIC_RETURN,)], ids=["undeclared", "dynamic"])
def test_a_dict_that_names_values_must_do_so_with_strings(names):
    with pytest.raises(ReturnsCodingException) as raised:
        name_values(names, {1: "one"})

    assert "1" in str(raised.value)


def test_the_dict_that_a_body_returned_is_not_the_one_that_flows():
    returned = {"a": 1}

    name_values(None, returned)["b"] = 2

    assert returned == {"a": 1}


# --- picking ---------------------------------------------------------------------------------------------------------

VALUES = {"a": 1, "b": None}


@pytest.mark.parametrize("keys, picked", [
    (None, VALUES),
    ((), VALUES),
    ("", VALUES),
    (DYNAMIC_RETURN, VALUES),
    ("a", (1,)),
    (("a",), (1,)),
    (["b", "a"], (None, 1)),
    (("a", "z"), (1, None)),
    (("a", "a"), (1, 1)),
    (("a", DYNAMIC_RETURN), (1, VALUES)),
    ((DYNAMIC_RETURN,), VALUES),
])
def test_a_caller_picks_what_it_asked_for(keys, picked):
    result = pick(VALUES, keys)

    assert result == picked and type(result) is type(picked)


def test_what_was_picked_may_be_changed():
    pick(VALUES, None)["a"] = 2

    assert VALUES["a"] == 1


# --- the failure at the bottom ---------------------------------------------------------------------------------------

BROKEN, PLAIN = ValueError("broken"), ChainException("of another kind")
LOW = ChainInterruptedException("3", "low", BROKEN)
HIGH = ChainInterruptedException("1", "high", ChainInterruptedException("2", "mid", LOW))


@pytest.mark.parametrize("error, failure, interruption", [
    (HIGH, BROKEN, LOW),
    (LOW, BROKEN, LOW),
    (BROKEN, BROKEN, BROKEN),
    (PLAIN, PLAIN, PLAIN),
    (lost := ChainInterruptedException("4", "lost"), lost, lost),
    (several := MultipleFailuresException(("3",), (LOW,)), BROKEN, several),
])
def test_an_interruption_leads_down_to_what_caused_it(error, failure, interruption):
    assert first_non_chain_interrupted_exception(error) is failure
    assert last_causing_chain_interrupted_exception(error) is interruption
