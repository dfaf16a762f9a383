"""Who supplied each value that reached a task: its own signature, a task before it, a converter, a default."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .binding import EXTRA, target_of
from .codec import display
from .history import History, TaskRecord


class Supplier(NamedTuple):
    """Where a value comes from. how: given, returned, converted, default. task: whose signature gave it, or which returned
    or converted it; None for what was given to the run. name: under which it was there, if a reference led to it."""

    how: str
    task: int | None = None
    name: str | None = None


def suppliers_of(history: History, task: TaskRecord) -> dict[str, Supplier]:
    """``{parameter: supplier}`` of what reached a task; empty if nothing is known of its service."""
    service = history.services.get(task.service)
    if service is None:
        return {}
    flow: dict[str, tuple[Supplier, Any]] = {}
    for earlier in history.tasks_between(task.chain, task.num - 1):
        flow.update(_own(earlier))
        flow.update(_converted(earlier))
        if earlier.result:
            flow.update({name: (Supplier("returned", earlier.num), None) for name in display(earlier.result)})
    own = _own(task)
    supplied = {**flow, **{name: found for name, found in own.items()
                           if not (target_of(found[1]) == name and name in flow)}}  # x='@x' asks for the x that flows
    found: dict[str, Supplier] = {}
    for name, default in service.parameters.defaults.items():
        if name not in supplied:
            target = target_of(default)
            found[name] = _followed(target, supplied) if target in supplied else Supplier("default")
    for name, (supplier, value) in supplied.items():
        if service.parameters.accepts(name):
            target = target_of(value)
            found[name] = _followed(target, supplied) if target in supplied else supplier
    found.update({name: supplier for name, (supplier, value) in _converted(task).items() if service.parameters.accepts(name)
                  and not _is_resolved(name, value, supplied)})
    if service.parameters.var_positional and display(task.arguments).get(EXTRA):
        found[service.parameters.var_positional] = Supplier("given", task.parent)
    return found


def _own(task: TaskRecord) -> dict[str, tuple[Supplier, Any]]:
    return {name: (Supplier("given", task.parent), value) for name, value in display(task.arguments).items() if name != EXTRA}


def _converted(task: TaskRecord) -> dict[str, tuple[Supplier, Any]]:
    changes: Mapping[str, Any] = display(task.changes) if task.changes else {}
    return {name: (Supplier("converted", task.num), value) for name, value in changes.items()}


def _is_resolved(name: str, value: object, supplied: Mapping[str, tuple[Supplier, Any]]) -> bool:
    """Whether a change is none of a converter's: in the place of a reference stands what it leads to."""
    target = target_of(supplied[name][1]) if name in supplied else None
    return target is not None and target in supplied and supplied[target][0].how == "given" and supplied[target][1] == value


def _followed(name: str | None, supplied: Mapping[str, tuple[Supplier, Any]]) -> Supplier:
    """The supplier of what a chain of references leads to, with the name at its end."""
    seen: list[str] = []
    while name is not None and name not in seen:
        seen.append(name)
        supplier, value = supplied[name]
        following = target_of(value)
        if following is None or following not in supplied:
            return Supplier(supplier.how, supplier.task, name)
        name = following
    return Supplier("given")
