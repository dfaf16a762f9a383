"""What a report tells of the run itself: what was asked for, where and by what it ran, its lives, and the ways on.

It is written here and not by script, which only brings it into its view; so it can be read where scripts are forbidden.
"""
from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .flame_summary import since_last_good
from .flame_words import command, duration, moment, text
from .portable import compact

LONG_VALUE, MOST_VALUE = 3000, 64 * 1024  # characters: what is longer than the first is folded, than the second cut
LIFE_ENDS = {"clean": "by itself", "crash": "killed", "open": "goes on"}

# What a task says where its details in the page leave a field out, in the order of the data.
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("num", "uuid", "parent", "enqueued_by", "name", "long_name", "state")), "chain_depth": 0, "plugin": False,
    **dict.fromkeys(("host", "started", "runtime")), "states": [], "attempts": [],
    **dict.fromkeys(("queue", "self", "child_wait", "backoff", "asleep", "down"), 0), "replayed_in": [], "args": {},
    "defaults": {}, **dict.fromkeys(("result", "exception", "traceback", "cause", "error_context")), "flame_data": {},
    "external_commands": {}, "extra_parents": [], "cached_from": None, "aside": False, "log": None, "due": None,
    "queue_name": None, "retries": 0, "revoke_reason": None,
}


def about(facts: Mapping[str, Any], schema: object, size: int) -> str:
    """HTML of the view of the run. facts: ``{"generated_at", "firexlite", "run"}`` of the model. size: the number of tasks."""
    run = facts["run"]
    options = _mapping(run.get("options"))
    firex_id = run.get("firex_id") or run.get("id") or "ID"
    ways = (run.get("resume"), f"firexlite logs {firex_id}")
    argv = run.get("argv") or ()
    sections = {
        "Run": _pairs(_facts(facts, options, size)),
        "Inputs": _pairs((name, _value(value)) for name, value in _mapping(run.get("inputs")).items()),
        "Command line": f"<p>{command(shlex.join(['firexlite', *map(str, argv[1:])]))}</p>" if argv else "",
        "Ways on": "".join(f"<p>{command(way)}</p>" for way in ways if way),
        "": since_last_good(run),
        "Incarnations": _table(("", "process", "host", "started", "ended", "took", "how it ended"),
                               map(_life, run.get("incarnations") or ())),
        **{heading: _table(("file", "digest"), (_file(one) for one in options.get(kind) or ()))
           for heading, kind in (("Plugins", "plugins"), ("Modules that they import", "helpers"))},
        "What is missing here": _pairs((what, text(count)) for what, count in _mapping(run.get("truncated")).items()),
        "Data": _data(schema, firex_id, is_whole=not run.get("truncated")),
    }
    return "".join(f"<section>{f'<h3>{heading}</h3>' if heading else ''}{content}</section>\n"
                   for heading, content in sections.items() if content)


def _facts(facts: Mapping[str, Any], options: Mapping, size: int) -> Iterable[tuple[str, str]]:
    run, limit, queues = facts["run"], options.get("soft_time_limit"), options.get("queues")
    redacted = run.get("redacted")
    state = text(run.get("state") or "unknown")
    yield "FireX ID", f"<code>{text(run.get('firex_id') or run.get('id') or '')}</code>"
    yield "chain", text(run.get("chain") or "")
    yield "state", f'<span class="state {state}">{state}</span>'
    yield "started", moment(run.get("started"))
    yield "ended", moment(run.get("ended"))
    yield "took", _span(run.get("started"), run.get("ended"))
    yield "tasks", f"{size:,}"
    for name, value in (("user", run.get("user")), ("host", run.get("host")), ("directory", options.get("cwd")),
                        ("workers", options.get("workers")), ("queues", compact(queues) if queues else None)):
        yield name, "" if value is None else text(value)
    yield "soft time limit", duration(limit) if isinstance(limit, (int, float)) else ""
    yield "python", text(run.get("python") or "")
    yield "firexlite", text(facts.get("firexlite") or "")
    yield "redacted", f"{text(redacted)} values that looked like secrets" if redacted else ""
    yield "this report", f"made at {moment(facts.get('generated_at'))}{', before the run ended' if run.get('snapshot') else ''}"


def _data(schema: object, firex_id: object, is_whole: bool) -> str:
    """The button that the page's script makes work, or why there is none."""
    whole = command(f"firexlite flame {firex_id} --json")
    if not is_whole:
        return f"<p>This file does not hold everything; all of it gives {whole}</p>"
    given = text(compact({"head": {"schema": schema}, "nothing": NOTHING}))
    return f'<p><button type="button" id="download" data-given="{given}" hidden>Download JSON</button> the same as {whole}</p>'


def _life(life: Mapping) -> list[str]:
    started, ended = life.get("started"), life.get("ended")
    return [*(text(life.get(fact, "")) for fact in ("n", "pid", "host")), moment(started), moment(ended), _span(started, ended),
            text(LIFE_ENDS.get(str(life.get("end")), life.get("end")))]


def _file(file: Mapping) -> list[str]:
    return [f"<code>{text(file.get(fact, ''))}</code>" for fact in ("path", "digest")]


# --- parts -----------------------------------------------------------------------------------------------

def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and, as HTML, what they stand for; without those that stand for nothing."""
    rows = "".join(f'<tr><th scope="row">{text(name)}</th><td>{shown}</td></tr>' for name, shown in pairs if shown)
    return f'<table class="values"><tbody>{rows}</tbody></table>' if rows else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="list"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>' if body else ""


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        value = next((value[mark] for mark in ("$int", "$num", "$repr") if mark in value), value)
    shown = value if isinstance(value, str) else compact(value)
    box = f'<pre class="value">{text(shown[:MOST_VALUE])}</pre>'
    if len(shown) <= LONG_VALUE:
        return box
    cut = f", of which these are the first {MOST_VALUE:,}" if len(shown) > MOST_VALUE else ""
    return f"<details><summary>{len(shown):,} characters{cut}</summary>{box}</details>"


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _span(started: object, ended: object) -> str:
    return duration(ended - started) if isinstance(started, (int, float)) and isinstance(ended, (int, float)) else ""
