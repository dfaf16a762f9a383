"""What a person sees while a run goes on, and when it has ended."""
from __future__ import annotations

import linecache
import os
import sys
import time
from typing import Any

import click
from tabulate import tabulate

from ..board import FAILED, KNOWN, REVOKED, SKIPPED, SUCCEEDED, Board
from ..history import History, RootCause
from ..home import RunDirectory

OUTPUT_LINES = 5       # of a failed task, in the report of a failure
CAUSES = 2             # root causes told in full; all of the report stays within 25 lines
LINE_WIDTH = 160


class Console:
    """The screen of a front with a person, or a pipe, before it."""

    def __init__(self) -> None:
        self.directory: RunDirectory | None = None
        self._is_live = sys.stderr.isatty()
        self._shown = ""
        self._began = time.monotonic()

    def started(self, directory: RunDirectory) -> None:
        self.directory = directory
        click.echo(f"FireX ID: {directory.firex_id}")
        sys.stdout.flush()  # a program behind a pipe wants it now

    def resumed(self, done: int, again: int, reopened: int, changed: list[str]) -> None:
        parts = [f"{done} tasks are done", f"{again} were in flight and run again"]
        if reopened:
            parts.append(f"{reopened} are reopened")
        if changed:
            parts.append(f"changed since: {', '.join(changed)}")
        click.echo(f"Resuming: {'; '.join(parts)}.", err=True)

    def progress(self, board: Board) -> None:
        if not self._is_live:
            return
        cells = board.cells
        ended = cells[SUCCEEDED] + cells[FAILED] + cells[SKIPPED] + cells[REVOKED]
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        failures = f", {cells[FAILED]} failed" if cells[FAILED] else ""
        line = f"{ended} of {cells[KNOWN]} tasks ended{failures}, {minutes}:{seconds:02}"
        if line != self._shown:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            self._shown = line

    def stopping(self, signal_number: int) -> None:
        self.clear()
        click.echo("Stopping: running services have a few seconds to end; once more stops them at once.", err=True)

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = ""


def report(directory: RunDirectory, code: int) -> None:
    """Print how a run ended: returned values on stdout; what went wrong, and the way on, on stderr."""
    with History(directory) as history:
        if code == 0:
            _report_success(history)
        else:
            click.echo("\n".join(_failure_lines(history)), err=True)


def _report_success(history: History) -> None:
    click.echo("All tasks succeeded")
    values = history.named_values()
    if values:
        rows = [(name, text_of(value)) for name, value in sorted(values.items())]
        click.echo("\nReturned values:\n" + _indented(tabulate(rows, tablefmt="plain", disable_numparse=True)))


def _failure_lines(history: History) -> list[str]:
    run = history.run()
    lines: list[str] = []
    causes = history.root_causes()
    for cause in causes[:CAUSES]:
        lines += _cause_lines(history, cause)
    if len(causes) > CAUSES:
        lines.append(f"... and {len(causes) - CAUSES} more")
    for task in history.stopped_tasks()[:1]:
        lines += _mismatch_lines(history, task)
    lines.append(f"The run is {run.state}: " + ", ".join(f"{n} {state}" for state, n in sorted(history.counts().items())) + ".")
    not_run = history.unsuccessful().get("not_run")
    if not_run:
        lines.append(f"Not run: {', '.join(not_run)}.")
    lines.append(f"Resume it with: firexlite resume {run.firex_id}")
    return lines


def _cause_lines(history: History, cause: RootCause) -> list[str]:
    error, where = cause.error, cause.error["where"]
    lines = [_cut(f"FAILED: {cause.short_name} (task {cause.task.num}): {error['name']}: {first_line(error['text'])}")]
    if where:
        lines.append(f"  at {shown_path(where['file'])}:{where['line']} in {where['function']}")
        if source := linecache.getline(where["file"], where["line"]).strip():
            lines.append(_cut(f"      {source}"))
    if cause.arguments:
        lines.append(_cut("  arguments: " + ", ".join(f"{name}={value!r}" for name, value in cause.arguments.items())))
    output = [line for line in cause.log.splitlines() if line.strip()][-OUTPUT_LINES:]
    if output:
        lines += ["  its last output:", *(_cut(f"    | {line}") for line in output)]
    if cause.through:
        names = {num: history.services[task.service].short_name for num in cause.through if (task := history.task(num))}
        lines.append("  called by: " + " <- ".join(f"{names[num]} (task {num})" for num in reversed(cause.through)))
    return lines


def _mismatch_lines(history: History, task: Any) -> list[str]:
    import json
    found = json.loads(task.stopped)
    name = history.services[task.service].short_name
    lines = [f"STOPPED: {name} (task {task.num}) ran again after an interruption and did not ask for the children it asked for before."]
    for title, chains in (("asked for before, not now", found["recorded"]), ("asked for now, not before", found["new"])):
        for chain in chains[:3]:
            calls = " | ".join(f"{call['service'].rpartition('.')[2]}({_arguments(call['arguments'])})" for call in chain)
            lines.append(_cut(f"  {title}: {calls}"))
    if found["raised"]:
        lines.append(_cut(f"  it raised {found['raised']}"))
    lines.append("  Make it ask for the same children again, whatever the time or chance, and resume.")
    return lines


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def text_of(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def first_line(text: str) -> str:
    return text.strip().split("\n")[0]


def shown_path(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))


def _cut(line: str) -> str:
    return line if len(line) <= LINE_WIDTH else line[:LINE_WIDTH - 3] + "..."
