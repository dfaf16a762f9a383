"""`firexlite runs`: recent runs."""
from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import click

from ..errors import JournalUnusable
from ..history import History
from ..home import RunDirectory, all_runs, home, runs_on_other_hosts
from ..lodging import Pointer
from ..standing import STATES_OF_RUNS, brief
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

    def is_wanted(about: dict[str, Any]) -> bool:
        return ((not states or about["state"] in states) and (newer_than is None or now - about["created"] <= newer_than)
                and (older_than is None or now - about["created"] > older_than))

    is_filtered = bool(states or service or newer_than is not None or older_than is not None)
    found = itertools.islice(filter(is_wanted, _briefs(service, is_filtered)) if is_filtered else _briefs(None, False), limit)
    if as_json:
        answer(json.dumps([*found], indent=1))
        return
    rows = [_row(about, now) for about in found]
    if not is_filtered:
        rows += [_row_elsewhere(pointer) for pointer in runs_on_other_hosts()[:limit]]
    if not rows:
        answer(f"There are no such runs in {home()}." if is_filtered else f"There are no runs in {home()} yet.")
        return
    from tabulate import tabulate  # here: for a program that wants JSON it takes too long to import

    answer(tabulate(rows, headers=["FireX ID", "state", "age", "chain", "tasks"], tablefmt="simple", disable_numparse=True))


def _briefs(service: str | None, only_readable: bool) -> Iterator[dict[str, Any]]:
    for directory in all_runs():
        try:
            with History(directory) as history:
                if service is None or history.has_service(service):
                    yield brief(history)
        except JournalUnusable as error:
            if not only_readable:
                yield _unreadable(directory, error)


def _unreadable(directory: RunDirectory, error: JournalUnusable) -> dict[str, Any]:
    return {"firex_id": directory.firex_id, "state": "unreadable", "error": str(error)}


def _row(about: dict[str, Any], now: float) -> tuple[str, str, str, str, str]:
    if about["state"] == "unreadable":
        return about["firex_id"], "UNREADABLE", "", "", f"`firexlite doctor {about['firex_id']}` says why"
    counts = about["counts"]
    chain = about["chain"] + (f" ({about['key']})" if about["key"] else "")
    return (about["firex_id"], one_line(about["state"].upper()), age(now - about["created"]), one_line(chain),
            f"{counts.get('succeeded', 0)} of {sum(counts.values())} succeeded")


def one_line(text: str) -> str:
    """What a journal says in a row of the table: it must not begin a row of its own."""
    return visible(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def _row_elsewhere(pointer: Pointer) -> tuple[str, str, str, str, str]:
    """A run of a home on a network file system that has not come home: only its host knows how it stands."""
    return pointer.firex_id, one_line(f"ON {pointer.host}"), "", "", one_line(f"in {pointer.path}")


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
