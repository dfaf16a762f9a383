"""Converters run in order, before or after, and say which argument they refuse."""
from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from firexlite.converters import ConverterRegister, InputConverter, SingleArgDecorator
from firexlite.errors import (
    ArgumentConversionException,
    CircularDependencyException,
    ConverterRegistrationException,
    MissingConverterDependencyError,
    NameDuplicationException,
)


@pytest.fixture
def register():
    return ConverterRegister()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Every test begins with no converters but the built-in ones, and leaves no trace."""
    monkeypatch.setattr(ConverterRegister, "_task_instances", {})
    monkeypatch.setattr(InputConverter, "_global_instance", None)
    monkeypatch.setattr(InputConverter, "pre_load_was_run", False)
    InputConverter.forget_all()


def converter(name, ran=None, file=__file__):
    """A converter of this name, as if written in this file, which notes that it ran."""
    namespace: dict = {"ran": [] if ran is None else ran}
    exec(compile(f"def {name}(kwargs): ran.append('{name}')", file, "exec"), namespace)
    return namespace[name]


# --- registers -----------------------------------------------------------------------------------

def test_changes_may_be_returned_or_made_in_place(register):
    @register.register
    def returns(kwargs):
        return {"a": kwargs["a"] + 1, "new": True}

    @register.register
    def changes(kwargs):
        kwargs["b"] = 0

    assert register.convert(a=1, b=2, c=3) == {"a": 2, "b": 0, "c": 3, "new": True}


def test_the_arguments_given_are_left_as_they_are(register):
    register.register(convert_a_to_zero := SingleArgDecorator("a")(lambda value: 0))
    given = {"a": 1}

    assert register.converted(given) == {"a": 0}
    assert given == {"a": 1}
    assert callable(convert_a_to_zero)


def test_a_register_without_converters_gives_back_what_it_got(register):
    assert register.convert(a=1) == {"a": 1}
    assert register.convert(pre_task=False, a=1) == {"a": 1}


def test_pre_and_post_are_apart(register):
    @register.register(True)
    def pre(kwargs):
        return {"ran": "pre"}

    @register.register(False)
    def post(kwargs):
        return {"ran": "post"}

    assert register.convert() == {"ran": "pre"}
    assert register.convert(pre_task=False) == {"ran": "post"}


def test_references_are_hidden_and_kept(register):
    seen = {}
    register.register(lambda kwargs: seen.update(kwargs))

    assert register.convert(a="@b", b="x", c=["@"]) == {"a": "@b", "b": "x", "c": ["@"]}
    assert seen == {"b": "x", "c": ["@"]}


def test_arguments_with_the_names_of_parameters_can_be_converted(register):
    register.register(SingleArgDecorator("pre_task", "self")(str.upper))

    assert register.converted({"pre_task": "a", "self": "b"}) == {"pre_task": "A", "self": "B"}


def test_a_failing_converter_is_named(register):
    @register.register
    def c21_to_int(kwargs):
        raise ValueError("not like this")

    with pytest.raises(ArgumentConversionException) as caught:
        register.convert(num="x")

    assert str(caught.value) == "Converter c21_to_int failed: not like this"
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_a_converter_returns_must_be_a_dict(register):
    register.register(converter("fine"))
    register.register(SimpleNamespace)  # whatever can be called

    with pytest.raises(ArgumentConversionException, match="Converter SimpleNamespace failed"):
        register.convert(a=1)


# --- order -----------------------------------------------------------------------------------------

def test_converters_run_as_registered_but_dependencies_first(register):
    ran: list[str] = []
    register.register("third", "second")(converter("first", ran))
    register.register(converter("second", ran))
    register.register("second")(converter("third", ran))
    register.register(converter("fourth", ran), "first")

    register.convert()

    assert ran == ["second", "third", "first", "fourth"] == register.get_visit_order()


def test_a_missing_dependency_is_an_error_of_the_conversion(register):
    register.register("absent")(converter("needy"))

    with pytest.raises(MissingConverterDependencyError) as caught:
        register.convert()

    assert str(caught.value) == "Converter needy depends on absent, which is not registered"


@pytest.mark.parametrize("dependencies, circle", [
    ({"a": "a"}, "a -> a"),
    ({"a": "b", "b": "a"}, "a -> b -> a"),
    ({"a": "b", "b": "c", "c": "b"}, "b -> c -> b"),
])
def test_a_circle_is_shown(register, dependencies, circle):
    for name, dependency in dependencies.items():
        register.register(dependency)(converter(name))

    with pytest.raises(CircularDependencyException) as caught:
        register.convert()

    assert str(caught.value) == f"Converters depend on each other in a circle: {circle}"


def test_post_may_depend_on_pre_but_not_the_reverse(register):
    register.register(converter("pre"))
    register.register("pre", False)(converter("post"))
    assert register.convert(pre_task=False) == {}

    register.register("post", True)(converter("another"))
    with pytest.raises(MissingConverterDependencyError):
        register.convert()


# --- registering -----------------------------------------------------------------------------------

@pytest.mark.parametrize("args, message", [
    ((), "register needs a converter, a dependency or a bool"),
    ((5,), "register takes a converter, the names of its dependencies and a bool, not 5"),
    ((None,), "register takes a converter, the names of its dependencies and a bool, not None"),
])
def test_registering_nonsense_is_refused(register, args, message):
    with pytest.raises(ConverterRegistrationException) as caught:
        register.register(*args)

    assert str(caught.value) == message


def test_a_decorated_thing_must_be_callable(register):
    with pytest.raises(ConverterRegistrationException, match="a converter must be callable, 5 is not"):
        register.register("dependency")(5)


def test_the_same_file_replaces_a_converter_and_another_may_not(register):
    ran: list[str] = []
    register.register(converter("same", file="/a.py"))
    register.register(converter("same", ran, file="/a.py"))
    register.convert()
    assert ran == ["same"]

    with pytest.raises(NameDuplicationException) as caught:
        register.register(converter("same", file="/b.py"))

    assert str(caught.value) == ("Converter same of /b.py has the name of one that /a.py registered; "
                                 "choose another name")


def test_the_same_name_may_be_in_pre_and_post(register):
    register.register(converter("same", file="/a.py"))
    register.register(False, converter("same", file="/b.py"))

    assert register.get_visit_order(True) == register.get_visit_order(False) == ["same"]


# --- of one service --------------------------------------------------------------------------------

@pytest.mark.parametrize("task", [
    "greet", "hotel.greet",
    SimpleNamespace(name="hotel.greet", short_name="greet"), SimpleNamespace(name="hotel.greet"),
])
def test_a_converter_of_one_service(task):
    @ConverterRegister.register_for_task(task)
    @SingleArgDecorator("name")
    def shout(value):
        return value.upper()

    @ConverterRegister.register_for_task(task, False, "shout")
    def sign(kwargs):
        return {"greeting": kwargs["greeting"] + "!"}

    assert ConverterRegister.task_convert("greet", name="li") == {"name": "LI"}
    assert ConverterRegister.task_convert("other.greet", False, greeting="hi") == {"greeting": "hi!"}
    assert ConverterRegister.task_convert("amplify", True, name="li") == {"name": "li"}
    assert ConverterRegister.list_converters("greet", False) == ["sign"]
    assert ConverterRegister.list_converters("amplify") == []


# --- single arguments --------------------------------------------------------------------------------

def test_only_the_named_arguments_that_are_present_are_converted(register):
    @register.register
    @SingleArgDecorator("guests", "hosts")
    def split(value):
        """Split at commas."""
        return value.split(",")

    assert register.convert(guests="a,b", other="c,d") == {"guests": ["a", "b"], "other": "c,d"}
    assert (split.__name__, split.__doc__) == ("split", "Split at commas.")


def test_a_single_argument_that_refers_to_another_is_not_converted():
    split = SingleArgDecorator("guests")(lambda value: value.split(","))

    assert split({"guests": "@names"}) == {}
    assert split({"guests": "a,@b"}) == {"guests": ["a", "@b"]}


def test_a_refused_argument_is_named(register):
    @register.register
    @SingleArgDecorator("num")
    def c21_to_int(value):
        return int(value)

    with pytest.raises(ArgumentConversionException) as caught:
        register.convert(num="x")

    assert str(caught.value) == "Converter c21_to_int failed: num: invalid literal for int() with base 10: 'x'"


def test_names_can_be_appended(register):
    @register.register
    @SingleArgDecorator("a")
    def shout(value):
        return value.upper()

    shout.append("b", "c")

    assert register.convert(a="x", b="y", c="z") == {"a": "X", "b": "Y", "c": "Z"}


@pytest.mark.parametrize("names, message", [
    ((), "SingleArgDecorator needs the name of an argument"),
    ((5,), "SingleArgDecorator takes names of arguments, not 5"),
    (("a", None), "SingleArgDecorator takes names of arguments, not None"),
])
def test_names_of_arguments_must_be_names(names, message):
    with pytest.raises(ConverterRegistrationException) as caught:
        SingleArgDecorator(*names)

    assert str(caught.value) == message


def test_single_argument_converters_of_one_name_replace_each_other_as_in_firex(register):
    register.register(SingleArgDecorator("a")(converter("same", file="/a.py")))
    register.register(SingleArgDecorator("b")(converter("same", file="/b.py")))

    assert register.get_visit_order() == ["same"]


# --- of a run ------------------------------------------------------------------------------------

@pytest.mark.parametrize("given, converted", [
    ("true", True), ("True", True), ("FALSE", False), ("false", False), ("None", None), ("none", None),
    ("1", "1"), ("yes", "yes"), ("", ""), (" true", " true"), ("@true", "@true"), (1, 1), (["true"], ["true"])])
def test_strings_that_name_a_constant_become_it(given, converted):
    assert InputConverter.convert(x=given) == {"x": converted}


def test_conversion_runs_before_the_services_are_loaded_and_after():
    ran: list[str] = []
    InputConverter.register(converter("early", ran))
    InputConverter.register(False)(converter("late", ran))

    InputConverter.convert()
    assert ran == ["early"]

    @InputConverter.register
    def of_a_service(kwargs):
        ran.append("of_a_service")

    InputConverter.convert()
    assert ran == ["early", "late", "of_a_service"]


def test_too_late_for_the_first_conversion():
    InputConverter.convert()

    with pytest.raises(ConverterRegistrationException) as caught:
        InputConverter.register(True)
    assert str(caught.value) == ("The converters that run before the services are loaded have run already; "
                                 "register with False")
    with pytest.raises(ConverterRegistrationException, match="have run already"):
        InputConverter.convert(pre_load=True)


def test_a_failed_first_conversion_has_not_taken_place():
    InputConverter.register(SingleArgDecorator("num")(int))

    with pytest.raises(ArgumentConversionException):
        InputConverter.convert(num="x")

    assert InputConverter.convert(num="5") == {"num": 5}


def test_dependencies_of_a_run_converter():
    ran: list[str] = []
    InputConverter.register("second", "convert_booleans")(converter("first", ran))
    InputConverter.register(converter("second", ran))

    InputConverter.convert(pre_load=True)

    assert ran == ["second", "first"]


def test_a_decorated_thing_of_a_run_must_be_callable():
    with pytest.raises(ConverterRegistrationException, match="must be callable"):
        InputConverter.register("dependency")(5)


@pytest.mark.parametrize("options", [(), ("convert_booleans",), (True,)])
def test_names_appended_after_the_first_conversion_are_converted_in_the_second(options):
    calls = []

    def note(value):
        calls.append(value)
        return value.upper()

    register = InputConverter.register(*options) if options else InputConverter.register
    shout = register(SingleArgDecorator("a")(note))
    shout.append("b")
    first = InputConverter.convert(a="x", b="y", c="z")

    shout.append("c")
    shout.append("d")
    second = InputConverter.convert(**first, d="w")

    assert first == {"a": "X", "b": "Y", "c": "z"}
    assert second == {"a": "X", "b": "Y", "c": "Z", "d": "W"}
    assert calls == ["x", "y", "z", "w"]


def test_the_next_run_starts_over_with_the_same_converters():
    InputConverter.register(SingleArgDecorator("num")(int))
    InputConverter.convert(num="1")
    InputConverter.convert()

    InputConverter.start_over()

    assert InputConverter.convert(num="2") == {"num": 2}


def test_everything_but_the_built_in_converters_can_be_forgotten():
    InputConverter.register(converter("mine"))

    InputConverter.forget_all()

    assert InputConverter.instance().get_visit_order() == ["convert_booleans"]


# --- in whole runs ---------------------------------------------------------------------------------

@pytest.fixture
def values(firexlite, plugin):
    """What a chain returned whose services import all of firexlite; and its tasks."""
    def values(source, *options, chain="top"):
        plugin("from firexlite import *\nfrom firexlite import app\n" + source)
        done = firexlite("submit", "--plugins", "services.py", "--chain", chain, *options)
        assert done.code == 0, done.err
        return json.loads(firexlite.only_run().run_json.read_text()), firexlite.flame(done.firex_id)["tasks"]

    return values


def test_converters_of_a_run_see_what_firexlite_itself_supplies(values):
    summary, _ = values("""
