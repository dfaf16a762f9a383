"""What is true of every journal that firexlite wrote: the shapes of its rows, and the rules that hold between them.

Each rule is a sentence and a query for the rows that break it. They hold after every commit, so of a run that goes on
and of one that was killed at any moment just as of one that ended.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from .codec import display, display_error
from .configuration import FULL_WAIT_BELOW_S
from .errors import JournalUnusable, NotReadable
from .home import FIREX_ID, RunDirectory
from .pickled import MARK as PICKLED
from .states import MOVES, OPEN, RUN_FAILED, RUN_INTERRUPTED, RUN_REVOKED, RUN_RUNNING, RUN_SUCCEEDED, STATES

SHOWN = 3              # rows that break a rule, named each
LATEST = 253402300799  # of times: the last second of the year 9999


class Rows(Protocol):
    """An open journal, to be read."""

    directory: RunDirectory

    def execute(self, sql: str, *parameters: object) -> list[tuple]: ...


def faults_of(journal: Rows) -> Iterator[str]:
    """Every way in which the rows of a journal are not as firexlite writes them, a sentence each."""
    shapes = list(faults_of_rows(journal))
    yield from shapes
    if not shapes:  # else the rules would stumble over them
        yield from faults_of_rules(journal)


def faults_of_rows(journal: Rows) -> Iterator[str]:
    """Values of other types, and texts that hold something else, than a reader of the journal may count on."""
    yield from faults_of_types(journal)
    yield from _faults_of_texts(journal)


def faults_of_rules(journal: Rows) -> Iterator[str]:
    """Rows that contradict each other. They must be of the right shape."""
    for sentence, query in RULES:
        rows = journal.execute(query)
        yield from (sentence.format(*row) for row in rows[:SHOWN])
        if len(rows) > SHOWN:
            yield f"... and {len(rows) - SHOWN} more like that"
    yield from _faults_of_moves(journal)


# --- types ----------------------------------------------------------------------------------------------------------

_INTEGER, _SIGNED, _TEXT, _TIME = "integer", "signed integer", "text", "time"
# A column whose name ends in ? may be null.
_TYPES: dict[str, dict[str, str]] = {
    "run": {_INTEGER: "id epoch", _TEXT: "firex_id state chain inputs options", _TIME: "created ended?"},
    "incarnation": {_INTEGER: "epoch pid", _TEXT: "host how? about?", _TIME: "started ended?"},
    "service": {_TEXT: "name about digest"},
    "task": {_INTEGER: "id parent? parent_retry chain last depth worker_deaths attempt retry deaths epoch? worker? "
                       "wakeable held relaxed unsure redoes? aside slots keeps_children shared cached_from?",
             _SIGNED: "priority",
             _TEXT: "service arguments digest? on_interrupt state move? stopped? queue? limited options? reason? result? "
                    "changes?",
             _TIME: "moved due?"},
    "attempt": {_INTEGER: "task number epoch worker log_start log_end? peak?", _TEXT: "outcome? error?",
                _TIME: "started ended? cpu?"},
    "event": {_INTEGER: "id task attempt", _TEXT: "move state", _TIME: "at"},
    "flame": {_INTEGER: "task position", _TEXT: "key type value"},
    "awaited": {_INTEGER: "tail waiter wait any nth?", _TEXT: "event?", _TIME: "due?"},
    "noted": {_INTEGER: "task retry number", _TEXT: "name value"},
    "once": {_INTEGER: "task", _TEXT: "key"},
    "attached": {_INTEGER: "chain parent"},
    "sent": {_INTEGER: "id nth", _TEXT: "name value", _TIME: "at"},
    "legal": {_TEXT: "move source target"},
}


def _is_other(column: str, kind: str) -> str:
    """SQL that is true where a column holds another type than its own."""
    name = f'"{column.rstrip("?")}"'
    allowed = {_INTEGER: f"typeof({name}) = 'integer' AND {name} >= 0",
               _SIGNED: f"typeof({name}) = 'integer'",
               _TEXT: f"typeof({name}) = 'text'",
               _TIME: f"typeof({name}) IN ('real', 'integer') AND {name} BETWEEN 0 AND {LATEST}"}[kind]
    return f"NOT ({name} IS NULL OR {allowed})" if column.endswith("?") else f"({name} IS NULL OR NOT ({allowed}))"


def faults_of_types(journal: Rows) -> Iterator[str]:
    """As `faults_of_rows`, of the types of the values alone, which SQLite itself finds out."""
    for table in _TYPES:
        yield from _faults_of_columns(journal, table)


def _faults_of_columns(journal: Rows, table: str) -> Iterator[str]:
    wrong = {column.rstrip("?"): _is_other(column, kind) for kind, names in _TYPES[table].items() for column in names.split()}
    counts = journal.execute(f"SELECT {', '.join(f'sum({condition})' for condition in wrong.values())} FROM {table}")[0]
    yield from (f"{number} row{'s' * (number > 1)} of the table {table} with a {column} of another type"
                for column, number in zip(wrong, counts, strict=True) if number)


# --- texts ----------------------------------------------------------------------------------------------------------

def faults_of_run(journal: Rows) -> Iterator[str]:
    """As `faults_of_rows`, of what a resume needs before it has looked at any task."""
    yield from _faults_of_columns(journal, "run")
    yield from _faults_of_some_texts(journal, (
        ("SELECT 1, inputs FROM run", "inputs of run", _check_payload),
        ("SELECT 1, options FROM run", "options of run", _check_options)))


def _faults_of_texts(journal: Rows) -> Iterator[str]:
    yield from _faults_of_some_texts(journal, (
        ("SELECT 1, inputs FROM run", "inputs of run", _check_payload),
        ("SELECT 1, options FROM run", "options of run", _check_options),
        ("SELECT name, about FROM service", "description of service", _check_service),
        ("SELECT epoch, about FROM incarnation WHERE about IS NOT NULL", "description of incarnation", _check_incarnation),
        ("SELECT id, stopped FROM task WHERE stopped IS NOT NULL", "reason for the stop of task", _check_stopped),
        ("SELECT id, arguments FROM task", "arguments of task", _check_payload),
        ("SELECT id, result FROM task WHERE result IS NOT NULL", "result of task", _check_payload),
        ("SELECT id, changes FROM task WHERE changes IS NOT NULL", "changes of task", _check_payload),
        ("SELECT task, error FROM attempt WHERE error IS NOT NULL", "error of task", _check_error),
        ("SELECT task, value FROM flame", "flame data of task", json.loads),
        ("SELECT task, value FROM noted", "note of task", display),
        ("SELECT id, options FROM task WHERE options IS NOT NULL", "options of task", _check_own_options),
        ("SELECT id, value FROM sent", "value of event", display)))


def _faults_of_some_texts(journal: Rows, texts: Iterable[tuple[str, str, Callable[[str], object]]]) -> Iterator[str]:
    """texts: a query for ``(key, text)``, what such a text is, and what raises for one that is not right."""
    for sql, where, check in texts:
        # Whoever reads another text does not look for it among the blobs: there it would be none at all.
        unspill = journal.directory.unspill if where in _MAY_BE_A_BLOB else str
        for key, text in journal.execute(sql):
            try:
                check(unspill(text))
            except (JournalUnusable, NotReadable) as error:
                yield f"the {where} {key}: {error}"
            except (LookupError, MemoryError, TypeError, ValueError, AttributeError, RecursionError) as error:
                yield f"the {where} {key}: {_in_words(error)}"


_MAY_BE_A_BLOB = ("arguments of task", "result of task", "changes of task", "error of task")


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)


def _demand(value: object, *kinds: type | None, what: str) -> Any:
    if not any(value is None if kind is None else type(value) is kind for kind in kinds):
        raise ValueError(f"{what} is a {type(value).__name__}")
    return value


def _texts(value: object, what: str) -> None:
    for part in _demand(value, list, what=what):
        _demand(part, str, what=f"a part of {what}")


def _check_payload(text: str) -> None:
    _demand(display(text), dict, what="it")


def _check_options(text: str) -> None:
    options = _demand(json.loads(text), dict, what="it")
    for plugin in _demand(options["plugins"], list, what="plugins"):
        _demand(plugin["path"], str, what="the path of a plugin")
        _demand(plugin["digest"], str, what="the digest of a plugin")
    if not 1 <= _demand(options["workers"], int, what="workers") <= 1000:
        raise ValueError(f"workers is {options['workers']}")
    for name in ("cwd", "host", "user", "python"):
        _demand(options[name], str, what=name)
    _texts(options["argv"], "argv")
    _demand(options["json_file"], str, None, what="json_file")
    _demand(options.get("flame"), str, None, what="flame")
    _demand(options.get("pickle"), str, None, what="pickle")
    _texts(options.get("sinks", []), "sinks")
    if not 0 <= _demand(options.get("full_wait_s", 0), int, float, what="full_wait_s") < FULL_WAIT_BELOW_S:
        raise ValueError(f"full_wait_s is {options['full_wait_s']}")


def _check_own_options(text: str) -> None:
    _demand(json.loads(text), dict, what="it")


def _check_service(text: str) -> None:
    about = _demand(json.loads(text), dict, what="it")
    for name in ("positional", "keyword_only", "positional_only"):
        _texts(about[name], name)
    for name in ("var_positional", "var_keyword"):
        _demand(about[name], str, None, what=name)
    for name, default in _demand(about["defaults"], dict, what="defaults").items():
        display(_demand(default, str, what=f"the default of {name}"))
    if about["returns"] is not None:
        _texts(about["returns"], "returns")
    for name, kind in (("short_name", str), ("file", str), ("line", int), ("plugin", bool)):
        _demand(about[name], kind, what=name)
    _texts(about.get("head", []), "head")


def _check_incarnation(text: str) -> None:
    about = _demand(json.loads(text), dict, what="it")
    for name in ("changed", "files"):
        _texts(about.get(name, []), name)


def _check_stopped(text: str) -> None:
    stopped = _demand(json.loads(text), dict, what="it")
    if "ask" in stopped or "redo" in stopped:
        return
    for chain in (*_demand(stopped["recorded"], list, what="recorded"), *_demand(stopped["new"], list, what="new")):
        if not _demand(chain, list, what="a chain"):
            raise ValueError("a chain is empty")
        for call in chain:
            _demand(call["num"], int, what="num")
            _demand(call["service"], str, what="service")
            _demand(call["arguments"], dict, what="arguments")
    _demand(stopped["raised"], str, None, what="raised")
    _demand(stopped.get("traceback"), str, None, what="its traceback")
    _check_where(stopped.get("where"))


def _check_error(text: str) -> None:
    error = display_error(text)
    while error is not None:
        for name in ("name", "text", "traceback", "type"):
            _demand(error[name], str, what=f"its {name}")
        _demand(error["args"], list, tuple, None, what="its args")
        _demand(error["attributes"], dict, what="its attributes")
        _check_where(error["where"])
        error["explicit"]
        error = error["cause"]


def _check_where(where: object) -> None:
    if where is not None:
        place = _demand(where, dict, what="its place")
        for name, kind in (("file", str), ("line", int), ("function", str)):
            _demand(place[name], kind, what=f"the {name} of its place")


# --- rules ----------------------------------------------------------------------------------------------------------

def _among(names: Iterable[str]) -> str:
    return "('" + "', '".join(sorted(names)) + "')"


_IS_OPEN = f"IN {_among(OPEN)}"
_IN_FLIGHT = "IN ('running', 'blocked')"
_ENDED_RUN = _among((RUN_SUCCEEDED, RUN_FAILED, RUN_REVOKED))
_SUSPENDED = "(task.state = 'blocked' AND task.worker IS NULL)"
_OUTCOMES = _among(("succeeded", "failed", "retried", "suspended", "lost", "revoked", "stopped"))
_SUBMITTED = "FROM task WHERE parent IS NULL AND redoes IS NULL"

RULES: tuple[tuple[str, str], ...] = (
    # --- the run and its incarnations
    ("there are {} runs in the journal", "SELECT count(*) FROM run HAVING count(*) <> 1"),
    ("the run is '{}'", "SELECT state FROM run WHERE state NOT IN "
                        + _among((RUN_RUNNING, RUN_INTERRUPTED, RUN_SUCCEEDED, RUN_FAILED, RUN_REVOKED))),
    ("the run has no task", "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM task)"),
    ("the run is in epoch {}, and its incarnations are {}, up to {}",
     "SELECT run.epoch, count(*), max(incarnation.epoch) FROM run, incarnation "
     "HAVING count(*) <> run.epoch OR max(incarnation.epoch) <> run.epoch OR min(incarnation.epoch) <> 1"),
    ("the run is {}, and that it ended is {}",
     "SELECT state, CASE WHEN ended IS NULL THEN 'not recorded' ELSE 'recorded' END FROM run "
     f"WHERE (state = '{RUN_RUNNING}') <> (ended IS NULL)"),
    ("the run is {}, and its last incarnation ended as {}",
     "SELECT run.state, coalesce(how, 'nothing') FROM run JOIN incarnation USING (epoch) "
     f"WHERE how IS NOT (CASE run.state WHEN '{RUN_RUNNING}' THEN NULL ELSE run.state END)"),
    ("incarnation {} ended at a time but not in a state, or the other way round",
     "SELECT epoch FROM incarnation WHERE (ended IS NULL) <> (how IS NULL)"),
    ("the run is {}, and task {} is {}",
     f"SELECT run.state, task.id, task.state FROM run, task WHERE run.state IN {_ENDED_RUN} AND task.state {_IS_OPEN}"),
    ("the run succeeded, and task {} of the submitted chain is {}",
     f"SELECT id, state {_SUBMITTED} AND state <> 'succeeded' AND (SELECT state FROM run) = '{RUN_SUCCEEDED}'"),
    ("the run is {}, and its whole submitted chain succeeded",
     f"SELECT state FROM run WHERE state NOT IN ('{RUN_SUCCEEDED}', '{RUN_RUNNING}') "
     f"AND NOT EXISTS (SELECT 1 {_SUBMITTED} AND state <> 'succeeded') "
     f"AND NOT EXISTS (SELECT 1 FROM task WHERE state {_IS_OPEN})"),  # children that their parent's end did not concern
    ("the run failed, and no task of its submitted chain did",
     f"SELECT 1 FROM run WHERE state = '{RUN_FAILED}' AND NOT EXISTS (SELECT 1 {_SUBMITTED} AND state = 'failed')"),

    # --- chains
    ("the tasks are numbered up to {}, and there are {}",
     "SELECT max(id), count(*) FROM task HAVING max(id) <> count(*) OR min(id) <> 1"),
    ("task {} is '{}'", f"SELECT id, state FROM task WHERE state NOT IN {_among(STATES)}"),
    ("task {} lies outside of its chain, {} to {}",
     "SELECT id, chain, last FROM task WHERE id NOT BETWEEN chain AND last OR last > (SELECT max(id) FROM task)"),
    ("task {} is in the chain of task {} and differs from it",
     "SELECT task.id, head.id FROM task LEFT JOIN task AS head ON head.id = task.chain WHERE head.chain IS NOT task.chain "
     "OR head.last <> task.last OR (task.redoes IS NULL AND (head.parent IS NOT task.parent "  # redone tasks keep their places
     "OR head.parent_retry <> task.parent_retry OR head.depth <> task.depth))"),
    ("task {} is said to begin a chain at task {}, which belongs to chain {}",
     "SELECT head.id, task.id, task.chain FROM task AS head JOIN task ON task.id BETWEEN head.id AND head.last "
     "WHERE head.id = head.chain AND task.chain <> head.id"),
    ("task {} has task {} above it, which is not before it",
     "SELECT id, parent FROM task WHERE parent IS NOT NULL AND NOT parent BETWEEN 1 AND chain - 1"),
    ("task {} stands {} deep, and the task above it {}",
     "SELECT task.id, task.depth, above.depth FROM task LEFT JOIN task AS above ON above.id = task.parent "
     "WHERE task.depth <> coalesce(above.depth + 1, 0)"),
    ("task {} was enqueued by task {}, which never began",
     "SELECT task.id, above.id FROM task JOIN task AS above ON above.id = task.parent WHERE above.attempt = 0"),
    ("task {} has a digest that belongs to the first of a chain, or lacks it",
     "SELECT id FROM task WHERE (digest IS NOT NULL) <> (id = chain AND redoes IS NULL)"),
    ("task {} is {} behind task {}, which is {}",  # a released follower of an unsuccessful task, and the like
     "SELECT task.id, task.state, before.id, before.state FROM task JOIN task AS before ON before.id = task.id - 1 "
     "WHERE before.chain = task.chain AND CASE "
     "WHEN before.state = 'succeeded' THEN task.state IN ('waiting', 'skipped') "
     f"WHEN before.state {_IS_OPEN} THEN task.state NOT IN ('waiting', 'revoked') "
     "ELSE task.state NOT IN ('skipped', 'revoked') END"),
    ("task {} is the first of its chain and {}",
     "SELECT id, state FROM task WHERE id = chain AND (state = 'skipped' OR (state = 'waiting' AND NOT held))"),
    ("task {} is held and {}", "SELECT id, state FROM task WHERE held AND (state <> 'waiting' OR id <> chain)"),
    ("task {} is {} below task {}, which {}",
     "SELECT task.id, task.state, above.id, above.state FROM task JOIN task AS above ON above.id = task.parent "
     f"WHERE task.state {_IS_OPEN} AND NOT above.state {_IS_OPEN} AND task.redoes IS NULL AND NOT above.keeps_children "
     "AND NOT task.shared"),
    ("task {} is shared and {}, and nobody is left who asked for it",
     f"SELECT id, state FROM task WHERE shared AND state {_IS_OPEN} AND NOT EXISTS (SELECT 1 FROM attached "
     f"JOIN task AS asker ON asker.id = attached.parent WHERE attached.chain = task.chain "
     f"AND (asker.state {_IS_OPEN} OR asker.keeps_children))"),
    ("task {} asked for chain {}, which is not shared",
     "SELECT parent, chain FROM attached WHERE NOT EXISTS (SELECT 1 FROM task WHERE id = attached.chain AND id = task.chain "
     "AND shared) OR parent NOT IN (SELECT id FROM task)"),
    ("'{}' is done once by task {}, which does not exist",
     "SELECT key, task FROM once WHERE task NOT IN (SELECT id FROM task)"),
    ("task {} has the result of task {}, which has not succeeded",
     "SELECT task.id, task.cached_from FROM task LEFT JOIN task AS first ON first.id = task.cached_from "
     "WHERE task.cached_from IS NOT NULL AND (first.state IS NOT 'succeeded' OR task.state <> 'succeeded')"),
    ("task {} is {} and reserved by worker {}, which has no task under way",  # nor one that was revoked under it
     "SELECT id, state, reserved FROM task WHERE reserved IS NOT NULL AND (state <> 'ready' OR attempt <> 0 OR reserved "
     f"NOT IN (SELECT worker FROM task WHERE (state {_IN_FLIGHT} OR state = 'revoked') AND worker IS NOT NULL))"),
    ("task {} is to begin at a time, and is {}", "SELECT id, state FROM task WHERE due IS NOT NULL AND state <> 'ready'"),
    ("task {} is counted in the queue {}, and was enqueued to {}",
     "SELECT id, limited, coalesce(queue, 'none') FROM task WHERE limited <> '' AND limited IS NOT queue"),
    ("there are {} events '{}', up to the {}th",
     "SELECT count(*), name, max(nth) FROM sent GROUP BY name HAVING count(*) <> max(nth) OR min(nth) <> 1"),
    ("task {} was set aside and is {}", f"SELECT id, state FROM task WHERE aside AND state {_IS_OPEN}"),
    ("task {} does task {} again, which has not succeeded",
     "SELECT task.id, task.redoes FROM task LEFT JOIN task AS first ON first.id = task.redoes "
     "WHERE task.redoes IS NOT NULL AND first.state IS NOT 'succeeded'"),
    ("task {} calls '{}', which the journal does not describe",
     "SELECT id, service FROM task WHERE service NOT IN (SELECT name FROM service)"),

    # --- attempts
    ("there is an attempt at task {}, which does not exist",
     "SELECT task FROM attempt WHERE task NOT IN (SELECT id FROM task)"),
    ("task {} was claimed {} times, and its attempts are {}, up to {}",  # marked claimed twice, among others
     "SELECT task.id, task.attempt, count(number), coalesce(max(number), 0) FROM task "
     "LEFT JOIN attempt ON attempt.task = task.id "
     "GROUP BY task.id HAVING count(number) <> task.attempt OR coalesce(max(number), 0) <> task.attempt"),
    ("task {} is {}, and {} of its attempts are under way",
     "SELECT task.id, task.state, count(number) FROM task LEFT JOIN attempt ON attempt.task = task.id AND ended IS NULL "
     f"GROUP BY task.id HAVING count(number) <> (task.state {_IN_FLIGHT} AND NOT {_SUSPENDED})"),
    ("task {} waits without a process, and its last attempt {}",
     "SELECT task.id, coalesce(outcome, 'goes on') FROM task LEFT JOIN attempt ON attempt.task = task.id "
     f"AND number = task.attempt WHERE {_SUSPENDED} AND outcome IS NOT 'suspended'"),
    ("task {} was tried again {} times, and its attempts tell of {}",
     "SELECT task.id, retry, count(number) FROM task LEFT JOIN attempt ON attempt.task = task.id AND outcome = 'retried' "
     "GROUP BY task.id HAVING count(number) <> retry"),
    ("task {} is {} in attempt {} of epoch {} and worker {}, and another attempt is under way",
     "SELECT task.id, task.state, task.attempt, task.epoch, task.worker FROM task JOIN attempt ON attempt.task = task.id "
     f"WHERE attempt.ended IS NULL AND task.state {_IN_FLIGHT} AND (attempt.number <> task.attempt "
     "OR attempt.epoch IS NOT task.epoch OR attempt.worker IS NOT task.worker)"),
    ("task {} is {} in epoch {}, and the run is in {}",
     f"SELECT task.id, task.state, task.epoch, run.epoch FROM task, run WHERE task.state {_IN_FLIGHT} "
     f"AND NOT {_SUSPENDED} AND task.epoch IS NOT run.epoch"),
    ("task {} was claimed {} times and is of epoch {}",
     "SELECT task.id, attempt, coalesce(task.epoch, 'none') FROM task, run WHERE (attempt = 0) <> (task.epoch IS NULL) "
     "OR task.epoch > run.epoch"),
    ("worker {} has {} tasks under way at once",
     f"SELECT worker, count(*) FROM task WHERE state {_IN_FLIGHT} AND worker IS NOT NULL GROUP BY worker HAVING count(*) > 1"),
    ("attempt {} at task {} is of epoch {}, and the one before it of {}",
     "SELECT attempt.number, attempt.task, attempt.epoch, before.epoch FROM attempt JOIN attempt AS before "
     "ON before.task = attempt.task AND before.number = attempt.number - 1 WHERE before.epoch > attempt.epoch"),
    ("attempt {} at task {} is of epoch {}, which never was",
     "SELECT number, task, epoch FROM attempt WHERE epoch NOT IN (SELECT epoch FROM incarnation)"),
    ("attempt {} at task {} ended without an outcome, or the other way round, or as '{}'",
     f"SELECT number, task, outcome FROM attempt WHERE (ended IS NULL) <> (outcome IS NULL) OR outcome NOT IN {_OUTCOMES}"),
    ("attempt {} at task {} failed without an error",
     "SELECT number, task FROM attempt WHERE outcome = 'failed' AND error IS NULL"),
    ("task {} succeeded {} times",
     "SELECT task, count(*) FROM attempt WHERE outcome = 'succeeded' GROUP BY task HAVING count(*) > 1"),
    ("task {} is {}, and its last attempt {}",
     "SELECT task.id, task.state, outcome FROM task JOIN attempt ON attempt.task = task.id AND number = task.attempt "
     "WHERE (outcome IS 'succeeded') <> (task.state = 'succeeded' AND task.move <> 'decide')"),
    ("task {} failed without an attempt that did",
     "SELECT task.id FROM task LEFT JOIN attempt ON attempt.task = task.id AND number = task.attempt "
     "WHERE task.state = 'failed' AND outcome IS NOT 'failed'"),
    ("task {} is {} and has {}",
     "SELECT id, state, CASE WHEN result IS NULL THEN 'no result' ELSE 'a result' END FROM task "
     "WHERE (state = 'succeeded') <> (result IS NOT NULL) OR (state = 'succeeded') <> (changes IS NOT NULL)"),

    # --- waits and stops
    ("task {} may go on and is {}", "SELECT id, state FROM task WHERE wakeable AND state <> 'blocked'"),
    ("task {} is blocked, waits for nothing and may not go on",
     "SELECT id FROM task WHERE state = 'blocked' AND NOT wakeable AND id NOT IN (SELECT waiter FROM awaited)"),
    ("task {} waits for task {}, and is {}",
     "SELECT waiter, tail, coalesce(task.state, 'nowhere') FROM awaited LEFT JOIN task ON task.id = waiter "
     f"WHERE task.state IS NULL OR NOT task.state {_IN_FLIGHT}"),
    ("task {} waits for task {}, which is {}",
     "SELECT waiter, tail, coalesce(task.state, 'nowhere') FROM awaited LEFT JOIN task ON task.id = tail WHERE tail <> 0 AND "
     f"(task.state IS NULL OR NOT task.state {_IS_OPEN})"),
    ("task {} waits for nothing, neither a chain nor a time nor an event",
     "SELECT waiter FROM awaited WHERE tail = 0 AND due IS NULL AND event IS NULL"),
    ("task {} waits for an event '{}' that has been sent",
     "SELECT waiter, event FROM awaited JOIN sent ON sent.name = event AND sent.nth = awaited.nth"),
    ("task {} was stopped and is {}",
     "SELECT id, state FROM task WHERE stopped IS NOT NULL AND state NOT IN ('ready', 'revoked')"),
    ("task {} is not to run again by itself, and is {}",
     "SELECT id, state FROM task WHERE unsure AND (on_interrupt = 'retry' OR state NOT IN ('ready', 'failed', 'revoked'))"),
    ("task {} is not to run again by itself, and may",
     "SELECT id FROM task WHERE unsure AND state = 'ready' AND stopped IS NULL"),

    # --- what belongs to a task
    ("there is flame data of task {}, which does not exist", "SELECT task FROM flame WHERE task NOT IN (SELECT id FROM task)"),
    ("there is a note of task {}, which does not exist", "SELECT task FROM noted WHERE task NOT IN (SELECT id FROM task)"),

    # --- events
    ("the events are numbered up to {}, and there are {}",
     "SELECT max(id), count(*) FROM event HAVING max(id) <> count(*) OR min(id) <> 1"),
    ("there is an event of task {}, which does not exist", "SELECT task FROM event WHERE task NOT IN (SELECT id FROM task)"),
    ("task {} is {}, and its last event led to {}",
     "SELECT task.id, task.state, coalesce(last.state, 'waiting') FROM task LEFT JOIN "
     "(SELECT task, state, max(id) FROM event GROUP BY task) AS last ON last.task = task.id "
     "WHERE task.state <> coalesce(last.state, 'waiting')"),
    ("task {} was claimed {} times, and its events tell of {}",
     "SELECT task.id, task.attempt, count(event.id) FROM task LEFT JOIN event ON event.task = task.id AND event.move = 'claim' "
     "GROUP BY task.id HAVING count(event.id) <> task.attempt"),
    ("task {} succeeded {} times, as its events tell",
     "SELECT task, count(*) FROM event WHERE state = 'succeeded' GROUP BY task HAVING count(*) > 1"),
)


def _faults_of_moves(journal: Rows) -> Iterator[str]:
    legal = {(move, source, target) for move, (sources, targets) in MOVES.items() for source in sources for target in targets}
    if set(journal.execute("SELECT move, source, target FROM legal")) != legal:
        yield "the table of legal moves is another than that of this firexlite"
    steps = journal.execute("SELECT move, before, state, min(task) FROM (SELECT move, state, task, "
                            "coalesce(lag(state) OVER (PARTITION BY task ORDER BY id), 'waiting') AS before FROM event) "
                            "GROUP BY move, before, state")
    yield from (f"task {task} went from {before} to {state} by '{move}', which is no move"
                for move, before, state, task in steps if (move, before, state) not in legal)


def name_fault(journal: Rows) -> Iterator[str]:
    """Whether the journal is of the run whose name its directory has."""
    for (firex_id,) in journal.execute("SELECT firex_id FROM run"):
        if not FIREX_ID.match(firex_id):
            yield f"the run is called {firex_id[:80]!r}, which is not a FireX ID"
        elif firex_id != journal.directory.firex_id:
            yield f"the journal is that of {firex_id}, and its directory is called {journal.directory.firex_id}"


# --- blobs ----------------------------------------------------------------------------------------------------------

_PAYLOADS = (("task", "arguments"), ("task", "result"), ("task", "changes"), ("attempt", "error"))


def blobs_of(journal: Rows) -> set[str]:
    """The names of the blob files in which payloads of a run lie."""
    return {text.removeprefix("blob:") for table, column in _PAYLOADS
            for (text,) in journal.execute(f"SELECT {column} FROM {table} WHERE {column} LIKE 'blob:%'")}


_MAY_BE_PICKLED = (
    ("the input of", "SELECT firex_id, inputs FROM run"), ("a note of task", "SELECT task, value FROM noted"),
    ("an argument of task", "SELECT id, arguments FROM task"), ("an argument of task", "SELECT id, changes FROM task"),
    ("the result of task", "SELECT id, result FROM task"))


def pickled_in(journal: Rows) -> str | None:
    """What of a run holds a pickled value, in words; None if nothing does."""
    for what, sql in _MAY_BE_PICKLED:
        unspill = journal.directory.unspill if sql.endswith("FROM task") else str
        for owner, text in journal.execute(sql):
            if text is not None and PICKLED in unspill(text):
                return f"{what} {owner}"
    return None
