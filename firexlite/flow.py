"""What flows along a chain: the values that its tasks were supplied with, changed and returned, by name."""
from __future__ import annotations

from collections.abc import Sequence

from .binding import EXTRA, as_flow
from .codec import decode
from .journal import Journal

NOTHING = "{}"  # as the journal has it


class ChainFlow:
    """What flows along one chain, as the texts of its steps that still count.

    A worker usually runs several tasks of a chain; without this memory each would read all before it again.
    Nothing in it can go out of date: tasks that succeeded never change.
    """

    def __init__(self, chain: int) -> None:
        self.chain = chain
        self.next = chain                                # the first task not yet read
        self._steps: list[tuple[Step, set[str]]] = []    # with the names whose values are from it

    def before(self, task: int, journal: Journal) -> dict[str, object]:
        """What flows to a task of the chain."""
        if self.next < task:
            for step in journal.flow_steps(self.next, task - 1):
                self.add(step)
        return merge_flow([step for step, _ in self._steps])

    def add(self, step: Step) -> None:
        """The next task of the chain has succeeded."""
        names = set(merge_flow([step]))
        for _, earlier in self._steps:
            earlier -= names
        self._steps = [(kept, earlier) for kept, earlier in self._steps if earlier] + [(step, names)]
        self.next += 1


Step = tuple[str, str | None, str | None]  # arguments, changes, result of a task, as JSON texts


def merge_flow(steps: Sequence[Step]) -> dict[str, object]:
    """What flows on after tasks of a chain: ``(arguments, changes, result)`` of each, later ones over earlier ones."""
    flow: dict[str, object] = {}
    for arguments, changes, result in steps:
        if arguments != NOTHING:
            own = decode(arguments)
            own.pop(EXTRA, None)
            flow.update(own)
        if changes and changes != NOTHING:
            flow.update(decode(changes))
        if result and result != NOTHING:
            flow.update(as_flow(decode(result)))
    return flow
