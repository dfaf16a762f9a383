"""Small rules of the journal, of replay, of a take-over and of locks, each of which a single slip would break unseen."""
from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import threading
import time

import pytest
from conftest import FIXTURES, wait_until
from journals import (
    BROKEN,
    MAIN,
    SECOND,
    THIRD,
    claimed,
    column,
    enqueue,
    error_after,
    is_locked,
    run_directory,
    settle,
    states,
)

from firexlite import home as home_module
from firexlite import host, journal_file, schema
from firexlite.claims import Recorded, Success
from firexlite.errors import BadInput, DiskFull, RunActive, StorageFailure
from firexlite.journal import Journal
from firexlite.replay import Replay
from firexlite.takeover import INCARNATION_DEATHS, Decisions, take_over
from firexlite.waiting import come_due, send


def set_all(journal, assignment: str) -> None:
    with journal.transaction(durable=True):
        journal.execute(f"UPDATE task SET {assignment}")


def let_services_return_anything(journal) -> None:
    with journal.transaction(durable=True):
        journal.execute("""UPDATE service SET about = '{"returns": null}'""")


# --- waiting ---------------------------------------------------------------------------------------------------------

def lose_the_last_life(journal, top) -> None:
    set_all(journal, "worker_deaths = 0")
    journal.lose(MAIN, error_after)


@pytest.mark.parametrize("end", [
    lambda journal, top: journal.lose(MAIN, error_after),
    lose_the_last_life,
    lambda journal, top: take_over(journal, 1, "here", {}),
    lambda journal, top: journal.stop(top, "{}", MAIN, 0),
    lambda journal, top: settle(journal, top, BROKEN, is_parent=True),
    lambda journal, top: journal.revoke_chain(top.task),
    lambda journal, top: journal.end_wait(top, 1),
    lambda journal, top: journal.lose(SECOND, error_after),  # so it does go on
], ids=["lost", "lost for good", "taken over", "stopped", "failed", "revoked", "timed out", "let go on"])
def test_who_could_have_gone_on_and_waits_no_more_is_not_let_go_on_later(end, new_run):
    journal = new_run("top")
    top = claimed(journal)
    enqueue(journal, top, "busy")
    _, tail = enqueue(journal, top, "child")
    journal.block(top, [tail], wait=1)
    claimed(journal, SECOND)
    journal.revoke_chain(tail)
    assert column(journal, "wakeable")[0] == 1  # there is no slot

    end(journal, top)

    assert column(journal, "wakeable")[0] == 0


def test_a_task_that_is_stopped_waits_for_nobody(new_run):
    journal = new_run("top")
    top = claimed(journal)
    _, tail = enqueue(journal, top, "child")
    journal.block(top, [tail], wait=1)

    journal.stop(top, "{}", MAIN, 0)

    assert journal.execute("SELECT * FROM awaited") == []


def test_of_those_who_can_go_on_the_deepest_does_first(new_run):
    journal = new_run("top")
    top = claimed(journal)
    enqueue(journal, top, "middle")
    _, awaited_by_top = enqueue(journal, top, "other")
    journal.block(top, [awaited_by_top], wait=1)
    middle = claimed(journal, SECOND)
    _, awaited_by_middle = enqueue(journal, middle, "low")
    journal.block(middle, [awaited_by_middle], wait=1)
    low = claimed(journal, THIRD)
    journal.revoke_chain(awaited_by_top)

    settle(journal, low, worker=THIRD)

    assert states(journal) == ["blocked", "running", "revoked", "succeeded"]


@pytest.fixture
def top_with_children(new_run):
    """A journal, the claim of a task, and the tails of its three children, of which the first two run."""
    journal = new_run("top", slots=4)
    top = claimed(journal)
    tails = [enqueue(journal, top, name)[1] for name in ("a", "b", "c")]
    return journal, top, tails, [claimed(journal, SECOND), claimed(journal, THIRD)]


