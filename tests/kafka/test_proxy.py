"""The proxy between clients and a broker does what tests of faults rely on; and so do the brokers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_broker import PATIENCE, REAL, Broker, Record
from kafka_proxy import Proxy

UNREACHABLE = re.compile("transport|timed out", re.IGNORECASE)
VALUES = [b"%06d" % number + bytes(994) for number in range(2000)]


@contextmanager
def reading(address: str, topic: str, **config: object) -> Iterator[Callable[[int], list[Message]]]:
    """A consumer of partition 0 from its start; call it for the next so many messages."""
    settings = {"bootstrap.servers": address, "group.id": "tests", "auto.offset.reset": "error"}
    consumer = Consumer({**settings, "reconnect.backoff.max.ms": 100, "log_level": 0, **config})
    consumer.assign([TopicPartition(topic, 0, 0)])

    def read(count: int) -> list[Message]:
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} messages"
            for message in consumer.consume(count - len(found), 0.1):
                if message.error() is None:
                    found.append(message)
        return found

    try:
        yield read
    finally:
        consumer.close()


def test_nothing_goes_past_the_proxy_and_nothing_is_changed(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, VALUES)
    with reading(proxy.address, topic) as read:
        messages = read(len(VALUES))
    assert [message.value() for message in messages] == VALUES
    assert proxy.connections >= 1
    assert proxy.fetched > len(VALUES) * 1000
    brokers = AdminClient({"bootstrap.servers": proxy.address}).list_topics(timeout=PATIENCE).brokers
    assert all(broker.host == "127.0.0.1" for broker in brokers.values())
    assert f"127.0.0.1:{next(iter(brokers.values())).port}" != kafka.address


def test_a_connection_cut_in_mid_fetch_costs_no_message(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic()
    kafka.produce(topic, VALUES)
    proxy.cut_after(700_000)
    with reading(proxy.address, topic) as read:
        proxy.wait_for_cut()
        proxy.cut_after(700_000)  # of the 1.3 MB that are left, at least
        proxy.wait_for_cut()
        found = read(len(VALUES))
    assert [message.offset() for message in found] == list(range(len(VALUES)))
    assert [message.value() for message in found] == VALUES


def test_a_cut_and_refused_client_comes_back(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic()
    kafka.produce(topic, VALUES[:10])
    with reading(proxy.address, topic) as read:
        read(10)
        proxy.down()
        connections = proxy.connections
        with pytest.raises(Exception, match=UNREACHABLE):
            AdminClient({"bootstrap.servers": proxy.address, "log_level": 0}).list_topics(timeout=0.3)
        assert proxy.connections == connections
        kafka.produce(topic, VALUES[10:20])
        proxy.go_on()
        assert [message.value() for message in read(10)] == VALUES[10:20]


def test_a_hanging_proxy_goes_on_where_it_was(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic()
    kafka.produce(topic, VALUES[:10])
    with reading(proxy.address, topic) as read:
        read(10)
        proxy.hang()
        kafka.produce(topic, VALUES[10:20])
        with pytest.raises(Exception, match=UNREACHABLE):
            AdminClient({"bootstrap.servers": proxy.address, "log_level": 0}).list_topics(timeout=0.3)
        proxy.go_on()
        assert [message.value() for message in read(10)] == VALUES[10:20]


def test_partitions_can_be_added_under_a_client(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic(partitions=4)
    proxy.show_partitions(topic, 2)
    client = AdminClient({"bootstrap.servers": proxy.address})
    assert sorted(client.list_topics(topic, timeout=PATIENCE).topics[topic].partitions) == [0, 1]
    proxy.show_partitions(topic, 4)
    assert sorted(client.list_topics(topic, timeout=PATIENCE).topics[topic].partitions) == [0, 1, 2, 3]


def test_times_are_looked_up(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic()
    stamps = [1_600_000_000_000 + 1000 * number for number in range(20)]
    kafka.produce(topic, [Record(b"x", timestamp=stamp) for stamp in stamps])
    if not kafka.knows_times:
        proxy.answer_times(topic, 0, stamps)
    consumer = Consumer({"bootstrap.servers": proxy.address, "group.id": "tests"})
    asked = [stamps[0] - 5, stamps[7], stamps[7] + 1, stamps[-1] + 1]
    found = [
        consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=PATIENCE)[0].offset for stamp in asked
    ]
    ends = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=PATIENCE)
    consumer.close()
    assert found == [0, 7, 8, -1]
    assert ends == (0, 20)


def test_expired_offsets_are_out_of_range(kafka: Broker) -> None:
    topic = kafka.create_topic()
    kafka.produce(topic, VALUES[:10])
    kafka.produce(topic, VALUES[10:20])
    kafka.expire(topic, 0, 10)
    assert kafka.offsets(topic) == (10, 20)
    consumer = Consumer(
        {"bootstrap.servers": kafka.address, "group.id": "tests", "auto.offset.reset": "error", "log_level": 0}
    )
    consumer.assign([TopicPartition(topic, 0, 3)])
    message = consumer.poll(PATIENCE)
    assert message is not None
    assert message.error() is not None
    assert message.error().name() == "_AUTO_OFFSET_RESET"
    consumer.close()


@pytest.mark.parametrize("kind", ["mock", "tansu"] if REAL is None else ["real"])
def test_a_broker_keeps_what_it_is_given(kind: str) -> None:
    records = [
        Record(b"v%d" % n, b"k%d" % n if n % 2 else None, n % 3, 1_600_000_000_000 + n, (("h", b"\0"), ("n", None)))
        for n in range(999)
    ]
    with Broker(kind) as broker:
        topic = broker.create_topic(partitions=3)
        placed = broker.produce(topic, records)
        assert sorted(placed) == [(partition, offset) for partition in range(3) for offset in range(333)]
        assert [broker.offsets(topic, partition) for partition in range(3)] == [(0, 333)] * 3
        found = {(m.partition(), m.offset()): m for m in broker.consume(topic)}
        assert len(found) == 999
        for place, record in zip(placed, records, strict=True):
            message = found[place]
            assert (message.value(), message.key()) == (record.value, record.key)
            assert message.timestamp()[1] == record.timestamp
            assert tuple(message.headers()) == record.headers


@pytest.mark.parametrize("kind", ["mock", "tansu"])
def test_a_stopped_broker_is_silent_and_goes_on(kind: str) -> None:
    with Broker(kind) as broker:
        topic = broker.create_topic()
        broker.produce(topic, VALUES[:10])
        with reading(broker.address, topic) as read:
            read(10)
            broker.stop()
            with pytest.raises(Exception, match=UNREACHABLE):
                AdminClient({"bootstrap.servers": broker.address, "log_level": 0}).list_topics(timeout=0.3)
            broker.go_on()
            broker.produce(topic, VALUES[10:20])
            assert len(read(10)) == 10


def test_a_mock_cluster_that_was_down_still_has_its_messages() -> None:
    with Broker("mock") as broker:
        topic = broker.create_topic()
        broker.produce(topic, VALUES[:10])
        with reading(broker.address, topic) as read:
            read(5)
            broker.down()
            with pytest.raises(Exception, match=UNREACHABLE):
                AdminClient({"bootstrap.servers": broker.address, "log_level": 0}).list_topics(timeout=0.3)
            broker.up()
            broker.produce(topic, VALUES[10:20])
            assert [message.offset() for message in read(15)] == list(range(5, 20))
