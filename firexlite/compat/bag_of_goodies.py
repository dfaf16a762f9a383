"""`firexkit.bag_of_goodies`: FireX's class of that name over our rules of binding."""
from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from ..binding import EXTRA, Bog, Parameters
from ..task_options import ValidateArgs

RETURN_KEYS = "__task_return_keys"  # under which FireX keeps the names that the task before returned
CHAIN_DEPTH = "chain_depth"         # by which FireX says that a task stands in a chain, and where

T = TypeVar("T")
AutoInject = Annotated[T, "FireXAutoInject"]


@dataclass
class AutoInjectSpec(Generic[T]):
    """A value that FireX hands to every service that asks for it by an `AutoInject[...]` annotation."""

    arg_type: type[T]
    arg_name: str
    default_value: T
    value: T | None = None


class BagOfGoodies:
    """What reaches one task, and how it is handed to the function.

    sig: of the function, without `self`. args, kwargs: as a message of celery's has them; in a chain, which a
        ``chain_depth`` above 0 tells, the first of ``args`` is the dict of all that flows from the task before.
    root_orig_task_sig: of the service that a plugin overrides; it names positional arguments that ``sig`` has no place for.
    Raises TypeError for too many positional arguments, InvalidChainArgsException for a circle of references.
    """

    INDIRECT_ARG_CHAR = "@"

    def __init__(self, sig: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any],
                 root_orig_task_sig: inspect.Signature | None = None,
                 pydantic_validate: ValidateArgs = ValidateArgs.DISABLED) -> None:
        self.pydantic_validate = pydantic_validate
        self._parameters = Parameters.of_signature(sig)
        self._chain_depth = kwargs.get(CHAIN_DEPTH, 0)
        flow: dict[str, Any] = {}
        if self._chain_depth and args and isinstance(args[0], dict):
            flow = {name: value for name, value in args[0].items() if name != RETURN_KEYS}
            args = args[1:]
        own = {name: value for name, value in kwargs.items() if name != CHAIN_DEPTH}
        places = len(self._parameters.positional)
        if root_orig_task_sig is not None and self._parameters.var_positional is None and len(args) > places:
            names = Parameters.of_signature(root_orig_task_sig).positional[places:]
            own = {**dict(zip(names, args[places:], strict=False)), **own}
            args = args[:places]
        self._by_position = self._parameters.positional[:len(args)]
        self._bog = Bog(self._parameters, self._parameters.by_name(args, own), flow)

    def update(self, updates: Mapping[str, Any]) -> None:
        """Add or replace values, as converters and returned values do; references to them are resolved."""
        own: dict[str, Any] = {**self._bog.supplied, EXTRA: self._bog.extra}
        for name, value in updates.items():
            if name == self._parameters.var_keyword:
                if not isinstance(value, Mapping):
                    raise ValueError(f"{name} collects keywords, so its value must be a mapping, not {value!r}")
                own.update(value)
            else:
                own[EXTRA if name == self._parameters.var_positional else name] = value
        self._bog = Bog(self._parameters, own, {})

    # --- what the function is called with --------------------------------------------------------------------------

    @property
    def args(self) -> tuple[Any, ...]:
        """What is handed over by position: what was given so, with its present value."""
        return (*(self._bog.supplied[name] for name in self._by_position), *self._bog.extra)

    @property
    def kwargs(self) -> dict[str, Any]:
        """What is handed over by name; parameters left to their defaults are absent."""
        return {name: value for name, value in self._bog.accepted.items() if name not in self._by_position}

    @property
    def bound_pos_args(self) -> dict[str, Any]:
        bound = {name: self._bog.supplied[name] for name in self._by_position}
        if self._parameters.var_positional and self._bog.extra:
            bound[self._parameters.var_positional] = self._bog.extra
        return bound

    @property
    def unaccepted_args(self) -> dict[str, Any]:
        """What only flows on."""
        return {name: value for name, value in self._bog.supplied.items() if not self._parameters.accepts(name)}

    # --- what flows on ---------------------------------------------------------------------------------------------

    @property
    def return_args(self) -> dict[str, Any]:
        """All that was supplied, without defaults."""
        return {**self._bog.supplied, **self.bound_pos_args}

    def all_supplied_args(self) -> dict[str, Any]:
        return self.return_args

    def get_public_supplied_args(self) -> dict[str, Any]:
        return self.return_args

    def get_unsupplied_default_args(self) -> dict[str, Any]:
        return dict(self._bog.defaults)

    def get_accepted_supplied_and_default_args(self) -> dict[str, Any]:
        return {**self.kwargs, **self.bound_pos_args, **self._bog.defaults}

    def get_and_remove_chain_depth(self) -> int:
        """How many tasks stand before this one in its chain. It never is among the arguments here, so the name is FireX's."""
        return self._chain_depth

    # --- about the function ----------------------------------------------------------------------------------------

    def get_required_arg_names(self) -> set[str]:
        return set(self._parameters.required)

    def get_optional_args_to_default_values(self) -> dict[str, Any]:
        return dict(self._parameters.defaults)

    def get_unbound_required_arg_names(self) -> set[str]:
        return self.get_required_arg_names() - set(self.get_accepted_supplied_and_default_args())

    @classmethod
    def is_self_indirect_ref(cls, value: Any, arg_name: str) -> bool:
        """Whether a value asks for what flows under the very name of the argument: ``x='@x'``."""
        return isinstance(value, str) and value == cls.INDIRECT_ARG_CHAR + arg_name
