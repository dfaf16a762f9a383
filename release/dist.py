"""The command `./dev dist`: writes into dist/ what a release consists of.

A wheel and a source archive, and `firexlite.pyz`, one file that needs a Python and nothing else. All are made of the
files that git knows, as they are now; the same files and the same Pythons give the same bytes.
"""
from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from .pythons import PROJECT, Python, found, missing, supported

HERE = Path(__file__).parent
LIMIT_S = 300
# What pip takes of a package that also comes compiled; watchdog's names a system though it is the same on all.
PLAIN_PYTHON = ("--only-binary=:all:", "--implementation", "py", "--abi", "none", "--platform", "manylinux2014_x86_64")
SHEBANG = b"#!/usr/bin/env python3\n"
# Of what is installed into the single file: what firexlite never imports, or what tells of this machine.
LEFT_OUT = ("bin", "playhouse", "peewee-stubs", "pwiz.py", "watchdog/tricks", "watchdog/watchmedo.py")
OF_THE_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "top_level.txt", "entry_points.txt", "WHEEL")
_COMPILE = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    py_compile.compile(str(path), dfile=str(path.relative_to(root)), doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
_BUILD = """
import sys
from setuptools import build_meta
target = sys.argv[1]  # building puts other words there
build_meta.build_sdist(target)
build_meta.build_wheel(target)
"""


class CannotBuild(Exception):
    """Why there is no release, in a sentence."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev dist", description="Build the files of a release.")
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", metavar="DIR", help="where to  [default: dist]")
    output = parser.parse_args().output
    try:
        pythons = found()
        for path in build(output, [python for python in pythons.values() if python]):
            print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}")
    except CannotBuild as error:
        sys.exit(f"dev: {error}")
    for version in (version for version, python in pythons.items() if python is None):
        print(f"firexlite.pyz is slower on Python {version}, whose code it does not hold compiled: {missing(version)}")


def build(output: Path, pythons: Iterable[Python]) -> list[Path]:
    """Write the wheel, the source archive and the single file into a folder, and return them.

    pythons: those for which the single file holds compiled code. Raises CannotBuild.
    """
    output.mkdir(parents=True, exist_ok=True)
    made_at = _time_of_release()
    with tempfile.TemporaryDirectory() as scratch:
        source, built, inside = (Path(scratch) / name for name in ("source", "built", "inside"))
        _copy_what_git_knows(source)
        wheel, archive = _built(source, built, Path(scratch) / "tools", made_at)
        _fill(inside, wheel)
        _compile(inside, pythons)
        _write_zip(output / "firexlite.pyz", inside, made_at, SHEBANG)
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(unpacked)
        _write_zip(output / wheel.name, unpacked, made_at)
        _write_tar(output / archive.name, archive, made_at)
    return [output / wheel.name, output / archive.name, output / "firexlite.pyz"]


# --- the wheel and the source archive ------------------------------------------------------------------------------

def _time_of_release() -> int:
    """Seconds since 1970: the time that all files are said to be of, which is that of the commit."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct"))


def _copy_what_git_knows(target: Path) -> None:
    for name in _git("ls-files", "-z").split("\0"):
        if name and (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, target / name)


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=LIMIT_S).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild("a release is built in a clone, where git says which files belong to it") from error


def _built(source: Path, target: Path, tools: Path, made_at: int) -> tuple[Path, Path]:
    """The wheel and the source archive, by the setuptools that release/build.txt names."""
    _install("-r", HERE / "build.txt", into=tools)
    target.mkdir()
    _run([sys.executable, "-c", _BUILD, target], "the wheel could not be built", cwd=source,
         env={**os.environ, "PYTHONPATH": str(tools), "SOURCE_DATE_EPOCH": str(made_at)})
    [wheel], [archive] = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, archive


# --- the single file -------------------------------------------------------------------------------------------------

def _fill(inside: Path, wheel: Path) -> None:
    """Lay out what the single file holds."""
    _install("-r", HERE / "pyz.txt", wheel, *PLAIN_PYTHON, "--python-version", supported()[0], into=inside)
    for name in LEFT_OUT:
        place = inside / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    for path in inside.glob("*.dist-info/*"):  # what is left says which release it is, and its licence
        if path.name in OF_THE_INSTALLATION:
            path.unlink()
    if binaries := [*inside.rglob("*.so")]:
        raise CannotBuild(f"{binaries[0].name} would have to be loaded from a zip file, which nothing can; take another "
                          "release in release/pyz.txt")
    shutil.copy(HERE / "pyz_main.py", inside / "__main__.py")


def _compile(inside: Path, pythons: Iterable[Python]) -> None:
    for python in pythons:
        _run([python.path, "-B", "-s", "-c", _COMPILE, inside], f"Python {python.release} could not compile all",
             env={**os.environ, "PYTHONHASHSEED": "0"})


# --- the same bytes each time ----------------------------------------------------------------------------------------

def _write_zip(target: Path, folder: Path, made_at: int, beginning: bytes = b"") -> None:
    """Pack the files of a folder in the order of their names. beginning: of a file that can be executed."""
    with open(target, "wb") as file:
        file.write(beginning)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(name, time.gmtime(made_at)[:6])
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                packed.writestr(entry, (folder / name).read_bytes(), zipfile.ZIP_DEFLATED, 9)
    if beginning:
        target.chmod(0o755)


def _write_tar(target: Path, archive: Path, made_at: int) -> None:
    """Pack an archive once more, without what is of this machine and this moment."""
    packed = io.BytesIO()
    with tarfile.open(archive) as before, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as after:
        for member in sorted((one for one in before if one.isfile()), key=lambda one: one.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = made_at, 0, 0, "", ""
            member.mode, member.pax_headers = 0o755 if member.mode & 0o100 else 0o644, {}
            after.addfile(member, before.extractfile(member))
    target.write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))


def _install(*what: object, into: Path) -> None:
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile",
          "--target", into, *what], "what a release is built of could not be installed")


def _run(words: list, failure: str, **settings: object) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S,
                          **settings)
    if done.returncode:
        raise CannotBuild(f"{failure}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
