"""The processes of a run as plain values, over a real journal: each step of one of them is one transaction or one look.

A `World` is a run at one instant: the journal's file, the board, unread wake-ups, and where each worker and the runner
stand. It can be saved and restored, so that every order of their steps can be tried. What the processes do is written
after `worker` and `runner`; the journal, the board, the doorbell and the replay are the real ones.
"""
from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from firexlite import faults
from firexlite.board import _HEADER, _WIDTH, COMING, COMMITS, IDLE, RUNNER, SPARE, STOPPING, Board, Doorbell
from firexlite.claims import (
    NO_APPETITE,
    UNKNOWN,
    Appetite,
    Begun,
    Claim,
    Ended,
    Enqueued,
    Failure,
    Hand,
    NewChain,
    NewTask,
    Retry,
    Success,
)
from firexlite.codec import encode_error
from firexlite.deadlocks import refuse_deadlock
from firexlite.errors import BadInput, ClaimLost, SchedulingDeadlockException, Superseded, TaskRevoked, WorkerLost
from firexlite.group_commit import MADE, MARKS, SYNCED
from firexlite.home import RunDirectory
from firexlite.journal import Journal
from firexlite.limits import expire
from firexlite.once import ENQUEUED
from firexlite.outside import cancel
from firexlite.replay import Replay
from firexlite.runner import Runner
from firexlite.takeover import TakeOver, take_over
from firexlite.waiting import begin_wait, come_due, send, suspend

FIREX_ID = "FireX-li-261123-101500-4711"
PLACES = 8  # of workers that are looked at on the board
CELLS = _HEADER + _WIDTH * PLACES
LATER_S, AGES_S = 1e6, 1e7  # when it is time for what sleeps; what passes when time passes
# Operations after which no body goes on from what others did.
WRITE_ONLY = {"enqueue", "release", "show", "catch up", "cache", "look", "mark revoked", "send", "cancel"}
Step = tuple  # (kind, worker number or nothing)

ABOUT = json.dumps({"positional": [], "keyword_only": [], "positional_only": [], "var_positional": None, "var_keyword": None,
                    "defaults": {}, "returns": None, "short_name": "s", "file": "s.py", "line": 1, "plugin": False})
OPTIONS = json.dumps({"plugins": [], "workers": 2, "cwd": ".", "host": "here", "user": "li", "python": "3", "argv": [],
                      "json_file": None})
LOST = Failure(encode_error(TaskRevoked("this task was revoked")))
RAISED = Failure(encode_error(ValueError("as it is written")))
OUTSIDE = ("sleep", "wait for event")  # steps of bodies that wait for no chain


@dataclass(frozen=True)
class Program:
    """What a run does. bodies: `{service: steps}`; a service that is not named returns at once.

    Steps: ("enqueue", "b|c"), ("wait", which children, by number; none: all), ("wait for any",), ("wait a while", which),
    ("revoke", which), ("need", which): fail if they did not succeed, ("show",), ("note",), ("fail",), and ("either", "b", "c"),
    ("other", "b", "c"), which enqueue them in one order, or after a crash in the other; ("enqueue once", "key", "b|c"),
    ("sleep",), ("wait for event", "name"); ("retry",), ("retry later",): be tried again, if this is the first try.
    commands: that other processes give at any time, ("send", "name"), ("cancel", task or None).
    queue_of: `{service: queue}`. limited: services that may reach their limit whenever they run. batch: how many tasks a worker
    reserves with the one that it claims; then children are journaled when the body asks for them, or somebody is idle.
    """

    chain: str
    bodies: dict[str, Sequence[tuple]] = field(default_factory=dict)
    slots: int = 2
    worker_deaths: int = 3
    commands: Sequence[tuple] = ()
    queues: dict[str, int] = field(default_factory=dict)
    queue_of: dict[str, str] = field(default_factory=dict)
    limited: Sequence[str] = ()
    keeps_children: Sequence[str] = ()
    batch: int = 0

    @property
    def is_loose(self) -> bool:
        """Whether a parent ends, or begins anew, or revokes children that nobody waits for: what becomes of these, chance
        decides."""
        return any(step[0] in ("fail", "revoke", "retry") for body in self.bodies.values() for step in body
                   if any(other[0].startswith("enqueue") for other in body))

    @property
    def keeps_slots(self) -> bool:
        """Whether never more tasks run than there are slots: one whose time ran out takes a slot again, free or not."""
        return not any(step[0] == "wait a while" for body in self.bodies.values() for step in body)


class _Everything(Container):
    """All services."""

    def __contains__(self, service: object) -> bool:
        return True


def _never_asked() -> None:
    raise Broken("a chain that was journaled has no place")


class Death(BaseException):
    """The process is killed at this point."""


class Broken(AssertionError):
    """Something is not as it must be."""


def new_tasks(program: Program, services: str) -> list[NewTask]:
    return [NewTask(service, json.dumps({"of": service}), program.worker_deaths, ABOUT, service,
                    queue=program.queue_of.get(service), keeps_children=service in program.keeps_children,
                    options=None if program.batch else '{"time_limit": 1}') for service in services.split("|")]


