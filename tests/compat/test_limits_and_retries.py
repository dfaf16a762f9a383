"""How long a task may take, and how often it is tried."""
from __future__ import annotations

from .flows import Flows

LIMITS = """
from celery.exceptions import SoftTimeLimitExceeded
"""


def test_c61_a_soft_limit_is_an_exception_that_a_service_may_catch(flow: Flows) -> None:
    done = flow(LIMITS + """
@app.task(soft_time_limit=1, returns="caught")
def catches():
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        return "in time"

@app.task(soft_time_limit=1)
def does_not(): time.sleep(20)

@app.task(bind=True, returns="seen")
def top(self):
    caught, failed = self.enqueue_child(catches.s()), self.enqueue_child(does_not.s())
    self.wait_for_children(raise_exception_on_failure=False)
    return [caught.result["caught"], failed.state, isinstance(failed.result, SoftTimeLimitExceeded)]
""", "top", "--workers", 2)

    assert done.seen == ["in time", "FAILURE", True]
    assert 1 <= done.only("does_not")["runtime"] < 5


def test_a_soft_limit_may_be_set_where_a_child_is_enqueued(flow: Flows) -> None:
    done = flow(LIMITS + """
@app.task
def sleepy(): time.sleep(20)

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(sleepy.s(), soft_time_limit=1), self.enqueue_child(with_limit(sleepy.s()))]
    self.wait_for_children(raise_exception_on_failure=False)
    return [isinstance(promise.result, SoftTimeLimitExceeded) for promise in promises]

def with_limit(signature):
    signature.set_soft_time_limit(1)
    return signature
""", "top", "--workers", 2)

    assert done.seen == [True, True]


def test_c62_a_hard_limit_ends_what_ignores_everything_and_nothing_else(flow: Flows) -> None:
    done = flow("""
import signal

@app.task(time_limit=1)
def ignores_all():
    touch("began")
    while True:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(20)
        except BaseException:
            pass

@app.task(returns="slept")
def sibling():
    wait_for_file("began")
    time.sleep(1.5)
    return True

@app.task(bind=True, returns="seen")
def top(self):
    endless, other = self.enqueue_child(ignores_all.s()), self.enqueue_child(sibling.s())
    self.wait_for_children(raise_exception_on_failure=False)
    return [endless.state, type(endless.result).__name__, other.result["slept"]]
""", "top", "--workers", 2)

    assert done.seen == ["FAILURE", "TimeLimitExceeded", True]
    assert done.only("ignores_all")["runtime"] < 3
    assert len(done.only("sibling")["attempts"]) == 1


# --- retries ---------------------------------------------------------------------------------------------------------

TRIES = """
def number_of_this_try(name):
    note("try", name)
    return len(open(name).readlines())
"""


def test_c63_a_task_that_fails_twice_succeeds_at_its_last_retry(flow: Flows) -> None:
    done = flow(TRIES + """
@app.task(bind=True, returns=["tries", "told"], max_retries=2, autoretry_for=[ValueError], default_retry_delay=0)
def bake(self):
    tries = number_of_this_try("bake")
    note(f"{self.request.id} {self.request.retries}")
    if tries < 3:
        raise ValueError("burnt")
    return tries, self.request.retries
""", "bake")

    assert done.values == {"tries": 3, "told": 2}
    bake = done.only("bake")
    assert flow.notes() == [f"{bake['uuid']} {retries}" for retries in range(3)]
    assert bake["retries"] == 2


def test_a_task_that_fails_once_too_often_fails_with_its_own_exception(flow: Flows) -> None:
    done = flow(TRIES + """
@app.task(max_retries=1, autoretry_for=[ValueError], default_retry_delay=0)
def bake():
    number_of_this_try("bake")
    raise ValueError("burnt")

@app.task(max_retries=1, autoretry_for=[ValueError], default_retry_delay=0)
def fry():
    number_of_this_try("fry")
    raise KeyError("pan")

@app.task(bind=True, returns="seen")
def top(self):
    promises = [self.enqueue_child(service.s()) for service in (bake, fry)]
    self.wait_for_children(raise_exception_on_failure=False)
    return [repr(promise.result) for promise in promises]
""")

    assert done.seen == ["ValueError('burnt')", "KeyError('pan')"]
    assert (len(flow.notes("bake")), len(flow.notes("fry"))) == (2, 1)
    assert (done.only("bake")["retries"], done.only("fry")["retries"]) == (1, 0)


def test_a_retry_waits_a_time_that_grows(flow: Flows) -> None:
    done = flow(TRIES + """
@app.task(returns="seen", max_retries=3, autoretry_for=(ValueError,), retry_backoff=1, retry_jitter=False)
def top():
    note(time.time(), "times")
    if number_of_this_try("top") < 3:
        raise ValueError("burnt")
    times = [float(line) for line in open("times")]
    return [after - before for before, after in zip(times, times[1:])]
""")

    first, second = done.seen
    assert 1 <= first < 1.9 and 2 <= second < 3.5


def test_c64_children_of_a_try_that_failed_are_revoked_and_the_next_try_makes_its_own(flow: Flows) -> None:
    done = flow("""
@app.task(returns="number")
def child(number):
    touch(f"child {number} began")
    if number == 0:
        time.sleep(20)
    return number

@app.task(bind=True, returns="seen", max_retries=1)
def top(self):
    promise = self.enqueue_child(child.s(number=self.request.retries))
    wait_for_file(f"child {self.request.retries} began")
    if self.request.retries == 0:
        raise self.retry(exc=ValueError("burnt"), countdown=0)
    self.wait_for_children()
    return promise.result["number"]
""", "top", "--workers", 2)

    assert done.seen == 1
    assert [(task["args"]["number"], task["state"]) for task in done.named("child")] == [(0, "revoked"), (1, "succeeded")]
    assert done.only("top")["retries"] == 1


def test_retries_that_a_service_asks_for_itself_end_with_the_exception_it_gave(flow: Flows) -> None:
    done = flow("""
@app.task(bind=True, max_retries=2)
def bake(self):
    note(self.request.retries)
    try:
        raise ValueError("burnt")
    except ValueError as error:
        self.retry(exc=error, countdown=0)

@app.task(bind=True, returns="seen")
def top(self):
    return repr(self.enqueue_child(bake.s(), block=True, raise_exception_on_failure=False).result)
""")

    assert done.seen == "ValueError('burnt')"
    assert flow.notes() == ["0", "1", "2"]


# --- the death of a worker -------------------------------------------------------------------------------------------

def test_c71_a_task_whose_worker_is_killed_is_given_to_another(flow: Flows) -> None:
    done = flow("""
import signal

@app.task(bind=True, returns="attempts")
def once(self):
    note("once")
    if len(open("notes").readlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(open("notes").readlines())

@app.task(worker_deaths=0)
def never(): os.kill(os.getpid(), signal.SIGKILL)

@app.task(bind=True, returns="seen")
def top(self):
    good, bad = self.enqueue_child(once.s()), self.enqueue_child(never.s())
    self.wait_for_children(raise_exception_on_failure=False)
    return [good.result["attempts"], bad.state, "SIGKILL" in str(bad.result)]
""", "top", "--workers", 2)

    assert done.seen == [2, "FAILURE", True]
    assert done.only("top")["runtime"] < 10  # FireX notices after half an hour, or never
