"""What limits a large run: the parameters of the model in docs/scaling.md, each of them measured."""
from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firexlite import host

from . import far
from .clusters import Cluster, of_dask, open_files
from .document import Marks
from .journals import reading
from .ours import submit_words as local_words
from .processes import cpu_s, pss
from .report import circumstances
from .scratch import CannotMeasure, Scratch, firexlite_command
from .text import shown_bytes, shown_count, shown_s, table, three_digits

KIND = "scaling"
MARKS = Marks("<!-- scaling: written by `python -m benchmarks --only scaling`, which replaces all up to the end of scaling -->",
              "<!-- end of scaling -->")
LOOK_S = 0.02
EACH = 30  # tasks for each far worker, when their rate is held against the model


@dataclass(frozen=True)
class Sizes:
    """How much is measured. writers: processes. transactions: of all of them. running: tasks. grown: tasks, once each.

    far: workers at once. far_tasks: of one run, for what its processes need. checked: far workers of runs whose rate is held
    against the model, once each.
    """

    writers: Sequence[int] = (1, 2, 4, 8, 16)
    transactions: int = 4000
    running: Sequence[int] = (0, 100, 1000, 4000)
    times: int = 300
    grown: Sequence[int] = (10_000, 100_000)
    far: int = 300
    far_tasks: int = 2000
    checked: Sequence[int] = (100, 300)


FULL = Sizes()
MILLION = Sizes(grown=(10_000, 100_000, 1_000_000))
QUICK = Sizes(writers=(1, 2), transactions=40, running=(0, 5), times=5, grown=(50,), far=2, far_tasks=60, checked=(3,))

Found = Mapping[str, Sequence[float]]  # by the name of a figure, what each round found


def measure_parameters(sizes: Sizes, scratch: Scratch, rounds: int, load: float, say: Callable[[str], None]) -> str:
    """All tables, as Markdown. load: of the machine when measuring began."""
    say("a first round, of tiny sizes, that does not count")
    for _ in _a_round(QUICK, scratch, is_first=True):
        pass
    found: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for name, value in _a_round(sizes, scratch, is_first=number == 0):
            found[name].append(value)
            say(f"{name}: {value:.6g}")
    return f"{circumstances(scratch, rounds, load)}\n{_settings()}\n\n{figures(sizes, found)}"


def _settings() -> str:
    return ("- Settings: the log is synced before anything follows from the end of a task, as by default. The journals of the "
            "first two tables were made for it, with tasks whose bodies do nothing.")


def _a_round(sizes: Sizes, scratch: Scratch, is_first: bool) -> Iterator[tuple[str, float]]:
    yield "sync", scratch.fdatasync_s(is_growing=False)
    for count in sizes.writers:
        for name in ("transactions", "stand_ins"):
            sample = _loaded(scratch, name, count, sizes.transactions)
            yield f"{name} {count} rate", sample["rate"]
            yield f"{name} {count} cpu", sample["cpu"]
            if name == "transactions" and count == sizes.writers[0]:
                yield "bytes small", sample["bytes"]
    yield "bytes 1 kB", _loaded(scratch, "transactions", 2, sizes.transactions, 1000)["bytes"]
    for count in sizes.running:
        sample = _loaded(scratch, "among_running", count, sizes.times)
        for name in ("seconds", "cpu", "look"):
            yield f"running {count} {name}", sample[name]
    yield from processes_of_a_run(scratch, sizes.far_tasks).items()
    yield from many_far_workers(scratch, sizes.far).items()
    if is_first:
        for count in sizes.checked:
            yield f"checked {count}", rate_of(scratch, count)
        for tasks in sizes.grown:
            for name, value in taken_over(scratch, tasks).items():
                yield f"grown {tasks} {name}", value


def _loaded(scratch: Scratch, name: str, *arguments: int) -> dict[str, float]:
    folder = scratch.folder / "load"
    folder.mkdir()
    try:
        return scratch.told(sys.executable, "-m", "benchmarks.journal_load", name, str(folder), *map(str, arguments))
    finally:
        shutil.rmtree(folder)


