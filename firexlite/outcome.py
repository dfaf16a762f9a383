"""What became of a run, as Python objects: its returned values, its tasks, and why it failed. How it ended is read from the
journal at once, its tasks when they are first asked for."""
from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .bogs import bind_for_display, flow_after
from .codec import decode, decode_error, display
from .errors import NotReadable, RunFailed, RunWaits, nearest
from .flame_export import Settings, write_report
from .history import AttemptRecord, History, RootCause, TaskRecord
from .home import RunDirectory, find_run
from .pickled import pickles
from .states import FAILED, RUN_FAILED, RUN_INTERRUPTED, RUN_SUCCEEDED, SUCCEEDED

T = TypeVar("T")


def as_objects(text: str) -> dict[str, Any]:
    """Values by name as the objects that they were. One that cannot be rebuilt here is given as reports show it."""
    try:
        return decode(text)
    except NotReadable:
        parts = json.loads(text)
    if "$type" in parts:
        return display(text)
    found = {}
    for name, part in parts.items():
        one = json.dumps(part)
        try:
            found[name] = decode(one)
        except NotReadable:
            found[name] = display(one)
    return found


_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def as_of(of_run: str | None) -> Iterator[None]:
    """A context in which values are pickled and loaded as by the workers of a run: it is this user's own, and its code is
    here. of_run: its FireX ID, if it stores pickled values."""
    with _one_at_a_time:
        before = pickles.of_run, pickles.may_load
        pickles.begin_run(of_run)
        pickles.may_load = True
        try:
            yield
        finally:
            pickles.begin_run(before[0])
            pickles.may_load = before[1]


@dataclass(frozen=True)
class Ran:
    """One task of a run. name: of its service, without its module. arguments, values: by name; what it was given and returned.

    attempts: how often it was begun. retries: how often it failed and was tried again. error: what it failed of.
    children: the tasks that it enqueued, those of each chain in order.
    """

    num: int
    name: str
    service: str
    state: str
    attempts: int
    retries: int
    arguments: Mapping[str, Any]
    values: Mapping[str, Any]
    error: BaseException | None
    _printed: Callable[[], str] = field(repr=False)
    children: list[Ran] = field(default_factory=list, repr=False)

    @property
    def output(self) -> str:
        """What it printed and logged in its last attempt; the end of it, if that is much."""
        return self._printed()

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.state == SUCCEEDED

    def walk(self, depth: int = 0) -> Iterator[tuple[Ran, int]]:
        """It and all tasks below it, each before its children, with how deep they lie."""
        yield self, depth
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(frozen=True)
class Why:
    """A failure at the bottom of others. file, line: where the user's own code was; None where nobody knows.

    through: the names of the services that failed because of it, the outermost first.
    """

    name: str
    num: int
    error: BaseException
    text: str
    file: str | None
    line: int | None
    function: str | None
    arguments: Mapping[str, Any]
    output: str
    through: tuple[str, ...]

    def __str__(self) -> str:
        at = f" at {self.file}:{self.line} in {self.function}" if self.file else ""
        return f"{self.name} (task {self.num}): {self.text}{at}"


