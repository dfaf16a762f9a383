"""The runner: one incarnation's scheduler. It forks workers, reaps them, and ends the run.

It starts no thread and has no SQLite connection open at a fork: it opens the journal for one transaction at a time.
Services run only in workers.
"""
from __future__ import annotations

import gc
import math
import os
import platform
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from . import faults, host, last_words, runlog
from .attempt import LINGER_S
from .board import CAPACITY, COMES, NO_SPACE, NOBODY, RUNNER, WORKS, Address, Board, Counter, Doorbell
from .codec import encode_error
from .ending import leave_tidy, remove_folder
from .errors import BadInput, DiskFull, RunWaits, StorageFailure, Superseded, WorkerLost
from .executors import Executor, Local
from .executors.stand_in import path_of_how
from .history import History
from .home import storage
from .host import GRACE_S
from .incarnation import Incarnation
from .interrupts import wakeups
from .journal import Journal
from .journal_file import LogWatch, wait_for_space
from .limits import expire, expire_run
from .logs import read_stretch
from .standing import exit_code
from .states import RUN_INTERRUPTED, RUN_SUCCEEDED
from .waiting import come_due
from .worker import stand_apart, work

ALONE_S = 1.0          # the same when the front was killed: nobody waits for us, and nothing is to be left behind
TICK_S = 1.0           # a safety net behind the wake-ups: it looks again after so many seconds,
MOST_TICK_S = 16.0     # and after more and more as long as nobody works and nothing is heard
SAME_REQUEST_S = 1.0   # signals this close together are one request to stop, told by two senders
BARREN = 5             # workers in a row that end before they can claim anything: no other will fare better


