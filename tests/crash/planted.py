"""Bugs to be planted: what a careless programmer might do to the package, and which tests notice it.

Each replaces one place of one file. `mutants` tries them; a bug whose old text is not found exactly once no longer fits,
which is a failure too: it would prove nothing. Write a new one whenever a test is written for a mistake of ours.
"""
from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One mistake. old: occurs exactly once in the file. caught_by: arguments to pytest, of the cheapest tests that see it."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str

    def planted_in(self, source: str) -> str:
        """The file with the bug in it. Raises ValueError if it does not fit any more."""
        if (found := source.count(self.old)) != 1:
            raise ValueError(f"'{self.name}' no longer fits: what it replaces occurs {found} times in {self.file}")
        return source.replace(self.old, self.new)


def only(tests: str, words: str) -> str:
    """Those of some tests whose names fit ``words``, as pytest's -k has it."""
    return f"{tests} -k {shlex.quote(words)}"


JOURNAL = "tests/test_journal.py"
STATES = "tests/test_states.py"
RESUME = "tests/test_resume.py"
PROCESSES = "tests/test_processes.py"
SEEN = "tests/crash/test_planted.py"  # what only these bugs made us look at
CTRL_C = "tests/promises/test_p10_ctrl_c.py"
ONE = "tests/promises/test_p05_one_incarnation.py"
FENCE = "tests/promises/test_p06_fence.py -k return"
KILLERS = "tests/promises/test_p09_killer_tasks_are_bounded.py"
REPLAY = "tests/promises/test_p13_a_replay_that_does_not_fit.py"
SIDE_EFFECTS = "tests/promises/test_side_effects.py"
ALONE = "tests/promises/test_wal_reset.py -k alone"

BUGS: list[Bug] = []


def _in(file: str, *bugs: tuple[str, str, str, str]) -> None:
    BUGS.extend(Bug(name, file, old, new, caught_by) for name, old, new, caught_by in bugs)


# --- who may write ---------------------------------------------------------------------------------------------------

_in("journal.py",
    ("the fence does not look at the attempt",
     '_FENCE = "id = ? AND attempt = ? AND',
     '_FENCE = "id = ? AND attempt >= ? AND', only(JOURNAL, "stale")),
    ("the fence does not look at the epoch of the run",
     'AND epoch = ? AND epoch = (SELECT epoch FROM run)"',
     'AND epoch = ?"', only(JOURNAL, "stale")),
    ("success asks for no state",
     "    WHERE {_FENCE} AND state = 'running' RETURNING id\"\"\"\n_FAIL",
     "    WHERE {_FENCE} RETURNING id\"\"\"\n_FAIL", only(JOURNAL, "stale")),
    ("failure asks for no state",
     "move = 'fail', moved = ?, wakeable = 0\n    WHERE {_FENCE} AND state IN ('running', 'blocked') RETURNING",
     "move = 'fail', moved = ?, wakeable = 0\n    WHERE {_FENCE} RETURNING", only(JOURNAL, "stale")),
    ("a stale body may enqueue children",
     '            if not owned:\n                raise ClaimLost(claim.task, claim.attempt, "enqueue")\n', "",
     only(JOURNAL, "stale")),
    ("a stale body may block",
     '            if not self.execute(_OWNED, *fence):\n                raise ClaimLost(claim.task, claim.attempt, "block")\n',
     "",
     only(JOURNAL, "stale")),
    ("a stale body may note values",
     '            if not self.execute(_OWNED, claim.task, claim.attempt, claim.epoch):\n'
     '                raise ClaimLost(claim.task, claim.attempt, "note")\n', "", only(SEEN, "stale")),
    ("a stale worker claims tasks of the incarnation after its own",
     "if self.of_epoch is not None and self.of_epoch != (epoch := self.epoch()):",
     "if self.of_epoch is not None and self.of_epoch > (epoch := self.epoch()):", FENCE),
    ("a stale outcome ends the chain all the same",
     "        if not moved:\n            return False\n        self.execute(_END_ATTEMPT",
     "        self.execute(_END_ATTEMPT", only(JOURNAL, "stale")),
    ("a claim takes what a replay mismatch stopped",
     "WHERE state = 'ready' AND stopped IS NULL ORDER BY depth DESC, id LIMIT 1)",
     "WHERE state = 'ready' ORDER BY depth DESC, id LIMIT 1)", only(JOURNAL, "stopped")),
    ("a claim begins no attempt",
     "            self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at)\n", "",
     only(JOURNAL, "claim_names")),
    ("a claim keeps the number of the attempt",
     "move = 'claim', moved = ?, attempt = attempt + 1,", "move = 'claim', moved = ?, attempt = max(attempt, 1),",
     only(JOURNAL, "deaths_are_used_up")),
    ("any process may use the connection that another opened",
     "        if self._opened_by != os.getpid():\n            raise RuntimeError(",
     "        if not self._opened_by:\n            raise RuntimeError(", only(JOURNAL, "did_not_open")),
    )
_in("worker.py",
    ("a worker writes on nobody's behalf",
     "self.interrupts, full_wait_s, epoch)", "self.interrupts, full_wait_s)", FENCE),
    )
