"""The services that every run has, as FireX has them: nop, sleep, getusername, CopyBogKeys, ScheduleSubChain and Pause."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .application import app
from .home import user_name
from .loggers import get_task_logger
from .results import DYNAMIC_RETURN
from .services import Task
from .showing import flame, flame_collapse
from .signatures import Chain, InjectArgs, Signature

logger = get_task_logger(__name__)


@app.task
def nop() -> None:
    """Do nothing."""


@app.task(bind=True)
def sleep(self: Task, sleep: str | float | None = None) -> None:
    """Sleep for a number of seconds."""
    if sleep:
        self.sleep(float(sleep))


@app.task(returns="username")
def getusername() -> str:
    """The name of the user who runs this."""
    return user_name()


@app.task(bind=True, returns=DYNAMIC_RETURN)
@flame("status")
def CopyBogKeys(self: Task, bog_key_map: Mapping[str, str], strict: bool = False) -> dict:
    """Copy values in the bog to other names, so that a later task of the chain does not overwrite them.

    Arguments:
        bog_key_map: from the name a value has to the name of its copy.
        strict: fail if a value is not there; otherwise it is left out.
    """
    bog = self.abog
    missing = [key for key in bog_key_map if key not in bog]
    assert not (strict and missing), f"The bog has no {', '.join(missing)}"
    copies = {key: copy for key, copy in bog_key_map.items() if key in bog}
    if copies:
        from html import escape  # here: few runs need it

        self.send_firex_html(status="<br>".join(escape(f"{key}={copy}") for key, copy in copies.items()))
    return {copy: bog[key] for key, copy in copies.items()}


@app.task(bind=True, returns=DYNAMIC_RETURN)
@flame_collapse("self")
def ScheduleSubChain(self: Task, chain: Chain | Signature, enqueue_args: Mapping[str, Any] | None = None,
                     catch_errors: bool = False, inject_abog: bool = True) -> dict:
    """Run a chain below this task; returns all that its tasks return.

    Arguments:
        chain: the chain, or one signature.
        enqueue_args: options of `enqueue_child_and_get_results`.
        catch_errors: if the chain fails, log that and return nothing.
        inject_abog: give the chain all that reaches this task.
    """
    work = InjectArgs(**self.abog) | chain if inject_abog else chain
    try:
        return self.enqueue_child_and_get_results(work, **(enqueue_args or {}))
    except Exception:
        if not catch_errors:
            raise
        logger.exception("the chain failed, and its error is caught as was asked for")
        return {}


@app.task(bind=True)
def Pause(self: Task, pause_hours: str | float) -> None:
    """Wait for a number of hours."""
    self.sleep(float(pause_hours) * 3600)
