"""The story of a run, as the terminal tells it: in the words, and of the tasks, of the first screen of its report."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .codec import display_error
from .flame_failures import DECISIONS, SHOWN_IN_FULL, UNDER_WAY
from .flame_graph import NOTHING, model_of_run, model_of_task
from .flame_words import in_words, log_lines, quoted_code, seen_from, why_it_ended
from .history import History
from .redaction import Redaction
from .states import RUN_INTERRUPTED

MOST_LOG_BYTES = 64 * 1024
OTHERS = 5         # failures beyond those that ended the run, in a line each
LOOKED_AT = 1000   # tasks that failed, to find these


class Caller(NamedTuple):
    """A task above another. what: its own words, if it failed and said more than that a child had."""

    num: int
    name: str
    what: str


class Culprit(NamedTuple):
    """A task where a person should look. task: as in the model of a report. told: what happened, in words; exact: what it was
    exactly, or means. place: `file:line in function`, as seen from where the run was submitted. code: the line, and what marks
    the part of it that failed. path: those above it, the outermost first. log: its last output.
    """

    task: Mapping[str, Any]
    told: str
    exact: str
    place: str
    code: tuple[str, ...]
    path: tuple[Caller, ...]
    log: tuple[str, ...]


class Story(NamedTuple):
    """run: as in the model of a report. causes: the failures that ended it; more: how many beyond these. others: further
    failures, which had no child's for a cause, some of them; others_more: whether there are still more. cut_off: what was under
    way when it was interrupted. reason: why it was interrupted or revoked, if it was.
    """

    run: Mapping[str, Any]
    causes: tuple[Culprit, ...]
    more: int
    others: tuple[Caller, ...]
    others_more: bool
    cut_off: tuple[Culprit, ...]
    reason: str

    @property
    def decisions(self) -> list[list[str]]:
        """The lines about each task on which a person must decide, with the place where it could not go on."""
        found = [one for one in self.run.get("stopped") or () if one.get("lines")][:DECISIONS]
        return [[first, *([f"  at {seen_from(self.run, one['error_context'])}"] if one["error_context"] else []), *rest]
                for one in found for first, *rest in [one["lines"]]]


def story_of(history: History, redaction: Redaction = NOTHING) -> Story:
    """What there is to tell of a run."""
    with history.snapshot():
        run = model_of_run(history, redaction)
        numbers = run["root_causes"]
        causes = [_culprit(history, run, num, redaction) for num in numbers[:SHOWN_IN_FULL]]
        others = _others(history, set(numbers), redaction)
        cut_off, reason = [], ""
        if run["state"] == RUN_INTERRUPTED and not run["stopped"]:
            reason = why_it_ended(run)
            cut_off = [_culprit(history, run, num, redaction) for (num,) in history.execute(_UNDER_WAY, UNDER_WAY)]
        elif run["state"] == "revoked":
            [(told,)] = history.execute("SELECT min(reason) FROM task WHERE reason IS NOT NULL") or [(None,)]
            reason = told or ""
    return Story(run, tuple(causes), len(numbers) - len(causes), tuple(others[:OTHERS]), len(others) > OTHERS, tuple(cut_off),
                 reason)


def _others(history: History, known: set[int], redaction: Redaction) -> list[Caller]:
    """Failures at their bottom that are not among the known ones; one more than is told, if there are as many."""
    found: list[Caller] = []
    for (num,) in history.execute("SELECT id FROM task WHERE state = 'failed' AND NOT aside ORDER BY id LIMIT ?", LOOKED_AT):
        if num not in known and (task := history.task(num)) is not None and history.cause(task) is None:
            found.append(_caller(history, task.num, redaction))
            if len(found) > OTHERS:
                break
    return found


_UNDER_WAY = ("SELECT id FROM task WHERE (state IN ('running', 'blocked') OR (state = 'ready' AND attempt > 0)) AND NOT aside "
              "ORDER BY state = 'blocked', id LIMIT ?")


def _culprit(history: History, run: Mapping[str, Any], num: int, redaction: Redaction) -> Culprit:
    return culprit_of(history, run, model_of_task(history, num, MOST_LOG_BYTES, redaction), redaction)


def culprit_of(history: History, run: Mapping[str, Any], task: Mapping[str, Any], redaction: Redaction = NOTHING) -> Culprit:
    """A task of a run, both as the model of a report has them, as a person is to see it who looks for a fault."""
    told, exact = in_words(task) if task["exception"] else ("", "")
    service = run["services"].get(task["long_name"]) or {}
    context = task["error_context"] or service.get("place") or ""
    code = quoted_code(task["traceback"] or "", context)
    if not code and context.partition(" in ")[0] == service.get("place"):
        code = list(service["head"])
    return Culprit(task, told, exact, seen_from(run, context), tuple(code), tuple(_path(history, task, redaction)),
                   tuple(log_lines(task)))


def _path(history: History, task: Mapping[str, Any], redaction: Redaction) -> list[Caller]:
    above: list[Caller] = []
    num = task["enqueued_by"]
    while num is not None:
        above.append(_caller(history, num, redaction))
        [(num,)] = history.execute("SELECT parent FROM task WHERE id = ?", num)
    return above[::-1]


def _caller(history: History, num: int, redaction: Redaction) -> Caller:
    record = history.task(num)
    assert record is not None
    what = ""
    if record.error is not None and not display_error(record.error)["name"].startswith(_OF_A_CHILD):
        task = model_of_task(history, num, 0, redaction)
        what = in_words(task)[0].partition("\n")[0] if task["exception"] else ""
    return Caller(num, history.short_name(record.service), what)


_OF_A_CHILD = ("ChainInterruptedException", "MultipleFailuresException", "ChainRevoked")
