"""Writes docs/reference.md from the commands, as click knows them, and the docstrings of public names: `./dev reference`."""
from __future__ import annotations

import enum
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

import firexlite
from firexlite import builtin
from firexlite.application import App, Service
from firexlite.cli import COMMANDS, SECTIONS, cli
from firexlite.uid import Uid

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference.md"
WIDTH = 110  # of signatures

# The public names by subject, in the order of the page. What stands in none of these is told last.
SUBJECTS = {
    "Services": ["app", "Service", "returns", "DYNAMIC_RETURN", "flame", "flame_collapse", "get_task_logger",
                 "PendingChildStrategy", "ValidateArgs"],
    "Signatures and chains": ["Signature", "Chain", "InjectArgs", "flows", "at"],
    "What `self` can do": ["Task"],
    "Promises": ["Promise", "WaitLoopCallBack"],
    "Arguments and values": ["InputConverter", "ConverterRegister", "SingleArgDecorator", "register_codec", "File", "Secret",
                             "Uid", "now", "random", "uuid"],
    "Services that every run has": ["CopyBogKeys", "ScheduleSubChain", "Pause", "sleep", "nop", "getusername"],
    "Runs from Python": ["run", "resume", "Result"],
}
NOT_EXPORTED = {"Uid": Uid, **{name: value for name, value in vars(builtin).items() if isinstance(value, Service)}}
NOT_IN_ALL = ("now", "random", "uuid", "run", "resume", "at")  # a star import does without them
NOT_TOLD = ("App", "__version__")  # `app` is told of
HANDED_OUT = ("Task", "Promise", "Service", "Signature", "Chain", "Uid", "Result")  # objects that nobody makes by hand
CONSTANTS = {"DYNAMIC_RETURN": "Stands in `returns=` in the place of a name, for a dict whose keys are the names of what is "
                               "returned ([several values](guide.md#several-values)).",
             "flows": "As an argument of a signature: it is not given, but flows along the chain. For type checkers, which "
                      "miss it otherwise ([the library](library.md))."}
# What classes have for firexlite itself.
INTERNAL = {"Promise": ("own_state", "interruption", "results", "wait", "forget"), "File": ("plain", "recorded", "ailment"),
            "Uid": ("plain", "recorded"), "Secret": ("plain", "in_argument", "label"),
            "InputConverter": ("start_over", "forget_all", "convert", "converted"),
            "ConverterRegister": ("task_convert", "get_register", "list_converters", "convert", "converted", "get_visit_order"),
            "Service": ("take_the_place_of", "about", "names_for", "validate", "return_names"),
            "Signature": ("with_options", "injected", "signatures"), "Chain": ("with_options", "signatures")}

# Variables that are no settings of a project, and what they say.
VARIABLES = {
    "FIREXLITE_SERVICES": "folders whose files are services, separated by colons "
                          "([services that nobody lists](guide.md#services-that-nobody-lists))",
    "firex_tasks_directory": "one more such folder, by FireX's name",
    "firex_entry_point_distros": "installed packages, separated by commas: services are looked for in these alone",
    "FIREXLITE_LOG_LIMIT": "how much of the output of an attempt is kept, of its beginning and of its end each, `64M` say; 0 "
                           "keeps all ([logs](reliability.md#logs))",
    "FIREXLITE_LEASE": "after how many seconds without a sign of life a run and its workers [on a cluster](cluster.md) take "
                       "each other for lost, 10 unless it is set",
    "FIREXLITE_SINK_WAIT": "how many seconds a run that has ended waits for its sinks, 10 unless it is set "
                           "([telemetry](telemetry.md))",
    "FIREXLITE_KAFKA_CONFIG": "a file with more settings for the Kafka client, `key=value` in each line, by librdkafka's names",
    "FIREXLITE_SUMMARY": "a file to which a summary in Markdown is added when a run ends; without it, that of "
                         "`GITHUB_STEP_SUMMARY`",
    "GITHUB_ACTIONS": "`true`: the lines of code that failed are printed as its page about a change shows them",
    "FIREXLITE_PORTABLE": "`1`: on Linux too the ways of [other systems](reliability.md#other-systems-than-linux) are taken, "
                          "to test them",
    "XDG_STATE_HOME": "runs lie in its folder `firexlite`, if `FIREXLITE_HOME` is not set",
    "NO_COLOR": "if set to anything, there are no colours in a terminal",
}
# Those that firexlite sets, for commands of `--on-end`.
SET_AT_THE_END = {
    "FIREXLITE_ID": "the FireX ID", "FIREXLITE_STATE": "`succeeded`, `failed`, `revoked` or `interrupted`",
    "FIREXLITE_EXIT_CODE": "of the command", "FIREXLITE_KEY": "the key of the run, if it has one",
    "FIREXLITE_CHAIN": "the submitted chain", "FIREXLITE_REPORT": "the file that `--flame` names",
}


