"""Regular expressions that are compiled when they are first used: a command needs few of the many, and starts in a wink."""
from __future__ import annotations

import re
from typing import Any, cast


class _Pattern:
    """Becomes, method by method, what ``re.compile`` makes."""

    def __init__(self, text: str, flags: int) -> None:
        self.pattern, self._flags = text, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self.pattern, self._flags), name)  # `re` keeps what it has compiled
        setattr(self, name, found)
        return found


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """As ``re.compile(text, flags)``; what is wrong with ``text`` shows when it is used."""
    return cast("re.Pattern[str]", _Pattern(text, flags))
