"""Limits and cancelling, in the journal: what is ended, what stays, and who is told."""
from __future__ import annotations

import json
import os

import pytest
from crash.actors import ABOUT, OPTIONS, RAISED
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
    is_locked,
    run_directory,
    settle,
    state,
    states,
    submit,
)

from firexlite import host, outside
from firexlite.board import Board
from firexlite.claims import Retry
from firexlite.errors import BadInput
from firexlite.journal import Journal
from firexlite.limits import as_limit, expire, expire_run
from firexlite.outside import cancel, write_to_run
from firexlite.soundness import faults_of_rules
from firexlite.takeover import take_over
from firexlite.waiting import begin_wait, send, suspend


@pytest.fixture
def limited(new_run):
    """Makes a run whose services have a limit of 2 seconds; a journal, and the claim of its first task."""
    def make(*services, **more):
        journal = new_run(*services, **more)
        with journal.transaction(durable=True):
            journal.execute("""UPDATE service SET about = '{"time_limit": 2}'""")
        return journal, claimed(journal)

    return make


def expired(journal, claim) -> list[str]:
    """Let an attempt reach its limit; who was killed."""
    killed: list[str] = []
    expire(journal, claim.task, claim.attempt, lambda: killed.append("worker"))
    return killed


# --- the limit of a task -------------------------------------------------------------------------------------------------

def test_an_attempt_at_its_limit_fails_and_its_worker_is_killed(limited):
    journal, claim = limited("slow", "next")

    assert expired(journal, claim) == ["worker"]

    assert states(journal) == ["failed", "skipped"]
    [(outcome, error)] = attempts(journal, 1)
    assert outcome == "failed" and "TimeLimitExceeded" in error and "2" in error
    assert list(faults_of_rules(journal)) == []


def test_the_worker_is_killed_after_the_commit_and_under_the_lock(limited):
    journal, claim = limited("slow")
    seen: list[tuple] = []

    expire(journal, claim.task, claim.attempt,
           lambda: seen.append((state(journal, 1), journal.db.connection().in_transaction, is_locked(journal.directory))))

    assert seen == [("failed", False, True)]


@pytest.mark.parametrize("end", [
    lambda journal, claim: settle(journal, claim, DONE, claims_next=False),
    lambda journal, claim: settle(journal, claim, Retry('"again"', 0), claims_next=False),
    lambda journal, claim: journal.lose(MAIN, error_after),
    lambda journal, claim: journal.revoke_chain(1),
    lambda journal, claim: begin_wait(journal, claim, 1, 5000.0, None) and suspend(journal, claim, 0),
], ids=["settled", "retried", "lost", "revoked", "suspended"])
def test_an_attempt_that_ended_just_before_its_limit_is_not_touched(end, limited):
    journal, claim = limited("slow")
    end(journal, claim)
    before = journal.execute("SELECT * FROM task"), journal.execute("SELECT * FROM attempt")

    assert expired(journal, claim) == []

    assert (journal.execute("SELECT * FROM task"), journal.execute("SELECT * FROM attempt")) == before


def test_an_outcome_that_comes_after_the_limit_is_dropped(limited):
    journal, claim = limited("slow")
    expired(journal, claim)

    settle(journal, claim)

    assert states(journal) == ["failed"]


def test_the_next_attempt_is_not_held_to_the_limit_of_the_one_before(limited):
    journal, claim = limited("slow")
    settle(journal, claim, Retry('"again"', 0))  # which claims it again

    assert expired(journal, claim) == []

    assert states(journal) == ["running"]


def test_a_parent_at_its_limit_takes_its_children_along_and_no_others(limited):
    journal, top = limited("top", slots=9)
    _, tail = enqueue(journal, top, "parent")
    journal.block(top, [tail, enqueue(journal, top, "sibling")[1]], 1)
    parent, _ = claimed(journal, SECOND), claimed(journal, THIRD)
    enqueue(journal, parent, "child")
    with journal.transaction(durable=True):
        journal.execute("""UPDATE service SET about = '{"time_limit": 2}'""")

    expired(journal, parent)

    assert states(journal) == ["blocked", "failed", "running", "revoked"]


def test_who_waited_for_a_task_that_reached_its_limit_goes_on(limited):
    journal, top = limited("top")
    _, tail = enqueue(journal, top, "child")
    journal.block(top, [tail], 1)
    child = claimed(journal, SECOND)
    with journal.transaction(durable=True):
        journal.execute("""UPDATE service SET about = '{"time_limit": 2}'""")

    expired(journal, child)

    assert states(journal) == ["running", "failed"]
    assert journal.bell.of("ring")[-1] == ([MAIN], 0)


def test_a_limit_of_its_own_counts_before_that_of_the_service(limited):
    journal, claim = limited("slow", options=json.dumps({"time_limit": 7}))

    expired(journal, claim)

    assert "7" in attempts(journal, 1)[0][1]