class Runner:
    """Forks, reaps and ends the workers of one incarnation."""

    def __init__(self, incarnation: Incarnation, board: Board, load_services: Callable[[], object] | None) -> None:
        self.directory, self.epoch, self.slots = incarnation.directory, incarnation.epoch, incarnation.slots
        self.json_file, self.full_wait_s = incarnation.json_file, incarnation.full_wait_s
        self.board, self.load_services = board, load_services
        self.workers: dict[int, int] = {}            # pid -> number
        # pid -> (the (task, attempt) that was revoked under it, when it is killed if it still runs that)
        self.revoking: dict[int, tuple[tuple[int, int], float]] = {}
        self.stop_signal: int | None = None
        self.stop_asked = self.stop_by = 0.0         # monotonic
        self.next_look = 0.0                         # monotonic
        self.tick_s = TICK_S
        self._front = os.getppid() if incarnation.front is None else incarnation.front
        self.incarnation = incarnation
        self.import_by: dict[int, float] = {}        # pid -> when a worker that imports the services has to be done with it
        self.barren = 0                              # workers in a row that ended before their first claim
        self.queues, self.ends_when_waiting = incarnation.queues, incarnation.ends_when_waiting
        self.is_quiet = self.has_refused = self.waits = False
        self.held_to: dict[tuple[int, bool], tuple[int, int]] = {}  # (worker, is hard) -> attempt that was held to that limit
        self.log_watch = LogWatch()
        limit = incarnation.soft_time_limit
        self.run_is_over_at = math.inf if limit is None else time.monotonic() + limit
        self.executor: Executor = incarnation.executor or Local()

    def supervise(self) -> int:
        """Run the incarnation to its end; returns the exit code of the run. Raises StorageFailure."""
        host.adopt_orphans()
        self.board.has_runner()
        self._listen_to_signals()
        if os.getppid() != self._front:
            self._note_stop(signal.SIGTERM, None)  # that it died was told when services were imported, which may not heed it
        _let_go_of_output()
        gc.freeze()  # or each worker's first collection would copy what it shares with us
        runlog.note(self.directory.logs, f"incarnation {self.epoch} begins: process {os.getpid()} on {platform.node()}, "
                                         f"{self.slots} tasks at once")
        try:
            wait_for_space(self._prepare_wake_folder, self.full_wait_s, Counter(self.board))
            self._schedule()
            self._end_workers()
            return self._end_run()
        except StorageFailure as error:
            self.board.stop()
            self._end_workers()
            if self.stop_signal is not None and isinstance(error, DiskFull):
                return 128 + self.stop_signal  # nobody waited for space, since the run was to stop
            raise self._storage_failure(error) from error
        except (Superseded, BadInput):
            self.board.stop()
            self._end_workers()
            raise

    def _schedule(self) -> None:
        """Fork and reap until there is no more to do, or the run is to stop."""
        self._look()
        while (not self.is_quiet or self.revoking) and not self._must_stop():
            self._sleep_until_something_happens()
            somebody_died = self._reap()
            is_told = self._answer_workers()
            is_told = self.executor.attend(self) or is_told
            if somebody_died or is_told or self.board.is_at_work or self.revoking or self.import_by:
                self.tick_s = TICK_S
            self._keep_limits()
            if somebody_died or is_told or time.monotonic() >= self.next_look:
                self._look()
            self._refuse_to_hang_in_imports()
            self._interrupt_revoked()  # after the look: what is quiet may have bodies that were revoked and still end
        if self.board.broken:
            raise StorageFailure("a worker could not write")

    def _must_stop(self) -> bool:
        return bool(self.stop_signal is not None or self.barren >= BARREN or self.board.broken)

    def _storage_failure(self, error: StorageFailure) -> StorageFailure:
        """The sentence with which a run ends that could not be written to."""
        reason = str(error)
        if self.board.broken == NO_SPACE:
            reason = f"there was no space in {self.directory.path} for {self.full_wait_s:g} s"
        elif self.board.broken:
            reason = f"the disk failed that holds {self.directory.path}"
        # The journal cannot tell of it, but a line has room in the last block of this file, even if the disk is full.
        runlog.note(self.directory.logs, f"incarnation {self.epoch} was stopped: {reason}")
        firex_id = self.directory.firex_id
        return StorageFailure(f"{firex_id} was stopped: {reason}; nothing that was done is lost, and "
                              f"`firexlite resume {firex_id}` goes on")

    def _prepare_wake_folder(self) -> None:
        remove_folder(self.directory.wake)
        with storage(self.directory.wake):
            self.directory.wake.mkdir(mode=0o700)
        self.address = Address(self.directory.wake, RUNNER)
        self.bell = Doorbell(self.board, self.address)

    def _listen_to_signals(self) -> None:
        self._signals, self._wakeup = wakeups()
        # Handlers that do nothing, not SIG_IGN, which shell commands of services would inherit.
        for unheeded in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(unheeded, lambda *_: None)
        for stopping in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stopping, self._note_stop)

    def _note_stop(self, number: int, frame: object) -> None:
        """A first signal asks to stop, a second one does not wait for bodies to end; the death of the front hardly does."""
        now = time.monotonic()
        if self.stop_signal is None:
            self.stop_signal, self.stop_asked, self.stop_by = number, now, now + GRACE_S
            self.board.stop()  # at once: we may be waiting for space, and so may workers
        elif now - self.stop_asked > SAME_REQUEST_S:
            self.stop_by = now
        if os.getppid() != self._front:
            self.stop_by = min(self.stop_by, now + ALONE_S)

    def journal(self) -> Journal:
        """The journal, to be opened for one transaction."""
        return Journal(self.directory, self.slots, self.bell, full_wait_s=self.full_wait_s, epoch=self.epoch,
                       queues=self.queues)

    def _sleep_until_something_happens(self) -> None:
        poll = select.poll()
        for source in (self._signals, self.address.socket, *self.executor.sources()):
            poll.register(source, select.POLLIN)  # type: ignore[arg-type]
        wake_at = min(self.next_look, self.run_is_over_at, *(at for *_, at in self._limits()))
        poll.poll(max(0.0, wake_at - time.monotonic()) * 1000)
        with suppress(BlockingIOError):
            while self._signals.recv(4096):
                pass

    def _look(self) -> None:
        """See in the journal itself whether there is more to do; workers are called for what can start."""
        if os.getppid() != self._front and self.stop_signal is None:
            self._note_stop(signal.SIGTERM, None)  # whoever was to tell us that it died is dead too
        with self.journal() as journal:
            outlook = journal.look([*self.workers.values(), *self.executor.coming()], come_due)
            self._mark_revoked_from_outside(journal)
            log_grows_s = self.log_watch.look(journal)
            self.executor.look(self, journal)
        self.waits = outlook.waits
        is_near = outlook.next_due_s is not None and outlook.next_due_s < LINGER_S
        may_end = self.ends_when_waiting and not is_near and not outlook.keeps_process
        self.is_quiet = outlook.is_quiet and (not outlook.waits or may_end)
        soonest = min(soon for soon in (self.tick_s, outlook.next_due_s, log_grows_s) if soon is not None)
        self.next_look = time.monotonic() + soonest
        self.board.will_look(self.next_look)
        self.tick_s = min(2 * self.tick_s, MOST_TICK_S)

    def _mark_revoked_from_outside(self, journal: Journal) -> None:
        """Another command may have revoked what workers are at; it cannot write on the board."""
        for number in self.workers.values():
            task, attempt = self.board.attempt(number)
            if self.board.status(number) == WORKS and self.board.revoked(number) == (0, 0) \
                    and journal.is_revoked(task, attempt):
                with journal.transaction(durable=False, operation="mark revoked"):  # meanwhile it begins no other
                    if self.board.status(number) == WORKS and self.board.attempt(number) == (task, attempt):
                        self.board.mark_revoked(number, task, attempt)

    def _answer_workers(self) -> bool:
        """Fork the workers that are asked for; returns whether somebody has a reason for a look."""
        messages = self.address.drain()
        for message in messages:
            if message.startswith(b"fork"):
                self.executor.bring(self, int(message.split()[1]))
        return bool({b"quiet", b"due", b"look"} & set(messages))

    # --- limits ----------------------------------------------------------------------------------------------------

    def _limits(self) -> Iterator[tuple[int, int, tuple[int, int], bool, float]]:
        """``(pid, worker, (task, attempt), is hard, when)`` of each limit that no attempt has been held to yet."""
        for pid, number in self.workers.items() if self.board.has_limits else ():
            attempt = self.board.attempt(number)
            limits = self.board.limits(number)
            if self.board.attempt(number) != attempt:
                continue  # it has just begun another, and tells when its limits are set
            for is_hard, at in zip((False, True), limits, strict=True):
                if at is not None and self.held_to.get((number, is_hard)) != attempt:
                    yield pid, number, attempt, is_hard, at

    def _keep_limits(self) -> None:
        """Tell bodies whose soft limit is over; end those, with all that they started, whose hard one is."""
        now = time.monotonic()
        for pid, number, attempt, is_hard, at in list(self._limits()):
            if now < at:
                continue
            self.held_to[number, is_hard] = attempt
            if is_hard:
                self._end_at_limit(pid, number, *attempt)
            else:
                self.board.mark_spent(number, *attempt)
                os.kill(pid, signal.SIGTERM)
        if now >= self.run_is_over_at:
            self.run_is_over_at = math.inf
            with self.journal() as journal:
                expire_run(journal, self.incarnation.soft_time_limit or 0.0)

    def _end_at_limit(self, pid: int, number: int, task: int, attempt: int) -> None:
        """Fail an attempt at its hard limit, and kill its worker before that can claim another task."""
        stack = last_words.ask(pid, last_words.path_of(self.directory.wake, number))
        with self.journal() as journal:
            expire(journal, task, attempt, lambda: host.kill_with_descendants(pid), stack)

    # --- workers -----------------------------------------------------------------------------------------------------

    def free_number(self) -> int | None:
        """A number that no worker has; None if there are too many."""
        return next((n for n in range(CAPACITY) if self.board.status(n) == NOBODY), None)

    def fork_worker(self, number: int, life: Callable[[Incarnation, int, Board], None] | None = None) -> None:
        """Fork the worker of a number that the board knows as coming. life: what it does, if it is not to run services."""
        runner = os.getpid()
        faults.reach("forking")
        try:
            pid = os.fork()
        except OSError as error:
            self.board.never_came(number)
            print(f"firexlite: no worker could be forked: {error.strerror}", file=sys.stderr)
            return
        if pid:
            self.workers[pid] = number
            if life is None and self.load_services is not None:
                self.import_by[pid] = time.monotonic() + self.incarnation.import_timeout_s
            return
        try:
            stand_apart(runner)
            self.board.leads(number)
            for end in (self._signals, self._wakeup, self.address.socket):
                end.close()
            if life is None:
                work(self.incarnation, number, self.board, self.load_services)
            else:
                life(self.incarnation, number, self.board)
        finally:
            os._exit(1)

    def _reap(self) -> bool:
        """Take note of every worker that ended: whatever its exit status, one that ends while the run goes on is lost.

        Returns whether there was any.
        """
        somebody_died = False
        for pid, status in host.ended_children():
            number = self.workers.pop(pid, None)
            self.revoking.pop(pid, None)
            self.import_by.pop(pid, None)
            if number is None:
                self.executor.note_end_of(self, pid, status)  # of one of its own; else it is an orphan that was adopted
                continue
            somebody_died = True
            faults.reach("reaped")
            self.barren = self.barren + 1 if self.board.status(number) == COMES else 0
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # shell commands of its service, which are in its group
            host.kill_session(pid)              # and those in groups of their own
            self.board.left_nothing(number)
            how = last_words.take(path_of_how(self.directory.wake, number)) or host.how_it_died(status)
            if status:  # else it ended since its task waits without it
                runlog.note(self.directory.logs, f"worker {number} (process {pid}) died of {how}")
            stack = last_words.take(last_words.path_of(self.directory.wake, number))
            with self.journal() as journal:
                journal.lose(number, lambda deaths, unsure, how=how, stack=stack: encode_error(
                    last_words.at(stack, WorkerLost(deaths, how, unsure))), present=self.board.attempt(number)[0])
            if self.barren == BARREN:
                self._say_why_workers_end(number, how)
        return somebody_died

    def _say_why_workers_end(self, number: int, how: str) -> None:
        logs = sorted(self.directory.logs.glob(f"{self.epoch}-{number}[.@]*"))  # of a worker elsewhere its host is in the name
        log = read_stretch(logs[-1], 0, None)[0] if logs else ""
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "it said nothing")
        print(f"firexlite: {BARREN} workers in a row ended before they could begin, at last by {how}: {last}", file=sys.stderr)

    def _refuse_to_hang_in_imports(self) -> None:
        """Raise BadInput if a worker has been importing the services for too long."""
        for pid, by in list(self.import_by.items()):
            if not self.board.is_importing(self.workers[pid]):
                del self.import_by[pid]
            elif time.monotonic() > by:
                os.kill(pid, signal.SIGKILL)
                self.has_refused = True
                firex_id = self.directory.firex_id
                raise BadInput(
                    f"{firex_id} was stopped: importing {', '.join(map(repr, self.incarnation.plugins))} in a worker has not "
                    f"finished after {self.incarnation.import_timeout_s:g} s; look for what it waits for, or give it longer "
                    f"with --import_timeout SECONDS: `firexlite resume {firex_id}` goes on")

    def _interrupt_revoked(self) -> None:
        """Let bodies end whose task was revoked; kill those that have not after the grace."""
        for pid, number in self.workers.items() if self.board.has_revoked else ():
            revoked = self.board.revoked(number)
            known, kill_at = self.revoking.get(pid, ((0, 0), 0.0))
            if revoked == (0, 0):
                self.revoking.pop(pid, None)
            elif revoked != known:  # another one than at the last look has a grace of its own
                self.revoking[pid] = revoked, time.monotonic() + GRACE_S
                os.kill(pid, signal.SIGTERM)
                self.address.send(number)
            elif time.monotonic() > kill_at:
                os.kill(pid, signal.SIGKILL)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _end_workers(self) -> None:
        """Let every worker end: those at rest at once, bodies within the grace; then kill what is left, orphans too."""
        self.board.stop()
        bodies_end_early = self.stop_signal is not None or bool(self.board.broken) or self.has_refused
        if self.stop_signal is None:
            self.stop_by = time.monotonic() + (GRACE_S if bodies_end_early else 1.0)
        for pid, number in self.workers.items():
            if bodies_end_early:
                os.kill(pid, signal.SIGTERM)
            self.address.send(number)
        while self.workers and time.monotonic() < self.stop_by:
            poll = select.poll()
            poll.register(self._signals, select.POLLIN)
            poll.poll(max(1, (self.stop_by - time.monotonic()) * 1000))
            with suppress(BlockingIOError):
                self._signals.recv(4096)
            for pid, _ in host.ended_children():
                self.workers.pop(pid, None)
        self._say_what_is_killed()
        self.executor.end()
        host.end_descendants(sessions=self.board.sessions())
        self.workers.clear()
        faults.reach("workers ended")

    def _say_what_is_killed(self) -> None:
        bodies = [number for number in self.workers.values() if self.board.status(number) == WORKS]
        if bodies and self.stop_signal is not None:
            with suppress(OSError):
                print(f"firexlite: {len(bodies)} running service{'s were' if len(bodies) > 1 else ' was'} killed that had not "
                      "ended", file=sys.stderr, flush=True)

    def _end_run(self) -> int:
        bell = _LastBell(self.board, lambda: self.stop_signal is not None)
        with Journal(self.directory, self.slots, bell, full_wait_s=self.full_wait_s, epoch=self.epoch) as journal:
            state = journal.finish(interrupted=self.stop_signal is not None or self.barren >= BARREN)
            self.waits = state == RUN_INTERRUPTED and self.waits
        after = "" if self.stop_signal is None else f", after signal {self.stop_signal}"
        runlog.note(self.directory.logs, f"incarnation {self.epoch} ends, the run is {state}{after}")
        self.address.close()
        self.directory = leave_tidy(self.directory, self.json_file)
        if self.stop_signal is not None and state != RUN_SUCCEEDED:
            return 128 + self.stop_signal
        if self.waits:
            return RunWaits.exit_code
        if self.barren < BARREN:
            with suppress(StorageFailure), History(self.directory) as history:  # no room for the index that a reader makes: 1
                return exit_code(history, state)
        return 1


class _LastBell(Counter):
    """The bell of a run's end, when the board says stop: it waits for space as long as no person asks to stop."""

    def __init__(self, board: Board, is_asked: Callable[[], bool]) -> None:
        super().__init__(board)
        self._is_asked = is_asked

    @property
    def stopping(self) -> bool:
        return self._is_asked()


def _let_go_of_output() -> None:
    """Write out what services printed at import, or forget it if nobody reads: else each fork would write it again."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except Exception:  # a service may have put anything there; a reader may be gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
            with suppress(Exception):
                stream.flush()
