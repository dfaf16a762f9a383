"""What goes between a far worker and its stand-in: frames over a stream, and what the journal takes and gives, as JSON.

A frame is one byte that says what it is, the length of what follows, and that. Whoever only passes frames on need not look
into them.
"""
from __future__ import annotations

import dataclasses
import json
import socket
import struct
from typing import Any

from ..claims import Begun, Claim, Ended, Failure, NewChain, NewTask, Recorded, Retry, Success, Use

HEADER = struct.Struct("!cI")
MOST_BYTES = 1 << 30  # of a frame; whoever announces more is no worker of ours

# From the far worker: what it asks of the journal; what its services printed; that it ended, and how.
CALL, LOG, END = b"C", b"L", b"E"
# To it: the answer; what has changed for it, and it is to be woken; whether it is to have a slot of its host.
ANSWER, FACTS, SLOT = b"A", b"F", b"S"
# Either way: the sender is still there.
ALIVE = b"."

_RECORDS: dict[str, Any] = {cls.__name__: cls for cls in
                            (Claim, Success, Failure, Retry, Use, Begun, Ended, NewTask, NewChain, Recorded)}


class Link:
    """One end of a stream of frames, for one thread at a time."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def fileno(self) -> int:
        return self._stream.fileno()

    def send(self, kind: bytes, payload: bytes) -> None:
        """Raises OSError if nobody is at the other end."""
        self._stream.sendall(HEADER.pack(kind, len(payload)) + payload)

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next frame, which is waited for; None at the end."""
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        kind, size = HEADER.unpack(head)
        payload = self._exactly(size) if size <= MOST_BYTES else None
        return None if payload is None else (kind, payload)

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                came = self._stream.recv(min(size - len(data), 1 << 20))
            except ConnectionResetError:
                return None
            if not came:
                return None
            data += came
        return bytes(data)

    def close(self) -> None:
        self._stream.close()


def packed(value: Any) -> bytes:
    """A value of those that the journal takes and gives, as JSON. Raises TypeError for any other."""
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def unpacked(data: bytes) -> Any:
    """What `packed` made."""
    return _value(json.loads(data))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    name = type(value).__name__
    if _RECORDS.get(name) is type(value):
        parts = value if isinstance(value, tuple) else [getattr(value, field.name) for field in dataclasses.fields(value)]
        return {name: [_plain(part) for part in parts]}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, tuple):
        return {"tuple": [_plain(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(part)] for key, part in value.items()]}
    raise TypeError(f"a {name} is nothing that goes over the wire")


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(part) for part in plain]
    if isinstance(plain, dict):
        [(name, parts)] = plain.items()
        if name == "dict":
            return {_value(key): _value(part) for key, part in parts}
        if name == "bytes":
            return parts.encode("latin-1")
        if name == "tuple":
            return tuple(_value(part) for part in parts)
        return _RECORDS[name](*map(_value, parts))
    return plain
