"""What only a planted bug made us look at: small promises on which the large ones stand. See `planted`."""
from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import NOTE, kill_all, query, states, wait_until
from journals import (
    BROKEN,
    FIREX_ID,
    Chimes,
    claimed,
    column,
    enqueue,
    error_after,
    is_locked,
    moments_of,
    moves,
    new_tasks,
    opened,
    run_directory,
    settle,
    submit,
)
from journals import states as states_of

from firexlite import front as front_module
from firexlite import home as home_module
from firexlite import host, journal_file
from firexlite import runner as runner_module
from firexlite import worker as worker_module
from firexlite.board import COMES, COMING, IDLE, NOBODY, RUNNER, WORKS, Address, Board, Counter, Doorbell
from firexlite.claims import Failure, Recorded, Success
from firexlite.errors import BadInput, ClaimLost, DiskFull, Interrupted, StorageFailure, Superseded, TaskRevoked
from firexlite.home import SPILL_BYTES, RunDirectory
from firexlite.interrupts import Interrupts
from firexlite.journal import Journal
from firexlite.journal_file import wait_for_space
from firexlite.limits import expire, expire_run
from firexlite.outside import cancel
from firexlite.replay import Replay
from firexlite.runner import Incarnation, Runner
from firexlite.takeover import INCARNATION_DEATHS, Decisions, take_over
from firexlite.waiting import begin_wait, come_due, send, suspend
from firexlite.worker import Worker

# --- what a power cut must not take ------------------------------------------------------------------------------------

DURABLE = {
    "settle": lambda journal, claim: settle(journal, claim),
    "fail": lambda journal, claim: settle(journal, claim, BROKEN),
    "revoke": lambda journal, claim: journal.revoke_chain(1),
    "note": lambda journal, claim: journal.note(claim, "now", 0, "1"),
    "lose": lambda journal, claim: journal.lose(0, error_after),
    "stop": lambda journal, claim: journal.stop(claim, "{}", 0, 0),
    "be sure": lambda journal, claim: journal.be_sure(),
    "finish": lambda journal, claim: journal.finish(),
    "take over": lambda journal, claim: take_over(journal, 1, "here", {}),
    "begin wait": lambda journal, claim: begin_wait(journal, claim, 1, 2000.0, None),
    "suspend": lambda journal, claim: suspend(journal, claim, 0),
    "send": lambda journal, claim: send(journal, "approved", "1"),
    "expire": lambda journal, claim: expire(journal, claim.task, claim.attempt, lambda: None),
    "expire run": lambda journal, claim: expire_run(journal, 60.0),
    "cancel": lambda journal, claim: cancel(journal, None, "enough"),
}


@pytest.mark.parametrize("operation", DURABLE)
def test_what_must_be_durable_is_committed_with_a_sync(operation, new_run, monkeypatch):
    journal = new_run("one", "two", "three")
    claim = claimed(journal)
    journal.show(claim, [("key", "html", '"text"', 0)])  # a commit without one
    moments = moments_of(monkeypatch)

    DURABLE[operation](journal, claim)

    committed = next(i for i, moment in enumerate(moments) if moment.endswith("committed"))
    assert moments[committed + 1] == "sync"


def test_a_submission_is_durable(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    moments = moments_of(monkeypatch)

    submit(journal, "one")

    assert moments.index("submit committed") < moments.index("sync")
    journal.close()


@pytest.fixture
def calls(monkeypatch):
    """Records, in order, what is synced, renamed, written and journaled: ``("fsync", name)``."""
    made: list[tuple] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(fd):
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        size = 0 if stat.S_ISDIR(os.fstat(fd).st_mode) else os.fstat(fd).st_size
        made.append(("fsync", path.name, size))
        fsync(fd)

    def record_rename(old, new, **more):
        made.append(("rename", Path(old).name, Path(new).name))
        rename(old, new, **more)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(journal_file.faults, "reach", lambda *moment: made.append(("moment", " ".join(moment))))
    return made


LARGE = json.dumps("x" * (SPILL_BYTES + 1))


@pytest.mark.parametrize("write", [
    lambda journal, claim: settle(journal, claim, Success(LARGE, "{}")),
    lambda journal, claim: settle(journal, claim, Success("{}", LARGE)),
    lambda journal, claim: settle(journal, claim, Failure(LARGE)),
    lambda journal, claim: enqueue(journal, claim, "child", arguments=LARGE),
], ids=["result", "changes", "error", "arguments"])
def test_a_blob_is_durable_with_its_name_before_the_row_that_names_it(write, new_run, calls):
    journal = new_run("one")
    claim = claimed(journal)
    calls.clear()

    write(journal, claim)

    [blob] = journal.directory.blobs.iterdir()
    [draft] = [old for kind, old, *_ in calls if kind == "rename"]
    wanted = [("fsync", draft, len(LARGE)), ("rename", draft, blob.name), ("fsync", "blobs", 0)]
    journaled = next(i for i, call in enumerate(calls) if call[0] == "moment" and call[1].endswith("locked"))
    assert [call for call in calls[:journaled] if call[0] != "moment"] == wanted


def test_a_blob_that_was_there_already_is_made_durable_by_whoever_relies_on_it(tmp_path, calls):
    run = run_directory(tmp_path)
    run.spill(LARGE)
    calls.clear()

    run.spill(LARGE)  # its maker may have died between the rename and the sync

    assert ("fsync", "blobs", 0) in calls


def test_a_run_has_its_name_durably_after_its_journal_is_durable(calls, monkeypatch, tmp_path):
    from firexlite import launch

    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    prepared, request = (type("Told", (), told) for told in
                         ({"inputs": "{}", "digest": "d", "members": new_tasks("one")},
                          {"workers": 1, "chain": "one", "full_wait_s": 0, "queues": {}}))

    _, alive = launch._journal_run(FIREX_ID, request, prepared, {"workers": 1, "full_wait_s": 0}, Board(), None)  # type: ignore[arg-type]
    os.close(alive)

    committed = calls.index(("moment", "submit committed"))
    renamed = next(i for i, call in enumerate(calls) if call[0] == "rename" and call[2] == FIREX_ID)
    assert committed < renamed
    assert ("fsync", calls[renamed][1], 0) in calls[:renamed]       # the names in it
    assert ("fsync", "home", 0) in calls[renamed:]                  # its own name


def test_the_run_s_lock_is_held_before_its_journal_is_durable(calls, monkeypatch, tmp_path):
    from firexlite import launch

    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path / "home"))
    locked: list[bool] = []
    monkeypatch.setattr(Journal, "submit", lambda journal, **told: locked.append(journal.directory.is_alive()))
    prepared, request = (type("Told", (), told) for told in
                         ({"inputs": "{}", "digest": "d", "members": []},
                          {"workers": 1, "chain": "one", "full_wait_s": 0, "queues": {}}))

    _, alive = launch._journal_run(FIREX_ID, request, prepared, {"workers": 1, "full_wait_s": 0}, Board(), None)  # type: ignore[arg-type]

    os.close(alive)
    assert locked == [True]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    with open(path) as reader:
        home_module.write_atomically(path, "new")

        assert (reader.read(), path.read_text(), list(tmp_path.iterdir())) == ("old", "new", [path])