def test_the_end_of_a_wait_for_any_ends_no_wait_of_another_thread(top_with_children):
    journal, top, (_, b, c), running = top_with_children
    journal.block(top, [b, c], wait=1, any_is_enough=True)
    journal.block(top, [c], wait=2)

    settle(journal, running[1], worker=THIRD)

    assert journal.execute("SELECT tail, wait FROM awaited") == [(c, 2)]
    assert (journal.is_waiting(top, 1), journal.is_waiting(top, 2)) == (False, True)


def test_a_wait_for_any_that_is_over_before_it_begins_leaves_nothing_behind(top_with_children):
    journal, top, tails, running = top_with_children
    settle(journal, running[0], worker=SECOND)

    assert journal.block(top, tails, wait=1, any_is_enough=True) is False

    assert journal.execute("SELECT * FROM awaited") == []


def test_whoever_looks_whether_a_run_is_quiet_has_the_workers_counted_anew(new_run):
    journal, told = new_run("one"), []
    journal.bell.recount = told.append

    journal.look([MAIN, THIRD], come_due)

    assert told == [[MAIN, THIRD]]


# --- what is recorded ------------------------------------------------------------------------------------------------

def test_a_value_that_was_noted_is_never_replaced(new_run):
    journal = new_run("one")
    claim = claimed(journal)
    journal.note(claim, "now", 0, "1")

    journal.note(claim, "now", 0, "2")

    assert journal.notes(claim) == {("now", 0): "1"}


def test_recorded_twins_are_given_in_the_order_in_which_they_were_enqueued(new_run):
    journal = new_run("one")
    claim = claimed(journal)
    for _ in range(2):
        enqueue(journal, claim, "twin", held=True)
    journal.lose(MAIN, error_after)

    again = claimed(journal)

    assert [call.head for call in journal.recorded_calls(again)] == [2, 3]


def test_a_service_whose_first_task_was_not_journaled_is_recorded_with_the_next(new_run, monkeypatch):
    journal = new_run("one")
    claim = claimed(journal)

    def fail_before_the_commit(*moment: str) -> None:
        if moment == ("enqueue", "written"):
            raise ZeroDivisionError

    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(journal_file.faults, "reach", fail_before_the_commit)
        enqueue(journal, claim, "child")
    enqueue(journal, claim, "child")

    assert journal.execute("SELECT name FROM service ORDER BY name") == [("child",), ("one",)]


def test_a_member_of_a_chain_is_told_once_however_many_attempts_it_took(new_run):
    journal = new_run("one")
    claimed(journal)
    journal.lose(MAIN, error_after)
    settle(journal, claimed(journal), BROKEN)

    assert journal.chain_members(1, 1) == [(1, "one", "failed", '"broken"', 2)]


@pytest.mark.parametrize(("table", "what"), [("task", "no task"), ("attempt", "no attempt"), ("event", "no event"),
                                             ("sent", "nothing that was sent")])
def test_what_happened_is_never_deleted(table, what, new_run):
    journal = new_run("one")
    claimed(journal)
    send(journal, "approved", "1")

    with pytest.raises(sqlite3.IntegrityError, match=f"{what} is ever deleted"), journal.transaction(durable=False):
        journal.execute(f"DELETE FROM {table}")


def test_what_was_made_again_last_with_success_is_what_flows_on(new_run):
    journal = new_run("one", "two")
    settle(journal, claimed(journal), Success('{"x":0}', "{}"))

    for outcome in Success('{"x":1}', "{}"), Success('{"x":2}', "{}"), BROKEN:
        take_over(journal, 1, "here", {}, Decisions(redo=[1]))
        settle(journal, claimed(journal), outcome)

    assert journal.flow_steps(1, 1) == [("{}", "{}", '{"x":2}')]


def test_of_a_held_chain_the_first_is_held_and_the_rest_waits_for_it(new_run):
    journal = new_run("one")

    enqueue(journal, claimed(journal), "a", "b", held=True)

    assert (states(journal), column(journal, "held")) == (["running", "waiting", "waiting"], [0, 1, 0])


# --- replay ----------------------------------------------------------------------------------------------------------

