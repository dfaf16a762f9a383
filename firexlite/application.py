"""Services and the app that knows them: `@app.task`, `@flame`, and how a name finds its service."""
from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import linecache
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from .binding import EXTRA, Parameters
from .codec import encode
from .errors import IllegalTaskNameException, NotRegistered, NotStorable, ReturnsCodingException, SecretUnavailable, nearest
from .limits import HARD, SOFT
from .results import return_names
from .secrets import Secret, mask_of, masked
from .services import Task, task_at_hand
from .showing import Flame, attribute, flame_option
from .showing import flame as flame
from .showing import flame_collapse as flame_collapse
from .signatures import Signature, flows
from .task_options import WORKER_DEATHS, PendingChildStrategy, TaskOptions, ValidateArgs, as_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .typed import BoundDecorator, Decorator, Options

P = ParamSpec("P")  # the parameters of a service's function, without a bound `self`
R = TypeVar("R")    # what it returns
_NOT_OPTIONS = ("self", "function", "others")
HEAD_LINES = 5            # of a service, for its reports
HEAD_CHARS = 200          # of each of them
ORIG = "_orig"            # what the name of an overridden service ends in, once for each level


class Service(Generic[P, R]):
    """A function that can be composed into chains and run as a task. Called directly it is the plain function."""

    def __init__(self, function: Callable, *, name: str, bind: bool, returns: tuple[str, ...] | None,
                 flame: Mapping[str, Flame], options: TaskOptions, base: type[Task]) -> None:
        self.undecorated = function
        self.name = name
        self.bind, self.returns, self.base = bind, returns, base
        self.options = options
        self.flame = dict(flame)
        self.own_parameters = self.parameters = Parameters.of(function, bind)
        self.from_plugin = self.was_loaded = False  # was_loaded: by a plugin, or where services were looked for
        self.orig: Service | None = None
        code = inspect.unwrap(function).__code__
        self.file, self.line = code.co_filename, code.co_firstlineno
        self.digest = file_digest(self.file)  # now, while it is the code that was loaded
        self.head = tuple(_head(self.file, self.line))
        functools.update_wrapper(self, function)

    @functools.cached_property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def name_without_orig(self) -> str:
        """The long name that it had before another one overrode it."""
        return re.sub(f"({ORIG})+$", "", self.name)

    @property
    def return_names(self) -> tuple[str, ...] | None:
        """The names that callers may count on: its own, else those of the service that it overrides."""
        return self.returns if self.returns is not None or self.orig is None else self.orig.return_names

    def names_for(self, value: object) -> tuple[str, ...] | None:
        """The names of what it returned; where their number does not fit, those of a service that it overrides."""
        if self.returns is None and (value is None or isinstance(value, dict)):
            return None
        count = len(value) if type(value) is tuple else 1
        level: Service | None = self
        while level is not None:
            if level.returns is not None and len(level.returns) == count:
                return level.returns
            level = level.orig
        return self.return_names

    @property
    def validate(self) -> ValidateArgs:
        """Whether its arguments are converted to what its annotations say: as it declares, else as what it overrides does."""
        declared = self.options.validate
        return declared or (ValidateArgs.DISABLED if self.orig is None else self.orig.validate)

    @property
    def is_builtin(self) -> bool:
        """Whether it is one of firexlite's own."""
        return self.undecorated.__module__.startswith("firexlite.")

    def take_the_place_of(self, overridden: Service | None) -> None:
        """Override a service, which may override others; None: override none. What it declares itself stays."""
        self.orig = overridden
        self.parameters = self.own_parameters if overridden is None else self.own_parameters.overriding(overridden.parameters)
        self.__dict__.pop("about", None)

    @overload
    def s(self, /) -> Signature: ...  # all flows

    @overload
    def s(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature: ...

    def s(self, /, *args: Any, **kwargs: Any) -> Signature:
        """A signature of this service with arguments bound; which service runs is looked up by name when it is enqueued.

        An argument `flows` is as if it were not given. Raises TypeError for more arguments than the service takes by position,
        if `flows` is among them.
        """
        for value in (*args, *kwargs.values()):  # every child comes by here, so no generator
            if value is flows:
                own = self.parameters.by_name(args, kwargs)
                return Signature(self.name, tuple(own.pop(EXTRA, ())),  # type: ignore[arg-type]
                                 {name: value for name, value in own.items() if value is not flows})
        return Signature(self.name, args, kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now. A bound one that is not given its task has the one that runs, if there is one."""
        if self.bind and not (args and isinstance(args[0], Task)):
            return self.undecorated(task_at_hand(self), *args, **kwargs)
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
            "returns": self.return_names, "file": masked(self.file), "line": self.line, "plugin": self.from_plugin,
            "head": [masked(line) for line in self.head],
            "short_name": self.name_without_orig.rpartition(".")[2],
            SOFT: self.options.soft_time_limit, HARD: self.options.time_limit,
        })


def _head(file: str, first: int) -> Iterator[str]:
    """The lines with which a service begins, to its `def`; none of what has no file, or begins with very long ones."""
    lines = [linecache.getline(file, first + n).rstrip() for n in range(HEAD_LINES)]
    ends = next((n for n, line in enumerate(lines, 1) if line.lstrip().startswith(("def ", "async def "))), 0)
    if max(map(len, lines)) <= HEAD_CHARS:
        yield from textwrap.dedent("\n".join(lines[:ends])).splitlines()


def _encode_default(value: object) -> str:
    if isinstance(value, Secret):
        value = mask_of(value.reference)  # shown, and not read: whoever only enqueues the service has no part in it
    try:
        return encode(value, "default", may_pickle=False)
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
        self._registered: dict[str, Service] = {}  # by long name, in the order of their definition
        self._listed: list[str] = []               # modules of the plugins, the weakest first
        self._loading: bool | None = None          # whether a plugin is being imported, or what was merely found; or neither
        self._by_name: dict[str, Service] | None = None  # as `_services`; None if that is to be found out anew

    @overload
    def task(self, function: Callable[P, R], /) -> Service[P, R]: ...

    @overload
    def task(self, *, bind: Literal[True], **options: Unpack[Options]) -> BoundDecorator: ...

    @overload
    def task(self, *, bind: Literal[False] = False, **options: Unpack[Options]) -> Decorator: ...

    def task(self, function: Callable | None = None, *, bind: bool = False,
             returns: str | Iterable[str] | None = None, flame: str | Iterable[str] | Mapping | None = None,
             base: type[Task] = Task, name: str | None = None,
             worker_deaths: int = WORKER_DEATHS, on_interrupt: str = "retry",
             soft_time_limit: float | None = None, time_limit: float | None = None,
             max_retries: int | None = 3, default_retry_delay: float = 180, autoretry_for: Iterable[type[BaseException]] = (),
             dont_autoretry_for: Iterable[type[BaseException]] = (), retry_kwargs: Mapping[str, Any] | None = None,
             retry_backoff: bool | float = False, retry_backoff_max: float = 600, retry_jitter: bool = True,
             use_cache: bool = False, pending_child_strategy: PendingChildStrategy = PendingChildStrategy.BLOCK,
             queue: str | None = None, slots: int = 1, priority: int | None = 0,
             pydantic_validate: ValidateArgs | None = None, **others: object) -> Any:
        """Make a function a service; with or without arguments.

        bind: the function's first parameter is the task itself. returns: the names of what it returns.
        flame: names of arguments and results to show in the report. base: the class of the task, derived from `Task`.

        worker_deaths: how many deaths of its worker a task of it survives; the next one fails it. on_interrupt: what becomes
        of a task whose body was cut off, by the death of its worker or of all processes: `retry` runs it again; `fail`
        fails it, and `ask` has the run stop, until a person decides with `resume --restart-task` or `--mark-done`.

        soft_time_limit: seconds after which SoftTimeLimitExceeded is raised in the body. time_limit: seconds after which
        the body is killed, with all that it started, and the task fails.

        max_retries: how often a task that failed is tried again at the most, by `self.retry()`, or by itself after the
        exceptions of ``autoretry_for`` less those of ``dont_autoretry_for``. default_retry_delay: seconds before that.
        retry_backoff: True, or the seconds of the first delay, which is then doubled each time up to ``retry_backoff_max``,
        of which with ``retry_jitter`` a random part is taken. retry_kwargs: ``{"max_retries": .., "countdown": ..}``.

        use_cache: a task with the same arguments as one before it in the run takes over its result.
        pending_child_strategy: whether children that were not waited for are waited for at the end, or go on by themselves.
        queue: the queue whose places its tasks take, if the run gives it a number of them. slots: how many of the run's
        slots a task takes. priority: tasks with lower ones start first.
        pydantic_validate: whether arguments are converted to what the annotations say.

        Options of Celery that say how a broker is used are accepted, and mean nothing. Raises TypeError for any other.
        """
        if function is None:
            given: dict[str, Any] = {**locals(), **others}
            return functools.partial(self.task, **{name: given[name] for name in given if name not in _NOT_OPTIONS})
        declared = attribute(function, "__firexlite_returns__")
        if declared is not None and returns is not None:
            raise ReturnsCodingException(f"{function.__name__} declares its returns twice, by @returns and by returns=")
        long_name = name or f"{function.__module__}.{function.__name__}"
        if long_name.endswith(ORIG):
            raise IllegalTaskNameException(f"the name of {long_name} ends in {ORIG}, which is kept for overridden services")
        options = as_options(
            worker_deaths=worker_deaths, on_interrupt=on_interrupt, soft_time_limit=soft_time_limit, time_limit=time_limit,
            use_cache=use_cache, pending_child_strategy=pending_child_strategy, queue=queue, slots=slots, priority=priority,  # type: ignore[arg-type]
            pydantic_validate=pydantic_validate, others=others, retry={
                "max_retries": max_retries, "default_retry_delay": default_retry_delay, "autoretry_for": autoretry_for,
                "dont_autoretry_for": dont_autoretry_for, "retry_kwargs": retry_kwargs, "retry_backoff": retry_backoff,
                "retry_backoff_max": retry_backoff_max, "retry_jitter": retry_jitter})
        shown = {**(attribute(function, "__firexlite_flame__") or {}), **flame_option(flame)}
        return self._register(Service(
            function, name=long_name, bind=bind, base=base, options=options, flame=shown,
            returns=return_names(returns if declared is None else declared, long_name)))

    def _register(self, service: Service) -> Service:
        """Make a service known; it may override one of its short name, or be overridden by one that is there."""
        service.from_plugin, service.was_loaded = self._loading is True, self._loading is not None
        self._registered[service.name] = service
        self._by_name = None
        return service

    def loading(self, is_plugin: bool | None) -> None:
        """A module is imported now: a plugin, or one that was merely found; None: no longer."""
        self._loading = is_plugin

    @property
    def is_loading(self) -> bool:
        """Whether a file with services is being imported as one."""
        return self._loading is not None

    def let_override(self, modules: Iterable[str]) -> None:
        """Services that these modules define override others of the same short name, those of a later module any before."""
        for module in modules:
            if module in self._listed:
                self._listed.remove(module)
            self._listed.append(module)
        self._by_name = None

    @property
    def _services(self) -> dict[str, Service]:
        """``{name: the service that it stands for}``. The long name of one that is overridden stands for what overrides it;
        it goes by its name with `ORIG` itself, once for each level."""
        if self._by_name is None:
            self._by_name = self._with_overrides()
        return self._by_name

    def _with_overrides(self) -> dict[str, Service]:
        same_name: dict[str, list[Service]] = {}
        for service in self._registered.values():
            same_name.setdefault(service.short_name, []).append(service)
        found = dict(self._registered)
        for services in same_name.values():
            if all(self._rank(service) < 0 and not service.is_builtin for service in services):
                continue  # modules that a script or a test imports: each has its own
            *overridden, last = sorted(services, key=self._rank)
            below = None
            for level, service in enumerate(overridden):
                orig = copy.copy(service)  # with every option that it has
                orig.name += ORIG * (len(overridden) - level)
                orig.take_the_place_of(below)
                found[service.name], found[orig.name], below = last, orig, orig
            last.take_the_place_of(below)
        return found

    def _rank(self, service: Service) -> int:
        """Services of a higher rank override; of equal ones the later."""
        module = service.undecorated.__module__
        return self._listed.index(module) + 1 if module in self._listed else 0 if service.was_loaded else -1

    def depends_on(self, digests: Iterable[str]) -> None:
        """Make digests of other files part of that of each service that was loaded; nobody knows which of them uses which."""
        if others := "".join(digests):
            for service in self._registered.values():
                if service.was_loaded:
                    service.digest = _short_digest((file_digest(service.file) + others).encode())
            self._by_name = None

    @property
    def argument_names(self) -> set[str]:
        """The names of all arguments that any service takes; callers may pass those of an overridden one too."""
        return {name for service in self.every for name in service.parameters.names}

    def __iter__(self) -> Iterator[Service]:
        """Each service once, without those overridden."""
        return iter({id(s): s for name, s in self._services.items() if not name.endswith(ORIG)}.values())

    @property
    def every(self) -> list[Service]:
        """Each service once, with those overridden."""
        return list({id(service): service for service in self._services.values()}.values())

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
