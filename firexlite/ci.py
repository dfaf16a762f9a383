"""What a CI system is told when a run has ended, where its environment asks for it: a summary in Markdown, and the lines of
code at which its page about a change shows what failed there."""
from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .flame_words import duration
from .states import STATES
from .terminal import visible

if TYPE_CHECKING:
    from .story import Culprit, Story  # what it imports takes longer than most runs

SUMMARY = "GITHUB_STEP_SUMMARY"      # GitHub: the file to which each step appends its Markdown
OWN_SUMMARY = "FIREXLITE_SUMMARY"    # the same, for whoever wants the file elsewhere
LOG_LINES = 10
LINE_WIDTH = 500     # all of a step's summary has to stay below 1 MiB
LONGEST_MARK = 4000  # characters of what stands at a line of code


def wants_story() -> bool:
    """Whether anything is to be told."""
    return bool(_summary_file() or _wants_annotations())


def write_summary(story: Story) -> None:
    """Append the summary to its file, if there is to be one. Raises OSError."""
    if path := _summary_file():
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(visible("\n".join(summary(story))) + "\n")


def annotate(story: Story) -> list[str]:
    """The lines to be printed on stdout."""
    return [*marks_in_code(story)] if _wants_annotations() else []


def _summary_file() -> str | None:
    return os.environ.get(OWN_SUMMARY) or os.environ.get(SUMMARY)


def _wants_annotations() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def summary(story: Story) -> Iterator[str]:
    """Markdown: how the run ended, what failed where, what is other than before, and how it goes on."""
    run = story.run
    counts = ", ".join(f"{run['counts'][state]:,} {state}" for state in STATES if run["counts"].get(state))
    took = f" in {duration(run['ended'] - run['started'])}" if run["ended"] else ""
    yield f"### {_mark(run['state'])} {_text(run['chain'])}: {run['state']}{took}"
    yield ""
    yield f"`{run['firex_id']}`: {counts}"
    for culprit in (*story.causes, *story.cut_off):
        yield ""
        yield from _about(culprit)
    for lines in story.decisions:
        yield ""
        yield from _fenced(lines)
    if story.reason:
        yield ""
        yield _text(_cut(story.reason))
    if since := run.get("since_last_good"):
        yield ""
        yield f"Since the last good run `{since['firex_id']}`:"
        yield ""
        for one in since["differences"] or [None]:
            yield "- nothing that is recorded" if one is None else f"- {one['what']} {_text(one['name'])}"
    if run.get("resume"):
        yield ""
        yield f"Carry on: {_code(run['resume'])}"
    yield ""


def _about(culprit: Culprit) -> Iterator[str]:
    failed = "failed" if culprit.told else "was under way"
    place = f" at {_code(culprit.place)}" if culprit.place else ""
    yield f"**{_text(culprit.task['name'])}** (task {culprit.task['num']}) {failed}{place}"
    lines = [*culprit.told.splitlines(), *(f"    {line}" for line in culprit.code)]
    if lines:
        yield ""
        yield from _fenced(lines)
    if culprit.log:
        yield "<details><summary>last output</summary>"
        yield ""
        yield from _fenced(culprit.log[-LOG_LINES:])
        yield "</details>"


def marks_in_code(story: Story) -> Iterator[str]:
    """GitHub's workflow commands, one for each failure that ended the run."""
    for culprit in story.causes:
        path, line = _file_and_line(str(culprit.task["error_context"] or ""))
        place = f"file={_property(path)},line={line}," if line else ""
        title = f"{culprit.task['name']} (task {culprit.task['num']}) failed"
        yield f"::error {place}title={_property(title)}::{_message(_cut(culprit.told or title, LONGEST_MARK))}"


def _file_and_line(context: str) -> tuple[str, str]:
    """Of `file:line in function`, the file as seen from the root of what the CI system checked out."""
    path, _, line = context.rpartition(" in ")[0].rpartition(":")
    root = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    for seen, top in ((path, root), (os.path.realpath(path), os.path.realpath(root))):
        if path and Path(seen).is_relative_to(top):
            path = str(Path(seen).relative_to(top))
            break
    return path, line if line.isascii() and line.isdigit() else ""


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _text(text: object) -> str:
    """Text of others, in which nothing is Markdown or HTML."""
    shown = " ".join(str(text).split())
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|~&!" else char for char in shown)


def _cut(text: str, width: int = LINE_WIDTH) -> str:
    return text if len(text) <= width else f"{text[:width - 1]}…"


def _code(text: str) -> str:
    """Text of others within a line, as it is: between more backticks than it has in a row."""
    text = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{text}{ticks}" if text.strip("`") == text else f"{ticks} {text} {ticks}"


def _fenced(lines: Iterable[str]) -> Iterator[str]:
    shown = [_cut(line) for line in lines]
    fence = "```"
    while any(fence in line for line in shown):
        fence += "`"
    yield fence
    yield from shown
    yield fence


def _mark(state: str) -> str:
    return {"succeeded": "✅", "failed": "❌"}.get(state, "⚠️")
