"""Colours, where a terminal is before us that wants them: text of others is made visible first, so none of it is obeyed."""
from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from ..terminal import visible

OF_STATE = {"succeeded": "green", "failed": "red", "running": "cyan", "blocked": "blue", "ready": "yellow", "waiting": "yellow",
            "skipped": "bright_black", "revoked": "magenta", "interrupted": "yellow"}


def wants_colours(stream: TextIO) -> bool:
    """Whether it is a terminal, and nobody said no: see no-color.org."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


class Paint:
    """Makes text fit for stdout."""

    def __init__(self) -> None:
        self._is_on = wants_colours(sys.stdout)

    def __call__(self, text: object, colour: str | None = None, bold: bool = False, dim: bool = False) -> str:
        """One line of text, in a colour where there are any."""
        shown = visible(str(text)).replace("\n", " ")
        return click.style(shown, fg=colour, bold=bold or None, dim=dim or None) if self._is_on else shown

    def state(self, state: str, width: int = 0) -> str:
        return self(state.ljust(width), OF_STATE.get(state), bold=state == "failed")


def branches(is_last: tuple[bool, ...], stream: TextIO) -> str:
    """The lines of a tree before a name: `│  ├─ `, or in ASCII where a stream holds nothing else."""
    if not is_last:
        return ""
    try:
        "│├└".encode(stream.encoding or "ascii")
        bar, fork, corner = "│  ", "├─ ", "└─ "
    except (UnicodeError, LookupError):
        bar, fork, corner = "|  ", "|- ", "`- "
    return "".join("   " if last else bar for last in is_last[:-1]) + (corner if is_last[-1] else fork)
