"""Loading the files that hold services: what the user named, and nothing else."""
from __future__ import annotations

import importlib.util
import os
import shlex
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from .application import app, file_digest
from .codec_errors import is_the_users_own
from .errors import BadInput
from .loggers import install_levels


@dataclass(frozen=True)
class Plugin:
    """A loaded source file. path: relative to the working directory where it lies below that."""

    path: str
    digest: str


_helpers: set[str] = set()  # files of modules that plugins have imported


def load(names: Sequence[str], announce: Callable[[str], None] = lambda path: None) -> list[Plugin]:
    """Import service files in order; services of a later one override those of the same short name before it.

    announce: told the path of each file before its import, which may hang or crash.
    Raises BadInput for a file that is missing, does not parse or fails to import.
    """
    from . import builtin  # noqa: F401  (its import registers the built-in services)

    install_levels()
    files = [_existing(name) for name in names]
    before = {*sys.modules}
    plugins = []
    for file in files:
        announce(_shown(file))
        _load_file(file)
        plugins.append(Plugin(_shown(file), file_digest(str(file))))
    imported = {str(getattr(module, "__file__", None)) for name, module in list(sys.modules.items()) if name not in before}
    imported -= {str(file) for file in files}
    _helpers.update(file for file in imported if file.endswith(".py") and is_the_users_own(file))
    app.depends_on([helper.digest for helper in helpers()])
    return plugins


def helpers() -> list[Plugin]:
    """The user's own modules that the imports of plugins have loaded: they are part of what a service does."""
    return [Plugin(_shown(Path(file)), file_digest(file)) for file in sorted(_helpers)]


def _existing(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "is not there"
        raise BadInput(f"plugin '{name}' {what}; --plugins takes Python files, looked for from {os.getcwd()}")
    if path.suffix != ".py":
        raise BadInput(f"plugin '{name}' is no Python file; its name must end in .py")
    found = path.resolve()
    for place in (*_folders_of_links(path), found, *found.parents):
        _refuse_writable_by_all(name, place)
    return found


def _folders_of_links(path: Path) -> Iterator[Path]:
    """The folders in which the links lie that lead to a file: who may write to one may turn its link elsewhere."""
    at, left = Path("/"), [*path.absolute().parts[1:]]
    while left:  # the file is there, so the links come to an end
        step = at / left.pop(0)
        if step.name == "..":
            at = at.parent
        elif step.is_symlink():
            yield at
            target = Path(os.readlink(step))
            at, left = (Path("/") if target.is_absolute() else at), [part for part in target.parts if part != "/"] + left
        else:
            at = step


def _refuse_writable_by_all(name: str, place: Path) -> None:
    """Refuse what any user of the machine could have written; a group may, and the file may be of any user.

    In a sticky folder, as /tmp is, nobody but its owner can put another file in the place of this one.
    """
    mode = place.stat().st_mode
    if mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        raise BadInput(f"plugin '{name}' is not loaded, since any user may write to {place}; if you trust what is there: "
                       f"chmod o-w {shlex.quote(str(place))}")


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class _FreshSource(SourceFileLoader):
    """Compiles the file as it is now. Python's cache takes a file of the same size and second for the same file."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _load_file(path: Path) -> None:
    name = path.stem
    loaded = sys.modules.get(name)
    if getattr(loaded, "__file__", None) == str(path):
        return
    _refuse_taken(name, path)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # at the end: what lies beside a plugin must not hide an installed module
    spec = importlib.util.spec_from_file_location(name, path, loader=_FreshSource(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    app.loading(name)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise BadInput(f"plugin '{_shown(path)}' does not parse: {Path(error.filename or path).name}, "
                       f"line {error.lineno}: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's code: anything may come out of it
        raise BadInput(f"plugin '{_shown(path)}' failed to import{_own_line(error, path)}: "
                       f"{': '.join(filter(None, (type(error).__name__, str(error))))}") from error
    finally:
        app.loading(None)


def _refuse_taken(name: str, path: Path) -> None:
    """Refuse a file that would stand in for another module: whoever imports that would get this one."""
    if name in sys.stdlib_module_names:
        owner = "Python's own"
    elif loaded := sys.modules.get(name):
        owner = getattr(loaded, "__file__", None) or "built in"
    else:
        return
    raise BadInput(f"plugin '{_shown(path)}' has the name of another module, '{name}' ({owner}); rename the file")


def _own_line(error: BaseException, path: Path) -> str:
    """Where in the plugin itself it went wrong, and the line that stands there."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" at line {own[-1].lineno} (`{own[-1].line}`)" if own else ""
