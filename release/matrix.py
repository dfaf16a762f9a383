"""The command `./dev matrix`: the core of the tests on each Python that is supported and is here, and a table of it."""
from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .pythons import PROJECT, Python, missing, supported
from .pythons import python as python_of

# What firexlite lives by: from the command line to a killed run that is carried on, and its report.
CORE = ("test_binding", "test_children", "test_cli", "test_codec", "test_codec_errors", "test_commands", "test_completing",
        "test_converters", "test_crash", "test_flame", "test_front", "test_journal", "test_plugins", "test_processes",
        "test_resume", "test_retries", "test_services", "test_time_limits", "test_waiting", "upgrade")
PLACE = PROJECT / ".venv" / "pythons"
INSTALL_LIMIT_S, TESTS_LIMIT_S = 600, 3600


def main() -> None:
    """Run tests under Pythons, and exit with 1 if anything fails. Of the words, `3.12` asks for one Python instead of all,
    and others, which pytest gets, for tests instead of the core."""
    versions = [word for word in sys.argv[1:] if word in supported()] or supported()
    chosen = [word for word in sys.argv[1:] if word not in supported()] or [*map(str, core())]
    rows = []
    for version in versions:
        python = python_of(version)
        rows.append((version, *tried(python, chosen)) if python else (version, "-", "-", f"skipped: {missing(version)}"))
    print(f"\n{'Python':8}{'release':10}{'SQLite':10}result")
    for row in rows:
        print("{:8}{:10}{:10}{}".format(*row))
    sys.exit(any(result.startswith("FAILED") for *_, result in rows))


def core() -> list[Path]:
    """The files and folders of the core that there are."""
    tests = PROJECT / "tests"
    return [place for name in CORE for place in (tests / f"{name}.py", tests / name) if place.exists()]


def tried(python: Python, chosen: list[str]) -> tuple[str, str, str]:
    """``(release, SQLite's release, result in words)`` of tests under a Python."""
    print(f"--- Python {python.release}", flush=True)
    own = environment(python, "test")
    if own is None:
        return python.release, "-", "FAILED: firexlite could not be installed"
    sqlite = subprocess.run([own, "-c", "import sqlite3; print(sqlite3.sqlite_version)"], capture_output=True, text=True,
                            timeout=INSTALL_LIMIT_S).stdout.strip()
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told.xml"
        try:
            code = subprocess.run([own, "-m", "pytest", "-q", f"--junitxml={told}", *chosen], cwd=PROJECT,
                                  stdin=subprocess.DEVNULL, timeout=TESTS_LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            return python.release, sqlite, f"FAILED: not at an end after {TESTS_LIMIT_S} s"
        return python.release, sqlite, f"{'ok' if code == 0 else 'FAILED'}: {_counted(told)}"


def _counted(told: Path) -> str:
    if not told.exists():
        return "pytest did not run"
    suite = ElementTree.parse(told).getroot()[0]
    wrong = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped, total = int(suite.get("skipped", 0)), int(suite.get("tests", 0))
    return f"{total - wrong - skipped} passed, {wrong} failed, {skipped} skipped in {float(suite.get('time', 0)):.0f} s"


def environment(python: Python, extra: str = "") -> Path | None:
    """The interpreter of an environment with firexlite in it, in editable mode; None if it could not be installed.

    It is made once. extra: what setup.py calls what is to be installed besides.
    """
    folder = PLACE / f"{python.version}{'-' * bool(extra)}{extra}"
    own, mark = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join([python.path, python.release, str(PROJECT),
                        *((PROJECT / name).read_text(encoding="utf-8") for name in ("setup.py", "pyproject.toml"))])
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        what = f"{PROJECT}[{extra}]" if extra else str(PROJECT)
        for words in ([python.path, "-m", "venv", folder],
                      [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", what]):
            done = subprocess.run([*map(str, words)], stdin=subprocess.DEVNULL, timeout=INSTALL_LIMIT_S, stdout=sys.stderr)
            if done.returncode:
                return None
        mark.write_text(wanted, encoding="utf-8")
    return own


if __name__ == "__main__":
    main()
