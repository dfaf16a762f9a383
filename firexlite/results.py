"""From what a service returned to values by name, and from values by name to what its caller asked for."""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ReturnsCodingException

if TYPE_CHECKING:
    from .promises import Promise

DYNAMIC_RETURN = "__DYNAMIC_RETURN__"
RETURN_KEYS_KEY = "__task_return_keys"  # in the result of a promise: the names that its task returned

F = TypeVar("F", bound=Callable)

logger = logging.getLogger("firexlite")


def return_names(declared: str | Iterable[str] | None, service: str) -> tuple[str, ...] | None:
    """The names that ``returns=`` declares, None if it declares none. Raises ReturnsCodingException for duplicates."""
    if declared is None:
        return None
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    explicit = [name for name in names if name != DYNAMIC_RETURN]
    if len(set(explicit)) != len(explicit):
        raise ReturnsCodingException(f"{service} declares a return name twice: {', '.join(names)}")
    return names


def returns(*names: str) -> Callable[[F], F]:
    """Declare the names of a service's return values; stands below `@app.task`."""
    if not names:
        raise ReturnsCodingException("@returns needs at least one name")
    return_names(names, "@returns")

    def declare(function: F) -> F:
        if hasattr(function, "undecorated"):
            raise ReturnsCodingException("@returns must stand below @app.task")
        function.__firexlite_returns__ = names  # type: ignore[attr-defined]
        return function

    return declare


def name_values(names: tuple[str, ...] | None, value: object) -> dict[str, object]:
    """Give the value of a body its declared names.

    names: as `return_names` gives them. Without any, a dict names its values itself and anything else
        stays without a name (FireX fails such a task; docs/firex-differences.md).
    Raises ReturnsCodingException if numbers differ, TypeError if a DYNAMIC_RETURN is not a dict (as firexkit 5.7.236).
    """
    if not names:
        return _with_names(value) if isinstance(value, dict) else {}
    # A plain tuple is spread over the names; a namedtuple, like anything else, is one value.
    values = value if type(value) is tuple else (value,)
    if len(values) != len(names):
        raise ReturnsCodingException(
            f"Expected return keys {names} (length {len(names)}) in service results, "
            f"but found length: {len(values)}: {values}")
    named: dict[str, object] = {}
    for name, one in zip(names, values, strict=True):
        if name != DYNAMIC_RETURN:
            named[name] = one
        elif one:
            if not isinstance(one, Mapping):
                raise TypeError(f"The value of the dynamic returns {name} must be a dictionary."
                                f"Current return value {one} is of type {type(one).__name__}")
            named.update(_with_names(one))
    return named


def _with_names(values: Mapping) -> dict[str, object]:
    """A dict whose keys name its values. Raises ReturnsCodingException for a key that is no string."""
    for name in values:
        if not isinstance(name, str):
            raise ReturnsCodingException(f"A dict that names its values has the key {name!r}, which is no string")
    # The result of a promise, handed on whole, tells of the names of another task.
    return {name: value for name, value in values.items() if name != RETURN_KEYS_KEY}


def pick(values: Mapping[str, object], return_keys: str | Sequence[str] | None) -> dict | tuple:
    """What a caller asked for: all values, or those of ``return_keys`` as a tuple with None for what is not there."""
    if not return_keys or return_keys == DYNAMIC_RETURN or tuple(return_keys) == (DYNAMIC_RETURN,):
        return dict(values)
    keys = (return_keys,) if isinstance(return_keys, str) else tuple(return_keys)
    return tuple(dict(values) if key == DYNAMIC_RETURN else values.get(key) for key in keys)


def get_results(result: Promise, return_keys: str | Sequence[str] | None = (), parent_id: str | None = None,
                return_keys_only: bool = True, merge_children_results: bool = False, extract_from_parents: bool = True) -> Any:
    """The values of a chain by name, those of later tasks over those of earlier ones; tasks that did not succeed have none.

    return_keys: as of `pick`. parent_id: of a task of the chain; only the tasks after it count. return_keys_only: what
    tasks returned; otherwise also what was supplied to them. merge_children_results: also what is below them, their own
    values over that. extract_from_parents: of all tasks of the chain, not of the last alone.
    """
    return pick(result.results(return_keys_only, merge_children_results, extract_from_parents, parent_id), return_keys)


def get_results_with_default(result: Promise, default: Any = None, error_msg: str | None = None, **options: Any) -> Any:
    """As `get_results`; if the chain did not succeed ``default``, and a line with the reason in the log."""
    if result.successful():
        return get_results(result, **options)
    reason = result.result
    logger.error(error_msg or f"There is no result of {result}", exc_info=reason if isinstance(reason, BaseException) else None)
    return default
