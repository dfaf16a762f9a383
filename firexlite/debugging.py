"""One task of a run once more, in this process: its body really runs, what it asks the run is answered from the journal.

Nothing is written to the run. As in a replay the body gets the children that it enqueued before, now with their final states
and results; the values of `firexlite.now()` and its like; and what its waits gave. What the journal has no answer for ends it.
"""
from __future__ import annotations

import bdb
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, cast

from . import once, pickled, recorded, uid
from .application import Service, app, file_digest
from .attempt import RAN_OUT, Attempt
from .binding import as_argument
from .bogs import bind_for_display
from .claims import Claim, Recorded, Success
from .codec import decode, display, display_error, encode_error, encode_named
from .codec_errors import is_firexlite, is_machinery
from .debuggers import Debugger, Quit
from .errors import BadInput, NotReadable, SecretUnavailable, nearest
from .errors import Retry as AskedToRetry
from .flow import ChainFlow
from .history import AttemptRecord, History, RunRecord, TaskRecord
from .home import home
from .journal import Journal
from .launch import changed_files, found_before, refuse_strange_pickles
from .loggers import capture_records
from .logs import flush_output
from .pickled import pickles
from .plugins import load
from .promises import WaitLoopCallBack, last_of
from .replay import Replay, ReplayStopped, told_of
from .secrets import masked, vault
from .showing import Row
from .signatures import Chain
from .stopped import CALLS, lines_of_calls
from .submission import beside, new_tasks, plugins_of
from .task_names import task_named
from .worker import Worker

SHOWN = 10  # tasks, in a sentence

_CLAIM = """SELECT id, attempt, epoch, service, arguments, parent, chain, last, depth, retry, relaxed, on_interrupt, redoes,
    options FROM task WHERE id = ?"""
_CALLS = """SELECT id, last, digest FROM task WHERE parent = ? AND parent_retry = ? AND digest IS NOT NULL AND NOT shared
    ORDER BY aside, id"""
# A chain stands as the task of it that kept it from succeeding, else as its last.
_ENDS = """SELECT state, count(*) FROM (SELECT head.id AS id, coalesce(
    (SELECT state FROM task WHERE id BETWEEN head.id AND head.last AND state IN ('failed', 'revoked') ORDER BY id LIMIT 1),
    (SELECT state FROM task WHERE id = head.last)) AS state
    FROM task AS head WHERE parent = ? AND parent_retry = ? AND digest IS NOT NULL AND NOT shared)
    GROUP BY state ORDER BY min(id)"""
_SHARED = "SELECT chain, last FROM once JOIN task ON task.id = once.task WHERE key = ?"


# --- which task --------------------------------------------------------------------------------------------------

def task_asked_for(history: History, asked: str | None) -> TaskRecord:
    """The task that a person means by its number, its uuid, or the name of its service; None: the one that failed.

    Raises BadInput if there is none, or no single one.
    """
    if asked is None:
        firex_id, causes = history.directory.firex_id, history.root_cause_numbers()
        if len(causes) != 1:
            shown = f" (tasks {', '.join(map(str, causes[:SHOWN]))})" if causes else ""
            raise BadInput(f"{firex_id} has {len(causes) or 'no'} tasks at which it failed{shown}; name the one to run again: "
                           f"firexlite debug {firex_id} TASK")
    [task] = history.tasks_between(*[causes[0] if asked is None else task_named(history, asked)] * 2)
    return task


def strange_plugins(run: RunRecord) -> dict[str, bool]:
    """The plugins that another person chose for an imported run, ``{path: whether it is as the run had it}``, as they lie
    below this folder; empty if one of them is not there, or there are none."""
    foreign = [plugin for plugin in run.options["plugins"] if plugin.get("foreign")]
    found = {path: file_digest(path) == plugin["digest"] for plugin in foreign
             if os.path.isfile(path := beside(plugin["path"]))}
    return found if len(found) == len(foreign) else {}


# --- what is to be run again -------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Told:
    """How an attempt at the body ended. error: as codec.display_error; result: by name, in display form. Else both are None.

    outcome: of those of an attempt in the journal; None: it goes on.
    """

    outcome: str | None
    error: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True)
class Ended:
    """How the body ended here. lines: why it could not go on, if the journal had no answer; was_quit: by the debugger.

    unasked: how many recorded children it left out. traceback: as text, without firexlite's own frames above the body.
    """

    told: Told
    lines: tuple[str, ...] = ()
    was_quit: bool = False
    unasked: int = 0
    traceback: str = ""

    @property
    def exit_code(self) -> int:
        """0: the body returned; 1: it raised, or was left; 5: the journal had no answer."""
        return 5 if self.lines else int(self.told.outcome != "succeeded")


