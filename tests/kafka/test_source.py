"""The datasource `kafka` while it runs: lag, pausing, commits."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka_broker import Broker
from kafka_collecting import (
    ARROW,
    PATIENCE,
    UNIT,
    Read,
    numbered,
    opened,
    to_the_end,
)

from penrose_host.contracts.batch import Position
from penrose_host.contracts.datasource import EndOfStream


@pytest.mark.parametrize("end", [None, "now"])
def test_lag_counts_down_to_nothing_by_partition(kafka: Broker, topic: str, end: str | None) -> None:
    with opened(kafka.address, topic, end=end) as source:
        lags = []
        read = Read()
        while read.count < 15:
            if (chunk := source.read(4, 0.1)) is not None:
                read.add(chunk)
                if (lag := source.lag()) is not None:
                    lags.append(lag.rows)
                    assert lag.rows == sum(lag.partitions.values())
                    for name, behind in lag.partitions.items():
                        assert behind == {f"{topic}/0": 10, f"{topic}/2": 5}.get(name, 0) - len(read.rows[name])
        deadline = time.monotonic() + PATIENCE
        while (lag := source.lag()) is None or lag.rows:
            assert time.monotonic() < deadline
            if end is None:
                source.read(4, 0.1)
        assert lag.partitions == {f"{topic}/{number}": 0 for number in range(3)}
    assert lags == sorted(lags, reverse=True)


def test_pausing_and_resuming_at_every_read_loses_nothing(kafka: Broker) -> None:
    topic = kafka.create_topic("pauses", 2)
    kafka.produce(topic, [r for part in range(2) for r in numbered(500, part * 1000, part)])
    with opened(kafka.address, topic, end="now") as source:
        read, turn = Read(), 0
        while True:
            paused = f"{topic}/{turn % 2}"
            source.pause([paused] if turn % 3 else [])
            before = len(read.rows[paused])
            try:
                chunk = source.read(37, 0.1)
            except EndOfStream:
                break
            if chunk is not None:
                read.add(chunk)
            if turn % 3:
                assert len(read.rows[paused]) == before
            turn += 1
            assert turn < 1000
    assert read.offsets() == {f"{topic}/{part}": list(range(500)) for part in range(2)}


def committed(kafka: Broker, group: str, topic: str, partitions: int) -> dict[str, int]:
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": group})
    try:
        asked = [TopicPartition(topic, number) for number in range(partitions)]
        return {f"{topic}/{at.partition}": at.offset for at in consumer.committed(asked, timeout=30) if at.offset >= 0}
    finally:
        consumer.close()


def test_what_is_durable_is_committed_in_messages(kafka: Broker, topic: str, arrow: str) -> None:
    group = f"group-{topic}"
    with opened(kafka.address, topic, group=group) as source:
        source.commit(Position(source.source_id, {f"{topic}/0": 7}))
        assert committed(kafka, group, topic, 3) == {f"{topic}/0": 7}
        source.commit(Position(source.source_id, {f"{topic}/0": 9, f"{topic}/2": 1}))
        assert committed(kafka, group, topic, 3) == {f"{topic}/0": 9, f"{topic}/2": 1}
    with opened(kafka.address, arrow, group=group, decoder=ARROW) as source:
        source.commit(Position(source.source_id, {f"{arrow}/0": 4 * UNIT + 5}))
    assert committed(kafka, group, arrow, 2) == {f"{arrow}/0": 4}


def test_without_a_group_nothing_is_committed(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, group=None) as source:
        source.commit(Position(source.source_id, {f"{topic}/0": 7}))
    assert committed(kafka, "penrose", topic, 3) == {}


def test_what_is_committed_is_not_where_a_run_starts(kafka: Broker, topic: str) -> None:
    group = f"group-{topic}"
    with opened(kafka.address, topic, group=group) as source:
        source.commit(Position(source.source_id, {f"{topic}/0": 7}))
    with opened(kafka.address, topic, group=group, end="now") as source:
        assert to_the_end(source).count == 15


def test_no_more_messages_are_asked_for_than_the_client_takes(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, end="now") as source:
        assert to_the_end(source, max_rows=5_000_000).count == 15
