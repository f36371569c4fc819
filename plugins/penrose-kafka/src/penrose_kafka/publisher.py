"""Publishing, with every delivery accounted for: the sink and the dead-letter topic go through here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from penrose_host import SinkError
from penrose_kafka.client_errors import Cause, cause_of, publishing_error

__all__ = ["DEFAULTS", "Publisher"]

#: Each message once and in order, acknowledged by all replicas, and memory bounded; any of it can be set anew.
DEFAULTS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 20,
    "queue.buffering.max.kbytes": 64 << 10,
    # As Java's producer does: the same key goes to the same partition, whoever publishes it.
    "partitioner": "murmur2_random",
}
#: Of a partition: the one that the key asks for.
_BY_KEY = -1
#: So many messages are handed over before deliveries are looked at.
_STRIDE = 2048
#: How long to wait for room in a full queue before looking at deliveries again, in seconds.
_NAP = 0.1


class Publisher:
    """A producer of librdkafka. Messages to a partition keep their order; used from one thread.

    An error of any delivery is raised by the next `send` or `flush`, and by all that follow.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Make the client; it connects by itself. Raises `KafkaException` for options that librdkafka refuses."""
        self._brokers = str(config.get("bootstrap.servers", ""))
        self._failed: SinkError | None = None
        self._trouble = ""  # the last that the client reported of its connections
        self._producer: Producer | None = Producer(
            {
                **DEFAULTS,
                **config,
                "delivery.report.only.error": True,
                "on_delivery": self._on_delivery,
                "error_cb": self._on_error,
                "log_level": 0,  # what matters comes as an error
            }
        )

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Hand over one message; `timestamp` in milliseconds since the epoch, None: now. Blocks while there is no room.

        Raises `SinkError` where this message cannot be sent, or one before it was not delivered.
        """
        number = _BY_KEY if partition is None else partition
        self._send(topic, value, key, number, 0 if timestamp is None else timestamp, dict(headers or {}))
        self._poll(0)

    def send_all(
        self,
        topic: str,
        values: Iterable[bytes],
        keys: Iterable[bytes | None],
        partitions: Iterable[int],
        timestamps: Iterable[int],
    ) -> None:
        """The same for many messages: partition -1 is the one that the key asks for, timestamp 0 is now."""
        self._poll(0)
        produce = self._open.produce
        messages = zip(values, keys, partitions, timestamps, strict=False)
        for number, (value, key, partition, timestamp) in enumerate(messages, 1):
            try:
                produce(topic, value, key, partition, timestamp=timestamp)
            except (BufferError, KafkaException):
                self._send(topic, value, key, partition, timestamp, {})
            if not number % _STRIDE:
                self._poll(0)

    def flush(self, timeout: float) -> None:
        """Wait until all are acknowledged. Raises `SinkError` where one is not, or not in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and self._open.flush(min(left, 1.0)):
            self._check()
        self._check()
        if waiting := len(self._open):
            trouble = f" ({self._trouble})" if self._trouble else ""
            raise SinkError(
                f"{waiting} messages were not acknowledged by {self._brokers} within {timeout:.0f} s{trouble}",
                plugin="kafka",
                hint="check that the brokers can be reached and have enough replicas in sync; then publish again",
            )

    def close(self) -> None:
        """Let go of the client and of what is still on its way. May be called twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1.0)

    @property
    def _open(self) -> Producer:
        if self._producer is None:
            raise SinkError("the producer is closed", plugin="kafka")
        return self._producer

    def _send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        timestamp: int,
        headers: dict[str, str | bytes | None],
    ) -> None:
        while True:
            try:
                self._open.produce(topic, value, key, partition, timestamp=timestamp, headers=headers)
                return
            except BufferError:
                self._poll(_NAP)  # ends: a message that is not delivered within `message.timeout.ms` is an error
            except KafkaException as error:
                raise publishing_error(error.args[0], self._brokers, topic=topic, partition=partition) from error

    def _poll(self, timeout: float) -> None:
        self._open.poll(timeout)
        self._check()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failed is None and error.code() != KafkaError._PURGE_QUEUE:
            self._failed = publishing_error(
                error, self._brokers, topic=message.topic(), partition=message.partition(), trouble=self._trouble
            )

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = error.str()
        if self._failed is None and (error.fatal() or cause_of(error) is Cause.LOGIN):
            self._failed = publishing_error(error, self._brokers)
