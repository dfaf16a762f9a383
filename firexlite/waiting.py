"""Waits for a time or an event, in the journal: when they begin, what ends them, and tasks that wait without a process.

An event is sent to the run by name, and stays. The nth wait of a task for a name is over with the nth event of that name,
so a replay gets what the attempt before it got, and an event may come before anybody waits for it. A wait that runs out of
time gets none, so it does not count; that it did is noted, and until when it is to last.
"""
from __future__ import annotations

from .claims import Claim
from .errors import BadInput
from .journal import Journal, of_the_journal
from .journal_file import patient
from .schema import SQL_OPEN
from .states import RUN_REVOKED, RUN_SUCCEEDED

GAVE_UP, UNTIL = "no event ", "waits until "  # with the name of an event: what is noted of a wait for it

_AWAIT = "INSERT INTO awaited (tail, waiter, wait, any, due, event, nth) VALUES (0, ?, ?, 0, ?, ?, ?)"
_OVER = "DELETE FROM awaited WHERE due <= ? RETURNING waiter, wait"
_NEXT_DUE = """SELECT min(at) FROM (SELECT min(due) AS at FROM task WHERE due IS NOT NULL
    UNION ALL SELECT min(due) FROM awaited WHERE due IS NOT NULL)"""
_SUSPEND = """UPDATE task SET worker = NULL WHERE id = ? AND attempt = ? AND epoch = ? AND state = 'blocked' AND NOT wakeable
    AND worker IS NOT NULL AND on_interrupt = 'retry' AND EXISTS (SELECT 1 FROM awaited WHERE waiter = task.id) RETURNING id"""
_END_ATTEMPT = "UPDATE attempt SET ended = ?, outcome = 'suspended', log_end = ? WHERE task = ? AND number = ?"


@of_the_journal
@patient
def begin_wait(journal: Journal, claim: Claim, wait: int, due: float | None, event: tuple[str, int] | None) -> bool:
    """Wait for a time, in seconds since the epoch, or for an event ``(name, nth)``, giving up the slot.

    wait: tells waits of several threads of one task apart. False if it is over before it begins.
    Raises ClaimLost if the task was revoked meanwhile.
    """
    with journal.transaction(durable=True, operation="begin wait") as now:
        journal.must_own(claim, "wait")
        if (due is not None and due <= now) or (event is not None and _value_of(journal, event) is not None):
            return False
        journal.execute(_AWAIT, claim.task, wait, due, *(event or (None, None)))
        if due is not None:
            journal.tell(journal.bell.comes_due, due - now)
        journal.give_up_slot(now, claim)
        return True


@patient
def suspend(journal: Journal, claim: Claim, log_end: int) -> bool:
    """End the attempt of a task that waits for a time or an event; it is replayed from its top when that is there.

    False if its wait is over already, or its body must not run twice; then nothing has changed.
    """
    with journal.transaction(durable=True, operation="suspend") as now:
        if not journal.execute(_SUSPEND, claim.task, claim.attempt, claim.epoch):
            return False
        journal.execute(_END_ATTEMPT, now, log_end, claim.task, claim.attempt)
        return True


def come_due(journal: Journal, now: float) -> float | None:
    """Let begin, or go on, what was to wait until now. Inside a transaction.

    Returns in how many seconds the next time comes that something waits for; None if there is none.
    """
    if journal.is_redoing():
        return None  # all else stands still while lost files are made again
    for waiter, _ in journal.execute(_OVER, now):
        journal.let_go_on(now, waiter)
    journal.execute("UPDATE task SET due = NULL WHERE due <= ?", now)
    [(due,)] = journal.execute(_NEXT_DUE)
    return None if due is None else max(0.0, due - now)


def forget_what_was_given_up(journal: Journal) -> None:
    """Let tasks that may take another path wait anew for events that did not come in time. Inside a transaction."""
    given_up = f"""SELECT task, retry, number, {{}} FROM noted WHERE substr(name, 1, {len(GAVE_UP)}) = '{GAVE_UP}'
        AND task IN (SELECT id FROM task WHERE relaxed AND state <> 'succeeded')"""
    for name in (f"'{UNTIL}' || substr(name, {len(GAVE_UP) + 1})", "name"):
        journal.execute(f"DELETE FROM noted WHERE (task, retry, number, name) IN ({given_up.format(name)})")


@of_the_journal
def value_of(journal: Journal, event: tuple[str, int]) -> str | None:
    """JSON text of what was sent with the event ``(name, nth)``; None if it has not been sent."""
    with journal.reading():
        return _value_of(journal, event)


def _value_of(journal: Journal, event: tuple[str, int]) -> str | None:
    found = journal.execute("SELECT value FROM sent WHERE name = ? AND nth = ?", *event)
    return found[0][0] if found else None


@patient
def send(journal: Journal, name: str, value: str) -> int:
    """Deliver an event durably: who waits for it goes on. value: JSON text. Returns the how manieth of its name it is.

    Raises BadInput if the run has ended for good.
    """
    with journal.transaction(durable=True, operation="send") as now:
        [(firex_id, state)] = journal.execute("SELECT firex_id, state FROM run")
        if state == RUN_SUCCEEDED:
            raise BadInput(f"{firex_id} has succeeded, so nothing in it waits for '{name}'")
        if state == RUN_REVOKED and not journal.execute(f"SELECT 1 FROM task WHERE state IN {SQL_OPEN} LIMIT 1"):
            raise BadInput(f"{firex_id} was cancelled, so nothing in it waits for '{name}'; `firexlite resume {firex_id}` "
                           "runs it again")
        [(nth,)] = journal.execute("SELECT coalesce(max(nth), 0) + 1 FROM sent WHERE name = ?", name)
        journal.execute("INSERT INTO sent (name, nth, value, at) VALUES (?, ?, ?, ?)", name, nth, value, now)
        for (waiter,) in journal.execute("DELETE FROM awaited WHERE event = ? AND nth = ? RETURNING waiter", name, nth):
            journal.let_go_on(now, waiter)
        return nth
