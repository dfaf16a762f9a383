"""`python -m benchmarks`: that measuring works and what it writes. How fast anything is, is no matter for a test."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import wait_until

from benchmarks import report, scratch
from benchmarks.report import BEGIN, END

PROJECT = Path(__file__).parent.parent
TABLES = ["disk", "startup", "fanout", "chain", "resume"]
SPAN = r"\d+(\.\d+)? m?s"


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *map(str, arguments)], cwd=PROJECT, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=100)


def rows(figures: str, table: str) -> dict[str, list[str]]:
    """The rows of the table under a heading: their cells, by the first one."""
    section = figures.split(f"### {table}\n")[1].split("\n### ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {first.strip(): [cell.strip() for cell in cells] for first, *cells in lines[2:]}


@pytest.fixture
def document(tmp_path):
    """A document with prose before and after the place for the figures."""
    path = tmp_path / "performance.md"
    path.write_text(f"# Ours\n\n{BEGIN}\nold figures\n{END}\n\nThe last word.\n")
    return path


@pytest.mark.slow
def test_a_quick_run_measures_everything_and_leaves_nothing_behind(document, tmp_path):
    place = tmp_path / "scratch"
    place.mkdir()
    if scratch.filesystem_of(place) in scratch.MEMORY:
        pytest.skip("temporary files lie in memory here")

    ended = bench("--quick", "--output", document, "--scratch", place)

    assert ended.returncode == 0, ended.stderr
    figures = document.read_text()
    assert figures.startswith(f"# Ours\n\n{BEGIN}\n\n- Measured on ") and figures.endswith(f"{END}\n\nThe last word.\n")
    assert "old figures" not in figures
    assert ended.stdout.strip() in figures
    assert re.findall(r"^### (.*)$", figures, re.MULTILINE) == TABLES
    assert "`synchronous=FULL`" in figures and f"home on {scratch.filesystem_of(place)};" in figures
    assert all(re.fullmatch(SPAN, cell) for cells in rows(figures, "disk").values() for cell in cells)
    compared = {
        "startup": ['`python -c "import click, peewee"`'],
        "fanout": ["ProcessPoolExecutor", "ProcessPoolExecutor and one fdatasync a child (computed)",
                   "firexlite with FIREXLITE_DURABILITY=normal"],
        "chain": ["ProcessPoolExecutor", "ProcessPoolExecutor and one fdatasync a hop (computed)", "raw sqlite3"],
        "resume": ["`firexlite submit --chain nop`"],
    }
    for table, others in compared.items():
        found = rows(figures, table)
        assert list(found) == ["firexlite", *others]
        assert all(re.fullmatch(SPAN, cell) for cells in found.values() for cell in cells[:3])
        assert all(re.match(r"\d+(\.\d+)? times \(", found[other][-1]) for other in others)
    assert list(place.iterdir()) == []


def test_the_published_document_has_all_tables_and_five_rounds():
    before, after = report.split_document(PROJECT / "docs" / "performance.md")
    figures = (PROJECT / "docs" / "performance.md").read_text().split(BEGIN)[1].split(END)[0]

    assert "first figures" in before and after == "\n"
    assert re.findall(r"^### (.*)$", figures, re.MULTILINE) == TABLES
    assert int(re.search(r"(\d+) rounds after one that does not count", figures)[1]) >= 5


def test_few_rounds_are_for_quick_runs_only():
    refused = bench("--rounds", 4)

    assert refused.returncode == 2
    assert "figures to be published need 5 rounds; fewer go with --quick only" in refused.stderr


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# My notes\n")

    refused = bench("--quick", "--output", path)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"benchmarks: {path} has no place for the figures; it needs the lines\n")
    assert path.read_text() == "# My notes\n"


def test_memory_is_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "filesystem_of", lambda path: "tmpfs")

    with pytest.raises(scratch.CannotMeasure) as refused, scratch.scratch_folder(tmp_path):
        pass

    assert str(refused.value) == f"{tmp_path} lie in memory or are not there; name a folder on a disk with --scratch FOLDER"


def test_a_command_that_does_not_end_is_stopped_with_all_it_started(tmp_path):
    program = tmp_path / "hang.py"
    program.write_text("import os, time\n"
                       "child = os.fork()\n"
                       "if child:\n"
                       f"    open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
                       "time.sleep(600)\n")
    place = scratch.Scratch(tmp_path, limit_s=2.0)

    with pytest.raises(scratch.CannotMeasure, match=r"^`python\S* \S*hang.py` did not end within 2 s$"):
        place.run(sys.executable, str(program))

    pids = (tmp_path / "pids").read_text().split()
    wait_until(lambda: not any(is_running(pid) for pid in pids), what="end of all that was started")


def is_running(pid: str) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(scratch.CannotMeasure) as failed:
        scratch.Scratch(tmp_path).run("sh", "-c", "echo first >&2; echo last >&2; exit 7")

    assert str(failed.value) == "`sh -c echo first >&2; echo last >&2; exit 7` ended with 7: last"


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    assert report.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == "3.00 times (2.00 to 4.00)"


@pytest.mark.parametrize("seconds, shown", [(12.34, "12.3 s"), (0.5, "0.50 s"), (0.4996, "500 ms"), (0.00012, "0.12 ms")])
def test_a_span_of_time_has_its_unit(seconds, shown):
    assert report.shown_s(seconds) == shown
