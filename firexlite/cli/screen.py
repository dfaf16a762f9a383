"""What a person sees while a run goes on, and when it has ended."""
from __future__ import annotations

import contextlib
import linecache
import os
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from ..errors import FirexliteError, RunWaits
from ..following import Follower, Progress, Screen
from ..history import History, RootCause
from ..home import RunDirectory
from ..stopped import arguments_of, cut_off_lines, stopped_lines, ways_to_decide
from ..terminal import visible
from .printing import LINE_WIDTH, cut, say, shown_path, text_of

if TYPE_CHECKING:
    from .rich_view import RichView

OUTPUT_LINES = 5       # of a failed task, in the report of a failure
CAUSES = 2             # root causes told in full; all of the report stays within 25 lines
ERROR_LINES = 5        # of what an exception says
LONGEST_SOURCE = 8 * 1024 * 1024  # bytes of a file whose line is quoted
LOOK_S = 1.0           # between two looks into the journal, of a run that takes longer than that ...
LOOK_SHARE = 50        # ... and so many times as long as a look takes
SILENCE_S = 60.0       # the longest, in a pipe: some CI systems end a job that prints nothing

_ENDINGS = {"failed": "The run failed", "revoked": "The run was revoked", "interrupted": "The run was interrupted"}
_TOLD_AS = {"succeeded": "succeeded", "failed": "failed", "skipped": "skipped", "revoked": "revoked",
            "running": "unfinished", "blocked": "unfinished", "ready": "unfinished", "waiting": "unfinished"}


