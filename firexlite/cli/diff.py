"""`firexlite diff`: two runs compared, task by task."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

import click

from ..comparing import BELOW, Changed, Comparison, Only, Side, compare
from ..history import History
from ..home import find_run
from ..last_good import Difference
from .options import RUN
from .printing import answer, cut

SHOWN = 10  # of each kind


@click.command("diff")
@click.argument("a", type=RUN)
@click.argument("b", type=RUN)
@click.option("--all", "everything", is_flag=True, help=f"Show all that differs, not {SHOWN} of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.pass_context
def diff_command(context: click.Context, a: str, b: str, everything: bool, as_json: bool) -> None:
    """Compare two runs, task by task: states, failures, arguments, results, and times that differ by more than 1 s and 20 %.

    A and B are FireX IDs, or what else names a run. Tasks are paired along the tree, by their signatures and services.

    Exit code 0: the runs are alike, but for times. 1: they differ.

    \b
    firexlite diff FireX-li-261123-101500-4711 FireX-li-261124-101500-4712
    """
    with History(find_run(a)) as one, History(find_run(b)) as other, one.snapshot(), other.snapshot():
        found = compare(one, other)
    answer(json.dumps(found.as_data(), indent=2) if as_json else "\n".join(_lines(found, None if everything else SHOWN)))
    context.exit(0 if found.is_alike else 1)


def _lines(found: Comparison, limit: int | None) -> Iterator[str]:
    yield cut(f"A: {_of_side(found.a)}")
    yield cut(f"B: {_of_side(found.b)}")
    yield from _section("Other in B as a whole", [_of_run(one) for one in found.run], limit)
    yield from _section("Other state", [_of_state(one) for one in found.states], limit)
    yield from _section("Failed otherwise", [f"{_task(one)}: {one.was} -> {one.now}" for one in found.failures], limit)
    yield from _section("In A alone", [_of_only(one) for one in found.only_in_a], limit)
    yield from _section("In B alone", [_of_only(one) for one in found.only_in_b], limit)
    yield from _section("Other arguments", [_of_value(one) for one in found.arguments], limit)
    yield from _section("Other results", [_of_value(one) for one in found.results], limit)
    yield from _section("Tried again", [f"{_task(one)}: {one.was} times -> {one.now} times" for one in found.retries], limit)
    yield from _section("Other times", [f"{_task(one)}: {one.was:.1f} s -> {one.now:.1f} s" for one in found.times], limit)
    yield _ending(found)


def _section(title: str, lines: Sequence[str], limit: int | None) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (cut(f"  {' '.join(line.split())}") for line in lines[:limit])
        if limit is not None and len(lines) > limit:
            yield f"  ... and {len(lines) - limit} more; --all shows them"


def _of_side(side: Side) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(side.created))
    took = "" if side.seconds is None else f" after {side.seconds:.1f} s"
    return f"{side.firex_id}, {began}, {side.state}{took}, {_tasks(side.tasks)}: {side.chain}"


def _of_run(one: Difference) -> str:
    if one.what == "code":
        return f"{one.name}: {'added' if one.was is None else 'gone' if one.now is None else 'changed'}"
    return f"{one.what if one.what == one.name else f'--{one.name}'}: {_value(one.was)} -> {_value(one.now)}"


def _of_state(one: Changed) -> str:
    why = f" because of {BELOW}" if one.why == BELOW else f" of {one.why}" if one.why else ""
    return f"{_task(one)}: {one.was}{why if one.was == 'failed' else ''} -> {one.now}{why if one.now == 'failed' else ''}"


def _of_only(one: Only) -> str:
    return f"{one.service} (task {one.task}): {one.state}" + (f", and {_tasks(one.below)} below it" if one.below else "")


def _of_value(one: Changed) -> str:
    return f"{_task(one)} {one.name}: {_value(one.was)} -> {_value(one.now)}"


def _value(value: object) -> str:
    return "(none)" if value is None else str(value) or "''"


def _task(one: Changed) -> str:
    return f"{one.service} (task {one.a})" if one.a == one.b else f"{one.service} (task {one.a}, in B {one.b})"


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number} tasks"


def _ending(found: Comparison) -> str:
    if found.is_alike:
        times = f" {_tasks(len(found.times))} took another time." if found.times else ""
        return (f"The runs are alike: {_tasks(found.a.tasks)}, with the same states, arguments and results, of the same code "
                f"and inputs.{times}")
    counts = ((len(found.run), "of the run as a whole"), (len(found.states), "in states"), (len(found.failures), "in failures"),
              (len(found.only_in_a), "in A alone"), (len(found.only_in_b), "in B alone"),
              (len(found.arguments), "in arguments"), (len(found.results), "in results"), (len(found.retries), "in retries"))
    return f"The runs differ: {', '.join(f'{number} {what}' for number, what in counts if number)}."
