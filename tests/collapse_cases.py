"""What collapses to what: trees, rules and what is drawn of them, as in the unit tests of FireX's Flame and beyond.

A tree is its tasks in reading order, as the report lists them: number, name (``T`` if it does not matter), state and, after
``because``, the number of the task that is the cause. Below a task and further in stand those it called; ``|`` follows, in
its chain, the task above it of the same depth.
"""
from __future__ import annotations

from dataclasses import dataclass, field

THREE = """
1
  2
    3
"""
TWO_CHILDREN = """
1
  2
  3
"""
BUSHY = """
1
  2
    3
  4
    5
    6
      7
"""
CHAIN = """
1 Root
  2 Build
    3 Compile
      4 Link
  | 5 Test
    6 Case
  | 7 Pack
"""
TROUBLE = """
1 Root failed because 4
  2 Build
    3 Compile
  | 4 Test failed
    5 Case
  | 6 Report skipped
  7 Watch
    8 Poll running
"""


@dataclass(frozen=True)
class Rule:
    """A rule as the engine takes it."""

    operation: str
    row_of: int
    targets: tuple[str, ...]
    priority: int = 1


@dataclass(frozen=True)
class Case:
    """``shown`` are the tasks drawn; ``held`` says which of them stand for which others."""

    sentence: str
    tree: str
    shown: str
    held: dict[int, list[int]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    says: dict[int, list[dict]] = field(default_factory=dict)  # what tasks ask for in their flame data
    options: dict = field(default_factory=dict)


def collapse(task: int, *targets: str, priority: int = 1) -> Rule:
    return Rule("collapse", task, targets, priority)


def expand(task: int, *targets: str, priority: int = 1) -> Rule:
    return Rule("expand", task, targets, priority)


def ask(operation: str, targets: list[str], kind: str, value: object, source: int | None = None) -> dict:
    asked = {"operation": operation, "targets": targets, "relative_to_nodes": {"type": kind, "value": value}}
    return asked if source is None else {**asked, "source_node": {"type": "task_num", "value": source}}


# --- what FireX's own tests hold ------------------------------------------------------------------------------

FLAMES_OWN = (
    Case("without rules all is drawn", THREE, "1 2 3"),
    Case("a task that collapses itself is held by the one above, and what is below it moves up",
         THREE, "1 3", {1: [2]}, (collapse(2, "self"),)),
    Case("the root collapses its descendants and stays",
         THREE, "1", {1: [2, 3]}, (collapse(1, "descendants"),)),
    Case("a task's own wish to be expanded beats the wish of one above it",
         THREE, "1 3", {1: [2]}, (collapse(1, "descendants"), expand(3, "self"))),
    Case("a task may collapse all above it, of which the root stays, and be expanded itself",
         THREE, "1 3", {1: [2]}, (collapse(3, "ancestors"), expand(3, "self"))),
    Case("a root that is expanded changes nothing for the others",
         THREE, "1 3", {1: [2]}, (expand(1, "self"), collapse(3, "ancestors"))),
    Case("between expanding from above and collapsing from below, expanding wins",
         THREE, "1 2 3", {}, (expand(1, "descendants"), collapse(3, "ancestors"))),
    Case("a rule for ancestors does not touch the task that has it",
         THREE, "1 3", {1: [2]}, (expand(2, "ancestors"), collapse(3, "ancestors"))),
    Case("a lower priority wins over a nearer rule",
         THREE, "1 2 3", {}, (expand(2, "self", priority=1), collapse(3, "ancestors", priority=10))),
    Case("what follows in a chain is no unchained descendant",
         "1\n  2\n  | 3", "1 2 3", {}, (collapse(2, "unchained-descendants"),)),
    Case("a root that collapses itself stays", TWO_CHILDREN, "1 2 3", {}, (collapse(1, "self"),)),
    Case("a collapsed leaf is held by its parent, its sibling stays",
         TWO_CHILDREN, "1 3", {1: [2]}, (collapse(2, "self"),)),
    Case("two collapsed leaves are held by one", TWO_CHILDREN, "1", {1: [2, 3]}, (collapse(2, "self"), collapse(3, "self"))),
    Case("in a tree of several levels each is held by the nearest that is drawn",
         BUSHY, "1 3 4 5", {1: [2], 4: [6, 7]}, (collapse(2, "self"), collapse(6, "self"), collapse(7, "self"))),
    Case("a holder counts all tasks below, not only its children",
         "1\n  2\n    3\n  4", "1", {1: [2, 3, 4]}, tuple(collapse(task, "self") for task in (2, 3, 4))),
    Case("of a fork that is collapsed from above, the branch that stays moves up to the nearest that is drawn",
         "1\n  2\n    3\n      4\n      5", "1 4", {1: [2, 3, 5]}, tuple(collapse(task, "self") for task in (2, 3, 5))),
    Case("a task may ask in its flame data that it and what it calls be collapsed",
         "1\n  2\n    3\n      4", "1 2", {2: [3, 4]},
         says={3: [ask("collapse", ["self", "descendants"], "task_num", 3, source=3)]}),
)

# --- what follows from Flame's rules --------------------------------------------------------------------------

OURS = (
    Case("collapsing what a task calls leaves the rest of its chain",
         CHAIN, "1 2 5 6 7", {2: [3, 4]}, says={2: [ask("collapse", ["descendants"], "task_num", 2)]}),
    Case("a reader who collapses what is below a task means its chain too",
         CHAIN, "1 2", {2: [3, 4, 5, 6, 7]}, (collapse(2, "descendants", priority=-1),)),
    Case("the ancestors of a chained task are those before it in its chain, and their callers",
         CHAIN, "1 3 4 6 7", {1: [2, 5]}, (collapse(7, "ancestors"),)),
    Case("grandchildren are what the called ones call, however deep, and no part of a chain",
         CHAIN, "1 2 5 7", {2: [3, 4], 5: [6]}, (collapse(1, "grandchildren"),)),
    Case("the grandchildren of a task are not its children",
         "1\n  2\n    3\n      4", "1 2 3", {3: [4]}, (collapse(2, "grandchildren"),)),
    Case("the last click wins over earlier ones",
         THREE, "1 2 3", {}, (collapse(1, "descendants", priority=-1), expand(1, "descendants", priority=-2))),
    Case("a click wins over what a service asks for",
         THREE, "1 2 3", {}, (expand(1, "descendants", priority=-1),),
         says={2: [ask("collapse", ["self"], "task_num", 2)]}),
    Case("what one task says of a name holds for all tasks of that name",
         "1\n  2 Case\n  3 Case\n    4\n  5 Pack", "1 4 5", {1: [2, 3]},
         says={5: [ask("collapse", ["self"], "task_name", "Case")]}),
    Case("a name is the whole name", "1\n  2 CaseTwo", "1 2", {}, says={1: [ask("collapse", ["self"], "task_name", "Case")]}),
    Case("a pattern is found anywhere in a name",
         "1\n  2 RunCase\n  3 Cases\n  4 Pack", "1 4", {1: [2, 3]},
         says={1: [ask("collapse", ["self"], "task_name_regex", "Case")]}),
    Case("a pattern may be anchored",
         "1\n  2 RunCase\n  3 Cases", "1 2", {1: [3]}, says={1: [ask("collapse", ["self"], "task_name_regex", "^Case")]}),
    Case("with a source, only it and what is below it is meant",
         "1\n  2 A\n    3 Case\n  4 Case", "1 2 4", {2: [3]},
         says={2: [ask("collapse", ["self"], "task_name", "Case", source=2)]}),
    Case("what is below a source includes the rest of its chain",
         "1\n  2 A\n  | 3 Case\n  4 Case", "1 2 4", {2: [3]},
         says={2: [ask("collapse", ["self"], "task_name", "Case", source=2)]}),
    Case("a source that is not in the run means nothing",
         "1\n  2 A", "1 2", {}, says={1: [ask("collapse", ["self"], "task_name", "A", source=77)]}),
    Case("a task that is not in the run is not meant", THREE, "1 2 3", {},
         says={1: [ask("collapse", ["self"], "task_num", 77)]}),
    Case("what is no pattern matches nothing",
         "1\n  2 A", "1 2", {}, says={1: [ask("collapse", ["self"], "task_name_regex", "(?P<a>A")]}),
    Case("nodes of a kind that nobody knows mean nothing",
         "1\n  2 A", "1 2", {}, says={1: [ask("collapse", ["self"], "task_mood", "A")]}),
    Case("operations and targets that nobody knows do nothing",
         "1\n  2 A\n  3 B", "1 3", {1: [2]},
         says={1: [ask("collapse", ["self"], "task_name", "A"), ask("explode", ["self"], "task_name", "A"),
                   ask("collapse", ["toString", "cousins"], "task_name", "B")]}),
    Case("what is no operation at all does nothing",
         "1\n  2 A", "1 2", {},
         says={1: [None, {}, "A", {"operation": "collapse", "targets": "self"}]}),  # type: ignore[list-item]
    Case("a service may ask for tasks to be expanded that another collapses",
         "1\n  2 A\n    3 B", "1 3", {1: [2]},
         says={1: [ask("collapse", ["descendants"], "task_num", 1)], 3: [ask("expand", ["self"], "task_num", 3)]}),
    Case("what failed by itself is drawn with all above it, whatever services ask for",
         TROUBLE, "1 2 4 7 8", {1: [], 2: [3], 4: [5, 6]}, says={1: [ask("collapse", ["descendants"], "task_num", 1)]},
         rules=(collapse(4, "descendants", priority=5), collapse(3, "self", priority=5))),
    Case("only what failed or runs: the others go to those above, also after a click",
         TROUBLE, "1 2 4 7 8", {2: [3], 4: [5, 6]}, (collapse(1, "descendants", priority=3),)),
    Case("a failure that another task caused is no reason, unless it is a leaf",
         "1 T failed because 4\n  2 T failed because 4\n    3\n  4 T failed\n  5 T failed because 4", "1 4 5", {1: [2, 3]},
         (collapse(1, "descendants", priority=3),)),
    Case("a reader may hide a failure",
         TROUBLE, "1 7 8", {1: [2, 3, 4, 5, 6]}, (collapse(2, "self", "descendants", priority=-1),)),
    Case("a part of the run has a root of its own, which stays",
         CHAIN, "2", {2: [3, 4]}, (collapse(1, "descendants"),), options={"first": 1, "end": 4}),
    Case("what the filter drops is neither drawn nor counted",
         CHAIN, "1 5", {5: [6]}, (collapse(6, "self"),), options={"kept": [1, 0, 0, 0, 1, 1, 0]}),
)

SIBLINGS = "1\n" + "".join(f"  {num} Case\n  | {num + 1} Report\n" for num in range(2, 12, 2))

MANY = (
    Case("many siblings of one name become one, with all that is below them",
         SIBLINGS, "1 2", {2: list(range(3, 12))}, options={"group": 4}),
    Case("as many siblings as are allowed stay", SIBLINGS, "1 2 3 4 5 6 7 8 9 10 11", options={"group": 5}),
    Case("siblings of other names, and what failed, stay beside the one that stands for many",
         "1\n  2 Case\n  3 Case\n  4 Case failed\n  5 Pack\n  6 Case", "1 2 4 5", {2: [3, 6]},
         options={"group": 3}),
    Case("a reader may take siblings out",
         "1\n  2 Case\n  3 Case\n  4 Case\n  5 Case", "1 2 4", {2: [3, 5]}, (expand(4, "self", priority=-1),),
         options={"group": 3}),
    Case("of too many tasks the upper ones stay", BUSHY, "1 2 4", {2: [3], 4: [5, 6, 7]}, options={"limit": 3}),
    Case("of too many tasks what failed stays, and what is above it",
         "1\n  2\n  3\n    4\n      5 T failed", "1 3 4 5", {1: [2]}, options={"limit": 4}),
    Case("of too many tasks what the reader asked for stays first",
         BUSHY, "1 6 7", {1: [2, 3, 4, 5]}, (expand(6, "self", "descendants", priority=-1),), options={"limit": 3}),
)

CASES = FLAMES_OWN + OURS + MANY
