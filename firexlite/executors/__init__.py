"""Where the workers of a run are: forked by its runner, or elsewhere, brought by an engine that others keep.

The journal stays where the run was submitted. An engine carries no more than a pilot there, by its id: a place for a worker on
another host, which claims what it runs as any worker does and calls back for all that concerns the journal.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import BadInput

if TYPE_CHECKING:
    from ..journal import Journal
    from ..runner import Runner

LOCAL = "local"
LEASE = "FIREXLITE_LEASE"  # the variable that says how long the other side may be silent
LEASE_S = 10.0


class Executor(Protocol):
    """Brings workers to a runner. It is asked, and attended to, by the runner's one thread."""

    def sources(self) -> Sequence[object]:
        """What is readable when there is something to attend to."""

    def bring(self, runner: Runner, wanted: int) -> None:
        """Have so many more workers come."""

    def attend(self, runner: Runner) -> bool:
        """Do what has come up; whether the runner is to look at the journal."""

    def look(self, runner: Runner, journal: Journal) -> None:
        """Bring what is lacking, as the journal has it now."""

    def coming(self) -> Sequence[int]:
        """The numbers of workers that are asked for and not there."""

    def note_end_of(self, runner: Runner, pid: int, status: int) -> None:
        """A process that is no worker has ended; it may be one of the executor's own."""

    def end(self) -> None:
        """No worker is needed any more."""


class Local:
    """The runner forks them."""

    def sources(self) -> Sequence[object]:
        return ()

    def bring(self, runner: Runner, wanted: int) -> None:
        for _ in range(wanted):
            if (number := runner.free_number()) is None:
                return  # the tick asks again when one has ended
            runner.board.forked(number)  # before the fork: afterwards the worker itself may have changed it
            runner.fork_worker(number)

    def attend(self, runner: Runner) -> bool:
        return False

    def look(self, runner: Runner, journal: Journal) -> None:
        """Who finds that a worker is lacking asks for it."""

    def coming(self) -> Sequence[int]:
        return ()

    def note_end_of(self, runner: Runner, pid: int, status: int) -> None:
        """There is none."""

    def end(self) -> None:
        """There is nothing of its own."""


class Place(NamedTuple):
    """What `--executor` says. engine: `local` or `dask`. address: of its scheduler; empty for one that we start."""

    engine: str
    address: str

    def __str__(self) -> str:
        return self.engine if self.engine == LOCAL else f"{self.engine}:{self.address or 'local'}"


def place_of(text: str, is_insecure: bool) -> Place:
    """What an executor is called. Raises BadInput for what is none, or for an engine that everybody on the way could use."""
    engine, colon, address = text.partition(":")
    if engine == LOCAL and not colon:
        return Place(LOCAL, "")
    if engine != "dask" or not address:
        raise BadInput(f"--executor takes local, dask:local or dask:tls://HOST:PORT, not '{text}'")
    if address == "local":
        return Place("dask", "")
    scheme, mark, where = address.partition("://")
    host, _, port = where.rpartition(":")
    if not mark or scheme not in ("tls", "tcp") or not host or not port.isdigit():
        raise BadInput(f"--executor dask: takes the address of a Dask scheduler, as in dask:tls://host:8786, or local, "
                       f"not '{address}'")
    if scheme == "tcp" and not is_insecure and not is_loopback(host):
        raise BadInput(f"the connection to {address} would be neither encrypted nor checked, and whoever can reach a Dask "
                       "cluster can have it run code; set it up with TLS (dask:tls://...), or say --insecure where the network "
                       "is trusted")
    return Place("dask", address)


def lease_s() -> float:
    """After so many seconds without a sign of life the other side of a connection is taken for lost. Raises BadInput."""
    chosen = os.environ.get(LEASE) or str(LEASE_S)
    try:
        seconds = float(chosen)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise BadInput(f"{LEASE} is '{chosen}'; it takes a number of seconds from 0.5 to 3600, and is {LEASE_S:g} unless set")
    return seconds


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this host alone."""
    import ipaddress  # here: every command comes by this module

    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"