_in("schema.py",
    ("a succeeded task may change",
     "BEFORE UPDATE OF {_FIXED} ON task WHEN OLD.state = 'succeeded'",
     "BEFORE UPDATE OF {_FIXED} ON task WHEN OLD.state = 'succeeded' AND NEW.state = 'failed'",
     only(STATES, "succeeded_task")),
    ("an ended attempt may change",
     "BEFORE UPDATE ON attempt WHEN OLD.ended IS NOT NULL", "BEFORE UPDATE ON attempt WHEN OLD.ended IS NULL AND 0",
     only(STATES, "ended_attempt")),
    ("any move is legal", "WHERE move = NEW.move AND source = OLD.state AND target = NEW.state)",
     "WHERE source = OLD.state AND target = NEW.state)", STATES),
    )
_in("takeover.py",
    ("a take-over does not raise the epoch",
     '        journal.execute("UPDATE run SET epoch = ?, state = ?, ended = NULL", epoch, RUN_RUNNING)',
     '        journal.execute("UPDATE run SET state = ?, ended = NULL", RUN_RUNNING)', only(JOURNAL, "in_flight")),
    )
_in("home.py",
    ("the run's lock is shared",
     "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n                break",
     "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n                break", only(ONE, "two_resumes")),
    ("a run whose lock is held by what is left of a dead runner is taken over",
     "                if lives or time.monotonic() > give_up:", "                if not lives:\n                    break\n"
     "                if lives or time.monotonic() > give_up:", only(ONE, "under_way or outlives")),
    ("a look at a run takes its lock alone",
     "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
     only(SEEN, "look")),
    ("a draft that is just being made is removed by another submission",
     "if time.time() - path.stat().st_mtime > _DRAFT_S and not RunDirectory(path).is_alive():",
     "if not RunDirectory(path).is_alive():", only(SEEN, "draft")),
    ("a slow submission's draft is removed by another",
     "if time.time() - path.stat().st_mtime > _DRAFT_S and not RunDirectory(path).is_alive():",
     "if time.time() - path.stat().st_mtime > _DRAFT_S:", only(SEEN, "draft")),
    )
_in("launch.py",
    ("a run is journaled before its lock is taken",
     "        alive = draft.take_alive_lock(host.start_time)\n        with Journal(",
     "        alive = os.open(draft.alive_lock, os.O_RDWR)\n        with Journal(", only(SEEN, "lock_is_held")),
    ("a resume takes no lock",
     "    if alive is None:\n        alive = directory.take_alive_lock(host.start_time)\n",
     "    if alive is None:\n        alive = os.open(directory.alive_lock, os.O_RDWR | os.O_CLOEXEC)\n",
     only(ONE, "two_resumes")),
    )

# --- what a power cut must not take ------------------------------------------------------------------------------------

DURABLE = only(SEEN, "durable")
_in("journal.py",
    ("a settling is not durable", 'durable=True, operation="settle"', 'durable=False, operation="settle"', DURABLE),
    ("a submission is not durable", 'durable=True, operation="submit"', 'durable=False, operation="submit"', DURABLE),
    ("a revocation is not durable", 'durable=True, operation="revoke"', 'durable=False, operation="revoke"', DURABLE),
    ("a note is not durable", 'durable=True, operation="note"', 'durable=False, operation="note"', DURABLE),
    ("a loss is not durable", 'durable=True, operation="lose"', 'durable=False, operation="lose"', DURABLE),
    ("an end is not durable", 'durable=True, operation="finish"', 'durable=False, operation="finish"', DURABLE),
    ("a stopped replay is not durable", 'durable=True, operation="stop"', 'durable=False, operation="stop"', DURABLE),
    ("a claim that must be durable is not", 'durable=True, operation="be sure"', 'durable=False, operation="be sure"', DURABLE),
    ("a claim that must be durable writes nothing, so nothing is synced",
     '            self.execute("UPDATE attempt SET started = ? WHERE task = ? AND number = ? AND ended IS NULL",\n'
     '                         now, claim.task, claim.attempt)\n', '            self.execute("UPDATE run SET epoch = epoch")\n',
     DURABLE),
    ("once a commit was not durable none is",
     "        if durable != self._is_durable:\n", "        if self._is_durable is None:\n", DURABLE),
    ("durable is one step less than it should be",
     '"PRAGMA synchronous = FULL" if durable', '"PRAGMA synchronous = NORMAL" if durable', DURABLE),
    ("results go to no blob",
     "        outcome = self._put_away(outcome)  # durable before the row that names it\n"
     '        with self.transaction(durable=True, operation="settle") as now:\n',
     "        put_away, self.directory.spill = self._put_away, lambda text: text\n"
     '        with self.transaction(durable=True, operation="settle") as now:\n', DURABLE),
    ("arguments go to no blob",
     "        return [replace(member, arguments=self.directory.spill(member.arguments)) for member in members]",
     "        return list(members)", only(JOURNAL, "blob")),
    )
_in("takeover.py",
    ("a take-over is not durable", 'durable=True, operation="take over"', 'durable=False, operation="take over"', DURABLE),
    )
