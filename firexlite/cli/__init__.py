"""The command line: one group, whose commands are imported when they are called."""
from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from ..configuration import configure
from ..errors import BadInput, FirexliteError, with_short_words
from ..terminal import harmless
from ..version import __version__

# By section: those that matter every day, and the rest. The name of a command and one line about it.
SECTIONS = {
    "Run": {
        "submit": "Run a chain of services.",
        "resume": "Carry on with a run that was killed, interrupted, or failed.",
        "attach": "Follow a run that goes on in the background.",
        "cancel": "Call off a run, or a task of it.",
    },
    "Look": {
        "runs": "List recent runs.",
        "show": "Show the tasks of a run, or one of them in full.",
        "why": "Say why a run ended as it did: the failing line, what changed.",
        "flame": "Write the report of a run as one HTML file, or as JSON.",
    },
    "More": {
        "debug": "Run one task of a run again, here, under a debugger if asked.",
        "diff": "Compare two runs, task by task.",
        "logs": "Print the output of a run's tasks.",
        "events": "Print what happened in a run, or send it to a sink.",
        "wait": "Wait until a run has ended, and exit with its code.",
        "send": "Send an event to a run that waits for it, or will.",
        "import": "Make a run that someone sent yours, to be shown and resumed.",
        "prune": "Remove old runs.",
        "list": "List the services.",
        "info": "Show what a service takes and returns.",
        "doctor": "Examine a run: journal, files, locks, settings.",
        "completion": "Print a script that has a shell complete commands.",
    },
}
COMMANDS = {name: line for section in SECTIONS.values() for name, line in section.items()}

COMPLETE_VARIABLE = "_FIREXLITE_COMPLETE"  # in which a shell asks, as `completion` has it do
IMPORT_SERVICES = ("submit", "resume", "debug", "list", "info")


class Commands(click.Group):
    """Knows its commands by name and one line each; the module of a command is imported when that is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a command here

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = "import_" if name == "import" else name  # `import` is a word of Python
        return getattr(import_module(f"firexlite.cli.{module}"), f"{name}_command")

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from ..errors import nearest
            raise click.UsageError(f"there is no command '{args[0]}'.{nearest(args[0], COMMANDS)} "
                                   "`firexlite --help` lists them.")
        if args and args[0] in IMPORT_SERVICES:
            _refuse_a_lost_folder()
        return super().resolve_command(context, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="firexlite", message="%(prog)s %(version)s")
def cli() -> None:
    """Run workflows of Python services that survive anything, and look at them afterwards.

    \b
    firexlite submit --plugins guests.py --chain greet_guests --guests Li,Mohamed
    firexlite resume FireX-li-261123-101500-4711
    firexlite flame  last > out.html

    A run is named by its FireX ID, by how that begins or ends, by its key, or as `last`.
    """


def run(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: what firexlite has to say becomes one sentence on stderr, and its exit code."""
    _open_standard_streams()
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        from .completion import answer_shell
        return answer_shell(instruction)
    os.umask(os.umask(0o077) & ~0o700)  # one that takes rights from the owner would lock us out of what we make
    try:
        code = cli.main(args=None if argv is None else [*argv], standalone_mode=False, default_map=configure())
    except FirexliteError as error:
        fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_a_lost_folder() -> None:
    """Whoever imports services has plugins and relative paths looked for from the working directory."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise BadInput("the working directory is not there any more; change to one that is") from error


def fail(sentence: str, code: int) -> None:
    """Say one sentence on stderr and exit."""
    click.echo(harmless(f"firexlite: {with_short_words(' '.join(sentence.split()))}"), err=True)
    sys.exit(code)


def _open_standard_streams() -> None:
    """Lead a closed stdin, stdout or stderr (`>&-`) nowhere: else the next file to be opened would take its number."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
    # What a terminal or a pipe cannot show is written as \\u escapes.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
