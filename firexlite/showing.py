"""What a service shows of itself in the report: `@flame`, `@flame_collapse`, and how values become rows of the journal."""
from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .secrets import masked, masked_data

if TYPE_CHECKING:
    from .services import Task

COLLAPSE_KEY = "_default_display"
COMMANDS_KEY = "_external_commands"  # of the shell commands of a task, a row each: with a dot and its number behind
OBJECT = "object"                    # the type of data that is no text for people
# What data of type html may be made of.
TAGS = frozenset({"a", "b", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p",
                  "pre", "small", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "u", "ul"})
_TARGETS = ("self", "ancestors", "descendants", "unchained-descendants", "grandchildren")

Row = tuple[str, str, str, int]      # key, type, JSON text, position

F = TypeVar("F", bound=Callable)

logger = logging.getLogger("firexlite")


class Flame(NamedTuple):
    """One value that a service shows. key None: the formatter gets all arguments and results at once.

    on_next: it is shown once, whatever there is to be shown next, made of ``on_next_args``.
    """

    key: str | None
    formatter: Callable | None
    data_type: str = "html"
    bind: bool = False
    on_next: bool = False
    on_next_args: Sequence[object] = ()
    position: int = 0

    def of(self, values: Mapping[str, object], task: Task, is_next: bool) -> Any:
        """What to show of ``values``, None for nothing. The formatter's exceptions are the caller's to log."""
        given: Sequence[object]
        if self.key is not None and self.key in values:
            given = [values[self.key]]
        elif self.on_next and is_next:
            given = self.on_next_args
        elif self.key is None:
            given = [dict(values)]
        else:
            return None
        if self.formatter is None:
            return default_formatter(*given)
        return self.formatter(*given, task=task) if self.bind else self.formatter(*given)


def default_formatter(value: object) -> str | None:
    """None shows nothing, a string itself, anything else as JSON, or as str() gives it."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


class Showcase:
    """What one attempt shows. journal: writes rows."""

    def __init__(self, declared: Mapping[str, Flame], task: Task, journal: Callable[[list[Row]], None]) -> None:
        self._declared, self._task, self._journal = declared, task, journal
        self._was_shown: set[str] = set()  # of what is shown once

    def show(self, values: Mapping[str, object]) -> None:
        """Show of ``values`` what the service declares; what its formatters raise is logged, no more."""
        rows = []
        for key, declared in self._declared.items():
            try:
                shown = declared.of(values, self._task, is_next=key not in self._was_shown)
            except Exception:
                logger.exception("the flame formatter of %s for %s failed", self._task.short_name, key)
                continue
            if shown is not None:
                self._was_shown.add(key)
                rows.append(row(key, declared.data_type, shown, declared.position))
        if rows:
            self._journal(rows)

    def show_html(self, texts: Mapping[str, object]) -> None:
        """Show HTML of which the service has declared nothing; what is shown later stands above."""
        position = time.time_ns() // 1000
        if texts:
            self._journal([row(key, "html", text, position) for key, text in texts.items()])

    def collapse(self, uuid: str) -> None:
        """Have a task drawn collapsed."""
        operation = {"targets": ["self"], "relative_to_nodes": {"type": "task_uuid", "value": uuid}}
        self._journal([row(COLLAPSE_KEY, OBJECT, _filled_in([operation], self._task), time.time_ns() // 1000)])


def row(key: str, data_type: str, shown: object, position: int) -> Row:
    """A row of the journal. position: in the order of those of a task; microseconds since the epoch for what has none."""
    text = json.dumps(masked_data(shown), default=str) if data_type == OBJECT else json.dumps(masked(str(shown)))
    return masked(key), data_type, text, position


# --- declaring ------------------------------------------------------------------------------------------------

def attribute(function: Callable, name: str) -> Any:
    """An attribute that a decorator left on a function, through other decorators that used functools.wraps."""
    while function is not None:
        if (found := getattr(function, name, None)) is not None:
            return found
        function = getattr(function, "__wrapped__", None)  # type: ignore[assignment]
    return None


def flame(flame_key: str | None = None, formatter: Callable | None = None, data_type: str = "html", bind: bool = False,
          on_next: bool = False, on_next_args: Sequence[object] = (), decorator_name: str = "flame") -> Callable[[F], F]:
    """Show an argument or a result of a service in the report; stands below `@app.task`.

    formatter: from the value (for a key None or '*': from a dict of all) to HTML; called when the task starts and
    when it succeeds. bind: it also gets ``task=self``. on_next: shown once, when the task starts, even where there is no
    value of this name; the formatter then gets ``on_next_args``.
    """
    name = None if flame_key == "*" else flame_key

    def declare(function: F) -> F:
        if hasattr(function, "undecorated"):
            raise TypeError(f"@{decorator_name} must stand below @app.task")
        declared = dict(attribute(function, "__firexlite_flame__") or {})
        position = max((one.position for one in declared.values()), default=-1) + 1
        declared[flame_key or "*"] = Flame(name, formatter, data_type, bind, on_next, on_next_args, position)
        function.__firexlite_flame__ = declared  # type: ignore[attr-defined]
        return function

    return declare


def flame_option(option: str | Iterable[str] | Mapping | None) -> dict[str, Flame]:
    """What `@app.task(flame=)` declares."""
    if option is None:
        return {}
    keys: Iterable[str] = (option,) if isinstance(option, str) else option
    formatters = option if isinstance(option, Mapping) else {}
    return {key: Flame(None if key == "*" else key, formatters.get(key), position=position)
            for position, key in enumerate(keys)}


def flame_collapse(spec: str | Mapping | list) -> Callable[[F], F]:
    """Declare which tasks the report draws collapsed: ``'descendants'``, or ``{service or regex: targets}``.

    targets: one of self, ancestors, descendants, unchained-descendants, a list of them, or ``{targets, operation}``.
    A list is taken as FireX's operations.
    """
    operations = spec if isinstance(spec, list) else _operations(spec)
    return flame(COLLAPSE_KEY, _filled_in, OBJECT, bind=True, on_next=True, on_next_args=[operations],
                 decorator_name="flame_collapse")


def expand_self_op() -> dict[str, Any]:
    """FireX's name for the operation that draws a task expanded."""
    return {"operation": "expand", "targets": ["self"]}


def _operations(spec: str | Mapping) -> list[dict]:
    rules = {None: spec} if isinstance(spec, str) else spec
    operations = []
    for nodes, rule in rules.items():
        rule = rule if isinstance(rule, Mapping) else {"targets": rule}
        targets = rule["targets"]
        operation: dict[str, Any] = {**rule, "targets": [targets] if isinstance(targets, str) else list(targets)}
        if unknown := set(operation["targets"]) - set(_TARGETS):
            raise ValueError(f"flame_collapse knows the targets {', '.join(_TARGETS)}, not {', '.join(sorted(unknown))}")
        if nodes is not None:
            pattern = nodes.pattern if isinstance(nodes, re.Pattern) else None
            operation["relative_to_nodes"] = {"type": "task_name_regex" if pattern else "task_name", "value": pattern or nodes}
        operations.append(operation)
    return operations


def _filled_in(operations: Iterable[Mapping], task: Task) -> list[dict]:
    """Operations with what they leave open; one without a list of targets is none."""
    here = {"type": "task_uuid", "value": task.uuid}
    return [{"relative_to_nodes": here, "source_node": here, "operation": "collapse", **operation}
            for operation in operations if isinstance(operation.get("targets"), list)]
