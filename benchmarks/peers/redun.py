"""redun with an SQLite repository and two forked worker processes."""
from __future__ import annotations

import logging

from redun import Scheduler
from redun.config import Config

from benchmarks.peers import redun_tasks
from benchmarks.peers.adapter import WORKERS, Asked


def main() -> None:
    asked = Asked.from_words()
    logging.getLogger("redun").setLevel(logging.ERROR)
    scheduler = Scheduler(config=Config({
        "backend": {"db_uri": f"sqlite:///{asked.folder}/redun.db"},
        "executors.default": {"type": "local", "mode": "process", "max_workers": str(WORKERS), "start_method": "fork"},
    }))
    scheduler.load()
    scheduler.run(redun_tasks.total([redun_tasks.child(-number) for number in range(2, 6)]))  # the pool is there from now on
    asked.timed(lambda: scheduler.run(getattr(redun_tasks, asked.workload)(asked.size)))


if __name__ == "__main__":
    main()
