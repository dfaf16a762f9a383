"""Values that JSON cannot hold, pickled: only in a run whose user asked for it, and with their text beside them.

    {"$type": "pickle", "class": "hotel:Ledger", "shown": "<Ledger of 3 guests>", "value": "gAWV..", "seal": "5f0c.."}

To load a pickle is to run whatever its writer chose. So none is loaded to show a run: readers have `shown`. And a worker
loads only what carries the seal of its run, which is made with a key that lies in the user's home of runs and never in a
run. Whoever sends, copies or changes a journal cannot make such a seal.
"""
from __future__ import annotations

import base64
import contextlib
import copyreg
import functools
import hashlib
import hmac
import os
import secrets as chance
import shlex
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import host
from .codec_errors import class_name, text_of
from .configuration import PICKLE
from .errors import BadInput, NotReadable, SecretUnavailable
from .home import home, make_private_folders, storage
from .lodging import fsync_directory
from .own_files import open_own_file
from .secrets import Secret, masked, vault

MARK = '"$type":"pickle"'  # in a text of the journal; no str holds it, since there its quotes are escaped
KEY_FILE = ".pickle-key"
KEY_BYTES = 32
SHOWN_LIMIT = 10_000       # characters
PROTOCOL = 5               # every Python that firexlite runs on reads it


class Pickles:
    """What this process does with pickled values; a fork inherits it.

    of_run: the FireX ID of its run, if that stores them. may_load: it is a worker, and readers are not.
    """

    def __init__(self) -> None:
        self.of_run: str | None = None
        self.may_load = False

    def begin_run(self, of_run: str | None) -> None:
        """Begin a run, or go on with one. Nothing is read or made before a seal is needed."""
        self.of_run = of_run
        self.__dict__.pop("_key", None)

    def begin_trial(self, of_run: str) -> None:
        """As `begin_run`, for what is stored nowhere: with a key that is thrown away."""
        self.of_run = of_run
        self.__dict__["_key"] = chance.token_bytes(KEY_BYTES)

    def begin_elsewhere(self, of_run: str, key: str) -> None:
        """As `begin_run`, on another host than that of the run. key: as `key_of_run` gives it there."""
        self.of_run = of_run
        self.__dict__["_key"] = bytes.fromhex(key)

    @property
    def key_of_run(self) -> str | None:
        """What seals the values of this run, and of no other, for its workers on other hosts; None if it pickles nothing."""
        return self._key.hex() if self.wanted else None

    @property
    def wanted(self) -> bool:
        return self.of_run is not None

    @functools.cached_property
    def _key(self) -> bytes:
        """What seals the values of this run, and of no other."""
        assert self.of_run is not None
        return hashlib.blake2b(self.of_run.encode(), key=_key_of_home(), digest_size=KEY_BYTES).digest()

    def fingerprint(self) -> str | None:
        """By which a resume knows that the values of a run were pickled with the key that this home has; None if the run
        pickles nothing. Makes the key if there is none. Raises BadInput if it cannot be had."""
        return hashlib.blake2b(b"fingerprint", key=self._key, digest_size=8).hexdigest() if self.wanted else None

    def record(self, value: object) -> dict[str, str]:
        """What is stored for ``value``. Raises ValueError, with the reason, for what cannot be pickled."""
        data, shown = _pickled(value), _shown(value)
        known = vault.known
        # As text in UTF-8, and in what arrays of text and Windows have: each character in two or four bytes.
        if known is not None and (known.are_in_bytes(data) or known.are_in_bytes(data.replace(b"\0", b""))
                                  or known.are_in(shown)):
            raise ValueError("it holds the value of a secret, which could not be masked in a pickle")
        return {"$type": "pickle", "class": masked(class_name(type(value))), "shown": _cut(shown),
                "value": base64.b64encode(data).decode(), "seal": self._seal(data)}

    def load(self, record: Mapping[str, Any]) -> Any:
        """The value that `record` stored. Raises NotReadable unless this is a worker, and the seal that of its run."""
        name = str(record["class"])[:200]
        if not (self.wanted and self.may_load):
            raise NotReadable(f"a pickled {name} is loaded only by the workers of a run that stores pickled values, which "
                              "`submit --pickle` and `resume --pickle` ask for")
        data = base64.b64decode(record["value"], validate=True)
        if not hmac.compare_digest(self._seal(data).encode(), str(record["seal"]).encode()):
            raise NotReadable(f"a pickled {name} was not written for this run with the key in {home()}, or was changed since: "
                              "to load it would be to run whatever its writer chose")
        import pickle

        return pickle.loads(data)

    def _seal(self, data: bytes) -> str:
        return hashlib.blake2b(data, key=self._key, digest_size=16).hexdigest()


