"""The reference, docs/reference.md, against the code that it is written from."""
from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from conftest import ROOT

import firexlite
from firexlite.cli import COMMANDS

OF_TESTS = {"FIREXLITE_FAULT", "FIREXLITE_FAULT_LOG", "FIREXLITE_FAULT_ROOT", "FIREXLITE_FAKES"}  # of `faults` and `fakes`


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """What writes the page; it lies with the documentation."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says_now(reference):
    assert reference.PAGE.read_text() == reference.page(), "docs/reference.md is out of date; run: ./dev reference"


def test_all_that_the_reference_names_is_explained(reference):
    page = reference.page()

    assert re.findall(r"^\| (.*?) \|\s*\|$", page, re.MULTILINE) == []
    code = r"```python\n(?:(?!```).*\n)*```\n"
    assert re.findall(rf"^(#{{3,4}} .*)\n+(?:{code}\n*)?(?=#|\Z)", page, re.MULTILINE) == []


def test_the_reference_tells_of_every_command_and_every_public_name(reference):
    page = reference.page()
    told = {name for names in re.findall(r"^### (?:firexlite )?@?([\w.]+)$|^\| `(\w+)` \|", page, re.M) for name in names}

    assert set(COMMANDS) - told == set()
    assert {*firexlite.__all__, "now", "random", "uuid"} - told == {"App", "app", "__version__"}  # `app.task` is told of


def test_the_reference_tells_of_every_variable_that_firexlite_reads(reference):
    sources = "\n".join(path.read_text() for path in (ROOT / "firexlite").rglob("*.py"))
    named = set(re.findall(r"\bFIREXLITE_[A-Z][A-Z_]*[A-Z]\b", sources)) - OF_TESTS

    assert {name for name in named if f"`{name}`" not in reference.page()} == set()