_in("home.py",
    ("normal is the usual durability",
     'os.environ.get("FIREXLITE_DURABILITY") or "full"', 'os.environ.get("FIREXLITE_DURABILITY") or "normal"', DURABLE),
    ("a blob is not synced", "                    os.fsync(file.fileno())\n", "", DURABLE),
    ("a blob has its name before it is complete",
     "                    file.flush()\n                    os.fsync(file.fileno())\n"
     '                faults.reach("blob drafted")\n                os.rename(draft, target)\n',
     "                    os.rename(draft, target)\n"
     "                    file.flush()\n                    os.fsync(file.fileno())\n"
     '                faults.reach("blob drafted")\n', DURABLE),
    ("a blob is synced before it is written out",
     "                    file.flush()\n                    os.fsync(file.fileno())\n",
     "                    os.fsync(file.fileno())\n",
     DURABLE),
    ("the name of a blob is not durable",
     "            fsync_directory(self.blobs)  # also for one that is there: its maker may have died before this\n",
     "            pass\n", DURABLE),
    ("the name of a blob that was there already is taken for durable",
     "        with storage(target):\n            fsync_directory(self.blobs)",
     "            with storage(target):\n                fsync_directory(self.blobs)", DURABLE),
    ("the names in a run's directory are not durable",
     "            fsync_directory(self.path)\n            if lodging", "            if lodging", DURABLE),
    ("the name of a run is not durable",
     "            os.rename(self.path, run.path)\n            fsync_directory(run.path.parent)\n",
     "            os.rename(self.path, run.path)\n", DURABLE),
    ("the name of a run is made durable before it has it",
     "            os.rename(self.path, run.path)\n            fsync_directory(run.path.parent)\n",
     "            fsync_directory(run.path.parent)\n            os.rename(self.path, run.path)\n", DURABLE),
    ("a payload is believed whatever its blob holds now",
     "        if hashlib.sha256(data).hexdigest() != name:", "        if not data:", only(JOURNAL, "damaged_blob")),
    ("run.json is written in place",
     '    draft = path.with_name(f".{path.name}.{os.getpid()}")', "    draft = path", only(SEEN, "whole")),
    )
_in("launch.py",
    ("a run is published before its journal is durable",
     "        with Journal(draft, request.workers, Counter(board), full_wait_s=request.full_wait_s) as journal:\n",
     "        draft = draft.publish()\n"
     "        with Journal(draft, request.workers, Counter(board), full_wait_s=request.full_wait_s) as journal:\n", DURABLE),
    )
_in("worker.py",
    ("a claim of a body that must not run twice is not made durable",
     '            if claim.on_interrupt != "retry":', '            if claim.on_interrupt == "never":', only(SEEN, "sure")),
    ("a noted value is not journaled",
     "            self._own(lambda: self.journal.note(self.claim, name, number, text))\n", "",
     only(REPLAY, "recorded_helpers")),
    )

# --- one transaction, alone ---------------------------------------------------------------------------------------------

ORDER = only(SEEN, "told or alone")
_in("journal.py",
    ("the bell is rung before the commit",
     '                        yield self.clock()\n                        faults.reach(operation, "written")\n',
     '                        yield self.clock()\n                        self._ring()\n'
     '                        faults.reach(operation, "written")\n', ORDER),
    ("the bell is rung after the lock was let go",
     '                self._ring()\n            finally:\n                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)\n'
     '            faults.reach(operation, "rung")',
     '            finally:\n                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)\n            self._ring()\n'
     '            faults.reach(operation, "rung")', ORDER),
    ("the bell is not rung", '                self._ring()\n            finally:', '            finally:', JOURNAL),
    ("a transaction takes no lock",
     "                fcntl.flock(self._lock_fd, fcntl.LOCK_EX)  # inside:", "                # inside:", ORDER),
    ("the lock is let go before the commit",
     '                        yield self.clock()\n', '                        yield self.clock()\n'
     '                        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)\n', ORDER),
    ("a failed transaction keeps the lock",
     '            finally:\n                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)\n'
     '            faults.reach(operation, "rung")',
     '            except GeneratorExit:\n                raise\n            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)\n'
     '            faults.reach(operation, "rung")', ORDER),
    ("the journal is closed outside of the lock",
     '        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)\n        self.db.close()', '        self.db.close()', ALONE),
    ("the journal is opened outside of the lock",
     "        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)\n        try:\n            self.db.connect()",
     "        try:\n            self.db.connect()", ALONE),
    ("the journal is folded outside of the lock",
     '            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)\n            try:\n                faults.reach("fold locked")',
     '            try:\n                faults.reach("fold locked")', ORDER),
    ("the log is trimmed outside of the lock",
     '            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)\n'
     '            try:\n                self.execute(f"PRAGMA busy_timeout',
     '            try:\n                self.execute(f"PRAGMA busy_timeout', ORDER),
    ("folding leaves the log beside the journal",
     '                faults.reach("fold written")\n                self.execute(_NO_ROLLBACK_FILE)\n',
     '                faults.reach("fold written")\n', only(JOURNAL, "folded")),
    ("folding makes a rollback journal that a kill leaves behind",
     '_NO_ROLLBACK_FILE = "PRAGMA journal_mode = MEMORY"', '_NO_ROLLBACK_FILE = "PRAGMA journal_mode = DELETE"',
     only(SEEN, "rollback")),
    ("a settling is two transactions",
     "            if claims_next:\n                return self._claim_next(now, worker, log_end)\n"
     "            self._note_startable(self._unblock_who_can_go_on(now))\n            return None\n",
     '        with self.transaction(durable=False, operation="claim") as now:\n'
     "            if claims_next:\n                return self._claim_next(now, worker, log_end)\n"
     "            self._note_startable(self._unblock_who_can_go_on(now))\n            return None\n",
     only(JOURNAL, "changes_nothing_at_all or same_transaction")),
    ("the next task is released before the result is journaled",
     "        outcome = self._put_away(outcome)  # durable before the row that names it\n",
     "        outcome = self._put_away(outcome)  # durable before the row that names it\n"
     "        if isinstance(outcome, Success) and claim.task < claim.last:\n"
     '            with self.transaction(durable=False, operation="release") as now:\n'
     "                self.execute(_RELEASE, now, claim.task + 1)\n",
     only(JOURNAL, "changes_nothing_at_all or same_transaction")),
    ("threads of a body share a transaction", "        with self._critical, self._mutex:", "        with self._critical:",
     only(SEEN, "threads")),
    ("signals strike in the midst of a transaction", "        with self._critical, self._mutex:", "        with self._mutex:",
     only(PROCESSES, "alarm")),
    ("a fork of a service keeps the lock file",
     "        if self._lock_fd >= 0:\n            os.close(self._lock_fd)\n", "        if self._lock_fd >= 0:\n",
     only(SEEN, "fork_of_a_service")),
    )
