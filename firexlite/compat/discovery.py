"""`firexapp.discovery`: versions of packages, and the modules below a folder."""
from __future__ import annotations

import os
from typing import NamedTuple

from ..version import __version__


class PkgVersionInfo(NamedTuple):
    """A package, and its version or the commit it was made from."""

    pkg: str | None = None
    version: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        return f"{self.pkg}: {self.version or self.commit}"


def get_all_pkg_versions() -> list[PkgVersionInfo]:
    """The packages that take part in a run: here firexlite alone."""
    return [PkgVersionInfo("firexlite", __version__)]


def get_all_pkg_versions_str() -> str:
    return "FireX Package Versions:\n" + "".join(f"\t - {info}\n" for info in get_all_pkg_versions())


def discover_package_modules(current_path: str, root_path: str | None = None) -> list[str]:
    """Dotted names of the Python files at or below a path, but for those whose names begin with `_`.

    root_path: the folder that the names are counted from; else the one above ``current_path``.
    """
    root = os.path.dirname(current_path) if root_path is None else root_path
    if os.path.isfile(current_path):
        stem, extension = os.path.splitext(current_path)
        if extension.lower() != ".py" or os.path.basename(stem).startswith("_"):
            return []
        return [os.path.relpath(stem, root).replace(os.sep, ".")]
    if not os.path.isdir(current_path) or os.path.basename(current_path).startswith((".", "__pycache__")):
        return []
    return [name for child in os.listdir(current_path)
            for name in discover_package_modules(os.path.join(current_path, child), root)]
