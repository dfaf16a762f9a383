"""Runs of service files written for FireX, and what can be known of a run when it has ended."""
from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conftest import Command
from warm import Ended, Warm

from firexlite.flame_export import render_json
from firexlite.flame_graph import model_of
from firexlite.history import History
from firexlite.home import RunDirectory

# How each service file begins: with FireX's own imports, and ways for services to wait for each other and to leave a trace.
HEAD = """
import os, time
from firexapp.engine.celery import app
from firexkit.chain import InjectArgs, InvalidChainArgsException, returns
from firexkit.result import (ChainException, ChainInterruptedException, ChainRevokedException, MultipleFailuresException,
                             WaitOnChainTimeoutError)
from firexkit.task import FireXTask, flame

def wait_for_file(path):
    give_up = time.monotonic() + 20
    while not os.path.exists(path):
        assert time.monotonic() < give_up, f"after 20 s there is no file {path}"
        time.sleep(0.005)

def touch(path):
    open(path, "w").close()

def note(line, path="notes"):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{line}\\n".encode())
    os.close(fd)

def raised_by(call):
    "The exception that a call raises; None if it raises none."
    try:
        call()
    except Exception as error:
        return error

"""


@dataclass(frozen=True)
class Flow:
    """A run that ended. run: None if there was none to end."""

    code: int
    out: str
    err: str
    run: RunDirectory | None

    @cached_property
    def summary(self) -> dict:
        """What run.json says."""
        assert self.run is not None, self.err
        return json.loads(self.run.run_json.read_text())

    @property
    def values(self) -> dict:
        """What the submitted chain returned."""
        return self.summary["results"]["chain_results"]

    @property
    def seen(self) -> object:
        """What the chain returned by the name ``seen``, under which services here tell of what they saw."""
        assert "seen" in self.values, (self.out, self.err)
        return self.values["seen"]

    @cached_property
    def tasks(self) -> list[dict]:
        """The tasks as the JSON report has them."""
        assert self.run is not None, self.err
        return tasks_of(self.run)

    @property
    def states(self) -> list[tuple[str, str]]:
        """``(name, state)`` of each task, in the order of enqueuing."""
        return [(task["name"], task["state"]) for task in self.tasks]

    def named(self, name: str) -> list[dict]:
        return [task for task in self.tasks if task["name"] == name]

    def only(self, name: str) -> dict:
        [task] = self.named(name)
        return task


def tasks_of(run: RunDirectory) -> list[dict]:
    """The tasks of a run as its JSON report has them."""
    with History(run) as history:
        return json.loads(render_json(model_of(history)))["tasks"]


class Flows:
    """Writes service files and runs what is in them, in a folder of their own."""

    def __init__(self, warm: Warm, firexlite: Command) -> None:
        self.warm, self.firexlite = warm, firexlite
        self.folder = firexlite.folder

    def __call__(self, source: str, chain: str = "top", *options: object, code: int | None = 0,
                 env: dict[str, str] | None = None, **files: str) -> Flow:
        """Run a chain to its end. code: the exit code there must be, None for any. files: more plugins, in their order."""
        plugins = self.write(services=source, **files)
        before = {run.firex_id for run in self.firexlite.runs()}
        ended = self.command("submit", "--plugins", plugins, "--chain", chain, *options, env=env)
        assert code is None or ended.code == code, (ended.code, ended.out, ended.err)
        made = [run for run in self.firexlite.runs() if run.firex_id not in before]
        return Flow(ended.code, ended.out, ended.err, made[0] if made else None)

    def write(self, **files: str) -> str:
        """Service files by name; what names them all on a command line."""
        for name, source in files.items():
            (self.folder / f"{name}.py").write_text(HEAD + source)
        return ",".join(f"{name}.py" for name in files)

    def command(self, *words: object, env: dict[str, str] | None = None) -> Ended:
        return self.warm(*words, env={**self.firexlite.env, **(env or {})}, folder=str(self.folder))

    def notes(self, name: str = "notes") -> list[str]:
        """The lines that services have noted."""
        path: Path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def peak(notes: Iterable[str]) -> int:
    """How many were under way at once, of lines that begin with `+` when something begins and with `-` when it ends."""
    under_way = most = 0
    for line in notes:
        under_way += {"+": 1, "-": -1}[line[0]]
        most = max(most, under_way)
    return most
