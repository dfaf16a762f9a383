"""The options that several commands share."""
from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..configuration import FULL_WAIT_BELOW_S, IMPORT_TIMEOUT_S, PICKLE
from ..errors import BadInput
from ..executors import place_of
from ..home import refuse_unwritable
from ..run_names import run_named


class Number(click.ParamType):
    """A number within limits; what is none is refused in one sentence."""

    name = "number"

    def __init__(self, what: str, kind: type[int] | type[float], fits: Callable[[float], bool]) -> None:
        self.what, self.kind, self.fits = what, kind, fits

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        try:
            number = self.kind(value)
        except ValueError:
            number = None
        if number is None or not self.fits(number):
            option = next((name for name in parameter.opts if name.startswith("--")), "") if parameter else "this option"
            raise BadInput(f"{option} takes {self.what}, not '{value}'")
        return number


class RunName(click.ParamType):
    """The name of a run, which is turned into its FireX ID."""

    name = "run"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        return run_named(value)


RUN = RunName()
run_argument = click.argument("firex_id", metavar="ID", type=RUN)


def _in_a_writable_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse at once what could not be written hours later."""
    if value is not None:
        refuse_unwritable(parameter.opts[0], value)
    return value


def free_for_a_link(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a place at which something else than a link lies, or where none can be made."""
    if value is not None:
        path = Path(value).absolute()
        if not value or (path.exists() and not path.is_symlink()):
            raise BadInput(f"--logs_link '{value}' could not be made a link: something else lies there; give it another name")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise BadInput(f"--logs_link '{value}' could not be made: {path.parent} is no folder that you may write to")
    return value


def _names_of_variables(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for name in values:
        if not name or "=" in name:
            raise BadInput(f"--redact takes the NAME of an environment variable, whose value it looks up itself, not '{name}'")
    return values


plugins_option = click.option(
    "--plugins", "--plugin", "--external", metavar="FILES", multiple=True,
    help="Files with services, or folders of them, separated by commas; later ones override earlier ones. May be repeated.")
import_timeout_option = click.option(
    "--import_timeout", type=Number("a number of seconds above 0", float, lambda n: n > 0), metavar="SECONDS",
    default=IMPORT_TIMEOUT_S, help=f"How long the import of a plugin may take.  [default: {IMPORT_TIMEOUT_S:g}]")
json_file_option = click.option(
    "--json_file", metavar="FILE", callback=_in_a_writable_folder,
    help="Write a copy of the run's run.json there when it ends.")
flame_option = click.option(
    "--flame", metavar="FILE", callback=_in_a_writable_folder,
    help="Write the report of the run there when it ends, however it ends.")


full_wait_option = click.option(
    "--full-wait", "--full_wait", metavar="SECONDS",
    type=Number("a number of seconds from 0 on, below 1e9", float, lambda n: 0 <= n < FULL_WAIT_BELOW_S),
    help="How long to wait for space when the disk is full, before the run is stopped.  [default: 60]")


redact_option = click.option(
    "--redact", metavar="NAME", multiple=True, callback=_names_of_variables,
    help="Mask the value of this environment variable wherever it would be written. May be repeated.")


LAST_TASK = 2 ** 63 - 1  # the largest number that SQLite knows
TASK_NUMBER = Number("the number of a task", int, lambda n: 1 <= n <= LAST_TASK)


def _limits_of_queues(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    queues = {}
    for value in values:
        name, equals, limit = value.partition("=")
        if not (name and equals and limit.isascii() and limit.isdigit() and 1 <= int(limit) <= 1000):
            raise BadInput(f"--queue takes the name of a queue and how many of its tasks may be under way at once, from 1 to "
                           f"1000, as in --queue gpu=1, not '{value}'")
        queues[name] = int(limit)
    return queues


queue_option = click.option(
    "--queue", "queues", metavar="NAME=N", multiple=True, callback=_limits_of_queues,
    help="Have at most N tasks of services with queue='NAME' under way at once. May be repeated.")
soft_time_limit_option = click.option(
    "--soft_time_limit", "--run_soft_time_limit", metavar="SECONDS",
    type=Number("a number of seconds above 0", float, lambda n: 0 < n < 1e9),
    help="How long the run may take; then what is left of it is revoked, and it fails.")
exit_when_waiting_option = click.option(
    "--exit-when-waiting", is_flag=True,
    help="End when all that is left waits for a time or an event (exit code 7); `resume` goes on.")
pickle_option = click.option(
    "--pickle", is_flag=True,
    help=f"Store pickled what JSON cannot hold; the same as {PICKLE}=1. Only this run's own workers load it again.")


def _executor(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        place_of(value, is_insecure=True)  # whether it may be so is seen with --insecure
    return value


executor_option = click.option(
    "--executor", metavar="WHERE", callback=_executor,
    help="Where tasks run: local, in processes of this machine; dask:tls://HOST:8786, on the workers of a Dask cluster; or "
         "dask:local, on a cluster started for the run.  [default: local; of a run that is resumed, what it recorded]")
insecure_option = click.option(
    "--insecure", is_flag=True,
    help="With --executor dask:tcp://HOST:8786: go without encryption and certificates to another machine.")


def workers_option(default: str) -> Callable:
    return click.option(
        "--workers", "--celery_concurrency", "--celery_work_slots", metavar="N",  # FireX calls it so
        type=Number("a whole number from 1 to 1000", int, lambda n: 1 <= n <= 1000),
        help=f"How many tasks run at once.  [default: {default}]")


quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Show no progress: only what the run is called, and how it ended.")
on_end_option = click.option(
    "--on-end", "--on_end", metavar="CMD",
    help="When the run has ended, however it did, run this shell command once, with FIREXLITE_ID, FIREXLITE_STATE, "
         "FIREXLITE_EXIT_CODE and FIREXLITE_REPORT in its environment.")


def split_plugins(values: tuple[str, ...]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A span of time as people write it: `90s`, `30d`, or a plain number of seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d|w|)", value.strip(), re.ASCII)
    if not found:
        raise BadInput(f"{parameter.opts[0]} takes a span of time, such as 90s, 20min, 12h, 30d or 4w, not '{value}'")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]


def span_option(*names: str, help: str, metavar: str = "TIME") -> Callable:
    """An option that takes a span of time, in seconds for the command."""
    return click.option(*names, metavar=metavar, callback=_seconds, help=help)


def sink_option(what: str) -> Callable:
    return click.option(
        "--sink", "sinks", metavar="SINK", multiple=True,
        help=f"{what}: kafka:HOST:PORT/TOPIC or otlp:http://HOST:PORT. May be repeated.")
