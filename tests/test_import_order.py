"""Imports point one way: a module of firexlite imports only what stands before it."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "firexlite"

# Bottom up. A folder counts as one module; whoever adds a module gives it its place here.
ORDER = [
    "version", "patterns", "errors", "configuration", "secrets", "terminal", "processes", "host", "packets", "holders",
    "faults", "states", "own_files", "lodging", "home", "keys", "run_names", "uid", "recorded", "signatures", "files",
    "codec_errors", "last_words", "codec_standard", "pickled", "codec", "soundness", "results", "converters", "binding",
    "schema", "claims", "group_commit", "journal_file", "journal", "waiting", "once", "deadlocks", "limits", "takeover",
    "replay", "loggers", "trimming", "runlog", "logs", "measure", "portable", "bogs", "history", "task_names", "suppliers",
    "tree", "stopped", "standing", "last_good", "comparing", "missing", "board", "guard", "following", "batch",
    "interrupts", "commands", "retries", "task_options", "promises", "gathering", "children", "showing", "services", "typed",
    "application", "builtin", "discovery", "fakes", "plugins", "submission", "outlook", "validation", "flow", "attempt",
    "incarnation", "worker", "executors", "ending", "runner", "launch", "in_process", "debuggers", "debugging",
    "secret_names", "named_secrets", "secret_shapes", "flame_markup", "redaction", "flame_why", "flame_graph",
    "flame_cuts", "flame_words", "flame_columns", "flame_failures", "flame_summary", "flame_about", "flame_page",
    "flame_trace", "flame_junit", "flame_firex", "flame_recording", "flame_dump", "flame_export", "story", "ci",
    "last_acts", "outbox", "blaze", "sinks", "front",
    "watcher", "flame_server", "pruning", "doctor", "importing", "outside", "outcome", "completing", "cli",
    "compat", "library_front", "library", "rehearsal", "pytest_plugin", "__init__", "__main__",
]

# Those that know the database.
SPEAK_PEEWEE = {"schema", "journal_file", "history"}
# The skin itself, and what programs begin with, which puts it on. Everything else is core.
MAY_IMPORT_COMPAT = {"compat", "__main__", "library_front"}


def modules_on_disk() -> list[str]:
    folders = [path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))]
    return sorted([path.stem for path in PACKAGE.glob("*.py")] + folders)


def files_of(module: str) -> list[Path]:
    folder = PACKAGE / module
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def names_imported_by(module: str) -> set[tuple[str, str]]:
    """Return ``{(place, dotted name)}``, where place is ``file:line``, over all files of ``module``."""
    found = set()
    for path in files_of(module):
        package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
        for line, name in imports_in(path.read_text(encoding="utf-8"), package):
            found.add((f"{path.relative_to(PACKAGE.parent)}:{line}", name))
    return found


def imports_in(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of each import in ``source``, a file of ``package``.

    ``from a import b`` is ``a.b``: only the reader can tell whether b is a module. Imports for
    the type checker alone do not count; ``import_module("...")`` with a literal does.
    """
    for node in nodes_that_run(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    yield node.lineno, alias.name
            case ast.ImportFrom(module=origin, names=aliases, level=level):
                base = resolve_name("." * level + (origin or ""), package) if level else origin
                for alias in aliases:
                    yield node.lineno, f"{base}.{alias.name}"
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, resolve_name(name, package)


def nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree below ``node`` except for what stands under ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=otherwise):
                for alternative in otherwise:
                    yield alternative
                    yield from nodes_that_run(alternative)
            case _:
                yield child
                yield from nodes_that_run(child)


def module_of_ours(name: str) -> str | None:
    """Return the module of firexlite that the dotted name reaches, None if it is a stranger's.

    A name that is no module, as in ``from firexlite import InjectArgs``, comes from ``__init__``.
    """
    top, _, rest = name.partition(".")
    if top != "firexlite":
        return None
    module = rest.partition(".")[0]
    return module if module in ORDER or module in modules_on_disk() else "__init__"


@pytest.mark.parametrize("module", modules_on_disk())
def test_every_module_has_its_place_in_the_order(module):
    assert module in ORDER, f"give firexlite.{module} its place in ORDER, above all that it imports"


@pytest.mark.parametrize("module", [module for module in modules_on_disk() if module in ORDER])
def test_a_module_imports_only_what_stands_before_it(module):
    allowed = {module, *ORDER[: ORDER.index(module)]}

    wrong = [f"{place} imports {name}" for place, name in sorted(names_imported_by(module))
             if (module_of_ours(name) or module) not in allowed]

    assert wrong == []


def test_only_journal_and_history_speak_peewee():
    wrong = [f"{place} imports {name}" for module in modules_on_disk() if module not in SPEAK_PEEWEE
             for place, name in sorted(names_imported_by(module)) if name.partition(".")[0] in ("peewee", "playhouse")]

    assert wrong == []


def test_the_core_imports_nothing_from_the_firex_skin():
    wrong = [f"{place} imports {name}" for module in modules_on_disk() if module not in MAY_IMPORT_COMPAT
             for place, name in sorted(names_imported_by(module)) if module_of_ours(name) == "compat"]

    assert wrong == []


@pytest.mark.parametrize("source, expected", [
    ("import firexlite.journal as j", ["firexlite.journal"]),
    ("from firexlite.journal import Journal, Claim", ["firexlite.journal.Journal", "firexlite.journal.Claim"]),
    ("from firexlite import journal", ["firexlite.journal"]),
    ("from . import submit", ["firexlite.cli.submit"]),
    ("from ..journal import Journal", ["firexlite.journal.Journal"]),
    ("def late():\n    import peewee", ["peewee"]),
    ("importlib.import_module('firexlite.runner')", ["firexlite.runner"]),
    ("import_module('..runner', __package__)", ["firexlite.runner"]),
    ("if TYPE_CHECKING:\n    import peewee\nelse:\n    import sqlite3", ["sqlite3"]),
    ("if typing.TYPE_CHECKING:\n    import peewee", []),
])
def test_the_reader_of_imports_finds_what_python_would_import(source, expected):
    assert [name for _, name in imports_in(source, package="firexlite.cli")] == expected


@pytest.mark.parametrize("name, module", [
    ("firexlite.journal.Journal", "journal"),
    ("firexlite.cli.submit", "cli"),
    ("firexlite.InjectArgs", "__init__"),
    ("firexlite", "__init__"),
    ("peewee.Model", None),
])
def test_a_dotted_name_belongs_to_a_module_of_ours_or_to_a_stranger(name, module):
    assert module_of_ours(name) == module
