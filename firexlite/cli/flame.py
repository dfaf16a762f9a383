"""`firexlite flame`: the report of a run."""
from __future__ import annotations

import io
import sys
from pathlib import Path

import click

from .. import host
from ..errors import BadInput
from ..flame_export import FORMATS, Settings, dump, export, write_report
from ..home import find_run
from ..redaction import Redaction
from .options import Number, run_argument
from .printing import say, write_out

MOST_PROCESSES = 4
MEGABYTE = 1024 * 1024


@click.command("flame")
@run_argument
@click.option("-o", "--output", default="-", metavar="FILE", help="Write to this file instead of stdout.")
@click.option("--format", "format_name", metavar="|".join(FORMATS), help="What to write.  [default: html]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: the data of the report as one JSON object.")
@click.option("--flame-dump", metavar="DIR", help="Write the run into this folder as FireX's own Flame reads it.")
@click.option("--watch", is_flag=True, help="Rewrite the file that -o names as the run goes on, until it has ended.")
@click.option("--serve", is_flag=True, help="Show the report in the browser, on this machine only; it follows the run.")
@click.option("--port", metavar="N", type=Number("a whole number from 0 to 65535", int, lambda n: 0 <= n <= 65535),
              help="The port for --serve.  [default: any that is free]")
@click.option("--redact", "patterns", metavar="REGEX", multiple=True, help="Take out what this matches, too. May be repeated.")
@click.option("--redact-key", "keys", metavar="NAME", multiple=True,
              help="Take out values of this name, too. May be repeated.")
@click.option("--no-redact", is_flag=True, help="Leave in what looks like a password, a token or a key.")
@click.option("--max-mb", metavar="N", type=Number("a number of megabytes above 0", float, lambda n: 0 < n < 1e6), default=200,
              help="From where on a page leaves out details of tasks that did not fail, and says so.  [default: 200]")
@click.option("--now", metavar="SECONDS", type=Number("a time in seconds since 1970", float, lambda n: 0 <= n < 1e11),
              help="Say that the report was made at this time: then the same run gives the same bytes.")
@click.pass_context
def flame_command(context: click.Context, firex_id: str, output: str, format_name: str | None, as_json: bool,
                  flame_dump: str | None, watch: bool, serve: bool, port: int | None, patterns: tuple[str, ...],
                  keys: tuple[str, ...], no_redact: bool, max_mb: float, now: float | None) -> None:
    """Write the report of a run as one HTML file, which opens anywhere and needs no network.

    \b
    firexlite flame FireX-li-261123-101500-4711 > out.html
    """
    name = _format(format_name, as_json)
    _refuse_at_odds(name, output, flame_dump, watch, serve, port)
    redaction = _redaction(patterns, keys, no_redact)
    settings = Settings(name, now, int(max_mb * MEGABYTE), processes=min(MOST_PROCESSES, host.cores()), redaction=redaction)
    if watch or serve:
        from . import live  # here: it takes an HTTP server along
        context.exit(live.serve(firex_id, port or 0, settings) if serve else live.watch(firex_id, output, settings))
    directory = find_run(firex_id)
    if flame_dump is not None:
        say(str(Path(flame_dump) / dump(directory, Path(flame_dump), settings).name))
    elif output != "-":
        write_report(directory, Path(output), settings)
    else:
        if name == "html" and sys.stdout.isatty():
            raise BadInput(f"the report is a page for a browser, not for this terminal; give it a file: "
                           f"firexlite flame {directory.firex_id} > out.html")
        text = io.StringIO()
        export(directory, text, settings)
        write_out(text.getvalue())


def _redaction(patterns: tuple[str, ...], keys: tuple[str, ...], no_redact: bool) -> Redaction:
    """Raises BadInput for a pattern or a name that cannot be looked for."""
    if no_redact and (patterns or keys):
        raise BadInput("--no-redact leaves everything in, so it goes with no --redact and no --redact-key")
    redaction = Redaction(patterns, keys, not no_redact)
    redaction.redactor()  # now, before anything is written
    if no_redact:
        say("firexlite: what looks like a secret is left in this report; mind who gets it.", err=True)
    return redaction


def _format(name: str | None, as_json: bool) -> str:
    """Raises BadInput for a format that is not known, or two."""
    if name is not None and name not in FORMATS:
        raise BadInput(f"--format takes {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not '{name}'")
    if as_json and name not in (None, "json"):
        raise BadInput(f"--json and --format {name} ask for two formats; give one of them")
    return "json" if as_json else name or "html"


def _refuse_at_odds(name: str, output: str, flame_dump: str | None, watch: bool, serve: bool, port: int | None) -> None:
    """Raise BadInput for options of which one takes away the sense of the other."""
    if serve and watch:
        raise BadInput("--watch rewrites a file and --serve shows a page; give one of them")
    if serve and (name != "html" or output != "-"):
        other = "-o FILE" if name == "html" else f"--format {name}"
        raise BadInput(f"--serve shows the page in the browser, so it takes no {other}")
    if flame_dump is not None and (watch or serve or name != "html" or output != "-"):
        raise BadInput("--flame-dump writes a folder for FireX's own Flame, and goes with no other way to show the run")
    if port is not None and not serve:
        raise BadInput("--port is the port of --serve, which was not given")