def test_a_body_that_must_not_run_twice_begins_when_its_claim_is_sure(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(on_interrupt='fail')\ndef once(): pass\n")
    log = firexlite.folder / "moments"

    done = firexlite("submit", "--plugins", "services.py", "--chain", "once",
                     FIREXLITE_FAULT="*=note", FIREXLITE_FAULT_LOG=str(log), FIREXLITE_FAULT_ROOT=str(os.getpid()))

    assert done.code == 0, done.err
    reached = log.read_text().splitlines()
    assert reached.index("be sure committed") < reached.index("body begins")


# --- one transaction, alone ---------------------------------------------------------------------------------------------

class Witness(Chimes):
    """Notes for each call of the bell whether the write lock was held, and how many events others could read."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.run = journal.directory
        self.seen: list[tuple[bool, int]] = []

    def _look(self, *_: object, **__: object) -> None:
        with contextlib.closing(sqlite3.connect(f"file:{self.run.journal}?mode=ro", uri=True)) as db:
            self.seen.append((is_locked(self.run), db.execute("SELECT count(*) FROM event").fetchone()[0]))

    work = gone = ring = interrupt = rest = count = recount = _look  # type: ignore[assignment]


@pytest.mark.parametrize("write", [
    lambda journal, claim: settle(journal, claim),
    lambda journal, claim: settle(journal, claim, BROKEN),
    lambda journal, claim: enqueue(journal, claim, "child"),
    lambda journal, claim: journal.revoke_chain(1),
    lambda journal, claim: journal.lose(0, error_after),
], ids=["settle", "fail", "enqueue", "revoke", "lose"])
def test_who_is_told_is_told_after_the_commit_and_under_the_lock(write, new_run):
    journal = new_run("one", "two", slots=3)
    claim = claimed(journal)
    witness = journal.bell = Witness(journal)

    write(journal, claim)

    assert witness.seen
    assert set(witness.seen) == {(True, len(moves(journal)))}
    assert not is_locked(journal.directory)


WRITES = {
    "claim": lambda journal: journal.claim(1, 0),
    "look": lambda journal: journal.look([], come_due).is_quiet,
    "finish": lambda journal: journal.finish(),
    "take over": lambda journal: take_over(journal, 1, "here", {}),
    "trim": lambda journal: journal.trim(),
    "fold": lambda journal: journal.fold(),
}


@pytest.mark.parametrize("write", WRITES)
def test_each_statement_that_writes_is_alone(write, new_run, monkeypatch):
    journal = new_run("one", "two", slots=2)
    seen: list[tuple[str, bool]] = []
    journal.db.connection().set_trace_callback(lambda sql: seen.append((sql.split()[0], is_locked(journal.directory))))

    WRITES[write](journal)

    journal.db.connection().set_trace_callback(None)
    assert {word for word, _ in seen} & {"COMMIT", "PRAGMA"}
    assert [word for word, locked in seen if not locked] == []
    assert not is_locked(journal.directory)


def test_a_transaction_that_fails_leaves_others_alone_and_nothing_behind(new_run):
    journal = new_run("one", "two")

    with pytest.raises(ZeroDivisionError), journal.transaction(durable=True) as now:
        journal.execute("UPDATE task SET state = 'running', move = 'claim', moved = ? WHERE id = 1", now)
        raise ZeroDivisionError

    assert states_of(journal) == ["ready", "waiting"]
    assert not is_locked(journal.directory)


def test_no_rollback_journal_is_ever_made_that_a_kill_could_leave_behind(tmp_path):
    libc = ctypes.CDLL(None)
    journal = Journal(run_directory(tmp_path), 1)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    libc.inotify_add_watch(watch, str(journal.directory.path).encode(), 0x100)  # IN_CREATE

    for _ in range(2):  # as new, and from its folded form
        with journal:
            if not journal.execute("SELECT 1 FROM sqlite_master LIMIT 1"):
                submit(journal, "one")
            journal.finish()
            journal.fold()

    made, events = set(), os.read(watch, 1 << 16)
    os.close(watch)
    while events:
        *_, length = struct.unpack("iIII", events[:16])
        made.add(events[16:16 + length].rstrip(b"\0").decode())
        events = events[16 + length:]
    assert made == {"journal.sqlite3-wal", "journal.sqlite3-shm"}


def test_threads_of_a_body_have_their_transactions_one_after_the_other(new_run):
    journal = new_run("one", slots=3)
    claim = claimed(journal)
    thread = threading.Thread(target=enqueue, args=(journal, claim, "child"))

    with journal.transaction(durable=False):
        journal.execute("UPDATE task SET relaxed = 1 WHERE id = 1")
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and states_of(journal) == ["running"]
    thread.join()

    assert states_of(journal) == ["running", "ready"] and column(journal, "relaxed") == [1, 0]


def test_a_parent_that_waits_gives_up_a_slot_in_which_its_child_is_started(new_run):
    journal = new_run("one", slots=1)
    claim = claimed(journal)
    _, tail = enqueue(journal, claim, "child")
    journal.bell.forget()

    journal.block(claim, [tail], wait=1)

    assert journal.bell.of("ring") == [([], 1)]


def test_whoever_claims_calls_another_for_a_second_slot(new_run):
    journal = new_run("one", slots=3)
    claim = claimed(journal)
    for _ in range(2):
        enqueue(journal, claim, "child")
    journal.bell.forget()

    claimed(journal, 1)

    assert journal.bell.of("ring") == [([], 1)]


@pytest.mark.parametrize("end", [
    lambda journal, child: settle(journal, child, BROKEN, 1, claims_next=False),
    lambda journal, child: journal.lose(1, error_after),
    lambda journal, child: journal.revoke_chain(2),
], ids=["failed", "lost", "revoked"])
def test_a_parent_is_woken_when_a_child_ends_in_the_midst_of_its_chain(end, new_run):
    journal = new_run("one", slots=1)
    claim = claimed(journal)
    _, tail = enqueue(journal, claim, "child", "next", worker_deaths=0)
    journal.block(claim, [tail], wait=1)
    child = claimed(journal, 1)
    journal.bell.forget()

    end(journal, child)

    assert not journal.is_waiting(claim, 1)
    assert states_of(journal)[0] == "running" and [unblocked for unblocked, _ in journal.bell.of("ring")] == [[0]]


def test_a_run_is_quiet_only_when_nothing_runs_and_nothing_can_start(new_run):
    journal = new_run("one", "two", slots=2)
    assert not journal.look([], come_due).is_quiet
    assert journal.bell.of("ring")[-1] == ([], 1)
    claim = claimed(journal)
    assert not journal.look([], come_due).is_quiet
    settle(journal, claim, claims_next=False)
    assert not journal.look([], come_due).is_quiet
    settle(journal, claimed(journal))

    assert journal.look([], come_due).is_quiet


def test_a_stale_body_cannot_note_anything(new_run):
    journal = new_run("one")
    claim = claimed(journal)
    journal.lose(0, error_after)

    with pytest.raises(ClaimLost):
        journal.note(claim, "now", 0, "1")

    assert journal.execute("SELECT * FROM noted") == []


# --- who lives ------------------------------------------------------------------------------------------------------------

def test_two_who_look_do_not_see_each_other(tmp_path):
    run = run_directory(tmp_path)
    fd = os.open(run.alive_lock, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_SH)  # as one who looks holds it

    assert not run.is_alive()
    os.close(fd)


@pytest.mark.parametrize("age_s, is_held, stays", [(0, False, True), (1000, True, True), (1000, False, False)])
def test_only_drafts_that_nobody_makes_any_more_are_removed(age_s, is_held, stays, tmp_path, monkeypatch):
    monkeypatch.setenv("FIREXLITE_HOME", str(tmp_path))
    draft = RunDirectory.draft(FIREX_ID)
    alive = draft.take_alive_lock(host.start_time) if is_held else None
    made = time.time() - age_s
    os.utime(draft.path, (made, made))

    RunDirectory.draft(FIREX_ID.replace("4711", "4712"))

    assert draft.path.exists() == stays
    if alive is not None:
        os.close(alive)


def test_a_zombie_does_not_live():
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert host.start_time(pid) is None
    os.waitpid(pid, 0)


def test_a_child_whose_parent_is_not_the_one_it_had_ends_at_once():
    pid = os.fork()
    if not pid:
        host.die_with_parent(1 << 22, signal.SIGKILL)  # nobody's pid, as if the parent had died before
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGKILL


def test_descendants_are_children_and_all_below_them():
    shell = subprocess.Popen(["sh", "-c", "sh -c 'echo $$; read line; :'; :"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    grandchild = int(shell.stdout.readline())

    assert {shell.pid, grandchild} <= set(host.descendants(os.getpid()))
    shell.communicate("\n")


# --- what a board and its bell know ----------------------------------------------------------------------------------------

@pytest.fixture
def doorbell(tmp_path):
    """A board, the runner's doorbell, and the address of worker 0."""
    addresses = [Address(tmp_path, name) for name in (RUNNER, 0)]
    yield Doorbell(Board(), addresses[0]), addresses[1]
    for address in addresses:
        address.close()


def test_the_board_asks_for_no_worker_that_is_promised_already(doorbell):
    bell, _ = doorbell

    bell.ring([], startable=2)
    bell.ring([], startable=2)
    bell.ring([], startable=3)
    bell.deliver()

    assert bell.address.drain() == [b"fork 2", b"fork 1"]


def test_the_board_forgets_promises_that_were_not_kept(doorbell):
    bell, _ = doorbell
    bell.ring([], startable=2)
    bell.deliver()
    bell.address.drain()

    bell.recount([])
    bell.ring([], startable=1)
    bell.deliver()

    assert bell.address.drain() == [b"fork 1"]


def test_the_board_calls_a_worker_at_rest_before_a_new_one(doorbell):
    bell, worker = doorbell
    bell.work(0, 1, 1)
    bell.rest(0, quiet=False)
    assert bell.board.cells[IDLE] == 1

    bell.ring([], startable=1)
    bell.deliver()

    assert worker.drain() == [b""] and bell.address.drain() == []
    assert (bell.board.cells[IDLE], bell.board.cells[COMING], bell.board.status(0)) == (0, 1, COMES)
    bell.work(0, 1, 1)
    assert (bell.board.cells[COMING], bell.board.status(0)) == (0, WORKS)


@pytest.fixture
def forks(doorbell):
    """What the runner is asked for when a task of a service begins; that of `parent` may have children."""
    bell, _ = doorbell
    bell._may_have_children = lambda service: service == "parent"

    def begins(service: str) -> list[bytes]:
        bell.begins(service)
        bell.deliver()
        return bell.address.drain()

    return bell, begins


def test_for_a_task_that_may_have_children_a_worker_is_forked_ahead(forks):
    bell, begins = forks

    assert begins("leaf") == []
    assert begins("parent") == [b"fork 1"]
    assert bell.board.cells[COMING] == 1


def test_a_worker_is_forked_ahead_only_if_none_is_there_or_comes(forks):
    bell, begins = forks
    begins("parent")
    assert begins("parent") == []

    bell.recount([])
    bell.rest(1, quiet=False)
    assert begins("parent") == []


def test_no_worker_is_forked_ahead_when_the_run_is_to_stop(forks):
    bell, begins = forks
    bell.board.stop()

    assert begins("parent") == []


def test_who_was_forked_ahead_makes_what_is_there_to_be_made(forks):
    bell, begins = forks
    begins("parent")

    bell.ring([], startable=2)
    bell.deliver()

    assert bell.address.drain() == [b"fork 1"]


def test_the_board_keeps_a_revocation_for_the_attempt_that_it_meant(doorbell):
    bell, _ = doorbell
    bell.interrupt([(0, 7, 1)])
    assert bell.board.revoked(0) == (7, 1)

    bell.work(0, 1, 1)

    assert bell.board.revoked(0) == (0, 0)


def test_the_board_forgets_a_revocation_whose_worker_rests(doorbell):
    bell, _ = doorbell
    bell.work(0, 1, 1)
    bell.interrupt([(0, 7, 1)])

    bell.rest(0, quiet=False)

    assert bell.board.revoked(0) == (0, 0)


def test_the_board_has_the_place_of_a_dead_worker_again(doorbell):
    bell, _ = doorbell
    bell.work(0, 1, 1)

    bell.gone(0)

    assert bell.board.status(0) == NOBODY


def test_the_board_counts_anew_who_rests(doorbell):
    bell, _ = doorbell
    bell.rest(0, quiet=False)
    bell.work(1, 1, 1)
    bell.board.cells[IDLE] = 5

    bell.recount([0, 1])

    assert bell.board.cells[IDLE] == 1


@pytest.mark.parametrize("kind", [Counter, lambda board: Doorbell(board, None)], ids=["counter", "doorbell"])
def test_space_is_not_waited_for_when_the_board_says_stop(kind):
    board = Board()
    tries = []

    def full() -> None:
        tries.append(1)
        board.stop()
        raise DiskFull(Path("somewhere"), "full")

    with pytest.raises(DiskFull):
        wait_for_space(full, 60, kind(board))

    assert tries == [1]


def test_the_board_wakes_who_is_unblocked_even_if_the_run_is_to_stop(doorbell):
    bell, worker = doorbell
    bell.board.stop()

    bell.ring([0], startable=3)
    bell.deliver()

    assert worker.drain() == [b""] and bell.address.drain() == []


def runner_of(folder: Path, board: Board) -> Runner:
    runner = Runner(Incarnation(run_directory(folder), 1, 2, []), board, None)
    runner._prepare_wake_folder()
    return runner


def test_the_board_has_a_place_again_when_a_worker_cannot_be_forked(tmp_path, monkeypatch, capsys):
    runner = runner_of(tmp_path, Board())

    def no_fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    runner.executor.bring(runner, 1)

    assert runner.board.status(0) == NOBODY
    assert "no worker could be forked" in capsys.readouterr().err


# --- wake-ups of several threads --------------------------------------------------------------------------------------------

@pytest.fixture
def ears(tmp_path):
    """A worker of which there is no more than how it listens."""
    worker = Worker.__new__(Worker)
    worker.address, worker._ears = Address(tmp_path, 0), threading.Condition()
    worker._listening, worker._heard, worker._runner = False, 0, os.getppid()
    yield worker
    worker.address.close()


def test_what_was_heard_after_the_look_is_no_reason_to_sleep(ears):
    before = ears.heard_so_far
    ears.rest(before, 0.01)
    began = time.monotonic()

    ears.rest(before, 20)

    assert time.monotonic() - began < 10


def test_whoever_hears_a_wake_up_wakes_all_others(ears, tmp_path):
    threads = [threading.Thread(target=ears.rest, args=(ears.heard_so_far, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(ears._ears._waiters) == 3)  # type: ignore[attr-defined]
    began = time.monotonic()

    ears.address.send(0)

    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 10


# --- signals and bodies -------------------------------------------------------------------------------------------------------

@pytest.fixture
def interrupts():
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGINT)}
    board = Board()
    yield Interrupts(board, 0), board
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_task_that_was_revoked_before_its_body_began_does_not_begin(interrupts):
    interrupt, board = interrupts
    board.mark_revoked(0, 7, 1)

    with pytest.raises(TaskRevoked):
        interrupt.start(7, 1)


def test_a_body_does_not_begin_when_the_run_is_to_stop(interrupts):
    interrupt, board = interrupts
    board.stop()

    with pytest.raises(Interrupted):
        interrupt.start(7, 1)


def test_a_handler_of_the_service_before_is_not_kept(interrupts):
    interrupt, board = interrupts
    signal.signal(signal.SIGTERM, lambda *_: None)
    interrupt.start(7, 1)

    board.mark_revoked(0, 7, 1)

    with pytest.raises(TaskRevoked):
        os.kill(os.getpid(), signal.SIGTERM)
    interrupt.end()


def test_signals_that_a_service_blocked_are_heard_by_the_next(interrupts):
    interrupt, _ = interrupts
    interrupt.start(7, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})

    interrupt.end()

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_revocation_meant_for_another_attempt_does_not_hit_before_its_body_ends(interrupts):
    interrupt, board = interrupts
    board.mark_revoked(0, 7, 1)

    interrupt.start(7, 2)
    os.kill(os.getpid(), signal.SIGTERM)
    interrupt.end()


