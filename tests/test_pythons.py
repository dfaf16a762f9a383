"""Each Python that setup.py names, as far as it is here: firexlite installed, and a small run killed and resumed."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT, Command
from killed_bakery import CHAIN, killed_and_carried_on

from release import matrix, pythons


def test_the_python_of_the_tests_is_one_that_is_supported() -> None:
    assert "{}.{}".format(*sys.version_info) in pythons.supported()
    found = pythons.python("{}.{}".format(*sys.version_info))
    assert found is None or found.release.startswith(found.version)


def test_an_interpreter_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    version = "{}.{}".format(*sys.version_info)
    assert pythons.python(version) is None

    monkeypatch.setenv("FIREXLITE_PYTHONS", f"/no/such/python:{sys.executable}")

    assert pythons.python(version) is not None
    assert pythons.python("3.1") is None


def test_the_core_that_the_matrix_runs_is_there() -> None:
    assert [path.relative_to(ROOT / "tests").with_suffix("").as_posix() for path in matrix.core()] == [*matrix.CORE]


@pytest.mark.long
@pytest.mark.timeout(700)
@pytest.mark.parametrize("version", pythons.supported())
def test_firexlite_is_installed_and_carries_on(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = pythons.python(version)
    if python is None:
        pytest.skip(pythons.missing(version))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    own = matrix.environment(python)
    assert own is not None
    folder = tmp_path / "work"
    folder.mkdir()
    firexlite = Command(tmp_path / "home", folder, own, "-m", "firexlite")

    try:
        firex_id = killed_and_carried_on(firexlite, tmp_path)
        drawn = firexlite("flame", firex_id)
    finally:
        firexlite.close()

    assert (drawn.code, drawn.err) == (0, "")
    assert CHAIN in drawn.out
