"""What firexlite is to reach, and whether it does."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .contest import Round
from .ours import LOOKS
from .text import shown_bytes, shown_count, shown_s, shown_share, shown_times, table
from .workloads import (
    CPU,
    EVERYDAY,
    HOLD,
    IDLE,
    IMPORTS,
    LOOKING,
    POOL,
    RAW,
    ROUND_TRIP,
    STARTUP,
    TWO_COMMITS,
    Sizes,
    chain,
    fanout,
    nested,
    resume,
    sequential,
)

FIREX_STARTUP_S = 2.8  # FireX's own `submit --chain nop`, measured once: its services, broker and all, are not here
HUEY, DBOS = "huey", "DBOS"
REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured"


@dataclass(frozen=True)
class Goal:
    """One of them. value: what a round found; it raises KeyError for what was not measured then.

    over: makes one value of those of all rounds.
    """

    workload: str
    what: str
    value: Callable[[Round], float]
    limit: float
    is_least: bool = False  # the limit is the least that is good, not the most
    text: Callable[[float], str] = shown_times
    over: Callable[[Sequence[float]], float] = statistics.median

    def found(self, rounds: Sequence[Round]) -> float | None:
        """The value in all rounds that have one."""
        values = []
        for each in rounds:
            try:
                values.append(self.value(each))
            except KeyError:
                continue
        return self.over(values) if values else None

    def verdict(self, rounds: Sequence[Round]) -> str:
        found = self.found(rounds)
        if found is None:
            return NOT_MEASURED
        return REACHED if (found >= self.limit if self.is_least else found <= self.limit) else MISSED


def rate(workload: str, what: str, other: str, limit: float, commits: int = 0) -> Goal:
    """At least so many times as fast. commits: what a slow disk is granted to a reference that makes nothing durable."""
    def value(found: Round) -> float:
        return (found.figure(workload, of=other) + found.slow_s(commits)) / found.figure(workload)

    return Goal(workload, f"rate, over that of {what}", value, limit, is_least=True)


def time(workload: str, other: str, limit: float) -> Goal:
    """At most so many times as long."""
    return Goal(workload, f"time, over that of {other}",
                lambda found: found.figure(workload) / found.figure(workload, of=other), limit)


def figure(workload: str, what: str, name: str, limit: float, text: Callable[[float], str], is_least: bool = False,
           over: Callable[[Sequence[float]], float] = statistics.median) -> Goal:
    """A figure that is compared with nothing."""
    return Goal(workload, what, lambda found: found.figure(workload, name), limit, is_least, text, over)


def none_of(workload: str, what: str, name: str) -> Goal:
    """What may not happen in any round."""
    return figure(workload, what, name, 0, shown_count, over=max)


def goals(sizes: Sizes) -> list[Goal]:
    """The sizes are those of the workloads; each goal is for the first and the last of several."""
    small, large = fanout(sizes.fanouts[0]), fanout(sizes.fanouts[-1])
    short, long = sizes.chains[0], sizes.chains[-1]
    called, shallow, half_done = sequential(sizes.called), nested(sizes.levels[0]), resume(sizes.steps)
    largest = sizes.most or sizes.grown[-1]
    return [
        time(STARTUP, IMPORTS, 3.0),
        time(STARTUP, DBOS, 0.5),
        Goal(STARTUP, f"time, over FireX's {FIREX_STARTUP_S} s", lambda found: found.figure(STARTUP) / FIREX_STARTUP_S, 0.1),
        *(figure(LOOKING, f"processor time of `{' '.join(words)}`, over bare Python", name, 0.150, shown_s)
          for name, words in LOOKS.items()),
        *(rate(fanout(sizes.fanouts[0], workers), POOL, POOL, 0.8, commits=sizes.fanouts[0]) for workers in (2, 4)),
        *(rate(fanout(sizes.fanouts[-1], workers), POOL, POOL, 1.3, commits=sizes.fanouts[-1]) for workers in (2, 4)),
        *(rate(each, HUEY, HUEY, 10.0) for each in (small, large)),
        *(rate(each, DBOS, DBOS, 80.0) for each in (small, large)),
        *(rate(chain(length), f"{RAW}, one commit a hop", RAW, 0.75) for length in (short, long)),
        *(rate(chain(short), peer, peer, 4.0) for peer in (HUEY, DBOS)),
        Goal(chain(long), f"time a hop, over that of {short:,}",
             lambda found: found.figure(chain(long)) / long / (found.figure(chain(short)) / short), 1.2),
        rate(called, f"{RAW}, two commits a child", RAW, 0.7),
        rate(called, HUEY, HUEY, 3.0),
        figure(called, "processes forked", "forks", 10, shown_count, over=max),
        time(shallow, DBOS, 0.6),
        *(figure(nested(levels), "processor time of a level, over that of a bare fork", "over_fork", 0.004, shown_s)
          for levels in sizes.levels),
        time(half_done, HUEY, 0.4),
        time(half_done, DBOS, 0.1),
        none_of(half_done, "steps that never ran", "lost"),
        none_of(half_done, "steps that ran again and were neither running nor reserved", "beyond"),
        Goal(CPU, f"processor time, over that of {POOL}",
             lambda found: found.figure(CPU, "cpu") / found.figure(CPU, "cpu", POOL), 1.02, text="{:.3f} times".format),
        Goal(CPU, f"rate, over that of {POOL}", lambda found: found.figure(CPU, of=POOL) / found.figure(CPU), 0.97,
             is_least=True, text="{:.3f} times".format),
        figure(HOLD, "from the return of any other result until it can be read", "delay", 0.050, shown_s),
        none_of(HOLD, "other results, those of successors among them, that were not there while one slept", "held"),
        none_of(HOLD, "other tasks that ran again after the kill", "repeated"),
        figure(EVERYDAY, "of the ideal rate", "share", 0.95, shown_share, is_least=True),
        figure(EVERYDAY, "the run's directory, over what was printed", "room_ratio", 2.0, shown_times),
        figure(EVERYDAY, "files in the run's directory", "files", 999, shown_count, over=max),
        Goal(ROUND_TRIP, f"time, over that of {TWO_COMMITS}",
             lambda found: found.figure(ROUND_TRIP) / found.figure(ROUND_TRIP, of=TWO_COMMITS), 1.5),
        figure(IDLE, "of one processor", "share", 0.001, "{:.3%}".format),
        *(figure(fanout(children), "bytes of the journal a task, over arguments and result", "journal", 400, shown_bytes)
          for children in (*sizes.fanouts, *sizes.grown, *([sizes.most] if sizes.most else []))),
        Goal(fanout(largest), f"rate from submit to end, over that of {sizes.fanouts[-1]:,}",
             lambda found: (largest / found.figure(fanout(largest), "command"))
             / (sizes.fanouts[-1] / found.figure(large, "command")), 0.8, is_least=True),
        figure(fanout(largest), "memory of the runner at the most", "runner_peak", 80e6, shown_bytes),
        figure(IDLE, "memory of all processes (PSS)", "memory", 60e6, shown_bytes),
    ]


def goals_table(goals: Sequence[Goal], rounds: Sequence[Round], workloads: Collection[str]) -> str:
    """Each goal of these workloads beside what was found, as Markdown."""
    rows = []
    for goal in goals:
        if goal.workload not in workloads:
            continue
        found = goal.found(rounds)
        rows.append([goal.workload, goal.what, f"{'at least' if goal.is_least else 'at most'} {goal.text(goal.limit)}",
                     "" if found is None else goal.text(found), goal.verdict(rounds)])
    return table(["workload", "of firexlite", "goal", "found", ""], rows)