class Console(Screen):
    """The screen of a front with a person, or a pipe, before it."""

    def __init__(self, quiet: bool = False) -> None:
        """quiet: say nothing but what the run is called, and how it ended."""
        self.directory: RunDirectory | None = None
        self._is_quiet = quiet
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = ""
        self._age_s = 0.0  # of the run, when we came
        self._began = self._spoke = time.monotonic()
        self._follower, self._look_at = Follower(), self._began + LOOK_S
        self._running: list[tuple[str, float]] = []  # names of services, and when they began, by the monotonic clock
        self._rich: RichView | None = None  # of a run that takes longer than `LOOK_S`, where rich is installed

    def started(self, directory: RunDirectory) -> None:
        self.directory = directory
        say(f"FireX ID: {directory.firex_id}")

    def resumed(self, done: int | None, again: int, reopened: int, changed: list[str], decided: list[str]) -> None:
        if self._is_quiet:
            return
        if done is None:
            say("Nothing is left to do: the run had succeeded.", err=True)
            return
        parts = [f"{_tasks(done)} done", *decided]
        if again:
            parts.append(f"{_tasks(again)} in flight, to run again from the top")
        if reopened:
            parts.append(f"{_tasks(reopened)} reopened")
        if changed:
            parts.append(f"changed since: {', '.join(changed)}")
        say(f"Resuming: {'; '.join(parts)}.", err=True)

    def attached(self, age_s: float) -> None:
        """It goes on in other processes, whatever becomes of this one. age_s: since it began."""
        self._age_s = max(0.0, age_s)
        if not self._is_quiet:
            say("It goes on in other processes: Ctrl-C leaves it alone, Ctrl-C twice cancels it.", err=True)

    def progress(self, progress: Progress) -> None:
        if self._is_quiet:
            return
        failures = f", {progress.failed} failed" if progress.failed else ""
        counts = f"{progress.ended} of {_tasks(progress.known)} ended{failures}"
        minutes, seconds = divmod(int(self._age_s + time.monotonic() - self._began), 60)
        if self._is_live:
            self._look()
            line = f"{counts}, {minutes}:{seconds:02}"
            running = [(name, _elapsed(time.monotonic() - began)) for name, began in self._running]
            if self._rich is not None:
                self._rich.show(line, progress, running)
                return
            line += "".join(f"  {visible(name)} {elapsed}" for name, elapsed in running)
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be drawn over
            self._renew(line if len(line) <= width else line[:width - 3] + "...")
        elif self._may_speak(counts):
            say(f"{counts}, {minutes}:{seconds:02}", err=True)

    def _look(self) -> None:
        """Now and then in a terminal: what runs, and a line for each failure as it comes."""
        now = time.monotonic()
        if self.directory is None or now < self._look_at:
            return
        with contextlib.suppress(FirexliteError), History(self.directory) as history:  # it may be on its way home
            sight = self._follower.look(history)
            self._running = [(name, now - seconds) for name, seconds in sight.running]
            for task, name, what in sight.failed:
                self.clear()
                say(cut(f"FAILED: {name} (task {task}): {' '.join(what.split())}"), err=True)
            if sight.more:
                say(f"... and {sight.more} more that failed", err=True)
        if self._rich is None:
            with contextlib.suppress(ImportError):
                from .rich_view import RichView  # here: it takes longer to import than a short run takes to run

                self.clear()
                self._rich = RichView()
        self._look_at = time.monotonic() + max(LOOK_S, LOOK_SHARE * (time.monotonic() - now))

    def _renew(self, line: str) -> None:
        if line != self._shown:
            self._draw(f"\r\x1b[K{line}")
            self._shown = line

    def _may_speak(self, counts: str) -> bool:
        """In a pipe, where lines add up: when something has changed, the later in the run the more seldom."""
        now = time.monotonic()
        due_s = SILENCE_S if counts == self._shown else min(SILENCE_S, max(1.0, (now - self._began) / 10))
        if now - self._spoke < due_s:
            return False
        self._shown, self._spoke = counts, now
        return True

    def stopping(self, signal_number: int) -> None:
        from ..runner import GRACE_S  # here, where it is loaded already: who follows a run from outside does without

        self.clear()
        if self.directory is None:
            say("Stopping.", err=True)
        else:
            say(f"Stopping: running services have {GRACE_S:g} seconds to end; once more stops them at once.", err=True)

    def sending(self, sinks: list[str]) -> None:
        if not self._is_quiet:
            self.clear()
            say(f"The run has ended; its last events are being sent to {' and '.join(sinks)}. Ctrl-C ends that.", err=True)

    def clear(self) -> None:
        if self._rich is not None:
            self._rich.clear()
        if self._is_live and self._shown:
            self._draw("\r\x1b[K")
            self._shown = ""

    @staticmethod
    def _draw(text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            sys.stderr.write(text)
            sys.stderr.flush()


def report(directory: RunDirectory, code: int) -> None:
    """Print how a run ended: returned values on stdout; what went wrong, and the way on, on stderr."""
    with History(directory) as history:
        if code == 0:
            _report_success(history)
        else:
            say("\n".join(_failure_lines(history, waits=code == RunWaits.exit_code)), err=True)


def _report_success(history: History) -> None:
    say("All tasks succeeded")
    values = history.named_values()
    if values:
        # No `tabulate` for two columns: it takes longer to import than a short run takes to run.
        width = max(map(len, values))
        rows = [f"{name:<{width}}  {_indented(text_of(value), width + 2).strip()}" for name, value in sorted(values.items())]
        say("\nReturned values:\n" + _indented("\n".join(rows)))


def _failure_lines(history: History, waits: bool = False) -> list[str]:
    run = history.run()
    lines: list[str] = []
    causes = history.root_causes()
    for cause in causes[:CAUSES]:
        lines += _cause_lines(history, cause)
    if len(causes) > CAUSES:
        lines.append(f"... and {len(causes) - CAUSES} more")
    stopped = history.stopped_tasks()
    for task in stopped[:CAUSES]:
        lines += stopped_lines(history, task, cut)
    cut_off = history.cut_off_tasks()
    for task in cut_off[:CAUSES]:
        lines += cut_off_lines(history, task)
    ending = "The run waits" if waits else _ENDINGS.get(run.state, f"The run is {run.state}")
    reason = next((task.reason for task in history.submitted_tasks() if task.reason), None) if run.state == "revoked" else None
    lines.append(f"{ending}{f' ({reason})' if reason else ''}. {_told(history.counts())}.")
    if waits:
        lines += _wait_lines(history)
    submitted = [(task.state, history.services[task.service].short_name) for task in history.submitted_tasks()]
    done = [name for state, name in submitted if state == "succeeded"]
    left = [name for state, name in submitted if state not in ("succeeded", "failed")]
    for title, names in (("Done", done), ("Still to run", left)):
        if names:
            lines.append(cut(f"{title}: {', '.join(names)}"))
    if stopped or cut_off or any(cause.task.unsure for cause in causes):
        return [*lines, "It goes on when you have decided: the commands above may be given as one, with all their options."]
    firex_id = history.directory.firex_id
    return [*lines, f"Look at it with: firexlite flame {firex_id} > out.html", f"Resume it with: firexlite resume {firex_id}"]


def _wait_lines(history: History) -> list[str]:
    """What it waits for, the nearest first, and how an event is sent."""
    found = history.waits()
    lines = []
    for wait in found[:CAUSES]:
        known = history.services.get(wait.service)
        name = f"{known.short_name if known else wait.service} (task {wait.task})"
        at = None if wait.due is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wait.due))
        if wait.event is not None:
            until = f", until {at}" if at else ""
            lines.append(cut(f"WAITS: {name} for the event '{wait.event}'{until}"))
            lines.append(f"  It is sent with: firexlite send {history.directory.firex_id} {shlex.quote(wait.event)} [JSON]")
        else:
            lines.append(cut(f"WAITS: {name} {'to be tried again at' if wait.is_retry else 'until'} {at}"))
    return lines + ([f"... and {len(found) - CAUSES} more that wait"] if len(found) > CAUSES else [])


