"""Crash points: named moments at which a test can have a process die. In production each is a call that does nothing.

    FIREXLITE_FAULT="settle written#2=kill"    the process that is the second of the run to reach `settle written` dies
    FIREXLITE_FAULT="*#17=all"                 at the 17th moment of any name all processes of the run die at once
    FIREXLITE_FAULT="*=note"                   nobody dies; the names are collected
    FIREXLITE_FAULT="succeeded flash#1=all"    at the first task of the service `flash` of which the journal has the success

`succeeded` and `returned` (the body has returned, and the journal does not know) are moments of a service, which are none
but for such a fault.

`kill` is a SIGKILL of the process itself, `runner` of the runner, `front` of the front, `all` of every process of the run,
`stop` a SIGSTOP of the process itself.
FIREXLITE_FAULT_LOG names the file in which all processes of a run count: each line is a moment that was reached.
"""
from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable


def _nothing(moment: str, phase: str = "") -> None:
    """There is no fault to inject."""


class _Fault:
    """One fault, as told by the environment."""

    def __init__(self, told: str, log: str) -> None:
        where, _, self.action = told.rpartition("=")
        self.moment, _, number = where.partition("#")
        self.number = int(number or 0)
        self.log = log

    @property
    def is_of_a_service(self) -> bool:
        return self.moment.startswith(("succeeded ", "returned "))

    def reach(self, moment: str, phase: str = "") -> None:
        moment = f"{moment} {phase}".rstrip()
        if self.moment not in ("*", moment):
            return
        line = f"{moment}\n".encode()
        log = os.open(self.log, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(log, line)
        # What is before the end of our own line: another's may have followed already.
        end = os.lseek(log, 0, os.SEEK_CUR)
        arrivals = os.pread(log, end, 0).count(b"\n")
        os.close(log)
        if self.action != "note" and arrivals == self.number:
            self.strike()

    def strike(self) -> None:
        if self.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if self.action in ("front", "runner"):
            os.kill(_line_up()[-1 if self.action == "front" else -2:][0], signal.SIGKILL)
            return  # its own end comes by what firexlite itself does about it
        if self.action == "all":
            _kill_the_run()
        os.kill(os.getpid(), signal.SIGKILL)


def _line_up() -> list[int]:
    """This process, its parent, and so on up to the front."""
    from . import host

    root, line = int(os.environ["FIREXLITE_FAULT_ROOT"]), [os.getpid()]
    while (parent := host.parent(line[-1])) not in (root, 1, None):
        line.append(parent)
    return line


def _kill_the_run() -> None:
    """SIGKILL the front and all below it; they are stopped first, so that none can clean up after another."""
    from . import host

    line = _line_up()
    front = line[-1]
    stopped: set[int] = {os.getpid()}
    while found := {front, *host.descendants(front)} - stopped:
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        stopped |= found
    # From the front downwards: the death of the runner is ours too, and must not come before the others'.
    for pid in [*(stopped - set(line)), *reversed(line)]:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def of_services(moment: str, services: Iterable[str]) -> None:
    """A moment of tasks of these services, by their long names; called only if there `are_of_services`."""
    for service in services:
        reach(moment, service.rpartition(".")[2])


def arm() -> None:
    """Do as the environment says from now on; a test that forks its commands calls it again in each."""
    global reach, are_of_services
    told = os.environ.get("FIREXLITE_FAULT")
    fault = _Fault(told, os.environ["FIREXLITE_FAULT_LOG"]) if told else None
    reach = fault.reach if fault else _nothing
    are_of_services = fault is not None and fault.is_of_a_service


reach: Callable[..., None] = _nothing
are_of_services = False
arm()
