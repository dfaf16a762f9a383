"""The pilot: what a Dask worker runs, as a task with nothing but an id, to have a place for a far worker.

It calls back to the bridge that sent for it, over Dask's own protocol and TLS, and is told there what it is for. The outpost of
that run, a process of its own, forks the far worker; the pilot passes on what that and its stand-in tell each other. While a
far worker waits for children its pilot gives up its thread, so that others may be brought.
"""
from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import packets
from ..version import __version__
from . import wire

LINGER_S = 10.0   # that an outpost without workers is kept
END_S = 10.0      # that a far worker has to end when nobody is there for whom it works
_CHUNK = 1 << 16
_KILLED = {"status": int(signal.SIGKILL), "stack": ""}  # how a far worker has ended whose outpost has
_MOST_FRAMES = 64  # that wait to be sent, before what is printed has to wait


def fly(pilot: str, address: str) -> None:
    """The task that Dask runs, in a thread of its worker: to the end of the far worker."""
    from distributed import get_worker
    from distributed.threadpoolexecutor import rejoin
    from distributed.worker import secede

    worker = get_worker()
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    loop: Any = worker.loop
    flight = asyncio.run_coroutine_threadsafe(_fly(worker, pilot, address, told.put), loop.asyncio_loop)
    flight.add_done_callback(lambda _: told.put("end"))
    is_in = True
    while (what := told.get()) != "end":
        if what == "0" and is_in:
            secede()
            is_in = False
        elif what == "1" and not is_in:
            rejoin()
            is_in = True
    flight.result()


async def _fly(worker: Any, pilot: str, address: str, tell_thread: Any) -> None:
    from distributed.comm import connect
    from distributed.core import Status

    comm = await connect(address, deserialize=False, **worker.security.get_connection_args("worker"))
    try:
        await comm.write({"pilot": pilot, "host": socket.gethostname(), "where": worker.address, "software": software()})
        answer = await comm.read()
        if "orders" not in answer:
            if "refused" in answer:
                raise RuntimeError(f"{software()} on {socket.gethostname()} is of no use: {answer['refused']}")
            return
        orders = json.loads(answer["orders"])
        if not (file := Path(worker.local_directory) / orders["shipment"]).exists():
            await comm.write({"lacks": "code"})  # the worker, or its scheduler, came when Dask had spread it already
            _write_whole(file, (await comm.read())["code"])
        outpost = _Outpost.of(worker, orders, address)
        refused = await asyncio.shield(outpost.refused)
        if worker.status not in (Status.running, Status.paused) or (refused is not None and not file.exists()):
            # It would lose what it began now, and throws away what it was sent; so another worker is to have the pilot.
            raise RuntimeError(f"the Dask worker {worker.address} ends")
        if refused is not None:
            await comm.write({"refused": refused})
            return
        await comm.write({"ready": True})
        await outpost.host(comm, tell_thread)
        with suppress(Exception):
            await asyncio.wait_for(comm.close(), END_S)  # with what it has not sent yet
    finally:
        comm.abort()


def _write_whole(file: Path, data: bytes) -> None:
    """So that others find all of it or nothing."""
    draft = file.with_name(f"{file.name}.{os.urandom(4).hex()}")
    draft.write_bytes(data)
    draft.replace(file)


