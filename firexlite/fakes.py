"""Fakes: services whose bodies are done by the test that began the run, in its own process. In production there are none.

FIREXLITE_FAKES='{"address": "/tmp/x/fakes", "services": ["flash"]}' names a socket at which the test listens. It is sent what
a body is called with, and answers with what it returned, or raised.
"""
from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .codec import decode, decode_error, encode
from .errors import BadInput, NotRegistered

if TYPE_CHECKING:
    from .application import App

SETTING = "FIREXLITE_FAKES"


def put_on(app: App) -> None:
    """Have the services that the environment names faked. Raises BadInput for one that is not there."""
    told = os.environ.get(SETTING)
    if not told:
        return
    about = json.loads(told)
    for name in about["services"]:
        put_one_on(app, name, functools.partial(_ask, about["address"], name))


def put_one_on(app: App, name: str, fake: Any) -> Callable[[], None]:
    """Have a service call ``fake(args, kwargs)`` for its body, without its task; what that returns may be a `Named`.

    Nothing else of it changes. Returns what takes the fake off again. Raises BadInput if there is no such service.
    """
    try:
        service = app.service(name)
    except NotRegistered as error:
        raise BadInput(f"nothing can be faked under the name '{name}': {error}") from error

    @functools.wraps(service.undecorated)
    def body(*args: Any, **kwargs: Any) -> Any:
        value = fake(args[service.bind:], kwargs)
        return _in_order(value, service.returns) if isinstance(value, Named) else value

    real, service.undecorated = service.undecorated, body
    return lambda: setattr(service, "undecorated", real)


class Named(dict):
    """Returned values by name, as they are to be named whatever the order in which the service returns them."""


def _in_order(values: Named, names: tuple[str, ...] | None) -> Any:
    """What a body returns so that its values get these names. One dict for other names is a value itself."""
    if not names or set(names) != values.keys():
        return dict(values)
    return tuple(values[name] for name in names)


def _ask(address: str, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
    """What the test makes of a call. Raises what its fake raised."""
    question = {"service": name, "call": encode([list(args), kwargs], f"the call of {name}")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(address)
        line.sendall(json.dumps(question).encode())
        line.shutdown(socket.SHUT_WR)
        with line.makefile("rb") as answers:
            read = answers.read()
    if not read:
        raise RuntimeError(f"the test that fakes {name} gave no answer")
    answer = json.loads(read)
    if "error" in answer:
        raise decode_error(answer["error"])
    value = decode(answer["value"])
    return Named(value) if answer["is_named"] else value
