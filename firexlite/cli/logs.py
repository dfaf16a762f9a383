"""`firexlite logs`: what the tasks of a run printed and logged."""
from __future__ import annotations

import re
import time
from collections.abc import Iterator

import click

from ..errors import BadInput
from ..history import AttemptRecord, History
from ..home import find_run
from ..task_names import names_of, tasks_named
from .options import run_argument
from .screen import answer

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@click.command("logs")
@run_argument
@click.argument("task", required=False)
def logs_command(firex_id: str, task: str | None) -> None:
    """Print what the tasks of a run printed and logged, one attempt after the other.

    TASK is the number of a task, its uuid, or the name of a service; without it the whole run is printed, in the order in
    which attempts began.

    \b
    firexlite logs FireX-li-261123-101500-4711 greet
    """
    with History(find_run(firex_id)) as history:
        names = names_of(history)
        chosen = None if task is None else _chosen(history, task)
        if chosen is None:
            _print_run_log(history)
        for attempt in sorted(history.attempts(), key=lambda attempt: (attempt.started, attempt.task, attempt.number)):
            if chosen is None or attempt.task in chosen:
                _print_attempt(history, names[attempt.task], attempt, says_nothing=chosen is not None)


def _chosen(history: History, asked: str) -> set[int]:
    """The tasks that a person named. Raises BadInput if there are none, or none of them has begun."""
    chosen = set(tasks_named(history, asked))
    if not any(attempt.task in chosen for attempt in history.attempts()):
        raise BadInput(f"task '{asked}' of {history.directory.firex_id} has not begun, so it has no output")
    return chosen


def _print_run_log(history: History) -> None:
    if text := history.run_log():
        _print(["--- the run", text])


def _print_attempt(history: History, name: str, attempt: AttemptRecord, says_nothing: bool) -> None:
    text, _ = history.log(attempt, limit=None)
    if text or says_nothing:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started))
        _print([f"--- #{attempt.task} {name}, attempt {attempt.number}, {began}, {attempt.outcome or 'running'}",
                text or "(no output)"])


def _print(blocks: Iterator[str] | list[str]) -> None:
    """Without the colours of a terminal, which is told nothing by the output of others."""
    answer("\n".join(_COLOURS.sub("", block).replace("\r\n", "\n").rstrip("\n") for block in blocks))
