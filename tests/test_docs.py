"""The documentation against the product: its examples are run, and its tables are those of the code."""
from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import FIXTURES, LIMIT_S, ROOT, Command, kill_all, states, wait_until

from firexlite import errors, library
from firexlite.application import App
from firexlite.children import Parent
from firexlite.cli import COMMANDS
from firexlite.compat.served import REFUSED
from firexlite.home import RunDirectory
from firexlite.outcome import Result
from firexlite.promises import Promise
from firexlite.services import Task
from firexlite.states import MOVES, STATES
from firexlite.task_options import PendingChildStrategy

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"  # which tests/test_tutorial.py types into a terminal
GUIDE = [ROOT / "docs" / name for name in ("guide.md", "children.md", "running.md", "waiting.md")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIREX_ID = re.compile(r"FireX-[\w.+]+-\d{6}-\d{6}-\d+")
AT_ONCE_S = 0.5
COLLEAGUES = "run.sqlite3"
KILLED = "timeout -s KILL "
FOLDER = "/home/li/bakery"  # where a page says that its commands are given

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT).with_suffix("")))


@dataclass
class Example:
    """A command of a page, and the lines it is said to print."""

    command: str
    lines: list[str] = field(default_factory=list)


def examples_of(page: Path) -> list[Example]:
    """The commands of the `console` blocks of a page."""
    return [example for kind, text in BLOCK.findall(page.read_text()) if kind == "console" for example in examples_in(text)]


def examples_in(block: str) -> list[Example]:
    """The commands of a `console` block: a line after `$`, and the output below it."""
    found: list[Example] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Example(line.removeprefix("$ ")))
        else:
            found[-1].lines.append(line)
    return found


