"""The states of a task and the moves between them: the one table that journal, docs and tests go by."""
from __future__ import annotations

WAITING = "waiting"      # a task before it in its chain has not succeeded yet
READY = "ready"          # may be claimed, once its due time is past
RUNNING = "running"      # a worker runs its body, and holds a slot
BLOCKED = "blocked"      # it waits for children, a time or an event; it holds no slot, and perhaps no process
SUCCEEDED = "succeeded"  # its body returned
FAILED = "failed"        # its body raised, or its workers died too often
SKIPPED = "skipped"      # a task before it in its chain did not succeed
REVOKED = "revoked"      # a user, or the parent that enqueued it, called it off

STATES = (WAITING, READY, RUNNING, BLOCKED, SUCCEEDED, FAILED, SKIPPED, REVOKED)

MOVES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # move      from                                  to
    "release": ((WAITING,),                           (READY,)),
    "skip":    ((WAITING,),                           (SKIPPED,)),
    "claim":   ((READY,),                             (RUNNING,)),
    "block":   ((RUNNING,),                           (BLOCKED,)),
    "unblock": ((BLOCKED,),                           (RUNNING,)),
    "wake":    ((BLOCKED,),                           (READY,)),
    "succeed": ((RUNNING,),                           (SUCCEEDED,)),
    "perform": ((READY,),                             (SUCCEEDED,)),  # of a short task: `claim` and `succeed` in one
    "retry":   ((RUNNING,),                           (READY,)),
    "lose":    ((RUNNING, BLOCKED),                   (READY,)),
    "stop":    ((RUNNING, BLOCKED),                   (READY,)),
    "fail":    ((RUNNING, BLOCKED),                   (FAILED,)),
    "revoke":  ((WAITING, READY, RUNNING, BLOCKED),   (REVOKED,)),
    "decide":  ((READY, FAILED, REVOKED),             (SUCCEEDED,)),
    "reopen":  ((FAILED, SKIPPED, REVOKED),           (READY, WAITING)),
}

# These lead out of some states, but only a resume may do them: within a run they are final.
AT_RESUME = ("reopen", "decide")
FINAL = frozenset(STATES) - {state for move, (sources, _) in MOVES.items() if move not in AT_RESUME for state in sources}
OPEN = frozenset(STATES) - FINAL

# A run, as a person sees it: `running` and `interrupted` are told apart by the lock of its directory.
RUN_RUNNING, RUN_INTERRUPTED, RUN_SUCCEEDED, RUN_FAILED, RUN_REVOKED = (
    "running", "interrupted", "succeeded", "failed", "revoked")

REDO = "redo"  # the mark of tasks that are not to be claimed while lost files are made again
