"""Where a run lies while its home is on a network file system: on a local disk, with a pointer to it in the home.

A live journal never lies on a network file system, where SQLite's write-ahead log does not work. A run lodges in

    <local>/<firex_id>           local: firexlite-<uid> in /var/tmp, or in the folder that FIREXLITE_LOCAL names

until it has ended; then it is moved home. A run at home that is resumed is moved out first. Meanwhile there stands

    <home>/<firex_id>.elsewhere  the pointer: host, path, and a token that lies in the directory it leads to as well

One rule says where a run is, at any moment: **in the home, if its directory is there; else where the pointer leads.** So
each way has one rename by which the truth changes its place, marked *; a kill after any step leaves one truth:

    after the step                the home has          the local disk has      the run is
    submit: made and journaled                          .draft-ID               nowhere: its id was not told yet
            pointer written       pointer               .draft-ID               nowhere: both are removed after a while
          * renamed               pointer               ID                      on the local disk

    home:   being copied          pointer, .moving-ID   ID                      on the local disk
          * renamed               ID, pointer           ID                      at home
            pointer removed       ID                    ID                      at home
            local removed         ID                                            at home

    out:    being copied          ID                    .moving-ID              at home
            renamed               ID                    ID                      at home
            pointer written       ID, pointer           ID                      at home
          * home set aside        .away-ID, pointer     ID                      on the local disk
            .away-ID removed      pointer               ID                      on the local disk

What is left over and is not the truth is removed by the next move of that run, or by the next submission. Who moves a
run holds its `alive.lock`, of both copies as soon as they have their name. Two hosts are kept apart by the pointer,
which is made exclusively, and by the token: a copy that stayed behind on a host does not have the one that counts.
"""
from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from . import faults, host
from .errors import BadInput, JournalUnusable, RunActive
from .own_files import read_own_file, refuse_strange_parts

MOUNTINFO = "" if host.IS_PORTABLE else "/proc/self/mountinfo"
NETWORK = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "vboxsf", "wekafs",
    "fuse.beegfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.cephfs", "fuse.curlftpfs", "fuse.gcsfuse", "fuse.glusterfs",
    "fuse.goofys", "fuse.grpcfuse", "fuse.juicefs", "fuse.moosefs", "fuse.mfs", "fuse.rclone", "fuse.s3fs",
    "fuse.seaweedfs", "fuse.smbnetfs", "fuse.sshfs",
})
DRAFT, MOVING, AWAY = ".draft-", ".moving-", ".away-"  # before the name of a directory that is no run (yet, any more)
LEFT_OVER_S = 60.0                                     # older than this, it was left by somebody who was killed
_TOKEN = "lodging"                                     # the file with the token, in the directory of a run that lodges
_AT_REST = ".journal-at-rest"
_POINTER = ".elsewhere"
_JOURNAL, _LOCK = "journal.sqlite3", "alive.lock"
_NOTE_BYTES = 64 * 1024                                 # of a pointer or a token, far more than one has


# --- file systems ------------------------------------------------------------------------------------------------

def file_system(path: Path) -> str:
    """The type of the file system that holds a path, or would if it were made: `ext4`. Empty if the system does not tell."""
    with contextlib.suppress(OSError):
        os.stat(path)  # has an automounter mount it
    place = os.path.realpath(path)
    found, longest = "", -1
    for point, kind in _mounts():
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of two at one point the later one hides the earlier
            found, longest = kind, len(point)
    return found


def _mounts() -> Iterator[tuple[str, str]]:
    """``(mount point, type)`` of all that is mounted, in the order of mounting."""
    try:
        with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError:
        yield from host.mounts()
        return
    for line in lines:
        about, _, source = line.partition(" - ")
        fields = about.split(" ")
        if len(fields) > 4 and source:
            yield re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), fields[4]), source.split(" ")[0]


def is_network(path: Path) -> bool:
    """Whether a path lies on a network file system."""
    return file_system(path) in NETWORK


def folder_for(home: Path) -> Path:
    """Where runs of this home go on: in the home itself, or in a local folder if the home is on a network file system.

    Raises BadInput if there is no local folder that is safe.
    """
    return local_folder(home) if is_network(home) else home


