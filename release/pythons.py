"""The Pythons of this machine that firexlite says it runs on, by `python -m release.pythons`."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
VARIABLE = "FIREXLITE_PYTHONS"  # interpreters, separated as in $PATH: they are looked at first
_ABOUT = ("import sys; print(getattr(sys, '_base_executable', '') or sys.executable, "
          "'.'.join(map(str, sys.version_info[:3])), sep='\\n')")
_LIMIT_S = 30


@dataclass(frozen=True)
class Python:
    """An interpreter. version: `3.12`. release: `3.12.1`."""

    version: str
    release: str
    path: str


def supported() -> list[str]:
    """The versions that setup.py names, from the oldest on: `["3.10", ..]`."""
    source = (PROJECT / "setup.py").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', source)


def found() -> dict[str, Python | None]:
    """``{version: interpreter}`` of all that are supported; None for those that are not to be had here."""
    return {version: python(version) for version in supported()}


def python(version: str) -> Python | None:
    """An interpreter of a version: one that `FIREXLITE_PYTHONS` names, or `python3.12` of $PATH, or one that pyenv has."""
    asked = (_about(path) for path in _candidates(version))
    return next((one for one in asked if one is not None and one.version == version), None)


def missing(version: str) -> str:
    """Why there is nothing to be said of a version here."""
    return f"there is no Python {version} here: neither python{version} in PATH, nor in {VARIABLE}, nor with pyenv"


def _candidates(version: str) -> Iterator[str]:
    yield from filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    for folder in os.environ.get("PATH", "").split(os.pathsep):  # each: pyenv's own may be one that only says no
        if path := shutil.which(f"python{version}", path=folder):
            yield path
    if shutil.which("pyenv"):
        releases = [line for line in _said(["pyenv", "versions", "--bare"]).split() if line.startswith(f"{version}.")]
        for release in reversed(releases):
            yield os.path.join(_said(["pyenv", "prefix", release]).strip(), "bin", "python")


def _about(path: str) -> Python | None:
    told = _said([path, "-I", "-c", _ABOUT]).splitlines()
    return Python(".".join(told[1].split(".")[:2]), told[1], told[0]) if len(told) == 2 else None


def _said(words: list[str]) -> str:
    """What a command prints; nothing if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


if __name__ == "__main__":
    for version, one in found().items():
        print(f"{version:5} {one.release if one else missing(version)}")
