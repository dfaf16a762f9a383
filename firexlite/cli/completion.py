"""`firexlite completion`: has a shell complete what is being typed."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from .. import completing
from ..completing import FILE, FOLDER, Candidate
from ..configuration import configure
from ..errors import BadInput, FirexliteError
from . import COMMANDS, COMPLETE_VARIABLE, cli

# Commands whose first argument is a run, known here so that none need be imported to complete it.
TAKE_A_RUN = ("resume", "attach", "cancel", "show", "why", "flame", "debug", "diff", "logs", "events",
              "wait", "send", "doctor")
PLUGINS = ("--plugins", "--plugin", "--external")


@click.command("completion")
@click.argument("shell", metavar="bash|zsh|fish")
def completion_command(shell: str) -> None:
    """Print a script that has a shell complete commands, options, runs, tasks, services and their arguments.

    Into ~/.bashrc goes `eval "$(firexlite completion bash)"`, into ~/.zshrc the same with zsh. For fish, write the script to
    ~/.config/fish/completions/firexlite.fish.

    \b
    firexlite completion bash
    """
    if shell not in SHELLS:
        raise BadInput(f"completion knows {', '.join([*SHELLS][:-1])} and {[*SHELLS][-1]}, not '{shell}'")
    asker = SHELLS[shell](cli, {}, "firexlite", COMPLETE_VARIABLE)
    click.echo(asker.source_template % asker.source_vars(), nl=False)


def answer_shell(instruction: str) -> None:
    """Tell a shell, which asks as its script has it do, what may be put in. What goes wrong is no candidate."""
    shell = instruction.partition("_")[0]
    if shell in SHELLS:
        click.echo(SHELLS[shell](cli, {}, "firexlite", COMPLETE_VARIABLE).complete())


class _Asker(ShellComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        try:
            found = candidates(args, incomplete)
        except Exception:  # nobody wants a traceback in the middle of a line
            return []
        return [CompletionItem(incomplete if one.kind != "plain" else one.value, type=one.kind, help=one.help or None)
                for one in found]


class _Bash(_Asker, BashComplete):
    pass


class _Zsh(_Asker, ZshComplete):
    pass


class _Fish(_Asker, FishComplete):
    source_template = FishComplete.source_template.replace('split ","', 'split -m 1 ","')  # a chain has commas, too


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def candidates(args: Sequence[str], incomplete: str) -> list[Candidate]:
    """What may stand in the place of a word of which this much was typed, after these words."""
    settings: dict = {}
    with suppress(FirexliteError):
        settings = configure()  # which may also say where the runs are
    words = [*_parted(args)]
    incomplete = "" if incomplete == "=" else incomplete  # for bash it is a word
    if not words:
        if incomplete.startswith("-"):
            return completing.beginning([Candidate("--help"), Candidate("--version")], incomplete)
        return completing.beginning((Candidate(name, phrase) for name, phrase in COMMANDS.items()), incomplete)
    name, *rest = words
    if name in TAKE_A_RUN and not rest and not incomplete.startswith("-"):
        return completing.runs(name, incomplete)
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        return []
    return _Line(command, rest, settings.get(name, {}).get("plugins", [])).candidates(incomplete)


def _parted(args: Sequence[str]) -> Iterator[str]:
    """Words with options and their values apart, as bash has them by itself."""
    for word in args:
        option, equals, value = word.partition("=")
        if word.startswith("-") and equals:
            yield from (option, value)
        elif word != "=":
            yield word


class _Line:
    """The words after a command, the last of which is being typed. plugins: those of the settings."""

    def __init__(self, command: click.Command, words: list[str], plugins: list[str]) -> None:
        self.command, self.words, self._plugins_of_settings = command, words, plugins
        parameters = command.get_params(click.Context(command))
        self.options = {name: one for one in parameters if isinstance(one, click.Option) for name in one.opts}
        self.arguments = [one for one in parameters if isinstance(one, click.Argument)]

    def candidates(self, incomplete: str) -> list[Candidate]:
        if incomplete.startswith("-"):
            option, equals, value = incomplete.partition("=")
            if equals:
                return [Candidate(f"{option}={one.value}", one.help, one.kind) for one in self._values(option, value)]
            return completing.beginning(self._names(incomplete), incomplete)
        if self.words and self.words[-1].startswith("-") and self._takes_value(self.words[-1]):
            return self._values(self.words[-1], incomplete)
        return self._argument(incomplete)

    def _takes_value(self, option: str) -> bool:
        known = self.options.get(option)
        return not known.is_flag if known else self._takes_services

    @property
    def _takes_services(self) -> bool:
        """Whether arguments of services are options here."""
        return "--chain" in self.options

    def _names(self, begun: str) -> Iterator[Candidate]:
        """Of options that are not there yet, and first of arguments of the services."""
        if self._takes_services:
            yield from completing.arguments(self._plugins(), self._chain(), self.words)
        for option in dict.fromkeys(self.options.values()):
            fitting = [name for name in option.opts if name.startswith(begun)]
            if fitting and not option.hidden and (option.multiple or not {*option.opts} & {*self.words}):
                yield Candidate(fitting[0], (option.help or "").partition(". ")[0])

    def _values(self, name: str, begun: str) -> list[Candidate]:
        option = self.options.get(name)
        metavar = (option.metavar or "") if option else ""
        if option is None:
            return [FILE] if self._takes_services else []
        if name in PLUGINS:
            return completing.plugin_files(begun)
        if name == "--chain":
            return completing.chains(self._plugins(), begun)
        if option.type.name == "run":
            return completing.runs(self.command.name or "", begun)
        if name in ("--restart-task", "--mark-done"):
            return completing.restartable(self._positional()[0], begun)
        if "|" in metavar:
            return completing.beginning(map(Candidate, metavar.split("|")), begun)
        return [FILE] if metavar in ("FILE", "PATH") else [FOLDER] if metavar == "DIR" else []

    def _argument(self, begun: str) -> list[Candidate]:
        given = self._positional()
        wanted = self.arguments[len(given)] if len(given) < len(self.arguments) else None
        name = wanted.name if wanted else None
        if wanted and wanted.type.name == "run":
            return completing.runs(self.command.name or "", begun)
        if name == "task":
            if self.command.name == "cancel":
                return completing.cancellable(given[0], begun)
            return completing.tasks(given[0], begun, by_name=True)
        if name == "service":
            return completing.names_of_services(self._plugins(), begun)
        if name == "shell":
            return completing.beginning(map(Candidate, SHELLS), begun)
        return [FILE] if name == "path" else []

    def _positional(self) -> list[str]:
        """The words that are neither options nor values of them."""
        found, words = [], iter(self.words)
        for word in words:
            if not word.startswith("-"):
                found.append(word)
            elif self._takes_value(word):
                for _ in range(self.options[word].nargs if word in self.options else 1):
                    next(words, None)
        return found

    def _values_of(self, names: Sequence[str]) -> list[str]:
        return [value for name, value in zip(self.words, self.words[1:], strict=False) if name in names]

    def _plugins(self) -> list[str]:
        return self._values_of(PLUGINS) or self._plugins_of_settings

    def _chain(self) -> str:
        return "".join(self._values_of(["--chain"])[-1:])
