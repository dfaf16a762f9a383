"""`firexlite send`: tell a run of an event that it waits for."""
from __future__ import annotations

import json

import click

from ..codec import encode
from ..errors import BadInput
from ..home import find_run
from ..outside import write_to_run
from ..waiting import send
from .options import run_argument
from .printing import answer


@click.command("send")
@run_argument
@click.argument("name")
@click.argument("value", required=False, metavar="[JSON]")
def send_command(firex_id: str, name: str, value: str | None) -> None:
    """Send an event to a run: whoever waits for NAME with `self.wait_for_event` gets JSON, or None without one.

    It is durable, may come before the wait, and to a run that is not running.

    \b
    firexlite send FireX-li-261123-101500-4711 approved '{"by": "Li"}'
    """
    if not name:
        raise BadInput("send needs the NAME of the event, as the service waits for it")
    text = encode(_read(value), "the event's value")
    nth = write_to_run(find_run(firex_id), lambda journal: send(journal, name, text))
    answer(f"Sent: '{name}'" + (f", {nth} times by now." if nth > 1 else "."))


def _read(value: str | None) -> object:
    if value is None:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BadInput(f"send takes a value in JSON, and '{value}' is none: {why}; a text is given in quotes: "
                       "'\"like this\"'") from error
