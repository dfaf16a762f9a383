"""`firexlite`, one process of which waits at its birth until strace looks on: `python traced.py WHICH FIFO ARGUMENT...`

WHICH is `front`, `runner` or `worker N`, the Nth that the runner forks. It writes its pid into FIFO and goes on when it
is traced. Nobody else is, so that strace counts the calls of this process alone and slows down no other.
"""
from __future__ import annotations

import ctypes
import os
import sys
import time

_PR_SET_PTRACER, _ANY = 0x59616D61, ctypes.c_ulong(-1)
_NAMES = ["front", "runner", "worker {}"]


def main() -> None:
    which, fifo = sys.argv[1:3]
    sys.argv[1:3] = []
    born = _Births(which, fifo)
    os.register_at_fork(before=born.count_one, after_in_child=born.go_down)
    born.wait_if_chosen()
    from firexlite.__main__ import main as firexlite
    firexlite()


class _Births:
    """Knows which process of a run this one is: the front forks the runner, which forks the workers."""

    def __init__(self, which: str, fifo: str) -> None:
        self.which, self.fifo = which, fifo
        self.depth = self.children = 0

    def count_one(self) -> None:
        self.children += 1

    def go_down(self) -> None:
        self.depth += 1
        self.wait_if_chosen()
        self.children = 0

    def wait_if_chosen(self) -> None:
        if self.depth < len(_NAMES) and _NAMES[self.depth].format(self.children) == self.which:
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)  # or Yama allows it to our ancestors only
            with open(self.fifo, "w") as fifo:
                fifo.write(str(os.getpid()))
            while not _is_traced():
                time.sleep(0.001)


def _is_traced() -> bool:
    with open("/proc/self/status") as file:
        return any(line.startswith("TracerPid:") and line.split()[1] != "0" for line in file)


if __name__ == "__main__":
    main()
