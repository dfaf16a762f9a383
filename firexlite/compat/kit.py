"""`firexkit.task` and `firexkit.firexkit_common`, as far as their functions are more than names of ours."""
from __future__ import annotations

import dataclasses
import datetime
import enum
import html
import inspect
import json
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..application import Service

NEVER_GIVEN = object()
DEFAULT_CHMOD_MODE = 0o775  # `firexkit.permissions`: what FireX gives to the files of a run; here they are their owner's alone
DEFAULT_UMASK = 0o002


def convert_to_serializable(obj: Any, max_recursive_depth: int = 10, _depth: int = 0) -> Any:
    """``obj`` as JSON can hold it, the way FireX shows values: what has a ``firex_serializable()`` says itself, dataclasses
    and pydantic's models are dicts, times ISO texts, other collections lists, and the rest its ``repr``."""
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return obj
    if not isinstance(obj, type):
        if hasattr(obj, "firex_serializable"):
            return obj.firex_serializable()
        if hasattr(obj, "model_dump") and hasattr(obj, "model_fields_set"):  # pydantic's, which need not be installed
            return obj.model_dump(mode="json")
        if dataclasses.is_dataclass(obj):
            obj = {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}
    elif issubclass(obj, enum.Enum):
        return obj.__name__
    if isinstance(obj, datetime.datetime):
        return obj.isoformat()
    if is_jsonable(obj):
        return obj
    if _depth >= max_recursive_depth:
        return repr(obj)

    def inner(value: Any) -> Any:
        return convert_to_serializable(value, max_recursive_depth, _depth + 1)

    if isinstance(obj, Mapping):
        keys = [(inner(key), value) for key, value in obj.items()]
        return {json.dumps(key) if isinstance(key, (list, tuple, dict)) else key: inner(value) for key, value in keys}
    if isinstance(obj, Iterable) and not isinstance(obj, (bytes, bytearray)) and not isinstance(obj, type):
        return [inner(value) for value in obj]
    return repr(obj)


def is_jsonable(obj: Any) -> bool:
    try:
        json.dumps(obj)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def get_attr_unwrapped(fun: Callable | None, attr_name: str, *default_value: Any) -> Any:
    """An attribute of a function, or of those that its decorators wrapped. Raises AttributeError if there is no default."""
    while fun is not None:
        if (found := getattr(fun, attr_name, NEVER_GIVEN)) is not NEVER_GIVEN:
            return found
        fun = getattr(fun, "__wrapped__", None)
    if default_value:
        return default_value[0]
    raise AttributeError(attr_name)


def undecorate(task: Any) -> Callable:
    """The function that a service was made of, without its decorators."""
    return inspect.unwrap(task.undecorated if isinstance(task, Service) else getattr(task, "run", task))


def undecorate_func(func: Callable) -> Callable:
    return inspect.unwrap(func)


def banner(text: str, ch: str = "=", length: int = 78, content: str = "") -> str:
    """A text between two lines of ``ch``, each ``length`` wide; ``content`` stands between it and the second."""
    def wrapped(words: str, **how: Any) -> str:
        return "\n".join("\n".join(textwrap.wrap(line, width=length, **how)) for line in words.split("\n"))

    title = wrapped(text, drop_whitespace=False).center(length, ch)
    parts = ["", ch * length, title, *([wrapped(content)] if content else []), ch * length, ""]
    return "\n".join(parts)


class TaskContext:
    """What FireX keeps beside a task that runs. Here a task keeps it itself: this exists to be named in annotations."""

    def __init__(self) -> None:
        self.enqueued_children: dict[Any, str] = {}
        self.flame_configs: dict[str, Any] = {}


class PauseTasks:
    """Which services a run is to pause at. No service pauses here by itself; `Pause` can be put into any chain."""

    PAUSE_TASKS_ABOG_KEY = "pause_tasks_reqs"

    @staticmethod
    def get_pause_arg_names() -> list[str]:
        return [name for point in ("pause_on", "pause_before", "pause_after", "pause_on_failure")
                for name in (point, f"{point}_hours")]

    @staticmethod
    def get_cli_opts() -> list[dict[str, str]]:
        return []


# --- firexkit.firexkit_common --------------------------------------------------------------------------------------------

def get_link(url: str, text: str | None = None, html_class: str | None = None, title_attribute: str | None = None,
             attrs: Mapping[str, Any] | None = None, other_elements: str = "") -> str:
    """A link in HTML. other_elements: HTML that stands before the text; all else is text, whatever is in it."""
    attributes = {"href": url, "class": html_class, "title": title_attribute, **(attrs or {})}
    written = " ".join(f'{name}="{html.escape(str(value))}"' for name, value in attributes.items() if value is not None)
    return f"<a {written}>{other_elements}{html.escape(text or '')}</a>"


def sec2hms(seconds: float) -> str:
    """A duration such as `1h2m3s`; hours and minutes that are zero are left out, and so are fractions of a second."""
    whole = int(abs(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes) + [f"{whole % 60}s"]
    return "-" * (seconds < 0) + "".join(parts)


class ModifyUmask:
    """A context with another umask."""

    def __init__(self, new_umask: int) -> None:
        self.new_umask = new_umask

    def __enter__(self) -> None:
        self.original_umask = os.umask(self.new_umask)

    def __exit__(self, *_: object) -> None:
        os.umask(self.original_umask)
