"""Time limits: of a task, by its service or whoever enqueues it, and of the run."""
from __future__ import annotations

from conftest import NOTE, Command, query, states

from firexlite import host

SERVICES = NOTE + """
import signal, subprocess

@app.task(time_limit=1)
def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for own_session in (False, True):
        with open("pids", "a") as file:
            print(subprocess.Popen(["sleep", "60"], start_new_session=own_session).pid, file=file)
    with open("pids", "a") as file:
        print(os.getpid(), file=file)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

@app.task(returns="done")
def sibling():
    wait_for_file("pids")
    time.sleep(1.5)
    return True

@app.task(bind=True, returns=["told", "sibling"])
def top(self):
    promises = [self.enqueue_child(stubborn.s()), self.enqueue_child(sibling.s())]
    self.wait_for_children(raise_exception_on_failure=False)
    return str(promises[0].result), promises[1].result["done"]

@app.task(bind=True, returns="left")
def waits_for_it(self):
    self.enqueue_child(stubborn.s(), block=True, raise_exception_on_failure=False)
    pids = open("pids").read().split()
    give_up = time.monotonic() + 2
    while time.monotonic() < give_up and any(os.path.exists(f"/proc/{pid}") for pid in pids):
        time.sleep(0.01)
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]

@app.task(soft_time_limit=1, returns="seen", bind=True)
def blocked(self):
    promise = self.enqueue_child(sleeper.s())
    try:
        self.wait_for_children()
    except Exception as error:
        self.revoke_child(promise)
        return f"{type(error).__name__} in attempt {self.attempt}"

@app.task(bind=True, returns="told")
def limits(self):
    by_keyword = self.enqueue_child(sleeper.s(), time_limit=1)
    by_signature = self.enqueue_child(sleeper.s().set_time_limit(1))
    self.wait_for_children(raise_exception_on_failure=False)
    return [str(promise.result) for promise in (by_keyword, by_signature)]

@app.task
def sleeper():
    time.sleep(60)

@app.task(bind=True)
def tree(self):
    for _ in range(3):
        self.enqueue_child(sleeper.s())
    self.wait_for_children()
"""


def test_a_body_that_ignores_everything_ends_at_its_limit_with_all_that_it_started(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "top", "--workers", 2)

    assert done.code == 0, done.err
    [top, stubborn, sibling] = firexlite.flame(done.firex_id)["tasks"]
    assert top["result"] == {"told": "TimeLimitExceeded(1,)", "sibling": True}
    assert (stubborn["state"], stubborn["exception"]) == ("failed", "TimeLimitExceeded(1)")
    assert stubborn["runtime"] < 2
    assert (sibling["state"], len(sibling["attempts"])) == ("succeeded", 1)
    pids = (firexlite.folder / "pids").read_text().split()
    assert [pid for pid in pids if host.start_time(int(pid)) is not None] == []  # process 1 may not have reaped them yet


def test_what_a_body_started_in_a_session_of_its_own_is_gone_with_it_while_the_run_goes_on(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "waits_for_it", "--workers", 1)

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["result"] == {"left": []}


def test_a_blocked_body_is_told_of_its_soft_limit_and_may_go_on(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "blocked", "--workers", 1)

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["result"] == {"seen": "SoftTimeLimitExceeded in attempt 1"}


def test_whoever_enqueues_a_service_may_limit_it(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "limits", "--workers", 2)

    assert done.code == 0, done.err
    assert firexlite.flame(done.firex_id)["tasks"][0]["result"] == {"told": ["TimeLimitExceeded(1,)"] * 2}


def test_what_is_left_of_a_run_at_its_limit_is_revoked_and_a_resume_has_the_whole_limit_again(firexlite: Command, plugin):
    done = firexlite("submit", "--plugins", plugin(SERVICES), "--chain", "tree", "--workers", 2, "--soft_time_limit", 1)

    assert done.code == 1
    run = firexlite.only_run()
    assert states(run) == {"revoked": 4}
    assert query(run, "SELECT DISTINCT reason FROM task") == [("the run reached its soft_time_limit of 1 s",)]

    plugin(SERVICES.replace("def sleeper():\n    time.sleep(60)", "def sleeper():\n    pass"))
    resumed = firexlite("resume", done.firex_id)
    assert resumed.code == 0, resumed.err
    assert states(run) == {"succeeded": 4}
