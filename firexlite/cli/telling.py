"""How `show` and `why` write the story of a run, line by line."""
from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import click

from ..flame_words import duration, span
from ..states import STATES
from ..story import Culprit, Story
from .paint import Paint
from .printing import text_of

LOG_LINES = 10
DIFFERENCES = 12
ARGUMENT_CHARS = 200


def headline(run: Mapping, paint: Paint) -> list[str]:
    """What the run is, how it stands, and when it was: two lines."""
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["started"]))
    took = f", took {duration(run['ended'] - run['started'])}" if run["ended"] else ""
    counts = run["counts"]
    told = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts.get(state))
    total = sum(counts.values())
    return [f"{paint(run['firex_id'], bold=True)}  {paint.state(run['state'])}  {paint(run['chain'])}",
            f"{total:,} task{'' if total == 1 else 's'}: {told}; began {began}{took}"]


def more_lines(story: Story, paint: Paint) -> list[str]:
    """What went wrong in a few lines, below the tree, and the way on."""
    rows: list[str] = []
    for cause in story.causes:
        rows += ["", f"{paint(cause.task['name'], bold=True)} (task {cause.task['num']}) failed: "
                     f"{paint(cause.told.splitlines()[0] if cause.told else '', 'red')}"]
        if cause.place:
            rows.append(f"  at {paint(cause.place)}")
    if story.causes:
        rows += ["", f"Why, in full: firexlite why {paint(story.run['firex_id'])}"]
    elif story.reason:
        rows += ["", paint(story.reason)]
    for lines in story.decisions:
        rows += ["", *map(paint, lines)]
    if story.run.get("resume") and not story.decisions:
        rows += [*([] if story.causes or story.reason else [""]), f"Carry on: {paint(story.run['resume'])}"]
    return rows


def way_on(story: Story, paint: Paint) -> list[str]:
    """The commands that a person may want next."""
    firex_id, resume = story.run["firex_id"], story.run.get("resume")
    num = [cause.task["num"] for cause in story.causes[:1]]
    rows = [words for n in num for words in (f"firexlite logs {firex_id} {n}", f"firexlite debug {firex_id} {n} --pdb")]
    rows.append(f"firexlite flame {firex_id} > out.html")
    return [f"  {paint(row)}" for row in rows + ([resume] if resume and not story.decisions else [])]


def culprit_lines(culprit: Culprit, paint: Paint, with_more: bool = True) -> Iterator[str]:
    """One task where a person should look. with_more: its arguments, and its last output."""
    first, _, rest = culprit.told.partition("\n")
    if first:
        yield f"  {paint(first, 'red', bold=True)}"
        yield from (f"  {paint(line)}" for line in rest.splitlines())
    if culprit.exact:
        yield f"  {paint(culprit.exact, dim=True)}"
    if culprit.place:
        yield f"  at {paint(culprit.place, bold=True)}"
        yield from (f"      {paint(line)}" for line in culprit.code)
    if with_more and culprit.task["args"]:
        yield "  arguments"
        width = max(map(len, culprit.task["args"]))
        yield from (f"    {paint(name.ljust(width))}  {paint(_short(value))}" for name, value in culprit.task["args"].items())
    if with_more and culprit.log:
        yield "  last output"
        yield from (f"    | {paint(click.unstyle(line))}".rstrip() for line in culprit.log[-LOG_LINES:])
    if culprit.path:
        yield f"  called by: {paint(' > '.join(f'{one.name} (task {one.num})' for one in culprit.path))}"
        yield from (f"    {paint(one.name)} (task {one.num}) then failed: {paint(one.what, 'red')}"
                    for one in reversed(culprit.path) if one.what)


def since_lines(run: Mapping, paint: Paint) -> Iterator[str]:
    """What is other than in the last good run of the same chain, if there was one."""
    since = run.get("since_last_good")
    if not since:
        return
    yield f"Since the last good run {paint(since['firex_id'])}, {span(run['started'] - since['created'])} before:"
    for one in since["differences"][:DIFFERENCES]:
        yield f"  {one['what']:8} {_difference(one, paint)}"
    if len(since["differences"]) > DIFFERENCES:
        yield f"  ... {len(since['differences']) - DIFFERENCES} more"
    if not since["differences"]:
        yield "  nothing that is recorded: the same code, inputs, options, versions and host"


def _difference(one: Mapping, paint: Paint) -> str:
    if one["what"] == "code":
        how = "added" if one["was"] is None else "left out" if one["now"] is None else "changed"
        return f"{paint(one['name'])} {how}"
    was, now = ("not given" if value is None else value for value in (one["was"], one["now"]))
    name = f"{one['name']}: " if one["what"] == "input" else ""
    return f"{paint(name)}{paint(was)} before, {paint(now)} now"


def _short(value: object) -> str:
    shown = " ".join(text_of(value).split("\n"))
    return shown if len(shown) <= ARGUMENT_CHARS else f"{shown[:ARGUMENT_CHARS]}... ({len(shown):,} characters)"
