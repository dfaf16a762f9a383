"""Runs that never took place: tasks that call, follow, wait, sleep and retry at random, as the model of a report has them."""
from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

START = 1_795_500_000.0


class Simulation:
    """``Simulation(seed).model()``: a run whose times fit together as those of a real run do."""

    def __init__(self, seed: int, most_tasks: int = 60) -> None:
        self.random, self.most_tasks = random.Random(seed), most_tasks
        self.tasks: list[dict[str, Any]] = []
        self.last_end = START

    def model(self) -> dict[str, Any]:
        self._chain(None, START + self._time(), self.random.randint(1, 3))
        return {"schema": "firexlite.flame/1", "generated_at": self.last_end + 5, "firexlite": "0.1.0", "tasks": self.tasks,
                "run": {"id": "r1", "firex_id": "FireX-li-1", "chain": "top", "state": "succeeded", "started": START,
                        "ended": self.last_end, "host": "here", "user": "li", "snapshot": False, "resume": None,
                        "options": {"workers": 4}}}

    def _time(self) -> float:
        return self.random.choice((0.01, 0.05, 1.0)) * (0.5 + self.random.random())

    def _chain(self, caller: int | None, released: float, length: int) -> float:
        """Enqueue so many tasks, each after the one before it; returns when the last ended."""
        first = len(self.tasks) + 1
        for position in range(length):
            num = first + position
            self.tasks.append({
                "num": num, "uuid": f"uuid-{num}", "parent": num - 1 if position else caller, "enqueued_by": caller,
                "name": f"service_{self.random.randrange(8)}", "chain_depth": position, "plugin": False, "host": "here",
                "aside": False, "args": {}, "result": {}})
        for num in range(first, first + length):
            released = self._run(self.tasks[num - 1], released)
        return released

    def _run(self, task: dict[str, Any], released: float) -> float:
        moves, attempts, at = [["ready", released]], [], released + self._time()
        began, outstanding = at, [0.0]
        moves.append(["running", at])
        for _ in range(self.random.randint(1, 4)):
            at += self._time()
            match self.random.randrange(6):
                case 0 | 1 if len(self.tasks) < self.most_tasks:
                    outstanding.append(self._chain(task["num"], at, self.random.randint(1, 3)))
                    at += self._time()
                    if self.random.random() < 0.7 and (end := max(outstanding)) > at:
                        moves += [["blocked", at], ["running", end + self.random.choice((0, 0.003))]]
                        at = moves[-1][1]
                case 2:
                    attempts.append(self._attempt(attempts, began, at, "retried"))
                    moves += [["ready", at], ["running", began := at + self._time()]]
                    at = began
                case 3:
                    moves += [["blocked", at], ["running", at + self._time()]]  # for a time or an event, not for a child
                    at = moves[-1][1]
        at += self._time()
        moves.append(["succeeded", at])
        attempts.append(self._attempt(attempts, began, at, "succeeded"))
        spent = {state: sum(end - since for (one, since), (_, end) in pairwise(moves) if one == state)
                 for state in ("running", "blocked")}
        self.last_end = max(self.last_end, at)
        task.update(state="succeeded", started=moves[1][1], runtime=at - moves[1][1], states=moves, attempts=attempts,
                    queue=moves[1][1] - released, self=spent["running"], child_wait=spent["blocked"])
        return at

    def _attempt(self, before: list, started: float, ended: float, state: str) -> dict[str, Any]:
        return {"n": len(before) + 1, "incarnation": 1, "started": started, "ended": ended, "state": state, "exc": None,
                "cpu": (ended - started) / 2, "peak": 2 ** 24}