_in("worker.py",
    ("a service's forks keep the journal", "        self.journal.forget()\n", "", only(SEEN, "fork_of_a_service")),
    )

# --- slots and wake-ups ---------------------------------------------------------------------------------------------------

_in("journal.py",
    ("a waiting parent keeps its slot",
     "_RUNNING = \"SELECT count(*) FROM task WHERE state = 'running'\"",
     "_RUNNING = \"SELECT count(*) FROM task WHERE state IN ('running', 'blocked')\"", only(JOURNAL, "slot")),
    ("a parent that is woken takes no slot",
     "            free -= len(unblocked)\n", "", only(JOURNAL, "slot")),
    ("nobody is told of the slot that a waiting parent gave up",
     "_KEEP_WAITING, claim.task)]\n            self._note_startable(self._unblock_who_can_go_on(now))\n",
     "_KEEP_WAITING, claim.task)]\n            self._unblock_who_can_go_on(now)\n", only(SEEN, "gives_up_a_slot")),
    ("nobody is told of a new child",
     "digest, members, held)\n            self._note_startable(self._unblock_who_can_go_on(now))\n",
     "digest, members, held)\n", only(JOURNAL, "ring or enqueued")),
    ("nobody is told of a lost task that is ready again",
     "fails=task in failed)\n            self._note_startable(self._unblock_who_can_go_on(now))\n",
     "fails=task in failed)\n", only(JOURNAL, "death or deaths or lost")),
    ("nobody is told of a second free slot",
     "            self._note_startable(free - 1)\n", "", only(SEEN, "second_slot")),
    ("the oldest is claimed first, however deep others are",
     "WHERE state = 'ready' AND stopped IS NULL ORDER BY depth DESC, id LIMIT 1)",
     "WHERE state = 'ready' AND stopped IS NULL ORDER BY id LIMIT 1)", only(JOURNAL, "deepest")),
    ("one thread's wake-up is lost when another still waits",
     "            if others_wait or not self.execute(_MARK_WAKEABLE, waiter):",
     "            if not others_wait and not self.execute(_MARK_WAKEABLE, waiter):", only(JOURNAL, "thread")),
    ("a parent goes on when the first of several children ended",
     '            elif self.execute("SELECT 1 FROM awaited WHERE waiter = ? AND wait = ? LIMIT 1", waiter, wait):\n'
     "                continue\n", "", only(JOURNAL, "wait_for_any")),
    ("a wait for any ends with the last",
     "            if any_is_enough:\n                self.execute(\"DELETE", "            if any_is_enough and False:\n"
     "                self.execute(\"DELETE", only(JOURNAL, "wait_for_any")),
    ("whoever asks for what has ended already waits for ever",
     "ON task.id = json_each.value AND task.state IN {SQL_OPEN}\n", "ON task.id = json_each.value\n",
     only(JOURNAL, "ended")),
    ("a parent is not told that a child was revoked",
     "        for task in revoked:\n            self._ended(task, task)\n", "",
     only(JOURNAL, "revok")),
    ("a parent is not told that a child failed",
     "            self._skip_after(now, claim.task, claim.last)\n        return True",
     "            self.execute(_SKIP, now, claim.task + 1, claim.last)\n        return True",
     only(SEEN, "in_the_midst_of_its_chain")),
    ("a parent is not told that a child's worker died too often",
     "        self._skip_after(now, task, last)\n", "        self.execute(_SKIP, now, task + 1, last)\n",
     only(JOURNAL, "death")),
    ("a run is quiet while tasks are ready",
     "            return free == self.slots and not self._startable", "            return free == self.slots",
     only(SEEN, "quiet")),
    ("a run that is to stop claims on",
     "        if self.bell.stopping:\n            return None\n        free", "        free", only(JOURNAL, "stopping")),
    ("a timed-out wait leaves the task without a slot",
     "            self.execute(_UNBLOCK_ONE, now, claim.task, claim.attempt, claim.epoch)\n", "", only(JOURNAL, "time")),
    ("a task that waits in another thread takes the slot that it could have had",
     "                self._unblocked += [worker for (worker,) in self.execute(_KEEP_WAITING, claim.task)]\n",
     "                pass\n", only(JOURNAL, "another_thread")),
    ("a body whose thread still waits cannot be settled",
     "                self.execute(_UNBLOCK_ONE, now, *fence)\n                moved", "                moved",
     only(JOURNAL, "one_of_its_threads")),
    )
