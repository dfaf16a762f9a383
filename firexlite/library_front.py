"""What `firexlite.run` starts: a front in a process of its own, which gets its order from the process that calls it.

A fresh one, since the caller may have threads, which a fork would leave in the midst of whatever they do. On a socket it is
given one line of JSON, and answers with others: `started`, or `refused`, and at the end `ended`.
"""
from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from . import guard, host
from .cli.attendance import attend_as_guest
from .cli.printing import say
from .cli.screen import Console, report
from .compat import install
from .errors import FirexliteError
from .following import Screen
from .front import Front
from .home import RunDirectory, find_run
from .last_acts import LastActs
from .launch import Job, ResumeRequest, resume, submit
from .submission import Composed, Request

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


@dataclass(frozen=True)
class Order:
    """What the process is to do. request: as of a `Request`, or of a `ResumeRequest`, as plain data.

    caller: its pid. sys_path: its `sys.path`. python_path: its PYTHONPATH, which was changed for us to be found.
    """

    is_resume: bool
    request: dict
    caller: int
    sys_path: list[str]
    python_path: str | None
    import_timeout_s: float
    flame: str | None
    on_end: str | None
    is_quiet: bool

    def job(self) -> Job:
        if self.is_resume:
            done = {int(task): returned for task, returned in self.request["done"].items()}
            to_resume = ResumeRequest(**{**self.request, "done": done})
            return lambda board, channel: resume(to_resume, board, channel)
        composed = Composed(**self.request["composed"])
        to_submit = Request(**{**self.request, "composed": composed})
        return lambda board, channel: submit(to_submit, board, channel)


class _Teller:
    """Tells the caller how far we are; that it is dead, we are told otherwise."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        os.register_at_fork(after_in_child=end.close)  # it is to end with this process

    def tell(self, what: str, **details: object) -> None:
        with suppress(OSError):
            self._end.sendall(json.dumps({"what": what, **details}).encode() + b"\n")


class _Told(Screen):
    """Tells the caller when the run has begun; all is shown by another screen."""

    def __init__(self, screen: Screen, tell: Callable[..., None]) -> None:
        self._tell = tell
        self.resumed, self.progress, self.stopping = screen.resumed, screen.progress, screen.stopping  # type: ignore[method-assign]
        self.sending = screen.sending  # type: ignore[method-assign]
        self._shows_start = screen.started

    def started(self, directory: RunDirectory) -> None:
        self._tell("started", firex_id=directory.firex_id, elsewhere=False)
        self._shows_start(directory)


def carry_out(order: Order, tell: Callable[..., None]) -> None:
    """Run the front to the end of its run, and tell how that was."""
    console = None if order.is_quiet else Console()
    last = LastActs(order.flame, order.on_end, tells_ci=not order.is_quiet)
    try:
        front = Front(_Told(console or Screen(), tell), order.import_timeout_s, last.do)
        code = front.run(order.job())
    except FirexliteError as error:
        tell("refused", sentence=str(error), code=error.exit_code)
        return
    finally:
        if console is not None:
            console.clear()
    if front.active is not None:
        tell("started", firex_id=front.active.firex_id, elsewhere=True)
        guest = console or Console(quiet=True)  # what it says lands where nobody looks, then
        code = attend_as_guest(front.active.firex_id, guest, last)
    elif console is not None and console.directory is not None:
        report(find_run(console.directory.firex_id), code)  # it may have come home
    for sentence in (*last.told, *front.told) if console is not None else ():
        say(sentence, err=True)
    tell("ended", code=code)


def main() -> None:
    """Take the order from the socket that was handed down, and carry it out."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    order = Order(**json.loads(end.makefile("rb").readline()))
    host.die_with_parent(order.caller, signal.SIGTERM)
    guard.stand(end.fileno())
    sys.path[:] = order.sys_path
    os.environ.pop("PYTHONPATH", None)
    if order.python_path is not None:
        os.environ["PYTHONPATH"] = order.python_path
    os.umask(os.umask(0o077) & ~0o700)
    install()
    teller = _Teller(end)
    carry_out(order, teller.tell)


if __name__ == "__main__":
    main()
