"""What the services of the crash lab do: the program in `program.json` of the working directory (crash/programs.py).

Each body adds a line to `effects` when it begins, `+ key attempt`, and when it is done, `- key attempt`.
"""
from __future__ import annotations

import functools
import json
import os

import firexlite
from firexlite import app

from . import programs


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
    note("+", key, task.attempt)
    print(said(key, task.attempt), flush=True)
    if member["notes"]:
        note("=", key, task.task_key, firexlite.uuid())
    got = children(task, member)
    if member["fails"]:
        raise ValueError(f"{key} fails as it was told to")
    value = programs.value_of(member, sent, flowed, got)
    note("-", key, task.attempt)
    return value


def run_link(task, number: int, flowed: object):
    member = told()[0][number]
    return run(task, member["key"], programs.padding(member["key"], member["send"]), flowed)


def children(task, member: dict) -> list:
    """Enqueue and wait as told; what the chains that were waited for came to."""
    wait, raises = "none" if member["hasty"] else member["wait"], not member["handles"]
    chains = programs.enqueued(member)
    if wait == "results":
        return [task.enqueue_child_and_get_results(signature(chain), raise_exception_on_failure=raises).get("value")
                for chain in chains]
    if wait == "one by one":
        return [result(task.enqueue_child(signature(chain), block=True, raise_exception_on_failure=raises))
                for chain in chains]
    promises = [task.enqueue_child(signature(chain)) for chain in chains]
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
        service = app.service("shown" if member["shown"] else "plain")
        # Always, since what one of a chain is sent would flow on to the next.
        links.append(service.s(key=member["key"], sent=programs.padding(member["key"], member["send"])))
    return functools.reduce(lambda before, after: before | after, links)


def result(promise):
    return promise.result["value"] if promise.successful() else None