def test_a_held_chain_is_known_by_its_last_task():
    replay = Replay([Recorded(3, 3, "a", False)], strict=True)

    replay.enqueue("new", True, lambda held: (10, 11), lambda heads: None)

    assert replay.holds_any([11])
    assert not replay.holds_any([10])


def test_all_that_was_held_is_released_at_once():
    replay, released = Replay([Recorded(3, 3, "a", False)], strict=True), []
    for digest, chain in ("new", (10, 11)), ("newer", (12, 12)):
        replay.enqueue(digest, True, lambda held, chain=chain: chain, released.extend)

    replay.enqueue("a", True, lambda held: (99, 99), released.extend)

    assert released == [10, 12]


# --- a take-over -----------------------------------------------------------------------------------------------------------

def test_a_run_that_is_taken_over_has_not_ended(new_run):
    journal = new_run("one")
    settle(journal, claimed(journal), BROKEN)
    journal.finish()

    take_over(journal, 1, "here", {})

    assert journal.execute("SELECT state, ended FROM run") == [("running", None)]


def test_an_incarnation_that_was_killed_has_no_end_though_the_next_one_ends(new_run):
    journal = new_run("one")
    take_over(journal, 1, "here", {})

    journal.finish()

    assert journal.execute("SELECT how, ended IS NULL FROM incarnation ORDER BY epoch") == [(None, 1), ("interrupted", 0)]


def test_a_parent_that_only_waited_is_not_given_up_with_a_child_that_kills_all_processes(new_run):
    journal = new_run("top", slots=2)
    enqueue(journal, claimed(journal), "deadly")
    take_over(journal, 1, "here", {})

    for _ in range(INCARNATION_DEATHS - 1):
        deadly, top = claimed(journal, SECOND), claimed(journal)
        journal.block(top, [deadly.task], wait=1)
        take_over(journal, 1, "here", {})

    assert states(journal) == ["ready", "failed"]


def test_behind_a_task_that_stays_failed_nothing_goes_on(new_run):
    journal = new_run("one", "two")
    set_all(journal, "on_interrupt = 'fail'")
    claimed(journal)

    for _ in range(2):
        take_over(journal, 1, "here", {})

        assert states(journal) == ["failed", "skipped"]


# --- what a person decides -------------------------------------------------------------------------------------------

def test_a_task_that_is_restarted_may_lose_as_many_workers_as_at_first(new_run):
    journal = new_run("one", worker_deaths=1)
    claimed(journal)
    journal.lose(MAIN, error_after)

    take_over(journal, 1, "here", {}, Decisions(restart=[1]))

    claimed(journal)
    assert journal.lose(MAIN, error_after) == []
    assert states(journal) == ["ready"]


def test_below_a_task_that_is_marked_done_nothing_goes_on(new_run):
    journal = new_run("one", slots=2)
    let_services_return_anything(journal)
    enqueue(journal, claimed(journal), "child")

    take_over(journal, 1, "here", {}, Decisions(done={1: {}}))

    assert states(journal) == ["succeeded", "revoked"]


def test_of_a_task_that_is_marked_done_nothing_is_left_to_decide(new_run):
    journal = new_run("one")
    let_services_return_anything(journal)
    set_all(journal, "on_interrupt = 'ask'")
    claimed(journal)
    take_over(journal, 1, "here", {})
    assert column(journal, "unsure") == [1]

    take_over(journal, 1, "here", {}, Decisions(done={1: {}}))

    assert journal.execute("SELECT state, unsure, stopped FROM task") == [("succeeded", 0, None)]


def test_what_follows_a_child_that_is_marked_done_goes_on(new_run):
    journal = new_run("top")
    top = claimed(journal)
    _, tail = enqueue(journal, top, "bad", "next", "last")
    let_services_return_anything(journal)
    journal.block(top, [tail], wait=1)
    settle(journal, claimed(journal, SECOND), BROKEN, SECOND)
    assert states(journal) == ["running", "failed", "skipped", "skipped"]

    take_over(journal, 1, "here", {}, Decisions(done={2: {}}))

    assert states(journal) == ["ready", "succeeded", "ready", "waiting"]


