"""`firexapp.tasks.core_tasks`: services that any chain of FireX's may name."""
from __future__ import annotations

import logging
import time
from typing import Any

from ..application import app, flame_collapse
from ..results import DYNAMIC_RETURN
from ..services import Task
from ..signatures import Chain, InjectArgs, Signature

MODULE = "firexapp.tasks.core_tasks"
logger = logging.getLogger(MODULE)


@app.task(name=f"{MODULE}.ScheduleSubChain", bind=True, returns=DYNAMIC_RETURN)
@flame_collapse("self")
def ScheduleSubChain(self: Task, chain: Signature | Chain, enqueue_args: dict[str, Any] | None = None,
                     catch_errors: bool = False, inject_abog: bool = True) -> dict[str, Any]:
    """Run a chain as children, and return all that it returns.

    Arguments:
        chain: the chain, or a signature.
        enqueue_args: keywords for enqueue_child_and_get_results.
        catch_errors: succeed, and return nothing, if the chain fails.
        inject_abog: hand all values within reach of this task to the chain.
    """
    work = InjectArgs(**self.abog) | chain if inject_abog else chain
    try:
        return self.enqueue_child_and_get_results(work, **(enqueue_args or {}))
    except Exception:  # of whatever service the chain consists
        if not catch_errors:
            raise
        logger.exception("the chain of ScheduleSubChain failed")
        return {}


@app.task(name=f"{MODULE}.Pause", bind=True)
def Pause(self: Task, uid: Any, pause_hours: float, send_pause_email_notification: bool = True) -> None:
    """Do nothing for a while.

    Arguments:
        pause_hours: how long.
        send_pause_email_notification: FireX's; nothing sends mail here.
    """
    time.sleep(float(pause_hours) * 3600)
