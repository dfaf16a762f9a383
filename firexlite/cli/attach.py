"""`firexlite attach`: follow a run that goes on elsewhere."""
from __future__ import annotations

import click

from .attendance import attend
from .options import quiet_option, run_argument
from .screen import Console


@click.command("attach")
@run_argument
@quiet_option
@click.pass_context
def attach_command(context: click.Context, firex_id: str, quiet: bool) -> None:
    """Follow a run that goes on in the background, or in another terminal, to its end; exits with its code.

    Ctrl-C detaches, and the run goes on; a second Ctrl-C within two seconds cancels it.

    \b
    firexlite attach last
    """
    context.exit(attend(firex_id, Console(quiet)))
