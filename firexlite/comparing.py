"""Two runs compared, task by task: what is in one alone, and what of the others is not the same.

Tasks are paired along the tree, from the submitted chains down: below two tasks that are a pair the chains with the same
signatures, then those with the same arguments but for the FireX IDs in them, then those of the same services, each in the
order in which they were enqueued. Of a task that was tried again the last try counts.
"""
from __future__ import annotations

import collections
import difflib
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .codec import display, display_error
from .history import History, innermost, interrupted_by
from .last_good import Difference, differences_between, shortened, text_of

LEAST_S, LEAST_SHARE = 1.0, 0.2  # a difference in time is told if it is more than both: seconds, and of what it was
AT_ONCE = 2000                   # tasks whose texts are read together
# Arguments that differ in any two runs, or are told of as differences of the runs themselves.
OF_THE_RUN = frozenset({"argv", "chain", "json_file", "plugins", "submission_dir", "submitter", "sync", "uid"})
BELOW = "what failed below it"

_TASKS = """SELECT id, parent, parent_retry, chain, last, service, state, retry, digest, shared, aside, redoes
    FROM task ORDER BY id"""
_TEXTS = """SELECT task.id, arguments, result, error FROM json_each(?) JOIN task ON task.id = json_each.value
    LEFT JOIN attempt ON attempt.task = task.id AND number = attempt"""
_ARGUMENTS = "SELECT task.id, arguments FROM json_each(?) JOIN task ON task.id = json_each.value"
_TIMES = "SELECT task, sum(ended - started) FROM attempt WHERE ended IS NOT NULL GROUP BY task"


class Side(NamedTuple):
    """One of the two runs. seconds: from its begin to its end; None: it has not ended. tasks: those compared."""

    firex_id: str
    state: str
    chain: str
    created: float
    seconds: float | None
    tasks: int


class Only(NamedTuple):
    """A task that is in one run alone. below: how many tasks are below it."""

    task: int
    service: str
    state: str
    below: int


class Changed(NamedTuple):
    """What is other of a pair. name: of the argument or result. was, now: shortened texts, for times seconds; None: none."""

    a: int
    b: int
    service: str
    name: str | None
    was: str | float | None
    now: str | float | None
    why: str | None = None  # of a state: the error, or that it is `BELOW`


@dataclass
class Comparison:
    """Two runs compared; each list in the order of the tasks, times by how much they differ."""

    a: Side
    b: Side
    run: list[Difference] = field(default_factory=list)
    states: list[Changed] = field(default_factory=list)
    failures: list[Changed] = field(default_factory=list)   # of tasks that failed in both
    only_in_a: list[Only] = field(default_factory=list)
    only_in_b: list[Only] = field(default_factory=list)
    arguments: list[Changed] = field(default_factory=list)
    results: list[Changed] = field(default_factory=list)
    retries: list[Changed] = field(default_factory=list)
    times: list[Changed] = field(default_factory=list)

    @property
    def is_alike(self) -> bool:
        """Whether nothing is other but times."""
        return not any((self.run, self.states, self.failures, self.only_in_a, self.only_in_b, self.arguments, self.results,
                        self.retries))

    def as_data(self) -> dict[str, Any]:
        return {"alike": self.is_alike, "a": self.a._asdict(), "b": self.b._asdict(),
                **{name: [one._asdict() for one in found] for name, found in vars(self).items() if name not in ("a", "b")}}


def compare(one: History, other: History) -> Comparison:
    """Both runs as they stand."""
    sides = _Tree(one), _Tree(other)
    pairs = _Pairing(*sides)
    a, b = (_side(tree, len(pairs.pairs) + sum(1 + only.below for only in alone))
            for tree, alone in zip(sides, (pairs.only_a, pairs.only_b), strict=True))
    found = Comparison(a, b, differences_between(one, other), only_in_a=pairs.only_a, only_in_b=pairs.only_b)
    for start in range(0, len(pairs.pairs), AT_ONCE):
        _compare_texts(found, *sides, pairs.pairs[start:start + AT_ONCE])
    _compare_times(found, *sides, pairs.pairs)
    return found


def _side(tree: _Tree, tasks: int) -> Side:
    run = tree.history.run()
    return Side(run.firex_id, run.state, run.chain, run.created, None if run.ended is None else run.ended - run.created, tasks)


