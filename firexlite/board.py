"""The board, one page that all processes of an incarnation share, and the doorbell, which wakes them.

What stands on the board is a hint, never the truth, which is in the journal. It is written under the journal's
write lock, so that no wake-up falls between a look that found nothing and the rest that follows it.
"""
from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import host
from .claims import Bell
from .group_commit import MARKS
from .home import storage

# Cells of the header.
(STOPPING, KNOWN, SUCCEEDED, FAILED, SKIPPED, REVOKED, IDLE, COMING, BROKEN, WANT_SPACE, SPARE, HAS_LIMITS, HAS_REVOKED,
 WORKING, NEXT_LOOK, RUNNER_PID, COMMITS) = range(17)
INTACT, NO_SPACE, DISK_FAILED = range(3)
_COUNTS = {"known": KNOWN, "succeeded": SUCCEEDED, "failed": FAILED, "skipped": SKIPPED, "revoked": REVOKED}
_HEADER = COMMITS + MARKS
# Of each worker: what it is, the attempt that was revoked under it, whether it has imported the services, the attempt that it
# makes, when that reaches its limits, in ms of the monotonic clock, the attempt that has reached its soft one, whether
# something of what it has reserved was revoked, and its pid.
(_STATUS, _REVOKED_TASK, _REVOKED_ATTEMPT, _IMPORTED, _TASK, _ATTEMPT, _SOFT_AT, _HARD_AT, _SPENT_TASK, _SPENT_ATTEMPT,
 _WITHDRAWN, _PID, _WIDTH) = range(13)
_GONE = -1
NOBODY, COMES, RESTS, WORKS = range(4)
CAPACITY = 16_000  # workers; pages that nobody touches cost nothing

RUNNER = "runner"  # its name as an address


