"""`celery.exceptions`, as far as services catch or raise them, beside those that are errors of firexlite's own."""
from __future__ import annotations


class CeleryError(Exception):
    """Base of celery's errors."""


class TaskPredicate(CeleryError):
    """Base of what a body raises to say how its task goes on."""


class Ignore(TaskPredicate):
    """Celery leaves the state of a task that raises this as it is. Here the task fails with it."""


class Reject(TaskPredicate):
    """Celery gives the message of a task that raises this back to its queue. Here the task fails with it."""

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason, self.requeue = reason, requeue


class TaskError(CeleryError):
    """Base of celery's errors of tasks."""


class TimeoutError(TaskError):
    """A result was not there in time."""


class TaskRevokedError(TaskError):
    """A task was revoked, so it has no result."""


class InvalidTaskError(TaskError):
    """A task is not as it must be."""


class ImproperlyConfigured(CeleryError):
    """The configuration is wrong."""


class Terminated(Exception):
    """The process of a task was ended on demand."""
