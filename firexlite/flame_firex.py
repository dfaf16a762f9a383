"""A task in the words of FireX's Flame."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .home import task_uuid
from .states import BLOCKED, FAILED, FINAL, READY, REVOKED, RUNNING, SKIPPED, SUCCEEDED, WAITING

RECEIVED = "task-received"
STARTED = "task-started"
UNBLOCKED = "task-unblocked"
CALLED_OFF = "task-revoked"
STOPPED = "task-revoke-completed"
INCOMPLETE = "task-incomplete"
COMPLETED = "task-completed"  # an event, but no state: it tells that another state is the last

IN_FLAME = {
    WAITING: RECEIVED,
    READY: RECEIVED,
    RUNNING: STARTED,
    BLOCKED: "task-blocked",
    SUCCEEDED: "task-succeeded",
    FAILED: "task-failed",
    REVOKED: CALLED_OFF,
    # FireX never sends what comes after a failure, so its Flame knows no such task. Nobody called it off, as the colour of
    # those that were revoked would say; in grey stripes it is what it is: one that did not get to its end.
    SKIPPED: INCOMPLETE,
}
SLIM = ("uuid", "parent_id", "name", "state", "task_num", "hostname", "first_started", "actual_runtime", "latest_timestamp",
        "retries", "from_plugin", "chain_depth", "flame_data", "additional_children", "exception_cause_uuid", "error_context")
ROOT = 0  # the number of the task that FireX has above all others and we have not; in Flame each number is greater by one


@dataclass(frozen=True)
class Translator:
    """Knows a run. closing: when a task that has not ended is shown as left; up to then something is known of it."""

    firex_id: str
    closing: float

    def uuid(self, num: int) -> str:
        return task_uuid(self.firex_id, num)

    def task(self, task: Mapping, enqueued: float | None = None, logs_url: str | None = None) -> dict[str, Any]:
        """A task of the model as a file of `full-tasks` has it; what is not known of it is left out.

        enqueued: when it was, if it had to wait for the task before it, for then its states begin later, if at all.
        """
        num, long_name = task["num"], task["long_name"]
        states = self._states(task, enqueued)
        received, last = states[0]["timestamp"], states[-1]["timestamp"]
        started = next((moved["timestamp"] for moved in states if moved["state"] == STARTED), None)
        began = received if started is None else started
        has_ended = task["state"] in FINAL and task["state"] != SKIPPED
        # Of what never ran, or never ended, it is the time that is known: so counts Flame, too, when it gives up a task.
        runtime = task["runtime"] if has_ended and started is not None else max(0.0, last - began)
        known = {
            "name": task["name"],
            "long_name": re.sub("(_orig)+$", "", long_name),
            "called_as_orig": long_name.endswith("_orig"),
            "state": states[-1]["state"],
            "states": states,
            "type": COMPLETED if has_ended else INCOMPLETE,
            "has_completed": has_ended,
            "was_revoked": any(moved["state"] == CALLED_OFF for moved in states),
            "task_num": num + 1,
            "hostname": task.get("host"),
            "first_started": began,
            "latest_timestamp": last,
            "actual_runtime": runtime,
            "retries": sum(attempt["state"] == "retried" for attempt in task.get("attempts") or ()),
            "from_plugin": bool(task.get("plugin")),
            "chain_depth": task.get("chain_depth") or 0,
            "firex_bound_args": None if started is None else task.get("args") or {},
            "firex_default_bound_args": None if started is None else task.get("defaults") or {},
            "firex_result": task.get("result"),
            "exception": task.get("exception"),
            "traceback": task.get("traceback"),
            "exception_cause_uuid": self._uuid_if_any(task.get("cause")),
            "error_context": task.get("error_context"),
            "revoke_reason": task.get("revoke_reason"),
            "cached_result_from": self._uuid_if_any(task.get("cached_from")),
            "flame_data": task.get("flame_data") or None,
            "external_commands": task.get("external_commands") or None,
            "logs_url": logs_url,
        }
        return {"uuid": self.uuid(num), "parent_id": None if num == ROOT else self.uuid(task.get("parent") or ROOT),
                **{key: value for key, value in known.items() if value is not None}}

    def _uuid_if_any(self, num: int | None) -> str | None:
        return None if num is None else self.uuid(num)

    def _states(self, task: Mapping, enqueued: float | None) -> list[dict[str, Any]]:
        """What a task went through, from its enqueueing to an end: for a task without one Flame would wait."""
        told: list[dict[str, Any]] = [] if enqueued is None else [{"state": RECEIVED, "timestamp": enqueued}]
        before = None
        for state, at in task["states"]:
            goes_on = (before, state) == (BLOCKED, RUNNING)
            told.append({"state": UNBLOCKED if goes_on else IN_FLAME[state], "timestamp": at})
            before = state
        last = told[-1]["timestamp"]
        if task["state"] == REVOKED:  # FireX tells when a task is called off, and again when it has stopped
            told.append({"state": STOPPED, "timestamp": last})
        elif task["state"] not in FINAL:
            told.append({"state": INCOMPLETE, "timestamp": max(last, self.closing)})
        return told
