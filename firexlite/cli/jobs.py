"""What a command has done below a front: a run, or a look at services, whose import may hang or crash."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

import click

from ..board import Board
from ..errors import FirexliteError, RunActive
from ..following import Screen
from ..front import TO_NOBODY, Front, Telling, run_detached
from ..history import History
from ..home import find_run
from ..last_acts import LastActs
from ..launch import Channel, Job
from ..plugins import load
from ..states import RUN_SUCCEEDED
from .attendance import attend_as_guest
from .printing import say
from .screen import Console, report


def run_job(job: Job, last: LastActs, import_timeout_s: float, detach: bool = False, no_wait: bool = False,
            quiet: bool = False, telling: Telling = TO_NOBODY) -> None:
    """Run a job to its end, or only to its beginning, as `submit` and `resume` do; exits with the run's code.

    If the run goes on in other processes already, its end is awaited there; no_wait: or it is only said.
    """
    if detach:
        firex_id = run_detached(job, import_timeout_s, last.do, telling).firex_id
        say(f"FireX ID: {firex_id}")
        with History(find_run(firex_id)) as history:
            has_succeeded = history.run().state == RUN_SUCCEEDED
        say("It has succeeded; `firexlite wait` prints the results." if has_succeeded else
            "It goes on in the background; `firexlite attach` comes back to it.", err=True)
        return
    console = Console(quiet)
    front = Front(console, import_timeout_s, last.do, telling)
    try:
        code = front.run(job)
    except FirexliteError:
        console.clear()
        _tell(last, front)
        raise
    finally:
        console.clear()
    if front.active is not None:
        firex_id = front.active.firex_id
        if no_wait:
            console.started(front.active)
            raise RunActive(f"{firex_id} is running in other processes; `firexlite attach {firex_id}` follows it")
        code = attend_as_guest(firex_id, console, last)
    elif console.directory is not None:
        report(find_run(console.directory.firex_id), code)  # it may have come home
    _tell(last, front)
    click.get_current_context().exit(code)


def _tell(last: LastActs, front: Front) -> None:
    for line in last.annotations:
        say(line, commands=True)
    for sentence in (*last.told, *front.told):
        say(sentence, err=True)


def telling(sinks: Sequence[str]) -> Telling:
    """The sinks that a command names, once each. Raises BadInput for what is none, before anything is created."""
    if not sinks:
        return TO_NOBODY
    from ..sinks import sink_for, wait_s  # here: few runs have any

    return Telling(tuple(map(sink_for, dict.fromkeys(sinks))), wait_s())


def describe_services(plugins: Sequence[str], import_timeout_s: float, describe: Callable[[], str]) -> str:
    """What ``describe`` says in a process that has imported the built-in services and those of plugins.

    Raises BadInput for a plugin that cannot be loaded, hangs or crashes, and what FirexliteError ``describe`` raises.
    """
    def load_and_describe(announce: Callable[[str], None]) -> str:
        load(plugins, announce)
        return describe()

    return told_below(load_and_describe, import_timeout_s)


def told_below(tell: Callable[[Callable[[str], None]], str], import_timeout_s: float) -> str:
    """What ``tell`` says in a process of its own, where it imports services; it is given what announces each of them.

    Raises BadInput for an import that fails, hangs or crashes, and what FirexliteError ``tell`` raises.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as answer:
        def job(board: Board, channel: Channel) -> int:
            text = tell(lambda path: channel.tell("importing", path=path))
            channel.tell("imported")
            answer.write(text)
            answer.flush()
            return 0

        if code := Front(Screen(), import_timeout_s).run(job):
            click.get_current_context().exit(code)
        answer.seek(0)
        return answer.read()
