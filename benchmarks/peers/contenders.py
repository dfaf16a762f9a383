"""Which peers are measured, how each is set, and what each of them does."""
from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..contest import Contender, Sample
from ..goals import DBOS, HUEY
from ..killing import count_steps, kill_at
from ..scratch import PROJECT, CannotMeasure, Scratch
from ..workloads import STARTUP, Sizes, chain, fanout, nested, resume, sequential
from .adapter import CRASH, SYNCED, SYNCS

ENVIRONMENTS = PROJECT / ".venv" / "peers"
REQUIREMENT = "requirement"  # a file in each: what is installed there
REDUN, CELERY, CELERY_THAT_SYNCS = "redun", "Celery + Redis", "Celery + Redis that syncs"


@dataclass(frozen=True)
class Peer:
    """One of them. adapter: the module beside this one. setting: what it makes durable, and how it waits."""

    name: str
    adapter: str
    requirement: str
    setting: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.adapter

    @property
    def is_installed(self) -> bool:
        made = self.folder / REQUIREMENT
        return made.exists() and made.read_text() == self.requirement

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")


PEERS = (
    Peer(HUEY, "huey", "huey==3.5.4",
         "`SqliteHuey`, WAL and SQLite's default of `synchronous=FULL`: each change of its queue and each result is durable; "
         "a task that runs when its consumer is killed is lost. One consumer of 3 processes, one of them for the parent that "
         "waits; all look every millisecond, with which it is fastest, by default every 0.1 to 10 s"),
    Peer(DBOS, "dbos", "dbos==3.4.0",
         "on SQLite as it opens it, a rollback journal and `synchronous=FULL`: each step and each workflow is durable. Fanned "
         "out children run in 2 processes off a queue, which is looked at every second, the default, with which it is fastest; "
         "steps and nested workflows are calls within one process"),
    Peer(REDUN, "redun", "redun==0.44.1",
         "an SQLite repository, a rollback journal and `synchronous=FULL`: what a task returned is durable some time after it "
         "ended. 2 forked processes"),
    Peer(CELERY, "celery", "celery[redis]==5.7.0",
         "Redis as it comes, which writes a snapshot now and then: nothing is durable when a task ends. A pool of 3 processes, "
         "one of them for the parent that waits"),
    Peer(CELERY_THAT_SYNCS, "celery", "celery[redis]==5.7.0",
         "the same with `appendonly yes`, `appendfsync always` and `acks_late`: each change of the queue and each result is "
         "durable", {SYNCED: SYNCS}),
)


def settings() -> list[str]:
    """A sentence on each peer, for those who read the figures."""
    return [f"{peer.name} ({peer.requirement}): {peer.setting}." for peer in PEERS]


def contenders(sizes: Sizes) -> dict[str, list[Contender]]:
    """``{workload: those of the peers that do it}``."""
    small, large = sizes.fanouts[0], sizes.fanouts[-1]
    everyone = [peer.name for peer in PEERS]
    cases: list[tuple[str, str, int, list[str], list[str]]] = [
        # workload              the adapter's word  size          in each round                         once
        (STARTUP,                  "startup",    1,                 [DBOS],                                []),
        (fanout(small),            "fanout",     small,             everyone,                              []),
        (fanout(large),            "fanout",     large,             [HUEY],                                [DBOS]),
        (chain(sizes.chains[0]),   "chain",      sizes.chains[0],   everyone,                              []),
        (sequential(sizes.called), "sequential", sizes.called,      [HUEY, DBOS, CELERY, CELERY_THAT_SYNCS], []),
        (nested(sizes.levels[0]),  "nested",     sizes.levels[0],   [DBOS],                                []),
        (resume(sizes.steps),      "resume",     sizes.steps,       [HUEY, DBOS],                          []),
    ]
    return {workload: [Contender(peer.name, functools.partial(measure, peer, word, size), peer.name in once, may_fail=True)
                       for peer in PEERS if peer.name in each_round + once]
            for workload, word, size, each_round, once in cases}


def measure(peer: Peer, workload: str, size: int, scratch: Scratch) -> Sample:
    """What the adapter says. Of a start and a resume, the time from the start of its process until it has the result."""
    with _folder(scratch) as folder:
        words = [peer.python, "-m", f"benchmarks.peers.{peer.adapter}", workload, str(size), str(folder)]
        counts: Callable[[], Sample] = dict
        if workload == "resume":
            traces = folder / "steps"
            kill_at(size // 2, traces, scratch, *words, CRASH, **peer.environment)
            counts = functools.partial(count_steps, traces, size)
        began = time.time()
        told = scratch.told(*words, **peer.environment)
        return {"seconds": told["end"] - began if told["seconds"] is None else told["seconds"], **counts()}


@contextmanager
def _folder(scratch: Scratch) -> Iterator[Path]:
    folder = scratch.folder / "peer"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the environments ---------------------------------------------------------------------------------------------

def make_environments(say: Callable[[str], None]) -> None:
    """Have each peer installed in an environment of its own. Raises CannotMeasure if one cannot be."""
    for peer in PEERS:
        if peer.is_installed:
            continue
        say(f"installing {peer.requirement} into {peer.folder.relative_to(PROJECT)}")
        for words in ([sys.executable, "-m", "venv", "--clear", str(peer.folder)],
                      [peer.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.requirement]):
            ended = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if ended.returncode:
                last = ended.stderr.strip().splitlines()[-1:] or ["it said nothing"]
                raise CannotMeasure(f"{peer.requirement} cannot be installed: {last[0]}")
        (peer.folder / REQUIREMENT).write_text(peer.requirement)
    if not shutil.which("redis-server"):
        raise CannotMeasure("Celery is measured with Redis, which is not here: apt-get install redis-server")
