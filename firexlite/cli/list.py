"""`firexlite list`: the services."""
from __future__ import annotations

import inspect

import click
from tabulate import tabulate

from ..application import app
from .jobs import describe_services
from .options import import_timeout_option, plugins_option, split_plugins
from .printing import answer


@click.command("list")
@plugins_option
@click.option("--microservices", is_flag=True, help="List the services by name alone.")
@click.option("--arguments", is_flag=True, help="List the arguments that services take.")
@import_timeout_option
def list_command(plugins: tuple[str, ...], microservices: bool, arguments: bool, import_timeout: float) -> None:
    """List the services: the built-in ones and those of plugins.

    \b
    firexlite list --plugins guests.py
    """
    if microservices and arguments:
        raise click.UsageError("list shows either --microservices or --arguments")
    describe = _names if microservices else _arguments if arguments else _table
    answer(describe_services(split_plugins(plugins), import_timeout, describe))


def _names() -> str:
    names = "\n".join(sorted(service.name for service in app))
    return f"\nThe following microservices are available:\n{names}\n\nUse the info sub-command for more details"


def _arguments() -> str:
    names = sorted({name for service in app for name in service.parameters.names})
    return "\nThe following arguments are used by microservices:\n" + "\n".join(names)


def _table() -> str:
    rows = [(service.name, (inspect.getdoc(service) or "").partition("\n")[0]) for service in app]
    return tabulate(sorted(rows), tablefmt="plain", disable_numparse=True)
