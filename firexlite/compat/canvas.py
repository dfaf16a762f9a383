"""`celery.canvas`: chains and signatures made by functions rather than by `|` and `.s()`."""
from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from ..application import Service
from ..signatures import Chain, InjectArgs, Signature
from .celery_app import app


def chain(*parts: Any) -> Any:
    """``a | b | c``, from several signatures and chains or from one list of them.

    Raises TypeError if there is none, InvalidChainArgsException for InjectArgs anywhere but at the head.
    """
    if len(parts) == 1 and not isinstance(parts[0], (Signature, Chain, InjectArgs)):
        parts = tuple(parts[0])
    if not parts:
        raise TypeError("chain() needs the signatures of which the chain is to consist")
    return functools.reduce(operator.or_, parts)


def signature(task: str | Service | Signature | Chain, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None,
              **_: Any) -> Any:
    """The signature of a service, or of the service of a name. One that is a signature already is given back."""
    if isinstance(task, (Signature, Chain, InjectArgs)):
        return task
    return (task if isinstance(task, Service) else app.get_app_task(task)).s(*args, **(kwargs or {}))
