"""Which task is claimed next: priorities, tasks of several slots, and queues with a limit."""
from __future__ import annotations

import pytest
from journals import DONE, MAIN, SECOND, THIRD, Chimes, claimed, column, enqueue, error_after, settle, states, turn_clock

from firexlite.claims import Retry
from firexlite.journal import Journal
from firexlite.takeover import take_over
from firexlite.waiting import begin_wait, come_due, suspend


@pytest.fixture
def parent(new_run):
    """Makes a journal with a task that runs, its claim being given too, and waits for none of its children."""
    def make(slots=2, queues=None):
        journal = new_run("top", slots=slots, queues=queues)
        return journal, claimed(journal)

    return make


def wait_for_all(journal, claim) -> None:
    journal.block(claim, [last for (last,) in journal.execute("SELECT last FROM task WHERE parent = ?", claim.task)], 1)


# --- priorities ------------------------------------------------------------------------------------------------------

def test_the_lowest_priority_is_claimed_first_then_the_deepest_then_the_oldest(parent):
    journal, top = parent(slots=9)
    for name, priority in ("old", 0), ("urgent", -3), ("new", 0), ("some time", 7):
        enqueue(journal, top, name, priority=priority)
    order = [claimed(journal, SECOND)]
    enqueue(journal, order[0], "deep")

    order += [claimed(journal, 2 + i) for i in range(4)]

    assert [claim.service for claim in order] == ["urgent", "deep", "old", "new", "some time"]


def test_priorities_hold_across_queues(parent):
    journal, top = parent(slots=9, queues={"gpu": 1, "disk": 1})
    for name, priority, queue in ("plain", 1, None), ("gpu", 2, "gpu"), ("disk", 0, "disk"):
        enqueue(journal, top, name, priority=priority, queue=queue)

    assert [claimed(journal, worker).service for worker in (1, 2, 3)] == ["disk", "plain", "gpu"]


# --- slots -----------------------------------------------------------------------------------------------------------

def test_a_task_takes_as_many_slots_as_it_says(parent):
    journal, top = parent(slots=3)
    enqueue(journal, top, "big", slots=2)
    enqueue(journal, top, "small")

    assert claimed(journal, SECOND).service == "big"

    assert journal.claim(THIRD, 0) is None


def test_a_big_task_is_not_overtaken_by_smaller_ones(parent):
    journal, top = parent(slots=2)
    enqueue(journal, top, "big", slots=2)
    enqueue(journal, top, "small")
    assert journal.claim(SECOND, 0) is None

    wait_for_all(journal, top)

    assert claimed(journal, SECOND).service == "big"


def test_a_task_of_more_slots_than_there_are_takes_all(parent):
    journal, top = parent(slots=2)
    enqueue(journal, top, "huge", slots=99)
    wait_for_all(journal, top)

    assert claimed(journal, SECOND).service == "huge"


def test_what_is_free_is_kept_for_a_big_task_whose_wait_is_over(new_run):
    journal = new_run("big", slots=2)
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET slots = 2")
    big = claimed(journal)
    _, awaited = enqueue(journal, big, "awaited")
    for name in ("busy", "next"):
        enqueue(journal, big, name)
    journal.block(big, [awaited], 1)
    claims = [claimed(journal, worker) for worker in (SECOND, THIRD)]

    assert settle(journal, claims[0], DONE, SECOND) is None  # a slot is free, and "next" is ready
    assert states(journal) == ["blocked", "succeeded", "running", "ready"]

    settle(journal, claims[1], DONE, THIRD)
    assert states(journal) == ["running", "succeeded", "succeeded", "ready"]


# --- queues ------------------------------------------------------------------------------------------------------------

def test_of_a_queue_no_more_run_than_it_has_places(parent):
    journal, top = parent(slots=9, queues={"gpu": 2})
    for _ in range(3):
        enqueue(journal, top, "train", queue="gpu")
    enqueue(journal, top, "plain")

    assert [claimed(journal, worker).service for worker in (1, 2, 3)] == ["train", "train", "plain"]
    assert journal.claim(4, 0) is None


def test_a_queue_without_a_limit_is_none(parent):
    journal, top = parent(slots=9)
    for _ in range(3):
        enqueue(journal, top, "train", queue="gpu")

    assert [claimed(journal, worker).service for worker in (1, 2, 3)] == ["train"] * 3
    assert set(column(journal, "limited")) == {""}


