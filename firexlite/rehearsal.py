"""Runs of a test: with fakes in the place of some services, and killed at a chosen moment. See `pytest_plugin`."""
from __future__ import annotations

import contextlib
import inspect
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .application import app
from .codec import decode, encode, encode_error
from .errors import BadInput, RunFailed
from .fakes import SETTING, Named, put_one_on
from .library import Attendant, resume, run
from .outcome import Result
from .signatures import Chain, Signature

KILLED = 128 + signal.SIGKILL


class Rehearsal:
    """What the fixture `firexlite_run` gives: `firexlite.run` for tests.

    home: of its runs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, chain: Chain | Signature, *, fakes: Mapping[str, Any] | None = None, crash_after: str | None = None,
                 crash_in: str | None = None, **options: Any) -> Result:
        """Run a chain, and give what became of it. options: those of `firexlite.run`.

        fakes: ``{service: what stands in for its body}``, by short names: a function, which is called here with those of the
        arguments that it takes; an exception to be raised; a value to be returned; or a dict of returned values by name.
        crash_after: a service; when the journal has the success of its first task, all processes of the run are killed, and
        the run is resumed. crash_in: a service; the same as soon as the body of its first task has returned, before the
        journal knows, so that the body runs twice. `'flash#3'` is the third. What the kill left is ``killed`` of the result.
        """
        if crash_after is not None and crash_in is not None:
            raise BadInput("a run crashes once: give crash_after or crash_in")
        if options.get("in_process"):
            if crash_after is not None or crash_in is not None:
                raise BadInput("with in_process=True a kill would be one of the test itself; run it without")
            with played_here(fakes or {}):
                return run(chain, **options)
        if crash_after is None and crash_in is None:
            return run(chain, attendant=Stage(fakes or {}), **options)
        asked, name = ("succeeded", crash_after) if crash_after is not None else ("returned", crash_in)
        return _run_with_a_crash(asked, str(name), chain, fakes or {}, options)

    def resume(self, firex_id: str, *, fakes: Mapping[str, Any] | None = None, **options: Any) -> Result:
        """`firexlite.resume`, with fakes."""
        return resume(firex_id, attendant=Stage(fakes or {}), **options)


def _run_with_a_crash(asked: str, name: str, chain: Chain | Signature, fakes: Mapping[str, Any],
                      options: Mapping[str, Any]) -> Result:
    """Run a chain, have it killed, and resume it. Raises AssertionError if the moment never came."""
    moment = f"{asked} {name}" if "#" in name else f"{asked} {name}#1"
    killed = run(chain, attendant=Stage(fakes, moment), **{**options, "check": False})
    tree = killed.tree  # read before it goes on
    if killed.exit_code != KILLED:
        raise AssertionError(f"nothing was killed, since {name} never {asked}; {killed.firex_id} {killed.state}:\n{tree}")
    again = {option: options[option] for option in _OF_BOTH & options.keys()}
    try:
        resumed = resume(killed.firex_id, attendant=Stage(fakes), **again)
    except RunFailed as error:
        if error.result is not None:
            error.result.killed = killed
        raise
    resumed.killed = killed
    return resumed


class Stage(Attendant):
    """Answers the services that are faked, and has their run killed at a moment of `faults`, if there is one."""

    def __init__(self, fakes: Mapping[str, Any], moment: str | None = None) -> None:
        self._fakes, self._moment = fakes, moment

    def __enter__(self) -> Stage:
        self._folder = tempfile.mkdtemp(prefix="firexlite-")  # a socket's path may have 108 bytes only
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(self._address)
        self._socket.listen(64)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        shutil.rmtree(self._folder)

    @property
    def _address(self) -> str:
        return os.path.join(self._folder, "fakes")

    @property
    def env(self) -> dict[str, str]:
        env = {}
        if self._fakes:
            env[SETTING] = json.dumps({"address": self._address, "services": list(self._fakes)})
        if self._moment is not None:
            env |= {"FIREXLITE_FAULT": f"{self._moment}=all", "FIREXLITE_FAULT_LOG": os.path.join(self._folder, "moments"),
                    "FIREXLITE_FAULT_ROOT": str(os.getpid())}
        return env

    # --- fakes -------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        """Do the body of one task. What is raised that no `except Exception` catches ends the run, and the test."""
        line, _ = self._socket.accept()
        with line, line.makefile("rb") as questions:
            if not (read := questions.read()):
                return  # its worker was killed
            question = json.loads(read)
            try:
                args, kwargs = decode(question["call"])
                value = play(self._fakes[question["service"]], args, kwargs)
                answer = {"value": encode(dict(value) if isinstance(value, Named) else value, "what the fake returned"),
                          "is_named": isinstance(value, Named)}
            except Exception as error:
                answer = {"error": encode_error(error)}
            with contextlib.suppress(OSError):
                line.sendall(json.dumps(answer).encode())

@contextlib.contextmanager
def played_here(fakes: Mapping[str, Any]) -> Iterator[None]:
    """A context in which services of this very process are faked."""
    with contextlib.ExitStack() as changed:
        for name, fake in fakes.items():
            changed.callback(put_one_on(app, name, lambda args, kwargs, fake=fake: play(fake, args, kwargs)))
        yield


def play(fake: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What stands in for the body of a service returns, or raises."""
    if isinstance(fake, BaseException) or (isinstance(fake, type) and issubclass(fake, BaseException)):
        raise fake
    if not callable(fake):
        return Named(fake) if isinstance(fake, dict) else fake
    return fake(*args, **dict(_taken_by(fake, kwargs)))


_OF_BOTH = frozenset({"workers", "queues", "soft_time_limit", "exit_when_waiting", "redact", "json_file", "flame", "full_wait",
                      "import_timeout", "timeout", "quiet", "check", "pickle"})  # options of `run` and of `resume`


def _taken_by(function: Any, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of the keywords that a function takes."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of something built in
        parameters = None
    takes_all = parameters is None or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for name, value in kwargs.items():
        if takes_all or name in parameters:  # type: ignore[operator]
            yield name, value
