"""The FireX skin: answers imports of FireX's modules, where FireX is not installed, with what firexlite has in their place;
and those of celery's that service files use, where celery is not installed.

The finder stands at the end of `sys.meta_path`, so that a real FireX or celery is found first.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .served import REFUSED, SERVED, module_is_near, services_of_examples

if TYPE_CHECKING:
    from ..application import Service


class FirexFinder(MetaPathFinder, Loader):
    """Finds the modules that FireX's service files import, and fills them."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """None for what is not FireX's or celery's, or lies in a package that is really there.

        Raises ModuleNotFoundError, saying what to use instead, for what cannot be had here.
        """
        if not module_is_near(name) or _is_really_there(name):
            return None
        if name in SERVED:
            return ModuleSpec(name, self, origin="firexlite.compat", is_package=True)
        instead = next((way for module, way in REFUSED.items() if name == module or name.startswith(module + ".")), None)
        if instead is None:
            beside = ", ".join(module for module, names in SERVED.items()
                               if names and module.partition(".")[0] == name.partition(".")[0])
            instead = f"it serves {beside}"
        raise ModuleNotFoundError(f"firexlite does not stand in for {name}: {instead}", name=name)

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = _lookup(module)  # type: ignore[method-assign]
        module.__all__ = [*SERVED[module.__name__]]  # type: ignore[attr-defined]


def _is_really_there(name: str) -> bool:
    above = sys.modules.get(name.rpartition(".")[0])
    return above is not None and not isinstance(getattr(above.__spec__, "loader", None), FirexFinder)


def _lookup(module: ModuleType) -> Callable[[str], Any]:
    """What a module does with a name that is asked for the first time; so importing one costs nothing, and no module of
    ours need be there that is not used."""
    def look_up(name: str) -> Any:
        if name in SERVED[module.__name__]:
            home, here = SERVED[module.__name__][name]
            value = getattr(import_module(f"firexlite.{home}"), here)
            setattr(module, name, value)
            return value
        if instead := REFUSED.get(f"{module.__name__}:{name}"):
            raise ImportError(f"firexlite does not stand in for {module.__name__}.{name}: {instead}", name=module.__name__)
        raise AttributeError(f"firexlite's stand-in for {module.__name__} has no '{name}'")

    return look_up


def _service_of_examples(name: str) -> Service | None:
    """The service of FireX's own that has this name, in any letter case, or this long name; None if there is none."""
    from ..application import Service, app

    asked_module, _, short = name.rpartition(".")
    for module, known, (home, here) in services_of_examples():
        if known.casefold() == short.casefold() and asked_module in ("", module):
            found = getattr(import_module(f"firexlite.{home}"), here)
            if isinstance(found, Service):
                return app.service(found.name)
    return None


def install() -> None:
    """Answer imports of FireX's modules from now on, wherever FireX itself is absent, and know its example services."""
    if not any(isinstance(finder, FirexFinder) for finder in sys.meta_path):
        sys.meta_path.append(FirexFinder())
        from ..application import app

        app.elsewhere = _service_of_examples
