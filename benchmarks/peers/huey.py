"""huey with SqliteHuey: a consumer of forked workers. One more than two, or a parent that waits would hold one of them."""
from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

from huey import SqliteHuey

from benchmarks.peers.adapter import ABANDONED_S, CRASH, WARM_UP, WORKERS, Asked, increment
from benchmarks.work import leave_step

LOOK_S = 0.001  # between two looks of the consumer and of who waits for a result, by default up to 10 s and 1 s; fastest so


def make(folder: Path) -> SimpleNamespace:
    """The queue and its tasks."""
    queue = SqliteHuey("bench", filename=str(folder / "huey.db"))

    def result(promise):
        return promise.get(blocking=True, max_delay=LOOK_S)

    @queue.task(name="child")
    def child(number):
        return increment(number)

    @queue.task(name="step")
    def step(path, number):
        return leave_step(path, number)

    @queue.task(name="fanout")
    def fanout(size):
        return sum(result(promise) for promise in [child(number) for number in range(size)])

    @queue.task(name="sequential")
    def sequential(size):
        return sum(result(child(number)) for number in range(size))

    return SimpleNamespace(queue=queue, result=result, child=child, step=step, fanout=fanout, sequential=sequential)


def consume(huey: SimpleNamespace, workers: int) -> None:
    huey.queue.create_consumer(workers=workers, worker_type="process", periodic=False, check_worker_health=False,
                               initial_delay=LOOK_S, max_delay=LOOK_S).run()


def resume(huey: SimpleNamespace, asked: Asked) -> None:
    """huey has no run: the tasks are in the queue, and who enqueued them remembers their ids."""
    ids = asked.folder / "ids.json"
    if asked.phase == CRASH:
        ids.write_text(json.dumps([huey.step(asked.steps, number).id for number in range(asked.size)]))
        asked.also("consumer", WORKERS).wait()
    asked.also("consumer", WORKERS)
    there, ended = 0, time.time()
    while there < asked.size and time.time() - ended < ABANDONED_S:
        time.sleep(LOOK_S)
        if there < (now_there := huey.queue.storage.result_store_size()):
            there, ended = now_there, time.time()
    if there == asked.size:
        asked.answer(sum(huey.queue.result(each) for each in json.loads(ids.read_text())))
    asked.answer(asked.expected, end=ended)  # what was in flight is lost: its steps are counted by their traces


def main() -> None:
    asked = Asked.from_words()
    huey = make(asked.folder)
    if asked.workload == "consumer":
        consume(huey, asked.size)
    elif asked.workload == "resume":
        resume(huey, asked)
    else:
        asked.also("consumer", WORKERS + 1)
        for promise in [huey.child(number) for number in range(WARM_UP)]:
            huey.result(promise)
        asked.timed(lambda: chain(huey, asked.size) if asked.workload == "chain"
                    else huey.result(getattr(huey, asked.workload)(asked.size)))


def chain(huey: SimpleNamespace, length: int) -> int:
    pipeline = huey.child.s(0)
    for _ in range(length - 1):
        pipeline = pipeline.then(huey.child)
    return huey.result(list(huey.queue.enqueue(pipeline))[-1])


if __name__ == "__main__":
    main()
