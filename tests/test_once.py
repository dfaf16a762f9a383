"""What is done once in a run, in the journal: chains enqueued under a key, and results that one task computes for all."""
from __future__ import annotations

import pytest
from journals import BROKEN, MAIN, SECOND, THIRD, claimed, column, enqueue, error_after, settle, states

from firexlite.claims import Retry, Success
from firexlite.errors import ClaimLost
from firexlite.once import compute_or_wait, result_of
from firexlite.outside import cancel
from firexlite.soundness import faults_of_rules
from firexlite.takeover import Decisions, take_over

AGAIN = Retry('"again"', 0)


@pytest.fixture
def askers(new_run):
    """A journal and the claims of two tasks that run, with the one that enqueued both blocked, which is task 1."""
    def make(**more):
        journal = new_run("top", slots=4)
        top = claimed(journal)
        tails = [enqueue(journal, top, name, **more)[1] for name in ("left", "right")]
        journal.block(top, tails, 1)
        return journal, claimed(journal, SECOND), claimed(journal, THIRD)

    return make


# --- keys ------------------------------------------------------------------------------------------------------------

def test_who_asks_for_the_same_key_gets_the_same_chain(askers):
    journal, left, right = askers()

    assert enqueue(journal, left, "a", "b", once="key") == enqueue(journal, right, "a", "b", once="key") == (4, 5)

    assert states(journal)[3:] == ["ready", "waiting"]


def test_who_asks_for_another_key_gets_another_chain(askers):
    journal, left, right = askers()

    assert enqueue(journal, left, "a", once="key")[0] != enqueue(journal, right, "a", once="other")[0]


def test_a_chain_that_has_succeeded_is_given_to_those_who_ask_later(askers):
    journal, left, right = askers()
    chain = enqueue(journal, left, "a", once="key")
    settle(journal, claimed(journal), claims_next=False)

    assert enqueue(journal, right, "a", once="key") == chain


def test_a_replay_gets_the_chain_that_it_asked_for_before_and_does_not_take_it_for_recorded(askers):
    journal, left, _ = askers()
    chain = enqueue(journal, left, "a", once="key")
    journal.lose(SECOND, error_after)

    again = next(claim for claim in (claimed(journal, SECOND), claimed(journal, 3)) if claim.task == left.task)

    assert journal.recorded_calls(again) == []
    assert enqueue(journal, again, "a", once="key") == chain


def test_one_that_asks_and_owns_nothing_any_more_is_refused(askers):
    journal, left, _ = askers()
    journal.revoke_chain(left.task)

    with pytest.raises(ClaimLost):
        enqueue(journal, left, "a", once="key")

    assert journal.execute("SELECT * FROM attached") == []


def test_a_shared_chain_goes_on_as_long_as_somebody_is_left_who_asked_for_it(askers):
    journal, left, right = askers()
    enqueue(journal, left, "a", once="key")
    enqueue(journal, right, "a", once="key")

    settle(journal, left, BROKEN, SECOND, is_parent=True, claims_next=False)
    assert states(journal)[3:] == ["ready"]
    assert list(faults_of_rules(journal)) == []

    settle(journal, right, BROKEN, THIRD, is_parent=True, claims_next=False)
    assert states(journal)[3:] == ["revoked"]


@pytest.mark.parametrize("outcome", [None, BROKEN], ids=["success", "failure"])
def test_a_parent_whose_children_outlive_it_keeps_a_shared_chain_when_the_others_have_ended(outcome, askers):
    journal, left, right = askers(keeps_children=True)
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET keeps_children = 0 WHERE id = ?", right.task)
    for claim in left, right:
        enqueue(journal, claim, "a", once="key")
    settle(journal, left, outcome or Success("{}", "{}"), SECOND, is_parent=True, claims_next=False)

    settle(journal, right, BROKEN, THIRD, is_parent=True, claims_next=False)

    assert states(journal)[3:] == ["ready"]
    assert list(faults_of_rules(journal)) == []


def test_a_parent_whose_children_outlive_it_keeps_no_shared_chain_when_it_is_revoked(askers):
    journal, left, _ = askers(keeps_children=True)
    enqueue(journal, left, "a", once="key")

    journal.revoke_chain(left.task)

    assert states(journal)[3:] == ["revoked"]


def test_what_is_revoked_with_all_above_it_is_so_with_what_is_shared_below_it(askers):
    journal, left, _ = askers()
    enqueue(journal, left, "a", once="key")
    shared = claimed(journal)
    enqueue(journal, shared, "deep", once="deeper")

    journal.revoke_chain(1)

    assert set(states(journal)) == {"revoked"}


