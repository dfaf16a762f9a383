"""Group commit: the disk is waited for outside of the write lock, and nobody goes on before it has what he goes on from."""
from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest
from conftest import LIMIT_S, wait_until
from journals import DONE, MAIN, SECOND, THIRD, Chimes, claimed, enqueue, is_locked, moments_of, settle

from firexlite import faults
from firexlite.claims import Claim
from firexlite.errors import StorageFailure
from firexlite.group_commit import BEGUN, MADE, MARKS, SYNCED
from firexlite.journal import Journal
from firexlite.once import compute_or_wait, result_of


class SharedChimes(Chimes):
    """The bell of one of several processes, or of what stands for one: a thread with a journal of its own."""

    def __init__(self, marks: memoryview) -> None:
        super().__init__()
        self.marks = marks
        self.has_given_up = False

    @property
    def is_broken(self) -> bool:
        return self.has_given_up

    def give_up(self, is_full: bool) -> None:
        self.has_given_up = True


@pytest.fixture
def marks() -> memoryview:
    return memoryview(mmap.mmap(-1, 8 * MARKS)).cast("q")


@pytest.fixture
def another(new_run, marks) -> Iterator[Callable[[], Journal]]:
    """Opens the journal of a run of some tasks once more, as another of its workers has it."""
    run = new_run(*["one"] * 3, slots=4).directory
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(Journal(run, 4, SharedChimes(marks)))


class Disk:
    """A disk that is as slow as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.is_asked, self.may_go_on = threading.Event(), threading.Event()
        self.fails = False
        self._fdatasync = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._sync)

    def _sync(self, fd: int) -> None:
        self.syncs += 1
        self.is_asked.set()
        assert self.may_go_on.wait(LIMIT_S)
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        self._fdatasync(fd)


@pytest.fixture
def disk(monkeypatch) -> Iterator[Disk]:
    found = Disk(monkeypatch)
    yield found
    found.may_go_on.set()


class Doing(threading.Thread):
    """Does something meanwhile."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self.raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._do()
        except BaseException as error:
            self.raised = error

    def has_ended(self) -> bool:
        self.join(LIMIT_S)
        return not self.is_alive()

    def waits(self) -> bool:
        """Whether it stands still; for a moment, which is enough for any transaction."""
        self.join(0.2)
        return self.is_alive()


# --- the lock ------------------------------------------------------------------------------------------------------------

def test_others_write_while_the_disk_is_waited_for(another, disk):
    first, second = another(), another()
    claim = claimed(first)

    settling = Doing(lambda: settle(first, claim, claims_next=False))
    assert disk.is_asked.wait(LIMIT_S)
    assert not is_locked(first.directory)
    assert second.execute("SELECT state FROM task WHERE id = 1") == [("succeeded",)]
    with second.transaction(durable=False):
        second.execute("UPDATE run SET ended = 1")

    assert settling.waits()
    disk.may_go_on.set()
    assert settling.has_ended()


def test_who_shares_no_marks_holds_the_lock_until_the_disk_has_all(new_run, monkeypatch):
    journal = new_run("one")
    claim = claimed(journal)
    locked: list[bool] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (locked.append(is_locked(journal.directory)), fdatasync(fd)))

    settle(journal, claim)

    assert locked == [True]


def test_one_sync_is_for_all_that_committed_before_it(another, marks, disk):
    workers = [another() for _ in range(3)]
    claims = [claimed(workers[0])]
    heads = [enqueue(workers[0], claims[0], "child")[0] for _ in range(2)]
    claims += [claimed(worker, number) for number, worker in enumerate(workers[1:], start=1)]
    assert sorted(claim.task for claim in claims[1:]) == heads

    first = Doing(lambda: settle(workers[1], claims[1], worker=SECOND, claims_next=False))
    assert disk.is_asked.wait(LIMIT_S)
    others = [Doing(lambda: settle(workers[2], claims[2], worker=THIRD, claims_next=False)),
              Doing(lambda: workers[0].note(claims[0], "now", 0, "1"))]
    wait_until(lambda: marks[MADE] == 3)
    assert all(other.waits() for other in others), "the disk had begun before they committed"
    disk.may_go_on.set()

    assert first.has_ended() and all(other.has_ended() for other in others)
    assert disk.syncs == 2


# --- nobody builds on what a power cut could take back -------------------------------------------------------------------

