"""Progress in several lines, where `rich` is installed (the extra `[rich]`): a bar, and what runs."""
from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..following import Progress
from ..terminal import visible

BAR_COLUMNS = 30


class _Visible(Console):
    """A console that leaves the cursor alone: whoever is killed could not give it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class RichView:
    """Draws, and draws over what it has drawn."""

    def __init__(self) -> None:
        self._console = _Visible(stderr=True, highlight=False)
        self._live: Live | None = None
        self._drawn: object = None

    def show(self, line: str, progress: Progress, running: Sequence[tuple[str, str]]) -> None:
        """line: how far the run is. running: ``(service, how long)``."""
        if (drawn := (line, progress, tuple(running))) == self._drawn:
            return
        self._drawn = drawn
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(max(progress.known, 1), progress.ended, BAR_COLUMNS,
                          complete_style="red" if progress.failed else "green")
        head.add_row(bar, Text(line))
        body = Table.grid(padding=(0, 2))
        for name, elapsed in running:
            body.add_row(Text("  " + visible(name), style="cyan"), Text(elapsed, justify="right"))
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False,
                              redirect_stderr=False)
            self._live.start()
        self._live.update(Group(head, body), refresh=True)

    def clear(self) -> None:
        """Take back what is drawn."""
        if self._live is not None:
            self._live.stop()
            self._live = self._drawn = None
