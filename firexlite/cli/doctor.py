"""`firexlite doctor`: is a run as it should be."""
from __future__ import annotations

import json

import click

from ..doctor import Section, examine
from ..errors import JournalUnusable
from ..home import find_run
from .options import run_argument
from .printing import answer


@click.command("doctor")
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Write what was found as one JSON object.")
def doctor_command(firex_id: str, as_json: bool) -> None:
    """Examine a run: its journal, its files, its locks, and the settings in force. Nothing is changed.

    Exits with 0 if all is as it should be, else with 4 and a numbered list of what is wrong.

    \b
    firexlite doctor FireX-li-261123-101500-4711
    """
    directory = find_run(firex_id)
    sections = list(examine(directory))
    faults = list(dict.fromkeys(fault for section in sections for fault in section.faults))
    answer(_as_json(firex_id, sections, faults) if as_json else _as_text(sections, faults))
    if faults:
        raise JournalUnusable(faults[0] if len(faults) == 1 else f"{len(faults)} things are wrong with {firex_id}")


def _as_text(sections: list[Section], faults: list[str]) -> str:
    width = max(len(section.name) for section in sections)
    lines = [f"{section.name:{width}}  {'WRONG: ' * bool(section.faults)}{section.found}" for section in sections]
    if faults:
        lines += ["", *(f"{number}. {fault}" for number, fault in enumerate(faults, 1))]
    return "\n".join(lines)


def _as_json(firex_id: str, sections: list[Section], faults: list[str]) -> str:
    return json.dumps({"firex_id": firex_id, "faults": faults,
                       "found": {section.name: section.found for section in sections}}, indent=1)
