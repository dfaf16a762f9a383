"""What is measured: for each workload firexlite, and what it stands against."""
from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import ours
from .contest import OURS, Contender, Sample, Shown, Workload
from .holding import hold
from .references import WORKERS
from .scratch import Scratch
from .text import shown_bytes, shown_count, shown_s, shown_share, shown_times

POOL, RAW = "ProcessPoolExecutor", "raw sqlite3"
IMPORTS, RELAXED, NOP = ('`python -c "import click, peewee"`', "firexlite with FIREXLITE_DURABILITY=normal",
                         "`firexlite submit --chain nop`")
TWO_COMMITS = "ProcessPoolExecutor and two commits"
STARTUP, CPU, HOLD, EVERYDAY, ROUND_TRIP, IDLE = "startup", "cpu", "batch_hold", "everyday", "round trip", "idle"
LOOKING = "commands"


@dataclass(frozen=True)
class Sizes:
    """How much one measurement does."""

    fanouts: Sequence[int] = (1000, 10_000)   # children, with each number of workers
    grown: Sequence[int] = (100_000,)         # children, with 2 workers, to see what grows with the run
    most: int | None = None                   # the same, once
    chains: Sequence[int] = (200, 2000)
    called: int = 1000                        # children, one by one
    levels: Sequence[int] = (50, 200)
    steps: int = 2000
    done: int = 10_000                        # tasks that have succeeded in the run that is resumed
    turns: int = 64
    pairs: int = 200
    naps: int = 20_000
    round_trips: int = 200
    idle_s: float = 10.0
    looked_at: int = 99                       # children of the run that commands look at
    far: Sequence[int] = (100, 1000, 10_000)  # children, here and on a cluster
    far_steps: int = 100


FULL = Sizes()
QUICK = Sizes(fanouts=(20, 40), grown=(80,), chains=(10, 20), called=10, levels=(3, 6), steps=40, done=20, turns=4, pairs=10,
              naps=40, round_trips=5, idle_s=1.0, looked_at=9, far=(4, 8, 12), far_steps=4)
FANOUT_WORKERS = (2, 4)
IDLERS = 4             # workers


def fanout(children: int, workers: int = WORKERS) -> str:
    return f"fanout {children:,}, {workers} workers"


def chain(length: int) -> str:
    return f"chain {length:,}"


def sequential(children: int) -> str:
    return f"sequential {children:,}"


def nested(levels: int) -> str:
    return f"nested {levels:,}"


def resume(steps: int) -> str:
    return f"resume {steps:,}"


def workloads(sizes: Sizes, peers: Mapping[str, Sequence[Contender]] | None = None) -> list[Workload]:
    """All of them. peers: ``{workload: contenders}``, measured beside ours."""
    found = [
        Workload(STARTUP, "a cold `firexlite submit --chain nop`, from the start of the command to its end",
                 [Contender(OURS, ours.submit_nop), Contender(IMPORTS, ours.import_click_and_peewee)]),
        Workload(LOOKING, f"commands that look at a run of {sizes.looked_at + 1:,} tasks: processor time of each over that of "
                          "a Python that does nothing",
                 [Contender(OURS, _of(ours.look_at, children=sizes.looked_at))], is_compared=False,
                 besides=[Shown(name, f"`{' '.join(words)}`", shown_s) for name, words in ours.LOOKS.items()]),
        *(_fanout(children, workers) for children in sizes.fanouts for workers in FANOUT_WORKERS),
        *(_growing(children, is_once=False) for children in sizes.grown),
        *([_growing(sizes.most, is_once=True)] if sizes.most else []),
        *(_chain(length) for length in sizes.chains),
        Workload(sequential(sizes.called), f"one parent enqueues {sizes.called:,} children that do nothing, each when the one "
                                           "before it has ended",
                 [Contender(OURS, _of(ours.submit_parent, service="call_one_by_one", children=sizes.called)),
                  Contender(RAW, _raw(sizes.called, commits=2))],
                 sizes.called, "child", besides=[Shown("forks", "processes forked", shown_count)]),
        *(_nested(levels) for levels in sizes.levels),
        Workload(resume(sizes.steps), f"`firexlite resume` of a run that was killed when half of its {sizes.steps:,} steps had "
                                      "been taken, from the start of the command to its end",
                 [Contender(OURS, _of(ours.resume_killed, steps=sizes.steps))],
                 besides=[Shown("running", "steps that ran at the kill", shown_count),
                          Shown("reserved", "steps that workers had reserved then", shown_count)]),
        Workload(f"replay {sizes.done:,}", f"`firexlite resume` of a run that was killed when {sizes.done:,} of its "
                                           f"{sizes.done + 1:,} tasks had succeeded",
                 [Contender(OURS, _of(ours.resume_finished, done=sizes.done)), Contender(NOP, ours.submit_nop)]),
        Workload(CPU, f"{sizes.turns} children that each use 50 ms of a processor, on 2 workers",
                 [Contender(OURS, _of(ours.submit_parent, service="use_processors", children=sizes.turns)),
                  Contender(POOL, _reference("pool_turns", sizes.turns, WORKERS))]),
        Workload(HOLD, f"{sizes.pairs} chains of two quick services, one of which sleeps for 10 s; while it does, its worker "
                       "is killed", [Contender(OURS, _of(hold, children=sizes.pairs))], is_compared=False,
                 besides=[Shown("delay", "from the return of another result until it can be read, the longest", shown_s),
                          Shown("delay_p50", "the same, the median", shown_s),
                          Shown("waited", "from the return of a service to the start of its successor, the longest", shown_s),
                          Shown("held", "other results that could not be read while it slept", shown_count),
                          Shown("repeated", "other tasks that ran again", shown_count)]),
        Workload(EVERYDAY, f"{sizes.naps:,} children that sleep for 20 ms and print 2 KB, on {ours.NAPPERS} workers",
                 [Contender(OURS, _of(ours.nap, children=sizes.naps, workers=ours.NAPPERS))], sizes.naps, "child",
                 besides=[Shown("share", "of the ideal rate", shown_share),
                          Shown("room", "the run's directory", shown_bytes),
                          Shown("room_ratio", "the same, over what was printed", shown_times),
                          Shown("files", "files in it", shown_count)]),
        Workload(ROUND_TRIP, f"one child, enqueued and awaited while all workers are idle: the median of {sizes.round_trips}",
                 [Contender(OURS, _of(ours.round_trip, times=sizes.round_trips)),
                  Contender(TWO_COMMITS, _with_database("pool_round_trip", sizes.round_trips))]),
        Workload(IDLE, f"a run that waits for a time, with {IDLERS} idle workers: all its processes, over {sizes.idle_s:g} s",
                 [Contender(OURS, _of(ours.wait_idle, workers=IDLERS, span_s=sizes.idle_s))], is_compared=False,
                 besides=[Shown("share", "of one processor", "{:.3%}".format), Shown("memory", "memory (PSS)", shown_bytes),
                          Shown("processes", "processes", shown_count)]),
    ]
    return [_with_peers(workload, (peers or {}).get(workload.name, ())) for workload in found]


