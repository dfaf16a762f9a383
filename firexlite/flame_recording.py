"""A task of FireX's Flame told as events, and `flame.rec`, the file from which its server replays them."""
from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .flame_firex import COMPLETED, INCOMPLETE, RECEIVED, STARTED

Event = dict[str, Any]
FlameTask = Mapping[str, Any]  # as in a file of `full-tasks`


class Recording:
    """Takes in the events of one task after the other, and writes those of all tasks in the order of time.

    They wait in a file beside the recording; of each state of a task no more than a time and a place stays in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = path.with_name(f"{path.name}.waiting")
        self._times = array("d")
        self._ends = array("Q")
        self._end = 0
        self._received = -math.inf
        self._file: BinaryIO = self._waiting.open("w+b")

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._waiting.unlink()

    def tell(self, task: FlameTask, root: str) -> None:
        """Take in a task; they come in the order of their numbers. root: the uuid of the task that has no parent."""
        # Flame numbers the tasks by their first events, and a clock may have been put back meanwhile.
        latest = self._received
        for place, (at, events) in enumerate(told(task, root)):
            latest = max(latest, at)
            if place == 0:
                self._received = latest
            self._add(latest, events)

    def tell_root(self, task: FlameTask) -> None:
        """Take in the task that has no parent: it begins before all others and is the last to end."""
        *before, (_, end) = told(task, task["uuid"])
        for _, events in before:
            self._add(-math.inf, events)
        self._add(math.inf, end)

    def adopt(self, parent: str, children: Sequence[str], at: float) -> None:
        """Take in that a task asked for others that had been enqueued already."""
        self._add(at, [{"type": "task-send-flame", "uuid": parent, "local_received": at, "additional_children": children}])

    def write(self) -> None:
        in_time = sorted(range(len(self._times)), key=self._times.__getitem__)  # those of one time stay as they came
        with self._path.open("wb") as recording:
            for place in in_time:
                start = self._ends[place - 1] if place else 0
                self._file.seek(start)
                recording.write(self._file.read(self._ends[place] - start))

    def _add(self, at: float, events: Sequence[Event]) -> None:
        text = "".join(f"{json.dumps(event)}\n" for event in events).encode()
        self._file.write(text)
        self._end += len(text)
        self._times.append(at)
        self._ends.append(self._end)


def told(task: FlameTask, root: str) -> Iterator[tuple[float, list[Event]]]:
    """``(time, events)`` of each state that a task went through, of which there are two at least."""
    first, *between, last = task["states"]
    # FireX says some of this when a task starts, but it is known of those, too, that never do.
    received = _event(task, first, root_id=root, name=task["long_name"], retries=0,
                      **_some(task, "from_plugin", "called_as_orig", "chain_depth"))
    yield first["timestamp"], [{**received, "parent_id": task["parent_id"]}]  # of the root, it is none
    retries = 0
    was_started = False
    for moved in between:
        if moved["state"] == RECEIVED and was_started:
            retries = min(retries + 1, task["retries"])  # it may also have lost its worker
            yield moved["timestamp"], [_event(task, moved, retries=retries)]
        elif moved["state"] == STARTED and not was_started:
            was_started = True
            yield moved["timestamp"], list(_started(task, moved))
        else:
            yield moved["timestamp"], [_event(task, moved)]
    yield last["timestamp"], list(_ended(task, last))


def _started(task: FlameTask, moved: Mapping) -> Iterator[Event]:
    """The first start. Of a later one like it Flame would take the time for that of the first."""
    yield _event(task, moved, "task-started-info", log_filepath=task.get("logs_url"))
    yield _event(task, moved, "task-args", **_some(task, "firex_bound_args", "firex_default_bound_args"))


def _ended(task: FlameTask, moved: Mapping) -> Iterator[Event]:
    """The end, before which Flame is told all that there is to show."""
    for kind, *names in (("task-send-flame", "flame_data", "external_commands"),
                         ("task-results", "firex_result", "cached_result_from"),
                         ("task-exception-cause", "exception_cause_uuid")):
        if fields := _some(task, *names):
            yield _event(task, moved, kind, **fields)
    how = _some(task, "exception", "traceback", "error_context", "revoke_reason")
    runtime = _some(task, "actual_runtime")
    if moved["state"] == INCOMPLETE:
        yield _event(task, moved, **how, **runtime)
    else:
        yield _event(task, moved, **how)
        yield _event(task, moved, COMPLETED, **runtime)


def _event(task: FlameTask, moved: Mapping, kind: str | None = None, **fields: Any) -> Event:
    """An event at the time of a state; without a kind, that it came into that state."""
    given = {"type": kind or moved["state"], "uuid": task["uuid"], "local_received": moved["timestamp"],
             "hostname": task.get("hostname"), **fields}
    return {name: value for name, value in given.items() if value is not None}


def _some(task: FlameTask, *names: str) -> dict[str, Any]:
    return {name: task[name] for name in names if name in task}
