"""Which value reaches which parameter, and what is refused before anything runs."""
from __future__ import annotations

import pytest

from firexlite.binding import Bog, Member, Parameters, as_argument, as_flow, verify
from firexlite.errors import InvalidChainArgsException
from firexlite.results import DYNAMIC_RETURN
from firexlite.signatures import Literal


def parameters(function, bound=False) -> Parameters:
    return Parameters.of(function, bound)


def bog_of(function, *args, flow=None, **own) -> Bog:
    """What reaches a task of ``function`` with these own arguments and this flow."""
    of = parameters(function)
    return Bog(of, of.by_name(args, own), flow or {})


def called(function, *args, flow=None, **own):
    """What ``function`` returns when it is called with what reaches it."""
    given, named = bog_of(function, *args, flow=flow, **own).call_arguments()
    return function(*given, **named)


# --- parameters ------------------------------------------------------------------------------------------------------

def test_parameters_are_read_from_the_function():
    def service(self, a, /, b, c=3, *args, d, e=5, **kw):
        pass

    of = parameters(service, bound=True)

    assert of == Parameters(positional=("a", "b", "c"), keyword_only=("d", "e"), defaults={"c": 3, "e": 5},
                            positional_only=frozenset({"a"}), var_positional="args", var_keyword="kw")
    assert of.names == ("a", "b", "c", "d", "e")
    assert of.required == ("a", "b", "d")
    assert of.accepts("a") and of.accepts("anything") and not of.accepts("*")


def test_only_a_bound_service_hides_its_first_parameter():
    def service(task, name):
        pass

    assert parameters(service, bound=True).names == ("name",)
    assert parameters(service).names == ("task", "name")


def test_a_service_without_kwargs_accepts_its_own_names_only():
    assert not parameters(lambda a: a).accepts("b")


def test_a_positional_argument_silently_wins_over_the_keyword_of_its_name():
    assert parameters(lambda a, b: None).by_name((1,), {"a": 2, "b": 3}) == {"a": 1, "b": 3}


def test_too_many_positional_arguments_are_refused():
    with pytest.raises(TypeError) as raised:
        parameters(lambda a: None).by_name((1, 2), {})

    assert str(raised.value) == "too many positional arguments"


# --- precedence ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("own, flow, reaches", [
    ({"x": "own"}, {"x": "flow"}, "own"),
    ({}, {"x": "flow"}, "flow"),
    ({}, {"y": "flow"}, "default"),
    ({"x": None}, {"x": "flow"}, None),
    ({}, {"x": None}, None),
], ids=["own", "flow", "default", "own None", "flowing None"])
def test_own_arguments_win_over_what_flows_and_that_over_defaults(own, flow, reaches):
    assert called(lambda x="default": x, flow=flow, **own) == reaches


def test_by_position_is_as_good_as_by_name():
    assert called(lambda x, y: (x, y), "own", flow={"x": "flow", "y": "flow"}) == ("own", "flow")


def test_what_a_service_does_not_take_is_kept_from_it_but_stays_in_the_bog():
    def service(x=1, z=3):
        return x, z

    bog = bog_of(service, flow={"y": 2}, w=0)

    assert called(service, flow={"y": 2}, w=0) == (1, 3)
    assert bog.abog == {"x": 1, "z": 3, "y": 2, "w": 0}
    assert bog.supplied == {"y": 2, "w": 0}  # of which defaults are no part: they do not flow on
    assert bog.bound_args == {} and bog.defaults == {"x": 1, "z": 3}


def test_a_required_argument_that_nobody_supplies_is_missed_at_the_call():
    with pytest.raises(InvalidChainArgsException) as raised:
        called(lambda a, b, c: None, b=1)

    assert str(raised.value) == "Missing mandatory arguments: \n a, c \t required by this service"
    assert raised.value.wrong_args == {"this service": {"a", "c"}}


def test_the_bog_is_a_fresh_dict_each_time():
    bog = bog_of(lambda x=1: None, flow={"y": 2})
    bog.abog["y"] = 3
    bog.abog["new"] = 4

    assert bog.abog == {"x": 1, "y": 2}


# --- kinds of parameters ---------------------------------------------------------------------------------------------

def test_every_kind_of_parameter_gets_its_arguments():
    def service(a, /, b, c=3, *args, d, e=5, **kw):
        return a, b, c, args, d, e, kw

    assert called(service, 1, 2, d=4) == (1, 2, 3, (), 4, 5, {})
    assert called(service, 1, 2, 30, 31, 32, d=4, x=6) == (1, 2, 30, (31, 32), 4, 5, {"x": 6})
    assert called(service, flow={"a": 1, "b": 2, "d": 4, "e": 50, "y": 7}) == (1, 2, 3, (), 4, 50, {"y": 7})
    assert called(service, 1, 2, 3, 4, flow={"d": 0}, c="by name") == (1, 2, 3, (4,), 0, 5, {})


