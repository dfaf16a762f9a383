"""The figures as text: tables of medians, spreads and ratios, and the document that holds them."""
from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from .references import WORKERS
from .scratch import CannotMeasure, Scratch
from .workloads import Contender, Measurements, Sample, Workload


class Marks(NamedTuple):
    """The lines between which figures stand in a document."""

    begin: str
    end: str


BEGIN = "<!-- figures: written by `python -m benchmarks`, which replaces all between this line and the last -->"
END = "<!-- end of figures -->"
FIGURES = Marks(BEGIN, END)


# --- the document ------------------------------------------------------------------------------------------------

def split_document(path: Path, marks: Marks = FIGURES) -> tuple[str, str]:
    """What stands before the figures and after them; for a file that is not there, next to nothing.

    Raises CannotMeasure for a file without the two marks: it is somebody's own.
    """
    if not path.exists():
        return "# Performance\n\n", "\n"
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks.begin)
    _, end, after = rest.partition(marks.end)
    if not begin or not end:
        raise CannotMeasure(f"{path} has no place for the figures; it needs the lines\n{marks.begin}\n{marks.end}")
    return before, after


def write_document(path: Path, figures: str, marks: Marks = FIGURES) -> None:
    """Put the figures between the marks of a document; its prose stays."""
    before, after = split_document(path, marks)
    path.write_text(f"{before}{marks.begin}\n\n{figures}\n\n{marks.end}{after}", encoding="utf-8")


# --- the figures -------------------------------------------------------------------------------------------------

SETTINGS = (f"- Settings: `--workers {WORKERS}`, and a pool of {WORKERS} forked processes. Journal in WAL mode; the end "
            "of each task is committed with `synchronous=FULL`, claims and enqueues with NORMAL, as firexlite does by "
            "default. Raw sqlite3: WAL, `synchronous=FULL`.")


def figures(measurements: Measurements, scratch: Scratch, rounds: int, load: float) -> str:
    """All tables, as Markdown. load: of the machine when measuring began."""
    parts = [f"{circumstances(scratch, rounds, load)}\n{SETTINGS}", _disk_table(measurements)]
    parts += [_workload_table(workload, measurements.sync_s) for workload in measurements.workloads]
    return "\n\n".join(parts)


def circumstances(scratch: Scratch, rounds: int, load: float) -> str:
    """When and on what was measured. load: of the machine when measuring began."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join([
        f"- Measured on {time.strftime('%Y-%m-%d', time.gmtime())}, {rounds} {'round' if rounds == 1 else 'rounds'} "
        "after one that does not count.",
        f"- Machine: {platform.system()}, {platform.machine()}, {cores} cores, home on {scratch.filesystem}; "
        f"load average at the start {load:.1f}.",
        f"- Software: {platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"peewee {version('peewee')}, click {version('click')}, firexlite {version('firexlite')}.",
    ])


def _disk_table(measurements: Measurements) -> str:
    rows = [["into room that is there", *_spread(measurements.sync_s)],
            ["making the file longer", *_spread(measurements.growing_sync_s)]]
    return ("### disk\n\nOne write of 4 KB and its fdatasync, the median of 200 in each round.\n\n"
            + table(["", "median", "least", "most"], rows))


def _workload_table(workload: Workload, sync_s: Sequence[float]) -> str:
    has_commands = bool(workload.ours.command_s)
    head = ["", "median", "least", "most"]
    head += [f"a {workload.unit}"] if workload.unit else []
    head += ["whole command"] if has_commands else []
    head += ["firexlite takes"]
    rows = []
    for contender in _with_disk(workload, sync_s):
        row = [contender.name, *_spread(contender.work_s)]
        row += [shown_s(statistics.median(contender.work_s) / workload.units)] if workload.unit else []
        if has_commands:
            row.append(shown_s(statistics.median(contender.command_s)) if contender.command_s else "")
        row.append("" if contender is workload.ours else ratio(workload.ours.work_s, contender.work_s))
        rows.append(row)
    return f"### {workload.name}\n\n{workload.what[0].upper()}{workload.what[1:]}.\n\n" + table(head, rows)


def _with_disk(workload: Workload, sync_s: Sequence[float]) -> list[Contender]:
    """The contenders, and for the pool, which keeps nothing, what it would take with one fdatasync a step."""
    if not workload.waits_for_disk:
        return workload.contenders
    pool = workload.contenders[1]
    computed = Contender(f"{pool.name} and one fdatasync a {workload.unit} (computed)", pool.measure,
                         [Sample(work + workload.units * sync) for work, sync in zip(pool.work_s, sync_s, strict=True)])
    return [*workload.contenders[:2], computed, *workload.contenders[2:]]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How many times as long we take: the median of the rounds' ratios, and the least and the most of them."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    middle = f"{_three_digits(statistics.median(ratios))} times"
    return f"{middle} ({_three_digits(min(ratios))} to {_three_digits(max(ratios))})"


def _spread(seconds: Sequence[float]) -> list[str]:
    return [shown_s(statistics.median(seconds)), shown_s(min(seconds)), shown_s(max(seconds))]


def shown_s(seconds: float) -> str:
    """Seconds, or milliseconds below half a second."""
    return f"{_three_digits(seconds)} s" if seconds >= 0.5 else f"{_three_digits(seconds * 1000)} ms"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is readable as plain text too; numbers stand on the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(first: str, *others: str) -> str:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = line("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:]))
    return "\n".join([line(*head), rule, *(line(*row) for row in rows)])
