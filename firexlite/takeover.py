"""Taking over a run: what was in flight is ready again, of a run that did not succeed what failed is reopened, and what a
person decided about single tasks is carried out."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .codec import encode_error, encode_named
from .errors import BadInput, WorkerLost
from .journal import ASK, KNOWN_SERVICE, Journal
from .journal_file import patient
from .results import DYNAMIC_RETURN
from .schema import counts_by_state
from .states import REDO, RUN_RUNNING
from .waiting import forget_what_was_given_up

INCARNATION_DEATHS = 10  # of all processes of a run in a row, without one success, that a task in flight survives
_UNSUCCESSFUL = ("failed", "skipped", "revoked")
_SUSPENDED = "state = 'blocked' AND worker IS NULL"  # it waits without a process, and goes on waiting


@dataclass(frozen=True)
class Decisions:
    """What a person decided, to be carried out by a take-over.

    accept_new: parents that were interrupted may ask for other children than before. restart: tasks to run afresh.
    done: ``{task: what it returned, by name}``. redo: tasks that succeeded and run once more, in this order and before
    anything else, for the files they make.
    """

    accept_new: bool = False
    restart: Sequence[int] = ()
    done: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    redo: Sequence[int] = ()


AS_BEFORE = Decisions()


@dataclass(frozen=True)
class TakeOver:
    """What a new incarnation found: its epoch, how many tasks run again, are reopened, or are done, and whose code changed."""

    epoch: int
    interrupted: int
    reopened: int
    counts: dict[str, int]
    changed: Sequence[str] = ()

    @property
    def succeeded(self) -> int:
        return self.counts.get("succeeded", 0)


@patient
def take_over(journal: Journal, pid: int, host: str, digests: Mapping[str, tuple[str, str]],
              decisions: Decisions = AS_BEFORE, about: Mapping[str, object] | None = None,
              plugins: Sequence[Mapping[str, object]] | None = None, pickle: str | None = None,
              sinks: Sequence[str] = ()) -> TakeOver:
    """Begin a new incarnation: what was in flight is ready again, and of a run that did not succeed, what failed.

    digests: ``{service: (about, digest of its code)}`` as loaded now. about: versions, ``{"python": "3.11.7"}``, and the
        ``files`` that changed. plugins: ``[{path, digest}]``, those to load from now on, if others than before.
    pickle: the fingerprint of the key with which values are pickled from now on, if they are. sinks: more of them.
    Raises BadInput for a decision that does not fit; then nothing has changed.
    """
    with journal.transaction(durable=True, operation="take over") as now:
        epoch = journal.epoch() + 1
        killed = _incarnations_killed_in_a_row(journal)
        journal.execute("UPDATE run SET epoch = ?, state = ?, ended = NULL", epoch, RUN_RUNNING)
        journal.execute(f"DELETE FROM awaited WHERE waiter NOT IN (SELECT id FROM task WHERE {_SUSPENDED})")
        journal.execute("UPDATE task SET stopped = NULL WHERE stopped IS NOT NULL AND NOT unsure")
        journal.execute("UPDATE task SET reserved = NULL WHERE reserved IS NOT NULL")
        lost = _give_back(journal, now, killed)
        changed = _note_changed_services(journal, digests)
        journal.execute("INSERT INTO incarnation (epoch, pid, host, started, about) VALUES (?, ?, ?, ?, ?)",
                        epoch, pid, host, now, json.dumps({**(about or {}), "changed": changed}))
        if plugins is not None:
            journal.execute("UPDATE run SET options = json_set(options, '$.plugins', json(?))", json.dumps(plugins))
        _limit_queues(journal)
        if pickle is not None:
            journal.execute("UPDATE run SET options = json_set(options, '$.pickle', ?)", pickle)
        if sinks:
            _record_sinks(journal, sinks)
        _set_aside_old_redos(journal, now)
        decided = _carry_out(journal, now, decisions)
        _let_ask_for_other_files(journal)
        reopened = _reopen(journal, now, changed, decided)
        forget_what_was_given_up(journal)
        if decisions.redo:
            _redo(journal, now, decisions.redo)
        [(again,)] = journal.execute("SELECT count(*) FROM task WHERE id IN (SELECT value FROM json_each(?)) "
                                     "AND state = 'ready' AND stopped IS NULL", json.dumps(lost))
        return TakeOver(epoch, again, reopened, counts_by_state(journal.execute), changed)


def _record_sinks(journal: Journal, sinks: Sequence[str]) -> None:
    """Have a later resume send events there, too."""
    [(recorded,)] = journal.execute("SELECT json_extract(options, '$.sinks') FROM run")
    every = [*dict.fromkeys([*json.loads(recorded or "[]"), *sinks])]
    journal.execute("UPDATE run SET options = json_set(options, '$.sinks', json(?))", json.dumps(every))


def _incarnations_killed_in_a_row(journal: Journal) -> int:
    """How many incarnations, up to the last one, were killed without a success of a task in between."""
    [(succeeded_in,)] = journal.execute("SELECT coalesce(max(epoch), 1) FROM attempt WHERE outcome = 'succeeded'")
    [(ended,)] = journal.execute("SELECT coalesce(max(epoch), 0) FROM incarnation WHERE how IS NOT NULL")
    [(killed,)] = journal.execute("SELECT count(*) FROM incarnation WHERE epoch > ? AND epoch >= ?", ended, succeeded_in)
    return killed


def _give_back(journal: Journal, now: float, killed: int) -> list[int]:
    """Give back what was in flight; returns what goes on. Deaths of all processes are not counted with those of workers."""
    how = "the end of all processes of the run" + (f", {killed} times in a row without a success" if killed > 1 else "")
    going_on = []
    for task, deaths, on_interrupt in journal.execute(
            f"SELECT id, deaths, on_interrupt FROM task WHERE state IN ('running', 'blocked') AND NOT ({_SUSPENDED}) "
            "ORDER BY depth DESC, id"):
        found = journal.execute("SELECT state FROM task WHERE id = ? AND state IN ('running', 'blocked')", task)
        if not found:
            continue  # revoked with a parent that failed
        unsure = on_interrupt != "retry"
        spent = found == [("running",)] and killed >= INCARNATION_DEATHS
        fails = on_interrupt == "fail" or (on_interrupt == "retry" and spent)
        error = encode_error(WorkerLost(max(killed, 1), how, unsure)) if unsure or fails else None
        journal.give_back(now, task, deaths, error, unsure, fails)
        if not fails:
            going_on.append(task)
    return going_on


def _note_changed_services(journal: Journal, digests: Mapping[str, tuple[str, str]]) -> list[str]:
    """Record the code that is loaded now; parents whose code changed may take another path in their replay."""
    changed = [name for name, digest in journal.execute("SELECT name, digest FROM service")
               if name in digests and digests[name][1] != digest]
    for name in changed:
        journal.execute(KNOWN_SERVICE, name, *digests[name])
        journal.execute(f"UPDATE task SET relaxed = 1 WHERE service = ? AND (state = 'ready' OR {_SUSPENDED})", name)
    return changed


def _limit_queues(journal: Journal) -> None:
    """Have open tasks counted in the queues that have a limit from now on, and in no others."""
    queues = json.dumps(list(journal.queues))
    journal.execute("UPDATE task SET limited = CASE WHEN queue IN (SELECT value FROM json_each(?)) THEN queue ELSE '' END "
                    "WHERE queue IS NOT NULL AND state <> 'succeeded'", queues)


def _reopen(journal: Journal, now: float, changed: Sequence[str], decided: Sequence[int]) -> int:
    """Reopen what failed in the submitted chain, and from there downwards; returns how many tasks were reopened.

    Below a parent that was merely interrupted a failure stands, unless the code of a failed service changed.
    decided: tasks that were reopened by what a person decided; it goes on below them as well.
    """
    chains = {chain for (chain,) in journal.execute(
        "SELECT DISTINCT chain FROM task WHERE parent IS NULL AND NOT aside AND state IN ('failed', 'skipped', 'revoked')")}
    chains |= _corrected_chains(journal, changed)
    reopened, tasks = 0, list(decided)
    while chains or tasks:
        tasks += [task for chain in chains for task in _reopen_chain(journal, now, chain)]
        reopened += len(tasks)
        chains = {chain for (chain,) in journal.execute(
            "SELECT DISTINCT child.chain FROM task AS child JOIN task AS above ON above.id = child.parent "
            "WHERE child.parent IN (SELECT value FROM json_each(?)) AND child.parent_retry = above.retry "
            "AND NOT child.aside AND NOT child.shared AND child.state IN ('failed', 'skipped', 'revoked') "
            "UNION SELECT shared.chain FROM attached JOIN task AS shared ON shared.chain = attached.chain "
            "WHERE attached.parent IN (SELECT value FROM json_each(?)) AND shared.state IN ('failed', 'skipped', 'revoked') "
            "AND shared.chain IN (SELECT task FROM once)",  # else it was enqueued anew since, and is not asked for again
            json.dumps(tasks), json.dumps(tasks))}
        tasks = []
    return reopened


def _reopen_chain(journal: Journal, now: float, chain: int, decided: int | None = None) -> list[int]:
    """Reopen what of a chain did not succeed: the first of it is ready, the rest waits for it. Returns these tasks.

    Nothing from a task on that may have done its work and is not to run again by itself, or that failed just now, of one
    death too many; unless it is the one about which a person decided. One that a person is to be asked about waits for that.
    """
    reopened = []
    target = "ready"
    for task, state, on_interrupt, unsure, failed_now in journal.execute(
            "SELECT id, state, on_interrupt, unsure, state = 'failed' AND moved = ? FROM task "
            "WHERE id BETWEEN ? AND (SELECT last FROM task WHERE id = ?) ORDER BY id", now, chain, chain):
        if state == "succeeded":
            continue
        asks = unsure and state == "revoked" and on_interrupt == "ask"
        if state in _UNSUCCESSFUL and (unsure or failed_now) and task != decided and not asks:
            break
        if state in _UNSUCCESSFUL:
            journal.execute("UPDATE task SET state = ?, move = 'reopen', moved = ?, deaths = 0, relaxed = 1, stopped = ?, "
                            "reason = NULL WHERE id = ?", target, now, ASK if asks else None, task)
            reopened.append(task)
        target = "waiting"
    return reopened


def _corrected_chains(journal: Journal, changed: Sequence[str]) -> set[int]:
    """Chains below an interrupted parent that failed in code which has changed since; that parent may take another path."""
    chains = set()
    for task, in journal.execute("SELECT id FROM task WHERE state = 'failed' AND NOT aside "
                                 "AND service IN (SELECT value FROM json_each(?))", json.dumps(changed)):
        state = "failed"
        while state == "failed":  # up through those that failed because of it
            [(chain, parent, aside, retry)] = journal.execute("SELECT chain, parent, aside, parent_retry FROM task "
                                                              "WHERE id = ?", task)
            above = journal.execute("SELECT id, state FROM task WHERE id = ? AND retry = ?", parent, retry)
            if aside or not above:  # of an earlier try nobody asks for it
                break
            [(task, state)] = above
        if state in ("ready", "blocked"):  # what is blocked now waits without a process, and is replayed too
            journal.execute("UPDATE task SET relaxed = 1 WHERE id = ?", task)
            chains.add(chain)
    return chains


# --- what a person decided ------------------------------------------------------------------------------------------

def _carry_out(journal: Journal, now: float, decisions: Decisions) -> list[int]:
    """Do as a person decided; returns the tasks that were reopened for that."""
    if decisions.accept_new:
        journal.execute(f"UPDATE task SET relaxed = 1 WHERE (state = 'ready' AND attempt > 0) OR {_SUSPENDED}")
    reopened = []
    for task in sorted({*decisions.restart, *decisions.done}):  # those above first
        if task in decisions.done:
            reopened += _mark_done(journal, now, task, decisions.done[task])
        else:
            reopened += _restart(journal, now, task)
    return reopened


def _restart(journal: Journal, now: float, task: int) -> list[int]:
    """Have a task run afresh: its children are set aside, and what it noted is forgotten. Returns what was reopened."""
    chain = _decidable(journal, task, "restarted")
    journal.set_aside([head for (head,) in journal.execute(
        "SELECT id FROM task WHERE parent = ? AND digest IS NOT NULL AND NOT aside AND NOT shared", task)])
    journal.revoke_below(now, task)
    journal.execute("DELETE FROM noted WHERE task = ?", task)
    _wait_no_longer(journal, now, task)
    journal.execute("UPDATE task SET unsure = 0, stopped = NULL, deaths = 0, relaxed = 1 WHERE id = ?", task)
    return _reopen_chain(journal, now, chain, task) + _let_parents_go_on(journal, now, task)


def _mark_done(journal: Journal, now: float, task: int, returned: Mapping[str, object]) -> list[int]:
    """Take a task for succeeded on a person's word. Returns what was reopened."""
    chain = _decidable(journal, task, "marked done")
    [(last, about, service)] = journal.execute(
        "SELECT last, about, service FROM task JOIN service ON service.name = task.service WHERE id = ?", task)
    declared = json.loads(about)["returns"]
    if declared is not None and not _fits(set(declared), set(returned)):
        raise BadInput(f"task {task} cannot be marked done with {_names(returned)}: {service} returns {_names(declared)}")
    journal.revoke_below(now, task)
    _wait_no_longer(journal, now, task)
    journal.execute("UPDATE task SET state = 'succeeded', move = 'decide', moved = ?, result = ?, changes = '{}', "
                    "unsure = 0, stopped = NULL WHERE id = ?",
                    now, journal.directory.spill(encode_named(returned, "what is returned: ")), task)
    if task < last:
        journal.execute("UPDATE task SET state = 'ready', move = 'release', moved = ? WHERE id = ? AND state = 'waiting'",
                        now, task + 1)
    return _reopen_chain(journal, now, chain) + _let_parents_go_on(journal, now, task)


