"""`firexlite runs`: recent runs."""
from __future__ import annotations

import itertools
import json
import time
from typing import Any

import click

from ..home import home
from ..standing import ALL, ELSEWHERE, STATES_OF_RUNS, UNREADABLE, Wanted, runs_elsewhere, runs_that_are
from ..terminal import visible
from .options import Number, span_option
from .printing import answer


@click.command("runs")
@click.option("-n", "--limit", type=Number("a whole number from 1 on", int, lambda n: n >= 1), metavar="N", default=20,
              show_default=True, help="Show so many runs.")
@click.option("--state", "states", metavar="STATE", multiple=True, type=click.Choice(STATES_OF_RUNS),
              help=f"Show only runs in this state: {', '.join(STATES_OF_RUNS)}. May be repeated.")
@click.option("--service", metavar="NAME", help="Show only runs in which this service has a task.")
@span_option("--newer-than", help="Show only runs that were begun no longer ago than this: 12h, 30d.")
@span_option("--older-than", help="Show only runs that were begun longer ago than this.")
@click.option("--json", "as_json", is_flag=True, help="Write them as a JSON array.")
def runs_command(limit: int, states: tuple[str, ...], service: str | None, newer_than: float | None, older_than: float | None,
                 as_json: bool) -> None:
    """List recent runs, the newest first.

    \b
    firexlite runs -n 5
    firexlite runs --state failed --newer-than 7d
    """
    now = time.time()
    wanted = Wanted(states, service, newer_than, older_than)
    found = list(itertools.islice(runs_that_are(wanted, now), limit))
    if wanted == ALL:
        found += itertools.islice(runs_elsewhere(), limit)
    if as_json:
        answer(json.dumps(found, indent=1))
    elif not found:
        answer(f"There are no runs in {home()} yet." if wanted == ALL else f"There are no such runs in {home()}.")
    else:
        from tabulate import tabulate  # here: for a program that wants JSON it takes too long to import

        answer(tabulate([_row(about, now) for about in found], headers=["FireX ID", "state", "age", "chain", "tasks"],
                        tablefmt="simple", disable_numparse=True))


def _row(about: dict[str, Any], now: float) -> tuple[str, str, str, str, str]:
    if about["state"] == UNREADABLE:
        return about["firex_id"], "UNREADABLE", "", "", f"`firexlite doctor {about['firex_id']}` says why"
    if about["state"] == ELSEWHERE:
        return about["firex_id"], one_line(f"ON {about['host']}"), "", "", one_line(f"in {about['path']}")
    counts = about["counts"]
    chain = about["chain"] + (f" ({about['key']})" if about["key"] else "")
    return (about["firex_id"], one_line(about["state"].upper()), age(now - about["created"]), one_line(chain),
            f"{counts.get('succeeded', 0)} of {sum(counts.values())} succeeded")


def one_line(text: str) -> str:
    """What a journal says in a row of the table: it must not begin a row of its own."""
    return visible(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def age(seconds: float) -> str:
    """A span of time in its two largest units: `3 h 20 min`."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest = max(0, int(seconds))
    parts: list[str] = []
    for name, length in units:
        number, rest = divmod(rest, length)
        if number or (parts and len(parts) < 2):
            parts.append(f"{number} {name}")
        if len(parts) == 2:
            break
    return " ".join(parts) or "0 s"