def test_a_blocked_task_keeps_its_place_in_its_queue(parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    for _ in range(2):
        enqueue(journal, top, "train", queue="gpu")
    train = claimed(journal, SECOND)
    enqueue(journal, train, "child")
    wait_for_all(journal, train)

    assert claimed(journal, THIRD).service == "child"
    assert journal.claim(4, 0) is None


def test_a_task_that_waits_without_a_process_keeps_its_place_too(parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    for _ in range(2):
        enqueue(journal, top, "train", queue="gpu")
    train = claimed(journal, SECOND)
    begin_wait(journal, train, 1, 5000.0, None)
    suspend(journal, train, 0)
    assert journal.claim(SECOND, 0) is None

    turn_clock(journal, 5000.0)
    journal.look([], come_due)

    assert claimed(journal, SECOND).task == train.task


def test_a_task_that_is_to_be_tried_again_later_gives_its_place_to_another(parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    for _ in range(2):
        enqueue(journal, top, "train", queue="gpu")

    following = settle(journal, claimed(journal, SECOND), Retry('"again"', 100.0), SECOND)

    assert (following.task, following.attempt) == (3, 1)


@pytest.mark.parametrize("end", [
    lambda journal, claim: settle(journal, claim, DONE, SECOND, claims_next=False),
    lambda journal, claim: journal.lose(SECOND, error_after),
    lambda journal, claim: journal.revoke_chain(claim.task),
], ids=["settled", "lost", "revoked"])
def test_a_place_is_free_when_who_had_it_ended(end, parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    enqueue(journal, top, "train", queue="gpu")
    enqueue(journal, top, "train", queue="gpu", priority=-1)
    train = claimed(journal, SECOND)
    assert journal.claim(THIRD, 0) is None

    end(journal, train)

    assert claimed(journal, THIRD).service == "train"


def test_a_resume_may_give_queues_other_limits(new_run):
    journal = new_run("top", slots=9, queues={"gpu": 1})
    top = claimed(journal)
    enqueue(journal, top, "train", queue="gpu")
    enqueue(journal, top, "read", queue="disk")
    with Journal(journal.directory, 9, Chimes(), queues={"disk": 1}) as resumed:
        take_over(resumed, 1, "here", {})

    assert column(journal, "limited") == ["", "", "disk"]


# --- who is woken ------------------------------------------------------------------------------------------------------

def startable(journal) -> int:
    """For how many ready tasks the bell was last asked to find workers."""
    return journal.bell.of("ring")[-1][-1] if journal.bell.of("ring") else 0


def ready(journal, top, *told) -> int:
    """Enqueue ``(queue, slots, priority)``, held, and release them at once; as `startable`."""
    heads = [enqueue(journal, top, "child", held=True, queue=queue, slots=slots, priority=priority)[0]
             for queue, slots, priority in told]
    journal.bell.forget()
    journal.release_held(heads)
    return startable(journal)


def test_as_many_workers_are_woken_as_can_claim(parent):
    journal, top = parent(slots=4, queues={"gpu": 1})

    assert ready(journal, top, ("gpu", 1, 0), ("gpu", 1, 0), (None, 1, 0)) == 2


def test_who_comes_first_in_another_queue_is_woken_though_a_big_task_has_no_room(parent):
    journal, top = parent(slots=2, queues={"gpu": 1})

    assert ready(journal, top, (None, 2, 0), ("gpu", 1, -1)) == 1
    assert claimed(journal, SECOND).task == 3


def test_nobody_is_woken_for_what_stands_behind_a_big_task_that_has_no_room(parent):
    journal, top = parent(slots=3, queues={"gpu": 1})

    assert ready(journal, top, (None, 3, -1), ("gpu", 1, 0), (None, 1, 0)) == 0


def test_nobody_is_woken_for_what_is_not_due(parent):
    journal, top = parent(slots=4)
    enqueue(journal, top, "flaky")
    claim = claimed(journal, SECOND)
    journal.bell.forget()

    settle(journal, claim, Retry('"again"', 100.0), SECOND)

    assert startable(journal) == 0
    assert journal.bell.of("comes_due") == [100.0]
    assert journal.bell.of("rest") == [(SECOND, False)]


def test_a_run_is_not_quiet_while_something_in_a_queue_can_start(new_run):
    journal = new_run("train", queue="gpu", queues={"gpu": 1})

    assert not journal.look([MAIN], come_due).is_quiet


def test_who_waited_without_a_process_still_has_its_place_when_it_is_woken(parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    enqueue(journal, top, "sleeper", queue="gpu")
    sleeper = claimed(journal, SECOND)
    enqueue(journal, top, "other", queue="gpu", priority=-1)
    begin_wait(journal, sleeper, 1, due=2000.0, event=None)
    suspend(journal, sleeper, 0)
    turn_clock(journal, 3000.0)

    outlook = journal.look([MAIN, THIRD], come_due)

    assert states(journal) == ["running", "ready", "ready"]
    assert not outlook.is_quiet
    assert claimed(journal, THIRD).service == "sleeper"
    assert journal.claim(SECOND, 0) is None


def test_a_woken_task_of_a_full_queue_is_called_for(parent):
    journal, top = parent(slots=9, queues={"gpu": 1})
    enqueue(journal, top, "sleeper", queue="gpu")
    sleeper = claimed(journal, SECOND)
    begin_wait(journal, sleeper, 1, due=2000.0, event=None)
    suspend(journal, sleeper, 0)
    turn_clock(journal, 3000.0)
    journal.bell.forget()

    journal.look([MAIN, THIRD], come_due)

    assert journal.bell.of("ring") == [([], 1)]
