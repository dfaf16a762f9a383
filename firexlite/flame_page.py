"""A run's flame as one HTML page that needs no network and runs no stranger's code.

Nothing that a service, an argument or a log says can become markup or script: the page carries data in blocks without a
single `<`, draws it with `createElement` and `textContent` only, and its policy lets no other script run than the one whose
hash it names.
"""
from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, TextIO

from .flame_columns import Chunks, Columns, is_failed, packed
from .flame_summary import summary, title

SCRIPTS = ("dom.js", "run.js", "values.js", "timeline.js", "tree.js", "drawer.js", "search.js", "table.js",
           "logs.js", "about.js", "app.js")
STYLES = ("page.css", "views.css", "table.css")
MOST_BYTES = 200 * 1024 * 1024  # of the file, about


def write_page(model: Mapping[str, Any], out: TextIO, most_bytes: int = MOST_BYTES) -> None:
    """The model as one page in ASCII: readable without script, complete with it.

    most_bytes: when the details of tasks take more, those of further tasks that did not fail are left out, and the page says so.
    """
    run = dict(model.get("run") or {})
    columns, chunks = Columns(run, model.get("generated_at")), Chunks(most_bytes)
    failed = []
    for task in model.get("tasks") or ():
        columns.add(task)
        chunks.add(task)
        if is_failed(task):
            failed.append(task)
    style, script = "".join(map(_asset, STYLES)), "".join(map(_asset, SCRIPTS))
    if chunks.left_out:
        run["truncated"] = {**(run.get("truncated") or {}), "details": chunks.left_out}
    facts = {"generated_at": model.get("generated_at"), "firexlite": model.get("firexlite"), "run": run}
    details = chunks.all()
    head, tail = _asset("page.html").split("{{details}}")
    out.write(_fill(head, {
        "policy": _policy(style, script),
        "title": title(run),
        "style": style,
        "summary": summary(model, failed, columns.counts),
        "run": _block("fx-run", facts),
        "index": _packed_block("fx-index", packed(_json(columns.index(chunks.firsts)))),
        "script": script,
    }))
    for number, chunk in enumerate(details):
        out.write(_packed_block(f"fx-d{number}", chunk) + "\n")
    out.write(tail)


def _fill(template: str, parts: Mapping[str, str]) -> str:
    # In one pass: a `{{script}}` inside the data is data.
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: parts[hole[1]], template)


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _block(name: str, data: object) -> str:
    """A block of data that cannot end its element, open a comment, or be run."""
    text = _json(data)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _packed_block(name: str, data: str) -> str:
    return f'<script type="text/plain" id="{name}">{data}</script>'


def _policy(style: str, script: str) -> str:
    return ("default-src 'none'; "
            f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (files("firexlite") / "flame" / "assets" / name).read_text("utf-8")
