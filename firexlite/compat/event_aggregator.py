"""`firexapp.events.event_aggregator`: from FireX's events to what is known of each task."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .event_model import RunStates

Event = Mapping[str, Any]
TaskData = dict[str, Any]

# Fields of events that are fields of tasks; a later event has the last word.
COPIED = ("uuid", "hostname", "parent_id", "type", "retries", "firex_bound_args", "actual_runtime", "utcoffset",
          "firex_default_bound_args", "from_plugin", "firex_result", "traceback", "exception", "long_name", "chain_depth",
          "exception_cause_uuid")
KEPT = ("first_started",)  # of which the first counts
ADDED = ("states",)        # which grow with each event


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _state(event: Event) -> TaskData:
    if event["type"] == "task-completed":
        return {"has_completed": True}
    if (state := RunStates.known(event["type"])) is None:
        return {}
    told = {"state": state.value, "states": [{"state": state.value, "timestamp": event.get("local_received")}]}
    return {**told, "was_revoked": True} if state.is_revoke() else told


# What other fields of an event tell of its task; a later one of these has the last word.
TOLD: dict[str, Callable[[Event], TaskData]] = {
    "type": _state,
    "long_name": lambda event: {"name": _short(event["long_name"])},
    "name": lambda event: {"name": _short(event["name"]), "long_name": event["name"]},
    "url": lambda event: {"logs_url": event["url"]},
    "log_filepath": lambda event: {"logs_url": event["log_filepath"]},
    "local_received": lambda event: {"first_started": event["local_received"]},
}


class FireXEventAggregator:
    """Knows all tasks that events told of. tasks_by_uuid: ``{uuid: {field: value}}``. root_uuid: of the task without parent."""

    def __init__(self) -> None:
        self.tasks_by_uuid: dict[str, TaskData] = {}
        self.root_uuid: str | None = None
        self.new_task_num = 1

    def aggregate_events(self, events: Iterable[Event]) -> dict[str, TaskData]:
        """Take note of events, in their order; returns ``{uuid: {field: value}}`` of what has changed by them."""
        changed: dict[str, TaskData] = {}
        for event in events:
            if self._tells_of_a_task(event):
                changed.setdefault(event["uuid"], {}).update(self._aggregate(event))
        return changed

    def _tells_of_a_task(self, event: Event) -> bool:
        uuid = event.get("uuid")
        # Nothing more will ever be told of a task that was revoked before it was received.
        return bool(uuid) and (uuid in self.tasks_by_uuid or event.get("type") != RunStates.REVOKED.value)

    def _aggregate(self, event: Event) -> TaskData:
        uuid = event["uuid"]
        if self.root_uuid is None and event.get("parent_id", uuid) is None:
            self.root_uuid = uuid
        told = {name: event[name] for name in COPIED if name in event}
        for name, tell in TOLD.items():
            if name in event:
                told.update(tell(event))
        task = self.tasks_by_uuid.get(uuid)
        if task is None:
            task = self.tasks_by_uuid[uuid] = {"uuid": uuid, "task_num": self.new_task_num}
            self.new_task_num += 1
            task.update(_changes(task, told))
            return dict(task)
        changes = _changes(task, told)
        task.update(changes)
        return changes

    def generate_incomplete_events(self) -> list[TaskData]:
        """The events that end every task which has not ended, once the run is over."""
        now = time.time()
        events = []
        for task in self._incomplete_tasks():
            event = {"uuid": task["uuid"], "type": RunStates.get_forced_complete_celery_event_type(task.get("state"))}
            if not task.get("actual_runtime"):
                event["actual_runtime"] = now - (task.get("first_started") or now)
            events.append(event)
        return events

    def _incomplete_tasks(self) -> list[TaskData]:
        return [task for task in self.tasks_by_uuid.values()
                if task.get("actual_runtime") is None or RunStates.is_incomplete_state(task.get("state"))]

    def is_root_complete(self) -> bool:
        root = self.tasks_by_uuid.get(self.root_uuid or "")
        return root is not None and RunStates.is_complete_state(root.get("state"))

    def are_all_tasks_complete(self) -> bool:
        return self.is_root_complete() and not self._incomplete_tasks()


def _changes(task: TaskData, told: TaskData) -> TaskData:
    """What is other in a task once this is told of it."""
    new = {name: value for name, value in told.items() if not (name in KEPT and name in task)}
    for name in ADDED:
        if name in new:
            new[name] = [*task.get(name, ()), *new[name]]
    if "state" in new:
        new["state"] = RunStates.get_higher_priority_state(task.get("state"), new["state"])
    return {name: value for name, value in new.items() if name not in task or task[name] != value}
