"""Loading the files that hold services: what the user named, and nothing else."""
from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .application import app, file_digest
from .errors import BadInput


@dataclass(frozen=True)
class Plugin:
    """A loaded service file. path: relative to the working directory where it lies below that."""

    path: str
    digest: str


def load(names: Sequence[str], announce: Callable[[str], None] = lambda path: None) -> list[Plugin]:
    """Import service files in order; services of a later one override those of the same short name before it.

    announce: told the path of each file before its import, which may hang or crash.
    Raises BadInput for a file that is missing, does not parse or fails to import.
    """
    from . import builtin  # noqa: F401  (its import registers the built-in services)

    files = [_existing(name) for name in names]
    plugins = []
    for file in files:
        announce(_shown(file))
        _load_file(file)
        plugins.append(Plugin(_shown(file), file_digest(str(file))))
    return plugins


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise BadInput(f"plugin '{name}' {what}; --plugins takes Python files, looked for from {os.getcwd()}")
    return path.resolve()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _load_file(path: Path) -> None:
    module_name = path.stem
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return
        raise BadInput(f"plugin '{_shown(path)}' has the name of a module that is in use already, "
                       f"'{module_name}' ({getattr(loaded, '__file__', None) or 'built in'}); rename the file")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: what lies beside a plugin must not hide an installed module
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    app.loading(module_name)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise BadInput(f"plugin '{_shown(path)}' does not parse: {Path(error.filename or path).name}, "
                       f"line {error.lineno}: {error.msg}") from error
    except BaseException as error:  # a stranger's code: anything may come out of it
        raise BadInput(f"plugin '{_shown(path)}' failed to import{_own_line(error, path)}: "
                       f"{type(error).__name__}: {error}") from error
    finally:
        app.loading(None)


def _own_line(error: BaseException, path: Path) -> str:
    """Where in the plugin itself it went wrong, and the line that stands there."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" at line {own[-1].lineno} (`{own[-1].line}`)" if own else ""