def local_folder(home: Path) -> Path:
    """The folder for runs of this user that lodge here, made for its owner alone. Raises BadInput if it cannot be."""
    above = Path(os.environ.get("FIREXLITE_LOCAL") or "/var/tmp").absolute()
    folder = above / f"firexlite-{os.getuid()}"
    way_out = "set FIREXLITE_LOCAL to a folder on a local disk"
    if (kind := file_system(folder)) in NETWORK:
        raise BadInput(f"{home} lies on a network file system, where no run can go on, and so does {above} ({kind}); {way_out}")
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = os.lstat(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise BadInput(f"{home} lies on a network file system, so runs go on in {folder}, "
                       f"which cannot be made: {error.strerror}; {way_out}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise BadInput(f"{home} lies on a network file system, so runs go on in {folder}, which is not a directory of this "
                       f"user alone (mode 0700); correct that, or {way_out}")
    return folder


# --- pointers ----------------------------------------------------------------------------------------------------

class Pointer(NamedTuple):
    """Says where a run lies that is not in its home. host: a name to tell people. token: as in the directory there."""

    firex_id: str
    host: str
    path: Path
    token: str

    def leads_here(self) -> bool:
        """Whether the run is to be found on this host."""
        return token_in(self.path) == self.token

    def is_ahead(self) -> bool:
        """Whether the run is still being submitted, or never was."""
        return token_in(self.path.with_name(DRAFT + self.firex_id)) == self.token

    def __str__(self) -> str:
        return f"on host {self.host}, in {self.path}"


def pointer_file(home: Path, firex_id: str) -> Path:
    return home / (firex_id + _POINTER)


def pointer_to(home: Path, firex_id: str) -> Pointer | None:
    """The pointer of a run; None if there is none. Raises JournalUnusable if it says nothing that firexlite wrote."""
    file = pointer_file(home, firex_id)
    try:
        told = json.loads(read_own_file(file, _NOTE_BYTES))
        found = Pointer(firex_id, *(told[name] for name in ("host", "path", "token")))
        path = Path(found.path)
        if not path.is_absolute() or path.name != firex_id or not re.fullmatch("[0-9a-f]{32}", found.token):
            raise ValueError
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # of a home of a name that none can have; whoever looks there says so
            return None
        raise JournalUnusable(f"{file}, which says where the run lies, cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise JournalUnusable(f"{file} should say where the run lies, and does not") from error
    return Pointer(firex_id, str(found.host), path, found.token)


def pointers(home: Path) -> list[Pointer]:
    """The pointers in a home, less those that cannot be read."""
    found = []
    for file in home.glob(f"FireX-*{_POINTER}"):
        with contextlib.suppress(JournalUnusable):
            found.append(pointer_to(home, file.name.removesuffix(_POINTER)))
    return [pointer for pointer in found if pointer is not None]


def follow(home: Path, firex_id: str) -> Path | None:
    """Where a run lies that is not in its home; None if nothing is known of it.

    Raises RunActive if it lies on another host, and JournalUnusable if it lay on this one and is gone.
    """
    pointer = pointer_to(home, firex_id)
    if pointer is None or pointer.is_ahead():
        return None
    if pointer.leads_here():
        return pointer.path
    why = f"since {home} is on a network file system"
    if pointer.host == platform.node():
        raise JournalUnusable(f"{firex_id} lay in {pointer.path}, {why}, and is not there any more; bring that directory back, "
                              f"or remove {pointer_file(home, firex_id)} to forget the run")
    raise RunActive(f"{firex_id} lies {pointer}, {why}; it can be shown and resumed there, and comes home when it has ended")


def token_in(directory: Path) -> str | None:
    """The token of a run that lodges in this directory; None if none does."""
    with contextlib.suppress(OSError, ValueError):
        return read_own_file(directory / _TOKEN, _NOTE_BYTES).decode("ascii").strip()
    return None


def lodge(draft: Path) -> None:
    """Mark a directory that is being made as one that a pointer will lead to."""
    _write_new(draft / _TOKEN, secrets.token_hex(16))


def leave_pointer(home: Path, directory: Path, made_as: Path, instead: bool = False) -> None:
    """Have the home say, durably, that a run lies in ``directory``.

    made_as: what the directory is called until it is. instead: of a pointer of ours that is there.
    Raises RunActive if another host was faster.
    """
    token = token_in(made_as)
    file = pointer_file(home, directory.name)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    _write_new(draft, json.dumps({"host": platform.node(), "path": str(directory), "token": token}) + "\n")
    try:
        if instead or not _link(draft, file):
            os.replace(draft, file)
    except FileExistsError:
        raise RunActive(f"{directory.name} is just being moved by another process, or another host; "
                        f"{file} says which") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    fsync_directory(home)
    faults.reach("pointer written")


def _link(draft: Path, file: Path) -> bool:
    """Give a file its name if nobody has it (else FileExistsError); False where file systems know no links."""
    try:
        os.link(draft, file)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if file.exists():
            raise FileExistsError from None
        return False
    return True


def remove_pointer(home: Path, firex_id: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        pointer_file(home, firex_id).unlink()
        fsync_directory(home)


# --- moving home ---------------------------------------------------------------------------------------------------

def move_home(home: Path, directory: Path) -> Path:
    """Bring a run home that has ended and lodges here; returns where it lies now.

    To be called by who holds its `alive.lock`, while no process writes and this one has no connection to its journal.
    It stays where it is if the home knows nothing of it. Raises OSError, and sqlite3's errors; then nothing has changed.
    """
    firex_id, token = directory.name, token_in(directory)
    pointer = pointer_to(home, firex_id) if token else None
    if pointer is None or pointer.token != token:
        return directory
    moving, place = home / (MOVING + firex_id), home / firex_id
    for left_over in (moving, home / (AWAY + firex_id)):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        moving.mkdir(mode=0o700)
        _write_new(moving / _LOCK, "")
        _hold(moving / _LOCK)
        with _journal_at_rest(directory) as journal:
            _copy(directory, moving, journal)
        _name_home(moving / "run.json", place)
        fsync_directory(moving)
        faults.reach("home copied")
        os.rename(moving, place)
    except BaseException:
        shutil.rmtree(moving, ignore_errors=True)
        raise
    with contextlib.suppress(OSError):  # it is at home
        fsync_directory(home)
        faults.reach("home renamed")
        remove_pointer(home, firex_id)
        faults.reach("pointer removed")
        _remove(directory)
        faults.reach("local removed")
    return place


@contextlib.contextmanager
def _journal_at_rest(directory: Path) -> Iterator[Path]:
    """A copy of the journal in one file, that needs no other to be read; beside the journal, for as long as it is needed.

    The journal is read through SQLite: a reader may still hold locks on it, and what it was last written may be in its log.
    """
    import sqlite3

    refuse_strange_parts(directory / _JOURNAL)
    copy = directory / _AT_REST
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    uri = f"file:{quote(os.fsencode(directory / _JOURNAL))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as source, \
                contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)
        raise OSError(errno.EIO, f"its journal could not be copied: {error}") from error
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _name_home(run_json: Path, place: Path) -> None:
    """Have a copied `run.json` name the directory where it is going to lie."""
    with contextlib.suppress(OSError, ValueError):
        told = {**json.loads(run_json.read_text(encoding="utf-8")), "logs_path": str(place)}
        run_json.unlink()
        _write_new(run_json, json.dumps(told, indent=1) + "\n")


def _hold(lock: Path) -> None:
    """Hold a lock to the end of this process: of a run whose present holder still has some steps to go."""
    with contextlib.suppress(OSError):
        host.flock(os.open(lock, os.O_RDWR | os.O_CLOEXEC))


def is_unfolded(directory: Path) -> bool:
    """Whether a journal is in more than one file, as that of a run which was copied while it was interrupted."""
    return (directory / f"{_JOURNAL}-wal").exists()


# --- moving out ----------------------------------------------------------------------------------------------------

def move_out(home: Path, directory: Path, alive: int, take_lock: Callable[[Path], int]) -> tuple[Path, int]:
    """Have a run at home lodge here, if the home is on a network file system; returns where it lies, and its lock.

    alive: what holds its `alive.lock`. take_lock: takes that of the directory it is given.
    To be called while no process has a connection to its journal that writes, and this one has none at all.
    Raises BadInput and RunActive if it may not, and OSError; then it lies where it lay.
    """
    if not is_network(directory):
        return directory, alive
    firex_id, folder = directory.name, local_folder(home)
    moving, place, away = folder / (MOVING + firex_id), folder / firex_id, home / (AWAY + firex_id)
    pointer = pointer_to(home, firex_id)
    if pointer is not None and not pointer.leads_here() and pointer.host != platform.node():
        raise RunActive(f"{firex_id} was just being moved to or from host {pointer.host}; resume it there, or, if that host is "
                        f"gone for ever, remove {pointer_file(home, firex_id)} first")
    if place.exists() and not _remove_unused(home, place):
        raise RunActive(f"{firex_id} is just being moved by another process")
    shutil.rmtree(moving, ignore_errors=True)
    shutil.rmtree(away, ignore_errors=True)
    try:
        moving.mkdir(mode=0o700)
        _write_new(moving / _LOCK, "")
        held = take_lock(moving)  # first of all: what nobody holds may be swept away
        _copy(directory, moving)
        lodge(moving)
        fsync_directory(moving)
        os.rename(moving, place)
    except BaseException:
        shutil.rmtree(moving, ignore_errors=True)
        raise
    try:
        fsync_directory(folder)
        faults.reach("local copied")
        leave_pointer(home, place, place, instead=pointer is not None)
        os.rename(directory, away)
    except BaseException:
        os.close(held)
        _remove_unused(home, place)
        raise
    fsync_directory(home)
    faults.reach("home set aside")
    os.close(alive)
    shutil.rmtree(away, ignore_errors=True)
    faults.reach("home removed")
    return place, held


# --- what was left over ---------------------------------------------------------------------------------------------

def sweep(home: Path, folder: Path) -> None:
    """Remove what those left who were killed while they moved a run of this home."""
    with contextlib.suppress(OSError, JournalUnusable):
        for draft in home.glob(f".FireX-*{_POINTER}.*"):
            if time.time() - draft.stat().st_mtime > LEFT_OVER_S:
                draft.unlink()
        for path in folder.iterdir():
            if path.name.startswith("FireX-"):
                if (home / path.name / _JOURNAL).exists():
                    _remove_unused(home, path)
            elif path.name.startswith(AWAY):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(MOVING) and time.time() - path.stat().st_mtime > LEFT_OVER_S:
                _remove_unused(home, path)


def forget_draft(home: Path, draft: Path) -> None:
    """Remove the pointer to a run whose submission was killed before it had its name."""
    firex_id = draft.name.removeprefix(DRAFT)
    with contextlib.suppress(JournalUnusable, OSError):
        pointer = pointer_to(home, firex_id)
        if pointer is not None and pointer.token == token_in(draft) and not pointer.leads_here():
            remove_pointer(home, firex_id)


def _remove_unused(home: Path, directory: Path) -> bool:
    """Remove a local directory that is not the truth, and a pointer to it; returns False if somebody holds its lock."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, lock)
            try:
                host.flock(lock)
            except BlockingIOError:
                return False
        firex_id = directory.name.removeprefix(MOVING)
        if directory.name == firex_id:
            # Again, under the lock: whoever moves the run out holds it until the home has it no more.
            if not (home / firex_id / _JOURNAL).exists():
                return False
            pointer = pointer_to(home, firex_id)
            if pointer is not None and pointer.leads_here():
                remove_pointer(home, firex_id)
        _remove(directory)
        return True


def _remove(directory: Path) -> None:
    """Remove a directory; at once it has a name under which nobody looks for a run."""
    away = directory.with_name(AWAY + directory.name.removeprefix(MOVING))
    shutil.rmtree(away, ignore_errors=True)
    os.rename(directory, away)
    shutil.rmtree(away, ignore_errors=True)


# --- copying ----------------------------------------------------------------------------------------------------------

def _copy(source: Path, target: Path, journal: Path | None = None) -> None:
    """Copy, durably, what a run consists of into a directory that is there; all but its lock and what only one life needs.

    journal: a file to be copied in the place of the journal and of what SQLite keeps beside it.
    """
    left_out = {_LOCK, _TOKEN, _AT_REST, "wake", f"{_JOURNAL}-shm"}
    if journal is not None:
        left_out |= {path.name for path in source.glob(f"{_JOURNAL}*")}
        _copy_file(journal, target / _JOURNAL)
    for entry in os.scandir(source):
        if entry.name in left_out or (source.name == "sinks" and entry.name.startswith(".")):  # a draft is gone in a moment
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target / entry.name)
        elif entry.is_dir():
            (target / entry.name).mkdir(mode=0o700)
            _copy(Path(entry.path), target / entry.name)
        elif entry.is_file():
            _copy_file(Path(entry.path), target / entry.name)
    fsync_directory(target)


def _copy_file(source: Path, target: Path) -> None:
    found = os.stat(source)
    with open(source, "rb") as old, os.fdopen(
            os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.utime(new.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))  # the list of runs is sorted by one of them
        host.sync(new.fileno())


def _write_new(path: Path, text: str) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        host.sync(file.fileno())


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable; SQLite does not do it for the directory above its file."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        host.sync(fd)
    finally:
        os.close(fd)
