"""`firexapp.events.model`: the states and fields in which FireX tells of tasks."""
from __future__ import annotations

import datetime
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

ADDITIONAL_CHILDREN_KEY = "additional_children"
EXTERNAL_COMMANDS_KEY = "external_commands"
TASK_REVOKE_REASON_KEY = "revoke_reason"


class RunStates(Enum):
    """The state of a task, which is the type of the event that told of it."""

    RECEIVED = "task-received"
    STARTED = "task-started"
    BLOCKED = "task-blocked"
    UNBLOCKED = "task-unblocked"
    SUCCEEDED = "task-succeeded"
    FAILED = "task-failed"
    REVOKED = "task-revoked"
    REVOKE_COMPLETED = "task-revoke-completed"
    INCOMPLETE = "task-incomplete"  # its run ended before it did

    @classmethod
    def create(cls, v: Any) -> RunStates:
        """The state of an event's type. Raises ValueError if it tells of none."""
        return cls("task-started" if v == "task-started-info" else v)

    def get_priority(self) -> int:
        """A state does not take the place of one with a higher number."""
        return _PRIORITY.get(self, 0)

    def is_complete(self, has_completed: bool | None = None) -> bool:
        """Whether a task in this state has ended. has_completed: whether an event told so; a task that failed may be tried
        again, and one that was revoked may still run."""
        if self in (RunStates.SUCCEEDED, RunStates.REVOKE_COMPLETED, RunStates.INCOMPLETE):
            return True
        return has_completed is not False if self is RunStates.FAILED else has_completed is True and self is RunStates.REVOKED

    def to_celery_event_type(self) -> str:
        return self.value

    def to_ui_state(self) -> str:
        return self.value

    def is_revoke(self) -> bool:
        return self in (RunStates.REVOKED, RunStates.REVOKE_COMPLETED)

    @classmethod
    def known(cls, state: Any) -> RunStates | None:
        """The state of this name, None if there is none."""
        try:
            return cls.create(state)
        except ValueError:
            return None

    @classmethod
    def is_complete_state(cls, task_state: Any, has_completed: bool | None = None) -> bool:
        state = cls.known(task_state)
        return state is not None and state.is_complete(has_completed)

    @classmethod
    def is_incomplete_state(cls, task_state: Any, has_completed: bool | None = None) -> bool:
        state = cls.known(task_state)
        return state is not None and not state.is_complete(has_completed)

    @classmethod
    def get_forced_complete_celery_event_type(cls, task_state: Any, has_completed: bool | None = None) -> str:
        """The type of event that ends a task whose run is over."""
        state = cls.known(task_state) or cls.INCOMPLETE
        if state is cls.REVOKED:
            return cls.REVOKE_COMPLETED.value
        return (state if state.is_complete(has_completed) else cls.INCOMPLETE).value

    @classmethod
    def get_higher_priority_state(cls, existing_state_str: str | None, new_state_str: str | None) -> str:
        """The one of two states that a task is in after both were told, in this order."""
        existing, new = cls.known(existing_state_str), cls.known(new_state_str)
        if existing and (new is None or new.get_priority() < existing.get_priority()):
            return existing.value
        return new.value if new else new_state_str or ""


_PRIORITY = {RunStates.INCOMPLETE: 1, RunStates.REVOKED: 2, RunStates.REVOKE_COMPLETED: 3, RunStates.SUCCEEDED: 4}
COMPLETE_RUNSTATES = {state.value for state in RunStates if state.is_complete()}


class FireXTask(NamedTuple):
    """One task, as FireX's keeper has it; the fields stand in the order of its table."""

    uuid: str
    firex_id: str
    chain_depth: int
    firex_bound_args: Any
    firex_result: Any
    firex_default_bound_args: Any
    from_plugin: bool
    hostname: str
    logs_url: str | None
    long_name: str
    name: str
    actual_runtime: float | None
    first_started: float | None
    parent_id: str | None
    retries: int
    state: str
    task_num: int
    utcoffset: int
    exception: str | None
    traceback: str | None
    exception_cause_uuid: str | None


