"""A run's flame in one of its formats: the page for people, and data for programs."""
from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from .flame_page import write_page

SCHEMA = "firexlite.flame/1"
RUN_KEYS = ("id", "firex_id", "chain", "state", "started", "ended", "root", "inputs", "argv", "host", "user", "python",
            "workers", "incarnations", "counts", "snapshot", "truncated", "redacted", "resume")
TASK_KEYS = ("num", "uuid", "parent", "enqueued_by", "name", "long_name", "state", "chain_depth", "plugin", "host",
             "started", "runtime", "states", "attempts", "queue", "self", "child_wait", "backoff", "asleep", "down",
             "replayed_in", "args", "defaults", "result", "exception", "traceback", "cause", "error_context",
             "flame_data", "external_commands", "extra_parents", "cached_from", "aside", "log")

MAX_SAFE_INTEGER = 2 ** 53 - 1  # beyond it JSON.parse rounds
MAX_DEPTH = 100
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def write_json(model: Mapping[str, Any], out: TextIO) -> None:
    """The whole model as one JSON object, ``schema`` first, keys in a fixed order, never cut."""
    head = {"schema": SCHEMA, **{key: value for key, value in model.items() if key not in ("run", "tasks")}}
    head["run"] = _by_keys(model.get("run") or {}, RUN_KEYS)
    out.write(json.dumps(head, indent=1, allow_nan=False)[:-2] + ',\n "tasks": [')
    before = "\n"
    for task in model.get("tasks") or ():
        text = json.dumps(_by_keys(task, TASK_KEYS), indent=1, allow_nan=False)
        out.write(before + "  " + text.replace("\n", "\n  "))
        before = ",\n"
    out.write("\n ]\n}" if before == ",\n" else "]\n}")


FORMATS: dict[str, Callable[[Mapping[str, Any], TextIO], None]] = {"html": write_page, "json": write_json}


def render_json(model: Mapping[str, Any]) -> str:
    return _rendered(write_json, model)


def render_html(model: Mapping[str, Any]) -> str:
    return _rendered(write_page, model)


def _rendered(write: Callable[[Mapping[str, Any], TextIO], None], model: Mapping[str, Any]) -> str:
    out = io.StringIO()
    write({**portable({key: value for key, value in model.items() if key != "tasks"}),
           "tasks": map(portable, model.get("tasks") or ())}, out)
    return out.getvalue()


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


def _by_keys(given: Mapping, keys: Iterable[str]) -> dict:
    """The known keys as listed, then the others by name."""
    known = {key: given[key] for key in keys if key in given}
    return known | {key: given[key] for key in sorted(given) if key not in known}
