"""Exceptions taken apart into plain records and put together again, without the help of their classes.

`codec` decides how the parts are written; this module knows what an exception consists of. A record is a dict:
`type` ("module:qualname"), `name`, `text` (its str()), `args` (a list, None if one cannot be stored), `attributes`,
`traceback` (of this exception alone) and `where` (file, line and function that a person should look at first).
"""
from __future__ import annotations

import builtins
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import BuiltinFunctionType, MemberDescriptorType, ModuleType, TracebackType
from typing import Any

from .errors import TaskError
from .secrets import masked, masked_data

CHAIN_LIMIT = 30                   # exceptions in one chain of causes
TEXT_LIMIT = 64 * 1024             # characters
TRACEBACK_LIMIT = 256 * 1024       # characters

# What a rebuilt exception carries besides its own attributes, so that it can be stored once more without loss.
TRACEBACK, WHERE, TEXT = "__firexlite_traceback__", "__firexlite_where__", "__firexlite_text__"

NO_ATTRIBUTES = frozenset({"$type", TRACEBACK, WHERE, TEXT})

# AttributeError keeps the object it was raised for: any size, and never what a later reader asks for.
# The parts of an exception group cannot be set, and stand in its args.
NO_SLOTS = frozenset({"obj", "message", "exceptions"})


# --- classes by name ---------------------------------------------------------------------------

main_is: str | None = None  # the name by which other processes import what is `__main__` in this one


def class_name(cls: type) -> str:
    """``module:qualname``, as `loaded_class` finds it again."""
    module = main_is if main_is is not None and cls.__module__ == "__main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def loaded_class(name: str) -> type | None:
    """The class of this ``module:qualname`` if its module is loaded already, else None; imports nothing."""
    module_name, _, qualname = name.partition(":")
    module = sys.modules.get("__main__" if module_name == main_is else module_name)
    if not isinstance(module, ModuleType):
        return None
    # Neither `getattr` nor `vars`: a module may import or compute what it is asked for.
    namespace = ModuleType.__getattribute__(module, "__dict__")
    found: object = None
    for part in qualname.split("."):
        found = namespace.get(part)
        if not isinstance(found, type):
            return None
        namespace = vars(found)
    return found if isinstance(found, type) else None


