"""What a planted bug is: a mistake in one place of one file, and the tests that notice it."""
from __future__ import annotations

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One mistake. old: occurs exactly once in the file. caught_by: arguments to pytest, of the cheapest tests that see it."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str

    def planted_in(self, source: str) -> str:
        """The file with the bug in it. Raises ValueError if it does not fit any more."""
        if (found := source.count(self.old)) != 1:
            raise ValueError(f"'{self.name}' no longer fits: what it replaces occurs {found} times in {self.file}")
        return source.replace(self.old, self.new)


def only(tests: str, words: str) -> str:
    """Those of some tests whose names fit ``words``, as pytest's -k has it."""
    return f"{tests} -k {shlex.quote(words)}"


def in_file(file: str, *bugs: tuple[str, str, str, str]) -> list[Bug]:
    """Bugs of one file, ``(name, old, new, caught by)`` each."""
    return [Bug(name, file, old, new, caught_by) for name, old, new, caught_by in bugs]
