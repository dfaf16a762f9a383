"""Arguments converted to what a service's annotations say, by pydantic, which is imported only then."""
from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

from .task_options import ValidateArgs


def validated(function: Callable, values: Mapping[str, object], how: ValidateArgs) -> dict[str, object]:
    """Those of ``{parameter: value}`` that were converted. Values of parameters without an annotation stay as they are.

    Raises ValueError for a value that cannot be converted, if that is required, and ImportError without pydantic.
    """
    try:
        import pydantic
    except ImportError as error:
        raise ImportError("pydantic_validate needs pydantic, which is not installed: pip install pydantic") from error

    hints = _annotations(function)
    converted: dict[str, object] = {}
    for name, value in values.items():
        if name not in hints:
            continue
        try:
            converted[name] = pydantic.TypeAdapter(hints[name]).validate_python(value)
        except (pydantic.ValidationError, pydantic.PydanticUserError) as error:
            if how is ValidateArgs.REQUIRE:
                raise ValueError(f"Failed to convert arg {name} to {hints[name]}") from error
    return converted


def _annotations(function: Callable) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation names what is imported for a type checker only
        return dict(getattr(function, "__annotations__", {}))
