"""Random programs for the crash lab, what each must come to, and all the small ones.

A program is plain JSON. It is a chain of nodes; a node is one task::

    {"key": "0.1.2",             the path to it: task 0 of the submitted chain, its child chain 1, member 2
     "chains": [[node, ..], ..], what it enqueues
     "wait": "all",              how it waits for these, see WAITS
     "handles": true,            whether it lives on if one that it waited for failed
     "fails": false,             whether it raises, after all that
     "hasty": false,             whether it raises as soon as it has enqueued all, so that what is open below is revoked
     "pad": 0, "send": 0,        how many bytes its result, its arguments are made longer
     "notes": false,             whether it asks for recorded values (a key, a uuid)
     "shown": false,             whether it shows something of itself in the report
     "twin": false,              whether the chain that it begins is enqueued twice
     "tries": 0, "asks": false,  how often it is tried again after that, by itself or since its body asks for it
     "nap": "",                  how long it sleeps at its end, see NAPS
     "event": "", "sends": "",   the event that it waits for, and the one that a shell command of its sends; see NOBODY
     "cache": "",                the name under which its result is computed once
     "once": "",                 the name under which the chain that it begins is enqueued once
     "queue": false,             whether it is of the queue in which there is one place
     "keeps": false,             whether its children go on by themselves when it has ended
     "hangs": ""}                which of its time limits it runs into, "soft" or "hard"

What has a name, an event apart, is the same wherever it stands: its key is made of the name, not of the path.
`crash/bodies.py` runs it. A result does not depend on the order in which tasks run.
"""
from __future__ import annotations

import collections
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

LARGE = 70_000  # bytes: above what a row holds, so that it goes to a blob file
WAITS = {
    "all": "for all at once",
    "each": "for all, one after the other",
    "one by one": "for each before the next is enqueued",
    "results": "as `one by one`, by enqueue_child_and_get_results",
    "some": "for the first half",
    "none": "for none, so that the task ends after them",
}
FAILURE_OF_OWN, FAILURE_OF_CHILDREN, FAILURE_AT_LIMIT = "ValueError", "RuntimeError", "TimeLimitExceeded"
NAPS = {"short": 0.02, "long": 0.15}  # seconds; in the lab a body that waits for longer than LINGER_S loses its process
LINGER_S = 0.05
NOBODY = "nobody"                     # who sends the event of this name: who waits for it does so for WAITS_S
WAITS_S = 0.1
QUEUE = "narrow"

Node = dict
Program = dict


def node(chains: list[list[Node]] | None = None, wait: str = "all", **more: object) -> Node:
    flags = dict.fromkeys(("handles", "fails", "hasty", "notes", "shown", "twin", "asks", "queue", "keeps"), False)
    names = dict.fromkeys(("nap", "event", "sends", "cache", "once", "hangs"), "")
    return {"chains": chains or [], "wait": wait, "pad": 0, "send": 0, "tries": 0, **flags, **names, **more}


def program(*chain: Node, workers: int = 2) -> Program:
    """A program of this chain; its nodes get their keys here."""
    _name(list(chain), "")
    return {"chain": list(chain), "workers": workers}


def _name(chain: list[Node], prefix: str) -> None:
    if chain[0]["once"]:
        prefix = f"once-{chain[0]['once']}."
    for i, member in enumerate(chain):
        member["key"] = f"cached-{member['cache']}" if member["cache"] else f"{prefix}{i}"
        for c, below in enumerate(member["chains"]):
            _name(below, f"{member['key']}.{c}.")


def in_short(told: Program) -> Program:
    """A program without what goes without saying, so that it can be repeated from a line."""
    def short(member: Node) -> Node:
        usual = node()
        left = {name: value for name, value in member.items() if value != usual.get(name) and name not in ("key", "chains")}
        return {**left, **({"chains": [list(map(short, below)) for below in member["chains"]]} if member["chains"] else {})}

    return {"chain": list(map(short, told["chain"])), "workers": told["workers"]}


def from_short(told: Program) -> Program:
    def whole(member: Node) -> Node:
        return node(**{**member, "chains": [list(map(whole, below)) for below in member.get("chains", [])]})

    return program(*map(whole, told["chain"]), workers=told["workers"])


