"""docs/support.md against the product: the versions, the schemas, the ways to have it."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from firexlite.schema import SCHEMA
from firexlite.version import __version__
from release import pythons

PAGE = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The first cells of the table whose head begins with this."""
    [rows] = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [row.strip("| ").split(" | ")[0] for row in rows.splitlines()]


def test_the_table_of_pythons_is_that_of_setup_py() -> None:
    assert first_column("Python") == pythons.supported()


def test_each_schema_stands_in_the_table_with_the_run_that_is_kept_of_it() -> None:
    assert first_column("schema") == [str(schema) for schema in range(1, SCHEMA + 1)]
    for folder in re.findall(r"`(tests/upgrade/schema\d+)`", PAGE):
        assert (ROOT / folder / "journal.sql").is_file()


def test_the_version_is_a_semantic_one() -> None:
    number = r"(0|[1-9]\d*)"
    assert re.fullmatch(rf"{number}\.{number}\.{number}((a|b|rc)\d+|\.dev\d+)?", __version__)


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/support.md"])
def test_no_address_is_invented(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    assert not re.search(r"[\w.]+@[\w-]+\.\w+", text)
    assert {*re.findall(r"https?://[^\s)]+", text)} <= {"https://semver.org"}


@pytest.mark.parametrize("target, anchor", re.findall(r"\]\(((?!https?:)[^)#\s]*)(#[^)\s]*)?\)",
                                                      (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
def test_every_link_of_security_md_leads_somewhere(target: str, anchor: str) -> None:
    path: Path = ROOT / target
    assert path.exists()
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert not anchor or anchor in {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
