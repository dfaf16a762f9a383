"""`firexapp.plugins`: lists of plugins, as FireX writes them, separated by commas."""
from __future__ import annotations

from collections.abc import Iterable

from ..application import app
from .common import delimit2list


def get_active_plugins() -> str:
    """The files of the plugins that this process has loaded and that have services."""
    return ",".join(dict.fromkeys(service.file for service in app if service.from_plugin))


def merge_plugins(*plugin_lists: str | Iterable[str] | None) -> list[str]:
    """The plugins of several lists; one that is in several stands where it is last, for there it is strongest."""
    every = [plugin for plugins in plugin_lists for plugin in delimit2list(plugins)]
    return [plugin for place, plugin in enumerate(every, 1) if plugin not in every[place:]]
