"""`firexlite prune`: remove old runs."""
from __future__ import annotations

import sys
import time

import click

from ..doctor import in_words
from ..errors import BadInput
from ..home import home
from ..pruning import old_runs, remove
from .options import span_option
from .printing import answer, say
from .runs import age, one_line

SHOWN = 20


@click.command("prune")
@span_option("--older-than", help="Remove runs that have done nothing for so long: 30d, 12h.")
@click.option("--keep-failed", is_flag=True, help="Remove only runs that succeeded.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def prune_command(older_than: float | None, keep_failed: bool, dry_run: bool, yes: bool) -> None:
    """Remove old runs, with their journals and logs. It asks first. What is running stays.

    \b
    firexlite prune --older-than 30d --keep-failed
    """
    if older_than is None:
        raise click.UsageError("prune needs --older-than, such as 30d: how long a run has to be at rest to be removed")
    found = list(old_runs(older_than, keep_failed))
    if not found:
        answer(f"There is nothing to remove in {home()}.")
        return
    from tabulate import tabulate  # here: most commands need none

    now = time.time()
    rows = [(old.directory.firex_id, old.state, f"{age(now - old.ended)} ago", one_line(old.chain), in_words(old.size))
            for old in found[:SHOWN]]
    answer(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if len(found) > SHOWN:
        answer(f"... and {len(found) - SHOWN} more")
    what = f"{len(found)} run{'' if len(found) == 1 else 's'}, {in_words(sum(old.size for old in found))}"
    if dry_run:
        answer(f"Would remove {what}.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput(f"prune asks before it removes {what}, and there is no terminal to ask in; --yes answers it")
        if not click.confirm(f"Remove {what}?", err=True):
            answer("Nothing was removed.")
            return
    removed = [old for old in found if remove(old)]
    answer(f"Removed {len(removed)} run{'' if len(removed) == 1 else 's'}.")
    if len(removed) < len(found):
        say(f"{len(found) - len(removed)} of them went on meanwhile, and stay.", err=True)
