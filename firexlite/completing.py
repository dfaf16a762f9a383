"""What may stand where the cursor is on a command line that is being typed. No code of a user is run to find out."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from .discovery import directories, python_files
from .home import RunDirectory, all_runs, find_run
from .keys import LAST
from .own_files import read_own_file
from .run_names import run_named
from .states import FAILED, OPEN, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING
from .terminal import visible

MOST_RUNS = 50           # that are looked at, the newest
MOST_TASKS = 1000        # whose numbers are offered
LARGEST_FILE = 1 << 22   # bytes, of what is read while somebody waits for a key
HELP_WIDTH = 70

# The states of the runs that a command is for: these come first.
FITTING = {
    "resume": (RUN_INTERRUPTED, RUN_FAILED, RUN_REVOKED),
    "cancel": (RUN_RUNNING, RUN_INTERRUPTED),
    "send": (RUN_RUNNING, RUN_INTERRUPTED),
}
_NAME = re.compile(r"\w[\w.+-]*\Z")  # any other could be a trick on the shell


@dataclass(frozen=True)
class Candidate:
    """What may be put in. kind: `plain`; `file` or `dir` has the shell look for one itself."""

    value: str
    help: str = ""
    kind: str = "plain"


FILE, FOLDER = Candidate("", kind="file"), Candidate("", kind="dir")


def beginning(candidates: Iterable[Candidate], begun: str) -> list[Candidate]:
    """Those that go on from what was typed."""
    return [one for one in candidates if one.value.startswith(begun)]


# --- runs and their tasks ------------------------------------------------------------------------------------------

def runs(command: str, begun: str) -> list[Candidate]:
    """FireX IDs, the newest first; before all others those in a state that the command is for. And keys, and `last`, where
    something else was begun."""
    is_id = "FireX-".startswith(begun) or begun.startswith("FireX-")
    found = [run for run in all_runs() if not is_id or run.firex_id.startswith(begun)][:MOST_RUNS]
    fitting = FITTING.get(command, ())
    told = [(*_glance(run), run.firex_id) for run in found]
    told.sort(key=lambda one: one[0] not in fitting if fitting else False)  # which keeps the order of time
    about = [(firex_id, key, _in_short(f"{state}: {chain}" if state else "")) for state, chain, key, firex_id in told]
    if is_id:
        return [Candidate(firex_id, help) for firex_id, _, help in about]
    keys = [Candidate(key, help) for _, key, help in about if _NAME.match(key)]
    return beginning([*([Candidate(LAST, "the newest run")] if about else []), *dict.fromkeys(keys)], begun)


def _glance(run: RunDirectory) -> tuple[str, str, str]:
    """State, chain and key of a run, by what it writes for programs; without its journal, which takes longer to open."""
    told: dict = {}
    with suppress(OSError, ValueError, RecursionError):
        told = json.loads(read_own_file(run.run_json, LARGEST_FILE))
    if not isinstance(told, dict):
        told = {}
    chain = told.get("chain")
    names = ",".join(map(str, chain)) if isinstance(chain, list) else ""
    state = told.get("state") if isinstance(told.get("state"), str) else ""
    if run.is_alive():
        state = RUN_RUNNING
    elif state == RUN_RUNNING:
        state = RUN_INTERRUPTED
    return str(state), names, str(told.get("key") or "")


def tasks(run: str, begun: str, by_name: bool = False, first: Sequence[str] = ()) -> list[Candidate]:
    """Numbers of the tasks of a run, with what they call and how they stand. by_name: names of services before them.

    first: the states of the tasks that come before all others.
    """
    from .history import History  # here: to open a journal takes longer than all else

    with History(find_run(run_named(run))) as history:
        short = {name: record.short_name for name, record in history.services.items()}
        told = [(task.num, short.get(task.service, task.service), task.state) for task in history.outlines()]
    told.sort(key=lambda one: one[2] not in first if first else False)
    names = dict.fromkeys(name for _, name, _ in told if _NAME.match(name)) if by_name else ()
    numbers = (Candidate(str(num), _in_short(f"{name}: {state}")) for num, name, state in told[:MOST_TASKS])
    return beginning([*(Candidate(name, "all of this service") for name in names), *numbers], begun)


cancellable = partial(tasks, first=tuple(OPEN))
restartable = partial(tasks, first=(FAILED,))


# --- services ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Outline:
    """A service as its source tells of it. arguments: ``{name: whether it must be given}``."""

    name: str
    arguments: dict[str, bool]
    returns: tuple[str, ...]
    doc: str


def services(plugins: Sequence[str]) -> dict[str, Outline]:
    """By their short names, the services that these plugins define, those that are found without them, and our own.

    They are read, not imported: what a plugin defines by other means than `@app.task` on a function stays unknown.
    """
    sources = [(files("firexlite") / "builtin.py").read_text("utf-8")]
    for path in (*_found(), *_listed(plugins)):
        with suppress(OSError):
            sources.append(read_own_file_through_links(path))
    return {service.name: service for source in sources for service in _outlines(source)}


def read_own_file_through_links(path: str) -> str:
    from pathlib import Path

    return read_own_file(Path(os.path.realpath(path)), LARGEST_FILE).decode("utf-8", "replace")


def _found() -> Iterator[str]:
    for folder in directories():
        yield from _in_folder(os.path.expanduser(folder))


def _listed(plugins: Sequence[str]) -> Iterator[str]:
    for name in (name.strip() for value in plugins for name in value.split(",")):
        path = os.path.expanduser(name)
        if os.path.isdir(path):
            yield from _in_folder(path)
        elif path:
            yield path


def _in_folder(folder: str) -> Iterator[str]:
    return (os.path.join(folder, file) for file in python_files(folder))


def _outlines(source: str) -> Iterator[Outline]:
    """The functions of a source file that `@app.task` makes services."""
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # somebody is just writing it
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            if getattr(call, "attr", getattr(call, "id", None)) != "task":
                continue
            options = {option.arg: _constant(option.value)
                       for option in (decorator.keywords if isinstance(decorator, ast.Call) else ())}
            name = str(options.get("name") or node.name).rpartition(".")[2]
            returns = options.get("returns")
            if isinstance(returns, str):
                returns = [returns]
            yield Outline(name, _arguments(node.args, bool(options.get("bind"))),
                          tuple(map(str, returns)) if isinstance(returns, (list, tuple)) else (),
                          ast.get_docstring(node) or "")


def _constant(node: object) -> Any:
    """What a node says if it is a constant or a list of them; else None."""
    import ast

    try:
        return ast.literal_eval(node)  # type: ignore[arg-type]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _arguments(declared: object, is_bound: bool) -> dict[str, bool]:
    import ast

    assert isinstance(declared, ast.arguments)
    positional = [*declared.posonlyargs, *declared.args]
    required = len(positional) - len(declared.defaults)
    found = {argument.arg: number < required for number, argument in enumerate(positional)}
    if is_bound and positional:
        del found[positional[0].arg]
    return {**found, **{argument.arg: default is None
                        for argument, default in zip(declared.kwonlyargs, declared.kw_defaults, strict=True)}}


def names_of_services(plugins: Sequence[str], begun: str) -> list[Candidate]:
    return beginning((Candidate(one.name, _in_short(one.doc)) for one in _in_order(services(plugins))), begun)


def chains(plugins: Sequence[str], begun: str) -> list[Candidate]:
    """What goes on with a chain: `greet,am` with each service whose name begins with `am`."""
    before, comma, last = begun.rpartition(",")
    return [Candidate(f"{before}{comma}{one.value}", one.help) for one in names_of_services(plugins, last)]


def _in_order(found: dict[str, Outline]) -> list[Outline]:
    """The user's own before ours, which were read first."""
    return [*reversed(found.values())]


