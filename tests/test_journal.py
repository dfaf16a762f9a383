"""The journal's promises: what one transaction does, who may write, and what a new incarnation finds."""
from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable

import pytest
from journals import (
    BROKEN,
    DONE,
    FIREX_ID,
    MAIN,
    SECOND,
    THIRD,
    Chimes,
    attempts,
    claimed,
    column,
    enqueue,
    error_after,
    moves,
    new_tasks,
    run_directory,
    settle,
    state,
    states,
)

from firexlite.claims import Failure, Recorded, Success
from firexlite.errors import ClaimLost, JournalUnusable, StorageFailure
from firexlite.home import SPILL_BYTES, RunDirectory
from firexlite.journal import Journal
from firexlite.schema import SCHEMA
from firexlite.takeover import take_over
from firexlite.waiting import come_due

# --- submit, claim, settle -------------------------------------------------------------------------------------------

def test_every_task_of_a_submitted_chain_is_journaled_and_the_first_is_ready(new_run):
    journal = new_run("greet", "amplify", "print", arguments='{"name":"Li"}')

    assert states(journal) == ["ready", "waiting", "waiting"]
    assert (column(journal, "chain"), column(journal, "last")) == ([1, 1, 1], [3, 3, 3])
    assert column(journal, "digest") == ["submitted", None, None]
    assert column(journal, "arguments") == ['{"name":"Li"}'] * 3
    assert journal.execute("SELECT name, digest FROM service ORDER BY name") == [
        ("amplify", "amplify"), ("greet", "greet"), ("print", "print")]
    assert journal.execute("SELECT firex_id, state, epoch, chain FROM run") == [
        (FIREX_ID, "running", 1, "greet,amplify,print")]
    assert journal.bell.of("count") == [("known", 3)]


def test_a_claim_names_all_that_a_worker_needs(new_run):
    journal = new_run("greet", arguments='{"name":"Li"}')

    claim = journal.claim(7, log_at=120)

    assert claim == type(claim)(task=1, attempt=1, epoch=1, service="greet", arguments='{"name":"Li"}', parent=None,
                                chain=1, last=1, depth=0, retry=0, relaxed=0, on_interrupt="retry", redoes=None)
    assert journal.execute("SELECT task, number, epoch, worker, ended, outcome, log_start FROM attempt") == [
        (1, 1, 1, 7, None, None, 120)]
    assert journal.bell.of("work") == [7]


def test_success_releases_the_next_task_and_claims_it_in_the_same_transaction(new_run):
    journal = new_run("greet", "amplify")
    claim = claimed(journal)

    follower = settle(journal, claim, Success('{"greeting":"Hello"}', '{"name":"Li"}'))

    assert (follower.task, follower.service, follower.attempt) == (2, "amplify", 1)
    *_, succeed, release, claim_2 = journal.execute("SELECT task, move, at FROM event ORDER BY id")
    assert [succeed[:2], release[:2], claim_2[:2]] == [(1, "succeed"), (2, "release"), (2, "claim")]
    assert succeed[2] == release[2] == claim_2[2]  # the clock is asked once a transaction, and moves on
    assert journal.execute("SELECT result, changes FROM task WHERE id = 1") == [('{"greeting":"Hello"}', '{"name":"Li"}')]
    assert attempts(journal, 1) == [("succeeded", None)]


def test_a_settling_that_cannot_claim_changes_nothing_at_all(new_run):
    journal = new_run("greet", "amplify")
    claim = claimed(journal)

    class Broken(Exception):
        pass

    def broken(free: int) -> None:
        raise Broken

    journal._startable_in = broken
    before = moves(journal)
    with pytest.raises(Broken):
        settle(journal, claim)

    assert states(journal) == ["running", "waiting"]
    assert attempts(journal, 1) == [(None, None)]
    assert moves(journal) == before


def test_failure_skips_the_rest_of_the_chain(new_run):
    journal = new_run("greet", "amplify", "print")
    claim = claimed(journal)

    assert settle(journal, claim, BROKEN) is None

    assert states(journal) == ["failed", "skipped", "skipped"]
    assert attempts(journal, 1) == [("failed", '"broken"')]
    assert journal.bell.of("count") == [("known", 3), ("skipped", 2), ("failed", 1)]
    assert journal.finish() == "failed"


def test_a_worker_that_is_to_end_claims_nothing_but_lets_others_know(new_run):
    journal = new_run("greet", "amplify")
    claim = claimed(journal)
    journal.bell.forget()

    assert settle(journal, claim, claims_next=False) is None

    assert states(journal) == ["succeeded", "ready"]
    assert journal.bell.of("ring") == [([], 1)]


def test_once_the_run_is_stopping_nothing_is_claimed(new_run):
    journal = new_run("greet", "amplify")
    claim = claimed(journal)
    journal.bell.is_stopping = True

    assert settle(journal, claim) is None
    assert journal.claim(MAIN, 0) is None
    assert states(journal) == ["succeeded", "ready"]


