"""`firexlite list`: the services."""
from __future__ import annotations

import inspect

import click
from tabulate import tabulate

from ..application import app
from .jobs import describe_services
from .options import import_timeout_option, plugins_option, split_plugins
from .screen import answer


@click.command("list")
@plugins_option
@import_timeout_option
def list_command(plugins: tuple[str, ...], import_timeout: float) -> None:
    """List the services: the built-in ones and those of plugins.

    \b
    firexlite list --plugins guests.py
    """
    answer(describe_services(split_plugins(plugins), import_timeout, _table))


def _table() -> str:
    rows = [(service.name, (inspect.getdoc(service) or "").partition("\n")[0]) for service in app]
    return tabulate(sorted(rows), tablefmt="plain", disable_numparse=True)
