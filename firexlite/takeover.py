"""Taking over a run: what was in flight is ready again, and of a run that did not succeed, what failed is reopened."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .journal import KNOWN_SERVICE, Journal
from .states import RUN_RUNNING


@dataclass(frozen=True)
class TakeOver:
    """What a new incarnation found: its epoch, and how many tasks go on, are reopened, or are done."""

    epoch: int
    interrupted: int
    reopened: int
    counts: dict[str, int]

    @property
    def succeeded(self) -> int:
        return self.counts.get("succeeded", 0)


def take_over(journal: Journal, pid: int, host: str, digests: Mapping[str, tuple[str, str]]) -> TakeOver:
    """Begin a new incarnation: what was in flight is ready again, and of a run that did not succeed, what failed.

    digests: ``{service: (about, digest of its file)}`` as loaded now.
    """
    with journal.transaction(durable=True) as now:
        epoch = journal.epoch() + 1
        journal.execute("UPDATE run SET epoch = ?, state = ?, ended = NULL", epoch, RUN_RUNNING)
        journal.execute("INSERT INTO incarnation (epoch, pid, host, started) VALUES (?, ?, ?, ?)", epoch, pid, host, now)
        journal.execute("DELETE FROM awaited")
        journal.execute("UPDATE task SET stopped = NULL WHERE stopped IS NOT NULL")
        lost = journal.execute("UPDATE task SET state = 'ready', move = 'lose', moved = ?, wakeable = 0 "
                               "WHERE state IN ('running', 'blocked') RETURNING id", now)
        journal.execute("UPDATE attempt SET ended = ?, outcome = 'lost' WHERE ended IS NULL", now)
        changed = _note_changed_services(journal, digests)
        reopened = _reopen(journal, now, changed)
        counts = dict(journal.execute("SELECT state, count(*) FROM task GROUP BY state"))
        return TakeOver(epoch, len(lost), reopened, counts)


def _note_changed_services(journal: Journal, digests: Mapping[str, tuple[str, str]]) -> list[str]:
    """Record the code that is loaded now; parents whose code changed may take another path in their replay."""
    changed = [name for name, digest in journal.execute("SELECT name, digest FROM service")
               if name in digests and digests[name][1] != digest]
    for name in changed:
        journal.execute(KNOWN_SERVICE, name, *digests[name])
        journal.execute("UPDATE task SET relaxed = 1 WHERE service = ? AND state = 'ready'", name)
    return changed


def _reopen(journal: Journal, now: float, changed: Sequence[str]) -> int:
    """Reopen what failed in the submitted chain, and from there downwards; returns how many tasks.

    Below a parent that was merely interrupted a failure stands, unless the code of a failed service changed.
    """
    chains = {chain for (chain,) in journal.execute(
        "SELECT DISTINCT chain FROM task WHERE parent IS NULL AND state IN ('failed', 'skipped', 'revoked')")}
    chains |= _corrected_chains(journal, changed)
    reopened = 0
    while chains:
        tasks = [task for chain in chains for task in _reopen_chain(journal, now, chain)]
        reopened += len(tasks)
        chains = {chain for (chain,) in journal.execute(
            "SELECT DISTINCT child.chain FROM task AS child JOIN task AS above ON above.id = child.parent "
            "WHERE child.parent IN (SELECT value FROM json_each(?)) AND child.parent_retry = above.retry "
            "AND NOT child.aside AND child.state IN ('failed', 'skipped', 'revoked')", json.dumps(tasks))}
    return reopened


def _reopen_chain(journal: Journal, now: float, chain: int) -> list[int]:
    """Reopen what of a chain did not succeed: the first of it is ready, the rest waits for it. Returns these tasks."""
    reopened = []
    target = "ready"
    for task, state in journal.execute(
            "SELECT id, state FROM task WHERE id BETWEEN ? AND (SELECT last FROM task WHERE id = ?) ORDER BY id", chain, chain):
        if state == "succeeded":
            continue
        if state in ("failed", "skipped", "revoked"):
            journal.execute("UPDATE task SET state = ?, move = 'reopen', moved = ?, deaths = 0, relaxed = 1 WHERE id = ?",
                            target, now, task)
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
            [(chain, parent, aside)] = journal.execute("SELECT chain, parent, aside FROM task WHERE id = ?", task)
            if parent is None or aside:
                break
            [(task, state)] = journal.execute("SELECT id, state FROM task WHERE id = ?", parent)
        if state == "ready":
            journal.execute("UPDATE task SET relaxed = 1 WHERE id = ?", task)
            chains.add(chain)
    return chains
