"""What is told of a task about which a person must decide: its replay does not fit, or it may have done its work."""
from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .history import History, TaskRecord
from .results import DYNAMIC_RETURN
from .states import REDO

CALLS = 3  # of each kind, told in full

Call = Mapping[str, Any]

_ENDED = {"succeeded": "succeeded, its result is kept", "failed": "failed", "revoked": "was revoked", "skipped": "was skipped"}


def stopped_lines(history: History, task: TaskRecord, cut: Callable[[str], str]) -> list[str]:
    """The lines for a task that a person must decide about. cut: makes a line of someone else's text fit to be shown."""
    found = json.loads(task.stopped or "{}")
    if REDO in found:
        return []  # it only waits until lost files are made again
    name = history.services[task.service].short_name
    return _ask_lines(history, task, name) if "ask" in found else _mismatch_lines(history, task, name, found, cut)


def _ask_lines(history: History, task: TaskRecord, name: str) -> list[str]:
    return [f"UNDECIDED: {name} (task {task.num}, attempt {task.attempt}) was cut off and may have done its work; "
            "on_interrupt='ask' leaves it to you.", *ways_to_decide(history, task)]


def cut_off_lines(history: History, task: TaskRecord) -> list[str]:
    """The lines for a task that was revoked while its body ran, and is not to run twice by itself."""
    name = history.services[task.service].short_name
    return [f"CUT OFF: {name} (task {task.num}, attempt {task.attempt}) was revoked in its body, may have done its work, "
            "and is not run again by itself.", *ways_to_decide(history, task)]


def ways_to_decide(history: History, task: TaskRecord) -> list[str]:
    """The commands for a task that may have done its work."""
    firex_id = history.directory.firex_id
    returns = [name for name in history.services[task.service].returns or () if name != DYNAMIC_RETURN]
    # No JSON, so not to be pasted as it is; but what a service calls its values might end the quotes.
    example = shlex.quote("{" + ", ".join(f"{json.dumps(name)}: VALUE" for name in returns) + "}")
    return [f"  If it has not: firexlite resume {firex_id} --restart-task {task.num}",
            f"  If it has:     firexlite resume {firex_id} --mark-done {task.num} {example}"]


def _mismatch_lines(history: History, task: TaskRecord, name: str, found: dict, cut: Callable[[str], str]) -> list[str]:
    ran_again = f"STOPPED: {name} (task {task.num}, attempt {task.attempt}) ran again after an interruption and"
    if found["raised"]:
        lines = [cut(f"{ran_again} raised {found['raised']}"),
                 "  That was before it had asked for all the children that it had before, so these may no longer fit."]
    else:
        lines = [f"{ran_again} asked for other children than before."]
    lines += lines_of_calls(history, found["recorded"], found["new"], cut)
    lines += [cut("  " + line) for line in _suspects(history, name)]
    firex_id = history.directory.firex_id
    return [*lines, "  Correct the service so that it asks for the same again, and resume; or else:",
            f"    firexlite resume {firex_id} --accept-new         keeps the children that match, runs the new ones",
            f"    firexlite resume {firex_id} --restart-task {task.num:<6} runs {name} afresh; its old children stay visible"]


def lines_of_calls(history: History, recorded: Sequence[Sequence[Call]], new: Sequence[Sequence[Call]],
                   cut: Callable[[str], str]) -> list[str]:
    """How the calls that a body made before and those that it makes now differ, argument by argument."""
    lines: list[str] = []
    pairs, gone, come = _paired(recorded, new)
    for before, present in pairs[:CALLS]:
        lines += [cut(f"  before: {_chain(before)}   (task {before[0]['num']}, {_ending(history, before)})"),
                  cut(f"  now:    {_chain(present)}"),
                  cut(f"          differs in {_differences(before, present)}")]
    for title, chains in (("asked for before, not now", gone), ("asked for now, not before", come)):
        lines += [cut(f"  {title}: {_chain(chain)}") for chain in chains[:CALLS]]
    for title, number in (("differ", len(pairs)), ("asked for before, not now", len(gone)), ("new", len(come))):
        if number > CALLS:
            lines.append(f"  ... {number - CALLS} more: {title}")
    return lines


def _suspects(history: History, name: str) -> list[str]:
    if changed := sorted({file for incarnation in history.incarnations() for file in incarnation.files}):
        return [f"Changed since the run began: {', '.join(changed)}."]
    return [f"The code of {name}, and of what is imported with it, is the same: look for the clock, chance or surroundings;",
            "firexlite.now(), random() and uuid() give the same again."]


def _paired(recorded: Sequence[Sequence[Call]], new: Sequence[Sequence[Call]]) -> tuple[list, list, list]:
    """Chains of the same services, before and now, in pairs; then those without a counterpart."""
    left = list(new)
    pairs, gone = [], []
    for chain in recorded:
        twin = next((other for other in left if [c["service"] for c in other] == [c["service"] for c in chain]), None)
        if twin is None:
            gone.append(chain)
        else:
            left.remove(twin)
            pairs.append((chain, twin))
    return pairs, gone, left


def _ending(history: History, chain: Sequence[Call]) -> str:
    last = history.task(chain[-1]["num"])
    return _ENDED.get(last.state, "under way") if last else "gone"


def _differences(recorded: Sequence[Call], present: Sequence[Call]) -> str:
    found = []
    for before, now in zip(recorded, present, strict=True):
        old, new = before["arguments"], now["arguments"]
        found += [f"{name}: {old.get(name)!r} before, {new.get(name)!r} now"
                  for name in [*old, *(n for n in new if n not in old)] if old.get(name) != new.get(name)]
    return "; ".join(found) or "the type of a value"


def _chain(chain: Sequence[Call]) -> str:
    return " | ".join(f"{call['service'].rpartition('.')[2]}({arguments_of(call['arguments'])})" for call in chain)


def arguments_of(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