def test_a_task_that_is_tried_again_still_wants_what_it_shares(askers):
    journal, left, _ = askers()
    chain = enqueue(journal, left, "a", once="key")

    settle(journal, left, AGAIN, SECOND, is_parent=True, claims_next=False)

    assert states(journal)[3:] == ["ready"]
    claims = [claimed(journal, worker) for worker in (SECOND, 4)]
    again = next(claim for claim in claims if claim.task == left.task)
    assert enqueue(journal, again, "a", once="key") == chain


@pytest.fixture
def failed_for_both(askers):
    """As `askers`; a chain that both asked for has failed."""
    journal, left, right = askers()
    chain = enqueue(journal, left, "a", once="key")
    enqueue(journal, right, "a", once="key")
    settle(journal, claimed(journal), BROKEN, claims_next=False)
    return journal, left, right, chain


def test_a_shared_chain_that_failed_has_failed_for_all_who_do_not_try_again(failed_for_both):
    journal, _, right, chain = failed_for_both

    assert enqueue(journal, right, "a", once="key") == chain


def test_a_shared_chain_that_failed_is_enqueued_anew_for_a_retry(failed_for_both):
    journal, left, _, chain = failed_for_both
    again = settle(journal, left, AGAIN, SECOND, is_parent=True)

    assert enqueue(journal, again, "a", once="key")[0] > chain[0]


def test_a_retry_that_was_interrupted_does_not_enqueue_anew_what_failed_in_the_same_try(failed_for_both):
    journal, left, _, _ = failed_for_both
    again = settle(journal, left, AGAIN, SECOND, is_parent=True)
    chain = enqueue(journal, again, "a", once="key")
    settle(journal, claimed(journal), BROKEN, claims_next=False)
    journal.lose(SECOND, error_after)

    replay = claimed(journal, SECOND)

    assert (replay.task, replay.retry) == (left.task, 1)
    assert enqueue(journal, replay, "a", once="key") == chain


def test_a_shared_chain_that_failed_is_reopened_with_anyone_who_asked_for_it(failed_for_both):
    journal, left, right, chain = failed_for_both
    settle(journal, left, worker=SECOND, is_parent=True, claims_next=False)  # it could do without
    settle(journal, right, BROKEN, THIRD, is_parent=True, claims_next=False)
    settle(journal, left._replace(task=1, last=1), BROKEN, MAIN, is_parent=True, claims_next=False)
    assert states(journal) == ["failed", "succeeded", "failed", "failed"]

    take_over(journal, 1, "here", {})

    assert states(journal) == ["ready", "succeeded", "ready", "ready"]
    assert chain == (4, 4)
    assert list(faults_of_rules(journal)) == []


def test_what_nobody_wanted_any_more_is_enqueued_anew_for_who_wants_it_now(askers):
    journal, left, right = askers()
    enqueue(journal, left, "a", once="key")
    settle(journal, left, BROKEN, SECOND, is_parent=True, claims_next=False)
    assert states(journal)[3:] == ["revoked"]

    assert enqueue(journal, right, "a", once="key") == (5, 5)

    assert states(journal)[3:] == ["revoked", "ready"]


def test_what_somebody_cancelled_is_not_enqueued_anew(askers):
    journal, left, right = askers()
    chain = enqueue(journal, left, "a", once="key")
    cancel(journal, chain[0], "by li")

    assert enqueue(journal, right, "a", once="key") == chain


def test_of_a_key_only_what_was_enqueued_last_is_reopened(failed_for_both):
    journal, left, _, chain = failed_for_both
    again = settle(journal, left, AGAIN, SECOND, is_parent=True)
    new = enqueue(journal, again, "a", once="key")
    cancel(journal, None, "by li")

    take_over(journal, 1, "here", {})

    assert (states(journal)[chain[0] - 1], states(journal)[new[0] - 1]) == ("failed", "ready")


def test_a_shared_chain_is_not_set_aside_with_one_who_is_restarted(askers):
    journal, left, _ = askers()
    head, _ = enqueue(journal, left, "a", once="key")
    settle(journal, left, BROKEN, SECOND, is_parent=True, claims_next=False)

    take_over(journal, 1, "here", {}, Decisions(restart=[left.task]))

    assert (states(journal)[head - 1], column(journal, "aside")[head - 1]) == ("ready", 0)


