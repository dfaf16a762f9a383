"""What a front does about sinks: it has a process send to each of them while the run goes on, waits a little for them when that
has ended, and says what was not sent. Nothing of it changes how the run ends."""
from __future__ import annotations

import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from .. import host
from ..errors import FirexliteError
from ..home import find_run
from ..runlog import note
from . import Sink, sink_for
from .process import END, fork_pump
from .pump import not_sent


@dataclass
class _One:
    """One pump. heard: what it said, of which the last line counts. status: as `waitpid` has it, once it has ended."""

    sink: Sink
    pid: int
    channel: socket.socket
    heard: bytes = b""
    status: int | None = None


class Pumps:
    """The pumps of one run. told: sentences for the screen, once they were waited for."""

    def __init__(self, firex_id: str, sinks: Sequence[Sink], wait_s: float) -> None:
        self.firex_id, self._wait_s = firex_id, wait_s
        self.told: list[str] = []
        self._give_up = 0.0
        self._pumps = [_One(sink, *fork_pump(firex_id, sink)) for sink in sinks]

    @property
    def pids(self) -> set[int]:
        return {one.pid for one in self._pumps if one.status is None}

    @property
    def names(self) -> list[str]:
        """Of the sinks that are being sent to."""
        return [one.sink.name for one in self._pumps if one.status is None]

    def note_end_of(self, pid: int, status: int) -> bool:
        """Take note that a child has ended; whether it was one of these."""
        for one in self._pumps:
            if one.pid == pid:
                one.status = status
                return True
        return False

    def run_has_ended(self) -> None:
        """Tell the pumps that nothing of the run lives any more; the time that they are given begins."""
        self._give_up = time.monotonic() + self._wait_s
        for one in self._pumps:
            with suppress(OSError):
                one.channel.send(END)

    def wait(self, reap: Callable[[float], bool]) -> None:
        """Wait until all is sent, or the time is up; what was not is `told`, and noted in the log of the run.

        reap: waits at most so many seconds for children to end, of which `note_end_of` is told; False to give up.
        """
        while self.pids and (left := self._give_up - time.monotonic()) > 0 and reap(left):
            pass
        for one in self._pumps:
            if one.status is None:
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(one.pid, 0)
            self._tell(one)

    def _tell(self, one: _One) -> None:
        one.channel.setblocking(False)
        with suppress(OSError):
            while data := one.channel.recv(1 << 16):
                one.heard = (one.heard + data)[-4096:]
        one.channel.close()
        try:
            directory = find_run(self.firex_id)
            left = not_sent(directory, one.sink)
            if not left:
                return
            events = "1 event was" if left == 1 else f"{left:,} events were"
            sentence = (f"{events} not sent to {one.sink.name} ({self._why(one)}); `firexlite events {self.firex_id} --sink "
                        f"{shlex.quote(one.sink.name)}` sends {'it' if left == 1 else 'them'}")
            note(directory.logs, sentence)
        except FirexliteError as error:
            sentence = str(error)
        self.told.append(f"firexlite: {sentence}")

    def _why(self, one: _One) -> str:
        if one.status is not None and os.WIFSIGNALED(one.status):
            return f"its process was ended by {host.how_it_died(one.status)}"
        said = one.heard.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else f"there was no time for more in {self._wait_s:g} s"


def all_sinks(given: Sequence[Sink], recorded: Sequence[str]) -> list[Sink]:
    """Those that a command names and those that the run recorded, each once. Raises BadInput as `sink_for`."""
    found = {sink.name: sink for sink in given}
    for text in recorded:
        sink = sink_for(text)
        found.setdefault(sink.name, sink)
    return [*found.values()]
