"""Every error of firexlite, under one base; FireX's own family keeps FireX's names and bases.

The command line turns a `FirexliteError` into one sentence on stderr and its `exit_code`.
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .patterns import pattern

if TYPE_CHECKING:
    import datetime

    from .outcome import Result


class FirexliteError(Exception):
    """Base of what firexlite itself has to say; `str()` is a sentence for a person."""

    exit_code = 1


class BadInput(FirexliteError):
    """What the user asked for cannot be done as asked; nothing was created."""

    exit_code = 2

    def __str__(self) -> str:
        return with_short_words(super().__str__())


class RunActive(FirexliteError):
    """The run is alive in another process, which alone may write its journal."""

    exit_code = 3


class Superseded(RunActive):
    """Another incarnation has taken over the run; this one may not write any more."""


class JournalUnusable(FirexliteError):
    """The journal is not one that this firexlite can read or may trust."""

    exit_code = 4


class SinkUnavailable(FirexliteError):
    """A sink has not acknowledged what it was sent; it may have got it all the same, and is sent it again."""

    def __init__(self, sink: str, why: str) -> None:
        self.sink, self.why = sink, why
        super().__init__(sink, why)

    def __str__(self) -> str:
        return f"{self.sink} has not acknowledged what it was sent: {self.why}"


class ReplayMismatch(FirexliteError):
    """A task that runs again asked for other children than the journal holds."""

    exit_code = 5


class StorageFailure(FirexliteError):
    """The disk failed, or stayed full; what is in the journal is whole, and the run can be resumed."""

    exit_code = 6


class RunWaits(FirexliteError):
    """All that is left of the run waits for a time or an event, and its processes were not to wait for that."""

    exit_code = 7


class RunFailed(FirexliteError):
    """A run that Python code began did not succeed. result: its `Result`. ``__cause__``: what its first failure raised."""

    def __init__(self, sentence: str, result: Result | None = None) -> None:
        super().__init__(sentence)
        self.result = result


class DiskFull(StorageFailure):
    """Something could not be written for want of space, which may be there a moment later."""

    def __init__(self, path: object, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"{self.path} could not be written: {self.reason}"


_QUOTED = pattern(r"(?<!\w)'([^']{200})[^']+'(?!\w)")


def with_short_words(sentence: str) -> str:
    """A sentence in which whatever it quotes of somebody's words is cut after 200 characters."""
    return _QUOTED.sub(r"'\1...'", sentence)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` Did you mean 'x'?` for the known name closest to ``name``, or an empty string. cutoff: how alike, up to 1."""
    by_case = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), by_case, n=1, cutoff=cutoff)
    return f" Did you mean '{by_case[close[0]]}'?" if close else ""


# --- of the journal and its claims -------------------------------------------------------------

class ClaimLost(FirexliteError):
    """This attempt no longer owns its task: it was revoked, or given to another worker."""

    def __init__(self, task: int, attempt: int, move: str) -> None:
        self.task, self.attempt, self.move = task, attempt, move
        super().__init__(task, attempt, move)

    def __str__(self) -> str:
        return f"attempt {self.attempt} no longer owns task {self.task}, so its '{self.move}' was dropped"


class WorkerLost(FirexliteError):
    """The worker of a task died, more often than the task allows.

    unsure: the body may have run, and its service says that it is not to run again by itself.
    """

    def __init__(self, deaths: int, how_it_died: str, unsure: bool = False) -> None:
        self.deaths, self.how_it_died, self.unsure = deaths, how_it_died, unsure
        super().__init__(deaths, how_it_died, unsure)

    def __str__(self) -> str:
        times = "once, by" if self.deaths == 1 else f"{self.deaths} times, at last by"
        died = f"the worker of this task died {times} {self.how_it_died}"
        return died + "; it may have done its work, so it is not run again by itself" * self.unsure


class NotStorable(FirexliteError, TypeError):
    """A value cannot be written to the journal; says where it stands and the ways out.

    pickling: why it could not be pickled; empty if that was not tried.
    """

    def __init__(self, path: str, type_name: str, reason: str = "", pickling: str = "") -> None:
        self.path, self.type_name, self.reason, self.pickling = path, type_name, reason, pickling
        super().__init__(path, type_name, reason, pickling)

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        found = f"{self.path} is a {self.type_name}, which the journal cannot store{why}"
        codec = "register a codec (firexlite.register_codec)"
        if self.pickling:
            return f"{found}, nor can it be pickled: {self.pickling}; pass plain data or a File, or {codec}"
        return f"{found}; pass plain data or a File, {codec}, or use --pickle (FIREXLITE_PICKLE=1)"


class NotReadable(FirexliteError):
    """A stored value cannot be rebuilt here."""


class SecretUnavailable(BadInput, NotReadable):
    """The value that a `Secret` refers to cannot be had here."""

    def __init__(self, reference: str, reason: str) -> None:
        self.reference, self.reason = reference, reason
        super().__init__(reference, reason)

    def __str__(self) -> str:
        shown = self.reference if len(self.reference) <= 200 else f"{self.reference[:200]}..."
        return f"the secret {shown} cannot be had: {self.reason}"


class TaskError(Exception):
    """Stands for an exception whose class cannot be rebuilt here; has the same name and text."""


class TaskRevoked(BaseException):
    """Raised inside the body of a task that was revoked while it ran."""


class Interrupted(BaseException):
    """Raised inside the body of a task when the run is being stopped."""


# --- FireX's family: names, attributes, texts and bases as in firexkit 5.7.236 ----------------------

class ReturnsCodingException(Exception):
    """A service's declared returns and what it returned do not fit."""


class IllegalTaskNameException(Exception):
    """A service's name ends in `_orig`, which is kept for overridden services."""


