"""Ten tasks of every kind that the journal knows: a chain, children side by side, a chain of children, a payload in a blob."""
import os

from firexlite import app


def note(what):
    """One line in the effect log; by writev, which no fault is injected into: what a body does itself is its own affair."""
    fd = os.open(os.environ["EFFECT_LOG"], os.O_WRONLY | os.O_APPEND)
    os.writev(fd, [f"{what}\n".encode()])
    os.close(fd)


@app.task(returns="base")
def begin(many="5"):
    note("begin")
    return int(many)


@app.task(returns="y")
def square(x):
    note(f"square {x}")
    print("squaring", x)
    return x * x


@app.task(returns="big")
def fill(y):
    note("fill")
    return "x" * 70_000 + str(y)


@app.task(bind=True, returns="total")
def spread(self, base):
    note("spread")
    promises = [self.enqueue_child(square.s(x=x)) for x in range(base)]
    self.wait_for_children()
    if os.environ.get("SPREAD_FAILS"):
        raise ValueError("not yet")
    filled = self.enqueue_child_and_get_results(square.s(x=10) | fill.s())
    return sum(promise.result["y"] for promise in promises) + len(filled["big"])


@app.task(returns="end")
def end(total):
    note("end")
    return total + 1
