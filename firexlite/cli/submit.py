"""`firexlite submit`: run a chain of services."""
from __future__ import annotations

import os
import sys

import click

from ..launch import begin
from ..submission import FULL_WAIT_S, Request, split_arguments
from .jobs import run_job
from .options import (
    exit_when_waiting_option,
    full_wait_option,
    import_timeout_option,
    json_file_option,
    pickle_option,
    plugins_option,
    queue_option,
    redact_option,
    soft_time_limit_option,
    split_plugins,
    workers_option,
)


class ServiceArguments(click.Command):
    """Takes its own options, and every other `--name value` as an argument of the services."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        own_options = {name: not getattr(parameter, "is_flag", False)
                       for parameter in self.get_params(context) for name in parameter.opts}
        own, context.meta["firexlite.arguments"] = split_arguments(args, own_options)
        context.meta["firexlite.own_options"] = [name.lstrip("-") for name in own_options]
        return super().parse_args(context, own)

    def format_usage(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(context.command_path, "--chain A,B [OPTIONS] [--ARGUMENT VALUE]...")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command("submit", cls=ServiceArguments)
@click.option("--chain", metavar="A,B", help="The services to run, one after the other.")
@plugins_option
@workers_option(default="the number of cores")
@json_file_option
@full_wait_option
@redact_option
@queue_option
@soft_time_limit_option
@exit_when_waiting_option
@pickle_option
@click.option("--sync", is_flag=True, help="Wait for the run to end: what submit does unless --detach is given.")
@click.option("--detach", is_flag=True, help="Return as soon as the run is durable; it goes on in the background.")
@import_timeout_option
@click.pass_context
def submit_command(context: click.Context, chain: str | None, plugins: tuple[str, ...], workers: int | None,
                   json_file: str | None, full_wait: float | None, redact: tuple[str, ...], queues: dict[str, int],
                   soft_time_limit: float | None, exit_when_waiting: bool, pickle: bool, sync: bool,
                   detach: bool, import_timeout: float) -> None:
    """Run a chain of services.

    Every argument of any service is an option: `--guests Li,Mohamed`. One that must not be written down is given
    as `--token 'Secret(env:TOKEN)'` or 'Secret(file:PATH)'.

    \b
    firexlite submit --plugins guests.py --chain greet_guests --guests Li,Mohamed
    """
    if not chain:
        raise click.UsageError("submit needs --chain, the services to run; `firexlite list` shows them")
    request = Request(chain, context.meta["firexlite.arguments"], split_plugins(plugins), workers or cores(),
                      argv=sys.argv, json_file=json_file, sync=not detach,
                      full_wait_s=FULL_WAIT_S if full_wait is None else full_wait,
                      own_options=context.meta["firexlite.own_options"], redact=list(redact), queues=queues,
                      soft_time_limit=soft_time_limit, exit_when_waiting=exit_when_waiting, pickle=pickle)
    run_job(lambda board, channel: begin(request, board, channel), detach, import_timeout)