def _told(counts: dict[str, int]) -> str:
    """`4 tasks: 1 succeeded, 1 failed, 2 skipped`"""
    told = dict.fromkeys(_TOLD_AS.values(), 0)
    for state, number in counts.items():
        told[_TOLD_AS[state]] += number
    return f"{_tasks(sum(counts.values()))}: " + ", ".join(f"{n} {state}" for state, n in told.items() if n)


def _cause_lines(history: History, cause: RootCause) -> list[str]:
    error, where = cause.error, cause.error["where"]
    what = ": ".join(filter(None, (error["name"], error["text"].strip())))
    lines = _wrapped(f"FAILED: {cause.short_name} (task {cause.task.num}): {what}")
    if where:
        lines.append(f"  at {shown_path(where['file'])}:{where['line']} in {where['function']}")
        if source := _source_line(where["file"], where["line"]):
            lines.append(cut(f"      {source}"))
    if cause.arguments:
        lines.append(cut(f"  arguments: {arguments_of(cause.arguments)}"))
    if cause.task.unsure:
        lines += ways_to_decide(history, cause.task)
    output = [line for line in cause.log.splitlines() if line.strip()][-OUTPUT_LINES:]
    if output:
        lines += ["  its last output:", *(cut(f"    | {line}") for line in output)]
    if cause.through:
        names = {num: history.services[task.service].short_name for num in cause.through if (task := history.task(num))}
        calls = " <- ".join(f"{names[num]} (task {num})" for num in reversed(cause.through))
        lines.append(cut(f"  called by: {calls}"))
    return lines


def _source_line(file: str, line: int) -> str:
    """The line of code, if that is still there; what a journal of others names may be any file, or none that ends."""
    with contextlib.suppress(OSError, ValueError):
        if file.endswith(".py") and os.path.isfile(file) and os.path.getsize(file) < LONGEST_SOURCE:
            return linecache.getline(file, line).strip()
    return ""


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number} tasks"


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.split("\n"))


def _wrapped(text: str) -> list[str]:
    """Someone else's text in up to `ERROR_LINES` lines, all but the first indented."""
    import textwrap  # here: few runs fail

    lines = [part for line in click.unstyle(text).splitlines()
             for part in textwrap.wrap(visible(line), LINE_WIDTH - 4, replace_whitespace=False, drop_whitespace=False) or [""]]
    shown = [lines[0], *(f"    {line}" for line in lines[1:ERROR_LINES])]
    if len(lines) > ERROR_LINES:
        shown[-1] = f"{shown[-1][:LINE_WIDTH - 4]} ..."
    return [line.rstrip() for line in shown]
