"""The command: `python -m benchmarks` measures everything and writes docs/performance.md."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from .report import figures, split_document, write_document
from .scratch import LIMIT_S, PROJECT, CannotMeasure, scratch_folder
from .workloads import FULL, QUICK, Measurements, measure, workloads

LEAST_ROUNDS = 5       # behind a published figure


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that all works. Prints, and writes only to --output.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N",
              help=f"How often all is measured; {LEAST_ROUNDS} or more.  [default: {LEAST_ROUNDS}; with --quick 1]")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The document to write the figures into.  [default: docs/performance.md]")
@click.option("--scratch", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
              help="A folder on the disk to measure on.  [default: a usual one for temporary files, if not in memory]")
@click.option("--limit", type=click.FloatRange(min=0, min_open=True), default=LIMIT_S, show_default=True,
              metavar="SECONDS", help="How long one command may take.")
def bench(quick: bool, rounds: int | None, output: Path | None, scratch: Path | None, limit: float) -> None:
    """Measure firexlite against what is there without it, in turn, and write down medians and ratios."""
    rounds = rounds or (1 if quick else LEAST_ROUNDS)
    if rounds < LEAST_ROUNDS and not quick:
        raise click.UsageError(f"figures to be published need {LEAST_ROUNDS} rounds; fewer go with --quick only")
    if output is None and not quick:
        output = PROJECT / "docs" / "performance.md"
    try:
        if output is not None:
            split_document(output)  # now, and not after some minutes
        load = os.getloadavg()[0]
        with scratch_folder(scratch, limit) as place:
            click.echo(f"Measuring on {place.filesystem}.", err=True)
            measurements = Measurements(workloads(QUICK if quick else FULL))
            measure(measurements, place, rounds, lambda sentence: click.echo(f"  {sentence}", err=True))
            found = figures(measurements, place, rounds, load)
    except CannotMeasure as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)
    click.echo(found)
    if output is not None:
        write_document(output, found)
        click.echo(f"\nThese figures now stand in {output}.", err=True)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
