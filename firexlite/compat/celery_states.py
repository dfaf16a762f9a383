"""`celery.states`: celery's words for how a task stands; `promise.state` is one of them."""
from __future__ import annotations

PENDING, STARTED, SUCCESS, FAILURE, REVOKED = "PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED"
RECEIVED, RETRY, IGNORED, REJECTED = "RECEIVED", "RETRY", "IGNORED", "REJECTED"  # which no promise here is in

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES
