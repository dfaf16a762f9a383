"""What a worker has in hand between two transactions: what it reserves, settles together, and gives back."""
from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass

import pytest
from conftest import wait_until
from journals import (
    BROKEN,
    DONE,
    MAIN,
    SECOND,
    THIRD,
    attempts,
    claimed,
    column,
    enqueue,
    error_after,
    moments_of,
    moves,
    new_tasks,
    settle,
    state,
    states,
)

import firexlite.batch
from firexlite.batch import MOST_CHAINS, MOST_TASKS, Batch
from firexlite.board import COMES, RESTS, RUNNER, WORKS, Board, Doorbell
from firexlite.claims import NO_APPETITE, Appetite, Begun, Claim, Ended, Enqueued, Failure, Hand, NewChain, Retry, Success, Use
from firexlite.errors import ClaimLost
from firexlite.home import SPILL_BYTES
from firexlite.journal import Journal
from firexlite.soundness import faults_of_rules
from firexlite.takeover import take_over

LEAVES = Appetite(9, {"leaf"})
TOP = 1  # the first task of each run here, which is at THIRD and blocked


@pytest.fixture
def below(new_run):
    """Makes a journal of which a task waits for the given children: ``below("leaf", "leaf|tail")``. They are tasks 2, 3 .."""
    made = []

    def make(*chains: str, slots: int = 1, queues=None, **more) -> Journal:
        journal = new_run("top", slots=slots, queues=queues)
        top = claimed(journal, THIRD)
        lasts = [enqueue(journal, top, *chain.split("|"), **more)[1] for chain in chains]
        journal.block(top, lasts, 1)
        journal.bell.forget()
        made.append(journal)
        return journal

    yield make
    for journal in made:
        assert list(faults_of_rules(journal)) == []


@pytest.fixture
def reserving(below):
    """Makes a journal with so many leaves, of which a worker has claimed the first and reserved the others; with the claim."""
    def make(leaves: int = 4, *others: str, slots: int = 1, **more) -> tuple[Journal, Claim]:
        journal = below(*["leaf"] * leaves, *others, **more)
        claim = journal.claim(MAIN, 0, Appetite(leaves - 1, {"leaf"}))
        journal.slots = slots  # by now the others are free
        assert len(claim.reserved) == leaves - 1
        journal.bell.forget()
        return journal, claim

    return make


def ended(claim: Claim, outcome: Success | Failure | Retry = DONE, begun: float | None = None,
          is_parent: bool = False) -> Ended:
    """That an attempt ended half a second after it had ``begun``, if it was reserved, and used a byte and a second."""
    at = None if begun is None else Begun(begun, 10)
    return Ended(claim, outcome, 20, is_parent, Use(1, 1.0), at, begun and begun + 0.5)


def all_ended(claim: Claim) -> list[Ended]:
    """That a task and those reserved with it succeeded."""
    return [ended(claim), *(ended(one, begun=5000.0 + one.task) for one in claim.reserved)]


def in_hand(present: Claim, *, outcomes=(), left=(), begun: float | None = None, enqueued=()) -> Hand:
    return Hand(MAIN, outcomes, left, present, None if begun is None else Begun(begun, 10), enqueued)


def enqueued(*services: str, **more) -> Enqueued:
    def catch_up() -> None:
        raise AssertionError("its place should be known")

    return Enqueued(NewChain("|".join(services), new_tasks(*services, **more)), catch_up)


def reserved_by(journal: Journal) -> list[int | None]:
    return column(journal, "reserved")


# --- reserving -------------------------------------------------------------------------------------------------------------

def test_what_comes_next_is_reserved_in_order(below):
    journal = below("leaf", "leaf", "leaf|tail", "leaf")

    claim = journal.claim(MAIN, 0, Appetite(2, {"leaf"}))

    assert [(one.task, one.attempt, one.epoch, one.service) for one in (claim, *claim.reserved)] == [
        (2, 1, 1, "leaf"), (3, 1, 1, "leaf"), (4, 1, 1, "leaf")]
    assert (claim.reserved[1].chain, claim.reserved[1].last, claim.reserved[1].parent) == (4, 5, TOP)
    assert states(journal) == ["blocked", "running", "ready", "ready", "waiting", "ready"]
    assert reserved_by(journal) == [None, None, MAIN, MAIN, None, None]
    assert attempts(journal, 3) == []


def test_without_an_appetite_nothing_is_reserved(below):
    journal = below("leaf", "leaf")

    assert claimed(journal).reserved == ()


NOT_TO_BE_RESERVED = {
    "takes several slots": {"slots": 2},
    "must not begin twice": {"on_interrupt": "ask"},
    "has options of its own": {"options": "{}"},
}


@pytest.mark.parametrize("why", NOT_TO_BE_RESERVED)
def test_what_is_not_to_be_reserved_is_overtaken_by_none(why, below):
    journal = below("leaf", "leaf")
    top = Claim(TOP, 1, 1, "top", "{}", None, 1, 1, 0, 0, 0, "retry", None)
    enqueue(journal, top, "leaf", **NOT_TO_BE_RESERVED[why])
    enqueue(journal, top, "leaf")

    assert [one.task for one in journal.claim(MAIN, 0, LEAVES).reserved] == [3]


def test_a_service_that_takes_long_is_overtaken_by_none(below):
    journal = below("leaf", "leaf", "long", "leaf")

    assert [one.task for one in journal.claim(MAIN, 0, LEAVES).reserved] == [3]


def test_nothing_is_reserved_behind_one_that_takes_long(below):
    journal = below("long", "leaf")

    assert journal.claim(MAIN, 0, LEAVES).reserved == ()


def test_a_task_that_was_begun_before_is_not_reserved(below):
    journal = below("leaf", "leaf", slots=2)
    claims = [claimed(journal, MAIN), claimed(journal, SECOND)]
    journal.lose(SECOND, error_after)
    settle(journal, claims[0], claims_next=False)
    top = Claim(TOP, 1, 1, "top", "{}", None, 1, 1, 0, 0, 0, "retry", None)
    enqueue(journal, top, "leaf", priority=-1)

    claim = journal.claim(MAIN, 0, LEAVES)

    assert (claim.task, claim.reserved) == (4, ())


