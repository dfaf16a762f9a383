"""firexlite: durable workflows of Python functions, journaled in SQLite. Names are imported when first used."""
from __future__ import annotations

from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .application import App, Service, app
    from .builtin import CopyBogKeys, ScheduleSubChain
    from .codec import register_codec
    from .converters import ConverterRegister, InputConverter, SingleArgDecorator
    from .errors import (
        ArgumentConversionException,
        ChainException,
        ChainInterruptedException,
        ChainRevokedException,
        FirexliteError,
        InvalidChainArgsException,
        MaxRetriesExceededError,
        MultipleFailuresException,
        ReturnCodeError,
        ReturnsCodingException,
        RunFailed,
        SoftTimeLimitExceeded,
        TimeLimitExceeded,
        WaitOnChainTimeoutError,
        WorkerLost,
    )
    from .files import File
    from .library import resume as resume
    from .library import run as run
    from .loggers import get_task_logger
    from .outcome import Result
    from .promises import Promise, WaitLoopCallBack
    from .recorded import now as now
    from .recorded import random as random
    from .recorded import uuid as uuid
    from .results import DYNAMIC_RETURN, returns
    from .secrets import Secret
    from .services import Task
    from .showing import flame, flame_collapse
    from .signatures import Chain, InjectArgs, Signature, flows
    from .signatures import at as at
    from .task_options import PendingChildStrategy, ValidateArgs

_HOME_OF = {
    "CopyBogKeys": "builtin", "ScheduleSubChain": "builtin",
    "App": "application", "Service": "application", "app": "application", "flame": "showing",
    "flame_collapse": "showing", "register_codec": "codec", "ConverterRegister": "converters",
    "InputConverter": "converters", "SingleArgDecorator": "converters", "ArgumentConversionException": "errors",
    "ChainException": "errors", "ChainInterruptedException": "errors", "ChainRevokedException": "errors",
    "FirexliteError": "errors", "InvalidChainArgsException": "errors", "MultipleFailuresException": "errors",
    "ReturnCodeError": "errors", "ReturnsCodingException": "errors", "WaitOnChainTimeoutError": "errors",
    "WorkerLost": "errors", "MaxRetriesExceededError": "errors", "SoftTimeLimitExceeded": "errors",
    "TimeLimitExceeded": "errors", "PendingChildStrategy": "task_options", "ValidateArgs": "task_options",
    "DYNAMIC_RETURN": "results", "returns": "results", "Promise": "promises", "Task": "services",
    "File": "files", "Secret": "secrets", "now": "recorded", "random": "recorded", "uuid": "recorded",
    "WaitLoopCallBack": "promises", "get_task_logger": "loggers", "Chain": "signatures", "InjectArgs": "signatures",
    "Signature": "signatures", "run": "library", "resume": "library", "Result": "outcome", "RunFailed": "errors",
    "flows": "signatures", "at": "signatures",
}

# Without `now`, `random` and `uuid`: a star import must not hide modules of the standard library; nor, with `at`,
# `run` and `resume`, what people call so themselves.
__all__ = [
    "DYNAMIC_RETURN", "App", "ArgumentConversionException", "Chain", "ChainException", "ChainInterruptedException",
    "ChainRevokedException", "ConverterRegister", "CopyBogKeys", "File", "FirexliteError", "InjectArgs", "InputConverter",
    "InvalidChainArgsException", "MaxRetriesExceededError", "MultipleFailuresException", "PendingChildStrategy", "Promise",
    "Result", "ReturnCodeError", "ReturnsCodingException", "RunFailed", "ScheduleSubChain", "Secret", "Service", "Signature",
    "SingleArgDecorator",
    "SoftTimeLimitExceeded", "Task", "TimeLimitExceeded", "ValidateArgs", "WaitLoopCallBack", "WaitOnChainTimeoutError",
    "WorkerLost", "__version__", "app", "flame", "flame_collapse", "flows", "get_task_logger", "register_codec", "returns",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'firexlite' has no attribute '{name}'")
    from importlib import import_module

    # Set here, so that a name wins over the submodule that happens to be called the same.
    value = getattr(import_module(f"firexlite.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