@pytest.mark.parametrize("by_another_thread", [False, True])
def test_what_is_held_back_in_a_transaction_comes_after_it(interrupts, by_another_thread):
    interrupt, board = interrupts
    interrupt.start(7, 1)
    reached = []

    with pytest.raises(TaskRevoked), interrupt:
        board.mark_revoked(0, 7, 1)
        if by_another_thread:
            interrupt.on_signal(signal.SIGTERM, None)  # Python runs handlers in the main thread, whoever got the signal
        else:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        reached.append("the end of the transaction")

    interrupt.end()
    assert reached == ["the end of the transaction"]


@pytest.mark.parametrize("code, is_told, patience_s", [(-15, True, 8.0), (1, True, 8.0), (-15, False, 1.0), (143, False, 1.0),
                                                       (130, False, 1.0), (1, False, 0.0)])
def test_a_failure_waits_for_the_end_of_the_run_if_its_command_is_told_to_end_with_it(interrupts, monkeypatch, code, is_told,
                                                                                       patience_s):
    interrupt, board = interrupts
    now, waited = [100.0], []
    monkeypatch.setattr(worker_module.time, "monotonic", lambda: now[0])

    def wait(timeout_s):
        waited.append(timeout_s)
        now[0] += timeout_s

    worker = Worker.__new__(Worker)
    worker.interrupts, worker.board, worker.address = interrupt, board, SimpleNamespace(wait=wait)
    interrupt.start(7, 1)
    if is_told:
        os.kill(os.getpid(), signal.SIGTERM)
    raised = RuntimeError("as a service words it")
    raised.__cause__ = subprocess.CalledProcessError(code, "sleep")

    assert not worker._is_stopped_with(raised)
    assert waited == [patience_s] * bool(patience_s)
    interrupt.end()


