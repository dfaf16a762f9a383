"""`firexlite resume`: carry on with a run."""
from __future__ import annotations

import json
import sys

import click

from ..errors import BadInput
from .options import (
    LAST_TASK,
    TASK_NUMBER,
    executor_option,
    exit_when_waiting_option,
    flame_option,
    full_wait_option,
    import_timeout_option,
    insecure_option,
    json_file_option,
    on_end_option,
    pickle_option,
    plugins_option,
    queue_option,
    quiet_option,
    redact_option,
    run_argument,
    sink_option,
    soft_time_limit_option,
    split_plugins,
    workers_option,
)


@click.command("resume")
@run_argument
@workers_option(default="as before")
@executor_option
@insecure_option
@plugins_option
@json_file_option
@flame_option
@on_end_option
@quiet_option
@click.option("--accept-new", is_flag=True, help="Where a task ran again and asked for other children than before: keep "
              "those that match, and run the new ones.")
@click.option("--restart-task", "restart", multiple=True, metavar="N",
              type=TASK_NUMBER,
              help="Run task N afresh; its old children stay visible. May be repeated.")
@click.option("--mark-done", "done", nargs=2, multiple=True, metavar="N JSON", is_eager=True,
              callback=lambda context, parameter, values: dict(_decided(task, text) for task, text in values),
              help="Take task N for done, with these returned values: --mark-done 7 '{\"greeting\": \"Hello\"}'.")
@click.option("--rerun-missing", is_flag=True, help="Run again the tasks that made files which are missing now.")
@full_wait_option
@redact_option
@queue_option
@soft_time_limit_option
@exit_when_waiting_option
@pickle_option
@sink_option("Send the events of the run there too, from the first on")
@click.option("--detach", is_flag=True, help="Return as soon as the run goes on, in the background.")
@import_timeout_option
def resume_command(firex_id: str, workers: int | None, executor: str | None, insecure: bool, plugins: tuple[str, ...],
                   json_file: str | None, flame: str | None, on_end: str | None, quiet: bool,
                   accept_new: bool, restart: tuple[int, ...], done: dict[int, dict[str, object]], rerun_missing: bool,
                   full_wait: float | None, redact: tuple[str, ...], queues: dict[str, int], soft_time_limit: float | None,
                   exit_when_waiting: bool, pickle: bool, sinks: tuple[str, ...], detach: bool, import_timeout: float) -> None:
    """Carry on with a run that was killed, interrupted, or failed.

    What succeeded is never run again. What was in flight runs again from its top, with the code as it is now;
    of a run that failed, what failed and what stood behind it.

    --plugins loads these files instead of those that the run recorded.

    \b
    firexlite resume last
    """
    from ..last_acts import LastActs  # here: who asks which options there are needs none of this
    from ..launch import ResumeRequest, resume
    from .jobs import run_job, telling

    told = telling(sinks)
    request = ResumeRequest(firex_id, workers, split_plugins(plugins) or None, json_file, full_wait, accept_new,
                            list(restart), done, rerun_missing,
                            list(redact), queues, soft_time_limit, exit_when_waiting, sys.argv, pickle,
                            executor, insecure, import_timeout, sinks=told.names)
    run_job(lambda board, channel: resume(request, board, channel), LastActs(flame, on_end), import_timeout,
            detach, quiet=quiet, telling=told)


def _decided(task: str, text: str) -> tuple[int, dict[str, object]]:
    """The number and the returned values that `--mark-done` was given."""
    takes = "--mark-done takes the number of a task and a JSON object of what it returns, by name"
    if not (task.isascii() and task.isdigit() and len(task) < 20 and 1 <= int(task) <= LAST_TASK):
        raise BadInput(f"{takes}, not '{task}' for a number")
    try:
        returned = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BadInput(f"{takes}; '{text}' is no JSON: {why}") from error
    if not isinstance(returned, dict):
        raise BadInput(f"{takes}; '{text}' is no object, as in '{{\"greeting\": \"Hello\"}}'")
    return int(task), returned
