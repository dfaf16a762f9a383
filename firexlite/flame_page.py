"""A run's flame as one HTML page that needs no network and runs no stranger's code.

Nothing that a service, an argument or a log says can become markup or script: the page carries data in blocks without a
single `<`, draws it with `createElement` and `textContent` only, and its policy lets no other script run than the one whose
hash it names.
"""
from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, TextIO

from .flame_about import about
from .flame_columns import Chunks, Columns, packed
from .flame_failures import failures_of
from .flame_summary import summary, title
from .portable import in_ascii

SCRIPTS = ("dom.js", "kept.js", "run.js", "values.js", "timeline.js", "critical.js", "stats.js", "lines.js", "tree.js",
           "drawer.js", "curve.js", "hosts.js", "overview.js", "failures.js", "search.js", "collapse.js", "boxes.js",
           "graph.js", "table.js", "logs.js", "about.js", "app.js")
STYLES = ("page.css", "summary.css", "views.css", "graph.css", "overview.css", "table.css")
MOST_BYTES = 200 * 1024 * 1024  # of the file, about


class Sheet:
    """What the page says of consecutive tasks of a run, gathered one by one.

    first: how many tasks stand before them. most_bytes: when their details take more, those of further tasks that did not
        fail are left out, which the page says.
    """

    def __init__(self, run: Mapping[str, Any], generated_at: object, first: int = 0, most_bytes: int = MOST_BYTES) -> None:
        self.columns, self.chunks = Columns(run, generated_at, first), Chunks(most_bytes, first)
        self.failures = failures_of(run)
        self.redacted = 0  # values that were taken out of the tasks, if not counted in the run

    def gather(self, tasks: Iterable[Mapping[str, Any]]) -> Sheet:
        for task in tasks:
            self.columns.add(task)
            self.chunks.add(task)
            self.failures.add(task)
        self.chunks.close()
        return self

    def extend(self, other: Sheet) -> Sheet:
        """Take in what is said of the tasks that follow these. Both are complete."""
        self.columns.extend(other.columns)
        self.chunks.extend(other.chunks)
        self.failures.extend(other.failures)
        self.redacted += other.redacted
        return self


def write_page(model: Mapping[str, Any], out: TextIO, most_bytes: int = MOST_BYTES, live: int | None = None) -> None:
    """The model as one page in ASCII: readable without script, complete with it.

    most_bytes: as `Sheet`. live: of a page that is served, its number among the reports of the run.
    """
    sheet = Sheet(model.get("run") or {}, model.get("generated_at"), 0, most_bytes)
    write_sheet(model, sheet.gather(model.get("tasks") or ()), out, live)


def write_sheet(model: Mapping[str, Any], sheet: Sheet, out: TextIO, live: int | None = None) -> None:
    """A page of the tasks that were gathered. live: as `write_page`."""
    run, columns, chunks = dict(model.get("run") or {}), sheet.columns, sheet.chunks
    if sheet.redacted:
        run["redacted"] = run.get("redacted", 0) + sheet.redacted
    style, script = "".join(map(_asset, STYLES)), "".join(map(_asset, SCRIPTS))
    asking = None if live is None else _asset("live.js")
    if cuts := {what: count for what, count in (("values", chunks.cuts), ("tasks", chunks.left_out)) if count}:
        run["truncated"] = {**(run.get("truncated") or {}), **cuts}
    facts = {"generated_at": model.get("generated_at"), "firexlite": model.get("firexlite"), "run": run}
    head, tail = _asset("page.html").split("{{details}}")
    out.write(_fill(head, {
        "policy": _policy(style, script, asking),
        "title": title(run),
        "style": style,
        "summary": summary(run, columns.counts, sheet.failures, model.get("generated_at"), columns.above),
        "about": about(facts, model.get("schema"), len(columns.columns["num"])),
        "run": _block("fx-run", facts),
        "index": _packed_block("fx-index", packed(in_ascii(columns.index(chunks.firsts)))),
        "script": script,
    }))
    for number, chunk in enumerate(chunks.packed):
        out.write(_packed_block(f"fx-d{number}", chunk) + "\n")
    out.write(_fill(tail, {"live": "" if asking is None else f'<script data-report="{live}">{asking}</script>\n'}))


def _fill(template: str, parts: Mapping[str, str]) -> str:
    # In one pass: a `{{script}}` inside the data is data.
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: parts[hole[1]], template)


def _block(name: str, data: object) -> str:
    """A block of data that cannot end its element, open a comment, or be run."""
    text = in_ascii(data)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _packed_block(name: str, data: str) -> str:
    return f'<script type="text/plain" id="{name}">{data}</script>'


def _policy(style: str, script: str, asking: str | None) -> str:
    """asking: the script of a page that is served, which may ask its own server, and nobody else."""
    scripts = f"'{_hash(script)}'" if asking is None else f"'{_hash(script)}' '{_hash(asking)}'; connect-src 'self'"
    return ("default-src 'none'; "
            f"script-src {scripts}; style-src '{_hash(style)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (files("firexlite") / "flame" / "assets" / name).read_text("utf-8")
