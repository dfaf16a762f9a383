"""DBOS on SQLite. Steps and nested workflows run in one process, as is usual; fanned out they run in two, off a queue."""
from __future__ import annotations

import time
from types import SimpleNamespace

from dbos import DBOS, SetWorkflowID

from benchmarks.peers.adapter import CRASH, WORKERS, Asked, increment
from benchmarks.work import leave_step

QUEUE_LOOK_S = 1.0   # between two looks of the queue and of who waits for a result; the default, with which many are fastest
LOOK_S = 0.01        # the same where one result is awaited
NOTICED_S = 1.2      # until those who listen to queues have noticed a new one
RUN, QUEUE = "run-1", "queue"


def make(asked: Asked, executor: str) -> SimpleNamespace:
    """The workflows."""
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{asked.folder}/dbos.sqlite", "executor_id": executor,
                 "application_version": "1", "log_level": "WARNING"})

    @DBOS.step()
    def increment_step(number):
        return increment(number)

    @DBOS.step()
    def leave(path, number):
        return leave_step(path, number)

    @DBOS.workflow()
    def child(number):
        return increment(number)

    @DBOS.workflow()
    def startup(number):
        return increment_step(number)

    @DBOS.workflow()
    def fanout(size):
        promises = [DBOS.enqueue_workflow(QUEUE, child, number) for number in range(size)]
        return sum(promise.get_result(polling_interval_sec=QUEUE_LOOK_S) for promise in promises)

    @DBOS.workflow()
    def sequential(size):
        return sum(child(number) for number in range(size))

    @DBOS.workflow()
    def chain(length):
        hops = 0
        for _ in range(length):
            hops = increment_step(hops)
        return hops

    @DBOS.workflow()
    def nested(levels):
        return 1 + nested(levels - 1) if levels else 0

    @DBOS.workflow()
    def resume(path, size):
        return sum(leave(path, number) for number in range(size))

    return SimpleNamespace(**{name: value for name, value in locals().items() if name not in ("asked", "executor")})


def work_off_queue(asked: Asked) -> None:
    make(asked, f"worker-{asked.size}")
    DBOS.listen_queues([QUEUE])
    DBOS.launch()
    (asked.folder / f"ready-{asked.size}").touch()
    while True:
        time.sleep(60)


def start_workers(asked: Asked) -> None:
    DBOS.register_queue(QUEUE, polling_interval_sec=QUEUE_LOOK_S)
    for number in range(WORKERS):
        asked.also("worker", number)
    while len(list(asked.folder.glob("ready-*"))) < WORKERS:
        time.sleep(0.01)
    time.sleep(NOTICED_S)


def main() -> None:
    asked = Asked.from_words()
    if asked.workload == "worker":
        work_off_queue(asked)
    workflows = make(asked, "main")
    if asked.workload == "fanout":
        DBOS.listen_queues([])
    DBOS.launch()
    if asked.workload == "startup":
        asked.answer(workflows.startup(1))
    if asked.workload == "resume":
        if asked.phase == CRASH:
            with SetWorkflowID(RUN):
                DBOS.start_workflow(workflows.resume, asked.steps, asked.size)
        # Otherwise `launch` has it go on by itself.
        asked.answer(DBOS.retrieve_workflow(RUN).get_result(polling_interval_sec=LOOK_S))
    if asked.workload == "fanout":
        start_workers(asked)
    asked.timed(lambda: getattr(workflows, asked.workload)(asked.size))


if __name__ == "__main__":
    main()
