"""The users' code on its way to other hosts: the plugins, and the modules of their own that these import, in one archive.

There the files have other places, and their code the names that they have at home: so a traceback says where on the
submitting host the line stands, and shows it.
"""
from __future__ import annotations

import io
import os
import sys
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import plugins as loading
from ..plugins import Plugin

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in it
_LIBRARY = "library"            # the folder of modules that lie beside no plugin


class Shipment(NamedTuple):
    """archive: its bytes. name: which no other run has. code: what `as_at_home` needs to load it."""

    archive: bytes
    name: str
    code: dict[str, Any]


def pack(files: Sequence[Plugin]) -> Shipment:
    """The plugins as they were loaded, and what they have imported of the user's own."""
    roots: dict[str, str] = {}  # folders from which modules are named, and their folders in the archive
    names: dict[str, str] = {}  # of files, by their places in the archive
    plugins = []
    for plugin in files:
        above, mark, _ = plugin.path.rpartition("/./")
        path = Path(plugin.path.replace("/./", "/")).resolve()
        root = str(Path(above).resolve()) if mark else str(path.parent)
        folder = roots.setdefault(root, str(len(roots)))
        inside = os.path.relpath(path, root)
        names[f"{folder}/{inside}"] = str(path)
        plugins.append([f"{folder}/./{inside}" if mark else f"{folder}/{inside}", plugin.is_found])
    for file in loading.helper_files():
        for place in sorted((place for place in {*roots, *sys.path} if place and _is_below(file, place)), key=len)[-1:]:
            inside = f"{roots.get(place, _LIBRARY)}/{os.path.relpath(file, place)}"
            names[inside] = file
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, name in sorted(names.items()):
            archive.writestr(zipfile.ZipInfo(inside, _EPOCH), Path(name).read_bytes(), zipfile.ZIP_DEFLATED)
    data = buffer.getvalue()
    return Shipment(data, f"firexlite-{uuid.uuid4().hex}.code", {"plugins": plugins, "names": names})


def _is_below(file: str, folder: str) -> bool:
    return os.path.abspath(file).startswith(os.path.join(os.path.abspath(folder), ""))


def unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)


def as_at_home(folder: Path, code: dict[str, Any]) -> tuple[list[str], Callable[[str], None], list[str]]:
    """What `plugins.load` is given to load what was listed and what was found; their code has the names that its files have at
    home."""
    sys.path.append(str(folder / _LIBRARY))
    loading.names_at_home.update({str((folder / inside).resolve()): name for inside, name in code["names"].items()})
    paths = [(str(folder / path) if "/./" not in path else f"{folder}/{path}", is_found) for path, is_found in code["plugins"]]
    return ([path for path, is_found in paths if not is_found], lambda path: None,
            [path for path, is_found in paths if is_found])