def taken_over(scratch: Scratch, tasks: int) -> dict[str, float]:
    """A run of which all is done but its parent is killed; it is looked at, taken over, and then resumed to its end."""
    scratch.run(*firexlite_command(), "submit", *local_words("fan_out_and_die", far.WORKERS, children=tasks), ends_with=-9,
                keeps_home=True)
    try:
        directory = scratch.run_directory()
        found = scratch.told(sys.executable, "-m", "benchmarks.journal_load", "standing", str(directory), keeps_home=True)
        ended = scratch.run(*firexlite_command(), "resume", directory.name, keeps_home=True)
        with reading(directory) as db:
            [(peak,)] = db.execute("SELECT max(peak) FROM attempt WHERE task = 1")
        return {"look": found["look"], "take_over": found["take_over"], "resume": ended.seconds, "parent": peak or 0,
                "bytes": (directory / "journal.sqlite3").stat().st_size / tasks}
    finally:
        scratch.empty_home()


# --- runs on a cluster ---------------------------------------------------------------------------------------------------

class Watched:
    """The processes of a run on a cluster that goes on, told apart by who forked whom, and when."""

    def __init__(self, scratch: Scratch, front: int) -> None:
        """Raises CannotMeasure if there is no bridge in time."""
        self._scratch, self._front = scratch, front
        give_up = time.monotonic() + scratch.limit_s
        while True:
            [*runners] = _children(front)
            below = sorted(_children(runners[0]), key=lambda pid: host.start_time(pid) or 0) if runners else []
            if below and scratch.runs():
                break
            if time.monotonic() > give_up:
                raise CannotMeasure("a run on a cluster has no processes")
            time.sleep(LOOK_S)
        self.runner, self.bridge = runners[0], below[0]

    def stand_ins(self) -> list[int]:
        return [pid for pid in _children(self.runner) if pid != self.bridge]

    def count(self, service: str, state: str) -> int:
        """Of how many tasks of a service this is the state."""
        with reading(self._scratch.run_directory()) as db:
            [(count,)] = db.execute("SELECT count(*) FROM task WHERE state = ? AND service LIKE '%.' || ?", (state, service))
        return count


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def processes_of_a_run(scratch: Scratch, tasks: int) -> dict[str, float]:
    """Processor time that each process beside the journal needs for a task, after the first tenth of a fan-out."""
    cluster = far.cluster_of(scratch)
    words = [*firexlite_command(), "submit", *far.submit_words("fan_out", children=tasks), *of_dask(cluster)]
    looks: list[tuple[int, dict[str, float]]] = []
    with scratch.started(*words) as process:
        run = Watched(scratch, process.pid)
        while process.poll() is None:
            done = run.count("child", "succeeded")
            if done >= tasks:
                break
            if done >= tasks / 10:
                looks.append((done, {"bridge": cpu_s([run.bridge]), "runner": cpu_s([run.runner]),
                                     "front": cpu_s([process.pid]), "stand_in": cpu_s(run.stand_ins()),
                                     "far": cpu_s(cluster.pids()), "clock": time.monotonic()}))
            time.sleep(LOOK_S * 5)
        process.communicate(timeout=scratch.limit_s)
    if len(looks) < 2:
        raise CannotMeasure(f"a run of {tasks} tasks was over too soon to be looked at")
    (first, before), (last, after) = looks[0], looks[-1]
    return {f"task {name}": (after[name] - before[name]) / (last - first) for name in before}


def many_far_workers(scratch: Scratch, count: int) -> dict[str, float]:
    """So many far workers at once, all on this machine: memory of each process, open files, and how soon they were there."""
    folder = scratch.folder / "wide"
    cluster = Cluster(folder, scratch.environment, workers=1, threads=count)
    try:
        words = [*firexlite_command(), "submit", *far.submit_words("rest_side_by_side", children=count, seconds=600),
                 "--workers", str(count), *of_dask(cluster)]
        with scratch.started(*words, keeps_home=True) as process:
            run = Watched(scratch, process.pid)
            before = open_files(run.bridge), len(run.stand_ins())
            give_up = time.monotonic() + scratch.limit_s
            while run.count("rest", "running") < count:
                if time.monotonic() > give_up or process.poll() is not None:
                    raise CannotMeasure(f"{count} far workers were not there in time")
                time.sleep(LOOK_S)
            time.sleep(0.5)
            outposts = [pid for pid in cluster.pids() if "--outpost" in _command_of(pid)]
            far_workers = [pid for pid in outposts if host.parent(pid) in outposts]
            stand_ins = run.stand_ins()
            with reading(scratch.run_directory()) as db:
                [(first, last)] = db.execute("SELECT min(started), max(started) FROM attempt JOIN task "
                                             "ON task.id = attempt.task WHERE service LIKE '%.rest'")
            return {"memory stand_in": pss(stand_ins) / len(stand_ins), "memory bridge": pss([run.bridge]),
                    "memory runner": pss([run.runner]), "memory far worker": pss(far_workers) / len(far_workers),
                    "files bridge": (open_files(run.bridge) - before[0]) / (len(stand_ins) - before[1]),
                    "begun": (count - 1) / (last - first)}
    finally:
        scratch.empty_home()
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def rate_of(scratch: Scratch, count: int) -> float:
    """Tasks of a second each that so many far workers make in a second, when all are there and none is done."""
    folder, tasks = scratch.folder / "wide", EACH * count
    cluster = Cluster(folder, scratch.environment, workers=1, threads=count)
    try:
        words = [*firexlite_command(), "submit", *far.submit_words("rest_side_by_side", children=tasks, seconds=1),
                 "--workers", str(count), *of_dask(cluster)]
        scratch.run(*words, keeps_home=True)
        with reading(scratch.run_directory()) as db:
            ended = [at for (at,) in db.execute("SELECT ended FROM attempt JOIN task ON task.id = attempt.task "
                                                "WHERE service LIKE '%.rest' ORDER BY ended")]
        first, last = tasks // 2, tasks * 9 // 10
        return (last - first) / (ended[last] - ended[first])
    finally:
        scratch.empty_home()
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


