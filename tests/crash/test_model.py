"""A journal stays what a plain model of it says, whatever happens in whatever order."""
from __future__ import annotations

import hypothesis
import peewee
import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from firexlite import journal

from .model import QUICK, JournalAndModel

TO_THE_FIRST_FAULT = hypothesis.settings(QUICK, max_examples=400, phases=(Phase.generate,), report_multiple_bugs=False)


def test_the_journal_and_its_model_stay_the_same():
    run_state_machine_as_test(JournalAndModel, settings=QUICK)


@pytest.mark.parametrize(("name", "old", "new"), [
    ("_NEXT", "ORDER BY priority, depth DESC, id", "ORDER BY priority, id"),
    ("_FAIL", "IN ('running', 'blocked')", "= 'running'"),
    ("_ENDED", "BETWEEN ? AND ?", "BETWEEN ? AND ? AND 0"),
    ("_OPEN_CHILDREN", "parent = ?", "parent = ? AND 0"),
    ("_REVOKE", "wakeable = 0, held = 0", "wakeable = 0"),
    ("_UNBLOCK", "wakeable = 0", "wakeable = 1"),
])
def test_a_planted_bug_is_noticed(monkeypatch, name, old, new):
    statement = getattr(journal, name)
    assert old in statement
    monkeypatch.setattr(journal, name, statement.replace(old, new))

    with pytest.raises((AssertionError, peewee.IntegrityError)):
        run_state_machine_as_test(JournalAndModel, settings=TO_THE_FIRST_FAULT)
