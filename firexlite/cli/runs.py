"""`firexlite runs`: recent runs."""
from __future__ import annotations

import time

import click
from tabulate import tabulate

from ..errors import JournalUnusable
from ..history import History
from ..home import RunDirectory, all_runs, home, runs_on_other_hosts
from ..lodging import Pointer
from ..terminal import visible
from .options import Number
from .screen import answer


@click.command("runs")
@click.option("-n", "--limit", type=Number("a whole number from 1 on", int, lambda n: n >= 1), metavar="N", default=20,
              show_default=True, help="Show so many runs.")
def runs_command(limit: int) -> None:
    """List recent runs, the newest first.

    \b
    firexlite runs -n 5
    """
    rows = [_row(directory) for directory in all_runs()[:limit]]
    rows += [_row_elsewhere(pointer) for pointer in runs_on_other_hosts()[:limit]]
    if not rows:
        answer(f"There are no runs in {home()} yet.")
        return
    answer(tabulate(rows, headers=["FireX ID", "state", "age", "chain", "tasks"], tablefmt="simple", disable_numparse=True))


def _row(directory: RunDirectory) -> tuple[str, str, str, str, str]:
    try:
        with History(directory) as history:
            run, counts = history.run(), history.counts()
            done = f"{counts.get('succeeded', 0)} of {sum(counts.values())} succeeded"
            return (directory.firex_id, _in_one_line(run.state.upper()), age(time.time() - run.created),
                    _in_one_line(run.chain), done)
    except JournalUnusable:
        return directory.firex_id, "UNREADABLE", "", "", f"`firexlite doctor {directory.firex_id}` says why"


def _in_one_line(text: str) -> str:
    """What a journal says in a row of the table: it must not begin a row of its own."""
    return visible(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def _row_elsewhere(pointer: Pointer) -> tuple[str, str, str, str, str]:
    """A run of a home on a network file system that has not come home: only its host knows how it stands."""
    return pointer.firex_id, _in_one_line(f"ON {pointer.host}"), "", "", _in_one_line(f"in {pointer.path}")


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