# --- which tasks are a pair --------------------------------------------------------------------------------------

class _Task(NamedTuple):
    num: int
    parent: int | None
    parent_retry: int
    chain: int
    last: int
    service: str
    state: str
    retry: int
    digest: str | None
    shared: int
    aside: int
    redoes: int | None


class _Tree:
    """The tasks of a run, and what each enqueued in its last try."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.firex_id = history.run().firex_id
        self.tasks = {row[0]: _Task(*row) for row in history.execute(_TASKS)}
        self._short = {name: service.short_name for name, service in history.services.items()}
        self.submitted = 1           # the first task of the submitted chain
        self.shared: list[int] = []  # chains that are enqueued once for all who ask for them
        self._below: dict[int, list[int]] = collections.defaultdict(list)
        for task in self.tasks.values():
            if task.num != task.chain or task.aside or task.redoes is not None:
                continue
            if task.shared:
                self.shared.append(task.num)
            elif task.parent is None:
                self.submitted = task.num
            elif task.parent_retry == self.tasks[task.parent].retry:
                self._below[task.parent].append(task.num)

    def name(self, num: int) -> str:
        service = self.tasks[num].service
        return self._short.get(service, service)

    def below(self, num: int) -> Sequence[int]:
        """The chains that a task enqueued, by their first tasks."""
        return self._below.get(num, ())

    def members(self, head: int) -> range:
        return range(head, self.tasks[head].last + 1)

    def services(self, head: int) -> tuple[str, ...]:
        return tuple(self.name(num) for num in self.members(head))

    def arguments(self, heads: Sequence[int]) -> dict[int, str]:
        """What the first tasks of chains were given, with nothing in it that names the run."""
        return {num: self.unnamed(text) for num, text in self.history.execute(_ARGUMENTS, json.dumps(heads))}

    def unnamed(self, text: str) -> str:
        return text.replace(self.firex_id, "FireX ID")

    def only(self, num: int) -> Only:
        below, todo = 0, [num]
        while todo:
            heads = self.below(todo.pop())
            members = [member for head in heads for member in self.members(head)]
            below += len(members)
            todo += members
        return Only(num, self.name(num), self.tasks[num].state, below)


class _Pairing:
    """The pairs of tasks, in the order of the first run's, and what is left on both sides."""

    def __init__(self, a: _Tree, b: _Tree) -> None:
        self._a, self._b = a, b
        self.pairs: list[tuple[int, int]] = []
        self.only_a: list[Only] = []
        self.only_b: list[Only] = []
        todo = [*self._of_members(a.submitted, b.submitted), *self._of_chains(a.shared, b.shared)]
        while todo:
            pair = todo.pop()
            self.pairs.append(pair)
            todo += self._of_chains(a.below(pair[0]), b.below(pair[1]))
        self.pairs.sort()
        self.only_a.sort(key=lambda only: only.task)
        self.only_b.sort(key=lambda only: only.task)

    def _of_chains(self, left_a: Sequence[int], left_b: Sequence[int]) -> Iterator[tuple[int, int]]:
        a, b = self._a, self._b
        for key_a, key_b in self._ways(left_a, left_b):
            if not (left_a and left_b):
                break
            waiting: dict[Hashable, collections.deque[int]] = collections.defaultdict(collections.deque)
            for head in left_b:
                waiting[key_b(head)].append(head)
            rest_a = []
            for head in left_a:
                if twins := waiting.get(key_a(head)):
                    yield from self._of_members(head, twins.popleft())
                else:
                    rest_a.append(head)
            left_a, left_b = rest_a, sorted(head for twins in waiting.values() for head in twins)
        self.only_a += [a.only(num) for head in left_a for num in a.members(head)]
        self.only_b += [b.only(num) for head in left_b for num in b.members(head)]

    def _ways(self, of_a: Sequence[int], of_b: Sequence[int]
              ) -> Iterator[tuple[Callable[[int], Hashable], Callable[[int], Hashable]]]:
        """By what chains are alike, the closest first; each way is asked for when those before have left some on both sides."""
        a, b = self._a, self._b
        yield lambda head: a.tasks[head].digest, lambda head: b.tasks[head].digest
        if len(of_a) > 1 or len(of_b) > 1:
            given_a, given_b = a.arguments(of_a), b.arguments(of_b)
            yield lambda head: (a.services(head), given_a[head]), lambda head: (b.services(head), given_b[head])
        yield a.services, b.services
        yield a.name, b.name

    def _of_members(self, head_a: int, head_b: int) -> Iterator[tuple[int, int]]:
        a, b = self._a, self._b
        names_a, names_b = a.services(head_a), b.services(head_b)
        if names_a == names_b:
            yield from zip(a.members(head_a), b.members(head_b), strict=True)
            return
        paired_a, paired_b = set(), set()
        for block in difflib.SequenceMatcher(None, names_a, names_b, autojunk=False).get_matching_blocks():
            for i in range(block.size):
                pair = head_a + block.a + i, head_b + block.b + i
                paired_a.add(pair[0])
                paired_b.add(pair[1])
                yield pair
        self.only_a += [a.only(num) for num in a.members(head_a) if num not in paired_a]
        self.only_b += [b.only(num) for num in b.members(head_b) if num not in paired_b]