def _fanout(children: int, workers: int) -> Workload:
    contenders = [Contender(OURS, _of(ours.fan_out, children=children, workers=workers)),
                  Contender(POOL, _reference("pool_fan_out", children, workers))]
    if workers == WORKERS:
        contenders.append(Contender(RELAXED, _of(ours.submit_parent, service="fan_out", children=children,
                                                 settings={"FIREXLITE_DURABILITY": "normal"})))
    return Workload(fanout(children, workers), f"one parent enqueues {children:,} children that do nothing, and waits for them "
                    f"all; {workers} workers", contenders, children, "child", waits_for_disk=True)


def _growing(children: int, is_once: bool) -> Workload:
    return Workload(fanout(children), f"the same with {children:,} children, {WORKERS} workers",
                    [Contender(OURS, _of(ours.fan_out, children=children, workers=WORKERS), is_once),
                     Contender(POOL, _reference("pool_fan_out", children, WORKERS), is_once)], children, "child")


def _chain(length: int) -> Workload:
    return Workload(chain(length), f"{length:,} services one after the other, enqueued as one chain",
                    [Contender(OURS, _of(ours.submit_parent, service="walk", length=length)),
                     Contender(POOL, _reference("pool_walk", length)), Contender(RAW, _raw(length, commits=1))],
                    length, "hop", waits_for_disk=True)


def _nested(levels: int) -> Workload:
    return Workload(nested(levels), f"{levels} levels, each of which enqueues the next one and waits for it",
                    [Contender(OURS, _of(ours.nest, levels=levels))],
                    levels, "level", besides=[Shown("level_cpu", "processor time of a level", shown_s),
                                              Shown("fork_cpu", "the same of a bare fork, exit and wait", shown_s),
                                              Shown("forks", "processes forked", shown_count)])


def _with_peers(workload: Workload, peers: Sequence[Contender]) -> Workload:
    return Workload(**{**vars(workload), "contenders": [*workload.contenders, *peers]})


# --- how one measurement is made ---------------------------------------------------------------------------------

Measure = Callable[[Scratch], Sample]


def _of(measure: Callable[..., Sample], **arguments: object) -> Measure:
    return functools.partial(measure, **arguments)


def _reference(name: str, *arguments: object) -> Measure:
    def measure(scratch: Scratch) -> Sample:
        return scratch.told(sys.executable, "-m", "benchmarks.references", name, *map(str, arguments))

    return measure


def _raw(steps: int, commits: int) -> Measure:
    return _with_database("sqlite_steps", steps, commits)


def _with_database(name: str, *arguments: object) -> Measure:
    """As `_reference`, with one more argument: a database that is not there yet."""
    def measure(scratch: Scratch) -> Sample:
        with scratch.spare_file("raw.sqlite3") as path:
            return _reference(name, *arguments, path)(scratch)

    return measure