_in("board.py",
    ("a promised worker is not counted, so too many are forked",
     "            self.board.cells[COMING] += missing  #", "            pass  #", only(SEEN, "board")),
    ("a worker at rest is not known to be",
     "        self.board.set_status(worker, RESTS)\n", "", only(SEEN, "board")),
    ("a revocation that was for the attempt before hits the next one",
     "        self.board.mark_revoked(worker, 0, 0)  # here, where nobody can mark it: it was for the attempt before\n", "",
     only(SEEN, "board")),
    ("a worker that never came stays promised",
     "        self.cells[IDLE], self.cells[COMING] = statuses.count(RESTS), statuses.count(COMES)",
     "        self.cells[IDLE] = statuses.count(RESTS)", only(SEEN, "board")),
    ("a blocked worker is not woken when the run is to stop",
     "        for worker in unblocked:\n            self.address.send(worker)\n"
     "        if self.board.stopping:\n            return\n",
     "        if self.board.stopping:\n            return\n"
     "        for worker in unblocked:\n            self.address.send(worker)\n",
     only(SEEN, "board")),
    )
_in("worker.py",
    ("a wake-up between the look and the rest is lost",
     "            if self._heard != heard:\n                return\n", "", only(SEEN, "heard or hears")),
    ("of several waiting threads only one is woken",
     "                self._ears.notify_all()", "                self._ears.notify()", only(SEEN, "heard or hears")),
    )

# --- ends of tasks ----------------------------------------------------------------------------------------------------------

_in("journal.py",
    ("what follows a failure is not skipped",
     "            self.execute(_SKIP, now, task + 1, last)\n            self._tell", "            self._tell",
     only(JOURNAL, "skips")),
    ("what follows a task that lost too many workers is not skipped",
     "        self._skip_after(now, task, last)\n", "        self._ended(task, last)\n", only(JOURNAL, "deaths")),
    ("what stands below a task that lost too many workers goes on",
     "        self.revoke_below(now, task)\n        self._tell(self.bell.count, failed=1)",
     "        self._tell(self.bell.count, failed=1)",
     only(JOURNAL, "death")),
    ("children go on when their parent ended",
     "            self.revoke_below(now, claim.task)\n", "", only(JOURNAL, "open_when_their_parent")),
    ("only the children of a revoked task are revoked, not theirs",
     "        doomed = json.dumps([row[0] for row in self.execute(_BELOW, json.dumps(tasks))])",
     "        doomed = json.dumps([*tasks, *(row[0] for task in tasks for row in self.execute(_OPEN_CHILDREN, task))])",
     only(JOURNAL, "revok")),
    ("an attempt that was revoked stays open",
     '        self._interrupted += self.execute(_CUT_ATTEMPTS, now, "revoked", doomed)\n', "", only(JOURNAL, "revok")),
    ("an attempt that was lost stays open",
     '        self.execute(_END_ATTEMPT, now, "failed" if fails else "lost", error, None, task, attempt)\n', "",
     only(JOURNAL, "deaths")),
    ("a settled attempt stays open",
     "        self.execute(_END_ATTEMPT, now, how, error, log_end, claim.task, claim.attempt)\n", "", JOURNAL),
    ("the revoked still wait",
     '        self.execute("DELETE FROM awaited WHERE waiter IN (SELECT value FROM json_each(?))", doomed)\n', "",
     only(JOURNAL, "revok")),
    ("deaths are not counted",
     'held = self.execute("SELECT id, deaths + 1, worker', 'held = self.execute("SELECT id, deaths, worker',
     only(JOURNAL, "deaths")),
    ("deaths are counted twice", 'held = self.execute("SELECT id, deaths + 1, worker',
     'held = self.execute("SELECT id, deaths + 2, worker', only(JOURNAL, "deaths")),
    ("one death fewer is survived than allowed",
     'on_interrupt == "retry" and deaths > allowed', 'on_interrupt == "retry" and deaths >= allowed', only(JOURNAL, "deaths")),
    ("a blocked task is not given back when its worker dies",
     "\"AND epoch = (SELECT epoch FROM run) AND state IN ('running', 'blocked')\", worker)",
     "\"AND epoch = (SELECT epoch FROM run) AND state = 'running'\", worker)", only(JOURNAL, "blocked_task_is_lost")),
    ("a body that may have done its work is run again by itself",
     "now, deaths, int(unsure), ASK if unsure else None, task)", "now, deaths, int(unsure), None, task)",
     only(SIDE_EFFECTS, "asks_a_person")),
    ("a failed run is called successful if any task of it succeeded",
     '            elif submitted == {"succeeded"}:', '            elif "succeeded" in submitted:', only(SEEN, "end_of_a_run")),
    ("a run is finished while tasks are open",
     '            if submitted & OPEN or (interrupted and submitted != {"succeeded"}):',
     '            if interrupted and submitted != {"succeeded"}:', only(SEEN, "end_of_a_run")),
    ("a run that was interrupted at its very end did not succeed",
     '            if submitted & OPEN or (interrupted and submitted != {"succeeded"}):',
     '            if submitted & OPEN or interrupted:', only(SEEN, "end_of_a_run")),
    ("the output of a task is that of all before it too",
     "self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, log_at)",
     "self.execute(_BEGIN_ATTEMPT, claim.task, claim.attempt, claim.epoch, worker, now, 0)", only(JOURNAL, "claim_names")),
    )