def test_an_exception_that_says_nothing_sensible_was_not_told_to_end():
    class Odd(Exception):
        @property
        def returncode(self):
            raise RuntimeError("not now")

    in_a_circle, beside = ValueError("one"), ValueError("another")
    in_a_circle.__cause__, beside.__cause__ = beside, in_a_circle

    assert not any(map(worker_module._was_told, (None, Odd(), in_a_circle, ValueError("plain"))))


def test_requests_to_stop_that_come_together_are_one_and_a_later_one_does_not_wait(tmp_path, monkeypatch):
    runner = runner_of(tmp_path, Board())
    runner._front = os.getppid()
    now = itertools.chain([100.0, 100.4, 103.0])
    monkeypatch.setattr(runner_module.time, "monotonic", lambda: next(now))

    runner._note_stop(signal.SIGINT, None)
    runner._note_stop(signal.SIGINT, None)
    assert runner.board.stopping
    assert (runner.stop_signal, runner.stop_by) == (signal.SIGINT, 100.0 + runner_module.GRACE_S)
    runner._note_stop(signal.SIGINT, None)

    assert runner.stop_by == 103.0


def test_a_runner_whose_front_was_killed_hardly_waits(tmp_path, monkeypatch):
    runner = runner_of(tmp_path, Board())
    runner._front = os.getppid() + 1

    runner._note_stop(signal.SIGTERM, None)

    assert runner.stop_by <= time.monotonic() + runner_module.ALONE_S


