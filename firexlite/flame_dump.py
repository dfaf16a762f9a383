"""A run as FireX's own Flame reads it: the files that its page shows, and the events that its server replays."""
from __future__ import annotations

import collections
import datetime
import errno
import gzip
import io
import itertools
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import BadInput, StorageFailure
from .flame_firex import ROOT, SLIM, Translator
from .flame_recording import Recording
from .home import FIREX_ID
from .states import (
    FAILED,
    FINAL,
    READY,
    REVOKED,
    RUN_FAILED,
    RUN_INTERRUPTED,
    RUN_REVOKED,
    RUN_RUNNING,
    RUN_SUCCEEDED,
    RUNNING,
    SUCCEEDED,
)

# FireX's RootTask succeeds whatever becomes of its chain. Ours ends as the run did: a failed run is not to begin in green.
OF_ROOT = {RUN_RUNNING: RUNNING, RUN_INTERRUPTED: RUNNING, RUN_SUCCEEDED: SUCCEEDED, RUN_FAILED: FAILED, RUN_REVOKED: REVOKED}
MODEL = Path("firex_internal", "flame", "model")
LOGS = "microservice_logs"
_REFUSED = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EEXIST,
            errno.ENOTEMPTY)


def write_dump(model: Mapping, folder: Path) -> Path:
    """Write ``folder/<FireX ID>``, which FireX's Flame opens; returns that path.

    model: its tasks, in the order of their numbers, are walked once.
    The dump appears as a whole or not at all, and only its owner may look into it.
    Raises BadInput if it is there already or the folder cannot be written to, StorageFailure if the disk fails.
    """
    firex_id = flame_id(model["run"])
    target = Path(os.path.abspath(folder)) / firex_id
    if os.path.lexists(target):
        raise BadInput(f"the dump would be written to '{target}', which is there already; remove it or name another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{firex_id}.", dir=target.parent))
        try:
            _Dump(model, firex_id, target, draft).write()
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        kind = BadInput if error.errno in _REFUSED else StorageFailure
        raise kind(f"the dump cannot be written to '{target}': {error.strerror or error}") from error
    return target


def flame_id(run: Mapping) -> str:
    """The run's FireX ID; where it has another kind of id, one by which Flame would know it, always the same."""
    own = run["firex_id"]
    if FIREX_ID.match(own):
        return own
    user = re.sub(r"\W", "_", run.get("user") or "lite", flags=re.ASCII)[:64]
    began = datetime.datetime.fromtimestamp(run.get("started") or 0, datetime.timezone.utc)
    return f"FireX-{user}-{began:%y%m%d-%H%M%S}-{zlib.crc32(own.encode(errors='surrogatepass'))}"


