"""A journal stays what a plain model of it says, whatever happens in whatever order."""
from __future__ import annotations

import sqlite3

import hypothesis
import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from firexlite import journal, takeover, waiting
from firexlite.errors import ClaimLost

from .model import QUICK, JournalAndModel

TO_THE_FIRST_FAULT = hypothesis.settings(QUICK, max_examples=2000, phases=(Phase.generate,), report_multiple_bugs=False)


def test_the_journal_and_its_model_stay_the_same():
    run_state_machine_as_test(JournalAndModel, settings=QUICK)


@pytest.mark.long
@pytest.mark.parametrize(("module", "name", "old", "new"), [
    (journal, "_NEXT", "ORDER BY priority, depth DESC, id", "ORDER BY priority, id"),
    (journal, "_FAIL", "IN ('running', 'blocked')", "= 'running'"),
    (journal, "_ENDED", "BETWEEN ? AND ?", "BETWEEN ? AND ? AND 0"),
    (journal, "_OPEN_CHILDREN", "parent = ?", "parent = ? AND 0"),
    (journal, "_ABANDONED", "NOT EXISTS", "EXISTS"),
    (journal, "_REVOKE", "wakeable = 0, held = 0", "wakeable = 0"),
    (journal, "_UNBLOCK", "wakeable = 0", "wakeable = 1"),
    (journal, "_RETRY", "retry = retry + 1", "retry = retry"),
    (journal, "_RETRY", "due = ?", "due = ? * NULL"),
    (journal, "_STARTABLE", "AND due IS NULL ", ""),
    (journal, "_TAKEN", "sum(min(slots, ?))", "sum(min(1, ?))"),
    (journal, "_MARK_WAKEABLE", "AND worker IS NOT NULL ", ""),
    (journal, "_RESERVE", "reserved = ?", "reserved = ? * 2"),
    (journal, "_GIVE_BACK", "reserved = NULL", "reserved = reserved"),
    (journal, "_BEGIN", "attempt = attempt + 1", "attempt = attempt"),
    (journal, "_PERFORM", "AND state = 'ready'", "AND 0"),
    (journal, "_ENDED_TOGETHER", "WHERE tail IN", "WHERE tail NOT IN"),
    (waiting, "_END_ATTEMPT", "'suspended'", "'lost'"),
    (takeover, "_SUSPENDED", "AND worker IS NULL", "AND 0"),
])
def test_a_planted_bug_is_noticed(monkeypatch, module, name, old, new):
    statement = getattr(module, name)
    assert old in statement
    for one, text in list(vars(module).items()):  # those made of it too
        if isinstance(text, str) and statement in text:
            monkeypatch.setattr(module, one, text.replace(statement, statement.replace(old, new)))

    with pytest.raises((AssertionError, ClaimLost, sqlite3.IntegrityError)):
        run_state_machine_as_test(JournalAndModel, settings=TO_THE_FIRST_FAULT)
