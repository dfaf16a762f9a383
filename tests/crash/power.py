"""Power cuts: what the disk may hold after any operation on the files of a run, and what becomes of the run then.

A run of some fifty tasks is driven over an SQLite whose every write, sync, truncation and deletion is recorded, and those
of blob files too. Then the files are made again as a disk might have them that lost its power after each operation: what
was not synced is there, is not, or is there in parts, by sectors. The journal must be whole; it must be exactly as after
one of the transactions that were begun; and that must be no earlier one than the last that was promised to be durable.
From there the run must come to the end to which it comes undisturbed.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
from playhouse.apsw_ext import APSWDatabase

from firexlite import home, host, lodging
from firexlite.errors import FirexliteError
from firexlite.home import RunDirectory
from firexlite.journal import Journal
from firexlite.journal_file import _Borrowed

from .actors import Broken, ListeningBell, Program, World, endings_of, make_directory
from .parts import Part, Report, Tally, new_folder

SECTOR = 512
FATES = ("kept", "dropped", "torn")  # of what was not synced
TORN = 3                             # how many ways of being torn are tried
VFS = "firexlite-recording"
ENOUGH = 5  # failures to be told of

# What each operation of the journal promises, whatever it asks SQLite for.
DURABLE = {"submit", "settle", "be sure", "note", "stop", "revoke", "lose", "finish", "take over"}

FIFTY = Program("plan|build|test|pack|ship", {
    "plan": [*[("enqueue", f"part {i}|check {i}") for i in range(8)], ("wait",), ("show",)],
    "build": [*[("enqueue", f"unit {i}") for i in range(3)], ("wait",), ("note",)],
    **{f"unit {i}": [*[("enqueue", f"compile {i}.{j}") for j in range(4)], ("wait",)] for i in range(3)},
    "test": [("enqueue", "flaky|never"), ("wait",), ("enqueue", "big report"), ("enqueue", "quick"), ("wait for any",)],
    "flaky": [("fail",)],
    "pack": [*[("enqueue", f"big box {i}|seal {i}") for i in range(5)], ("note",), ("wait",)],
})
_ROWS = ("SELECT * FROM run", "SELECT * FROM incarnation ORDER BY epoch", "SELECT * FROM service ORDER BY name",
         "SELECT * FROM task ORDER BY id", "SELECT * FROM attempt ORDER BY task, number", "SELECT * FROM event ORDER BY id",
         "SELECT * FROM flame ORDER BY task, key", "SELECT * FROM awaited ORDER BY tail, waiter, wait",
         "SELECT * FROM noted ORDER BY task, retry, name, number")
_STATE, _ATTEMPT = 7, 8


# --- recording -------------------------------------------------------------------------------------------------------

@dataclass
class Recording:
    """What happened to the files of a run. operations: `(what, path, ...)`. states: a digest of all rows after each
    transaction, the first of a journal without any."""

    operations: list[tuple] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    ending: tuple = ()

    def add(self, *operation: object) -> None:
        self.operations.append(operation)


class _File(apsw.VFSFile):
    """A file of SQLite's, of which each change is recorded."""

    def __init__(self, recording: Recording, path: str, name: Any, flags: list[int]) -> None:
        is_new = not os.path.exists(path)
        super().__init__("", name, flags)
        self._recording, self._path = recording, path
        if is_new:
            recording.add("create", path)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._recording.add("write", self._path, offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._recording.add("truncate", self._path, size)

    def xSync(self, flags: int) -> bool:
        done = super().xSync(flags)
        self._recording.add("sync", self._path)
        self._recording.add("sync entry", self._path)  # with its first sync SQLite syncs the directory of a new file
        return done


class _Disk(apsw.VFS):
    """The file system as SQLite sees it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        super().__init__(VFS, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _File(self._recording, str(path), name, flags)

    def xDelete(self, path: str, syncs_directory: bool) -> None:
        super().xDelete(path, syncs_directory)
        self._recording.add("delete", path)
        if syncs_directory:
            self._recording.add("sync entry", path)


class _RecordedOs:
    """The `os` of modules that make the log, blob files, or names durable: that is recorded too."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        path = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.isdir(path):
            self._recording.add("sync directory", path)
        elif path.endswith("-wal"):  # what was written there is recorded already
            self._recording.add("sync", path)
        else:
            self._recording.add("create", path)
            self._recording.add("write", path, 0, Path(path).read_bytes())
            self._recording.add("sync", path)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)
        self._recording.add("sync", os.readlink(f"/proc/self/fd/{fd}"))

    def rename(self, source: Any, target: Any) -> None:
        data = Path(source).read_bytes()
        os.rename(source, target)
        self._recording.add("rename", str(source), str(target), data)


