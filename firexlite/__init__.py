"""firexlite: durable workflows of Python functions, journaled in SQLite. Names are imported when first used."""
from __future__ import annotations

from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .application import App, Service, app, flame, flame_collapse
    from .codec import register_codec
    from .converters import ConverterRegister, InputConverter, SingleArgDecorator
    from .errors import (ArgumentConversionException, ChainException, ChainInterruptedException, ChainRevokedException,
                         FirexliteError, InvalidChainArgsException, MultipleFailuresException, ReturnCodeError,
                         ReturnsCodingException, WaitOnChainTimeoutError, WorkerLost)
    from .results import DYNAMIC_RETURN, returns
    from .services import Promise, Task
    from .signatures import Chain, InjectArgs, Signature

_HOMES = {
    "application": ("App", "Service", "app", "flame", "flame_collapse"),
    "codec": ("register_codec",),
    "converters": ("ConverterRegister", "InputConverter", "SingleArgDecorator"),
    "errors": ("ArgumentConversionException", "ChainException", "ChainInterruptedException", "ChainRevokedException",
               "FirexliteError", "InvalidChainArgsException", "MultipleFailuresException", "ReturnCodeError",
               "ReturnsCodingException", "WaitOnChainTimeoutError", "WorkerLost"),
    "results": ("DYNAMIC_RETURN", "returns"),
    "services": ("Promise", "Task"),
    "signatures": ("Chain", "InjectArgs", "Signature"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'firexlite' has no attribute '{name}'")
    from importlib import import_module

    # Set here, so that a name wins over the submodule that happens to be called the same.
    value = getattr(import_module(f"firexlite.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