def test_a_revoked_body_that_does_not_end_is_killed_after_its_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "GRACE_S", 0.05)
    board = Board()
    runner = runner_of(tmp_path, board)
    deaf = subprocess.Popen([sys.executable, "-c", "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
                                                   "print('deaf', flush=True)\ntime.sleep(60)"], stdout=subprocess.PIPE)
    deaf.stdout.readline()
    runner.workers[deaf.pid] = 0
    board.mark_revoked(0, 7, 1)
    try:
        runner._interrupt_revoked()
        wait_until(lambda: time.monotonic() > runner.revoking[deaf.pid][1])
        runner._interrupt_revoked()

        assert deaf.wait(20) == -signal.SIGKILL
    finally:
        deaf.kill()
        deaf.communicate()


@pytest.fixture
def asked(tmp_path):
    """A runner with one worker, and what counts the requests to end that reached the worker."""
    runner = runner_of(tmp_path, Board())
    worker = subprocess.Popen([sys.executable, "-c", """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("there", flush=True)
while True: signal.pause()
"""], stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "there\n"
    runner.workers[worker.pid] = 0
    yield runner, worker
    worker.kill()
    worker.communicate()


def was_asked(worker: subprocess.Popen) -> bool:
    """Whether the worker was asked to end once more; it is waited for a moment."""
    return bool(select.select([worker.stdout], [], [], 0.5)[0]) and worker.stdout.readline() == "asked\n"


def test_a_second_revocation_under_one_worker_has_a_request_and_a_grace_of_its_own(asked):
    runner, worker = asked
    runner.board.mark_revoked(0, 7, 1)
    runner._interrupt_revoked()
    assert was_asked(worker)
    runner._interrupt_revoked()
    assert not was_asked(worker)  # the same one is asked for once

    runner.board.mark_revoked(0, 0, 0)  # that body ended, and the next is revoked before the runner looks
    runner.board.mark_revoked(0, 8, 1)
    runner.revoking[worker.pid] = (runner.revoking[worker.pid][0], time.monotonic() - 1)
    runner._interrupt_revoked()

    assert was_asked(worker) and worker.poll() is None


def test_a_revoked_body_is_not_killed_before_its_grace(asked):
    runner, worker = asked
    runner.board.mark_revoked(0, 7, 1)

    runner._interrupt_revoked()
    assert was_asked(worker)
    runner._interrupt_revoked()

    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.2)


def test_a_body_that_ended_is_not_waited_for_as_if_it_were_revoked(asked):
    runner, _ = asked
    runner.board.mark_revoked(0, 7, 1)
    runner._interrupt_revoked()

    runner.board.mark_revoked(0, 0, 0)
    runner._interrupt_revoked()

    assert runner.revoking == {}


@pytest.mark.parametrize("why", ["a signal", "a disk that failed", "neither"])
def test_bodies_are_asked_to_end_for_a_reason_only(asked, monkeypatch, why):
    runner, worker = asked
    runner._signals, other_end = socket.socketpair()
    runner._signals.setblocking(False)
    monkeypatch.setattr(runner_module, "GRACE_S", 0.1)
    monkeypatch.setattr(host, "end_descendants", lambda **_: None)
    if why == "a signal":
        runner.stop_signal, runner.stop_by = signal.SIGINT, time.monotonic() + 0.1
    elif why == "a disk that failed":
        runner.board.give_up(is_full=False)

    runner._end_workers()

    assert was_asked(worker) == (why != "neither")
    other_end.close()
    runner._signals.close()


