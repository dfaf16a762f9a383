"""`firexlite resume`: carry on with a run."""
from __future__ import annotations

import click

from ..launch import ResumeRequest, resume
from .jobs import run_job
from .options import import_timeout_option, json_file_option, plugins_option, split_plugins, workers_option


@click.command("resume")
@click.argument("firex_id")
@workers_option(default="as before")
@plugins_option
@json_file_option
@click.option("--detach", is_flag=True, help="Return as soon as the run goes on, in the background.")
@import_timeout_option
def resume_command(firex_id: str, workers: int | None, plugins: tuple[str, ...], json_file: str | None, detach: bool,
                   import_timeout: float) -> None:
    """Carry on with a run that was killed, interrupted, or failed.

    What succeeded is never run again. What was in flight runs again from its top, with the code as it is now;
    of a run that failed, what failed and what stood behind it.

    --plugins loads these files instead of those that the run recorded.

    \b
    firexlite resume FireX-li-261123-101500-4711
    """
    request = ResumeRequest(firex_id, workers, split_plugins(plugins) or None, json_file)
    run_job(lambda board, channel: resume(request, board, channel), detach, import_timeout)
