"""Values as JSON text and back: what the journal stores, without pickle.

Plain data stands as itself; anything else is an object with a "$type". Reading imports nothing, and calls no code of
a value's class: only the codecs that were registered here. (Three things remain: a set or dict asks for the hash of
what it holds, an exception for its text, and a time zone that the system lacks is looked for in the tzdata package.)

    {"$type": "tuple", "value": [1, 2]}
    {"$type": "dict", "value": [[1, "one"]]}          a dict with keys other than str, or with a key "$type"
    {"$type": "dataclass", "class": "hotel:Guest", "value": {"name": "Li"}}
    {"$type": "exceptions", "table": [..], "value": ..}    each exception is written once, causes before effects;
    {"$type": "exception", "value": 0}                     the value, and other exceptions, refer to it by its index
    {"$type": "secret", "value": "env:TOKEN"}              a `Secret`; its value is nowhere
    {"$type": "secret", "value": ["Bearer ", "env:TOKEN", ""]}    a str in which the value of a secret stands

What has no such form is refused; or pickled, where the user of the run asked for that (see `pickled`).
"""
from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import hashlib
import json
import math
import reprlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from types import MemberDescriptorType, SimpleNamespace
from typing import Any

from . import codec_errors
from .codec_errors import class_attribute, class_name, loaded_class, text_of
from .codec_standard import CODEC_OF, CODECS, Codec, make_bytes, make_timezone, type_name
from .errors import BadInput, NotReadable, NotStorable, SecretUnavailable
from .own_files import LARGEST_PAYLOAD
from .patterns import pattern
from .pickled import pickles, taken_apart
from .secrets import MASK, Needles, Secret, mask_of, vault
from .signatures import Literal

MAX_DEPTH = 100               # of values within values: what is written can be read in any stack a service may have
LONGEST_INT = 10 ** 4300      # more digits than this Python refuses to read in decimal

ATOMS = frozenset({str, int, float, bool, type(None)})
BUILTIN_BASES = (str, int, float, complex, bytes, bytearray, list, dict, tuple, set, frozenset)
FACTORIES = {cls.__name__: cls for cls in (list, dict, set, int, str, float, tuple, bool, bytes, frozenset)}
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

SURROGATE_PAIR = pattern("[\ud800-\udbff][\udc00-\udfff]")  # in a str; as JSON it would become one character

LARGEST_VALUE = LARGEST_PAYLOAD // 2  # bytes: what is written must be read again

Where = tuple  # (where the container stands, how its part is written, the part's key); the outermost is (path,)


def encode(value: object, path: str = "value", may_pickle: bool = True) -> str:
    """``value`` as compact ASCII JSON; `decode` gives an equal value of the same type.

    path: what to call the value in an error, e.g. ``arguments of greet: guests``.
    may_pickle: False for what is only shown.
    Raises NotStorable, naming the part: ``arguments of greet: guests[2].name``; SecretUnavailable for a `Secret` that is.
    """
    text = _plain_text(value, _dumps)
    known = vault.known
    if text is None or (known is not None and known.are_in_json(text)):
        text = _Writer(needles=known, may_pickle=may_pickle).text(value, path)
        if vault.known is not known:  # it held a Secret, whose value may stand in what was written before
            return encode(value, path, may_pickle)
    if len(text) > LARGEST_VALUE:
        raise NotStorable(path, type_name(value), f"it takes {len(text)} bytes, and at most {LARGEST_VALUE} would be read",
                          "that would take no less")
    return text


def encode_named(values: Mapping[str, object], where: str) -> str:
    """A dict of values by name, as `encode` writes it; an error calls each value ``where`` and its name."""
    known = vault.known
    if known is None and (whole := _plain_text(values, _dumps)) is not None and len(whole) <= LARGEST_VALUE:
        return whole
    if known is not None and any(known.are_in(name) for name in values):
        return encode(dict(values), where.rstrip(": "))
    text = "{" + ",".join(f"{encode(name)}:{encode(value, where + name)}" for name, value in values.items()) + "}"
    return text if vault.known is known else encode_named(values, where)