_in("worker.py",
    ("a body that is cut off by the end of the run has failed",
     "            if self.board.stopping:\n                return None\n            outcome", "            outcome",
     only(CTRL_C, "interrupted_run")),
    ("children are not waited for at the end of a body",
     "            self.wait(left, any_is_enough=False, max_wait_s=None)  #", "            pass  #", "tests/test_services.py"),
    ("children of an attempt before are forgotten if they are not asked for again",
     "        return bool(self._tails or self._replay.total)", "        return bool(self._tails)", only(SEEN, "left_out")),
    ("the shell commands of a revoked body live on",
     "            host.kill_descendants()  # the shell", "            pass  # the shell", only(PROCESSES, "revoked_body")),
    ("a task's output begins where that of the one before it did",
     "        return self.journal.settle(claim, outcome, self.number, self.log.size(), is_parent",
     "        return self.journal.settle(claim, outcome, self.number, 0, is_parent", only(SEEN, "output")),
    ("a body is not put back into the working directory",
     "                os.fchdir(self._folder)", "                pass", only(SEEN, "folder")),
    )
_in("interrupts.py",
    ("a revocation between claim and body is lost",
     "        self.on_signal(signal.SIGTERM, None)\n", "", only(SEEN, "before_its_body")),
    ("what is held back in a transaction never comes",
     "        if reason is not None and self.attempt is not None:\n            raise reason", "        pass",
     only(SEEN, "held_back")),
    ("an alarm that a body left rings in the next", "        signal.setitimer(signal.ITIMER_REAL, 0)\n", "",
     only(PROCESSES, "alarm_that")),
    )

# --- replay and resume --------------------------------------------------------------------------------------------------------

_in("replay.py",
    ("of two equal calls the newest is matched first",
     "                call = calls.popleft()", "                call = calls.pop()",
     only(SEEN, "replay")),
    ("calls are matched by their order",
     "            self._left[call.digest].append(call)", '            self._left[""].append(call)',
     only(RESUME, "another_order")),
    ("a call that is not recorded starts at once",
     "                held = may_hold and self._strict and self._to_ask > 0", "                held = False", REPLAY),
    ("held calls are released with the first that is recorded",
     "            if self._held and not (self._strict and self._to_ask):", "            if self._held:", REPLAY),
    ("held calls are never released",
     "                release([head for head, _ in self._held.values()])\n", "", only(SEEN, "replay")),
    ("a body may leave out what it asked for before",
     "        return self._strict and self._to_ask > 0\n", "        return False\n", only(SEEN, "replay")),
    ("what a body left out is not set aside",
     "        return tuple(call.head for calls in self._left.values() for call in calls)", "        return ()", REPLAY),
    )
_in("journal.py",
    ("held chains are ready at once", "            released = i == 0 and not held", "            released = i == 0",
     only(JOURNAL, "held")),
    ("what was set aside is matched again",
     "\"AND digest IS NOT NULL AND NOT aside ORDER BY id\", claim.task, claim.retry)",
     "\"AND digest IS NOT NULL ORDER BY id\", claim.task, claim.retry)", REPLAY),
    ("children of an earlier try are matched",
     'WHERE parent = ? AND parent_retry = ? "\n', 'WHERE parent = ? AND parent_retry >= min(0, ?) "\n',
     only(SEEN, "earlier_try")),
    ("notes of an earlier try are given again",
     'FROM noted WHERE task = ? AND retry = ?"', 'FROM noted WHERE task = ? AND retry >= min(0, ?)"',
     only(SEEN, "earlier_try")),
    )
_in("worker.py",
    ("the first replay finds nothing recorded",
     "self.journal.recorded_calls(claim) if claim.attempt > 1 else []",
     "self.journal.recorded_calls(claim) if claim.attempt > 2 else []",
     only(RESUME, "corrected_child")),
    ("the first replay finds nothing noted",
     "self.journal.notes(claim) if claim.attempt > 1 else {}", "self.journal.notes(claim) if claim.attempt > 2 else {}",
     only(REPLAY, "recorded_helpers")),
    ("all notes of a name are one",
     "        self._note_numbers[name] += 1\n", "", only(REPLAY, "recorded_helpers")),
    ("every replay may take another path", "strict=not claim.relaxed)", "strict=False)", REPLAY),
    ("no replay may take another path", "strict=not claim.relaxed)", "strict=True)", only(RESUME, "corrected_child")),
    )
