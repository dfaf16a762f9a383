"""Where the events of a run are sent: one module for each kind of sink. The libraries that they need are imported by the
process that sends, and by no other."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from ..errors import BadInput
from ..outbox import Record, RunAbout, RunEnd

WAIT = "FIREXLITE_SINK_WAIT"  # the variable that says how long a run that has ended waits for its sinks
WAIT_S = 10.0
_LONGEST = 1000               # characters of what names a sink


class Sink:
    """Takes the records of one run, from one process. Nothing is connected to before the first are sent.

    name: as a person gives it, without what is secret in it.
    """

    name = ""
    needs_attempts = False  # whether records of tasks that end are to have all their attempts

    def send(self, records: Sequence[Record]) -> None:
        """Send records, in order; return when every one is acknowledged.

        Raises SinkUnavailable if that is not so after some seconds: then all of them are sent again later, so that one may come
        twice. Raises BadInput for settings that cannot be used.
        """
        raise NotImplementedError

    def end(self, run: RunAbout, end: RunEnd) -> None:
        """Tell, after all moves, how the run ended; as `send`. It may be told of another end after a resume."""

    def close(self) -> None:
        """Let go of what is connected; at most a second."""


def sink_for(text: str) -> Sink:
    """The sink that a person names, `kafka:host:9092,host2:9092/topic` or `otlp:http://host:4318`.

    Raises BadInput, in one sentence, for what names none, or if the library that it needs is not installed.
    """
    kind, _, where = text.partition(":")
    if kind not in KINDS or len(text) > _LONGEST:
        raise BadInput(f"--sink takes kafka:HOST:PORT/TOPIC or otlp:http://HOST:PORT, not '{text[:_LONGEST]}'")
    extra, library, make = KINDS[kind]
    sink = make(where)
    if not _is_installed(library):
        raise BadInput(f"--sink {kind}: needs a library that is not installed; `pip install 'firexlite[{extra}]'` installs it")
    return sink


def wait_s() -> float:
    """How many seconds a run that has ended waits for its sinks. Raises BadInput for what is no such number in the variable."""
    import os

    chosen = os.environ.get(WAIT) or str(WAIT_S)
    try:
        seconds = float(chosen)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise BadInput(f"{WAIT} takes a number of seconds from 0 on, not '{chosen}'")
    return seconds


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ImportError:  # what it lies in is not there either
        return False


def _kafka(where: str) -> Sink:
    from .kafka import KafkaSink

    return KafkaSink(where)


def _otlp(where: str) -> Sink:
    from .otlp import OtlpSink

    return OtlpSink(where)


# By the word before the first colon: the extra of this package, the library that is looked for, what makes the sink.
KINDS: dict[str, tuple[str, str, Callable[[str], Sink]]] = {
    "kafka": ("kafka", "confluent_kafka", _kafka),
    "otlp": ("otel", "opentelemetry.exporter.otlp.proto.http", _otlp),
}
