"""What is too long for a page, cut so that the page says what is missing and how much."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .portable import compact

LONG_LINE = 64 * 1024   # characters of a task's details, up to which nothing of it is looked at
MOST_TEXT = 64 * 1024   # characters of one text
MOST_VALUE = 256 * 1024  # characters of one field of a task, as JSON
HEAD = 4 * 1024         # of what is too long as a whole, that much is shown


def cut(detail: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """A task's details with long texts and values cut, and how many were."""
    found: dict[str, Any] = {}
    cuts = 0
    for field, value in detail.items():
        found[field], more = _cut_texts(value)
        cuts += more
        if isinstance(value, (Mapping, list)) and len(text := compact(found[field])) > MOST_VALUE:
            found[field], more = _cut_value(found[field], text)
            cuts += more
    return found, cuts


def _cut_texts(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return (value, 0) if len(value) <= MOST_TEXT else (_shortened(value), 1)
    if isinstance(value, Mapping):
        parts = {key: _cut_texts(part) for key, part in value.items()}
        return {key: part for key, (part, _) in parts.items()}, sum(more for _, more in parts.values())
    if isinstance(value, list):
        items = [_cut_texts(part) for part in value]
        return [part for part, _ in items], sum(more for _, more in items)
    return value, 0


def _shortened(text: str) -> str:
    half = MOST_TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} of {len(text):,} characters left out ...]\n{text[-half:]}"


def _cut_value(value: Any, text: str) -> tuple[Any, int]:
    """The entries of a mapping are cut one by one, for their names say most; of anything else the beginning is left."""
    if isinstance(value, Mapping) and len(value) < 1000:
        entries = {key: compact(part) for key, part in value.items()}
        longest = sorted(entries, key=lambda key: len(entries[key]), reverse=True)
        size, kept, cuts = len(text), dict(value), 0
        for key in longest:
            if size <= MOST_VALUE:
                break
            kept[key] = _cut_mark(entries[key])
            size -= len(entries[key]) - HEAD
            cuts += 1
        return kept, cuts
    return _cut_mark(text), 1


def _cut_mark(text: str) -> dict[str, str]:
    return {"$cut": f"the first {min(HEAD, len(text)):,} of {len(text):,} characters of JSON", "head": text[:HEAD]}
