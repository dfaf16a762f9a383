"""Settings from a file of the project: `firexlite.toml`, or `[tool.firexlite]` in `pyproject.toml`. The environment goes before
it, and what is said on the command line before both."""
from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .errors import BadInput, nearest

IMPORT_TIMEOUT_S = 10.0  # how long the import of a plugin may take
FULL_WAIT_S = 60.0       # how long a full disk is waited for
FULL_WAIT_BELOW_S = 1e9  # more than thirty years
PICKLE = "FIREXLITE_PICKLE"  # the variable by which what JSON cannot hold is stored pickled

NAMES = ("firexlite.toml", "pyproject.toml")
_TABLE = b"tool.firexlite"


class _Kind(NamedTuple):
    """takes: in words. fits: a value that is one. read: from a variable of the environment."""

    takes: str
    fits: Callable[[Any], bool]
    read: Callable[[str], Any] = str


def _number(text: str) -> float | str:
    with suppress(ValueError):
        return int(text) if text.strip().isdigit() else float(text)
    return text


_TEXT = _Kind("a string", lambda value: isinstance(value, str) and bool(value))
_TEXTS = _Kind("a list of strings", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
               lambda text: [part.strip() for part in text.split(",") if part.strip()])
_NUMBER = _Kind("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool), _number)
_SWITCH = _Kind("true or false", lambda value: isinstance(value, bool),
                lambda text: {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text))
_LIMITS = _Kind("a table of numbers, as in queues = { gpu = 1 }",
                lambda value: isinstance(value, dict) and all(type(one) is int for one in value.values()),
                lambda text: {name: _number(limit) for name, _, limit in (part.partition("=") for part in text.split(","))})

# Options of `submit`, and what it is called there; `plugins` is one of other commands too.
_OPTIONS = {"plugins": _TEXTS, "workers": _NUMBER, "queues": _LIMITS, "redact": _TEXTS, "full_wait": _NUMBER,
            "soft_time_limit": _NUMBER, "import_timeout": _NUMBER, "flame": _TEXT, "json_file": _TEXT, "on_end": _TEXT,
            "quiet": _SWITCH, "pickle": _SWITCH, "executor": _TEXT, "insecure": _SWITCH}
# Those that are variables of the environment, for whatever process of a run.
_VARIABLES = {"home": "FIREXLITE_HOME", "local": "FIREXLITE_LOCAL", "durability": "FIREXLITE_DURABILITY",
              "batches": "FIREXLITE_BATCHES"}
_PATHS = ("home", "local")  # looked for from the file, as `plugins` are
_OF_COMMANDS = {"submit": tuple(_OPTIONS), "resume": ("quiet",), "attach": ("quiet",), "list": ("plugins", "import_timeout"),
                "info": ("plugins", "import_timeout")}


def configure() -> dict[str, dict[str, Any]]:
    """Put settings into the environment that belong there, and return the defaults of options: ``{command: {option: value}}``.

    Raises BadInput for a file, or a variable, that says what no setting is.
    """
    found = _of_file()
    for name, variable in _VARIABLES.items():
        if name in found and not os.environ.get(variable):
            os.environ[variable] = found[name]
    for name, kind in _OPTIONS.items():
        variable = f"FIREXLITE_{name.upper()}"
        if (text := os.environ.get(variable)) and variable != PICKLE:  # that is read where pickling is decided
            found[name] = kind.read(text)
            if not kind.fits(found[name]):
                raise BadInput(f"{variable} takes {kind.takes}, not '{text}'")
    if "queues" in found:
        found["queues"] = [f"{name}={limit}" for name, limit in found["queues"].items()]
    return {command: {name: found[name] for name in names if name in found} for command, names in _OF_COMMANDS.items()}


def _of_file() -> dict[str, Any]:
    """The settings for the working directory, paths absolute."""
    for path in _candidates():
        with suppress(OSError):
            data = path.read_bytes()
            if path.name == NAMES[0] or _TABLE in data:
                settings = _table(path, data)
                if settings is not None:
                    return _checked(path, settings)
    return {}


def _candidates() -> list[Path]:
    """The files that may hold settings, the nearest first: up to the root of a repository, or of the user's home.

    What another user can write is none, since plugins are code: only this user's, root's, or what belongs to whoever owns the
    working directory.
    """
    try:
        here = Path.cwd()
        trusted = {os.geteuid(), 0, os.stat(here).st_uid}
    except OSError:
        return []
    found = []
    for folder in (here, *here.parents):
        for name in NAMES:
            with suppress(OSError):
                about = os.stat(folder / name)
                if stat.S_ISREG(about.st_mode) and about.st_uid in trusted and not about.st_mode & stat.S_IWOTH:
                    found.append(folder / name)
        if os.path.lexists(folder / ".git") or folder == Path(os.path.expanduser("~")):
            break
    return found


def _table(path: Path, data: bytes) -> dict[str, Any] | None:
    if sys.version_info >= (3, 11):  # here: few projects have settings
        import tomllib
    else:
        import tomli as tomllib
    try:
        read = tomllib.loads(data.decode())
    except ValueError as error:
        raise BadInput(f"{path} cannot be read as TOML: {error}") from error
    return read if path.name == NAMES[0] else read.get("tool", {}).get("firexlite")


def _checked(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise BadInput(f"{path}: [tool.firexlite] is no table")
    found: dict[str, Any] = {}
    for given, value in settings.items():
        name = given.replace("-", "_")
        kind = _OPTIONS.get(name, _TEXT if name in _VARIABLES else None)
        if kind is None:
            raise BadInput(f"{path}: there is no setting '{given}'.{nearest(name, [*_OPTIONS, *_VARIABLES])}")
        if name == "plugins" and isinstance(value, str):
            value = kind.read(value)
        if not kind.fits(value):
            raise BadInput(f"{path}: {given} takes {kind.takes}, not {value!r}")
        if name in _PATHS:
            value = str(path.parent / os.path.expanduser(value))
        elif name == "plugins":
            value = [str(path.parent / one) for one in value]
        found[name] = value
    return found