def canonical(value: object, path: str = "value") -> str:
    """As `encode`, but the same text for equal values of the same types: no order of keys, no tracebacks, and of what would
    be pickled its parts. Where these cannot be told, its class alone stands for it.

    The value of a secret that the body knows by its run, or has met, has no say in it.
    """
    text = _plain_text(value, _dumps_sorted)
    expected = vault.expected
    if text is None or (expected is not None and expected.are_in_json(text)):
        text = _Writer(is_canonical=True, needles=expected).text(value, path)
        if vault.expected is not expected:
            return canonical(value, path)
    return text


def canonical_of_named(values: Mapping[str, object], text: str) -> str:
    """`canonical` of values by name. text: as `encode_named` has just written them, which is often the same."""
    if vault.expected is None and "$type" not in text and all(type(value) in ATOMS for value in values.values()) \
            and (len(values) < 2 or list(values) == sorted(values)):
        return text
    return canonical(values, "signature")


def digest(text: str) -> str:
    """32 hex digits that stand for ``text``."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def decode(text: str) -> Any:
    """The value that `encode` wrote as ``text``, made anew at each call.

    Raises NotReadable, and nothing else, for whatever cannot be rebuilt here.
    """
    return _Reader().read(text)


def display(text: str) -> Any:
    """``text`` as plain data for a report; needs none of the classes. An exception is shown as ``Name: text``, the value of
    a secret as ``[secret env:NAME]``."""
    return _Viewer().read(text)


def encode_error(exc: BaseException) -> str:
    """``exc`` with its causes; those of its parts that cannot be stored are left out. In its texts secrets are masked."""
    return encode(exc, "exception")


def decode_error(text: str) -> BaseException:
    """The exception that `encode_error` wrote; a `TaskError` of its name where its class is not loaded.

    Its stored traceback is ``__firexlite_traceback__``. A secret that cannot be had stays masked.
    Raises NotReadable if ``text`` holds no exception.
    """
    exc = _ErrorReader().read(text)
    if not isinstance(exc, BaseException):
        raise NotReadable(f"this holds a {type(exc).__name__}, not an exception")
    return exc


def display_error(text: str) -> dict[str, Any]:
    """``{type, name, text, args, attributes, traceback, where, explicit, cause}``, where cause is such a dict or None.

    Needs no class. Raises NotReadable if ``text`` holds no exception.
    """
    viewer = _Viewer()
    viewer.read(text)
    if not viewer.exceptions:
        raise NotReadable("this holds no exception")
    return viewer.exceptions[-1]


def register_codec(cls: type, to_plain: Callable[[Any], Any], from_plain: Callable[[Any], Any],
                   name: str | None = None) -> None:
    """Make values of exactly this class storable.

    to_plain: gives something storable; a ValueError it raises becomes the reason why a value is not.
    from_plain: makes the value again; called wherever it is read, so register where the class is defined.
    name: how the type is called in the journal, for ever; by default ``module:qualname``.
    Raises BadInput if firexlite stores the class already, or another class has the name.
    """
    name = name or class_name(cls)
    same_name = CODECS.get(name)
    if cls in BUILTIN_TYPES:
        raise BadInput(f"{cls.__name__} is stored by firexlite itself and cannot get another codec")
    if name in _Reader.FORMS or (same_name and class_name(same_name.cls) != class_name(cls)):
        raise BadInput(f"the codec name '{name}' is taken; give another to register_codec")
    CODECS[name] = CODEC_OF[cls] = Codec(cls, name, to_plain, from_plain)


# --- writing -----------------------------------------------------------------------------------

def _plain_text(value: object, dumps: Callable[[object], str]) -> str | None:
    """The short way, for plain data; None for what has to be written part by part."""
    try:
        if _is_plain(value):
            text = dumps(value)
            if "\\ud" not in text or _read_plain(text) == value:  # else see SURROGATE_PAIR
                return text
    except (ValueError, RecursionError):  # a number that JSON has no form for; a stack that is all but used up
        pass
    return None


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether ``value`` is plain data. No look at the numbers: writing them finds the few that JSON has no form for."""
    cls = type(value)
    if cls in ATOMS:
        return True
    if depth >= MAX_DEPTH:
        return False
    if cls is dict:
        for key, part in value.items():
            if type(key) is not str or key == "$type":
                return False
            if type(part) not in ATOMS and not _is_plain(part, depth + 1):
                return False
        return True
    if cls is list:
        for part in value:  # noqa: SIM110 - all() takes twice the time
            if type(part) not in ATOMS and not _is_plain(part, depth + 1):
                return False
        return True
    return False


