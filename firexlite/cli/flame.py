"""`firexlite flame`: the report of a run."""
from __future__ import annotations

import errno
from pathlib import Path

import click

from ..errors import BadInput, StorageFailure
from ..flame_export import render_html, render_json
from ..flame_graph import model_of
from ..history import History
from ..home import find_run, write_where_told
from .screen import write_out

PAGE_LOG_BYTES = 16 * 1024  # of each task's output, in the page; --json has as much as is ever read


@click.command("flame")
@click.argument("firex_id")
@click.option("--json", "as_json", is_flag=True, help="Write the data of the report instead, as one JSON object.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Write to this file instead of stdout.")
def flame_command(firex_id: str, as_json: bool, output: str) -> None:
    """Write the report of a run as one HTML file, which opens anywhere and needs no network.

    \b
    firexlite flame FireX-li-261123-101500-4711 > out.html
    """
    with History(find_run(firex_id)) as history:  # also around what is made of its rows, which may be strange
        model = model_of(history, log_bytes=None if as_json else PAGE_LOG_BYTES)
        text = render_json(model) if as_json else render_html(model)
    if output == "-":
        write_out(text)
        return
    try:
        write_where_told(Path(output), text, mode=0o666)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG):
            raise BadInput(f"the report cannot be written to '{output}': {error.strerror}") from error
        raise StorageFailure(f"the report could not be written to '{output}': {error.strerror}") from error