_in("takeover.py",
    ("running tasks are not given back",
     "FROM task WHERE state IN ('running', 'blocked') ORDER BY depth DESC, id\"):",
     "FROM task WHERE state = 'blocked' ORDER BY depth DESC, id\"):",
     only(JOURNAL, "in_flight")),
    ("blocked tasks are not given back",
     "FROM task WHERE state IN ('running', 'blocked') ORDER BY depth DESC, id\"):",
     "FROM task WHERE state = 'running' ORDER BY depth DESC, id\"):",
     only(JOURNAL, "in_flight")),
    ("a resume runs again what a person is to decide about",
     "WHERE stopped IS NOT NULL AND NOT unsure\")", "WHERE stopped IS NOT NULL\")", only(SIDE_EFFECTS, "asks_a_person")),
    ("a stopped task is stopped for ever",
     "        journal.execute(\"UPDATE task SET stopped = NULL WHERE stopped IS NOT NULL AND NOT unsure\")\n", "",
     only(JOURNAL, "stopped")),
    ("the end of all processes counts as a death of each task's worker",
     "journal.give_back(now, task, deaths, error,", "journal.give_back(now, task, deaths + 1, error,",
     only(JOURNAL, "in_flight")),
    ("a run that was killed again and again is never given up",
     "killed >= INCARNATION_DEATHS", "killed < 0", only(SEEN, "in_a_row")),
    ("a run is given up however far it came in between",
     "WHERE epoch > ? AND epoch >= ?\", ended, succeeded_in)", "WHERE epoch > ? AND epoch >= min(?, 0)\", ended, succeeded_in)",
     only(SEEN, "in_a_row")),
    ("a run that ended by itself counts as killed",
     "WHERE epoch > ? AND epoch >= ?\", ended, succeeded_in)",
     "WHERE epoch >= min(?, 0) AND epoch >= ?\", ended, succeeded_in)",
     only(SEEN, "in_a_row")),
    ("deaths are not forgiven when a task is reopened",
     "move = 'reopen', moved = ?, deaths = 0, relaxed = 1", "move = 'reopen', moved = ?, relaxed = 1",
     only(JOURNAL, "reopens")),
    ("a reopened parent must ask for what it asked before",
     "move = 'reopen', moved = ?, deaths = 0, relaxed = 1", "move = 'reopen', moved = ?, deaths = 0", only(JOURNAL, "reopens")),
    ("a failure that its parent handled is reopened",
     "WHERE parent IS NULL AND NOT aside AND state IN ('failed', 'skipped', 'revoked')\")}",
     "WHERE NOT aside AND state IN ('failed', 'skipped', 'revoked')\")}", only(JOURNAL, "reopens")),
    ("only the first level of what failed is reopened",
     "        reopened += len(tasks)\n        chains = {", "        reopened += len(tasks)\n        chains = {} and {",
     only(JOURNAL, "reopens")),
    ("what follows a reopened task is ready with it",
     '        target = "waiting"\n', "", only(JOURNAL, "reopens")),
    ("what was set aside is reopened",
     "AND child.parent_retry = above.retry \"\n            \"AND NOT child.aside AND child.state",
     "AND child.parent_retry = above.retry \"\n            \"AND child.state", only(JOURNAL, "reopens")),
    ("a parent whose code changed must ask for what it asked before",
     "        journal.execute(\"UPDATE task SET relaxed = 1 WHERE service = ? AND state = 'ready'\", name)\n", "",
     only(JOURNAL, "reopens")),
    ("changed code is not recorded", "        journal.execute(KNOWN_SERVICE, name, *digests[name])\n", "",
     only(JOURNAL, "loaded_now")),
    ("a task that is restarted keeps its notes",
     '    journal.execute("DELETE FROM noted WHERE task = ?", task)\n', "", only(SEEN, "restarted")),
    ("the old children of a restarted task go on",
     '    journal.revoke_below(now, task)\n    journal.execute("DELETE FROM noted',
     '    journal.execute("DELETE FROM noted', only(SEEN, "restarted")),
    ("what a person says was returned need not be what the service declares",
     "    if declared is not None and not _fits(set(declared), set(returned)):",
     "    if declared is not None and not returned:",
     only(SEEN, "marked_done")),
    )

# --- processes --------------------------------------------------------------------------------------------------------------

