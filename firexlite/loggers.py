"""Loggers of services: FireX's two levels, `logger.print(..)` and `logger.raw(..)`, and how a record looks in a task's log."""
from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

PRINT = logging.WARNING + 5
RAW = logging.DEBUG - 5

_of_tasks: set[str] = set()  # the names of the loggers that services asked for
_is_captured = False         # what is logged in this process goes to the logs of its tasks


def get_task_logger(name: str) -> logging.Logger:
    """The logger of this name. Inside a run it logs from DEBUG on; what others log begins with INFO."""
    install_levels()
    _of_tasks.add(name)
    logger = logging.getLogger(name)
    if _is_captured:
        _let_debug_through(logger)
    return logger


def install_levels() -> None:
    """Have each logger know `print` and `raw`. A class of loggers that has such a method already keeps its own."""
    for name, level, method in (("PRINT", PRINT, _print), ("RAW", RAW, _raw)):
        logging.addLevelName(level, name)
        if not hasattr(logging, name):
            setattr(logging, name, level)  # as FireX has it
        if not hasattr(logging.Logger, name.lower()):
            setattr(logging.Logger, name.lower(), method)


def _print(self: logging.Logger, message: object, *args: object, **kwargs: Any) -> None:
    """Log what a person should see, whatever the level."""
    self._log(PRINT, message, args, **{"stacklevel": 2, **kwargs})


def _raw(self: logging.Logger, message: object, *args: object, **kwargs: Any) -> None:
    """Log a text as it is, without time, level and name."""
    self._log(RAW, message, args, **{"stacklevel": 2, **kwargs})


def capture_records() -> None:
    """Write what is logged in this process to its stderr, unless a service file has configured logging itself."""
    global _is_captured
    root = logging.getLogger()
    if root.handlers:
        return
    handler = _ToStderr()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    _is_captured = True
    for name in _of_tasks:
        _let_debug_through(logging.getLogger(name))


def _let_debug_through(logger: logging.Logger) -> None:
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.levelno == RAW else super().format(record)


class _ToStderr(logging.StreamHandler):
    """Writes to what is stderr at that moment: a service may have closed the one of before."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # not StreamHandler's, which would keep the stderr of now

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("this handler always writes to stderr")
