"""Text of others, made fit for a terminal, or for the log of a CI system."""
from __future__ import annotations

import os
import re

from .patterns import pattern

# Control characters (C0 but for \n and \t, DEL, C1), which a terminal obeys; what turns the direction of the text
# around it; what takes no space; and the line breaks that are none to a shell.
_OBEYED = pattern("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                  "\U000e0000-\U000e007f]")


def visible(text: str) -> str:
    """``text`` with each character that a terminal would obey instead of showing it written as its code: ``\\x1b``."""
    return _OBEYED.sub(lambda found: _code_of(found[0]), text)


# GitHub obeys a line of a log that begins so, or has the older form anywhere.
_COMMAND = pattern(r"^(\s*:)(?=:)|(##)(?=\[)", re.MULTILINE)


def harmless(text: str) -> str:
    """`visible` text that does not command the CI system in whose log it stands, either."""
    text = visible(text)
    return _COMMAND.sub(r"\1\2 ", text) if os.environ.get("GITHUB_ACTIONS") == "true" else text


def _code_of(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number <= 0x9f else f"\\u{number:04x}" if number <= 0xffff else f"\\U{number:08x}"
