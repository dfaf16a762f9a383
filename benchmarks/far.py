"""What a task costs on the workers of a Dask cluster, beside the same task on workers that the run forks itself."""
from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .clusters import Cluster, is_installed, of_dask
from .contest import OURS, Contender, Round, Sample, Workload
from .document import Marks
from .goals import Goal, goals_table
from .references import WORKERS
from .report import circumstances, sections
from .scratch import CannotMeasure, Scratch
from .text import shown_count, shown_s, table
from .workloads import Sizes

KIND = "dask"
MARKS = Marks("<!-- dask: written by `python -m benchmarks --only dask`, which replaces all up to the end of dask -->",
              "<!-- end of dask -->")
SERVICES = str(Path(__file__).with_name("far_services.py"))
DASK, DASK_LOCAL = "firexlite on a Dask cluster", "firexlite with `--executor dask:local`"
FORKED_GOAL_S, THREAD_GOAL_S = 0.012, 0.005  # for a task: in a process forked beforehand, and in a thread of Dask's worker
MOST_ROUNDS = 3         # of what takes half a minute
CALLS, NOTES, START = f"{KIND} call back, read", f"{KIND} call back, note", f"{KIND} start"


def fanout(children: int) -> str:
    return f"{KIND} fanout {children:,}"


def chain(length: int) -> str:
    return f"{KIND} chain {length:,}"


def nested(children: int) -> str:
    return f"{KIND} nested child {children:,}"


def far_workloads(sizes: Sizes) -> list[Workload]:
    """Each is done by workers of the run's own host first, then by those of a cluster."""
    return [
        *(Workload(fanout(children), f"one parent enqueues {children:,} children that do nothing, and waits for them all",
                   _both(service="fan_out", children=children, in_rounds=MOST_ROUNDS if children > 1000 else None), children,
                   "child")
          for children in sizes.far),
        Workload(chain(sizes.far_steps), f"{sizes.far_steps:,} services one after the other, enqueued as one chain",
                 _both(service="walk", length=sizes.far_steps), sizes.far_steps, "hop"),
        Workload(nested(sizes.far_steps), f"one parent enqueues {sizes.far_steps:,} children that do nothing, and waits for "
                                          "each before the next",
                 _both(service="call_one_by_one", children=sizes.far_steps), sizes.far_steps, "child"),
        *(Workload(name, what, _placed(functools.partial(call_back, name=name, times=sizes.round_trips)))
          for name, what in ((CALLS, "a body asks whether a child is ready, which is read from the journal; the median of "
                                     f"{sizes.round_trips}"),
                             (NOTES, "a body calls `firexlite.now()`, which is noted in the journal; the median of "
                                     f"{sizes.round_trips}"))),
        Workload(START, "from the start of `firexlite submit` to the beginning of the first body",
                 [*_placed(begin), Contender(DASK_LOCAL, functools.partial(begin, place=lambda _: _LOCAL))]),
    ]


_LOCAL = ["--executor", "dask:local"]
Place = Callable[[Scratch], Sequence[str]]


def _here(scratch: Scratch) -> Sequence[str]:
    return []


def _there(scratch: Scratch) -> Sequence[str]:
    return of_dask(cluster_of(scratch))


def cluster_of(scratch: Scratch) -> Cluster:
    """The cluster that stands while all is measured. Raises CannotMeasure if Dask is not installed."""
    if not is_installed():
        raise CannotMeasure("Dask is not installed here; `pip install 'firexlite[dask]'` brings it")
    return scratch.standing("cluster", lambda: Cluster(scratch.folder / "cluster", scratch.environment))


def _placed(measure: Callable[..., Sample], in_rounds: int | None = None) -> list[Contender]:
    return [Contender(name, functools.partial(measure, place=place), in_rounds=in_rounds)
            for name, place in ((OURS, _here), (DASK, _there))]


def _both(service: str, in_rounds: int | None = None, **arguments: int) -> list[Contender]:
    return _placed(functools.partial(submit, service=service, **arguments), in_rounds)


# --- how one measurement is made -----------------------------------------------------------------------------------------

def submit(scratch: Scratch, place: Place, service: str, **arguments: int) -> Sample:
    """The seconds that the parent read; processor time of all that took part, less that of a run with nothing to do.

    driver: the part of it of the processes beside the journal.
    """
    empty, idle = _submitted(scratch, place, "fan_out", children=0)
    found, used = _submitted(scratch, place, service, **arguments)
    driver = found["command_cpu"] - empty["command_cpu"]
    return {"seconds": found["seconds"], "command": found["command"], "driver": driver, "cpu": driver + max(0.0, used - idle)}


