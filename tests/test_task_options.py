"""What a service, or whoever enqueues it, may say of how its tasks are run."""
from __future__ import annotations

import pytest

from firexlite.task_options import PendingChildStrategy, TaskOptions, ValidateArgs, as_options, of_signature

USUAL = {"worker_deaths": 3, "on_interrupt": "retry", "soft_time_limit": None, "time_limit": None, "use_cache": False,
         "pending_child_strategy": PendingChildStrategy.BLOCK, "queue": None, "slots": 1, "priority": 0,
         "pydantic_validate": None, "others": {},
         "retry": {"max_retries": 3, "default_retry_delay": 180, "autoretry_for": (), "dont_autoretry_for": (),
                   "retry_kwargs": None, "retry_backoff": False, "retry_backoff_max": 600, "retry_jitter": True}}


def options(**declared: object) -> TaskOptions:
    return as_options(**{**USUAL, **declared})  # type: ignore[arg-type]


def test_what_nobody_says_is_as_usual():
    assert options() == TaskOptions()


def test_children_are_kept_only_if_the_service_says_that_they_continue():
    assert not options().keeps_children
    assert options(pending_child_strategy=PendingChildStrategy.CONTINUE).keeps_children
    assert options(pending_child_strategy=PendingChildStrategy.Continue).keeps_children


def test_what_only_a_broker_needs_is_taken_and_means_nothing():
    assert options(others={"acks_late": True, "ignore_result": False}) == TaskOptions()


def test_an_option_that_is_none_is_named():
    with pytest.raises(TypeError, match=r"@app\.task has no option prioritiy, que"):
        options(others={"que": "x", "prioritiy": 2, "trail": True})


@pytest.mark.parametrize(("declared", "told"), [
    ({"slots": 0}, "slots takes a whole number from 1 on, not 0"), ({"slots": True}, "slots takes a whole number"),
    ({"slots": 1.0}, "slots takes a whole number"), ({"priority": float("nan")}, "priority takes a whole number"),
    ({"priority": float("inf")}, "priority takes a whole number"), ({"priority": True}, "priority takes a whole number"),
    ({"on_interrupt": "retries"}, "on_interrupt takes retry, fail, ask, not 'retries'"),
    ({"time_limit": float("nan")}, "time_limit takes a number of seconds"), ({"pydantic_validate": "yes"}, "yes")])
def test_what_cannot_be_meant_is_refused(declared, told):
    with pytest.raises(ValueError, match=told):
        options(**declared)


@pytest.mark.parametrize("queue", ["", 7, b"gpu"])
def test_a_queue_has_a_name(queue):
    with pytest.raises(TypeError, match="queue takes a name"):
        options(queue=queue)


def test_a_signature_sets_what_it_says_and_nothing_else():
    assert of_signature({"queue": "gpu", "priority": None, "use_cache": 0, "soft_time_limit": 2, "label": 5}) == {
        "queue": "gpu", "priority": 0, "use_cache": False, "soft_time_limit": 2, "label": "5"}
    assert of_signature({"queue": None, "use_cache": None, "label": None, "time_limit": 0}) == {}
    with pytest.raises(ValueError, match="slots takes"):
        of_signature({"slots": -1})


def test_arguments_are_validated_as_the_service_says():
    assert options(pydantic_validate="require").validate is ValidateArgs.REQUIRE
    assert options(pydantic_validate=ValidateArgs.ATTEMPT).validate is ValidateArgs.ATTEMPT
