"""The command: `python -m benchmarks` measures everything and writes docs/performance.md."""
from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from . import far, scaling
from .contest import Workload, alike, measure
from .document import FIGURES, split_document, write_document
from .flame import FULL as FULL_REPORTS
from .flame import MARKS, browser_version, measure_reports, report_figures
from .flame import QUICK as QUICK_REPORTS
from .peers.contenders import contenders, make_environments, settings
from .plots import draw_plots, pyplot
from .report import figures
from .scratch import LIMIT_S, PROJECT, CannotMeasure, Scratch, scratch_folder
from .workloads import FULL, QUICK, Sizes, workloads

LEAST_ROUNDS = 5       # behind a published figure
REPORTS_LIMIT_S, MILLION_LIMIT_S = 900.0, 3600.0
MILLION = 1_000_000


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--reports", is_flag=True, help="Measure reports of runs instead, and how they do in a browser.")
@click.option("--peers", "with_peers", is_flag=True,
              help="Measure other workflow systems beside ours; each is installed into an environment of its own.")
@click.option("--only", "chosen", multiple=True, metavar="WORKLOAD",
              help="Only the workloads whose names begin so; may be repeated. Prints, and writes only to --output. "
                   f"{far.KIND}: the same tasks here and on a Dask cluster; {scaling.KIND}: what limits a large run.")
@click.option("--million", is_flag=True, help="Also 1,000,000 children, once.")
@click.option("--tasks", type=click.IntRange(min=1), multiple=True, metavar="N",
              help="With --reports and --quick: a run of so many tasks; may be repeated.")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that all works. Prints, and writes only to --output.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N",
              help=f"How often all is measured; {LEAST_ROUNDS} or more.  [default: {LEAST_ROUNDS}; with --quick 1]")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The document to write the figures into.  [default: docs/performance.md]")
@click.option("--scratch", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="A folder on the disk to measure on.  [default: a usual one for temporary files, if not in memory]")
@click.option("--limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help=f"How long one command may take.  [default: {LIMIT_S:g}; with --reports {REPORTS_LIMIT_S:g}, with --million "
                   f"{MILLION_LIMIT_S:g}]")
def bench(reports: bool, with_peers: bool, chosen: tuple[str, ...], million: bool, tasks: tuple[int, ...], quick: bool,
          rounds: int | None, output: Path | None, scratch: Path | None, limit: float | None) -> None:
    """Measure firexlite against what is there without it, in turn, and write down medians and ratios."""
    if tasks and not (reports and quick):
        raise click.UsageError("--tasks goes with --reports and --quick only")
    is_partial = quick or bool(chosen)
    rounds = rounds or (1 if quick else LEAST_ROUNDS)
    if rounds < LEAST_ROUNDS and not is_partial:
        raise click.UsageError(f"figures to be published need {LEAST_ROUNDS} rounds; fewer go with --quick or --only")
    if output is None and not is_partial:
        output = PROJECT / "docs" / "performance.md"
    kind = kind_of(chosen)
    marks = MARKS if reports else {far.KIND: far.MARKS, scaling.KIND: scaling.MARKS}.get(kind, FIGURES)
    try:
        if output is not None:
            split_document(output, marks)  # now, and not after some minutes
        if not is_partial and not reports:
            pyplot()  # as well
        load = os.getloadavg()[0]
        usual_s = REPORTS_LIMIT_S if reports else MILLION_LIMIT_S if million else LIMIT_S
        with scratch_folder(scratch, limit or usual_s) as place:
            click.echo(f"Measuring on {place.filesystem}.", err=True)
            if reports:
                version = browser_version()
                runs = measure_reports(tasks or (QUICK_REPORTS if quick else FULL_REPORTS), place, rounds, say)
                found = report_figures(runs, version, place, rounds, load)
            elif kind == far.KIND:
                found = far_figures(QUICK if quick else FULL, chosen, place, rounds, load)
            elif kind == scaling.KIND:
                sizes = scaling.QUICK if quick else scaling.MILLION if million else scaling.FULL
                found = scaling.measure_parameters(sizes, place, rounds, load, say)
            else:
                pictures = None if is_partial or output is None else output.parent / "img"
                sizes = QUICK if quick else replace(FULL, most=MILLION) if million else FULL
                found = speed_figures(sizes, with_peers, chosen, place, rounds, load, pictures)
    except CannotMeasure as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)
    click.echo(found)
    if output is not None:
        write_document(output, found, marks)
        click.echo(f"\nThese figures now stand in {output}.", err=True)


def kind_of(chosen: tuple[str, ...]) -> str:
    """The one kind of those that have figures of their own which was chosen, if any. Raises UsageError for a mixture."""
    kinds = {next((kind for kind in (far.KIND, scaling.KIND) if word.split()[:1] == [kind]), "") for word in chosen}
    if len(kinds) > 1:
        raise click.UsageError(f"{far.KIND} and {scaling.KIND} have figures of their own; choose nothing beside them")
    return next(iter(kinds), "")


def far_figures(sizes: Sizes, chosen: tuple[str, ...], place: Scratch, rounds: int, load: float) -> str:
    """As `speed_figures`, of what runs on a cluster."""
    every, small = map(far.far_workloads, (sizes, QUICK))
    wanted = chosen_of(every, chosen)
    rounds_found = measure(wanted, small[:1] if sizes is QUICK else small, place, rounds, say)
    return far.far_figures(wanted, sizes, rounds_found, place, load)


def speed_figures(sizes: Sizes, with_peers: bool, chosen: tuple[str, ...], place: Scratch, rounds: int, load: float,
                  pictures: Path | None) -> str:
    """Measure all workloads, or those that were chosen; the tables of what was found. pictures: where to draw plots."""
    if with_peers:
        make_environments(say)
    every, small = (workloads(each, contenders(each) if with_peers else {}) for each in (sizes, QUICK))
    wanted = chosen_of(every, chosen)
    warm_up = alike(wanted, small)
    rounds_found = measure(wanted, warm_up[:1] if sizes is QUICK else warm_up, place, rounds, say)
    plots = "" if pictures is None else draw_plots(wanted, rounds_found, pictures)
    return figures(wanted, sizes, rounds_found, place, load, settings() if with_peers else (), plots)


def chosen_of(every: list[Workload], chosen: tuple[str, ...]) -> list[Workload]:
    """All workloads, or those whose names begin so. Raises CannotMeasure if there is none."""
    wanted = [workload for workload in every if workload.name.startswith(chosen or "")]
    if not wanted:
        raise CannotMeasure(f"no workload begins with {' or '.join(chosen)}; there are "
                            + ", ".join(workload.name for workload in every))
    return wanted


def say(sentence: str) -> None:
    click.echo(f"  {sentence}", err=True)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