def _encoder(sort_keys: bool = False) -> Callable[[object], str]:
    """What `JSONEncoder.encode` does, which for each value makes its encoder in C anew: most of the time of a short one."""
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, sort_keys=sort_keys)
    try:
        encode = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", sort_keys, False, False)
        return lambda value: "".join(encode(value, 0))
    except TypeError:  # there is none in this Python, or it wants to be made otherwise
        return encoder.encode


_dumps, _dumps_sorted = _encoder(), _encoder(sort_keys=True)


class _Writer:
    """Turns one value, part by part, into plain data."""

    def __init__(self, is_canonical: bool = False, needles: Needles | None = None, may_pickle: bool = True) -> None:
        self.is_canonical = is_canonical
        self.needles = needles                     # find the values of secrets
        self.may_pickle = may_pickle and pickles.wanted
        self.around: dict[int, int] = {}           # ids of the values around the one being written, and how deep they stand
        self.exceptions: list[BaseException] = []  # those written, causes before effects
        self.records: list[dict] = []              # of each of them

    def text(self, value: object, path: str) -> str:
        try:
            plain = self.plain(value, (path,))
            if self.records:
                plain = {"$type": "exceptions", "table": self.records, "value": plain}
            return _dumps(plain)
        except RecursionError:
            raise NotStorable(path, type_name(value), "too deeply nested") from None

    def plain(self, value: Any, where: Where) -> Any:
        cls = type(value)
        if cls is bool or value is None:
            return value
        if cls is str:
            if self.needles is not None and self.needles.are_in(value):
                return {"$type": "secret", "value": self.template(value)}
            return _str(value)
        if cls is int:
            return self.number(value) if -LONGEST_INT < value < LONGEST_INT else {"$type": "int", "value": hex(value)}
        if cls is float:
            return self.number(value) if math.isfinite(value) else {"$type": "float", "value": repr(value)}
        if id(value) in self.around:
            if self.is_canonical and self.may_pickle:
                return {"$type": "around", "value": self.around[id(value)]}
            raise _refusal(value, where, "it contains itself")
        if len(self.around) >= MAX_DEPTH:
            raise _refusal(value, where, "too deeply nested")
        self.around[id(value)] = len(self.around)
        try:
            return self.compound(value, cls, where)
        except NotStorable as refusal:
            if not self.may_pickle:
                raise
            return self.parts(value, cls, where) if self.is_canonical else self.pickled(value, cls, where, refusal)
        finally:
            del self.around[id(value)]

    def compound(self, value: Any, cls: type, where: Where) -> Any:
        if cls in _CONTAINERS:
            return _CONTAINERS[cls](self, value, where)
        if self.needles is not None and cls in (bytes, bytearray) and self.needles.are_in_bytes(value):
            return self.bytes_with_secret(value, cls)
        if cls in CODEC_OF:
            return self.by_codec(CODEC_OF[cls], value, where)
        if cls is Secret:
            value.reveal()  # so that one which is not to be had is refused here
            return {"$type": "secret", "value": value.reference}
        if issubclass(cls, BaseException):
            return {"$type": "exception", "value": self.exception(value, where)}
        if issubclass(cls, enum.Enum):
            return self.member(value, where)
        if _is_namedtuple(cls):
            return self.namedtuple(value, where)
        if _is_dataclass(cls):
            return self.dataclass(value, where)
        base = next((base for base in BUILTIN_BASES if issubclass(cls, base)), None)
        raise _refusal(value, where, f"it would come back as a plain {base.__name__}" if base else "")

    def by_codec(self, codec: Codec, value: object, where: Where) -> dict:
        try:
            plain = codec.to_plain(value)
        except Exception as error:  # may be a user's code
            raise _refusal(value, where, text_of(error)) from error
        return {"$type": codec.name, "value": self.plain(plain, where)}

    # What has no form of its own may be pickled: the smallest part that has none, so that the rest stays plain.

    def pickled(self, value: object, cls: type, where: Where, refusal: NotStorable) -> dict:
        if refusal.pickling and cls in _CONTAINERS:
            raise refusal  # a part of it cannot be pickled, so neither can it; another class may leave that part out
        try:
            return pickles.record(value)
        except ValueError as error:
            raise (refusal if refusal.pickling else _refusal(value, where, refusal.reason, str(error))) from error

    def parts(self, value: object, cls: type, where: Where) -> dict:
        try:
            return {"$type": "pickle", "value": self.plain(taken_apart(value), where)}
        except Exception:  # of a stranger's class; or too deep, as a long list of linked objects is
            return {"$type": "pickle", "class": class_name(cls)}

    # Where the value of a secret stands, there stands its label.

    def template(self, text: str) -> list:
        assert self.needles is not None
        return [_str(part) for part in self.needles.parts(text)]

    def number(self, value: float) -> Any:
        if self.needles is not None and self.needles.are_in(text := _dumps(value)):
            return {"$type": "secret", "of": "number", "value": self.template(text)}
        return value

    def bytes_with_secret(self, value: bytes | bytearray, cls: type) -> dict:
        assert self.needles is not None
        return {"$type": "secret", "of": cls.__name__,
                "value": [part if isinstance(part, str) else base64.b64encode(part).decode()
                          for part in self.needles.parts_of_bytes(bytes(value))]}

    # Containers are written part by part, so that a refusal can name the part.

    def sequence(self, value: Iterable, where: Where) -> list:
        return [self.plain(part, (where, "[{}]", i)) for i, part in enumerate(value)]

    def unordered(self, value: Iterable, where: Where) -> list:
        return sorted((self.plain(part, (where, "{{...}}", None)) for part in value), key=_dumps)

    def pairs(self, value: dict, where: Where) -> list:
        return [[self.plain(key, (where, ".keys()", None)), self.plain(part, (where, "[{}]", key))]
                for key, part in value.items()]

    def mapping(self, value: dict, where: Where) -> dict:
        if not all(type(key) is str and key != "$type" and not SURROGATE_PAIR.search(key)
                   and not (self.needles is not None and self.needles.are_in(key)) for key in value):
            pairs = self.pairs(value, where)
            return {"$type": "dict", "value": sorted(pairs, key=_key_text) if self.is_canonical else pairs}
        keys = sorted(value) if self.is_canonical else value
        return {key: self.plain(value[key], (where, "[{}]", key)) for key in keys}

    def fields(self, value: dict[str, Any], where: Where) -> dict:
        return {name: self.plain(part, (where, ".{}", name)) for name, part in value.items()}

    def namespace(self, value: SimpleNamespace, where: Where) -> dict:
        if not all(type(name) is str and name.isidentifier() for name in vars(value)):
            raise _refusal(value, where, "the name of an attribute is not an identifier")
        if self.needles is not None and any(self.needles.are_in(name) for name in vars(value)):
            raise _refusal(value, where, "the name of an attribute is a secret")
        names = sorted(vars(value)) if self.is_canonical else vars(value)
        return {"$type": "namespace", "value": self.fields({name: vars(value)[name] for name in names}, where)}

    def defaultdict(self, value: defaultdict, where: Where) -> dict:
        factory: Any = value.default_factory
        name = next((name for name, cls in FACTORIES.items() if cls is factory), None)
        if factory and not name:
            raise _refusal(value, where, "its default_factory is not a builtin type")
        return {"$type": "defaultdict", "factory": name, "value": self.mapping(value, where)}

    # Classes are stored by name.

    def class_name(self, value: object, where: Where) -> str:
        name = class_name(type(value))
        if loaded_class(name) is not type(value):
            raise _refusal(value, where, f"its class is not to be found as {name}: "
                                         "define it at the top level of an imported module")
        return name

    def member(self, value: Any, where: Where) -> dict:
        name = self.class_name(value, where)
        if isinstance(value, enum.Flag):
            return {"$type": "flag", "class": name, "value": value._value_}
        if type(value)._member_map_.get(value._name_) is not value:
            raise _refusal(value, where, "it is not a member of its class")
        shown = {"value": self.plain(value._value_, where)} if _is_plain(value._value_) else {}
        return {"$type": "enum", "class": name, "name": value._name_, **shown}

    def namedtuple(self, value: Any, where: Where) -> dict:
        if getattr(value, "__dict__", None):
            raise _refusal(value, where, "it has attributes besides its fields")
        parts = dict(zip(type(value)._fields, tuple.__iter__(value), strict=False))
        return {"$type": "namedtuple", "class": self.class_name(value, where), "value": self.fields(parts, where)}

    def dataclass(self, value: Any, where: Where) -> dict:
        cls: Any = type(value)
        name = self.class_name(value, where)
        try:
            fields = {field: getattr(value, field) for field in _declared_fields(cls)}
        except Exception as error:  # a field that is not set, or a user's descriptor
            raise _refusal(value, where, text_of(error)) from error
        for extra in getattr(value, "__dict__", {}).keys() - fields.keys():
            if not isinstance(class_attribute(cls, extra), cached_property):
                raise _refusal(value, where, f"its attribute '{extra}' is not a field and would be lost")
        return {"$type": "dataclass", "class": name, "value": self.fields(fields, where)}

    # Exceptions are written once each, into a table: an error of many failures names each of them several times.

    def exception(self, exc: BaseException, where: Where) -> int:
        index = None
        for link in reversed(codec_errors.chain_of(exc)):
            known = next((i for i, written in enumerate(self.exceptions) if written is link), None)
            if known is not None:
                index = known
            elif link is exc or id(link) not in self.around:
                index = self.record(link, index, where)
            else:  # it is being written, and this is one of its parts
                index = None
        assert index is not None
        return index

    def record(self, exc: BaseException, cause: int | None, where: Where) -> int:
        was_around, may_pickle = id(exc) in self.around, self.may_pickle
        self.around.setdefault(id(exc), len(self.around))
        self.may_pickle = False  # whoever tells of a failure reads it, and not only a worker
        record = codec_errors.take_apart(exc, lambda part: self.part(part, where))
        self.may_pickle = may_pickle
        if self.needles is not None:
            record["attributes"] = {name: part for name, part in record["attributes"].items() if not self.needles.are_in(name)}
        if not was_around:
            del self.around[id(exc)]
        if self.is_canonical:
            record.update(traceback="", where=None)
        self.exceptions.append(exc)
        self.records.append({"$type": "raised", **record, "cause": cause,
                             "explicit": codec_errors.cause_of(exc)[1]})
        return len(self.records) - 1

    def part(self, value: object, where: Where) -> Any:
        written = len(self.records)
        try:
            return self.plain(value, where)
        except Exception:
            del self.records[written:], self.exceptions[written:]
            raise