@InputConverter.register
def look(arguments):
    own = [arguments[name] for name in ("chain", "plugins", "sync", "uid", "submitter")]
    return {"seen": [*own[:3], own[3] != "", own[4]],
            "submitter": "somebody else"}

@app.task(returns="looked")
def top(seen=None, submitter=None): return [seen[:4], submitter]
""", "--chain", "top")

    assert summary["results"]["chain_results"]["looked"] == [["top", "services.py", True, True], "somebody else"]
    assert set(summary["inputs"]) == {"seen", "submitter"}


def test_what_a_converter_of_a_run_adds_reaches_the_services(values):
    summary, _ = values("""
@InputConverter.register
def expand(arguments): return {"guests": ["Li"] * int(arguments["number"])}

@app.task(returns="seen")
def top(number, guests=None): return guests
""", "--number", "3")

    assert summary["results"]["chain_results"]["seen"] == ["Li", "Li", "Li"]
    assert summary["inputs"] == {"number": "3", "guests": ["Li", "Li", "Li"]}


def test_an_argument_may_be_called_like_a_parameter_of_the_conversion(values):
    summary, _ = values("""
@app.task(returns="seen")
def top(pre_load, cls, kwargs): return [pre_load, cls, kwargs]
""", "--pre_load", "1", "--cls", "true", "--kwargs", "none")

    assert summary["results"]["chain_results"]["seen"] == ["1", True, None]


def test_what_a_converter_of_a_service_gives_is_no_default_any_more(values):
    summary, tasks = values("""
