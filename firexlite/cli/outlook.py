"""What `firexlite submit --dry-run` shows."""
from __future__ import annotations

import json
from collections.abc import Iterator

from tabulate import tabulate

from ..outlook import COMMAND_LINE, CONVERTER, DEFAULT, FIREXLITE, RETURNED, Argument, Outlook, Step
from .printing import cut, shown_path

VALUE_CHARS = 60


def as_json(outlook: Outlook) -> str:
    return json.dumps(outlook.as_data(), indent=2, default=str)


def as_text(outlook: Outlook) -> str:
    return "\n".join(_lines(outlook))


def _lines(outlook: Outlook) -> Iterator[str]:
    names = {step.task: step.name for step in outlook.steps}
    before = ""  # the tasks that return names which are not known yet
    for step in outlook.steps:
        yield cut(f"{step.task}. {step.name} ({shown_path(step.file)}:{step.line})"
                  + (f", in the place of {shown_path(step.overrides)}" if step.overrides else ""))
        yield from _arguments(step, names)
        if step.converters:
            yield cut(f"     its converters run first: {', '.join(step.converters)}")
        if step.is_validated:
            yield "     its arguments are made what its annotations say"
        if before and step.arguments:
            yield cut(f"     what {before} may return under one of these names goes before it")
        yield cut(f"     -> {_returns(step)}")
        if step.is_dynamic and step.returns is not None:
            before += f"{' and ' * bool(before)}{step.name} (task {step.task})"
    if outlook.without_taker:
        yield cut("No service of the chain takes: " + ", ".join(f"--{one.name} {_value(one)}" for one in outlook.without_taker))
    yield f"Nothing was created. {len(outlook.steps)} task{'s' * (len(outlook.steps) > 1)} would be submitted."


def _arguments(step: Step, names: dict[int, str]) -> Iterator[str]:
    rows = [(f"     {one.name}", _value(one), _source(one, names)) for one in step.arguments]
    if step.others:
        rows.append(("     **", "", f"all else that reaches it: {', '.join(step.others)}"))
    if rows:
        yield from (cut(line.rstrip()) for line in
                    tabulate(rows, tablefmt="plain", disable_numparse=True, preserve_whitespace=True).splitlines())


def _value(one: Argument) -> str:
    if not one.is_known:
        return "?" if one.source != FIREXLITE else "the FireX ID"
    text = " ".join(repr(one.value).split())
    return text if len(text) <= VALUE_CHARS else text[:VALUE_CHARS - 3] + "..."


def _source(one: Argument, names: dict[int, str]) -> str:
    by = "".join(f"@{name}: " for name in one.through)
    option = f"--{one.through[-1] if one.through else one.name}"
    if one.source == RETURNED:
        return f"{by}the return value `{one.returned}` of {names[one.task or 0]} (task {one.task})"
    if one.source == CONVERTER:
        return f"{by}the converter {one.converter}" + (f", of {option} {one.given!r}" if one.given is not None else "")
    return by + {COMMAND_LINE: f"{option} on the command line", FIREXLITE: "firexlite itself", DEFAULT: "its default"}.get(
        one.source, "a return value of a task before, or else it fails")


def _returns(step: Step) -> str:
    if step.returns is None:
        return "nothing that has a name, unless it is a dict"
    return ", ".join([*step.returns, *["names that are known when it has run"] * step.is_dynamic]) or "nothing"
