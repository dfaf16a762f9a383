"""The top of the page, written here and not by script: what ran, how it ended, and what failed first.

It is all that a reader sees where scripts are forbidden, and the first thing painted everywhere else.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from html import escape
from itertools import pairwise

from .flame_columns import Task, exception_line
from .states import STATES

SHOWN_IN_FULL = 3   # root causes with arguments and log; the others are a line each
SHOWN_AT_ALL = 100
LOG_LINES = 10
ARGUMENT_CHARS = 300
TRACEBACK_LINES = 40
EXCEPTION_LINES = 6

# What would be invisible, or turn the text around it: shown as its code.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                    "\U000e0000-\U000e007f]")
COLOURS = re.compile("\x1b\\[[0-9;]*m")  # of a terminal


def summary(model: Mapping, failed: list[Task], counts: Mapping[str, int]) -> str:
    """HTML of the run's header and of its failures."""
    run = model.get("run") or {}
    return _header(run, counts, model.get("generated_at")) + _failures(failed)


def title(run: Mapping) -> str:
    return text(f"{run.get('state') or 'unknown'} \u00b7 {run.get('firex_id') or run.get('id') or 'run'}")


def text(value: object) -> str:
    """``value`` as HTML text in ASCII, with every character visible."""
    shown = HIDDEN.sub(lambda hidden: f"\\u{ord(hidden[0]):04x}", COLOURS.sub("", str(value)).replace("\r\n", "\n"))
    return escape(shown).encode("ascii", "xmlcharrefreplace").decode()


# --- the run ---------------------------------------------------------------------------------------

def _header(run: Mapping, counts: Mapping[str, int], generated_at: object) -> str:
    state = str(run.get("state") or "unknown")
    facts = [(name, value) for name, value in _facts(run, counts) if value]
    return (
        f'<header class="run">\n<h1><span class="state {text(state)}">{text(state)}</span> '
        f'<span class="id">{text(run.get("firex_id") or run.get("id") or "run")}</span></h1>\n'
        + (f'<p class="chain">{text(run["chain"])}</p>\n' if run.get("chain") else "")
        + '<dl class="facts">'
        + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>\n"
        + _way_on(run, generated_at) + "</header>\n")


def _facts(run: Mapping, counts: Mapping[str, int]) -> Iterable[tuple[str, str]]:
    started, ended = run.get("started"), run.get("ended")
    yield "started", moment(started)
    if isinstance(started, (int, float)) and isinstance(ended, (int, float)):
        yield "took", duration(ended - started)
    yield "tasks", _counts(counts)
    yield "by", text("@".join(str(part) for part in (run.get("user"), run.get("host")) if part))
    yield "python", text(run.get("python") or "")
    if len(incarnations := run.get("incarnations") or ()) > 1:
        crashes = sum(one.get("end") == "crash" for one in incarnations)
        yield "incarnations", f"{len(incarnations)}" + (f", {crashes} crashed" if crashes else "")
    if redacted := run.get("redacted"):
        yield "redacted", f"{text(redacted)} values"


def _counts(counts: Mapping[str, int]) -> str:
    return f'<span class="count">{sum(counts.values()):,}</span>' + "".join(
        f'<span class="count"><i class="dot {state}"></i>{counts[state]:,}&nbsp;{state}</span>'
        for state in STATES if counts.get(state))


def _way_on(run: Mapping, generated_at: object) -> str:
    parts = []
    if run.get("snapshot"):
        parts.append(f"Snapshot of {moment(generated_at)}: the run has not finished.")
    if resume := run.get("resume"):
        parts.append(f'Carry on: <code>{text(resume)}</code> <button type="button" class="copy" hidden>copy</button>')
    return f'<p class="notice">{" ".join(parts)}</p>\n' if parts else ""


# --- what failed -------------------------------------------------------------------------------------

def _failures(failed: list[Task]) -> str:
    by_num = {task.get("num"): task for task in failed}
    if not failed:
        return ""
    roots = [task for task in failed if not _is_explained(task, by_num)] or failed
    alike: dict[tuple, list[Task]] = {}
    for task in roots:
        key = task.get("name"), exception_line(task), task.get("error_context")
        alike.setdefault(key, []).append(task)
    groups = list(alike.values())
    full = "".join(_failure(group, by_num) for group in groups[:SHOWN_IN_FULL])
    brief = "".join(_brief_failure(group) for group in groups[SHOWN_IN_FULL:SHOWN_AT_ALL])
    unshown = len(groups) - SHOWN_AT_ALL
    followers = len(failed) - len(roots)
    heading = "1 task failed" if len(roots) == 1 else f"{len(roots)} tasks failed"
    return (f'<section class="failures" aria-label="Failures">\n<h2>{heading}'
            + (f', and {followers} more because of {"it" if len(roots) == 1 else "them"}' if followers else "")
            + f"</h2>\n{full}" + (f'<ul class="brief">{brief}</ul>\n' if brief else "")
            + (f'<p class="more">{unshown} further kinds of failure are not listed here.</p>\n' if unshown > 0 else "")
            + "</section>\n")


