"""The document that holds the figures, between lines that say so; all other words in it are left alone."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .scratch import CannotMeasure


class Marks(NamedTuple):
    """The lines between which figures stand in a document."""

    begin: str
    end: str


BEGIN = "<!-- figures: written by `python -m benchmarks`, which replaces all between this line and the last -->"
END = "<!-- end of figures -->"
FIGURES = Marks(BEGIN, END)


def split_document(path: Path, marks: Marks = FIGURES) -> tuple[str, str]:
    """What stands before the figures and after them; for a file that is not there, next to nothing.

    Raises CannotMeasure for a file without the two marks: it is somebody's own.
    """
    if not path.exists():
        return "# Performance\n\n", "\n"
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks.begin)
    _, end, after = rest.partition(marks.end)
    if not begin or not end:
        raise CannotMeasure(f"{path} has no place for the figures; it needs the lines\n{marks.begin}\n{marks.end}")
    return before, after


def write_document(path: Path, figures: str, marks: Marks = FIGURES) -> None:
    """Put the figures between the marks of a document; its prose stays."""
    before, after = split_document(path, marks)
    path.write_text(f"{before}{marks.begin}\n\n{figures}\n\n{marks.end}{after}", encoding="utf-8")