LOOKS: dict[str, Callable[[Journal, Claim], object]] = {
    "claim": lambda journal, claim: journal.claim(THIRD, 0),
    "block": lambda journal, claim: journal.block(claim, [4], 1),
    "wait": lambda journal, claim: journal.is_waiting(claim, 1),
    "end wait": lambda journal, claim: journal.end_wait(claim, 1),
    "ended": lambda journal, claim: journal.ended([4]),
    "have succeeded": lambda journal, claim: journal.have_succeeded([4]),
    "members": lambda journal, claim: journal.chain_members(4, 4),
    "returned": lambda journal, claim: journal.flow_steps(4, 4),
    "children": lambda journal, claim: journal.children_of(1),
    "recorded calls": lambda journal, claim: journal.recorded_calls(claim),
    "notes": lambda journal, claim: journal.notes(claim),
    "revoked": lambda journal, claim: journal.is_revoked(4, 1),
    "cached": lambda journal, claim: result_of(journal, 4),
    "be sure": lambda journal, claim: journal.be_sure(),
}
GOES_ON: dict[str, Callable[[Journal, Claim], object]] = {
    "enqueue": lambda journal, claim: enqueue(journal, claim, "another"),
    "release": lambda journal, claim: journal.release_held([4]),
    "cache": lambda journal, claim: compute_or_wait(journal, claim, "key"),
    "show": lambda journal, claim: journal.show(claim, [("key", "html", '"text"', 0)]),
}


@pytest.fixture
def settling(another, disk):
    """A parent, its journal, and a child of it whose end is journaled, and not yet on the disk."""
    parent, worker = another(), another()
    claim = claimed(parent)
    enqueue(parent, claim, "child", "next")
    child = claimed(worker, SECOND)
    settling = Doing(lambda: settle(worker, child, worker=SECOND, claims_next=False))
    assert disk.is_asked.wait(LIMIT_S)
    yield parent, claim, settling
    disk.may_go_on.set()
    assert settling.has_ended()


@pytest.mark.parametrize("look", LOOKS)
def test_who_looks_at_what_others_did_waits_until_it_is_on_the_disk(look, settling, disk):
    parent, claim, _ = settling

    looking = Doing(lambda: LOOKS[look](parent, claim))

    assert looking.waits()
    disk.may_go_on.set()
    assert looking.has_ended() and looking.raised is None


@pytest.mark.parametrize("write", GOES_ON)
def test_who_only_writes_does_not_wait(write, settling):
    parent, claim, _ = settling

    writing = Doing(lambda: GOES_ON[write](parent, claim))

    assert writing.has_ended() and writing.raised is None


def test_whom_to_wake_is_told_when_the_disk_has_it_and_the_lock_is_free(another, monkeypatch):
    journal = another()
    moments = moments_of(monkeypatch)
    monkeypatch.setattr(journal.bell, "deliver", lambda: moments.append(f"delivered, locked {is_locked(journal.directory)}"))

    settle(journal, claimed(journal))

    assert moments[-5:] == ["settle committed", "sync", "settle synced", "delivered, locked False", "settle rung"]


# --- processes that die ----------------------------------------------------------------------------------------------------

def die_at(moment: tuple[str, str], do: Callable[[], object]) -> None:
    """In a fork: do something, and be killed at a moment of it."""
    if (pid := os.fork()) == 0:
        faults.reach = lambda *reached: reached == moment and os.kill(os.getpid(), signal.SIGKILL)
        try:
            do()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def settle_in(another: Callable[[], Journal]) -> Callable[[], object]:
    def do() -> None:
        worker = another()
        settle(worker, claimed(worker), claims_next=False)

    return do


def test_what_a_killed_worker_had_only_committed_the_next_who_looks_brings_to_the_disk(another, marks, monkeypatch):
    die_at(("settle", "committed"), settle_in(another))
    moments = moments_of(monkeypatch)

    assert another().claim(SECOND, 0) is not None

    assert moments.index("claim committed") < moments.index("sync") < moments.index("claim synced")
    assert marks[SYNCED] == marks[MADE] == 1


