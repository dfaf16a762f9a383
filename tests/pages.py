"""What an exported page holds, decoded: its index, and the details of its tasks."""
from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any


def unpacked(page: str, name: str) -> str | None:
    """The text of a compressed block."""
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page)
    return gzip.decompress(base64.b64decode(found[1])).decode() if found else None


def index_of(page: str) -> dict[str, Any]:
    """The columns, as the page's `Run` takes them."""
    return json.loads(unpacked(page, "fx-index") or "")


def detail_lines(page: str) -> list[dict[str, Any] | None]:
    """The details of each task, in the order of numbers; None where they were left out."""
    lines: list[dict[str, Any] | None] = []
    for number in range(len(index_of(page)["chunks"])):
        lines += map(json.loads, (unpacked(page, f"fx-d{number}") or "").split("\n"))
    return lines