def test_what_is_in_a_queue_with_a_limit_is_not_reserved(below):
    journal = below("leaf", "leaf", queues={"gpu": 9}, queue="gpu")

    assert journal.claim(MAIN, 0, LEAVES).reserved == ()


def test_what_a_worker_has_reserved_nobody_else_claims_or_is_woken_for(reserving):
    journal, _ = reserving(3, "other", slots=3)
    journal.look([], lambda *_: None)

    assert journal.bell.of("ring") == [([], 1)]
    assert claimed(journal, SECOND).service == "other"
    assert journal.claim(4, 0) is None


def test_what_is_reserved_takes_no_slot(reserving):
    journal, _ = reserving(3, "other", "other", slots=3)

    claims = [claimed(journal, worker).service for worker in (SECOND, 4)]

    assert claims == ["other", "other"]
    assert states(journal).count("running") == 3


def test_nothing_is_reserved_that_another_could_begin_at_once(below):
    journal = below(*["leaf"] * 4, slots=2)

    assert claimed(journal).reserved == journal.claim(SECOND, 0, NO_APPETITE).reserved == ()
    settle(journal, Claim(2, 1, 1, "leaf", "{}", TOP, 2, 2, 1, 0, 0, "retry", None), claims_next=False)
    settle(journal, Claim(3, 1, 1, "leaf", "{}", TOP, 3, 3, 1, 0, 0, "retry", None), claims_next=False)
    assert journal.claim(MAIN, 0, LEAVES).reserved == ()


# --- settling together -------------------------------------------------------------------------------------------------------

def test_what_ended_is_settled_together(reserving):
    journal, claim = reserving(3)

    following = journal.settle_all(all_ended(claim), MAIN, 30)

    assert following is None  # the slot is handed to who waited
    assert states(journal) == ["running", "succeeded", "succeeded", "succeeded"]
    assert reserved_by(journal) == [None] * 4
    assert journal.execute("SELECT task, move, at FROM event WHERE task > 2 AND move <> 'release' ORDER BY task, id") == [
        (3, "claim", 5003.0), (3, "succeed", 5003.5), (4, "claim", 5004.0), (4, "succeed", 5004.5)]
    assert journal.execute("SELECT task, number, epoch, worker, started, ended, outcome, error, log_start, log_end, peak, cpu "
                           "FROM attempt WHERE task > 2 ORDER BY task") == [
        (task, 1, 1, MAIN, 5000.0 + task, 5000.5 + task, "succeeded", None, 10, 20, 1, 1.0) for task in (3, 4)]
    assert journal.execute("SELECT outcome, started < 5000, log_end FROM attempt WHERE task = 2") == [("succeeded", 1, 20)]


def test_results_that_are_settled_together_are_each_its_own(reserving):
    journal, claim = reserving(3)
    outcomes = [Success(f'{{"x":{one.task}}}', f'{{"y":{one.task}}}') for one in (claim, *claim.reserved)]

    journal.settle_all([ended(one, outcome, begun) for one, outcome, begun in zip(
        (claim, *claim.reserved), outcomes, (None, 1.0, 2.0), strict=True)], MAIN, 30)

    assert journal.execute("SELECT result, changes FROM task WHERE id > 1") == [
        (outcome.result, outcome.changes) for outcome in outcomes]


def test_who_waited_is_woken_once_and_the_run_is_counted_once(reserving):
    journal, claim = reserving(4)

    journal.settle_all(all_ended(claim), MAIN, 30)

    assert journal.bell.of("ring") == [([THIRD], 0)]
    assert journal.bell.of("count") == [("succeeded", 4)]


def test_what_follows_in_their_chains_is_released(below):
    journal = below("leaf|tail", "leaf|tail")
    claim = journal.claim(MAIN, 0, LEAVES)
    journal.slots = 3

    following = journal.settle_all(all_ended(claim), MAIN, 30)

    assert following.service == "tail"
    assert states(journal) == ["blocked", "succeeded", "running", "succeeded", "ready"]
    assert journal.bell.of("ring")[-1] == ([], 1)


def test_one_that_fails_among_others_ends_its_chain_and_no_other(below):
    journal = below("leaf|tail", "leaf|tail", "leaf|tail")
    claim = journal.claim(MAIN, 0, LEAVES)
    bad, good = claim.reserved

    journal.settle_all([ended(claim), ended(bad, BROKEN, 5003.0), ended(good, begun=5004.0)], MAIN, 30, claims_next=False)

    assert states(journal) == ["blocked", "succeeded", "ready", "failed", "skipped", "succeeded", "ready"]
    assert journal.execute("SELECT started, ended, outcome, error, log_start, log_end FROM attempt WHERE task = 4") == [
        (5003.0, 5003.5, "failed", '"broken"', 10, 20)]
    assert sorted(journal.bell.of("count")) == [("failed", 1), ("skipped", 1), ("succeeded", 2)]


def test_one_that_is_to_be_tried_again_is_ready_for_it(reserving):
    journal, claim = reserving(2)
    [again] = claim.reserved

    following = journal.settle_all([ended(claim), ended(again, Retry('"again"', 0.0), 5003.0)], MAIN, 30)

    assert (following.task, following.attempt, following.retry) == (3, 2, 1)
    assert attempts(journal, 3) == [("retried", '"again"'), (None, None)]


def test_one_that_is_to_be_tried_again_later_is_due_then(reserving):
    journal, claim = reserving(2)
    [again] = claim.reserved

    journal.settle_all([ended(claim), ended(again, Retry('"again"', 60.0), 5003.0)], MAIN, 30)

    assert state(journal, 3) == "ready"
    assert journal.execute("SELECT due > moved + 59 FROM task WHERE id = 3") == [(1,)]
    assert journal.bell.of("comes_due") == [60.0]


def test_large_results_and_errors_of_a_batch_lie_in_blobs(reserving):
    journal, claim = reserving(3)
    large = json.dumps("x" * SPILL_BYTES)
    one, other = claim.reserved

    journal.settle_all([ended(claim), ended(one, Success(large, large), 1.0), ended(other, Failure(large), 2.0)], MAIN, 30)

    [texts] = journal.execute("SELECT result, changes, (SELECT error FROM attempt WHERE task = 4) FROM task WHERE id = 3")
    assert all(text.startswith("blob:") and journal.directory.unspill(text) == large for text in texts)


