"""What a person may call a run: its FireX ID, how that begins or ends, its key, or `last`."""
from __future__ import annotations

from . import keys
from .errors import BadInput
from .home import all_runs, find_run, home, runs_on_other_hosts

SHOWN = 3  # of the runs that a name may mean


def run_named(name: str) -> str:
    """The FireX ID of the run that a person means.

    Raises BadInput if there is none or it may be one of several, and what `find_run` raises for a run that is not to be had.
    """
    if name == keys.LAST:
        if not (runs := all_runs()):
            raise BadInput(f"there is no last run: there are no runs in {home()} yet")
        return runs[0].firex_id
    try:
        return find_run(name).firex_id
    except BadInput:
        if not name or len(name) > keys.LONGEST:
            raise
        return _guessed(name)


def _guessed(name: str) -> str:
    """The FireX ID of the run of this key, or of that whose ID begins or ends so. Raises BadInput unless it is just one."""
    if found := keys.run_of(name):
        return found.firex_id
    known = [run.firex_id for run in all_runs()] + [pointer.firex_id for pointer in runs_on_other_hosts()]
    beginning = name if name != "FireX-" else "-"  # with that all begin
    fitting = [firex_id for firex_id in known if firex_id.startswith(beginning) or firex_id.endswith(f"-{name}")]
    if len(fitting) > 1:
        shown = ", ".join(fitting[:SHOWN]) + (f" and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else "")
        raise BadInput(f"'{name}' may mean any of {len(fitting)} runs ({shown}); give more of it")
    return find_run(fitting[0] if fitting else name).firex_id
