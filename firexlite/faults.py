"""Crash points: named moments at which a test can have a process die. In production each is a call that does nothing.

    FIREXLITE_FAULT="settle written#2=kill"    the process that is the second of the run to reach `settle written` dies
    FIREXLITE_FAULT="*#17=all"                 at the 17th moment of any name all processes of the run die at once
    FIREXLITE_FAULT="*=note"                   nobody dies; the names are collected

`kill` is a SIGKILL of the process itself, `all` of every process of the run, `stop` a SIGSTOP of the process itself.
FIREXLITE_FAULT_LOG names the file in which all processes of a run count: each line is a moment that was reached.
"""
from __future__ import annotations

import contextlib
import os
import signal


def _nothing(moment: str, phase: str = "") -> None:
    """There is no fault to inject."""


class _Fault:
    """One fault, as told by the environment."""

    def __init__(self, told: str, log: str) -> None:
        where, _, self.action = told.rpartition("=")
        self.moment, _, number = where.partition("#")
        self.number = int(number or 0)
        self.log = log

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
        if self.action == "all":
            _kill_the_run()
        os.kill(os.getpid(), signal.SIGKILL)


def _kill_the_run() -> None:
    """SIGKILL the front and all below it; they are stopped first, so that none can clean up after another."""
    from . import host

    root, front = int(os.environ["FIREXLITE_FAULT_ROOT"]), os.getpid()
    while (parent := host.parent(front)) not in (root, 1, None):
        front = parent
    stopped: set[int] = {os.getpid()}
    while found := {front, *host.descendants(front)} - stopped:
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        stopped |= found
    for pid in stopped - {os.getpid()}:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


_told = os.environ.get("FIREXLITE_FAULT")
reach = _Fault(_told, os.environ["FIREXLITE_FAULT_LOG"]).reach if _told else _nothing