def test_a_positional_only_parameter_can_be_bound_by_name():
    assert called(lambda a, b=2, /: (a, b), a=1) == (1, 2)


def test_keyword_only_parameters_take_what_flows():
    assert called(lambda *, a, b=2: (a, b), flow={"a": 1, "b": 3}) == (1, 3)


def test_bound_arguments_name_what_went_into_args_and_kwargs():
    bog = bog_of(lambda a, *args, b=2, **kw: None, 1, 10, 11, flow={"z": 5})

    assert bog.bound_args == {"a": 1, "args": (10, 11), "kw": {"z": 5}}
    assert bog.defaults == {"b": 2}
    assert bog_of(lambda a, *args, **kw: None, 1).bound_args == {"a": 1}


def test_positional_arguments_beyond_the_named_ones_are_no_part_of_the_bog():
    bog = bog_of(lambda *args: None, 1, 2)

    assert bog.abog == {} and bog.supplied == {}
    assert bog.call_arguments() == ([1, 2], {})


# --- references ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("own, flow, reaches", [
    ({"x": "@y"}, {"y": 7}, 7),
    ({"x": "@y", "y": 8}, {"y": 7}, 8),
    ({"x": "@y"}, {"y": None}, None),
    ({"x": "@y"}, {"y": 0}, 0),
    ({"x": "@a"}, {"a": "@b", "b": "@c", "c": "@d", "d": "@e", "e": "deep"}, "deep"),
    ({}, {"x": "@y", "y": 7}, 7),
    ({"x": "@x"}, {"x": 7}, 7),
    ({"x": "@y", "y": "@y"}, {"y": 7}, 7),
], ids=["what flows", "what is its own", "None", "zero", "five steps", "a reference that flows", "itself", "another's self"])
def test_a_reference_stands_for_the_value_of_another_name(own, flow, reaches):
    assert called(lambda x: x, flow=flow, **own) == reaches


def test_a_reference_by_position_is_one_too():
    assert called(lambda x: x, "@y", flow={"y": 7}) == 7


@pytest.mark.parametrize("value", ["@nowhere", "@", "@x", "mail@home", " @y", ["@y"], {"k": "@y"}, ("@y",)])
def test_what_refers_to_nothing_stays_as_it_is(value):
    assert called(lambda x: x, flow={"y": 7}, x=value) == value


@pytest.mark.parametrize("written, reaches", [("@@y", "@y"), ("@@@y", "@@y"), ("@@", "@")])
def test_a_doubled_sign_is_a_literal_one(written, reaches):
    assert called(lambda x: x, flow={"y": 7}, x=written) == reaches


def test_a_default_may_refer_to_what_is_supplied_and_then_flows_on():
    def service(x="@y", z=1):
        return x

    assert called(service, flow={"y": "@w", "w": 7}) == 7
    bog = bog_of(service, flow={"y": 7})
    assert (bog.supplied, bog.defaults) == ({"y": 7, "x": 7}, {"z": 1})


def test_a_default_that_refers_to_nothing_supplied_stays_a_literal():
    def service(x="@y", y=1, z="@z"):
        return x, y, z

    assert called(service) == ("@y", 1, "@z")  # not the default of y either
    assert bog_of(service).abog == {"x": "@y", "y": 1, "z": "@z"}


def test_only_what_the_service_takes_is_resolved():
    bog = bog_of(lambda x: None, flow={"y": 7}, x="@y", other="@y")

    assert bog.supplied == {"x": 7, "other": "@y", "y": 7}


@pytest.mark.parametrize("own, circle, wrong", [
    ({"a": "@b", "b": "@a"}, "@a -> @b -> @a", {"a": "a"}),
    ({"a": "@b", "b": "@c", "c": "@b"}, "@a -> @b -> @c -> @b", {"a": "b"}),
])
def test_references_that_form_a_circle_are_refused(own, circle, wrong):
    with pytest.raises(InvalidChainArgsException) as raised:
        bog_of(lambda a, b: None, **own)

    assert str(raised.value) == f"{circle} is a circle of references"
    assert raised.value.wrong_args == wrong


def test_what_a_service_returned_is_never_a_reference():
    flow = as_flow({"x": "@y", "y": 7, "name": "Li"})

    assert called(lambda x: x, flow=flow) == "@y"
    assert called(lambda z: z, flow=flow, z="@x") == "@y"
    assert called(lambda x: x, flow=flow, x="@x") == "@y"
    assert bog_of(lambda x: None, flow=flow).abog == {"x": "@y", "y": 7, "name": "Li"}


