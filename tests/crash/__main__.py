"""The command: `./dev crash` runs all parts of the crash lab over two processes, and prints one table."""
from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from firexlite import host

from .parts import MODULES, Tally, find_part, names_of_parts

PROJECT = Path(__file__).parents[2]
FAILURES = PROJECT / "crash-failures.txt"
SILENT_S = 1800.0   # a job that reports nothing for so long hangs
SHOWN = 5           # failures on the screen; all are in the file
TIMES = 20          # that a case is repeated


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES",
              help="How long the random part may take; the others are whole in any case.")
@click.option("--only", multiple=True, type=click.Choice(list(MODULES)), help="Run this part only. May be repeated.")
@click.option("--seed", type=int, default=1, show_default=True, help="From which all that is random follows.")
@click.option("--wanted", type=int, default=0, metavar="N", help="About N trials of each part that can do fewer than all.")
@click.option("--enough", type=int, default=50, show_default=True, metavar="N",
              help="Failures after which a share of a part gives up.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes at once.")
@click.option("--case", metavar="JSON", help="Repeat one case, as a failure printed it; @FILE reads it from a file.")
@click.option("--job", hidden=True, metavar="PART:SHARE")
def crash(budget: float | None, only: tuple[str, ...], seed: int, wanted: int, enough: int, jobs: int,
          case: str | None, job: str | None) -> None:
    """Kill everything at every moment, and compare with what should have come of it. Takes about an hour and a half."""
    budget_s = budget * 60 if budget else float("inf")
    if case:
        sys.exit(repeat(Path(case[1:]).read_text() if case.startswith("@") else case))
    if job:
        be_a_job(job, seed, budget_s, wanted, enough)
        return
    options = ["--seed", str(seed), "--wanted", str(wanted), "--enough", str(enough)]
    options += ["--budget", str(budget)] if budget else []
    rows = run_all(names_of_parts(only), jobs, options)
    click.echo(table(rows))
    failures = [f"{row.name}: {failure}" for row in rows for failure in row.tally.failures]
    if failures:
        FAILURES.write_text("\n\n".join(failures) + "\n")
        click.echo("\n" + "\n\n".join(failures[:SHOWN]) + f"\n\nAll {len(failures)} failures: {FAILURES.name}", err=True)
    if any(row.left for row in rows):
        sys.exit(130)
    sys.exit(0 if all(row.tally.is_clean for row in rows) else 1)


# --- one job, in a process of its own --------------------------------------------------------------------------------

