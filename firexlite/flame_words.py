"""How the static top of a report writes things: texts of others, exceptions, lines of code, times and values."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import pairwise

from .patterns import pattern

ARGUMENT_CHARS = 300
EXCEPTION_LINES = 6

# What would be invisible, or turn the text around it: shown as its code.
HIDDEN = pattern("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
                 "\U000e0000-\U000e007f]")
COLOURS = pattern("\x1b\\[[0-9;]*m")  # of a terminal
_MODULE = pattern(r"\A(?:[^\W\d]\w*\.)+(?=[^\W\d]\w*(?::|\Z))")  # before the name of an exception's class

# What the signals mean that end workers, beyond their names.
SIGNALS = {
    "SIGKILL": "if nobody sent it, it was the kernel, for want of memory",
    "SIGSEGV": "native code touched memory that is not its own",
    "SIGBUS": "native code touched memory that is not there",
    "SIGABRT": "native code gave up, at an assertion say",
    "SIGILL": "native code holds what this processor does not know",
    "SIGFPE": "native code divided by zero, or the like",
}


def text(value: object) -> str:
    """``value`` as HTML text in ASCII, with every character visible."""
    from html import escape  # here: the terminal needs it not
    shown = HIDDEN.sub(lambda hidden: f"\\u{ord(hidden[0]):04x}", COLOURS.sub("", str(value)).replace("\r\n", "\n"))
    return escape(shown).encode("ascii", "xmlcharrefreplace").decode()


def command(line: object) -> str:
    """A command, and a button that copies it."""
    return f'<span class="way"><code>{text(line)}</code> <button type="button" class="copy" hidden>copy</button></span>'


# --- exceptions ------------------------------------------------------------------------------------------

def exception_line(task: Mapping) -> str:
    """The exception as Python prints it, below the last frame of its traceback, without the module of its class; else as
    the model has it."""
    lines = str(task.get("traceback") or "").rstrip().splitlines()
    last_frame = max((n for n, line in enumerate(lines) if line.startswith("  File ")), default=0)
    said = [n for n, line in enumerate(lines) if n >= last_frame and line and not line[0].isspace()
            and not line.startswith("Traceback (most recent call last)")]
    if said:
        return _MODULE.sub("", "\n".join(lines[said[0]:][:EXCEPTION_LINES]))
    return str(task.get("exception") or "failed without an exception").strip()


def in_words(task: Mapping) -> tuple[str, str]:
    """``(what a reader is told in large letters, what it was exactly or means)`` of a task that failed."""
    exact = exception_line(task)
    if found := re.match(r"(Soft)?TimeLimitExceeded: \w+\(([\d.]+)?", exact):
        limit = "soft_time_limit" if found[1] else "time_limit"
        of = f" of {duration(float(found[2]))}" if found[2] else ""
        ended = "was told to stop" if found[1] else "was killed"
        return f"It ran longer than its {limit}{of}, and {ended}", exact.partition(":")[0]
    if found := re.match(r"WorkerLost: the worker of this task died (?:once|(\d+) times)\D*?by (.+)", exact):
        times = f" {found[1]} times, at last" if found[1] else ""
        how = re.sub(r"signal (\d+) \((\w+)\)", r"\2 (signal \1)", found[2].partition(";")[0])
        meaning = next((meaning for name, meaning in SIGNALS.items() if name in how), "")
        died, by = ("died", "of") if "signal" in how else ("ended", "with")
        return f"Its worker {died}{times} {by} {how}", "; ".join(filter(None, (meaning, found[2].partition("; ")[2])))
    return exact, ""


def why_it_ended(run: Mapping) -> str:
    """A sentence about a run that was interrupted; the reason stands in its log if there was still somebody to write it."""
    life = (run.get("incarnations") or [{}])[-1]
    lines = "\n".join(map(str, run.get("log") or ()))
    if told := re.findall(rf"incarnation {life.get('n')} was stopped: (.+)", lines):
        reason = told[-1][:1].upper() + told[-1][1:]
    elif life.get("end") == "crash":
        reason = f"All its processes died or were killed, on {life.get('host') or 'its host'}"
    else:
        ended = re.findall(rf"incarnation {life.get('n')} ends, .*(after signal \d+)", lines)
        reason = f"It was stopped {ended[-1]}" if ended else "It was stopped before it had ended"
    return reason.replace(f"/{run.get('firex_id') or run.get('id') or 'run'}", "")


def seen_from(run: Mapping, path: str) -> str:
    """A path as the person saw it who submitted the run."""
    cwd = str((run.get("options") or {}).get("cwd") or "").rstrip("/")
    return path.removeprefix(f"{cwd}/") if cwd else path


def quoted_code(traceback: str, context: str) -> list[str]:
    """The code that ``context``, "file:line in function", points at, as ``traceback`` quotes it: a line, and what marks the
    part of it that failed."""
    place = re.fullmatch(r"(.+):(\d+)(?: in (.+))?", context)
    if not place:
        return []
    lines = traceback.splitlines()
    head = re.compile(rf'  File "{re.escape(place[1])}", line {place[2]}\b')
    starts = [n for n, (frame, code) in enumerate(pairwise(lines)) if head.match(frame) and code.startswith("    ")]
    if not starts:
        return []
    quoted = []
    for line in lines[starts[-1] + 1:]:
        if not line.startswith("    "):
            break
        quoted.append(line[4:].rstrip())
    return quoted


def log_lines(task: Mapping) -> list[str]:
    log = task.get("log") or {}
    lines = log.get("lines") if isinstance(log, Mapping) else log
    return lines.splitlines() if isinstance(lines, str) else [str(line) for line in lines or ()]


# --- values ----------------------------------------------------------------------------------------------

def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def span(seconds: float) -> str:
    """A span of time in one unit: `3 hours`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return _counted(int(seconds // length), unit)
    return "less than a minute"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(when: object) -> str:
    """A ``time`` element in UTC, which the script turns into the reader's own time."""
    if not isinstance(when, (int, float)):
        return ""
    at = datetime.fromtimestamp(when, timezone.utc)
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'


def short(value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= ARGUMENT_CHARS else f"{shown[:ARGUMENT_CHARS]}\u2026 ({len(shown):,} characters)"