class Again:
    """A task that is to be run again; its services are imported."""

    def __init__(self, history: History, task: TaskRecord, plugins: list[str] | None, twice: bool = False,
                 given: Mapping[str, object] | None = None) -> None:
        """plugins: to load in place of those that the run recorded. twice: also if it is said not to run twice by itself.
        given: arguments that take the place of recorded ones.

        Raises BadInput for a task that cannot be run again, and as `plugins.load`.
        """
        self.history, self.task, self.directory = history, task, history.directory
        self.run_record = history.run()
        self._refuse_what_never_ran()
        self.claim = self._claim(twice)
        self.attempt: AttemptRecord = history.attempts(task.num)[-1]
        names = plugins_of(self.run_record, "debug", f" {task.num}") if plugins is None else plugins
        _know_secrets(self.run_record)
        _may_load_pickles(history, self.run_record)
        uid.be_in(self.directory.path)
        loaded = load(names, found=found_before(self.run_record))
        self.changed = changed_files(self.run_record, loaded)
        if task.service not in app:
            module, _, name = task.service.rpartition(".")
            files = ", ".join(plugin.path for plugin in loaded) or "firexlite itself"
            raise BadInput(f"task {task.num} is one of {name} of {module}.py, which {files} does not have; pass its file "
                           f"with --plugins: firexlite debug {self.directory.firex_id} {task.num} --plugins FILES")
        self.service = app.service(task.service)
        self._records = Records(history)
        self._refuse_unreadable()
        self._given = given or {}
        if given:
            self._take(given)

    def _take(self, given: Mapping[str, object]) -> None:
        """Have other arguments than the recorded ones. Raises BadInput for those that the service does not take."""
        for name in given:
            if not self.service.parameters.accepts(name):
                raise BadInput(f"{self.name} takes no argument '{name}'.{nearest(name, self.service.parameters.names)}")
        own = {**decode(self.directory.unspill(self.claim.arguments)), **given}
        written = encode_named({name: as_argument(value) for name, value in own.items()}, f"arguments of {self.name}: ")
        self.claim = self.claim._replace(arguments=written)

    def _refuse_what_never_ran(self) -> None:
        task = self.task
        if task.cached_from is not None:
            raise BadInput(f"task {task.num} took over the result of task {task.cached_from}, so its body never ran; run that "
                           f"one again: firexlite debug {self.directory.firex_id} {task.cached_from}")
        if not task.attempt:
            raise BadInput(f"task {task.num} of {self.directory.firex_id} has not begun, so there is nothing to run again")

    def _claim(self, twice: bool) -> Claim:
        [row] = self.history.execute(_CLAIM, self.task.num)
        claim = Claim(*row)
        if claim.on_interrupt != "retry" and not twice:
            raise BadInput(f"task {claim.task} is not to run twice by itself (on_interrupt='{claim.on_interrupt}'), and here "
                           f"its body would really run; if that does no harm: firexlite debug {self.directory.firex_id} "
                           f"{claim.task} --twice")
        if self.history.attempts(claim.task)[-1].outcome == "retried":
            claim = claim._replace(retry=max(0, claim.retry - 1))  # counted on for the next one, which has not begun
        return claim

    def _refuse_unreadable(self) -> None:
        try:
            decode(self.directory.unspill(self.claim.arguments))
            self._records.flow_before(self.claim)
        except NotReadable as error:
            raise BadInput(f"task {self.task.num} cannot be run again here: {error}") from error

    @property
    def name(self) -> str:
        return self.service.short_name

    @property
    def recorded(self) -> Told:
        """How the last attempt ended, as the journal has it."""
        attempt = self.attempt
        if attempt.outcome == "succeeded":
            return Told("succeeded", result=display(self.task.result or "{}"))
        return Told(attempt.outcome, display_error(self.directory.unspill(attempt.error)) if attempt.error else None)

    def arguments(self) -> dict[str, Any]:
        """What reached the task, in display form."""
        known = self.history.services.get(self.task.service)
        before = self.history.tasks_between(self.task.chain, self.task.num - 1) if self.task.position else ()
        bog = self.history.bog_of(self.task, before) if known else None
        if bog is None and known:
            bog = bind_for_display(known, self.task, {})
        return {**(bog.bound_args if bog else {}), **self._given}

    def children(self) -> dict[str, int]:
        """``{state: number of chains}`` of those from which the body is answered."""
        return dict(self.history.execute(_ENDS, self.claim.task, self.claim.retry))

    def run(self, debugger: Debugger, cut: Callable[[str], str]) -> Ended:
        """Run the body; whatever it raises is told, and shown to the debugger.

        cut: makes a line of someone else's text fit to be shown. Raises KeyboardInterrupt for a Ctrl-C without a debugger.
        """
        capture_records()
        vault.begin_attempt()
        rerun = _Rerun(self, debugger)
        recorded.running = rerun
        try:
            success = rerun.play()
            if rerun.unanswered is not None:  # in another thread of the body, or it went on all the same
                return self._unanswered(rerun, rerun.unanswered, cut)
            return Ended(Told("succeeded", result=display(success.result)), unasked=len(rerun.left()))
        except (Quit, bdb.BdbQuit):  # the latter of a `breakpoint()` in the body
            return Ended(Told(None), was_quit=True)
        except Unanswered as stop:
            debugger.raised(_below_machinery(stop, self.service))
            return self._unanswered(rerun, stop, cut)
        except KeyboardInterrupt as error:
            if not debugger.is_wanted:
                raise
            return self._raised(rerun, error, debugger)
        except BaseException as error:  # a stranger's code
            return self._raised(rerun, error, debugger)
        finally:
            recorded.running = None
            flush_output()

    def _raised(self, rerun: _Rerun, error: BaseException, debugger: Debugger) -> Ended:
        if isinstance(error, AskedToRetry) and error.exc is not None:
            told = Told("retried", display_error(encode_error(error.exc)))
        else:
            told = Told("retried" if isinstance(error, AskedToRetry) else "failed", display_error(encode_error(error)))
        error = _below_machinery(error, self.service)
        text = masked(_in_words(error))
        debugger.raised(error, text)
        return Ended(told, unasked=len(rerun.left()), traceback="" if debugger.is_wanted else text)

    def _unanswered(self, rerun: _Rerun, stop: Unanswered, cut: Callable[[str], str]) -> Ended:
        where = f" ({stop.at})" if stop.at else ""
        lines = [f"{self.name} (task {self.task.num}) {stop.sentence}{where}."]
        if stop.call is not None:
            left = [told_of(self._records, call.head, call.last) for call in rerun.left()]
            twin = next((chain for chain in left if [c["service"] for c in chain] == [c["service"] for c in stop.call]), None)
            lines += lines_of_calls(self.history, [twin] if twin else [], [stop.call], cut)
            others = [chain for chain in left if chain is not twin]
            lines += [cut(f"  recorded and not asked for yet: task {chain[0]['num']}, {_words(chain)}")
                      for chain in others[:CALLS]]
            if len(others) > CALLS:
                lines.append(f"  ... {len(others) - CALLS} more: recorded and not asked for yet")
            if self.changed:
                lines.append(cut(f"  Changed since the run began: {', '.join(self.changed)}."))
        return Ended(Told(None), tuple(lines))


