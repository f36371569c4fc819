"""Brokers for tests: a process of their own, or a real Kafka that PENROSE_TEST_KAFKA names."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from penrose_kafka.dev_broker.brokers import MockServer, Server, TansuServer

__all__ = ["REAL", "Broker", "Record"]

#: `host:port` of a real Kafka, whose topics the tests may make; None: tests start a broker of their own.
REAL = os.environ.get("PENROSE_TEST_KAFKA") or None
#: No call waits longer than this, in seconds.
PATIENCE = 30.0
_NAMES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Record:
    """One message to produce: `timestamp` in milliseconds since the epoch, None: the producer's clock."""

    value: bytes | None
    key: bytes | None = None
    partition: int = 0
    timestamp: int | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Broker:
    """A broker: `address` is what clients connect to, `kind` mock, tansu or real. A context manager.

    All topics get names that no other test has, because a real Kafka is shared.
    """

    def __init__(self, kind: str | None = None, *, authentication: bool = False) -> None:
        """Start one: mock or tansu; None: the real Kafka where one is named, else mock."""
        self.kind = kind or ("real" if REAL else "mock")
        self._authentication = authentication
        self._server: Server | None = None
        self._admin: AdminClient | None = None
        self.address = REAL or ""
        self._topics: list[str] = []
        if self.kind != "real":
            self._start()

    def _start(self, port: int | None = None) -> None:
        if self.kind == "mock":
            self._server = MockServer(port)
        else:
            self._server = TansuServer(port, authentication=self._authentication)
        self.address = self._server.address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
        elif self._topics:
            for done in self.admin.delete_topics(self._topics, operation_timeout=PATIENCE).values():
                done.result(PATIENCE)

    @property
    def admin(self) -> AdminClient:
        """A client for questions and orders."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        return self._admin

    @property
    def server(self) -> Server:
        """The process; fails for a real Kafka."""
        assert self._server is not None, "a real Kafka is not ours to touch: go through a Proxy"
        return self._server

    # -- topics --------------------------------------------------------------------------------

    def topic_name(self, stem: str = "topic") -> str:
        """A name that no topic has; `stem` is its beginning."""
        return f"{stem}-{os.getpid()}-{next(_NAMES)}-{secrets.token_hex(4)}"

    def create_topic(self, stem: str = "topic", partitions: int = 1, **config: str) -> str:
        """Make a topic and return its name, once clients see it. `config`: its settings (a real Kafka only)."""
        name = self.topic_name(stem)
        if self._server is not None:
            self._server.create_topic(name, partitions)
            return name
        # `max_message_bytes` → `max.message.bytes`
        settings = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(PATIENCE)
        self._topics.append(name)
        deadline = time.monotonic() + PATIENCE
        while len(self.admin.list_topics(name, timeout=PATIENCE).topics[name].partitions) < partitions:
            assert time.monotonic() < deadline, f"{name} does not show up"
        return name

    # -- messages ------------------------------------------------------------------------------

    def produce(self, topic: str, records: Iterable[Record | bytes], **config: Any) -> list[tuple[int, int]]:
        """Publish in this order and wait; returns (partition, offset) of each. Bytes go to partition 0.

        The last message of each partition goes in a batch of its own: tansu answers with an end offset that is one
        behind the first message of the last batch.
        """
        listed = [record if isinstance(record, Record) else Record(record) for record in records]
        placed: list[tuple[int, int]] = [(-1, -1)] * len(listed)
        failed: list[str] = []
        settings = {
            "bootstrap.servers": self.address,
            "linger.ms": 5,
            "log_level": 0,
            "enable.idempotence": True,
            **config,
        }
        producer = Producer(settings)
        last = {record.partition: number for number, record in enumerate(listed)}

        def send(number: int, record: Record) -> None:
            def delivered(error: Any, message: Message) -> None:
                if error is not None:
                    failed.append(error.str())
                else:
                    placed[number] = (record.partition, message.offset() or 0)

            optional: dict[str, Any] = {} if record.timestamp is None else {"timestamp": record.timestamp}
            while True:
                try:
                    producer.produce(
                        topic,
                        value=record.value,
                        key=record.key,
                        partition=record.partition,
                        headers=list(record.headers),
                        on_delivery=delivered,
                        **optional,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)

        for number, record in enumerate(listed):
            if last[record.partition] != number:
                send(number, record)
        assert producer.flush(PATIENCE) == 0, "messages are still on their way"
        for number in sorted(last.values()):
            send(number, listed[number])
        assert producer.flush(PATIENCE) == 0, "messages are still on their way"
        assert not failed, failed[:3]
        return placed

    def consume(self, topic: str, **config: Any) -> list[Message]:
        """All messages that are in the topic now, partition by partition, from the earliest on."""
        partitions = sorted(self.admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "tests",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                **config,
            }
        )
        found: list[Message] = []
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
            open_ones = set(partitions)
            deadline = time.monotonic() + PATIENCE
            while open_ones:
                assert time.monotonic() < deadline, f"no end of {topic}, partitions {sorted(open_ones)}"
                for message in consumer.consume(10_000, 0.1):
                    if (error := message.error()) is None:
                        found.append(message)
                    elif error.name() == "_PARTITION_EOF":
                        open_ones.discard(message.partition())
                    elif not error.retriable():
                        raise KafkaException(error)
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def offsets(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """The first offset that is left, and the next one to be written."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "tests", "log_level": 0})
        try:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=PATIENCE)
        finally:
            consumer.close()
        return first, end

    def counts(self, messages: Sequence[Message]) -> Counter[int]:
        """How many messages of each partition."""
        return Counter(message.partition() or 0 for message in messages)

    # -- faults --------------------------------------------------------------------------------

    @property
    def can_expire(self) -> bool:
        """Whether `expire` can be used: mock and real."""
        return self.kind != "tansu"

    @property
    def knows_times(self) -> bool:
        """Whether a start at a timestamp finds its offset: a real Kafka only; mock says the end, tansu the start."""
        return self.kind == "real"

    def expire(self, topic: str, partition: int, before: int) -> None:
        """Let offsets below `before` expire. Mock drops whole batches only: end one there (`produce` twice)."""
        if isinstance(self._server, MockServer):
            self._server.order("delete_records", topic, partition, before)
        else:
            place = TopicPartition(topic, partition, before)
            self.admin.delete_records([place])[place].result(PATIENCE)
        assert self.offsets(topic, partition)[0] == before

    def forbid(self, topic: str, *, again: bool = False) -> None:
        """From now on nobody may use the topic (TOPIC_AUTHORIZATION_FAILED); `again`: they may. Mock only."""
        assert isinstance(self._server, MockServer)
        self._server.order("refuse_topic", topic, 0 if again else KafkaError.TOPIC_AUTHORIZATION_FAILED)

    def stop(self) -> None:
        """The process does nothing any more (SIGSTOP): connections stay open and silent, until `go_on`."""
        self.server.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `stop`."""
        self.server.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, with all it held; `restart` brings back an empty one."""
        self.server.stop()

    def restart(self) -> None:
        """After `kill`: an empty broker; of tansu at the same address, of mock at another."""
        self._admin = None
        self._start(int(self.address.rpartition(":")[2]) if self.kind == "tansu" else None)

    def down(self) -> None:
        """Cut every connection and refuse new ones, keeping the data (mock only; of others a Proxy does it)."""
        assert isinstance(self._server, MockServer)
        self._server.order("down")

    def up(self) -> None:
        """After `down`."""
        assert isinstance(self._server, MockServer)
        self._server.order("up")
