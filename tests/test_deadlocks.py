"""A wait that could never end is refused: the circle goes over a place in a full queue, or over what is enqueued once."""
from __future__ import annotations

import pytest
from journals import MAIN, SECOND, THIRD, claimed, enqueue, settle, states

from firexlite.deadlocks import refuse_deadlock
from firexlite.errors import SchedulingDeadlockException
from firexlite.once import compute_or_wait
from firexlite.waiting import begin_wait, suspend

ONE_GPU = {"gpu": 1}


def block(journal, claim, *tails, any_is_enough=False) -> bool:
    return journal.block(claim, tails, 1, any_is_enough, refuse_deadlock)


@pytest.fixture
def train(new_run):
    """Makes a journal and the claim of a task that runs in the queue `gpu`."""
    def make(queues=ONE_GPU, slots=4, **more):
        journal = new_run("train", slots=slots, queues=queues, queue="gpu", **more)
        return journal, claimed(journal)

    return make


def test_who_keeps_the_only_place_of_a_queue_does_not_wait_for_a_child_in_it(train):
    journal, top = train()
    _, tail = enqueue(journal, top, "child", queue="gpu")

    with pytest.raises(SchedulingDeadlockException) as refused:
        block(journal, top, tail)

    assert str(refused.value) == (
        "train (task 1) would wait for ever: child (task 2) needs a place in the queue 'gpu', and train (task 1) keeps its "
        "only place while waiting; enqueue it to another queue, do not wait for it, or give the queue more places "
        "(--queue gpu=2)")


def test_a_wait_that_was_refused_leaves_nothing_behind(train):
    journal, top = train()
    _, tail = enqueue(journal, top, "child", queue="gpu")

    with pytest.raises(SchedulingDeadlockException):
        block(journal, top, tail)

    assert states(journal) == ["running", "ready"]
    assert journal.execute("SELECT * FROM awaited") == []


def test_nor_for_the_first_of_its_children_if_all_are_in_it(train):
    journal, top = train()
    tails = [enqueue(journal, top, name, queue="gpu")[1] for name in ("a", "b")]

    with pytest.raises(SchedulingDeadlockException):
        block(journal, top, *tails, any_is_enough=True)


def test_but_for_the_first_of_its_children_if_one_is_elsewhere(train):
    journal, top = train()
    _, inside = enqueue(journal, top, "a", queue="gpu")
    _, outside = enqueue(journal, top, "b")

    assert block(journal, top, inside, outside, any_is_enough=True)


def test_a_child_in_a_queue_with_a_place_left_is_waited_for(train):
    journal, top = train(queues={"gpu": 2})
    _, tail = enqueue(journal, top, "child", queue="gpu")

    assert block(journal, top, tail)


def test_a_grandchild_in_the_same_queue_is_refused_where_it_is_waited_for(train):
    journal, top = train()
    block(journal, top, enqueue(journal, top, "child")[1])
    child = claimed(journal, SECOND)
    _, tail = enqueue(journal, child, "deep", queue="gpu")

    with pytest.raises(SchedulingDeadlockException, match=r"child \(task 2\) would wait for ever: deep \(task 3\) needs"):
        block(journal, child, tail)


def test_the_last_of_those_who_keep_all_places_is_refused(new_run):
    journal = new_run("top", slots=9, queues={"gpu": 2})
    top = claimed(journal)
    tails = [enqueue(journal, top, name, queue="gpu")[1] for name in ("a", "b")]
    block(journal, top, *tails)
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    assert block(journal, a, enqueue(journal, a, "child", queue="gpu")[1])

    with pytest.raises(SchedulingDeadlockException, match=r"a \(task 2\) and b \(task 3\) keep its 2 places"):
        block(journal, b, enqueue(journal, b, "child", queue="gpu")[1])


def test_one_who_sleeps_in_a_queue_will_give_its_place_back(new_run):
    journal = new_run("top", slots=9, queues=ONE_GPU)
    top = claimed(journal)
    tails = [enqueue(journal, top, name, queue="gpu")[1] for name in ("a", "b")]
    sleeper = claimed(journal, SECOND)
    begin_wait(journal, sleeper, 1, 5000.0, None)
    suspend(journal, sleeper, 0)

    assert block(journal, top, *tails)


def test_the_rest_of_a_chain_needs_its_places_too(train):
    journal, top = train()
    _, first = enqueue(journal, top, "fine", "not fine", queue="gpu")
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET queue = NULL, limited = '' WHERE service = 'fine'")

    with pytest.raises(SchedulingDeadlockException, match="not fine"):
        block(journal, top, first)


def test_two_who_wait_for_what_the_other_enqueued_once_are_refused(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    tails = [enqueue(journal, top, name, once=name)[1] for name in ("a", "b")]
    block(journal, top, *tails)
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    assert block(journal, a, enqueue(journal, a, "b", once="b")[1])

    with pytest.raises(SchedulingDeadlockException) as refused:
        block(journal, b, enqueue(journal, b, "a", once="a")[1])

    assert str(refused.value) == ("b (task 3) would wait for ever, for itself: b (task 3) waits for a (task 2) "
                                  "waits for b (task 3)")


def test_two_who_wait_for_the_first_of_what_is_shared_are_refused_too(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    tails = [enqueue(journal, top, name, once=name)[1] for name in ("a", "b")]
    block(journal, top, *tails)
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    block(journal, a, enqueue(journal, a, "b", once="b")[1], any_is_enough=True)

    with pytest.raises(SchedulingDeadlockException, match="for itself"):
        block(journal, b, enqueue(journal, b, "a", once="a")[1], any_is_enough=True)


def test_a_circle_through_a_chain_with_a_queue_that_has_a_place_is_told_as_a_circle(new_run):
    journal = new_run("top", slots=9, queues=ONE_GPU)
    top = claimed(journal)
    _, last = enqueue(journal, top, "first", "rest", once="key", queue="gpu")
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET queue = NULL, limited = '' WHERE service = 'first'")
    block(journal, top, last)
    first = claimed(journal, SECOND)

    with pytest.raises(SchedulingDeadlockException) as refused:
        block(journal, first, enqueue(journal, first, "first", "rest", once="key")[1])

    assert str(refused.value) == ("first (task 2) would wait for ever, for itself: first (task 2) waits for rest (task 3) "
                                  "waits for first (task 2)")


def test_a_child_does_not_wait_for_the_result_that_its_parent_computes(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    compute_or_wait(journal, top, "cache:a")
    block(journal, top, enqueue(journal, top, "child")[1])
    child = claimed(journal, MAIN + 1)
    computes = compute_or_wait(journal, child, "cache:a")

    with pytest.raises(SchedulingDeadlockException, match="for itself"):
        block(journal, child, computes)

    settle(journal, child, worker=SECOND)
    assert states(journal) == ["running", "succeeded"]