@app.task(bind=True, returns="seen")
def top(self, times=1, other=2): return [times, self.bound_args, self.default_bound_args]

@ConverterRegister.register_for_task(top)
def twice(arguments): return {"times": 2}
""")

    assert summary["results"]["chain_results"]["seen"] == [2, {"times": 2}, {"other": 2}]
    assert (tasks[0]["args"], tasks[0]["defaults"]) == ({"times": 2}, {"other": 2})


def test_what_a_converter_of_a_service_gives_may_refer_to_another_argument(values):
    summary, tasks = values("""
@app.task(returns="seen")
def top(guests, names): return guests

@ConverterRegister.register_for_task(top)
def refer(arguments): return {"guests": "@names"}
""", "--guests", "nobody", "--names", "Li")

    assert summary["results"]["chain_results"]["seen"] == "Li"
    assert tasks[0]["args"] == {"guests": "Li", "names": "Li"}


def test_converters_of_an_overridden_service_convert_for_the_one_that_overrides_it(values, plugin, firexlite):
    plugin("from firexlite import app\n\n@app.task(returns='seen')\ndef top(number): return [number]\n", "override.py")
    plugin("""
from firexlite import *
from firexlite import app

@app.task(returns="seen")
def top(number): return number

@ConverterRegister.register_for_task(top)
@SingleArgDecorator("number")
def to_number(number): return int(number)
""")

    done = firexlite("submit", "--plugins", "services.py,override.py", "--chain", "top", "--number", "7")

    assert (done.code, done.out.splitlines()[-1]) == (0, "  seen  [7]"), done.err


def test_a_converter_that_fails_in_a_service_fails_the_task_and_names_the_argument(firexlite, plugin):
    plugin("""
from firexlite import *
from firexlite import app

@app.task
def top(number): pass

@ConverterRegister.register_for_task(top)
@SingleArgDecorator("number")
def to_number(number): return int(number)
""")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "top", "--number", "many")

    assert done.code == 1
    assert ("ArgumentConversionException: Converter to_number failed: number: invalid literal for int() with base 10: 'many'"
            in done.err)
