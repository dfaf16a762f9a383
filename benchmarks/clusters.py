"""A Dask cluster on the loopback of this machine, which stands while runs come and go."""
from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from .processes import family, kill_family, used_s
from .scratch import PROJECT, CannotMeasure

WORKERS, THREADS = 2, 1
START_S, LOOK_S = 60.0, 0.05
END_S = 5.0

# A process of Dask that has nothing to do is to use next to no processor time: it would be counted to what is measured.
CALM = {"DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s", "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "5s"}


class Cluster:
    """A scheduler and some workers, each a process of its own, without TLS: nobody else reaches the loopback."""

    def __init__(self, folder: Path, environment: Mapping[str, str], workers: int = WORKERS, threads: int = THREADS) -> None:
        """folder: for what they write. Raises CannotMeasure if they do not come up in time."""
        self._folder, self._environment = folder, {**environment, **CALM}
        self._processes: list[subprocess.Popen] = []
        folder.mkdir()
        try:
            file = folder / "scheduler.json"
            self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
            self._wait_until(lambda: file.exists() and file.read_text().endswith("}"), "scheduler")
            self.address = json.loads(file.read_text())["address"]
            for _ in range(workers):
                self._start("worker", self.address, "--nthreads", str(threads), "--no-nanny", "--local-directory", str(folder))
            self._wait_until(lambda: self._slots() == workers * threads, "workers")
        except BaseException:
            self.close()
            raise

    def _start(self, what: str, *words: str) -> None:
        with (self._folder / "cluster.log").open("ab") as log:
            self._processes.append(subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *words, "--no-dashboard"], cwd=PROJECT,
                env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))

    def _wait_until(self, is_there, what: str) -> None:
        give_up = time.monotonic() + START_S
        while not is_there():
            if time.monotonic() > give_up or any(process.poll() is not None for process in self._processes):
                raise CannotMeasure(f"the {what} of a Dask cluster did not come up: {self._last_words()}")
            time.sleep(LOOK_S)

    def _slots(self) -> int:
        from distributed import Client

        with Client(self.address, timeout=START_S, set_as_default=False) as client:
            return sum(client.nthreads().values())

    def _last_words(self) -> str:
        return " ".join((self._folder / "cluster.log").read_text(errors="replace").splitlines()[-1:])

    def used_s(self) -> float:
        """The processor time of its processes so far, and of those below them that have ended."""
        return used_s(self.pids())

    def pids(self) -> list[int]:
        """All that belongs to it: the scheduler first, then each worker with what runs below it."""
        return [pid for process in self._processes for pid in family(process.pid)]

    def close(self) -> None:
        for process in reversed(self._processes):
            kill_family(process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)


def is_installed() -> bool:
    """Whether there is a Dask to make a cluster of."""
    from importlib.util import find_spec

    return find_spec("distributed") is not None


def of_dask(cluster: Cluster) -> list[str]:
    """The words by which a run is brought to a cluster."""
    return ["--executor", f"dask:{cluster.address}"]


def open_files(pid: int) -> int:
    """How many files and connections a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
