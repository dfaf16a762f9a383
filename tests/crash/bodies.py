"""What the services of the crash lab do: the program in `program.json` of the working directory (crash/programs.py).

Each body adds a line to `effects` when it begins, `+ key attempt`, and when it is done, `- key attempt`. What no body may
see stands there too: `! key` and what it was.
"""
from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import firexlite
from firexlite import app
from firexlite.errors import SoftTimeLimitExceeded

from . import programs

SENDINGS = 4  # a lab kills one of them


class Again(Exception):
    """A body is to be tried again."""


@functools.cache
def told() -> tuple[list, dict]:
    with open("program.json") as file:
        chain = json.load(file)["chain"]
    return chain, {member["key"]: member for member in programs.nodes(chain)}


def note(*words: object) -> None:
    """Append one line in one write, so that lines of several processes never mix."""
    fd = os.open("effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    os.close(fd)


def said(key: str, attempt: int) -> str:
    """What a body prints; it must be found again in the log of its attempt."""
    return f"<{key} {attempt}>"


def run(task, key: str, sent: str, flowed: object):
    member = told()[1][key]
    with alone_in_queue(member):
        return _run(task, key, sent, flowed, member)


def _run(task, key: str, sent: str, flowed: object, member: dict):
    note("+", key, task.attempt)
    print(said(key, task.attempt), flush=True)
    if member["notes"]:
        note("=", key, task.task_key, firexlite.uuid())
    heard = listen(task, member)
    if member["sends"]:
        send(Path(task.logs_dir_for_worker).parent.name, member["sends"])
    got = children(task, member)
    if member["nap"]:
        seconds = programs.NAPS[member["nap"]]
        with lasting(key, seconds):
            task.sleep(seconds)
    if task.request.retries < member["tries"]:
        if member["asks"]:
            task.retry(exc=Again(key), countdown=0.02, max_retries=member["tries"])
        raise Again(key)
    if member["hangs"]:
        hang(member["hangs"])
    if member["fails"]:
        raise ValueError(f"{key} fails as it was told to")
    value = programs.value_of(member, sent, flowed, got, heard)
    note("-", key, task.attempt)
    return value


@contextlib.contextmanager
def alone_in_queue(member: dict) -> Iterator[None]:
    """In the queue with one place nobody else may run. The kernel lets go of the lock with the process."""
    if not member["queue"]:
        yield
        return
    lock = os.open("queue.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("!", member["key"], "runs beside another of its queue")
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def lasting(key: str, seconds: float) -> Iterator[None]:
    """Check that a wait is not over before its time, however often the body began meanwhile."""
    began = firexlite.now()
    yield
    lasted = time.time() - began.timestamp()
    if lasted < seconds:
        note("!", key, f"waited for {lasted:.3f} s instead of {seconds} s")


def listen(task, member: dict) -> object:
    """Wait for the event, if there is one; what was sent with it."""
    if not member["event"]:
        return None
    if member["event"] != programs.NOBODY:
        return task.wait_for_event(member["event"])
    with lasting(member["key"], programs.WAITS_S), contextlib.suppress(TimeoutError):
        task.wait_for_event(member["event"], timeout=programs.WAITS_S)
        note("!", member["key"], "heard what nobody sent")
    return None


def send(firex_id: str, event: str) -> None:
    """Send an event as any script would. The command may be killed; a second one does no harm."""
    for _ in range(SENDINGS):
        if subprocess.run([sys.executable, "-m", "firexlite", "send", firex_id, event, json.dumps(programs.told_with(event))],
                          timeout=20).returncode == 0:
            return
    raise AssertionError(f"{event} could not be sent")


def hang(limit: str) -> None:
    """Stay until a time limit comes; at the hard one with a shell command beside, and deaf to all else."""
    if limit == "soft":
        with contextlib.suppress(SoftTimeLimitExceeded):
            time.sleep(60)
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.run(["sleep", "60"])


def run_link(task, number: int, flowed: object):
    member = told()[0][number]
    return run(task, member["key"], programs.padding(member["key"], member["send"]), flowed)


def children(task, member: dict) -> list:
    """Enqueue and wait as told; what the chains that were waited for came to."""
    wait, raises = "none" if member["hasty"] else member["wait"], not member["handles"]
    chains = programs.enqueued(member)
    if wait == "results":
        return [task.enqueue_child_and_get_results(signature(chain), raise_exception_on_failure=raises,
                                                   enqueue_once_key=chain[0]["once"] or None).get("value") for chain in chains]
    if wait == "one by one":
        return [result(task.enqueue_child(signature(chain), block=True, raise_exception_on_failure=raises,
                                          enqueue_once_key=chain[0]["once"] or None)) for chain in chains]
    promises = [task.enqueue_child(signature(chain), enqueue_once_key=chain[0]["once"] or None) for chain in chains]
    if member["hasty"]:
        raise ValueError(f"{member['key']} does not wait, as it was told to")
    if wait == "all":
        task.wait_for_children(raise_exception_on_failure=raises)
        return [result(promise) for promise in promises]
    seen = [promise for i, promise in enumerate(promises) if programs.is_seen(member, i, len(promises))]
    for promise in seen:
        task.wait_for_specific_children([promise], raise_exception_on_failure=False)
    if raises and any(promise.failed() for promise in seen):
        raise RuntimeError(f"children of {member['key']} failed")
    return [result(promise) for promise in seen]


def signature(chain: list[dict]):
    links = []
    for member in chain:
        # Always, since what one of a chain is sent would flow on to the next.
        link = app.service(service_of(member)).s(key=member["key"], sent=programs.padding(member["key"], member["send"]))
        links.append(link.with_options(queue=programs.QUEUE) if member["queue"] else link)
    return functools.reduce(lambda before, after: before | after, links)


def service_of(member: dict) -> str:
    if member["cache"]:
        return "cached"
    if member["hangs"]:
        return f"hanging_{member['hangs']}"
    return "keeping" if member["keeps"] else "shown" if member["shown"] else "plain"


def result(promise):
    return promise.result["value"] if promise.successful() else None
