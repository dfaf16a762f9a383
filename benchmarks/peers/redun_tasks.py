"""The tasks of the adapter for redun, which finds them by the name of their module."""
from redun import task

from benchmarks.peers.adapter import increment

redun_namespace = "bench"


@task()
def child(number: int) -> int:
    return increment(number)


@task()
def total(numbers: list) -> int:
    return sum(numbers)


@task()
def fanout(size: int):
    return total([child(number) for number in range(size)])


@task()
def chain(length: int):
    return hop(0, length)


@task()
def hop(hops: int, left: int):
    """A tail call: an expression of 200 calls within each other is more than redun evaluates."""
    return hop(increment(hops), left - 1) if left else hops
