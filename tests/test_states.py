"""The table of moves, and that a real journal holds to it, whoever writes."""
from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from journals import moves, new_tasks, opened, submit

from firexlite import schema
from firexlite.journal import Journal
from firexlite.states import FINAL, MOVES, OPEN, STATES

# Written out by hand: what a task may go through, as DESIGN has it, with `stop` of a replay that cannot go on, and `wake` of
# a task that waited without a process.
EXPECTED = {
    ("release", "waiting", "ready"),
    ("skip", "waiting", "skipped"),
    ("claim", "ready", "running"),
    ("block", "running", "blocked"),
    ("unblock", "blocked", "running"), ("wake", "blocked", "ready"),
    ("succeed", "running", "succeeded"), ("perform", "ready", "succeeded"),
    ("retry", "running", "ready"),
    ("lose", "running", "ready"), ("lose", "blocked", "ready"),
    ("stop", "running", "ready"), ("stop", "blocked", "ready"),
    ("fail", "running", "failed"), ("fail", "blocked", "failed"),
    ("revoke", "waiting", "revoked"), ("revoke", "ready", "revoked"),
    ("revoke", "running", "revoked"), ("revoke", "blocked", "revoked"),
    ("decide", "ready", "succeeded"), ("decide", "failed", "succeeded"), ("decide", "revoked", "succeeded"),
    ("reopen", "failed", "ready"), ("reopen", "skipped", "ready"), ("reopen", "revoked", "ready"),
    ("reopen", "failed", "waiting"), ("reopen", "skipped", "waiting"), ("reopen", "revoked", "waiting"),
}
EVERY = {(move, source, target) for move in MOVES for source in STATES for target in STATES}


def test_the_table_is_the_one_of_the_design():
    table = {(move, source, target) for move, (sources, targets) in MOVES.items()
             for source in sources for target in targets}

    assert table == EXPECTED


def test_final_is_what_only_a_resume_leads_out_of():
    assert set(FINAL) == {"succeeded", "failed", "skipped", "revoked"}
    assert set(OPEN) == {"waiting", "ready", "running", "blocked"}


def test_every_state_can_be_reached_and_success_cannot_be_left():
    assert set(ways()) == set(STATES)
    assert not any(source == "succeeded" for _, source, _ in EXPECTED)


def ways() -> dict[str, list[tuple[str, str]]]:
    """The shortest ``[(move, target)]`` from waiting to each state."""
    found: dict[str, list[tuple[str, str]]] = {"waiting": []}
    while True:
        new = {target: [*found[source], (move, target)] for move, source, target in sorted(EXPECTED)
               if source in found and target not in found}
        if not new:
            return found
        found.update(new)


@pytest.fixture(scope="module")
def journal(tmp_path_factory) -> Iterator[Journal]:
    """A journal with one task in each state, in the order of `STATES`; tests leave it as it was."""
    journal = opened(tmp_path_factory.mktemp("home"))
    submit(journal, *STATES)
    with journal.transaction(durable=True):
        # The first member of a chain is ready at once, all others wait.
        journal.execute("UPDATE task SET state = 'running', move = 'claim' WHERE id = 1")
        journal.execute("UPDATE task SET state = 'failed', move = 'fail' WHERE id = 1")
        journal.execute("UPDATE task SET state = 'waiting', move = 'reopen' WHERE id = 1")
        for num, state in enumerate(STATES, start=1):
            for move, target in ways()[state]:
                journal.execute("UPDATE task SET state = ?, move = ? WHERE id = ?", target, move, num)
    yield journal
    journal.close()


@pytest.fixture
def tried(journal):
    """Carries out a move in a transaction that is rolled back; gives the events it wrote."""

    def attempt(move: str, source: str, target: str) -> list[tuple]:
        [(before,)] = journal.execute("SELECT max(id) FROM event")
        with journal.transaction(durable=False), journal.db.savepoint() as savepoint:
            try:
                moved = journal.execute("UPDATE task SET state = ?, move = ?, moved = 77, attempt = 5 WHERE id = ? "
                                        "RETURNING id", target, move, STATES.index(source) + 1)
                assert moved == [(STATES.index(source) + 1,)]
                return journal.execute("SELECT at, task, attempt, move, state FROM event WHERE id > ?", before)
            finally:
                savepoint.rollback()

    return attempt


@pytest.mark.parametrize("source", STATES)
def test_moves_outside_the_table_are_refused(journal, tried, source):
    allowed = []
    for move, _, target in sorted(one for one in EVERY if one[1] == source):
        try:
            tried(move, source, target)
            allowed.append((move, source, target))
        except sqlite3.IntegrityError as error:
            assert str(error) == ("a succeeded task never changes" if source == "succeeded" else "no such move")

    assert allowed == sorted(one for one in EXPECTED if one[1] == source)


@pytest.mark.parametrize("move, source, target", sorted(EXPECTED))
def test_a_move_of_the_table_writes_exactly_one_event(tried, move, source, target):
    assert tried(move, source, target) == [(77, STATES.index(source) + 1, 5, move, target)]


def test_a_move_that_has_no_name_is_refused(tried):
    with pytest.raises(sqlite3.IntegrityError, match=r"^no such move$"):
        tried(None, "ready", "running")


def test_a_new_task_writes_an_event_only_if_it_is_ready(tmp_path):
    journal = opened(tmp_path)

    submit(journal, "greet", "amplify")

    assert moves(journal) == [(1, "release")]
    journal.close()


@pytest.mark.parametrize("field", sorted(set(schema.Task._meta.fields) - {"aside", "id"}))
def test_a_succeeded_task_never_changes(journal, field):
    with (pytest.raises(sqlite3.IntegrityError, match=r"^a succeeded task never changes$"),
          journal.transaction(durable=False)):
        journal.execute(f"UPDATE task SET {field} = {field} WHERE state = 'succeeded'")


def test_a_succeeded_task_may_be_set_aside(journal):
    with journal.transaction(durable=False):
        assert journal.execute("UPDATE task SET aside = 1 WHERE state = 'succeeded' RETURNING aside") == [(1,)]


@pytest.mark.parametrize("state", STATES)
def test_no_task_is_ever_deleted(journal, state):
    with pytest.raises(sqlite3.IntegrityError, match=r"^no task is ever deleted$"), journal.transaction(durable=False):
        journal.execute("DELETE FROM task WHERE state = ?", state)


def test_an_ended_attempt_never_changes(tmp_path):
    journal = opened(tmp_path)
    journal.submit(firex_id="", chain="", inputs="{}", options="{}", digest="", members=new_tasks("a"), pid=1, host="")
    journal.claim(0, 0)
    with journal.transaction(durable=True):
        journal.execute("UPDATE attempt SET ended = 1, outcome = 'lost'")

    with (pytest.raises(sqlite3.IntegrityError, match=r"^an ended attempt never changes$"),
          journal.transaction(durable=True)):
        journal.execute("UPDATE attempt SET outcome = 'succeeded'")
    assert journal.execute("SELECT outcome FROM attempt") == [("lost",)]
    journal.close()
