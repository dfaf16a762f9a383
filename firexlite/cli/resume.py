"""`firexlite resume`: carry on with a run."""
from __future__ import annotations

import click

from ..front import IMPORT_TIMEOUT_S
from ..runner import ResumeRequest, resume
from .submit import run_job, split_plugins


@click.command("resume")
@click.argument("firex_id")
@click.option("--workers", type=click.IntRange(1, 1000), help="How many tasks run at once.  [default: as before]")
@click.option("--plugins", "--plugin", "--external", metavar="FILES", multiple=True,
              help="Load these files instead of those that the run recorded.")
@click.option("--json_file", metavar="FILE", help="Write a copy of the run's run.json there when it ends.")
@click.option("--detach", is_flag=True, help="Return as soon as the run goes on, in the background.")
@click.option("--import_timeout", type=float, default=IMPORT_TIMEOUT_S, show_default=True, metavar="SECONDS",
              help="How long the import of a plugin may take.")
def resume_command(firex_id: str, workers: int | None, plugins: tuple[str, ...], json_file: str | None, detach: bool,
                   import_timeout: float) -> None:
    """Carry on with a run that was killed, interrupted, or failed.

    What succeeded is never run again. What was in flight runs again from its top, with the code as it is now;
    of a run that failed, what failed and what stood behind it.

    \b
    firexlite resume FireX-li-261123-101500-4711
    """
    request = ResumeRequest(firex_id, workers, split_plugins(plugins) or None, json_file)
    run_job(lambda board, channel: resume(request, board, channel), detach, import_timeout)