class Reader:
    """Someone who gives the commands of a page one after the other, in a folder with the files that it speaks of."""

    def __init__(self, firexlite: Command, page: Path) -> None:
        self.home, self.folder = firexlite.home, firexlite.folder
        self.env = {**firexlite.env, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
        self.ids: dict[str, str] = {}  # of the page -> of the run that was made here
        if page.parent.parent == ROOT / "examples":
            shutil.copytree(page.parent, self.folder, dirs_exist_ok=True)
        else:
            shutil.copytree(FIXTURES / "guide", self.folder, dirs_exist_ok=True)
            for name in ("guests.py", "prices.py", "failing/firmware.py"):
                shutil.copy(FIXTURES / name, self.folder)
        for name, source in files_to_paste(page):
            (self.folder / name).write_text(source)
        if COLLEAGUES in page.read_text():
            self._receive_a_run()

    def _receive_a_run(self) -> None:
        """The journal of a colleague's run, whose 17th task failed."""
        breads = ",".join([*["rye"] * 15, "oat", "rye"])
        home = self.folder.with_name("colleague")
        env = {**self.env, "FIREXLITE_HOME": str(home), "LOGNAME": "mohamed"}
        subprocess.run(["firexlite", "submit", "--plugins", "bakery.py", "--chain", "fill_shelf", "--breads", breads,
                        "--workers", "17"], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=LIMIT_S)
        [run] = home.glob("FireX-mohamed-*")
        shutil.copy(run / "journal.sqlite3", self.folder / COLLEAGUES)

    def follow(self, example: Example) -> None:
        """Give the command; fail unless it prints what the page says."""
        command = FIREX_ID.sub(lambda found: self.ids[found[0]], example.command)
        printed = self._kill_half_way(command) if command.startswith(KILLED) else self._run(command)
        self._learn_ids(example.lines, printed)
        expected = [FIREX_ID.sub(lambda found: self.ids[found[0]], line) for line in example.lines]
        assert normal(printed) == normal(expected), f"$ {command}"

    def _run(self, command: str) -> list[str]:
        done = subprocess.run(["sh", "-c", command], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)
        return done.stdout.replace(str(self.folder), FOLDER).splitlines()

    def _kill_half_way(self, command: str) -> list[str]:
        """For `timeout -s KILL SECONDS ..`: killed when a first task is done and no other follows at once, however slow the
        machine is."""
        before = set(self.home.glob("FireX-*"))
        rest = command.removeprefix(KILLED).partition(" ")[2]
        process = subprocess.Popen(["sh", "-c", f"exec {rest}"], cwd=self.folder, env=self.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            [path] = wait_until(lambda: set(self.home.glob("FireX-*")) - before, what="run")
            succeeded, since = 0, time.monotonic()
            while not succeeded or time.monotonic() < since + AT_ONCE_S:
                assert time.monotonic() < since + LIMIT_S, f"no task of {command} has succeeded"
                if (found := states(RunDirectory(path)).get("succeeded", 0)) != succeeded:
                    succeeded, since = found, time.monotonic()
                time.sleep(0.02)
        finally:
            kill_all(process)
        return [*process.communicate()[0].splitlines(), "Killed"]

    def _learn_ids(self, expected: list[str], printed: list[str]) -> None:
        ids = (FIREX_ID.findall(line) for line in printed if line.startswith("FireX ID: "))
        for line in expected:
            if line.startswith("FireX ID: "):
                self.ids.setdefault(FIREX_ID.findall(line)[0], next(ids, ["nothing was printed"])[0])


def normal(lines: list[str]) -> list[str]:
    """Lines without what differs from one time to the next: ages, times, uuids, columns as wide as an id, how far a run is."""
    kept = (line.rstrip() for line in lines if not re.match(r"\d+ of \d+ tasks? ended", line))
    kept = (re.sub(r"\b(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\b", "TIME", line) for line in kept)
    kept = (re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}\b", "UUID", line) for line in kept)
    parts = (re.sub(r"\b[\d.]+ (ms|s|min|h|d)\b( \d+ (s|min|h)\b)?", "AGE", line) for line in kept)
    return [re.sub(r"-{3,}", "---", re.sub(r"(?<=\S) {2,}", "  ", line)) for line in parts]


def files_to_paste(page: Path) -> Iterator[tuple[str, str]]:
    """``(name, source)`` of each block that follows "Save this as `name`:"."""
    yield from re.findall(r"Save this as `(\w+\.py)`:\n\n```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.stem)
def test_the_examples_of_a_page_print_what_it_says(firexlite, page):
    reader = Reader(firexlite, page)

    for example in examples_of(page):
        reader.follow(example)


def test_the_readme_has_a_file_to_paste_and_a_run_that_is_killed():
    assert [name for name, _ in files_to_paste(ROOT / "README.md")] == ["bakery.py"]
    assert any(example.command.startswith(KILLED) for example in examples_of(ROOT / "README.md"))


@every_page
def test_no_command_of_firexlite_stands_where_it_is_not_tried(page):
    untried = [line for kind, text in BLOCK.findall(page.read_text()) if kind != "console"
               for line in text.splitlines() if re.match(r"(\$ )?firexlite ", line)]

    assert untried == []


@every_page
def test_every_command_that_a_page_mentions_exists(page):
    mentioned = set(re.findall(r"(?:`|^\$ |KILL \S+ )firexlite ([a-z]\w*)", page.read_text(), re.MULTILINE))

    assert mentioned <= set(COMMANDS)


@every_page
def test_every_link_to_a_file_leads_there(page):
    targets = re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", page.read_text())

    for path, anchor in targets:
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors_of(target), f"{page.name} links to {path}{anchor}"


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- the guide -------------------------------------------------------------------------------------------------------

def test_the_guide_shows_code_as_it_stands_in_its_files():
    sources = [path.read_text() for path in (FIXTURES / "guide").glob("*.py")]

    for page in GUIDE:
        for kind, text in BLOCK.findall(page.read_text()):
            if kind == "python":
                assert any(text in source for source in sources), f"{page.name}: no file of the guide has:\n{text}"


def test_the_guide_leads_through_all_of_its_files():
    linked = {name for page in GUIDE for name in re.findall(r"\]\(\.\./fixtures/guide/(\w+\.py)\)", page.read_text())}

    assert linked == {path.name for path in (FIXTURES / "guide").glob("*.py")}


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/(\w[\w-]*\.md)\)", (ROOT / "README.md").read_text()))

    assert linked == {page.name for page in PAGES if page.parent == ROOT / "docs"}


def test_the_page_of_examples_leads_to_every_one_of_them():
    linked = set(re.findall(r"\]\(\.\./examples/([\w/]+\.md)\)", (ROOT / "docs" / "examples.md").read_text()))

    assert linked == {f"{page.parent.name}/README.md" for page in PAGES if page.parent.parent == ROOT / "examples"}


def test_the_table_of_options_is_that_of_the_code():
    declared = {name: parameter.default for name, parameter in inspect.signature(App.task).parameters.items()
                if name not in ("self", "function", "others")}

    told = {name.strip("`"): default.strip("`") for name, default, _ in table("option of `@app.task`", "running")}

    assert told.keys() == declared.keys()
    assert {name: default for name, default in told.items() if name not in ("base", "pending_child_strategy")} == {
        name: repr(default) for name, default in declared.items() if name not in ("base", "pending_child_strategy")}
    assert (told["base"], told["pending_child_strategy"]) == (Task.__name__, PendingChildStrategy.BLOCK.name)


def test_the_table_of_what_is_done_with_children_is_that_of_the_code():
    told = {name.strip("`") for name, _ in table("method of a task", "children")}

    assert told == {name for name in [*vars(Parent), "enqueue_child_from_spec"] if not name.startswith("_")}


def test_the_table_of_what_a_promise_tells_is_that_of_the_code():
    told = {name.strip("`") for names, _ in table("of a promise", "children") for name in names.split(", ")}

    others = {"own_state", "interruption", "results", "wait", "forget"}  # firexlite's own, of which bodies have no need
    assert told == {name for name in vars(Promise) if not name.startswith("_")} - others


# --- firexlite as a library ------------------------------------------------------------------------------------------

def test_the_table_of_what_a_result_has_is_that_of_the_code():
    told = {re.match(r"`(\w+)", name)[1] for names, _ in table("of a result", "library") for name in names.split(", ")}
    public = {name for name in vars(Result) if not name.startswith("_")} | {"firex_id", "exit_code", "killed"}
    assert told - {"result"} == public


def test_every_option_of_run_and_resume_is_told_of():
    page = (ROOT / "docs" / "library.md").read_text()

    for function in (library.run, library.resume):
        for name in inspect.signature(function).parameters:
            assert name in ("chain", "firex_id", "check", "attendant") or re.search(rf"`{name}[`=]", page), name


# --- the differences from FireX ----------------------------------------------------------------------------------------

DIFFERENCES = ROOT / "docs" / "firex-differences.md"


def paragraph(beginning: str) -> str:
    """The paragraph of docs/firex-differences.md that begins like this."""
    [found] = re.findall(rf"^{beginning}.*?\n\n", DIFFERENCES.read_text(), re.MULTILINE | re.DOTALL)
    return found


REFUSED_OPTIONS = paragraph("These options of `firexapp submit`") + paragraph("Nor are `--json_results_file`")


@pytest.mark.parametrize("option", re.findall(r"`--(\w+[a-z])`", REFUSED_OPTIONS))
def test_an_option_of_firex_that_is_said_to_be_refused_is_refused_by_its_name(firexlite, plugin, option):
    services = plugin("from firexlite import app\n\n@app.task\ndef bake():\n    pass\n")

    refused = firexlite("submit", "--plugins", services, "--chain", "bake", f"--{option}", "1")

    assert refused.code == 2
    assert f"no service has an argument '{option}'" in refused.err
    assert firexlite.runs() == []


@pytest.mark.parametrize("option", re.findall(r"`(\w+)=`", paragraph("These options of a service")))
def test_an_option_that_is_said_to_be_refused_is_refused_by_its_name(firexlite, plugin, option):
    services = plugin(f"from firexapp.engine.celery import app\n\n@app.task({option}=1)\ndef bake():\n    pass\n")

    refused = firexlite("submit", "--plugins", services, "--chain", "bake")

    assert refused.code == 2
    assert "failed to import at line 3" in refused.err
    assert f"no option {option}" in refused.err


@pytest.mark.parametrize("method", re.findall(r"`self\.(\w+)`", paragraph("These of a task do not exist")))
def test_a_method_that_is_said_to_be_missing_is_missing(method):
    assert not hasattr(Task, method)


def test_every_module_that_is_refused_stands_among_the_differences():
    told = DIFFERENCES.read_text()

    assert [name for name in REFUSED if f"`{name.replace(':', '.')}`" not in told] == []


def test_every_deviation_of_the_compared_cases_stands_among_the_differences():
    cases = json.loads((ROOT / "tests" / "compat" / "deviations.json").read_text())
    told = paragraph("Of these 58 runs")

    assert set(re.findall(r"`(\d\w+\.\w)`", told)) == set(cases)


# --- the comparison ------------------------------------------------------------------------------------------------------

def test_the_figures_of_the_comparison_are_those_of_the_performance():
    [found] = re.findall(r"^\| workload \|(?:.*\n)(?:\|.*\n)+", (ROOT / "docs" / "comparison.md").read_text(), re.MULTILINE)
    header, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in found.splitlines())
    measured = (ROOT / "docs" / "performance.md").read_text()

    for workload, *figures in rows:
        [section] = re.findall(rf"^### {re.escape(workload)}\n(.*?)(?=^#)", measured, re.MULTILINE | re.DOTALL)
        medians = dict(re.findall(r"^\| (.*?) +\| +(\S+ m?s) +\|", section, re.MULTILINE))
        assert dict(zip(header[1:], figures, strict=True)) == {name: medians.get(name, "") for name in header[1:]}, workload


# --- the concepts ----------------------------------------------------------------------------------------------------

def table(first_header: str, page: str = "concepts") -> list[list[str]]:
    """The rows of the table of a page in docs whose first column has this header."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    [body] = re.findall(rf"^\| {re.escape(first_header)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in body.splitlines()]


def test_the_table_of_moves_is_that_of_the_code():
    moves = {move: (set(sources.split(", ")), set(targets.split(", "))) for move, sources, targets, *_ in table("move")}

    assert moves == {move: (set(sources), set(targets)) for move, (sources, targets) in MOVES.items()}


def test_the_table_of_states_is_that_of_the_code():
    assert tuple(state for state, _ in table("state")) == STATES


def test_the_table_of_exit_codes_is_that_of_the_code():
    of_errors = {error.exit_code for error in vars(errors).values()
                 if isinstance(error, type) and issubclass(error, errors.FirexliteError)}

    assert {int(code) for code, _ in table("code")} == {0, *of_errors, 128 + 2, 128 + 9, 128 + 15}
