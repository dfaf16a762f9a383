"""Secrets: values that a run uses and never writes down.

A `Secret` refers to a value: `env:NAME`, an environment variable, or `file:PATH`, the text of a file. The journal holds the
reference; a worker reads the value. Once a process has read one it knows it again wherever it stands: in a text that is
journaled it is written as its reference, in what people read as `[secret env:NAME]`.

Known again is the value itself, and the forms into which libraries bring it on its way: `base64(env:NAME)`, `json(env:NAME)`.
A value that is cut, reversed, or encrypted is not.
"""
from __future__ import annotations

import base64
import functools
import itertools
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, AnyStr, Generic

from .errors import BadInput, SecretUnavailable
from .patterns import pattern

SHORTEST = 6            # characters; what is shorter stands in texts that have nothing to do with it
LONGEST = 32 * 1024     # bytes
MASK = "[secret "       # how every mask begins

_ON_THE_COMMAND_LINE = pattern(r"""Secret\(\s*(["']?)(.*)\1\s*\)""", re.DOTALL)


@dataclass(frozen=True)
class Secret:
    """Refers to a value that is never written down. As an argument it is journaled as it is, and the service gets the value.

    reference: `env:NAME` or `file:PATH`; a line break at the end of a file does not count. Raises BadInput for any other.
    """

    reference: str

    def __post_init__(self) -> None:
        kind, _, name = self.reference.partition(":") if isinstance(self.reference, str) else ("", "", "")
        if kind not in ("env", "file") or not name or "\0" in name:
            # What was given instead is not shown: it may be the value itself.
            raise BadInput("a Secret refers to its value as 'env:NAME' or 'file:PATH'")

    @classmethod
    def in_argument(cls, text: str) -> Secret | None:
        """The secret that an argument on the command line asks for, `Secret(env:NAME)`; None if it is no such text."""
        found = _ON_THE_COMMAND_LINE.fullmatch(text.strip())
        return cls(found[2]) if found else None

    def reveal(self) -> str:
        """The value, which is masked from now on. Raises SecretUnavailable."""
        return vault.value(self.reference)


def _read(reference: str) -> str:
    kind, _, name = Secret(reference).reference.partition(":")
    value = _variable(name, reference) if kind == "env" else _text_of_file(name, reference)
    if len(value.strip()) < SHORTEST:
        raise SecretUnavailable(reference, f"it has fewer than {SHORTEST} characters, too few to be masked wherever it stands")
    if len(_bytes(value)) > LONGEST:
        raise SecretUnavailable(reference, f"it is longer than {LONGEST // 1024} KiB")
    return value


