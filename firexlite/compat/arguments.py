"""`firexapp.submit.arguments`: the arguments of services on a command line, by FireX's rules and in its words."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..application import Service
from ..submission import whitelist_arguments, whitelisted

SHORT = 10        # a name below this length is close to one that differs by less than `NEAR` letters,
NEAR = 3
ALIKE = 0.9       # a longer one to one that is more alike than this


class ChainArgException(Exception):
    """The words after `submit` are no pairs of arguments and values."""


def get_chain_args(other_args: Sequence[str]) -> dict[str, str]:
    """``{argument: value}`` of words such as ``--name Li -upper true``.

    Raises ChainArgException for a word that should begin with a dash or a letter, and for an argument without value: a
    value may itself begin with a dash only if a proper argument follows it.
    """
    arguments: dict[str, str] = {}
    doubtful = None  # the argument whose value looks like one itself
    words = iter(other_args)
    for word in words:
        if not word.startswith("-"):
            if doubtful is not None:
                raise _no_value(doubtful)
            raise ChainArgException(f"Error: Argument should start with a proper dash (- or --)\n{word}")
        value = next(words, None)
        if value is None:
            raise _no_value(word)
        if str(value).startswith("-"):
            doubtful = word
        name = word.lstrip("-")
        if not (name[:1].isascii() and name[:1].isalpha()):
            raise ChainArgException(f"Error: Argument should start with a letter\n{name}")
        arguments[name] = value
    return arguments


def _no_value(word: str) -> ChainArgException:
    return ChainArgException(f"Error: Arguments must have an accompanying value\n{word}")


def find_unused_arguments(chain_args: Mapping[str, Any], ignore_list: Iterable[str],
                          all_tasks: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments that no service has: ``({argument: value}, {argument: the name that was probably meant})``.

    ignore_list: names that need no service. all_tasks: services by name, as `app.tasks` gives them.
    """
    used = [name for task in all_tasks.values() for name in _names_of(task)]
    known = {*used, *ignore_list, *whitelisted()}
    unused = {name: value for name, value in chain_args.items() if name not in known}
    meant = {name: close for name in unused if (close := _closest(name, used)) is not None}
    return unused, meant


def _names_of(task: Any) -> Iterable[str]:
    if isinstance(task, Service):
        return task.parameters.names
    return [*getattr(task, "required_args", ()), *getattr(task, "optional_args", ())]


def _closest(name: str, used: Iterable[str]) -> str | None:
    """FireX's suggestion: of short names the one that the fewest letters make another, of long ones the most alike."""
    if len(name) < SHORT:
        near = [(distance, other) for other in used if (distance := edits(name, other, replacing=1)) < NEAR]
        return min(near, key=lambda found: found[0])[1] if near else None
    alike = [(likeness, other) for other in used
             if (likeness := 1 - edits(name, other, replacing=2) / (len(name) + len(other))) > ALIKE]
    return max(alike, key=lambda found: found[0])[1] if alike else None


def edits(one: str, other: str, replacing: int) -> int:
    """How many letters to add and to leave out make one text the other. replacing: what the change of a letter counts."""
    before = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, letter_there in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != letter_there) * replacing))
        before = row
    return before[-1]


def get_global_args_allowlist() -> frozenset[str]:
    return whitelisted()


__all__ = ["ChainArgException", "find_unused_arguments", "get_chain_args", "get_global_args_allowlist", "whitelist_arguments"]