# --- the model -----------------------------------------------------------------------------------------------------------

TASKS = 10_000_000
LENGTHS_S, FAR_WORKERS = (1, 10, 60, 600), (100, 1000)
MODEL_SAYS = (f"### {TASKS:,} tasks in one run, computed\n\nBy [the model](#the-model), with the medians above, and with a "
              "driver of as many cores as this machine has. *Used* is the part of the driver's own limit that is taken up. The "
              "journal is that of small arguments and results.")

CHECKED_SAYS = ("### The model, held against a run\n\nTasks that sleep for a second, on so many far workers, which are on this "
                "machine too: what they need of its cores is counted with what the driver needs. Measured once.")


@dataclass(frozen=True)
class Model:
    """What limits the rate of one run. Seconds and bytes, each for a task or for a far worker."""

    transaction_s: float   # for which the lock of the journal is held
    running_s: float       # more of it for each task that runs
    bridge_s: float        # processor time of a task: of the bridge, which has one thread
    driver_s: float        # the same: of all processes beside the journal
    between_s: float       # from the end of a body to the beginning of the next one on its far worker
    cores: int             # of the driver
    task_bytes: float      # of the journal
    worker_bytes: float    # of memory of the driver
    fixed_bytes: float

    def limits(self, workers: int, length_s: float) -> dict[str, float]:
        """Tasks a second that each of these bears."""
        return {"workers": workers / (length_s + self.between_s),
                "journal": 1 / (self.transaction_s + self.running_s * workers),
                "bridge": 1 / self.bridge_s,
                "driver's cores": self.cores / self.driver_s}

    def here(self, workers: int, length_s: float, far_s: float) -> float:
        """The rate if the far workers are on the driver's own cores, of which they need so much for a task."""
        limits = {**self.limits(workers, length_s), "driver's cores": self.cores / (self.driver_s + far_s)}
        return min(limits.values())

    def table(self) -> str:
        rows = []
        for workers in FAR_WORKERS:
            for length_s in LENGTHS_S:
                limits = self.limits(workers, length_s)
                rate = min(limits.values())
                own = min(limit for name, limit in limits.items() if name != "workers")
                rows.append([shown_count(workers), _shown_span(length_s), f"{three_digits(rate)} a second",
                             _shown_span(TASKS / rate), min(limits, key=limits.__getitem__), f"{rate / own:.0%}",
                             f"{TASKS * self.task_bytes / 1e9:.1f} GB",
                             f"{(workers * self.worker_bytes + self.fixed_bytes) / 1e9:.2f} GB"])
        return table(["far workers", "a task", "rate", f"{TASKS:,} take", "limited by", "used", "journal", "driver's memory"],
                     rows)


def model_of(sizes: Sizes, middle: Mapping[str, float]) -> Model:
    """middle: the median of each figure."""
    fewest, most = sizes.running[0], sizes.running[-1]
    slope = (middle[f"running {most} cpu"] - middle[f"running {fewest} cpu"]) / (most - fewest)
    return Model(
        transaction_s=1 / middle[f"transactions {sizes.writers[-1]} rate"],  # with one, what the disk takes would count too
        running_s=max(0.0, slope),
        bridge_s=middle["task bridge"],
        driver_s=sum(middle[f"task {name}"] for name in ("bridge", "stand_in", "runner", "front")),
        between_s=far.WORKERS * middle["task clock"], cores=len(os.sched_getaffinity(0)), task_bytes=middle["bytes small"],
        worker_bytes=middle["memory stand_in"], fixed_bytes=middle["memory bridge"] + middle["memory runner"])


