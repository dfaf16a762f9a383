"""A run's flame in one of its formats: the page for people, and data for programs."""
from __future__ import annotations

import errno
import functools
import io
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from .errors import BadInput, StorageFailure
from .flame_dump import write_dump
from .flame_graph import Stretch, streamed_model, stretches
from .flame_junit import write_junit
from .flame_page import MOST_BYTES, Sheet, write_page, write_sheet
from .flame_trace import write_trace
from .history import History
from .home import RunDirectory, open_where_told
from .portable import in_ascii, portable
from .redaction import Redaction

SCHEMA = "firexlite.flame/1"
RUN_KEYS = ("id", "firex_id", "chain", "state", "started", "ended", "root", "inputs", "argv", "host", "user", "python",
            "options", "incarnations", "counts", "snapshot", "truncated", "redacted", "resume",
            "root_causes", "stopped", "since_last_good", "log", "services")
TASK_KEYS = ("num", "uuid", "parent", "enqueued_by", "name", "long_name", "state", "chain_depth", "plugin", "host",
             "started", "runtime", "states", "attempts", "queue", "self", "child_wait", "backoff", "asleep", "down",
             "replayed_in", "args", "defaults", "result", "exception", "traceback", "cause", "error_context",
             "flame_data", "external_commands", "extra_parents", "cached_from", "aside", "log")
NOWHERE_TO_WRITE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
PAGE_LOG_BYTES = 16 * 1024  # of each task's output, in the page; other formats have as much as is ever read


def write_json(model: Mapping[str, Any], out: TextIO) -> None:
    """The whole model as one JSON object, ``schema`` first, keys in a fixed order, never cut."""
    # What stands before the tasks counts what was taken out of them. No file is made for that: reading writes nothing.
    tasks = [in_ascii(_by_keys(task, TASK_KEYS)) for task in model.get("tasks") or ()]
    head = {"schema": SCHEMA, **{key: value for key, value in model.items() if key not in ("run", "tasks")}}
    head["run"] = _by_keys(model.get("run") or {}, RUN_KEYS)
    out.write("{\n" + "".join(f" {in_ascii(key)}: {in_ascii(value)},\n" for key, value in head.items()) + ' "tasks": [')
    out.write("\n  " + ",\n  ".join(tasks) if tasks else "")
    out.write("\n ]\n}")


SECRETS = Redaction()
DATA: dict[str, Callable[[Mapping[str, Any], TextIO], None]] = {"json": write_json, "trace": write_trace, "junit": write_junit}
FORMATS = ("html", *DATA)


@dataclass(frozen=True)
class Settings:
    """How a report is made. now_s: when it is said to have been made; None: now.

    most_bytes: of a page, see `flame_page.Sheet`. live: of a page that is served, its number among the reports of the run; it
    asks for the next one, and shows that. processes: how many may work at the page of a run with very many tasks.
    redaction: what is taken out.
    """

    format: str = "html"
    now_s: float | None = None
    most_bytes: int = MOST_BYTES
    live: int | None = None
    processes: int = 1
    redaction: Redaction = SECRETS

    @property
    def moment_s(self) -> float:
        return round(time.time() if self.now_s is None else self.now_s, 6)


def export(directory: RunDirectory, out: TextIO, settings: Settings) -> None:
    """Write the report of a run, as it stands. Raises JournalUnusable for a journal that cannot be read or trusted."""
    log_bytes = PAGE_LOG_BYTES if settings.format == "html" else None
    with History(directory) as history, history.snapshot():  # also around what is made of its rows, which may be strange
        model = _model(history, settings, log_bytes)
        if settings.format != "html":
            DATA[settings.format](model, out)
            return
        parts = stretches(history, log_bytes, model["generated_at"], settings.redaction)
        if len(parts) == 1:
            write_page(model, out, settings.most_bytes, settings.live)
        else:
            write_sheet(model, _gathered_together(parts, model["run"], settings), out, settings.live)


def write_report(directory: RunDirectory, path: Path, settings: Settings) -> None:
    """Write the report of a run to a file, which is whole at every moment.

    Raises BadInput for a place where nothing can be written, StorageFailure for a disk that fails or is full.
    """
    try:
        with open_where_told(path, mode=0o666) as out:
            export(directory, out, settings)
    except OSError as error:
        if error.errno in NOWHERE_TO_WRITE:
            raise BadInput(f"the report cannot be written to '{path}': {error.strerror}") from error
        raise StorageFailure(f"the report could not be written to '{path}': {error.strerror}") from error


def dump(directory: RunDirectory, folder: Path, settings: Settings) -> Path:
    """Write the run as FireX's own Flame reads it, into a folder of its own below ``folder``; returns that."""
    with History(directory) as history, history.snapshot():
        return write_dump(_model(history, settings, None), folder)


def _model(history: History, settings: Settings, log_bytes: int | None) -> dict[str, Any]:
    return streamed_model(history, log_bytes, settings.moment_s, redaction=settings.redaction)


def _gathered_together(parts: Sequence[Stretch], run: Mapping[str, Any], settings: Settings) -> Sheet:
    """What the page says of all stretches of a run, each of which one of the processes goes along."""
    gather = functools.partial(_sheet_of, run=run, most_bytes=settings.most_bytes // len(parts))
    if settings.processes == 1:
        return functools.reduce(Sheet.extend, map(gather, parts))
    with ProcessPoolExecutor(settings.processes, mp_context=multiprocessing.get_context("fork")) as others:
        return functools.reduce(Sheet.extend, others.map(gather, parts))


def _sheet_of(part: Stretch, run: Mapping[str, Any], most_bytes: int) -> Sheet:
    with History(RunDirectory(part.directory)) as history, history.snapshot():
        model = part.model(history, run)
        sheet = Sheet(run, model["generated_at"], part.first - 1, most_bytes).gather(model["tasks"])
        sheet.redacted = model["run"]["redacted"]
        return sheet


def render_json(model: Mapping[str, Any]) -> str:
    return _rendered(write_json, model)


def render_html(model: Mapping[str, Any]) -> str:
    return _rendered(write_page, model)


def _rendered(write: Callable[[Mapping[str, Any], TextIO], None], model: Mapping[str, Any]) -> str:
    out = io.StringIO()
    write({**portable({key: value for key, value in model.items() if key != "tasks"}),
           "tasks": map(portable, model.get("tasks") or ())}, out)
    return out.getvalue()


def _by_keys(given: Mapping, keys: Iterable[str]) -> dict:
    """The known keys as listed, then the others by name."""
    known = {key: given[key] for key in keys if key in given}
    return known | {key: given[key] for key in sorted(given) if key not in known}
