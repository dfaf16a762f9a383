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


def stand(front: int, board: Board) -> None:
    """Have this process looked after, if the host does not do that. To be called by a job before it imports anything.

    front: what is readable when the front has ended.
    """
    global _life
    if not host.IS_PORTABLE:
        return
    job = os.getpid()
    life, _life = os.pipe()
    if not (pid := os.fork()):
        _be_the_guard(job, front, life, board)
    os.close(life)
    os.waitpid(pid, 0)
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    """In whatever this process forks: it may outlive it."""
    global _life
    if _life >= 0:
        os.close(_life)
        _life = -1


def _be_the_guard(job: int, front: int, life: int, board: Board) -> None:
    """The forked side; does not return."""
    try:
        gc.disable()
        os.setsid()
        if os.fork():
            return
        for unheeded in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(unheeded, signal.SIG_IGN)
        host.keep_only({front, life})
        _watch(job, front, life)
        sessions = board.sessions()
        host.end_sessions([job, *sessions] if board.runner == job else [job])  # else they are those of a runner after it
    finally:
        os._exit(0)


def _watch(job: int, front: int, life: int) -> None:
    """Return when the job has ended."""
    watched = [front, life]
    while life not in (ended := select.select(watched, [], [])[0]):
        if front in ended:
            watched.remove(front)
            with suppress(ProcessLookupError):
                os.kill(job, signal.SIGTERM)