def test_a_revoked_body_has_time_to_clean_up_though_nothing_else_is_left_to_do(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def slow():
    try:
        note("began")
        wait_for_file("never")
    finally:
        time.sleep(1.5)  # longer than a worker at rest has to end
        note("cleaned up")

@app.task(bind=True)
def parent(self):
    promise = self.enqueue_child(slow.s())
    while not os.path.exists(os.environ["EFFECT_LOG"]):
        time.sleep(0.01)
    promise.revoke()
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2", timeout=20)

    assert done.code == 0, done.err
    assert effects() == {"began": 1, "cleaned up": 1}


# --- how a run ends ---------------------------------------------------------------------------------------------------------

def test_a_run_that_had_succeeded_when_it_was_stopped_ends_with_0(new_run, monkeypatch):
    monkeypatch.setattr(runner_module, "leave_tidy", lambda directory, _: directory)
    journal = new_run("one")
    runner = runner_of_existing(journal.directory)
    settle(journal, claimed(journal))
    runner.stop_signal = signal.SIGINT

    assert runner._end_run() == 0


def test_a_runner_whose_front_is_dead_when_it_begins_to_listen_stops(tmp_path):
    if not (pid := os.fork()):
        code = 1
        try:
            runner = Runner(Incarnation(run_directory(tmp_path), 1, 2, [], front=os.getppid() + 1), Board(), None)
            runner._schedule = runner._end_workers = lambda: None
            runner._end_run = lambda: 0 if runner.stop_signal == signal.SIGTERM and runner.board.stopping else 2
            code = runner.supervise()
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_runner_that_was_superseded_ends_its_workers(tmp_path, monkeypatch):
    ended = tmp_path / "ended"
    if not (pid := os.fork()):
        code = 1
        try:
            runner = runner_of(tmp_path, Board())

            def superseded() -> None:
                raise Superseded("by another")

            runner._schedule, runner._end_workers = superseded, ended.touch
            try:
                runner.supervise()
            except Superseded:
                code = 0 if runner.board.stopping else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ended.exists()


@pytest.mark.parametrize("ends, interrupted, state", [
    (["succeeded", "succeeded"], False, "succeeded"),
    (["succeeded", "succeeded"], True, "succeeded"),
    (["succeeded", "failed"], False, "failed"),
    (["succeeded", "failed"], True, "interrupted"),
    (["failed", "skipped"], False, "failed"),
    (["succeeded", "ready"], False, "interrupted"),
    (["running", "waiting"], False, "interrupted"),
    (["revoked", "revoked"], False, "revoked"),
], ids=str)
def test_the_end_of_a_run_is_told_by_its_submitted_tasks(ends, interrupted, state, new_run):
    journal = new_run("one", "two")
    with journal.transaction(durable=True):
        journal.execute("DROP TRIGGER only_legal_moves")
        for task, end in enumerate(ends, start=1):
            journal.execute("UPDATE task SET state = ?, move = 'test' WHERE id = ?", end, task)

    assert journal.finish(interrupted) == state
    assert journal.execute("SELECT state FROM run") == [(state,)]
    assert journal.execute("SELECT how FROM incarnation") == [(state,)]


def test_a_finished_run_is_a_single_file_without_sockets_and_says_so(firexlite, plugin):
    plugin("from firexlite import app\n\n@app.task(returns='x')\ndef one(): return 1\n")

    done = firexlite("submit", "--plugins", "services.py", "--chain", "one")

    assert done.code == 0, done.err
    run = firexlite.only_run()
    assert {path.name for path in run.path.iterdir()} == {"journal.sqlite3", "run.json", "logs", "blobs", "alive.lock",
                                                          "write.lock"}
    assert run.journal.read_bytes()[18:20] == b"\1\1"  # no write-ahead log belongs to it
    assert json.loads(run.run_json.read_text())["completed"] is True


def test_incarnations_killed_in_a_row_are_counted_from_the_last_that_ended_or_came_on(new_run):
    from firexlite.takeover import _incarnations_killed_in_a_row as killed

    journal = new_run("one", "two", slots=2)
    assert killed(journal) == 1                      # the one that is taken over now, if it was killed
    take_over(journal, 1, "here", {})
    take_over(journal, 1, "here", {})
    assert killed(journal) == 3
    journal.finish(interrupted=True)
    take_over(journal, 1, "here", {})
    assert killed(journal) == 1
    take_over(journal, 1, "here", {})
    claim = claimed(journal)
    settle(journal, claim)
    assert killed(journal) == 1


def test_a_task_with_which_all_was_killed_too_often_in_a_row_fails(new_run):
    journal = new_run("one", "two")

    for _ in range(INCARNATION_DEATHS):
        assert states_of(journal) == ["ready", "waiting"]
        claimed(journal)
        take_over(journal, 1, "here", {})

    assert states_of(journal) == ["failed", "skipped"]
    outcomes = [outcome for (outcome,) in journal.execute("SELECT outcome FROM attempt ORDER BY number")]
    assert outcomes == ["lost"] * (INCARNATION_DEATHS - 1) + ["failed"]


# --- replay ----------------------------------------------------------------------------------------------------------

class Told:
    """What a replay has its journal do."""

    def __init__(self) -> None:
        self.made: list[bool] = []
        self.released: list[int] = []

    def ask(self, replay: Replay, digest: str) -> tuple[int, int]:
        def make(held: bool) -> tuple[int, int]:
            self.made.append(held)
            return 100 + len(self.made), 100 + len(self.made)

        return replay.enqueue(digest, True, make, self.released.extend)


def test_a_replay_matches_equal_calls_in_their_order():
    replay, told = Replay([Recorded(3, 3, "a", False), Recorded(5, 5, "a", False)], strict=True), Told()

    assert [told.ask(replay, "a") for _ in range(3)] == [(3, 3), (5, 5), (101, 101)]


def test_a_replay_releases_what_it_held_when_all_that_is_recorded_was_asked_for():
    replay, told = Replay([Recorded(3, 3, "a", False), Recorded(5, 5, "b", False)], strict=True), Told()

    told.ask(replay, "new")
    told.ask(replay, "a")
    assert (told.made, told.released, replay.must_stop(), replay.holds_any([101])) == ([True], [], True, True)
    told.ask(replay, "b")

    assert (told.released, replay.must_stop(), replay.holds_any([101])) == ([101], False, False)


def test_a_replay_releases_what_an_earlier_one_left_held():
    replay, told = Replay([Recorded(3, 3, "a", False), Recorded(5, 5, "b", True)], strict=True), Told()

    told.ask(replay, "b")
    assert told.released == [] and replay.holds_any([5])
    told.ask(replay, "a")

    assert told.released == [5] and not replay.must_stop()


def test_children_and_notes_of_an_earlier_try_are_not_those_of_this_one(new_run):
    journal = new_run("one")
    claim = claimed(journal)
    enqueue(journal, claim, "child")
    journal.note(claim, "now", 0, "1")
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET retry = 1 WHERE id = 1")
    journal.lose(0, error_after)
    with journal.transaction(durable=True):
        journal.execute("UPDATE task SET state = 'revoked', move = 'revoke' WHERE id = 2")
    again = claimed(journal)

    assert (again.task, again.retry) == (1, 1)
    assert journal.recorded_calls(again) == [] and journal.notes(again) == {}


def test_what_a_replay_left_out_is_revoked_though_it_asked_for_nothing(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def child():
    note("child")
    wait_for_file("never")

@app.task(bind=True)
def parent(self):
    if os.path.exists("changed"):
        return
    self.enqueue_child(child.s())
    wait_for_file("never")
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2")
    wait_until(lambda: effects()["child"] == 1)
    kill_all(process)
    (firexlite.folder / "changed").touch()

    resumed = firexlite("resume", firexlite.only_run().firex_id, "--accept-new", timeout=20)

    assert resumed.code == 0, resumed.err
    assert states(firexlite.only_run()) == {"succeeded": 1, "revoked": 1}
    assert query(firexlite.only_run(), "SELECT aside FROM task ORDER BY id") == [(0,), (1,)]


def test_a_replay_that_ends_without_having_asked_for_all_again_stops(firexlite, plugin, effects):
    plugin(NOTE + """
@app.task
def child():
    note("child")

@app.task(bind=True)
def parent(self):
    if os.path.exists("changed"):
        return
    self.enqueue_child(child.s(), block=True)
    wait_for_file("changed")
    wait_for_file("never")
""")
    process = firexlite.start("submit", "--plugins", "services.py", "--chain", "parent", "--workers", "2")
    wait_until(lambda: firexlite.runs() and states(firexlite.only_run()) == {"succeeded": 1, "running": 1})
    kill_all(process)
    (firexlite.folder / "changed").touch()

    resumed = firexlite("resume", firexlite.only_run().firex_id, timeout=20)

    assert resumed.code == 5, resumed.err
    assert query(firexlite.only_run(), "SELECT state, aside FROM task ORDER BY id") == [("ready", 0), ("succeeded", 0)]


def test_a_task_that_is_restarted_knows_nothing_of_before(new_run):
    journal = new_run("one", slots=2)
    claim = claimed(journal)
    enqueue(journal, claim, "child")
    journal.note(claim, "now", 0, "1")

    take_over(journal, 1, "here", {}, Decisions(restart=[1]))

    assert states_of(journal) == ["ready", "revoked"]
    assert column(journal, "aside") == [0, 1]
    again = claimed(journal)
    assert journal.recorded_calls(again) == [] and journal.notes(again) == {}


def test_a_task_is_marked_done_only_with_what_its_service_declares(new_run):
    journal = new_run("one", "two")
    claimed(journal)
    with journal.transaction(durable=True):
        journal.execute("UPDATE service SET about = ?", json.dumps({"returns": ["x"]}))

    for returned in {}, {"y": 1}, {"x": 1, "y": 2}:
        with pytest.raises(BadInput, match=r"cannot be marked done with .*: one returns x"):
            take_over(journal, 1, "here", {}, Decisions(done={1: returned}))
    assert states_of(journal) == ["running", "waiting"]
    take_over(journal, 1, "here", {}, Decisions(done={1: {"x": 1}}))

    assert states_of(journal) == ["succeeded", "ready"]
    assert journal.execute("SELECT result FROM task WHERE id = 1") == [('{"x":1}',)]


# --- bodies and processes -----------------------------------------------------------------------------------------------------

def test_the_output_and_the_folder_of_a_task_are_its_own(firexlite, plugin):
    (firexlite.folder / "elsewhere").mkdir()
    plugin("""
import os
from firexlite import app

@app.task(returns="a")
def one():
    print("output of one")
    os.chdir("elsewhere")
    return 1

@app.task(returns="folder")
def two(a):
    print("output of two")
    return os.path.basename(os.getcwd())
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "one,two", "--workers", "1")

    assert done.code == 0, done.err
    assert [task["log"]["lines"] for task in firexlite.flame(done.firex_id)["tasks"]] == [["output of one"], ["output of two"]]
    assert query(firexlite.only_run(), "SELECT result FROM task WHERE id = 2") == [('{"folder":"work"}',)]


def test_a_fork_of_a_service_holds_nothing_of_the_journal_s_lock(firexlite, plugin):
    plugin("""
import os
from firexlite import app

@app.task(returns="held")
def forks():
    read, write = os.pipe()
    if not os.fork():
        names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{fd}")]
        os.write(write, b"write.lock" if any(name.endswith("/write.lock") for name in names) else b"nothing")
        os._exit(0)
    os.wait()
    return os.read(read, 100).decode()
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "forks", timeout=20)

    assert done.code == 0, done.err
    assert query(firexlite.only_run(), "SELECT result FROM task") == [('{"held":"nothing"}',)]


def test_shell_commands_of_a_dead_worker_end_with_its_session(firexlite, plugin):
    plugin("""
import os, signal, subprocess, time
from firexlite import app

def is_alive(pid):
    try:
        return b" Z " not in open(f"/proc/{pid}/stat", "rb").read()
    except OSError:
        return False

@app.task(returns=["own_session", "adopted", "gone"])
def dies():
    if not os.path.exists("shell"):
        shell = subprocess.Popen(["sh", "-c", "trap '' TERM; touch deaf; exec sleep 300"])
        while not os.path.exists("deaf"):
            time.sleep(0.01)
        with open("shell", "w") as file:
            file.write(f"{shell.pid} {os.getppid()}")
        os.kill(os.getpid(), signal.SIGKILL)
    pid, runner = map(int, open("shell").read().split())
    give_up = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    return os.getsid(0) == os.getpid(), os.getppid() == runner, not is_alive(pid)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "dies", timeout=20)

    assert done.code == 0, done.err
    assert json.loads(query(firexlite.only_run(), "SELECT result FROM task")[0][0]) == {
        "own_session": True, "adopted": True, "gone": True}


@pytest.mark.skipif(host.IS_PORTABLE, reason="orphans go to process 1 there")
def test_a_daemon_of_a_session_of_its_own_ends_with_the_run_and_its_parent_is_the_runner(firexlite, plugin):
    plugin("""
import os, subprocess, time
from firexlite import app

@app.task(returns="adopted_by_the_runner")
def begets():
    subprocess.run(["sh", "-c", "setsid sh -c 'echo $$ > daemon.part; mv daemon.part daemon; exec sleep 300' "
                    "< /dev/null > /dev/null 2>&1 &"])
    while not os.path.exists("daemon"):
        time.sleep(0.01)
    pid = open("daemon").read().strip()
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up:
        if int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]) == os.getppid():
            return True
        time.sleep(0.01)
    return False
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "begets", timeout=20)

    assert done.code == 0, done.err
    assert query(firexlite.only_run(), "SELECT result FROM task") == [('{"adopted_by_the_runner":true}',)]
    assert host.start_time(int((firexlite.folder / "daemon").read_text())) is None


