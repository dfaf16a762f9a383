"""What the processes of one incarnation have to know of the run that they drive."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .configuration import FULL_WAIT_S, IMPORT_TIMEOUT_S
from .home import RunDirectory

if TYPE_CHECKING:
    from .executors import Executor


@dataclass
class Incarnation:
    """One life of a run's processes."""

    directory: RunDirectory
    epoch: int
    slots: int
    plugins: list[str]           # paths, for workers that must import the services themselves
    json_file: str | None = None
    full_wait_s: float = FULL_WAIT_S
    again: dict | None = None    # the resume that follows this incarnation, in which only lost files are made
    alive: int | None = None     # the file descriptor that holds the run's lock
    front: int | None = None     # the pid of the front
    import_timeout_s: float = IMPORT_TIMEOUT_S  # of workers that import the services themselves
    secrets: Sequence[Sequence[str]] = ((), ())  # as `vault.begin_run` takes them, if another process than this one read them
    pickles_of: str | None = None  # as `pickles.begin_run` takes it
    found: Sequence[str] = ()    # paths of files with services that nobody listed, as `plugins`
    queues: Mapping[str, int] = field(default_factory=dict)  # how many tasks of a queue may be under way at once
    soft_time_limit: float | None = None         # seconds that the run may take in this incarnation
    ends_when_waiting: bool = False              # when all that is left waits for a time or an event
    executor: Executor | None = None             # what brings its workers, if not the runner