def _submitted(scratch: Scratch, place: Place, service: str, **arguments: int) -> tuple[dict[str, float], float]:
    """What a run took, and the processor time of the cluster meanwhile."""
    words = [*submit_words(service, **arguments), *place(scratch)]
    cluster = cluster_of(scratch) if place is _there else None
    used = cluster.used_s() if cluster else 0.0
    ended, values = scratch.returned(*words)
    return ({"seconds": values["seconds"], "command": ended.seconds, "command_cpu": ended.cpu_s},
            cluster.used_s() - used if cluster else 0.0)


def submit_words(service: str, **arguments: object) -> list[str]:
    given = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    return ["--plugins", SERVICES, "--workers", str(WORKERS), "--chain", service, *given]


def call_back(scratch: Scratch, place: Place, name: str, times: int) -> Sample:
    _, values = scratch.returned(*submit_words("call_back", times=times), *place(scratch))
    return {"seconds": values["taken"]["read" if name == CALLS else "note"]}


def begin(scratch: Scratch, place: Place) -> Sample:
    words = [*submit_words("begin"), *place(scratch)]
    began = time.time()
    _, values = scratch.returned(*words)
    return {"seconds": values["began"] - began}


# --- what is found -------------------------------------------------------------------------------------------------------

def far_goals(sizes: Sizes) -> list[Goal]:
    def overhead(children: int) -> Callable[[Round], float]:
        return lambda found: (found.figure(fanout(children), of=DASK) - found.figure(fanout(children))) / children

    limits = ((FORKED_GOAL_S, "in a forked process"), (THREAD_GOAL_S, "as if in a thread"))
    return [
        *(Goal(fanout(children), f"time of a task over that of `local`, {how}", overhead(children), limit, text=shown_s)
          for children in sizes.far for limit, how in limits),
    ]


def far_figures(workloads: Sequence[Workload], sizes: Sizes, rounds: Sequence[Round], scratch: Scratch, load: float) -> str:
    """All tables, as Markdown. load: of the machine when measuring began."""
    names = [workload.name for workload in workloads]
    goals = goals_table(far_goals(sizes), rounds, names)
    parts = [f"{circumstances(scratch, len(rounds), load)}\n{SETTINGS.format(version=_version())}"]
    parts += [f"### {KIND}: goals\n\n{goals}"] if any(name in {fanout(each) for each in sizes.far} for name in names) else []
    parts += [_overhead_table([each for each in workloads if each.name == fanout(each.units)], rounds)]
    return "\n\n".join(filter(None, [*parts, *sections(workloads, rounds)]))


SETTINGS = (f"- Settings: `--workers {WORKERS}`; a scheduler and {WORKERS} workers of one thread each on the loopback, "
            "distributed {version}, without TLS, started before the first round and standing to the end.")


def _version() -> str:
    from importlib.metadata import version

    return version("distributed")


def _overhead_table(workloads: Sequence[Workload], rounds: Sequence[Round]) -> str:
    """What a task takes here and there, by the clock and of processors."""
    rows = []
    for workload in workloads:
        units = workload.units
        here, there = ({name: [found.samples[workload.name, who][name] / units for found in rounds
                               if (workload.name, who) in found.samples] for name in ("seconds", "cpu", "driver")}
                       for who in (OURS, DASK))
        over = {name: statistics.median(b - a for a, b in zip(here[name], there[name], strict=True)) for name in here}
        rows.append([shown_count(units), *(shown_s(each) for each in (
            statistics.median(here["seconds"]), statistics.median(there["seconds"]), over["seconds"],
            statistics.median(here["cpu"]), statistics.median(there["cpu"]), over["cpu"], statistics.median(there["driver"])))])
    if not rows:
        return ""
    return (f"### {KIND}: the overhead of a task\n\nThe fan-outs below: what a task takes on `local` and on the cluster, and "
            "the difference, which is taken within each round. *Driver* is the part of the processor time that the host of the "
            "journal needs: bridge, stand-ins and runner.\n\n"
            + table(["children", "local", "dask", "overhead", "local, processor", "dask, processor", "overhead, processor",
                     "driver, processor"], rows))