def test_the_runner_has_nothing_of_the_journal_open_when_it_forks(tmp_path, monkeypatch):
    run = run_directory(tmp_path)
    with Journal(run, 2) as journal:
        submit(journal, "one")
    runner = runner_of_existing(run)

    runner._look()

    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    assert [link for link in links if link.startswith((str(run.journal), str(run.write_lock)))] == []


def runner_of_existing(run: RunDirectory) -> Runner:
    runner = Runner(Incarnation(run, 1, 2, []), Board(), None)
    runner._prepare_wake_folder()
    return runner


@pytest.mark.skipif(host.IS_PORTABLE, reason="a worker looks by itself there whether its runner lives")
def test_a_worker_dies_with_its_runner_from_its_first_moment_on(new_run, monkeypatch):
    directory = new_run("one").directory
    said, says = os.pipe()
    monkeypatch.setattr(runner_module, "work", lambda *_: (os.write(says, b"%d" % os.getpid()), signal.pause()))
    if not (pid := os.fork()):
        try:
            runner = runner_of_existing(directory)
            runner._listen_to_signals()
            runner.executor.bring(runner, 1)
            signal.pause()
        finally:
            os._exit(1)
    os.close(says)
    worker = int(os.read(said, 20))
    os.close(said)

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    wait_until(lambda: host.start_time(worker) is None)


