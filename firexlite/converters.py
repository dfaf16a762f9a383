"""Argument converters: functions that correct or refuse arguments, of a run (`InputConverter`) or of one service.

A converter receives ``{name: value}`` and changes it in place, or returns the changes, or raises. Values such as
``"@other"``, which only stand for another argument, are hidden from it. Names and behaviour are those of FireX.
"""
from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

from .errors import (
    ArgumentConversionException,
    CircularDependencyException,
    ConverterRegistrationException,
    MissingConverterDependencyError,
    NameDuplicationException,
)

Converter = Callable[[dict[str, Any]], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Registration:
    """A converter, and the names of those that must have run before it."""

    converter: Converter
    dependencies: tuple[str, ...]
    file: str | None

    @property
    def name(self) -> str:
        return self.converter.__name__


class ConverterRegister:
    """Converters in two groups: *pre* for what goes into a task, *post* for what comes out of it."""

    _task_instances: ClassVar[dict[str, ConverterRegister]] = {}  # by the short name of a service

    def __init__(self) -> None:
        self._pre_converters: dict[str, Registration] = {}
        self._post_converters: dict[str, Registration] = {}

    @classmethod
    def register_for_task(cls, task: Any, pre_task: Any = True, *dependencies: Any) -> Any:
        """Decorator that registers a converter of one service's arguments, or with ``pre_task=False`` of its results.

        task: a service, or its long or short name.
        """
        name = task if isinstance(task, str) else getattr(task, "short_name", None) or task.name
        register = cls._task_instances.setdefault(_short(name), cls())
        return register.register(pre_task, *dependencies)

    @classmethod
    def task_convert(cls, task_name: str, pre_task: bool = True, **kwargs: Any) -> dict[str, Any]:
        """The arguments of a service after its converters; unchanged if it has none."""
        register = cls.get_register(task_name)
        return register.converted(kwargs, pre_task) if register else kwargs

    @classmethod
    def get_register(cls, task_name: str) -> ConverterRegister | None:
        """The converters of a service, named with or without its module; None if it has none."""
        return cls._task_instances.get(_short(task_name))

    @classmethod
    def list_converters(cls, task_name: str, pre_task: bool = True) -> list[str]:
        """The names of a service's converters, in the order in which they run."""
        register = cls.get_register(task_name)
        return register.get_visit_order(pre_task) if register else []

    def register(self, *args: Any) -> Any:
        """Register a converter: ``@register``, or ``@register(...)`` with any of

        a str: the name of a converter that must run before this one;
        a bool: True for the *pre* group (the default), False for *post*;
        a callable: the converter itself.
        Raises ConverterRegistrationException for anything else, NameDuplicationException if another file has
        registered a converter of this name in the same group; the same file replaces it.
        """
        if not args:
            raise ConverterRegistrationException("register needs a converter, a dependency or a bool")
        converter, dependencies, is_pre = None, [], True
        for arg in args:
            if isinstance(arg, str):
                dependencies.append(arg)
            elif isinstance(arg, bool):
                is_pre = arg
            elif callable(arg):
                converter = arg
            else:
                raise ConverterRegistrationException(
                    f"register takes a converter, the names of its dependencies and a bool, not {arg!r}")

        def add(converter: Converter) -> Converter:
            self._add(converter, tuple(dependencies), is_pre)
            return converter

        return add(converter) if converter else add

    def _add(self, converter: Converter, dependencies: tuple[str, ...], is_pre: bool) -> None:
        if not callable(converter):
            raise ConverterRegistrationException(f"a converter must be callable, {converter!r} is not")
        new = Registration(converter, dependencies, _file_of(converter))
        old = self._group(is_pre).get(new.name)
        if old and old.file != new.file:
            raise NameDuplicationException(f"Converter {new.name} of {new.file} has the name of one "
                                           f"that {old.file} registered; choose another name")
        self._group(is_pre)[new.name] = new

    def convert(self, pre_task: bool = True, **kwargs: Any) -> dict[str, Any]:
        """As `converted`, for arguments none of which is called ``pre_task``."""
        return self.converted(kwargs, pre_task)

    def converted(self, arguments: Mapping[str, Any], pre_task: bool = True,
                  changed_by: dict[str, str] | None = None) -> dict[str, Any]:
        """``arguments`` after all converters of one group; what a converter adds is added.

        changed_by: is told ``{argument: the last converter that changed or added it}``.
        Raises ArgumentConversionException, naming the converter that raised; MissingConverterDependencyError
        or CircularDependencyException if no order satisfies all dependencies.
        """
        visible = {name: value for name, value in arguments.items() if not _is_reference(value)}
        for name in self.get_visit_order(pre_task):
            before = dict(visible) if changed_by is not None else {}
            try:
                visible.update(self._group(pre_task)[name].converter(visible) or {})
            except Exception as error:
                raise ArgumentConversionException(f"Converter {name} failed: {error}") from error
            if changed_by is not None:
                changed_by.update((argument, name) for argument, value in visible.items()
                                  if argument not in before or value is not before[argument])
        return {**arguments, **visible}

    def get_visit_order(self, pre_task: bool = True) -> list[str]:
        """The names of one group's converters: as registered, but dependencies first."""
        order: list[str] = []
        for name in self._group(pre_task):
            self._visit(name, self._group(pre_task), order, below=())
        return order

    def _visit(self, name: str, group: dict[str, Registration], order: list[str], below: tuple[str, ...]) -> None:
        if name in below:
            circle = " -> ".join((*below[below.index(name):], name))
            raise CircularDependencyException(f"Converters depend on each other in a circle: {circle}")
        if name in order:
            return
        for dependency in group[name].dependencies:
            if dependency in group:
                self._visit(dependency, group, order, (*below, name))
            elif dependency not in self._pre_converters:  # these have run before any of the post group
                raise MissingConverterDependencyError(
                    f"Converter {name} depends on {dependency}, which is not registered")
        order.append(name)

    def _group(self, is_pre: bool) -> dict[str, Registration]:
        return self._pre_converters if is_pre else self._post_converters


class SingleArgDecorator:
    """Makes a converter of ``fn(value) -> value``, called for each of the named arguments that is present.

        @InputConverter.register
        @SingleArgDecorator("guests")
        def split_guests(value):
            return value.split(",")

    ``split_guests.append("hosts")`` lets it convert another argument too.
    """

    def __init__(self, *args: str) -> None:
        if not args:
            raise ConverterRegistrationException("SingleArgDecorator needs the name of an argument")
        self.args: list[str] = []
        self.append(*args)

    def append(self, *names: str) -> None:
        """Have it convert arguments of these names, too."""
        for name in names:
            if not isinstance(name, str):
                raise ConverterRegistrationException(f"SingleArgDecorator takes names of arguments, not {name!r}")
        self.args.extend(names)

    def __call__(self, fn: Callable[[Any], Any]) -> Any:
        @wraps(fn)
        def convert_named(arguments: dict[str, Any]) -> dict[str, Any]:
            return {name: self._convert(fn, name, arguments[name])
                    for name in self.args if name in arguments and not _is_reference(arguments[name])}

        converter: Any = convert_named
        converter.append = self.append
        converter.single_arg_decorator = self
        return converter

    def _convert(self, fn: Callable[[Any], Any], name: str, value: Any) -> Any:
        try:
            return fn(value)
        except Exception as error:
            raise ArgumentConversionException(f"{name}: {error}") from error


class InputConverter:
    """Converters of the arguments of a whole run, as the command line gives them.

    Conversion takes place twice: *pre* before the services are imported, so that a wrong argument is refused at once,
    and *post* after it, for converters that the services and plugins bring along.
    """

    _global_instance: ClassVar[ConverterRegister | None] = None
    pre_load_was_run: ClassVar[bool] = False

    @classmethod
    def instance(cls) -> ConverterRegister:
        """The one register of this process."""
        if cls._global_instance is None:
            cls._global_instance = ConverterRegister()
        return cls._global_instance

    @classmethod
    def start_over(cls) -> None:
        """Begin with the next run of this process: no conversion has taken place. The converters stay."""
        cls.pre_load_was_run = False

    @classmethod
    def forget_all(cls) -> None:
        """Forget every converter but the built-in ones, and begin anew; for tests."""
        cls._global_instance = None
        cls.start_over()
        cls.register(convert_booleans)

    @classmethod
    def register(cls, *args: Any) -> Any:
        """As `ConverterRegister.register`; without a bool the group is *pre* until that has run, then *post*.

        Raises ConverterRegistrationException for the *pre* group once that has run.
        """
        is_pre = next((arg for arg in args if isinstance(arg, bool)), not cls.pre_load_was_run)
        if is_pre and cls.pre_load_was_run:
            raise ConverterRegistrationException(
                "The converters that run before the services are loaded have run already; register with False")
        registered = cls.instance().register(*args, is_pre)
        dependencies = [arg for arg in args if isinstance(arg, str)]

        def keep_appendable(converter: Any) -> Any:
            if is_pre:
                cls._keep_appendable(converter, dependencies)
            return converter

        if any(callable(arg) for arg in args):
            return keep_appendable(registered)
        return lambda converter: keep_appendable(registered(converter))

    @classmethod
    def _keep_appendable(cls, converter: Any, dependencies: list[str]) -> None:
        """Let names that are appended after the *pre* conversion be converted in the *post* one, and only they."""
        single: SingleArgDecorator | None = getattr(converter, "single_arg_decorator", None)
        if single is None:
            return

        def append(*names: str) -> None:
            if cls.pre_load_was_run and converter.append is append:
                single.args.clear()
                converter.append = single.append
                cls.register(converter, *dependencies)
            single.append(*names)

        converter.append = append

    @classmethod
    def convert(cls, pre_load: bool | None = None, **kwargs: Any) -> dict[str, Any]:
        """As `converted`, for arguments none of which is called ``pre_load``."""
        return cls.converted(kwargs, pre_load)

    @classmethod
    def converted(cls, arguments: Mapping[str, Any], pre_load: bool | None = None,
                  changed_by: dict[str, str] | None = None) -> dict[str, Any]:
        """``arguments`` after the *pre* converters at the first call, after the *post* ones at the next.

        pre_load: chooses the group instead; True is refused if that has run. changed_by: as of `ConverterRegister.converted`.
        Raises what `ConverterRegister.converted` does, and ConverterRegistrationException.
        """
        pre_load = not cls.pre_load_was_run if pre_load is None else pre_load
        if pre_load and cls.pre_load_was_run:
            raise ConverterRegistrationException(
                "The converters that run before the services are loaded have run already")
        converted = cls.instance().converted(arguments, pre_load, changed_by)
        cls.pre_load_was_run = True
        return converted


def convert_booleans(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The strings true, false and none, in any case, as True, False and None."""
    return {name: _CONSTANTS[value.lower()] for name, value in kwargs.items()
            if isinstance(value, str) and value.lower() in _CONSTANTS}


_CONSTANTS = {"true": True, "false": False, "none": None}


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith("@")


def _short(task_name: str) -> str:
    return task_name.rpartition(".")[2]


def _file_of(converter: Converter) -> str | None:
    # As in FireX this is, for every SingleArgDecorator, the file of the decorator:
    # of two such converters with one name the later replaces the earlier, wherever they are written.
    try:
        return os.path.realpath(inspect.getfile(converter))
    except TypeError:
        return None


InputConverter.register(convert_booleans)
