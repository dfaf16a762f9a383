"""Text of others, made fit for a terminal."""
from __future__ import annotations

import re

# Control characters (C0 but for \n and \t, DEL, C1), which a terminal obeys; what turns the direction of the text
# around it; what takes no space; and the line breaks that are none to a shell.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def visible(text: str) -> str:
    """``text`` with each character that a terminal would obey instead of showing it written as its code: ``\\x1b``."""
    return _OBEYED.sub(lambda found: f"\\x{ord(found[0]):02x}" if found[0] <= "\x9f"
                       else f"\\u{ord(found[0]):04x}", text)
