"""Where runs live: the home directory, FireX IDs, a run's directory and its locks."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import hashlib
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import faults
from .errors import BadInput, DiskFull, JournalUnusable, RunActive, StorageFailure, nearest

FIREX_ID = re.compile(r"^FireX-(?P<user>[\w.+-]+?)-(?P<stamp>\d{6}-\d{6})-(?P<number>\d+)$", re.ASCII)
SPILL_BYTES = 64 * 1024  # a larger payload goes to a blob file; measured: rows and files cost the same there
_BLOB_MARK = "blob:"     # JSON never starts with it
_DRAFT = ".draft-"       # before the name of a directory whose run is not durable yet
_DRAFT_S = 60.0          # far longer than it takes to make one


def home() -> Path:
    """The directory that holds all runs; it need not exist yet."""
    if chosen := os.environ.get("FIREXLITE_HOME"):
        return Path(chosen).absolute()
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state).absolute() / "firexlite"


def durability() -> str:
    """`full`, each result is synced to the disk before anything follows from it, or `normal`, which survives every
    crash of processes but may lose the last results in a power cut. Raises BadInput for anything else in
    FIREXLITE_DURABILITY."""
    chosen = os.environ.get("FIREXLITE_DURABILITY") or "full"
    if chosen not in ("full", "normal"):
        raise BadInput(f"FIREXLITE_DURABILITY is '{chosen}'; it takes full, which is the default, or normal")
    return chosen


def user_name() -> str:
    """The user's login name, or `uid<N>` where the machine knows none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid{os.getuid()}"


def new_firex_id(now_s: float) -> str:
    """`FireX-<user>-<yymmdd-HHMMSS, UTC>-<1..65536>`, as FireX names its runs."""
    user = re.sub(r"[^\w.+-]", "_", user_name(), flags=re.ASCII)
    stamp = time.strftime("%y%m%d-%H%M%S", time.gmtime(now_s))
    return f"FireX-{user}-{stamp}-{random.SystemRandom().randint(1, 65536)}"


