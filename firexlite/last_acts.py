"""What is done when nothing of a run lives any more, however it ended: its report is written, the CI system around it told, the
user's own command run.

What goes wrong with either is told, and changes nothing of how the run ended.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import ci
from .errors import FirexliteError
from .history import History, RunRecord
from .home import RunDirectory, find_run
from .host import STOPPING
from .interrupts import take_back_signals
from .runlog import note


class LastActs:
    """For a front, whose last acts they are. Nothing is printed by them: a line of progress may still stand there."""

    def __init__(self, flame: str | None, on_end: str | None, tells_ci: bool = True) -> None:
        """flame: the file for the report. on_end: a shell command. None: what the run recorded when it was submitted.
        tells_ci: False for a run of which whoever began it makes what he likes, as a test that wants it to fail.
        """
        self._flame, self._on_end, self._tells_ci = flame, on_end, tells_ci
        self.told: list[str] = []         # sentences for the screen, in order
        self.annotations: list[str] = []  # lines on stdout for a CI system

    def do(self, directory: RunDirectory, code: int, was_over: bool = False, as_guest: bool = False) -> None:
        """code: with which the run's command will exit. was_over: it had succeeded before: its end is not told once more.
        as_guest: the run went on in the processes of another command, which does what was recorded."""
        try:
            directory = find_run(directory.firex_id)  # it may have come home
            with History(directory) as history:
                run = history.run()
        except FirexliteError as error:
            self.told.append(f"firexlite: {error}")
            return
        flame, on_end = self._flame, None if as_guest else self._on_end or run.options.get("on_end")
        if not as_guest:
            flame = flame or run.options.get("flame")
        if flame:
            self._try(directory, "the report could not be written", lambda: self._write_report(directory, Path(flame)))
        if self._tells_ci and ci.wants_story():
            self._try(directory, "the CI system could not be told", lambda: self._tell_ci(directory))
        if on_end and not was_over:
            report = str(Path(flame).absolute()) if flame else ""
            self._try(directory, "the command of --on-end could not be run", lambda: self._run(on_end, run, code, report))

    def _try(self, directory: RunDirectory, what: str, act: Callable[[], str | None]) -> None:
        try:
            told = act()
        except FirexliteError as error:
            told = f"firexlite: {error}"
        except Exception as error:  # a report that fails for a fault of ours must not turn a green run red
            told = f"firexlite: {what}: {type(error).__name__}: {error}"
        if told:
            self.told.append(told)
            if told.startswith("firexlite: "):
                note(directory.logs, told.removeprefix("firexlite: "))  # of a detached run nobody reads the screen

    def _write_report(self, directory: RunDirectory, path: Path) -> str:
        from .flame_export import Settings, write_report  # here: most runs end without

        write_report(directory, path, Settings())
        return f"Report: {path}"

    def _tell_ci(self, directory: RunDirectory) -> None:
        from .redaction import Redaction  # as above
        from .story import story_of

        with History(directory) as history:
            story = story_of(history, Redaction())  # others may read it
        self.annotations += ci.annotate(story)
        ci.write_summary(story)

    def _run(self, command: str, run: RunRecord, code: int, report: str) -> str | None:
        about = {"FIREXLITE_ID": run.firex_id, "FIREXLITE_STATE": run.state, "FIREXLITE_EXIT_CODE": str(code),
                 "FIREXLITE_CHAIN": run.chain, "FIREXLITE_KEY": run.options.get("key") or "", "FIREXLITE_REPORT": report}
        sys.stdout.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # or one between its start and the handler would reach nobody
        try:
            with (subprocess.Popen(["/bin/sh", "-c", command], env={**os.environ, **about}, stdin=subprocess.DEVNULL, stdout=2,
                                   preexec_fn=take_back_signals) as process, _passing_on_signals(process)):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
                ended = process.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        if ended:
            how = f"exit status {ended}" if ended > 0 else f"signal {-ended}"
            return f"firexlite: the command of --on-end ended with {how}: {command}"
        return None


class _passing_on_signals:
    """A person who has had enough ends the command with the signal that would have ended the run."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def __enter__(self) -> None:
        def pass_on(number: int, frame: object) -> None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

        self._before: list[Any] = [signal.signal(stopping, pass_on) for stopping in STOPPING]

    def __exit__(self, *about: object) -> None:
        for stopping, handler in zip(STOPPING, self._before, strict=True):
            signal.signal(stopping, handler)