_CONTAINERS: dict[type, Callable[[_Writer, Any, Where], Any]] = {
    list: _Writer.sequence,
    dict: _Writer.mapping,
    defaultdict: _Writer.defaultdict,
    SimpleNamespace: _Writer.namespace,
    tuple: lambda self, value, where: {"$type": "tuple", "value": self.sequence(value, where)},
    set: lambda self, value, where: {"$type": "set", "value": self.unordered(value, where)},
    frozenset: lambda self, value, where: {"$type": "frozenset", "value": self.unordered(value, where)},
    deque: lambda self, value, where: {
        "$type": "deque", "maxlen": value.maxlen, "value": self.sequence(value, where)},
    Counter: lambda self, value, where: {"$type": "Counter", "value": self.mapping(value, where)},
    OrderedDict: lambda self, value, where: {"$type": "OrderedDict", "value": self.pairs(value, where)},
}


def _str(text: str) -> Any:
    return {"$type": "str", "value": list(text)} if SURROGATE_PAIR.search(text) else text


def _key_text(pair: list) -> str:
    return _dumps(pair[0])


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def _refusal(value: object, where: Where, reason: str, pickling: str = "") -> NotStorable:
    parts: list[str] = []
    while len(where) > 1:
        where, form, key = where
        parts.append(form.format(key if form == ".{}" else _short(key)))
    return NotStorable(where[0] + "".join(reversed(parts)), type_name(value), reason, pickling)