def task_uuid(firex_id: str, num: int) -> str:
    """The id by which FireX's interfaces know task ``num`` of a run; the same whenever it is asked for."""
    digits = hashlib.blake2b(f"{firex_id}/{num}".encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def find_run(firex_id: str) -> RunDirectory:
    """The directory of a run by its FireX ID. Raises BadInput for a malformed or an unknown id."""
    if not FIREX_ID.match(firex_id):
        raise BadInput(f"'{firex_id}' is not a FireX ID; they look like FireX-li-261123-101500-4711")
    directory = RunDirectory(home() / firex_id)
    if not directory.journal.exists():
        known = nearest(firex_id, [run.firex_id for run in all_runs()])
        raise BadInput(f"there is no run '{firex_id}' in {home()}; `firexlite runs` lists them.{known}")
    return directory


def all_runs() -> list[RunDirectory]:
    """Every run in the home, newest first."""
    runs = [RunDirectory(path) for path in home().glob("FireX-*") if FIREX_ID.match(path.name)]
    return sorted((run for run in runs if run.journal.exists()), key=_began, reverse=True)


def _began(run: RunDirectory) -> tuple[str, int]:
    """When a run began: to the second by its id; of one second, by a file that is never written after it was made."""
    found = FIREX_ID.match(run.firex_id)
    return found["stamp"] if found else "", run.write_lock.stat().st_mtime_ns if run.write_lock.exists() else 0


class RunDirectory:
    """Names and makes the files of one run. Nothing in them is an absolute path: the whole may be moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.firex_id = path.name
        self.journal = path / "journal.sqlite3"
        self.run_json = path / "run.json"
        self.logs = path / "logs"
        self.blobs = path / "blobs"
        self.wake = path / "wake"
        self.alive_lock = path / "alive.lock"
        self.write_lock = path / "write.lock"

    @classmethod
    def draft(cls, firex_id: str) -> RunDirectory:
        """A new directory, for its owner alone, under a hidden name: the run exists when it is `publish`ed."""
        draft = cls(home() / f"{_DRAFT}{firex_id}")
        with storage(draft.path.parent):
            draft.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_drafts(draft.path.parent)
            draft.path.mkdir(mode=0o700)
            try:
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
            os.rename(self.path, run.path)
            fsync_directory(run.path.parent)
        return run

    def log_file(self, epoch: int, worker: int) -> Path:
        """What worker ``worker`` of incarnation ``epoch`` wrote: the output of all its tasks, one after the other."""
        return self.logs / f"{epoch}-{worker}.log"

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
                fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                faults.reach("blob drafted")
                os.rename(draft, target)
                faults.reach("blob renamed")
        with storage(target):
            fsync_directory(self.blobs)  # also for one that is there: its maker may have died before this
        return _BLOB_MARK + name

    def unspill(self, text: str) -> str:
        """The payload that `spill` put away. Raises JournalUnusable if its file is missing or was changed."""
        if not text.startswith(_BLOB_MARK):
            return text
        name = text.removeprefix(_BLOB_MARK)
        try:
            data = (self.blobs / name).read_bytes()
        except OSError as error:
            raise JournalUnusable(f"{self.path}: the payload blobs/{name} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalUnusable(f"{self.path}: the payload blobs/{name} was changed after it was written")
        return data.decode()

    # --- who is alive ------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether any process of the run lives: whether its `alive.lock` is held."""
        try:
            fd = os.open(self.alive_lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who look do not see each other; a resume that meets the look tries again.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def take_alive_lock(self, start_time_of: Callable[[int], int | None], dying_s: float = 1.0) -> int:
        """Become the run's only incarnation; returns the file descriptor that holds the lock.

        start_time_of: ``pid -> start time or None``, tells whether the recorded holder still lives.
        dying_s: how long to wait for workers whose runner is dead.
        Raises RunActive, naming the holder, if another incarnation lives.
        """
        fd = os.open(self.alive_lock, os.O_RDWR | os.O_CLOEXEC)
        give_up = time.monotonic() + dying_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = self._holder(fd)
                lives = holder.get("start") is not None and start_time_of(holder["pid"]) == holder["start"]
                if lives or time.monotonic() > give_up:
                    os.close(fd)
                    who = f"process {holder['pid']}" if holder else "another process"
                    raise RunActive(f"{self.firex_id} is running in {who}; wait for it or stop it first") from None
                time.sleep(0.02)  # a flock that may time out can only be asked for again
        record_holder(fd, start_time_of)
        return fd

    @staticmethod
    def _holder(fd: int) -> dict:
        try:
            return json.loads(os.pread(fd, 4096, 0))
        except ValueError:
            return {}


def record_holder(alive: int, start_time_of: Callable[[int], int | None]) -> None:
    """Write into the held `alive.lock` that this process is the one to be named."""
    record = json.dumps({"pid": os.getpid(), "start": start_time_of(os.getpid())})
    with contextlib.suppress(OSError):  # the lock itself needs no space on the disk
        os.ftruncate(alive, 0)
        os.pwrite(alive, record.encode(), 0)


def _remove_drafts(folder: Path) -> None:
    """Remove what submissions left that were killed before they were durable."""
    for path in folder.glob(f"{_DRAFT}*"):
        with contextlib.suppress(FileNotFoundError):
            # One that is just being made holds no lock yet, so age counts too.
            if time.time() - path.stat().st_mtime > _DRAFT_S and not RunDirectory(path).is_alive():
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """What the system has against writing here, as DiskFull or StorageFailure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, os.strerror(error.errno)) from error
        if error.errno in (errno.EIO, errno.EROFS):
            raise StorageFailure(f"{path} could not be written: {error.strerror}") from error
        raise


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable; SQLite does not do it for the directory above its file."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole, so that a reader sees the old text or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)