def nodes(chain: list[Node]) -> Iterator[Node]:
    """Every node of a chain and below, twins once."""
    for member in chain:
        yield member
        for below in member["chains"]:
            yield from nodes(below)


def padding(key: str, size: int) -> str:
    return (key + "-") * (size // (len(key) + 1)) if size else ""


def value_of(member: Node, sent: str, flowed: object, got: list, heard: object) -> dict:
    """What a node returns. got: of each chain it waited for what that came to, None for a failure. heard: with an event."""
    return {"key": member["key"], "from": digest(flowed), "sent": digest(sent), "got": [digest(value) for value in got],
            "heard": heard,
            "nested": {"pair": (member["key"], [len(got), {"deep": (None, 1.5)}]), "raw": member["key"].encode()},
            "pad": padding(member["key"], member["pad"])}


def told_with(event: str) -> dict | None:
    """What is sent with an event."""
    return {"of": event, "parts": [1, None]} if event and event != NOBODY else None


def digest(value: object) -> str | None:
    return None if value is None else hashlib.sha256(repr(_in_order(value)).encode()).hexdigest()[:12]


def _in_order(value: object) -> object:
    """Dicts as lists of pairs: the order of their keys is not part of a value."""
    if isinstance(value, dict):
        return [(key, _in_order(value[key])) for key in sorted(value)]
    return type(value)(map(_in_order, value)) if isinstance(value, (list, tuple)) else value


# --- what a program must come to -------------------------------------------------------------------------------------

@dataclass
class Expected:
    """What a program comes to if nothing disturbs it. tasks: by key, how often `(state, result, type of failure)`."""

    tasks: collections.Counter = field(default_factory=collections.Counter)
    begins: collections.Counter = field(default_factory=collections.Counter)  # how often the body of a key runs
    retried: collections.Counter = field(default_factory=collections.Counter)  # how often of these it is tried again
    naps: collections.Counter = field(default_factory=collections.Counter)    # how often it may give up its process
    taken_over: collections.Counter = field(default_factory=collections.Counter)  # how often it gets the result of another
    succeeds: bool = True
    loose: set[str] = field(default_factory=set)  # keys below a hasty one: they succeed, fail, or are revoked or skipped
    shared: dict[str, tuple] = field(default_factory=dict)  # what chains came to that are enqueued once, by their names

    @property
    def numbers(self) -> collections.Counter:
        """How many tasks of a key have a body that ends, well or not."""
        counted: collections.Counter = collections.Counter()
        for (key, state, _, _), n in self.tasks.items():
            counted[key] += n * (state != "skipped")
        return counted


def expected_of(told: Program) -> Expected:
    """Think a program through; nothing of firexlite is used."""
    expected = Expected()
    expected.succeeds = _think_chain(told["chain"], expected)[0]
    return expected


def _think_chain(chain: list[Node], expected: Expected) -> tuple[bool, object, object]:
    """Whether a chain succeeds, its last value, and the value of the last of it that succeeded."""
    if (name := chain[0]["once"]) and name in expected.shared:
        return expected.shared[name]
    found = _think_members(chain, expected)
    if name:
        expected.shared[name] = found
    return found


def _think_members(chain: list[Node], expected: Expected) -> tuple[bool, object, object]:
    value: object = None
    for i, member in enumerate(chain):
        failure, returned = _think(member, value, expected)
        if failure is not None:
            expected.tasks[member["key"], "failed", None, failure] += 1
            for skipped in chain[i + 1:]:
                expected.tasks[skipped["key"], "skipped", None, None] += 1
            return False, None, value
        value = returned
        expected.tasks[member["key"], "succeeded", digest(value), None] += 1
    return True, value, value


def _think(member: Node, flowed: object, expected: Expected) -> tuple[str | None, object]:
    """What type of failure a node raises, or what it returns."""
    key = member["key"]
    if member["cache"]:
        flowed = None  # it is not told, or its result would be another for each
        if expected.begins[key]:
            expected.taken_over[key] += 1
            return None, value_of(member, padding(key, member["send"]), None, [], None)
    for left in range(member["tries"], -1, -1):
        expected.begins[key] += 1
        expected.naps[key] += bool(member["event"])
        got, failure = _think_children(member, expected)
        if failure is not None:
            return failure, None
        expected.naps[key] += bool(member["nap"])
        expected.retried[key] += bool(left)
    if member["hangs"] == "hard":
        return FAILURE_AT_LIMIT, None
    if member["fails"]:
        return FAILURE_OF_OWN, None
    return None, value_of(member, padding(key, member["send"]), flowed, got, told_with(member["event"]))


def _think_children(member: Node, expected: Expected) -> tuple[list[object], str | None]:
    """What the chains came to that a node waits for, and the type of failure with which it ends for that."""
    got: list[object] = []
    failures = 0
    chains = enqueued(member)
    if member["hasty"]:
        for below in chains:
            if member["keeps"]:
                _think_chain(below, expected)
            else:
                expected.loose.update(one["key"] for one in nodes(below))
        return [], FAILURE_OF_OWN
    for i, below in enumerate(chains):
        succeeds, value, partial = _think_chain(below, expected)
        if is_seen(member, i, len(chains)):
            got.append(partial if member["wait"] == "results" else value)
            failures += not succeeds
            if failures and not member["handles"] and member["wait"] in ("one by one", "results"):
                return [], "ChainInterruptedException"
    if failures and not member["handles"]:
        if member["wait"] == "all":
            return [], "ChainInterruptedException" if failures == 1 else "MultipleFailuresException"
        return [], FAILURE_OF_CHILDREN
    return got, None


def enqueued(member: Node) -> list[list[Node]]:
    """The chains that a node enqueues, in order, twins twice."""
    return [below for below in member["chains"] for _ in range(2 if below[0]["twin"] else 1)]


def is_seen(member: Node, number: int, total: int) -> bool:
    """Whether a node waits for its chain of this number."""
    return {"none": False, "some": number < (total + 1) // 2}.get(member["wait"], True)


# --- random programs --------------------------------------------------------------------------------------------------

def random_program(chance: random.Random, has_nested_waits: bool) -> Program:
    """A program of 5 to 40 tasks. has_nested_waits: tasks that wait stand below tasks that wait."""
    size = round(5 * 8 ** (chance.random() ** 2))  # up to 40, half of them below 9
    deepest = chance.choice((2, 3, 4)) if has_nested_waits else 1
    chain = [node() for _ in range(chance.randint(1, min(4, size - 1)))]
    places = [(member, 0) for member in chain]
    count = len(chain)
    if has_nested_waits:  # one line of parents, so that there is nesting indeed
        member, depth = places[0]
        while depth < 2:
            child = node()
            member["chains"].append([child])
            member, depth = child, depth + 1
            places.append((member, depth))
            count += 1
    while count < size:
        member, depth = chance.choice([place for place in places if place[1] < deepest])
        if member["chains"] and chance.random() < 0.3:
            below = chance.choice(member["chains"])
        else:
            member["chains"].append(below := [])
        below.append(child := node())
        places.append((child, depth + 1))
        count += 1
    for member, depth in places:
        _colour(member, chance, may_keep=depth > 0)
    if has_nested_waits:
        chain[0]["hasty"] = chain[0]["chains"][0][0]["hasty"] = False
        chain[0]["wait"] = chain[0]["chains"][0][0]["wait"] = chance.choice(("all", "each", "one by one", "results"))
    if chance.random() < 0.3:
        _add_twin(chain, chance)
    calm = [member for member in chain_of_calm(chain) if member["wait"] != "some"]
    for add in (_add_event, _add_cached, _add_once, _add_queue):
        if calm and chance.random() < 0.15:
            add(calm, chance)
    return program(*chain, workers=chance.choice((1, 2, 2, 3)))


def _colour(member: Node, chance: random.Random, may_keep: bool) -> None:
    member["fails"] = chance.random() < 0.07
    member["handles"] = chance.random() < 0.7
    member["wait"] = chance.choice(list(WAITS))
    member["hasty"] = chance.random() < 0.07
    member["pad"] = LARGE if chance.random() < 0.05 else chance.choice((0, 0, 100))
    member["send"] = LARGE if chance.random() < 0.03 else 0
    member["notes"], member["shown"] = chance.random() < 0.1, chance.random() < 0.1
    member["tries"], member["asks"] = (chance.choice((1, 2)) if chance.random() < 0.08 else 0), chance.random() < 0.5
    member["nap"] = chance.choice(("short", "long")) if chance.random() < 0.1 else ""
    member["event"] = NOBODY if chance.random() < 0.03 else ""
    member["keeps"] = may_keep and chance.random() < 0.07  # none of the submitted chain is of a service that does
    foreseeable(member)


def foreseeable(member: Node) -> Node:
    """Change a node so that what it comes to does not depend on who is faster."""
    if (member["fails"] or member["tries"]) and member["wait"] in ("some", "none") and not member["keeps"]:
        member["wait"] = "all"  # or it would revoke what is still open
    member["handles"] = member["handles"] or member["wait"] == "some"
    member["hasty"] = member["hasty"] and bool(member["chains"])
    return member


def chain_of_calm(chain: list[Node]) -> Iterator[Node]:
    """The nodes that nobody revokes: below no hasty one, and none themselves."""
    for member in chain:
        if not member["hasty"]:
            yield member
            for below in member["chains"]:
                yield from chain_of_calm(below)


def _add_event(calm: list[Node], chance: random.Random) -> None:
    """One child that waits for an event, and one that sends it; first the sender if the other is waited for at once."""
    parent = chance.choice(calm)
    pair = [[node(sends="told")], [node(event="told", nap=chance.choice(("", "long")))]]
    parent["chains"] += pair if parent["wait"] in ("one by one", "results") else chance.sample(pair, 2)


def _add_cached(calm: list[Node], chance: random.Random) -> None:
    """Some children with the same result, which is computed once."""
    details = {"nap": chance.choice(("", "short", "long")), "tries": chance.choice((0, 0, 1))}
    for _ in range(chance.choice((2, 3, 5))):
        chance.choice(calm)["chains"].append([node(cache="sum", **details)])


def _add_once(calm: list[Node], chance: random.Random) -> None:
    """Some parents that ask for one chain."""
    details = [{"nap": chance.choice(("", "long")), "tries": chance.choice((0, 0, 1))} for _ in range(chance.choice((1, 2)))]
    for _ in range(chance.choice((2, 3, 5))):
        first, *rest = [node(**detail) for detail in details]
        chance.choice(calm)["chains"].append([{**first, "once": "shared"}, *rest])


def _add_queue(calm: list[Node], chance: random.Random) -> None:
    """Some children of a queue with one place."""
    for _ in range(chance.choice((2, 4))):
        chance.choice(calm)["chains"].append([node(queue=True, nap=chance.choice(("", "short", "long")))])


def _add_twin(chain: list[Node], chance: random.Random) -> None:
    """Have one small chain of children enqueued twice."""
    small = [below for member in nodes(chain) for below in member["chains"] if len(list(nodes(below))) <= 2]
    if small:
        chance.choice(small)[0]["twin"] = True


def has_nested_waits(told: Program) -> bool:
    def waits(member: Node) -> bool:
        return bool(member["chains"]) and member["wait"] != "none"

    return any(waits(member) and any(waits(child) for below in member["chains"] for child in below)
               for member in nodes(told["chain"]))


# --- small programs that wait, try again and share ------------------------------------------------------------------------

def patient_programs() -> Iterator[tuple[str, Program]]:
    """One of each kind; each with a name."""
    yield "tried again", program(node(tries=2), node())
    yield "asks to be tried again", program(node(tries=1, asks=True))
    yield "tried again, then fails", program(node(tries=1, fails=True))
    yield "parent tried again", program(node([[node()]], tries=1))
    yield "short nap", program(node(nap="short"))
    yield "long nap", program(node(nap="long"), node())
    yield "long nap after a child", program(node([[node()]], nap="long"))
    yield "long nap, tried again", program(node(nap="long", tries=1))
    yield "event", program(node([[node(event="told")], [node(sends="told")]]))
    yield "event before its wait", program(node([[node(sends="told")], [node(event="told")]], "one by one"), workers=1)
    yield "event, then nap", program(node([[node(event="told", nap="long")], [node(sends="told")]]), workers=1)
    yield "no event", program(node(event=NOBODY), node())
    yield "cached", program(node([[node(cache="sum")], [node(cache="sum")]]))
    yield "cached, with a nap", program(node([[node(cache="sum", nap="long")], [node(cache="sum", nap="long")]]))
    yield "cached, tried again", program(node([[node(cache="sum", tries=1)], [node(cache="sum", tries=1)]]))
    yield "once", program(node([[node([[node(once="shared")]])], [node([[node(once="shared")]])]]))
    yield "once, with a nap", program(node([[node([[node(once="shared", nap="long")]])] for _ in range(2)]), workers=1)
    yield "once, by a parent tried again", program(node([[node(once="shared")]], tries=1), node([[node(once="shared")]]))
    yield "queue", program(node([[node(queue=True)], [node(queue=True)]]))
    yield "queue, with a nap", program(node([[node(queue=True, nap="long")], [node(queue=True)]]))
    yield "kept children", program(node([[node([[node()]], "none", keeps=True)]]))
    yield "kept children of a hasty one", program(node([[node([[node()]], keeps=True, hasty=True)]], handles=True))
    yield "kept children with a nap", program(node([[node([[node(nap="long")]], "none", keeps=True)]]), node())
    yield "soft limit", program(node([[node(hangs="soft")]]))
    yield "hard limit", program(node([[node(hangs="hard")], [node()]], "each", handles=True))


# --- all small programs -------------------------------------------------------------------------------------------------

def small_programs(most_tasks: int = 3) -> Iterator[tuple[str, Program]]:
    """Every shape of up to 3 tasks, with no failure and with a failure at each place, handled or not; each with a name.

    In a chain, what stands behind a failure is skipped whatever it is, so it is not varied.
    """
    for name, told in _all_small():
        if len(list(nodes(told["chain"]))) <= most_tasks:
            yield name, told


def _all_small() -> Iterator[tuple[str, Program]]:
    yield "one", program(node())
    yield "one fails", program(node(fails=True))
    for length in (2, 3):
        yield f"chain of {length}", program(*[node() for _ in range(length)])
        for bad in range(length):
            yield f"chain of {length}, {bad} fails", program(*[node(fails=i == bad) for i in range(length)])
    yield from _small_parents("child", lambda parent: program(parent), with_parent_failing=True)
    yield from _small_parents("child, then one", lambda parent: program(parent, node()), with_parent_failing=True)
    yield from _small_parents("one, then child", lambda parent: program(node(), parent), with_parent_failing=True)
    yield "child, then one that fails", program(node([[node()]]), node(fails=True))
    for wait in ("all", "results", "none"):
        yield f"child chain, {wait}", program(node([[node(), node()]], wait))
        yield f"child chain, {wait}, 1 fails", program(node([[node(), node(fails=True)]], wait, handles=True))
    yield "child chain, 0 fails", program(node([[node(fails=True), node()]]))
    for wait in WAITS:
        yield f"two children, {wait}", program(node([[node()], [node()]], wait))
    for wait in ("all", "one by one"):
        for bad in range(2):
            for handles in (True, False):
                pair = [[node(fails=i == bad)] for i in range(2)]
                yield f"two children, {wait}, {bad} fails, {handles=}", program(node(pair, wait, handles=handles))
    for above in ("all", "none"):
        for below in ("all", "none"):
            yield f"grandchild, {above}, {below}", program(node([[node([[node()]], below)]], above))
        yield f"grandchild, {above}, handled", program(node([[node([[node(fails=True)]], handles=True)]], above))
        yield f"grandchild, {above}, handled above", program(node([[node([[node(fails=True)]])]], above, handles=True))
    yield "grandchild fails", program(node([[node([[node(fails=True)]])]]))
    yield "hasty", program(node([[node()]], hasty=True))
    yield "hasty, handled", program(node([[node([[node()]], hasty=True)]], handles=True))
    yield "hasty with a chain", program(node([[node(), node()]], hasty=True))
    yield "a twin", program(node([[node(twin=True)]]))


def _small_parents(name: str, within, with_parent_failing: bool) -> Iterator[tuple[str, Program]]:  # type: ignore[no-untyped-def]
    for wait in ("all", "none"):
        yield f"{name}, {wait}", within(node([[node()]], wait))
    yield f"{name} fails, handled", within(node([[node(fails=True)]], handles=True))
    yield f"{name} fails, not waited for", within(node([[node(fails=True)]], "none"))
    yield f"{name} fails", within(node([[node(fails=True)]]))
    if with_parent_failing:
        yield f"{name}, parent fails", within(node([[node()]], fails=True))
