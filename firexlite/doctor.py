"""Examining a run: is its journal whole, do its rows agree, are its files its own, who is at work, what is in force."""
from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import lodging, soundness
from .errors import FirexliteError, JournalUnusable
from .history import History
from .holders import Holder, command_of, have_open, holders
from .home import RunDirectory, batches, durability, home_and_its_source, owner_name
from .own_files import open_own_file
from .schema import SCHEMA
from .trimming import log_limit

_FREED_OF_THE_RACE = ((3, 44, 6), (3, 50, 7))  # releases of older lines that have the correction of 3.51.3
_CHUNK_BYTES = 1 << 20
_NAMED = 5                                     # files or processes named in one line


@dataclass
class Section:
    """One line of the report: what was looked at, what was found, and what of it is wrong."""

    name: str
    found: str
    faults: list[str] = field(default_factory=list)


def faults_of(directory: RunDirectory) -> list[str]:
    """What is wrong with a run's journal and its blobs, a sentence each; none of it is ever so, whatever was killed."""
    return [fault for section in _journal_sections(directory) for fault in section.faults]


def examine(directory: RunDirectory) -> list[Section]:
    """All that can be seen of a run from outside, without changing anything."""
    return [*_journal_sections(directory), _files(directory), _locks(directory), _processes(directory),
            _file_system(directory), _sqlite(), *_settings(directory)]


# --- the journal ----------------------------------------------------------------------------------------------------

def _journal_sections(directory: RunDirectory) -> Iterator[Section]:
    try:
        with History(directory) as history, history.snapshot():
            yield from _examined(history)
    except FirexliteError as error:
        yield Section("integrity", "the journal cannot be read", [str(error)])


def _examined(history: History) -> Iterator[Section]:
    damage = history.damage()
    if damage:
        # Reading on would only say the same in other words.
        faults = [f"{history.directory.journal} is damaged ({damage[0]}); "
                  "a copy of the run's directory from before can take its place", *damage[1:]]
        yield Section("integrity", "damaged", faults)
        return
    yield Section("integrity", f"whole (quick_check), schema {SCHEMA}")
    shapes = [*soundness.faults_of_rows(history), *soundness.name_fault(history)]
    if shapes:
        wrong = "1 is not as firexlite writes it" if len(shapes) == 1 else f"{len(shapes)} are not as firexlite writes them"
        yield Section("rows", wrong, shapes)
        return
    broken = list(soundness.faults_of_rules(history))
    [(tasks, attempts, events)] = history.execute(
        "SELECT (SELECT count(*) FROM task), (SELECT count(*) FROM attempt), (SELECT count(*) FROM event)")
    yield Section("invariants", f"{len(broken) or 'none'} broken, of {len(soundness.RULES) + 2} rules over "
                                f"{_count(tasks, 'task')}, {_count(attempts, 'attempt')}, {_count(events, 'event')}", broken)
    yield Section("incarnations", _incarnations(history))
    yield _blobs(history)


def _incarnations(history: History) -> str:
    run = history.run()
    lives = [f"{one.epoch} {one.how or ('goes on' if run.state == 'running' and one.epoch == run.epoch else 'was killed')}"
             for one in history.incarnations()]
    left_out = [f"... {len(lives) - 2 * _NAMED} more"] if len(lives) > 2 * _NAMED else []
    shown = [*lives[:_NAMED], *left_out, *lives[-_NAMED:]] if left_out else lives
    return f"the run {'is ' if run.state in ('running', 'interrupted') else ''}{run.state}; {', '.join(shown)}"


def _blobs(history: History) -> Section:
    directory = history.directory
    named = soundness.blobs_of(history)
    faults = [fault for name in sorted(named) if (fault := blob_fault(directory, name))]
    orphans = sorted(set(_names_in(directory.blobs)) - named)
    found = f"{_count(len(named), 'payload')} in files" + ("" if faults else ", all there and unchanged" if named else "")
    if orphans:
        found += f"; {_count(len(orphans), 'file')} that nothing names (harmless: a writer was killed before its commit)"
    return Section("blobs", found, faults)


