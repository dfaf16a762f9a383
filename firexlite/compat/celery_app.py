"""`firexapp.engine.celery.app`: the app of firexlite with the further attributes that service files ask for."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..application import App, Service
from ..application import app as services_of_this_process
from ..journal import Journal
from ..promises import Promise
from ..services import Task
from .running import attempt_for, current_task, promise_of, run_directory, running_task
from .store import do_with_store

# Options of celery's that say how messages travel; none travels here, and what a service does is the same without them.
OF_MESSAGES = frozenset({
    "acks_late", "acks_on_failure_or_timeout", "compression", "ignore_result", "rate_limit", "reject_on_worker_lost",
    "resultrepr_maxsize", "send_events", "serializer", "shared", "store_errors_even_if_ignored", "store_eager_result",
    "throws", "track_started", "trail", "typing"})


class FirexApp:
    """FireX's app over one of ours; all that registers or finds a service is passed on to that."""

    def __init__(self, services: App) -> None:
        self._services = services
        self.conf = Conf()
        self.control = Control()

    # --- services ----------------------------------------------------------------------------------------------------

    def task(self, function: Callable | None = None, **options: Any) -> Any:
        """As `firexlite.app.task`; options that only say how celery's messages travel are ignored."""
        if function is None:
            return functools.partial(self.task, **options)
        return self._services.task(function, **{name: value for name, value in options.items() if name not in OF_MESSAGES})

    @property
    def tasks(self) -> Mapping[str, Service]:
        """Every known service by its long name, also the overridden ones."""
        return MappingProxyType(self._services._services)

    def get_app_task(self, task_short_name: str, all_tasks: Mapping[str, Service] | None = None) -> Service:
        """The service of a long or short name, in any letter case. Raises NotRegistered."""
        return self._services.service(task_short_name.strip())

    def get_app_tasks(self, tasks: str | Iterable[str]) -> list[Service]:
        """The services of several names, or of one text with commas. Raises NotRegistered."""
        return [self.get_app_task(name) for name in (tasks.split(",") if isinstance(tasks, str) else tasks)]

    def signature(self, name: str, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """The signature of a service by its name."""
        return self.get_app_task(name).s(*args, **(kwargs or {}))

    # --- while a task runs -------------------------------------------------------------------------------------------

    @property
    def current_task(self) -> Task | None:
        return running_task()

    current_worker_task = current_task

    @property
    def backend(self) -> Backend:
        """What the workers of the run share. Raises RuntimeError outside of a task."""
        return Backend(attempt_for("app.backend").journal)

    def AsyncResult(self, task_id: str) -> Promise:
        """The promise of a task of this run, by its id. Raises RuntimeError outside of a task, LookupError for no such task."""
        return promise_of(task_id)

    def send_task(self, name: str, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None,
                  **options: Any) -> Promise:
        """Enqueue a service, by its name, as a child of the task that runs. Raises RuntimeError outside of a task."""
        task = attempt_for("app.send_task").task
        assert task is not None
        return task.enqueue_child(self.signature(name, args, kwargs), **options)

    def __repr__(self) -> str:
        return f"<app with {len(self.tasks)} services>"


class Backend:
    """`app.backend`, the store of the run; what services call on its Redis client, as far as it is there, they call on the same
    object."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def client(self) -> Backend:
        return self

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "set", "setnx", "mget", "incr", "decr", "exists", "delete"):
            return lambda *args, **options: self._journal.do(do_with_store, name, args, options)
        raise AttributeError(f"app.backend has no '{name}': firexlite keeps a run's shared values without Redis, and offers "
                             "get, set, setnx, mget, incr, decr, exists and delete")


class Conf:
    """`app.conf`: what FireX configures of the run that a task belongs to; None, outside of a task."""

    install_config = None
    link_for_logo = None
    logs_url = None
    mc = "mc"
    task_default_queue = primary_worker_name = "mc"
    root_task = "firexapp.tasks.root_tasks.RootTask"

    @property
    def uid(self) -> str | None:
        """The FireX ID of the run."""
        directory = run_directory()
        return None if directory is None else directory.firex_id

    @property
    def logs_dir(self) -> str | None:
        """The directory of the run."""
        directory = run_directory()
        return None if directory is None else str(directory.path)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"app.conf has no '{name}': firexlite is configured by the options of its commands")


class Control:
    """`app.control`: of what celery lets one do to workers, only the revoking of a task means anything here."""

    def revoke(self, task_id: str | Iterable[str], terminate: bool = True, **_: Any) -> None:
        """Revoke tasks of this run by their ids, with the rest of their chains; a body that runs is interrupted, whatever
        ``terminate`` says.

        Raises RuntimeError outside of a task, LookupError for an id that the run does not have.
        """
        for one in [task_id] if isinstance(task_id, str) else task_id:
            promise_of(one, "app.control.revoke").revoke()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"app.control has no '{name}': there are no celery workers to be asked; "
                             "`firexlite runs` and `firexlite flame ID` show how a run stands")


class Celery(FirexApp):
    """An app apart, with services of its own, as unit tests make one. What it knows, no run can call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(App())


app = FirexApp(services_of_this_process)
shared_task = app.task


def get_app_task(task_short_name: str) -> Service:
    return app.get_app_task(task_short_name)


def get_app_tasks(tasks: str | Iterable[str]) -> list[Service]:
    return app.get_app_tasks(tasks)


__all__ = ["Celery", "FirexApp", "app", "current_task", "get_app_task", "get_app_tasks", "shared_task"]
