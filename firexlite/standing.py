"""How a run stands, for people and programs: the exit code that says it, and what a program may ask about it."""
from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from .codec import decode_error
from .errors import JournalUnusable, ReplayMismatch, ReturnCodeError, RunActive, RunWaits
from .history import History
from .home import all_runs, runs_on_other_hosts
from .states import REDO, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

WAITING = "waiting"  # of a run whose processes ended since all that was left waits
UNREADABLE, ELSEWHERE = "unreadable", "elsewhere"  # of runs of which nobody here can say how they stand
STATES_OF_RUNS = (RUN_RUNNING, RUN_SUCCEEDED, RUN_FAILED, RUN_REVOKED, RUN_INTERRUPTED, WAITING)


def exit_code(history: History, state: str | None = None) -> int:
    """The code with which the run's own command ends, or ended: 0, 5 for a replay that stopped, 7 for a run that waits, the
    code that a service chose, else 1; 3 as long as it goes on.

    state: of the run, if the caller knows better than a reader can. How a run was killed, nobody could write down: 1.
    """
    state = state or history.run().state
    if state == RUN_SUCCEEDED:
        return 0
    if state == RUN_RUNNING:
        return RunActive.exit_code
    if state == RUN_INTERRUPTED:
        if any(REDO not in (task.stopped or "") for task in history.stopped_tasks()):
            return ReplayMismatch.exit_code
        return RunWaits.exit_code if is_waiting(history) else 1
    error = next((task.error for task in history.submitted_tasks() if task.error is not None), None)
    decoded = None if error is None else decode_error(error)
    if isinstance(decoded, ReturnCodeError):
        code = decoded.firex_returncode  # a run that failed never ends with 0, nor with what becomes it
        return code if isinstance(code, int) and 0 < code < 256 else 1
    return 1


def is_waiting(history: History) -> bool:
    """Whether all that is left of a run waits for a time or an event."""
    return bool(history.waits()) and not history.execute(
        "SELECT 1 FROM task WHERE state = 'running' OR (state = 'ready' AND due IS NULL) LIMIT 1")


def brief(history: History) -> dict[str, Any]:
    """A run in a line, as JSON: ``{firex_id, state, exit_code, key, chain, created, ended, counts, user, host, path}``.

    created, ended: seconds since the epoch, ended None unless it is over. state: one of a run, or `waiting`.
    """
    run = history.run()
    int(run.created), int(run.ended or 0)  # a time that is none is what firexlite never writes
    state = WAITING if run.state == RUN_INTERRUPTED and is_waiting(history) else run.state
    is_over = run.state not in (RUN_RUNNING, RUN_INTERRUPTED)
    return {"firex_id": run.firex_id, "state": state,
            "exit_code": None if run.state == RUN_RUNNING else exit_code(history, run.state),
            "key": run.options.get("key"), "chain": run.chain, "created": run.created, "ended": run.ended if is_over else None,
            "counts": history.counts(), "user": run.options.get("user"), "host": run.options.get("host"),
            "path": str(history.directory.path)}


class Wanted(NamedTuple):
    """Which runs are asked for. service: one that has a task in the run. newer_than_s, older_than_s: seconds since it began."""

    states: Collection[str] = ()
    service: str | None = None
    newer_than_s: float | None = None
    older_than_s: float | None = None

    def fits(self, about: dict[str, Any], now: float) -> bool:
        age_s = now - about["created"]
        return ((not self.states or about["state"] in self.states) and (self.newer_than_s is None or age_s <= self.newer_than_s)
                and (self.older_than_s is None or age_s > self.older_than_s))


ALL = Wanted()


def runs_that_are(wanted: Wanted, now: float) -> Iterator[dict[str, Any]]:
    """Runs of this home, as `brief` has them, the newest first; of `ALL` also those that cannot be read, with an ``error``."""
    for directory in all_runs():
        try:
            with History(directory) as history:
                if wanted.service is None or history.has_service(wanted.service):
                    about = brief(history)
                    if wanted.fits(about, now):
                        yield about
        except JournalUnusable as error:
            if wanted == ALL:
                yield {"firex_id": directory.firex_id, "state": UNREADABLE, "error": str(error)}


def runs_elsewhere() -> Iterator[dict[str, Any]]:
    """Those of a home on a network file system that have not come home: only their host knows how they stand."""
    for pointer in runs_on_other_hosts():
        yield {"firex_id": pointer.firex_id, "state": ELSEWHERE, "host": pointer.host, "path": str(pointer.path)}