def _variable(name: str, reference: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SecretUnavailable(reference, f"the environment variable {name} is not set")
    return value


def _text_of_file(name: str, reference: str) -> str:
    try:
        # A pipe is not waited for.
        with open(os.open(os.path.expanduser(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SecretUnavailable(reference, f"{name} is no file")
            text = file.read(LONGEST + 2).decode()
    except OSError as error:
        raise SecretUnavailable(reference, f"the file {name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SecretUnavailable(reference, f"the file {name} is no text") from error
    return text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith("\n") else text


# --- knowing a value again ---------------------------------------------------------------------

def _json(is_ascii: bool, is_for_html: bool, with_slash: bool) -> Callable[[str], str]:
    """JSON as Python writes it, and with what other languages do besides: Go escapes `<`, `>` and `&`, PHP the slash."""
    def transform(text: str) -> str:
        written = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        if is_for_html:
            written = re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", written)
        return written.replace("/", "\\/") if with_slash else written
    return transform


def _quoted(write: Callable[[str], str]) -> Callable[[str], str]:
    """`repr` or `ascii`, in a text that has quotes of both kinds."""
    return lambda text: write(text + "'\"")[1:-4]


def _percent(safe: str, is_lower: bool = False, **instead: str) -> Callable[[str], str]:
    """A URL in which letters, digits, `-._~` and ``safe`` stand as they are. instead: ``{byte, as x7e: what is written}``."""
    kept = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~" + safe.encode())
    table = [chr(byte) if byte in kept else f"%{byte:02x}" if is_lower else f"%{byte:02X}" for byte in range(256)]
    for digits, written in instead.items():
        table[int(digits[1:], 16)] = written
    return lambda text: "".join(map(table.__getitem__, _bytes(text)))


def _html(double_quote: str, single_quote: str, is_ascii: bool) -> Callable[[str], str]:
    """HTML or XML, in which quotes are escaped in many ways, or not at all; is_ascii: other characters by their numbers."""
    table = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': double_quote, "'": single_quote})

    def transform(text: str) -> str:
        written = text.translate(table)
        return written.encode("ascii", "xmlcharrefreplace").decode() if is_ascii else written
    return transform


def _base64(encode: Callable[[bytes], bytes], bytes_before: int | None) -> Callable[[str], str]:
    """To the characters of a base64 that depend on the value alone, wherever it stands in what was encoded.

    bytes_before: how many stand before it, modulo 3; None for the base64 of the value itself, without the `=` that
    fill it up, which may be left out.
    """
    def transform(value: str) -> str:
        data = bytes(bytes_before or 0) + _bytes(value)
        text = encode(data).decode()
        return text.rstrip("=") if bytes_before is None else text[(0, 2, 3)[bytes_before]:len(data) * 8 // 6]
    return transform


# What becomes of a text that is written as a part of another one. These names stand in journals.
ESCAPED: dict[str, Callable[[str], str]] = {
    "json": _json(is_ascii=True, is_for_html=False, with_slash=False),
    "repr": lambda text: repr(text)[1:-1],
    "repr'": _quoted(repr),
    "bytes": lambda text: repr(_bytes(text))[2:-1],
    "path": _percent("/"),
    "url": _percent(""),
    "form": _percent("", x20="+"),
    "html": _html("&quot;", "&#x27;", is_ascii=False),
}
# What becomes of a value on its way through libraries; each of them may then be escaped once more, json(html(env:NAME)).
# `base64+2` is found in the base64 of `user:VALUE`, which HTTP sends.
FORMS: dict[str, Callable[[str], str]] = {
    **ESCAPED,
    "stripped": str.strip,
    "utf8": lambda text: _bytes(text).decode("utf-8", "surrogateescape"),  # a locale without umlauts has it otherwise
    **{f"{name}{after}": _base64(encode, before)
       for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
       for after, before in (("", None), ("+0", 0), ("+1", 1), ("+2", 2))},
    **{"json" + ".utf8" * is_utf8 + ".html" * is_for_html + ".slash" * with_slash: _json(not is_utf8, is_for_html, with_slash)
       for is_utf8, is_for_html, with_slash in itertools.product((False, True), repeat=3)},
    "ascii": lambda text: ascii(text)[1:-1],
    "ascii'": _quoted(ascii),
    "backslash": lambda text: text.encode("ascii", "backslashreplace").decode(),
    **{f"html.{quotes}" + ".ascii" * is_ascii: _html(double_quote, single_quote, is_ascii)
       for is_ascii in (False, True)
       for quotes, double_quote, single_quote in (
           ("python", "&quot;", "&#x27;"), ("text", '"', "'"), ("markup", "&#34;", "&#39;"), ("php", "&quot;", "&#039;"),
           ("short", "&quot;", "&#39;"), ("xml", "&quot;", "&apos;"), ("attribute", "&quot;", "'"))},
    **{f"{name}" + ".lower" * is_lower: _percent(safe, is_lower, **instead)
       for is_lower in (False, True)
       for name, safe, instead in (
           ("path", "/", {}), ("url", "", {}), ("form", "", {"x20": "+"}),
           ("form.browser", "*", {"x20": "+", "x7e": "%7e" if is_lower else "%7E"}),
           ("url.component", "!'()*", {}),                     # encodeURIComponent
           ("url.whole", "!'()*;,/?:@&=+$#", {}),              # encodeURI
           ("url.requoted", "!#$&'()*+,/:;=?@[]", {}),         # requests
           ("url.requoted.percent", "!#$%&'()*+,/:;=?@[]", {}))},
    "shell": lambda text: text.replace("'", "'\"'\"'"),       # shlex.quote
    "shell.trace": lambda text: text.replace("'", "'\\''"),    # sh -x
    "shell.backslash": lambda text: re.sub(r"([^\w@%+=:,./-])", r"\\\1", text),
}


def _in_form(label: str) -> tuple[str, str]:
    """The form that a label names, and the label of what has that form: `env:NAME` is the value itself, in no form."""
    form, bracket, rest = label.partition("(")
    return (form, rest[:-1]) if bracket and form in FORMS and rest.endswith(")") else ("", label)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def mask_of(label: str) -> str:
    return f"{MASK}{label}]"


class _Finder(Generic[AnyStr]):
    """Finds needles in texts: of those that begin at one place the longest, and none within another.

    labels: ``{needle: label}``; none is shorter than `SHORTEST`. bar: "|" as these texts have it.
    """

    _labels: Mapping[AnyStr, str]
    _heads: re.Pattern[AnyStr]

    def __init__(self, labels: Mapping[AnyStr, str], bar: AnyStr) -> None:
        self._labels = labels
        self._by_head: dict[AnyStr, list[AnyStr]] = {}  # there are few heads, and they are searched for fast
        for needle in sorted(labels, key=len, reverse=True):  # the longest first, since the first that fits is taken
            self._by_head.setdefault(needle[:SHORTEST], []).append(needle)
        self._heads = re.compile(bar.join(map(re.escape, self._by_head)))

    def find(self, text: AnyStr) -> Iterator[tuple[int, int, str]]:
        """``(start, end, label)`` of each."""
        if not any(head in text for head in self._by_head):  # by far faster than the pattern
            return
        found: re.Match[AnyStr] | None = self._heads.search(text)
        while found is not None:
            start = found.start()
            needle = next((needle for needle in self._by_head[found[0]] if text.startswith(needle, start)), None)
            after = start + (1 if needle is None else len(needle))
            if needle is not None:
                yield start, after, self._labels[needle]
            found = self._heads.search(text, after)

    def has_any(self, text: AnyStr) -> bool:
        return any(True for _ in self.find(text))

    def split(self, text: AnyStr) -> Iterator[tuple[AnyStr, str | None]]:
        """``(what stands before a needle, its label)``; at the end what follows the last one, and None."""
        end = 0
        for start, after, label in self.find(text):
            yield text[end:start], label
            end = after
        yield text[end:], None

    def beginning_at_the_end(self, data: AnyStr) -> int:
        """Where the text that follows ``data`` could make a needle, or a longer one, of its end; its length if nowhere."""
        begin = len(data)
        for head, needles in self._by_head.items():
            at = data.find(head, max(0, len(data) - len(needles[0]) + 1))
            while 0 <= at < begin:
                if any(len(needle) > len(data) - at and needle.startswith(data[at:]) for needle in needles):
                    begin = at
                at = data.find(head, at + 1)
            for size in range(1, SHORTEST):
                if data.endswith(head[:size]):
                    begin = min(begin, len(data) - size)
        return begin

    def begun_by(self, beginning: AnyStr) -> str:
        """The label of a needle that begins like this."""
        return next(label for needle, label in self._labels.items() if needle.startswith(beginning))


class Needles:
    """Values, in all their forms, to be found in texts. values: ``{reference: value}``, at least one."""

    def __init__(self, values: Mapping[str, str]) -> None:
        labels = {value: reference for reference, value in reversed(list(values.items()))}
        for reference, value in values.items():
            forms: dict[str, str] = {}
            for form, transform in FORMS.items():
                forms.setdefault(transform(value), form)
            for text, form in forms.items():
                label = labels.setdefault(text, f"{form}({reference})")
                for outer, escape in ESCAPED.items():
                    labels.setdefault(escape(text), f"{outer}({label})")
        self._in_texts = _Finder(labels, "|")
        self._in_bytes = _Finder({_bytes(text): label for text, label in reversed(labels.items())}, b"|")
        self._in_json = _Finder({json.dumps(text)[1:-1]: label for text, label in labels.items()}, "|")

    def are_in(self, text: str) -> bool:
        return self._in_texts.has_any(text)

    def are_in_json(self, text: str) -> bool:
        """Whether some str or number in a JSON text, which is plain ASCII, may hold one."""
        return self._in_json.has_any(text)

    def are_in_bytes(self, data: bytes | bytearray) -> bool:
        return self._in_bytes.has_any(bytes(data))

    def parts(self, text: str) -> list[str]:
        """``text`` as a template: what stands before a value, its label, what stands after it, and so on."""
        return [part for pair in self._in_texts.split(text) for part in pair if part is not None]

    def parts_of_bytes(self, data: bytes) -> list[bytes | str]:
        """As `parts`; the labels are str."""
        return [part for pair in self._in_bytes.split(data) for part in pair if part is not None]

    def mask(self, text: str) -> str:
        return "".join(literal + (mask_of(label) if label else "") for literal, label in self._in_texts.split(text))

    def mask_bytes(self, data: bytes) -> bytes:
        return b"".join(literal + (_bytes(mask_of(label)) if label else b"")
                        for literal, label in self._in_bytes.split(data))

    def mask_stream(self, data: bytes) -> tuple[bytes, bytes]:
        """``(masked, held)``: what may be the beginning of a value is held, until it is known what follows."""
        hold, done, parts = self._in_bytes.beginning_at_the_end(data), 0, []
        for start, end, label in self._in_bytes.find(data):
            if start >= hold:  # a longer value may begin there
                break
            parts += [data[done:start], _bytes(mask_of(label))]
            done = end
        hold = max(hold, done)
        return b"".join([*parts, data[done:hold]]), data[hold:]

    def mask_held(self, held: bytes) -> bytes:
        """What to write for it if nothing follows: a value stands in it, or it is the beginning of one."""
        written = self.mask_bytes(held)
        return _bytes(mask_of(f"{self._in_bytes.begun_by(held)}, cut off")) if written == held else written


@functools.lru_cache(maxsize=64)
def _needles(values: tuple[tuple[str, str], ...]) -> Needles | None:
    return Needles(dict(values)) if values else None


class Vault:
    """The values that this process has read; a fork inherits them. Each is read once: what a process holds does not change.

    known: finds all of them; None while there are none, which is what most runs ever ask.
    expected: finds those that a replay knows too, by the run and by what its body has met so far. Only these may have a
    say in how a chain is known again: what else this worker has come to know, another worker may not.
    """

    def __init__(self) -> None:
        self.known: Needles | None = None
        self.expected: Needles | None = None
        self.of_run: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.when_learned: Callable[[str, str], None] | None = None  # told reference and value, before anyone has the value
        self._values: dict[str, str] = {}
        self._met: frozenset[str] = frozenset()
        self._lock = threading.RLock()

    def begin_run(self, references: Iterable[str], others: Iterable[str] = ()) -> None:
        """Read what a run knows from its beginning. others: what is masked besides. Raises SecretUnavailable."""
        self.of_run = (tuple(references), tuple(others))
        for reference in (*self.of_run[0], *self.of_run[1]):
            self.value(reference)
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """A body begins, which has met nothing yet but what its run knows."""
        if self.expected is not None or self.of_run[0]:
            self._expect(frozenset(self.of_run[0]))

    def value(self, reference: str) -> str:
        """What a reference stands for. Raises SecretUnavailable."""
        with self._lock:
            if reference not in self._values:
                value = _read(reference)
                self.learn(reference, value)
                if self.when_learned is not None:
                    self.when_learned(reference, value)
            if reference not in self._met:
                self._expect(self._met | {reference})
            return self._values[reference]

    @property
    def values(self) -> dict[str, str]:
        """What this process has read, by reference."""
        return dict(self._values)

    def learn(self, reference: str, value: str) -> None:
        self._values[reference] = value
        self.known = _needles(tuple(self._values.items()))

    def _expect(self, references: frozenset[str]) -> None:
        self._met = references
        self.expected = _needles(tuple((reference, self._values[reference]) for reference in sorted(references)))

    def text(self, label: str) -> str:
        """What a label in a template stands for. Raises SecretUnavailable."""
        form, inner = _in_form(label)
        return FORMS[form](self.text(inner)) if form else self.value(label)

    def refuse_in(self, words: Sequence[str]) -> None:
        """Raise BadInput if a value stands in a command line."""
        if self.known is None:
            return
        for before, word in zip(["", *words], words, strict=False):
            if self.known.are_in(word):
                form, reference = _in_form(self.known.parts(word)[1])
                while form:
                    form, reference = _in_form(reference)
                option = next((text.partition("=")[0] for text in (word, before) if text.startswith("-")), "--NAME")
                raise BadInput(f"the value of {reference} stands in the command line, which the journal keeps and other users "
                               f"can see; pass {masked(option)} 'Secret({reference})' in its place")

    def forget(self) -> None:
        """Know nothing any more; for tests."""
        self.__init__()  # type: ignore[misc]


vault = Vault()


def masked(text: str) -> str:
    """``text`` with a mask in the place of each value that is known."""
    return text if vault.known is None else vault.known.mask(text)


def masked_data(data: Any) -> Any:
    """Plain data whose texts are masked, keys too."""
    if vault.known is None:
        return data
    if isinstance(data, str):
        return masked(data)
    if isinstance(data, dict):
        return {masked_data(key): masked_data(part) for key, part in data.items()}
    return [masked_data(part) for part in data] if isinstance(data, (list, tuple)) else data