class _Database(_Borrowed, APSWDatabase):
    """peewee's for this SQLite, with a connection of the journal's."""


class _RecordedJournal(Journal):
    """Writes by way of an SQLite whose files are recorded."""

    checkpoint_pages = 1000

    def _new_connection(self) -> apsw.Connection:  # type: ignore[override]
        connection = apsw.Connection(str(self.directory.journal), vfs=VFS)
        connection.set_busy_timeout(1000)
        return connection

    def _connect(self) -> None:
        super()._connect()
        self.execute(f"PRAGMA wal_autocheckpoint = {self.checkpoint_pages}")

    @functools.cached_property
    def db(self) -> APSWDatabase:  # type: ignore[override]
        return _Database(self._sqlite)


class RecordedWorld(World):
    """A run whose files are recorded."""

    def __init__(self, directory: RunDirectory, program: Program, recording: Recording, is_full: bool,
                 checkpoint_pages: int) -> None:
        self._recording, self._is_full, self._checkpoint_pages = recording, is_full, checkpoint_pages
        super().__init__(directory, program)

    def _connect_reader(self) -> Any:
        # Of the same SQLite: two of them in one process would take each other's locks away.
        return apsw.Connection(str(self.directory.journal), flags=apsw.SQLITE_OPEN_READONLY)

    def _new_journal(self, bell: ListeningBell) -> Journal:
        journal = _RecordedJournal(self.directory, self.program.slots, bell)
        journal.checkpoint_pages = self._checkpoint_pages
        journal.group.is_on = self._is_full
        return journal

    def _reached(self, operation: str, phase: str = "") -> None:
        super()._reached(operation, phase)
        if phase == "locked":
            self._recording.add("begin", len(self._recording.states))
        elif phase == "committed":
            self._recording.add("commit", len(self._recording.states))
            self._recording.states.append(_digest(self.reader))
        elif phase == "synced" and operation in DURABLE:
            self._recording.add("promise", len(self._recording.states) - 1)

    def go(self, chance: random.Random, steps: int | None = None) -> None:
        """Let the processes make so many steps; None: to the end of the run."""
        for _ in range(steps) if steps is not None else itertools.count():
            if self.ended:
                break
            self.perform(chance.choice(self.steps() or self.safety_nets()))

    def stop(self) -> None:
        """End the incarnation as a Ctrl-C does, and leave the run as a single file."""
        self.perform(("kill all",))
        self.submitter.finish(interrupted=True)
        self.fold()

    def fold(self) -> None:
        self.disconnect()
        with self._journal("tidy") as journal:
            journal.fold()
        self._journals.clear()
        self.open()


def _digest(reader: Any) -> bytes:
    rows = [list(reader.execute(sql)) for sql in _ROWS] if list(reader.execute("SELECT 1 FROM sqlite_master LIMIT 1")) else []
    return hashlib.sha256(repr(rows).encode()).digest()


def record(seed: int = 1, is_full: bool = True, checkpoint_pages: int = 100, program: Program = FIFTY,
           is_disturbed: bool = True) -> Recording:
    """A whole run: killed in its first third, stopped in its second, each time resumed, and left as a single file.

    is_full: as the settings have it; False syncs no commit. checkpoint_pages: how often the log is written
    back; by default ten times as often as in a real run, so that this small one has as many checkpoints as a large one.
    """
    recording, chance = Recording(), random.Random(seed)
    with _folder() as folder, _recorded_os(recording):
        disk = _Disk(recording)
        try:
            recording.states.append(hashlib.sha256(b"[]").digest())
            world = RecordedWorld(make_directory(folder), program, recording, is_full, checkpoint_pages)
            try:
                world.submit()
                if is_disturbed:
                    world.go(chance, 120)
                    world.perform(("kill all",))
                    world.go(chance, 100)
                    world.stop()
                world.go(chance)
                world.fold()
                recording.ending = endings_of(world.rows())
            finally:
                world.close()
        finally:
            disk.unregister()
        path = f"{folder}/"
        recording.operations = [tuple(part.removeprefix(path) if isinstance(part, str) and i else part
                                      for i, part in enumerate(operation)) for operation in recording.operations]
    return recording