def _wait_no_longer(journal: Journal, now: float, task: int) -> None:
    """Let a task be claimed that waits for a time or an event."""
    if journal.execute("DELETE FROM awaited WHERE waiter = ? RETURNING waiter", task):
        journal.let_go_on(now, task)
    journal.execute("UPDATE task SET due = NULL WHERE id = ? AND due IS NOT NULL", task)


def _fits(declared: set[str], returned: set[str]) -> bool:
    """Whether what is said to be returned is what the service declares; some may return more than they name."""
    named = declared - {DYNAMIC_RETURN}
    return named <= returned if DYNAMIC_RETURN in declared else named == returned


def _names(names: object) -> str:
    return ", ".join(sorted(names)) or "nothing"  # type: ignore[call-overload]


def _decidable(journal: Journal, task: int, what: str) -> int:
    """The chain of a task about which a person may decide. Raises BadInput for one that is not there, did not begin,
    succeeded, or for which nobody waits any more."""
    found = journal.execute("SELECT chain, state, attempt, service, parent, aside FROM task WHERE id = ?", task)
    if not found:
        raise BadInput(f"there is no task {task} to be {what}; `firexlite flame ID` shows the tasks of a run")
    [(chain, state, attempt, service, parent, aside)] = found
    call = f"task {task} ({service.rpartition('.')[2]}) cannot be {what}"
    if state == "succeeded":
        raise BadInput(f"{call}: it succeeded, and success is for ever")
    if not attempt:
        raise BadInput(f"{call}: it is {state} and has not begun; `firexlite resume` without it runs what is left")
    while parent is not None and not aside:
        [(state, unsure, parent_of, aside)] = journal.execute(
            "SELECT state, unsure, parent, aside FROM task WHERE id = ?", parent)
        if state == "succeeded":
            raise BadInput(f"{call}: task {parent}, which enqueued it, has succeeded without it")
        if unsure and state in _UNSUCCESSFUL:
            raise BadInput(f"{call}: task {parent}, which enqueued it, was cut off itself and is not run again; "
                           f"decide about that too, with --restart-task {parent} or --mark-done {parent}")
        parent = parent_of
    if aside:
        raise BadInput(f"{call}: it was set aside, so nobody waits for it")
    return chain


