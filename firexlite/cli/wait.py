"""`firexlite wait`: the exit code of a run, as soon as it has one."""
from __future__ import annotations

import click

from ..errors import RunActive
from ..history import History
from ..home import find_run
from ..watcher import await_end
from .attendance import tell_end
from .options import run_argument, span_option
from .screen import say


@click.command("wait")
@run_argument
@span_option("--timeout", help="Give up after this long, 20min say, with exit code 3.")
@click.pass_context
def wait_command(context: click.Context, firex_id: str, timeout: float | None) -> None:
    """Wait until a run has ended, print how it did, and exit with its code. Nothing is shown meanwhile.

    A run that was killed exits with 1; one that waits for a time or an event with 7.

    \b
    firexlite wait last --timeout 20min
    """
    with History(find_run(firex_id)) as history:
        say(f"FireX ID: {history.directory.firex_id}")
    if not await_end(firex_id, timeout):
        raise RunActive(f"{firex_id} is still running after {timeout:g} s; `firexlite show {firex_id}` tells how far it is")
    context.exit(tell_end(firex_id))
