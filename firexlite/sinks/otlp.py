"""OpenTelemetry as a sink: a run is a trace, each of its tasks a span below that of the task that enqueued it. Official code
encodes and sends them; the numbers of traces and spans follow from the FireX ID, so that what is sent twice is the same."""
from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..codec import display_error
from ..errors import BadInput, SinkUnavailable
from ..flame_graph import tracebacks
from ..history import AttemptRecord
from ..outbox import Record, RunAbout, RunEnd
from ..states import FAILED, REVOKED, RUN_SUCCEEDED, SUCCEEDED
from ..version import __version__
from . import Sink

PATH = "/v1/traces"   # unless the endpoint has one
ANSWER_S = 5.0        # in which a request is answered, with what the library itself tries again
LONGEST = 1000        # characters of a value among the attributes
LONGEST_TRACEBACK = 16_000
ROOT = 0              # the number of the span of the run itself
SPANS = 100           # in one request
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")


class OtlpSink(Sink):
    """Sends the span of a task when that has ended, and that of the run when it has."""

    needs_attempts = True

    def __init__(self, where: str) -> None:
        """where: the endpoint, `http://host:4318`. Raises BadInput for what is none."""
        try:
            parts = urlsplit(where)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_one = False
        if not is_one or not where.isascii() or where.split() != [where]:
            raise BadInput(f"--sink otlp: takes the address of a collector, as in otlp:http://host:4318, not 'otlp:{where}'")
        if parts.username or parts.password:
            raise BadInput("--sink otlp: takes an address without a password, which would be written down; "
                           "OTEL_EXPORTER_OTLP_HEADERS is where it belongs")
        self.name = f"otlp:{where}"
        self._endpoint = urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else PATH, fragment=""))
        self._exporter: Any = None
        self._heard = _Listener()

    def send(self, records: Sequence[Record]) -> None:
        ended = [record for record in records if record.is_final]
        for first in range(0, len(ended), SPANS):
            self._export([_span(record) for record in ended[first:first + SPANS]])

    def end(self, run: RunAbout, end: RunEnd) -> None:
        self._export([_root(run, end)])

    def _export(self, spans: list[Any]) -> None:
        if self._exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._heard.listen()
            has_timeout = any(map(os.environ.get, _TIMEOUTS))  # which the library reads itself
            self._exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=None if has_timeout else ANSWER_S)
        self._heard.last = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # of a connection: each library beneath has its own
            raise SinkUnavailable(self.name, str(error)) from error
        if result.name != "SUCCESS":
            raise SinkUnavailable(self.name, self._heard.last or "no answer")

    def close(self) -> None:
        if self._exporter is not None:
            self._exporter.shutdown()
            self._exporter = None


class _Listener(logging.Handler):
    """Keeps what the library logged of what went wrong: it says so by no other way."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def listen(self) -> None:
        for name in ("opentelemetry", "urllib3"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        said = " ".join(record.getMessage().split())[:500]
        if said.startswith("Transient error "):  # the cause; at last it only says that it has given up
            self.last = said.removeprefix("Transient error ").partition(" encountered while ")[0]
        elif not self.last and record.levelno >= logging.WARNING:
            self.last = said


# --- spans ------------------------------------------------------------------------------------------------------------

def trace_id(firex_id: str) -> int:
    """Of a run: 16 bytes, never 0."""
    return _number(firex_id, 16)


def span_id(firex_id: str, task: int) -> int:
    """Of a task, or of the run for `ROOT`: 8 bytes, never 0."""
    return _number(f"{firex_id}/{task}", 8)


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1


def _span(record: Record) -> Any:
    """The span of a task that has ended, with an event for each attempt, and one for each exception."""
    run, began = record.run, record.attempts[0].started if record.attempts else record.ts
    attributes: dict[str, Any] = {
        "firexlite.task": record.task, "firexlite.state": record.state, "firexlite.attempts": len(record.attempts),
        "firexlite.uuid": record.plain()["uuid"], "code.function.name": record.name, "code.file.path": record.file,
        **_values("firexlite.result", record.data.get("results") or {})}
    if reason := record.data.get("reason"):
        attributes["firexlite.revoke_reason"] = _short(reason)
    error = record.data.get("exception")
    why = ""
    if record.state == FAILED:
        why = error["repr"] if error else "failed"
    elif record.state == REVOKED:
        why = f"revoked: {reason}" if reason else "revoked"
    return _made(run, record.task, record.parent or ROOT, record.short_name, began, record.ts, attributes,
                 list(_events(record.attempts, run.host)), why, is_ok=record.state == SUCCEEDED)


def _events(attempts: Sequence[AttemptRecord], home: str) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """``(name, time, attributes)``"""
    for one in attempts:
        yield "attempt", one.started, {"firexlite.attempt": one.number, "firexlite.outcome": one.outcome or "running",
                                       "firexlite.worker": one.worker, "firexlite.incarnation": one.epoch,
                                       "host.name": one.host or home}
        if one.error:
            error = display_error(one.error)
            yield "exception", one.started if one.ended is None else one.ended, {
                "exception.type": error["type"].replace(":", ".").removeprefix("builtins."),
                "exception.message": _short(error["text"]), "exception.stacktrace": tracebacks(error)[-LONGEST_TRACEBACK:],
                "firexlite.attempt": one.number}


def _root(run: RunAbout, end: RunEnd) -> Any:
    attributes = {"firexlite.state": end.state, "firexlite.chain": _short(run.chain), "enduser.id": run.user,
                  **_values("firexlite.result", end.results)}
    why = "" if end.state == RUN_SUCCEEDED else _short("; ".join(end.failed) or end.state)
    return _made(run, ROOT, None, _short(run.chain), run.created, end.ended, attributes, [], why, end.state == RUN_SUCCEEDED)


def _made(run: RunAbout, task: int, parent: int | None, name: str, began: float, ended: float, attributes: dict[str, Any],
          events: Sequence[tuple[str, float, dict[str, Any]]], why: str, is_ok: bool) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    def context(number: int) -> Any:
        return SpanContext(trace_id(run.firex_id), span_id(run.firex_id, number), is_remote=False,
                           trace_flags=TraceFlags(TraceFlags.SAMPLED))

    resource = Resource({"service.name": "firexlite", "service.version": run.firexlite or __version__, "host.name": run.host,
                         "process.runtime.name": "cpython", "process.runtime.version": run.python,
                         "firexlite.firex_id": run.firex_id})
    return ReadableSpan(
        name=name, context=context(task), parent=None if parent is None else context(parent), resource=resource,
        attributes=attributes, events=[Event(what, about, _ns(at)) for what, at, about in events],
        status=Status(StatusCode.ERROR, why) if why else Status(StatusCode.OK if is_ok else StatusCode.UNSET),
        start_time=_ns(began), end_time=_ns(max(began, ended)),
        instrumentation_scope=InstrumentationScope("firexlite", __version__))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _values(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as attributes: what is neither a number nor a short text is its JSON, cut."""
    return {f"{prefix}.{name}": value if isinstance(value, (bool, float)) or (type(value) is int and abs(value) < 2 ** 63)
            else _short(value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()}


def _short(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()  # half of a pair of surrogates is no text for protobuf
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
