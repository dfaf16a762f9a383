"""`firexlite info`: what a service takes and returns."""
from __future__ import annotations

import inspect
import textwrap

import click

from ..submission import find_service
from .jobs import describe_services
from .options import import_timeout_option, plugins_option, split_plugins
from .screen import answer, shown_path


@click.command("info")
@click.argument("service")
@plugins_option
@import_timeout_option
def info_command(service: str, plugins: tuple[str, ...], import_timeout: float) -> None:
    """Show what a service takes and returns.

    \b
    firexlite info greet_guests --plugins guests.py
    """
    answer(describe_services(split_plugins(plugins), import_timeout, lambda: _description(service)))


def _description(name: str) -> str:
    service = find_service(name)
    parameters = service.parameters
    arguments = [*parameters.required,
                 *(f"{name} (default={parameters.defaults[name]!r})" for name in sorted(parameters.defaults))]
    for stars, collector in (("*", parameters.var_positional), ("**", parameters.var_keyword)):
        if collector:
            arguments.append(stars + collector)
    where = f"{service.undecorated.__module__}, {shown_path(service.file)}:{service.line}"
    lines = [f"Name: {service.short_name} ({where})"]
    if doc := inspect.getdoc(service):
        lines += ["", textwrap.indent(doc, "  ")]
    for title, names in (("Arguments", arguments), ("Returns", service.return_names or ())):
        lines += ["", title, "-" * len(title), *(f"  {name}" for name in names or ["None"])]
    return "\n".join(lines)
