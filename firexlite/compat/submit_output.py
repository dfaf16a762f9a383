"""`firexapp.submit.submit`: what can be read from the output of a submission."""
from __future__ import annotations

import re

from ..errors import BadInput
from ..home import find_run


def get_firex_id_from_output(cmd_output: str) -> str | None:
    """The FireX ID that a submission printed, None if it printed none."""
    found = re.search(r"FireX ID: *(.+)", cmd_output or "")
    return found[1].strip() if found else None


def get_log_dir_from_output(cmd_output: str) -> str:
    """The directory of the run that a submission printed, or of the run whose FireX ID it printed; else an empty text."""
    if printed := re.findall(r"Logs: *(.+)", cmd_output or ""):
        return printed[-1].strip()
    try:
        return str(find_run(get_firex_id_from_output(cmd_output) or "").path)
    except BadInput:
        return ""
