"""Values come back from the journal as they went in, or are refused with the place where they stand."""
from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import ipaddress
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import types
import typing
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple

import pytest

from firexlite import codec
from firexlite.codec import canonical, decode, digest, display, encode, register_codec
from firexlite.errors import BadInput, NotReadable, NotStorable
from firexlite.signatures import Literal

HERE = __name__
CALLS: list[str] = []


class Color(enum.Enum):
    RED = "red"
    BLUE = (1, 2)
    ALIAS = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    HELLO = "hello"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


Point = namedtuple("Point", "x y")


class Guest(typing.NamedTuple):
    name: str
    nights: int = 1


@dataclasses.dataclass
class Room:
    number: int
    guests: list = dataclasses.field(default_factory=list)
    floor: int = 0

    def __post_init__(self):
        CALLS.append("__post_init__")

    @functools.cached_property
    def size(self):
        return len(self.guests)


@dataclasses.dataclass(frozen=True)
class Frozen:
    __slots__ = ("key",)
    key: str


@dataclasses.dataclass
class Base:
    a: int


class NotItselfADataclass(Base):
    pass


@dataclasses.dataclass
class Property:
    watched: int = 0


Property.watched = property(lambda self: 1, lambda self, value: CALLS.append("set"))  # type: ignore[assignment]


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return type(other) is Money and other.cents == self.cents

    __hash__ = None


@pytest.fixture
def registry(monkeypatch):
    """The codecs a test registers are forgotten after it."""
    monkeypatch.setattr(codec, "CODECS", dict(codec.CODECS))
    monkeypatch.setattr(codec, "CODEC_OF", dict(codec.CODEC_OF))


