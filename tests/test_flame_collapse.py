"""Which tasks the graph draws, and which stand for others: every case of `collapse_cases.py`, in a browser."""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest
from browser import Browser, Page
from collapse_cases import CASES, Case

LINE = re.compile(r"(?P<indent> *)(?P<chained>\| )?(?P<num>\d+) ?(?P<name>\w+)? ?(?P<state>\w+)?( because (?P<cause>\d+))?")
STATES = ("waiting", "ready", "running", "blocked", "succeeded", "failed", "skipped", "revoked", "lost")

# A run as far as the rules look at it.
RUN = """
const ASIDE = 4;
function runOf(columns) {
  return { ...columns, size: columns.num.length, rowOfNum: new Map(columns.num.map((num, row) => [num, row])),
    stateOf(row) { return this.states[this.state[row]]; }, is: () => false,
    hasFailed(row) { return this.stateOf(row) === "failed"; } };
}
function drawn(columns, rules, { group, ...options }) {
  const run = runOf(columns), collapse = new Collapse(run, group);
  const picture = collapse.picture([...rules, ...collapse.modes.default], options), held = {};
  run.num.forEach((num, row) => {
    const holder = picture.holder[row];
    if (holder >= 0 && holder !== row && (!options.kept || options.kept[row])) (held[run.num[holder]] ||= []).push(num);
  });
  return { shown: picture.shown.map((row) => run.num[row]), held, hidden: Array.from(picture.hidden) };
}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    script = files("firexlite").joinpath("flame/assets/collapse.js").read_text()
    path: Path = tmp_path_factory.mktemp("collapse") / "page.html"
    path.write_text(f'<!doctype html><html data-ready-ms="1"><script>{script}{RUN}</script>')
    with Browser() as browser:
        yield browser.open(path)


def columns(tree: str, says: dict[int, list[dict]]) -> dict:
    """The columns of the page's index for a tree as the cases write it."""
    run: dict = {key: [] for key in ("num", "name", "state", "caller", "before", "level", "names")}
    run |= {"states": STATES, "cause": {}, "collapse": {num - 1: asked for num, asked in says.items()}}
    last_at: dict[int, int] = {}  # depth -> row
    for row, line in enumerate(tree.strip("\n").splitlines()):
        task = LINE.fullmatch(line)
        assert task, line
        depth, name = len(task["indent"]) // 2, task["name"] or "T"
        if name not in run["names"]:
            run["names"].append(name)
        run["num"].append(int(task["num"]))
        run["name"].append(run["names"].index(name))
        run["state"].append(STATES.index(task["state"] or "succeeded"))
        run["level"].append(depth)
        run["caller"].append(last_at.get(depth - 1, -1))
        run["before"].append(last_at[depth] if task["chained"] else -1)
        if task["cause"]:
            run["cause"][row] = int(task["cause"])
        last_at[depth] = row
    return run


def drawn(page: Page, case: Case) -> dict:
    rules = [{**asdict(rule), "rows": [rule.row_of - 1]} for rule in case.rules]
    return page.evaluate("drawn(" + ", ".join(map(json.dumps, (columns(case.tree, case.says), rules, case.options))) + ")")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_what_collapses(page: Page, case: Case) -> None:
    found = drawn(page, case)

    assert " ".join(map(str, found["shown"])) == case.shown
    assert found["held"] == {str(num): held for num, held in case.held.items() if held}
    assert sum(found["hidden"]) == sum(map(len, case.held.values()))
