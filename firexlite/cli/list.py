"""`firexlite list`: the services."""
from __future__ import annotations

import inspect

import click
from tabulate import tabulate

from ..application import app
from ..plugins import load
from .submit import split_plugins


@click.command("list")
@click.option("--plugins", "--plugin", "--external", metavar="FILES", multiple=True, help="Files with services.")
def list_command(plugins: tuple[str, ...]) -> None:
    """List the services: the built-in ones and those of plugins.

    \b
    firexlite list --plugins guests.py
    """
    load(split_plugins(plugins))
    rows = [(service.name, (inspect.getdoc(service) or "").partition("\n")[0]) for service in app]
    click.echo(tabulate(sorted(rows), tablefmt="plain", disable_numparse=True))
