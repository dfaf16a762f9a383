"""Why a run ended as it did, for its report: what is not told by the tasks themselves."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .codec_errors import is_machinery
from .history import History, RunRecord, ServiceRecord, TaskRecord
from .last_good import since_last_good
from .stopped import cut_off_lines, stopped_lines
from .terminal import visible

RUN_LOG_LINES = 200
DECISION_CHARS = 400  # of a line that tells what a person must decide


def why(history: History, run: RunRecord) -> dict[str, Any]:
    """What the report's ``run`` holds of that.

    root_causes: numbers of the tasks whose failures ended it. stopped: what a person must decide, as `_stopped`. log: the last
    lines of what is logged of the run as a whole. services: ``{long name: {"place": "file:line", "head": its first lines}}``.
    since_last_good: as `last_good.Change`, or None.
    """
    good = since_last_good(history)
    return {"root_causes": history.root_cause_numbers(), "stopped": list(_stopped(history)),
            "since_last_good": good and good.as_data(), "log": history.run_log().splitlines()[-RUN_LOG_LINES:],
            "services": {name: {"place": f"{service.file}:{service.line}", "head": list(service.head)}
                         for name, service in history.services.items()}}


def place_of(where: Mapping[str, Any] | None, service: ServiceRecord | None) -> str | None:
    """`file:line in function`, where a person looks first for an error that was raised at ``where``.

    If that is none of the user's lines, since a worker died or what the body was given or returned was refused, it is the line
    at which the service begins.
    """
    if service and (where is None or is_machinery(where["file"])):
        return f"{service.file}:{service.line} in {service.short_name}"
    return None if where is None else f"{where['file']}:{where['line']} in {where['function']}"


def _stopped(history: History) -> Iterator[dict[str, Any]]:
    """``{task, lines, error_context, traceback}`` of each task that a person must decide about.

    lines: in the words of the command line. error_context, traceback: as in a task; of the line that could not go on.
    """
    for task, lines in (*((task, stopped_lines(history, task, _short)) for task in history.stopped_tasks()),
                        *((task, cut_off_lines(history, task)) for task in history.cut_off_tasks())):
        if lines:
            found = _record(task)
            yield {"task": task.num, "lines": lines, "traceback": found.get("traceback"),
                   "error_context": place_of(found.get("where"), history.services.get(task.service))}


def _record(task: TaskRecord) -> dict[str, Any]:
    return json.loads(task.stopped) if task.stopped else {}


def _short(line: str) -> str:
    line = visible(line)
    return line if len(line) <= DECISION_CHARS else line[:DECISION_CHARS - 3] + "..."
