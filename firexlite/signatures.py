"""Signatures, chains and InjectArgs: what is to be run, before anything runs."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from . import recorded
from .errors import InvalidChainArgsException

if TYPE_CHECKING:
    from .promises import Promise
    from .services import Task

MID_CHAIN = "InjectArgs({names}) stands in the middle of a chain, where nothing can receive it; put it at the head"
AUTO_QUEUE = "auto"  # FireX's word for the queue that a task would go to anyway

W = TypeVar("W", bound="Work")


class _Flows:
    """The type of `flows`."""

    def __repr__(self) -> str:
        return "flows"


flows: Any = _Flows()
"""As an argument of a signature: it is not given, but flows along the chain. For type checkers, which miss it otherwise."""


def at(name: str) -> Any:
    """As an argument of a signature: the value of ``name``, as `'@name'` is too, which type checkers take for a str."""
    return f"@{name}"


class Literal(str):
    """A string that starts with `@` and is data, not a reference: what a service returned, or `'@@name'`."""

    __slots__ = ()


class Work(ABC):
    """What a signature and a chain have in common. The `set_` methods and `injectArgs` change it in place, and return it."""

    @abstractmethod
    def _members(self) -> tuple[Signature, ...]:
        """The signatures in it."""

    @abstractmethod
    def _set(self: W, **options: object) -> W:
        """Give each signature in it these options."""

    @abstractmethod
    def injectArgs(self: W, **kwargs: object) -> W:
        """Hand values to the first signature; its own arguments win."""

    def set_priority(self: W, priority: int) -> W:
        """Give each task of it a priority; lower ones begin first."""
        return self._set(priority=priority)

    def set_queue(self: W, queue: str) -> W:
        """Have each task of it take a place of this queue."""
        return self._set(queue=queue)

    def set_soft_time_limit(self: W, soft_time_limit: float) -> W:
        """Have each task of it interrupted after so many seconds."""
        return self._set(soft_time_limit=soft_time_limit)

    def set_time_limit(self: W, time_limit: float) -> W:
        """Have each task of it killed after so many seconds, and fail."""
        return self._set(time_limit=time_limit)

    def set_slots(self: W, slots: int) -> W:
        """Have each task of it take so many of the run's slots."""
        return self._set(slots=slots)

    def set_use_cache(self: W, use_cache: bool | None) -> W:
        """Say for each task of it whether the result of an equal one will do, whatever its service says."""
        return self._set(use_cache=use_cache)

    def set_label(self: W, label: str) -> W:
        """Give it a name, which `get_label` tells."""
        return self._set(label=label)

    def get_label(self) -> str:
        """The label that was set for all of it, else the names of the services joined by `|`."""
        labels = {member.options.get("label") for member in self._members()}
        label = labels.pop() if len(labels) == 1 else None
        return str(label) if label is not None else "|".join(member.service for member in self._members())

    def enqueue(self, block: bool = False, raise_exception_on_failure: bool = True, queue: str | None = None,
                priority: int | None = None, soft_time_limit: float | None = None) -> Promise:
        """Enqueue it as a child of the running task, for code without `self`; see `Task.enqueue_child`.

        It is none of the task's `enqueued_children`, which `wait_for_children` waits for; at its end the task waits for it.
        Raises RuntimeError outside of a task.
        """
        return self._running_task().enqueue_child(
            self, queue, priority, soft_time_limit, add_to_enqueued_children=False, block=block,  # type: ignore[arg-type]
            raise_exception_on_failure=raise_exception_on_failure if block else None)

    def enqueue_and_extract(self, queue: str | None = None, return_keys: str | tuple[str, ...] = (),
                            raise_exception_on_failure: bool = True, priority: int | None = None,
                            soft_time_limit: float | None = None, **_: object) -> Any:
        """As `enqueue`; waits for its end and gives its values, as `Task.enqueue_child_and_extract`."""
        return self._running_task().enqueue_child_and_extract(
            self, queue, priority, soft_time_limit, return_keys=return_keys,  # type: ignore[arg-type]
            raise_exception_on_failure=raise_exception_on_failure, add_to_enqueued_children=False)

    def _running_task(self) -> Task:
        task = recorded.running.task if recorded.running is not None else None
        if task is None:
            raise RuntimeError(f"{self!r} was to be enqueued, but only a task that runs can do that, in its own process; "
                               "a run begins with `firexlite submit --chain`")
        return task


