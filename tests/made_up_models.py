"""Models of runs that never were, as `flame_graph.model_of` makes them of a journal, and a way to see that a format does with
one walk over the tasks."""
from __future__ import annotations

from collections.abc import Iterable, Iterator

ZERO = 1_795_000_000.0  # when the run began, in seconds since the epoch
FIREX_ID = "FireX-li-261123-101500-4711"


def made_up(*tasks: dict, now: float = 100.0, **run: object) -> dict:
    """A run that ended well after 100 s, unless ``run`` says otherwise. now: seconds after its start."""
    return {"schema": "firexlite.flame/1", "generated_at": ZERO + now, "firexlite": "0.1.0", "tasks": walked_once(tasks),
            "run": {"id": FIREX_ID, "chain": "top", "state": "succeeded", "started": ZERO, "ended": ZERO + 100.0,
                    "host": "lab-3", "incarnations": [life(1, 0, 100)], **run}}


def walked_once(tasks: Iterable[dict]) -> Iterator[dict]:
    yield from tasks


def life(n: int, began: float, ended: float, end: str = "clean") -> dict:
    return {"n": n, "pid": 4711 + n, "host": "lab-3", "started": ZERO + began, "ended": ZERO + ended, "end": end}


def task(num: int, began: float | None = None, took: float | None = None, state: str = "succeeded", **fields: object) -> dict:
    """A task as the model has it. began: seconds after the run's start."""
    started = None if began is None else ZERO + began
    return {"num": num, "name": "work", "long_name": "services.work", "parent": fields.get("enqueued_by"), "enqueued_by": None,
            "state": state, "started": started, "runtime": took, "states": [["ready", started or ZERO]], "attempts": [],
            "exception": None, "traceback": None, "error_context": None, "cause": None, "log": None, "aside": False, **fields}


def attempt(n: int, began: float, ended: float | None, state: str = "succeeded", **fields: object) -> dict:
    return {"n": n, "incarnation": 1, "worker": 0, "started": ZERO + began, "ended": None if ended is None else ZERO + ended,
            "state": state, "peak": None, "cpu": None, "exc": None, **fields}
