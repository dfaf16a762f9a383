"""Pairs of sockets over which messages arrive whole, and the end of the other side is seen.

Linux has a kind of socket for that, SOCK_SEQPACKET. macOS has none of this family, so there the length of each message goes
before it over a stream.
"""
from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence

from . import host

MOST_FDS = 2  # open files that go with one message
_LENGTH = struct.Struct("!I")
_BUFFER_BYTES = 256 * 1024  # so that what is sent is on its way at once
_REST_S = 0.001             # until the rest of a message is looked for, of which a part is there


class Stream:
    """One end of a stream, with the methods of a socket that are used of one with messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def fileno(self) -> int:
        return self._socket.fileno()

    def settimeout(self, timeout_s: float | None) -> None:
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        self._socket.close()

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        data = _LENGTH.pack(len(message)) + message
        sent = socket.send_fds(self._socket, [data], fds) if fds else self._socket.send(data)
        self._socket.sendall(data[sent:])

    def recv(self, most: int) -> bytes:
        """The next message; empty at the end. Nothing is taken before all of it is there, as a signal may raise meanwhile."""
        head = self._peek(_LENGTH.size)
        if not head:
            return b""
        size = _LENGTH.size + _LENGTH.unpack(head)[0]
        if not self._peek(size):
            return b""
        return self._socket.recv(size)[_LENGTH.size:]

    def _peek(self, size: int) -> bytes:
        """So many bytes, which stay there; empty if the other end closes before."""
        seen = -1
        while len(data := self._socket.recv(size, socket.MSG_PEEK)) < size:
            if not data or (len(data) == seen and self._is_closed()):
                return b""
            seen = len(data)
            time.sleep(_REST_S)  # a look that takes nothing cannot wait for more
        return data

    def _is_closed(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def receive(self) -> tuple[bytes, list[int]]:
        """The next message, with the files that came with it; ``(b"", [])`` at the end."""
        data, fds = b"", []
        size = _LENGTH.size
        while len(data) < size:
            came, more, _, _ = socket.recv_fds(self._socket, size - len(data), MOST_FDS)
            fds += more
            if not came:
                return b"", fds
            data += came
            if len(data) == _LENGTH.size == size:
                size += _LENGTH.unpack(data)[0]
        return data[_LENGTH.size:], list(fds)


Packets = socket.socket | Stream


def pair() -> tuple[Packets, Packets]:
    """Two ends that are connected."""
    if not host.IS_PORTABLE:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        for which in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, which, _BUFFER_BYTES)
    return Stream(ends[0]), Stream(ends[1])


def by_fd(fd: int) -> Packets:
    """An end that this process has open already."""
    end = socket.socket(fileno=fd)
    return Stream(end) if host.IS_PORTABLE else end


def send(end: Packets, message: bytes, fds: Sequence[int] = ()) -> None:
    """Send a message with open files."""
    if isinstance(end, Stream):
        end.send(message, fds)
    else:
        socket.send_fds(end, [message], fds)


def receive(end: Packets, most: int) -> tuple[bytes, list[int]]:
    """The next message, and the files that came with it, inheritable; empty at the end."""
    if isinstance(end, Stream):
        return end.receive()
    message, fds, _, _ = socket.recv_fds(end, most, MOST_FDS)
    return message, list(fds)