def _is_explained(task: Task, by_num: Mapping) -> bool:
    cause = task.get("cause")
    return cause is not None and cause != task.get("num") and cause in by_num


def _failure(group: list[Task], by_num: Mapping) -> str:
    task = group[0]
    context = task.get("error_context")
    where = f'<p class="where">{text(context)}</p>\n' if context else ""
    code = source_line(str(task.get("traceback") or ""), str(context or ""))
    return ('<article class="failure">\n<div class="what">\n'
            f"<h3>{_link(task)}{_alike(group)}</h3>\n"
            f'<p class="exception">{text(exception_line(task))}</p>\n{where}'
            + (f'<pre class="code">{text(code)}</pre>\n' if code else "")
            + _path(task, by_num) + _arguments(task) + _traceback(task) + f"</div>\n{_log_tail(task)}</article>\n")


def _brief_failure(group: list[Task]) -> str:
    said = f'<span class="exception">{text(exception_line(group[0]))}</span>'
    return f"<li>{_link(group[0])}{_alike(group)} {said}</li>\n"


def _link(task: Task) -> str:
    num, name = text(task.get("num")), text(task.get("name") or "?")
    return f'<a href="#task={num}"><i class="dot failed"></i><span class="num">#{num}</span> {name}</a>'


def _alike(group: list[Task]) -> str:
    return f' <span class="alike">and {len(group) - 1} alike</span>' if len(group) > 1 else ""


def _path(task: Task, by_num: Mapping) -> str:
    """Who enqueued whom, down to the task."""
    above: list[Task] = []
    caller = by_num.get(task.get("enqueued_by"))
    while caller and caller not in above and len(above) < 30:
        above.insert(0, caller)
        caller = by_num.get(caller.get("enqueued_by"))
    steps = (f'<a href="#task={text(t.get("num"))}">{text(t.get("name") or "?")}</a>' for t in above)
    return f'<p class="path">in {" &rsaquo; ".join(steps)}</p>\n' if above else ""


def _arguments(task: Task) -> str:
    arguments = task.get("args") or {}
    if not isinstance(arguments, Mapping) or not arguments:
        return ""
    pairs = (f"<div><dt>{text(name)}</dt><dd>{text(_short(value))}</dd></div>" for name, value in arguments.items())
    return f'<dl class="given">{"".join(pairs)}</dl>\n'


def _traceback(task: Task) -> str:
    lines = str(task.get("traceback") or "").rstrip().splitlines()
    if not lines:
        return ""
    cut = len(lines) - TRACEBACK_LINES
    shown = ([f"... {cut} lines above"] if cut > 0 else []) + lines[-TRACEBACK_LINES:]
    return f'<details><summary>traceback</summary><pre>{text(chr(10).join(shown))}</pre></details>\n'


def _log_tail(task: Task) -> str:
    lines = log_lines(task)[-LOG_LINES:]
    return f'<div class="tail"><h4>last output</h4><pre>{text(chr(10).join(lines))}</pre></div>\n' if lines else ""


# --- words for values ----------------------------------------------------------------------------------

def source_line(traceback: str, context: str) -> str:
    """The line of code that ``context``, "file:line in function", points at, if ``traceback`` quotes it."""
    place = re.fullmatch(r"(.+):(\d+)(?: in (.+))?", context)
    if not place:
        return ""
    lines = traceback.splitlines()
    for frame, code in reversed(list(pairwise(lines))):
        if re.search(rf'{re.escape(place[1])}", line {place[2]}\b', frame) and not code.startswith("  File "):
            return code.strip()
    return ""


def log_lines(task: Task) -> list[str]:
    log = task.get("log") or {}
    lines = log.get("lines") if isinstance(log, Mapping) else log
    return lines.splitlines() if isinstance(lines, str) else [str(line) for line in lines or ()]


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def moment(when: object) -> str:
    """A ``time`` element in UTC, which the script turns into the reader's own time."""
    if not isinstance(when, (int, float)):
        return ""
    at = datetime.fromtimestamp(when, timezone.utc)
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'


def _short(value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= ARGUMENT_CHARS else f"{shown[:ARGUMENT_CHARS]}\u2026 ({len(shown):,} characters)"