class FireXRunMetadata(NamedTuple):
    """One run, as FireX's keeper has it."""

    firex_id: str
    logs_dir: str
    chain: str
    root_uuid: str | None
    firex_requester: str | None = None


TASK_COLUMN_NAMES = [*FireXTask._fields]
TaskColumn = Enum("TaskColumn", {  # type: ignore[misc]
    {"firex_bound_args": "BOUND_ARGS", "firex_result": "RESULTS", "firex_default_bound_args": "DEFAULT_BOUND_ARGS"}.get(
        name, name.upper()): name for name in FireXTask._fields})
RunMetadataColumn = Enum("RunMetadataColumn", {name.upper(): name for name in FireXRunMetadata._fields})  # type: ignore[misc]

_INTERRUPTED = "ChainInterruptedException"


def get_task_data(input_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Of a dict, what is a field of a task."""
    return {name: value for name, value in input_dict.items() if name in TASK_COLUMN_NAMES}


def is_chain_exception(task: FireXTask) -> bool:
    """Whether a task failed only because one that it waited for did."""
    return bool(task.exception) and str(task.exception).strip().startswith(_INTERRUPTED)


def get_chain_exception_child_uuid(task: FireXTask) -> str:
    """The uuid of the task by whose failure another one failed. Raises AssertionError if that is not why it failed."""
    found = re.search(rf"{_INTERRUPTED}\('([\da-f-]+)'", str(task.exception))
    assert is_chain_exception(task) and found, f"No UUID found in {task.exception}."
    return found[1]


def is_failed(task: FireXTask, ignore_chain_exception: bool = False) -> bool:
    return task.state == RunStates.FAILED.value and not (ignore_chain_exception and is_chain_exception(task))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass
class RevokeDetails:
    """Why a task, or a whole run, was revoked, and by whom; `write` keeps it in a file of the run's directory."""

    logs_dir: str
    reason: str | None
    task_uuid: str
    root_revoke: bool
    revoking_user: str | None = None
    revoke_start_time: datetime.datetime = field(default_factory=_now)
    revoke_complete_time: datetime.datetime | None = None
    _id: str | None = None

    def is_revoke_completed(self) -> bool:
        return self.revoke_complete_time is not None

    def get_description(self) -> str:
        by = f" by {self.revoking_user}" if self.revoking_user else ""
        return f"Run was revoked (cancelled){by} with reason: {self.reason}".rstrip(".") + "."

    def write_revoke_complete(self, revoke_complete_time: datetime.datetime | None = None) -> None:
        if self.revoke_complete_time is None:
            self.revoke_complete_time = revoke_complete_time or _now()
            self.write()

    def write(self) -> None:
        self._id = self._id or secrets.token_hex(3)
        kind = "run-revoke" if self.root_revoke else "task-revoke"
        text = json.dumps(asdict(self), default=datetime.datetime.isoformat, indent=4)
        (_revoke_folder(self.logs_dir) / f"{kind}:{self.task_uuid}:{self._id}.json").write_text(text)

    @classmethod
    def load_latest_run_revoke_details(cls, logs_dir: str) -> RevokeDetails | None:
        return cls.load_latest_revoke_details(logs_dir, run_revoked=True)

    @classmethod
    def load_latest_revoke_details(cls, logs_dir: str, run_revoked: bool = False,
                                   task_uuid: str | None = None) -> RevokeDetails | None:
        """What was written last of the revoking of a run, or of a task of it; None if nothing was."""
        pattern = f"{'run' if run_revoked else 'task'}-revoke:{task_uuid or '*'}:*.json"
        latest = max(_revoke_folder(logs_dir).glob(pattern), key=os.path.getmtime, default=None)
        if latest is None:
            return None
        stored = json.loads(latest.read_text())
        for name in ("revoke_start_time", "revoke_complete_time"):
            stored[name] = stored[name] and datetime.datetime.fromisoformat(stored[name])
        return cls(**stored)


def _revoke_folder(logs_dir: str) -> Path:
    folder = Path(logs_dir) / "firex_internal" / "revoke_requests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