def test_the_deepest_is_claimed_first_and_of_one_depth_the_oldest(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    enqueue(journal, top, "left")       # 2
    enqueue(journal, top, "right")      # 3
    left = claimed(journal)
    enqueue(journal, left, "below 1")   # 4
    enqueue(journal, left, "below 2")   # 5

    order = [claimed(journal).service for _ in range(3)]

    assert left.service == "left"
    assert order == ["below 1", "below 2", "right"]
    assert column(journal, "depth") == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_tasks_run_than_there_are_slots(new_run, slots):
    journal = new_run("top", slots=slots)
    top = claimed(journal)
    tails = [enqueue(journal, top, "child")[1] for _ in range(5)]
    assert journal.block(top, tails, wait=1)

    running = [journal.claim(worker, 0) for worker in range(1, 6)]

    assert [claim is not None for claim in running] == [True] * slots + [False] * (5 - slots)
    assert states(journal).count("running") == slots
    assert journal.bell.of("rest") == [(worker, False) for worker in range(slots + 1, 6)]


def test_a_look_that_finds_nothing_running_and_nothing_to_start_is_quiet(new_run):
    journal = new_run("greet", slots=2)
    claim = claimed(journal)
    assert journal.claim(SECOND, 0) is None

    assert settle(journal, claim) is None

    assert journal.bell.of("rest") == [(SECOND, False), (MAIN, True)]
    assert journal.look([], come_due).is_quiet
    assert journal.finish() == "succeeded"


# --- waiting for children --------------------------------------------------------------------------------------------

def test_an_enqueued_chain_knows_its_parent_and_waits_for_nobody(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)

    assert enqueue(journal, top, "a", "b", arguments='{"x":1}') == (2, 3)

    assert states(journal) == ["running", "ready", "waiting"]
    assert journal.execute("SELECT parent, parent_retry, chain, last, depth, digest, arguments FROM task WHERE id > 1") == [
        (1, 0, 2, 3, 1, "a|b", '{"x":1}'), (1, 0, 2, 3, 1, None, '{"x":1}')]
    assert journal.bell.of("ring") == [([], 1)]  # one ready task, and one free slot for it
    assert journal.children_of(1) == [(2, 3)]


def test_a_blocked_parent_gives_up_its_slot_and_gets_one_back_before_any_new_task(new_run):
    journal = new_run("top")
    top = claimed(journal, MAIN)
    _, tail = enqueue(journal, top, "child")
    enqueue(journal, top, "other child")
    assert journal.claim(SECOND, 0) is None  # the one slot is taken

    assert journal.block(top, [tail], wait=1)
    child = claimed(journal, SECOND)
    journal.bell.forget()
    following = settle(journal, child, worker=SECOND)

    assert following is None  # the settling worker handed its slot to the parent it woke
    assert states(journal) == ["running", "succeeded", "ready"]
    assert journal.bell.of("ring") == [([MAIN], 0)]
    assert not journal.is_waiting(top, 1)
    assert moves(journal)[-4:] == [(1, "block"), (2, "claim"), (2, "succeed"), (1, "unblock")]


def test_a_parent_whose_wait_is_over_stays_blocked_until_a_slot_is_free(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    for name in ("a", "b"):
        enqueue(journal, top, name)
    assert journal.block(top, [2], wait=1)
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    journal.slots = 1  # as if somebody had taken a slot again after a time-out

    settle(journal, a, worker=SECOND, claims_next=False)
    assert state(journal, 1) == "blocked"
    assert journal.is_waiting(top, 1)

    settle(journal, b, worker=THIRD, claims_next=False)
    assert state(journal, 1) == "running"
    assert not journal.is_waiting(top, 1)


def test_there_is_nothing_to_wait_for_once_all_has_ended(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    enqueue(journal, top, "good")
    enqueue(journal, top, "bad", "skipped")
    good = claimed(journal, SECOND)
    bad = settle(journal, good, worker=SECOND)
    settle(journal, bad, BROKEN, worker=SECOND)

    assert journal.block(top, [2, 4], wait=1) is False
    assert journal.block(top, [], wait=2) is False
    assert state(journal, 1) == "running"
    assert journal.execute("SELECT * FROM awaited") == []


@pytest.mark.parametrize("any_is_enough", [True, False])
def test_a_wait_for_any_ends_with_the_first_and_one_for_all_with_the_last(new_run, any_is_enough):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b")]
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    assert journal.block(top, tails, wait=1, any_is_enough=any_is_enough)
    journal.bell.forget()

    settle(journal, b, BROKEN, worker=THIRD)
    assert journal.is_waiting(top, 1) is not any_is_enough
    assert journal.bell.of("ring") == ([([MAIN], 0)] if any_is_enough else [])
    settle(journal, a, worker=SECOND)

    assert not journal.is_waiting(top, 1)
    assert journal.bell.of("ring") == [([MAIN], 0)]
    assert journal.execute("SELECT * FROM awaited") == []


def test_a_wait_for_any_of_which_one_has_ended_is_over_before_it_begins(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b")]
    settle(journal, claimed(journal, SECOND), worker=SECOND)

    assert journal.block(top, tails, wait=1, any_is_enough=True) is False
    assert state(journal, 1) == "running"


def test_each_thread_of_a_task_waits_for_its_own(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b")]
    a, b = claimed(journal, SECOND), claimed(journal, THIRD)
    assert journal.block(top, tails[:1], wait=1)
    assert journal.block(top, tails[1:], wait=2)
    journal.bell.forget()

    settle(journal, a, worker=SECOND)

    assert (journal.is_waiting(top, 1), journal.is_waiting(top, 2)) == (False, True)
    assert state(journal, 1) == "blocked"
    assert journal.bell.of("ring") == [([MAIN], 0)]  # its first thread goes on
    journal.bell.forget()
    settle(journal, b, worker=THIRD)
    assert not journal.is_waiting(top, 2)
    assert state(journal, 1) == "running"
    assert journal.bell.of("ring") == [([MAIN], 0)]


def test_after_a_time_out_the_task_has_a_slot_again_and_the_child_goes_on(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    _, tail = enqueue(journal, top, "slow")
    child = claimed(journal, SECOND)
    journal.block(top, [tail], wait=1)

    journal.end_wait(top, 1)

    assert states(journal) == ["running", "running"]
    assert not journal.is_waiting(top, 1)
    settle(journal, child, worker=SECOND)
    assert states(journal) == ["running", "succeeded"]


def test_a_thread_that_waits_on_after_another_timed_out_is_woken_in_the_end(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b")]
    claimed(journal, SECOND), claimed(journal, THIRD)
    journal.block(top, tails[:1], wait=1)
    journal.block(top, tails[1:], wait=2)
    journal.end_wait(top, 1)
    assert journal.is_waiting(top, 2)
    journal.bell.forget()

    b = journal.execute("SELECT attempt, epoch FROM task WHERE id = ?", tails[1])
    claim = type(top)(tails[1], *b[0], "b", "{}", 1, tails[1], tails[1], 1, 0, 0, "retry", None)
    journal.settle(claim, DONE, THIRD, 0, is_parent=False)

    assert not journal.is_waiting(top, 2)
    assert [MAIN] in [unblocked for unblocked, _ in journal.bell.of("ring")]


def test_a_task_that_could_go_on_and_waits_in_another_thread_takes_no_slot(new_run):
    journal = new_run("top", slots=1)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b", "c")]
    journal.block(top, tails[1:2], wait=1)
    a = claimed(journal, SECOND)
    journal.revoke_chain(tails[1])
    assert journal.execute("SELECT state, wakeable FROM task WHERE id = 1") == [("blocked", 1)]  # there is no slot

    assert journal.block(top, tails[2:], wait=2)
    following = settle(journal, a, worker=SECOND)

    assert (following.service, state(journal, 1)) == ("c", "blocked")


# --- the fence -------------------------------------------------------------------------------------------------------

@pytest.fixture
def stale(new_run):
    """A journal and a claim that was lost: to another worker, another incarnation, or a user."""

    def make(how: str):
        journal = new_run("top", "next", slots=4)
        claim = claimed(journal)
        enqueue(journal, claim, "child")
        if how == "another worker":
            journal.lose(MAIN, error_after)
            claimed(journal, SECOND)  # the child
            assert claimed(journal, SECOND).attempt == 2
        elif how == "another incarnation":
            take_over(journal, 1, "here", {})
            claimed(journal, SECOND)
            claimed(journal, SECOND)
        elif how == "the epoch alone":
            with journal.transaction(durable=True):
                journal.execute("UPDATE run SET epoch = 2")
        else:
            journal.revoke_chain(1)
        return journal, claim

    return make


HOWS = ["another worker", "another incarnation", "the epoch alone", "revoked"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("write", [
    lambda journal, claim: settle(journal, claim, is_parent=True, claims_next=False),
    lambda journal, claim: settle(journal, claim, BROKEN, is_parent=True, claims_next=False),
    lambda journal, claim: settle(journal, claim, Success("{}", "{}", aside=[3]), is_parent=True, claims_next=False),
    lambda journal, claim: journal.stop(claim, "{}", MAIN, 0),
    lambda journal, claim: journal.show(claim, [("key", "html", '"text"', 0)]),
    lambda journal, claim: journal.end_wait(claim, 1),
], ids=["succeed", "fail", "set aside", "stop", "show", "end wait"])
def test_what_a_stale_attempt_writes_changes_nothing(stale, how, write):
    journal, claim = stale(how)
    journal.bell.is_stopping = True  # so that nothing else is claimed on the way
    before = list(journal.db.connection().iterdump())

    write(journal, claim)

    assert list(journal.db.connection().iterdump()) == before


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("write, move", [
    (lambda journal, claim: enqueue(journal, claim, "late"), "enqueue"),
    (lambda journal, claim: journal.block(claim, [3], wait=1), "block"),
    (lambda journal, claim: journal.is_waiting(claim, 1), "wait"),
], ids=["enqueue", "block", "wait"])
def test_a_stale_attempt_is_told_that_it_lost_its_task(stale, how, write, move):
    journal, claim = stale(how)
    before = list(journal.db.connection().iterdump())

    with pytest.raises(ClaimLost) as raised:
        write(journal, claim)

    assert str(raised.value) == f"attempt 1 no longer owns task 1, so its '{move}' was dropped"
    assert list(journal.db.connection().iterdump()) == before


def test_a_worker_whose_outcome_was_dropped_claims_the_next_task_all_the_same(stale):
    journal, claim = stale("another incarnation")
    journal.lose(SECOND, error_after)

    following = settle(journal, claim, is_parent=True)

    assert following.task == 3
    assert "succeeded" not in states(journal)


# --- a worker's death ------------------------------------------------------------------------------------------------

def test_a_task_is_ready_again_until_its_deaths_are_used_up(new_run):
    journal = new_run("deadly", "next", worker_deaths=2)

    for _ in range(2):
        claimed(journal)
        assert journal.lose(MAIN, error_after) == []
        assert states(journal) == ["ready", "waiting"]
    claimed(journal)
    assert journal.lose(MAIN, error_after) == [1]

    assert states(journal) == ["failed", "skipped"]
    assert column(journal, "deaths") == [3, 0]
    assert attempts(journal, 1) == [("lost", '"died 1 times"'), ("lost", '"died 2 times"'), ("failed", '"died 3 times"')]
    assert journal.bell.of("gone") == [MAIN] * 3
    assert journal.bell.of("count")[1:] == [("failed", 1), ("skipped", 1)]


def test_the_death_of_a_worker_at_rest_costs_nobody_anything(new_run):
    journal = new_run("top", slots=2)
    claimed(journal, MAIN)

    assert journal.lose(SECOND, error_after) == []

    assert states(journal) == ["running"]
    assert journal.bell.of("gone") == [SECOND]


def test_a_blocked_task_is_lost_too_and_its_children_go_on(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal, MAIN)
    _, tail = enqueue(journal, top, "child")
    journal.block(top, [tail], wait=1)
    child = claimed(journal, SECOND)
    journal.bell.forget()

    journal.lose(MAIN, error_after)

    assert states(journal) == ["ready", "running"]
    assert journal.execute("SELECT * FROM awaited") == []
    assert journal.bell.of("ring") == [([], 1)]
    again = settle(journal, child, worker=SECOND)
    assert (again.task, again.attempt) == (1, 2)
    assert journal.recorded_calls(again) == [Recorded(2, 2, "child", held=False)]


def test_a_death_too_many_revokes_what_is_below_and_wakes_who_waits(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal, MAIN)
    _, tail = enqueue(journal, top, "deadly", "next", worker_deaths=0)
    journal.block(top, [tail], wait=1)
    deadly = claimed(journal, SECOND)
    enqueue(journal, deadly, "below")
    claimed(journal, THIRD)
    journal.bell.forget()

    assert journal.lose(SECOND, error_after) == [2]

    assert states(journal) == ["running", "failed", "skipped", "revoked"]
    assert journal.bell.of("interrupt") == [[(THIRD, 4, 1)]]
    assert journal.bell.of("ring") == [([MAIN], 0)]


# --- revoke ----------------------------------------------------------------------------------------------------------

def test_revoking_a_chain_revokes_all_that_is_open_below_it(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal, 0)
    enqueue(journal, top, "done", "runs", "waits")                # 2 3 4
    enqueue(journal, top, "bystander")                            # 5
    runs = settle(journal, claimed(journal, 1), worker=1)         # 2 has succeeded, 3 runs
    _, tail = enqueue(journal, runs, "child", "child's next")     # 6 7
    child = claimed(journal, 2)
    enqueue(journal, child, "grandchild")                         # 8
    claimed(journal, 3)
    journal.block(runs, [tail], wait=1)
    journal.block(top, [4], wait=1)
    journal.bell.forget()

    journal.revoke_chain(2)

    assert states(journal) == ["running", "succeeded", "revoked", "revoked", "ready", "revoked", "revoked", "revoked"]
    assert journal.bell.of("interrupt") == [[(1, 3, 1), (2, 6, 1), (3, 8, 1)]]
    assert journal.bell.of("ring") == [([0], 1)]
    assert journal.bell.of("count") == [("revoked", 5)]
    assert [attempts(journal, task)[0][0] for task in (3, 6, 8)] == ["revoked"] * 3
    assert journal.execute("SELECT * FROM awaited") == []


@pytest.mark.parametrize("outcome", [DONE, BROKEN])
def test_children_that_are_open_when_their_parent_ends_are_revoked(new_run, outcome):
    journal = new_run("top", slots=3)
    top = claimed(journal, MAIN)
    enqueue(journal, top, "done")
    settle(journal, claimed(journal, SECOND), worker=SECOND)
    enqueue(journal, top, "runs", "waits")
    claimed(journal, SECOND)
    enqueue(journal, top, "held", held=True)

    settle(journal, top, outcome, is_parent=True)

    assert states(journal)[1:] == ["succeeded", "revoked", "revoked", "revoked"]
    assert journal.bell.of("interrupt") == [[(SECOND, 3, 1)]]
    assert column(journal, "held") == [0, 0, 0, 0, 0]  # reopened, it would wait for nobody


def test_a_body_that_returns_while_one_of_its_threads_waits_is_settled_all_the_same(new_run):
    journal = new_run("top", "next", slots=2)
    top = claimed(journal, MAIN)
    _, tail = enqueue(journal, top, "slow")
    claimed(journal, SECOND)
    journal.block(top, [tail], wait=1)
    journal.bell.forget()

    following = settle(journal, top, is_parent=True)

    assert following.service == "next"
    assert states(journal) == ["succeeded", "running", "revoked"]
    assert journal.execute("SELECT * FROM awaited") == []
    assert journal.bell.of("ring") == []


def test_a_revoked_run_is_told_from_a_failed_one(new_run):
    journal = new_run("a", "b")
    journal.revoke_chain(1)

    assert journal.finish() == "revoked"


# --- replay ----------------------------------------------------------------------------------------------------------

def test_held_chains_are_not_claimed_until_they_are_released(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    head, _ = enqueue(journal, top, "a", "b", held=True)
    assert states(journal) == ["running", "waiting", "waiting"]
    assert journal.claim(SECOND, 0) is None
    assert journal.recorded_calls(top) == [Recorded(2, 3, "a|b", held=True)]
    journal.bell.forget()

    journal.release_held([head])

    assert states(journal) == ["running", "ready", "waiting"]
    assert journal.bell.of("ring") == [([], 1)]
    assert journal.recorded_calls(top) == [Recorded(2, 3, "a|b", held=False)]


def test_what_a_parent_left_out_is_set_aside_and_revoked_if_it_is_open(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    enqueue(journal, top, "done", "next")
    enqueue(journal, top, "open")
    settle(journal, settle(journal, claimed(journal, SECOND), worker=SECOND), worker=SECOND)

    settle(journal, top, Success("{}", "{}", aside=[2, 4]), is_parent=True)

    assert states(journal) == ["succeeded", "succeeded", "succeeded", "revoked"]
    assert column(journal, "aside") == [0, 1, 1, 1]
    assert journal.recorded_calls(top) == []
    assert journal.children_of(1) == []


def test_a_stopped_task_is_put_back_and_waits_for_the_next_incarnation(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    enqueue(journal, top, "other")

    following = journal.stop(top, '{"why":1}', MAIN, 50)

    assert following.service == "other"
    assert settle(journal, following) is None  # the stopped task is ready, and nobody takes it
    assert states(journal) == ["ready", "succeeded"]
    assert column(journal, "stopped") == ['{"why":1}', None]
    assert attempts(journal, 1) == [("stopped", None)]
    assert journal.look([], come_due).is_quiet
    assert journal.finish() == "interrupted"
    take_over(journal, 1, "here", {})
    assert claimed(journal).attempt == 2
    assert column(journal, "stopped") == [None, None]


def test_a_key_that_is_shown_again_is_replaced(new_run):
    journal = new_run("top")
    top = claimed(journal)

    journal.show(top, [("a", "html", '"1"', 0), ("b", "html", '"2"', 1)])
    journal.show(top, [("a", "html", '"3"', 0)])

    assert journal.execute("SELECT task, key, value FROM flame ORDER BY position") == [(1, "a", '"3"'), (1, "b", '"2"')]


# --- payloads --------------------------------------------------------------------------------------------------------

LARGE = json.dumps({"page": "x" * SPILL_BYTES})


@pytest.fixture
def spilled(new_run):
    """A journal in which every payload of the first task is a large one, and the name of the one blob."""
    journal = new_run("greet", "fail", arguments=LARGE, slots=2)
    settle(journal, settle(journal, claimed(journal), Success(LARGE, LARGE)), Failure(LARGE))
    return journal, hashlib.sha256(LARGE.encode()).hexdigest()


def test_large_payloads_lie_in_blobs_and_come_back(spilled):
    journal, name = spilled

    assert [blob.name for blob in journal.directory.blobs.iterdir()] == [name]
    assert (journal.directory.blobs / name).read_text() == LARGE
    assert journal.execute("SELECT arguments, result, changes FROM task WHERE id = 1") == [(f"blob:{name}",) * 3]
    assert journal.flow_steps(1, 1) == [(LARGE, LARGE, LARGE)]
    assert journal.chain_members(1, 2) == [(1, "greet", "succeeded", None, 1), (2, "fail", "failed", LARGE, 1)]


def test_a_payload_of_just_the_limit_stays_in_the_journal(new_run):
    text = '"' + "x" * (SPILL_BYTES - 2) + '"'
    journal = new_run("greet")

    settle(journal, claimed(journal), Success(text, text))

    assert list(journal.directory.blobs.iterdir()) == []
    assert journal.flow_steps(1, 1) == [("{}", text, text)]


@pytest.mark.parametrize("damage, what", [
    (lambda blob: blob.unlink(), "cannot be read: No such file or directory"),
    (lambda blob: blob.write_text(LARGE.replace("x", "y", 1)), "was changed after it was written"),
], ids=["missing", "changed"])
def test_a_damaged_blob_is_an_error_and_never_a_value(spilled, damage, what):
    journal, name = spilled
    damage(journal.directory.blobs / name)

    for read in (lambda: journal.flow_steps(1, 1), lambda: journal.chain_members(1, 2)):
        with pytest.raises(JournalUnusable) as raised:
            read()
        assert str(raised.value) == f"{journal.directory.path}: the payload blobs/{name} {what}"


# --- processes -------------------------------------------------------------------------------------------------------

def in_a_child(do: Callable[[], object]) -> str:
    """What ``do`` raised in a forked child, as text; ``nothing`` if it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        said = "nothing"
        try:
            do()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said.replace(str(pid), "CHILD").replace(str(os.getpid()), "PARENT")


@pytest.mark.parametrize("use", [
    lambda journal, claim: journal.claim(SECOND, 0),
    lambda journal, claim: settle(journal, claim),
    lambda journal, claim: enqueue(journal, claim, "child"),
    lambda journal, claim: journal.is_waiting(claim, 1),
    lambda journal, claim: journal.recorded_calls(claim),
    lambda journal, claim: journal.flow_steps(1, 1),
    lambda journal, claim: journal.chain_members(1, 1),
    lambda journal, claim: journal.children_of(1),
], ids=["claim", "settle", "enqueue", "is_waiting", "recorded_calls", "flow_steps", "chain_members", "children_of"])
def test_a_process_that_did_not_open_the_journal_may_not_use_it(new_run, use):
    journal = new_run("top", slots=2)
    claim = claimed(journal)

    said = in_a_child(lambda: use(journal, claim))

    assert said == ("RuntimeError: process CHILD is using the journal that process PARENT opened; "
                    "open a new Journal after the fork")
    assert states(journal) == ["running"]


def test_a_service_s_own_fork_lets_go_of_the_lock(new_run, tmp_path):
    journal = new_run("top")
    ready, go = os.pipe(), os.pipe()
    with journal.transaction(durable=False):  # the fork takes place while the lock is held
        pid = os.fork()
        if not pid:
            journal.forget()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)

    other = Journal(journal.directory, 1).open()  # would hang if the child still held it
    assert other.claim(SECOND, 0).task == 1
    other.close()
    os.write(go[1], b"x")
    os.waitpid(pid, 0)


def test_a_journal_of_a_newer_firexlite_is_refused_in_one_sentence(new_run):
    journal = new_run("top")
    journal.execute(f"PRAGMA user_version = {SCHEMA + 1}")

    with pytest.raises(JournalUnusable) as raised:
        Journal(journal.directory, 1).open()

    assert str(raised.value) == (f"{journal.directory.journal} has schema {SCHEMA + 1}, "
                                 f"and this firexlite reads up to {SCHEMA}; "
                                 "use a newer firexlite")


def test_a_foreign_database_is_refused_and_left_as_it_is(tmp_path):
    run = run_directory(tmp_path)
    with sqlite3.connect(run.journal) as foreign:
        foreign.execute("PRAGMA application_id = 7")
        foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    before = run.journal.read_bytes()

    with pytest.raises(JournalUnusable) as raised:
        Journal(run, 1).open()

    assert str(raised.value) == f"{run.journal} is no journal of firexlite but an SQLite file of application 0x7"
    assert run.journal.read_bytes() == before


def test_a_foreign_database_that_says_nothing_of_itself_is_refused_too(tmp_path):
    run = run_directory(tmp_path)
    with sqlite3.connect(run.journal) as foreign:
        foreign.execute("CREATE TABLE mine (x)")
    foreign.close()

    with pytest.raises(JournalUnusable):
        Journal(run, 1).open()


def test_what_is_no_database_is_refused_in_one_sentence(tmp_path):
    run = run_directory(tmp_path)
    run.journal.write_text("a shopping list\n" * 100)

    with pytest.raises(JournalUnusable) as raised:
        Journal(run, 1).open()

    assert str(raised.value) == (f"{run.journal} is no SQLite file: it was overwritten, "
                                 "or something else was put in its place")


def test_a_refused_journal_leaves_nothing_open(tmp_path):
    run = run_directory(tmp_path)
    run.journal.write_text("a shopping list\n" * 100)

    def open_files() -> list[str]:
        return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                      if os.path.exists(f"/proc/self/fd/{fd}"))

    with pytest.raises(JournalUnusable):
        Journal(run, 1).open()

    assert not [path for path in open_files() if str(tmp_path) in path]


def test_a_folded_journal_is_a_single_file_that_opens_read_only(new_run):
    journal = new_run("top")
    settle(journal, claimed(journal))
    journal.finish()

    journal.fold()

    assert sorted(path.name for path in journal.directory.path.glob("journal*")) == ["journal.sqlite3"]
    reader = sqlite3.connect(f"file:{journal.directory.journal}?mode=ro&immutable=1", uri=True)
    assert reader.execute("SELECT state FROM run").fetchall() == [("succeeded",)]
    reader.close()


TASKS = 300


def test_two_processes_never_run_one_task_twice(tmp_path, new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal, MAIN)
    tails = [enqueue(journal, top, "child", "next")[1] for _ in range(TASKS // 2)]
    journal.block(top, tails, wait=1)
    effects = tmp_path / "effects"

    def hammer(worker: int) -> None:
        mine = Journal(RunDirectory(journal.directory.path), 2, Chimes()).open()
        fd = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        claim = mine.claim(worker, 0)
        while claim is not None:
            os.write(fd, f"{worker} {claim.task}\n".encode())
            outcome = BROKEN if claim.service == "next" and claim.task % 7 == 0 else DONE
            claim = mine.settle(claim, outcome, worker, 0, is_parent=False)

    pids = []
    for worker in (SECOND, THIRD):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                hammer(worker)
                code = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]

    lines = [line.split() for line in effects.read_text().splitlines()]
    assert sorted(int(task) for _, task in lines) == list(range(2, TASKS + 2))
    assert {worker for worker, _ in lines} == {"1", "2"}
    assert set(states(journal)[1:]) == {"succeeded", "failed"}
    assert state(journal, 1) == "running"  # the last to settle woke it
    ended = Counter(states(journal))
    assert Counter(move for task, move in moves(journal) if task > 1) == {
        "release": TASKS, "claim": TASKS, "succeed": ended["succeeded"], "fail": ended["failed"]}
    running = most = 0
    for _, move in moves(journal):
        running += (move in ("claim", "unblock")) - (move in ("succeed", "fail", "block"))
        most = max(most, running)
    assert most <= 2


# --- taking over -----------------------------------------------------------------------------------------------------

@pytest.fixture
def tree(new_run):
    """Makes a run of ``{number: (parent, chain, service, state)}`` as an incarnation that was killed left it."""

    def make(*tasks: tuple[int | None, str, str], aside: tuple[int, ...] = ()) -> Journal:
        """tasks: ``(parent, service, state)``; those of one parent beside each other whose service begins with `+`
        follow the one before in its chain."""
        journal = new_run("replaced", slots=9)
        with journal.transaction(durable=True):
            journal.execute("DROP TRIGGER tasks_stay")
            journal.execute("DROP TRIGGER only_legal_moves")
            journal.execute("DELETE FROM task")
            journal.execute("DELETE FROM service")
        chain = 0
        for num, (parent, service, _) in enumerate(tasks, start=1):
            chain = chain if service.startswith("+") else num
            last = num
            while last < len(tasks) and tasks[last][1].startswith("+"):
                last += 1
            name = service.lstrip("+")
            with journal.transaction(durable=True):
                journal.execute("INSERT OR IGNORE INTO service (name, about, digest) VALUES (?, '{}', 'old')", name)
                journal.execute(
                    "INSERT INTO task (id, parent, parent_retry, chain, last, depth, service, arguments, digest, "
                    "worker_deaths, state, moved, attempt, retry, deaths, worker, wakeable, held, relaxed, aside) "
                    "VALUES (?, ?, 0, ?, ?, 0, ?, '{}', ?, 3, 'waiting', 0, 0, 0, 2, 0, 0, 0, 0, ?)",
                    num, parent, chain, last, name, name if num == chain else None, int(num in aside))
        for num, (_, _, left_in) in enumerate(tasks, start=1):
            with journal.transaction(durable=True):
                journal.execute("UPDATE task SET state = ?, move = 'test', attempt = ? WHERE id = ?",
                                left_in, int(left_in not in ("waiting", "ready", "skipped")), num)
                if left_in in ("running", "blocked"):
                    journal.execute("INSERT INTO attempt (task, number, epoch, worker, started, log_start) "
                                    "VALUES (?, 1, 1, 0, 0, 0)", num)
        with journal.transaction(durable=True):
            journal.execute("""CREATE TRIGGER only_legal_moves BEFORE UPDATE OF state ON task WHEN NOT EXISTS (
                SELECT 1 FROM legal WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)
                BEGIN SELECT RAISE(ABORT, 'no such move'); END""")
        return journal

    return make


def taken_over(journal: Journal, *changed: str):
    """Take over with the code of these services changed."""
    names = [name for name, in journal.execute("SELECT name FROM service")]
    return take_over(journal, 4711, "here", {name: ("{}", "new" if name in changed else "old") for name in names})


def test_what_was_in_flight_is_ready_and_belongs_to_a_new_epoch(new_run):
    journal = new_run("top", "next", slots=2)
    top = claimed(journal, MAIN)
    _, tail = enqueue(journal, top, "child")
    journal.block(top, [tail], wait=1)
    claimed(journal, SECOND)

    found = take_over(journal, 4711, "there", {})

    assert (found.epoch, found.interrupted, found.reopened, found.succeeded) == (2, 2, 0, 0)
    assert found.counts == {"ready": 2, "waiting": 1}
    assert states(journal) == ["ready", "waiting", "ready"]
    assert column(journal, "deaths") == [0, 0, 0]  # it was no worker's death
    assert attempts(journal, 1) == attempts(journal, 3) == [("lost", None)]
    assert journal.execute("SELECT epoch, pid, host, ended FROM incarnation") == [
        (1, os.getpid(), "here", None), (2, 4711, "there", None)]
    assert journal.execute("SELECT state, epoch, ended FROM run") == [("running", 2, None)]
    assert journal.execute("SELECT * FROM awaited") == []
    child = claimed(journal)
    assert (child.task, child.attempt, child.epoch) == (3, 2, 2)


# Each case: the tree; services whose code changed; the states after, those relaxed; numbers set aside before.
CASES = {
    "a failed task of the submitted chain, and what was skipped behind it": (
        [(None, "a", "succeeded"), (None, "+b", "failed"), (None, "+c", "skipped")], [],
        ["succeeded", "ready", "waiting"], {2, 3}),
    "revoked tasks of the submitted chain": (
        [(None, "a", "revoked"), (None, "+b", "revoked")], [],
        ["ready", "waiting"], {1, 2}),
    "a failed child below a reopened parent, its succeeded sibling not": (
        [(None, "top", "failed"), (1, "good", "succeeded"), (1, "bad", "failed"), (1, "cut", "revoked")], [],
        ["ready", "succeeded", "ready", "ready"], {1, 3, 4}),
    "a failed chain below a reopened parent, from where it failed": (
        [(None, "top", "failed"), (1, "a", "succeeded"), (1, "+b", "failed"), (1, "+c", "skipped")], [],
        ["ready", "succeeded", "ready", "waiting"], {1, 3, 4}),
    "a failed grandchild below reopened parents": (
        [(None, "top", "failed"), (1, "mid", "failed"), (2, "low", "failed")], [],
        ["ready", "ready", "ready"], {1, 2, 3}),
    "not a handled failure below a parent that succeeded": (
        [(None, "top", "failed"), (1, "mid", "succeeded"), (2, "low", "failed")], [],
        ["ready", "succeeded", "failed"], {1}),
    "not a handled failure below a succeeded parent, even if its code changed": (
        [(None, "top", "running"), (1, "mid", "succeeded"), (2, "low", "failed")], ["low"],
        ["ready", "succeeded", "failed"], set()),
    "not a failure below a parent that was merely interrupted": (
        [(None, "top", "running"), (1, "low", "failed")], [],
        ["ready", "failed"], set()),
    "a failure below an interrupted parent, if its code changed": (
        [(None, "top", "blocked"), (1, "low", "failed"), (1, "+next", "skipped")], ["low"],
        ["ready", "ready", "waiting"], {1, 2, 3}),
    "not a failure below an interrupted parent whose own code changed": (
        [(None, "top", "running"), (1, "low", "failed")], ["top"],
        ["ready", "failed"], {1}),
    "what failed because of a grandchild whose code changed, below an interrupted parent": (
        [(None, "top", "blocked"), (1, "mid", "failed"), (2, "low", "failed"), (1, "other", "failed")], ["low"],
        ["ready", "ready", "ready", "failed"], {1, 2, 3}),
    "a chain at the bottom, below parents that were all interrupted": (
        [(None, "top", "blocked"), (1, "mid", "blocked"), (2, "low", "failed")], ["low"],
        ["ready", "ready", "ready"], {2, 3}),
    "an interrupted member of a chain waits for nobody": (
        [(None, "top", "blocked"), (1, "a", "succeeded"), (1, "+b", "running"), (1, "+c", "waiting")], [],
        ["ready", "succeeded", "ready", "waiting"], set()),
    "not what was set aside, below a reopened parent": (
        [(None, "top", "failed"), (1, "old", "failed"), (1, "bad", "failed")], [],
        ["ready", "failed", "ready"], {1, 3}, (2,)),
    "not what was set aside, even if its code changed": (
        [(None, "top", "running"), (1, "old", "failed")], ["old"],
        ["ready", "failed"], set(), (2,)),
    "not what failed below what was set aside, even if its code changed": (
        [(None, "top", "running"), (1, "old", "failed"), (2, "low", "failed")], ["low"],
        ["ready", "failed", "failed"], set(), (2,)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_resume_reopens(tree, case):
    tasks, changed, after, relaxed, *aside = case
    journal = tree(*tasks, aside=aside[0] if aside else ())
    before = states(journal)

    found = taken_over(journal, *changed)

    assert states(journal) == after
    assert {num for num, is_relaxed in enumerate(column(journal, "relaxed"), start=1) if is_relaxed} == relaxed
    reopened = [num for num, move in moves(journal, since=1) if move == "reopen"]
    assert found.reopened == len(reopened)
    assert set(reopened) == {num for num, (old, new) in enumerate(zip(before, after, strict=True), start=1)
                             if old != new and old in ("failed", "skipped", "revoked")}
    assert [column(journal, "deaths")[num - 1] for num in reopened] == [0] * len(reopened)


def test_the_code_that_is_loaded_now_is_recorded(tree):
    journal = tree((None, "top", "running"), (1, "low", "failed"))

    taken_over(journal, "low")

    assert journal.execute("SELECT name, digest FROM service ORDER BY name") == [("low", "new"), ("top", "old")]
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET state = 'running', move = 'claim', attempt = 2 WHERE id = 2")
        journal.execute("UPDATE task SET state = 'failed', move = 'fail' WHERE id = 2")
        journal.execute("UPDATE task SET state = 'running', move = 'claim', attempt = 2 WHERE id = 1")
    names = [name for name, in journal.execute("SELECT name FROM service")]
    take_over(journal, 1, "here", dict(zip(names, [("{}", "new"), ("{}", "old")], strict=True)))
    assert states(journal) == ["ready", "failed"]  # it has failed in this very code


def test_a_journal_that_ran_out_of_disk_keeps_what_was_committed(new_run):
    journal = new_run("top", "next")
    claim = claimed(journal)
    [(pages,)] = journal.execute("PRAGMA page_count")
    journal.execute(f"PRAGMA max_page_count = {pages}")

    journal.full_wait_s = 0

    with pytest.raises(StorageFailure, match="full, and there was no space for 0 s"):
        settle(journal, claim, Success(json.dumps("x" * 60000), "{}"))

    assert states(journal) == ["running", "waiting"]
    journal.execute("PRAGMA max_page_count = 1000000")
    assert settle(journal, claim).task == 2


def test_new_tasks_of_one_service_record_it_once(new_run):
    journal = new_run("a", "a")
    claim = claimed(journal)

    journal.enqueue(claim, "d", new_tasks("a", "b"))

    assert journal.execute("SELECT name FROM service ORDER BY name") == [("a",), ("b",)]
