"""What commands print, on stdout and stderr."""
from __future__ import annotations

import os
import sys

import click

from ..errors import StorageFailure
from ..terminal import harmless, visible

LINE_WIDTH = 160


def say(text: str, err: bool = False, commands: bool = False) -> None:
    """Print for whoever still reads: a closed pipe, a full disk or a terminal that is gone does not hurt the run.

    All that firexlite says goes through here, or through `cli.fail`: no data of others can command the terminal, nor, unless
    it is said that these are `commands`, the CI system.
    """
    try:
        click.echo(visible(text) if commands else harmless(text), err=err)
    except OSError:
        _forget(2 if err else 1)


def answer(text: str) -> None:
    """Print what a command was asked for, on a line of its own. Raises StorageFailure if that cannot be written."""
    write_out(visible(text) + "\n")


def write_out(text: str) -> bool:
    """Write to stdout as it is; False if nobody reads any more: whoever closes a pipe has read enough.

    Raises StorageFailure if it fails.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget(1)
        return False
    except OSError as error:
        _forget(1)  # or it would be tried once more at the end
        raise StorageFailure(f"the output could not be written: {error.strerror}") from error
    return True


def _forget(fd: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), fd)


def cut(line: str) -> str:
    """A line of someone else's text, short, and without colours."""
    line = visible(click.unstyle(line))
    return line if len(line) <= LINE_WIDTH else line[:LINE_WIDTH - 3] + "..."


def text_of(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def shown_path(path: str) -> str:
    try:
        relative = os.path.relpath(path)
    except FileNotFoundError:  # the working directory was removed
        return path
    return path if relative.startswith("..") else relative