def test_of_a_commit_in_which_a_worker_was_killed_nobody_relies_on_the_books(another, marks, monkeypatch):
    marks[BEGUN] = 1  # killed between the commit and the books
    journal = another()
    moments = moments_of(monkeypatch)

    for _ in range(2):
        journal.ended([1])
    assert moments.count("sync") == 2, "each who looks syncs for himself"

    settle(journal, claimed(journal), DONE, claims_next=False)
    moments.clear()
    journal.ended([1])
    assert not moments, "the next durable commit puts the books right"
    assert marks[SYNCED] == marks[MADE] == marks[BEGUN] == 2


def test_what_was_committed_while_the_disk_was_at_work_is_synced_again(another, marks, disk):
    first, second = another(), another()
    claim = claimed(first)
    [one, _] = [enqueue(first, claim, "child") for _ in range(2)]
    child = claimed(second, SECOND)
    assert child.task == one[0]

    settling = Doing(lambda: settle(second, child, worker=SECOND, claims_next=False))
    assert disk.is_asked.wait(LIMIT_S)
    noting = Doing(lambda: first.note(claim, "now", 0, "1"))
    wait_until(lambda: marks[MADE] == 2)
    assert noting.waits()
    assert (marks[BEGUN], marks[MADE], marks[SYNCED]) == (2, 2, 0)
    disk.may_go_on.set()

    assert settling.has_ended() and noting.has_ended()
    assert (disk.syncs, marks[SYNCED]) == (2, 2)


# --- a disk that fails ------------------------------------------------------------------------------------------------------

def test_after_a_sync_that_failed_nobody_writes_or_looks(another, disk):
    journal = another()
    claim = claimed(journal)
    disk.fails = True
    disk.may_go_on.set()

    with pytest.raises(StorageFailure, match=r"journal.sqlite3-wal could not be written \(Input/output error\)"):
        settle(journal, claim)

    assert journal.bell.is_broken
    with pytest.raises(StorageFailure):
        journal.claim(MAIN, 0)
    with pytest.raises(StorageFailure):
        journal.ended([1])


def test_a_sync_that_failed_is_not_tried_again(another, disk):
    journal = another()
    claim = claimed(journal)
    disk.fails = True
    disk.may_go_on.set()
    with pytest.raises(StorageFailure):
        settle(journal, claim)
    disk.fails = False  # as Linux has it: told once, what it dropped counts as written

    for reader in (journal, another()):
        with pytest.raises(StorageFailure, match=r"journal.sqlite3-wal could not be written \(Input/output error\)"):
            reader.ended([1])
    assert disk.syncs == 1


def test_who_waited_for_a_sync_that_failed_hears_of_it(settling, disk):
    parent, _, other = settling
    disk.fails = True
    looking = Doing(lambda: parent.ended([4]))
    assert looking.waits()
    disk.may_go_on.set()

    assert other.has_ended() and looking.has_ended()
    assert isinstance(other.raised, StorageFailure) and isinstance(looking.raised, StorageFailure)


# --- settings, forks ----------------------------------------------------------------------------------------------------------

def test_with_normal_durability_nothing_is_synced(another, marks, monkeypatch):
    monkeypatch.setenv("FIREXLITE_DURABILITY", "normal")
    journal = another()
    moments = moments_of(monkeypatch)

    settle(journal, claimed(journal))

    assert "settle rung" in moments and "sync" not in moments
    assert list(marks) == [0] * MARKS


def test_a_body_may_leave_no_file_descriptor_free(firexlite, plugin):
    plugin("""
import resource
from firexlite import app

opened = []

@app.task(returns="x")
def greedy():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            opened.append(open("/dev/null"))
    except OSError:
        return len(opened)
""")
    done = firexlite("submit", "--plugins", "services.py", "--chain", "greedy")

    assert done.code == 0, done.err


def test_a_log_that_cannot_be_opened_is_a_failure_of_the_disk(another, monkeypatch):
    journal = another()
    claim = claimed(journal)
    journal.group.close()
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "Too many open files")))

    with pytest.raises(StorageFailure, match=r"could not be written \(Too many open files\)"):
        settle(journal, claim)


def test_a_fork_of_a_service_lets_go_of_the_log(another):
    journal = another()
    settle(journal, claimed(journal))
    log = f"{journal.directory.journal}-wal"

    if (pid := os.fork()) == 0:
        def has_log_open() -> int:
            return sum(os.readlink(f"/proc/self/fd/{fd}") == log for fd in os.listdir("/proc/self/fd")
                       if os.path.lexists(f"/proc/self/fd/{fd}"))
        before = has_log_open()
        journal.forget()
        os._exit(before - has_log_open())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
