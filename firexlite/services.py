"""What a service's body has in its hands: `self`, the bound task. What it does with its children is in `children`."""
from __future__ import annotations

import datetime
import inspect
import os
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import recorded
from .binding import Bog
from .children import Parent, TaskEnqueueSpec
from .errors import Retry
from .promises import Engine, Request
from .results import DYNAMIC_RETURN
from .retries import LONGEST_S
from .showing import Showcase
from .signatures import InjectArgs
from .task_options import ValidateArgs

if TYPE_CHECKING:
    from .application import Service
    from .uid import Uid


class Task(Parent):
    """The `self` of a service with `bind=True`: one attempt at one task. FireX calls the class FireXTask."""

    DYNAMIC_RETURN = DYNAMIC_RETURN
    Validate = ValidateArgs

    def __init__(self, service: Service, engine: Engine, bog: Bog) -> None:
        super().__init__(engine)
        self._service, self._bog = service, bog
        self._key: str | None = None
        self._showcase = Showcase(service.flame, self, engine.show)

    # --- the service ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The long name of the service, with that of its module."""
        return self._service.name

    @property
    def short_name(self) -> str:
        """The name of the service without that of its module."""
        return self._service.short_name

    @property
    def name_without_orig(self) -> str:
        """The long name that the service had before another one overrode it."""
        return self._service.name_without_orig

    @property
    def short_name_without_orig(self) -> str:
        """The same without the name of the module."""
        return self._service.name_without_orig.rpartition(".")[2]

    @property
    def called_as_orig(self) -> bool:
        """Whether a service that overrides this one called it, by `orig`."""
        return self.name != self.name_without_orig

    @property
    def from_plugin(self) -> bool:
        """Whether a plugin defines the service."""
        return self._service.from_plugin

    @property
    def orig(self) -> Service | None:
        """The service that this one overrides, None if it overrides none."""
        return self._service.orig

    @property
    def root_orig(self) -> Service:
        """The service at the bottom of those that this one overrides; itself if it overrides none."""
        service = self._service
        while service.orig is not None:
            service = service.orig
        return service

    def is_overriding_task(self) -> bool:
        """Whether the service overrides another one."""
        return self._service.orig is not None

    def get_overridden_task(self) -> Service:
        """As `orig`. Raises TypeError if there is none."""
        if self._service.orig is None:
            raise TypeError(f"{self.name} overrides no other service, so it has no orig")
        return self._service.orig

    @property
    def undecorated(self) -> Callable:
        """The function that was decorated."""
        return self._service.undecorated

    @property
    def code_filepath(self) -> str:
        """The file that defines the service."""
        return self._service.file

    @property
    def sig(self) -> inspect.Signature:
        """The parameters of the function, without `self`, as Python describes them."""
        whole = inspect.signature(self._service.undecorated)
        return whole.replace(parameters=list(whole.parameters.values())[1 if self._service.bind else 0:])

    @property
    def return_keys(self) -> tuple[str, ...]:
        """The names that the service declares for what it returns."""
        return self._service.returns or ()

    @property
    def required_args(self) -> list[str]:
        """The parameters without default."""
        return list(self._service.parameters.required)

    @property
    def optional_args(self) -> dict[str, Any]:
        """The parameters with their defaults."""
        return dict(self._service.parameters.defaults)

    # --- its arguments -------------------------------------------------------------------------------------------

    @property
    def abog(self) -> dict[str, Any]:
        """A copy of all values within the task's reach, its own defaults included; changing it changes nothing else."""
        return self._bog.abog

    @property
    def bound_args(self) -> dict[str, Any]:
        """The arguments that were supplied for this service's parameters."""
        return self._bog.bound_args

    @property
    def default_bound_args(self) -> dict[str, Any]:
        """The parameters left to their defaults, with these."""
        return dict(self._bog.defaults)

    @property
    def all_args(self) -> Mapping[str, Any]:
        """`bound_args` and `default_bound_args` together, not to be changed."""
        return MappingProxyType({**self.bound_args, **self.default_bound_args})

    @property
    def args(self) -> tuple[Any, ...]:
        """What the function got by position: only what cannot be given by name, and what comes before `*args`."""
        return tuple(self._bog.call_arguments()[0])

    @property
    def kwargs(self) -> dict[str, Any]:
        """What the function got by name, without defaults."""
        return {name: value for name, value in self._bog.call_arguments()[1].items() if name not in self._bog.defaults}

    def map_args(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The values that the parameters would have for these arguments, defaults included."""
        parameters = self._service.parameters
        bog = Bog(parameters, parameters.by_name(args, kwargs), {})
        extra = {parameters.var_positional: bog.extra} if parameters.var_positional and bog.extra else {}
        return {**bog.accepted, **extra, **bog.defaults}

    # --- this execution ------------------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """Ids and retries of the task, as FireX names them."""
        return self._engine.request

    @property
    def uuid(self) -> str:
        """The id of this task in FireX's interfaces; the same in all attempts."""
        return self._engine.uuid(self._engine.num)

    @property
    def uid(self) -> Uid | None:
        """The FireX ID of the run, if the service takes `uid`; else None, as in FireX.

        `self.abog['uid']` has it in the submitted chain, and in children to which it is handed down.
        """
        return self.bound_args.get("uid")

    @property
    def task_label(self) -> str:
        """The id of the task; with `_1` after its first retry, and so on."""
        request = self.request
        return request.id + f"_{request.retries}" * bool(request.retries)

    @property
    def attempt(self) -> int:
        """Which attempt at this task this is, from 1; more if its worker or the whole run was killed."""
        return self._engine.attempt

    def start_time(self) -> float:
        """When this attempt began, in seconds since the epoch."""
        return self._engine.started

    def duration(self) -> float:
        """For how many seconds this attempt has been running."""
        return time.time() - self._engine.started

    @property
    def task_key(self) -> str:
        """A name that no other task of any run has, the same in all attempts and resumes: an idempotency key for what
        the body does outside. When it is given out, the task is durable, so not even a power cut makes it another's."""
        if self._key is None:
            self._key = self._engine.noted("key", lambda: self._engine.task_key)
        return self._key

    def pre_task_run(self, extra_events: object = None) -> None:
        """Called before the body; there for classes derived from this one, which are given as ``base=``."""

    def retry(self, args: object = None, kwargs: object = None, exc: BaseException | None = None, throw: bool = True,
              eta: datetime.datetime | None = None, countdown: float | None = None, max_retries: int | None = None,
              **_: object) -> Retry:
        """End the body, and try it again later: in ``countdown`` seconds, at the time ``eta``, or as the service declares.

        exc: what it failed of, which is raised if it was tried again often enough; without, the exception being handled, or
        MaxRetriesExceededError. throw: False returns what is to be raised instead of raising it.
        """
        if args or kwargs:
            raise TypeError("retry cannot change the arguments of a task; enqueue a child with other ones")
        if eta is not None and countdown is None:
            countdown = max(0.0, eta.timestamp() - time.time())
        found = self._service.options.retry.next_try(self.request.retries, exc, countdown, max_retries)
        if throw:
            raise found
        return found

    @property
    def request_soft_time_limit(self) -> float | None:
        """After how many seconds this attempt is told that it takes too long; None: never."""
        return self._engine.limits()[0]

    # --- where it logs -------------------------------------------------------------------------------------------

    @property
    def task_logfile(self) -> str:
        """The file that has what this task prints and logs, among what others did whom this worker ran."""
        return self._engine.log_file

    worker_log_file = task_log_url = worker_log_url = task_logfile

    @property
    def logs_dir_for_worker(self) -> str:
        """The folder of the logs of this run."""
        return os.path.dirname(self.task_logfile)

    task_logging_dirpath = file_logging_dirpath = logs_dir_for_worker

    # --- what the report shows -----------------------------------------------------------------------------------

    def send_flame(self, data: Mapping[str, object]) -> None:
        """Show values by name, as the service's `@flame` declares; done for arguments and results without being asked."""
        self._showcase.show(data)

    def send_firex_html(self, **texts: object) -> None:
        """Show HTML at once, each text under its name; one of the same name takes its place."""
        self._showcase.show_html(texts)

    send_flame_html = send_firex_html

    def send_display_collapse(self, task_uuid: str | None = None) -> None:
        """Have this task, or the one of another uuid, drawn collapsed."""
        self._showcase.collapse(task_uuid or self.uuid)

    # --- time and events -----------------------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Sleep, without a slot, and if it is for more than a moment without a process: then the body is replayed from its
        top when the time has come. The time is journaled, so after a crash only the rest is slept."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST_S:
            raise ValueError(f"sleep takes a number of seconds from 0 on, not {seconds!r}")
        self._engine.sleep(float(seconds))

    def wait_for_event(self, name: str, timeout: float | None = None) -> Any:
        """What somebody sends with `firexlite send ID NAME`, as `sleep` waits: without a slot, and soon without a process.

        The nth wait of a task for a name gets the nth event of that name, also one that was sent before; one that ran out of
        time does not count.
        timeout: seconds; without, there is no limit. Raises TimeoutError.
        """
        if not isinstance(name, str) or not name:
            raise ValueError(f"an event has a name, not {name!r}")
        return self._engine.wait_for_event(name, timeout)

    # --- its children, but for what is in `children` ---------------------------------------------------------------

    def enqueue_child_from_spec(self, task_spec: TaskEnqueueSpec, inject_args: Mapping[str, Any] | None = None) -> None:
        """Enqueue the chain of a spec, injected with the bog of this task if it says so, and with ``inject_args``."""
        injected = {**(self.abog if task_spec.inject_abog else {}), **(inject_args or {})}
        chain = InjectArgs(**injected) | task_spec.signature if injected else task_spec.signature
        self.enqueue_child(chain, **(task_spec.enqueue_opts or {}))


class _Outside:
    """The engine of a task whose service was called directly, outside of any run."""

    def __init__(self, name: str) -> None:
        self._name = name

    def show(self, rows: object) -> None:
        """There is no report."""

    def __getattr__(self, what: str) -> Any:
        raise RuntimeError(f"{self._name} was called directly, outside of a run, where its task can do nothing that takes one, "
                           f"as having children or waiting does; run it with firexlite.run({self._name}.s(...))")


def task_at_hand(service: Service) -> Task:
    """The `self` for a service that is called directly: that of the task which calls it; else one without a run."""
    if recorded.running is not None and recorded.running.task is not None:
        return recorded.running.task
    return service.base(service, _Outside(service.short_name), Bog(service.parameters, {}, {}))
