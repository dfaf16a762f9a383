"""The figures as text: tables of medians, spreads and ratios."""
from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version

from .contest import OURS, SLOW_DISK_S, Contender, Round, Workload
from .goals import goals, goals_table
from .references import WORKERS
from .scratch import Scratch
from .text import shown_bytes, shown_count, shown_s, shown_times, table, three_digits
from .workloads import POOL, Sizes, fanout

SETTINGS = (f"- Settings: `--workers {WORKERS}` unless said otherwise, and a pool of as many forked processes. Journal in WAL "
            "mode; the log is synced before anything follows from the end of a task, and not for claims and enqueues, as "
            "firexlite does by default. Raw sqlite3: WAL, `synchronous=FULL`.")

# Medians that stand beside the seconds where they were measured of firexlite.
ALSO = {"cpu": ("processor time", shown_s), "command": ("whole command", shown_s),
        "lost": ("never ran", shown_count), "repeated": ("ran again", shown_count)}


def figures(workloads: Sequence[Workload], sizes: Sizes, rounds: Sequence[Round], scratch: Scratch, load: float,
            peers: Sequence[str] = (), plots: str = "") -> str:
    """All tables, as Markdown. load: of the machine when measuring began. peers: how each was set, a sentence each.

    plots: the words that show them.
    """
    settings = "\n".join([circumstances(scratch, len(rounds), load), SETTINGS, *(f"- {sentence}" for sentence in peers)])
    reached = goals_table(goals(sizes), rounds, [each.name for each in workloads])
    parts = [settings, f"### goals\n\n{_slow_disk(rounds)}{reached}", plots, _disk_table(rounds)]
    parts += sections(workloads, rounds)
    parts.append(_growth_table([each for each in workloads if each.name == fanout(each.units)], rounds))
    return "\n\n".join(filter(None, parts))


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


def _slow_disk(rounds: Sequence[Round]) -> str:
    slow = sum(found.sync_s > SLOW_DISK_S for found in rounds)
    if not slow:
        return ""
    return (f"The disk took more than {shown_s(SLOW_DISK_S)} for one write in {slow} of {len(rounds)} rounds: there a pool is "
            "granted one fdatasync a child.\n\n")


def _disk_table(rounds: Sequence[Round]) -> str:
    rows = [["into room that is there", *_spread([found.sync_s for found in rounds])],
            ["making the file longer", *_spread([found.growing_sync_s for found in rounds])]]
    return ("### disk\n\nOne write of 4 KB and its fdatasync, the median of 200 in each round.\n\n"
            + table(["", "median", "least", "most"], rows))


def sections(workloads: Sequence[Workload], rounds: Sequence[Round]) -> list[str]:
    """What was found of each workload, below a heading of its name."""
    return [_section(workload, rounds) for workload in workloads]


def _section(workload: Workload, rounds: Sequence[Round]) -> str:
    parts = [f"### {workload.name}", f"{workload.what[0].upper()}{workload.what[1:]}."]
    if workload.is_compared:
        parts.append(_compared(workload, rounds))
    if workload.besides:
        rows = [[each.name, *_spread(_values(rounds, workload, OURS, each.figure), each.text)] for each in workload.besides]
        parts.append(table(["of firexlite", "median", "least", "most"], rows))
    return "\n\n".join(parts)


def _compared(workload: Workload, rounds: Sequence[Round]) -> str:
    rounds = [found for found in rounds if (workload.name, OURS) in found.samples]
    also = [figure for figure in ALSO if _values(rounds, workload, OURS, figure)]
    unit = [f"a {workload.unit}"] if workload.unit else []
    head = ["", "median", "least", "most", *unit, *(ALSO[figure][0] for figure in also), "firexlite takes"]
    rows = []
    for contender in workload.contenders:
        rows.append(_row(workload, contender, rounds, also))
        if workload.waits_for_disk and contender.name == POOL:
            rows.append(_with_disk(workload, rounds, len(also)))
    return table(head, rows)


def _row(workload: Workload, contender: Contender, rounds: Sequence[Round], also: Sequence[str]) -> list[str]:
    measured = [found for found in rounds if (workload.name, contender.name) in found.samples]
    if not measured:
        return [f"{contender.name}: could not be measured", *[""] * (4 + bool(workload.unit) + len(also))]
    seconds = _values(measured, workload, contender.name)
    often = f", {len(measured)} rounds" if contender.in_rounds and len(rounds) > contender.in_rounds else ""
    row = [contender.name + (", once" if contender.is_once and len(rounds) > 1 else often), *_spread(seconds)]
    row += [shown_s(statistics.median(seconds) / workload.units)] if workload.unit else []
    for figure in also:
        values = _values(measured, workload, contender.name, figure)
        row.append(ALSO[figure][1](statistics.median(values)) if values else "")
    row.append("" if contender.name == OURS else ratio(_values(measured, workload, OURS), seconds))
    return row


def _with_disk(workload: Workload, rounds: Sequence[Round], also: int) -> list[str]:
    """For the pool, which keeps nothing: what it would take with one fdatasync a step."""
    seconds = [found.figure(workload.name, of=POOL) + workload.units * found.sync_s for found in rounds]
    return [f"{POOL} and one fdatasync a {workload.unit} (computed)", *_spread(seconds),
            shown_s(statistics.median(seconds) / workload.units), *[""] * also, ratio(_values(rounds, workload, OURS), seconds)]


def _growth_table(workloads: Sequence[Workload], rounds: Sequence[Round]) -> str:
    rows = []
    for workload in workloads:
        children = workload.units
        middle = {name: statistics.median(_values(rounds, workload, OURS, name))
                  for name in ("seconds", "command", "cpu", "journal", "runner_peak")}
        rows.append([shown_count(children), shown_s(middle["command"]), f"{children / middle['command']:,.0f} a second",
                     shown_s(middle["seconds"] / children), shown_s(middle["cpu"] / children), shown_bytes(middle["journal"]),
                     shown_bytes(middle["runner_peak"])])
    if not rows:
        return ""
    return ("### growth\n\nThe fan-outs above on 2 workers: what a task costs as their number grows. *Journal* are the bytes "
            "of the finished file for each task, over its arguments and its result.\n\n"
            + table(["children", "whole command", "rate", "a child", "processor time", "journal", "runner's memory"], rows))


def _values(rounds: Sequence[Round], workload: Workload, contender: str, figure: str = "seconds") -> list[float]:
    samples = [found.samples.get((workload.name, contender), {}) for found in rounds]
    return [sample[figure] for sample in samples if figure in sample]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How many times as long we take: the median of the rounds' ratios, and the least and the most of them."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return f"{shown_times(statistics.median(ratios))} ({three_digits(min(ratios))} to {three_digits(max(ratios))})"


def _spread(values: Sequence[float], text=shown_s) -> list[str]:
    return [text(statistics.median(values)), text(min(values)), text(max(values))]
