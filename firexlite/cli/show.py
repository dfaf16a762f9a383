"""`firexlite show`: the tasks of a run, or one of them in full."""
from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import closing

import click

from ..codec import display_error
from ..errors import BadInput
from ..flame_graph import model_of_run, model_of_task
from ..flame_words import duration
from ..history import History, innermost, interrupts
from ..home import find_run
from ..states import STATES
from ..story import culprit_of, story_of
from ..suppliers import Supplier, suppliers_of
from ..task_names import names_of, task_named
from ..tree import Line, lines_of
from ..watcher import Watcher
from .options import run_argument
from .paint import Paint, branches
from .printing import write_out
from .telling import culprit_lines, headline, more_lines

LOG_LINES = 20
ARGUMENT_CHARS = 300
NAME_COLUMNS = 60


@click.command("show")
@run_argument
@click.argument("task", required=False)
@click.option("--all", "everything", is_flag=True, help="Show each task, also of many that are alike.")
@click.option("--state", "states", metavar="STATE", multiple=True, type=click.Choice(STATES),
              help="Show only tasks in this state, with those above them. May be repeated.")
@click.option("--below", metavar="TASK", help="Show only this task and what is below it.")
@click.option("--watch", is_flag=True, help="In a terminal: show it anew as the run goes on, until it has ended.")
@click.option("--json", "as_json", is_flag=True, help="Write it as JSON.")
@click.pass_context
def show_command(context: click.Context, firex_id: str, task: str | None, everything: bool, states: tuple[str, ...],
                 below: str | None, watch: bool, as_json: bool) -> None:
    """Show the tasks of a run as a tree, with states, times and failures; or one TASK in full.

    Of many tasks alike the first few are shown. TASK is the number of a task, its uuid, or the name of a service.

    \b
    firexlite show last
    firexlite show last flash
    """
    if task is not None:
        if everything or states or below or watch:
            raise click.UsageError("show prints one task in full, or a tree with --all, --state, --below or --watch")
        with History(find_run(firex_id)) as history:
            num = task_named(history, task)
            write_out(_task_as_json(history, num) if as_json else _task_text(history, num))
        return
    if watch:
        if as_json or not sys.stdout.isatty():
            raise BadInput("--watch shows the run anew in a terminal; to wait for its end there is `firexlite wait`")
        _watch(firex_id, everything, states, below)
        return
    with History(find_run(firex_id)) as history:
        root = None if below is None else task_named(history, below)
        write_out(_tree_as_json(history, root, everything, states) if as_json else
                  _tree_text(history, root, everything, states))


def _watch(firex_id: str, everything: bool, states: tuple[str, ...], below: str | None) -> None:
    try:
        with closing(Watcher(firex_id).moments()) as moments:
            for directory, _ in moments:
                with History(directory) as history:
                    root = None if below is None else task_named(history, below)
                    text = _tree_text(history, root, everything, states)
                lines = text.splitlines()
                height = shutil.get_terminal_size().lines
                cut = lines if len(lines) < height else [*lines[:height - 2], f"... {len(lines) - height + 2} more lines"]
                write_out("\x1b[H\x1b[J" + "\n".join(cut) + "\n")
    except KeyboardInterrupt:
        raise SystemExit(130) from None


# --- the tree ------------------------------------------------------------------------------------------------------

def _tree_text(history: History, root: int | None, everything: bool, states: tuple[str, ...]) -> str:
    paint = Paint()
    story = story_of(history) if root is None and not states else None
    lines, left_out = lines_of(history, root, everything, states)
    rows = [*headline(model_of_run(history) if story is None else story.run, paint), ""]
    names = [branches(line.is_last, sys.stdout) + ("| " if line.position else "")
             + (f"{line.name}" if line.size == 1 else f"... {line.size:,} more {line.name}") for line in lines]
    width = min(NAME_COLUMNS, max(map(len, names), default=0))
    digits = max((len(str(line.num)) for line in lines), default=1)
    for line, name in zip(lines, names, strict=True):
        num = f"{line.num:>{digits}}" if line.size == 1 else " " * digits
        rows.append(f"{paint(num, dim=True)}  {paint(name.ljust(width))}  {paint.state(line.state, 9)}"
                    f"{_times(line)}{paint(_note(line), 'red' if line.state == 'failed' else None)}".rstrip())
    if left_out:
        rows.append(f"... {left_out:,} more lines")
    if left_out or any(line.size > 1 for line in lines):
        rows += ["", "Of many that are alike the first are shown: --all shows each, --below TASK what is below one, "
                 "--state failed those that failed."]
    if story is not None:
        rows += more_lines(story, paint)
    return "\n".join(rows) + "\n"


def _times(line: Line) -> str:
    if line.started is None:
        return ""
    return f"  {duration((line.ended if line.ended is not None else time.time()) - line.started):>10}"


