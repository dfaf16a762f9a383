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
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import BadInput, SecretUnavailable

SHORTEST = 6            # characters; what is shorter stands in texts that have nothing to do with it
LONGEST = 32 * 1024     # bytes
MASK = "[secret "       # how every mask begins

_ON_THE_COMMAND_LINE = re.compile(r"""Secret\(\s*(["']?)(.*)\1\s*\)""", re.DOTALL)


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

def _percent(value: str, safe: str) -> str:
    from urllib.parse import quote
    return quote(_bytes(value), safe)


def _html(value: str) -> str:
    from html import escape
    return escape(value)


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


# What becomes of a text that is written as a part of another one.
ESCAPED: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps(text)[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "repr'": lambda text: repr(text + "'\"")[1:-4],  # within a text that has quotes of both kinds
    "bytes": lambda text: repr(_bytes(text))[2:-1],
    "path": lambda text: _percent(text, "/"),
    "url": lambda text: _percent(text, ""),
    "form": lambda text: _percent(text, " ").replace(" ", "+"),
    "html": _html,
}
# What becomes of a value on its way through libraries; each of them may then be escaped once more, json(html(env:NAME)).
# `base64+2` is found in the base64 of `user:VALUE`, which HTTP sends.
FORMS: dict[str, Callable[[str], str]] = {
    **ESCAPED,
    "stripped": str.strip,
    **{f"{name}{after}": _base64(encode, before)
       for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode))
       for after, before in (("", None), ("+0", 0), ("+1", 1), ("+2", 2))},
}


def _in_form(label: str) -> tuple[str, str]:
    """The form that a label names, and the label of what has that form: `env:NAME` is the value itself, in no form."""
    form, bracket, rest = label.partition("(")
    return (form, rest[:-1]) if bracket and form in FORMS and rest.endswith(")") else ("", label)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def mask_of(label: str) -> str:
    return f"{MASK}{label}]"


class Needles:
    """Values, in all their forms, to be found in texts. values: ``{reference: value}``, at least one."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._labels = {value: reference for reference, value in reversed(list(values.items()))}
        for reference, value in values.items():
            for form, transform in FORMS.items():
                label = self._labels.setdefault(text := transform(value), f"{form}({reference})")
                for outer, escape in ESCAPED.items():
                    self._labels.setdefault(escape(text), f"{outer}({label})")
        texts = sorted(self._labels, key=len, reverse=True)  # the longest first, since the first that fits is taken
        self._texts = tuple(texts)
        self._in_json = tuple(json.dumps(text)[1:-1] for text in texts)
        self._pattern = re.compile("|".join(map(re.escape, texts)))
        self._labels_of_bytes = {_bytes(text): label for text, label in self._labels.items()}
        self._pattern_of_bytes = re.compile(b"|".join(re.escape(_bytes(text)) for text in texts))

    def are_in(self, text: str) -> bool:
        return any(needle in text for needle in self._texts)

    def are_in_json(self, text: str) -> bool:
        """Whether some str or number in a JSON text, which is plain ASCII, may hold one."""
        return any(needle in text for needle in self._in_json)

    def are_in_bytes(self, data: bytes | bytearray) -> bool:
        return any(needle in data for needle in self._labels_of_bytes)

    def parts(self, text: str) -> list[str]:
        """``text`` as a template: what stands before a value, its label, what stands after it, and so on."""
        return [part for literal, label in self._split(self._pattern, text)
                for part in (literal, label and self._labels[label]) if part is not None]

    def parts_of_bytes(self, data: bytes) -> list[bytes | str]:
        """As `parts`; the labels are str."""
        return [part for literal, label in self._split(self._pattern_of_bytes, data)
                for part in (literal, label and self._labels_of_bytes[label]) if part is not None]

    @staticmethod
    def _split(pattern: re.Pattern, text: Any) -> Iterator[tuple[Any, Any]]:
        """``(what stands before a value, the value)``; at the end what follows the last one, and None."""
        end = 0
        for found in pattern.finditer(text):
            yield text[end:found.start()], found[0]
            end = found.end()
        yield text[end:], None

    def mask(self, text: str) -> str:
        return self._pattern.sub(lambda found: mask_of(self._labels[found[0]]), text)

    def mask_bytes(self, data: bytes) -> bytes:
        return self._pattern_of_bytes.sub(self._mask_in_bytes, data)

    def mask_stream(self, data: bytes) -> tuple[bytes, bytes]:
        """``(masked, held)``: what may be the beginning of a value is held, until it is known what follows."""
        hold, done, parts = self._beginning_at_the_end(data), 0, []
        if self.are_in_bytes(data):  # by far faster than the pattern
            for found in self._pattern_of_bytes.finditer(data):
                if found.start() >= hold:  # a longer value may begin there
                    break
                parts += [data[done:found.start()], self._mask_in_bytes(found)]
                done = found.end()
        hold = max(hold, done)
        return b"".join([*parts, data[done:hold]]), data[hold:]

    def _mask_in_bytes(self, found: re.Match[bytes]) -> bytes:
        return _bytes(mask_of(self._labels_of_bytes[found[0]]))

    def _beginning_at_the_end(self, data: bytes) -> int:
        begin = len(data)
        for needle in self._labels_of_bytes:
            at = data.find(needle[:1], max(0, len(data) - len(needle) + 1))
            while 0 <= at < begin:
                if needle.startswith(data[at:]):
                    begin = at
                at = data.find(needle[:1], at + 1)
        return begin


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