class _Dump:
    """The making of one dump. target: where it will lie; draft: where it is made."""

    def __init__(self, model: Mapping, firex_id: str, target: Path, draft: Path) -> None:
        self.run, self.tasks, self.firex_id = model["run"], model["tasks"], firex_id
        self.target, self.draft = target, draft
        self.closing = self._closing(model.get("generated_at") or 0.0)
        self.translator = Translator(self.run["firex_id"], self.closing)
        self.culprit: int | None = None                        # the first submitted task that failed
        self.revoked: tuple[float, str | None] | None = None   # when and why the first submitted task was revoked
        self.adopted: dict[int, list[int]] = collections.defaultdict(list)  # of a parent, the others that it asked for

    def _closing(self, generated_at: float) -> float:
        lives = self.run.get("incarnations") or [{}]
        return self.run.get("ended") or lives[-1].get("ended") or generated_at

    def write(self) -> None:
        model = self.draft / MODEL
        (model / "full-tasks").mkdir(parents=True)
        (self.draft / LOGS).mkdir()
        with Recording(model.parent / "flame.rec") as recording, (model / "waiting").open("w+", encoding="utf-8") as waiting:
            # A task tells who else asked for it, and Flame wants to know it of those who did: so all are read first.
            for full in self._read(recording):
                waiting.write(f"{json.dumps(full)}\n")
            root = self._root()
            recording.tell_root(root)
            recording.write()
            waiting.seek(0)
            self._write_model(itertools.chain([root], map(json.loads, waiting)))
        (model / "waiting").unlink()
        _write_json(self.draft / "run.json", self._run_json())
        (model / "model-complete").touch()

    def _read(self, recording: Recording) -> Iterator[dict[str, Any]]:
        """Each task as Flame has it. Its events, its output and what the run has to know of it are put where they belong."""
        uuid = self.translator.uuid
        received = array("d")
        for task in self.tasks:
            # Those of a chain are enqueued together, in the order of their numbers.
            enqueued = received[-1] if task.get("chain_depth") and received else None
            full = self.translator.task(task, enqueued, self._log(task["num"], task.get("log")))
            received.append(full["states"][0]["timestamp"])
            for asker in task.get("extra_parents") or ():
                self.adopted[asker].append(task["num"])
            if task.get("enqueued_by") is None and not task.get("aside"):
                self._look_at_submitted(task, full)
            recording.tell(full, root=uuid(ROOT))
            yield full
        for asker, children in self.adopted.items():
            for child in children:
                recording.adopt(uuid(asker), [uuid(child)], max(received[asker - 1], received[child - 1]))

    def _look_at_submitted(self, task: Mapping, full: Mapping) -> None:
        if task["state"] == FAILED and self.culprit is None:
            self.culprit = task["num"]
        elif task["state"] == REVOKED and self.revoked is None:
            self.revoked = full["latest_timestamp"], task.get("revoke_reason")

    def _write_model(self, tasks: Iterable[dict[str, Any]]) -> None:
        """The files that the page reads. tasks: as Flame has them, but for the others that they asked for."""
        model = self.draft / MODEL
        with _Archive(model / "full-run-state.tar.gz") as archive:
            with (model / "slim-tasks.json").open("w") as slim:
                for full in tasks:
                    if children := self.adopted.get(full["task_num"] - 1):
                        full["additional_children"] = [self.translator.uuid(child) for child in children]
                    name = f"full-tasks/{full['uuid']}.json"
                    archive.add(name, io.BytesIO(_write_json(model / name, full)))
                    slim.write("{" if full["parent_id"] is None else ",\n")
                    slim.write(f'"{full["uuid"]}": {json.dumps({key: full[key] for key in SLIM if key in full})}')
                slim.write("}\n")
            _write_json(model / "run-metadata.json", self._metadata())
            for name in ("slim-tasks.json", "run-metadata.json"):
                with (model / name).open("rb") as file:
                    archive.add(name, file)

    # --- tasks ---------------------------------------------------------------------------------------------

    def _root(self) -> dict[str, Any]:
        """The task that FireX has above all others, which it calls by this name."""
        run = self.run
        state, began = OF_ROOT[run["state"]], run["started"]
        states = [(READY, began), (RUNNING, began), *([(state, self.closing)] if state in FINAL else [])]
        return self.translator.task({
            "num": ROOT, "parent": None, "name": "RootTask", "long_name": "firexapp.tasks.root_tasks.RootTask",
            "state": state, "states": states, "host": run.get("host"), "runtime": self.closing - began,
            "args": {**(run.get("inputs") or {}), "chain": run.get("chain"), "uid": self.firex_id}, "cause": self.culprit})

    def _log(self, num: int, log: Mapping | None) -> str | None:
        """Write what a task printed, and say where that will lie."""
        if not log:
            return None
        name = Path(LOGS, f"{self.translator.uuid(num)}.txt")
        with (self.draft / name).open("w", encoding="utf-8", errors="backslashreplace") as file:
            if left_out := log.get("bytes_before"):
                file.write(f"[{left_out} bytes before this are left out]\n")
            file.writelines(f"{line}\n" for line in log["lines"])
        return str(self.target / name)

    # --- the run -------------------------------------------------------------------------------------------

    def _metadata(self) -> dict[str, Any]:
        # Complete even if the run is not: else the page would look for a server that tells how it goes on.
        return {"uid": self.firex_id, "logs_dir": str(self.target), "chain": self.run.get("chain"),
                "root_uuid": self.translator.uuid(ROOT), "run_complete": True, "flame_recv_complete": True}

    def _run_json(self) -> dict[str, Any]:
        """FireX's fields, as far as the model tells them: the page shows the inputs, and why a run was revoked."""
        run = self.run
        at, reason = self.revoked or (run.get("ended"), None)
        renamed = {} if self.firex_id == run["firex_id"] else {"firexlite_id": run["firex_id"]}
        revoked = run["state"] == RUN_REVOKED
        known = {
            "firex_id": self.firex_id, "logs_path": str(self.target),
            "completed": run["state"] not in (RUN_RUNNING, RUN_INTERRUPTED),
            "chain": [name.strip() for name in (run.get("chain") or "").split(",")],
            "inputs": {**(run.get("inputs") or {}), **renamed}, "submission_cmd": run.get("argv"),
            "submission_host": run.get("host"), "submit_proc_start_timestamp": run.get("started"),
            "completed_timestamp": run.get("ended"), "revoked": revoked,
            "revoked_details": {"root_revoke": True, "reason": reason, "revoke_start_time": at} if revoked else None}
        return {key: value for key, value in known.items() if value is not None}


class _Archive:
    """A tar file, of which the same files make the same bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._zipped = gzip.GzipFile("", "wb", compresslevel=6, fileobj=self._file, mtime=0)
        self._tar = tarfile.TarFile(fileobj=self._zipped, mode="w", format=tarfile.GNU_FORMAT)

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for part in (self._tar, self._zipped, self._file):
            part.close()

    def add(self, name: str, file: BinaryIO) -> None:
        about = tarfile.TarInfo(name)
        about.size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._tar.addfile(about, file)
        self._tar.members.clear()  # type: ignore[attr-defined]  # all that it knows of each, kept for who would read on


def _write_json(path: Path, value: object) -> bytes:
    data = f"{json.dumps(value)}\n".encode()
    path.write_bytes(data)
    return data
