"""What `firexlite flame` does while a run goes on: a file that is rewritten, or a page that follows."""
from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import BadInput, FirexliteError
from ..flame_export import Settings, write_report
from ..flame_server import LiveReport, ReportServer
from ..history import History
from ..home import find_run
from ..watcher import Watcher
from .printing import answer, say

QUIT = 130
_ENDINGS = {"succeeded": "has succeeded", "failed": "has failed", "revoked": "was revoked", "interrupted": "was interrupted"}


def watch(firex_id: str, output: str, settings: Settings) -> int:
    """Rewrite the report of a run, whole at every moment, until the run has ended; returns the exit code."""
    if output == "-":
        raise BadInput("--watch rewrites a file as the run goes on, so it needs the name of one: -o FILE")
    path = Path(output)
    if path.exists() and not path.is_file():
        raise BadInput(f"--watch rewrites a file as the run goes on, and '{output}' is none")
    try:
        with _ended_by_signals(), closing(Watcher(firex_id).moments()) as moments:
            for number, (directory, has_ended) in enumerate(moments):
                try:
                    write_report(directory, path, settings)
                except FirexliteError:  # the disk is full, say: the next time will do, unless there is none
                    if not number or has_ended:
                        raise
    except KeyboardInterrupt:
        return QUIT
    say(f"{_how_it_ended(firex_id)}; its report is in {output}", err=True)
    return 0


def serve(firex_id: str, port: int, settings: Settings) -> int:
    """Show the report of a run in the browser until a person ends it; returns the exit code."""
    with _ended_by_signals():
        report = LiveReport(firex_id, settings)
        try:
            report.start()
            with _server(report, port) as server:
                answer(server.url)
                say("It shows the run as it goes on, to this user of this machine only; Ctrl-C ends it.", err=True)
                report.wait_for_last()
                say(f"{_how_it_ended(firex_id)}; its report stays at this address until Ctrl-C.", err=True)
                threading.Event().wait()
        except KeyboardInterrupt:
            return 0 if report.has_ended else QUIT
        finally:
            report.stop()
    return 0


def _server(report: LiveReport, port: int) -> ReportServer:
    try:
        return ReportServer(report, port)
    except OSError as error:
        raise BadInput(f"--port {port} cannot be had: {error.strerror}; without --port any that is free is taken") from error


def _how_it_ended(firex_id: str) -> str:
    with History(find_run(firex_id)) as history:
        state = history.run().state
    return f"{firex_id} {_ENDINGS.get(state, f'is {state}')}"


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM end us as Ctrl-C does, from within, so that no half-written file stays behind."""
    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
