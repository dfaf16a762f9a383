"""`firexlite info`: what a service takes and returns."""
from __future__ import annotations

import inspect
import re
import textwrap

import click

from ..application import Service, app
from ..errors import BadInput, NotRegistered, nearest
from .jobs import describe_services
from .options import import_timeout_option, plugins_option, split_plugins
from .printing import answer, shown_path


@click.command("info")
@click.argument("service")
@plugins_option
@import_timeout_option
def info_command(service: str, plugins: tuple[str, ...], import_timeout: float) -> None:
    """Show what a service takes and returns.

    SERVICE may also be a regular expression, for all services whose long names match it, or the name of an argument, for
    the services that take it.

    \b
    firexlite info greet_guests --plugins guests.py
    """
    answer(describe_services(split_plugins(plugins), import_timeout, lambda: _told_of(service)))


def _told_of(name: str) -> str:
    """What there is to say of a service, of those that match, or of an argument. Raises BadInput if nothing has that name."""
    try:
        return _description(app.service(name))
    except NotRegistered:
        pass
    if takers := [service for service in app if name in service.parameters.names]:
        return "\n".join([f"Argument name: {name}", "Used in the following microservices:",
                          *sorted(service.name for service in takers)])
    if matching := _matching(name):
        return "\n\n\n".join(map(_description, sorted(matching, key=lambda service: service.name)))
    close = nearest(name, [service.short_name for service in app])
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    raise BadInput(f"Microservice {shown} was not found!{close} `firexlite list` shows all.")


def _matching(expression: str) -> list[Service]:
    try:
        return [service for service in app if re.search(expression, service.name)]
    except re.error:
        return []


def _description(service: Service) -> str:
    parameters = service.parameters
    arguments = [*parameters.required,
                 *(f"{name} (default={parameters.defaults[name]!r})" for name in sorted(parameters.defaults))]
    for stars, collector in (("*", parameters.var_positional), ("**", parameters.var_keyword)):
        if collector:
            arguments.append(stars + collector)
    lines = [f"Name: {service.short_name} ({service.name.rpartition('.')[0]})", f"{shown_path(service.file)}:{service.line}"]
    if doc := inspect.getdoc(service):
        lines += ["", textwrap.indent(doc, "  ")]
    for title, names in (("Arguments", arguments), ("Returns", service.return_names or ())):
        lines += ["", title, "-" * len(title), *(f"  {name}" for name in names or ["None"])]
    return "\n".join(lines)
