"""Commands with a real terminal before them: what it shows, and the keys that a person presses."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import LIMIT_S, Command, kill_all


class Terminal:
    """A command with a terminal of its own, as stdin, stdout and stderr, whose foreground it is."""

    def __init__(self, firexlite: Command, words: tuple[object, ...], columns: int, env: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "firexlite", *map(str, words)], cwd=firexlite.folder, start_new_session=True,
            env={**firexlite.env, "TERM": "xterm", **env}, stdin=theirs, stdout=theirs, stderr=theirs,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self._shown = b""

    @property
    def screen(self) -> str:
        """All that was written to it so far."""
        return self._shown.decode().replace("\r\n", "\n")

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def press_until_it_ends(self, keys: bytes, limit_s: float = 20.0) -> None:
        """As somebody does who sees for some seconds that nothing happens."""
        pressed, give_up = time.monotonic(), time.monotonic() + limit_s
        while self.process.poll() is None and time.monotonic() < give_up:
            self._read(0.1)
            if time.monotonic() > pressed + 3:
                pressed = time.monotonic()
                with contextlib.suppress(OSError):
                    self.press(keys)

    def press_ctrl_c(self) -> None:
        self.press(b"\x03")

    def read_until(self, pattern: str, limit_s: float = 20.0) -> str:
        """Read until a pattern stands on the screen; returns the screen."""
        give_up = time.monotonic() + limit_s
        while not re.search(pattern, self.screen):
            if time.monotonic() > give_up or not self._read(0.1):
                pytest.fail(f"{pattern!r} was not shown: {self.screen!r}")
        return self.screen

    def finish(self, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """Read to the end; returns the exit code, and the screen."""
        give_up = time.monotonic() + limit_s
        while self._read(0.1):
            if time.monotonic() > give_up:
                pytest.fail(f"it did not end within {limit_s} s: {self.screen!r}")
        return self.process.wait(timeout=20), self.screen

    def _read(self, wait_s: float) -> bool:
        """Read what there is; False when nobody has the other end open any more."""
        if not select.select([self._ours], [], [], wait_s)[0]:
            return True
        try:
            part = os.read(self._ours, 1 << 16)
        except OSError as error:
            assert error.errno == errno.EIO
            return False
        self._shown += part
        return bool(part)

    def close(self) -> None:
        if self.process.poll() is None:
            kill_all(self.process)
            self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(firexlite: Command) -> Iterator[Callable[..., Terminal]]:
    """Starts a command with a terminal before it: ``terminal("show", "last", columns=80, NO_COLOR="1")``."""
    started: list[Terminal] = []

    def start(*words: object, columns: int = 160, **env: str) -> Terminal:
        started.append(Terminal(firexlite, words, columns, env))
        return started[-1]

    yield start
    for one in started:
        one.close()