def test_a_task_that_reached_its_limit_has_lost_no_life(limited):
    journal, claim = limited("slow")

    expired(journal, claim)

    assert column(journal, "deaths") == [0]


@pytest.mark.parametrize("value", [-1, float("nan"), "2", True])
def test_a_limit_is_a_number_of_seconds(value):
    with pytest.raises(ValueError, match="time_limit takes a number of seconds, not"):
        as_limit(value, "time_limit")


@pytest.mark.parametrize("value", [None, 0, False, float("inf")])
def test_there_may_be_no_limit(value):
    assert as_limit(value, "time_limit") is None


# --- the limit of a run --------------------------------------------------------------------------------------------------

def test_a_run_at_its_limit_has_all_that_is_left_revoked(new_run):
    journal = new_run("top", "next", slots=9)
    top = claimed(journal)
    for name in ("done", "sleeper", "busy", "waits"):
        enqueue(journal, top, name)
    settle(journal, claimed(journal, SECOND), worker=SECOND, claims_next=False)
    sleeper = claimed(journal, SECOND)
    begin_wait(journal, sleeper, 1, 5000.0, None)
    suspend(journal, sleeper, 0)
    claimed(journal, SECOND)

    expire_run(journal, 3.0)

    assert states(journal) == ["revoked", "revoked", "succeeded", "revoked", "revoked", "revoked"]
    assert set(column(journal, "reason")) == {None, "the run reached its soft_time_limit of 3 s"}
    assert journal.bell.of("interrupt") == [[(MAIN, 1, 1), (SECOND, 5, 1)]]
    assert list(faults_of_rules(journal)) == []


# --- cells of the board --------------------------------------------------------------------------------------------------

def test_who_has_the_number_of_a_dead_worker_has_nothing_of_its_limits_and_revocations():
    board = Board()
    board.began(3, 7, 1)
    board.limit(3, 10.0, 20.0)
    board.mark_revoked(3, 7, 1)

    board.forked(3)

    assert (board.limits(3), board.revoked(3), board.attempt(3)) == ((None, None), (0, 0), (0, 0))


def test_an_attempt_that_begins_has_no_limit_of_the_one_before():
    board = Board()
    board.began(3, 7, 1)
    board.limit(3, 10.0, None)

    board.began(3, 8, 1)

    assert board.limits(3) == (None, None)


@pytest.mark.parametrize("limits", [(None, None), (1.5, None), (None, 2.25), (0.0004, 3.0)])
def test_limits_are_read_as_they_were_set(limits):
    board = Board()

    board.limit(3, *limits)

    assert board.limits(3) == tuple(at and max(0.001, at) for at in limits)
    assert board.limits(2) == board.limits(4) == (None, None)


# --- cancelling ----------------------------------------------------------------------------------------------------------

def test_a_run_that_is_cancelled_has_nothing_left_and_a_resume_runs_just_that(new_run):
    journal = new_run("top", "next", slots=9)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("done", "busy", "waits")]
    settle(journal, claimed(journal, SECOND), worker=SECOND, claims_next=False)
    claimed(journal, SECOND)
    journal.block(top, tails, 1)

    revoked = cancel(journal, None, "by li")

    assert revoked == [1, 2, 4, 5]
    assert list(faults_of_rules(journal)) == []
    assert journal.finish() == "revoked"
    take_over(journal, 1, "here", {})
    assert states(journal) == ["ready", "waiting", "succeeded", "ready", "ready"]