class Board:
    """The shared page: counts of the run, and the status of each worker. Made before the first fork."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """capacity: in workers."""
        self._memory = mmap.mmap(-1, 8 * (_HEADER + _WIDTH * capacity))
        self.cells = memoryview(self._memory).cast("q")

    @property
    def stopping(self) -> bool:
        """No task is to start any more."""
        return bool(self.cells[STOPPING])

    def stop(self) -> None:
        self.cells[STOPPING] = 1

    @property
    def runner(self) -> int:
        """The pid of the runner whose workers are told of here; 0 before there is one."""
        return self.cells[RUNNER_PID]

    def has_runner(self) -> None:
        """This process is it."""
        self.cells[RUNNER_PID] = os.getpid()

    def leads(self, worker: int) -> None:
        """This process is a worker, and the leader of a session."""
        self.cells[self._at(worker, _PID)] = os.getpid()

    def left_nothing(self, worker: int) -> None:
        """Nothing of its session lives any more."""
        self.cells[self._at(worker, _PID)] = _GONE

    def sessions(self) -> list[int]:
        """The workers, by their pids, of whose sessions something may live."""
        pids = (self.cells[self._at(worker, _PID)] for worker in range(CAPACITY))
        return [pid for pid in itertools.takewhile(bool, pids) if pid != _GONE]  # the lowest free number is given out

    def begin_with(self, counts: Mapping[str, int]) -> None:
        """Set the counts of the run: ``{state: number of tasks}``."""
        self.cells[KNOWN] = sum(counts.values())
        for state, cell in _COUNTS.items():
            if state != "known":
                self.cells[cell] = counts.get(state, 0)

    @property
    def broken(self) -> int:
        """INTACT, or how writing failed, NO_SPACE or DISK_FAILED: nothing may be written any more in this incarnation."""
        return self.cells[BROKEN]

    def give_up(self, is_full: bool) -> None:
        self.cells[BROKEN] = NO_SPACE if is_full else DISK_FAILED
        self.stop()

    def _at(self, worker: int, cell: int) -> int:
        return _HEADER + _WIDTH * worker + cell

    def status(self, worker: int) -> int:
        return self.cells[self._at(worker, _STATUS)]

    def set_status(self, worker: int, status: int) -> None:
        """Move a worker to a status, and keep the two counts of the header with it."""
        cells, at = self.cells, self._at(worker, _STATUS)
        cells[IDLE] += (status == RESTS) - (cells[at] == RESTS)
        cells[COMING] += (status == COMES) - (cells[at] == COMES)
        cells[WORKING] += (status == WORKS) - (cells[at] == WORKS)
        cells[at] = status

    @property
    def has_spare_slot(self) -> bool:
        """Whether a slot is free, and nothing was there that could start in it."""
        return self.cells[SPARE] > 0

    @property
    def is_at_work(self) -> bool:
        """Whether any worker has a task, be it blocked."""
        return self.cells[WORKING] > 0

    def will_look(self, at: float) -> None:
        """The runner looks by itself at this time of the monotonic clock."""
        self.cells[NEXT_LOOK] = int(at * 1000)

    def is_before_next_look(self, in_s: float) -> bool:
        """Whether the runner has to be told of what is to be done in so many seconds."""
        return (time.monotonic() + in_s) * 1000 < self.cells[NEXT_LOOK]

    def call_resting(self, wanted: int) -> list[int]:
        """Up to ``wanted`` resting workers, the lowest first, now as coming."""
        called: list[int] = []
        worker = 0
        while len(called) < wanted and self.cells[IDLE] > 0 and worker < CAPACITY:
            if self.status(worker) == RESTS:
                self.set_status(worker, COMES)
                called.append(worker)
            worker += 1
        return called

    def forked(self, worker: int) -> None:
        """A worker that `Doorbell.ring` promised, and counted, is about to be there."""
        self.cells[self._at(worker, _STATUS)], self.cells[self._at(worker, _IMPORTED)] = COMES, 0
        self.mark_revoked(worker, 0, 0)  # of one before it with the same number nothing concerns it
        self.began(worker, 0, 0)

    def never_came(self, worker: int) -> None:
        """It could not be forked; the next `recount` forgets the promise."""
        self.cells[self._at(worker, _STATUS)] = NOBODY

    def recount(self, workers: Sequence[int]) -> None:
        """Set the two counts from the statuses of the workers that live; what was promised and never came is forgotten."""
        statuses = [self.status(worker) for worker in workers]
        self.cells[IDLE], self.cells[COMING] = statuses.count(RESTS), statuses.count(COMES)
        self.cells[WORKING] = statuses.count(WORKS)

    def has_imported(self, worker: int) -> None:
        self.cells[self._at(worker, _IMPORTED)] = 1

    def is_importing(self, worker: int) -> bool:
        """Whether a worker that imports the services itself is not done with it."""
        return not self.cells[self._at(worker, _IMPORTED)]

    def leaves(self, worker: int) -> bool:
        """Whether a worker at rest may end: nobody calls it any more then. Under the write lock."""
        if self.status(worker) != RESTS:
            return False
        self.set_status(worker, WORKS)
        return True

    def facts(self, worker: int) -> tuple[bool, int, int, bool]:
        """What its worker looks at here, for one that cannot: `stopping`, what was revoked under it, `has_spare_slot`."""
        return (self.stopping, *self.revoked(worker), self.has_spare_slot)

    def heed(self, worker: int, stopping: bool, task: int, attempt: int, has_spare_slot: bool) -> None:
        """Have here what `facts` gave on another board. A worker once told to stop is not told otherwise."""
        if stopping:
            self.stop()
        self.mark_revoked(worker, task, attempt)
        self.cells[SPARE] = has_spare_slot

    def mark_revoked(self, worker: int, task: int, attempt: int) -> None:
        self.cells[self._at(worker, _REVOKED_TASK)], self.cells[self._at(worker, _REVOKED_ATTEMPT)] = task, attempt
        if task:
            self.cells[HAS_REVOKED] = 1

    def revoked(self, worker: int) -> tuple[int, int]:
        """The ``(task, attempt)`` that was revoked under a worker; ``(0, 0)``: none."""
        return self.cells[self._at(worker, _REVOKED_TASK)], self.cells[self._at(worker, _REVOKED_ATTEMPT)]

    @property
    def has_revoked(self) -> bool:
        """Whether anything was ever revoked under a worker: to look at each of them takes a while."""
        return bool(self.cells[HAS_REVOKED])

    @property
    def has_limits(self) -> bool:
        """Whether anything that ran had a limit."""
        return bool(self.cells[HAS_LIMITS])

    def withdraw(self, worker: int, is_withdrawn: bool = True) -> None:
        """Something of what a worker has reserved was revoked, so it begins none of it any more."""
        self.cells[self._at(worker, _WITHDRAWN)] = is_withdrawn

    def withdrawn(self, worker: int) -> bool:
        return bool(self.cells[self._at(worker, _WITHDRAWN)])

    def began(self, worker: int, task: int, attempt: int) -> None:
        """This worker makes this attempt from now on, and nothing limits it."""
        self.limit(worker, None, None)
        self.cells[self._at(worker, _TASK)], self.cells[self._at(worker, _ATTEMPT)] = task, attempt

    def attempt(self, worker: int) -> tuple[int, int]:
        """The ``(task, attempt)`` that a worker makes; it may have ended it."""
        return self.cells[self._at(worker, _TASK)], self.cells[self._at(worker, _ATTEMPT)]

    def limit(self, worker: int, soft_at: float | None, hard_at: float | None) -> None:
        """When the attempt of a worker reaches its limits, in seconds of the monotonic clock; None: it has no such limit."""
        if soft_at is not None or hard_at is not None:
            self.cells[HAS_LIMITS] = 1
        self.cells[self._at(worker, _SOFT_AT)] = 0 if soft_at is None else max(1, int(soft_at * 1000))
        self.cells[self._at(worker, _HARD_AT)] = 0 if hard_at is None else max(1, int(hard_at * 1000))

    def limits(self, worker: int) -> tuple[float | None, float | None]:
        """As given to `limit`."""
        soft, hard = self.cells[self._at(worker, _SOFT_AT)], self.cells[self._at(worker, _HARD_AT)]
        return soft / 1000 if soft else None, hard / 1000 if hard else None

    def mark_spent(self, worker: int, task: int, attempt: int) -> None:
        """This attempt has reached its soft limit."""
        self.cells[self._at(worker, _SPENT_TASK)], self.cells[self._at(worker, _SPENT_ATTEMPT)] = task, attempt

    def spent(self, worker: int) -> tuple[int, int]:
        """The ``(task, attempt)`` of a worker that has reached its soft limit; ``(0, 0)``: none."""
        return self.cells[self._at(worker, _SPENT_TASK)], self.cells[self._at(worker, _SPENT_ATTEMPT)]


class Address:
    """One process's place to be woken at: a datagram socket in the run's directory."""

    def __init__(self, folder: Path, name: int | str) -> None:
        self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = str(name)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder_fd)
        with storage(folder):
            self._folder = host.socket_folder(folder, self._folder_fd)
            self.socket.bind(self._path(name))

    def _path(self, name: int | str) -> str:
        return f"{self._folder}/{name}"

    def send(self, name: int | str, message: bytes = b"") -> None:
        """Wake another; that it is dead, or has unread wake-ups, is no concern of ours."""
        try:
            self.socket.sendto(message, self._path(name))
        except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # so a BSD says that there are too many
                raise

    def wait(self, timeout_s: float) -> None:
        """Return when somebody woke us, at the latest after ``timeout_s``."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        poll.poll(timeout_s * 1000)
        self.drain()

    def drain(self) -> list[bytes]:
        """What others sent since the last look."""
        messages = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self.socket.recv(64))
        return messages

    def close(self) -> None:
        self.socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._folder_fd)
        os.close(self._folder_fd)


