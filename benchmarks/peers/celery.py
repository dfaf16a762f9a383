"""Celery with Redis. A pool of forked workers, one more than two, or a parent that waits would hold one of them."""
from __future__ import annotations

import os
import socket
import subprocess
import time
from types import SimpleNamespace

from celery import Celery
from celery import chain as celery_chain
from celery.result import allow_join_result

from benchmarks.peers.adapter import SYNCED, WARM_UP, WORKERS, Asked, increment

ADDRESS = "BENCH_REDIS"  # in the environment: where Redis is


def start_redis(asked: Asked) -> str:
    """A Redis of our own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    synced = ["--appendonly", "yes", "--appendfsync", "always"] if os.environ.get(SYNCED) else []
    with (asked.folder / "log").open("ab") as log:
        subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(asked.folder), *synced],
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return f"redis://127.0.0.1:{port}/0"
        except OSError:
            time.sleep(0.01)


def make(address: str) -> SimpleNamespace:
    """The application and its tasks."""
    app = Celery("bench", broker=address, backend=address)
    app.conf.update(task_acks_late=bool(os.environ.get(SYNCED)), worker_prefetch_multiplier=4,
                    broker_connection_retry_on_startup=True, task_reject_on_worker_lost=True)

    def result(promise):
        with allow_join_result():
            return promise.get(interval=0.01)

    @app.task(name="child")
    def child(number):
        return increment(number)

    @app.task(name="fanout")
    def fanout(size):
        return sum(result(promise) for promise in [child.delay(number) for number in range(size)])

    @app.task(name="sequential")
    def sequential(size):
        return sum(result(child.delay(number)) for number in range(size))

    return SimpleNamespace(app=app, result=result, child=child, fanout=fanout, sequential=sequential)


def main() -> None:
    asked = Asked.from_words()
    os.environ["TMPDIR"] = str(asked.folder)  # its pool leaves folders there
    if asked.workload == "worker":
        make(os.environ[ADDRESS]).app.worker_main(
            ["worker", "-c", str(asked.size), "--loglevel", "ERROR", "--without-gossip", "--without-mingle",
             "--without-heartbeat", "-n", "worker@bench"])
        return
    os.environ[ADDRESS] = start_redis(asked)
    celery = make(os.environ[ADDRESS])
    asked.also("worker", WORKERS + 1)
    for promise in [celery.child.delay(number) for number in range(WARM_UP)]:
        celery.result(promise)
    asked.timed(lambda: chain(celery, asked.size) if asked.workload == "chain"
                else celery.result(getattr(celery, asked.workload).delay(asked.size)))


def chain(celery: SimpleNamespace, length: int) -> int:
    hops = [celery.child.s(0), *(celery.child.s() for _ in range(length - 1))]
    return celery.result(celery_chain(*hops).apply_async())


if __name__ == "__main__":
    main()