@contextlib.contextmanager
def _recorded_os(recording: Recording) -> Iterator[None]:
    """Meanwhile the modules that write files of a run have an `os` that is recorded."""
    home.os = lodging.os = host.os = _RecordedOs(recording)  # type: ignore[assignment]
    try:
        yield
    finally:
        home.os = lodging.os = host.os = os


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = new_folder("power-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- what the disk may hold ----------------------------------------------------------------------------------------------

@dataclass
class Entry:
    """One name. data: what was synced of its file. pending: the changes to it since. is_synced: the name itself was;
    otherwise the disk may still have, under this name, what was there before: some data, or nothing (None)."""

    data: bytes = b""
    exists: bool = True            # as processes see it
    is_synced: bool = True
    before: bytes | None = None
    pending: list[tuple] = field(default_factory=list)

    @property
    def for_sure(self) -> bytes | None:
        """What is there if nothing unsynced has reached the disk; None: no file."""
        if not self.is_synced:
            return self.before
        return self.data if self.exists else None


class Platter:
    """The files of a run as a disk holds them, operation by operation."""

    def __init__(self) -> None:
        self.files: dict[str, Entry] = {}

    def apply(self, what: str, path: str, *more: Any) -> None:
        entry = self.files.get(path) or Entry(exists=False)
        if what == "create":
            entry = Entry(is_synced=False, before=entry.for_sure)
        elif what in ("write", "truncate"):
            entry.exists = True
            entry.pending.append((what, *more))
        elif what == "sync":
            entry.data, entry.pending = _changed(entry.data, entry.pending), []
        elif what == "delete":
            entry = Entry(exists=False, is_synced=False, before=entry.for_sure)
        elif what == "sync entry":
            entry.is_synced = True
        elif what == "rename":
            target, data = more
            if not entry.exists:  # nobody synced it
                entry.pending = [("write", 0, data)]
            entry, path = Entry(entry.data, is_synced=False, pending=entry.pending), target
        elif what == "sync directory":
            for name, other in self.files.items():
                other.is_synced = other.is_synced or os.path.dirname(name) == path
            return
        self.files[path] = entry

    def image(self, fate: str, chance: random.Random) -> dict[str, bytes]:
        """The files after a power cut. fate: of what was not synced; torn: each sector by itself."""
        files = {}
        for path, entry in self.files.items():
            is_dropped = fate == "dropped" or (fate == "torn" and chance.random() < 0.5)
            if is_dropped and not entry.is_synced:
                found = entry.before
            elif entry.exists:
                pending = {"kept": entry.pending, "dropped": [], "torn": list(_torn(entry.pending, chance))}[fate]
                found = _changed(entry.data, pending)
            else:
                found = None
            if found is not None:
                files[path] = found
        return files


def _changed(data: bytes, changes: Sequence[tuple]) -> bytes:
    found = bytearray(data)
    for what, *more in changes:
        if what == "truncate":
            [size] = more
            del found[size:]
            found.extend(bytes(size - len(found)))
        else:
            offset, written = more
            found.extend(bytes(max(0, offset - len(found))))
            found[offset:offset + len(written)] = written
    return bytes(found)


def _torn(changes: Sequence[tuple], chance: random.Random) -> Iterator[tuple]:
    """What of unsynced changes has reached the disk: any of their sectors."""
    for what, *more in changes:
        if what == "truncate":
            if chance.random() < 0.5:
                yield what, *more
            continue
        offset, data = more
        at = 0
        while at < len(data):
            size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
            if chance.random() < 0.5:
                yield "write", offset + at, data[at:at + size]
            at += size


# --- what comes of it ------------------------------------------------------------------------------------------------------

class Inspection:
    """The images of one recording, and what was wrong with them."""

    def __init__(self, recording: Recording, folder: Path, seed: int, resume_every: int) -> None:
        """resume_every: of the journals that come out, each n-th is resumed, once: what follows from equal rows is equal."""
        self.recording, self.folder, self.seed, self.resume_every = recording, folder, seed, resume_every
        self.tally = Tally()
        self._resumed: set[int] = set()
        self._numbers: dict[bytes, list[int]] = {}
        for number, digest in enumerate(recording.states):
            self._numbers.setdefault(digest, []).append(number)

    def cut_everywhere(self, every: int, report: Report | None = None) -> Tally:
        """Cut the power after each operation, several times; or after every n-th, once."""
        platter, promised, begun = Platter(), 0, 0
        trials = [(fate, again) for fate in FATES for again in range(TORN if fate == "torn" else 1)]
        changes = 0
        for i, (what, *more) in enumerate(self.recording.operations):
            if what == "begin":
                begun = more[0]
            elif what == "promise":
                promised = more[0]
            elif what != "commit":
                platter.apply(what, *more)
                changes += 1
                if changes % every == 0:
                    for fate, again in trials if every == 1 else [trials[changes // every % len(trials)]]:
                        image = platter.image(fate, random.Random(f"{self.seed} {i} {again}"))
                        self._cut(i, fate, image, promised, begun)
                if report:
                    report(i + 1, len(self.recording.operations))
        return self.tally

    def _cut(self, i: int, fate: str, files: dict[str, bytes], promised: int, begun: int) -> None:
        if not promised:
            return  # the run has no name yet: what there is of it is thrown away
        self.tally.trials += 1
        self.tally.points.add(f"{self.recording.operations[i][0]} {_kind(str(self.recording.operations[i][1]))}, {fate}")
        run = self._directory(files)
        try:
            self._examine(i, fate, run, promised, begun)
        except (sqlite3.Error, FirexliteError, Broken) as error:
            self._wrong("corrupt", i, fate, f"{type(error).__name__}: {error}")
        finally:
            shutil.rmtree(run.path)

    def _directory(self, files: dict[str, bytes]) -> RunDirectory:
        run = make_directory(self.folder)
        for path, data in files.items():
            place = self.folder / path
            place.write_bytes(data)
        return run

    def _examine(self, i: int, fate: str, run: RunDirectory, promised: int, begun: int) -> None:
        with contextlib.closing(sqlite3.connect(run.journal, isolation_level=None)) as db:
            found = db.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                self._wrong("corrupt", i, fate, str(found[:3]))
                return
            digest = _digest(db)
        numbers = self._numbers.get(digest, [])
        possible = [number for number in numbers if promised <= number <= begun]
        if not possible:
            what = f"it is as after transaction {numbers[-1]}" if numbers else "it is as after no transaction"
            self._wrong("lost" if numbers else "corrupt", i, fate, f"{what}, and {promised} was promised, {begun} begun")
            return
        self._check_blobs(i, fate, run)
        if possible[0] not in self._resumed and possible[0] % self.resume_every == 0:
            self._resumed.add(possible[0])
            self._resume(i, fate, run)

    def _check_blobs(self, i: int, fate: str, run: RunDirectory) -> None:
        with contextlib.closing(sqlite3.connect(run.journal)) as db:
            for (text,) in db.execute("SELECT arguments FROM task UNION SELECT result FROM task UNION SELECT changes FROM task "
                                      "UNION SELECT error FROM attempt").fetchall():
                try:
                    run.unspill(text or "")
                except FirexliteError as error:
                    self._wrong("lost", i, fate, str(error))

    def _resume(self, i: int, fate: str, run: RunDirectory) -> None:
        """Take the run over and drive it to its end, which must be the undisturbed one."""
        world = World(run, FIFTY)
        try:
            before = world.rows()
            chance = random.Random(f"{self.seed} {i}")
            for _ in range(3000):
                if world.ended:
                    break
                world.perform(chance.choice(world.steps() or world.safety_nets()))
            after = world.rows()
            if not world.ended or endings_of(after) != self.recording.ending:
                self._wrong("lost", i, fate, f"it ends otherwise: {set(endings_of(after)[1]) ^ set(self.recording.ending[1])}")
            for old, new in zip(before[1], after[1], strict=False):
                if new[_ATTEMPT] > old[_ATTEMPT] + (old[_STATE] != "succeeded"):
                    self._wrong("doubled", i, fate,
                                f"task {old[0]} was {old[_STATE]} and began {new[_ATTEMPT] - old[_ATTEMPT]} times more")
        finally:
            world.close()

    def _wrong(self, count: str, i: int, fate: str, what: str) -> None:
        setattr(self.tally, count, getattr(self.tally, count) + 1)
        if len(self.tally.failures) < ENOUGH:
            what_was_done = " ".join(str(part)[:80] for part in self.recording.operations[i][:3])
            self.tally.failures.append(f"power cut after operation {i} ({what_was_done}), {fate}, seed {self.seed}: {what}")


def _kind(path: str) -> str:
    """What sort of file it is."""
    if "/blobs" in path:
        return "of a blob"
    return "of the log" if path.endswith("-wal") else "of the journal"


def inspect(recording: Recording, seed: int = 1, every: int = 1, resume_every: int = 1, report: Report | None = None) -> Tally:
    """Cut the power of a recorded run after every n-th operation."""
    with _folder() as folder:
        return Inspection(recording, folder, seed, resume_every).cut_everywhere(every, report)


class PowerCuts(Part):
    """Every operation on the files of a run, each with what was not synced kept, dropped and torn.

    In the first share the log is written back as seldom as in production, in the others ten times as often.
    """

    name = "power cuts"
    shares = 4

    def trials(self, budget_s: float, seed: int, report: Report) -> Tally:
        seed += self.share
        return inspect(record(seed, checkpoint_pages=100 if self.share else 1000), seed, report=report)
