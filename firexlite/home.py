"""Where runs live: the home directory, FireX IDs, a run's directory and its locks."""
from __future__ import annotations

import contextlib
import errno
import getpass
import hashlib
import json
import os
import random
import re
import secrets
import shlex
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from . import faults, host, lodging
from .errors import BadInput, DiskFull, JournalUnusable, RunActive, StorageFailure, nearest
from .holders import have_open
from .lodging import fsync_directory
from .own_files import read_own_file, refuse_strange_parts

FIREX_ID = re.compile(r"(?!.*\.\.)FireX-(?P<user>[\w.+-]{1,64}?)-(?P<stamp>\d{6}-\d{6})-(?P<number>\d{1,10})\Z", re.ASCII)
SPILL_BYTES = 64 * 1024  # a larger payload goes to a blob file; measured: rows and files cost the same there
BLOB_MARK = "blob:"     # JSON never starts with it
_BLOB_NAME = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_DRAFT = lodging.DRAFT   # before the name of a directory whose run is not durable yet
_DRAFT_S = 60.0          # far longer than it takes to make one
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC


def home() -> Path:
    """The directory that holds all runs; it need not exist yet. Raises BadInput if nothing says where it is."""
    return home_and_its_source()[0]


def home_and_its_source() -> tuple[Path, str]:
    """The directory that holds all runs, and what chose it: the name of a variable, or `default`."""
    if chosen := os.environ.get("FIREXLITE_HOME"):
        return _absolute(chosen, "FIREXLITE_HOME"), "FIREXLITE_HOME"
    if chosen := os.environ.get("XDG_STATE_HOME"):
        return _absolute(chosen, "XDG_STATE_HOME") / "firexlite", "XDG_STATE_HOME"
    state = os.path.expanduser("~/.local/state")
    if not os.path.isabs(state):
        raise BadInput(f"user {os.getuid()} has no home directory to keep runs in; "
                       "set FIREXLITE_HOME to a directory that you may write to")
    return Path(state) / "firexlite", "default"


def _absolute(path: str, variable: str) -> Path:
    try:
        return Path(path).absolute()
    except FileNotFoundError as error:
        raise BadInput(f"{variable} is '{path}', and the working directory, from which that is looked for, is not there any "
                       "more; change to one that is") from error


def durability() -> str:
    """`full`, each result is synced to the disk before anything follows from it, or `normal`, which survives every
    crash of processes but may lose the last results in a power cut. Raises BadInput for anything else in
    FIREXLITE_DURABILITY."""
    chosen = os.environ.get("FIREXLITE_DURABILITY") or "full"
    if chosen not in ("full", "normal"):
        raise BadInput(f"FIREXLITE_DURABILITY is '{chosen}'; it takes full, which is the default, or normal")
    return chosen


def batches() -> bool:
    """Whether short tasks are settled together. Raises BadInput for anything but on and off in FIREXLITE_BATCHES."""
    chosen = os.environ.get("FIREXLITE_BATCHES") or "on"
    if chosen not in ("on", "off"):
        raise BadInput(f"FIREXLITE_BATCHES is '{chosen}'; it takes on, which is the default, or off")
    return chosen == "on"


