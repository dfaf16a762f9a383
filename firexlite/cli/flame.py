"""`firexlite flame`: the report of a run."""
from __future__ import annotations

from typing import TextIO

import click

from ..flame_export import render_html, render_json
from ..flame_graph import model_of
from ..history import History
from ..home import find_run

PAGE_LOG_BYTES = 16 * 1024  # of each task's output, in the page; --json has all


@click.command("flame")
@click.argument("firex_id")
@click.option("--json", "as_json", is_flag=True, help="Write the data of the report instead, as one JSON object.")
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", atomic=True), default="-", metavar="FILE",
              help="Write to this file instead of stdout.")
def flame_command(firex_id: str, as_json: bool, output: TextIO) -> None:
    """Write the report of a run as one HTML file, which opens anywhere and needs no network.

    \b
    firexlite flame FireX-li-261123-101500-4711 > out.html
    """
    with History(find_run(firex_id)) as history:  # also around what is made of its rows, which may be strange
        model = model_of(history, log_bytes=None if as_json else PAGE_LOG_BYTES)
        text = render_json(model) if as_json else render_html(model)
    output.write(text)
