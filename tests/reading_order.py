"""The order in which a tree of tasks is read, found from the data of a report alone."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator


def in_reading_order(tasks: Iterable[dict]) -> Iterator[tuple[dict, int]]:
    """``(task, depth)``: each task, below it all that it enqueued in the order of numbers, then the next of its chain."""
    known = {task["num"]: task for task in tasks}
    firsts, following = defaultdict(list), {}
    for task in known.values():
        if task["chain_depth"]:
            following[task["parent"]] = task["num"]
        else:
            firsts[task["enqueued_by"]].append(task["num"])
    open_ones = [(num, 0) for num in reversed(firsts[None])]
    while open_ones:
        num, depth = open_ones.pop()
        yield known[num], depth
        if num in following:
            open_ones.append((following[num], depth))
        open_ones += [(child, depth + 1) for child in reversed(firsts[num])]
