"""The FireX skin: answers imports of FireX's modules, where FireX is not installed, with what firexlite has in their place;
and those of celery's that service files use, where celery is not installed.

The finder stands at the end of `sys.meta_path`, so that a real FireX or celery is found first.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..application import Service

PACKAGES = frozenset({"firexapp", "firexkit", "firex_keeper", "firex_flame", "firex_blaze", "celery", "billiard"})


class FirexFinder:
    """Finds the modules that FireX's service files import, and fills them; and FireX's own services, by their names.

    The classes of `importlib.abc`, whose methods it has, would take each command 5 ms to import.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """None for what is not FireX's or celery's, or lies in a package that is really there.

        Raises ModuleNotFoundError, saying what to use instead, for what cannot be had here.
        """
        if name.partition(".")[0] not in PACKAGES or _is_really_there(name):
            return None
        from .served import SERVED, instead_of  # as late as this: most commands import nothing of FireX's

        if name not in SERVED:
            raise ModuleNotFoundError(f"firexlite does not stand in for {name}: {instead_of(name)}", name=name)
        return ModuleSpec(name, self, origin="firexlite.compat", is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own kind of module."""

    def exec_module(self, module: ModuleType) -> None:
        from .served import SERVED

        module.__getattr__ = _look_up_in(module)  # type: ignore[method-assign]
        module.__all__ = [*SERVED[module.__name__]]  # type: ignore[attr-defined]

    def find_service(self, name: str) -> Service | None:
        """The service of FireX's own that has this name, in any letter case, or this long name; None if there is none."""
        from ..application import Service, app
        from .served import EXAMPLES

        asked_module, _, short = name.rpartition(".")
        for module, names in EXAMPLES.items():
            for known, (home, here) in names.items():
                if known.casefold() == short.casefold() and asked_module in ("", module):
                    found = getattr(import_module(f"firexlite.{home}"), here)
                    if isinstance(found, Service):
                        return app.service(found.name)
        return None


def _is_really_there(name: str) -> bool:
    above = sys.modules.get(name.rpartition(".")[0])
    return above is not None and not isinstance(getattr(above.__spec__, "loader", None), FirexFinder)


def _look_up_in(module: ModuleType) -> Callable[[str], Any]:
    """What a module does with a name that is asked for the first time; so importing one costs nothing, and nothing of
    firexlite is imported that is not used."""
    from .served import REFUSED, SERVED

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


def install() -> None:
    """Answer imports of FireX's modules from now on, wherever FireX itself is absent, and know FireX's own services."""
    if not any(isinstance(finder, FirexFinder) for finder in sys.meta_path):
        sys.meta_path.append(FirexFinder())
