"""What the crash lab is made of: parts, each of which tries one kind of fault and tells what came of it."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

Report = Callable[[int, int], None]  # (trials done, trials to be done)
PLACE = "CRASH_LAB_FOLDER"           # the variable that says where folders are made: by whoever removes them if we are killed


def new_folder(prefix: str) -> Path:
    """A new folder, in memory if there is room: an fsync that costs nothing makes more trials."""
    place = os.environ.get(PLACE) or "/dev/shm"
    has_room = os.access(place, os.W_OK) and shutil.disk_usage(place).free > 1 << 28
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place if has_room else None))


@dataclass
class Tally:
    """What came of trials."""

    trials: int = 0
    points: set[str] = field(default_factory=set)   # names of the moments, calls or images at which a fault struck
    lost: int = 0                                   # results, tasks or runs that are not as in the undisturbed run
    doubled: int = 0                                # tasks completed twice, or run again without a fault that explains it
    survivors: int = 0                              # processes that outlived their run
    corrupt: int = 0                                # journals that SQLite or the doctor finds fault with
    wrong: int = 0                                  # whatever else is not as promised
    reached: set[str] = field(default_factory=set)  # points that were there to be struck, if that is known
    counts: dict[str, int] = field(default_factory=dict)  # of trials, or what else is worth a line below the table
    failures: list[str] = field(default_factory=list)  # each: what was wrong, and a command that repeats it
    notes: list[str] = field(default_factory=list)  # what a reader of the table has to know

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.survivors or self.corrupt or self.wrong or self.failures)

    def add(self, other: Tally) -> Tally:
        """Add what came of other trials of the same part."""
        self.trials += other.trials
        self.points |= other.points
        self.reached |= other.reached
        for what, number in other.counts.items():
            self.counts[what] = self.counts.get(what, 0) + number
        for count in ("lost", "doubled", "survivors", "corrupt", "wrong"):
            setattr(self, count, getattr(self, count) + getattr(other, count))
        self.failures += other.failures
        self.notes += [note for note in other.notes if note not in self.notes]
        return self

    def as_json(self) -> dict:
        return {**asdict(self), "points": sorted(self.points), "reached": sorted(self.reached)}

    @classmethod
    def from_json(cls, told: dict) -> Tally:
        return cls(**{**told, "points": set(told["points"]), "reached": set(told["reached"])})


class Part:
    """One row of the table. Define a subclass in your module, and name the module in MODULES."""

    name: str = ""           # for `--only`, and the first column of the table
    shares: int = 1          # into how many jobs it divides; `share` says which one is to be done
    share: int = 0
    is_alone: bool = False   # it measures something, so nothing else is to run beside it
    is_random: bool = False  # `--budget` shortens such parts, and no others
    wanted: int = 0          # how many trials to do instead of the usual number, if not 0: about so many, in a quick set

    enough: int = 50         # failures after which there is no use in going on; a planted bug needs only one

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        """Do the trials of one share, and call ``report`` after each. Runs in a process of its own.

        budget_s: how long it may take, if ``is_random``. seed: from which all that is random here follows.
        """
        raise NotImplementedError


# In the order of the table. A module is imported only when one of its parts is run.
MODULES = {
    "programs": ("crash.random_programs", "Programs"),
    "hypothesis programs": ("crash.random_programs", "ShrinkingPrograms"),
    "small programs": ("crash.small_programs", "SmallPrograms"),
    "patient programs": ("crash.small_programs", "PatientPrograms"),
    "interleavings": ("crash.interleavings", "Interleavings"),
    "system calls": ("crash.syscalls", "SystemCalls"),
    "storage failures": ("crash.syscalls", "StorageFailures"),
    "power cuts": ("crash.power", "PowerCuts"),
    "stateful model": ("crash.model", "Model"),
    "races": ("crash.races", "Races"),
    "orphans": ("crash.orphans", "Orphans"),
    "log growth": ("crash.wal_growth", "LogGrowth"),
    "planted bugs": ("crash.mutants", "PlantedBugs"),
}


def find_part(name: str) -> Part | None:
    """The part of this name; None while its module does not exist."""
    from importlib import import_module
    from importlib.util import find_spec

    module, kind = MODULES[name]
    if find_spec(module) is None:
        return None
    part = getattr(import_module(module), kind, None)
    return part() if part else None


def names_of_parts(only: Iterable[str]) -> list[str]:
    """The parts to run. Raises ValueError for a name that is none."""
    if strange := [name for name in only if name not in MODULES]:
        raise ValueError(f"there is no part '{strange[0]}'; there are {', '.join(MODULES)}")
    return [name for name in MODULES if not only or name in only]
