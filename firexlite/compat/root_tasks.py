"""`firexapp.tasks.root_tasks`: the service that FireX runs each submitted chain with. Here a run needs none above its chain."""
from __future__ import annotations

from typing import Any

from ..application import Service
from ..services import Task
from ..signatures import InjectArgs
from .celery_app import app

MODULE = "firexapp.tasks.root_tasks"


@app.task(name=f"{MODULE}.RootTask", bind=True, returns=("chain_results", "unsuccessful_services"))
def RootTask(self: Task, chain: str, **chain_args: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Run services, named as `--chain` names them, as children; succeeds whatever comes of them.

    Arguments:
        chain: the names, separated by commas.
    """
    work: Any = InjectArgs(chain=chain, **chain_args)
    for service in app.get_app_tasks(chain):
        work = work | service.s()
    promise = self.enqueue_child(work, block=True, raise_exception_on_failure=False)
    unsuccessful: dict[str, list[str]] = {}
    for member in promise._members():
        if member.state != "succeeded":
            kind = "failed" if member.state == "failed" else "not_run"
            unsuccessful.setdefault(kind, []).append(member.service.rpartition(".")[2])
    return promise.results(keys_only=True, children=False, parents=True), unsuccessful


def get_configured_root_task() -> Service:
    return RootTask