def _short(key: object) -> str:
    if vault.known is not None and isinstance(key, str):
        key = vault.known.mask(key)  # here already: half a secret is masked by nobody
    try:
        return _SHORT.repr(key)
    except Exception:  # a stranger's repr, or an int too long for one
        return f"<{type(key).__name__}>"


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and type(class_attribute(cls, "_fields")) is tuple


def _is_dataclass(cls: type) -> bool:
    return "__dataclass_fields__" in vars(cls)


@lru_cache(maxsize=256)
def _declared_fields(cls: Any) -> dict[str, dataclasses.Field]:
    """The fields of a dataclass; raises ValueError if its instances cannot be made without the class's own code."""
    for base in BUILTIN_BASES:
        if issubclass(cls, base):
            raise ValueError(f"its class is a {base.__name__}, too")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in fields:
        attribute = class_attribute(cls, name)
        if hasattr(type(attribute), "__set__") and type(attribute) is not MemberDescriptorType:
            raise ValueError(f"its field '{name}' is a descriptor")
    return fields


# --- reading -----------------------------------------------------------------------------------

def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def _read_plain(text: str) -> Any:
    """What `JSONDecoder.decode` gives, which looks for spaces before and after each value: most of the time of a short one."""
    try:
        value, end = _decoder.scan_once(text, 0)  # type: ignore[attr-defined]
    except StopIteration:  # it begins with a space, or is no JSON
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


