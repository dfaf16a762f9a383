"""The binding rules: which value reaches which parameter of a service (FireX's bag of goodies).

For a task of a chain, from the strongest: its own arguments; what flows from the task before it, that is
what reached that task overlaid by what it returned; the default of the parameter, which does not flow on.
A string `'@name'` given to a parameter stands for the value of ``name``, however many steps away;
`'@@name'` is the string `@name`.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from .errors import InvalidChainArgsException
from .results import DYNAMIC_RETURN
from .signatures import Literal

EXTRA = "*"  # the key of positional arguments beyond the named ones; no name can collide with it


@dataclass(frozen=True)
class Parameters:
    """The parameters of a service's function, without a bound `self`."""

    positional: tuple[str, ...]           # in order; may be given by position
    keyword_only: tuple[str, ...]
    defaults: Mapping[str, object]
    positional_only: frozenset[str] = frozenset()
    var_positional: str | None = None     # the `args` of *args
    var_keyword: str | None = None        # the `kwargs` of **kwargs
    beyond: tuple[str, ...] = ()          # names of positional arguments that only an overridden service takes

    @classmethod
    def of(cls, function: Callable, bound: bool) -> Parameters:
        """Read them from ``function``; with ``bound`` its first parameter is the task itself."""
        return cls.of_signature(inspect.signature(function), bound)

    @classmethod
    def of_signature(cls, signature: inspect.Signature, bound: bool = False) -> Parameters:
        """Read them from Python's own signature of a function."""
        every = list(signature.parameters.values())[1 if bound else 0:]

        def named(*kinds: Any) -> tuple[str, ...]:
            return tuple(p.name for p in every if p.kind in kinds)

        def single(kind: Any) -> str | None:
            return next((p.name for p in every if p.kind is kind), None)

        return cls(
            positional=named(inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD),
            keyword_only=named(inspect.Parameter.KEYWORD_ONLY),
            defaults={p.name: p.default for p in every if p.default is not inspect.Parameter.empty},
            positional_only=frozenset(named(inspect.Parameter.POSITIONAL_ONLY)),
            var_positional=single(inspect.Parameter.VAR_POSITIONAL),
            var_keyword=single(inspect.Parameter.VAR_KEYWORD),
        )

    def overriding(self, overridden: Parameters) -> Parameters:
        """Those of a service that takes the place of another, so that it can be called as that was.

        A parameter without a default has that of the other; positional arguments beyond its own have the other's names.
        """
        adopted = {name: value for name, value in overridden.defaults.items()
                   if name in self.names and name not in self.defaults}
        beyond = (overridden.positional + overridden.beyond)[len(self.positional):]
        return replace(self, defaults={**self.defaults, **adopted}, beyond=beyond)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.positional + self.keyword_only

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.defaults)

    def accepts(self, name: str) -> bool:
        return name in self.names or (self.var_keyword is not None and name != EXTRA)

    def by_name(self, args: Sequence, kwargs: Mapping[str, object]) -> dict[str, object]:
        """Own arguments by name; a positional one silently wins over the keyword of its name, as in FireX.

        Raises TypeError if there are more positional arguments than parameters.
        """
        own = dict(kwargs)
        places = self.positional if self.var_positional else self.positional + self.beyond
        own.update(zip(places, args, strict=False))
        if extra := list(args[len(places):]):
            if self.var_positional is None:
                raise TypeError("too many positional arguments")
            own[EXTRA] = extra
        return own


