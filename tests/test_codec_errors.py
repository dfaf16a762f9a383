"""Exceptions come back from the journal as what they were, or as near to it as can be done safely."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import traceback
import types

import pytest

from firexlite import codec, codec_errors, errors
from firexlite.codec import decode, decode_error, display, display_error, encode, encode_error
from firexlite.errors import NotReadable, TaskError

HERE = __name__
CALLS: list[str] = []


class TwoArguments(Exception):
    def __init__(self, code, why):
        CALLS.append("__init__")
        super().__init__(f"{code}: {why}")
        self.code, self.why = code, why


class OwnText(Exception):
    def __init__(self, room):
        self.room = room

    def __str__(self):
        return f"room {self.room} is taken"


class BrokenText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class TextOfNoStr(Exception):
    def __str__(self):
        return 5


class CountingText(Exception):
    count = 0

    def __str__(self):
        CountingText.count += 1
        return f"asked {CountingText.count} times"


class Slotted(Exception):
    __slots__ = ("code", "never_set")


class Stubborn(Exception):
    """Defines everything that a careless reader would stumble over."""

    args = property(lambda self: CALLS.append("args"))
    __cause__ = property(lambda self: CALLS.append("cause"))

    def __new__(cls, *args):
        CALLS.append("__new__")
        return super().__new__(cls, *args)

    def __setattr__(self, name, value):
        CALLS.append("__setattr__")

    def __getattribute__(self, name):
        CALLS.append("__getattribute__")
        raise RuntimeError("leave me alone")


class NoSubclasses(Exception):
    def __init_subclass__(cls):
        raise TypeError("final")

    def __str__(self):
        return self.text_that_is_gone


class WithMeta(type):
    pass


class OfMeta(Exception, metaclass=WithMeta):
    def __str__(self):
        return str(id(self))


class MyKeyError(KeyError):
    pass


class MyOSError(OSError):
    pass


def raised(exc, cause=None):
    with contextlib.suppress(BaseException):
        raise exc from cause
    return exc


def returned(exc):
    return decode_error(encode_error(exc))


def caught_from(act):
    try:
        act()
    except BaseException as exc:
        return exc
    raise AssertionError("nothing was raised")


BUILTIN = [
    ValueError("boom"), ValueError(), ValueError("a", 2, ("x",)), Exception(b"\xff"), KeyError("name"), KeyError(),
    KeyError("a", "b"), KeyError(("a",)), IndexError("i"), MyKeyError("k"), OSError("plain"), OSError(5, "gone"),
    FileNotFoundError(2, "No such file", "/tmp/x"), OSError(18, "cross", "a", None, "b"), MyOSError(2, "No", "f"),
    BlockingIOError(11, "again", 3), UnicodeDecodeError("utf-8", b"a\xffb", 1, 2, "invalid start byte"),
    UnicodeEncodeError("ascii", "aéb", 1, 2, "ordinal"), UnicodeTranslateError("aé", 1, 2, "why"), UnicodeError("u"),
    SystemExit(3), SystemExit(), KeyboardInterrupt(), GeneratorExit(), StopIteration((1, 2)), StopAsyncIteration(),
    ImportError("no", name="n", path="p"), ModuleNotFoundError("no", name="m"), NameError("n"), RecursionError("deep"),
    SyntaxError("bad", ("f.py", 3, 1, "x = ", 3, 5)), IndentationError("tab", ("f.py", 3, 1, "x = ")),
    MemoryError(), ZeroDivisionError("division by zero"), AssertionError(), AttributeError("a"), Warning("w"),
    caught_from(lambda: os.stat("/no/such/file")), caught_from(lambda: {}["x"]), caught_from(lambda: int("x")),
    caught_from(lambda: b"\xff".decode()), caught_from(lambda: compile("x =", "f", "exec")),
    caught_from(lambda: json.loads("{")), caught_from(lambda: undefined), caught_from(lambda: (1).nothing),  # noqa: F821
    TwoArguments(3, "late"), OwnText(7), subprocess.CalledProcessError(1, ["ls"]),
]


@pytest.mark.parametrize("exc", BUILTIN, ids=[f"{type(e).__name__}-{i}" for i, e in enumerate(BUILTIN)])
def test_an_exception_comes_back_with_class_text_args_and_attributes(exc):
    again = returned(exc)

    assert type(again) is type(exc)
    assert str(again) == str(exc)
    assert repr(again) == repr(exc)
    assert again.args == exc.args
    for name in ("errno", "strerror", "filename", "filename2", "code", "value", "start", "end", "object", "name",
                 "path", "lineno", "offset", "text", "msg", "pos", "why", "room", "returncode"):
        assert getattr(again, name, None) == getattr(exc, name, None)
    assert encode_error(again) == encode_error(exc)


def test_init_is_not_called():
    text = encode_error(TwoArguments(3, "late"))
    CALLS.clear()

    decode_error(text)

    assert CALLS == []


def test_the_text_of_an_own_class_is_right_without_its_init():
    again = returned(OwnText(7))

    assert (str(again), again.room, type(again)) == ("room 7 is taken", 7, OwnText)


@pytest.mark.parametrize("cls", [BrokenText, TextOfNoStr])
def test_a_broken_str_gives_a_placeholder(cls):
    again = returned(cls(1))

    assert isinstance(again, cls)
    assert str(again) == f"<{cls.__name__} whose str() fails>"
    assert again.args == (1,)


def test_a_text_that_cannot_be_computed_again_is_kept_and_the_class_still_caught():
    exc = CountingText("x")
    text = encode_error(exc)
    stored = display_error(text)["text"]

    again = decode_error(text)

    with pytest.raises(CountingText):
        raise again
    assert str(again) == stored
    assert (type(again).__name__, type(again).__qualname__, type(again).__module__) == (
        "CountingText", "CountingText", HERE)
    assert "__firexlite_text__" not in display_error(encode_error(again))["attributes"]


def test_an_attribute_that_cannot_be_stored_is_dropped_alone():
    exc = ValueError("x")
    exc.callback, exc.code, exc.names = (lambda: 0), 7, ("a",)

    again = returned(exc)

    assert not hasattr(again, "callback")
    assert (again.code, again.names) == (7, ("a",))


def test_args_that_cannot_be_stored_leave_the_text():
    exc = ValueError("x", print)

    again = returned(exc)

    assert type(again) is ValueError
    assert str(again) == str(exc)
    assert display_error(encode_error(exc))["args"] is None


def test_a_key_error_whose_args_cannot_be_stored_keeps_its_text():
    exc = KeyError(print)

    again = returned(exc)

    assert isinstance(again, KeyError)
    assert str(again) == str(exc) == "<built-in function print>"


def test_a_local_class_becomes_a_task_error_of_its_name():
    class Overbooked(Exception):
        def __init__(self, room, hotel):
            super().__init__(room, hotel)
            self.room = room

    again = returned(Overbooked(7, "Ritz"))

    assert isinstance(again, TaskError)
    assert type(again).__name__ == "Overbooked"
    assert again.args == ("(7, 'Ritz')",)
    assert str(again) == "(7, 'Ritz')"
    assert again.room == 7
    assert display_error(encode_error(again))["type"] == f"{HERE}:{Overbooked.__qualname__}"


def test_a_class_that_is_not_loaded_becomes_a_task_error(monkeypatch):
    text = encode_error(OwnText(7))
    monkeypatch.delitem(sys.modules, HERE)

    again = decode_error(text)

    assert isinstance(again, TaskError)
    assert repr(again) == "OwnText('room 7 is taken')"
    assert HERE not in sys.modules


def test_a_name_that_has_become_something_else_is_not_used():
    for other in ("os:system", "os:environ", "builtins:int", f"{HERE}:BUILTIN", "sys:", "", ":", "no.module:X"):
        text = encode_error(ValueError("x")).replace("builtins:ValueError", other)

        again = decode_error(text)

        assert type(again).__mro__[1] is TaskError
        assert str(again) == "x"


def test_a_class_that_defies_every_question_is_stored_and_read():
    exc = Stubborn("x")

    text = encode_error(exc)
    CALLS.clear()
    again = decode_error(text)

    assert Stubborn in type(again).__mro__
    assert not {"__new__", "__setattr__", "args", "cause"} & set(CALLS)
    assert display_error(text)["args"] == ["x"]


def test_a_class_that_cannot_be_subclassed_gives_way_to_a_task_error():
    exc = NoSubclasses("x")
    exc.text_that_is_gone = lambda: 0

    again = returned(exc)

    assert isinstance(again, TaskError)
    assert str(again) == "<NoSubclasses whose str() fails>"


def test_a_metaclass_does_no_harm():
    assert isinstance(returned(OfMeta("x")), OfMeta)


def test_slots_are_attributes():
    exc = Slotted("x")
    exc.code = 5

    assert returned(exc).code == 5


def test_the_object_of_an_attribute_error_is_left_out():
    exc = caught_from(lambda: [0] * 10 ** 5 and [0].nothing)

    assert len(encode_error(exc)) < 10_000


@pytest.mark.parametrize("exc", [
    errors.NotStorable("arguments of greet: x", "lock", "why"), errors.ClaimLost(1, 2, "succeed"),
    errors.WorkerLost(3, "SIGKILL"), errors.NotRegistered("greet"), errors.BadInput("no"),
    errors.InvalidChainArgsException("wrong", {"greet": {"name"}}), errors.ChainRevokedException("id", "greet"),
    errors.ReturnCodeError("no", 7), errors.TaskRevoked("x"), errors.TaskError("x"),
    errors.SoftTimeLimitExceeded(), errors.TimeLimitExceeded(3), errors.Retry(exc="ValueError('x')", when=5),
    errors.MaxRetriesExceededError("no retry is left", task_kwargs={"name": "Li"}),
], ids=lambda exc: type(exc).__name__)
def test_our_own_errors_come_back(exc):
    again = returned(exc)

    assert type(again) is type(exc)
    assert str(again) == str(exc)
    assert {k: v for k, v in vars(again).items() if not k.startswith("__firexlite_")} == vars(exc)


# --- causes --------------------------------------------------------------------------------------

def test_causes_and_contexts_come_back():
    def fail():
        try:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("middle") from error
        except ValueError:
            raise TypeError("outer")  # noqa: B904

    again = returned(caught_from(fail))

    assert (repr(again), again.__cause__, again.__suppress_context__) == ("TypeError('outer')", None, False)
    middle = again.__context__
    assert (repr(middle), repr(middle.__cause__)) == ("ValueError('middle')", "KeyError('inner')")
    assert middle.__suppress_context__
    shown = display_error(encode_error(again))
    assert (shown["explicit"], shown["cause"]["explicit"], shown["cause"]["cause"]["cause"]) == (False, True, None)


def test_raise_from_none_hides_the_context():
    def fail():
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    again = returned(caught_from(fail))

    assert (again.__cause__, again.__context__) == (None, None)


def chain_length(exc):
    length = 0
    while exc is not None:
        exc, length = codec_errors.cause_of(exc)[0], length + 1
    return length


def test_a_chain_is_cut_at_its_limit():
    exc = ValueError(0)
    for n in range(1, 2000):
        outer = ValueError(n)
        outer.__cause__ = exc
        exc = outer

    assert chain_length(returned(exc)) == codec_errors.CHAIN_LIMIT


def test_cycles_of_causes_are_cut():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a

    again = returned(a)

    assert (repr(again), repr(again.__cause__)) == ("ValueError('a')", "ValueError('b')")
    assert again.__cause__.__cause__ is None


def test_an_exception_among_its_own_parts_is_cut():
    exc = ValueError("x")
    exc.me, exc.other = exc, KeyError("k")
    exc.other.__cause__ = exc
    deeper = TypeError("t")
    deeper.__cause__, exc.other.__cause__ = KeyError("below"), deeper
    deeper.__cause__.__cause__ = exc

    again = returned(exc)

    assert not hasattr(again, "me")
    assert repr(again.other.__cause__.__cause__) == "KeyError('below')"
    assert again.other.__cause__.__cause__.__cause__ is None


# --- exceptions within values and exceptions -------------------------------------------------------

def test_exceptions_within_values_come_back():
    value = {"first": ValueError("a"), "rest": (KeyError("b"), {1: [OSError(2, "no")]})}

    again = decode(encode(value))

    assert repr(again) == repr(value)
    assert display(encode(value)) == {
        "first": "ValueError: a", "rest": ["KeyError: 'b'", {"1": ["FileNotFoundError: [Errno 2] no"]}]}


def test_failures_of_many_children_come_back_and_are_stored_once():
    failures = tuple(errors.ChainInterruptedException(f"id{i}", "greet", raised(ValueError(f"boom {i}")))
                     for i in range(50))
    exc = errors.MultipleFailuresException(("id0", "id1"), failures)

    text = encode_error(exc)
    again = decode_error(text)

    assert type(again) is errors.MultipleFailuresException
    assert str(again) == str(exc)
    assert again.args[1] == again.failures
    assert [repr(failure.__cause__) for failure in again.failures] == [f"ValueError('boom {i}')" for i in range(50)]
    assert again.__cause__ is again.failures[0].__cause__
    assert text.count('"$type":"raised"') == 101
    assert display_error(text)["attributes"]["failures"][1] == f"ChainInterruptedException: {failures[1]}"


def test_nested_failures_do_not_multiply():
    exc: BaseException = ValueError("x")
    for _ in range(20):
        exc = errors.MultipleFailuresException(("a", "b", "c"), (exc, exc, exc))

    text = encode_error(exc)

    assert text.count('"$type":"raised"') == 21
    assert str(decode_error(text)) == str(exc)
    assert len(json.dumps(display_error(text))) < 10 * len(text)


def test_parts_of_what_was_dropped_are_not_stored():
    exc = ValueError("x")
    shared = KeyError("shared")
    exc.dropped, exc.kept = [shared, lambda: 0], [shared]

    text = encode_error(exc)

    assert text.count('"$type":"raised"') == 2
    assert repr(decode_error(text).kept) == "[KeyError('shared')]"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of 3.11")
def test_an_exception_group_comes_back():
    group = ExceptionGroup("two", [raised(ValueError("a")), BaseExceptionGroup("in", [KeyError("b")])])  # noqa: F821
    group.add_note("a note")

    again = returned(group)

    assert repr(again) == repr(group)
    assert str(again) == "two (2 sub-exceptions)"
    assert again.__notes__ == ["a note"]
    assert again.subgroup(KeyError) is not None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of 3.11")
def test_an_exception_group_without_storable_parts_becomes_a_task_error():
    class Local(Exception):
        pass

    group = ExceptionGroup("two", [Local("a")])  # noqa: F821
    assert repr(returned(group)) == "ExceptionGroup('two', [Local('a')])"

    group = BaseExceptionGroup("one", [raised(KeyboardInterrupt())])  # noqa: F821
    text = encode_error(group).replace(":KeyboardInterrupt", ":int").replace(":BaseExceptionGroup", ":ExceptionGroup")
    assert str(decode_error(text)) == "one (1 sub-exception)"


# --- text, traceback, where ------------------------------------------------------------------------

def test_a_long_text_is_cut():
    exc = ValueError("x" * 10 ** 6)

    again = returned(exc)

    assert len(display_error(encode_error(exc))["text"]) == codec_errors.TEXT_LIMIT
    assert len(str(again)) == 10 ** 6  # its args are whole


def test_the_traceback_is_of_this_exception_alone():
    exc = raised(ValueError("boom"), cause=KeyError("inner"))

    again = returned(exc)

    assert again.__firexlite_traceback__ == "".join(traceback.format_exception(type(exc), exc, exc.__traceback__,
                                                                               chain=False))
    assert "inner" not in again.__firexlite_traceback__


def test_a_long_traceback_keeps_both_ends():
    exc = raised(ValueError("x" * 10 ** 6 + "the end"))

    text = display_error(encode_error(exc))["traceback"]

    assert len(text) <= codec_errors.TRACEBACK_LIMIT
    assert text.startswith("Traceback")
    assert text.endswith("the end\n")
    assert "(the middle is left out)" in text


def test_a_rebuilt_exception_raised_elsewhere_keeps_its_first_traceback():
    first = returned(raised(ValueError("boom")))

    second = returned(raised(first))

    assert second.__firexlite_traceback__ == first.__firexlite_traceback__
    assert second.__firexlite_where__ == first.__firexlite_where__


def test_an_exception_stored_before_it_was_raised_has_the_traceback_of_its_raising():
    exc = returned(ValueError("boom"))
    assert exc.__firexlite_where__ is None

    assert "in raised" in returned(raised(exc)).__firexlite_traceback__


def test_where_is_the_innermost_frame_of_the_users_code():
    exc = caught_from(lambda: json.loads("{"))

    where = display_error(encode_error(exc))["where"]

    assert (where["file"], where["function"]) == (__file__, "<lambda>")
    assert "json.loads" in pathlib.Path(__file__).read_text().splitlines()[where["line"] - 1]


def module_at(path, source):
    module = types.ModuleType("elsewhere")
    exec(compile(source, str(path), "exec"), vars(module))
    return module


@pytest.mark.parametrize("place, chosen", [
    ("/home/me/hotel.py", True),
    ("/usr/lib/python3/dist-packages/hotel.py", False),
    ("/venv/lib/python3.11/site-packages/hotel.py", False),
    (os.path.join(os.path.dirname(os.__file__), "hotel.py"), False),
    (os.path.join(os.path.dirname(codec.__file__), "hotel.py"), False),
    (os.path.dirname(codec.__file__) + "_services/hotel.py", True),
    ("<frozen hotel>", False),
])
def test_whose_code_a_file_is(place, chosen):
    hotel = module_at(place, "def fail(): raise ValueError('x')")

    where = codec_errors.where_of(caught_from(lambda: hotel.fail()))

    assert (where["function"] == "fail") == chosen


def test_without_code_of_the_user_an_installed_service_is_shown_then_the_innermost_frame():
    stdlib = module_at(os.path.join(os.path.dirname(os.__file__), "inner.py"), "def fail(): raise ValueError('x')")
    bundle = module_at("/venv/lib/python3.11/site-packages/hotel.py", "def serve(act): act()")

    exc = caught_from(lambda: bundle.serve(stdlib.fail))
    exc.__traceback__ = exc.__traceback__.tb_next.tb_next  # without the frames of this test
    assert codec_errors.where_of(exc)["function"] == "serve"

    exc.__traceback__ = exc.__traceback__.tb_next
    assert codec_errors.where_of(exc)["function"] == "fail"


# --- reading -----------------------------------------------------------------------------------

def test_display_error_needs_no_class(monkeypatch):
    exc = raised(OwnText(7), cause=KeyError("k"))
    exc.since = (1, 2)
    text = encode_error(exc)
    monkeypatch.delitem(sys.modules, HERE)

    shown = display_error(text)

    json.dumps(shown)
    assert {key: shown[key] for key in ("type", "name", "text", "args", "attributes", "explicit")} == {
        "type": f"{HERE}:OwnText", "name": "OwnText", "text": "room 7 is taken", "args": [7],
        "attributes": {"room": 7, "since": [1, 2]}, "explicit": True}
    assert shown["cause"]["text"] == "'k'"
    assert shown["where"]["function"] == "raised"


@pytest.mark.parametrize("text, message", [
    ("5", "this holds a int, not an exception"),
    ('{"$type":"tuple","value":[]}', "this holds a tuple, not an exception"),
])
def test_what_is_no_exception_is_not_read_as_one(text, message):
    with pytest.raises(NotReadable) as caught:
        decode_error(text)
    assert str(caught.value) == message
    with pytest.raises(NotReadable):
        display_error(text)


def stored(**changes):
    record = {"$type": "raised", "type": "builtins:ValueError", "name": "ValueError", "text": "x", "args": [],
              "attributes": {}, "traceback": "", "where": None, "cause": None, "explicit": False, **changes}
    return json.dumps({"$type": "exceptions", "table": [record], "value": {"$type": "exception", "value": 0}})


@pytest.mark.parametrize("changes", [
    {"type": "builtins:UnicodeDecodeError", "attributes": {"object": "x", "start": -10 ** 15, "end": -10 ** 15 + 1}},
    {"type": "builtins:UnicodeEncodeError", "attributes": {"object": 5, "start": 10 ** 6, "end": 10 ** 6 + 1}},
    {"type": "builtins:UnicodeEncodeError",
     "attributes": {"object": {"$type": "bytes", "value": "YQ=="}, "start": 0, "end": 1}},
    {"type": "builtins:OSError", "attributes": {"errno": [], "filename": {}}},
    {"type": "builtins:SyntaxError", "attributes": {"lineno": "x", "filename": 5, "text": []}},
    {"type": "builtins:BaseExceptionGroup", "args": [1, 2]},
    {"type": "builtins:SystemExit", "args": [{"$type": "exception", "value": 0}]},
    {"attributes": {"__class__": 5, "args": 7, "__traceback__": "x", "__notes__": 5, "__cause__": 1, "__dict__": {}}},
    {"attributes": {"__suppress_context__": "x"}}, {"name": "\0"}, {"name": "\ud800", "type": "no:x"}, {"name": 5},
    {"type": "no:x", "name": "\0"}, {"type": []}, {"args": 5}, {"args": "abc"}, {"attributes": []}, {"text": 5},
    {"cause": 0}, {"cause": -1}, {"cause": "x"}, {"where": 5, "traceback": 5},
])
def test_a_hostile_record_is_read_safely_or_refused(changes):
    try:
        exc = decode_error(stored(**changes))
    except NotReadable:
        return
    str(exc), repr(exc)
    encode_error(exc)
    with contextlib.suppress(type(exc)):
        raise exc
