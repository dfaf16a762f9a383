"""The typed signatures of services, as mypy and pyright see them: errors where they are expected, and nowhere else."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SAMPLE = ROOT / "fixtures" / "typed" / "services.py"
LIMIT_S = 110


def expected_lines() -> list[int]:
    return [number for number, line in enumerate(SAMPLE.read_text().splitlines(), 1) if re.search(r"  # error\b", line)]


def by_mypy(folder: Path) -> list[tuple[int, str]]:
    config = folder / "mypy.ini"
    config.write_text("[mypy]\npython_version = 3.10\nstrict = true\nfollow_imports = silent\n"
                      "[mypy-peewee,playhouse.*]\nignore_missing_imports = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", folder / "cache", "--no-error-summary",
         "--hide-error-context", SAMPLE],
        env={**os.environ, "MYPYPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert not done.stderr, done.stderr
    found = re.findall(r"^(\S+):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert {os.path.basename(file) for file, _, _ in found} == {SAMPLE.name}, done.stdout
    return [(int(line), text) for _, line, text in found]


def by_pyright(folder: Path) -> list[tuple[int, str]]:
    config = folder / "pyrightconfig.json"
    shutil.copy(SAMPLE, folder)
    config.write_text(json.dumps({"include": [SAMPLE.name], "extraPaths": [str(ROOT)], "pythonVersion": "3.10",
                                  "typeCheckingMode": "standard"}))
    done = subprocess.run([Path(sys.executable).with_name("basedpyright"), "--project", config, "--outputjson",
                           "--pythonpath", sys.executable], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, done.stdout
    return [(found["range"]["start"]["line"] + 1, found["message"]) for found in report["generalDiagnostics"]
            if found["severity"] == "error"]


@pytest.mark.parametrize("checker", [by_mypy, by_pyright])
def test_a_type_checker_finds_the_errors_and_no_others(checker, tmp_path):
    found = checker(tmp_path)

    told = dict(found)
    assert sorted(told) == expected_lines(), "\n".join(f"{line}: {text}" for line, text in found)


def test_the_options_that_type_checkers_know_are_those_of_the_code():
    import inspect

    from firexlite.application import App
    from firexlite.task_options import WITHOUT_MEANING
    from firexlite.typed import Options

    options = {*inspect.signature(App.task).parameters} - {"self", "function", "bind", "others"}
    assert {*Options.__annotations__} == options | WITHOUT_MEANING


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "firexlite" / "py.typed").exists()
    assert '"py.typed"' in (ROOT / "setup.py").read_text()
