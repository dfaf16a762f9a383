"""`firexlite flame`: the report of a run."""
from __future__ import annotations

import io
from pathlib import Path

import click

from ..errors import BadInput
from ..flame_export import export, write_report
from ..home import find_run
from .options import Number
from .screen import write_out


@click.command("flame")
@click.argument("firex_id")
@click.option("--json", "as_json", is_flag=True, help="Write the data of the report instead, as one JSON object.")
@click.option("-o", "--output", default="-", metavar="FILE", help="Write to this file instead of stdout.")
@click.option("--watch", is_flag=True, help="Rewrite the file that -o names as the run goes on, until it has ended.")
@click.option("--serve", is_flag=True, help="Show the report in the browser, on this machine only; it follows the run.")
@click.option("--port", metavar="N", type=Number("a whole number from 0 to 65535", int, lambda n: 0 <= n <= 65535),
              help="The port for --serve.  [default: any that is free]")
@click.pass_context
def flame_command(context: click.Context, firex_id: str, as_json: bool, output: str, watch: bool, serve: bool,
                  port: int | None) -> None:
    """Write the report of a run as one HTML file, which opens anywhere and needs no network.

    \b
    firexlite flame FireX-li-261123-101500-4711 > out.html
    """
    _refuse_at_odds(as_json, output, watch, serve, port)
    format = "json" if as_json else "html"
    if watch or serve:
        from . import live  # here: it takes an HTTP server along
        context.exit(live.serve(firex_id, port or 0) if serve else live.watch(firex_id, output, format))
    directory = find_run(firex_id)
    if output != "-":
        write_report(directory, Path(output), format)
        return
    text = io.StringIO()
    export(directory, format, text)
    write_out(text.getvalue())


def _refuse_at_odds(as_json: bool, output: str, watch: bool, serve: bool, port: int | None) -> None:
    """Raise BadInput for options of which one takes away the sense of the other."""
    if serve and watch:
        raise BadInput("--watch rewrites a file and --serve shows a page; give one of them")
    if serve and (as_json or output != "-"):
        raise BadInput(f"--serve shows the page in the browser, so it takes no {'--json' if as_json else '-o FILE'}")
    if port is not None and not serve:
        raise BadInput("--port is the port of --serve, which was not given")