# --- what of a pair is other -------------------------------------------------------------------------------------

def _compare_texts(found: Comparison, a: _Tree, b: _Tree, pairs: Sequence[tuple[int, int]]) -> None:
    texts_a, texts_b = (
        {row[0]: row[1:] for row in tree.history.execute(_TEXTS, json.dumps([pair[side] for pair in pairs]))}
        for side, tree in enumerate((a, b)))
    for num_a, num_b in pairs:
        (given_a, result_a, error_a), (given_b, result_b, error_b) = texts_a[num_a], texts_b[num_b]
        task_a, task_b, name = a.tasks[num_a], b.tasks[num_b], a.name(num_a)
        if task_a.state != task_b.state:
            why = _why(b, error_b) if task_b.state == "failed" else _why(a, error_a) if task_a.state == "failed" else None
            found.states.append(Changed(num_a, num_b, name, None, task_a.state, task_b.state, why))
        elif task_a.state == "failed":
            was, now = _why(a, error_a), _why(b, error_b)
            if was != now:
                found.failures.append(Changed(num_a, num_b, name, None, was, now))
        if task_a.retry != task_b.retry:
            found.retries.append(Changed(num_a, num_b, name, None, task_a.retry, task_b.retry))
        left_out = OF_THE_RUN if task_a.parent is not None else OF_THE_RUN | {*_inputs(a), *_inputs(b)}
        for kind, was, now in ((found.arguments, given_a, given_b), (found.results, result_a, result_b)):
            if was != now and (kind is found.arguments or (was and now)):
                kind += [Changed(num_a, num_b, name, part, *values) for part, *values in _parts_that_differ(a, b, was, now)
                         if kind is found.results or part not in left_out]


def _inputs(tree: _Tree) -> Sequence[str]:
    return tuple(tree.history.run().inputs)


def _why(tree: _Tree, error: str | None) -> str | None:
    """The error of a task that failed, in a line."""
    if error is None:
        return None
    error = tree.history.directory.unspill(error)
    if interrupted_by(error) is not None:
        return BELOW
    about = innermost(display_error(error))
    return tree.unnamed(": ".join(filter(None, (about["name"], " ".join(about["text"].split())))))


def _parts_that_differ(a: _Tree, b: _Tree, was: str, now: str) -> Iterator[tuple[str, str | None, str | None]]:
    values_a, values_b = (display(tree.unnamed(tree.history.directory.unspill(text))) for tree, text in ((a, was), (b, now)))
    for name in {**values_a, **values_b}:
        of_a, of_b = (text_of(values[name]) if name in values else None for values in (values_a, values_b))
        if of_a != of_b:
            yield (name, *shortened(of_a, of_b))


def _compare_times(found: Comparison, a: _Tree, b: _Tree, pairs: Sequence[tuple[int, int]]) -> None:
    took_a, took_b = (dict(tree.history.execute(_TIMES)) for tree in (a, b))
    for num_a, num_b in pairs:
        was, now = took_a.get(num_a), took_b.get(num_b)
        if was is not None and now is not None and abs(now - was) > max(LEAST_S, LEAST_SHARE * was):
            found.times.append(Changed(num_a, num_b, a.name(num_a), None, round(was, 3), round(now, 3)))
    found.times.sort(key=lambda changed: -abs(changed.now - changed.was))  # type: ignore[operator]
