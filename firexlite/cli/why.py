"""`firexlite why`: what ended a run, and where to look."""
from __future__ import annotations

import json
from collections.abc import Iterator

import click

from ..history import History
from ..home import find_run
from ..story import Caller, Culprit, Story, story_of
from .options import run_argument
from .paint import Paint
from .printing import write_out
from .telling import culprit_lines, headline, since_lines, way_on


@click.command("why")
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Write it as JSON.")
def why_command(firex_id: str, as_json: bool) -> None:
    """Say why a run ended as it did: the failure at the bottom, in your own file, how it came to the top, and what is other
    than in the last good run of the same chain.

    \b
    firexlite why last
    """
    with History(find_run(firex_id)) as history:
        story = story_of(history)
    write_out(_as_json(story) if as_json else "\n".join(_lines(story, Paint())) + "\n")


def _lines(story: Story, paint: Paint) -> Iterator[str]:
    yield from headline(story.run, paint)
    for lines in story.decisions:
        yield ""
        yield from map(paint, lines)
    for culprit in story.causes:
        yield ""
        yield f"{paint(culprit.task['name'], bold=True)} (task {culprit.task['num']}) failed{_tries(culprit)}:"
        yield from culprit_lines(culprit, paint)
    if story.more:
        yield f"... and {story.more} more that failed"
    if story.others:
        yield ""
        yield "Failed too:"
        yield from (f"  {paint(one.name)} (task {one.num}): {paint(one.what, 'red')}" for one in story.others)
        if story.others_more:
            yield f"  ... and more: firexlite show {paint(story.run['firex_id'])} --state failed"
    if story.reason:
        yield ""
        yield paint(story.reason, "yellow")
    for culprit in story.cut_off:
        yield ""
        yield f"{paint(culprit.task['name'], bold=True)} (task {culprit.task['num']}) was under way:"
        yield from culprit_lines(culprit, paint)
    since = list(since_lines(story.run, paint)) if story.causes or story.reason or story.decisions else []
    if since:
        yield ""
        yield from since
    if story.run["state"] == "succeeded":
        yield ""
        yield "Nothing went wrong: all tasks that count succeeded."
    yield ""
    yield from way_on(story, paint)


def _tries(culprit: Culprit) -> str:
    retried = sum(attempt["state"] == "retried" for attempt in culprit.task["attempts"])
    return f", try {retried + 1} of {retried + 1}" if retried else ""


def _as_json(story: Story) -> str:
    def caller(one: Caller) -> dict:
        return {"task": one.num, "name": one.name, "what": one.what}

    def told(culprit: Culprit) -> dict:
        task = culprit.task
        return {"task": task["num"], "name": task["name"], "what": culprit.told, "exact": culprit.exact, "place": culprit.place,
                "code": culprit.code, "arguments": task["args"], "log": culprit.log[-20:],
                "path": [caller(one) for one in culprit.path]}

    run = story.run
    return json.dumps({"firex_id": run["firex_id"], "state": run["state"], "chain": run["chain"], "counts": run["counts"],
                       "causes": [*map(told, story.causes)], "more": story.more, "others": [*map(caller, story.others)],
                       "reason": story.reason,
                       "under_way": [*map(told, story.cut_off)], "decisions": story.decisions,
                       "since_last_good": run["since_last_good"]}, indent=1, default=repr) + "\n"
