"""The command `python -m benchmarks.profiling WORKLOAD`, or `./dev profile`: where the microseconds of a task go."""
from __future__ import annotations

import collections
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from .ours import NAPPERS, submit_words
from .profiled import FUNCTIONS, NOTHING, PROCESSOR, STATEMENTS
from .references import WORKERS
from .scratch import LIMIT_S, CannotMeasure, Scratch, scratch_folder
from .text import table

US = 1_000_000
FRONT, RUNNER, PARENT, OTHERS = "front", "runner", "the parent's worker", "the other workers"


@dataclass(frozen=True)
class Profiled:
    """A workload that can be profiled: its parent, the argument that says how much it does, and how much that is."""

    service: str
    argument: str
    size: int
    workers: int = WORKERS


WORKLOADS = {
    "fanout": Profiled("fan_out", "children", 1000),
    "chain": Profiled("walk", "length", 1000),
    "sequential": Profiled("call_one_by_one", "children", 500),
    "nested": Profiled("nest", "levels", 50),
    "cpu": Profiled("use_processors", "children", 64),
    "everyday": Profiled("fan_out_naps", "children", 1000, NAPPERS),
}


@dataclass
class Kind:
    """What the processes of one kind did in all. functions: ``{name: [calls, seconds of its own]}``."""

    processes: int = 0
    cpu_s: float = 0.0
    commits: int = 0
    syncs: int = 0
    statements: collections.Counter[str] = field(default_factory=collections.Counter)
    functions: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: dict) -> None:
        self.processes += 1
        self.cpu_s += found["cpu"]
        self.commits += found["commits"]
        self.syncs += found["syncs"]
        self.statements.update(found["statements"])
        for name, calls, seconds in found["functions"]:
            sums = self.functions.setdefault(name, [0, 0.0])
            sums[0] += calls
            sums[1] += seconds


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("workload", type=click.Choice(sorted(WORKLOADS)), metavar="WORKLOAD")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="How many children, hops or levels.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many workers.")
@click.option("--top", type=click.IntRange(min=1), default=15, metavar="N", help="How many functions and statements are shown.",
              show_default=True)
@click.option("--processor", is_flag=True, help="Functions by processor time, without waits; that makes small ones look dear.")
@click.option("--scratch", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="A folder on the disk to run on.")
def profile(workload: str, size: int | None, workers: int | None, top: int, processor: bool, scratch: Path | None) -> None:
    """Say where the microseconds of a task go, in each kind of process.

    WORKLOAD is chain, cpu, everyday, fanout, nested or sequential. It runs three times, so that nothing that is looked at
    pays for the look at something else.
    """
    chosen = WORKLOADS[workload]
    tasks, slots = size or chosen.size, workers or chosen.workers
    words = submit_words(chosen.service, slots, **{chosen.argument: tasks})
    try:
        with scratch_folder(scratch, LIMIT_S) as place:
            look(place, NOTHING, submit_words(chosen.service, slots, **{chosen.argument: 1}))  # compiles all modules
            bare, statements, functions = (look(place, how, words)
                                           for how in (NOTHING, STATEMENTS, PROCESSOR if processor else FUNCTIONS))
    except CannotMeasure as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)
    click.echo(f"{workload} of {tasks:,}, {slots} workers; all figures are for one of {tasks:,}, in microseconds.\n")
    click.echo("\n\n".join([cpu_table(bare, tasks), statement_table(statements, tasks, top),
                            *function_tables(functions, tasks, top, processor)]))


def look(scratch: Scratch, how: str, words: Sequence[str]) -> dict[str, Kind]:
    """Run the workload once, and gather what its processes wrote, by their kind."""
    folder = scratch.folder / "profile"
    folder.mkdir()
    try:
        _, values = scratch.returned(*words, command=[sys.executable, "-m", "benchmarks.profiled", str(folder), how])
        return gather([json.loads(path.read_text()) for path in folder.glob("*.json")], values["figures"]["parent"])
    finally:
        shutil.rmtree(folder)


def gather(processes: Sequence[dict], parent: int) -> dict[str, Kind]:
    """What the processes did, by their kind. parent: the process of the worker whose task enqueued the others."""
    pids = {found["pid"] for found in processes}
    [front] = [found["pid"] for found in processes if found["parent"] not in pids]
    kinds = {name: Kind() for name in (FRONT, RUNNER, PARENT, OTHERS)}
    for found in processes:
        pid = found["pid"]
        kinds[FRONT if pid == front else RUNNER if found["parent"] == front else PARENT if pid == parent else OTHERS].add(found)
    return kinds


def cpu_table(kinds: dict[str, Kind], tasks: int) -> str:
    rows = [[name, f"{kind.processes}", f"{kind.cpu_s * US / tasks:,.1f}", f"{kind.cpu_s * 1000:,.0f} ms"]
            for name, kind in kinds.items()]
    total = sum(kind.cpu_s for kind in kinds.values())
    rows.append(["all", f"{sum(kind.processes for kind in kinds.values())}", f"{total * US / tasks:,.1f}",
                 f"{total * 1000:,.0f} ms"])
    return "Processor time, with nothing in its way (the start of each process is in it):\n\n" + table(
        ["process", "number", "a task", "in all"], rows)


def statement_table(kinds: dict[str, Kind], tasks: int, top: int) -> str:
    def row(name: str, count: int) -> list[str]:
        return [name, f"{count / tasks:,.3f}"]

    everything = sum((kind.statements for kind in kinds.values()), collections.Counter())
    rows = [row("all statements", sum(everything.values())),
            row("commits", sum(kind.commits for kind in kinds.values())),
            row("syncs of the log", sum(kind.syncs for kind in kinds.values()))]
    rows += [row(_cut(statement), count) for statement, count in everything.most_common(top)]
    return "Statements of SQLite:\n\n" + table(["", "a task"], rows)


def function_tables(kinds: dict[str, Kind], tasks: int, top: int, by_processor: bool) -> Iterator[str]:
    clock = "by processor time" if by_processor else "by the clock, with all waits"
    for name, kind in kinds.items():
        dearest = sorted(kind.functions.items(), key=lambda each: -each[1][1])[:top]
        rows = [[_cut(function), f"{seconds * US / tasks:,.1f}", f"{calls / tasks:,.2f}"]
                for function, (calls, seconds) in dearest]
        yield (f"{name[0].upper()}{name[1:]}, {clock}; the profiler makes calls dearer:\n\n"
               + table(["own time", "a task", "calls a task"], rows))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


if __name__ == "__main__":
    profile(prog_name="python -m benchmarks.profiling")
