"""Numbers as people read them, and tables of them."""
from __future__ import annotations

from collections.abc import Sequence

MB = 1_000_000


def shown_s(seconds: float) -> str:
    """Seconds, or milliseconds below half a second."""
    return f"{three_digits(seconds)} s" if seconds >= 0.5 else f"{three_digits(seconds * 1000)} ms"


def shown_bytes(size: float) -> str:
    return f"{three_digits(size / MB)} MB" if size >= MB / 10 else f"{size:,.0f} B"


def shown_count(number: float) -> str:
    return f"{number:,.0f}"


def shown_share(share: float) -> str:
    return f"{share:.1%}"


def shown_times(ratio: float) -> str:
    return f"{three_digits(ratio)} times"


def three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is readable as plain text too; numbers stand on the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(first: str, *others: str) -> str:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(cells)} |"

    rule = line("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:]))
    return "\n".join([line(*head), rule, *(line(*row) for row in rows)])
