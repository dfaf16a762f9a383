"""`firexlite import`: a run that someone sent."""
from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from ..importing import Imported, import_run
from .printing import answer, say


@click.command("import")
@click.argument("path")
def import_command(path: str) -> None:
    """Make a run that someone sent yours: it is examined, and copied into your home under its FireX ID.

    PATH is the directory of a run, or its journal. Nothing of it is executed.

    \b
    firexlite import /tmp/from-li/FireX-li-261123-101500-4711
    """
    imported = import_run(Path(path))
    answer(f"FireX ID: {imported.directory.firex_id}")
    say("\n".join(_what_can_be_done(imported)), err=True)


def _what_can_be_done(imported: Imported) -> list[str]:
    firex_id = imported.directory.firex_id
    total = sum(imported.counts.values())
    lines = [f"Imported: {imported.state}, {imported.counts.get('succeeded', 0)} of {total} tasks succeeded.",
             f"Look at it with: firexlite flame {firex_id} > out.html"]
    if imported.state != "succeeded":
        names = ",".join(shlex.quote(os.path.basename(place)) for place in imported.plugins)
        lines.append(f"Resume it with: firexlite resume {firex_id}" + (f" --plugins {names}" if names else ""))
        if imported.plugins:
            lines.append(f"Another person chose these plugins, so look at them first: {', '.join(imported.plugins)}")
    return lines