def test_data_that_looks_like_a_reference_stays_data_when_it_is_handed_on():
    bog = bog_of(lambda x, z: None, flow=as_flow({"x": "@y"}), z="@@z")

    for name, value in [("x", "@y"), ("z", "@z")]:
        handed_on = as_argument(bog.abog[name])
        assert handed_on == "@" + value
        assert called(lambda w: w, w=handed_on, flow={"y": 7, "z": 8}) == value


def test_a_reference_that_is_handed_on_stays_one():
    assert as_argument(bog_of(lambda x: None, other="@y").abog["other"]) == "@y"
    assert as_argument("plain") == "plain" and as_argument(Literal("@y")) == "@@y"


# --- verify ----------------------------------------------------------------------------------------------------------

def member(function, service="mod.service", returns=None, *args, **own) -> Member:
    of = parameters(function)
    return Member(service, of, returns, of.by_name(args, own))


def test_a_chain_whose_tasks_find_their_arguments_is_accepted():
    verify([member(lambda a: None, returns=("b",), a=1, extra=2),
            member(lambda b, extra: None, returns=("c", "d")),
            member(lambda a, b, c, d, e=0, *args, **kw: None)])
    verify([member(lambda a: None)], flow=["a"])
    verify([member(lambda a: None, a=None)])


def test_what_is_missing_is_told_of_all_tasks_at_once():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda b, a, c=1: None, "mod.first", ("d",), c=1),
                member(lambda d: None, "mod.second"),
                member(lambda c, d, e: None, "mod.third")])

    assert str(raised.value) == ("Missing mandatory arguments: \n"
                                 " a, b \t required by mod.first\n"
                                 " e \t required by mod.third")
    assert raised.value.wrong_args == {"mod.first": {"a", "b"}, "mod.third": {"e"}}


def test_defaults_do_not_flow_to_the_next_task():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda x=7: None, "mod.first"), member(lambda x: None, "mod.second")])

    assert raised.value.wrong_args == {"mod.second": {"x"}}


def test_a_service_twice_in_a_chain_misses_all_that_either_lacks():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda a, b: None, "mod.same", b=1), member(lambda a, b: None, "mod.same")])

    assert raised.value.wrong_args == {"mod.same": {"a"}}


def test_nothing_is_checked_behind_a_dynamic_return():
    verify([member(lambda: None, returns=("x", DYNAMIC_RETURN)), member(lambda a, b="@nowhere": None, b="@nowhere")])

    with pytest.raises(InvalidChainArgsException) as raised:  # but the one itself is
        verify([member(lambda a: None, "mod.dynamic", (DYNAMIC_RETURN,)), member(lambda b: None)])
    assert raised.value.wrong_args == {"mod.dynamic": {"a"}}


def test_a_reference_to_what_will_not_be_there_is_refused():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda: None, returns=("y",)),
                member(lambda a, b, c, d: None, "mod.service", None, a="@y", b="@nowhere", c="@x", d="@d")])

    assert str(raised.value) == ("Service mod.service indirectly references the following unavailable parameters: \n"
                                 "b: nowhere\nc: x\nd: d")
    assert raised.value.wrong_args == {"b": "nowhere", "c": "x", "d": "d"}


@pytest.mark.parametrize("function, own", [
    (lambda x="@nowhere": None, {}),
    (lambda x: None, {"x": "@@nowhere"}),
    (lambda x: None, {"x": ["@nowhere"]}),
    (lambda x: None, {"x": 1, "unknown": "@nowhere"}),
    (lambda x: None, {"x": "@y", "y": 1}),
], ids=["a default", "a literal", "within a list", "not taken", "its own"])
def test_what_is_no_reference_or_leads_somewhere_is_accepted(function, own):
    verify([member(function, **own)])


def test_a_reference_that_flows_is_checked_where_it_is_taken():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda: None, "mod.first", None, x="@nowhere"), member(lambda x: None, "mod.second")])

    assert raised.value.wrong_args == {"x": "nowhere"}


def test_a_circle_is_refused_before_anything_runs():
    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda a, b: None, a="@b", b="@a")])

    assert str(raised.value) == "@a -> @b -> @a is a circle of references"


def test_the_error_survives_pickling_with_its_facts():
    import pickle

    with pytest.raises(InvalidChainArgsException) as raised:
        verify([member(lambda a: None)])

    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.wrong_args) == (str(raised.value), {"mod.service": {"a"}})
