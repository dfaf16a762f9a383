"""The tasks of a run as a tree of lines that a person can read, however many there are: alike neighbours are told in one."""
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from .history import History
from .states import BLOCKED, FAILED, FINAL, READY, REVOKED, RUNNING

FEW = 6          # children that are all shown, however alike
ALIKE_SHOWN = 3  # of more that are alike
STANDING_OUT = 20  # children of one task that are shown since something in or below them stands out
LINES = 400      # of a tree, as long as nobody asks for all


class Line(NamedTuple):
    """A task, or several alike. num: of the first. depth: 0 for the submitted chain. is_last: among its parent's children, for
    each depth from 1 on. position: in its chain. started, ended: seconds since the epoch. error: JSON text. size: of tasks
    alike, 1 for a single one.
    """

    num: int
    name: str
    state: str
    depth: int
    is_last: tuple[bool, ...] = ()
    position: int = 0
    started: float | None = None
    ended: float | None = None
    attempt: int = 0
    error: str | None = None
    size: int = 1
    is_aside: bool = False


def lines_of(history: History, root: int | None = None, everything: bool = False,
             states: Collection[str] = ()) -> tuple[list[Line], int]:
    """The tree, or that below one task, and how many more lines it would have.

    everything: show each task. states: show only tasks in these states, with those above them.
    """
    tree = _Tree(history, states)
    chosen = list(tree.lines([root] if root is not None else tree.children[None], everything or bool(states)))
    shown = chosen if everything else chosen[:LINES]
    about = _about(history, [line.num for line in shown if line.size == 1])
    unspill = history.directory.unspill
    told = []
    for line in shown:
        if line.size == 1:
            started, moved, attempt, error, state = about[line.num]
            ended = moved if state in FINAL and started is not None else None
            line = line._replace(state=state, started=started, ended=ended, attempt=attempt, error=error and unspill(error))
        told.append(line)
    return told, len(chosen) - len(shown)


class _Tree:
    def __init__(self, history: History, states: Collection[str]) -> None:
        self.names = {name: service.short_name for name, service in history.services.items()}
        rows = history.execute("SELECT id, parent, chain, service, state, aside FROM task ORDER BY id")
        self.tasks: dict[int, tuple] = {row[0]: row for row in rows}
        self.children: dict[int | None, list[int]] = {None: []}
        children = self.children
        for row in rows:
            if row[1] in children:
                children[row[1]].append(row[0])
            else:
                children[row[1]] = [row[0]]
        self.stands_out: set[int] = set()
        self.wanted: set[int] | None = None
        if states:
            self.wanted = self._with_those_above(row[0] for row in rows if row[4] in states)
        else:
            self.stands_out = self._with_those_above(row[0] for row in rows if row[4] in _STANDS_OUT and not row[5])

    def _with_those_above(self, nums: Iterable[int]) -> set[int]:
        found: set[int] = set()
        for num in nums:
            above: int | None = num
            while above is not None and above not in found:
                found.add(above)
                above = self.tasks[above][1] if above in self.tasks else None
        return found

    def lines(self, nums: list[int], everything: bool) -> Iterator[Line]:
        stack = [iter(self._siblings(nums, 0, (), everything))]
        while stack:
            line = next(stack[-1], None)
            if line is None:
                stack.pop()
                continue
            yield line
            if line.size == 1 and (below := self.children.get(line.num)):
                stack.append(iter(self._siblings(below, line.depth + 1, line.is_last, everything)))

    def _siblings(self, nums: list[int], depth: int, above: tuple[bool, ...], everything: bool) -> list[Line]:
        if self.wanted is not None:
            nums = [num for num in nums if num in self.wanted]
        groups = [[num] for num in nums] if everything or len(nums) <= FEW else list(self._grouped(nums))
        found = []
        for n, group in enumerate(groups):
            num, _, chain, service, state, aside = self.tasks[group[0]]
            is_last = (*above, n == len(groups) - 1) if depth else ()
            found.append(Line(num, self.names.get(service, service.rpartition(".")[2]), state, depth, is_last, num - chain,
                              size=len(group), is_aside=bool(aside)))
        return found

    def _grouped(self, nums: list[int]) -> Iterator[list[int]]:
        """The first few of each kind by themselves, and what is left of each kind, at the end."""
        shown: Counter[tuple] = Counter()
        left: dict[tuple, list[int]] = {}
        tasks, stands_out = self.tasks, self.stands_out
        for num in nums:
            kind = tasks[num][3:], num in stands_out  # its service, its state, and whether it was set aside
            if kind in left:
                left[kind].append(num)
            elif shown[kind] < (STANDING_OUT if kind[1] else ALIKE_SHOWN):
                shown[kind] += 1
                yield [num]
            else:
                left[kind] = [num]
        yield from left.values()


_STANDS_OUT = frozenset((RUNNING, BLOCKED, READY, FAILED, REVOKED))


_ABOUT = ("SELECT task.id, (SELECT min(started) FROM attempt WHERE attempt.task = task.id), moved, task.attempt, "
          "(SELECT error FROM attempt WHERE attempt.task = task.id AND attempt.number = task.attempt), state FROM task "
          "WHERE task.id IN (SELECT value FROM json_each(?))")


def _about(history: History, nums: list[int]) -> dict[int, tuple]:
    return {row[0]: row[1:] for row in history.execute(_ABOUT, f"[{','.join(map(str, nums))}]")}
