"""Converters: of the arguments of a run, and of what goes into and comes out of one service."""
from __future__ import annotations

from .flows import Flows

CONVERTERS = """
from firexapp.submit.arguments import InputConverter
from firexkit.argument_conversion import (CircularDependencyException, ConverterRegister, ConverterRegistrationException,
                                          MissingConverterDependencyError, SingleArgDecorator)
"""
SPLIT = CONVERTERS + """
@InputConverter.register
@SingleArgDecorator("guests")
def split(guests):
    note(f"split {guests}")
    return guests.split(",")
"""


def test_c33_a_converter_makes_a_list_of_one_argument(flow: Flows) -> None:
    done = flow(SPLIT + """
@app.task(returns="seen")
def top(guests): return guests
""", "top", "--guests", "Li,Mohamed")

    assert done.seen == ["Li", "Mohamed"]


def test_c34_what_a_converter_refuses_is_told_with_the_name_of_its_argument(flow: Flows) -> None:
    """FireX makes a run that is completed as failed; here there is none."""
    done = flow(CONVERTERS + """
@InputConverter.register
@SingleArgDecorator("guests")
def refuse(guests): raise ValueError("there are no chairs")

@app.task
def top(guests): pass
""", "top", "--guests", "Li", code=2)

    assert "guests: there are no chairs" in done.err
    assert done.run is None


def test_c35_converters_run_after_those_they_depend_on(flow: Flows) -> None:
    done = flow(CONVERTERS + """
@InputConverter.register("second")
def third(kwargs): kwargs["order"] += "3"

@InputConverter.register("first")
def second(kwargs): kwargs["order"] += "2"

@InputConverter.register
def first(kwargs): return {"order": kwargs["order"] + "1"}

@app.task(returns="seen")
def top(order): return order
""", "top", "--order", "0")

    assert done.seen == "0123"


def test_c35_dependencies_that_cannot_be_met_have_exceptions_of_their_own(flow: Flows) -> None:
    done = flow(CONVERTERS + """
def convert_with(*dependencies_by_name):
    register = ConverterRegister()
    for name, dependencies in dependencies_by_name:
        converter = lambda kwargs: None
        converter.__name__ = name
        register.register(converter, *dependencies)
    return register.convert(x=1)

@app.task(returns="seen")
def top():
    return [type(raised_by(lambda: convert_with(*converters))).__name__ for converters in (
        [("a", ["b"]), ("b", ["a"])], [("a", ["a"])], [("a", ["nothing"])], [("a", []), ("b", ["a"])])]
""")

    assert done.seen == ["CircularDependencyException", "CircularDependencyException", "MissingConverterDependencyError",
                         "NoneType"]


def test_c36_words_for_constants_are_converted_and_converters_of_plugins_run_after_it(flow: Flows) -> None:
    done = flow(CONVERTERS + """
@InputConverter.register(False)
def look(kwargs): return {"looked": [kwargs["yes"], kwargs["no"], kwargs["nothing"]]}

def too_early(kwargs): pass

TOO_LATE = raised_by(lambda: InputConverter.register(True, too_early))

@app.task(returns="seen")
def top(yes, no, nothing, text, looked=None): return [yes, no, nothing, text, looked, type(TOO_LATE).__name__]
""", "top", "--yes", "True", "--no", "false", "--nothing", "NONE", "--text", "truest")

    assert done.seen == [True, False, None, "truest", [True, False, None], "ConverterRegistrationException"]


def test_c37_a_service_has_converters_of_its_own_before_and_after_it_runs(flow: Flows) -> None:
    done = flow(CONVERTERS + """
@app.task(returns="loud")
def yell(words, times="1"): return words * times

@ConverterRegister.register_for_task(yell)
def prepare(kwargs): return {"times": int(kwargs.get("times", 2)), "added": "by a converter"}

@ConverterRegister.register_for_task(yell, False)
@SingleArgDecorator("loud")
def raise_voice(loud): return loud.upper() + "!"

@app.task(returns="seen")
def top(loud, added=None): return [loud, added]
""", "yell,top", "--words", "hey")

    assert done.values == {"loud": "HEYHEY!", "seen": ["HEYHEY!", "by a converter"]}


def test_c38_what_stands_for_another_argument_is_not_converted(flow: Flows) -> None:
    done = flow(SPLIT + """
@app.task(returns="seen")
def top(guests, names): return guests
""", "top", "--guests", "@names", "--names", "Li,Mohamed")

    assert done.seen == "Li,Mohamed"
    assert flow.notes() == []