def main() -> None:
    PAGE.write_text(page())
    print(f"written: {PAGE.relative_to(ROOT)}")


def page() -> str:
    """The whole page, in Markdown. What has no docstring is told of without a word: a test finds it."""
    _told.clear()
    parts = [*_commands(), *_exit_codes(), *_variables(), *_names()]
    titles = [part.removeprefix("## ") for part in parts if part.startswith("## ")]
    return "\n\n".join([*_beginning(titles), *parts]) + "\n"


def _beginning(titles: list[str]) -> Iterator[str]:
    yield "# Reference"
    yield "<!-- written by `./dev reference` from the code, where its words are to be changed -->"
    yield ("Every command with its options, the exit codes, the environment, and the names of `firexlite` for Python, as the "
           "code has them. How they go together is told by [the guide](guide.md), [every day](every-day.md) and "
           "[concepts](concepts.md).")
    yield "\n".join(f"- [{title}]({_anchor(title)})" for title in titles)


# --- commands ----------------------------------------------------------------------------------------------------------

def _commands() -> Iterator[str]:
    yield "## Commands"
    root = click.Context(cli, info_name="firexlite")
    yield _reflowed((inspect.cleandoc(cli.help or "").split("\n\n"))[-1]) + " Every command takes `--help`."
    yield _table(("command", "what it does"), ((f"[`{name}`]({_anchor('firexlite ' + name)})", line)
                                               for section in SECTIONS.values() for name, line in section.items()))
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=f"firexlite {name}"))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"### {context.info_name}"
    yield f"`{_reflowed(command.get_usage(context).removeprefix('Usage: '))}`"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield "\n".join(f"- `{line.strip()}`" for line in paragraph.splitlines()[1:])
        else:
            yield _reflowed(paragraph)
    rows = [(f"`{names}`", text) for parameter in command.get_params(context) if isinstance(parameter, click.Option)
            and "--help" not in parameter.opts and (record := parameter.get_help_record(context))
            for names, text in [record]]
    if rows:
        yield _table(("option", "what it says"), rows)


# --- exit codes and the environment ---------------------------------------------------------------------------------

def _exit_codes() -> Iterator[str]:
    """They are explained, and held against the code, among the concepts."""
    concepts = (ROOT / "docs" / "concepts.md").read_text()
    yield "## Exit codes"
    yield re.search(r"^\| code \|.*?\n(?=\n|\Z)", concepts, re.MULTILINE | re.DOTALL)[0].rstrip()  # type: ignore[index]


def _variables() -> Iterator[str]:
    configuration = (ROOT / "docs" / "configuration.md").read_text()
    settings = re.findall(r"^\| `[\w-]+` \| `(\w+)` \|.*\| (.*) \|$", configuration, re.MULTILINE)
    yield "## Environment"
    yield ("These may stand in a file of the project, too, as [settings](configuration.md). A variable goes before the file, "
           "and an option on the command line before both.")
    yield _table(("variable", "what it is"), ((f"`{variable}`", text) for variable, text in settings))
    yield "These are read from the environment alone:"
    yield _table(("variable", "what it says"), ((f"`{name}`", text) for name, text in VARIABLES.items()))
    yield "These are set for the command of `--on-end`:"
    yield _table(("variable", "what it is"), ((f"`{name}`", text) for name, text in SET_AT_THE_END.items()))


# --- names for Python ------------------------------------------------------------------------------------------------

def _names() -> Iterator[str]:
    public = {name: getattr(firexlite, name) for name in firexlite.__all__ if name not in NOT_TOLD} | NOT_EXPORTED
    public |= {name: getattr(firexlite, name) for name in NOT_IN_ALL if hasattr(firexlite, name)}
    errors = {name: value for name, value in public.items() if inspect.isclass(value) and issubclass(value, BaseException)}
    told = {name for names in SUBJECTS.values() for name in names}
    rest = [name for name in public if name not in told and name not in errors]
    for title, names in {**SUBJECTS, "More": rest}.items():
        if found := [name for name in names if name in public]:
            yield f"## {title}"
            for name in found:
                yield from _name(name, public[name])
    yield "## Exceptions"
    yield _table(("exception", "is a", "when"), ((f"`{name}`", f"`{_base(error)}`", _in_a_cell(error))
                                                 for name, error in sorted(errors.items())))


def _base(error: type) -> str:
    return next(base.__name__ for base in error.__mro__[1:] if not base.__name__.startswith("_"))


def _name(name: str, value: object) -> Iterator[str]:
    if isinstance(value, App):
        yield from _function("### @app.task", "@app.task", App.task)
    elif isinstance(value, Service):
        yield from _function(f"### {name}", name, value.undecorated)
    elif inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isroutine(value):
        yield from _function(f"### {name}", name, value)
    else:
        yield f"### {name}"
        yield CONSTANTS.get(name) or _text(type(value))


