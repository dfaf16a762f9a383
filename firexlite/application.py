"""Services and the app that knows them: `@app.task`, `@flame`, and how a name finds its service."""
from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .binding import Parameters
from .codec import encode
from .errors import IllegalTaskNameException, NotRegistered, NotStorable, ReturnsCodingException, SecretUnavailable, nearest
from .results import return_names
from .secrets import Secret, mask_of, masked
from .services import Task
from .signatures import Signature

ORIG = "_orig"            # what the name of an overridden service ends in, once for each level
WORKER_DEATHS = 3         # how many deaths of its worker a task survives
ON_INTERRUPT = ("retry", "fail", "ask")
COLLAPSE_KEY = "_default_display"


class Service:
    """A function that can be composed into chains and run as a task. Called directly it is the plain function."""

    def __init__(self, function: Callable, *, name: str, bind: bool, returns: tuple[str, ...] | None,
                 flame: Mapping[str, Flame], collapse: list[dict], worker_deaths: int, on_interrupt: str,
                 base: type[Task]) -> None:
        self.undecorated = function
        self.name = name
        self.bind, self.returns, self.base = bind, returns, base
        self.worker_deaths, self.on_interrupt = worker_deaths, on_interrupt
        self.flame, self.collapse = dict(flame), collapse
        self.parameters = Parameters.of(function, bind)
        self.from_plugin = False
        self.orig: Service | None = None
        code = inspect.unwrap(function).__code__
        self.file, self.line = code.co_filename, code.co_firstlineno
        self.digest = file_digest(self.file)  # now, while it is the code that was loaded
        functools.update_wrapper(self, function)

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def name_without_orig(self) -> str:
        return re.sub(f"({ORIG})+$", "", self.name)

    def s(self, /, *args: Any, **kwargs: Any) -> Signature:
        """A signature of this service with arguments bound; which service runs is looked up by name when it is enqueued."""
        return Signature(self.name, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.undecorated(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<service {self.name}>"

    @functools.cached_property
    def about(self) -> str:
        """What a reader of the journal needs to know of the service, as JSON."""
        p = self.parameters
        return json.dumps({
            "positional": p.positional, "keyword_only": p.keyword_only, "positional_only": sorted(p.positional_only),
            "var_positional": p.var_positional, "var_keyword": p.var_keyword,
            "defaults": {name: _encode_default(value) for name, value in p.defaults.items()},
            "returns": self.returns, "file": masked(self.file), "line": self.line, "plugin": self.from_plugin,
            "short_name": self.name_without_orig.rpartition(".")[2],
        })


def _encode_default(value: object) -> str:
    if isinstance(value, Secret):
        value = mask_of(value.reference)  # shown, and not read: whoever only enqueues the service has no part in it
    try:
        return encode(value, "default")
    except (NotStorable, SecretUnavailable):
        return encode(repr(value), "default")


@functools.cache
def file_digest(path: str) -> str:
    """A short digest of a source file, empty if it cannot be read."""
    try:
        return _short_digest(Path(path).read_bytes())
    except OSError:
        return ""


def _short_digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class App:
    """Knows the services of a process by name."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._of_listed_plugins: dict[str, Service] = {}  # by short name; they come before all others
        self._loading: str | None = None  # the module name of the plugin being imported

    def task(self, function: Callable | None = None, *, bind: bool = False,
             returns: str | Iterable[str] | None = None, flame: str | Iterable[str] | Mapping | None = None,
             worker_deaths: int = WORKER_DEATHS, on_interrupt: str = "retry", base: type[Task] = Task,
             name: str | None = None) -> Any:
        """Make a function a service; with or without arguments.

        bind: the function's first parameter is the task itself. returns: the names of what it returns.
        flame: names of arguments and results to show in the report. worker_deaths: how many deaths of its worker
        a task of it survives; the next one fails it. on_interrupt: what becomes of a task whose body was cut off, by
        the death of its worker or of all processes: `retry` runs it again; `fail` fails it, and `ask` has the run
        stop, until a person decides with `resume --restart-task` or `--mark-done`.
        """
        if on_interrupt not in ON_INTERRUPT:
            raise ValueError(f"on_interrupt takes {', '.join(ON_INTERRUPT)}, not {on_interrupt!r}")
        if function is None:
            return functools.partial(self.task, bind=bind, returns=returns, flame=flame,
                                     worker_deaths=worker_deaths, on_interrupt=on_interrupt, base=base, name=name)
        declared = _attribute(function, "__firexlite_returns__")
        if declared is not None and returns is not None:
            raise ReturnsCodingException(f"{function.__name__} declares its returns twice, by @returns and by returns=")
        long_name = name or f"{function.__module__}.{function.__name__}"
        if long_name.endswith(ORIG):
            raise IllegalTaskNameException(f"the name of {long_name} ends in {ORIG}, which is kept for overridden services")
        shown = {**(_attribute(function, "__firexlite_flame__") or {}), **_flame_option(flame)}
        return self._register(Service(
            function, name=long_name, bind=bind, base=base, worker_deaths=worker_deaths, on_interrupt=on_interrupt, flame=shown,
            returns=return_names(returns if declared is None else declared, long_name),
            collapse=_attribute(function, "__firexlite_collapse__") or []))

    def _register(self, service: Service) -> Service:
        """Make a service known; one that a plugin defines overrides the service of its short name, everywhere."""
        if self._loading is not None:
            service.from_plugin = True
            if service.undecorated.__module__ == self._loading:
                self._override(service)
                self._of_listed_plugins[service.short_name] = service
        elif override := self._of_listed_plugins.get(service.short_name):
            lowest = override  # this one is defined later than the plugin's, and overridden all the same
            while lowest.orig is not None:
                lowest = lowest.orig
            lowest.orig = self._as_orig(service)
            self._services[service.name] = override
            return service
        self._services[service.name] = service
        return service

    def _override(self, service: Service) -> None:
        older = next((s for s in self._services.values() if s.short_name == service.short_name), None)
        if older is None:
            return
        service.orig = self._as_orig(older)
        for name, known in self._services.items():
            if known is older:
                self._services[name] = service  # whoever asks for the old one gets the new one

    def _as_orig(self, service: Service) -> Service:
        """A copy of an overridden service under the name by which `orig` calls it; the old object stands for the new one."""
        orig = copy.copy(service)
        orig.__dict__.pop("about", None)
        orig.name += ORIG
        if service.orig is not None:
            orig.orig = self._as_orig(service.orig)
        self._services[orig.name] = orig
        return orig

    def depends_on(self, digests: Iterable[str]) -> None:
        """Make digests of other files part of that of each service of a plugin; nobody knows which of them uses which."""
        if others := "".join(digests):
            for service in {id(s): s for s in self._services.values() if s.from_plugin}.values():
                service.digest = _short_digest((file_digest(service.file) + others).encode())

    def loading(self, module: str | None) -> None:
        """Which plugin's import comes next; None: no longer one."""
        self._loading = module

    def __iter__(self) -> Iterator[Service]:
        """Each service once, without those overridden."""
        return iter({id(s): s for name, s in self._services.items() if not name.endswith(ORIG)}.values())

    def __contains__(self, name: str) -> bool:
        return name in self._services or _found_elsewhere(name) is not None

    def service(self, name: str) -> Service:
        """The service of a long name, else of a short name, else of a short name in other letter case.

        Raises NotRegistered, with the nearest name.
        """
        if found := self._services.get(name):
            return found
        for same in (str, str.casefold):
            for service in self._services.values():
                if same(service.short_name) == same(name):
                    return service
        if found := _found_elsewhere(name):
            return found
        raise NotRegistered(f"there is no service '{name}'.{nearest(name, [s.short_name for s in self])}")


app = App()


def _found_elsewhere(name: str) -> Service | None:
    """A service that no plugin imports: who stands in for the modules of another package may know it by its name there."""
    for finder in sys.meta_path:
        if (find := getattr(finder, "find_service", None)) and (found := find(name)):
            return found
    return None


def _attribute(function: Callable, name: str) -> Any:
    """An attribute that a decorator left on a function, through other decorators that used functools.wraps."""
    while function is not None:
        if (found := getattr(function, name, None)) is not None:
            return found
        function = getattr(function, "__wrapped__", None)  # type: ignore[assignment]
    return None


# --- what a service shows of itself ---------------------------------------------------------------------------

class Flame:
    """One value that a service shows in the report. key None: the formatter gets all arguments and results at once."""

    def __init__(self, key: str | None, formatter: Callable | None, data_type: str, bind: bool) -> None:
        self.key, self.formatter, self.data_type, self.bind = key, formatter, data_type, bind

    def text(self, values: Mapping[str, object], task: Task) -> str | None:
        """What to show of ``values``, None for nothing. The formatter's exceptions are the caller's to log."""
        if self.key is not None and self.key not in values:
            return None
        shown = dict(values) if self.key is None else values[self.key]
        if self.formatter is None:
            return default_formatter(shown)
        return self.formatter(shown, task=task) if self.bind else self.formatter(shown)


def default_formatter(value: object) -> str | None:
    """None shows nothing, a string itself, anything else as JSON, or as str() gives it."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


def flame(key: str | None = None, formatter: Callable | None = None, data_type: str = "html", bind: bool = False) -> Callable:
    """Show an argument or a result of a service in the report; stands below `@app.task`.

    formatter: from the value (for ``key`` None or '*': from a dict of all) to HTML; called when the task starts and
    when it succeeds. bind: it also gets ``task=self``.
    """
    name = None if key == "*" else key

    def declare(function: Callable) -> Callable:
        if isinstance(function, Service):
            raise TypeError("@flame must stand below @app.task")
        shown = dict(_attribute(function, "__firexlite_flame__") or {})
        shown[key or "*"] = Flame(name, formatter, data_type, bind)
        function.__firexlite_flame__ = shown  # type: ignore[attr-defined]
        return function

    return declare


def _flame_option(option: str | Iterable[str] | Mapping | None) -> dict[str, Flame]:
    if option is None:
        return {}
    keys: Iterable[str] = (option,) if isinstance(option, str) else option
    formatters = option if isinstance(option, Mapping) else {}
    return {key: Flame(None if key == "*" else key, formatters.get(key), "html", False) for key in keys}


_TARGETS = ("self", "ancestors", "descendants", "unchained-descendants", "grandchildren")


def flame_collapse(spec: str | Mapping | list) -> Callable:
    """Declare which tasks the report draws collapsed: ``'descendants'``, or ``{service or regex: targets}``.

    targets: one of self, ancestors, descendants, unchained-descendants, a list of them, or ``{targets, operation}``.
    """
    operations = spec if isinstance(spec, list) else _collapse_operations(spec)

    def declare(function: Callable) -> Callable:
        if isinstance(function, Service):
            raise TypeError("@flame_collapse must stand below @app.task")
        function.__firexlite_collapse__ = operations  # type: ignore[attr-defined]
        return function

    return declare


def _collapse_operations(spec: str | Mapping) -> list[dict]:
    rules = {None: spec} if isinstance(spec, str) else spec
    operations = []
    for nodes, rule in rules.items():
        rule = rule if isinstance(rule, Mapping) else {"targets": rule}
        targets = rule["targets"]
        operation: dict[str, Any] = {"targets": [targets] if isinstance(targets, str) else list(targets),
                                     "operation": rule.get("operation", "collapse")}
        if unknown := set(operation["targets"]) - set(_TARGETS):
            raise ValueError(f"flame_collapse knows the targets {', '.join(_TARGETS)}, not {', '.join(sorted(unknown))}")
        if nodes is not None:
            pattern = nodes.pattern if isinstance(nodes, re.Pattern) else None
            operation["relative_to_nodes"] = {"type": "task_name_regex" if pattern else "task_name", "value": pattern or nodes}
        operations.append(operation)
    return operations
