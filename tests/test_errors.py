"""What the errors of FireX's family and of celery say, word for word, and that they can be passed between processes."""
from __future__ import annotations

import datetime
import pickle

import pytest

from firexlite import errors

NOON = datetime.datetime(2026, 11, 23, 12)


@pytest.mark.parametrize("error, text", [
    (errors.SoftTimeLimitExceeded(), "SoftTimeLimitExceeded()"),
    (errors.TimeLimitExceeded(3), "TimeLimitExceeded(3,)"),
    (errors.Retry("not now", when=5), "not now"),
    (errors.Retry(exc=ValueError("x"), when=5), "Retry in 5s: ValueError('x')"),
    (errors.Retry(when=NOON), "Retry at 2026-11-23 12:00:00"),
    (errors.MaxRetriesExceededError("Can't retry greet", task_args=(1,)), "Can't retry greet"),
    (errors.ReturnCodeError("no", 7), "no"),
    (errors.ChainInterruptedByZombieTaskException("12", "greet"),
     "The chain has been interrupted by a failure in microservice greet[12]: (zombie task)"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "")
def test_an_error_keeps_its_text_and_its_parts_when_it_is_pickled(error, text):
    again = pickle.loads(pickle.dumps(error))

    assert str(error) == str(again) == text
    assert {name: repr(value) for name, value in vars(again).items()} == {n: repr(v) for n, v in vars(error).items()}
