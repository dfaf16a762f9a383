"""The services that are measured. A parent measures itself: from its first enqueue to the end of its wait."""
import mmap
import os
import signal
import time
from pathlib import Path
from time import perf_counter

from benchmarks.processes import cpu_s, family, peak
from benchmarks.work import LINE, LOG_LINES, leave_step, spin
from firexlite import Chain, app, host

# A page that all processes of a run share, in which each fork is counted by the process that makes it.
_forks = memoryview(mmap.mmap(-1, 8)).cast("q")


def _count_fork():
    _forks[0] += 1


os.register_at_fork(before=_count_fork)


class Meter:
    """Measures from its making to `read`."""

    def __init__(self):
        self._runner = os.getppid()
        self._front = host.parent(self._runner)
        self._cpu_s = cpu_s(family(self._front))
        self._began = perf_counter()

    def read(self):
        """Seconds; of all processes of the run the processor time; the forks and the runner's memory since its beginning."""
        seconds = perf_counter() - self._began
        return {"seconds": seconds, "cpu": cpu_s(family(self._front)) - self._cpu_s, "forks": _forks[0],
                "runner_peak": peak(self._runner), "parent": os.getpid()}


@app.task(returns="number")
def child(number):
    """Return a number: as little as a service can do."""
    return number


@app.task(bind=True, returns="figures")
def fan_out(self, children):
    """Enqueue so many children, all independent, and wait for them all."""
    meter = Meter()
    for number in range(int(children)):
        self.enqueue_child(child.s(number=number))
    self.wait_for_children()  # raises if one of them failed
    return meter.read()


@app.task(bind=True, returns="figures")
def call_one_by_one(self, children):
    """Enqueue so many children, each when the one before it has ended."""
    meter = Meter()
    for number in range(int(children)):
        self.enqueue_child(child.s(number=number), block=True)
    return meter.read()


@app.task(returns="hops")
def hop(hops):
    """Count on from the service before."""
    return hops + 1


@app.task(bind=True, returns="figures")
def walk(self, length):
    """Enqueue so many services as one chain, each of which takes what the one before it returned."""
    length = int(length)
    chain = Chain((hop.s(hops=0), *(hop.s() for _ in range(length - 1))))
    meter = Meter()
    (hops,) = self.enqueue_child_and_get_results(chain, return_keys="hops")
    figures = meter.read()
    if hops != length:
        raise AssertionError(f"{length} services counted to {hops}")
    return figures


@app.task(bind=True, returns="depth")
def level(self, levels):
    """Have so many levels below this one, each of which waits for the next."""
    if not levels:
        return 0
    return 1 + self.enqueue_child_and_get_results(level.s(levels=levels - 1), return_keys="depth")[0]


@app.task(bind=True, returns="figures")
def nest(self, levels):
    """So many levels, each of which enqueues the next one and waits for it."""
    levels = int(levels)
    meter = Meter()
    (depth,) = self.enqueue_child_and_get_results(level.s(levels=levels - 1), return_keys="depth") if levels else (-1,)
    figures = meter.read()
    if depth != levels - 1:
        raise AssertionError(f"{levels} levels were {depth + 1}")
    return figures


@app.task(returns="step")
def step(path, number):
    """Leave a trace of having run."""
    return leave_step(path, number)


@app.task(bind=True)
def take_steps(self, steps, path):
    """Enqueue so many independent steps and wait for them all."""
    for number in range(int(steps)):
        self.enqueue_child(step.s(path=path, number=number))
    self.wait_for_children()


@app.task(bind=True)
def fan_out_and_die(self, children):
    """As `fan_out`; but the first time, when the children are done, all processes of the run are killed."""
    for number in range(int(children)):
        self.enqueue_child(child.s(number=number))
    self.wait_for_children()
    if self.attempt == 1:
        runner = os.getppid()
        for pid in (host.parent(runner), runner, os.getpid()):
            os.kill(pid, signal.SIGKILL)


@app.task
def turn():
    """Keep a processor busy for a while."""
    spin()


@app.task(bind=True, returns="figures")
def use_processors(self, children):
    """Enqueue so many children that each keep a processor busy."""
    meter = Meter()
    for _ in range(int(children)):
        self.enqueue_child(turn.s())
    self.wait_for_children()
    return meter.read()


@app.task
def nap():
    """Sleep for 20 ms, and print 2 KB."""
    for _ in range(LOG_LINES):
        print(LINE)
    time.sleep(0.02)


@app.task(bind=True, returns="figures")
def fan_out_naps(self, children):
    """Enqueue so many children that do as most services do: they wait for something outside, and print."""
    meter = Meter()
    for _ in range(int(children)):
        self.enqueue_child(nap.s())
    self.wait_for_children()
    return meter.read()


@app.task(bind=True, returns="round_trips")
def call_idle(self, times):
    """Call a child so many times, each when all workers have come to rest; the seconds of each call."""
    taken = []
    for number in range(int(times)):
        time.sleep(0.01)
        began = perf_counter()
        self.enqueue_child_and_get_results(child.s(number=number), return_keys="number")
        taken.append(perf_counter() - began)
    return taken


@app.task(bind=True, returns="returned")
def quick(self, number, sleeper, note):
    """The moment of its return; but the first time, one of all those sleeps before, and notes its process."""
    if number == sleeper and self.attempt == 1:
        Path(note).write_text(str(os.getpid()))
        time.sleep(10)
    return time.time()


@app.task(returns=("waited_s", "returned"))
def follow(returned):
    """For how long this has waited since the service before it returned, and the moment of its own return."""
    now = time.time()
    return now - returned, now


@app.task(bind=True)
def fan_out_pairs(self, children, note):
    """Enqueue so many chains of two, one of which sleeps in its first service."""
    children = int(children)
    for number in range(children):
        self.enqueue_child(quick.s(number=number, sleeper=children // 2, note=note) | follow.s())
    self.wait_for_children()


@app.task(bind=True)
def wait_with_all_workers(self, children, seconds):
    """Have so many workers forked, and then wait for a time, so that all of them are idle."""
    for _ in range(int(children)):
        self.enqueue_child(nap_long.s())
    self.wait_for_children()
    self.sleep(float(seconds))


@app.task
def nap_long():
    """Keep a worker while others are forked."""
    time.sleep(0.3)