def user_name() -> str:
    """The user's login name, or `uid<N>` where the machine knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def owner_name(uid: int) -> str:
    """The login name of a user, or `uid<N>` where the machine knows none."""
    import pwd
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"


def new_firex_id(now_s: float) -> str:
    """`FireX-<user>-<yymmdd-HHMMSS, UTC>-<1..65536>`, as FireX names its runs."""
    user = re.sub(r"[^\w.+-]|(?<=\.)\.", "_", user_name()[:64], flags=re.ASCII) or "_"
    return f"FireX-{user}-{stamp(now_s)}-{random.SystemRandom().randint(1, 65536)}"


def stamp(now_s: float) -> str:
    """The part of a FireX ID that tells when the run began."""
    return time.strftime("%y%m%d-%H%M%S", time.gmtime(now_s))


def task_uuid(firex_id: str, num: int) -> str:
    """The id by which FireX's interfaces know task ``num`` of a run; the same whenever it is asked for."""
    digits = hashlib.blake2b(f"{firex_id}/{num}".encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def log_name(host: str) -> str:
    """The name of a host, as part of that of a file."""
    return re.sub(r"[^\w.-]", "_", host, flags=re.ASCII)[:64]


def find_run(firex_id: str) -> RunDirectory:
    """The directory of a run by its FireX ID; the only place where an id becomes a path.

    Raises BadInput for a malformed or an unknown id, JournalUnusable if this user may not look, RunActive for a run that
    lies on another host.
    """
    if not FIREX_ID.match(firex_id):
        shown = firex_id if len(firex_id) <= 200 else firex_id[:200] + "..."
        raise BadInput(f"{shown!r} is not a FireX ID; they look like FireX-li-261123-101500-4711, and may be given by how they "
                       "begin or end, by the key of the run, or as 'last'; `firexlite runs` lists them")
    directory = _where(firex_id)
    if directory is None:
        known = nearest(firex_id, [run.firex_id for run in all_runs()], cutoff=0.9)  # their beginnings are alike
        raise BadInput(f"there is no run '{firex_id}' in {home()}; `firexlite runs` lists them.{known}")
    return directory


def _where(firex_id: str) -> RunDirectory | None:
    for _ in range(2):  # if it is nowhere at the first look, it may have come home meanwhile
        directory = RunDirectory(home() / firex_id)
        if directory.is_there():
            return directory
        if (path := lodging.follow(home(), firex_id)) is not None:
            return RunDirectory(path)
    return None


def runs_on_other_hosts() -> list[lodging.Pointer]:
    """Runs of the home, newest first, that lie where only another host can look, or are lost."""
    found = [pointer for pointer in lodging.pointers(home()) if not (pointer.leads_here() or pointer.is_ahead()
             or RunDirectory(home() / pointer.firex_id).is_there())]
    return sorted(found, key=lambda pointer: _began(RunDirectory(pointer.path)), reverse=True)


def all_runs() -> list[RunDirectory]:
    """Every run in the home, newest first, with those that lodge on this host until they have ended.

    Raises BadInput for a home that this user may not look into.
    """
    try:
        os.scandir(home()).close()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"{home()} cannot be looked into: {error.strerror}; "
                       "set FIREXLITE_HOME to a directory of your own") from error
    runs = [RunDirectory(path) for path in home().glob("FireX-*") if FIREX_ID.match(path.name)]
    at_home = {run.firex_id for run in runs}
    runs += [RunDirectory(pointer.path) for pointer in lodging.pointers(home())
             if pointer.firex_id not in at_home and pointer.leads_here()]
    return sorted((run for run in runs if run.path.is_dir()
                   and (os.path.lexists(run.journal) or not os.access(run.path, os.X_OK))), key=_began, reverse=True)


def _began(run: RunDirectory) -> tuple[str, int]:
    """When a run began here: to the second by its id; of one second, by a file that is never written after it was made.

    One that was imported began here when it was.
    """
    found = FIREX_ID.match(run.firex_id)
    made = 0
    with contextlib.suppress(OSError):
        made = run.write_lock.stat().st_mtime_ns
    with contextlib.suppress(OSError, ValueError):
        return stamp(float(read_own_file(run.imported, 100))), made
    return found["stamp"] if found else "", made


