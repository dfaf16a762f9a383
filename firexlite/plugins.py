"""Loading the files that hold services: those that the user lists, and those that are found (see `discovery`)."""
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
from types import CodeType, ModuleType

from . import discovery, fakes
from .application import app, file_digest
from .codec_errors import is_the_users_own
from .errors import BadInput
from .loggers import install_levels


@dataclass(frozen=True)
class Plugin:
    """A loaded source file. path: relative to the working directory where it lies below that; `folder/./sub/file.py` for one
    that is the module `sub.file`. is_found: nobody listed it; it lies where services are looked for."""

    path: str
    digest: str
    is_found: bool = False


@dataclass(frozen=True)
class _Source:
    """A file to be loaded. root: the folder from which its module is named. path: where it really lies."""

    shown: str
    module: str
    root: Path
    path: Path


_helpers: set[str] = set()  # files of modules that plugins have imported
names_at_home: dict[str, str] = {}  # of files that came from another host: how they are called there


def load(names: Sequence[str], announce: Callable[[str], None] = lambda path: None,
         found: Sequence[str] | None = None) -> list[Plugin]:
    """Import what services are found, and then those that were listed; services of a later listed file override those of
    the same short name before it.

    names: files, or folders of files. announce: told the path of each file before its import, which may hang or crash.
    found: files that were found for the run before; None: look for them in the directories that the environment names.
    Raises BadInput for a file that is missing, does not parse or fails to import.
    """
    from . import builtin  # noqa: F401  (its import registers the built-in services)

    install_levels()
    listed = _sources(names, "--plugins takes Python files and folders of them")
    others = _sources(discovery.directories() if found is None else found, "services are looked for in Python files")
    others = [source for source in others if source.path not in {one.path for one in listed}]
    before = {*sys.modules}
    for bundle in discovery.bundles():
        announce(bundle.module)
        _load_bundle(bundle)
    for source in (*others, *listed):
        announce(source.shown)
        _load_file(source, is_plugin=source in listed)
    app.let_override(source.module for source in listed)
    imported = {str(getattr(module, "__file__", None)) for name, module in list(sys.modules.items()) if name not in before}
    imported -= {str(source.path) for source in (*others, *listed)}
    _helpers.update(file for file in imported if file.endswith(".py") and is_the_users_own(file))
    app.depends_on([helper.digest for helper in helpers()])
    fakes.put_on(app)
    return [Plugin(source.shown, file_digest(str(source.path)), source in others) for source in (*others, *listed)]


def helpers() -> list[Plugin]:
    """The user's own modules that the imports of plugins have loaded: they are part of what a service does."""
    return [Plugin(_shown(Path(file)), file_digest(file)) for file in sorted(_helpers)]


def helper_files() -> list[str]:
    """Where these modules lie."""
    return sorted(_helpers)


# --- which files --------------------------------------------------------------------------------------------------

def _sources(names: Sequence[str], taken: str) -> list[_Source]:
    """The files that are meant, each once. taken: what may be named, for an error."""
    found: dict[Path, _Source] = {}
    for name in names:
        folder = os.path.expanduser(name)
        inner = discovery.python_files(folder) if os.path.isdir(folder) else []
        if os.path.isdir(folder) and not inner:
            raise BadInput(f"plugin '{name}' is a folder without services: none of the files below it is a Python file whose "
                           "name begins otherwise than with _")
        for source in [_source(os.path.join(folder, ".", file), taken) for file in inner] or [_source(name, taken)]:
            found.setdefault(source.path, source)
    return list(found.values())


def _source(name: str, taken: str) -> _Source:
    path = _existing(name, taken)
    above, mark, inner = os.path.expanduser(name).rpartition("/./")
    parts = Path(inner).with_suffix("").parts if mark else ()
    if len(parts) < 2:
        return _Source(_shown(path), path.stem, path.parent, path)
    root = Path(above).resolve()
    return _Source(f"{_shown(root)}/./{inner}", ".".join(parts), root, path)