def _class(name: str, value: type) -> Iterator[str]:
    yield f"### {name}"
    if issubclass(value, enum.Enum):
        yield f"{_text(value)} {', '.join(f'`{name}.{member.name}`' for member in value)}"
        return
    if value.__init__ is not object.__init__ and value.__name__ not in HANDED_OUT:
        yield _code(name, value)
    yield _text(value, {*inspect.signature(value).parameters})
    names_of: dict[object, list[str]] = {}  # of each member; what has two names is told of once
    for one in _in_order(value):
        names_of.setdefault(inspect.getattr_static(value, one), []).append(one)
    attributes = [(", ".join(f"`{one}`" for one in names), _in_a_cell(getattr(value, names[0])))
                  for member, names in names_of.items() if isinstance(member, property)]
    if attributes:
        yield _table(("attribute", "what it is"), attributes)
    for member, names in names_of.items():
        function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        if inspect.isfunction(function) and function not in _told:
            _told.add(function)
            yield from _function(f"#### {' and '.join(names)}", names[0], getattr(value, names[0]),
                                 is_method=not isinstance(member, (staticmethod, classmethod)))


_told: set[object] = set()  # the methods that a chain has as a signature has them are told of once


def _in_order(value: type) -> list[str]:
    """The public names of a class in the order of their definition, its own before those of its bases."""
    mine = [base for base in value.__mro__ if base.__module__.startswith("firexlite")]
    return [*dict.fromkeys(name for base in mine for name in vars(base)
                           if not name.startswith("_") and name not in INTERNAL.get(value.__name__, ()))]


def _function(heading: str, name: str, function: object, is_method: bool = False) -> Iterator[str]:
    yield heading
    yield _code(name, function, is_method)
    yield _text(function, {*inspect.signature(function).parameters})  # type: ignore[arg-type]


def _code(name: str, function: object, is_method: bool = False) -> str:
    """The signature as a block of code; of a method without its first parameter."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [*signature.parameters.values()]
    if is_method or [one.name for one in parameters[:1]] == ["self"]:
        parameters = parameters[1:]
    text = f"{name}{signature.replace(parameters=parameters)}"
    text = re.sub(r"(: |-> )'((?:[^'\\]|\\.)*)'", r"\1\2", text)  # annotations are kept as text
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>|<(\w+\.\w+): .*?>", r"\1\2", text).replace("-> W", "-> Signature | Chain")
    whole = re.sub(r"(?<!,) (?!->)", "\0", _kept_whole(text))
    lines = textwrap.wrap(whole, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(["```python", *(line.replace("\0", " ") for line in lines), "```"])


def _kept_whole(signature: str) -> str:
    """A signature in which spaces within brackets are marked, so that no annotation is broken at them."""
    depth, found = 0, []
    for char in signature:
        depth += (char == "[") - (char == "]")
        found.append("\0" if char == " " and depth else char)
    return "".join(found)


# --- words -----------------------------------------------------------------------------------------------------------

def _text(thing: object, parameters: Iterable[str] = ()) -> str:
    """A docstring as Markdown: what explains a parameter becomes a point of a list, what is indented a block of code."""
    names = "|".join(map(re.escape, parameters)) or "(?!)"
    point = re.compile(rf"(?:(?:^|(?<=[.;]))\s+|^)((?:{names})(?:,\s+(?:{names}))*): ", re.MULTILINE)
    found = []
    for paragraph in (inspect.getdoc(thing) or "").replace("``", "`").split("\n\n"):
        paragraph = re.sub(r"^Arguments:\n", "", paragraph)
        if paragraph.startswith("    ") and not point.match(paragraph):
            found.append(f"```python\n{textwrap.dedent(paragraph)}\n```")
            continue
        before, *points = point.split(paragraph)
        found += [_reflowed(part) for part in re.split(r"\n(?=Raises )", before) if part.strip()]
        raises: list[str] = []
        for told_of, words in zip(points[::2], points[1::2], strict=True):
            words, *after = re.split(r"\s(?=Raises [A-Z])", words)
            found.append(f"- {', '.join(f'`{name}`' for name in _reflowed(told_of).split(', '))}: {_reflowed(words)}")
            raises += map(_reflowed, after)
        found += raises
    return re.sub(r"(^- .*\n)\n(?=- )", r"\1", "\n\n".join(found), flags=re.MULTILINE)


def _in_a_cell(thing: object) -> str:
    return _reflowed(_text(thing))


def _reflowed(text: str) -> str:
    return " ".join(text.split())


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _anchor(heading: str) -> str:
    return "#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    main()