def test_all_above_a_restarted_task_go_on_and_may_take_another_path(new_run):
    journal = new_run("top", slots=3)
    enqueue(journal, claimed(journal), "middle")
    middle = claimed(journal, SECOND)
    enqueue(journal, middle, "low")
    settle(journal, claimed(journal, THIRD), BROKEN, THIRD)
    settle(journal, middle, BROKEN, SECOND, is_parent=True)
    assert states(journal) == ["running", "failed", "failed"]

    take_over(journal, 1, "here", {}, Decisions(restart=[3]))

    assert (states(journal), column(journal, "relaxed")) == (["ready"] * 3, [1] * 3)


def begun_and_waiting(journal) -> None:
    claimed(journal)


def below_one_that_succeeded(journal) -> None:
    one = claimed(journal)
    enqueue(journal, one, "child")
    settle(journal, claimed(journal, SECOND), BROKEN, SECOND)
    settle(journal, one, is_parent=True)


def set_aside(journal) -> None:
    enqueue(journal, claimed(journal), "child")
    settle(journal, claimed(journal, SECOND), BROKEN, SECOND)
    with journal.transaction(durable=True):
        journal.set_aside([3])


UNDECIDABLE = {
    begun_and_waiting: (2, "task 2 (two) cannot be {}: it is waiting and has not begun; "
                           "`firexlite resume` without it runs what is left"),
    below_one_that_succeeded: (3, "task 3 (child) cannot be {}: task 1, which enqueued it, has succeeded without it"),
    set_aside: (3, "task 3 (child) cannot be {}: it was set aside, so nobody waits for it"),
}


@pytest.mark.parametrize("decide, what", [(lambda task: Decisions(restart=[task]), "restarted"),
                                          (lambda task: Decisions(done={task: {}}), "marked done")],
                         ids=["restart", "mark done"])
@pytest.mark.parametrize("begin", UNDECIDABLE)
def test_nothing_is_decided_about_a_task_for_which_nobody_waits(begin, decide, what, new_run):
    journal = new_run("one", "two", slots=2)
    begin(journal)
    let_services_return_anything(journal)
    before = states(journal)
    task, told = UNDECIDABLE[begin]

    with pytest.raises(BadInput) as refused:
        take_over(journal, 1, "here", {}, decide(task))

    assert str(refused.value) == told.format(what)
    assert states(journal) == before


# --- who holds a run -------------------------------------------------------------------------------------------------

@pytest.fixture
def held_run(tmp_path):
    """A run whose `alive.lock` this process holds, and the file descriptor that holds it."""
    run = run_directory(tmp_path)
    alive = run.take_alive_lock(host.start_time)
    yield run, alive
    os.close(alive)


def test_a_process_that_has_the_pid_of_a_dead_holder_does_not_hold_its_run(held_run):
    run, _ = held_run
    run.alive_lock.write_text(json.dumps({"pid": os.getpid(), "start": 1}))

    with pytest.raises(RunActive) as refused:
        run.take_alive_lock(host.start_time, dying_s=0)

    assert f"is running in process {os.getpid()};" not in str(refused.value)


def test_of_an_earlier_holder_of_a_run_nothing_is_left_in_its_lock(held_run):
    run, alive = held_run
    run.alive_lock.write_text("x" * 500)

    home_module.record_holder(alive, host.start_time)

    assert json.loads(run.alive_lock.read_text()) == {"pid": os.getpid(), "start": host.start_time(os.getpid())}
    with pytest.raises(RunActive, match=f"is running in process {os.getpid()}; wait for it or stop it first"):
        run.take_alive_lock(host.start_time, dying_s=0)


# --- disks and SQLite ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number, kind", [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, StorageFailure),
                                          (errno.EROFS, StorageFailure), (errno.EISDIR, IsADirectoryError)],
                         ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "")
def test_what_a_disk_has_against_writing_is_told_from_mistakes(number, kind, tmp_path):
    with pytest.raises(kind) as raised, home_module.storage(tmp_path):
        raise OSError(number, os.strerror(number))

    assert type(raised.value) is kind


