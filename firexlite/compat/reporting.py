"""`firexapp.submit.reporting`: declarations of what a run's reports are made of.

They are kept with the services, so that files which make them load. No report is made of them yet: `firexlite flame` shows
every value of a run.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from ..application import Service


class ReportGenerator(ABC):
    """Base of classes that make a report."""

    formatters: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()

    @staticmethod
    def pre_run_report(*args: Any, **kwarg: Any) -> None:
        """Before the run."""
        return None

    @abstractmethod
    def add_entry(self, key_name: str, value: Any, priority: int, formatters: Mapping[str, Any], **extra: Any) -> None:
        """One value that is to stand in the report."""

    @abstractmethod
    def post_run_report(self, root_async_result: Any, **kwargs: Any) -> None:
        """After the run."""

    def filter_formatters(self, all_formatters: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Those formatters that this report asks for, None if there is none of them."""
        return _chosen(self.formatters, all_formatters)

    def filter_loaders(self, all_loaders: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return _chosen(self.loaders, all_loaders)


def _chosen(names: tuple[str, ...], every: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if not names:
        return every
    return {name: every[name] for name in names if name in every} or None


def report(key_name: str | None = None, priority: int = -1, **formatters: Any) -> Callable[[Service], Service]:
    """Declare that a value which a service returns stands in reports; stands above `@app.task`.

    Raises ValueError for a name that the service does not declare to return.
    """
    return _tagging({"key_name": key_name, "priority": priority, "formatters": formatters})


def report_data(key_name: str | None = None, **loaders: Any) -> Callable[[Service], Service]:
    """Declare that a value which a service returns is read by reports; as `report` otherwise."""
    return _tagging({"key_name": key_name, "loaders": loaders})


def _tagging(entry: dict[str, Any]) -> Callable[[Service], Service]:
    def tag(service: Service) -> Service:
        name = entry["key_name"]
        if name and name not in (service.returns or ()):
            raise ValueError(f"{service.name} does not declare that it returns {name}, so @report cannot show that")
        service.__dict__.setdefault("report_meta", []).append(entry)
        return service

    return tag