def test_what_is_left_of_a_batch_is_given_back(reserving):
    journal, claim = reserving(4, slots=2)

    journal.settle_all([ended(claim)], MAIN, 30, claims_next=False, left=claim.reserved)

    assert states(journal) == ["blocked", "succeeded", "ready", "ready", "ready"]
    assert reserved_by(journal) == [None] * 5
    assert journal.bell.of("ring") == [([], 2)]


def test_what_is_left_may_be_reserved_anew_at_once(reserving):
    journal, claim = reserving(4)

    following = journal.settle_all([ended(claim)], MAIN, 30, True, claim.reserved, LEAVES)

    assert (following.task, [one.task for one in following.reserved]) == (3, [4, 5])


def test_what_one_worker_gives_back_stays_with_the_other_that_has_it_by_now(reserving):
    journal, claim = reserving(3, slots=2)
    journal.catch_up(in_hand(claim, left=claim.reserved))
    theirs = journal.claim(SECOND, 0, LEAVES)
    assert [one.task for one in theirs.reserved] == [4]

    journal.settle_all([ended(claim)], MAIN, 30, False, claim.reserved)

    assert reserved_by(journal) == [None, None, None, SECOND]


def test_a_reserved_task_that_was_revoked_is_dropped_and_its_worker_is_told(reserving):
    journal, claim = reserving(3)
    revoked, other = claim.reserved

    journal.revoke_chain(revoked.task)
    assert journal.bell.of("withdraw") == [[MAIN]]
    assert journal.bell.of("interrupt") == []
    journal.bell.forget()
    journal.settle_all(all_ended(claim), MAIN, 30)

    assert states(journal) == ["running", "succeeded", "revoked", "succeeded"]
    assert (attempts(journal, revoked.task), attempts(journal, other.task)) == ([], [("succeeded", None)])
    assert journal.bell.of("count") == [("succeeded", 2)]


def test_a_leader_that_was_revoked_costs_the_others_nothing(reserving):
    journal, claim = reserving(3)

    journal.revoke_chain(claim.task)
    journal.settle_all(all_ended(claim), MAIN, 30)

    assert states(journal) == ["running", "revoked", "succeeded", "succeeded"]


def test_nothing_of_a_batch_is_settled_after_a_take_over(reserving):
    journal, claim = reserving(3)
    take_over(journal, 2, "here", {})
    assert reserved_by(journal) == [None] * 4

    journal.settle_all(all_ended(claim), MAIN, 30, claims_next=False)

    assert states(journal) == ["ready"] * 4


