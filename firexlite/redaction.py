"""Reports without what looks like a secret: taken out of the model, before any format is made of it.

What is declared a `Secret` is masked when it is journaled already. Here is guessed, by names and by shapes, for those who
declared nothing: a guess takes out too much now and then, and cannot know a password in the middle of a sentence.
"""
from __future__ import annotations

import base64
import bisect
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .errors import BadInput
from .named_secrets import CELL, ROW, Span, in_small_letters, says_nothing
from .patterns import pattern
from .secret_names import is_count, is_secret_name
from .secret_shapes import is_suspicious, of_programs, spans
from .showing import TAGS

MASK = "[redacted]"

# Of a task and of a run, what is firexlite's own or the name of something. All else is looked at, also what is yet to come.
OF_TASK_LEFT_ALONE = frozenset({
    "num", "uuid", "parent", "enqueued_by", "name", "long_name", "state", "chain_depth", "plugin", "host", "started", "runtime",
    "states", "attempts", "queue", "self", "child_wait", "backoff", "asleep", "down", "replayed_in", "cause", "extra_parents",
    "cached_from", "aside", "log", "retries", "queue_name", "due"})
OF_RUN_LEFT_ALONE = frozenset({"id", "firex_id", "state", "started", "ended", "root", "host", "user", "python", "incarnations",
                               "counts", "snapshot", "truncated", "redacted"})

OF_THE_NAME_BESIDE = ("value", "Value", "was", "now")  # keys of what a dict has under the name that it says itself

_BETWEEN_WORDS = "\x1f"  # white space that stands in no word
_PLAIN_NAME = pattern(r"[\w.-]+")
_COLOUR = r"\x1b\[[0-9;?]*[A-Za-z]|\\(?:x1b|u001b|033)\[[0-9;?]*[A-Za-z]"  # as it is, and as JSON and `repr` write it
_SHELL_QUOTE = r"""'"'"'|'\\''"""  # a quote within quotes, as `shlex` writes it, and `sh -x`
_MARKED = pattern(f"{_COLOUR}|{_SHELL_QUOTE}")
_TAG = pattern(rf"</?(?:{'|'.join(sorted(TAGS | {'dl', 'dt', 'dd', 'tfoot', 'caption'}))})\b[^<>]*>", re.IGNORECASE)
_MARKUP = pattern(rf"{_COLOUR}|{_SHELL_QUOTE}|{_TAG.pattern}"
                  r"|&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});", re.IGNORECASE)
_CELL_TAG = pattern(r"</?(?:td|th|dt|dd)\b", re.IGNORECASE)
_LINE_TAG = pattern(r"</?(?:br|div|h\d|hr|li|ol|p|pre|table|tbody|thead|tr|ul|dl)\b", re.IGNORECASE)
_LINE = f"{ROW}\n"
_NO_CHARACTER = ("", CELL, _LINE)


class Redaction(NamedTuple):
    """What is taken out of a report, as `Redactor` has it; each process that works at it makes one of its own."""

    patterns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    is_on: bool = True

    def redactor(self) -> Redactor:
        return Redactor(self.patterns, self.keys, self.is_on)


