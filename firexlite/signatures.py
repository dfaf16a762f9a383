"""Signatures, chains and InjectArgs: what is to be run, before anything runs."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import InvalidChainArgsException

MID_CHAIN = "InjectArgs({names}) stands in the middle of a chain, where nothing can receive it; put it at the head"


class Literal(str):
    """A string that starts with `@` and is data, not a reference: what a service returned, or `'@@name'`."""

    __slots__ = ()


@dataclass(frozen=True)
class Signature:
    """A service, by name, with the arguments bound so far. Immutable: composing makes a new one."""

    service: str
    args: tuple = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict, compare=False)  # of the task that it becomes, queue say

    def __or__(self, after: Signature | Chain | InjectArgs) -> Chain:
        return Chain((self,)) | after

    def __repr__(self) -> str:
        bound = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.service}({', '.join(bound)})"


@dataclass(frozen=True)
class Chain:
    """Signatures to run one after the other, values flowing by name."""

    signatures: tuple[Signature, ...]

    def __or__(self, after: Signature | Chain | InjectArgs) -> Chain:
        if isinstance(after, InjectArgs):
            raise InvalidChainArgsException(MID_CHAIN.format(names=", ".join(after.kwargs)))
        if not isinstance(after, (Signature, Chain)):
            return NotImplemented
        return Chain(self.signatures + as_chain(after).signatures)

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
        injected = Signature(head.service, head.args, {**self.kwargs, **head.kwargs}, dict(head.options))
        return Chain((injected, *rest))

    def __repr__(self) -> str:
        return f"InjectArgs({', '.join(f'{k}={v!r}' for k, v in self.kwargs.items())})"


def as_chain(work: Signature | Chain) -> Chain:
    """A chain of one for a signature, a chain as it is. Raises TypeError for anything else."""
    if isinstance(work, Chain):
        return work
    if isinstance(work, Signature):
        return Chain((work,))
    raise TypeError(f"{work!r} is neither a signature nor a chain; write service.s(...)")