class RunDirectory:
    """Names and makes the files of one run. Nothing in them is an absolute path: the whole may be moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.firex_id = path.name
        self.journal = path / "journal.sqlite3"
        self.run_json = path / "run.json"
        self.logs = path / "logs"
        self.blobs = path / "blobs"
        self.sinks = path / "sinks"         # how far each sink has been told; made for the first of them
        self.wake = path / "wake"
        self.alive_lock = path / "alive.lock"
        self.write_lock = path / "write.lock"
        self.imported = path / "imported"   # when, in seconds since the epoch; only of a run that was

    @classmethod
    def draft(cls, firex_id: str) -> RunDirectory:
        """A new directory, for its owner alone, under a hidden name: the run exists when it is `publish`ed."""
        place = home()
        with storage(place):
            try:
                make_private_folders(place)
                folder = lodging.folder_for(place)
                _remove_drafts(folder)
                draft = cls(folder / f"{_DRAFT}{firex_id}")
                draft.path.mkdir(mode=0o700)
            except OSError as error:
                if has_failed(error):
                    raise
                what = "a link that leads nowhere is in its place" if os.path.islink(place) else error.strerror
                raise BadInput(f"runs cannot be kept in {place}: {what}; "
                               "set FIREXLITE_HOME to a directory that you may write to") from error
            try:
                if folder != place:
                    lodging.sweep(place, folder)
                    lodging.lodge(draft.path)
                for folder in (draft.logs, draft.blobs):
                    folder.mkdir(mode=0o700)
                for file in (draft.journal, draft.alive_lock, draft.write_lock):
                    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            except OSError:
                shutil.rmtree(draft.path, ignore_errors=True)
                raise
        return draft

    def publish(self) -> RunDirectory:
        """Give a draft whose journal is durable its name, durably."""
        run = RunDirectory(self.path.with_name(self.path.name.removeprefix(_DRAFT)))
        with storage(run.path):
            fsync_directory(self.path)
            if lodging.token_in(self.path):
                lodging.leave_pointer(home(), run.path, made_as=self.path)
            os.rename(self.path, run.path)
            fsync_directory(run.path.parent)
        return run

    # --- whose it is -------------------------------------------------------------------------------


    def is_there(self) -> bool:
        """Whether there is a journal. Raises JournalUnusable if this user may not look."""
        try:
            os.lstat(self.journal)
        except PermissionError as error:
            raise JournalUnusable(f"{self.path} may not be looked into by this user: {error.strerror}") from error
        except OSError:
            return False
        return True

    def refuse_unsafe(self) -> None:
        """Raise JournalUnusable unless the run is this user's own, complete, and nobody else may write to it.

        That is what a resume needs; who only looks at a run need not ask.
        """
        for path, is_kind in ((self.path, stat.S_ISDIR), (self.journal, stat.S_ISREG), (self.alive_lock, stat.S_ISREG),
                              (self.write_lock, stat.S_ISREG), (self.logs, stat.S_ISDIR), (self.blobs, stat.S_ISDIR)):
            self._refuse_unsafe(path, is_kind)

        self._refuse_links()

    def refuse_strange_parts(self) -> None:
        """Raise JournalUnusable unless SQLite may open the journal, whoever laid it there with what is beside it."""
        refuse_strange_parts(self.journal)

    def _refuse_links(self) -> None:
        """Refuse what leads out of the run: a resume writes to these files, or removes them."""
        self.refuse_strange_parts()
        for path, is_kind in ((self.wake, stat.S_ISDIR), (self.run_json, stat.S_ISREG)):
            if os.path.lexists(path):
                self._refuse_unsafe(path, is_kind)
        folders = [self.logs, self.blobs]
        if os.path.lexists(self.sinks):
            self._refuse_unsafe(self.sinks, stat.S_ISDIR)
            folders.append(self.sinks)
        for folder in folders:
            for entry in os.scandir(folder):
                if not entry.is_file(follow_symlinks=False):
                    raise JournalUnusable(f"{entry.path} is no regular file, and a run has nothing else there; remove it, "
                                          "and ask who put it there")

    def _refuse_unsafe(self, path: Path, is_kind: Callable[[int], bool]) -> None:
        kind, shown = "directory" if is_kind is stat.S_ISDIR else "file", shlex.quote(str(path))
        try:
            found = os.lstat(path)
        except OSError as error:
            again = f"mkdir -m 700 {shown}" if kind == "directory" else f"touch {shown}"
            raise JournalUnusable(f"{path} is missing ({error.strerror}); if no process of the run lives, "
                                  f"make it again with `{again}`") from error
        if stat.S_ISLNK(found.st_mode):
            raise JournalUnusable(f"{path} is a symbolic link, and a run is resumed only where it really lies: "
                                  f"{os.path.realpath(path)}")
        if not is_kind(found.st_mode):
            raise JournalUnusable(f"{path} should be a {kind}, as in every run that firexlite made, and is none")
        if found.st_uid != os.geteuid():
            raise JournalUnusable(
                f"{path} belongs to {owner_name(found.st_uid)}; look at it freely, or make a copy of your own with "
                f"`FIREXLITE_HOME=ANOTHER_FOLDER firexlite import {shlex.quote(str(self.path))}`")
        if found.st_mode & 0o022:
            raise JournalUnusable(f"others may write to {path}; if you trust what is there: chmod go-w {shown}")

    def log_file(self, epoch: int, worker: int, host: str | None = None) -> Path:
        """What worker ``worker`` of incarnation ``epoch`` wrote: the output of all its tasks, one after the other.

        host: where it ran, if that is elsewhere than the processes of the run.
        """
        return self.logs / (f"{epoch}-{worker}.log" if host is None else f"{epoch}-{worker}@{log_name(str(host))}.log")

    # --- payloads --------------------------------------------------------------------------------

    def spill(self, text: str) -> str:
        """``text``, or a mark that stands for it once it lies durably in a blob file."""
        if len(text) <= SPILL_BYTES:
            return text
        data = text.encode()
        name = hashlib.sha256(data).hexdigest()
        target = self.blobs / name
        if not target.exists():
            draft = self.blobs / f".{name}.{os.getpid()}"
            with storage(draft):
                draft.unlink(missing_ok=True)  # of an earlier process of this number; or a link that leads elsewhere
                fd = os.open(draft, _NEW_FILE, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    host.sync(file.fileno())
                faults.reach("blob drafted")
                os.rename(draft, target)
                faults.reach("blob renamed")
        with storage(target):
            fsync_directory(self.blobs)  # also for one that is there: its maker may have died before this
        return BLOB_MARK + name

    def refuse_blob_name(self, name: str) -> None:
        """Raise JournalUnusable for a name that no payload has; it might lead out of the folder."""
        if not _BLOB_NAME.match(name):
            raise JournalUnusable(f"{self.path}: a payload is said to lie in blobs/{name[:80]}, which is no name of a blob")

    def has_blob(self, name: str) -> bool:
        """Whether there is a file for a payload of this name; whether it is unchanged, `unspill` tells."""
        return bool(_BLOB_NAME.match(name)) and os.path.lexists(self.blobs / name)

    def unspill(self, text: str) -> str:
        """The payload that `spill` put away. Raises JournalUnusable if its file is missing or was changed."""
        if not text.startswith(BLOB_MARK):
            return text
        name = text.removeprefix(BLOB_MARK)
        self.refuse_blob_name(name)
        try:
            data = read_own_file(self.blobs / name)
        except OSError as error:
            raise JournalUnusable(f"{self.path}: the payload blobs/{name} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalUnusable(f"{self.path}: the payload blobs/{name} was changed after it was written")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise JournalUnusable(f"{self.path}: the payload blobs/{name} is no text: {error}") from error

    # --- who is alive ------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether any process of the run lives: whether its `alive.lock` is held."""
        try:
            fd = os.open(self.alive_lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            # Shared, so that two who look do not see each other; a resume that meets the look tries again.
            host.flock(fd, is_shared=True)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def take_alive_lock(self, start_time_of: Callable[[int], int | None], dying_s: float = 1.0) -> int:
        """Become the run's only incarnation; returns the file descriptor that holds the lock.

        start_time_of: ``pid -> start time or None``, tells whether the recorded holder still lives.
        dying_s: how long to wait for workers whose runner is dead.
        Raises RunActive, naming the holder, if another incarnation lives, JournalUnusable if nothing can be written here.
        """
        try:
            fd = os.open(self.alive_lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise JournalUnusable(
                f"{self.path} cannot be written to: {error.strerror}; look at it freely, or resume a copy of your own: "
                f"`FIREXLITE_HOME=ANOTHER_FOLDER firexlite import {shlex.quote(str(self.path))}`") from error
        give_up = time.monotonic() + dying_s
        while True:
            try:
                host.flock(fd)
                break
            except BlockingIOError:
                holder = self._holder(fd)
                lives = holder.get("start") is not None and start_time_of(holder["pid"]) == holder["start"]
                if lives or time.monotonic() > give_up:
                    os.close(fd)
                    who = f"process {holder['pid']}" if lives else _left_over(self.alive_lock)
                    raise RunActive(f"{self.firex_id} is running in {who}; wait for it or stop it first") from None
                time.sleep(0.02)  # a flock that may time out can only be asked for again
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(self.alive_lock)):
                record_holder(fd, start_time_of)
                return fd
        os.close(fd)
        raise RunActive(f"{self.firex_id} has just been moved by another process; try again")

    @staticmethod
    def _holder(fd: int) -> dict:
        try:
            return json.loads(os.pread(fd, 4096, 0))
        except ValueError:
            return {}


def _left_over(alive_lock: Path) -> str:
    """Who holds a run's lock though its runner is dead."""
    found = [f"process {pid}" for pid in have_open(alive_lock)]
    return f"{', '.join(found)}, left over by a runner that is dead" if found else "another process"


def record_holder(alive: int, start_time_of: Callable[[int], int | None]) -> None:
    """Write into the held `alive.lock` that this process is the one to be named."""
    record = json.dumps({"pid": os.getpid(), "start": start_time_of(os.getpid())})
    with contextlib.suppress(OSError):  # the lock itself needs no space on the disk
        os.ftruncate(alive, 0)
        os.pwrite(alive, record.encode(), 0)


def _remove_drafts(folder: Path) -> None:
    """Remove what submissions left that were killed before they were durable."""
    for path in folder.glob(f"{_DRAFT}*"):
        with contextlib.suppress(OSError):
            # One that is just being made holds no lock yet, so age counts too.
            if time.time() - path.stat().st_mtime > _DRAFT_S and not RunDirectory(path).is_alive():
                lodging.forget_draft(home(), path)
                shutil.rmtree(path, ignore_errors=True)


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_DISK = (*_NO_SPACE, errno.EIO, errno.EROFS)


def has_failed(error: OSError) -> bool:
    """Whether a disk is full, or failed, at the beginning of a run: one that is read-only then was so all along."""
    return error.errno in _OF_THE_DISK and error.errno != errno.EROFS


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """What the system has against writing here, as DiskFull or StorageFailure."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull(path, os.strerror(error.errno)) from error
        if error.errno in _OF_THE_DISK:
            raise StorageFailure(f"{path} could not be written: {error.strerror}") from error
        raise


def make_private_folders(path: Path) -> list[Path]:
    """Make a folder and what is missing above it, each for its owner alone; returns those made, the outermost first."""
    made: list[Path] = []
    for folder in (*reversed(path.parents), path):
        try:
            if not folder.exists():
                folder.mkdir(mode=0o700)
                made.append(folder)
        except FileExistsError:  # another process was faster; or something else has the name
            if not folder.is_dir():
                raise
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return made


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[TextIO]:
    """A file to be written, which takes the place of ``path`` as a whole when the block ends without an exception.

    A reader sees the old file or the new one; a full disk, or a block that is left half-way, leaves the old.
    Raises OSError.
    """
    # Others may write to the folder, so they must not know the name of the draft before it is there.
    draft = path.with_name(f".{path.name[:50]}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, _NEW_FILE, mode)
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextlib.contextmanager
def open_where_told(path: Path, mode: int) -> Iterator[TextIO]:
    """A file to be written where a person wants it: one that is there is replaced as a whole; into a pipe or a device,
    `/dev/stdout` say, it is written, since they are not ours to replace. Raises OSError."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        return
    with replacing(Path(os.path.realpath(path)), mode) as file:  # a link goes on leading there
        yield file


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file as a whole, so that a reader sees the old text or the new, or a full disk leaves the old."""
    with replacing(path, mode) as file:
        file.write(text)


def refuse_unwritable(option: str, file: str) -> None:
    """Raise BadInput at once for a file that could not be written hours later. option: which named it."""
    folder = Path(file).absolute().parent
    try:
        if not file or Path(file).is_dir():
            raise BadInput(f"{option} takes the name of a file, and '{file}' is a folder")
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise BadInput(f"{option} '{file}' could not be written: {folder} is no folder that you may write to")
    except OSError as error:  # of a name that is too long for the file system, say
        raise BadInput(f"{option} '{file}' could not be written: {error.strerror}") from error


def write_where_told(path: Path, text: str, mode: int) -> None:
    """Write to where a person wants it, as `open_where_told` does. Raises OSError."""
    with open_where_told(path, mode) as file:
        file.write(text)
