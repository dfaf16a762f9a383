"""`firex_keeper.task_query`: questions about the tasks of a run, answered from its journal.

Every function takes the directory of the run. Further keywords, which say how FireX's database is to be waited for, are
ignored: the journal is always there.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..flame_graph import model_of
from ..history import History
from ..home import RunDirectory
from .common import wait_until
from .event_model import FireXTask, RunStates, get_chain_exception_child_uuid, is_chain_exception

POLL_S = 0.1
# How our states read in FireX. A task that was never run has no state there; it is told apart from one that failed.
STATES = {"waiting": "task-received", "ready": "task-received", "running": "task-started", "blocked": "task-blocked",
          "succeeded": "task-succeeded", "failed": "task-failed", "skipped": "task-incomplete",
          "revoked": "task-revoke-completed"}
INCOMPLETE_RUNSTATES = {state.value for state in RunStates if not state.is_complete()}
REVOKED_RUNSTATES = {state.value for state in RunStates if state.is_revoke()}


class FireXTaskQueryException(Exception):
    """The question has no answer, or more than one."""


def all_tasks(logs_dir: str | Path, **_: Any) -> list[FireXTask]:
    """Raises JournalUnusable if no run is there."""
    directory = RunDirectory(Path(logs_dir).resolve())
    with History(directory) as history:
        model = model_of(history, log_bytes=0)
    uuids = {task["num"]: task["uuid"] for task in model["tasks"]}
    return [FireXTask(
        uuid=task["uuid"], firex_id=model["run"]["firex_id"], chain_depth=task["chain_depth"], firex_bound_args=task["args"],
        firex_result=task["result"], firex_default_bound_args=task["defaults"], from_plugin=task["plugin"],
        hostname=task["host"], logs_url=None, long_name=task["long_name"], name=task["name"],
        actual_runtime=task["runtime"] if RunStates.is_complete_state(STATES[task["state"]]) else None,
        first_started=task["started"], parent_id=uuids.get(task["parent"]), retries=task["retries"],
        state=STATES[task["state"]], task_num=task["num"], utcoffset=0, exception=task["exception"],
        traceback=task["traceback"], exception_cause_uuid=uuids.get(task["cause"])) for task in model["tasks"]]


def _those(logs_dir: str | Path, fits: Callable[[FireXTask], bool]) -> list[FireXTask]:
    return [task for task in all_tasks(logs_dir) if fits(task)]


def tasks_by_name(logs_dir: str | Path, name: str, **_: Any) -> list[FireXTask]:
    """The tasks of a service, by its long or its short name."""
    return _those(logs_dir, lambda task: name == (task.long_name if "." in name else task.name))


def single_task_by_name(logs_dir: str | Path, name: str, **_: Any) -> FireXTask:
    """Raises FireXTaskQueryException unless there is exactly one."""
    found = _those(logs_dir, lambda task: task.name == name)
    if len(found) != 1:
        raise FireXTaskQueryException(f"Required exactly one task named '{name}', found {len(found)}")
    return found[0]


def task_by_uuid(logs_dir: str | Path, uuid: str, **_: Any) -> FireXTask:
    """Raises FireXTaskQueryException if there is none."""
    if not (found := _those(logs_dir, lambda task: task.uuid == uuid)):
        raise FireXTaskQueryException(f"Found no task with UUID {uuid}")
    return found[0]


def task_by_name_and_arg_pred(logs_dir: str | Path, name: str, arg: str, pred: Callable[[Any], bool]) -> list[FireXTask]:
    """The tasks of a service to which an argument was supplied that ``pred`` is true of."""
    return [task for task in tasks_by_name(logs_dir, name)
            if arg in task.firex_bound_args and pred(task.firex_bound_args[arg])]


def task_by_name_and_arg_value(logs_dir: str | Path, name: str, arg: str, value: Any) -> list[FireXTask]:
    return task_by_name_and_arg_pred(logs_dir, name, arg, lambda given: given == value)


def failed_tasks(logs_dir: str | Path, **_: Any) -> list[FireXTask]:
    return _those(logs_dir, lambda task: task.state == RunStates.FAILED.value)


def revoked_tasks(logs_dir: str | Path, **_: Any) -> list[FireXTask]:
    return _those(logs_dir, lambda task: task.state in REVOKED_RUNSTATES)


def running_tasks(logs_dir: str | Path, **_: Any) -> list[FireXTask]:
    """The tasks that have not ended, also those that have not begun."""
    return _those(logs_dir, lambda task: task.state in INCOMPLETE_RUNSTATES)


def running_not_blocked_tasks(logs_dir: str | Path, **_: Any) -> list[FireXTask]:
    return [task for task in running_tasks(logs_dir) if task.state != RunStates.BLOCKED.value]


def failed_by_tasks(logs_dir: str | Path, failed_uuid: str, **_: Any) -> list[FireXTask]:
    """The tasks that failed because of another one."""
    return _those(logs_dir, lambda task: task.exception_cause_uuid == failed_uuid)


# --- the tree ------------------------------------------------------------------------------------------------------------

@dataclass
class FireXTreeTask:
    """A task among those above and below it; all fields of `FireXTask` are its own too."""

    task: FireXTask
    parent: FireXTreeTask | None = None
    children: list[FireXTreeTask] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "task":  # asked for before there is one, by copy and pickle
            raise AttributeError(name)
        return getattr(self.task, name)

    def __repr__(self) -> str:
        return f"FireXTreeTask({self.task!r}, {len(self.children)} children)"


def _tree(logs_dir: str | Path) -> dict[str, FireXTreeTask]:
    nodes = {task.uuid: FireXTreeTask(task) for task in all_tasks(logs_dir)}
    for node in nodes.values():
        if (parent := nodes.get(node.task.parent_id or "")) is not None:
            node.parent = parent
            parent.children.append(node)
    return nodes


def flatten_tree(task_tree: FireXTreeTask) -> list[FireXTreeTask]:
    """A task and all below it."""
    flat = [task_tree]
    for node in flat:  # which grows meanwhile: a chain may be deeper than Python likes to call itself
        flat += node.children
    return flat


def task_tree_to_task(task_tree: FireXTreeTask) -> FireXTask:
    return task_tree.task


def get_descendants(logs_dir: str | Path, uuid: str, **_: Any) -> list[FireXTreeTask]:
    """All tasks below one; none if the run does not have it."""
    node = _tree(logs_dir).get(uuid)
    return [] if node is None else flatten_tree(node)[1:]


def ancestor_by_long_name(logs_dir: str | Path, uuid: str, ancestor_long_name: str, **_: Any) -> FireXTreeTask | None:
    """The nearest task above one that is of a service, None if there is none."""
    node = _tree(logs_dir).get(uuid)
    while node is not None and (node := node.parent) is not None:
        if node.task.long_name == ancestor_long_name:
            return node
    return None


def find_task_causing_chain_exception(task: FireXTreeTask) -> FireXTreeTask:
    """The task below a failed one where its failure began; itself if it began there."""
    assert task.exception, f"Expected exception, received: {task.exception}"
    while is_chain_exception(task.task):
        cause = next((child for child in task.children if child.uuid == get_chain_exception_child_uuid(task.task)), None)
        if cause is None or not cause.exception:
            break
        task = cause
    return task


# --- waiting -------------------------------------------------------------------------------------------------------------

def wait_on_keeper_query_ready(logs_dir: str | Path, timeout: float = 10) -> bool:
    """Whether the run can be asked about, which it can from its beginning on."""
    return RunDirectory(Path(logs_dir)).is_there()


def wait_on_keeper_complete(logs_dir: str | Path, timeout: float = 30) -> bool:
    """Whether all is recorded, which is so when no process of the run lives; it is waited for."""
    directory = RunDirectory(Path(logs_dir))
    return wait_until(lambda: not directory.is_alive(), timeout, POLL_S)
