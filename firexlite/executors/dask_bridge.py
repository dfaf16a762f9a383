"""The bridge: the process of a run that speaks with a Dask scheduler, and with the pilots that this brings to its workers.

It submits a pilot for each worker that is wanted, by an id that is used once, and listens on the cluster's own protocol and TLS
for those that begin. What such a pilot and the stand-in of its far worker tell each other it passes on.
"""
from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import time
import uuid
from contextlib import suppress
from typing import Any

from .. import packets
from . import Place, dask_pilot, lease_s

try:
    import distributed
    from distributed.comm import connect, listen
    from distributed.scheduler import heartbeat_interval
    from distributed.security import Security
    from distributed.utils import get_ip
    from tornado.iostream import StreamClosedError

    _HUNG_UP = StreamClosedError, ConnectionResetError, BrokenPipeError
except ImportError:
    distributed = None  # type: ignore[assignment]

NOT_INSTALLED = "--executor dask needs Dask, which is not installed here; `pip install 'firexlite[dask]'` brings it"
CONNECT_S = 15.0      # that a scheduler has to answer
KNOCK_S = 5.0         # that a host has to say whether it listens
AGAIN_S, MOST_AGAIN_S = 0.2, 5.0  # until a lost one is looked for again
OF_QUEUE = "queue:"   # what the name of a resource begins with that a worker of a queue offers
TOO_OFTEN = 5         # pilots in a row that could not begin
_MOST = 1 << 16


class Refused(Exception):
    """It cannot go on; the sentence says why."""