def arguments(plugins: Sequence[str], chain: str, given: Iterable[str]) -> list[Candidate]:
    """`--name` of each argument of a chain's services that is neither given nor returned before: what must be given first."""
    known, told = services(plugins), {name.lstrip("-") for name in given}
    found: dict[str, tuple[bool, str]] = {}
    for service in (known[name.strip()] for name in chain.split(",") if name.strip() in known):
        for name, is_required in service.arguments.items():
            if name not in told:
                found.setdefault(name, (not is_required, service.name))
        told.update(service.returns)
    return [Candidate(f"--{name}", f"of {service}{', which can do without' * is_optional}")
            for name, (is_optional, service) in sorted(found.items(), key=lambda one: one[1][0])]


# --- files -----------------------------------------------------------------------------------------------------------

def plugin_files(begun: str) -> list[Candidate]:
    """What goes on with a list of plugins. The shell finds the first; it knows nothing of lists with commas."""
    before, comma, last = begun.rpartition(",")
    if not comma:
        return [FILE]
    folder, slash, name = last.rpartition("/")
    found = []
    with suppress(OSError), os.scandir(os.path.expanduser(folder) if slash else ".") as entries:
        for entry in entries:
            if entry.name.startswith(name) and not entry.name.startswith((".", "__")):
                if entry.is_dir():
                    found.append(f"{entry.name}/")
                elif entry.name.endswith(".py"):
                    found.append(entry.name)
    return [Candidate(f"{before},{folder}{slash}{name}") for name in sorted(found)]


def _in_short(text: str) -> str:
    """The first line, for a terminal."""
    line = visible(text.partition("\n")[0])
    return line if len(line) <= HELP_WIDTH else f"{line[:HELP_WIDTH - 3]}..."
