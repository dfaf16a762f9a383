"""The services that every run has: nop, sleep, getusername and CopyBogKeys, as FireX has them."""
from __future__ import annotations

import time
from collections.abc import Mapping

from .application import app
from .home import user_name
from .results import DYNAMIC_RETURN
from .services import Task


@app.task
def nop() -> None:
    """Do nothing."""


@app.task
def sleep(sleep: str | float | None = None) -> None:
    """Sleep for a number of seconds."""
    if sleep:
        time.sleep(float(sleep))


@app.task(returns="username")
def getusername() -> str:
    """The name of the user who runs this."""
    return user_name()


@app.task(bind=True, returns=DYNAMIC_RETURN)
def CopyBogKeys(self: Task, bog_key_map: Mapping[str, str], strict: bool = False) -> dict:
    """Copy values in the bog to other names, so that a later task of the chain does not overwrite them.

    Arguments:
        bog_key_map: from the name a value has to the name of its copy.
        strict: fail if a value is not there; otherwise it is left out.
    """
    bog = self.abog
    missing = [key for key in bog_key_map if key not in bog]
    assert not (strict and missing), f"The bog has no {', '.join(missing)}"
    return {copy: bog[key] for key, copy in bog_key_map.items() if key in bog}
