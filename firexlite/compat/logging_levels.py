"""`firexapp.engine.logging` and `firexapp.submit.console`: FireX's levels of log records, and loggers for the console."""
from __future__ import annotations

import html
import logging
import sys
from typing import Any


def html_escape(msg: Any) -> str:
    """A message with `<`, `>`, `&` and quotes written as HTML does."""
    return html.escape(str(msg))


def setup_console_logging(module: str | None = None, stdout_logging_level: int = logging.INFO,
                          console_logging_formatter: str = "[%(asctime)s] %(message)s", console_datefmt: str = "%H:%M:%S",
                          stderr_logging_level: int = logging.ERROR,
                          module_logger_logging_level: int | None = None) -> logging.Logger:
    """The logger of a module; for `__main__` the root logger, whose records go to stdout, and to stderr those of
    ``stderr_logging_level`` and above."""
    if module != "__main__":
        logger = logging.getLogger(module)
        logger.setLevel(logging.NOTSET if module_logger_logging_level is None else module_logger_logging_level)
        return logger
    logger = logging.getLogger()
    logger.setLevel(logging.DEBUG if module_logger_logging_level is None else module_logger_logging_level)
    if not any(isinstance(handler, _ToConsole) for handler in logger.handlers):
        out, err = _ToConsole(sys.stdout), _ToConsole(sys.stderr)
        out.addFilter(lambda record: record.levelno < stderr_logging_level)
        for handler, level in ((out, stdout_logging_level), (err, stderr_logging_level)):
            handler.setLevel(level)
            handler.setFormatter(logging.Formatter(console_logging_formatter, console_datefmt))
            logger.addHandler(handler)
    return logger


class _ToConsole(logging.StreamHandler):
    """Told apart from the handlers of others."""


def set_console_log_level(log_level: int) -> None:
    """From which level on records go to stdout."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _ToConsole) and handler.stream is sys.stdout:
            handler.setLevel(log_level)
