"""The guard: a process beside a runner, where the kernel tells nobody that their parent has died, nor gives orphans to anybody.

It hears of both deaths as the end of a pipe: of that of the front, which it tells the runner, and of that of the runner, after
which it kills what is left in the sessions of its workers. It is no child of the runner, whose services must not find it, and
does not hold the run's lock.
"""
from __future__ import annotations

import gc
import os
import select
import signal
from contextlib import suppress

from . import host
from .board import Board

_life = -1  # the end of a pipe that only this process has open: it closes when we end


def stand(parent: int, board: Board | None = None) -> None:
    """Have this process looked after, if the host does not do that. A job calls it before it imports anything.

    parent: a socket that is readable when the parent, the front of a job, has ended: then this process gets a SIGTERM.
    board: where the sessions stand that are to be ended when this process has; None: there are none.
    """
    global _life
    if not host.IS_PORTABLE:
        return
    job = os.getpid()
    life, _life = os.pipe()
    if not (pid := os.fork()):
        _be_the_guard(job, parent, life, board)
    os.close(life)
    os.waitpid(pid, 0)
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    """In whatever this process forks: it may outlive it."""
    global _life
    if _life >= 0:
        os.close(_life)
        _life = -1


def _be_the_guard(job: int, parent: int, life: int, board: Board | None) -> None:
    """The forked side; does not return."""
    try:
        gc.disable()
        os.setsid()
        if os.fork():
            return
        for unheeded in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(unheeded, signal.SIG_IGN)
        host.keep_only({parent, life})
        _watch(job, parent, life)
        if board is None:
            return
        sessions = board.sessions()
        host.end_sessions([job, *sessions] if board.runner == job else [job])  # else they are those of a runner after it
    finally:
        os._exit(0)


def _watch(job: int, parent: int, life: int) -> None:
    """Return when the job has ended."""
    watched = [parent, life]
    while life not in (ended := select.select(watched, [], [])[0]):
        if parent in ended:
            watched.remove(parent)
            with suppress(ProcessLookupError):
                os.kill(job, signal.SIGTERM)
