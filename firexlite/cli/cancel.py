"""`firexlite cancel`: call off a run, or a task of it."""
from __future__ import annotations

import click

from ..home import find_run, user_name
from ..outside import cancel, write_to_run
from .options import TASK_NUMBER, run_argument
from .printing import answer


@click.command("cancel")
@run_argument
@click.argument("task", required=False, type=TASK_NUMBER)
def cancel_command(firex_id: str, task: int | None) -> None:
    """Call off a run, or one task of it with all that is below it and behind it in its chain.

    What runs is ended, what waits will not begin. It is durable, and holds also for a run that is not running;
    `resume` runs again what was called off.

    \b
    firexlite cancel FireX-li-261123-101500-4711
    firexlite cancel FireX-li-261123-101500-4711 7
    """
    answer(call_off(firex_id, task))


def call_off(firex_id: str, task: int | None = None) -> str:
    """Cancel a run, or a task of it, by the user's own name; returns what there is to say. Raises as `write_to_run`."""
    revoked = write_to_run(find_run(firex_id), lambda journal: cancel(journal, task, f"cancelled by {user_name()}"))
    return f"Cancelled: {len(revoked)} task{'s were' if len(revoked) != 1 else ' was'} revoked."
