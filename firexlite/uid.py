"""The `uid` in the bog: the FireX ID of a run, which knows where the run lies. And what else FireX does with such ids."""
from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .home import FIREX_ID, home, new_firex_id
from .patterns import pattern

STAMP = "%y%m%d-%H%M%S"
FIREX_ID_REGEX = re.compile(r"^FireX-(?P<user>.*?)-(?P<datetime_str>\d{6}-\d{6})-(?P<random_int>\d+)$")
_IN_A_TEXT = pattern(r"FireX-\w+?-\d{6}-\d{6}-\d+")

_present: Path | None = None  # the directory of the run whose processes we are, wherever that lies


def be_in(directory: Path | None) -> None:
    """From now on this process belongs to the run in this directory. Of other runs the home is looked up."""
    global _present
    _present = directory


class Uid(str):
    """A FireX ID, which it equals, with the paths of its run.

    A journal holds the id alone: the paths are those of the run as it lies when they are asked for.
    """

    viewers: dict[str, str]
    _is_of_a_run = False  # else, as in a unit test, it has a folder of its own

    def __new__(cls, identifier: str | None = None, viewers: Mapping[str, str] | None = None) -> Uid:
        uid = super().__new__(cls, identifier or new_firex_id(time.time()))
        uid.viewers = dict(viewers or {})
        return uid

    @classmethod
    def recorded(cls, plain: Any) -> Uid:
        """The value as the journal has it. Raises ValueError for what is none."""
        identifier, viewers = (plain, {}) if isinstance(plain, str) else plain
        if not FIREX_ID.match(identifier) or not all(isinstance(part, str) for pair in viewers.items() for part in pair):
            raise ValueError("it is not a FireX ID")
        uid = cls(identifier, viewers)
        uid._is_of_a_run = True
        return uid

    @property
    def plain(self) -> Any:
        """What the journal stores of it: the id, or ``[id, viewers]``. Raises ValueError if it is no FireX ID."""
        if not FIREX_ID.match(self):
            raise ValueError("it is not a FireX ID")
        return [str.__str__(self), self.viewers] if self.viewers else str.__str__(self)

    def __str__(self) -> str:
        return self.identifier

    __repr__ = __str__  # as FireX's

    @property
    def identifier(self) -> str:
        """The FireX ID as plain text."""
        return str.__str__(self)

    @property
    def user(self) -> str:
        """Who submitted the run; of a text that is no FireX ID, nobody."""
        parts = get_firex_id_parts(self)
        return parts.user if parts else ""

    firex_requester = user

    @property
    def timestamp(self) -> datetime.datetime | None:
        """When the run was submitted, in UTC."""
        parts = get_firex_id_parts(self)
        return parts.timestamp if parts else None

    # --- where the run lies -------------------------------------------------------------------------

    @property
    def logs_dir(self) -> str:
        """The directory of the run; of an id that somebody thought out, a folder of its own."""
        if _present is not None and _present.name == self:
            return str(_present)
        run = home() / self.identifier
        return str(run) if self._is_of_a_run or run.is_dir() else self._folder_of_its_own()

    def _folder_of_its_own(self) -> str:
        """For what is no run, in a unit test say, a folder is made, where FireX makes it."""
        import tempfile  # here: hardly anybody needs it

        path = os.path.join(os.environ.get("firex_base_logging_dir")  # noqa: SIM112 (FireX calls it so)
                            or tempfile.gettempdir(), self.identifier)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    @property
    def base_logging_dir(self) -> str:
        """The directory that holds the run."""
        return os.path.dirname(self.logs_dir)

    @property
    def debug_dir(self) -> str:
        """A folder in the run for what only a developer looks at; made when it is first asked for."""
        return self._folder("firex_internal")

    @property
    def resources_dir(self) -> str:
        """A folder in `debug_dir` for what a report refers to; made when it is first asked for."""
        return self._folder("firex_internal", "resources")

    def _folder(self, *names: str) -> str:
        path = os.path.join(self.logs_dir, *names)
        if os.path.isdir(self.logs_dir):
            os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    # --- what shows it ------------------------------------------------------------------------------

    def add_viewers(self, **addresses: str) -> None:
        """Name pages that show the run. They flow on with this value, to the tasks that get it."""
        self.viewers.update(addresses)

    @property
    def logs_url(self) -> str | None:
        """The page that was named as ``logs_url``, None if none was."""
        return self.viewers.get("logs_url")


# --- what FireX does with ids -----------------------------------------------------------------------

@dataclass(frozen=True)
class FireXIdParts:
    """What a FireX ID consists of. timestamp: in UTC."""

    user: str
    timestamp: datetime.datetime
    random_int: int

    def firex_id(self) -> str:
        return f"FireX-{self.user}-{self.timestamp.strftime(STAMP)}-{self.random_int}"

    @staticmethod
    def from_str(firex_id: str) -> FireXIdParts:
        """Raises ValueError for what is no FireX ID."""
        parts = get_firex_id_parts(firex_id)
        if parts is None:
            raise ValueError(f"{firex_id!r} is not a FireX ID")
        return parts


def get_firex_id_parts(text: str) -> FireXIdParts | None:
    """The parts of a FireX ID; None for any other text."""
    found = FIREX_ID_REGEX.match(text)
    if found is None:
        return None
    try:
        moment = datetime.datetime.strptime(found["datetime_str"], STAMP)
    except ValueError:  # a month 13, say
        return None
    return FireXIdParts(found["user"], moment.replace(tzinfo=datetime.timezone.utc), int(found["random_int"]))


def is_firex_id(text: str) -> bool:
    return get_firex_id_parts(text) is not None


def find_all_firex_ids_from_str(text: str | None) -> list[str]:
    """The FireX IDs that stand in a text, each once, in their order."""
    return list(dict.fromkeys(_IN_A_TEXT.findall(text or "")))


def find_single_firex_id_from_str(text: str | None) -> str:
    """The only FireX ID in a text. Raises ValueError if there is another number of them."""
    found = find_all_firex_ids_from_str(text)
    if len(found) != 1:
        raise ValueError(f"one FireX ID was expected, and {len(found)} were found in: {text}")
    return found[0]
