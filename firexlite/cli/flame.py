"""`firexlite flame`: the report of a run."""
from __future__ import annotations

import errno
import io
from pathlib import Path

import click

from ..errors import BadInput, StorageFailure
from ..flame_export import export
from ..home import find_run, write_where_told
from .options import cores
from .screen import write_out

MOST_PROCESSES = 4


@click.command("flame")
@click.argument("firex_id")
@click.option("--json", "as_json", is_flag=True, help="Write the data of the report instead, as one JSON object.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Write to this file instead of stdout.")
def flame_command(firex_id: str, as_json: bool, output: str) -> None:
    """Write the report of a run as one HTML file, which opens anywhere and needs no network.

    \b
    firexlite flame FireX-li-261123-101500-4711 > out.html
    """
    text = io.StringIO()
    export(find_run(firex_id), "json" if as_json else "html", text, processes=min(MOST_PROCESSES, cores()))
    if output == "-":
        write_out(text.getvalue())
        return
    try:
        write_where_told(Path(output), text.getvalue(), mode=0o666)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG):
            raise BadInput(f"the report cannot be written to '{output}': {error.strerror}") from error
        raise StorageFailure(f"the report could not be written to '{output}': {error.strerror}") from error