def same(left, right):
    """Equal, of the same types all the way down; nan is nan, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, (list, tuple, deque)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True))
    if isinstance(left, types.SimpleNamespace):
        return same(vars(left), vars(right))
    if isinstance(left, complex):
        return repr(left) == repr(right)
    return left == right


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")

VALUES = [
    None, True, False, 0, -1, 2 ** 63, 10 ** 4299, 10 ** 4300, -(10 ** 5000), 1.5, -0.0, 1e308, 5e-324,
    math.nan, math.inf, -math.inf, "", "Grüße", "\0", "\U0001f600", "\udc80", "\ud83d\ude00", "@name", '"$type"',
    [], [1, [2.0, ["three", None]]], {}, {"a": {"b": [1]}}, {"\ud83d\ude00": 1, "\U0001f600": 2},
    {"$type": "tuple", "value": [1]}, {"a": {"$type": 1}}, {1: "one", "1": "uno", None: 0, (1, 2): {3: 4}, False: 5},
    (), (1, (2, [3])), set(), {1, "a", (2,)}, frozenset({b"x", frozenset()}), [{"deep": (1,)}],
    b"", b"\x00\xff", bytearray(b"ab"), complex(1, -2), complex(-0.0, -0.0), complex(math.nan, math.inf), 1j,
    decimal.Decimal("1.10"), decimal.Decimal("-Infinity"), decimal.Decimal("1E+99999"),
    fractions.Fraction(-1, 3), fractions.Fraction(1, 10 ** 5000),
    dt.date(2024, 2, 29), dt.datetime(2024, 1, 2, 3, 4, 5, 6), dt.datetime.min, dt.datetime.max,
    dt.datetime(2024, 1, 2, tzinfo=dt.timezone.utc),
    dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1), dt.datetime(1800, 1, 1, tzinfo=BERLIN),
    dt.time(1, 2, 3), dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-3), "BRT")), dt.time(2, tzinfo=BERLIN, fold=1),
    dt.timedelta(days=-1, microseconds=7), dt.timedelta.max, dt.timezone.utc, BERLIN,
    dt.timezone(dt.timedelta(seconds=1, microseconds=2)),
    pathlib.PurePosixPath("/a/b"), pathlib.Path("x"), pathlib.PureWindowsPath("C:\\a"), pathlib.Path("/\udc80"),
    uuid.UUID(int=7), range(3), range(10, 0, -2), range(0, 10 ** 5000, 3),
    deque([1, (2,)], maxlen=3), deque(), OrderedDict([("b", 1), ("a", 2)]), OrderedDict([((1,), 2)]),
    Counter("abca"), Counter({1: 2}), defaultdict(list, {"a": [1]}), defaultdict(None, {1: 2}), defaultdict(int),
    re.compile("a+", re.IGNORECASE), re.compile(b"\xff"), re.compile("(?x) a  # note"),
    ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fe80::1%eth0"), ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("fe80::/64"), ipaddress.ip_interface("10.0.0.1/8"), ipaddress.ip_interface("::1/64"),
    types.SimpleNamespace(a=1, b=(2,)), Literal("@name"),
    Point(1, [2]), Guest("Li"), Room(1, [Guest("Li", 3)]), Frozen("k"), [Frozen("k"), {Frozen("k"): 1}],
    Color.RED, Color.BLUE, Level.LOW, Word.HELLO, {Color.RED: Level.LOW},
    Access.READ, Access.READ | Access.WRITE, Access(0), re.IGNORECASE | re.MULTILINE,
]


def ids(values):
    return [f"{type(value).__name__}-{i}" for i, value in enumerate(values)]


@pytest.mark.parametrize("value", VALUES, ids=ids(VALUES))
def test_a_value_comes_back_equal_and_of_its_type(value):
    text = encode(value)

    assert text.isascii()
    assert same(decode(text), value)
    assert encode(decode(text)) == text
    assert same(decode(canonical(value)), value) or isinstance(value, dict)


@pytest.mark.parametrize("value", VALUES, ids=ids(VALUES))
def test_every_value_can_be_displayed(value):
    json.dumps(display(encode(value)))


def random_tree(rng, depth):
    """A tree of everything in VALUES, in containers of every kind."""
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(VALUES)
    parts = [random_tree(rng, depth - 1) for _ in range(rng.randrange(4))]
    hashable = [part for part in parts if is_hashable(part)]
    return rng.choice([
        lambda: parts, lambda: tuple(parts), lambda: deque(parts, 9), lambda: dict(enumerate(parts)),
        lambda: {str(i): part for i, part in enumerate(parts)}, lambda: Point(parts, None), lambda: Room(1, parts),
        lambda: types.SimpleNamespace(parts=parts), lambda: dict.fromkeys(hashable),
        lambda: OrderedDict((part, part) for part in hashable), lambda: defaultdict(dict, a=parts),
    ])()


def is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return value == value


@pytest.mark.parametrize("seed", range(300))
def test_random_trees_come_back(seed):
    tree = random_tree(random.Random(seed), depth=5)

    text = encode(tree)

    assert encode(decode(text)) == text
    assert type(decode(text)) is type(tree)
    assert canonical(decode(text)) == canonical(tree)
    json.dumps(display(text))


def test_plain_data_stands_as_itself():
    assert encode({"name": "Lü", "n": [1, 2.5, None, True]}) == '{"name":"L\\u00fc","n":[1,2.5,null,true]}'


@pytest.mark.parametrize("value, text", [
    ((1,), '{"$type":"tuple","value":[1]}'),
    ({1: 2}, '{"$type":"dict","value":[[1,2]]}'),
    ({"$type": 1}, '{"$type":"dict","value":[["$type",1]]}'),
    (b"ab", '{"$type":"bytes","value":"YWI="}'),
    (Point(1, 2), f'{{"$type":"namedtuple","class":"{HERE}:Point","value":{{"x":1,"y":2}}}}'),
    (Color.RED, f'{{"$type":"enum","class":"{HERE}:Color","name":"RED","value":"red"}}'),
])
def test_the_stored_form(value, text):
    assert encode(value) == text


def test_decode_gives_fresh_objects():
    text = encode({"rooms": [Room(1)]})

    decode(text)["rooms"][0].guests.append("Li")

    assert decode(text) == {"rooms": [Room(1)]}


def test_equal_sets_have_equal_text():
    assert encode({8, 0, 16}) == encode({16, 8, 0})
    assert encode({"b", "a"}) == '{"$type":"set","value":["a","b"]}'


# --- refusals ----------------------------------------------------------------------------------

def test_a_refusal_names_the_part_and_the_ways_out():
    guests = [Guest("Li"), Guest("Mo"), Guest(threading.Lock())]

    with pytest.raises(NotStorable) as caught:
        encode(guests, "arguments of greet: guests")

    assert str(caught.value) == (
        "arguments of greet: guests[2].name is a _thread.lock, which the journal cannot store; "
        "pass plain data or a File, register a codec (firexlite.register_codec), or use --pickle (FIREXLITE_PICKLE=1)")


THING = threading.Lock()
INF = float("inf")


class MyStr(str):
    pass


class MyTuple(tuple):
    pass


class TupleWithMore(namedtuple("TupleWithMore", "x")):
    pass


def with_more(value):
    value.more = 1
    return value


def test_a_key_too_long_to_be_named_is_refused_all_the_same():
    with pytest.raises(NotStorable, match=r"value\[<int>\] is a _thread.lock"):
        encode({10 ** 5000: THING})


def local_class_instance():
    @dataclasses.dataclass
    class Local:
        a: int = 1

    return Local()


def circular_list():
    value: list = []
    value.append(value)
    return value


def circular_dict():
    value: dict = {}
    value["a"] = [value]
    return value


@pytest.mark.parametrize("value, path, reason", [
    (THING, "value", ""),
    ({"a": [0, THING]}, "value['a'][1]", ""),
    ({1: THING}, "value[1]", ""),
    ({(1, 2): THING}, "value[(1, 2)]", ""),
    ({THING: 1}, "value.keys()", ""),
    ({THING}, "value{...}", ""),
    ((1, deque([THING])), "value[1][0]", ""),
    (OrderedDict(a=THING), "value['a']", ""),
    (Counter(a=THING), "value['a']", ""),
    (defaultdict(list, a=[THING]), "value['a'][0]", ""),
    (types.SimpleNamespace(a=THING), "value.a", ""),
    (Room(1, [THING]), "value.guests[0]", ""),
    (Point(1, THING), "value.y", ""),
    (lambda: 0, "value", ""),
    (Room, "value", ""),
    (slice(1), "value", ""),
    (memoryview(b""), "value", ""),
    (MyStr("a"), "value", "it would come back as a plain str"),
    (MyTuple(), "value", "it would come back as a plain tuple"),
    ([os.stat_result(range(10))], "value[0]", "it would come back as a plain tuple"),
    (defaultdict(lambda: 0), "value", "its default_factory is not a builtin type"),
    (dt.datetime(2024, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "value", f"its tzinfo is a {HERE}.Zone"),
    (with_more(Room(1)), "value", "its attribute 'more' is not a field and would be lost"),
    (with_more(TupleWithMore(1)), "value", "it has attributes besides its fields"),
    (NotItselfADataclass(1), "value", ""),
    (Property(), "value", "its field 'watched' is a descriptor"),
    (local_class_instance(), "value", f"its class is not to be found as {HERE}:local_class_instance.<locals>.Local: "
                                      "define it at the top level of an imported module"),
    (circular_list(), "value[0]", "it contains itself"),
    (circular_dict(), "value['a'][0]", "it contains itself"),
])
def test_what_cannot_be_stored_is_refused(value, path, reason):
    for write in (encode, canonical):
        with pytest.raises(NotStorable) as caught:
            write(value)
        assert (caught.value.path, caught.value.reason) == (path, reason)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: (v,), lambda v: {1: v}, Room])
def test_what_is_too_deep_is_refused(wrap):
    value: object = 1
    for _ in range(10_000):
        value = wrap(value)

    with pytest.raises(NotStorable, match="too deeply nested"):
        encode(value)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {1: v}, lambda v: frozenset({v}), lambda v: Room(1, [v])])
def test_what_is_deep_but_stored_can_be_read(wrap):
    value: object = 1
    for _ in range(codec.MAX_DEPTH // 2):
        value = wrap(value)

    assert decode(encode(value)) == value
    json.dumps(display(encode(value)))


@pytest.mark.parametrize("act, error", [
    (lambda: encode([[[{1: [[(2,)]]}]]]), NotStorable),
    (lambda: decode('[[[{"$type":"tuple","value":[[[[1]]]]}]]]'), NotReadable),
])
def test_a_stack_that_is_all_but_used_up_gives_the_same_errors(act, error):
    outcomes = set()

    def act_at_every_depth():
        with contextlib.suppress(RecursionError):
            act_at_every_depth()
        try:
            act()
        except Exception as raised:
            outcomes.add(type(raised))

    with contextlib.suppress(RecursionError):
        act_at_every_depth()

    assert outcomes <= {error, RecursionError}


def test_a_cached_property_is_not_stored():
    room = Room(1, ["Li"])
    assert room.size == 1

    assert vars(decode(encode(room))) == {"number": 1, "guests": ["Li"], "floor": 0}


# --- rebuilding classes --------------------------------------------------------------------------

def test_a_dataclass_is_rebuilt_without_its_own_code():
    text = encode(Room(1))
    CALLS.clear()

    decode(text)

    assert CALLS == []


def test_fields_that_came_later_take_their_defaults():
    stored = {"$type": "dataclass", "class": f"{HERE}:Room", "value": {"number": 1}}
    assert decode(json.dumps(stored)) == Room(1, [], 0)

    stored = {"$type": "namedtuple", "class": f"{HERE}:Guest", "value": {"name": "Li"}}
    assert decode(json.dumps(stored)) == Guest("Li", 1)


def test_a_field_that_is_gone_or_has_no_default_is_named():
    stored = {"$type": "dataclass", "class": f"{HERE}:Room", "value": {"beds": 2}}

    with pytest.raises(NotReadable) as caught:
        decode(json.dumps(stored))

    assert str(caught.value) == f"{HERE}:Room has other fields here than when it was stored: beds, number"


@pytest.mark.parametrize("value, name", [
    (Room(1), "Room"), (Point(1, 2), "Point"), (Color.RED, "Color"), (Access.READ, "Access")])
def test_a_class_that_is_not_loaded_is_named_and_still_displayed(monkeypatch, value, name):
    text = encode(value)
    shown = display(text)
    monkeypatch.delitem(sys.modules, HERE)

    with pytest.raises(NotReadable) as caught:
        decode(text)

    assert str(caught.value) == f"the class {HERE}:{name} is not loaded here"
    assert display(text) == shown


def test_a_member_that_is_gone_is_named():
    with pytest.raises(NotReadable, match="Color has no member 'GREEN' here"):
        decode(encode(Color.RED).replace("RED", "GREEN"))


# --- hostile texts -------------------------------------------------------------------------------

def marked(type_name, /, cls=None, **parts):
    return json.dumps({"$type": type_name, **({} if cls is None else {"class": cls}), **parts})


HOSTILE = [
    "", "{", "nul", "NaN", "[Infinity]", "\ufeff1", '{"$type":', "[" * 100_000, '{"a":' * 100_000,
    '[{"$type":"tuple","value":' * 50_000, "1" * 5000,
    marked([1]), marked({"a": 1}), marked(None), marked("nope"), marked("tuple"), marked("tuple", value=5),
    marked("set", value=[[1]]), marked("dict", value=[[[1], 2]]), marked("dict", value=[[1]]),
    marked("int", value=5), marked("int", value="x"), marked("float", value="1"), marked("str", value=[1]),
    marked("bytes", value="???"), marked("bytes", value=5), marked("complex", value=[1]),
    marked("range", value=[0, 1, 0]), marked("Fraction", value=[1, 0]), marked("Fraction", value=["1", "2"]),
    marked("Decimal", value="x"), marked("datetime", value="x"), marked("datetime", value=["2024-01-01", 5, 0]),
    marked("date", value=5), marked("timedelta", value=["x"]), marked("timezone", value=[9, 0, 0, None]),
    marked("ZoneInfo", value="../../etc/passwd"), marked("ZoneInfo", value="os.path/x"),
    marked("ZoneInfo", value="No/Where"), marked("UUID", value=5), marked("PosixPath", value=5),
    marked("WindowsPath", value=[]), marked("Pattern", value=["(", 0]), marked("IPv4Address", value="x"),
    marked("defaultdict", factory="eval", value={}), marked("deque", value=[], maxlen=-1),
    marked("namespace", value=[1]),
    marked("dataclass", cls="os:system", value={}), marked("dataclass", cls="os:stat_result", value={}),
    marked("dataclass", cls="no.such.module:Thing", value={}), marked("dataclass", cls=5, value={}),
    marked("dataclass", cls=f"{HERE}:Room.__class__", value={}), marked("dataclass", cls="", value={}),
    marked("dataclass", cls=f"{HERE}:Property", value={"watched": 1}),
    marked("dataclass", cls=f"{HERE}:Room", value={"number": 1, "__class__": 1}),
    marked("dataclass", cls=f"{HERE}:Room", value=5), marked("dataclass", cls=f"{HERE}:Money", value={}),
    marked("namedtuple", cls="builtins:tuple", value={}), marked("namedtuple", cls=f"{HERE}:Point", value={}),
    marked("enum", cls="subprocess:Popen", name="ls"), marked("enum", cls=f"{HERE}:Color", name="mro"),
    marked("enum", cls=f"{HERE}:Color", name=[]), marked("flag", cls=f"{HERE}:Access", value="x"),
    marked("flag", cls=f"{HERE}:Color", value="red"),
    marked("exception", value=0), marked("exception", value={}), marked("exception", value=-1),
    marked("exceptions"), marked("raised"), marked("exceptions", table=[{"$type": "raised", "cause": 3}], value=1),
    marked("raised", type="os:system", text="", attributes={}, args=[], cause=None),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_is_not_readable_and_nothing_else_happens(text):
    loaded = set(sys.modules)
    CALLS.clear()

    with pytest.raises(NotReadable):
        decode(text)

    # `zoneinfo` looks for a zone that the system does not have in its package of data.
    assert {name.partition(".")[0] for name in set(sys.modules) - loaded} <= {"tzdata", "importlib"}
    assert CALLS == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_display_of_a_hostile_text_raises_at_most_not_readable(text):
    with contextlib.suppress(NotReadable):
        json.dumps(display(text))


@pytest.mark.parametrize("text", [None, 5, b"1", object()])
def test_only_a_str_is_read(text):
    with pytest.raises(NotReadable):
        decode(text)


@pytest.mark.parametrize("seed", range(200))
def test_damaged_texts_are_read_or_refused(seed):
    rng = random.Random(seed)
    text = list(encode([random_tree(rng, 3), ValueError("x", {1: Room(1)}), OSError(2, "no", "f")]))
    for _ in range(rng.randrange(1, 6)):
        text[rng.randrange(len(text))] = rng.choice('{}[]",:0129-aet$')
    for read in (decode, display):
        with contextlib.suppress(NotReadable):
            read("".join(text))


def test_lazy_modules_are_not_loaded(monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            CALLS.append(name)
            return super().__getattribute__(name)

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    CALLS.clear()

    with pytest.raises(NotReadable):
        decode('{"$type":"dataclass","class":"lazy:Thing","value":{}}')

    assert CALLS == []


# --- display -----------------------------------------------------------------------------------

@pytest.mark.parametrize("value, shown", [
    ((1, {2}), [1, [2]]),
    (frozenset({1}), [1]),
    (dt.datetime(2024, 1, 2, 3, tzinfo=dt.timezone.utc), "2024-01-02T03:00:00+00:00"),
    (dt.datetime(2024, 7, 1, tzinfo=BERLIN), "2024-07-01T00:00:00+02:00"),
    (dt.date(2024, 1, 2), "2024-01-02"),
    (dt.time(1, 2), "01:02:00"),
    (dt.timedelta(hours=1), "1:00:00"),
    (dt.timezone.utc, "UTC"),
    (BERLIN, "Europe/Berlin"),
    (b"\xff", "b'\\xff'"),
    (bytearray(b"a"), "bytearray(b'a')"),
    (pathlib.PurePosixPath("/a"), "/a"),
    (decimal.Decimal("1.10"), "1.10"),
    (fractions.Fraction(1, 3), "1/3"),
    (Room(1, [Point(1, 2)]), {"number": 1, "guests": [{"x": 1, "y": 2}], "floor": 0}),
    (Color.RED, "red"),
    (Color.BLUE, "BLUE"),
    (Level.LOW, 1),
    (Access.READ | Access.WRITE, 3),
    ([math.nan, math.inf, -math.inf], ["nan", "inf", "-inf"]),
    ({1: "a", None: (2,), (1, 2): 3}, {"1": "a", "None": [2], "[1, 2]": 3}),
    ({"$type": "tuple"}, {"$type": "tuple"}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (OrderedDict([((1,), 2)]), {"[1]": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (types.SimpleNamespace(a=1), {"a": 1}),
    (range(3), "range(0, 3, 1)"),
    (re.compile("a+"), "a+"),
    (complex(1, 2), "(1+2j)"),
    (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
    ([ValueError("boom")], ["ValueError: boom"]),
    (Literal("@a"), "@a"),
])
def test_display(value, shown):
    assert display(encode(value)) == shown


def test_display_of_a_number_too_long_for_decimal():
    assert display(encode(10 ** 5000)) == hex(10 ** 5000)


# --- canonical and digest -------------------------------------------------------------------------

def test_canonical_text_does_not_depend_on_the_order_of_keys():
    one = {"b": {2: 1, 1: (2,)}, "a": [{"y": 1, "x": 2}], "c": Room(1, [{"p": 1, "o": 2}])}
    other = {"c": Room(1, [{"o": 2, "p": 1}]), "a": [{"x": 2, "y": 1}], "b": {1: (2,), 2: 1}}

    assert encode(one) != encode(other)
    assert canonical(one) == canonical(other)
    assert canonical({"b": 1, "a": 2}) == '{"a":2,"b":1}'
    assert canonical(defaultdict(int, b=1, a=2)) == canonical(defaultdict(int, a=2, b=1))
    assert canonical(types.SimpleNamespace(b=1, a=2)) == canonical(types.SimpleNamespace(a=2, b=1))


def test_canonical_text_keeps_what_is_not_equal_apart():
    different = [1, 1.0, True, "1", (1,), [1], {1}, frozenset({1}), {"1": 1}, {1: 1}, b"1", deque([1]), None, -0.0, 0.0,
                 OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), {"a": 1, "b": 2}, Counter(a=1, b=2)]

    assert len({canonical(value) for value in different}) == len(different)


@pytest.mark.parametrize("write", ["canonical", "encode"])
def test_text_is_the_same_under_any_hash_seed(write):
    program = (f"from firexlite.codec import {write}, digest\n"
               f"print(digest({write}([{{'b', 'a', ('c', 1)}}, {{'k': frozenset('xyz')}}, {{'one'}}])))")
    texts = {subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                            env={**os.environ, "PYTHONHASHSEED": seed,
                                 "PYTHONPATH": str(pathlib.Path(codec.__file__).parent.parent)}).stdout
             for seed in ("0", "1", "2", "3")}

    assert len(texts) == 1


def test_a_digest_is_32_hex_digits():
    assert re.fullmatch("[0-9a-f]{32}", digest("firexlite"))
    assert digest("a") != digest("b")


# --- users' codecs ---------------------------------------------------------------------------------

def test_a_registered_class_comes_back(registry):
    register_codec(Money, lambda money: {"cents": (money.cents,)}, lambda plain: Money(plain["cents"][0]))

    text = encode([Money(5)])

    assert text.startswith(f'[{{"$type":"{HERE}:Money",')
    assert decode(text) == [Money(5)]
    assert display(text) == [{"cents": [5]}]


def test_a_missing_codec_is_named_but_displayed(registry):
    with pytest.raises(NotReadable) as caught:
        decode('{"$type":"hotel:Money","value":5}')

    assert str(caught.value) == ("no codec named 'hotel:Money' is registered here; "
                                 "import the module that registers it")
    assert display('{"$type":"hotel:Money","value":5}') == 5


def test_a_codec_may_have_a_name_of_its_own_and_be_replaced_after_a_reload(registry):
    register_codec(Money, lambda money: money.cents, Money, name="money")
    register_codec(Money, lambda money: str(money.cents), lambda text: Money(int(text)), name="money")

    assert encode(Money(5)) == '{"$type":"money","value":"5"}'


def test_a_codec_comes_before_what_the_class_is_by_itself(registry):
    register_codec(MyStr, str.__str__, MyStr)
    register_codec(Room, lambda room: room.number, Room)

    assert type(decode(encode(MyStr("a")))) is MyStr
    assert decode(encode(Room(7, ["Li"]))) == Room(7)


@pytest.mark.parametrize("name", ["tuple", "dict", "bytes", "dataclass", "exceptions", "money"])
def test_a_name_that_is_taken_is_refused(registry, name):
    register_codec(MyStr, str.__str__, MyStr, name="money")

    with pytest.raises(BadInput) as caught:
        register_codec(Money, vars, Money, name=name)

    assert str(caught.value) == f"the codec name '{name}' is taken; give another to register_codec"


@pytest.mark.parametrize("cls", [str, list, dict, tuple, bytes, dt.datetime, Counter])
def test_types_that_firexlite_stores_itself_keep_their_codec(registry, cls):
    with pytest.raises(BadInput, match="is stored by firexlite itself"):
        register_codec(cls, repr, eval)


def test_what_a_codec_raises_is_reported(registry):
    def refuse(value):
        raise ValueError("it is a secret")

    register_codec(Money, refuse, refuse)

    with pytest.raises(NotStorable) as caught:
        encode({"pay": Money(5)})
    assert (caught.value.path, caught.value.reason) == ("value['pay']", "it is a secret")
    with pytest.raises(NotReadable, match="Money cannot be rebuilt: ValueError: it is a secret"):
        decode(f'{{"$type":"{HERE}:Money","value":5}}')


def test_a_codec_that_never_ends_is_refused(registry):
    register_codec(Money, lambda money: [Money(money.cents + 1)], Money)

    with pytest.raises(NotStorable, match="too deeply nested"):
        encode(Money(1))


def test_a_value_that_could_not_be_read_again_is_not_written(monkeypatch):
    monkeypatch.setattr(codec, "LARGEST_VALUE", 10)

    with pytest.raises(NotStorable) as caught:
        encode("eleven char", "arguments of greet: name")

    assert str(caught.value) == (
        "arguments of greet: name is a str, which the journal cannot store (it takes 13 bytes, and at most 10 would be "
        "read), nor can it be pickled: that would take no less; pass plain data or a File, or register a codec "
        "(firexlite.register_codec)")


# --- the short ways of the standard library ---------------------------------------------------------------------------

PLAIN = ["", "x", "\ud800", "\u00fc\u20ac\U0001f600", "\x00\x1f\"\\", 0, -1, 10 ** 300, 1.5, -0.0, 1e300, True, False, None,
         [], {}, [1, [2, {}]], {"b": 1, "a": [None, {"c": "d"}]}]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_written_and_read_as_the_standard_library_does(value):
    text = json.dumps(value, separators=(",", ":"))

    assert codec._dumps(value) == text
    assert codec._dumps_sorted(value) == json.dumps(value, separators=(",", ":"), sort_keys=True)
    assert codec._read_plain(text) == json.loads(text)


def test_without_the_encoder_in_c_values_are_written_as_well(monkeypatch):
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)

    assert codec._encoder(sort_keys=True)({"b": 1, "a": [1.5]}) == '{"a":[1.5],"b":1}'


@pytest.mark.parametrize("text", ["", " ", "[1", "1 2", "[] x", "{'a': 1}", "NaN"])
def test_what_is_no_json_is_not_read(text):
    with pytest.raises(NotReadable):
        decode(text)


@pytest.mark.parametrize("text", [" [1]", "[1] ", "\n[1]\n"])
def test_spaces_around_a_text_are_nothing(text):
    assert decode(text) == [1]