def test_a_task_is_cancelled_with_all_below_it_and_its_parent_goes_on(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    journal.block(top, [enqueue(journal, top, "child", "rest")[1]], 1)
    child = claimed(journal, SECOND)
    enqueue(journal, child, "deep")

    assert cancel(journal, 2, "by li") == [2, 4]

    assert states(journal) == ["blocked", "revoked", "skipped", "revoked"]
    assert column(journal, "wakeable")[0] == 1
    journal.look([], lambda journal, now: None)
    assert not journal.is_waiting(top, 1)
    assert list(faults_of_rules(journal)) == []


def test_a_task_that_still_waits_for_the_one_before_it_can_be_cancelled(new_run):
    journal = new_run("one", "two", "three")
    one = claimed(journal)

    assert cancel(journal, 2, "by li") == [2]

    assert states(journal) == ["running", "revoked", "skipped"]
    assert list(faults_of_rules(journal)) == []
    settle(journal, one)
    assert list(faults_of_rules(journal)) == []
    assert journal.finish() == "revoked"


def test_what_is_reopened_behind_a_task_that_goes_on_waits_for_it(new_run):
    journal = new_run("one", "two", "three")
    claimed(journal)
    cancel(journal, 2, "by li")

    take_over(journal, 1, "here", {})

    assert states(journal) == ["ready", "waiting", "waiting"]


def test_who_failed_before_a_task_that_was_cancelled_skips_what_is_left_and_counts_it_once(new_run):
    journal = new_run("one", "two", "three")
    one = claimed(journal)
    cancel(journal, 2, "by li")

    settle(journal, one, BROKEN)

    assert states(journal) == ["failed", "revoked", "skipped"]
    counted = [told for told in journal.bell.of("count") if told[0] == "skipped"]
    assert sum(number for _, number in counted) == 1


def test_a_shared_chain_that_is_cancelled_ends_for_all_who_wait_for_it(new_run):
    journal = new_run("top", slots=9)
    top = claimed(journal)
    journal.block(top, [enqueue(journal, top, name)[1] for name in ("left", "right")], 1)
    askers = [claimed(journal, worker) for worker in (SECOND, THIRD)]
    for asker in askers:
        journal.block(asker, [enqueue(journal, asker, "shared", once="key")[1]], 1)

    cancel(journal, 4, "by li")

    assert state(journal, 4) == "revoked"
    assert column(journal, "wakeable")[1:3] == [1, 1]
    assert list(faults_of_rules(journal)) == []


@pytest.mark.parametrize("task, told", [
    (1, "task 1 (one) of FireX-li-261123-101500-4711 is succeeded, so it cannot be cancelled"),
    (9, "FireX-li-261123-101500-4711 has no task 9; `firexlite flame FireX-li-261123-101500-4711` shows its tasks"),
    (None, "FireX-li-261123-101500-4711 has succeeded, so there is nothing to cancel"),
])
def test_what_cannot_be_cancelled_is_told(task, told, new_run):
    journal = new_run("one")
    settle(journal, claimed(journal))
    journal.finish()

    with pytest.raises(BadInput) as refused:
        cancel(journal, task, "by li")

    assert str(refused.value) == told


# --- from another process, the run being at rest -------------------------------------------------------------------------

@pytest.fixture
def at_rest(tmp_path):
    """Makes a run of one incarnation that is over; gives its directory."""
    def make(*services, play):
        directory = run_directory(tmp_path)
        with Journal(directory, 1) as journal:
            submit(journal, *services)
            with journal.transaction(durable=True):
                journal.execute("UPDATE run SET options = ?", OPTIONS)
                journal.execute("UPDATE service SET about = ?", ABOUT)
            play(journal)
        return directory

    return make


def rows(directory, sql) -> list[tuple]:
    with Journal(directory, 1) as journal:
        return journal.execute(sql)


def test_a_run_that_was_killed_can_be_cancelled(at_rest):
    directory = at_rest("one", "two", play=claimed)

    assert write_to_run(directory, lambda journal: cancel(journal, None, "by li")) == [1, 2]

    assert rows(directory, "SELECT state, ended IS NULL FROM run") == [("revoked", 0)]
    with Journal(directory, 1) as journal:
        assert list(faults_of_rules(journal)) == []


def test_a_run_of_which_something_is_left_is_not_ended_by_who_cancels_a_task(at_rest):
    directory = at_rest("one", "two", play=claimed)

    write_to_run(directory, lambda journal: cancel(journal, 2, "by li"))

    assert rows(directory, "SELECT state FROM run") == [("running",)]


def test_an_event_that_is_sent_to_a_run_that_failed_does_not_change_when_it_ended(at_rest):
    def fail(journal):
        settle(journal, claimed(journal), RAISED)
        journal.finish()

    directory = at_rest("one", play=fail)
    before = rows(directory, "SELECT * FROM run"), rows(directory, "SELECT * FROM incarnation")

    write_to_run(directory, lambda journal: send(journal, "approved", "1"))

    assert (rows(directory, "SELECT * FROM run"), rows(directory, "SELECT * FROM incarnation")) == before
    assert rows(directory, "SELECT name FROM sent") == [("approved",)]


def test_who_may_not_write_leaves_the_run_as_it_is_and_lets_it_go(at_rest):
    directory = at_rest("one", play=claimed)

    with pytest.raises(BadInput):
        write_to_run(directory, lambda journal: cancel(journal, 9, "by li"))

    assert rows(directory, "SELECT state FROM task") == [("running",)]
    os.close(directory.take_alive_lock(host.start_time, dying_s=0))


def test_a_run_that_is_alive_is_written_to_beside_it(at_rest, monkeypatch):
    directory = at_rest("one", play=claimed)
    alive = directory.take_alive_lock(host.start_time)
    woken: list = []
    monkeypatch.setattr(outside, "_wake_runner", woken.append)
    try:
        write_to_run(directory, lambda journal: cancel(journal, None, "by li"))
    finally:
        os.close(alive)

    assert woken == [directory]
    assert rows(directory, "SELECT state FROM run") == [("running",)]  # who runs it ends it