class Bridge:
    """Between the runner and a cluster."""

    def __init__(self, end: packets.Packets, place: Place, orders: dict[str, Any], shipment: bytes) -> None:
        self._end, self._place, self._shipment = end, place, shipment
        self._orders = {**orders, "lease_s": lease_s()}
        self._wanted: dict[str, int] = {}             # ids of pilots that are to come, and the workers' numbers
        self._futures: dict[str, Any] = {}
        self._watching: set[asyncio.Task] = set()
        self._failures = 0
        self._has_said_lost = False
        self._cluster: Any = None
        self._connecting = asyncio.Lock()

    async def run(self) -> int:
        """To the end of the runner, or until it says so. Returns the exit code."""
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        loop.add_reader(self._end.fileno(), lambda: self._hear(heard))
        try:
            await self._connect()
        except Refused as error:
            self._tell(refused=str(error))
            return 2
        self._tell(**await self._room())
        self._keep(self._look_after_cluster())
        while "end" not in (message := await heard.get()):
            if "run" in message:
                self._orders.update(message["run"])
            elif "want" in message:
                self._keep(self._bring(message["want"], message["queue"]))
        await self._end_all()
        return 0

    def _hear(self, heard: asyncio.Queue) -> None:
        message, _ = packets.receive(self._end, _MOST)
        if not message:
            os._exit(0)  # the runner is dead: pilots see it by the end of their streams
        heard.put_nowait(json.loads(message))

    def _tell(self, fd: int | None = None, **what: object) -> None:
        with suppress(OSError):
            packets.send(self._end, json.dumps(what).encode(), [] if fd is None else [fd])

    def _keep(self, work: Any) -> None:
        """Have something done, and hear of it if it fails."""
        task = asyncio.ensure_future(work)
        self._watching.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task) -> None:
        self._watching.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._tell(refused=str(error) if isinstance(error, Refused) else
                   f"the process that speaks with {self._place} has met what it does not know ({_why(error)})")

    # --- the scheduler ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        """Raises Refused if there is no such scheduler, or it will not have us."""
        address = self._place.address
        self._security: Any = Security()
        if address.startswith("tls://"):
            self._refuse_without_certificates()
        if not address:
            from .dask_local import LocalCluster

            try:
                self._cluster = LocalCluster(int(self._orders["slots"]))
            except ImportError as error:
                raise Refused(NOT_INSTALLED) from error
            self._security = self._cluster.security
            address = await self._cluster.start()
        try:
            if self._cluster is None:
                _knock(address)
            self._client = await self._new_client(address, CONNECT_S)
        except (OSError, ValueError, RuntimeError) as error:
            raise Refused(f"the Dask scheduler {address} cannot be used: {_why_not_connected(address, error)}") from error
        scheme, _, where = self._client.scheduler.address.partition("://")
        here = get_ip(where.rpartition(":")[0].strip("[]"), int(where.rpartition(":")[2]))
        listening = listen(f"{scheme}://{here}:0", self._meet, deserialize=False,
                           **self._security.get_listen_args("client"))
        self._listener = await listening
        try:
            own = await connect(self._listener.contact_address, timeout=KNOCK_S,
                                **self._security.get_connection_args("client"))
            own.abort()
        except OSError as error:
            raise Refused(f"workers could not call back to this host: {_why(error)}; the certificate that Dask's configuration "
                          "names for the client has to be good for a server too") from error
        await self._ship()

    async def _new_client(self, address: str, timeout_s: float) -> Any:
        """A connection to a scheduler. Raises OSError, ValueError or RuntimeError."""
        return await distributed.Client(address, asynchronous=True, security=self._security, timeout=timeout_s,
                                        name="firexlite", set_as_default=False)

    def _refuse_without_certificates(self) -> None:
        files = {"ca-file": self._security.tls_ca_file, "client.cert": self._security.tls_client_cert,
                 "client.key": self._security.tls_client_key}
        missing = [f"distributed.comm.tls.{name}" for name in ("ca-file", "client.cert") if not files[name]]
        if missing:
            raise Refused(f"{self._place.address} needs a certificate of ours, and Dask's configuration does not name it: "
                          f"{', '.join(missing)}")
        for name, file in files.items():
            if file and "\n" not in file and not os.access(file, os.R_OK):  # it may be the certificate itself
                raise Refused(f"'{file}', which Dask's configuration names as distributed.comm.tls.{name}, cannot be read")

    async def _room(self) -> dict[str, Any]:
        """How many tasks the workers that are there run at once, and how many of a queue those that are there for it."""
        if self._cluster is not None:
            return {"slots": self._orders["slots"], "queues": {}}
        info = await self._client.scheduler.identity(n_workers=-1)
        queues: dict[str, int] = {}
        for worker in info["workers"].values():
            for name, count in worker.get("resources", {}).items():
                if name.startswith(OF_QUEUE):
                    queues[name.removeprefix(OF_QUEUE)] = queues.get(name.removeprefix(OF_QUEUE), 0) + int(count)
        return {"slots": sum(worker["nthreads"] for worker in info["workers"].values()), "queues": queues}

    async def _ship(self) -> None:
        """The code of the services to all workers there are and will be; nothing of it is imported by Dask."""
        name = self._orders["shipment"]
        await self._client.register_plugin(dask_pilot.code(name, self._shipment), name=name)

    async def _reconnect(self) -> None:
        """Wait for the scheduler to be back. What was submitted to one that died is unknown to the next."""
        async with self._connecting:
            pause_s = AGAIN_S
            while self._client.status != "running":
                if not self._has_said_lost:
                    self._has_said_lost = True
                    self._tell(say=f"the Dask scheduler {self._place.address} is lost; the run goes on when it is back")
                await asyncio.sleep(pause_s)  # nobody tells when a scheduler is there again
                pause_s = min(2 * pause_s, MOST_AGAIN_S)
                with suppress(Exception):
                    await self._client.close(timeout=1)
                with suppress(OSError, ValueError):
                    self._client = await self._new_client(self._place.address, MOST_AGAIN_S)
                    await self._ship()
            if self._has_said_lost:
                self._has_said_lost = False
                self._tell(say=f"the Dask scheduler {self._place.address} is back")

    async def _look_after_cluster(self) -> None:
        """Notice a scheduler that is lost; and have it give up workers that are silent, to it too, while pilots are waited for.

        It would wait for minutes, and meanwhile bring them pilots.
        """
        while True:
            await asyncio.sleep(lease_s() / 2)
            await self._reconnect()
            if not self._wanted:
                continue
            with suppress(OSError):
                workers = (await self._client.scheduler.identity(n_workers=-1))["workers"]
                patience_s = lease_s() + 3 * heartbeat_interval(len(workers))
                # By the scheduler's clock, which may be another than ours; of a single worker nobody can tell.
                latest = max((worker["last_seen"] for worker in workers.values()), default=0.0)
                for address in [address for address, worker in workers.items() if worker["last_seen"] < latest - patience_s]:
                    self._tell(say=f"the Dask worker {address} is silent for {patience_s:.0f} s, and given up")
                    await self._client.scheduler.unregister(address=address, stimulus_id=f"firexlite-{time.time()}",
                                                            close=False)

    # --- pilots ------------------------------------------------------------------------------------------------------------

    async def _bring(self, number: int, queue: str) -> None:
        """Have a pilot come for a number, with a new one in the place of each that cannot.

        queue: that it is for, whose tasks only workers with the resource ``queue:NAME`` run; empty for all others.
        """
        while True:
            pilot = uuid.uuid4().hex
            self._wanted[pilot] = number
            failed: object = None
            try:
                future = self._client.submit(dask_pilot.fly, pilot, self._listener.contact_address, pure=False,
                                             key=f"firexlite-pilot-{pilot}", retries=0,
                                             resources={OF_QUEUE + queue: 1} if queue else None)
                self._futures[pilot] = future
                await future.result()
            except asyncio.CancelledError as error:  # the scheduler forgot it, or we are to end
                if (task := asyncio.current_task()) is not None and getattr(task, "cancelling", lambda: 0)():
                    raise
                failed = error
            except Exception as error:
                failed = error
            finally:
                self._futures.pop(pilot, None)
            if self._wanted.pop(pilot, None) is None:
                return  # it came
            await self._has_failed(failed)

    async def _has_failed(self, error: object) -> None:
        """Raises Refused if no other pilot will fare better."""
        if self._client.status != "running" or isinstance(error, asyncio.CancelledError):
            await self._reconnect()
            await asyncio.sleep(AGAIN_S)
            return
        self._failures += 1
        if self._failures >= TOO_OFTEN:
            raise Refused(f"no worker could begin on {self._place}: {_why(error)}")
        await asyncio.sleep(AGAIN_S)

    async def _meet(self, comm: Any) -> None:
        """One that has begun."""
        try:
            hello = await asyncio.wait_for(comm.read(), CONNECT_S)
            if (number := self._wanted.get(str(hello["pilot"]))) is None:
                await comm.write({"not wanted": True})  # it was brought twice, or its run has gone on without it
                return
            if (theirs := hello["software"]) != (ours := dask_pilot.software()):
                self._tell(say=f"{hello['host']} has {theirs}, and this is {ours}: no task runs there")
                await comm.write({"refused": f"it is sent for by {ours}"})
                return
            await comm.write({"orders": json.dumps(self._orders)})
            answer = await asyncio.wait_for(comm.read(), self._orders["import_timeout_s"] + CONNECT_S)
            if "lacks" in answer:
                await comm.write({"code": self._shipment})
                answer = await asyncio.wait_for(comm.read(), self._orders["import_timeout_s"] + CONNECT_S)
            if "refused" in answer:
                self._wanted.pop(hello["pilot"], None)
                self._tell(refused=f"the services could not be loaded on {hello['host']}: {answer['refused']}")
                return
            if self._wanted.pop(hello["pilot"], None) is None:
                return
            self._failures = 0
            await self._pass_on(comm, number, {"host": hello["host"], "where": hello["where"]})
        except (OSError, asyncio.TimeoutError, KeyError, TypeError):
            pass  # a stranger, or one that is lost: it is brought again if it was ours
        finally:
            comm.abort()

    async def _pass_on(self, comm: Any, number: int, about: dict[str, str]) -> None:
        """Between a pilot and the stand-in, until either is gone."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._tell(theirs.fileno(), begun=number, about=about)
        theirs.close()
        await dask_pilot.relay(comm, *await asyncio.open_connection(sock=ours), lease_s())

    async def _end_all(self) -> None:
        for task in self._watching:
            task.cancel()
        with suppress(Exception):
            await asyncio.wait_for(self._client.cancel(list(self._futures.values()), force=True), 2)
        with suppress(Exception):
            await asyncio.wait_for(self._client.unregister_worker_plugin(self._orders["shipment"]), 2)
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(timeout=1), 2)
        if self._cluster is not None:
            await self._cluster.end()


def _knock(address: str) -> None:
    """Raise OSError at once if nobody is there, for whom Dask would wait."""
    host, _, port = address.partition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _why(error: object) -> str:
    """What went wrong, by its innermost reason."""
    found = _innermost(error)
    text = str(found).strip() or type(found).__name__
    return text.splitlines()[0] if isinstance(found, OSError) else f"{type(found).__name__}: {text.splitlines()[0]}"


def _innermost(error: object) -> object:
    """But for those that only say that time was up: what was waited for is said around them."""
    while (isinstance(error, BaseException) and (cause := error.__cause__ or error.__context__) is not None
           and not isinstance(cause, (TimeoutError, asyncio.TimeoutError, asyncio.CancelledError))):
        error = cause
    return error


def _why_not_connected(address: str, error: Exception) -> str:
    """Why there is no connection to a scheduler, and what can be done."""
    found = _innermost(error)
    why, reason = _why(error), str(getattr(found, "reason", ""))
    if not address.startswith("tls://") or not isinstance(found, (ssl.SSLError, ValueError, *_HUNG_UP)):
        return f"{why}; start it with `dask scheduler`, or see to its address"
    if reason == "WRONG_VERSION_NUMBER" or not isinstance(found, OSError):
        return "what answers there does not speak TLS"
    if isinstance(found, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted here: {found.verify_message}"
    elif isinstance(found, (ssl.SSLEOFError, *_HUNG_UP)) or "ALERT" in reason:
        why = "it hung up, as it does on a certificate that another authority has signed"
    return (f"{why}; Dask's configuration names, below distributed.comm.tls, the authority that both sides trust, and our "
            "certificate")


def cross(end: packets.Packets, place: Place, orders: dict[str, Any], shipment: bytes) -> int:
    """The life of a bridge. Returns its exit code."""
    if distributed is None:
        packets.send(end, json.dumps({"refused": NOT_INSTALLED}).encode())
        return 2
    dask_pilot.be_calm()
    return asyncio.run(Bridge(end, place, orders, shipment).run())