def _words(chain: Sequence[dict[str, Any]]) -> str:
    return " | ".join(call["service"].rpartition(".")[2] for call in chain)


def _know_secrets(run: RunRecord) -> None:
    """Read those of the run's secrets that are to be had here; that the task needs another one is told when it does."""
    there = []
    for reference in run.options.get("secrets", ()):
        with suppress(SecretUnavailable):
            vault.value(reference)
            there.append(reference)
    vault.begin_run(there)


def _may_load_pickles(history: History, run: RunRecord) -> None:
    """Load what workers of the run would load. Makes no key. Raises BadInput for what was pickled with another one."""
    if not (sealed := run.options.get("pickle")):
        return
    if os.path.lexists(home() / pickled.KEY_FILE):
        pickles.begin_run(run.firex_id)
        pickles.may_load = True
    if not pickles.wanted or pickles.fingerprint() != sealed:
        refuse_strange_pickles(history, "cannot be debugged")


# --- running it --------------------------------------------------------------------------------------------------

class Unanswered(ReplayStopped):
    """The body asks the run for something that is not in its journal. call: for this chain, as `replay.told_of`."""

    def __init__(self, sentence: str, call: Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.call = sentence, call
        self.at = ""  # file and line of the body


class Records(Journal):
    """The journal as a body that runs again has it: it is asked as a Journal is, and cannot be written."""

    def __init__(self, history: History) -> None:
        self.directory, self._history = history.directory, history

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        return self._history.execute(sql, *parameters)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        yield

    def transaction(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("a task that is debugged writes nothing")

    def recorded_calls(self, claim: Claim) -> list[Recorded]:
        """As a replay has them, and after them those that were set aside."""
        return [Recorded(head, last, digest, held=False)
                for head, last, digest in self.execute(_CALLS, claim.task, claim.retry)]

    def shared_chain(self, key: str) -> tuple[int, int] | None:
        """The chain that was enqueued once under a key."""
        return next(iter(self.execute(_SHARED, once.ENQUEUED + key)), None)

    def flow_before(self, claim: Claim) -> dict[str, object]:
        """What flows to a task from those before it in its chain."""
        num = claim.redoes or claim.task
        return ChainFlow(chain).before(num, self) if (chain := self.chain_of(num)) < num else {}


class _Seat:
    """Where an attempt sits that no worker has claimed."""

    def __init__(self, records: Records, number: int) -> None:
        self.journal, self.directory, self.number = records, records.directory, number
        self.flow_before = records.flow_before


class _Rerun(Attempt):
    """An attempt whose engine answers from the journal, and notes nothing there."""

    def __init__(self, again: Again, debugger: Debugger) -> None:
        self._records = again._records
        super().__init__(cast(Worker, _Seat(self._records, again.attempt.worker)), again.claim)
        self._replay = Replay(self._records.recorded_calls(again.claim), strict=True)
        self._noted = self._records.notes(again.claim)
        self._service, self._debugger = again.service, debugger
        self.unanswered: Unanswered | None = None

    @property
    def journal(self) -> Journal:
        return self._records

    def play(self) -> Success:
        return self._call(self._debugger.prepared(self._service))

    def left(self) -> list[Recorded]:
        """The recorded children that the body has not asked for."""
        return self._replay.left()

    def _stop(self, sentence: str, call: Sequence[dict[str, Any]] | None = None) -> NoReturn:
        stop = Unanswered(sentence, call)
        stop.at = _line_of_the_body()
        self.unanswered = self.unanswered or stop
        raise stop

    def enqueue(self, chain: Chain, key: str | None = None, is_awaited: bool = False) -> tuple[int, int]:
        members, digest = new_tasks(chain)

        def refuse(held: bool) -> NoReturn:
            call = [{"service": member.service, "num": None, "arguments": display(member.arguments)} for member in members]
            self._stop("asks for a child that is not in the journal, so nothing can answer it", call)

        place = self._records.shared_chain(key) if key is not None else self._replay.enqueue(
            digest, may_hold=False, journal_chain=refuse, release=lambda heads: None)
        if place is None:
            refuse(held=False)
        self._chains.append(place)
        return place

    def wait(self, tails: Iterable[Any], any_is_enough: bool, max_wait_s: float | None,
             callbacks: Iterable[WaitLoopCallBack] = ()) -> bool:
        lasts = [last_of(tail) for tail in tails]
        if max_wait_s is not None and (RAN_OUT, self._number_of(RAN_OUT)) in self._noted:
            self._given_up.update(() if any_is_enough else lasts)
            return False
        ended = self.ended(lasts)
        if not (ended if any_is_enough else len(ended) == len(set(lasts))) and lasts:
            num = next(last for last in lasts if last not in ended)
            [(service, state)] = self._records.execute("SELECT service, state FROM task WHERE id = ?", num)
            name = service.rpartition(".")[2]
            self._stop(f"waits for {name} (task {num}), which has not ended: in the journal it is {state}")
        return True

    def _wait_outside(self, due: float | None, event: tuple[str, int] | None) -> None:
        if event is not None:
            self._stop(f"waits for an event '{event[0]}' that is not in the journal")

    def _noted_as(self, name: str, number: int, make: Callable[[], object]) -> Any:
        text = self._noted.get((name, number))
        return make() if text is None else decode(text)

    def _cached(self, service: Service, bog: object) -> None:
        """It computes the result itself, as it did."""

    def show(self, rows: list[Row]) -> None:
        """What it shows of itself is in the journal already."""

    def tell_command(self, number: int, about: dict[str, Any]) -> None:
        """So are its commands."""

    def revoke(self, head: int) -> None:
        """What it revoked is revoked."""


def _line_of_the_body() -> str:
    """`file:line` of the innermost frame that is not firexlite's own."""
    frame = sys._getframe()
    while frame is not None and is_machinery(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""


def _in_words(error: BaseException) -> str:
    """The traceback of an error and its causes, without steps of firexlite's where there are others."""
    whole: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    link = whole
    while link is not None:
        link.stack[:] = [step for step in link.stack if not is_firexlite(step.filename)] or link.stack
        link = link.__cause__ or link.__context__
    return "".join(whole.format())  # type: ignore[union-attr]


def _below_machinery(error: BaseException, service: Service) -> BaseException:
    """The error with a traceback that begins in the body; one that never got there keeps all of it."""
    body, step = service.undecorated.__code__, error.__traceback__
    while step is not None and step.tb_frame.f_code is not body and is_machinery(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    if step is not None:
        error.__traceback__ = cast(TracebackType, step)
    return error

