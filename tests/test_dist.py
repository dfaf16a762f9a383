"""What `./dev dist` builds: the same bytes each time, and a firexlite that works where nothing else is installed."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIXTURES, ROOT, Command
from killed_bakery import CHAIN, killed_and_carried_on

from firexlite.version import __version__
from release import pythons
from release.dist import build

NAMES = [f"firexlite-{__version__}-py3-none-any.whl", f"firexlite-{__version__}.tar.gz", "firexlite.pyz"]
FAILING = """
import time
from firexlite import app


@app.task
def ask_wrongly():
    import click
    raise click.BadParameter("nobody asked")


@app.task(time_limit=0.5)
def never_end():
    while True:
        time.sleep(0.01)


@app.task
def call_click():
    import click
    click.command()("not a function")
"""
pytestmark = pytest.mark.timeout(400)  # a build installs what it needs
# The oldest each time, those between it and the one that runs the tests in `./dev large`.
on_every_python = pytest.mark.parametrize(
    "bare_python", [python if not n else pytest.param(python, marks=pytest.mark.long)
                    for n, python in enumerate(pythons.supported())], indirect=True)


def base_python() -> str:
    return getattr(sys, "_base_executable", "") or sys.executable


def run(*words: object, **settings: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=100, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(folder, filter(None, pythons.found().values()))
    return folder


@pytest.fixture(scope="module")
def bare_python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has its standard library and nothing else: of the version that the test asks for, else this one."""
    version = getattr(request, "param", None)
    python = pythons.python(version) if version else None
    if version and python is None:
        pytest.skip(pythons.missing(version))
    folder = tmp_path_factory.mktemp("bare")
    run(python.path if python else base_python(), "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


@pytest.fixture
def pyz(dist: Path, bare_python: Path, tmp_path: Path) -> Iterator[Command]:
    """The single file, lying in the working directory, under the bare Python."""
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(dist / "firexlite.pyz", folder)
    command = Command(tmp_path / "alone-home", folder, bare_python, "-I", "firexlite.pyz")
    yield command
    command.close()


def test_a_release_is_a_wheel_a_source_archive_and_a_single_file(dist: Path) -> None:
    assert sorted(path.name for path in dist.iterdir()) == sorted(NAMES)


@pytest.mark.long
def test_the_same_files_give_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    build(tmp_path, filter(None, pythons.found().values()))

    assert {name: (tmp_path / name).read_bytes() == (dist / name).read_bytes() for name in NAMES} == dict.fromkeys(NAMES, True)


def test_the_wheel_holds_what_git_knows_of_the_package(dist: Path) -> None:
    known = run("git", "ls-files", "firexlite", cwd=ROOT).split()

    with zipfile.ZipFile(dist / NAMES[0]) as wheel:
        held = [name for name in wheel.namelist() if not name.startswith(f"firexlite-{__version__}.dist-info/")]
    assert sorted(held) == sorted(known)


def test_the_source_archive_holds_what_its_tests_need(dist: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(dist / NAMES[1], tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()

    for name in run("git", "ls-files", "tests", "fixtures", "docs", "release", "dev", cwd=ROOT).splitlines():
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes(), name


@on_every_python
def test_a_python_that_has_nothing_submits_resumes_and_draws(pyz: Command, firexlite: Command, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="No module named 'pip'"):
        run(pyz.program[0], "-I", "-c", "import pip")

    firex_id = killed_and_carried_on(pyz, tmp_path)

    drawn = [json.loads(command("flame", firex_id, "--json", "--now", 1e9, FIREXLITE_HOME=str(pyz.home)).out)
             for command in (pyz, firexlite)]
    assert drawn[0] == drawn[1]
    page = pyz("flame", firex_id).out
    assert all(name in page for name in (CHAIN, "</html>"))
    assert len(page) > 100_000  # with all of its scripts


@pytest.mark.parametrize("bare_python", [pythons.supported()[0], pythons.supported()[-1]], indirect=True)
def test_a_run_that_one_python_began_goes_on_under_another(pyz: Command, tmp_path: Path) -> None:
    installed = Command(pyz.home, pyz.folder)

    try:
        killed_and_carried_on(pyz, tmp_path, by=installed)
    finally:
        installed.close()


def test_what_goes_wrong_is_told_of_the_users_line_not_of_what_lies_in_the_file(pyz: Command) -> None:
    (pyz.folder / "failing.py").write_text(FAILING)

    where = {}
    for chain in ("ask_wrongly", "never_end", "call_click"):
        ended = pyz("submit", "--plugins", "failing.py", "--chain", chain)
        assert ended.code == 1, ended.err
        [task] = pyz.flame(ended.firex_id)["tasks"]
        where[chain] = re.sub(r":\d+ in ", " in ", task["error_context"])

    assert where == {chain: f"{pyz.folder}/failing.py in {chain}" for chain in where}


def test_a_report_follows_its_run_from_the_single_file(pyz: Command, tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "guests.py", pyz.folder)
    done = pyz("submit", "--plugins", "guests.py", "--chain", "greet_guests", "--guests", "Li,Mohamed")

    watched = pyz("flame", done.firex_id, "--watch", "-o", tmp_path / "out.html")

    assert watched.code == 0, watched.err
    assert "greet_guests" in (tmp_path / "out.html").read_text()


def test_the_version_is_told_without_importing_more_than_it_needs(pyz: Command) -> None:
    words = [pyz.program[0], "-I", "-X", "importtime", pyz.folder / "firexlite.pyz", "--version"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60)

    assert told.stdout == f"firexlite {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    ours_and_others = ("firexlite", "click", "peewee", "tabulate", "watchdog")
    assert {name for name in imported if name.startswith(ours_and_others)} == {
        "firexlite", "firexlite.__main__", "firexlite.version"}


@on_every_python
def test_nothing_in_the_single_file_is_compiled_anew(pyz: Command) -> None:
    watching = ("import runpy, sys; sys.argv = sys.argv[1:]\n"
                "sys.addaudithook(lambda event, about: event == 'compile' and '.pyz' in str(about[1]) and print(about[1]))\n"
                "runpy.run_path(sys.argv[0], run_name='__main__')")

    told = run(pyz.program[0], "-I", "-c", watching, "firexlite.pyz", "runs", cwd=pyz.folder, env=pyz.env)

    assert {*told.splitlines()[:-1]} == {"firexlite.pyz/__main__.py"}
    assert told.splitlines()[-1].startswith("There are no runs in")


def test_the_single_file_brings_the_licences_of_what_it_holds(dist: Path) -> None:
    with zipfile.ZipFile(dist / "firexlite.pyz") as packed:
        names = packed.namelist()

    for package in ("click", "peewee", "tabulate", "watchdog", "firexlite"):
        assert any(name.startswith(f"{package}-") and "LICENSE" in name for name in names), package


@pytest.mark.long
def test_the_wheel_is_installed_and_runs_the_sample(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # what lies there would be taken for installed
    run(base_python(), "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", dist / NAMES[0])
    command = Command(tmp_path / "home", tmp_path, tmp_path / "venv" / "bin" / "firexlite")

    done = command("submit", "--plugins", FIXTURES / "guests.py", "--chain", "greet_guests", "--guests", "Li,Mohamed",
                   "--flame", "out.html", "--json_file", "run.json")

    assert (done.code, done.err) == (0, "Report: out.html\n")
    assert json.loads((tmp_path / "run.json").read_text())["results"]["chain_results"] == {
        "guests_greeting": "Hello Li! Hello Mohamed!"}
    assert "greet_guests" in (tmp_path / "out.html").read_text()