def test_a_kill_while_a_journal_is_brought_up_to_date_leaves_it_as_it_was(tmp_path, monkeypatch):
    run = run_directory(tmp_path)
    db = sqlite3.connect(run.journal)
    db.executescript((FIXTURES / "schema1.sql").read_text())
    before = list(db.iterdump())
    db.close()

    pid = os.fork()
    if not pid:
        try:
            monkeypatch.setattr(schema, "_seal", lambda db: os.kill(os.getpid(), signal.SIGKILL))
            Journal(run, 1).open()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    db = sqlite3.connect(run.journal)
    assert list(db.iterdump()) == before
    db.close()
    with Journal(run, 1) as journal:
        assert schema.version(journal.db) == schema.SCHEMA


def test_a_journal_is_opened_without_trust_in_what_its_schema_calls(new_run):
    assert new_run("one").execute("PRAGMA trusted_schema") == [(0,)]


def test_the_log_of_a_journal_gives_space_back_when_it_begins_anew(new_run):
    assert new_run("one").execute("PRAGMA journal_size_limit") == [(16 << 20,)]


def test_after_the_log_was_trimmed_a_lock_is_waited_for_as_long_as_before(new_run):
    journal = new_run("one")
    before = journal.execute("PRAGMA busy_timeout")

    journal.trim()

    assert journal.execute("PRAGMA busy_timeout") == before == [(1000,)]


def test_the_log_is_trimmed_though_readers_who_overlap_share_a_mark(new_run):
    journal = new_run("one", "two")
    readers = [sqlite3.connect(journal.directory.journal, isolation_level=None) for _ in range(2)]

    def look(reader: sqlite3.Connection) -> None:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM task").fetchall()

    look(readers[0])
    claimed(journal)  # so that the first reader's mark is an old one
    trimming = threading.Thread(target=journal.trim)
    began = time.monotonic()
    trimming.start()
    wait_until(lambda: is_locked(journal.directory), what="trim")
    time.sleep(0.005)  # no condition tells that SQLite waits; if it does not yet, the test only holds less
    readers[0].execute("COMMIT")
    look(readers[1])
    while trimming.is_alive():  # there always is a reader
        for one, other in (readers, readers[::-1]):
            look(one)
            time.sleep(0.01)
            other.execute("COMMIT")
    lasted_s = time.monotonic() - began

    assert os.stat(f"{journal.directory.journal}-wal").st_size == 0
    assert lasted_s < 4
    for reader in readers:
        reader.close()


def test_for_a_reader_that_stays_all_wait_once_and_then_not_before_the_log_has_grown_as_much_again(new_run, monkeypatch):
    monkeypatch.setattr(journal_file, "_READERS_S", 0.3)
    monkeypatch.setattr(journal_file, "LOG_TRIMMED", 0)
    journal, watch = new_run("one", "two"), journal_file.LogWatch()
    monkeypatch.setattr(journal_file, "LOG_TRIMMED", 1 << 20)
    reader = sqlite3.connect(journal.directory.journal, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM task").fetchall()
    claimed(journal)

    def looks_for() -> float:
        began = time.monotonic()
        watch.look(journal)
        return time.monotonic() - began

    assert looks_for() >= 0.3
    assert looks_for() < 0.2
    reader.execute("COMMIT")
    assert looks_for() < 0.2 and os.stat(f"{journal.directory.journal}-wal").st_size > 0  # it is short, and may be
    reader.close()


def test_a_log_that_grows_is_looked_at_more_often(new_run):
    journal, watch = new_run("one", "two"), journal_file.LogWatch()

    assert watch.look(journal) == journal_file.LOG_GROWS_S
    assert watch.look(journal) is None
    claimed(journal)
    assert watch.look(journal) == journal_file.LOG_GROWS_S


def test_who_found_no_room_as_he_connected_writes_when_there_is(new_run):
    journal = new_run("one")
    journal.execute("PRAGMA query_only = ON")  # as SQLite has it for want of an inode

    assert claimed(journal).service == "one"
