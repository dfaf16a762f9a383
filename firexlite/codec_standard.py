"""How the types of the standard library are written, each as plain data under its name."""
from __future__ import annotations

import base64
import datetime
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from .files import File
from .signatures import InjectArgs, Literal
from .uid import Uid


def type_name(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class Codec(NamedTuple):
    """How values of one class are written: as the plain data that `to_plain` gives, named `name`."""

    cls: type
    name: str
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


def make_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _zoned(value: datetime.datetime | datetime.time) -> list:
    if value.tzinfo is not None and type(value.tzinfo) not in CODEC_OF:
        raise ValueError(f"its tzinfo is a {type_name(value.tzinfo)}")
    return [value.isoformat(), value.tzinfo, value.fold]


def _from_zoned(cls: Any) -> Callable[[list], Any]:
    return lambda parts: cls.fromisoformat(parts[0]).replace(tzinfo=parts[1], fold=parts[2])


def _timezone_parts(zone: datetime.timezone) -> list:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # the only way to its name, None if it has none
    return [offset.days, offset.seconds, offset.microseconds, *name]


def make_timezone(parts: list) -> datetime.timezone:
    return datetime.timezone(datetime.timedelta(*parts[:3]), *parts[3:])


def _zone_key(zone: zoneinfo.ZoneInfo) -> str:
    if zone.key is None:
        raise ValueError("it was made from a file and has no key")
    return zone.key


def _zone(key: str) -> zoneinfo.ZoneInfo:
    # A key with dots would let `zoneinfo`, where it falls back to the tzdata package, import other packages.
    if not re.fullmatch(r"[\w+-]+(/[\w+-]+)*", key):
        raise ValueError(f"{key} is not the key of a time zone")
    return zoneinfo.ZoneInfo(key)


_STANDARD: list[tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (bytes, lambda value: base64.b64encode(value).decode(), make_bytes),
    (bytearray, lambda value: base64.b64encode(value).decode(), lambda text: bytearray(make_bytes(text))),
    (complex, repr, complex),
    (range, lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    (Fraction, lambda value: [value.numerator, value.denominator], lambda parts: Fraction(*parts)),
    (re.Pattern, lambda value: [value.pattern, value.flags], lambda parts: re.compile(parts[0], parts[1] & ~re.DEBUG)),
    (datetime.datetime, _zoned, _from_zoned(datetime.datetime)),
    (datetime.time, _zoned, _from_zoned(datetime.time)),
    (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    (datetime.timedelta, lambda value: [value.days, value.seconds, value.microseconds],
     lambda parts: datetime.timedelta(*parts)),
    (datetime.timezone, _timezone_parts, make_timezone),
    (zoneinfo.ZoneInfo, _zone_key, _zone),
    *((cls, str, cls) for cls in (
        Decimal, uuid.UUID,
        pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath,
        ipaddress.IPv4Address, ipaddress.IPv4Network, ipaddress.IPv4Interface,
        ipaddress.IPv6Address, ipaddress.IPv6Network, ipaddress.IPv6Interface)),
    (File, lambda file: file.plain, lambda parts: File.recorded(*parts)),
    (Literal, str.__str__, Literal),
    (Uid, lambda uid: uid.plain, Uid.recorded),
    (InjectArgs, lambda injected: injected.kwargs, lambda kwargs: InjectArgs(**kwargs)),
]
CODEC_OF = {cls: Codec(cls, cls.__name__, to_plain, from_plain) for cls, to_plain, from_plain in _STANDARD}
CODECS = {codec.name: codec for codec in CODEC_OF.values()}
