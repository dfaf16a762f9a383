"""Values as JSON that every reader reads alike, whatever a service returned or a stranger's model holds."""
from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

MAX_SAFE_INTEGER = 2 ** 53 - 1  # beyond it JSON.parse rounds
MAX_DEPTH = 100
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_encode_in_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

def compact(value: Any, encode: Callable[[Any], str] = _encode) -> str:
    """``value`` as one line of JSON, in characters that UTF-8 has a form for."""
    try:
        text = encode(value)
    except (TypeError, ValueError, RecursionError):  # what JSON has no form for
        text = encode(portable(value))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half a pair
            return _encode_in_ascii(portable(value))
    return text


def in_ascii(value: Any) -> str:
    """As `compact`, in ASCII."""
    return compact(value, _encode_in_ascii)


def integer(digits: str) -> int | dict[str, str]:
    """A whole number of a JSON text, portable: for decoders, as ``parse_int``."""
    number = int(digits)
    return number if -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER else {"$int": digits}


def portable(value: object, above: tuple[int, ...] = ()) -> Any:
    """``value`` as plain data; what JSON cannot say becomes ``{"$kind": text}``."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$num": NOT_FINITE[str(value)]}
    if isinstance(value, int):
        return value if abs(value) <= MAX_SAFE_INTEGER else {"$int": _digits(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": len(value), "b64": base64.b64encode(value[:64]).decode()}
    if id(value) in above or len(above) > MAX_DEPTH:
        return {"$cut": "a circle" if id(value) in above else f"deeper than {MAX_DEPTH}"}
    within = (*above, id(value))
    if isinstance(value, Mapping):
        return {str(key): portable(one, within) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [portable(one, within) for one in value]
    return {"$repr": repr(value)}


def _digits(number: int) -> str:
    return str(number) if number.bit_length() < 10_000 else hex(number)  # Python refuses to write longer decimals
