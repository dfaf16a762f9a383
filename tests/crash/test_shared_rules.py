"""Small rules of waiting, limits and what is shared, of which each is a line or a word; only planted bugs made us look."""
from __future__ import annotations

import itertools
import os
import time
from types import SimpleNamespace

import pytest
from journals import BROKEN, MAIN, SECOND, THIRD, claimed, enqueue, settle, states

from firexlite import host, uid
from firexlite.board import RUNNER, Address, Board
from firexlite.claims import Success
from firexlite.deadlocks import refuse_deadlock
from firexlite.errors import SchedulingDeadlockException
from firexlite.flow import ChainFlow
from firexlite.home import home
from firexlite.once import compute_or_wait
from firexlite.outside import cancel, write_to_run
from firexlite.runner import Incarnation, Runner
from firexlite.waiting import begin_wait, come_due, suspend
from firexlite.worker import Worker


@pytest.fixture
def askers(new_run):
    """Two tasks that run, below one that is blocked."""
    journal = new_run("top", slots=4)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("left", "right")]
    journal.block(top, tails, 1)
    return journal, claimed(journal, SECOND), claimed(journal, THIRD)


def test_what_is_shared_goes_on_though_one_who_asked_is_revoked_from_above(askers):
    journal, left, right = askers
    below, _ = enqueue(journal, left, "below")
    inner = claimed(journal, 3)
    assert inner.task == below
    shared, _ = enqueue(journal, inner, "shared", once="key")
    assert enqueue(journal, right, "shared", once="key") == (shared, shared)

    journal.revoke_chain(left.task)

    assert states(journal) == ["blocked", "revoked", "running", "revoked", "ready"]


def test_when_who_was_to_compute_has_failed_the_others_wait_for_who_does_it_then(askers):
    journal, left, right = askers
    enqueue(journal, left, "third")
    third = claimed(journal, 3)
    compute_or_wait(journal, left, "cache:sum")
    settle(journal, left, BROKEN, SECOND, claims_next=False)

    assert compute_or_wait(journal, right, "cache:sum") == right.task
    assert compute_or_wait(journal, third, "cache:sum") == right.task


def test_the_rest_of_a_chain_needs_what_stands_before_it(new_run):
    journal = new_run("train", slots=4, queues={"gpu": 1}, queue="gpu")
    top = claimed(journal)
    head, last = enqueue(journal, top, "first", "second", queue="gpu")
    journal.execute("UPDATE task SET queue = NULL, limited = '' WHERE id = ?", last)

    with pytest.raises(SchedulingDeadlockException, match=rf"first \(task {head}\) needs a place in the queue 'gpu'"):
        journal.block(top, [last], 1, may_wait=refuse_deadlock)


def test_a_wait_that_is_over_and_without_a_slot_is_not_suspended(new_run):
    journal = new_run("one", slots=1)
    claim = claimed(journal)
    child, _ = enqueue(journal, claim, "child")
    begin_wait(journal, claim, 1, 1100.0, None)
    assert claimed(journal, SECOND).task == child  # it has the only slot

    journal.clock = itertools.count(1200.0).__next__
    journal.look([MAIN, SECOND], come_due)

    assert states(journal) == ["blocked", "running"]
    assert not suspend(journal, claim, 0)


def test_of_two_values_of_a_name_the_later_one_flows_on(new_run):
    journal = new_run("one", "two", "three")
    for returned in ('{"x":1,"y":1}', '{"x":2}'):
        settle(journal, claimed(journal), Success(returned, "{}"), claims_next=False)
    whole, step_by_step = ChainFlow(1), ChainFlow(1)
    step_by_step.before(2, journal)

    assert whole.before(3, journal) == step_by_step.before(3, journal) == {"x": 2, "y": 1}


def test_the_id_of_another_run_leads_to_where_that_one_lies(tmp_path, monkeypatch):
    mine, other = "FireX-li-261123-101500-4711", "FireX-li-261123-101500-4712"
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    (home() / other).mkdir(parents=True)
    uid.be_in(tmp_path / "elsewhere" / mine)
    try:
        assert uid.Uid(mine).logs_dir == str(tmp_path / "elsewhere" / mine)
        assert uid.Uid(other).logs_dir == str(home() / other)
    finally:
        uid.be_in(None)


# --- whom the runner looks after in time -------------------------------------------------------------------------------------

def test_the_runner_looks_again_when_the_next_time_comes(new_run):
    journal = new_run("one")
    journal.clock = time.time
    begin_wait(journal, claimed(journal), 1, time.time() + 0.5, None)
    runner = Runner(Incarnation(journal.directory, 1, 1, []), Board(), None)
    runner._prepare_wake_folder()

    runner._look()

    assert runner.next_look - time.monotonic() <= 0.5
    runner.address.close()


@pytest.fixture
def at_runner(tmp_path):
    """The address of a runner, in a folder of its own."""
    (tmp_path / "wake").mkdir()
    address = Address(tmp_path / "wake", RUNNER)
    yield address
    address.close()


@pytest.mark.parametrize(("limits", "told"), [((None, 0.3), [b"limit"]), ((0.3, 60), [b"limit"]), ((60, None), [])])
def test_the_runner_is_told_of_a_limit_before_it_would_look(limits, told, at_runner):
    worker = SimpleNamespace(board=Board(), number=0, address=at_runner)
    worker.board.will_look(time.monotonic() + 1)

    Worker._limit(worker, SimpleNamespace(limits=lambda: limits))  # type: ignore[arg-type]

    assert at_runner.drain() == told


def test_the_runner_is_told_of_what_was_written_from_outside(new_run):
    directory = new_run("one").directory
    directory.wake.mkdir()
    alive, address = directory.take_alive_lock(host.start_time), Address(directory.wake, RUNNER)
    try:
        write_to_run(directory, lambda journal: cancel(journal, None, "enough"))

        assert address.drain() == [b"look"]
    finally:
        address.close()
        os.close(alive)
