"""`--executor dask:local`: a Dask cluster on this machine, for one run: a scheduler within the bridge, and one worker.

Its certificates are made for it and thrown away: other users of the machine can reach the loopback too.
"""
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from .. import host

ENDS_S = 2.0  # that its worker has to end


class LocalCluster:
    """Made for as many tasks at once as the run has slots."""

    def __init__(self, slots: int) -> None:
        """Raises ImportError without `cryptography`."""
        from distributed.security import Security

        self._slots, self._ends = slots, False
        self.security: Any = Security.temporary()

    async def start(self) -> str:
        """The address of the scheduler. Raises OSError."""
        import dask
        from distributed import Scheduler

        dask.config.set({"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []})
        self._scheduler: Any = await Scheduler(host="tls://127.0.0.1", port=0, dashboard=False, security=self.security,
                                               dashboard_address="127.0.0.1:0")  # or it would listen to all the world
        self._start_worker()
        self._keeper = asyncio.ensure_future(self._keep_worker())
        return self._scheduler.address

    def _start_worker(self) -> None:
        bridge = os.getpid()
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", self._scheduler.address, "--nthreads", str(self._slots),
             "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
                 "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
                 "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
                 "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
                 "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": self.security.tls_ca_file,
                 "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": self.security.tls_worker_cert,
                 "DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY": self.security.tls_worker_key},
            preexec_fn=lambda: host.die_with_parent(bridge, signal.SIGKILL))

    async def _keep_worker(self) -> None:
        """Start another in the place of one that dies."""
        while not self._ends:
            await asyncio.get_running_loop().run_in_executor(None, self._worker.wait)
            if not self._ends:
                self._start_worker()

    async def end(self) -> None:
        self._ends = True
        with suppress(ProcessLookupError):
            self._worker.terminate()  # so that it takes away the folder that it has made
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._keeper), ENDS_S)
        with suppress(ProcessLookupError):
            self._worker.kill()
        with suppress(Exception):
            await asyncio.wait_for(self._scheduler.close(), 2)
