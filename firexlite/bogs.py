"""What reached the tasks of a run, as people are shown it: along each chain, in the order of the tasks' numbers."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .binding import EXTRA, Bog, Parameters, as_flow
from .codec import display, display_error
from .errors import InvalidChainArgsException
from .portable import integer, portable

if TYPE_CHECKING:
    from .history import ServiceRecord, TaskRecord


def _is_marked(text: str) -> bool:
    """Whether a text has a meaning beyond its JSON: by references, typed values, or `EXTRA`."""
    return '"@' in text or '"$type"' in text or '"*"' in text


class Bogs:
    """Goes along the tasks; of each it tells what reached it and what it returned, in display form.

    is_portable: whole numbers that JavaScript would round are told as `portable` does.
    """

    def __init__(self, services: Mapping[str, ServiceRecord], is_portable: bool) -> None:
        self._portable = portable if is_portable else lambda value: value
        self._decode = json.JSONDecoder(parse_int=integer if is_portable else int).raw_decode  # what we wrote begins at once
        self._services = services
        self._takers = {name: _Taker(service.parameters) for name, service in services.items()}
        self._flow: dict[str, Any] = {}
        self._is_marked = False  # whether anything in this chain so far has a meaning beyond its JSON

    def follow(self, task: TaskRecord) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
        """``(bound arguments, parameters left to their defaults, what it returned by name)`` of the next task.

        The first two are empty if it never ran, binding failed, or nothing is known of its service.
        """
        if task.num == task.chain:
            self._flow, self._is_marked = {}, False
        arguments, changes, result_text = task.arguments, task.changes, task.result
        taker = self._takers.get(task.service)
        if (self._is_marked or _is_marked(arguments) or (changes and _is_marked(changes))
                or (result_text and _is_marked(result_text)) or (taker and taker.has_references)):
            self._is_marked = True
            return self._follow_with_care(task)
        decode = self._decode
        supplied: dict[str, Any] = {**self._flow, **decode(arguments)[0]}
        if changes:
            supplied.update(decode(changes)[0])
        result = decode(result_text)[0] if result_text else None
        if task.num != task.last:
            self._flow = {**supplied, **result} if result else supplied
        if not task.attempt or taker is None or not taker.can_be_called_with(supplied) or _was_not_converted(task):
            return {}, {}, result
        return *taker.bound(supplied), result

    def _follow_with_care(self, task: TaskRecord) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
        service = self._services.get(task.service)
        bog = bind_for_display(service, task, self._flow) if service and task.attempt else None
        if task.num != task.last:
            self._flow = flow_after(task, self._flow)
        result = display(task.result) if task.result else None
        return self._portable((bog.bound_args, dict(bog.defaults), result) if bog else ({}, {}, result))


class _Taker:
    """What a service takes, for values without references: the short way of `Bog`."""

    def __init__(self, parameters: Parameters) -> None:
        self.names, self.rest = parameters.names, parameters.var_keyword
        self.required = frozenset(parameters.required)
        self.defaults = dict(parameters.defaults)
        self.has_references = any(isinstance(value, str) and value[:1] == "@" for value in self.defaults.values())

    def can_be_called_with(self, supplied: dict[str, Any]) -> bool:
        return self.required <= supplied.keys()

    def bound(self, supplied: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(bound arguments, defaults)``."""
        bound = {name: supplied[name] for name in self.names if name in supplied}
        if self.rest and (others := {name: value for name, value in supplied.items() if name not in self.names}):
            bound[self.rest] = others
        return bound, {name: value for name, value in self.defaults.items() if name not in supplied}


def bind_for_display(service: ServiceRecord, task: TaskRecord, flow: Mapping[str, Any],
                     read: Callable[[str], Any] = display) -> Bog | None:
    """What reached a task, in the form that ``read`` gives, with what converters changed; None if binding failed."""
    try:
        bog = Bog(service.parameters, read(task.arguments), flow)
        bog.call_arguments()
    except (InvalidChainArgsException, TypeError):
        return None
    if task.changes:
        bog.supply(read(task.changes))
    elif _was_not_converted(task):
        return None
    return bog


def flow_after(task: TaskRecord, flow: Mapping[str, Any], read: Callable[[str], Any] = display) -> dict[str, Any]:
    """What flows on from a task that succeeded, in the form that ``read`` gives. flow: what reached it from before."""
    own = read(task.arguments)
    own.pop(EXTRA, None)
    return {**flow, **own, **(read(task.changes) if task.changes else {}),
            **(as_flow(read(task.result)) if task.result else {})}


def _was_not_converted(task: TaskRecord) -> bool:
    return (not task.changes and task.state == "failed" and task.error is not None
            and "ArgumentConversionException" in task.error
            and display_error(task.error)["name"] == "ArgumentConversionException")
