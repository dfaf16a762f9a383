"""The services that are measured. A parent takes the time itself: from its first enqueue to the end of its wait."""
import os
import signal
from time import perf_counter

from firexlite import Chain, app, host


@app.task(returns="number")
def child(number):
    """Return a number: as little as a service can do."""
    return number


@app.task(bind=True, returns="seconds")
def fan_out(self, children):
    """Enqueue so many children, all independent, and wait for them all."""
    began = perf_counter()
    for number in range(int(children)):
        self.enqueue_child(child.s(number=number))
    self.wait_for_children()  # raises if one of them failed
    return perf_counter() - began


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


@app.task(returns="hops")
def hop(hops):
    """Count on from the service before."""
    return hops + 1


@app.task(bind=True, returns="seconds")
def walk(self, length):
    """Enqueue so many services as one chain, each of which takes what the one before it returned."""
    length = int(length)
    chain = Chain((hop.s(hops=0), *(hop.s() for _ in range(length - 1))))
    began = perf_counter()
    (hops,) = self.enqueue_child_and_get_results(chain, return_keys="hops")
    seconds = perf_counter() - began
    if hops != length:
        raise AssertionError(f"{length} services counted to {hops}")
    return seconds