def blob_fault(directory: RunDirectory, name: str) -> str | None:
    """What is wrong with the file of a payload, if anything."""
    try:
        digest = hashlib.sha256()
        with os.fdopen(open_own_file(directory.blobs / name), "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        return f"the payload blobs/{name} cannot be read: {error.strerror}"
    return None if digest.hexdigest() == name else f"the payload blobs/{name} was changed after it was written"


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


# --- its files ------------------------------------------------------------------------------------------------------

def _files(directory: RunDirectory) -> Section:
    faults = []
    try:
        directory.refuse_unsafe()
    except JournalUnusable as error:
        faults.append(str(error))
    total, open_to_others = 0, []
    for path in _everything_in(directory.path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:  # the run goes on, and has removed it meanwhile
            continue
        total += 1
        if not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode) and mode & 0o077:
            open_to_others.append(path)
    owner = owner_name(os.stat(directory.path).st_uid)
    found = f"{_count(total, 'file and folder', 'files and folders')} of {owner}, "
    found += "for nobody else" if not open_to_others else (
        f"{len(open_to_others)} of them open to others (chmod -R go= {shlex.quote(str(directory.path))})")
    return Section("modes", found, faults)


def _everything_in(folder: Path) -> Iterator[Path]:
    yield folder
    for above, folders, files in os.walk(folder):
        yield from (Path(above, name) for name in (*folders, *files))


# --- who is at work -------------------------------------------------------------------------------------------------

def _locks(directory: RunDirectory) -> Section:
    if not directory.is_alive():
        return Section("locks", "free: no process of the run lives")
    return Section("locks", f"alive.lock is held by {_named(holders([directory.alive_lock]))}")


def _processes(directory: RunDirectory) -> Section:
    """The kernel names the process that took the lock; those that inherited it hold it as well."""
    pids = have_open(directory.alive_lock)
    if not pids:
        return Section("processes", "none")
    shown = [f"{pid} ({command_of(pid)})" for pid in pids[:_NAMED]]
    return Section("processes", f"{len(pids)}: {', '.join(shown)}" + (", ..." if len(pids) > _NAMED else ""))


def _named(found: Sequence[Holder]) -> str:
    return ", ".join(map(str, found[:_NAMED])) or "a process that cannot be seen from here"


# --- where it lies --------------------------------------------------------------------------------------------------

def _file_system(directory: RunDirectory) -> Section:
    free = shutil.disk_usage(directory.path).free
    kind = lodging.file_system(directory.path) or "of a type that the system does not tell"
    return Section("file system", f"{kind}, {in_words(free)} free")


def in_words(size: int) -> str:
    """`12.3 GiB`"""
    number, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.0f} {units[0]}" if units[0] == "bytes" else f"{number:.1f} {units[0]}"


def _sqlite() -> Section:
    ours = f"SQLite {sqlite3.sqlite_version}"
    if not has_reset_race(sqlite3.sqlite_version_info):
        return Section("sqlite", ours)
    return Section("sqlite", f"{ours}, one of those with the WAL-reset race (3.7.0 to 3.51.2, but for 3.44.6 and 3.50.7), "
                             "which firexlite's write.lock keeps away")


def has_reset_race(version: tuple[int, ...]) -> bool:
    """Whether two processes of this SQLite, one writing and one checkpointing, can lose what was committed."""
    return (3, 7, 0) <= version < (3, 51, 3) and not any(version[:2] == line[:2] and version >= line
                                                         for line in _FREED_OF_THE_RACE)


# --- what is in force -----------------------------------------------------------------------------------------------

def _settings(directory: RunDirectory) -> Iterator[Section]:
    place, source = home_and_its_source()
    yield Section("home", f"{place} ({'the default' if source == 'default' else source})")
    longest = in_words(log_limit()) if log_limit() else "none"
    for title, value, variable in (("durability", durability(), "FIREXLITE_DURABILITY"),
                                   ("batches", "on" if batches() else "off", "FIREXLITE_BATCHES"),
                                   ("log limit", f"{longest} for each attempt", "FIREXLITE_LOG_LIMIT")):
        yield Section(title, f"{value} ({variable if os.environ.get(variable) else 'the default'})")
    try:
        with History(directory) as history:
            options = history.run().options
            limit = options.get("full_wait_s")
            yield Section("workers", f"{options['workers']} (recorded by the run)")
            yield Section("full wait", f"{limit:g} s (recorded by the run)" if limit is not None else "60 s (the default)")
    except FirexliteError:
        pass  # told above


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"1 {one}" if number == 1 else f"{number} {many or one + 's'}"
