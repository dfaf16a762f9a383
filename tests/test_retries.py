"""When a task that failed is tried again, and after how long."""
from __future__ import annotations

import random

import pytest
from journals import claimed

from firexlite.claims import Retry as ToBeTriedAgain
from firexlite.errors import MaxRetriesExceededError, Retry
from firexlite.retries import LONGEST_S, RetryRule, as_rule

USUAL = {"max_retries": 3, "default_retry_delay": 180, "autoretry_for": (), "dont_autoretry_for": (), "retry_kwargs": None,
         "retry_backoff": False, "retry_backoff_max": 600, "retry_jitter": True}


def rule(**declared: object) -> RetryRule:
    return as_rule(**{**USUAL, **declared})  # type: ignore[arg-type]


def test_a_service_is_tried_again_after_the_errors_that_it_names_and_not_after_those_it_spares():
    lookups = rule(autoretry_for=LookupError, dont_autoretry_for=[KeyError])

    assert lookups.tries_again_after(IndexError())
    assert not lookups.tries_again_after(KeyError())
    assert not lookups.tries_again_after(ValueError())
    assert not rule().tries_again_after(ValueError())


def test_without_backoff_each_delay_is_the_one_declared():
    assert [rule(default_retry_delay=7).delay_after(retry) for retry in range(3)] == [7, 7, 7]
    assert rule(retry_kwargs={"countdown": 2}).delay_after(0) == 2


def test_with_backoff_delays_double_up_to_the_longest():
    doubling = rule(retry_backoff=3, retry_backoff_max=20, retry_jitter=False)

    assert [doubling.delay_after(retry) for retry in (0, 1, 2, 3, 5000)] == [3, 6, 12, 20, 20]
    assert rule(retry_backoff=True, retry_jitter=False).delay_after(0) == 1


def test_jitter_takes_a_random_part_of_a_delay(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda least, most: (least + most) / 2)

    assert rule(retry_backoff=8).delay_after(0) == 4


def test_a_body_that_asks_is_tried_again_as_often_as_declared_and_fails_of_what_it_gave():
    error = ValueError("cold")

    asked = rule(max_retries=2).next_try(1, error, countdown=5)

    assert isinstance(asked, Retry) and (asked.exc, asked.when) == (error, 5)
    with pytest.raises(ValueError, match="cold"):
        rule(max_retries=2).next_try(2, error)
    with pytest.raises(MaxRetriesExceededError, match="tried again 2 times, which is all"):
        rule(max_retries=2).next_try(2)


def test_who_asks_may_say_how_often_and_after_how_long_and_otherwise_the_declaration_counts():
    assert rule(max_retries=0).next_try(4, max_retries=5).when == 180
    assert rule(max_retries=None).next_try(10_000, countdown=0).when == 0
    with pytest.raises(MaxRetriesExceededError):
        rule(max_retries=9).next_try(1, max_retries=1)


def test_what_is_being_handled_is_the_reason_if_none_is_given():
    error = LookupError()
    try:
        raise error
    except LookupError:
        assert rule().next_try(0).exc is error
        with pytest.raises(LookupError):
            rule(max_retries=0).next_try(0)


@pytest.mark.parametrize("declared", [
    {"max_retries": -1}, {"max_retries": True}, {"max_retries": 1.5}, {"default_retry_delay": "soon"},
    {"default_retry_delay": LONGEST_S + 1}, {"default_retry_delay": float("nan")}, {"retry_backoff_max": True},
    {"retry_kwargs": {"eta": 1}}, {"retry_kwargs": {"max_retries": -2}}])
def test_what_cannot_be_meant_is_refused(declared):
    with pytest.raises(ValueError, match="takes"):
        rule(**declared)


@pytest.mark.parametrize("declared", [{"autoretry_for": [ValueError()]}, {"dont_autoretry_for": ["KeyError"]}])
def test_only_classes_of_exceptions_are_tried_again_for(declared):
    with pytest.raises(TypeError, match="takes classes of exceptions"):
        rule(**declared)


def test_the_runner_is_told_when_a_task_is_to_be_tried_again(new_run):
    journal = new_run("one")

    journal.settle(claimed(journal), ToBeTriedAgain('"cold"', 0.2), 0, 0, is_parent=False)

    assert journal.bell.of("comes_due") == [0.2]