def class_attribute(cls: type, name: str) -> object:
    """What ``cls`` or a base defines under ``name``, with no descriptor asked; None if nothing."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


# --- taking apart ------------------------------------------------------------------------------

def chain_of(exc: BaseException) -> list[BaseException]:
    """``exc``, its cause, the cause of that: at most `CHAIN_LIMIT`, none of them twice."""
    chain = [exc]
    while len(chain) < CHAIN_LIMIT:
        cause, _ = cause_of(chain[-1])
        if cause is None or any(cause is link for link in chain):
            break
        chain.append(cause)
    return chain


def cause_of(exc: BaseException) -> tuple[BaseException | None, bool]:
    """What led to ``exc``, and whether that was said explicitly (``raise .. from ..``)."""
    cause = _get(exc, "__cause__")
    if cause is not None:
        return cause, True
    return (None if _get(exc, "__suppress_context__") else _get(exc, "__context__")), False


def take_apart(exc: BaseException, storable: Callable[[object], object]) -> dict[str, Any]:
    """The record of ``exc``, whatever its class does when it is asked.

    storable: gives the form in which a part is stored, or raises; such a part is left out.
    """
    cls = type(exc)
    args, attributes = None, {}
    # The parts are a stranger's objects: what they raise must not hide the exception.
    with suppress(Exception):
        args = storable(list(_get(exc, "args")))
    for name, value in _attributes_of(exc):
        with suppress(Exception):
            attributes[name] = storable(value)
    return {"type": masked(class_name(cls)), "name": masked(cls.__name__), "text": text_of(exc), "args": args,
            "attributes": attributes, "traceback": traceback_of(exc), "where": where_of(exc)}


def text_of(exc: BaseException) -> str:
    """``str(exc)``, at most `TEXT_LIMIT` long; a placeholder if that raises."""
    text = _own_text(exc)
    return masked(f"<{type(exc).__name__} whose str() fails>") if text is None else text


def _own_text(exc: BaseException) -> str | None:
    try:
        text = masked(str.__str__(str(exc)))  # exactly a str, even if `__str__` gave a subclass
    except Exception:
        return None
    if len(text) <= TEXT_LIMIT:
        return text
    note = " ... (cut)"
    return text[:TEXT_LIMIT - len(note)] + note


def traceback_of(exc: BaseException) -> str:
    """The traceback of ``exc`` without its causes; of a rebuilt exception the one it was stored with."""
    stored = _get(exc, "__dict__")
    if stored.get(WHERE):
        return masked(str(stored.get(TRACEBACK, "")))
    raised_at = _get(exc, "__traceback__")
    try:
        text = "".join(traceback.format_exception(type(exc), exc, raised_at, chain=False))
    except Exception:
        text = "".join(traceback.format_tb(raised_at)) + f"{type(exc).__name__}: {text_of(exc)}\n"
    text = masked(text)  # before it is cut: half a secret is masked by nobody
    if len(text) <= TRACEBACK_LIMIT:
        return text
    note = "\n  ... (the middle is left out)\n"
    kept = (TRACEBACK_LIMIT - len(note)) // 2
    return text[:kept] + note + text[-kept:]


def where_of(exc: BaseException) -> dict[str, object] | None:
    """``{file, line, function}`` of the innermost frame in the user's own code, else in an installed package,
    else of the innermost frame; None if ``exc`` was never raised."""
    stored = _get(exc, "__dict__").get(WHERE)
    if isinstance(stored, dict):
        return dict(masked_data(stored))
    chosen = to_look_at_first(_get(exc, "__traceback__"))
    if chosen is None:
        return None
    code = chosen.tb_frame.f_code
    return masked_data({"file": code.co_filename, "line": chosen.tb_lineno, "function": code.co_name})


def to_look_at_first(tb: TracebackType | None) -> TracebackType | None:
    """Of a traceback the step at which `where_of` has a person look."""
    chosen, nearest = None, 2
    while tb is not None:
        distance = _distance(tb.tb_frame.f_code.co_filename)
        if chosen is None or distance <= nearest:
            chosen, nearest = tb, distance
        tb = tb.tb_next
    return chosen


def is_machinery(file: str) -> bool:
    """Whether a source file is firexlite's or Python's own, which nobody looks at first."""
    return _distance(file) == 2


def is_firexlite(file: str) -> bool:
    """Whether a source file is firexlite's own."""
    return os.path.abspath(file).startswith(_FIREXLITE)


def is_the_users_own(file: str) -> bool:
    """Whether a source file is neither firexlite's nor Python's, nor of an installed package."""
    return _distance(file) == 0


@functools.lru_cache(maxsize=1024)
def _distance(file: str) -> int:
    """0 for the user's own code, 1 for installed packages (services may be one), 2 for the machinery."""
    path = os.path.abspath(file)
    installed = {"site-packages", "dist-packages"} & set(path.split(os.sep))
    if file.startswith("<") or path.startswith(_FIREXLITE) or (path.startswith(_stdlib()) and not installed):
        return 2
    return 1 if installed else 0


# In a zip file there is all that we need, and nothing else.
_FIREXLITE = os.path.abspath(getattr(__spec__.loader, "archive", os.path.dirname(__file__))) + os.sep


@functools.cache
def _stdlib() -> tuple[str, ...]:
    import sysconfig  # here: it takes long, and few commands tell of an error
    return tuple({os.path.join(directory, "") for directory in (
        sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.path.abspath(os.__file__)))})


def _attributes_of(exc: BaseException) -> Iterator[tuple[str, object]]:
    """Its own `__dict__`, and what lies in slots, as `OSError.errno` does."""
    for cls in type(exc).__mro__:
        for name, slot in list(vars(cls).items()):
            if type(slot) is MemberDescriptorType and not name.startswith("__") and name not in NO_SLOTS:
                value = _slot(slot, exc)
                if value is not None:
                    yield name, value
    for name, value in list(_get(exc, "__dict__").items()):
        if type(name) is str and name not in NO_ATTRIBUTES:
            yield name, value