@dataclass(frozen=True)
class Signature(Work):
    """A service, by name, with the arguments bound so far. Composing makes a new one; only `Work`'s methods change one.

    options: queue, priority, slots, soft_time_limit, time_limit, use_cache and label, those that were set.
    """

    service: str
    args: tuple = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def _members(self) -> tuple[Signature, ...]:
        return (self,)

    def with_options(self, **options: object) -> Signature:
        """A copy with these options over its own."""
        return replace(self, options={**self.options, **options})

    def injected(self, values: Mapping[str, object]) -> Signature:
        """A copy with these values under its own arguments."""
        return replace(self, kwargs={**values, **self.kwargs}, options=dict(self.options))

    def _set(self, **options: object) -> Signature:
        object.__setattr__(self, "options", {**self.options, **options})
        return self

    def injectArgs(self, **kwargs: object) -> Signature:
        object.__setattr__(self, "kwargs", {**kwargs, **self.kwargs})
        return self

    def __or__(self, after: Signature | Chain | InjectArgs) -> Chain:
        return Chain((self.with_options(),)) | after

    def __repr__(self) -> str:
        bound = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.service}({', '.join(bound)})"


@dataclass(frozen=True)
class Chain(Work):
    """Signatures to run one after the other, values flowing by name."""

    signatures: tuple[Signature, ...]

    def _members(self) -> tuple[Signature, ...]:
        return self.signatures

    def with_options(self, **options: object) -> Chain:
        """A copy of which each member has these options."""
        return Chain(tuple(member.with_options(**options) for member in self.signatures))

    # Chains share their members, so a chain that is changed gets members of its own.
    def _set(self, **options: object) -> Chain:
        object.__setattr__(self, "signatures", self.with_options(**options).signatures)
        return self

    def injectArgs(self, **kwargs: object) -> Chain:
        head, *rest = self.signatures
        object.__setattr__(self, "signatures", (head.injected(kwargs), *rest))
        return self

    def __or__(self, after: Signature | Chain | InjectArgs) -> Chain:
        if isinstance(after, InjectArgs):
            raise InvalidChainArgsException(MID_CHAIN.format(names=", ".join(after.kwargs)))
        if not isinstance(after, (Signature, Chain)):
            return NotImplemented
        return Chain(self.signatures + (after.signatures if isinstance(after, Chain) else (after.with_options(),)))

    def __iter__(self) -> Iterator[Signature]:
        return iter(self.signatures)

    def __len__(self) -> int:
        return len(self.signatures)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.signatures))


class InjectArgs:
    """Values handed to the head of a chain; its own arguments win over them (FireX's pseudo signature)."""

    def __init__(self, /, **kwargs: object) -> None:
        self.kwargs = kwargs

    def __or__(self, after: Signature | Chain | InjectArgs) -> Chain | InjectArgs:
        if isinstance(after, InjectArgs):
            return InjectArgs(**{**self.kwargs, **after.kwargs})
        if not isinstance(after, (Signature, Chain)):
            return NotImplemented
        head, *rest = as_chain(after).signatures
        return Chain((head.injected(self.kwargs), *rest))

    def __repr__(self) -> str:
        return f"InjectArgs({', '.join(f'{k}={v!r}' for k, v in self.kwargs.items())})"


def as_chain(work: Signature | Chain) -> Chain:
    """A chain of one for a signature, a chain as it is. Raises TypeError for anything else."""
    if isinstance(work, Chain):
        return work
    if isinstance(work, Signature):
        return Chain((work,))
    raise TypeError(f"{work!r} is neither a signature nor a chain; write service.s(...)")