def test_a_kill_between_two_who_ask_leaves_one_chain(askers):
    journal, left, right = askers()
    chain = enqueue(journal, left, "a", once="key")
    take_over(journal, 1, "here", {})
    claims = {claim.task: claim for claim in (claimed(journal, worker) for worker in range(4))}

    assert enqueue(journal, claims[right.task], "a", once="key") == chain
    assert list(faults_of_rules(journal)) == []


# --- cached results ------------------------------------------------------------------------------------------------------

def test_of_two_with_the_same_arguments_one_computes(askers):
    journal, left, right = askers()

    assert compute_or_wait(journal, left, "cache:a") == left.task
    assert compute_or_wait(journal, right, "cache:a") == left.task


def test_a_task_that_is_replayed_still_is_the_one_that_computes(askers):
    journal, left, _ = askers()
    compute_or_wait(journal, left, "cache:a")
    journal.lose(SECOND, error_after)

    assert compute_or_wait(journal, claimed(journal, SECOND), "cache:a") == left.task


def test_if_the_one_that_computes_fails_the_first_that_notices_computes(askers):
    journal, left, right = askers()
    compute_or_wait(journal, left, "cache:a")
    settle(journal, left, BROKEN, SECOND, claims_next=False)

    assert compute_or_wait(journal, right, "cache:a") == right.task


def test_if_the_one_that_computes_is_tried_again_it_still_computes(askers):
    journal, left, right = askers()
    compute_or_wait(journal, left, "cache:a")
    settle(journal, left, Retry('"again"', 50.0), SECOND, claims_next=False)

    assert compute_or_wait(journal, right, "cache:a") == left.task


def test_a_result_is_there_when_its_task_has_succeeded(askers):
    journal, left, _ = askers()
    assert result_of(journal, left.task) is None

    settle(journal, left, Success('{"x": 1}', "{}"), SECOND, claims_next=False)

    assert result_of(journal, left.task) == '{"x": 1}'


def test_who_took_over_a_result_names_the_task_it_is_from(askers):
    journal, left, right = askers()
    settle(journal, left, Success('{"x": 1}', "{}"), SECOND, claims_next=False)

    settle(journal, right, Success('{"x": 1}', "{}", cached_from=left.task), THIRD, claims_next=False)

    assert column(journal, "cached_from") == [None, None, left.task]
    assert list(faults_of_rules(journal)) == []


def test_who_owns_nothing_any_more_computes_nothing(askers):
    journal, left, _ = askers()
    journal.revoke_chain(left.task)

    with pytest.raises(ClaimLost):
        compute_or_wait(journal, left, "cache:a")

    assert journal.execute("SELECT * FROM once") == []


# --- children that outlive their parent ----------------------------------------------------------------------------------

@pytest.mark.parametrize("outcome", [Success("{}", "{}"), BROKEN, AGAIN], ids=["success", "failure", "retry"])
def test_children_may_outlive_their_parent(outcome, new_run):
    journal = new_run("top", keeps_children=True)
    top = claimed(journal)
    enqueue(journal, top, "child")

    settle(journal, top, outcome, is_parent=True, claims_next=False)

    assert states(journal)[1] == "ready"
    assert list(faults_of_rules(journal)) == []


def test_a_run_that_ends_before_children_that_outlive_their_parent_can_be_resumed(new_run):
    journal = new_run("top", keeps_children=True)
    top = claimed(journal)
    enqueue(journal, top, "child")
    settle(journal, top, is_parent=True)

    assert journal.finish(interrupted=True) == "interrupted"
    assert list(faults_of_rules(journal)) == []
    take_over(journal, 1, "here", {})

    assert claimed(journal).service == "child"
    assert list(faults_of_rules(journal)) == []


def test_what_a_reopened_parent_leaves_out_is_revoked_though_its_children_may_outlive_it(new_run):
    journal = new_run("top", keeps_children=True, slots=3)
    top = claimed(journal)
    left_out, _ = enqueue(journal, top, "child")
    kept, _ = enqueue(journal, top, "kept")
    settle(journal, top, BROKEN, is_parent=True, claims_next=False)
    take_over(journal, 1, "here", {})
    again = [claimed(journal, worker) for worker in (MAIN, SECOND, THIRD)][-1]
    assert again.task == top.task

    settle(journal, again, Success("{}", "{}", aside=[left_out]), is_parent=True, claims_next=False)

    assert states(journal) == ["succeeded", "revoked", "running"]
    assert column(journal, "aside") == [0, 1, 0]
    assert kept == 3
    assert list(faults_of_rules(journal)) == []
