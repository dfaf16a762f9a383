"""Services that are measured here and on a cluster alike: each parent reads nothing but its own clock."""
import statistics
import time
from time import perf_counter

import firexlite
from firexlite import Chain, app


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


@app.task(bind=True, returns="seconds")
def call_one_by_one(self, children):
    """Enqueue so many children, and wait for each before the next."""
    began = perf_counter()
    for number in range(int(children)):
        self.enqueue_child(child.s(number=number), block=True)
    return perf_counter() - began


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


@app.task(bind=True)
def wait_for_a_word(self):
    """Wait for an event that nobody sends."""
    self.wait_for_event("word")


@app.task(bind=True, returns="taken")
def call_back(self, times):
    """The median time in which a body reads something of the run, and in which it has something noted."""
    promise = self.enqueue_child(wait_for_a_word.s())
    reads, notes = [], []
    for _ in range(int(times)):
        reads.append(_timed(promise.ready))
        notes.append(_timed(firexlite.now))
    self.revoke_child(promise)
    return {"read": statistics.median(reads), "note": statistics.median(notes)}


def _timed(call):
    began = perf_counter()
    call()
    return perf_counter() - began


@app.task(returns="began")
def begin():
    """The moment at which the body begins."""
    return time.time()


@app.task
def rest(seconds):
    """Keep a worker."""
    time.sleep(float(seconds))


@app.task(bind=True)
def rest_side_by_side(self, children, seconds):
    """Have so many workers at once."""
    for _ in range(int(children)):
        self.enqueue_child(rest.s(seconds=seconds))
    self.wait_for_children()