class _Outpost:
    """The process of one run on this host, as the pilots have it."""

    kept: dict[str, _Outpost] = {}

    @classmethod
    def of(cls, worker: Any, orders: dict[str, Any], address: str) -> _Outpost:
        """That of a run, which is started if there is none."""
        key = f"{orders['firex_id']}-{orders['epoch']}-{address}-{worker.address}"
        if (outpost := cls.kept.get(key)) is None:
            outpost = cls.kept[key] = cls(key, worker, orders)
            outpost.refused = asyncio.ensure_future(outpost._started())
        outpost.guests += 1  # also if it turns out to be of no use
        return outpost

    def __init__(self, key: str, worker: Any, orders: dict[str, Any]) -> None:
        self.key, self.worker, self.shipment, self.guests = key, worker, orders["shipment"], 0
        self.refused: asyncio.Future[str | None]  # why it is of no use; known when it has been started
        self._numbers, self._has_gone = 0, False
        self._ended: dict[int, asyncio.Future] = {}
        self._lease_s = orders["lease_s"]     # the run's: what is patience here may be too long for it
        self._scratch = Path(worker.local_directory) / f"firexlite-{orders['firex_id']}-{os.urandom(4).hex()}"
        self._orders = {**orders, "shipment": str(Path(worker.local_directory) / orders["shipment"])}

    async def _started(self) -> str | None:
        try:
            return await self._start()
        except BaseException:
            self.kept.pop(self.key, None)  # the next pilot may fare better
            raise

    async def _start(self) -> str | None:
        loop = asyncio.get_running_loop()
        self._scratch.mkdir(mode=0o700)
        self._control, theirs = packets.pair()
        with tempfile.TemporaryFile(dir=self._scratch) as orders:  # it has no name: what is masked elsewhere is in it
            orders.write(json.dumps(self._orders).encode())
            orders.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "firexlite", "--outpost", str(theirs.fileno()), str(self._scratch)],
                pass_fds=[theirs.fileno()], stdin=orders)
        theirs.close()
        self._ready: asyncio.Future[str | None] = loop.create_future()
        loop.add_reader(self._control.fileno(), self._hear)
        try:
            refused = await asyncio.wait_for(asyncio.shield(self._ready), self._orders["import_timeout_s"])
        except asyncio.TimeoutError:
            refused = f"importing them has not finished after {self._orders['import_timeout_s']:g} s"
        if refused is not None:
            await self.close()
        return refused

    def _hear(self) -> None:
        message, _ = packets.receive(self._control, _CHUNK)
        if not message:
            self._is_gone()
            return
        told = json.loads(message)
        if "ended" in told:
            self._set(self._ended[told["ended"]], {"status": told["status"], "stack": told["stack"]})
        else:
            self._set(self._ready, told.get("refused"))

    def _is_gone(self) -> None:
        """The process has ended, or is about to."""
        self._has_gone = True
        self.kept.pop(self.key, None)
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._set(self._ready, f"the process that imports them ended by exit status {self._process.poll()}")
        for ended in self._ended.values():
            self._set(ended, _KILLED)

    @staticmethod
    def _set(future: asyncio.Future, value: Any) -> None:
        if not future.done():
            future.set_result(value)

    def _tell(self, fds: tuple[int, ...] = (), **what: object) -> None:
        with suppress(OSError):
            packets.send(self._control, json.dumps(what).encode(), fds)

    async def host(self, comm: Any, tell_thread: Any) -> None:
        """Have a far worker work, to its end."""
        loop = asyncio.get_running_loop()
        number, self._numbers = self._numbers, self._numbers + 1
        ended = self._ended[number] = loop.create_future()
        ours, theirs = socket.socketpair()
        output, pipe = os.pipe()
        os.set_blocking(output, False)
        self._tell((theirs.fileno(), pipe), begin=number)
        if self._has_gone:  # since this pilot found it ready; who is told only later of its end finds this one then
            self._set(ended, _KILLED)
        theirs.close()
        os.close(pipe)
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)

        def by_the_way(kind: bytes, payload: bytes) -> bool:
            """What is not for the far worker itself."""
            if kind == wire.FACTS:
                interrupts, facts = wire.unpacked(payload)
                self._tell(facts=number, interrupts=interrupts, are=facts)
            elif kind == wire.SLOT:
                tell_thread(payload.decode())
            return kind in (wire.FACTS, wire.SLOT)

        try:
            await relay(comm, reader, writer, self._lease_s, by_the_way, output, ended)
            if not ended.done():  # nobody is there any more for whom it works
                self._tell(kill=number)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.shield(ended), END_S)
        finally:
            os.close(output)
            writer.close()
            self._ended.pop(number, None)
            self.guests -= 1
            loop.call_later(LINGER_S, self._close_if_empty)

    def _close_if_empty(self) -> None:
        if not self.guests:
            self._closing = asyncio.ensure_future(self.close())

    async def close(self) -> None:
        """End its process, with all below it, and take away what it has left. Once more does nothing."""
        if self._control.fileno() < 0:
            return
        self._is_gone()
        self._control.close()  # by which it ends
        await asyncio.to_thread(self._take_away)

    def _take_away(self) -> None:
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


