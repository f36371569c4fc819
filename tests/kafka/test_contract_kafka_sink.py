"""The sink `kafka` keeps the promises of sinks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa
import pytest
from kafka_broker import Broker

from penrose_host.testing.sinks import SinkContract
from penrose_kafka.sink.kafka_sink import KafkaSink
from penrose_kafka.sink.options import KafkaSinkOptions


class TestKafkaSinkJson(SinkContract):
    """JSON messages, in a topic of one partition."""

    format: ClassVar[str] = "json"

    @pytest.fixture(autouse=True)
    def empty_topic(self, kafka: Broker) -> None:
        self.kafka = kafka
        self.topic = kafka.create_topic()

    def make(self) -> KafkaSink:
        options = {"brokers": self.kafka.address, "topic": self.topic, "format": self.format}
        return KafkaSink(KafkaSinkOptions.model_validate(options))

    def written(self) -> Sequence[int]:
        return [json.loads(message.value() or b"")["row"] for message in self.kafka.consume(self.topic)]


class TestKafkaSinkArrow(TestKafkaSinkJson):
    """Arrow messages."""

    format = "arrow"

    def written(self) -> Sequence[int]:
        tables = [pa.ipc.open_stream(message.value()).read_all() for message in self.kafka.consume(self.topic)]
        return [row for table in tables for row in table.column("row").to_pylist()]
