"""How it is measured: all contenders of all workloads in turn, once a round, and what each round found."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .scratch import CannotMeasure, Scratch
from .text import shown_s

Sample = Mapping[str, float]  # one measurement: ``{figure: value}``, seconds and bytes; "seconds" is what is compared

OURS = "firexlite"
SLOW_DISK_S = 0.0002          # an fdatasync takes more: then goals grant it to a reference that makes nothing durable


@dataclass(frozen=True)
class Contender:
    """One of those measured by a workload. is_once: in one round only, since it takes minutes. in_rounds: in the first few.

    may_fail: it is somebody else's, and whatever becomes of it the others are measured.
    """

    name: str
    measure: Callable[[Scratch], Sample]
    is_once: bool = False
    may_fail: bool = False
    in_rounds: int | None = None

    def is_for(self, number: int) -> bool:
        """Whether it is measured in this round, from 1."""
        return number <= (1 if self.is_once else self.in_rounds or number)


@dataclass(frozen=True)
class Shown:
    """A figure besides the seconds: its name in a sample, how a table calls it, and how its values are written."""

    figure: str
    name: str
    text: Callable[[float], str]


@dataclass(frozen=True)
class Workload:
    """A kind of work, done by firexlite (the first contender) and by others.

    units: into how many equal steps its time may be divided. waits_for_disk: whether the work without any journal is
        also to be compared with one fdatasync a step on top.
    besides: what else is shown of firexlite. is_compared: there are seconds to compare; otherwise only that is shown.
    """

    name: str
    what: str
    contenders: Sequence[Contender]
    units: int = 1
    unit: str = ""
    waits_for_disk: bool = False
    besides: Sequence[Shown] = ()
    is_compared: bool = True


@dataclass
class Round:
    """What one round found. sync_s, growing_sync_s: the median of one fdatasync, into room that is there or not."""

    sync_s: float
    growing_sync_s: float
    samples: dict[tuple[str, str], Sample] = field(default_factory=dict)  # by workload and contender

    def figure(self, workload: str, figure: str = "seconds", of: str = OURS) -> float:
        """Raises KeyError if that was not measured in this round."""
        return self.samples[workload, of][figure]

    def slow_s(self, commits: int) -> float:
        """What so many durable commits take on a disk that is too slow for the goals as they stand; else nothing."""
        return commits * self.sync_s if self.sync_s > SLOW_DISK_S else 0.0


def alike(wanted: Sequence[Workload], others: Sequence[Workload]) -> list[Workload]:
    """Those of the others that are of a kind with a wanted one: the names of a kind begin with the same word."""
    kinds = {workload.name.split()[0] for workload in wanted}
    return [workload for workload in others if workload.name.split()[0] in kinds]


def measure(workloads: Sequence[Workload], warm_up: Sequence[Workload], scratch: Scratch, rounds: int,
            say: Callable[[str], None]) -> list[Round]:
    """Measure everything once in each round, after a round that does not count, of ``warm_up``: it fills the caches."""
    say("a first round, of tiny sizes, that does not count")
    _measure_once(warm_up, scratch, 1, lambda _: None)
    found = []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        found.append(_measure_once(workloads, scratch, number, say))
    return found


def _measure_once(workloads: Sequence[Workload], scratch: Scratch, number: int, say: Callable[[str], None]) -> Round:
    found = Round(growing_sync_s=scratch.fdatasync_s(is_growing=True), sync_s=scratch.fdatasync_s(is_growing=False))
    for workload in workloads:
        for contender in workload.contenders:
            if not contender.is_for(number):
                continue
            try:
                sample = contender.measure(scratch)
            except CannotMeasure as error:
                if not contender.may_fail:
                    raise
                say(f"{workload.name}: {contender.name} is left out of this round: {error}")
            else:
                found.samples[workload.name, contender.name] = sample
                if "seconds" in sample:
                    say(f"{workload.name}: {contender.name} {shown_s(sample['seconds'])}")
    return found
