"""`firexkit.chain`, and of `firexkit.result` what there is no need of here."""
from __future__ import annotations

from typing import Any

from ..signatures import Chain, Signature, as_chain
from ..submission import new_tasks


def verify_chain_arguments(sig: Signature | Chain) -> None:
    """Check that every task of a chain will find its arguments. Raises InvalidChainArgsException."""
    new_tasks(as_chain(sig))


def forget_chain_results(result: Any, *_: Any, **__: Any) -> None:
    """FireX frees the memory that results take in its broker. Here they lie in the journal, and stay."""