def _shown_span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{seconds / size:.0f} {unit}" if seconds % size == 0 else f"{three_digits(seconds / size)} {unit}"
    return f"{seconds:g} s"


# --- the tables ----------------------------------------------------------------------------------------------------------

def figures(sizes: Sizes, found: Found) -> str:
    """What was found, as Markdown: medians, with the least and the most where they stand alone."""
    def middle(name: str) -> float:
        return statistics.median(found[name])

    def spread(name: str, text: Callable[[float], str]) -> list[str]:
        return [text(statistics.median(found[name])), text(min(found[name])), text(max(found[name]))]

    def rate(value: float) -> str:
        return f"{value:,.0f} a second"

    model = model_of(sizes, {name: statistics.median(values) for name, values in found.items()})
    writers = [[str(count), rate(middle(f"transactions {count} rate")), shown_s(middle(f"transactions {count} cpu")),
                rate(middle(f"stand_ins {count} rate")), shown_s(middle(f"stand_ins {count} cpu"))] for count in sizes.writers]
    running = [[shown_count(count), *(shown_s(middle(f"running {count} {name}")) for name in ("seconds", "cpu", "look"))]
               for count in sizes.running]
    grown = [[shown_count(tasks), *(shown_s(middle(f"grown {tasks} {name}")) for name in ("look", "take_over", "resume")),
              *(shown_bytes(middle(f"grown {tasks} {name}")) for name in ("parent", "bytes"))] for tasks in sizes.grown]
    single = [
        ["one fdatasync of 4 KB", *spread("sync", shown_s)],
        ["processor time of a task: the bridge", *spread("task bridge", shown_s)],
        ["processor time of a task: its stand-in", *spread("task stand_in", shown_s)],
        ["processor time of a task: runner and front", *[shown_s(part(map(sum, zip(found["task runner"], found["task front"],
                                                                                     strict=True))))
                                                         for part in (statistics.median, min, max)]],
        ["processor time of a task: the cluster's side", *spread("task far", shown_s)],
        ["time of a task by the clock, 2 far workers", *spread("task clock", shown_s)],
        ["memory of a stand-in (PSS)", *spread("memory stand_in", shown_bytes)],
        [f"memory of the bridge with {sizes.far} far workers (PSS)", *spread("memory bridge", shown_bytes)],
        ["memory of the runner (PSS)", *spread("memory runner", shown_bytes)],
        ["memory of a far worker, on its own host (PSS)", *spread("memory far worker", shown_bytes)],
        ["open files of the bridge, a far worker", *spread("files bridge", "{:.1f}".format)],
        ["far workers begun, on one host", *spread("begun", rate)],
        ["journal a task, with its arguments and a number as result", *spread("bytes small", shown_bytes)],
        ["the same with a result of 1,000 bytes", *spread("bytes 1 kB", shown_bytes)],
    ]
    return "\n\n".join([
        "### One writer at a time\n\nSo many processes settle a task and claim the next, in one durable transaction each: "
        "bare processes with the journal, and stand-ins, for a far end on this machine whose tasks do nothing. The processor "
        "time is that of a task, of the process with the journal.",
        table(["processes", "bare", "processor time", "stand-ins", "processor time"], writers),
        "### While others run\n\nOne process that does the same while so many other tasks run, and how long a look takes then.",
        table(["tasks that run", "a transaction", "processor time", "a look"], running),
        "### For each task, and for each worker",
        table(["", "median", "least", "most"], single),
        "### As the run grows\n\nA run whose processes were killed when all of its tasks but the parent had succeeded. "
        "*Resume* is the whole command, to the end of the run: the journal is examined, and the parent replayed. "
        "Measured once.",
        table(["tasks", "a look", "take-over", "resume", "memory of the parent", "journal a task"], grown),
        CHECKED_SAYS,
        table(["far workers", "found", "by the model"],
              [[str(count), rate(middle(f"checked {count}")), rate(model.here(count, 1, middle("task far")))]
               for count in sizes.checked]),
        MODEL_SAYS,
        model.table(),
    ])