class Result:
    """What became of a run. exit_code: the one that `firexlite submit` would have ended with.

    Values are objects again where the journal's codec can make them; others are as reports show them.
    """

    def __init__(self, firex_id: str, exit_code: int, again: Callable[..., Result],
                 raised: Mapping[int, BaseException] | None = None) -> None:
        """again: resumes it. raised: the very exceptions of tasks, if they failed in this process."""
        self.firex_id, self.exit_code = firex_id, exit_code
        self.killed: Result | None = None  # what a test's kill had left of it
        self._again, self._raised = again, raised or {}
        _ = self._ending  # now, as it is

    def __repr__(self) -> str:
        return f"<Result of {self.firex_id}: {self.state}>"

    @functools.cached_property
    def _ending(self) -> _Ending:
        return self._from_journal(_Ending)

    @functools.cached_property
    def _top(self) -> list[Ran]:
        return self._from_journal(_tree)

    def _from_journal(self, read: Callable[[History, Mapping[int, BaseException]], T]) -> T:
        with History(self._directory) as history, as_of(self.firex_id if history.run().options.get("pickle") else None):
            return read(history, self._raised)

    @property
    def _directory(self) -> RunDirectory:
        return find_run(self.firex_id)

    # --- how it ended ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """`succeeded`, `failed`, `revoked` or `interrupted`."""
        return self._ending.state

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.state == RUN_SUCCEEDED

    @property
    def waits(self) -> bool:
        """Whether all that is left of it waits for a time or an event, and it was not to wait for that."""
        return self.state == RUN_INTERRUPTED and self.exit_code == RunWaits.exit_code

    @property
    def values(self) -> dict[str, Any]:
        """What the tasks of the chain returned, by name; later ones win."""
        return dict(self._ending.values)

    def __getitem__(self, name: str) -> Any:
        """A returned value. Raises KeyError, with what was returned and how the run ended."""
        try:
            return self._ending.values[name]
        except KeyError:
            raise NoSuchValue(name, self) from None

    @property
    def failures(self) -> list[Why]:
        """Why it failed: of each task of the chain that did, the failure at the bottom."""
        return list(self._ending.failures)

    def raise_for_failure(self) -> None:
        """Raise RunFailed if it did not succeed, from what its first failure raised."""
        if not self.ok:
            raise RunFailed(self._sentence(), self) from next((why.error for why in self.failures), None)

    def _sentence(self) -> str:
        whys = "".join(f"\n  {why}" for why in self.failures)
        ending = "failed" if self.state == RUN_FAILED else "waits for a time or an event" if self.waits else f"was {self.state}"
        return f"{self.firex_id} {ending}{':' if whys else ''}{whys}\nIt goes on with firexlite.resume('{self.firex_id}')"

    # --- its tasks -------------------------------------------------------------------------------------------------

    @property
    def chain(self) -> list[Ran]:
        """The tasks of the chain that was run, in order; below each are its children."""
        return list(self._top)

    @property
    def tasks(self) -> list[Ran]:
        """All tasks, each before its children."""
        return [task for top in self._top for task, _ in top.walk()]

    def tasks_of(self, name: str) -> list[Ran]:
        """The tasks of a service, by its short or its long name."""
        return [task for task in self.tasks if name in (task.name, task.service)]

    def task(self, name: str) -> Ran:
        """The only task of a service. Raises LookupError if there is none, or several."""
        found = self.tasks_of(name)
        if len(found) != 1:
            raise LookupError(self._none_of(name) if not found else f"{self.firex_id} has {len(found)} tasks of {name}; "
                              f"`tasks_of('{name}')` has all")
        return found[0]

    def _none_of(self, name: str) -> str:
        return f"{self.firex_id} has no task of {name}.{nearest(name, {task.name for task in self.tasks})}"

    @property
    def tree(self) -> str:
        """A line for each task, indented below that which enqueued it; with its state, if it did not succeed."""
        lines = [f"{'  ' * depth}{task.name}{'' if task.ok else f' ({task.state})'}"
                 for top in self._top for task, depth in top.walk()]
        return "\n".join(lines)

    def assert_ran_once(self, name: str) -> None:
        """Raise AssertionError unless there are tasks of a service, and each was begun once and succeeded."""
        found = self.tasks_of(name)
        if not found:
            raise AssertionError(self._none_of(name))
        wrong = [f"task {task.num} {task.state}, after {task.attempts} attempts" for task in found
                 if not task.ok or task.attempts > 1]
        if wrong:
            raise AssertionError(f"{name} did not run once: {'; '.join(wrong)}")

    # --- what else can be done with it -------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The directory of the run."""
        return self._directory.path

    def write_report(self, file: str | Path) -> None:
        """Write the report of the run, one HTML file, as `firexlite flame` does."""
        write_report(self._directory, Path(file), Settings())

    def resume(self, **options: Any) -> Result:
        """Carry on with the run, as `firexlite.resume` does; of one that succeeded, nothing runs again."""
        _ = self._top  # as it is now
        return self._again(self.firex_id, **options)


class NoSuchValue(KeyError):
    """Nothing of this name was returned."""

    def __init__(self, name: str, result: Result) -> None:
        super().__init__(name)
        names = ", ".join(result.values) or "nothing"
        close = nearest(name, result.values)
        self._sentence = f"{result.firex_id} {result.state} and returned no '{name}'; it returned {names}.{close}"

    def __str__(self) -> str:
        return self._sentence


class _Ending:
    """How a run ended, and why."""

    def __init__(self, history: History, raised: Mapping[int, BaseException]) -> None:
        self.state = history.run().state
        self.values = history.named_values(as_objects)
        self.failures = [_why(history, cause, raised) for cause in history.root_causes()]


def _why(history: History, cause: RootCause, raised: Mapping[int, BaseException]) -> Why:
    error, where = cause.error, cause.error["where"] or {}
    through = [task.service for num in cause.through if (task := history.task(num))]
    text = ": ".join(filter(None, (error["name"], error["text"].strip())))
    exception = _error(cause.task, raised)
    assert exception is not None
    return Why(cause.short_name, cause.task.num, exception, text, where.get("file"), where.get("line"), where.get("function"),
               cause.arguments, cause.log, tuple(history.services[name].short_name for name in through))


def _error(task: TaskRecord, raised: Mapping[int, BaseException]) -> BaseException | None:
    if task.error is None or task.state != FAILED:
        return None
    return raised.get(task.num) or decode_error(task.error)


def _tree(history: History, raised: Mapping[int, BaseException]) -> list[Ran]:
    """The tasks of the chain, and below them what counts of their children: of the last try, and not set aside."""
    again = {num for num, in history.execute("SELECT id FROM task WHERE redoes IS NOT NULL")}
    last_attempts = {attempt.task: attempt for attempt in history.attempts()}
    retries: dict[int, int] = {}
    found: dict[int, Ran] = {}
    top: list[Ran] = []
    flow: dict[str, Any] = {}
    for task in history.tasks():
        retries[task.num] = task.retry
        flow = {} if task.num == task.chain else flow
        service = history.services.get(task.service)
        bog = bind_for_display(service, task, flow, as_objects) if service and task.attempt else None
        if task.num != task.last:
            flow = flow_after(task, flow, as_objects)
        is_of_last_try = task.parent is None or (task.parent in found and task.parent_retry == retries[task.parent])
        if task.aside or task.num in again or not is_of_last_try:
            continue
        found[task.num] = Ran(
            task.num, service.short_name if service else task.service, task.service, task.state, task.attempt, task.retry,
            {**bog.defaults, **bog.bound_args} if bog else {}, as_objects(task.result) if task.result else {},
            _error(task, raised), _printed(history.directory.firex_id, last_attempts.get(task.num)))
        (top if task.parent is None else found[task.parent].children).append(found[task.num])
    return top


def _printed(firex_id: str, attempt: AttemptRecord | None) -> Callable[[], str]:
    def read() -> str:
        if attempt is None:
            return ""
        with History(find_run(firex_id)) as history:
            return history.log(attempt)[0]

    return read
