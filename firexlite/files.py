"""Files as values: what a service takes and returns in place of a path.

In the journal a file is plain data: `{"$type": "File", "value": ["out/app.bin", 1234, "ab12.."]}`.
"""
from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

MARK = '"$type":"File"'   # in a text of the journal; no str holds it, since there its quotes are escaped
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, init=False, repr=False)
class File(os.PathLike):
    """A file as it was when this value was made: its path, as given, its size in bytes and its SHA-256 in hex.

    A relative path is relative to the working directory of the run. Raises as `open` does for what cannot be read.
    """

    path: str
    size: int
    sha256: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = os.fspath(path)
        if not isinstance(path, str):
            raise TypeError(f"the path of a File is a str, not {type(path).__name__}")
        self._be(path, *_read(path))

    @classmethod
    def recorded(cls, path: str, size: int, sha256: str) -> File:
        """The value as the journal has it; never touches the disk. Raises ValueError for what is none."""
        if not (type(path) is str and type(size) is int and size >= 0
                and type(sha256) is str and re.fullmatch("[0-9a-f]{64}", sha256)):
            raise ValueError("it is not a path, a size and a SHA-256")
        file: File = object.__new__(cls)
        file._be(path, size, sha256)
        return file

    def _be(self, path: str, size: int, sha256: str) -> None:
        for name, value in (("path", path), ("size", size), ("sha256", sha256)):
            object.__setattr__(self, name, value)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"File({self.path!r}, {self.size} bytes, sha256 {self.sha256[:4]}...)"

    def is_intact(self) -> bool:
        """Whether the file is there, can be read, and is what it was."""
        return self.ailment() is None

    def ailment(self) -> str | None:
        """What is the matter with the file: `is missing`, `was changed`, why it cannot be read; None if it is intact."""
        try:
            if os.stat(self.path).st_size != self.size or _read(self.path) != (self.size, self.sha256):
                return "was changed"
        except (FileNotFoundError, NotADirectoryError):
            return "is missing"
        except IsADirectoryError:
            return "was changed"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return None

    @property
    def plain(self) -> list:
        """What the journal stores of it."""
        return [self.path, self.size, self.sha256]


def _read(path: str) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
