"""The story of a run, as the terminal tells it: in the words, and of the tasks, of the first screen of its report."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .codec import display_error
from .flame_failures import DECISIONS, SHOWN_IN_FULL, UNDER_WAY
from .flame_graph import model_of_run, model_of_task
from .flame_words import in_words, log_lines, quoted_code, why_it_ended
from .history import History, innermost
from .states import RUN_INTERRUPTED

MOST_LOG_BYTES = 64 * 1024
BESIDE = 3  # tasks that failed too, and did not end the run


@dataclass(frozen=True)
class Culprit:
    """A task where a person should look. task: as in the model of a report. told: what happened, in words; exact: what it was
    exactly, or means. place: `file:line in function`, as seen from where the run was submitted. code: the line, and what marks
    the part of it that failed. path: ``(number, name)`` of those above it, the outermost first. log: its last output.
    """

    task: Mapping[str, Any]
    told: str
    exact: str
    place: str
    code: tuple[str, ...]
    path: tuple[tuple[int, str], ...]
    log: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """run: as in the model of a report. causes: the failures that ended it; more: how many beyond these. cut_off: what was
    under way when it was interrupted. reason: why it was interrupted or revoked, if it was."""

    run: Mapping[str, Any]
    causes: tuple[Culprit, ...]
    more: int
    cut_off: tuple[Culprit, ...]
    reason: str

    @property
    def decisions(self) -> list[list[str]]:
        """The lines about each task on which a person must decide, with the place where it could not go on."""
        found = [one for one in self.run.get("stopped") or () if one.get("lines")][:DECISIONS]
        return [[first, *([f"  at {seen_from(self.run, one['error_context'])}"] if one["error_context"] else []), *rest]
                for one in found for first, *rest in [one["lines"]]]


def story_of(history: History) -> Story:
    """What there is to tell of a run."""
    with history.snapshot():
        run = model_of_run(history)
        numbers = run["root_causes"]
        causes = [culprit_of(history, run, num) for num in numbers[:SHOWN_IN_FULL]]
        cut_off, reason = [], ""
        if run["state"] == RUN_INTERRUPTED and not run["stopped"]:
            reason = why_it_ended(run["log"], run["incarnations"][-1]).replace(f"/{run['firex_id']}", "")
            cut_off = [culprit_of(history, run, num) for (num,) in history.execute(_UNDER_WAY, UNDER_WAY)]
        elif run["state"] == "revoked":
            [(told,)] = history.execute("SELECT min(reason) FROM task WHERE reason IS NOT NULL") or [(None,)]
            reason = told or ""
    return Story(run, tuple(causes), len(numbers) - len(causes), tuple(cut_off), reason)


def failed_too(history: History) -> tuple[list[tuple[int, str, str]], int]:
    """``(task, name, what happened)`` of the first `BESIDE` tasks that failed of themselves and did not end the run, and how
    many more there are."""
    ended_it = set(history.root_cause_numbers())
    others = [num for (num,) in history.execute(_OF_THEMSELVES) if num not in ended_it]
    return [_in_a_line(history, num) for num in others[:BESIDE]], max(0, len(others) - BESIDE)


_OF_THEMSELVES = ("SELECT id FROM task WHERE state = 'failed' AND NOT aside AND id NOT IN (SELECT parent FROM task WHERE "
                  "state = 'failed' AND NOT aside AND parent IS NOT NULL) ORDER BY id")

_UNDER_WAY = ("SELECT id FROM task WHERE (state IN ('running', 'blocked') OR (state = 'ready' AND attempt > 0)) AND NOT aside "
              "ORDER BY state = 'blocked', id LIMIT ?")


def culprit_of(history: History, run: Mapping[str, Any], num: int) -> Culprit:
    """A task of a run, as the model of a report has that, as a person is to see it who looks for a fault."""
    task = model_of_task(history, num, MOST_LOG_BYTES)
    told, exact = in_words(task) if task["exception"] else ("", "")
    service = run["services"].get(task["long_name"]) or {}
    context = task["error_context"] or service.get("place") or ""
    code = quoted_code(task["traceback"] or "", context)
    if not code and context.partition(" in ")[0] == service.get("place"):
        code = list(service["head"])
    return Culprit(task, told, exact, seen_from(run, context), tuple(code), tuple(_path(history, task)), tuple(log_lines(task)))


def _in_a_line(history: History, num: int) -> tuple[int, str, str]:
    task = history.task(num)
    assert task is not None
    error = innermost(display_error(task.error)) if task.error else {"name": "it failed", "text": ""}
    known = history.services.get(task.service)
    return (num, known.short_name if known else task.service.rpartition(".")[2],
            f"{error['name']}: {error['text']}".rstrip(": ").partition("\n")[0])


def seen_from(run: Mapping[str, Any], path: str) -> str:
    """A path as the person saw it who submitted the run."""
    cwd = str((run.get("options") or {}).get("cwd") or "").rstrip("/")
    return path.removeprefix(f"{cwd}/") if cwd else path


def _path(history: History, task: Mapping[str, Any]) -> list[tuple[int, str]]:
    above: list[tuple[int, str]] = []
    while (num := task["enqueued_by"] if isinstance(task, Mapping) else task) is not None:
        [(service, task)] = history.execute("SELECT service, parent FROM task WHERE id = ?", num)
        known = history.services.get(service)
        above.append((num, known.short_name if known else service.rpartition(".")[2]))
    return above[::-1]
