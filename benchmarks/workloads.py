"""What is measured: for each workload firexlite, and what it stands against, in turn."""
from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .references import WORKERS
from .scratch import Scratch, firexlite_command

SERVICES = str(Path(__file__).with_name("services.py"))


@dataclass(frozen=True)
class Sizes:
    """How much one measurement does."""

    children: int
    length: int            # of the chain
    done: int              # tasks that have succeeded in the run that is resumed


FULL = Sizes(children=1000, length=200, done=10_000)
QUICK = Sizes(children=20, length=10, done=20)


@dataclass(frozen=True)
class Sample:
    """One measurement, in seconds. work: what is compared. command: the whole command around it."""

    work: float
    command: float | None = None


@dataclass
class Contender:
    """One of those measured by a workload, and its samples, one a round."""

    name: str
    measure: Callable[[Scratch], Sample]
    samples: list[Sample] = field(default_factory=list)

    @property
    def work_s(self) -> list[float]:
        return [sample.work for sample in self.samples]

    @property
    def command_s(self) -> list[float]:
        return [sample.command for sample in self.samples if sample.command is not None]


@dataclass
class Workload:
    """A kind of work, done by firexlite (the first contender) and by others.

    units: into how many equal steps its time may be divided. waits_for_disk: whether the work without any journal is
        also to be compared with one fdatasync a step on top.
    """

    name: str
    what: str
    contenders: list[Contender]
    units: int = 1
    unit: str = ""
    waits_for_disk: bool = False

    @property
    def ours(self) -> Contender:
        return self.contenders[0]


@dataclass
class Measurements:
    """All workloads, and the disk they ran on: medians of one fdatasync, in seconds, one a round."""

    workloads: Sequence[Workload]
    growing_sync_s: list[float] = field(default_factory=list)
    sync_s: list[float] = field(default_factory=list)


def workloads(sizes: Sizes) -> list[Workload]:
    return [
        Workload("startup", "a cold `firexlite submit --chain nop`, from the start of the command to its end",
                 [Contender("firexlite", submit_nop),
                  Contender('`python -c "import click, peewee"`', import_click_and_peewee)]),
        Workload("fanout", f"one parent enqueues {sizes.children:,} children that do nothing, and waits for them all",
                 [Contender("firexlite", lambda scratch: submit_parent(scratch, "fan_out", "children", sizes.children)),
                  Contender("ProcessPoolExecutor", lambda scratch: reference(scratch, "pool_fan_out", sizes.children)),
                  Contender("firexlite with FIREXLITE_DURABILITY=normal",
                            lambda scratch: submit_parent(scratch, "fan_out", "children", sizes.children,
                                                          FIREXLITE_DURABILITY="normal"))],
                 sizes.children, "child", waits_for_disk=True),
        Workload("chain", f"{sizes.length:,} services one after the other, enqueued as one chain",
                 [Contender("firexlite", lambda scratch: submit_parent(scratch, "walk", "length", sizes.length)),
                  Contender("ProcessPoolExecutor", lambda scratch: reference(scratch, "pool_walk", sizes.length)),
                  Contender("raw sqlite3", lambda scratch: raw_sqlite(scratch, sizes.length))],
                 sizes.length, "hop", waits_for_disk=True),
        Workload("resume", f"`firexlite resume` of a run that was killed when {sizes.done:,} of its {sizes.done + 1:,} tasks "
                           "had succeeded, from the start of the command to its end",
                 [Contender("firexlite", lambda scratch: resume_killed(scratch, sizes.done)),
                  Contender("`firexlite submit --chain nop`", submit_nop)]),
    ]


def measure(measurements: Measurements, scratch: Scratch, rounds: int, say: Callable[[str], None]) -> None:
    """Measure everything once in each round, in turn, after a round that does not count: it fills the caches."""
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "a first round that does not count")
        syncs = scratch.fdatasync_s(is_growing=True), scratch.fdatasync_s(is_growing=False)
        samples = [(contender, contender.measure(scratch))
                   for workload in measurements.workloads for contender in workload.contenders]
        if number:
            measurements.growing_sync_s.append(syncs[0])
            measurements.sync_s.append(syncs[1])
            for contender, sample in samples:
                contender.samples.append(sample)


# --- how one measurement is made ---------------------------------------------------------------------------------

def submit_nop(scratch: Scratch) -> Sample:
    return Sample(scratch.run(*firexlite_command(), "submit", "--chain", "nop").seconds)


def import_click_and_peewee(scratch: Scratch) -> Sample:
    return Sample(scratch.run(sys.executable, "-c", "import click, peewee").seconds)


def resume_killed(scratch: Scratch, done: int) -> Sample:
    scratch.run(*firexlite_command(), "submit", "--plugins", SERVICES, "--workers", str(WORKERS),
                "--chain", "fan_out_and_die", "--children", str(done), ends_with=-signal.SIGKILL, keeps_home=True)
    [firex_id] = scratch.runs()
    return Sample(scratch.run(*firexlite_command(), "resume", firex_id).seconds)


def submit_parent(scratch: Scratch, service: str, argument: str, size: int, **environment: str) -> Sample:
    ended, values = scratch.returned("--plugins", SERVICES, "--workers", str(WORKERS),
                                     "--chain", service, f"--{argument}", str(size), **environment)
    return Sample(values["seconds"], ended.seconds)


def reference(scratch: Scratch, name: str, *arguments: object) -> Sample:
    ended = scratch.run(sys.executable, "-m", "benchmarks.references", name, *map(str, arguments))
    return Sample(float(ended.out), ended.seconds)


def raw_sqlite(scratch: Scratch, length: int) -> Sample:
    path = scratch.folder / "raw.sqlite3"
    try:
        return reference(scratch, "sqlite_walk", length, path)
    finally:
        path.unlink(missing_ok=True)
