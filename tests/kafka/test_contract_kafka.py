"""The datasource `kafka` keeps the promises of datasources, whether it ends or not, in every way to decode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka_broker import Broker, Record

from penrose_host.testing import DataSourceContract
from penrose_kafka.source.kafka_source import KafkaSource

ROWS = (60, 0, 55)


class KafkaContract(DataSourceContract):
    """A topic with three partitions, of 60, 0 and 55 messages, one in ten of them bad."""

    ends: ClassVar[str | None] = None
    decoder: ClassVar[dict[str, Any]] = {"format": "json"}

    @pytest.fixture(autouse=True)
    def filled(self, kafka: Broker) -> Iterator[None]:
        self.address = kafka.address
        self.topic = kafka.create_topic("contract", len(ROWS))
        self.group = f"group-of-{self.topic}"
        kafka.produce(
            self.topic,
            [
                Record(self.value(number, row), partition=number, key=f"key-{row}".encode())
                for number, count in enumerate(ROWS)
                for row in range(count)
            ],
        )
        with ExitStack() as self.others:
            yield

    def value(self, number: int, row: int) -> bytes:
        if row % 10 == 9:
            return b'{"row": '
        return json.dumps({"row": row, "of": number, "price": row / 4, "user": f"u{row % 7}"}).encode()

    def make(self) -> KafkaSource:
        options = {
            "brokers": self.address,
            "topics": self.topic,
            "end": self.ends,
            "group": self.group,
            "decoder": self.decoder,
            "metadata": {"key": "key", "timestamp": "sent"},
        }
        return KafkaSource(KafkaSource.Options(**options))

    def change(self, partition: str) -> None:
        """Somebody deletes the topic and makes it anew: its offsets begin again."""
        other = self.others.enter_context(Broker("mock"))
        other.server.create_topic(self.topic, len(ROWS))
        self.address = other.address

    def committed(self) -> Mapping[str, int]:
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": self.group})
        try:
            asked = [TopicPartition(self.topic, number) for number in range(len(ROWS))]
            found = consumer.committed(asked, timeout=30)
            unit = (1 << 20) if self.decoder["format"] == "arrow" else 1
            return {f"{self.topic}/{at.partition}": at.offset * unit for at in found if at.offset >= 0}
        finally:
            consumer.close()


class TestEndless(KafkaContract):
    patience = 0.5
    examples = 4


class TestBounded(KafkaContract):
    ends = "now"