class _Reader:
    """Reads one text. JSON gives inner objects first, so `marked` meets parts that are rebuilt already."""

    def __init__(self) -> None:
        self.exceptions: list[Any] = []

    def read(self, text: str) -> Any:
        try:
            if '"$type"' not in text:
                return _read_plain(text)
            return json.JSONDecoder(object_hook=self.marked, parse_constant=_no_constant).decode(text)
        except NotReadable:
            raise
        except RecursionError:
            raise NotReadable("this text is too deeply nested") from None
        except (ValueError, TypeError) as error:
            raise NotReadable(f"this is no text that firexlite wrote: {text_of(error)}") from error

    def marked(self, obj: dict) -> Any:
        if "$type" not in obj:
            return obj
        name = obj["$type"]
        if type(name) is not str:
            raise NotReadable("a stored value has a $type that is not a str")
        try:
            return self.unmarked(name, obj)
        except NotReadable:
            raise
        except Exception as error:  # whatever a constructor has against a text that nobody may have written
            raise NotReadable(f"a stored {name} cannot be rebuilt: {type(error).__name__}: {text_of(error)}") from error

    def unmarked(self, name: str, obj: dict) -> Any:
        if name in self.FORMS:
            return self.FORMS[name](self, obj)
        if name in CODECS:
            return CODECS[name].from_plain(obj["value"])
        raise NotReadable(f"no codec named '{name}' is registered here; import the module that registers it")

    def member(self, obj: dict) -> enum.Enum:
        cls: Any = _class_of(obj, "an Enum", lambda cls: issubclass(cls, enum.Enum))
        if obj["name"] not in cls._member_map_:
            raise NotReadable(f"{obj['class']} has no member '{obj['name']}' here")
        return cls._member_map_[obj["name"]]

    def flag(self, obj: dict) -> enum.Flag:
        cls: Any = _class_of(obj, "a Flag", lambda cls: issubclass(cls, enum.Flag))
        if obj["value"] in cls._value2member_map_:
            return cls._value2member_map_[obj["value"]]
        if type(cls) is not enum.EnumMeta or class_attribute(cls, "_missing_") is not vars(enum.Flag)["_missing_"]:
            raise NotReadable(f"{obj['class']} has no member of the value {obj['value']} here")
        return cls(obj["value"])  # a combination of members, which only the standard library makes

    def namedtuple(self, obj: dict) -> tuple:
        cls: Any = _class_of(obj, "a namedtuple", _is_namedtuple)
        parts = {**getattr(cls, "_field_defaults", {}), **obj["value"]}
        if parts.keys() != set(cls._fields):
            raise NotReadable(f"{obj['class']} has other fields here than when it was stored")
        return tuple.__new__(cls, [parts[name] for name in cls._fields])

    def dataclass(self, obj: dict) -> object:
        cls = _class_of(obj, "a dataclass", _is_dataclass)
        fields, parts = _declared_fields(cls), dict(obj["value"])
        for name, field in fields.items():
            if name not in parts and field.default is not dataclasses.MISSING:
                parts[name] = field.default
            elif name not in parts and field.default_factory in (list, dict, set):
                parts[name] = field.default_factory()
        if parts.keys() != fields.keys():
            raise NotReadable(f"{obj['class']} has other fields here than when it was stored: "
                              + ", ".join(sorted(parts.keys() ^ fields.keys())))
        value: object = object.__new__(cls)
        for name, part in parts.items():
            object.__setattr__(value, name, part)
        return value

    def raised(self, obj: dict) -> None:
        cause = None if obj["cause"] is None else self.exception(obj["cause"])
        self.exceptions.append(codec_errors.put_together(obj, cause))

    def reveal(self, label: str) -> str:
        return vault.text(label)

    def secret(self, obj: dict) -> Any:
        parts, kind = obj["value"], obj.get("of", "str")
        if type(parts) is str:
            value = self.reveal(parts)
            return Literal(value) if value[:1] == "@" else value  # it is data, and refers to nothing
        if kind in ("str", "number"):
            text = "".join(self.reveal(part) if i % 2 else part for i, part in enumerate(parts))
            return text if kind == "str" or MASK in text else _read_plain(text)
        data = b"".join(self.reveal(part).encode("utf-8", "surrogateescape") if i % 2 else make_bytes(part)
                        for i, part in enumerate(parts))
        return bytearray(data) if kind == "bytearray" else data

    def exception(self, index: int) -> Any:
        if type(index) is not int or not 0 <= index < len(self.exceptions):
            raise NotReadable("a stored value refers to an exception that is not in its table")
        return self.exceptions[index]

    FORMS: dict[str, Callable[[Any, dict], Any]] = {
        "int": lambda self, obj: int(obj["value"], 16),
        "float": lambda self, obj: NON_FINITE[obj["value"]],
        "str": lambda self, obj: "".join(obj["value"]),
        "dict": lambda self, obj: dict(obj["value"]),
        "tuple": lambda self, obj: tuple(obj["value"]),
        "set": lambda self, obj: set(obj["value"]),
        "frozenset": lambda self, obj: frozenset(obj["value"]),
        "deque": lambda self, obj: deque(obj["value"], obj["maxlen"]),
        "Counter": lambda self, obj: Counter(obj["value"]),
        "OrderedDict": lambda self, obj: OrderedDict(obj["value"]),
        "defaultdict": lambda self, obj: defaultdict(
            FACTORIES[obj["factory"]] if obj["factory"] else None, obj["value"]),
        "namespace": lambda self, obj: SimpleNamespace(**obj["value"]),
        "enum": member,
        "flag": flag,
        "namedtuple": namedtuple,
        "dataclass": dataclass,
        "raised": raised,
        "exception": lambda self, obj: self.exception(obj["value"]),
        "exceptions": lambda self, obj: obj["value"],
        "secret": secret,
        "pickle": lambda self, obj: pickles.load(obj),
    }


