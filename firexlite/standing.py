"""How a run stands, for people and programs: the exit code that says it, and what a program may ask about it."""
from __future__ import annotations

from typing import Any

from .codec import decode_error
from .errors import ReplayMismatch, ReturnCodeError, RunActive, RunWaits
from .history import History
from .states import REDO, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED

WAITING = "waiting"  # of a run whose processes ended since all that was left waits
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
