"""The FireX skin: answers imports of `firexapp.*` and `firexkit.*` with firexlite's own names, where FireX is not installed.

It holds re-exports only. The finder stands at the end of `sys.meta_path`, so that a real FireX is found first.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# FireX's module -> {name there: firexlite module and name here}
SERVED: dict[str, dict[str, tuple[str, str]]] = {
    "firexapp": {},
    "firexapp.engine": {},
    "firexapp.engine.celery": {"app": ("application", "app")},
    "firexapp.submit": {},
    "firexapp.submit.arguments": {"InputConverter": ("converters", "InputConverter")},
    "firexapp.submit.submit": {"FireXReturnCodeException": ("errors", "ReturnCodeError")},
    "firexapp.tasks": {},
    "firexapp.tasks.core_tasks": {"CopyBogKeys": ("builtin", "CopyBogKeys")},
    "firexkit": {},
    "firexkit.argument_conversion": {name: ("converters", name) for name in (
        "ConverterRegister", "SingleArgDecorator")} | {name: ("errors", name) for name in (
        "ArgumentConversionException", "ConverterRegistrationException", "MissingConverterDependencyError",
        "CircularDependencyException", "NameDuplicationException")},
    "firexkit.chain": {"InjectArgs": ("signatures", "InjectArgs"), "returns": ("results", "returns"),
                       "AUTO_QUEUE": ("signatures", "AUTO_QUEUE"), "SignatureX": ("signatures", "Signature"),
                       "InvalidChainArgsException": ("errors", "InvalidChainArgsException")},
    "firexkit.result": {name: ("errors", name) for name in (
        "ChainException", "ChainInterruptedException", "ChainRevokedException", "ChainRevokedPreRunException",
        "MultipleFailuresException", "WaitOnChainTimeoutError", "ReturnsCodingException")} | {
        name: ("results", name) for name in (
            "get_results", "get_results_with_default", "DYNAMIC_RETURN", "RETURN_KEYS_KEY")} | {
        name: ("gathering", name) for name in (
            "wait_on_async_results", "wait_for_any_results", "find_unsuccessful_in_chain", "find_all_unsuccessful",
            "get_task_name_from_result", "first_non_chain_interrupted_exception",
            "last_causing_chain_interrupted_exception")} | {
        "wait_on_async_results_and_maybe_raise": ("gathering", "wait_on_async_results"),
        "WaitLoopCallBack": ("promises", "WaitLoopCallBack"), "FxAsyncResult": ("promises", "Promise"),
        "FxEagerResult": ("promises", "Injected"), "ManyFxAsyncResults": ("gathering", "Promises")},
    "firexkit.task": {"FireXTask": ("services", "Task"), "flame": ("application", "flame"),
                      "TaskEnqueueSpec": ("children", "TaskEnqueueSpec"),
                      "flame_collapse": ("application", "flame_collapse"),
                      "ReturnsCodingException": ("errors", "ReturnsCodingException"),
                      "IllegalTaskNameException": ("errors", "IllegalTaskNameException")},
}


class FirexFinder(MetaPathFinder, Loader):
    """Finds the modules that FireX's service files import, and fills them."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in ("firexapp", "firexkit"):
            return None
        if name not in SERVED:
            served = ", ".join(module for module, names in SERVED.items() if names)
            raise ModuleNotFoundError(f"firexlite does not stand in for {name}; it serves {served}", name=name)
        return ModuleSpec(name, self, origin="firexlite.compat", is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        for name, (home, here) in SERVED[module.__name__].items():
            setattr(module, name, getattr(import_module(f"firexlite.{home}"), here))


def install() -> None:
    """Answer imports of FireX's modules from now on, wherever FireX itself is absent."""
    if not any(isinstance(finder, FirexFinder) for finder in sys.meta_path):
        sys.meta_path.append(FirexFinder())
