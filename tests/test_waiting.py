"""Waits for a time or an event, in the journal: who goes on when, with a process and without."""
from __future__ import annotations

import json

import pytest
from journals import BROKEN, MAIN, SECOND, attempts, claimed, column, enqueue, error_after, moves, settle, states, turn_clock

from firexlite.claims import Retry, Success
from firexlite.errors import BadInput, ClaimLost
from firexlite.soundness import faults_of_rules
from firexlite.takeover import Decisions, take_over
from firexlite.waiting import begin_wait, come_due, send, suspend, value_of

APPROVED = ("approved", 1)


def look(journal):
    return journal.look([], come_due)


def awaited(journal) -> list[tuple]:
    return journal.execute("SELECT waiter, wait, due, event FROM awaited ORDER BY waiter, wait")


@pytest.fixture
def asleep(new_run):
    """Makes a run whose only task waits without a process: ``asleep(due=2000.0)``, ``asleep(event=("approved", 1))``."""
    def make(due=None, event=None, **more):
        journal = new_run("sleeper", **more)
        claim = claimed(journal)
        assert begin_wait(journal, claim, 1, due, event)
        assert suspend(journal, claim, 0)
        return journal, claim

    return make


# --- how a wait begins -------------------------------------------------------------------------------------------------

def test_a_wait_gives_its_slot_to_another(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    enqueue(journal, claim, "child")

    assert begin_wait(journal, claim, 1, 5000.0, None)

    assert claimed(journal, SECOND).service == "child"


def test_a_wait_for_a_time_that_is_past_does_not_begin(new_run):
    journal = new_run("sleeper")

    assert not begin_wait(journal, claimed(journal), 1, 500.0, None)

    assert (states(journal), awaited(journal)) == (["running"], [])


def test_an_event_that_was_sent_between_the_look_for_it_and_the_wait_is_not_missed(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    assert value_of(journal, APPROVED) is None
    send(journal, "approved", '"yes"')

    assert not begin_wait(journal, claim, 1, None, APPROVED)

    assert value_of(journal, APPROVED) == '"yes"'


def test_the_second_wait_for_a_name_is_not_over_with_the_first_event(asleep):
    journal, _ = asleep(event=("approved", 2))

    assert send(journal, "approved", "1") == 1
    assert states(journal) == ["blocked"]

    assert send(journal, "approved", "2") == 2
    assert states(journal) == ["ready"]


def test_of_a_wait_that_is_over_soon_the_runner_is_told(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)

    begin_wait(journal, claim, 1, 1003.5, None)

    [in_s] = journal.bell.of("comes_due")
    assert 0 < in_s < 3.5


def test_who_was_revoked_begins_no_wait(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    journal.revoke_chain(1)

    with pytest.raises(ClaimLost):
        begin_wait(journal, claim, 1, 5000.0, None)


# --- what waits without a process --------------------------------------------------------------------------------------

def test_who_waits_without_a_process_has_ended_its_attempt(asleep):
    journal, _ = asleep(due=5000.0)

    assert attempts(journal, 1) == [("suspended", None)]
    assert (states(journal), column(journal, "worker")) == (["blocked"], [None])


def test_a_wait_that_is_over_is_not_suspended(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, None, APPROVED)
    send(journal, "approved", "1")

    assert not suspend(journal, claim, 0)

    assert attempts(journal, 1) == [(None, None)]


def test_a_body_that_must_not_run_twice_keeps_its_process(new_run):
    journal = new_run("sleeper", on_interrupt="fail")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 5000.0, None)

    assert not suspend(journal, claim, 0)


@pytest.mark.parametrize(("on_interrupt", "is_suspended", "keeps"), [
    ("retry", True, False), ("retry", False, True), ("fail", False, True), ("ask", False, True)])
def test_who_would_be_cut_off_by_the_end_of_all_processes_is_told(on_interrupt, is_suspended, keeps, new_run):
    journal = new_run("sleeper", on_interrupt=on_interrupt)
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 5000.0, None)
    if is_suspended:
        suspend(journal, claim, 0)

    assert look(journal).keeps_process is keeps


def test_what_comes_due_is_ready_and_is_replayed_from_its_top(asleep):
    journal, _ = asleep(due=5000.0)
    turn_clock(journal, 5000.0)

    look(journal)

    again = claimed(journal)
    assert (again.task, again.attempt, again.retry) == (1, 2, 0)
    assert awaited(journal) == []
    assert [move for _, move in moves(journal)] == ["release", "claim", "block", "wake", "claim"]


def test_before_its_time_nothing_comes_due(asleep):
    journal, _ = asleep(due=5000.0)

    outlook = look(journal)

    assert states(journal) == ["blocked"]
    assert outlook.is_quiet and outlook.waits
    assert 3900 < outlook.next_due_s < 4000


def test_a_clock_that_is_set_back_only_makes_a_wait_longer(asleep):
    journal, _ = asleep(due=5000.0)
    turn_clock(journal, 5000.0)
    look(journal)
    turn_clock(journal, 100.0)
    claim = claimed(journal)

    assert begin_wait(journal, claim, 1, 5000.0, None)  # as its replay does, which asks for the time that it noted

    assert list(faults_of_rules(journal)) == []


def test_who_waits_with_a_process_goes_on_with_it(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 2000.0, None)
    turn_clock(journal, 2000.0)

    look(journal)

    assert not journal.is_waiting(claim, 1)
    assert (states(journal), column(journal, "attempt")) == (["running"], [1])


def test_an_event_goes_to_all_who_wait_for_it(new_run):
    journal = new_run("top", slots=3)
    top = claimed(journal)
    enqueue(journal, top, "a")
    enqueue(journal, top, "b")
    for worker in (SECOND, 2):
        claim = claimed(journal, worker)
        begin_wait(journal, claim, 1, None, APPROVED)
        suspend(journal, claim, 0)

    send(journal, "approved", "1")

    assert states(journal) == ["running", "ready", "ready"]


def test_a_wait_for_an_event_with_a_limit_is_over_with_either(asleep):
    journal, _ = asleep(due=5000.0, event=APPROVED)
    turn_clock(journal, 5000.0)

    look(journal)
    send(journal, "approved", "1")

    assert [move for _, move in moves(journal)].count("wake") == 1


def test_another_thread_that_waits_keeps_its_task_from_going_on(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 2000.0, None)
    begin_wait(journal, claim, 2, None, APPROVED)
    turn_clock(journal, 2000.0)

    look(journal)

    assert (states(journal), column(journal, "wakeable")) == (["blocked"], [0])
    assert (journal.is_waiting(claim, 1), journal.is_waiting(claim, 2)) == (False, True)


# --- its end, other than by what it waits for ----------------------------------------------------------------------------

def revoke(journal, claim) -> None:
    journal.revoke_chain(1)


def retry(journal, claim) -> None:
    settle(journal, claim, Retry('"again"', 0), claims_next=False)


def fail(journal, claim) -> None:
    settle(journal, claim, BROKEN)


def succeed(journal, claim) -> None:
    settle(journal, claim)


@pytest.mark.parametrize("end", [revoke, retry, fail, succeed])
def test_a_thread_that_still_sleeps_as_its_body_ends_waits_for_nothing_any_more(end, new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 5000.0, None)

    end(journal, claim)

    assert awaited(journal) == []
    assert list(faults_of_rules(journal)) == []


def test_the_next_try_may_wait_as_the_one_before_did(new_run):
    journal = new_run("sleeper")
    claim = claimed(journal)
    begin_wait(journal, claim, 1, 5000.0, None)

    again = settle(journal, claim, Retry('"again"', 0))

    assert begin_wait(journal, again, 1, 5000.0, None)


def test_who_is_revoked_while_it_waits_without_a_process_is_not_woken(asleep):
    journal, _ = asleep(event=APPROVED)
    journal.revoke_chain(1)

    send(journal, "approved", "1")

    assert states(journal) == ["revoked"]
    assert journal.bell.of("interrupt") == []  # there is nobody to interrupt
    assert list(faults_of_rules(journal)) == []


def test_a_worker_that_dies_as_it_suspends_its_task_has_lost_nothing(asleep):
    journal, _ = asleep(due=5000.0)

    assert journal.lose(MAIN, error_after) == []

    assert (states(journal), column(journal, "deaths")) == (["blocked"], [0])


def test_who_waits_without_a_process_has_no_worker_that_goes_on_with_something_else(new_run):
    journal = new_run("first", slots=2)
    claim = claimed(journal)
    enqueue(journal, claim, "child")
    begin_wait(journal, claim, 1, 5000.0, None)
    suspend(journal, claim, 0)
    claimed(journal, MAIN)  # another process of the same number

    journal.lose(MAIN, error_after)

    assert states(journal) == ["blocked", "ready"]
    assert list(faults_of_rules(journal)) == []


# --- over a take-over ------------------------------------------------------------------------------------------------------

def test_who_waits_without_a_process_goes_on_waiting_over_a_take_over(asleep):
    journal, _ = asleep(due=5000.0)

    take_over(journal, 1, "here", {})

    assert (states(journal), awaited(journal)) == (["blocked"], [(1, 1, 5000.0, None)])
    assert list(faults_of_rules(journal)) == []


def test_who_waits_with_a_process_is_replayed_after_a_take_over(new_run):
    journal = new_run("sleeper")
    begin_wait(journal, claimed(journal), 1, 5000.0, None)

    take_over(journal, 1, "here", {})

    assert (states(journal), awaited(journal)) == (["ready"], [])


def test_who_waits_without_a_process_may_take_another_path_if_its_code_changed(asleep):
    journal, _ = asleep(due=5000.0)

    take_over(journal, 1, "here", {"sleeper": ("{}", "new code")})

    assert column(journal, "relaxed") == [1]


def test_what_failed_below_who_waits_without_a_process_is_reopened_if_its_code_was_corrected(new_run):
    journal = new_run("sleeper", slots=2)
    sleeper = claimed(journal)
    enqueue(journal, sleeper, "child")
    settle(journal, claimed(journal, SECOND), BROKEN, SECOND)
    begin_wait(journal, sleeper, 1, 5000.0, None)
    suspend(journal, sleeper, 0)

    take_over(journal, 1, "here", {"child": ("{}", "corrected")})

    assert (states(journal), column(journal, "relaxed")) == (["blocked", "ready"], [1, 1])


def test_what_failed_in_an_earlier_try_is_not_reopened_though_its_code_was_corrected(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    enqueue(journal, top, "child")
    settle(journal, claimed(journal, SECOND), BROKEN, SECOND)
    settle(journal, top, Retry('"again"', 0), is_parent=True)

    take_over(journal, 1, "here", {"child": ("{}", "corrected")})

    assert states(journal) == ["ready", "failed"]


def test_who_is_restarted_waits_no_longer(asleep):
    journal, _ = asleep(due=5000.0)

    take_over(journal, 1, "here", {}, Decisions(restart=[1]))

    assert (states(journal), awaited(journal)) == (["ready"], [])


def test_who_is_revoked_with_a_parent_that_failed_is_reopened_with_it(new_run):
    journal = new_run("top", slots=2)
    top = claimed(journal)
    enqueue(journal, top, "sleeper")
    sleeper = claimed(journal, SECOND)
    begin_wait(journal, sleeper, 1, 5000.0, None)
    suspend(journal, sleeper, 0)
    settle(journal, top, BROKEN, is_parent=True)
    assert states(journal) == ["failed", "revoked"]

    take_over(journal, 1, "here", {})

    assert states(journal) == ["ready", "ready"]
    assert list(faults_of_rules(journal)) == []


# --- while lost files are made again -----------------------------------------------------------------------------------------

@pytest.fixture
def being_redone(new_run):
    """A journal in which task 2 waits without a process for a time or for an event, and task 1 is being made again."""
    journal = new_run("maker", "sleeper")
    sleeper = settle(journal, claimed(journal))
    begin_wait(journal, sleeper, 1, 5000.0, APPROVED)
    suspend(journal, sleeper, 0)
    take_over(journal, 1, "here", {}, Decisions(redo=[1]))
    return journal


def test_while_files_are_made_again_nothing_comes_due(being_redone):
    turn_clock(being_redone, 5000.0)

    look(being_redone)

    assert states(being_redone) == ["succeeded", "blocked", "ready"]


def test_an_event_that_comes_while_files_are_made_again_lets_nobody_begin(being_redone):
    send(being_redone, "approved", "1")

    assert claimed(being_redone).redoes == 1
    assert being_redone.claim(SECOND, 0) is None
    assert list(faults_of_rules(being_redone)) == []


def test_who_waits_does_not_keep_a_run_from_its_next_incarnation_when_its_files_are_there_again(being_redone):
    settle(being_redone, claimed(being_redone))

    outlook = look(being_redone)

    assert outlook.is_quiet and not outlook.waits


def test_who_was_woken_while_files_were_made_again_begins_in_the_next_incarnation(being_redone):
    send(being_redone, "approved", "1")
    settle(being_redone, claimed(being_redone))

    take_over(being_redone, 1, "here", {})

    assert claimed(being_redone).service == "sleeper"


def test_who_waits_without_a_process_may_ask_for_other_children_if_other_files_were_made(being_redone):
    settle(being_redone, claimed(being_redone), Success('{"other": 1}', "{}"))

    take_over(being_redone, 1, "here", {})

    assert column(being_redone, "relaxed")[1] == 1


# --- what is sent ------------------------------------------------------------------------------------------------------------

def test_nothing_is_sent_to_a_run_that_has_succeeded(new_run):
    journal = new_run("one")
    settle(journal, claimed(journal))
    journal.finish()

    with pytest.raises(BadInput, match="has succeeded, so nothing in it waits for 'approved'"):
        send(journal, "approved", "1")


def test_nothing_is_sent_to_a_run_that_was_cancelled(new_run):
    journal = new_run("one")
    journal.revoke_chain(1)
    journal.finish()

    with pytest.raises(BadInput, match="was cancelled, so nothing in it waits for 'approved'; `firexlite resume"):
        send(journal, "approved", "1")


def test_each_name_has_a_count_of_its_own(new_run):
    journal = new_run("one")

    assert [send(journal, name, "1") for name in ("a", "b", "a")] == [1, 1, 2]


# --- tries -------------------------------------------------------------------------------------------------------------------

def test_a_try_with_a_delay_is_not_claimed_before_its_time(new_run):
    journal = new_run("flaky")
    settle(journal, claimed(journal), Retry('"broken"', 100.0))
    assert journal.claim(MAIN, 0) is None
    assert look(journal).waits

    turn_clock(journal, 1200.0)
    look(journal)

    again = claimed(journal)
    assert (again.attempt, again.retry) == (2, 1)
    assert attempts(journal, 1)[0] == ("retried", '"broken"')


def test_a_try_waits_only_the_rest_after_a_take_over(new_run):
    journal = new_run("flaky")
    settle(journal, claimed(journal), Retry('"broken"', 100.0))
    due = column(journal, "due")

    take_over(journal, 1, "here", {})

    assert column(journal, "due") == due != [None]
    assert list(faults_of_rules(journal)) == []


def test_a_retry_revokes_the_children_of_the_try_before(new_run):
    journal = new_run("flaky", slots=2)
    claim = claimed(journal)
    enqueue(journal, claim, "child")
    claimed(journal, SECOND)

    again = settle(journal, claim, Retry('"broken"', 0), is_parent=True)

    assert states(journal) == ["running", "revoked"]
    assert journal.recorded_calls(again) == []


def test_those_who_wait_for_a_task_wait_for_its_next_try(new_run):
    journal = new_run("top")
    top = claimed(journal)
    _, tail = enqueue(journal, top, "flaky", "next")
    journal.block(top, [tail], 1)

    settle(journal, claimed(journal, SECOND), Retry('"broken"', 0), SECOND, claims_next=False)

    assert states(journal) == ["blocked", "ready", "waiting"]
    assert journal.is_waiting(top, 1)


def test_a_retry_that_comes_too_late_is_dropped(new_run):
    journal = new_run("flaky")
    claim = claimed(journal)
    journal.revoke_chain(1)

    settle(journal, claim, Retry('"broken"', 0))

    assert (states(journal), column(journal, "retry")) == (["revoked"], [0])


def test_what_was_to_be_tried_again_and_is_revoked_comes_due_no_more(new_run):
    journal = new_run("flaky")
    settle(journal, claimed(journal), Retry('"broken"', 100.0))

    journal.revoke_chain(1)

    assert column(journal, "due") == [None]
    assert not look(journal).waits


def test_what_a_body_noted_belongs_to_its_try(new_run):
    journal = new_run("flaky")
    claim = claimed(journal)
    journal.note(claim, "now", 0, json.dumps(1))

    again = settle(journal, claim, Retry('"broken"', 0))

    assert journal.notes(again) == {}
