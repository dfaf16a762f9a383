"""When a task that failed is tried again, and after how long. The rules, names and defaults are FireX's (its Celery's)."""
from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import MaxRetriesExceededError, Retry

LONGEST_S = 100 * 365 * 86400.0  # of a delay


@dataclass(frozen=True)
class RetryRule:
    """What a service declares about being tried again.

    most: how often at the most; None: without an end. delay_s: before the next try, unless ``backoff`` or the body says
    otherwise. errors: exceptions after which it is tried again by itself; not those in ``spared``. backoff: the first delay in
    seconds, which is doubled with each try, up to ``backoff_max_s``; 0: none. jitter: a random part of that instead.
    """

    most: int | None = 3
    delay_s: float = 180
    errors: tuple[type[BaseException], ...] = ()
    spared: tuple[type[BaseException], ...] = ()
    backoff: float = 0
    backoff_max_s: float = 600
    jitter: bool = True
    arguments: Mapping[str, object] = field(default_factory=dict)  # of `retry`, for tries that it makes by itself

    def tries_again_after(self, error: BaseException) -> bool:
        """Whether the service is tried again by itself after this exception; how often it was tried is another question."""
        return isinstance(error, self.errors) and not isinstance(error, self.spared)

    def delay_after(self, retry: int) -> float:
        """Seconds between a try that failed by itself and the next. retry: how often it has been tried again before."""
        if not self.backoff:
            return _seconds(self.arguments.get("countdown", self.delay_s))
        longest = min(self.backoff_max_s, self.backoff * 2 ** min(retry, 64))
        return max(0.0, random.uniform(0, longest) if self.jitter else longest)

    def next_try(self, retry: int, exc: BaseException | None = None, countdown: float | None = None,
                 max_retries: int | None = None) -> Retry:
        """What ends a body that asks to be tried again.

        retry: how often it has been. Raises ``exc``, else the exception being handled, else MaxRetriesExceededError if that
        was often enough.
        """
        most = self.most if max_retries is None else max_retries
        cause = exc or sys.exc_info()[1]
        if most is not None and retry >= most:
            raise cause or MaxRetriesExceededError(f"it was tried again {retry} times, which is all that it may be")
        return Retry(exc=cause, when=_seconds(self.delay_s if countdown is None else countdown))


def _seconds(countdown: object) -> float:
    if isinstance(countdown, bool) or not isinstance(countdown, (int, float)) or not countdown <= LONGEST_S:
        raise ValueError(f"a retry takes a countdown in seconds, not {countdown!r}")
    return max(0.0, float(countdown))


def as_rule(*, max_retries: int | None, default_retry_delay: float, autoretry_for: object, dont_autoretry_for: object,
            retry_kwargs: Mapping[str, object] | None, retry_backoff: bool | float, retry_backoff_max: float,
            retry_jitter: bool) -> RetryRule:
    """The rule of a service from what it declares. Raises ValueError or TypeError for what cannot be meant."""
    arguments = dict(retry_kwargs or {})
    most = arguments.pop("max_retries", max_retries)
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ValueError(f"max_retries takes a whole number from 0 on, or None for no end, not {most!r}")
    if unknown := set(arguments) - {"countdown"}:
        raise ValueError(f"retry_kwargs takes max_retries and countdown, not {', '.join(sorted(unknown))}")
    return RetryRule(most, _seconds(default_retry_delay), _exceptions(autoretry_for, "autoretry_for"),
                     _exceptions(dont_autoretry_for, "dont_autoretry_for"), float(retry_backoff), _seconds(retry_backoff_max),
                     bool(retry_jitter), arguments)


def _exceptions(given: object, option: str) -> tuple[type[BaseException], ...]:
    classes = (given,) if isinstance(given, type) else tuple(given or ())  # type: ignore[arg-type]
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"{option} takes classes of exceptions, not {one!r}")
    return classes
