"""What a command has done below a front: a run, or a look at services, whose import may hang or crash."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import click

from ..board import Board
from ..errors import FirexliteError
from ..front import Front, Screen, run_detached
from ..history import History
from ..home import RunDirectory, find_run
from ..launch import Channel, Job
from ..plugins import load
from ..runlog import note
from .screen import Console, report, say


def run_job(job: Job, detach: bool, import_timeout_s: float, flame: str | None, is_resume: bool = False) -> None:
    """Run a job to its end, or only to its beginning, as `submit` and `resume` do; exits with the run's code.

    flame: the file for the run's report; None: that which the run recorded when it was submitted, if any.
    """
    last = LastReport(flame, is_resume)
    if detach:
        say(f"FireX ID: {run_detached(job, import_timeout_s, last.write).firex_id}")
        say("It goes on in the background; `firexlite runs` shows how it stands.", err=True)
        return
    console = Console()
    try:
        code = Front(console, import_timeout_s, last.write).run(job)
    except FirexliteError:
        console.clear()
        last.tell()
        raise
    finally:
        console.clear()
    if console.directory is not None:
        report(find_run(console.directory.firex_id), code)  # it may have come home
    last.tell()
    click.get_current_context().exit(code)


class LastReport:
    """The report that a run leaves behind when it ends, if a file for it was named now or when it was submitted.

    What goes wrong with it is told, and changes nothing of how the run ended.
    """

    def __init__(self, asked: str | None, is_resume: bool) -> None:
        self._asked, self._is_resume = asked, is_resume
        self._told = ""

    def write(self, directory: RunDirectory) -> None:
        """For a front, whose last act it is. Nothing is printed: a line of progress may still stand there."""
        try:
            directory = find_run(directory.firex_id)  # it may have come home
            if path := self._asked or (_recorded(directory) if self._is_resume else None):
                from ..flame_export import Settings, write_report  # here: most runs end without

                write_report(directory, Path(path), Settings())
                self._told = f"Report: {path}"
        except FirexliteError as error:
            self._told = f"firexlite: {error}"
        except Exception as error:  # a report that fails for a fault of ours must not turn a green run red
            self._told = f"firexlite: the report could not be written: {type(error).__name__}: {error}"
        if self._told.startswith("firexlite: "):
            note(directory.logs, self._told.removeprefix("firexlite: "))  # of a detached run nobody reads the screen

    def tell(self) -> None:
        if self._told:
            say(self._told, err=True)


def _recorded(directory: RunDirectory) -> str | None:
    """The file that was named for the report when the run was submitted; None also if the journal cannot be read now."""
    with suppress(FirexliteError), History(directory) as history:
        return history.run().options.get("flame")
    return None


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
