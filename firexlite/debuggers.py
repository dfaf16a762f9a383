"""Who looks on when a task is run again: nobody, pdb in this terminal, or an editor that attaches by debugpy."""
from __future__ import annotations

import asyncio
import bdb
import copy
import functools
import inspect
import pdb
import sys
from types import CodeType, FrameType, TracebackType
from typing import Any

from .application import Service
from .codec_errors import is_machinery, to_look_at_first
from .errors import BadInput


class Quit(Exception):
    """The person left the debugger in the midst of the body."""


class Debugger:
    """Nobody looks on. All methods are there to be overridden."""

    is_wanted = False

    def prepared(self, service: Service) -> Service:
        """The service as it is to be called."""
        return service

    def raised(self, error: BaseException, text: str = "") -> None:
        """The body ended by this. text: the traceback, as it may be shown."""


class PostMortem(Debugger):
    """pdb stops where the body raises, at its own line: not within firexlite, nor in a library that it has called."""

    is_wanted = True

    def raised(self, error: BaseException, text: str = "") -> None:
        if error.__traceback__ is None:
            return
        print(text or f"{type(error).__name__}: {error}", file=sys.stderr, end="" if text else "\n", flush=True)
        looks = _AtTheLine(to_look_at_first(error.__traceback__))
        looks.reset()
        # From 3.13 on an exception has pdb know its causes, too.
        looks.interaction(None, error if sys.version_info >= (3, 13) else error.__traceback__)  # type: ignore[arg-type]


class Step(PostMortem):
    """pdb stops at the first line of the body, too."""

    def prepared(self, service: Service) -> Service:
        stepped = copy.copy(service)
        function = service.undecorated

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return _FromFirstLine(inspect.unwrap(function).__code__).call(function, args, kwargs)

        stepped.undecorated = call
        return stepped


class Port(Debugger):
    """An editor attaches; its breakpoints, and what it does about exceptions, are its own."""

    def __init__(self, port: int) -> None:
        """Raises BadInput if debugpy is not there."""
        try:
            import debugpy  # type: ignore[import-not-found]
        except ImportError as error:
            raise BadInput("--port waits for an editor to attach by debugpy, which is not installed here: "
                           "pip install debugpy") from error
        self._debugpy, self._port = debugpy, port

    def wait(self) -> None:
        """Come back when an editor has attached. Raises BadInput for a port that is not to be had."""
        try:
            self._debugpy.listen(("127.0.0.1", self._port))
        except (OSError, RuntimeError) as error:
            raise BadInput(f"debugpy cannot listen on port {self._port}: {error}") from error
        self._debugpy.wait_for_client()


class _AtTheLine(pdb.Pdb):
    """Begins at a chosen step of a traceback; `up` and `down` lead to the others."""

    def __init__(self, chosen: TracebackType | None) -> None:
        super().__init__()
        self._chosen = chosen

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        stack, at = super().get_stack(f, t)
        if f is None and self._chosen is not None:
            at = next((i for i, (frame, line) in reversed([*enumerate(stack)])
                       if frame is self._chosen.tb_frame and line == self._chosen.tb_lineno), at)
        return stack, at


class _FromFirstLine(pdb.Pdb):
    """Stops at the first line of one function, however it is called; from there `step` passes by firexlite and Python's own."""

    def __init__(self, code: CodeType) -> None:
        super().__init__()
        self._code, self._has_begun, self._has_stopped = code, False, False

    def call(self, function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Raises Quit for `quit`."""
        self.reset()
        sys.settrace(self.trace_dispatch)
        try:
            value = function(*args, **kwargs)
            return asyncio.run(value) if inspect.iscoroutine(value) else value
        except bdb.BdbQuit:
            raise Quit from None
        finally:
            self.quitting = True
            sys.settrace(None)

    def stop_here(self, frame: FrameType) -> bool:
        if not self._has_begun:
            self._has_begun = frame.f_code is self._code
        return self._has_begun and self._is_of_the_body(frame) and super().stop_here(frame)

    def _is_of_the_body(self, frame: FrameType | None) -> bool:
        """Whether it is the body, or was called from it by no way that leads through firexlite or Python's own code."""
        while frame is not None and frame.f_code is not self._code:
            if is_machinery(frame.f_code.co_filename):
                return False
            frame = frame.f_back
        return frame is not None

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        if self._has_stopped:
            super().user_call(frame, argument_list)

    def user_line(self, frame: FrameType) -> None:
        self._has_stopped = True
        super().user_line(frame)
