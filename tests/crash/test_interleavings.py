"""Whatever the order in which a run's processes act, and whoever dies at whichever step, the run ends as if undisturbed."""
from __future__ import annotations

import functools

import pytest

from firexlite import board, journal, takeover
from firexlite.claims import Bell

from . import actors
from .actors import Program
from .interleavings import PROGRAMS, Explored, explore

QUICK = ("a chain of two", "a chain of three whose second fails", "a child", "a child, in one slot", "a child that fails",
         "a sleep", "an event", "a retry after a while", "a batch", "a batch with a failure")
IN_ORDER = [name for name in PROGRAMS if name not in ("two parents", *QUICK)]
LONG = ("an event", "a batch", "a key for two parents", "a batch of which others help",
        "a batch of which one is cancelled")  # five seconds and more each


def each_of(names):
    return pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in names])


@each_of(QUICK)
def test_a_small_run_ends_well_in_all_orders_with_a_death_at_each_step(name):
    found = explore(name, PROGRAMS[name])

    assert found.problems == []
    assert found.worlds > 100 and len(found.endings) == 1


@each_of(IN_ORDER)
def test_a_run_in_which_nobody_dies_ends_well_in_all_orders_by_wake_ups_alone(name):
    found = explore(name, PROGRAMS[name], deaths=0)

    assert found.problems == []


def test_what_is_reserved_is_begun_caught_up_with_and_given_back_in_those_runs():
    found = explore("it", PROGRAMS["a batch with a parent"], deaths=0)

    assert {"catch up committed", "settle committed", "block committed"} <= found.moments


# --- what the lab must notice -------------------------------------------------------------------------------------

def problems(program: Program, deaths: int = 1) -> str:
    found: Explored = explore("it", program, deaths)
    return "\n".join(found.problems)


def replaced(monkeypatch, name: str, old: str, new: str, module=journal) -> None:
    """Plant a bug in a statement."""
    statement = getattr(module, name)
    assert old in statement
    monkeypatch.setattr(module, name, statement.replace(old, new))


def test_a_claim_beyond_the_slots_is_noticed(monkeypatch):
    monkeypatch.setattr(journal, "_TAKEN", "SELECT 0, 1 FROM (SELECT ?)")

    assert "tasks run in 1 slots" in problems(PROGRAMS["a child, in one slot"], deaths=0)


def test_a_lost_wake_up_is_noticed(monkeypatch):
    monkeypatch.setattr(board.Doorbell, "ring", lambda self, unblocked, startable: Bell.ring(self, unblocked, startable))

    assert "a wake-up is lost" in problems(PROGRAMS["a chain of two"], deaths=0)


def test_a_parent_that_is_not_woken_is_noticed(monkeypatch):
    monkeypatch.setattr(journal, "_MARK_WAKEABLE", "SELECT id FROM task WHERE id = ? AND state = 'blocked'")

    assert "waits for nothing and may not go on" in problems(PROGRAMS["a child"], deaths=0)


def test_a_claim_of_what_runs_already_is_noticed(monkeypatch):
    replaced(monkeypatch, "_NEXT", "state = 'ready' AND stopped IS NULL", "state IN ('ready', 'running') AND stopped IS NULL")

    assert "no such move" in problems(PROGRAMS["a child"], deaths=0)


def test_a_rest_of_a_chain_that_is_not_skipped_is_noticed(monkeypatch):
    replaced(monkeypatch, "_SKIP", "BETWEEN ? AND ?", "BETWEEN ? AND ? AND 0")

    assert "behind task" in problems(PROGRAMS["a chain of three whose second fails"], deaths=0)


def test_a_stale_write_that_is_not_fenced_is_noticed(monkeypatch):
    replaced(monkeypatch, "_SUCCEED", "attempt = ? AND worker IS NOT NULL AND epoch = ?", "? = ? AND worker IS NOT NULL")

    assert "came too late" in problems(PROGRAMS["a chain of two"])


def test_an_epoch_that_is_not_raised_is_noticed(monkeypatch):
    monkeypatch.setattr(journal.Journal, "epoch", functools.partialmethod(lambda self: 0))

    assert problems(PROGRAMS["a chain of two"])


def test_a_death_that_gives_nothing_back_is_noticed(monkeypatch):
    monkeypatch.setattr(journal.Journal, "lose", lambda self, worker, error_after: [])

    assert problems(PROGRAMS["a chain of two"])


def test_a_take_over_that_gives_nothing_back_is_noticed(monkeypatch):
    monkeypatch.setattr(takeover, "_give_back", lambda journal, now, killed: [])

    assert problems(PROGRAMS["a chain of two"])


def test_a_bell_that_is_told_before_the_commit_is_noticed(monkeypatch):
    monkeypatch.setattr(journal.Journal, "tell", lambda self, tell, *what, **more: tell(*what, **more))

    assert "before COMMIT" in problems(PROGRAMS["a chain of two"], deaths=0)


def test_a_sleeper_that_is_not_woken_is_noticed(monkeypatch):
    monkeypatch.setattr(journal, "_WAKE", "SELECT id FROM task WHERE ? AND id = ? AND 0")

    assert "waits for nothing and may not go on" in problems(PROGRAMS["a sleep"], deaths=0)


def test_an_event_of_which_the_runner_is_not_told_is_noticed(monkeypatch):
    monkeypatch.setattr(actors.World, "_command", functools.partialmethod(_without_a_wake_up, actors.World._command))

    assert "a wake-up is lost" in problems(PROGRAMS["an event"], deaths=0)


def _without_a_wake_up(world, command):
    told = world.runner and world.runner.told_quiet
    command(world)
    if world.runner is not None:
        world.runner.told_quiet = told


def test_a_queue_with_too_many_tasks_is_noticed(monkeypatch):
    monkeypatch.setattr(journal, "IN_QUEUE", "SELECT id FROM task WHERE limited = ? AND 0")

    assert "tasks are in the queue 'q', which has 1 places" in problems(PROGRAMS["two in a queue with one place"], deaths=0)


def test_one_who_writes_for_a_task_that_sleeps_is_noticed(monkeypatch):
    monkeypatch.setattr(journal, "_FAIL", journal._FAIL.replace("worker IS NOT NULL AND ", ""))

    assert "came too late" in problems(PROGRAMS["a sleep"], deaths=0)


def test_a_limit_that_kills_a_worker_and_forgets_its_task_is_noticed(monkeypatch):
    monkeypatch.setattr(journal.Journal, "give_back", lambda journal, *what, **more: None)

    assert problems(PROGRAMS["a limit"], deaths=0)


@pytest.mark.parametrize("name, text", [
    ("_GIVE_BACK", "UPDATE task SET reserved = reserved WHERE id = ? AND reserved = ?"),
    ("_RESERVE", "UPDATE task SET reserved = 9 * (? + 1) WHERE id = ?"),
    ("_BEGIN", journal._BEGIN.replace("reserved = NULL WHERE", "reserved = reserved WHERE")),
])
def test_a_reservation_that_goes_astray_is_noticed(name, text, monkeypatch):
    monkeypatch.setattr(journal, name, text)

    assert "reserved by worker" in problems(PROGRAMS["a batch with a parent"])