def _existing(name: str, taken: str) -> Path:
    path = Path(os.path.expanduser(name))
    if not os.path.isfile(path):
        raise BadInput(f"plugin '{name}' is not there; {taken}, looked for from {os.getcwd()}")
    if path.suffix != ".py":
        raise BadInput(f"plugin '{name}' is no Python file; its name must end in .py")
    found = path.resolve()
    _refuse_unsafe(name, path, found)
    return found


def _refuse_unsafe(name: str, path: Path, found: Path) -> None:
    for place in (*_folders_of_links(path), found, *found.parents):
        _refuse_writable_by_all(name, place)


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
        return self.source_to_code(self.get_data(self.path), names_at_home.get(self.path, self.path))


def _load_file(source: _Source, is_plugin: bool) -> None:
    name, path = source.module, source.path
    loaded = sys.modules.get(name)
    if getattr(loaded, "__file__", None) == str(path):
        return
    _refuse_taken(name, source.shown)
    if str(source.root) not in sys.path:
        sys.path.append(str(source.root))  # at the end: what lies beside a plugin must not hide an installed module
    spec = importlib.util.spec_from_file_location(name, path, loader=_FreshSource(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    app.loading(is_plugin)
    try:
        package = _package_above(source)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        if package is not None:
            setattr(package, name.rpartition(".")[2], module)
    except SyntaxError as error:
        raise BadInput(f"plugin '{source.shown}' does not parse: {Path(error.filename or path).name}, "
                       f"line {error.lineno}: {error.msg}") from error
    except (KeyboardInterrupt, BadInput):
        raise
    except BaseException as error:  # a stranger's code: anything may come out of it
        raise BadInput(f"plugin '{source.shown}' failed to import{_own_line(error, path)}: {_in_words(error)}") from error
    finally:
        app.loading(None)


def _package_above(source: _Source) -> ModuleType | None:
    """The package of a module that lies in a folder of its root, which need not have an `__init__.py`."""
    name = source.module.rpartition(".")[0]
    if not name:
        return None
    package = importlib.import_module(name)
    folder = source.root.joinpath(*name.split("."))
    if not any(os.path.realpath(place) == os.path.realpath(folder) for place in getattr(package, "__path__", ())):
        raise BadInput(f"plugin '{source.shown}' lies in a folder with the name of another module, '{name}'; rename the folder")
    return package


def _load_bundle(bundle: discovery.Bundle) -> None:
    """Import what an installed package declares: a module, or all of a package. What fails is left out, and told of: most
    runs have no need of it."""
    for name in _modules_of(bundle):
        app.loading(False)
        try:
            spec = importlib.util.find_spec(name)  # which may import what is above it
            if spec is not None and spec.origin is not None:
                _refuse_unsafe(name, Path(spec.origin), Path(spec.origin).resolve())
            importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            print(f"firexlite: the services of {name}, which the package {bundle.distribution} declares, are left out: "
                  f"{_in_words(error)}", file=sys.stderr, flush=True)
        finally:
            app.loading(None)


def _modules_of(bundle: discovery.Bundle) -> Iterator[str]:
    """The names of the modules to be imported, the package's own first: after it, its folders are known."""
    yield bundle.module
    package = sys.modules.get(bundle.module)
    for folder in getattr(package, "__path__", ()):
        for file in discovery.python_files(folder):
            yield ".".join((bundle.module, *Path(file).with_suffix("").parts))


def _in_words(error: BaseException) -> str:
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def _refuse_taken(name: str, shown: str) -> None:
    """Refuse a file that would stand in for another module: whoever imports that would get this one."""
    if name in sys.stdlib_module_names:
        owner = "Python's own"
    elif loaded := sys.modules.get(name):
        owner = getattr(loaded, "__file__", None) or "built in"
    else:
        return
    raise BadInput(f"plugin '{shown}' has the name of another module, '{name}' ({owner}); rename the file")


def _own_line(error: BaseException, path: Path) -> str:
    """Where in the plugin itself it went wrong, and the line that stands there."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" at line {own[-1].lineno} (`{own[-1].line}`)" if own else ""