def child_that_ends() -> int:
    """The pid of a child that has ended and waits to be reaped."""
    if not (pid := os.fork()):
        os._exit(3)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_a_worker_that_died_is_waited_for_no_more(new_run):
    runner = runner_of_existing(new_run("one").directory)
    pid = child_that_ends()
    runner.workers[pid], runner.revoking[pid] = 0, ((7, 1), 0.0)

    assert runner._reap()

    assert runner.workers == {} and runner.revoking == {}
    assert runner.board.status(0) == NOBODY


def test_only_workers_that_end_in_a_row_before_they_begin_are_counted(new_run):
    runner = runner_of_existing(new_run("one").directory)

    def dies(status: int) -> int:
        runner.workers[child_that_ends()] = 0
        runner.board.set_status(0, status)
        runner._reap()
        return runner.barren

    assert [dies(status) for status in (COMES, COMES, WORKS, COMES)] == [1, 2, 0, 1]


def test_a_runner_that_is_stuck_is_killed_when_it_had_its_time(monkeypatch):
    def stuck(board: Board, channel: object) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
        return 0

    front = os.fork()
    if not front:
        code = 1
        try:
            monkeypatch.setattr(front_module, "GRACE_S", 0.1)
            monkeypatch.setattr(front_module, "PATIENCE_S", 0.1)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            code = front_module.Front(front_module.Screen()).run(stuck)
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(front, 0)[1]) == 128 + signal.SIGTERM  # what was asked for, not how


# --- disks that are full or fail -------------------------------------------------------------------------------------

class Disk(Chimes):
    """A bell that remembers what it was told of the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.broken: bool | None = None
        self.on_wait = lambda: None

    @property
    def is_broken(self) -> bool:
        return self.broken is not None

    def give_up(self, is_full: bool) -> None:
        self.broken = is_full

    def want_space(self, change: int) -> None:
        self.waiting += change
        self.on_wait()


@pytest.fixture
def on_disk(new_run):
    """A journal with a claimed task, on a disk that has no more space; freed by ``disk.on_wait``."""
    journal = new_run("one", "two")
    claim = claimed(journal)
    disk = journal.bell = Disk()
    [(pages,)] = journal.execute("PRAGMA page_count")
    journal.execute(f"PRAGMA max_page_count = {pages}")
    return journal, claim, disk


TOO_LARGE = Success(json.dumps("x" * 60_000), "{}")


@pytest.mark.timeout(20)
def test_on_a_full_disk_a_result_is_kept_until_there_is_space(on_disk):
    journal, claim, disk = on_disk
    disk.on_wait = lambda: journal.execute("PRAGMA max_page_count = 1000000") if disk.waiting else None

    follower = settle(journal, claim, TOO_LARGE)

    assert follower.task == 2 and states_of(journal) == ["succeeded", "running"]
    assert (disk.waiting, disk.broken) == (0, None)


@pytest.mark.timeout(20)
def test_when_the_disk_stays_full_nobody_writes_any_more(on_disk):
    journal, claim, disk = on_disk
    journal.full_wait_s = 0.05

    with pytest.raises(StorageFailure, match="there was no space"):
        settle(journal, claim, TOO_LARGE)

    assert (disk.waiting, disk.broken) == (0, True)
    journal.execute("PRAGMA max_page_count = 1000000")
    with pytest.raises(StorageFailure, match="is not written to any more"):
        settle(journal, claim)
    assert states_of(journal) == ["running", "waiting"]


@pytest.mark.timeout(20)
def test_a_run_that_is_to_stop_does_not_wait_for_a_full_disk(on_disk):
    journal, claim, disk = on_disk
    disk.is_stopping = True

    with pytest.raises(DiskFull):
        settle(journal, claim, TOO_LARGE)

    assert (disk.waiting, disk.broken) == (0, None)


def test_after_a_disk_that_failed_nobody_writes_any_more(new_run):
    journal = new_run("one", "two")
    disk = journal.bell = Disk()
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorname = "SQLITE_IOERR_FSYNC"

    with pytest.raises(StorageFailure), journal.transaction(durable=True):
        raise failure

    assert disk.broken is False
    with pytest.raises(StorageFailure, match="is not written to any more"):
        journal.claim(0, 0)
    assert states_of(journal) == ["ready", "waiting"]
    journal.bell = Chimes()