def _note(line: Line) -> str:
    notes = []
    if line.is_aside:
        notes.append("set aside")
    if line.attempt > 1:
        notes.append(f"attempt {line.attempt}")
    if line.error and line.state == "failed":
        error = display_error(line.error)
        if interrupts(error):
            notes.append("because of a child")
        else:
            inner = innermost(error)
            notes.append(_short(f"{inner['name']}: {inner['text']}".rstrip(": ")))
    return "  " + ", ".join(notes) if notes else ""


def _short(text: str, limit: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit - 3] + "..."


def _tree_as_json(history: History, root: int | None, everything: bool, states: tuple[str, ...]) -> str:
    from ..standing import brief

    lines, left_out = lines_of(history, root, everything, states)
    return json.dumps({**brief(history), "tasks": [
        {"num": line.num, "name": line.name, "state": line.state, "depth": line.depth, "position": line.position,
         "started": line.started, "ended": line.ended, "attempt": line.attempt, "count": line.size, "aside": line.is_aside,
         "exception": None if line.error is None else innermost(display_error(line.error))["text"]}
        for line in lines], "left_out": left_out}, indent=1) + "\n"


# --- one task ------------------------------------------------------------------------------------------------------

def _task_text(history: History, num: int) -> str:
    paint = Paint()
    task, run = model_of_task(history, num, 1 << 16), model_of_run(history)
    record = history.task(num)
    assert record is not None
    suppliers = suppliers_of(history, record)
    names = names_of(history, {one.task for one in suppliers.values() if one.task is not None})
    rows = [f"{paint(task['name'], bold=True)} (task {num} of {paint(run['firex_id'])})  {paint.state(task['state'])}"
            + (f"  {duration(task['runtime'])}" if task["runtime"] is not None else "")]
    if task["state"] == "failed":
        rows += ["", *culprit_lines(culprit_of(history, run, task), paint, with_more=False)]
    values = {**task["args"], **task["defaults"]}
    if values:
        rows += ["", paint("arguments", bold=True)]
        width = max(map(len, values))
        for name, value in values.items():
            rows.append(f"  {paint(name.ljust(width))}  {paint(_value(value))}  "
                        f"{paint(_whence(suppliers.get(name), name, names), dim=True)}".rstrip())
    if task["result"] is not None:
        rows += ["", paint("returned", bold=True)]
        width = max(map(len, task["result"]), default=0)
        rows += [f"  {paint(name.ljust(width))}  {paint(_value(value))}" for name, value in task["result"].items()]
    if task["attempts"]:
        rows += ["", paint("attempts", bold=True)]
        for one in task["attempts"]:
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["started"]))
            took = "" if one["ended"] is None else f"  {duration(one['ended'] - one['started'])}"
            where = f"  on {paint(one['host'])}" if "host" in one else ""
            rows.append(f"  {one['n']}  {began}{took}{where}  {paint.state(one['state'])}  "
                        f"{paint(_short(one['exc'] or ''))}".rstrip())
    lines = (task["log"] or {"lines": []})["lines"]
    if lines:
        of = f" (the last {LOG_LINES} of {len(lines)} lines)" if len(lines) > LOG_LINES else ""
        rows += ["", paint("output", bold=True) + of]
        rows += [f"  | {paint(click.unstyle(line))}".rstrip() for line in lines[-LOG_LINES:]]
    below = dict(history.execute("SELECT state, count(*) FROM task WHERE parent = ? GROUP BY state", num))
    if below:
        told = ", ".join(f"{below[state]:,} {state}" for state in STATES if state in below)
        rows += ["", f"{paint('children', bold=True)}  {told}: firexlite show {paint(run['firex_id'])} --below {num}"]
    return "\n".join(rows) + "\n"


def _value(value: object) -> str:
    shown = value if isinstance(value, str) and "\n" not in value else repr(value)
    return shown if len(shown) <= ARGUMENT_CHARS else f"{shown[:ARGUMENT_CHARS]}... ({len(shown):,} characters)"


def _whence(supplier: Supplier | None, name: str, names: dict[int, str]) -> str:
    """Who supplied a value, in words."""
    if supplier is None:
        return ""
    as_name = f" as {supplier.name}" if supplier.name not in (None, name) else ""
    of = f"{names.get(supplier.task, '?')} (task {supplier.task})" if supplier.task is not None else ""
    if supplier.how == "default":
        return "its default"
    if supplier.how == "returned":
        return f"returned by {of}{as_name}"
    if supplier.how == "converted":
        return f"made by a converter of {of}{as_name}"
    return f"given by {of}{as_name}" if of else f"given to the run{as_name}"


def _task_as_json(history: History, num: int) -> str:
    record = history.task(num)
    assert record is not None
    task = model_of_task(history, num, 1 << 16)
    whence = {name: {"how": one.how, "task": one.task, "name": one.name} for name, one in suppliers_of(history, record).items()}
    return json.dumps({**task, "suppliers": whence}, indent=1, default=repr) + "\n"