def _slot(slot: MemberDescriptorType, exc: BaseException) -> object:
    try:
        return slot.__get__(exc)
    except AttributeError:  # never set
        return None


# --- putting together --------------------------------------------------------------------------

def put_together(record: dict[str, Any], cause: BaseException | None) -> BaseException:
    """The exception of ``record``; a `TaskError` of the same name if its class is not loaded, or will not do.

    `__init__` is never called. The one thing of its class that may run is `__str__`, to see whether the text is right.
    """
    if type(record["text"]) is not str or type(record["attributes"]) is not dict:
        raise ValueError("its record has parts of other types")
    exc = _as_it_was(record) or _stand_in(record)
    _get(exc, "__dict__").update({TRACEBACK: record["traceback"], WHERE: record["where"]})
    if cause is not None:
        _set(exc, "__cause__" if record["explicit"] else "__context__", cause)
    return exc


def _as_it_was(record: dict[str, Any]) -> BaseException | None:
    cls: Any = loaded_class(record["type"])
    text = record["text"]
    if cls is None or not issubclass(cls, BaseException):
        return None
    args = (text,) if record["args"] is None else tuple(record["args"])
    try:
        exc = _new(cls, args, record["attributes"])
        if _own_text(exc) != text:
            exc = _new(_with_stored_text(cls), args, {**record["attributes"], TEXT: text})
    except Exception:  # a class which cannot be made without its own `__new__`, or not be subclassed
        return None
    return exc


def _stand_in(record: dict[str, Any]) -> BaseException:
    try:
        cls = _named_task_error(record["type"], record["name"])
    except ValueError:  # no name that a class can have
        cls = TaskError
    return _new(cls, (record["text"],), record["attributes"])


def _new(cls: type[BaseException], args: tuple, attributes: dict[str, object]) -> BaseException:
    """An instance of ``cls`` made by the constructor of its builtin base, past everything Python code defines."""
    make = next(made for base in cls.__mro__ if getattr(builtins, base.__name__, None) is base
                and isinstance(made := vars(base).get("__new__"), BuiltinFunctionType))
    # An exception group alone must have its parts from the start.
    exc: BaseException = make(cls, *args) if hasattr(cls, "subgroup") else make(cls)
    _set(exc, "args", args)
    for name, value in attributes.items():
        slot = class_attribute(cls, name)
        if type(slot) is not MemberDescriptorType:
            _get(exc, "__dict__")[name] = value
        elif not issubclass(cls, UnicodeError) or _fits_unicode_error(cls, attributes):
            slot.__set__(exc, value)
    return exc


def _fits_unicode_error(cls: type, attributes: dict[str, object]) -> bool:
    """False for what would make the interpreter crash: `UnicodeError.__str__` reads ``object[start]`` unchecked."""
    text, start, end = (attributes.get(name) for name in ("object", "start", "end"))
    kind = bytes if issubclass(cls, UnicodeDecodeError) else str
    return (type(text) is kind and type(start) is int and type(end) is int
            and 0 <= start <= end <= len(text))


@functools.lru_cache(maxsize=256)
def _with_stored_text(cls: Any) -> type[BaseException]:
    """``cls`` for every `except`, but its `str()` is the text that was stored."""
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, "__qualname__": cls.__qualname__,
                                       "__doc__": cls.__doc__, "__str__": lambda self: _get(self, "__dict__")[TEXT]})


@functools.lru_cache(maxsize=256)
def _named_task_error(full_name: str, name: str) -> type[TaskError]:
    module_name, _, qualname = full_name.partition(":")
    return type(name, (TaskError,), {"__module__": module_name, "__qualname__": qualname, "__doc__": TaskError.__doc__})


# A class may define `args`, `__cause__` or `__setattr__` itself; these go to what every exception really has.
def _get(exc: BaseException, name: str) -> Any:
    return vars(BaseException)[name].__get__(exc)


def _set(exc: BaseException, name: str, value: object) -> None:
    vars(BaseException)[name].__set__(exc, value)
