"""A Dask cluster of processes of its own, each of which can be killed and started again."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import kill_all, wait_until

START_S = 30


class Cluster:
    """A scheduler and workers on the loopback of this host. prefix: words before each command, to start it elsewhere."""

    def __init__(self, folder: Path, workers: int = 2, nthreads: int = 1, **env: str) -> None:
        self.folder, self.nthreads = folder, nthreads
        folder.mkdir(parents=True, exist_ok=True)
        self.env = {**os.environ, "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
                    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
                    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False", **env}
        self.env.pop("FIREXLITE_EXECUTOR", None)
        self.port = 0
        self._log = (folder / "cluster.log").open("ab")
        self.workers: list[subprocess.Popen] = []
        self.start_scheduler()
        for _ in range(workers):
            self.start_worker()
        if workers:
            self.wait_for_workers(workers)

    def _start(self, *words: str, **env: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-m", *words], cwd=self.folder, env={**self.env, **env},
                                stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True)

    def start_scheduler(self) -> None:
        """Where it was before, if there was one."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port),
                                     "--no-dashboard", "--scheduler-file", str(file))
        wait_until(lambda: file.exists() and file.read_text().endswith("}"), START_S, "scheduler")
        self.address = json.loads(file.read_text())["address"]
        self.port = int(self.address.rpartition(":")[2])

    def start_worker(self, *words: str, **env: str) -> subprocess.Popen:
        worker = self._start("distributed.cli.dask_worker", self.address, "--nthreads", str(self.nthreads), "--no-nanny",
                             "--no-dashboard", "--local-directory", str(self.folder / "scratch"), *words, **env)
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        from distributed import Client

        with Client(self.address, timeout=START_S, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=START_S)

    @property
    def executor(self) -> str:
        return f"dask:{self.address}"

    def kill(self, process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
        """The process and all below it, at one instant."""
        if number == signal.SIGKILL:
            kill_all(process)
        else:
            process.send_signal(number)
        process.wait(START_S)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                kill_all(process)
            process.wait(START_S)
        self._log.close()