async def relay(comm: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lease_s: float,
                by_the_way: Any = None, output: int | None = None, ended: asyncio.Future | None = None) -> None:
    """Pass frames between a connection of Dask and a local stream, until one of both is gone or gives no sign of life.

    lease_s: without one, after which the other side is lost; the same on both sides.
    by_the_way: takes a frame that is not for the stream, and says so. output: a pipe from which more is to be sent; what is in
    it goes before any frame from the stream. ended: how the worker at the stream has ended, which is sent last.
    """
    from distributed.comm.core import CommClosedError

    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
    last_heard = time.monotonic()

    def printed() -> None:
        with suppress(BlockingIOError):
            if data := os.read(output, _CHUNK):  # type: ignore[arg-type]
                frames.put_nowait((wire.LOG, data))
                if frames.qsize() < _MOST_FRAMES:
                    return
        loop.remove_reader(output)  # type: ignore[arg-type]

    def all_that_is_printed() -> None:
        with suppress(BlockingIOError):
            while output is not None and (data := os.read(output, _CHUNK)):
                frames.put_nowait((wire.LOG, data))

    async def outwards() -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind, size = wire.HEADER.unpack(await reader.readexactly(wire.HEADER.size))
                payload = await reader.readexactly(size)
                all_that_is_printed()
                frames.put_nowait((kind, payload))
        if ended is not None:
            how = await ended
            all_that_is_printed()
            frames.put_nowait((wire.END, wire.packed(how)))
        frames.put_nowait((b"", b""))

    async def send() -> None:
        with suppress(CommClosedError, OSError):
            while True:
                try:
                    kind, payload = await asyncio.wait_for(frames.get(), lease_s / 3)
                except asyncio.TimeoutError:
                    kind, payload = wire.ALIVE, b""
                if not kind:
                    return
                await comm.write([kind, payload])
                if output is not None and not frames.qsize():
                    loop.add_reader(output, printed)

    async def inwards() -> None:
        nonlocal last_heard
        with suppress(CommClosedError, OSError, ValueError):
            while True:
                kind, payload = await comm.read()
                last_heard = time.monotonic()
                if kind == wire.ALIVE or (by_the_way is not None and by_the_way(kind, payload)):
                    continue
                writer.write(wire.HEADER.pack(kind, len(payload)))
                writer.write(payload)
                await writer.drain()

    async def lease() -> None:
        while (left := last_heard + lease_s - time.monotonic()) > 0:
            await asyncio.sleep(left)

    work = [asyncio.ensure_future(part()) for part in (outwards, send, inwards, lease)]
    try:
        await asyncio.wait(work[1:], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for part in work:
            part.cancel()
        if output is not None:
            loop.remove_reader(output)
        with suppress(Exception):
            writer.close()


def software() -> str:
    """What has to be the same on both sides."""
    return f"firexlite {__version__} with Python {sys.version_info.major}.{sys.version_info.minor}"


def code(name: str, data: bytes) -> Any:
    """What brings a file to every worker there is and will be, as Dask's `upload_file` does; with it goes what is there of its
    run, when that ends or the worker does."""
    from distributed.diagnostics.plugin import UploadFile

    class Code(UploadFile):
        def __init__(self) -> None:
            self.filename, self.data, self.load = name, data, False

        async def teardown(self, worker: Any) -> None:
            from firexlite.executors.dask_pilot import leave

            await leave(worker, self.filename)

    return Code()


async def leave(worker: Any, shipment: str) -> None:
    """End what a worker has of a run."""
    kept = [outpost for outpost in _Outpost.kept.values() if outpost.shipment == shipment and outpost.worker is worker]
    await asyncio.gather(*(outpost.close() for outpost in kept))
    (Path(worker.local_directory) / shipment).unlink(missing_ok=True)


def be_calm() -> None:
    """Settings under which a process of Dask that has nothing to do hardly does anything; and it keeps its logs to itself."""
    import dask

    dask.config.set({"distributed.admin.system-monitor.interval": "10s", "distributed.admin.tick.interval": "1s",
                     "distributed.worker.profile.enabled": False, "distributed.worker.memory.monitor-interval": "5s"})
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
