"""What is other than in the last run of the same chain that succeeded: the first question about a run that did not."""
from __future__ import annotations

import collections
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import lodging
from .errors import FirexliteError
from .history import OF_STRANGE_DATA, History, RunRecord
from .home import FIREX_ID, RunDirectory, home
from .own_files import read_own_file
from .states import RUN_SUCCEEDED

NEWEST = 200                # runs that are looked at
BUDGET_S = 0.25             # for all of them; on a slow disk nothing is said rather than waited
LARGEST_RUN_JSON = 1 << 20  # bytes
SHOWN_CHARS = 80            # of a value
BEFORE_CHARS = 20           # of a long one, left standing before the place from which it differs


class Difference(NamedTuple):
    """One thing that is other now. what: code, input, command, python, firexlite, host or user.

    name: of the file or the input; else the same as ``what``. was, now: digests of code, and values as JSON, cut to what
    differs in them; None: there was, or is, none.
    """

    what: str
    name: str
    was: str | None
    now: str | None


class Change(NamedTuple):
    """The last good run, and what is other now. created: seconds since the epoch."""

    firex_id: str
    created: float
    differences: tuple[Difference, ...]

    def as_data(self) -> dict[str, Any]:
        return {"firex_id": self.firex_id, "created": self.created, "differences": [one._asdict() for one in self.differences]}


def since_last_good(history: History) -> Change | None:
    """What is other than in the last run of the same chain, in the same home, that was begun before this one and succeeded.

    None if there is no such run among the `NEWEST` before it. Runs that are broken, or not of this user, are passed over.
    """
    with suppress(FirexliteError, OSError, *OF_STRANGE_DATA):
        run, give_up = history.run(), time.monotonic() + BUDGET_S
        for directory in _runs_before(history.directory):
            if time.monotonic() > give_up:
                return None
            if _may_be_good(directory, run.chain) and (good := _good(directory, run)):
                return Change(good.run.firex_id, good.run.created, tuple(_differences(good, _facts_of(history, run))))
    return None


def differences_between(one: History, other: History) -> list[Difference]:
    """What is other in the second of two runs than in the first: its code, inputs, versions, command, host and user."""
    return list(_differences(_facts_of(one, one.run()), _facts_of(other, other.run())))


# --- which run ---------------------------------------------------------------------------------------------------

def _runs_before(directory: RunDirectory) -> list[RunDirectory]:
    """The runs beside this one that were begun before it by their names, or in the same second; the newest first."""
    place = home() if lodging.token_in(directory.path) is not None else directory.path.parent
    own = FIREX_ID.match(directory.firex_id)
    found = [(known["stamp"], name) for name in os.listdir(place)
             if (known := FIREX_ID.match(name)) and name != directory.firex_id
             and (own is None or known["stamp"] <= own["stamp"])]
    return [RunDirectory(place / name) for _, name in sorted(found, reverse=True)[:NEWEST]]


def _may_be_good(directory: RunDirectory, chain: str) -> bool:
    """Whether its `run.json`, which is read much faster than a journal, says that this chain has succeeded there."""
    try:
        about = json.loads(read_own_file(directory.run_json, LARGEST_RUN_JSON))
        return bool(about["state"] == RUN_SUCCEEDED and about["chain"] == [name.strip() for name in chain.split(",")])
    except (OSError, *OF_STRANGE_DATA):
        return False


class _Facts(NamedTuple):
    """What a run went with. files: ``{path: digest}`` of plugins and of what they import, paths as seen from where it was
    submitted. services: ``{name: (file, digest)}``. versions: of python and firexlite, when it last went on."""

    run: RunRecord
    files: Mapping[str, str]
    services: Mapping[str, tuple[str, str]]
    versions: Mapping[str, str]


def _good(directory: RunDirectory, run: RunRecord) -> _Facts | None:
    """The facts of a run if it is one that ``run`` can be compared with."""
    try:
        # What is strange in it stops here, or the whole journal would be searched for what is wrong with it.
        with History(directory) as history, suppress(*OF_STRANGE_DATA):
            other = history.run()
            if other.state == RUN_SUCCEEDED and other.chain == run.chain and other.created < run.created:
                return _facts_of(history, other)
    except (FirexliteError, OSError):
        pass
    return None


def _facts_of(history: History, run: RunRecord) -> _Facts:
    cwd = run.options["cwd"]
    files = {_seen_from(cwd, file["path"]): file["digest"]
             for file in (*run.options["plugins"], *run.options.get("helpers", ()))}
    services = {name: (_seen_from(cwd, json.loads(about)["file"]), digest)
                for name, about, digest in history.execute("SELECT name, about, digest FROM service ORDER BY name")}
    [(about,)] = history.execute("SELECT about FROM incarnation ORDER BY epoch DESC LIMIT 1")
    versions = {**run.options, **json.loads(about or "{}")}
    return _Facts(run, files, services, {what: str(versions.get(what, "")) for what in ("python", "firexlite")})