class Redactor:
    """Takes what looks like a secret out of a report. count: of the values it took out.

    patterns: regular expressions for more; where one has a group, what that matched. keys: more names of secrets, in whatever
    letters and with whatever between their words: `door-code` is `DOOR_CODE` too. Raises BadInput for what is none of these.
    """

    def __init__(self, patterns: Sequence[str] = (), keys: Sequence[str] = (), is_on: bool = True) -> None:
        self.count = 0
        self.is_on = is_on
        self._patterns = [_compiled(pattern) for pattern in patterns]
        self._keys = frozenset(map(_letters, keys))
        if "" in self._keys:
            raise BadInput("--redact-key takes the name of an argument or of a key, such as door_code")
        words = [re.findall(r"[^\W_]+", key.lower()) for key in keys]
        self._own_stem = re.compile("|".join(r"[\W_]?".join(parts) for parts in words)) if words else None
        # What a pattern is for, and letters that are not ASCII, may be written otherwise in JSON.
        self._suspects_all = bool(patterns) or not all(map(str.isascii, keys))
        self._is_name = functools.lru_cache(maxsize=16 * 1024)(self._is_one_of_ours) if words else is_secret_name

    def suspects(self, text: str) -> bool:
        """Quick: False if there is nothing to take out of ``text``, nor of the data of which it is the JSON or the `repr`."""
        return self.is_on and (self._suspects_all or is_suspicious(text) or (
            self._own_stem is not None and self._own_stem.search(in_small_letters(text)) is not None))

    def _is_one_of_ours(self, name: str) -> bool:
        return is_secret_name(name) or _letters(name) in self._keys

    # --- texts

    def text(self, text: str) -> str:
        """``text`` without values that stand behind the name of a secret, and those that look like one by themselves."""
        if not self.suspects(text):
            return text
        return self._read_without(_MARKED, text) if _MARKED.search(text) else self._masked(text, self._spans(text))

    def markup(self, text: str) -> str:
        """As `text`, of HTML: a value may stand in another tag than its name, or in the next cell of a table."""
        if not self.suspects(text):
            return text
        return self._read_without(_MARKUP, _TAG.sub(lambda tag: self.text(tag[0]), text))

    def _spans(self, text: str) -> Iterator[Span]:
        yield from (span for span in spans(text, self._is_name, self._own_stem) if text[slice(*span)] != MASK)
        for own in self._patterns:
            for found in own.finditer(text):
                yield found.span(found.lastindex or 0)

    def _masked(self, text: str, found: Iterable[Span]) -> str:
        parts, end = [], 0
        for start, stop in _merged(found):
            parts += [text[end:start], MASK]
            end = stop
        self.count += len(parts) // 2
        return "".join([*parts, text[end:]]) if parts else text

    def _read_without(self, mark: re.Pattern[str], text: str) -> str:
        """Look at the text as it is read, without its marks; mask in the text as it is written, and leave the marks there."""
        read, read_at, written_at, marks, end = [], [0], [0], [], 0
        for found in mark.finditer(text):
            read += [text[end:found.start()], _as_read(found[0])]
            read_at += [read_at[-1] + len(read[-2]), read_at[-1] + len(read[-2]) + len(read[-1])]
            end = found.end()
            written_at += [found.start(), end]
            if read[-1] in _NO_CHARACTER:
                marks.append(found.span())

        def written(place: int, is_end: bool = False) -> int:
            n = bisect.bisect_right(read_at, place - is_end) - 1
            is_mark = n % 2 == 1
            return written_at[n + is_end] if is_mark else written_at[n] + place - read_at[n]

        parts, done = [], 0
        for start, stop in _merged(self._spans("".join([*read, text[end:]]))):
            first, last = written(start), written(stop, is_end=True)
            inside = marks[bisect.bisect_left(marks, (first, 0)):bisect.bisect_left(marks, (last, 0))]
            parts += [text[done:first], MASK, *(text[one:other] for one, other in inside)]
            done = last
            self.count += 1
        return "".join([*parts, text[done:]]) if parts else text

    # --- data

    def data(self, value: Any) -> Any:
        """Nested data as JSON has it; made anew only where something is taken out."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._bytes(value) if "$bytes" in value else self._dict(value)
        if isinstance(value, list):
            is_command = any(isinstance(word, str) and word[:1] == "-" for word in value)
            return self.argv(value) if is_command else _each(value, self._pair_or_data)
        return value

    def _dict(self, values: dict) -> dict:
        new: dict = {}
        # In the settings of containers and in recorded requests: {"name": "DB_PASSWORD", "value": "..."}
        name_beside = next((values[name] for name in ("name", "Name", "key", "Key") if isinstance(values.get(name), str)), None)
        for key, value in values.items():
            shown = self.text(key) if isinstance(key, str) else key
            while shown is not key and (shown in values or shown in new):
                shown += "'"
            new[shown] = self._named(name_beside if name_beside and key in OF_THE_NAME_BESIDE else key, value)
        is_old = all(map(operator.is_, new.values(), values.values())) and all(map(operator.is_, new, values))
        return values if is_old else new

    def _bytes(self, values: dict) -> dict:
        """The first of some bytes; more of them is never shown."""
        first = values.get("b64")
        is_harmless = not isinstance(first, str) or not self.suspects(said := base64.b64decode(first).decode("latin-1"))
        return values if is_harmless or self.text(said) is said else {**values, "b64": MASK}

    def _named(self, name: object, value: Any, show: Callable[[Any], Any] | None = None) -> Any:
        """A value without what is secret in it; behind the name of a secret it is one itself, unless it says nothing."""
        if (value is None or isinstance(value, bool) or value in ("", [], {}) or not self.is_on or not isinstance(name, str)
                or not self._is_name(name) or is_count(name, value) or (isinstance(value, str) and says_nothing(value, name))):
            return (show or self.data)(value)
        self.count += 1
        return MASK

    def _pair_or_data(self, value: Any) -> Any:
        """In a list of pairs, each may be a header, or an item of a dict."""
        if not _is_pair(value):
            return self.data(value)
        shown = self._named(*value)
        return value if shown is value[1] else [value[0], shown]

    def argv(self, words: list) -> list:
        """A command line: `--password`, `...`; `--password=...`; `-e`, `TOKEN=...`; `curl`, `-u`, `user:...`."""
        new, before = [], ""
        for word in words:
            name, sign, value = word.partition("=") if isinstance(word, str) else ("", "", "")
            if sign and _PLAIN_NAME.fullmatch(name) and (shown := self._named(name, value)) is not value:
                new.append(f"{name}={shown}")
            elif before[:1] == "-" and "=" not in before and isinstance(word, str) and word[:1] != "-":
                new.append(self._named(before, word))
            else:
                new.append(self.data(word))
            before = word if isinstance(word, str) else ""
        line = _BETWEEN_WORDS.join(word if isinstance(word, str) else "" for word in new)
        if self.suspects(line) and (masked := self._masked(line, of_programs(line))) is not line:
            new = [shown if isinstance(word, str) else word
                   for word, shown in zip(new, masked.split(_BETWEEN_WORDS), strict=True)]
        return words if all(map(operator.is_, new, words)) else new

    # --- the model

    def task(self, task: dict) -> dict:
        """A task of the model."""
        told = [value for key, value in task.items() if value and key not in OF_TASK_LEFT_ALONE]
        failures = [attempt.get("exc") for attempt in task.get("attempts") or ()]
        new = task
        if self.suspects(repr([told, *filter(None, failures)])):
            new = _each(new, lambda key, value: value if key in OF_TASK_LEFT_ALONE else self._part_of_task(key, value))
            attempts = _each(task.get("attempts") or [], self._attempt)
            new = new if attempts is task.get("attempts") or not attempts else {**new, "attempts": attempts}
        log = task.get("log")
        shown = self._log(log) if isinstance(log, dict) else self.data(log)
        return new if shown is log else {**new, "log": shown}

    def _part_of_task(self, key: str, value: Any) -> Any:
        if key == "flame_data" and isinstance(value, dict):
            return _each(value, self._flame_entry)
        if key == "external_commands" and isinstance(value, dict):
            return _each(value, lambda _, command: self._command(command))
        return self.data(value)

    def _attempt(self, attempt: dict) -> dict:
        shown = self.data(attempt.get("exc"))
        return attempt if shown is attempt.get("exc") else {**attempt, "exc": shown}

    def _flame_entry(self, name: str, entry: Any) -> Any:
        if not isinstance(entry, dict) or "value" not in entry:
            return self.data(entry)
        value = entry["value"]
        is_markup = entry.get("type") == "html" and isinstance(value, str)
        shown = self._named(name, value, self.markup if is_markup else None)
        return entry if shown is value else {**entry, "value": shown}

    def _command(self, command: Any) -> Any:
        new = self.data(command)
        if isinstance(command, dict) and isinstance(command.get("cmd"), list):
            words = self.argv(command["cmd"])
            return new if words is command["cmd"] else {**new, "cmd": words}
        return new

    def _log(self, log: dict) -> dict:
        """Looked at as one text, since a private key has many lines; if some go, the log has so many fewer."""
        lines = log.get("lines") or []
        if isinstance(lines, str):
            return _each(log, lambda key, value: self.text(value) if key == "lines" else value)
        text = "\n".join(map(str, lines))
        shown = self.text(text)
        if shown is text:
            return log
        left = shown.split("\n")
        fewer = {"total": log["total"] - len(lines) + len(left)} if isinstance(log.get("total"), int) else {}
        return {**log, "lines": left, **fewer}

    def run(self, run: dict) -> dict:
        """The model's facts of the run."""
        def shown(key: str, value: Any) -> Any:
            if key in OF_RUN_LEFT_ALONE:
                return value
            return self.argv(value) if key == "argv" and isinstance(value, list) else self.data(value)
        return _each(run, shown)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadInput(f"--redact takes a regular expression, and {pattern!r} is none: {error}") from error
    if compiled.fullmatch(""):
        raise BadInput(f"--redact takes a regular expression for what to take out, and {pattern!r} matches the empty text too")
    return compiled


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _merged(found: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap as one; without empty ones."""
    merged: list[Span] = []
    for start, end in sorted(found):
        if end > start and merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif end > start:
            merged.append((start, end))
    return merged


def _is_pair(value: Any) -> bool:
    return (isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)
            and not is_secret_name(value[1]))


def _as_read(mark: str) -> str:
    """What a reader sees of a tag, an entity, a colour, a quote."""
    if mark[0] == "&":
        import html  # here: few texts have an entity
        return html.unescape(mark)
    if mark[0] != "<":
        return "'" if mark[0] == "'" else ""
    return CELL if _CELL_TAG.match(mark) else _LINE if _LINE_TAG.match(mark) else ""


def _each(values: Any, change: Callable[..., Any]) -> Any:
    """The values of a dict, or the parts of a list, each as ``change`` has it; the same object if all remain the same."""
    if isinstance(values, Mapping):
        changed = {key: change(key, value) for key, value in values.items()}
        return values if all(map(operator.is_, changed.values(), values.values())) else changed
    parts = [change(value) for value in values]
    return values if all(map(operator.is_, parts, values)) else parts