class NotRegistered(KeyError):
    """No service has this name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidChainArgsException(Exception):
    """A chain cannot run: arguments are missing, or refer to what does not reach them.

    ``wrong_args``: ``{service: set of missing names}``, or ``{argument: the name it refers to}``.
    """

    def __init__(self, msg: str, wrong_args: Mapping[str, object] | None = None) -> None:
        super().__init__(msg)
        self.wrong_args = dict(wrong_args or {})

    def __reduce__(self) -> tuple:
        return type(self), (self.args[0], self.wrong_args)


class WaitOnChainTimeoutError(Exception):
    """A wait ran out of `max_wait`; the child goes on."""


class SchedulingDeadlockException(Exception):
    """A wait was refused that could never end."""


class ChainException(Exception):
    """Base of what a waiting parent is told of its children."""


def _told_of(message: str, task_id: str | None, task_name: str | None) -> str:
    return message + (task_name or "") + (f"[{task_id}]" if task_id else "")


class ChainRevokedException(ChainException):
    """A task of the chain was revoked."""

    MESSAGE = "The chain has been interrupted by the revocation of microservice "

    def __init__(self, task_id: str | None = None, task_name: str | None = None) -> None:
        super().__init__(task_id, task_name)
        self.task_id, self.task_name = task_id, task_name

    def __str__(self) -> str:
        return _told_of(self.MESSAGE, self.task_id, self.task_name)


class ChainRevokedPreRunException(ChainRevokedException):
    """A task of the chain was revoked before it ran."""


class ChainInterruptedException(ChainException):
    """A task of the chain failed; ``__cause__`` is what it raised."""

    MESSAGE = "The chain has been interrupted by a failure in microservice "

    def __init__(self, task_id: str | None = None, task_name: str | None = None,
                 cause: BaseException | None = None) -> None:
        super().__init__(task_id, task_name, cause)
        self.task_id, self.task_name, self.__cause__ = task_id, task_name, cause

    def __str__(self) -> str:
        return _told_of(self.MESSAGE, self.task_id, self.task_name)


class ChainInterruptedByZombieTaskException(ChainInterruptedException):
    """FireX: the worker of an awaited task was lost. Here that is noticed at once, and fails the task with `WorkerLost`."""

    def __str__(self) -> str:
        return f"{super().__str__()}: (zombie task)"


class MultipleFailuresException(ChainInterruptedException):
    """Several awaited chains failed; ``failures`` are their exceptions."""

    MESSAGE = "The chain has been interrupted by multiple failing microservices: "

    def __init__(self, task_ids: tuple[str, ...] = ("UNKNOWN",),
                 failures: tuple[BaseException, ...] = ()) -> None:
        super().__init__()
        self.args = (task_ids, failures)
        self.task_ids, self.failures = tuple(task_ids), tuple(failures)
        if self.failures:
            self.__cause__ = self.failures[0].__cause__ or self.failures[0]

    def __str__(self) -> str:
        return self.MESSAGE + ",".join(str(i) for i in self.task_ids)


class ArgumentConversionException(Exception):
    """A converter refused an argument."""


class ConverterRegistrationException(Exception):
    """A converter cannot be registered like this."""


class MissingConverterDependencyError(ConverterRegistrationException):
    """A converter depends on one that is not registered."""


class CircularDependencyException(ConverterRegistrationException):
    """Converters depend on each other in a circle."""


class NameDuplicationException(ConverterRegistrationException):
    """Another file registered a converter of the same name."""



class ReturnCodeError(Exception):
    """Raised by a service to choose the exit code of its run (FireX's FireXReturnCodeException)."""

    def __init__(self, error_msg: str = "", firex_returncode: int = 1) -> None:
        super().__init__(error_msg, firex_returncode)
        self.error_msg, self.firex_returncode = error_msg, firex_returncode

    def __str__(self) -> str:
        return str(self.error_msg)


# --- what limits and retries raise: names, attributes and texts as in celery 5.3 --------------------

class _LimitExceeded(Exception):
    def __str__(self) -> str:
        return f"{type(self).__name__}{self.args}"


class SoftTimeLimitExceeded(_LimitExceeded):
    """Raised inside a body that ran longer than its `soft_time_limit`; it may catch it and clean up."""


class TimeLimitExceeded(_LimitExceeded):
    """The body ran longer than its `time_limit`, and was killed. args: the limit in seconds."""


class Retry(Exception):
    """Raised by `self.retry()`: this try has ended, and there will be another.

    exc: why. when: seconds from now, or a datetime.
    """

    def __init__(self, message: str | None = None, exc: BaseException | str | None = None,
                 when: float | datetime.datetime | None = None) -> None:
        super().__init__(message, exc, when)
        self.message, self.when = message, when
        self.exc, self.excs = (None, exc) if isinstance(exc, str) else (exc, repr(exc) if exc else None)

    def humanize(self) -> str:
        return f"in {self.when}s" if isinstance(self.when, (int, float)) else f"at {self.when}"

    def __str__(self) -> str:
        return self.message or f"Retry {self.humanize()}" + (f": {self.excs}" if self.excs else "")


class MaxRetriesExceededError(Exception):
    """`self.retry()` was called, without saying why, by a task that has no retry left.

    ``task_args``, ``task_kwargs``: of its signature.
    """

    def __init__(self, *args: object, task_args: Iterable[object] = (),
                 task_kwargs: Mapping[str, object] | None = None) -> None:
        super().__init__(*args)
        self.task_args, self.task_kwargs = list(task_args), dict(task_kwargs or {})

    def __reduce__(self) -> tuple:
        return type(self), self.args, {"task_args": self.task_args, "task_kwargs": self.task_kwargs}