def be_a_job(told: str, seed: int, budget_s: float, wanted: int, enough: int) -> None:
    """Run one share of one part. Says on stdout, in lines of JSON, how far it is, and at last what came of it."""
    name, _, share = told.partition(":")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    host.die_with_parent(os.getppid(), signal.SIGTERM)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a part prints is no answer
    said_at = 0.0

    def report(done: int, of: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > 0.2:
            said_at = time.monotonic()
            print(json.dumps({"done": done, "of": of}), file=answer, flush=True)

    part = find_part(name)
    assert part is not None, f"the part {name} does not exist yet"
    part.share, part.wanted, part.enough = int(share or 0), wanted, enough
    if not share:
        part.shares = 1
    tally = part.trials(budget_s, seed, report)
    print(json.dumps({"tally": tally.as_json()}), file=answer, flush=True)


@dataclass
class Job:
    """One share of a part, under way."""

    row: Row
    process: subprocess.Popen
    done: int = 0
    of: int = 0
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    rest: bytes = b""
    has_answered: bool = False


@dataclass
class Row:
    """One row of the table."""

    name: str
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0     # of all its shares together
    left: int = 0            # shares that have not ended
    is_alone: bool = False   # nothing else runs beside it


def run_all(names: list[str], jobs: int, options: list[str]) -> list[Row]:
    """Run the shares of all parts, ``jobs`` at a time; each row has its tally then, or by Ctrl-C what it has so far.

    options: for each job.
    """
    rows, waiting = [], []
    for name in names:
        part = find_part(name)
        row = Row(name)
        if part is None:
            row.tally.notes.append("there is no such part yet")
        else:
            waiting += [(row, f"{name}:{share}") for share in range(part.shares)]
            row.left, row.is_alone = part.shares, part.is_alone
        rows.append(row)
    total = len(waiting)
    running: list[Job] = []
    bar = Bar(total)
    try:
        while waiting or running:
            while waiting and len(running) < jobs and not (running and (running[0].row.is_alone or waiting[0][0].is_alone)):
                row, told = waiting.pop(0)
                running.append(start(row, told, options))
            for job in listen(running):
                running.remove(job)
                bar.ended(job)
            bar.draw(running)
    except KeyboardInterrupt:
        for row in rows:
            if row.left:
                row.tally.notes.append(f"cut short by Ctrl-C: {row.left} of its shares did not end")
    finally:
        bar.clear()
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()
    return rows


def start(row: Row, told: str, options: list[str]) -> Job:
    return Job(row, subprocess.Popen([sys.executable, "-m", "crash", "--job", told, *options], stdout=subprocess.PIPE,
                                     stdin=subprocess.DEVNULL))


def listen(running: list[Job]) -> list[Job]:
    """Take note of what jobs say, for half a second at the most; the jobs that ended."""
    ready, _, _ = select.select([job.process.stdout for job in running], [], [], 0.5)
    ended = []
    for job in running:
        if job.process.stdout in ready:
            data = os.read(job.process.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
            *lines, job.rest = (job.rest + data).split(b"\n")
            for line in lines:
                take_note(job, json.loads(line))
            if not data:
                ended.append(job)
                job.row.seconds += time.monotonic() - job.began
                code = job.process.wait()
                if code or not job.has_answered:
                    job.row.tally.wrong += 1
                    job.row.tally.failures.append(f"a job ended with {code} before it told what it found")
        elif time.monotonic() - job.heard > SILENT_S:
            job.row.tally.failures.append(f"a job said nothing for {SILENT_S:g} s")
            job.process.terminate()
            job.heard = time.monotonic()
    return ended


def take_note(job: Job, message: dict) -> None:
    job.heard = time.monotonic()
    if "tally" in message:
        job.has_answered = True
        job.row.tally.add(Tally.from_json(message["tally"]))
    else:
        job.done, job.of = message["done"], message["of"]


class Bar:
    """How far it is, in one line of a terminal; in a pipe a line for each part that has ended."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.jobs_done = jobs, 0
        self.began = time.monotonic()

    def draw(self, running: list[Job]) -> None:
        if sys.stderr.isatty():
            share = (self.jobs_done + sum(job.done / job.of for job in running if job.of)) / max(1, self.jobs)
            now = ", ".join(f"{job.row.name} {job.done}/{job.of}" for job in running)
            minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
            line = f"[{'#' * int(30 * share):30}] {minutes}:{seconds:02} {now}"
            sys.stderr.write(f"\r{line[:110]}\x1b[K")
            sys.stderr.flush()

    def ended(self, job: Job) -> None:
        self.jobs_done += 1
        job.row.left -= 1
        if not job.row.left and not sys.stderr.isatty():
            tally = job.row.tally
            click.echo(f"{job.row.name}: {tally.trials:,} trials, {len(tally.failures) or 'no'} failures, "
                       f"{job.row.seconds:.0f} s", err=True)

    def clear(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def table(rows: list[Row]) -> str:
    from tabulate import tabulate

    lines = [(row.name, row.tally.trials, len(row.tally.points), row.tally.lost, row.tally.doubled, row.tally.survivors,
              row.tally.corrupt, row.tally.wrong, round(row.seconds)) for row in rows]
    headers = ("fault", "trials", "crash points hit", "lost", "doubled", "survivors", "corrupt", "otherwise wrong", "seconds")
    notes = [f"{row.name}: {note}" for row in rows for note in notes_of(row.tally)]
    return "\n".join([tabulate(lines, headers), "", *notes]).rstrip()


def notes_of(tally: Tally) -> list[str]:
    counts = [f"{what}: {number:,}" for what, number in tally.counts.items()]
    missed = sorted(tally.reached - tally.points)
    missed = [f"reached and not struck: {', '.join(missed[:12])}{' ..' * (len(missed) > 12)}"] if missed else []
    return [", ".join(counts)] * bool(counts) + missed + tally.notes


# --- one case again ------------------------------------------------------------------------------------------------------

def repeat(told: str) -> int:
    """Run one case some times, since what goes wrong may depend on who is faster; the exit code."""
    from .lab import Case, Lab

    tally = Tally()
    with Lab() as lab:
        for _ in range(TIMES):
            lab.run(Case.from_text(told), tally)
    for failure in dict.fromkeys(tally.failures):
        click.echo(failure)
    click.echo(f"{tally.trials} times: {len(tally.failures)} failures")
    return 0 if tally.is_clean else 1


if __name__ == "__main__":
    crash()