class Counter(Bell):
    """Keeps the board's counts of the run; there is nobody to wake yet."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.marks = board.cells[COMMITS:COMMITS + MARKS]

    @property
    def stopping(self) -> bool:
        return self.board.stopping

    @property
    def is_broken(self) -> bool:
        return bool(self.board.broken)

    def give_up(self, is_full: bool) -> None:
        self.board.give_up(is_full)

    def want_space(self, change: int) -> None:
        self.board.cells[WANT_SPACE] += change

    def count(self, **changes: int) -> None:
        for name, change in changes.items():
            self.board.cells[_COUNTS[name]] += change


class Doorbell(Counter):
    """Wakes blocked workers, calls resting ones, and asks the runner for what they cannot do."""

    def __init__(self, board: Board, address: Address,
                 may_have_children: Callable[[str], bool] = lambda service: False) -> None:
        """may_have_children: whether a service may enqueue some."""
        super().__init__(board)
        self.address, self._may_have_children = address, may_have_children
        self._letters: list[tuple[int | str, bytes]] = []

    def deliver(self) -> None:
        letters, self._letters = self._letters, []
        for name, message in letters:
            self.address.send(name, message)

    def _post(self, name: int | str, message: bytes = b"") -> None:
        self._letters.append((name, message))

    def give_up(self, is_full: bool) -> None:
        super().give_up(is_full)
        self.address.send(RUNNER, b"broken")

    def work(self, worker: int, task: int, attempt: int) -> None:
        self.board.mark_revoked(worker, 0, 0)  # here, where nobody can mark it: it was for the attempt before
        self.board.began(worker, task, attempt)
        self.board.withdraw(worker, False)
        self.board.set_status(worker, WORKS)

    def gone(self, worker: int) -> None:
        self.board.set_status(worker, NOBODY)

    def recount(self, workers: Sequence[int]) -> None:
        self.board.recount(workers)

    def ring(self, unblocked: Sequence[int], startable: int) -> None:
        for worker in unblocked:
            self._post(worker)
        if self.board.stopping:
            return
        wanted = startable - self.board.cells[COMING]
        called = self.board.call_resting(wanted)
        for worker in called:
            self._post(worker)
        self._have_forked(wanted - len(called))

    def begins(self, service: str) -> None:
        """Have somebody there for its children, if it may have any: a worker takes longer to come than they to be asked for."""
        if not self.board.cells[IDLE] and not self.board.cells[COMING] and not self.board.stopping \
                and self._may_have_children(service):
            self._have_forked(1)

    def _have_forked(self, missing: int) -> None:
        if missing > 0:
            self.board.cells[COMING] += missing  # promised; the runner's tick corrects it if the message is lost
            self._post(RUNNER, b"fork %d" % missing)

    def spare(self, slots: int) -> None:
        self.board.cells[SPARE] = slots

    def interrupt(self, attempts: Sequence[tuple[int, int, int]]) -> None:
        for worker, task, attempt in attempts:
            self.board.mark_revoked(worker, task, attempt)
        self._post(RUNNER, b"revoke")

    def withdraw(self, workers: Sequence[int]) -> None:
        for worker in workers:
            self.board.withdraw(worker)

    def comes_due(self, in_s: float) -> None:
        if self.board.is_before_next_look(in_s):
            self._post(RUNNER, b"due")

    def rest(self, worker: int, quiet: bool) -> None:
        self.board.mark_revoked(worker, 0, 0)
        self.board.set_status(worker, RESTS)
        if quiet:
            self._post(RUNNER, b"quiet")