def _let_parents_go_on(journal: Journal, now: float, task: int) -> list[int]:
    """The tasks above may take another path than before, and those that failed are reopened; returns these."""
    reopened = []
    while (parent := journal.execute("SELECT parent FROM task WHERE id = ?", task)[0][0]) is not None:
        [(chain, state)] = journal.execute("SELECT chain, state FROM task WHERE id = ?", parent)
        if state in _UNSUCCESSFUL:
            reopened += _reopen_chain(journal, now, chain)
        journal.execute("UPDATE task SET relaxed = 1 WHERE id = ? AND state <> 'succeeded'", parent)
        task = parent
    return reopened


# --- files that were lost ---------------------------------------------------------------------------------------------

def _redo(journal: Journal, now: float, tasks: Sequence[int]) -> None:
    """Enqueue tasks that succeeded once more, one after the other, and hold back all else."""
    journal.execute("UPDATE task SET stopped = ? WHERE state = 'ready' AND stopped IS NULL", json.dumps({REDO: list(tasks)}))
    [(head,)] = journal.execute("SELECT max(id) + 1 FROM task")
    for i, task in enumerate(tasks):
        journal.execute(
            "INSERT INTO task (id, parent, parent_retry, chain, last, depth, service, arguments, worker_deaths, on_interrupt, "
            "redoes, state, move, moved, attempt, retry, deaths, wakeable, held, relaxed, aside) "
            "SELECT ?, parent, parent_retry, ?, ?, depth, service, arguments, worker_deaths, on_interrupt, id, ?, ?, ?, "
            "0, 0, 0, 0, 0, 0, 0 FROM task WHERE id = ?",
            head + i, head, head + len(tasks) - 1, "waiting" if i else "ready", None if i else "release", now, task)


def _let_ask_for_other_files(journal: Journal) -> None:
    """Tasks that are reached by what was made again, and came out other than before, may ask for other children."""
    journal.execute(
        f"UPDATE task SET relaxed = 1 WHERE ((state = 'ready' AND attempt > 0) OR {_SUSPENDED}) "
        "AND EXISTS (SELECT 1 FROM task AS made "
        "JOIN task AS again ON again.redoes = made.id AND again.state = 'succeeded' AND again.result IS NOT made.result "
        "WHERE made.parent = task.id OR (made.chain = task.chain AND made.id < task.id))")


def _set_aside_old_redos(journal: Journal, now: float) -> None:
    """What an earlier incarnation was to make again and did not: it will be asked for anew."""
    old = [task for (task,) in journal.execute("SELECT id FROM task WHERE redoes IS NOT NULL AND state <> 'succeeded' "
                                               "AND NOT aside")]
    journal.revoke(now, old, "it was to make a lost file again, and will be asked for anew")
    journal.execute("UPDATE task SET aside = 1 WHERE id IN (SELECT value FROM json_each(?))", json.dumps(old))