ORPHANS = "tests/promises/test_p08_no_orphans.py"
_in("runner.py",
    ("a worker that exits with 0 has done its work",
     "            if number is None:\n                continue  # an orphan that was adopted\n",
     "            if number is None or status == 0:\n                continue  # an orphan that was adopted\n",
     only(PROCESSES, "three_deaths")),
    ("workers outlive their runner", "            host.die_with_parent(runner, signal.SIGKILL)\n", "",
     only(ORPHANS, "crashed_runner")),
    ("workers are of their runner's session", "            os.setsid()\n", "", only(SEEN, "session")),
    ("shell commands of a dead worker live on",
     "                os.killpg(pid, signal.SIGKILL)  # shell", "                pass  # shell", only(SEEN, "session")),
    ("the runner adopts no orphans", "        host.adopt_orphans()\n", "", only(SEEN, "session")),
    ("workers that are left are not killed",
     "        host.end_descendants()\n        self.workers.clear()", "        self.workers.clear()", ORPHANS),
    ("a second request to stop is as patient as the first",
     "            self.stop_by = now\n        if os.getppid()", "            pass\n        if os.getppid()",
     only(SEEN, "requests_to_stop")),
    ("one Ctrl-C told by two senders counts as two",
     "        elif now - self.stop_asked > SAME_REQUEST_S:", "        else:", only(SEEN, "requests_to_stop")),
    ("a runner whose front was killed waits for bodies as long as ever",
     "            self.stop_by = min(self.stop_by, now + ALONE_S)", "            pass", ORPHANS),
    ("a revoked body that does not end is never killed",
     "            elif time.monotonic() > self.revoking[pid]:\n                os.kill(pid, signal.SIGKILL)\n", "",
     only(SEEN, "revoked_body")),
    ("a revoked body is not told",
     "                os.kill(pid, signal.SIGTERM)\n                self.address.send(number)\n            elif",
     "                self.address.send(number)\n            elif", only(PROCESSES, "revoked")),
    ("the deaths of workers that never begin are not counted",
     "            self.barren = self.barren + 1 if self.board.status(number) == COMES else 0", "            self.barren = 0",
     only(PROCESSES, "cannot_even_begin")),
    ("a worker that cannot be forked leaves its place taken",
     "            self.board.never_came(number)\n", "", only(SEEN, "board")),
    ("a finished journal is not folded", "            journal.fold()\n", "            pass\n", only(SEEN, "finished_run")),
    ("the wake-up sockets stay behind", "    _remove_folder(directory.wake)\n    write_run_json", "    write_run_json",
     only(SEEN, "finished_run")),
    ("run.json stays as it was", "    write_run_json(directory)\n    faults.reach(\"tidied\")", "    faults.reach(\"tidied\")",
     only(SEEN, "finished_run")),
    ("a run that failed may end with 0", "return code if isinstance(code, int) and 0 < code < 256 else 1",
     "return code if isinstance(code, int) and code < 256 else 1", only(PROCESSES, "exit_code")),
    ("an interrupted run's signal is not told by its exit code",
     "            return 128 + self.stop_signal", "            return 1", only(CTRL_C, "interrupted_run")),
    ("the runner keeps a connection open over forks",
     "        with self._journal() as journal:\n            self.is_quiet = journal.is_quiet",
     "        journal = self._journal().open()\n        self._kept = journal\n"
     "        if journal:\n            self.is_quiet = journal.is_quiet",
     only(SEEN, "forks")),
    )
_in("host.py",
    ("a parent that died before it was asked about is not missed",
     "    if os.getppid() != parent:  # it died before the call\n        os._exit(128 + signal_number)\n", "",
     only(SEEN, "parent")),
    ("only children are killed, not theirs",
     "        yield child\n        yield from descendants(child)\n", "        yield child\n", only(SEEN, "descendants")),
    ("a process that died is taken for one that lives",
     '    return None if fields[0] in (b"Z", b"X") else int(fields[19])', "    return int(fields[19])",
     only(SEEN, "start_time")),
    )
_in("front.py",
    ("the front adopts no orphans", "        host.adopt_orphans()\n        self._listen", "        self._listen", ORPHANS),
    ("the front lets orphans live", "        host.end_descendants()\n", "", ORPHANS),
    ("a signal is not passed on",
     "                os.kill(self._pid, number)\n\n    def _run_one", "                pass\n\n    def _run_one",
     only(CTRL_C, "interrupted_run")),
    ("the run outlives its front", "        host.die_with_parent(front, signal.SIGTERM)\n", "", ORPHANS),
    ("a runner that is stuck is never killed",
     "            if self._signal is not None and not ended and time.monotonic() > self._kill_at:\n",
     "            if False:\n", only(SEEN, "stuck")),
    ("a closed terminal ends the run", "        signal.signal(signal.SIGHUP, signal.SIG_IGN)  #", "        pass  #", ORPHANS),
    )

# --- disks that are full or fail ----------------------------------------------------------------------------------------------

DISK = only(SEEN, "disk")
_in("journal.py",
    ("on a full disk a result is dropped",
     "    @patient\n    def settle(", "    def settle(", DISK),
    ("a full disk is waited for without end",
     "        while time.monotonic() < give_up and not bell.stopping:", "        while not bell.stopping:", DISK),
    ("after a full disk others write on", "    bell.give_up(is_full=True)\n", "", DISK),
    ("after a failed sync others build upon what was lost",
     "        if isinstance(found, StorageFailure) and not isinstance(found, DiskFull):\n"
     "            # The kernel", "        if isinstance(found, DiskFull):\n            # The kernel", DISK),
    ("what is broken is written to",
     "                if self.bell.is_broken:\n", "                if False:\n", DISK),
    ("who waits for space is not counted out again",
     "        bell.want_space(-1)\n", "        pass\n", DISK),
    )
_in("schema.py",
    ("a failed disk is taken for a full one, and written to again",
     '_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN")',
     '_FULL = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")',
     DISK),
    )
