"""Where services are found that nobody names: directories that the environment names, and packages that are installed.

A package declares them by an entry point, of which only the module counts:

    [firexlite.services]
    bakery = bakery.services
"""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from .errors import BadInput

GROUPS = ("firex.bundles", "firexlite.services")
DIRECTORY_OF_FIREX = "firex_tasks_directory"
DIRECTORIES = "FIREXLITE_SERVICES"               # several are separated as in $PATH
DISTRIBUTIONS = "firex_entry_point_distros"      # if set, only these are looked at; separated by commas


@dataclass(frozen=True)
class Bundle:
    """A module or package that declares to hold services. distribution: what was installed with it."""

    module: str
    distribution: str


def directories() -> list[str]:
    """The directories that the environment names. Raises BadInput for one that is not there."""
    named = [(DIRECTORY_OF_FIREX, os.environ.get(DIRECTORY_OF_FIREX, "")),
             *((DIRECTORIES, folder) for folder in os.environ.get(DIRECTORIES, "").split(os.pathsep))]
    found = []
    for variable, folder in named:
        if folder and not os.path.isdir(os.path.expanduser(folder)):
            raise BadInput(f"{variable} names '{folder}', which is no directory to find services in")
        if folder and folder not in found:
            found.append(folder)
    return found


def python_files(folder: str) -> list[str]:
    """The files below a folder that may hold services, relative to it: all whose names do not begin with `_` or a dot."""
    found = []
    for above, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        found += [os.path.relpath(os.path.join(above, name), folder) for name in sorted(files)
                  if name.endswith(".py") and not name.startswith(("_", "."))]
    return found


def bundles() -> list[Bundle]:
    """What the installed packages declare, each module once."""
    if not _any_package_declares():  # which is so for most people, and is known far faster than by importlib.metadata
        return []
    from importlib.metadata import entry_points

    wanted = {name.strip() for name in os.environ.get(DISTRIBUTIONS, "").split(",")} - {""}
    found: dict[str, Bundle] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            distribution = point.dist.name if point.dist else ""
            if not wanted or distribution in wanted:
                found.setdefault(point.module, Bundle(point.module, distribution))
    return list(found.values())


def _any_package_declares() -> bool:
    groups = tuple(f"[{group}]".encode() for group in GROUPS)
    return any(group in text for text in _declarations() for group in groups)


def _declarations() -> Iterator[bytes]:
    """The files in which the installed packages declare their entry points."""
    for place in dict.fromkeys(sys.path):
        with suppress(OSError), os.scandir(place or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with suppress(OSError), open(os.path.join(entry.path, "entry_points.txt"), "rb") as file:
                        yield file.read()