def result_of(service: str) -> Success:
    """What a service returns; a big one so much that it lies in a blob."""
    return Success(json.dumps({service: f"made by {service}" * (5000 if service.startswith("big") else 1)}), "{}")


class ListeningBell(Doorbell):
    """The real one; it sees to it that it is told after COMMIT, under the lock, and each time is a moment to die at."""

    def __init__(self, world: World) -> None:
        super().__init__(world.board, world)  # type: ignore[arg-type]
        self.world = world
        self.journal: Journal

    def _heard(self, what: str) -> None:
        self.world.moment(f"bell {what}")
        if self.journal.db.connection().in_transaction:
            raise Broken(f"the bell was told of '{what}' before COMMIT")
        try:
            fcntl.flock(self.world.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(self.world.lock_fd, fcntl.LOCK_UN)
        raise Broken(f"the bell was told of '{what}' without the write lock")


def _listens(name: str) -> Callable:
    def tell(self: ListeningBell, *what: object, **more: object) -> None:
        self._heard(name)
        getattr(Doorbell, name)(self, *what, **more)

    return tell


for _name in ("work", "gone", "ring", "interrupt", "rest", "recount", "count", "withdraw", "spare"):
    setattr(ListeningBell, _name, _listens(_name))


@dataclass
class WorkerAt:
    """Where a worker stands. phase: claims, rests, acts (at a step of its body), looks (whether its wait is over), parked,
    returns. `is_new`: it has no address yet."""

    number: int
    phase: str = "claims"
    is_new: bool = True
    claim: Claim | None = None
    at: int = 0
    chains: list[tuple[int, int]] = field(default_factory=list)   # that it enqueued
    given_up: frozenset[int] = frozenset()
    awaits: list[int] = field(default_factory=list)               # last tasks of chains
    waits: int = 0
    raises: bool = False                                          # it ends with a failure
    replay: Replay | None = None
    sleeps: dict[int, float] = field(default_factory=dict)        # step of its body -> until when, as it noted
    keeps_process: bool = False                                   # its wait is over, so it only waits for a slot
    begun: Begun | None = None                                    # if its task was reserved, and the journal knows no more yet
    ended: list[Ended] = field(default_factory=list)              # what else it has in hand
    reserved: list[Claim] = field(default_factory=list)
    pending: list[NewChain] = field(default_factory=list)         # that it enqueued, after those of `chains`

    @property
    def has_in_hand(self) -> bool:
        return bool(self.begun or self.ended or self.reserved or self.pending)

    def key(self) -> tuple:
        replay = self.replay
        asked = replay and (replay._to_ask, tuple(replay._held), tuple(sorted(
            (digest, len(calls)) for digest, calls in replay._left.items())))
        return (self.number, self.phase, self.is_new, self.claim and (self.claim.task, self.claim.attempt), self.at,
                tuple(self.chains), self.given_up, tuple(self.awaits), self.waits, self.raises, asked, tuple(self.sleeps),
                self.keeps_process, self.begun is not None, tuple((one.claim.task, type(one.outcome)) for one in self.ended),
                tuple(claim.task for claim in self.reserved), tuple(chain.digest for chain in self.pending))

    def copy(self) -> WorkerAt:
        twin = copy.copy(self)
        twin.chains, twin.awaits, twin.sleeps = list(self.chains), list(self.awaits), dict(self.sleeps)
        twin.ended, twin.reserved, twin.pending = list(self.ended), list(self.reserved), list(self.pending)
        if self.replay is not None:
            twin.replay = copy.copy(self.replay)
            twin.replay._left = copy.deepcopy(self.replay._left)
            twin.replay._held = dict(self.replay._held)
        return twin


@dataclass
class RunnerAt:
    """Where the runner stands. todo: the rest of this round. revoking: workers told that their task was revoked."""

    todo: list[Step] = field(default_factory=lambda: [("look",)])
    is_quiet: bool = False
    revoking: dict[int, tuple[int, int]] = field(default_factory=dict)
    forks: int = 0            # unread messages: so many workers are asked for,
    told_quiet: bool = False  # somebody found nothing to do,
    is_called: bool = False   # something else

    def key(self) -> tuple:
        return (tuple(self.todo), self.is_quiet, tuple(sorted(self.revoking.items())), self.forks, self.told_quiet,
                self.is_called)

    def copy(self) -> RunnerAt:
        twin = copy.copy(self)
        twin.todo, twin.revoking = list(self.todo), dict(self.revoking)
        return twin

    @property
    def is_awaited(self) -> bool:
        return bool(self.forks or self.told_quiet or self.is_called)


@dataclass
class Saved:
    """A world as it was."""

    db: sqlite3.Connection
    cells: bytes
    workers: list[WorkerAt]
    runner: RunnerAt | None
    mail: frozenset[int]
    interrupted: frozenset[int]
    dead: tuple[int, ...]
    stale: tuple[Claim, ...]
    deaths: int
    ended: bool
    now: float
    commanded: int


_RUN = "SELECT state, epoch FROM run"
_TASKS = """SELECT id, parent, parent_retry, chain, last, service, digest, state, attempt, retry, deaths,
    CASE WHEN state IN ('running', 'blocked') THEN epoch END, CASE WHEN state IN ('running', 'blocked') THEN worker END,
    wakeable, held, relaxed, stopped, unsure, aside, result, changes, limited, due IS NULL, shared, reserved
    FROM task ORDER BY id"""
_ATTEMPTS = "SELECT task, number, epoch, outcome FROM attempt ORDER BY task, number"
_AWAITED = "SELECT tail, waiter, wait, any, due IS NULL, event, nth FROM awaited ORDER BY waiter, wait, tail"
_SHARED = "SELECT key, task FROM once UNION ALL SELECT chain, parent FROM attached UNION ALL SELECT name, nth FROM sent"
# Of each time that something waits for, whether it has come.
_PAST = """SELECT id, due <= :now FROM task WHERE due IS NOT NULL UNION ALL SELECT waiter, due <= :now FROM awaited
    WHERE due IS NOT NULL UNION ALL SELECT task, CAST(value AS REAL) <= :now FROM noted WHERE name = 'sleeps until'"""
_IS_TO_COME = """SELECT EXISTS (SELECT 1 FROM task WHERE due > :now) OR EXISTS (SELECT 1 FROM awaited WHERE due > :now)"""
_INCARNATIONS = "SELECT epoch, how FROM incarnation ORDER BY epoch"
_OTHERS = "SELECT task, key, value FROM flame UNION ALL SELECT task, name, number FROM noted"
_ID, _STATE, _ATTEMPT = 0, 7, 8


class World:
    """A run at one instant, and how it goes on."""

    def __init__(self, directory: RunDirectory, program: Program) -> None:
        """The processes of a run that lies in ``directory``, none of which lives."""
        self.program, self.directory = program, directory
        self.board = Board()
        self._untouched = bytes(8 * CELLS)
        self.marks = self.board.cells[COMMITS:COMMITS + MARKS]
        self.lock_fd = os.open(self.directory.write_lock, os.O_RDWR | os.O_CLOEXEC)
        self.now = 1000.0
        self._journals: dict[object, Journal] = {}
        self.workers: dict[int, WorkerAt] = {}
        self.runner: RunnerAt | None = None
        self.mail: set[int] = set()         # workers with an unread wake-up
        self.interrupted: set[int] = set()  # workers whose body is to end, since its task was revoked
        self.dead: list[int] = []           # workers that the runner has not reaped yet
        self.stale: list[Claim] = []        # of workers that died
        self.deaths = 0
        self.ended = False
        self.commanded = 0                  # halves of commands that were given: the write, and the wake-up of the runner
        self.moments: list[str] = []        # that this step has reached
        self._dies_at: int | None = None
        self._watching = contextlib.ExitStack()
        self._watching.enter_context(faults_reach(self._reached))
        self.open()

    def submit(self) -> None:
        """Journal the run; its runner is about to begin."""
        self.submitter.submit(
            firex_id=FIREX_ID, chain=self.program.chain, inputs="{}", options=OPTIONS, digest="submitted",
            members=new_tasks(self.program, self.program.chain), pid=os.getpid(), host="here")
        self.runner = RunnerAt()

    def open(self) -> None:
        self.submitter = self._journal("front")
        self.reader = self._connect_reader()

    def close(self) -> None:
        self._watching.close()
        self.disconnect()
        os.close(self.lock_fd)

    def disconnect(self) -> None:
        """Close all connections; the last one checkpoints."""
        self.reader.close()
        for journal in self._journals.values():
            journal.close()
        self._journals.clear()

    def _connect_reader(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.directory.journal}?mode=ro", uri=True, isolation_level=None)

    def _clock(self) -> float:
        self.now += 1.0
        return self.now

    def _new_journal(self, bell: ListeningBell) -> Journal:
        return Journal(self.directory, self.program.slots, bell, queues=self.program.queues)

    def _journal(self, name: object, epoch: int | None = None) -> Journal:
        """The journal as one process has it open; as it would be after its fork, with nothing remembered."""
        if name not in self._journals:
            bell = ListeningBell(self)
            bell.journal = self._new_journal(bell)
            bell.journal.clock = self._clock
            self._journals[name] = bell.journal.open()
        journal = self._journals[name]
        journal._known_services = set()
        journal.of_epoch = epoch
        return journal

    # --- moments ---------------------------------------------------------------------------------------------------

    def _reached(self, operation: str, phase: str = "") -> None:
        if phase == "rung" and operation not in WRITE_ONLY and self.marks[SYNCED] < self.marks[MADE]:
            raise Broken(f"after '{operation}' somebody goes on from what the disk may not have")
        self.moment(f"{operation} {phase}".rstrip())

    def moment(self, name: str) -> None:
        self.moments.append(name)
        if self._dies_at is not None and len(self.moments) > self._dies_at:
            raise Death

    # --- the doorbell's address ----------------------------------------------------------------------------------------

    def send(self, name: int | str, message: bytes = b"") -> None:
        self.moment("wake-up sent")
        if name != RUNNER:
            if name in self.workers and not self.workers[name].is_new:  # type: ignore[index]
                self.mail.add(name)  # type: ignore[arg-type]
        elif self.runner is not None:
            if message.startswith(b"fork"):
                self.runner.forks += int(message.split()[1])
            elif message in (b"quiet", b"look"):
                self.runner.told_quiet = True
            else:
                self.runner.is_called = True

    # --- as it is ------------------------------------------------------------------------------------------------------

    def rows(self) -> tuple:
        """What the journal says, less times, events and who ended what."""
        execute = self.reader.execute
        return tuple(tuple(execute(sql)) for sql in (_RUN, _TASKS, _ATTEMPTS, _AWAITED, _INCARNATIONS, _OTHERS,
                                                          _SHARED))

    def key(self, rows: tuple) -> int:
        """Worlds with the same key go on in the same ways."""
        hints = bytes(self.board.cells[:CELLS])
        counts = [self.board.cells[cell] for cell in (STOPPING, IDLE, COMING, SPARE)]  # not those for the display
        return hash((rows, tuple(counts), hints[8 * _HEADER:], tuple(worker.key() for worker in self.workers.values()),
                     self.runner and self.runner.key(), frozenset(self.mail), frozenset(self.interrupted), tuple(self.dead),
                     frozenset(self.stale), self.deaths, self.ended, self.commanded,
                     tuple(self.reader.execute(_PAST, {"now": self.now}))))

    def save(self) -> Saved:
        db = sqlite3.connect(":memory:")
        self.reader.backup(db)
        return Saved(db, bytes(self.board.cells[:CELLS]), [worker.copy() for worker in self.workers.values()],
                     self.runner and self.runner.copy(), frozenset(self.mail), frozenset(self.interrupted), tuple(self.dead),
                     tuple(self.stale), self.deaths, self.ended, self.now, self.commanded)

    def restore(self, saved: Saved) -> None:
        saved.db.backup(self.submitter.db.connection())
        self._set_board(saved.cells)
        self.workers = {worker.number: worker.copy() for worker in saved.workers}
        self.runner = saved.runner and saved.runner.copy()
        self.mail, self.interrupted = set(saved.mail), set(saved.interrupted)
        self.dead, self.stale = list(saved.dead), list(saved.stale)
        self.deaths, self.ended, self.now, self.commanded = saved.deaths, saved.ended, saved.now, saved.commanded

    def _set_board(self, cells: bytes) -> None:
        self.board.cells[:CELLS] = memoryview(cells).cast("q")

    # --- how it may go on ------------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """What may happen next, if nobody dies."""
        if self.ended:
            return []
        steps: list[Step] = [("command",)] * (self.commanded < 2 * len(self.program.commands))
        if self.runner is None:
            return [*steps, ("resume",)]
        if self.reader.execute(_IS_TO_COME, {"now": self.now}).fetchone()[0]:
            steps.append(("time passes",))
        if self.runner.todo or self.runner.is_awaited or self.dead:
            steps.append(("runner",))
        for number, worker in self.workers.items():
            if worker.phase not in ("rests", "parked") or number in self.mail or number in self.interrupted:
                steps.append(("worker", number))
            if worker.phase == "parked" and self._step_of_body(worker)[0] == "wait a while" and number not in self.interrupted:
                steps.append(("time out", number))
            if worker.phase == "parked" and self._step_of_body(worker)[0] in OUTSIDE and number not in self.interrupted \
                    and not worker.keeps_process:
                steps.append(("suspend", number))
            if worker.phase == "acts" and (worker.ended or worker.reserved or worker.pending):
                steps.append(("catch up", number))
            if worker.claim is not None and worker.claim.service in self.program.limited:
                steps.append(("limit", number))
        return steps

    def safety_nets(self) -> list[Step]:
        """What happens some time later though nobody was told anything."""
        if self.ended or self.runner is None:
            return []
        return [("tick",)] * (not self.runner.todo) + [
            ("look again", number) for number, worker in self.workers.items()
            if worker.phase in ("rests", "parked") and number not in self.mail]

    def deaths_now(self) -> list[Step]:
        if self.ended or self.runner is None:
            return []
        return [("kill all",), *(("kill", number) for number in self.workers), *[("kill command",)] * (self.commanded % 2)]

    def perform(self, step: Step, dies_at: int | None = None) -> None:
        """Do a step. dies_at: of the moments that it reaches, the one at which the worker is killed."""
        self.moments, self._dies_at = [], dies_at
        kind, number = step[0], step[1] if len(step) > 1 else None
        try:
            if kind == "runner":
                self._runner()
            elif kind == "resume":
                self._resume()
            elif kind == "tick":
                assert self.runner is not None
                self.runner.todo = [("look",), ("interrupt",)]
            elif kind == "kill all":
                self._kill_all()
            elif kind == "kill command":
                self.deaths, self.commanded = self.deaths + 1, self.commanded + 1
            elif kind == "command":
                self._command()
            elif kind == "time passes":
                assert self.runner is not None
                self.now += AGES_S
                self.runner.told_quiet = True  # it knew when to look again
            elif kind == "limit":
                self._reach_limit(self.workers[number])  # type: ignore[index]
            elif kind == "kill":
                self._kill(self.workers[number])  # type: ignore[index]
            else:
                self._worker(self.workers[number], kind)  # type: ignore[index]
        except Death:
            self._kill(self.workers[number])  # type: ignore[index]
        finally:
            self._dies_at = None

    # --- deaths ------------------------------------------------------------------------------------------------------------

    def _kill(self, worker: WorkerAt) -> None:
        self.deaths += 1
        self._gone(worker)
        self.dead.append(worker.number)

    def _gone(self, worker: WorkerAt) -> None:
        del self.workers[worker.number]
        self.mail.discard(worker.number)
        self.interrupted.discard(worker.number)
        if worker.claim is not None and worker.begun is None:
            self.stale.append(worker.claim)

    def _kill_all(self) -> None:
        self.deaths += 1
        for worker in list(self.workers.values()):
            self._gone(worker)
        self.runner, self.dead = None, []
        self._set_board(self._untouched)

    def _resume(self) -> None:
        """Take the run over, unless it has succeeded: then there is nothing to do."""
        if self.reader.execute("SELECT state FROM run").fetchone()[0] == "succeeded":
            self.ended = True
            return
        self.take_over()
        self.runner = RunnerAt()

    def take_over(self, digests: dict[str, tuple[str, str]] | None = None) -> TakeOver:
        return take_over(self._journal("resumer"), os.getpid(), "here", digests or {})

    # --- commands --------------------------------------------------------------------------------------------------------

    def _command(self) -> None:
        """Half of a command: it writes, and then wakes the runner."""
        number, is_written = divmod(self.commanded, 2)
        self.commanded += 1
        if is_written:
            if self.runner is not None:
                self.runner.told_quiet = True
            return
        if "command" not in self._journals:
            journal = Journal(self.directory, slots=0)
            journal._full, journal.clock = False, self._clock
            self._journals["command"] = journal.open()
        kind, what = self.program.commands[number]
        with contextlib.suppress(BadInput):  # it came too late
            if kind == "send":
                send(self._journals["command"], what, "1")
            else:
                cancel(self._journals["command"], what, "by li")

    # --- the runner ----------------------------------------------------------------------------------------------------

    def _reach_limit(self, worker: WorkerAt) -> None:
        assert worker.claim is not None

        def kill() -> None:
            self._gone(worker)
            self.dead.append(worker.number)

        expire(self._journal("runner", self.epoch), worker.claim.task, worker.claim.attempt, kill)

    def _runner(self) -> None:
        runner = self.runner
        assert runner is not None
        if not runner.todo:  # it wakes up
            runner.todo = [*(("reap", number) for number in self.dead), ("answer",)]
            runner.todo += [("look",)] * bool(self.dead)
        kind, *number = runner.todo.pop(0)
        journal = self._journal("runner", self.epoch)
        if kind == "reap":
            self.dead.remove(number[0])
            runner.revoking.pop(number[0], None)
            journal.lose(number[0], lambda deaths, unsure: encode_error(WorkerLost(deaths, "SIGKILL", unsure)),
                         present=self.board.attempt(number[0])[0])
        elif kind == "answer":
            forks, is_told_quiet = runner.forks, runner.told_quiet
            runner.forks, runner.told_quiet, runner.is_called = 0, False, False
            for _ in range(forks):
                self._fork()
            if is_told_quiet and ("look",) not in runner.todo:
                runner.todo.append(("look",))
            if ("look",) in runner.todo:
                runner.todo.append(("interrupt",))
            else:
                self._interrupt_revoked(runner)
        elif kind == "look":
            outlook = journal.look(list(self.workers), come_due)
            runner.is_quiet = outlook.is_quiet and not outlook.waits
            Runner._mark_revoked_from_outside(SimpleNamespace(  # type: ignore[arg-type]
                workers={number: number for number in self.workers}, board=self.board), journal)
        elif kind == "interrupt":
            self._interrupt_revoked(runner)
        elif kind == "finish":
            for worker in list(self.workers.values()):
                self._gone(worker)  # killed after the grace
            journal.finish()
            self.ended = True
            return
        if not runner.todo and runner.is_quiet and not runner.revoking:
            self.board.stop()
            for worker in list(self.workers.values()):
                if worker.phase in ("claims", "rests", "parked"):
                    self._gone(worker)
            runner.todo = [("finish",)]

    def _fork(self) -> None:
        number = next(n for n in range(PLACES) if self.board.status(n) == 0)
        self.board.forked(number)
        self.workers[number] = WorkerAt(number)

    def _interrupt_revoked(self, runner: RunnerAt) -> None:
        for number, worker in self.workers.items():
            revoked = self.board.revoked(number)
            if revoked == (0, 0):
                runner.revoking.pop(number, None)
            elif number not in runner.revoking:
                runner.revoking[number] = revoked
                if worker.claim is not None and (worker.claim.task, worker.claim.attempt) == revoked:
                    self.interrupted.add(number)
                if not worker.is_new:
                    self.mail.add(number)

    @property
    def epoch(self) -> int:
        return self.reader.execute("SELECT epoch FROM run").fetchone()[0]

    # --- a worker --------------------------------------------------------------------------------------------------------

    def _step_of_body(self, worker: WorkerAt) -> tuple:
        assert worker.claim is not None
        body = self.program.bodies.get(worker.claim.service, ())
        return body[worker.at] if worker.at < len(body) else ("return",)

    def _worker(self, worker: WorkerAt, kind: str) -> None:
        journal = self._journal(worker.number, self.epoch)
        self.mail.discard(worker.number)
        if kind == "look again":
            worker.phase = "claims" if worker.phase == "rests" else "looks"
        if worker.phase in ("rests", "claims"):
            if worker.phase == "rests" and self.board.stopping:
                self._gone(worker)
            else:
                worker.is_new = False
                self._begin(worker, journal, journal.claim(worker.number, 0, self._appetite()))
            return
        if kind == "catch up":
            self._help_out(worker, journal)
            return
        if worker.number in self.interrupted:
            self.interrupted.discard(worker.number)
            self._settle(worker, journal, LOST)
            return
        try:
            if kind == "time out":
                journal.end_wait(worker.claim, worker.waits)  # type: ignore[arg-type]
                worker.given_up |= set(worker.awaits)
                worker.phase, worker.at = "acts", worker.at + 1
            elif kind == "suspend":
                self._suspend(worker, journal)
            elif worker.phase in ("looks", "parked"):
                self._look(worker, journal)
            else:
                self._act(worker, journal)
        except (ClaimLost, Superseded):
            worker.phase, worker.raises = "acts", True
            self._settle(worker, journal, LOST)

    # What a worker has in hand: as `Batch`, with the steps of the clerk as "catch up".

    def _appetite(self) -> Appetite:
        if self.board.stopping:
            return NO_APPETITE
        return Appetite(self.program.batch, _Everything())

    def _hand_over(self, worker: WorkerAt, write: Callable[[Hand], bool | None]) -> bool | None:
        """Have all that is in hand journaled by ``write``."""
        assert worker.claim is not None
        enqueued = [Enqueued(chain, _never_asked) for chain in worker.pending]
        hand = Hand(worker.number, tuple(worker.ended), tuple(worker.reserved), worker.claim, worker.begun, enqueued)
        before = worker.ended, worker.reserved, worker.pending, worker.begun
        worker.ended, worker.reserved, worker.pending, worker.begun = [], [], [], None
        try:
            written = write(hand)
        except ClaimLost:
            worker.begun = hand.begun
            raise
        except SchedulingDeadlockException:
            worker.ended, worker.reserved, worker.pending, worker.begun = before
            raise
        worker.chains += [one.known() for one in enqueued]
        return written

    def _catch_up(self, worker: WorkerAt, journal: Journal) -> None:
        if worker.has_in_hand:
            self._hand_over(worker, journal.catch_up)

    def _help_out(self, worker: WorkerAt, journal: Journal) -> None:
        try:
            self._catch_up(worker, journal)
        except ClaimLost:
            assert worker.claim is not None
            self.board.mark_revoked(worker.number, worker.claim.task, worker.claim.attempt)
            self.interrupted.add(worker.number)

    def _begin(self, worker: WorkerAt, journal: Journal, claim: Claim | None) -> None:
        worker.begun, worker.pending = None, []
        if claim is not None and claim.reserved:
            worker.reserved = list(claim.reserved)
        worker.claim, worker.at, worker.chains, worker.given_up = claim, 0, [], frozenset()
        worker.awaits, worker.waits, worker.raises, worker.replay, worker.sleeps = [], 0, False, None, {}
        worker.phase = "rests" if claim is None else "acts"
        if claim is None:
            if self.board.stopping:
                self._gone(worker)
            return
        worker.replay = Replay(journal.recorded_calls(claim) if claim.attempt > 1 else [], strict=not claim.relaxed)
        notes = journal.notes(claim) if claim.attempt > 1 else {}
        worker.sleeps = {number: float(value) for (name, number), value in sorted(notes.items()) if name == "sleeps until"}

    def _suspend(self, worker: WorkerAt, journal: Journal) -> None:
        """Its process ends, if its task still waits; nobody died by that."""
        assert worker.claim is not None
        if suspend(journal, worker.claim, 0):
            self._gone(worker)
            self.dead.append(worker.number)
        else:
            worker.phase, worker.keeps_process = "looks", True

    def _wait_outside(self, worker: WorkerAt, journal: Journal, kind: str, what: Sequence[str]) -> None:
        assert worker.claim is not None
        due, event = None, None
        if kind == "sleep":
            if worker.at not in worker.sleeps:
                worker.sleeps[worker.at] = self.now + LATER_S
                journal.note(worker.claim, "sleeps until", worker.at, json.dumps(worker.sleeps[worker.at]))
                return
            due = worker.sleeps[worker.at]
        else:
            before = self.program.bodies[worker.claim.service][:worker.at]
            event = (what[0], 1 + before.count((kind, what[0])))  # type: ignore[attr-defined]
        worker.waits += 1
        if begin_wait(journal, worker.claim, worker.waits, due, event):
            worker.phase, worker.awaits, worker.keeps_process = "looks", [], False
        else:
            worker.at += 1

    def _look(self, worker: WorkerAt, journal: Journal) -> None:
        if journal.is_waiting(worker.claim, worker.waits):  # type: ignore[arg-type]
            worker.phase = "parked"
        else:
            self._go_on(worker)

    def _go_on(self, worker: WorkerAt) -> None:
        worker.phase = "acts"
        if self._step_of_body(worker)[0] == "return":
            worker.given_up |= set(worker.awaits)  # they have ended: nothing is left to wait for
        else:
            worker.at += 1

    def _act(self, worker: WorkerAt, journal: Journal) -> None:
        claim = worker.claim
        assert claim is not None and worker.replay is not None
        kind, *what = self._step_of_body(worker)
        if kind == "enqueue" and self.program.batch and not worker.replay.total:
            worker.pending.append(NewChain(what[0], new_tasks(self.program, what[0])))
            worker.at += 1
            if self.board.has_spare_slot:
                self._catch_up(worker, journal)
            return
        if kind not in ("wait", "wait for any", "wait a while", "return", "fail", "retry"):
            self._catch_up(worker, journal)
        if kind in ("enqueue", "either", "other"):
            services = what[0] if kind == "enqueue" else what[(claim.attempt + (kind == "other")) % 2]
            worker.chains.append(worker.replay.enqueue(
                services, may_hold=True,
                journal_chain=lambda held: journal.enqueue(claim, services, new_tasks(self.program, services), held),
                release=journal.release_held))
        elif kind == "enqueue once":
            key, services = what
            worker.chains.append(journal.enqueue(claim, services, new_tasks(self.program, services), once=ENQUEUED + key))
        elif kind in ("wait", "wait for any", "wait a while", "return"):
            self._wait(worker, journal, kind, what)
            return
        elif kind in OUTSIDE:
            self._wait_outside(worker, journal, kind, what)
            return
        elif kind in ("retry", "retry later") and not claim.retry:
            self._settle(worker, journal, Retry(RAISED.error, LATER_S if kind == "retry later" else 0.0))
            return
        elif kind == "revoke":
            journal.revoke_chain(worker.chains[what[0]][0])
        elif kind == "need":
            ends = [journal.chain_members(*worker.chains[which])[-1][2] for which in what or range(len(worker.chains))]
            worker.raises = any(state != "succeeded" for state in ends)
        elif kind == "show":
            journal.show(claim, [("shown", "text", json.dumps(claim.service), 0)])
        elif kind == "note":
            journal.note(claim, "now", 0, "1")
        elif kind == "fail":
            worker.raises = True
        worker.at += 1
        if worker.raises:
            self._settle(worker, journal, RAISED)

    def _wait(self, worker: WorkerAt, journal: Journal, kind: str, which: Sequence[int]) -> None:
        if kind == "return" and worker.pending:
            self._catch_up(worker, journal)
        tails: list[int | Enqueued]
        if kind == "return":  # a task ends after its children
            tails = [last for _, last in worker.chains if last not in worker.given_up]
        else:
            chosen = which or range(len(worker.chains) + len(worker.pending))
            tails = [worker.chains[number][1] for number in chosen if number < len(worker.chains)]
        if kind == "return" and not tails:
            self._settle(worker, journal, result_of(worker.claim.service))  # type: ignore[union-attr]
            return
        assert worker.replay is not None and worker.claim is not None
        if worker.replay.holds_any(tails):
            raise Broken("a program of the lab asks for other children than before")
        known, claim = len(worker.chains), worker.claim
        worker.waits += 1

        def block(hand: Hand) -> bool:
            new = [] if kind == "return" else [hand.enqueued[number - known] for number in chosen if number >= known]
            return journal.block(claim, [*tails, *new], worker.waits, kind == "wait for any", refuse_deadlock,
                                 hand if self.program.batch else None)

        try:
            is_blocked = self._hand_over(worker, block)
            worker.awaits = tails if kind == "return" else [worker.chains[number][1] for number in chosen]  # type: ignore
        except SchedulingDeadlockException:
            self._settle(worker, journal, RAISED)
            return
        if is_blocked:
            worker.phase = "looks"
        else:
            self._go_on(worker)

    def _settle(self, worker: WorkerAt, journal: Journal, outcome: Success | Failure | Retry) -> None:
        assert worker.claim is not None and worker.replay is not None
        if outcome is not LOST and worker.replay.must_stop():
            raise Broken("a program of the lab leaves out children that it asked for before")
        if worker.pending:
            with contextlib.suppress(ClaimLost):
                self._catch_up(worker, journal)
        is_parent = bool(worker.chains or worker.replay.total)
        worker.ended.append(Ended(worker.claim, outcome, 0, is_parent, UNKNOWN, worker.begun, worker.begun and self.now))
        self.interrupted.discard(worker.number)
        if worker.reserved and not self.board.withdrawn(worker.number) and not self.board.stopping:
            claim: Claim | None = worker.reserved.pop(0)
            assert claim is not None
            self.board.began(worker.number, claim.task, claim.attempt)
            self._begin(worker, journal, claim)
            worker.begun = Begun(self.now, 0)
            return
        ended, left = worker.ended, worker.reserved
        worker.ended, worker.reserved = [], []
        claim = journal.settle_all(ended, worker.number, 0, True, left, self._appetite())
        self._begin(worker, journal, claim)

    # --- those who come too late -------------------------------------------------------------------------------------------

    def write_with_stale_claims(self) -> None:
        """Let everybody who died write once more: nothing may change. Raises Broken if something does."""
        epoch = self.epoch
        for claim in {claim for claim in self.stale if not self._is_under_way(claim)}:
            if claim.epoch < epoch:
                for name, write in _writes(self._journal("late", claim.epoch), claim):
                    self._expect_nothing(f"{name} of epoch {claim.epoch}", write)
            late = self._journal("late")
            for name, write in _writes(late, claim):
                if name in _FENCED:
                    self._expect_nothing(f"{name} by attempt {claim.attempt} at task {claim.task}", write)

    def _is_under_way(self, claim: Claim) -> bool:
        return (claim.task, claim.attempt, claim.epoch) in self.reader.execute(
            "SELECT id, attempt, epoch FROM task WHERE state IN ('running', 'blocked') AND worker IS NOT NULL").fetchall()

    def _expect_nothing(self, what: str, write: Callable[[], object]) -> None:
        before, board = self._version(), bytes(self.board.cells[:CELLS])
        was_stopping, self.board.cells[STOPPING] = self.board.cells[STOPPING], 1  # it claims nothing for itself
        try:
            write()
        except (ClaimLost, Superseded):
            pass
        finally:
            self.board.cells[STOPPING] = was_stopping
        if self._version() != before:
            raise Broken(f"{what}, which came too late, changed the journal")
        self._set_board(board)

    def _version(self) -> int:
        """A number that changes with every change by another connection."""
        return self.reader.execute("PRAGMA data_version").fetchone()[0]


def _writes(journal: Journal, claim: Claim) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that a process could write on behalf of a claim."""
    worker = 0
    yield "settle", lambda: journal.settle(claim, result_of(claim.service), worker, 0, is_parent=True)
    yield "settle of a failure", lambda: journal.settle(claim, RAISED, worker, 0, is_parent=True)
    yield "enqueue", lambda: journal.enqueue(claim, "late", [NewTask("late", "{}", 3, ABOUT, "late")])
    yield "block", lambda: journal.block(claim, [claim.last], 1)
    yield "show", lambda: journal.show(claim, [("late", "text", '"late"', 0)])
    yield "note", lambda: journal.note(claim, "late", 0, "1")
    yield "settle of a retry", lambda: journal.settle(claim, Retry(RAISED.error, 0.0), worker, 0, is_parent=True)
    yield "begin wait", lambda: begin_wait(journal, claim, 1, None, ("late", 1))
    yield "suspend", lambda: suspend(journal, claim, 0)
    yield "stop", lambda: journal.stop(claim, "{}", worker, 0)
    yield "end_wait", lambda: journal.end_wait(claim, 1)
    yield "revoke_chain", lambda: journal.revoke_chain(claim.chain)
    yield "release_held", lambda: journal.release_held([claim.task])
    yield "claim", lambda: journal.claim(worker, 0)
    yield "lose", lambda: journal.lose(worker, lambda deaths, unsure: encode_error(WorkerLost(deaths, "SIGKILL", unsure)))
    yield "finish", lambda: journal.finish()


_FENCED = {"settle", "settle of a failure", "settle of a retry", "enqueue", "block", "begin wait", "suspend", "show", "note",
           "stop"}


def make_directory(folder: Path) -> RunDirectory:
    """The files of a new run below ``folder``."""
    run = RunDirectory(folder / FIREX_ID)
    for path in (run.path, run.logs, run.blobs):
        path.mkdir()
    for file in (run.journal, run.alive_lock, run.write_lock):
        file.touch()
    return run


@contextlib.contextmanager
def faults_reach(reached: Callable[..., None]) -> Iterator[None]:
    """Have the journal's moments told to a function."""
    before, faults.reach = faults.reach, reached
    try:
        yield
    finally:
        faults.reach = before


def endings_of(rows: tuple, is_loose: bool = False) -> tuple:
    """What came of each task, by its path: comparable between runs of the same program. is_loose: of submitted tasks only."""
    tasks = {row[_ID]: row for row in rows[1]}
    paths: dict[int, tuple] = {}
    seen: dict[tuple, int] = {}
    for number, row in tasks.items():
        parent, retry, chain, digest, is_aside, is_shared = row[1], row[2], row[3], row[6], row[18], row[23]
        if number == chain:
            place = ("shared", digest) if is_shared else (paths.get(parent, ()), retry, digest, is_aside)
            seen[place] = seen.get(place, -1) + 1
            paths[number] = (*place, seen[place], 0)
        else:
            paths[number] = (*paths[chain][:-1], number - chain)
    told = [number for number, row in tasks.items() if row[1] is None or not is_loose]
    ends = [(paths[number], tasks[number][5], tasks[number][_STATE], tasks[number][19] or "") for number in told]
    return rows[0][0][0], tuple(sorted(ends, key=repr))