def _seen_from(cwd: str, path: str) -> str:
    """Two CI jobs have their files in two places."""
    return str(Path(path).relative_to(cwd)) if Path(path).is_relative_to(cwd) else path


# --- what is other -------------------------------------------------------------------------------------------------

def _differences(good: _Facts, now: _Facts) -> Iterator[Difference]:
    yield from _of_code(good, now)
    yield from _of_inputs(good.run.inputs, now.run.inputs)
    for what in ("python", "firexlite"):
        yield from _of(what, good.versions[what], now.versions[what])
    yield from _of_commands(good.run.options["argv"], now.run.options["argv"], {*good.run.inputs, *now.run.inputs})
    for what in ("host", "user"):
        yield from _of(what, good.run.options.get(what), now.run.options.get(what))


def _of(what: str, was: object, now: object) -> Iterator[Difference]:
    if was != now:
        yield Difference(what, what, str(was), str(now))


def _of_code(good: _Facts, now: _Facts) -> Iterator[Difference]:
    """Files that were changed, added or left out; else those of services that were changed before a resume."""
    found = [Difference("code", path, good.files.get(path), now.files.get(path))
             for path in sorted({*good.files, *now.files}) if good.files.get(path) != now.files.get(path)]
    if not found:
        # The digest of a service tells of all files together, so it cannot say which it is.
        both = good.services.keys() & now.services.keys()
        changed = {now.services[name][0]: name for name in sorted(both) if good.services[name][1] != now.services[name][1]}
        found = [Difference("code", file, good.services[name][1], now.services[name][1])
                 for file, name in sorted(changed.items())]
    yield from _without_moved(found)


def _without_moved(found: list[Difference]) -> list[Difference]:
    """A file that is gone, and lies elsewhere now, is no difference of the code; if it is not the same there, it is one."""
    gone = {os.path.basename(one.name): one for one in found if one.now is None}
    come = {os.path.basename(one.name): one for one in found if one.was is None}
    moved = {name: Difference("code", come[name].name, gone[name].was, come[name].now) for name in gone.keys() & come.keys()}
    kept = [one for one in found if os.path.basename(one.name) not in moved]
    return kept + [one for one in moved.values() if one.was != one.now]


def _of_inputs(good: Mapping[str, object], now: Mapping[str, object]) -> Iterator[Difference]:
    for name in sorted({*good, *now}):
        was, is_now = (text_of(values[name]) if name in values else None for values in (good, now))
        if was != is_now:
            yield Difference("input", name, *shortened(was, is_now))


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=repr)


def shortened(was: str | None, now: str | None) -> tuple[str | None, str | None]:
    """Two texts that differ, such that they still do when they are short."""
    texts = was or "", now or ""
    same = next((n for n, (one, other) in enumerate(zip(*texts, strict=False)) if one != other), min(map(len, texts)))
    start = same - BEFORE_CHARS if max(map(len, texts)) > SHOWN_CHARS and same > 2 * BEFORE_CHARS else 0

    def cut(text: str | None) -> str | None:
        if text is None:
            return None
        shown = ("..." if start else "") + text[start:]
        return shown if len(shown) <= SHOWN_CHARS else shown[:SHOWN_CHARS - 3] + "..."

    return cut(was), cut(now)


def _of_commands(good: Sequence[str], now: Sequence[str], told: set[str]) -> Iterator[Difference]:
    """Options that were given otherwise. told: inputs, which are compared by themselves, however they were given."""
    was, is_now = (collections.Counter(_options(words, told)) for words in (good, now))
    if was != is_now:
        lost, new = (" ".join((one - other).elements()) for one, other in ((was, is_now), (is_now, was)))
        yield Difference("command", "command", *shortened(lost or None, new or None))


# Options that are other for each run, or that change nothing of it, or of which is told otherwise.
_UNTOLD = ("key", "no_wait", "like", "flame", "on_end", "quiet", "q", "detach", "chain", "plugins", "plugin", "external",
           "sink")


def _options(argv: Sequence[str], told: set[str]) -> Iterator[str]:
    """The words of a command, each option together with its value: `--workers 4`. The program itself is none of them."""
    words: list[str] = []
    for word in [*argv[1:], "--"]:
        if word.startswith("-") or not words or not words[0].startswith("-") or len(words) > 1:
            if words and words[0].partition("=")[0].lstrip("-").replace("-", "_") not in {*told, *_UNTOLD}:
                yield " ".join(words)
            words = []
        words.append(word)
