"""`firexlite logs`: what the tasks of a run printed and logged."""
from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing

import click

from ..errors import BadInput
from ..history import AttemptRecord, History
from ..home import find_run
from ..task_names import names_of, tasks_named
from ..watcher import Watcher
from .options import run_argument
from .printing import answer

_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@click.command("logs")
@run_argument
@click.argument("task", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the run has ended.")
@click.pass_context
def logs_command(context: click.Context, firex_id: str, task: str | None, follow: bool) -> None:
    """Print what the tasks of a run printed and logged, one attempt after the other.

    TASK is the number of a task, its uuid, or the name of a service; without it the whole run is printed, in the order in
    which attempts began.

    \b
    firexlite logs FireX-li-261123-101500-4711 greet
    firexlite logs last --follow
    """
    if follow:
        context.exit(_follow(firex_id, task))
    with History(find_run(firex_id)) as history:
        chosen = None if task is None else _chosen(history, task)
        if chosen is None:
            _print_run_log(history)
        attempts = _in_order(history)
        names = names_of(history)  # after that: a run that goes on has more tasks at each look
        for attempt in attempts:
            if chosen is None or attempt.task in chosen:
                _print_attempt(history, names[attempt.task], attempt, says_nothing=chosen is not None)


def _follow(firex_id: str, task: str | None) -> int:
    """Print whole lines as they come, below a line that names their attempt wherever that is another than before."""
    places: dict[tuple[int, int], int] = {}
    spoke: tuple[int, int] | None = None
    try:
        with closing(Watcher(firex_id).moments()) as moments:
            for directory, _ in moments:
                with History(directory) as history:
                    chosen = None if task is None else set(tasks_named(history, task))
                    names: dict[int, str] = {}
                    for attempt in _in_order(history):
                        key = attempt.task, attempt.number
                        if chosen is not None and attempt.task not in chosen:
                            continue
                        text, places[key] = history.log_lines_from(attempt, places.get(key, attempt.log_start))
                        if text:
                            names = names if attempt.task in names else names_of(history)
                            head = [] if key == spoke else [_head(names[attempt.task], attempt)]
                            _print([*head, text])
                            spoke = key
    except KeyboardInterrupt:
        return 130
    return 0


def _in_order(history: History) -> list[AttemptRecord]:
    return sorted(history.attempts(), key=lambda attempt: (attempt.started, attempt.task, attempt.number))


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
        _print([_head(name, attempt), text or "(no output)"])


def _head(name: str, attempt: AttemptRecord) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt.started))
    where = "" if attempt.host is None else f" on {attempt.host}"
    return f"--- #{attempt.task} {name}, attempt {attempt.number}{where}, {began}, {attempt.outcome or 'running'}"


def _print(blocks: Iterator[str] | list[str]) -> None:
    """Without the colours of a terminal, which is told nothing by the output of others."""
    answer("\n".join(_COLOURS.sub("", block).replace("\r\n", "\n").rstrip("\n") for block in blocks))
