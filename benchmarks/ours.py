"""How one measurement of firexlite is made, for each kind of work."""
from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .contest import Sample
from .journals import growth, in_flight, reading, room
from .killing import count_steps, kill_at
from .processes import cpu_s, family, pss
from .references import WORKERS
from .scratch import CannotMeasure, Scratch, firexlite_command
from .work import LINE, LOG_LINES

SERVICES = str(Path(__file__).with_name("services.py"))
NAP_S = 0.02           # of the service `nap`
NAPPERS = 8            # workers, for services that mostly sleep
SETTLE_S = 1.0         # until a run that waits is at rest


def submit_nop(scratch: Scratch) -> Sample:
    return {"seconds": scratch.run(*firexlite_command(), "submit", "--chain", "nop").seconds}


def import_click_and_peewee(scratch: Scratch) -> Sample:
    return {"seconds": scratch.run(sys.executable, "-c", "import click, peewee").seconds}


# Commands that look at a run, by name, with the words of each; `RUN` stands for its FireX ID.
RUN = "RUN"
STARTS = 3
LOOKS = {"version": ("--version",), "help": ("--help",), "runs": ("runs",), "runs_json": ("runs", "--json"),
         "show": ("show", RUN), "show_task": ("show", RUN, "7"), "show_json": ("show", RUN, "--json"), "why": ("why", RUN),
         "logs": ("logs", RUN), "doctor": ("doctor", RUN), "wait": ("wait", RUN), "attach": ("attach", RUN),
         "prune": ("prune", "--older-than", "1d", "--dry-run"), "diff": ("diff", RUN, RUN)}


def look_at(scratch: Scratch, children: int) -> Sample:
    """Processor time of each command over that of a Python that does nothing; the seconds are those of the longest.

    Of each that counts which was the least of `STARTS`, in turn: what else goes on beside this machine only adds.
    """
    scratch.run(*firexlite_command(), "submit", *submit_words("fan_out", WORKERS, children=children), keeps_home=True)
    try:
        [firex_id] = scratch.runs()
        found = {}
        for name, words in LOOKS.items():
            given = [firex_id if word == RUN else word for word in words]
            starts = [[scratch.run(*all_words, keeps_home=True).cpu_s for all_words in
                       ((sys.executable, "-c", "pass"), (*firexlite_command(), *given))] for _ in range(STARTS)]
            bare, looked = map(min, zip(*starts, strict=True))
            found[name] = looked - bare
        return {"seconds": max(found.values()), **found}
    finally:
        scratch.empty_home()


def submit_parent(scratch: Scratch, service: str, workers: int = WORKERS, look: Callable[[Path], Sample] = lambda _: {},
                  settings: dict[str, str] | None = None, **arguments: int) -> Sample:
    """Submit a service that measures itself. look: at the directory of the run when it has ended."""
    ended, values = scratch.returned(*submit_words(service, workers, **arguments), keeps_home=True, **(settings or {}))
    try:
        return {**values["figures"], "command": ended.seconds, "command_cpu": ended.cpu_s, **look(scratch.run_directory())}
    finally:
        scratch.empty_home()


def submit_words(service: str, workers: int, **arguments: object) -> list[str]:
    """The words after `firexlite submit` that have a service of ours called with these arguments."""
    given = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    return ["--plugins", SERVICES, "--workers", str(workers), "--chain", service, *given]


def fan_out(scratch: Scratch, children: int, workers: int) -> Sample:
    return submit_parent(scratch, "fan_out", workers, growth, children=children)


def nest(scratch: Scratch, levels: int) -> Sample:
    """The processor time of a level is that of the whole command over one without any level; of a fork, of a bare one."""
    base = submit_parent(scratch, "nest", levels=0)
    found = submit_parent(scratch, "nest", levels=levels)
    fork = scratch.told(sys.executable, "-m", "benchmarks.references", "fork", str(levels))
    level_cpu = (found["command_cpu"] - base["command_cpu"]) / levels
    return {**found, "level_cpu": level_cpu, "fork_cpu": fork["cpu"], "over_fork": level_cpu - fork["cpu"]}


def nap(scratch: Scratch, children: int, workers: int) -> Sample:
    found = submit_parent(scratch, "fan_out_naps", workers, room, children=children)
    log_bytes = children * LOG_LINES * (len(LINE) + 1)
    return {**found, "share": children * NAP_S / workers / found["seconds"], "room_ratio": found["room"] / log_bytes}


def round_trip(scratch: Scratch, times: int) -> Sample:
    _, values = scratch.returned(*submit_words("call_idle", WORKERS, times=times))
    return {"seconds": statistics.median(values["round_trips"])}


def resume_finished(scratch: Scratch, done: int) -> Sample:
    scratch.run(*firexlite_command(), "submit", *submit_words("fan_out_and_die", WORKERS, children=done),
                ends_with=-signal.SIGKILL, keeps_home=True)
    [firex_id] = scratch.runs()
    return {"seconds": scratch.run(*firexlite_command(), "resume", firex_id).seconds}


def resume_killed(scratch: Scratch, steps: int) -> Sample:
    """The resume of a run that was killed when half of its steps had been taken."""
    with scratch.spare_file("steps") as traces:
        kill_at(steps // 2, traces, scratch, *firexlite_command(), "submit",
                *submit_words("take_steps", WORKERS, steps=steps, path=traces))
        flying = in_flight(scratch.run_directory(), "step")
        [firex_id] = scratch.runs()
        ended = scratch.run(*firexlite_command(), "resume", firex_id)
        counts = count_steps(traces, steps)
        beyond = max(0, counts["repeated"] - sum(flying.values()))
        return {"seconds": ended.seconds, "beyond": beyond, **flying, **counts}


def wait_idle(scratch: Scratch, workers: int, span_s: float) -> Sample:
    """All processes of a run that waits for a time, with all its workers idle: what they use of a processor, and memory."""
    words = [*firexlite_command(), "submit", *submit_words("wait_with_all_workers", workers, seconds=600, children=workers)]
    with scratch.started(*words) as process:
        _until_suspended(scratch)
        time.sleep(SETTLE_S)
        processes = family(process.pid)
        used_s = cpu_s(processes)
        time.sleep(span_s)
        used_s = cpu_s(processes) - used_s
        return {"share": used_s / span_s, "memory": pss(processes), "processes": len(processes)}


def _until_suspended(scratch: Scratch) -> None:
    give_up = time.monotonic() + scratch.limit_s
    while time.monotonic() < give_up:
        time.sleep(0.1)
        if scratch.runs():
            with reading(scratch.run_directory()) as db:
                if db.execute("SELECT 1 FROM attempt WHERE outcome = 'suspended'").fetchone():
                    return
    raise CannotMeasure(f"a run did not come to rest within {scratch.limit_s:g} s")