pickles = Pickles()


def is_set() -> bool:
    """Whether the setting asks for pickled values. Raises BadInput for what it does not know."""
    chosen = os.environ.get(PICKLE) or "0"
    if chosen not in ("0", "1"):
        raise BadInput(f"{PICKLE} is '{chosen}'; it takes 1, to store pickled what JSON cannot hold, or 0, the default")
    return chosen == "1"


# --- pickling ------------------------------------------------------------------------------------

def _pickled(value: object) -> bytes:
    import io
    import pickle

    class Pickler(pickle.Pickler):
        """A Secret in a value arrives as what it stands for, as it does everywhere."""

        def reducer_override(self, part: object) -> Any:
            if type(part) is not Secret:
                return NotImplemented
            part.reveal()  # so that one which is not to be had is refused here
            return revealed, (part.reference,)

    file = io.BytesIO()
    try:
        Pickler(file, PROTOCOL).dump(value)
    except SecretUnavailable:
        raise
    except Exception as error:  # most of what a pickle asks for is a stranger's code
        raise ValueError(text_of(error) or type(error).__name__) from error
    return file.getvalue()


def revealed(reference: str) -> str:
    """What stands in a pickle for a Secret."""
    return vault.value(reference)


def _shown(value: object) -> str:
    try:
        return str.__str__(repr(value))
    except Exception:  # a stranger's code
        return f"<{class_name(type(value))} whose repr() fails>"


def _cut(text: str) -> str:
    note = " ... (cut)"
    return text if len(text) <= SHOWN_LIMIT else text[:SHOWN_LIMIT - len(note)] + note


def taken_apart(value: object) -> str | list:
    """What a pickle would make ``value`` of, for a text that is the same for equal values: the name of a class or function;
    else ``[what is called, with what, state, ...]``. The bytes of a pickle are not: they tell which of equal parts
    are one object, and in which order a set happens to be. Raises whatever a stranger's class raises."""
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}:{value.__qualname__}"
    reduce = copyreg.dispatch_table.get(type(value))
    found: Any = reduce(value) if reduce else value.__reduce_ex__(4)
    if isinstance(found, str):
        return f"{getattr(value, '__module__', None)}:{found}"
    call, arguments, state, items, pairs = [*found, *[None] * 5][:5]
    if isinstance(value, (set, frozenset)):
        arguments = [set(value)]
    return [call, list(arguments), state, None if items is None else list(items), None if pairs is None else dict(pairs)]


# --- the key -------------------------------------------------------------------------------------

def _key_of_home() -> bytes:
    """What seals pickled values, made if there is none. Raises BadInput for one that is not this user's alone."""
    path = home() / KEY_FILE
    what, shown = f"{path}, with which pickled values are sealed,", shlex.quote(str(path))
    try:
        if not os.path.lexists(path):
            _make_key(path)
        with os.fdopen(open_own_file(path), "rb") as file:
            about, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{what} cannot be had: {error.strerror}") from error
    if about.st_uid != os.geteuid():
        raise BadInput(f"{what} is not yours; set FIREXLITE_HOME to a home of your own")
    if about.st_mode & 0o077:
        raise BadInput(f"{what} may be used by others, so what was pickled before cannot be trusted; remove it: rm {shown}")
    if len(key) != KEY_BYTES:
        raise BadInput(f"{what} has not its {KEY_BYTES} bytes; bring it back, or remove it, after which what was pickled "
                       f"before cannot be loaded: rm {shown}")
    return key


def _make_key(path: Path) -> None:
    """Make the key as a whole; if another process is faster, its key stays."""
    with storage(path):
        make_private_folders(path.parent)
        draft = path.with_name(f"{KEY_FILE}.{os.getpid()}.{chance.token_hex(4)}")
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(chance.token_bytes(KEY_BYTES))
                file.flush()
                host.sync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            os.unlink(draft)
        fsync_directory(path.parent)
