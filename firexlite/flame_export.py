"""A run's flame as text: one JSON object, or one HTML page that needs no network and runs no stranger's code.

Nothing that a service, an argument or a log says can become markup or script: the page carries data in JSON
blocks without a single `<`, draws it with `createElement` and `textContent` only, and its policy lets no other
script run than the one whose hash it names.
"""
from __future__ import annotations

import base64
import errno
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from .errors import BadInput, StorageFailure
from .flame_graph import model_of
from .flame_rows import arrange, columns, details
from .flame_summary import summary, title
from .history import History
from .home import RunDirectory, open_where_told

SCHEMA = "firexlite.flame/1"
PAGE_LOG_BYTES = 16 * 1024  # of each task's output, in the page; --json has as much as is ever read
SCRIPTS = ("dom.js", "kept.js", "run.js", "values.js", "timeline.js", "tree.js", "drawer.js", "search.js", "app.js")
RUN_KEYS = ("id", "firex_id", "chain", "state", "started", "ended", "root", "inputs", "argv", "host", "user", "python",
            "incarnations", "counts", "snapshot", "truncated", "redacted", "resume")
TASK_KEYS = ("num", "uuid", "parent", "enqueued_by", "name", "long_name", "state", "chain_depth", "plugin", "host",
             "started", "runtime", "states", "attempts", "queue", "self", "child_wait", "backoff", "asleep", "down",
             "replayed_in", "args", "defaults", "result", "exception", "traceback", "cause", "error_context",
             "flame_data", "external_commands", "extra_parents", "cached_from", "aside", "log")

NOWHERE_TO_WRITE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
MAX_SAFE_INTEGER = 2 ** 53 - 1  # beyond it JSON.parse rounds
MAX_DEPTH = 100
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def export(directory: RunDirectory, format: str, out: TextIO, *, now_s: float | None = None, live: int | None = None) -> None:
    """Write the report of a run, as it stands, in one of the formats `html` and `json`.

    live: for a page that is served, its number among the reports of the run; it asks for the next one, and shows that.
    """
    with History(directory) as history:  # also around what is made of its rows, which may be strange
        model = model_of(history, log_bytes=None if format == "json" else PAGE_LOG_BYTES, now_s=now_s)
        out.write(render_json(model) if format == "json" else render_html(model, live))


def write_report(directory: RunDirectory, path: Path, format: str = "html", **options: Any) -> None:
    """Write the report of a run, as `export` does, to a file, which is whole at every moment.

    Raises BadInput for a place where nothing can be written, StorageFailure for a disk that fails or is full.
    """
    try:
        with open_where_told(path, mode=0o666) as out:
            export(directory, format, out, **options)
    except OSError as error:
        if error.errno in NOWHERE_TO_WRITE:
            raise BadInput(f"the report cannot be written to '{path}': {error.strerror}") from error
        raise StorageFailure(f"the report could not be written to '{path}': {error.strerror}") from error


def render_json(model: Mapping) -> str:
    """The whole model as one JSON object, ``schema`` first, keys in a fixed order, never cut."""
    return json.dumps(_in_order(portable(model)), indent=1, allow_nan=False)


def render_html(model: Mapping, live: int | None = None) -> str:
    """The model as one page in ASCII: readable without script, complete with it. live: as in `export`."""
    model = portable(model)
    tasks = [{"num": place, **task} for place, task in enumerate(model.get("tasks") or (), 1)]
    run = model.get("run") or {}
    rows = arrange(tasks)
    style, script = _asset("page.css"), "".join(map(_asset, SCRIPTS))
    asking = None if live is None else _asset("live.js")
    facts = {"generated_at": model.get("generated_at"), "firexlite": model.get("firexlite"), "run": run}
    return _fill(_asset("page.html"), {
        "policy": _policy(style, script, asking),
        "title": title(run),
        "style": style,
        "summary": summary(model, [row.task for row in rows]),
        "run": _block("fx-run", facts),
        "index": _block("fx-index", columns(rows, run, model.get("generated_at"))),
        "script": script,
        "details": "\n".join(_block(f"fx-d{n}", chunk) for n, chunk in enumerate(details(rows))),
        "live": "" if asking is None else f'<script data-report="{live}">{asking}</script>\n',
    })


def portable(value: object, above: tuple[int, ...] = ()) -> Any:
    """``value`` as JSON that every reader reads alike; what JSON cannot say becomes ``{"$kind": text}``."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$num": NOT_FINITE[str(value)]}
    if isinstance(value, int):
        return value if abs(value) <= MAX_SAFE_INTEGER else {"$int": _digits(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": len(value), "b64": base64.b64encode(value[:64]).decode()}
    if id(value) in above or len(above) > MAX_DEPTH:
        return {"$cut": "a circle" if id(value) in above else f"deeper than {MAX_DEPTH}"}
    within = (*above, id(value))
    if isinstance(value, Mapping):
        return {str(key): portable(one, within) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [portable(one, within) for one in value]
    return {"$repr": repr(value)}


def _digits(number: int) -> str:
    return str(number) if number.bit_length() < 10_000 else hex(number)  # Python refuses to write longer decimals


def _in_order(model: dict) -> dict:
    ordered = {"schema": SCHEMA, **{key: value for key, value in model.items() if key not in ("run", "tasks")}}
    ordered["run"] = _by_keys(model.get("run") or {}, RUN_KEYS)
    ordered["tasks"] = [_by_keys(task, TASK_KEYS) for task in model.get("tasks") or ()]
    return ordered


def _by_keys(given: Mapping, keys: Iterable[str]) -> dict:
    """The known keys as listed, then the others by name."""
    known = {key: given[key] for key in keys if key in given}
    return known | {key: given[key] for key in sorted(given) if key not in known}


# --- the page ------------------------------------------------------------------------------------------

def _fill(template: str, parts: Mapping[str, str]) -> str:
    # In one pass: a `{{script}}` inside the data is data.
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: parts[hole[1]], template)


def _block(name: str, data: object) -> str:
    """A block of data that cannot end its element, open a comment, or be run."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


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
