"""What is computed once in a run, in the journal: the result that a task computes for all that have the same arguments."""
from __future__ import annotations

from .claims import Claim
from .journal import Journal, of_the_journal
from .journal_file import patient
from .states import OPEN, SUCCEEDED

CACHE = "cache:"        # what the keys of cached results begin with
ENQUEUED = "enqueued:"  # and those under which a chain is enqueued once


@of_the_journal
@patient
def compute_or_wait(journal: Journal, claim: Claim, key: str) -> int:
    """The task that computes what is cached under a key: that of the claim, if no other does or has done so."""
    with journal.transaction(durable=False, operation="cache"):
        journal.must_own(claim, "cache")
        for owner, state in journal.execute("SELECT task.id, state FROM once JOIN task ON task.id = once.task "
                                            "WHERE key = ?", key):
            if state == SUCCEEDED or state in OPEN:
                return owner
        journal.execute("INSERT OR REPLACE INTO once (key, task) VALUES (?, ?)", key, claim.task)
        return claim.task


@of_the_journal
def result_of(journal: Journal, task: int) -> str | None:
    """JSON text of what a task returned; None if it has not succeeded."""
    with journal.reading():
        [(result,)] = journal.execute("SELECT result FROM task WHERE id = ?", task)
    return result


@of_the_journal
def is_for_others_too(journal: Journal, head: int, last: int) -> bool:
    """Whether a chain is shared by all who ask for its key, or one of its tasks computes what is cached."""
    with journal.reading():
        return bool(journal.execute("SELECT 1 FROM task WHERE id = ? AND shared UNION ALL "
                                    "SELECT 1 FROM once WHERE task BETWEEN ? AND ? LIMIT 1", head, head, last))