def test_a_batch_in_which_something_breaks_is_not_settled_at_all(reserving, monkeypatch):
    journal, claim = reserving(3)
    before = moves(journal)
    monkeypatch.setattr(journal, "_let_waiters_go_on", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        journal.settle_all(all_ended(claim), MAIN, 30)

    assert moves(journal) == before
    assert reserved_by(journal) == [None, None, MAIN, MAIN]


@pytest.mark.parametrize("write", ["settle", "catch up", "block"])
def test_what_ended_is_durable_as_soon_as_it_is_journaled(write, reserving, monkeypatch):
    journal, claim = reserving(3)
    present, left = claim.reserved
    hand = in_hand(present, outcomes=[ended(claim)], left=[left], begun=5000.0)
    moments = moments_of(monkeypatch)

    if write == "settle":
        journal.settle_all(all_ended(claim), MAIN, 30)
    elif write == "catch up":
        journal.catch_up(hand)
    else:
        journal.block(present, [], 1, hand=hand)

    assert moments.index(f"{write} committed") < moments.index("sync")


def test_children_that_were_reserved_with_their_parent_are_not_settled_when_it_failed(new_run):
    journal = new_run("top", worker_deaths=3)
    top = claimed(journal)
    child, _ = enqueue(journal, top, "leaf", priority=5)
    journal.lose(MAIN, error_after)
    again = journal.claim(MAIN, 0, Appetite(9, {"top", "leaf"}))
    assert (again.task, again.attempt, [one.task for one in again.reserved]) == (1, 2, [child])

    journal.settle_all([ended(again, BROKEN, is_parent=True), ended(again.reserved[0], begun=5000.0)], MAIN, 30)

    assert list(faults_of_rules(journal)) == []
    assert (states(journal), attempts(journal, child)) == (["failed", "revoked"], [])


# --- what the journal learns while a body runs -------------------------------------------------------------------------------

def test_a_reserved_task_that_goes_on_is_begun_and_all_else_in_hand_is_journaled(reserving):
    journal, claim = reserving(5, slots=3)
    one, present, *left = claim.reserved
    child = enqueued("child", "after")

    journal.catch_up(in_hand(present, outcomes=[ended(claim), ended(one, begun=5003.0)], left=left, begun=5004.0,
                             enqueued=[child]))

    assert states(journal) == ["blocked", "succeeded", "succeeded", "running", "ready", "ready", "ready", "waiting"]
    assert reserved_by(journal) == [None] * 8
    assert (child.known(), journal.chain_of(8)) == ((7, 8), 7)
    assert column(journal, "parent")[6:] == [present.task] * 2
    assert journal.execute("SELECT number, epoch, worker, started, log_start, ended, outcome FROM attempt WHERE task = 4") == [
        (1, 1, MAIN, 5004.0, 10, None, None)]
    assert journal.bell.of("ring") == [([], 2)]
    assert journal.bell.of("work") == []
    assert settle(journal, present, is_parent=True, claims_next=False) is None
    assert states(journal)[3] == "succeeded"


@pytest.mark.parametrize("is_reserved", [False, True])
@pytest.mark.parametrize("has_left", [False, True])
@pytest.mark.parametrize("has_enqueued", [False, True])
def test_whatever_of_it_is_in_hand_is_journaled(is_reserved, has_left, has_enqueued, reserving):
    journal, claim = reserving(3, slots=2)
    present, left = claim.reserved if is_reserved else (claim, claim.reserved[0])
    child = enqueued("child")

    journal.catch_up(in_hand(present, outcomes=[ended(claim)] if is_reserved else (), left=[left] if has_left else (),
                             begun=5000.0 if is_reserved else None, enqueued=[child] if has_enqueued else ()))

    assert state(journal, claim.task) == ("succeeded" if is_reserved else "running")
    assert state(journal, present.task) == "running"
    assert (reserved_by(journal)[left.task - 1] is None) == has_left
    assert child.place == ((5, 5) if has_enqueued else None)


def test_who_catches_up_is_told_that_its_reserved_task_was_withdrawn_and_what_ended_is_kept(reserving):
    journal, claim = reserving(4)
    one, present, left = claim.reserved
    journal.revoke_chain(present.task)
    child = enqueued("child")

    with pytest.raises(ClaimLost) as raised:
        journal.catch_up(in_hand(present, outcomes=[ended(claim), ended(one, begun=5003.0)], left=[left], begun=5004.0,
                                 enqueued=[child]))

    assert (raised.value.task, raised.value.attempt, raised.value.move) == (present.task, 1, "go on")
    assert states(journal) == ["blocked", "succeeded", "succeeded", "revoked", "ready"]
    assert reserved_by(journal)[4] is None
    assert child.place is None
    assert attempts(journal, present.task) == []


def test_who_enqueues_is_told_that_its_task_was_revoked_and_what_is_left_is_given_back(reserving):
    journal, claim = reserving(2)
    journal.revoke_chain(claim.task)

    with pytest.raises(ClaimLost):
        journal.catch_up(in_hand(claim, left=claim.reserved, enqueued=[enqueued("child")]))

    assert states(journal) == ["blocked", "revoked", "ready"]
    assert reserved_by(journal)[2] is None


def test_a_reserved_task_whose_slot_went_to_another_does_not_go_on(reserving):
    journal, claim = reserving(3, "other")
    one, present = claim.reserved
    journal.revoke_chain(claim.task)
    assert claimed(journal, SECOND).service == "other"

    with pytest.raises(ClaimLost):
        journal.catch_up(in_hand(present, outcomes=[ended(claim), ended(one, begun=5003.0)], begun=5004.0))

    assert states(journal) == ["blocked", "revoked", "succeeded", "ready", "running"]
    assert reserved_by(journal)[3] is None


def test_chains_that_are_enqueued_together_stand_in_the_order_in_which_they_were(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    chains = [enqueued("a", "b"), enqueued("c"), enqueued("d", queue="gpu", slots=2)]

    journal.catch_up(in_hand(top, enqueued=chains))

    assert [chain.place for chain in chains] == [(2, 3), (4, 4), (5, 5)]
    assert states(journal) == ["running", "ready", "waiting", "ready", "ready"]
    assert column(journal, "depth") == [0, 1, 1, 1, 1]
    assert journal.recorded_calls(top) and [one.digest for one in journal.recorded_calls(top)] == ["a|b", "c", "d"]
    assert journal.bell.of("count") == [("known", 1), ("known", 4)]
    assert list(faults_of_rules(journal)) == []


def test_large_arguments_of_what_is_enqueued_together_lie_in_blobs(new_run):
    journal = new_run("top")
    large = json.dumps({"x": "x" * SPILL_BYTES})

    journal.catch_up(in_hand(claimed(journal), enqueued=[enqueued("a", arguments=large)]))

    [_, text] = column(journal, "arguments")
    assert text.startswith("blob:") and journal.directory.unspill(text) == large


def test_who_blocks_has_what_is_in_its_hand_journaled_first(reserving):
    journal, claim = reserving(4)
    one, present, left = claim.reserved
    child, other = enqueued("child"), enqueued("a", "b")

    assert journal.block(present, [child, other], 7, hand=in_hand(
        present, outcomes=[ended(claim), ended(one, begun=5003.0)], left=[left], begun=5004.0, enqueued=[child, other]))

    assert states(journal)[:5] == ["blocked", "succeeded", "succeeded", "blocked", "ready"]
    assert (child.place, other.place) == ((6, 6), (7, 8))
    assert journal.execute("SELECT tail FROM awaited WHERE waiter = ? AND wait = 7 ORDER BY tail", present.task) == [(6,), (8,)]
    assert journal.bell.of("ring") == [([], 1)]


def test_who_blocks_with_all_it_waits_for_ended_goes_on_and_its_hand_is_empty(reserving):
    journal, claim = reserving(2, slots=3)

    assert not journal.block(claim, [], 7, hand=in_hand(claim, left=claim.reserved, enqueued=[enqueued("child")]))

    assert states(journal) == ["blocked", "running", "ready", "ready"]
    assert reserved_by(journal)[2] is None
    assert journal.bell.of("ring") == [([], 2)]


def test_who_blocks_though_it_was_withdrawn_is_told_so_and_what_ended_is_kept(reserving):
    journal, claim = reserving(2)
    [present] = claim.reserved
    journal.revoke_chain(present.task)

    with pytest.raises(ClaimLost) as raised:
        journal.block(present, [], 7, hand=in_hand(present, outcomes=[ended(claim)], begun=5000.0))

    assert raised.value.move == "block"
    assert states(journal) == ["running", "succeeded", "revoked"]


def test_a_wait_that_is_refused_leaves_all_in_the_hand(reserving):
    journal, claim = reserving(3)
    present, left = claim.reserved
    child = enqueued("child")
    before = moves(journal)

    def refuse(*_) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        journal.block(present, [child], 7, may_wait=refuse, hand=in_hand(
            present, outcomes=[ended(claim)], left=[left], begun=5000.0, enqueued=[child]))

    assert moves(journal) == before
    assert reserved_by(journal) == [None, None, MAIN, MAIN]
    assert child.place is None


# --- workers that died --------------------------------------------------------------------------------------------------------

def test_a_worker_that_dies_at_a_reserved_task_costs_that_one_a_death_and_no_other(reserving):
    journal, claim = reserving(4, slots=2)
    one, present, left = claim.reserved

    assert journal.lose(MAIN, error_after, present=present.task) == []

    assert states(journal) == ["blocked", "ready", "ready", "ready", "ready"]
    assert reserved_by(journal) == [None] * 5
    assert column(journal, "deaths")[1:] == [0, 0, 1, 0]
    assert attempts(journal, present.task) == [("lost", error_after(1))]
    assert (attempts(journal, one.task), attempts(journal, left.task)) == ([], [])
    assert attempts(journal, claim.task) == [("lost", None)]
    assert journal.bell.of("ring") == [([], 2)]


def test_a_worker_that_dies_at_the_task_it_claimed_costs_that_one_a_death_and_no_other(reserving):
    journal, claim = reserving(3)

    journal.lose(MAIN, error_after, present=claim.task)

    assert column(journal, "deaths")[1:] == [1, 0, 0]
    assert states(journal) == ["blocked", "ready", "ready", "ready"]
    assert (attempts(journal, 3), reserved_by(journal)) == ([], [None] * 4)


def test_a_reserved_task_that_kills_its_worker_once_too_often_fails_and_no_other_does(reserving):
    journal, claim = reserving(3, worker_deaths=0)
    present = claim.reserved[0]

    assert journal.lose(MAIN, error_after, present=present.task) == [present.task]

    assert states(journal) == ["blocked", "ready", "failed", "ready"]
    assert attempts(journal, present.task) == [("failed", error_after(1))]


def test_what_a_worker_that_lives_has_reserved_stays_with_it(reserving):
    journal, _ = reserving(3, "other", slots=2)
    claimed(journal, SECOND)

    journal.lose(SECOND, error_after, present=5)

    assert reserved_by(journal) == [None, None, MAIN, MAIN, None]


def test_the_output_of_a_reserved_task_whose_worker_died_begins_where_that_of_the_last_settled_one_ended(reserving):
    journal, claim = reserving(3, slots=2)
    other = claim.reserved[1]
    journal.catch_up(in_hand(claim, left=claim.reserved))
    journal.slots = 1
    again = journal.settle_all([ended(claim)], MAIN, 20, appetite=LEAVES)

    journal.lose(MAIN, error_after, present=again.reserved[0].task)

    assert journal.execute("SELECT log_start FROM attempt WHERE task = ?", other.task) == [(20,)]


# --- after a take-over -------------------------------------------------------------------------------------------------------

def test_a_new_incarnation_finds_nothing_reserved_and_nobody_charged_for_it(reserving):
    journal, _ = reserving(3)

    take_over(journal, 2, "here", {})

    assert reserved_by(journal) == [None] * 4
    assert states(journal) == ["ready"] * 4
    assert column(journal, "attempt")[1:] == [1, 0, 0]


@pytest.mark.parametrize("what", ["reserved = 9", "reserved = 0, attempt = 1"])
def test_a_reservation_that_cannot_be_is_found(what, reserving):
    journal, _ = reserving(2)
    with journal.transaction(durable=True):
        journal.execute(f"UPDATE task SET {what} WHERE id = 3")

    assert "task 3 is ready and reserved by worker" in " ".join(faults_of_rules(journal))
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET reserved = 0, attempt = 0 WHERE id = 3")


def test_a_leader_that_was_revoked_leaves_a_sound_journal_behind(reserving):
    journal, claim = reserving(2)

    journal.revoke_chain(claim.task)

    assert list(faults_of_rules(journal)) == []


# --- the batch itself -------------------------------------------------------------------------------------------------------

class Letters:
    """Stands for the address from which a worker wakes others: remembers whom."""

    def __init__(self) -> None:
        self.sent: list[tuple] = []

    def send(self, name: int | str, message: bytes = b"") -> None:
        self.sent.append((name, message))


@dataclass
class AtWork:
    """A worker with its batch, whose bodies take no time at all, or as long as a test says."""

    journal: Journal
    board: Board
    letters: Letters
    batch: Batch
    log_bytes: int = 0

    def runs(self, claim: Claim, outcome: Success | Failure | Retry = DONE, took_s: float = 0.0, **more) -> Claim | None:
        """The body of a task has run; the next task."""
        self.batch._began -= took_s
        self.log_bytes += 10
        return self.batch.end(claim, outcome, more.get("is_parent", False), Use(1, 1.0))

    def enqueue(self, chain: NewChain, is_awaited: bool = False) -> Enqueued:
        """What its body does."""
        present = self.batch._present
        assert present is not None
        return self.batch.enqueue(present, chain, is_awaited)

    def claim(self) -> Claim:
        claim = self.batch.claim()
        assert claim is not None
        return claim

    def reserved(self) -> list[int]:
        return [task for (task,) in self.journal.execute("SELECT id FROM task WHERE reserved = ? ORDER BY id", MAIN)]


@pytest.fixture
def at_work(below, monkeypatch):
    """Makes a worker with so many leaves to do; it has no clerk, and all the time in the world."""
    monkeypatch.setattr(firexlite.batch, "LATEST_S", 1000.0)
    monkeypatch.setattr(firexlite.batch, "LONGEST_BATCH_S", 1000.0)
    monkeypatch.setattr(firexlite.batch, "LONGEST_BODY_S", 1.0)
    monkeypatch.setattr(Batch, "_watch", lambda batch: None)

    def make(*chains: str, **more) -> AtWork:
        journal, board, letters = below(*chains, **more), Board(), Letters()
        journal.bell = Doorbell(board, letters)  # type: ignore[arg-type]
        journal.clock = time.time
        board.set_status(MAIN, WORKS)
        worker = AtWork(journal, board, letters, None)  # type: ignore[arg-type]
        worker.batch = Batch(journal, board, MAIN, contextlib.nullcontext(), lambda: worker.log_bytes)
        return worker

    return make


@pytest.fixture
def in_batch(at_work):
    """A worker that has settled one leaf, runs the next, and has reserved as many as are left of them."""
    def make(leaves: int = 5, *others: str, **more) -> tuple[AtWork, Claim]:
        worker = at_work(*["leaf"] * leaves, *others, **more)
        first = worker.claim()
        worker.batch._most = 16
        claim = worker.runs(first)
        assert claim is not None and len(claim.reserved) == leaves - 2
        return worker, claim

    return make


def test_a_batch_grows_from_one_task_on(at_work):
    worker = at_work(*["leaf"] * 40)
    claim, sizes = worker.claim(), []

    while claim is not None:
        if not worker.batch.goes_on:
            sizes.append(1 + len(claim.reserved))
        claim = worker.runs(claim)

    assert sizes == [1, 2, 8, 29]  # with each body twice as many
    assert states(worker.journal) == ["running"] + ["succeeded"] * 40


def test_no_batch_is_larger_than_it_may_be(at_work):
    worker = at_work(*["leaf"] * 120)
    claim, most = worker.claim(), 0

    while claim is not None:
        most = max(most, len(claim.reserved))
        claim = worker.runs(claim)

    assert most == MOST_TASKS - 1


def test_a_batch_is_no_longer_than_its_bodies_may_take(at_work, monkeypatch):
    monkeypatch.setattr(firexlite.batch, "LONGEST_BATCH_S", 0.35)
    worker = at_work(*["leaf"] * 40)
    claim, most = worker.claim(), 0

    while claim is not None:
        most = max(most, 1 + len(claim.reserved))
        claim = worker.runs(claim, took_s=0.1)

    assert most == 3


def test_tasks_whose_bodies_take_long_are_settled_one_by_one(at_work):
    worker = at_work(*["leaf"] * 6)
    claim = worker.claim()

    for done in range(1, 6):
        claim = worker.runs(claim, took_s=2.0)
        assert (claim.reserved, states(worker.journal).count("succeeded")) == ((), done)


def test_a_service_that_turns_out_to_take_long_is_reserved_no_more(in_batch):
    worker, claim = in_batch(12)

    claim = worker.runs(claim, took_s=10.0)
    while worker.batch.goes_on:
        claim = worker.runs(claim)

    assert claim is None or claim.reserved == ()


def test_a_service_that_takes_long_is_not_reserved_by_who_runs_short_ones(at_work):
    worker = at_work("leaf", "quick", "quick", "leaf")
    claim = worker.runs(worker.claim(), took_s=2.0)

    while claim is not None and claim.service == "quick":
        assert "leaf" not in [one.service for one in claim.reserved]
        claim = worker.runs(claim)

    assert claim is not None and not worker.batch.goes_on


@pytest.mark.parametrize("status", [RESTS, COMES])
def test_nothing_is_reserved_while_somebody_is_idle(status, at_work):
    worker = at_work(*["leaf"] * 9, slots=2)
    claim = worker.runs(worker.claim())
    worker.board.set_status(SECOND, status)

    while (claim := worker.runs(claim)) is not None and not worker.batch.goes_on:
        assert claim.reserved == ()
        worker.board.set_status(SECOND, status)
        if states(worker.journal).count("succeeded") == 8:
            break

    assert worker.reserved() == []


def test_what_ended_is_journaled_with_the_last_of_a_batch(in_batch):
    worker, claim = in_batch(4)
    following = worker.runs(claim)

    assert worker.batch.goes_on and following.task == 4
    assert states(worker.journal) == ["blocked", "succeeded", "running", "ready", "ready"]
    assert worker.board.attempt(MAIN) == (4, 1)

    last = worker.runs(following)
    assert worker.runs(last) is None

    assert states(worker.journal) == ["running"] + ["succeeded"] * 4
    assert not worker.batch.goes_on and worker.batch.is_empty


def test_each_task_of_a_batch_has_its_own_stretch_of_the_log(in_batch):
    worker, claim = in_batch(4)

    while claim is not None:
        claim = worker.runs(claim)

    assert worker.journal.execute("SELECT log_start, log_end FROM attempt WHERE task > 1 ORDER BY task") == [
        (0, 10), (10, 20), (20, 30), (30, 40)]


def test_a_task_of_a_batch_has_its_own_times(in_batch):
    worker, claim = in_batch(4)

    while claim is not None:
        claim = worker.runs(claim)

    times = worker.journal.execute("SELECT started, ended FROM attempt WHERE task > 3 ORDER BY task")
    assert sorted(itertools.chain.from_iterable(times)) == list(itertools.chain.from_iterable(times))


@pytest.mark.parametrize("why", ["withdrawn", "stopping", "late"])
def test_a_batch_does_not_go_on(why, in_batch, monkeypatch):
    worker, claim = in_batch(5)
    if why == "withdrawn":
        worker.journal.revoke_chain(5)
    elif why == "stopping":
        worker.board.stop()
    else:
        monkeypatch.setattr(firexlite.batch, "LATEST_S", 0.0)

    following = worker.runs(claim)

    assert not worker.batch.goes_on
    assert states(worker.journal)[2] == "succeeded"
    assert (following is None) == (why == "stopping")
    if why == "stopping":
        assert worker.reserved() == []


def test_a_batch_does_not_go_on_after_a_body_that_must_not_run_twice(at_work):
    worker = at_work("leaf", "leaf", "leaf")
    worker.batch._most, worker.batch._short = 16, {"leaf"}
    with worker.journal.transaction(durable=True):
        worker.journal.execute("UPDATE task SET on_interrupt = 'ask' WHERE id = 2")
    claim = worker.claim()
    assert len(claim.reserved) == 2

    worker.runs(claim)

    assert state(worker.journal, 2) == "succeeded"


def test_a_withdrawn_task_is_not_begun_and_the_batch_after_it_is_as_any(in_batch):
    worker, claim = in_batch(5)
    worker.journal.revoke_chain(4)
    ran = [claim.task]

    while (claim := worker.runs(claim)) is not None:
        ran.append(claim.task)

    assert ran == [3, 5, 6]
    assert states(worker.journal) == ["running", "succeeded", "succeeded", "revoked", "succeeded", "succeeded"]
    assert not worker.board.withdrawn(MAIN)


def test_who_lost_a_reserved_task_ends_no_attempt_of_another_at_it(in_batch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)
    with worker.journal.transaction(durable=True):
        worker.journal.execute("UPDATE task SET reserved = NULL WHERE id = ?", present.task)
    with pytest.raises(ClaimLost):
        worker.batch.catch_up()
    [(task, attempt)] = [claimed(worker.journal, SECOND)[:2]]
    assert (task, attempt) == (present.task, present.attempt)

    worker.runs(present, BROKEN)

    assert (state(worker.journal, task), attempts(worker.journal, task)) == ("running", [(None, None)])


# --- what its body enqueues -------------------------------------------------------------------------------------------------

def chain_of(*services: str) -> NewChain:
    return NewChain("|".join(services), new_tasks(*services))


def test_quick_children_are_journaled_together_and_have_their_places_when_asked(in_batch):
    worker, claim = in_batch(2)
    children = [worker.enqueue(chain_of("child", "after")) for _ in range(3)]
    assert (len(states(worker.journal)), [child.place for child in children]) == (3, [None] * 3)

    assert children[1].known() == (6, 7)

    assert [child.place for child in children] == [(4, 5), (6, 7), (8, 9)]
    assert worker.journal.execute("SELECT DISTINCT parent FROM task WHERE id > 3") == [(claim.task,)]
    assert worker.batch.is_empty


def test_a_child_is_journaled_at_once_if_somebody_is_idle_and_it_is_not_waited_for(in_batch):
    worker, _ = in_batch(2, slots=3)
    worker.board.set_status(SECOND, RESTS)

    awaited = worker.enqueue(chain_of("child"), is_awaited=True)
    assert awaited.place is None
    other = worker.enqueue(chain_of("child"))

    assert (awaited.place, other.place) == ((4, 4), (5, 5))
    assert worker.board.status(SECOND) == COMES


def test_no_more_than_so_many_chains_are_in_hand(in_batch):
    worker, _ = in_batch(2)

    chains = [worker.enqueue(chain_of("child")) for _ in range(MOST_CHAINS)]

    assert all(chain.place for chain in chains)


def test_a_reserved_task_that_enqueues_is_begun_with_its_children(in_batch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)
    child = worker.enqueue(chain_of("child"))

    child.known()

    assert states(worker.journal) == ["blocked", "succeeded", "succeeded", "running", "ready", "ready", "ready"]
    assert (worker.reserved(), worker.batch.goes_on) == ([], False)
    assert worker.runs(present, is_parent=True) is not None
    assert states(worker.journal)[3] == "succeeded"


def test_who_blocks_does_so_in_one_transaction_with_what_is_in_hand(in_batch, monkeypatch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)
    child = worker.enqueue(chain_of("child"), is_awaited=True)
    transactions: list[str] = []
    begin = worker.journal.transaction
    monkeypatch.setattr(worker.journal, "transaction",
                        lambda durable, operation, **more: transactions.append(operation) or begin(durable, operation, **more))

    assert worker.batch.block(present, [child], 1, False, lambda *_: None)

    assert transactions == ["block"]
    assert child.place == (7, 7)
    assert states(worker.journal) == ["blocked", "succeeded", "succeeded", "blocked", "ready", "ready", "ready"]


def test_after_a_refused_wait_all_is_in_the_hand_still(in_batch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)
    child = worker.enqueue(chain_of("child"), is_awaited=True)

    with pytest.raises(ZeroDivisionError):
        worker.batch.block(present, [child], 1, False, lambda *_: 1 / 0)
    assert (child.place, worker.batch.goes_on, worker.reserved()) == (None, True, [4, 5, 6])

    worker.batch.catch_up()
    assert (child.place, worker.reserved()) == ((7, 7), [])
    assert states(worker.journal) == ["blocked", "succeeded", "succeeded", "running", "ready", "ready", "ready"]


def test_who_was_withdrawn_is_told_so_and_the_next_batch_is_as_any(in_batch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)
    worker.journal.revoke_chain(present.task)

    with pytest.raises(ClaimLost):
        worker.batch.catch_up()

    assert states(worker.journal) == ["blocked", "succeeded", "succeeded", "revoked", "ready", "ready"]
    with pytest.raises(ClaimLost):
        worker.batch.catch_up()
    assert worker.runs(present, BROKEN).task == 5


def test_what_a_failed_body_had_enqueued_is_not_enqueued_by_the_next(in_batch):
    worker, claim = in_batch(5)
    child = worker.enqueue(chain_of("child"))

    following = worker.runs(claim, BROKEN, is_parent=True)
    worker.enqueue(chain_of("another"))
    worker.batch.catch_up()

    assert worker.journal.execute("SELECT service, parent FROM task WHERE parent > 1 AND service = 'another'") == [
        ("another", following.task)]
    assert worker.journal.execute("SELECT parent FROM task WHERE service = 'child'") in ([], [(claim.task,)])
    assert child.place is None or child.place == (7, 7)


def test_a_child_of_a_task_that_keeps_its_children_goes_on_though_the_body_failed(at_work):
    worker = at_work("leaf", keeps_children=True, slots=2)
    claim = worker.claim()
    worker.enqueue(chain_of("child"))

    following = worker.runs(claim, BROKEN, is_parent=True)

    assert (following and following.service) == "child"


@pytest.mark.parametrize("is_idle", [False, True])
def test_a_thread_that_outlived_its_body_enqueues_and_waits_for_nothing(is_idle, in_batch):
    worker, claim = in_batch(2 if is_idle else 5)
    worker.runs(claim)

    with pytest.raises(ClaimLost):
        worker.batch.enqueue(claim, chain_of("child"))
    with pytest.raises(ClaimLost):
        worker.batch.block(claim, [2], 1, False, lambda *_: None)

    worker.batch.catch_up()
    assert "child" not in column(worker.journal, "service")


# --- ends -------------------------------------------------------------------------------------------------------------------

def test_who_is_stopped_in_the_midst_journals_what_ended_and_gives_back_the_rest(in_batch):
    worker, claim = in_batch(5)
    worker.runs(claim)
    worker.board.stop()

    worker.batch.close()

    assert states(worker.journal) == ["blocked", "succeeded", "succeeded", "ready", "ready", "ready"]
    assert worker.reserved() == []
    assert column(worker.journal, "attempt")[3:] == [0, 0, 0]


def test_who_is_stopped_with_nothing_in_hand_writes_nothing(at_work):
    worker = at_work("leaf")
    worker.claim()
    before = moves(worker.journal)

    worker.batch.close()

    assert moves(worker.journal) == before


def test_a_task_that_is_put_back_is_so_with_all_before_it_journaled(in_batch):
    worker, claim = in_batch(5)
    present = worker.runs(claim)

    worker.batch.stopped(lambda: worker.journal.stop(present, "{}", MAIN, 0))

    assert states(worker.journal)[:4] == ["blocked", "succeeded", "succeeded", "ready"]
    assert attempts(worker.journal, present.task) == [("stopped", None)]


def test_a_fork_of_a_body_touches_nothing(in_batch):
    worker, claim = in_batch(5)
    worker.runs(claim)
    child = worker.enqueue(chain_of("child"))
    before = (states(worker.journal), moves(worker.journal))

    pid = os.fork()
    if not pid:
        worker.batch.forget()
        worker.batch.catch_up()
        worker.batch.close()
        try:
            child.known()
        except RuntimeError as error:
            os._exit(0 if worker.batch.is_empty and "known there only" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0

    assert (states(worker.journal), moves(worker.journal)) == before
    assert not worker.batch.is_empty
    worker.batch.catch_up()
    assert len(states(worker.journal)) == 7


# --- the clerk --------------------------------------------------------------------------------------------------------------

@pytest.fixture
def with_clerk(below, monkeypatch):
    """Makes a worker with a clerk, which has settled a leaf, runs the next and has reserved the others."""
    monkeypatch.setattr(firexlite.batch, "LATEST_S", 0.1)

    def make(leaves: int = 5, **more) -> tuple[AtWork, Claim]:
        journal, board, letters = below(*["leaf"] * leaves, **more), Board(), Letters()
        journal.bell = Doorbell(board, letters)  # type: ignore[arg-type]
        journal.clock = time.time
        worker = AtWork(journal, board, letters, None)  # type: ignore[arg-type]
        worker.batch = Batch(journal, board, MAIN, contextlib.nullcontext(), lambda: worker.log_bytes)
        first = worker.claim()
        worker.batch._most, worker.batch._short = 16, {"leaf"}
        claim = worker.runs(first)
        assert claim is not None
        return worker, claim

    return make


def seen(worker: AtWork) -> list[str]:
    """The states as another process sees them."""
    connection = sqlite3.connect(f"file:{worker.journal.directory.journal}?mode=ro", uri=True)
    try:
        return [state for (state,) in connection.execute("SELECT state FROM task ORDER BY id")]
    finally:
        connection.close()


def test_while_a_body_goes_on_the_clerk_journals_what_ended_and_gives_back_what_was_reserved(with_clerk):
    worker, claim = with_clerk(5)
    present = worker.runs(claim)
    assert worker.batch.goes_on

    wait_until(lambda: worker.batch.is_empty and not worker.batch._is_handed_over, what="clerk's work")

    assert seen(worker) == ["blocked", "succeeded", "succeeded", "running", "ready", "ready"]
    assert worker.reserved() == []
    assert worker.runs(present).task == 5


@pytest.fixture
def clerk_in_the_midst(with_clerk, monkeypatch):
    """A worker whose clerk is about to journal a child; with that, and how to let the clerk go on."""
    worker, _ = with_clerk(2)
    is_at_it, may_go_on = threading.Event(), threading.Event()
    catch_up = worker.journal.catch_up

    def slowly(hand: Hand) -> None:
        is_at_it.set()
        assert may_go_on.wait(20)
        catch_up(hand)

    monkeypatch.setattr(worker.journal, "catch_up", slowly)
    child = worker.enqueue(chain_of("child"))
    assert is_at_it.wait(20)
    yield worker, child, may_go_on.set
    may_go_on.set()
    wait_until(lambda: child.place, what="place of the child")


def test_who_asks_for_what_the_clerk_is_about_to_journal_waits_for_it(clerk_in_the_midst):
    _, child, go_on = clerk_in_the_midst
    threading.Timer(0.2, go_on).start()

    assert child.known() == (4, 4)


def test_a_fork_in_the_midst_of_the_clerk_s_work_does_not_wait_for_it(clerk_in_the_midst):
    worker, _, _ = clerk_in_the_midst

    pid = os.fork()
    if not pid:
        signal.alarm(10)
        worker.batch.forget()
        worker.batch.catch_up()
        worker.batch.close()
        os._exit(0)

    assert os.waitpid(pid, 0)[1] == 0


def test_the_clerk_journals_children_while_their_parent_goes_on(with_clerk):
    worker, claim = with_clerk(2, slots=3)

    child = worker.enqueue(chain_of("child"))

    wait_until(lambda: child.place, what="place of a child")
    assert seen(worker) == ["blocked", "succeeded", "running", "ready"]
    assert (RUNNER, b"fork 1") in worker.letters.sent
    assert worker.journal.execute("SELECT parent FROM task WHERE id = 4") == [(claim.task,)]


def test_the_clerk_s_failure_is_raised_where_the_body_asks(with_clerk, monkeypatch):
    worker, claim = with_clerk(2)
    monkeypatch.setattr(worker.journal, "catch_up", lambda hand: 1 / 0)
    worker.enqueue(chain_of("child"))
    wait_until(lambda: worker.batch._failure, what="failure of the clerk")
    monkeypatch.undo()

    with pytest.raises(ZeroDivisionError):
        worker.batch.end(claim, DONE, True, Use(1, 1.0))


def test_the_clerk_ends_by_itself_and_comes_again(with_clerk):
    worker, _ = with_clerk(2)
    worker.enqueue(chain_of("child"))
    wait_until(lambda: not worker.batch._clerk_is_there, what="end of the clerk")

    child = worker.enqueue(chain_of("child"))

    wait_until(lambda: child.place, what="place of a child")


def test_the_clerk_interrupts_a_body_whose_task_was_withdrawn(with_clerk, monkeypatch):
    killed: list[tuple] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    worker, claim = with_clerk(5)
    present = worker.runs(claim)
    assert worker.batch.goes_on
    worker.journal.revoke_chain(present.task)

    wait_until(lambda: killed, what="signal")

    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert worker.board.revoked(MAIN) == (present.task, present.attempt)
    assert seen(worker)[:4] == ["blocked", "succeeded", "succeeded", "revoked"]
