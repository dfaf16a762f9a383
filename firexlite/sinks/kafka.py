"""Kafka as a sink: the messages of firex-blaze, which FireX's consumers read, by librdkafka."""
from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Any

from .. import blaze
from ..errors import BadInput, SinkUnavailable
from ..outbox import Record, RunAbout, RunEnd
from . import Sink

CONFIG = "FIREXLITE_KAFKA_CONFIG"  # the variable that names a file of more settings for the client
ACK_S = 5.0      # without any acknowledgement, after which a batch is sent again
SEQ, PART = "firexlite-seq", "firexlite-part"  # headers: a consumer that has seen both, under one key, has a repeat

_SERVER = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?\Z", re.ASCII)
_TOPIC = re.compile(r"[\w.-]{1,249}\Z", re.ASCII)
_POLL_S = 0.1
_MESSAGE_S = 60  # after which the client gives up a message by itself
# What is promised of a sink hangs on these, so a file cannot say otherwise.
_OURS = {"enable.idempotence": True, "acks": "all"}
_NOT_FOR_A_FILE = ("bootstrap.servers", *_OURS)


class KafkaSink(Sink):
    """Sends each message with the run's FireX ID as its key, so that a run stays in order in one partition."""

    def __init__(self, where: str) -> None:
        """where: `host:9092,host2:9092/topic`. Raises BadInput for what is none, and for settings that cannot be read."""
        servers, slash, self._topic = where.rpartition("/")
        parts = [part.strip() for part in servers.split(",")]
        if not slash or not _TOPIC.match(self._topic) or self._topic in (".", "..") or not all(map(_is_server, parts)):
            raise BadInput(f"--sink kafka: takes brokers and a topic, as in kafka:host:9092,host2:9092/topic, "
                           f"not 'kafka:{where}'")
        self._servers = ",".join(parts)
        self.name = f"kafka:{self._servers}/{self._topic}"
        self._config = _more_settings()
        self._producer: Any = None
        self._heard = ""  # the last that the client said was wrong

    def send(self, records: Sequence[Record]) -> None:
        self._send([message for record in records for message in blaze.messages(record)])

    def end(self, run: RunAbout, end: RunEnd) -> None:
        self._send(blaze.messages_of_end(run, end))

    def _send(self, messages: Sequence[blaze.Message]) -> None:
        producer = self._connected()
        acked, refused = 0, ""
        give_up = time.monotonic() + ACK_S

        def told(error: Any, _: object) -> None:
            nonlocal acked, refused, give_up
            if error is None:
                acked, give_up = acked + 1, time.monotonic() + ACK_S
            else:
                refused = error.str()

        for message in messages:
            while True:
                try:
                    producer.produce(self._topic, value=message.text.encode("ascii"), on_delivery=told,
                                     key=message.value["FIREX_ID"].encode("ascii"),
                                     headers=[(SEQ, str(message.seq).encode()), (PART, str(message.part).encode())])
                    break
                except BufferError:  # its queue is full: what is in it goes first
                    producer.poll(_POLL_S)
                    if time.monotonic() > give_up:
                        break
                except Exception as error:  # of a class that only the library has: it is too large, or all is over
                    self._forget()
                    raise SinkUnavailable(self.name, f"it takes no such message, {error}") from error
        while acked < len(messages) and not refused and time.monotonic() < give_up:
            producer.poll(_POLL_S)
        if acked < len(messages):
            why = refused if refused and "timed out" not in refused else self._heard or refused or "no answer"
            self._forget()  # with what is still under way: a batch is sent again as a whole
            raise SinkUnavailable(self.name, why)

    def _connected(self) -> Any:
        if self._producer is None:
            from confluent_kafka import KafkaException, Producer

            silent = logging.getLogger("firexlite.kafka")
            silent.addHandler(logging.NullHandler())
            silent.propagate = False
            try:
                self._producer = Producer({
                    "reconnect.backoff.max.ms": 1000, "message.timeout.ms": _MESSAGE_S * 1000, "linger.ms": 5,
                    "client.id": "firexlite", **self._config, **_OURS, "bootstrap.servers": self._servers,
                    "error_cb": self._hear}, logger=silent)
            except (KafkaException, ValueError, TypeError) as error:
                told = error.args[0].str() if error.args and hasattr(error.args[0], "str") else str(error)
                raise BadInput(f"{self.name} cannot be used, with the settings of {CONFIG}: {told}") from error
        return self._producer

    def _hear(self, error: Any) -> None:
        if error.name() != "_ALL_BROKERS_DOWN" or not self._heard:  # that only says how many there are
            self._heard = error.str()

    def _forget(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def close(self) -> None:
        self._forget()


def _is_server(text: str) -> bool:
    found = _SERVER.match(text)
    return found is not None and 1 <= int(found[1] or 1) <= 65535


def _more_settings() -> dict[str, str]:
    """What the file of `CONFIG` says: a line for each setting, `key=value`, by librdkafka's names.

    Raises BadInput; what is secret in it stays untold.
    """
    path = os.environ.get(CONFIG)
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(1 << 20).splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadInput(f"{CONFIG} names '{path}', which cannot be read: {why}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9._]+", name := name.strip()):
            raise BadInput(f"{path}, line {number}: a setting of the Kafka client is written as security.protocol=SSL")
        if name in _NOT_FOR_A_FILE:
            raise BadInput(f"{path}, line {number}: {name} is set by firexlite itself")
        found[name] = value.strip()
    return found
