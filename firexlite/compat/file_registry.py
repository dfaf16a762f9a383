"""`firexapp.fileregistry`: names for files of a run, which several parts of a program agree on."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar


class KeyAlreadyRegistered(Exception):
    """A file of this name is registered."""


class KeyNotRegistered(Exception):
    """No file of this name is registered."""


class _One(type):
    """The class of classes that have one instance in a process."""

    _instances: ClassVar[dict[type, Any]] = {}

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls not in cls._instances:
            cls._instances[cls] = super().__call__(*args, **kwargs)
        return cls._instances[cls]


class FileRegistry(metaclass=_One):
    """``{name: path below the run's directory}``, the same in the whole process.

    from_file: a file that `dump_to_file` wrote; counts for the first who asks.
    """

    def __init__(self, from_file: str | None = None) -> None:
        self.file_registry: dict[str, str] = self.read_from_file(from_file) if from_file else {}

    @classmethod
    def destroy(cls) -> None:
        """Forget all; the next who asks gets an empty registry."""
        _One._instances.pop(cls, None)

    def register_file(self, key: str, relative_path: str) -> None:
        """Raises KeyAlreadyRegistered for a name that is in use."""
        if key in self.file_registry:
            raise KeyAlreadyRegistered(f"'{key}' is registered for {self.file_registry[key]}")
        self.file_registry[key] = relative_path

    def get_file(self, key: str, uid_or_logsdir: Any) -> str:
        """The path of a registered file in a run, which a `Uid` or its directory tells. Raises KeyNotRegistered."""
        if key not in self.file_registry:
            raise KeyNotRegistered(f"'{key}' is not registered")
        return self.resolve_path(uid_or_logsdir, self.file_registry[key])

    def get_relative_path(self, key: str) -> str:
        return self.file_registry[key]

    @staticmethod
    def resolve_path(uid_or_logsdir: Any, relative_path: str) -> str:
        return os.path.join(getattr(uid_or_logsdir, "logs_dir", uid_or_logsdir), relative_path)

    @staticmethod
    def read_from_file(path: str) -> dict[str, str]:
        return json.loads(Path(path).read_text())

    def dump_to_file(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.file_registry, sort_keys=True, indent=2))
