"""What a command has done below a front: a run, or a look at services, whose import may hang or crash."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import click

from ..board import Board
from ..front import Front, Screen, run_detached
from ..home import find_run
from ..launch import Channel, Job
from ..plugins import load
from .screen import Console, report, say


def run_job(job: Job, detach: bool, import_timeout_s: float) -> None:
    """Run a job to its end, or only to its beginning, as `submit` and `resume` do; exits with the run's code."""
    if detach:
        say(f"FireX ID: {run_detached(job, import_timeout_s).firex_id}")
        say("It goes on in the background; `firexlite runs` shows how it stands.", err=True)
        return
    console = Console()
    try:
        code = Front(console, import_timeout_s).run(job)
    finally:
        console.clear()
    if console.directory is not None:
        report(find_run(console.directory.firex_id), code)  # it may have come home
    click.get_current_context().exit(code)


def describe_services(plugins: Sequence[str], import_timeout_s: float, describe: Callable[[], str]) -> str:
    """What ``describe`` says in a process that has imported the built-in services and those of plugins.

    Raises BadInput for a plugin that cannot be loaded, hangs or crashes, and what FirexliteError ``describe`` raises.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as answer:
        def job(board: Board, channel: Channel) -> int:
            load(plugins, lambda path: channel.tell("importing", path=path))
            channel.tell("imported")
            answer.write(describe())
            answer.flush()
            return 0

        if code := Front(Screen(), import_timeout_s).run(job):
            click.get_current_context().exit(code)
        answer.seek(0)
        return answer.read()
