"""`firexlite submit`: run a chain of services."""
from __future__ import annotations

import os
import sys

import click

from ..front import IMPORT_TIMEOUT_S, Front, run_detached
from ..runner import Job, begin
from ..submission import Request, split_arguments
from .screen import Console, report


class ServiceArguments(click.Command):
    """Takes its own options, and every other `--name value` as an argument of the services."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        own_options = {name: not getattr(parameter, "is_flag", False)
                       for parameter in self.get_params(context) for name in parameter.opts}
        own, context.meta["firexlite.arguments"] = split_arguments(args, own_options)
        return super().parse_args(context, own)

    def format_usage(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(context.command_path, "--chain A,B [OPTIONS] [--ARGUMENT VALUE]...")


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command("submit", cls=ServiceArguments)
@click.option("--chain", metavar="A,B", help="The services to run, one after the other.")
@click.option("--plugins", "--plugin", "--external", metavar="FILES", multiple=True,
              help="Files with services, separated by commas; later ones override earlier ones. May be repeated.")
@click.option("--workers", type=click.IntRange(1, 1000), help="How many tasks run at once.  [default: the number of cores]")
@click.option("--json_file", metavar="FILE", help="Write a copy of the run's run.json there when it ends.")
@click.option("--sync", is_flag=True, help="Wait for the run to end; that is what submit does, unless --detach is given.")
@click.option("--detach", is_flag=True, help="Return as soon as the run is durable; it goes on in the background.")
@click.option("--import_timeout", type=float, default=IMPORT_TIMEOUT_S, show_default=True, metavar="SECONDS",
              help="How long the import of a plugin may take.")
@click.pass_context
def submit_command(context: click.Context, chain: str | None, plugins: tuple[str, ...], workers: int | None,
                   json_file: str | None, sync: bool, detach: bool, import_timeout: float) -> None:
    """Run a chain of services.

    Every argument of any service is an option: `--guests Li,Mohamed`.

    \b
    firexlite submit --plugins guests.py --chain greet_guests --guests Li,Mohamed
    """
    if not chain:
        raise click.UsageError("submit needs --chain, the services to run; `firexlite list` shows them")
    request = Request(chain, context.meta["firexlite.arguments"], split_plugins(plugins), workers or cores(),
                      argv=sys.argv, json_file=json_file, sync=not detach)
    run_job(lambda board, channel: begin(request, board, channel), detach, import_timeout)


def split_plugins(values: tuple[str, ...]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def run_job(job: Job, detach: bool, import_timeout_s: float) -> None:
    """Run a job to its end, or only to its beginning, as `submit` and `resume` do; exits with the run's code."""
    if detach:
        click.echo(f"FireX ID: {run_detached(job, import_timeout_s).firex_id}")
        return
    console = Console()
    try:
        code = Front(console, import_timeout_s).run(job)
    finally:
        console.clear()
    if console.directory is not None:
        report(console.directory, code)
    click.get_current_context().exit(code)
