"""A run's flame in one of its formats: the page for people, and data for programs."""
from __future__ import annotations

import functools
import io
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TextIO

from .flame_graph import Stretch, streamed_model, stretches
from .flame_page import Sheet, write_page, write_sheet
from .history import History
from .home import RunDirectory
from .portable import in_ascii, portable

SCHEMA = "firexlite.flame/1"
RUN_KEYS = ("id", "firex_id", "chain", "state", "started", "ended", "root", "inputs", "argv", "host", "user", "python",
            "options", "incarnations", "counts", "snapshot", "truncated", "redacted", "resume",
            "root_causes", "stopped", "since_last_good", "log", "services")
TASK_KEYS = ("num", "uuid", "parent", "enqueued_by", "name", "long_name", "state", "chain_depth", "plugin", "host",
             "started", "runtime", "states", "attempts", "queue", "self", "child_wait", "backoff", "asleep", "down",
             "replayed_in", "args", "defaults", "result", "exception", "traceback", "cause", "error_context",
             "flame_data", "external_commands", "extra_parents", "cached_from", "aside", "log")

def write_json(model: Mapping[str, Any], out: TextIO) -> None:
    """The whole model as one JSON object, ``schema`` first, keys in a fixed order, never cut."""
    head = {"schema": SCHEMA, **{key: value for key, value in model.items() if key not in ("run", "tasks")}}
    head["run"] = _by_keys(model.get("run") or {}, RUN_KEYS)
    out.write("{\n" + "".join(f" {in_ascii(key)}: {in_ascii(value)},\n" for key, value in head.items()) + ' "tasks": [')
    before = "\n  "
    for task in model.get("tasks") or ():
        out.write(before + in_ascii(_by_keys(task, TASK_KEYS)))
        before = ",\n  "
    out.write("\n ]\n}")


Format = Callable[[Mapping[str, Any], TextIO], None]
FORMATS: dict[str, Format] = {"html": write_page, "json": write_json}
LOG_BYTES = {"html": 16 * 1024}  # of each task's output; in other formats as much as is ever read


def export(directory: RunDirectory, name: str, out: TextIO, now_s: float | None = None, processes: int = 1) -> None:
    """Write the report of a run in the format of that name.

    now_s: when it is said to have been made. processes: how many may work at the page of a run with very many tasks.
    Raises JournalUnusable for a journal that cannot be read or trusted.
    """
    now_s = round(time.time() if now_s is None else now_s, 6)
    with History(directory) as history, history.snapshot():  # also around what is made of its rows, which may be strange
        model = streamed_model(history, LOG_BYTES.get(name), now_s)
        if name == "html" and len(parts := stretches(history, LOG_BYTES[name], now_s)) > 1:
            write_sheet(model, _gathered_together(parts, processes), out)
        else:
            FORMATS[name](model, out)


def _gathered_together(parts: Sequence[Stretch], processes: int) -> Sheet:
    """What the page says of all stretches of a run, each of which one of the processes went along."""
    if processes == 1:
        sheets = map(_sheet_of, parts)
        return functools.reduce(Sheet.extend, sheets)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as others:
        return functools.reduce(Sheet.extend, others.map(_sheet_of, parts))


def _sheet_of(part: Stretch) -> Sheet:
    with History(RunDirectory(part.directory)) as history, history.snapshot():
        model = part.model(history)
        return Sheet(model["run"], model["generated_at"], part.first - 1).gather(model["tasks"])


def render_json(model: Mapping[str, Any]) -> str:
    return _rendered(write_json, model)


def render_html(model: Mapping[str, Any]) -> str:
    return _rendered(write_page, model)


def _rendered(write: Format, model: Mapping[str, Any]) -> str:
    out = io.StringIO()
    write({**portable({key: value for key, value in model.items() if key != "tasks"}),
           "tasks": map(portable, model.get("tasks") or ())}, out)
    return out.getvalue()


def _by_keys(given: Mapping, keys: Iterable[str]) -> dict:
    """The known keys as listed, then the others by name."""
    known = {key: given[key] for key in keys if key in given}
    return known | {key: given[key] for key in sorted(given) if key not in known}