class Bog:
    """What reaches one task: its own arguments over what flows to it, references resolved.

    parameters: of the service. own: ``{name: value}`` as the signature gave them. flow: ``{name: value}`` from
    the task before, where what a service returned as `'@..'` is a `Literal`.
    Raises InvalidChainArgsException if references form a circle.
    """

    def __init__(self, parameters: Parameters, own: Mapping[str, object], flow: Mapping[str, object]) -> None:
        self.parameters = parameters
        self.extra: tuple = tuple(own.get(EXTRA, ()))  # type: ignore[arg-type]
        supplied = {**flow, **{name: value for name, value in own.items() if name != EXTRA}}
        for name, value in own.items():
            if type(value) is str and target_of(value) == name and name in flow:
                supplied[name] = flow[name]  # x='@x' asks for the x that flows
        self.given = supplied
        self.supplied = {name: self._resolve(name, value, supplied) if type(value) is str and parameters.accepts(name)
                         else value for name, value in supplied.items()}
        self.defaults: dict[str, object] = {name: value for name, value in parameters.defaults.items() if name not in supplied}
        for name, value in parameters.defaults.items():
            if name in self.defaults and target_of(value) in supplied:  # as in FireX it then counts as supplied
                self.supplied[name] = self._resolve(name, self.defaults.pop(name), supplied)

    def _resolve(self, name: str, value: object, given: Mapping[str, object]) -> object:
        """Follow references to their end; one that leads nowhere stays the string it was."""
        path = [name]
        while (target := target_of(value)) is not None and target in given:
            if target_of(given[target]) == target:
                break  # '@x' for x itself, with no x that flows: it leads nowhere
            if target in path:
                raise InvalidChainArgsException(
                    f"{' -> '.join('@' + step for step in [*path, target])} is a circle of references", {name: target})
            path.append(target)
            value = given[target]
        return _as_data(value)

    def supply(self, changes: Mapping[str, object]) -> None:
        """Take what a converter gave: it counts as supplied, and may refer to other values."""
        given = {**self.given, **changes}
        for name, value in changes.items():
            self.supplied[name] = self._resolve(name, value, given) if self.parameters.accepts(name) else value
            self.defaults.pop(name, None)

    @property
    def accepted(self) -> dict[str, object]:
        """The supplied values that the service takes: ``{parameter: value}``; those of `**kwargs` included."""
        return {name: value for name, value in self.supplied.items() if self.parameters.accepts(name)}

    @property
    def abog(self) -> dict[str, object]:
        """A fresh dict of everything within reach: own defaults, overlaid by all that was supplied."""
        return {**self.defaults, **{name: _as_data(value, keep_references=True) for name, value in self.supplied.items()}}

    @property
    def bound_args(self) -> dict[str, object]:
        """FireX's bound arguments: as `accepted`, with `*args` and `**kwargs` under their own names."""
        known = {name: self.supplied[name] for name in self.parameters.names if name in self.supplied}
        if self.parameters.var_positional and self.extra:
            known[self.parameters.var_positional] = self.extra
        if self.parameters.var_keyword:
            rest = {name: value for name, value in self.accepted.items() if name not in self.parameters.names}
            if rest:
                known[self.parameters.var_keyword] = rest
        return known

    def call_arguments(self) -> tuple[list, dict[str, object]]:
        """``(args, kwargs)`` for the function. Raises InvalidChainArgsException if a required one is missing."""
        values = {**self.defaults, **self.accepted}
        missing = {name for name in self.parameters.required if name not in values}
        if missing:
            raise missing_arguments({"this service": missing})
        # By position only what must be: a service may have been wrapped by a decorator that looks at keywords.
        by_position = self.parameters.positional if self.extra else [
            name for name in self.parameters.positional if name in self.parameters.positional_only]
        args = [values.pop(name) for name in by_position]
        return [*args, *self.extra], values


def target_of(value: object) -> str | None:
    """The name that a reference `'@name'` refers to, else None."""
    if type(value) is str and len(value) > 1 and value[0] == "@" and value[1] != "@":
        return value[1:]
    return None


def _as_data(value: object, keep_references: bool = False) -> object:
    """A string that starts with `@` marked as data, so that handing it on does not make it a reference."""
    if type(value) is str and value[:1] == "@" and len(value) > 1:
        if value[1] == "@":
            return Literal(value[1:])
        return value if keep_references else Literal(value)
    return value


def as_argument(value: object) -> object:
    """How a value is written among a signature's arguments, where `@` has a meaning."""
    return "@" + value if isinstance(value, Literal) else value


def as_flow(result: Mapping[str, object]) -> dict[str, object]:
    """What a task returned, ready to flow: its strings are data, whatever they start with."""
    return {name: Literal(value) if type(value) is str and value[:1] == "@" else value
            for name, value in result.items()}


class Member(NamedTuple):
    """One task of a chain to be verified: its service's name, parameters, return names and own arguments."""

    service: str
    parameters: Parameters
    returns: tuple[str, ...] | None
    own: Mapping[str, object]


def verify(members: Iterable[Member], flow: Iterable[str] = ()) -> None:
    """Check before anything runs that every task of a chain will find its arguments.

    What a DYNAMIC_RETURN adds cannot be known, so what follows one is not checked.
    Raises InvalidChainArgsException: missing arguments of all tasks, or references to what will not be there.
    """
    reachable: dict[str, object] = dict.fromkeys(flow)
    missing: dict[str, set[str]] = {}
    for member in members:
        supplied = {**reachable, **member.own}
        lacking = {name for name in member.parameters.required if name not in supplied}
        if lacking:
            missing.setdefault(member.service, set()).update(lacking)
        if any(type(value) is str and value[:1] == "@" for value in supplied.values()):
            _verify_references(member, reachable)
        reachable = {**supplied, **dict.fromkeys(member.returns or ())}
        if DYNAMIC_RETURN in (member.returns or ()):
            break
    if missing:
        raise missing_arguments(missing)


def _verify_references(member: Member, flow: Mapping[str, object]) -> None:
    given = Bog(member.parameters, member.own, flow).given  # raises for a circle
    wrong = {name: target for name, value in given.items() if member.parameters.accepts(name)
             and (target := target_of(value)) and (target not in given or target == name)}
    if wrong:
        lines = "\n".join(f"{name}: {target}" for name, target in wrong.items())
        raise InvalidChainArgsException(
            f"Service {member.service} indirectly references the following unavailable parameters: \n{lines}", wrong)


def missing_arguments(missing: Mapping[str, set[str]]) -> InvalidChainArgsException:
    """The error of firexkit 5.7.236 for ``{service: names that nobody supplies}``."""
    lines = "\n".join(f" {', '.join(sorted(names))} \t required by {service}" for service, names in missing.items())
    return InvalidChainArgsException(f"Missing mandatory arguments: \n{lines}", missing)
