"""`firexlite info`: what a service takes and returns."""
from __future__ import annotations

import inspect
import textwrap

import click

from ..application import app
from ..errors import BadInput, NotRegistered
from ..plugins import load
from .submit import split_plugins


@click.command("info")
@click.argument("service")
@click.option("--plugins", "--plugin", "--external", metavar="FILES", multiple=True, help="Files with services.")
def info_command(service: str, plugins: tuple[str, ...]) -> None:
    """Show what a service takes and returns.

    \b
    firexlite info greet_guests --plugins guests.py
    """
    load(split_plugins(plugins))
    try:
        found = app.service(service)
    except NotRegistered as error:
        raise BadInput(f"{error} `firexlite list` shows all.") from error
    parameters = found.parameters
    optional = [f"{name} (default={parameters.defaults[name]!r})" for name in sorted(parameters.defaults)]
    click.echo(f"Name: {found.short_name} ({found.undecorated.__module__}, {found.file}:{found.line})")
    if doc := inspect.getdoc(found):
        click.echo("\n" + textwrap.indent(doc, "  "))
    for title, lines in (("Arguments", [*parameters.required, *optional]), ("Returns", found.returns or ())):
        click.echo(f"\n{title}\n{'-' * len(title)}")
        for line in lines or ["None"]:
            click.echo(f"  {line}")
