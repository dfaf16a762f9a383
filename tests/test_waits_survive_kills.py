"""Waits are in the journal: a run that is killed while tasks wait goes on waiting for the rest, and needs no process for it."""
from __future__ import annotations

import json

import pytest
from conftest import NOTE, Command, kill_all, query, states, wait_until

from firexlite import host

SERVICES = NOTE + """

@app.task(bind=True, max_retries=1, autoretry_for=[ValueError], retry_backoff=4, retry_jitter=False, returns="tries")
def retries(self):
    note(f"retries {self.request.retries}")
    if self.request.retries == 0:
        raise ValueError("the oven is cold")
    return self.request.retries + 1

@app.task(bind=True, returns="slept")
def sleeps(self):
    note("sleeps")
    self.sleep(4)
    return True

@app.task(bind=True, returns="got")
def waits(self):
    note("waits")
    try:
        return self.wait_for_event("approved", timeout=4)
    except TimeoutError as error:
        return str(error)

@app.task(bind=True)
def dozes(self, number):
    self.sleep(3600)

@app.task(bind=True)
def all_doze(self, count):
    for number in range(int(count)):
        self.enqueue_child(dozes.s(number=number))

@app.task
def shared():
    note("shared began")
    wait_for_file("go")
    note("shared ended")

@app.task(returns="value", use_cache=True)
def cached(flour="rye"):
    note("cached began")
    wait_for_file("go")
    note("cached ended")
    return os.getpid()

@app.task(bind=True, returns="state")
def asks(self, number):
    return self.enqueue_child(shared.s(), enqueue_once_key="bread", block=True).state

@app.task(bind=True, returns=["states"])
def twenty_ask(self):
    promises = [self.enqueue_child(asks.s(number=number)) for number in range(20)]
    self.wait_for_children()
    return [promise.result["state"] for promise in promises],

@app.task(bind=True, returns=["values"])
def twenty_compute(self):
    promises = [self.enqueue_child(cached.s()) for _ in range(20)]
    self.wait_for_children()
    return [promise.result["value"] for promise in promises],

@app.task
def works(number):
    note("works")
    time.sleep(60)

@app.task(bind=True)
def waits_for_work(self):
    for number in range(24):
        self.enqueue_child(works.s(number=number))
    self.wait_for_children()

@app.task(returns="number")
def quick(number):
    note("quick")
    return number
"""
DUE = "SELECT max(due) FROM (SELECT due FROM task UNION ALL SELECT due FROM awaited)"


@pytest.mark.parametrize(("service", "result"), [
    ("retries", {"tries": 2}), ("sleeps", {"slept": True}), ("waits", {"got": "no event 'approved' came in 4 seconds"})])
def test_a_run_killed_in_a_wait_waits_only_the_rest(service, result, firexlite: Command, plugin, effects):
    process = firexlite.start("submit", "--plugins", plugin(SERVICES), "--chain", service)
    wait_until(lambda: firexlite.runs() and query(firexlite.only_run(), DUE) != [(None,)], what="wait")
    run = firexlite.only_run()
    [(due,)] = query(run, DUE)
    kill_all(process)

    resumed = firexlite.start("resume", run.firex_id)
    wait_until(lambda: query(run, "SELECT epoch FROM run") == [(2,)], what="take-over")
    # Of a body that kept its process until it was killed, a replay begins, which asks for the same time.
    wait_until(lambda: query(run, DUE) != [(None,)] or states(run) == {"succeeded": 1}, what="wait")
    again = query(run, DUE)
    _, err = resumed.communicate(timeout=30)

    assert resumed.returncode == 0, err
    assert again in ([(due,)], [(None,)])
    [(ended, returned)] = query(run, "SELECT moved, result FROM task")
    assert json.loads(returned) == result
    assert due <= ended
    assert effects()[f"{service} 0" if service == "retries" else service] <= 3


def test_thousands_that_sleep_hold_no_process(firexlite: Command, plugin):
    process = firexlite.start("submit", "--plugins", plugin(SERVICES), "--chain", "all_doze", "--count", 100, "--workers", 2)
    wait_until(lambda: firexlite.runs() and query(
        firexlite.only_run(), "SELECT count(*) FROM task WHERE state = 'blocked' AND worker IS NULL") == [(100,)],
        limit_s=60, what="hundred tasks without a process")

    # The front, the runner, the parent that waits for them, and workers with nothing to do, as many as there are slots.
    wait_until(lambda: len(list(host.descendants(process.pid))) <= 4, what="end of the processes of those who sleep")

    cancelled = firexlite("cancel", firexlite.only_run().firex_id)
    assert cancelled.out == "Cancelled: 101 tasks were revoked.\n"
    process.communicate(timeout=20)


@pytest.mark.parametrize(("chain", "body"), [("twenty_ask", "shared"), ("twenty_compute", "cached")])
@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "killed"])
def test_what_twenty_ask_for_is_done_once(chain, body, is_killed, firexlite: Command, plugin, effects):
    process = firexlite.start("submit", "--plugins", plugin(SERVICES), "--chain", chain, "--workers", 4)
    wait_until(lambda: effects()[f"{body} began"], what="body")
    run = firexlite.only_run()
    wait_until(lambda: query(run, "SELECT count(*) FROM task WHERE state = 'blocked' AND depth = 1")[0][0]
               == (20 if body == "shared" else 19), limit_s=40, what="nineteen that wait")
    if is_killed:
        kill_all(process)
        process = firexlite.start("resume", run.firex_id)
        wait_until(lambda: effects()[f"{body} began"] == 2, what="second attempt")
    (firexlite.folder / "go").touch()
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert (effects()[f"{body} began"], effects()[f"{body} ended"]) == (1 + is_killed, 1)
    [values] = firexlite.flame(run.firex_id)["tasks"][0]["result"].values()
    assert len(values) == 20 and len(set(values)) == 1
    assert query(run, "SELECT count(*) FROM attempt WHERE outcome = 'succeeded' AND task IN "
                      f"(SELECT id FROM task WHERE service = 'services.{body}' AND cached_from IS NULL)") == [(1,)]


def test_a_cancelled_run_is_settled_at_once_and_resumed_with_what_was_revoked(firexlite: Command, plugin, effects):
    source = SERVICES
    process = firexlite.start("submit", "--plugins", plugin(source), "--chain", "quick,waits_for_work", "--number", 7,
                              "--workers", 4)
    wait_until(lambda: effects()["works"] == 4, what="four bodies at work")
    run = firexlite.only_run()
    wait_until(lambda: states(run) == {"succeeded": 1, "blocked": 1, "running": 4, "ready": 20}, what="blocked parent")

    cancelled = firexlite("cancel", run.firex_id)
    process.communicate(timeout=10)

    assert (cancelled.code, cancelled.out) == (0, "Cancelled: 25 tasks were revoked.\n")
    assert states(run) == {"succeeded": 1, "revoked": 25}
    [(asked, ended)] = query(run, "SELECT min(at), (SELECT ended FROM run) FROM event WHERE move = 'revoke'")
    assert ended - asked < 2
    assert process.returncode == 1

    plugin(source.replace("time.sleep(60)", "pass"))
    resumed = firexlite("resume", run.firex_id)
    assert resumed.code == 0, resumed.err
    assert effects() == {"quick": 1, "works": 28}