class _ErrorReader(_Reader):
    """Reads an exception, which is told of even where a secret cannot be had."""

    def reveal(self, label: str) -> str:
        try:
            return vault.text(label)
        except SecretUnavailable:
            return mask_of(label)


def _class_of(obj: dict, kind: str, is_of_kind: Callable[[type], bool]) -> type:
    cls = loaded_class(obj["class"])
    if cls is None:
        raise NotReadable(f"the class {obj['class']} is not loaded here")
    if not is_of_kind(cls):
        raise NotReadable(f"the class {obj['class']} is not {kind} here")
    return cls


class _Viewer(_Reader):
    """Reads one text for a report; `marked` meets parts that are shown already. A pickle is its text, and never loaded."""

    def unmarked(self, name: str, obj: dict) -> Any:
        try:
            return self.SHOWN[name](self, obj) if name in self.SHOWN else obj["value"]
        except (TypeError, ValueError):
            if MASK in repr(obj["value"]):  # in the place of a number, or of a part of a base64
                return str(obj["value"])
            raise

    def pairs(self, obj: dict) -> dict[str, Any]:
        return {str(key): part for key, part in obj["value"]}

    def reveal(self, label: str) -> str:
        return mask_of(label)

    def masked(self, obj: dict) -> str:
        shown = self.secret(obj)
        return shown if isinstance(shown, str) else repr(shown)

    def raised(self, obj: dict) -> None:
        cause = None if obj["cause"] is None else self.exceptions[obj["cause"]]
        self.exceptions.append({**{key: part for key, part in obj.items() if key != "$type"}, "cause": cause})

    def exception_text(self, obj: dict) -> str:
        exc = self.exception(obj["value"])
        return f"{exc['name']}: {exc['text']}"

    SHOWN: dict[str, Callable[[Any, dict], Any]] = {
        "str": lambda self, obj: "".join(obj["value"]),
        "dict": pairs,
        "OrderedDict": pairs,
        "bytes": lambda self, obj: repr(make_bytes(obj["value"])),
        "bytearray": lambda self, obj: repr(bytearray(make_bytes(obj["value"]))),
        "datetime": lambda self, obj: obj["value"][0],
        "time": lambda self, obj: obj["value"][0],
        "timedelta": lambda self, obj: str(datetime.timedelta(*obj["value"])),
        "timezone": lambda self, obj: str(make_timezone(obj["value"])),
        "Fraction": lambda self, obj: "{}/{}".format(*obj["value"]),
        "range": lambda self, obj: "range({}, {}, {})".format(*obj["value"]),
        "Pattern": lambda self, obj: obj["value"][0],
        "Uid": lambda self, obj: obj["value"] if isinstance(obj["value"], str) else obj["value"][0],
        "File": lambda self, obj: "{} ({} bytes)".format(*obj["value"]),
        "enum": lambda self, obj: obj.get("value", obj["name"]),
        "raised": raised,
        "exception": exception_text,
        "secret": masked,
        "pickle": lambda self, obj: str(obj.get("shown", "<a pickled value>")),
    }


BUILTIN_TYPES = frozenset({*ATOMS, Secret, *_CONTAINERS, *CODEC_OF})
