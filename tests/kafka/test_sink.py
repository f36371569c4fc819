"""The sink: every row is in the topic once, where and as its options say, or an error says which is not."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
import yaml
from confluent_kafka import KafkaException
from doc_blocks import ROOT, blocks
from kafka_broker import PATIENCE, REAL, Broker
from kafka_proxy import Proxy
from pydantic import ValidationError

from penrose_host.errors import ConfigError, SinkError
from penrose_kafka.client_options import Secret
from penrose_kafka.publisher import Publisher
from penrose_kafka.sink.kafka_sink import KafkaSink
from penrose_kafka.sink.options import KafkaSinkOptions

WHEN = pa.timestamp("us", "UTC")


def rows(first: int, count: int, partition: str = "p") -> pa.RecordBatch:
    """Rows numbered on from `first`, as a datasource gives them."""
    numbers = range(first, first + count)
    return pa.RecordBatch.from_pydict(
        {
            "n": pa.array(numbers, pa.int64()),
            "name": pa.array([None if n % 7 == 0 else f"é{n % 5}" for n in numbers], pa.string()),
            "when": pa.array([1_600_000_000_000_000 + n for n in numbers], WHEN),
            "_partition": pa.array([partition] * count, pa.string()),
            "_offset": pa.array(numbers, pa.int64()),
        }
    )


def publish(address: str, topic: str, *batches: pa.RecordBatch, **options: Any) -> None:
    """Write them all, and wait."""
    sink = KafkaSink(KafkaSinkOptions(brokers=address, topic=topic, **options))
    sink.open()
    try:
        for batch in batches:
            sink.write(batch)
        sink.flush()
    finally:
        sink.close()
        sink.close()


def numbers(broker: Broker, topic: str) -> dict[int, list[int]]:
    """Partition → the numbers of its rows."""
    found: dict[int, list[int]] = {}
    for message in broker.consume(topic):
        found.setdefault(message.partition() or 0, []).append(json.loads(message.value() or b"")["n"])
    return found


@pytest.mark.parametrize("kind", ["mock", "tansu"] if REAL is None else ["real"])
def test_rows_are_json_objects_without_their_origin(kind: str) -> None:
    with Broker(kind) as broker:
        topic = broker.create_topic()
        publish(broker.address, topic, rows(0, 0), rows(1, 1), rows(7, 1))
        assert [message.value() for message in broker.consume(topic)] == [
            '{"n":1,"name":"é1","when":"2020-09-13T12:26:40.000001Z"}'.encode(),
            b'{"n":7,"name":null,"when":"2020-09-13T12:26:40.000007Z"}',
        ]


def test_rows_of_a_source_partition_stay_together_and_in_order(kafka: Broker) -> None:
    topic = kafka.create_topic(partitions=3)
    publish(kafka.address, topic, rows(0, 20_000, "a"), rows(20_000, 5, "b"), rows(20_005, 5, "a"))
    found = numbers(kafka, topic)
    assert found == {0: [*range(20_000), *range(20_005, 20_010)], 1: list(range(20_000, 20_005))}


def test_partitions_change_within_a_batch(kafka: Broker) -> None:
    topic = kafka.create_topic(partitions=2)
    both = pa.Table.from_batches([rows(0, 3, "a"), rows(3, 2, "b"), rows(5, 1, "a")]).combine_chunks().to_batches()
    publish(kafka.address, topic, *both)
    assert numbers(kafka, topic) == {0: [0, 1, 2, 5], 1: [3, 4]}


def test_round_robin_gives_every_partition_the_same_and_goes_on_between_batches(kafka: Broker) -> None:
    topic = kafka.create_topic(partitions=3)
    publish(kafka.address, topic, rows(0, 4), rows(4, 5), spread="round-robin")
    assert numbers(kafka, topic) == {0: [0, 3, 6], 1: [1, 4, 7], 2: [2, 5, 8]}


def test_equal_keys_go_to_one_partition_in_order(kafka: Broker) -> None:
    topic = kafka.create_topic(partitions=3)
    publish(kafka.address, topic, rows(1, 6), rows(7, 500), key="name")
    places: dict[bytes | None, set[int | None]] = {}
    for message in kafka.consume(topic):
        value = json.loads(message.value() or b"")
        name = value["name"]
        assert message.key() == (None if name is None else name.encode())
        places.setdefault(message.key(), set()).add(message.partition())
    assert set(places) == {None, *(f"é{n}".encode() for n in range(5))}
    assert all(len(found) == 1 for key, found in places.items() if key is not None)
    assert all(found == sorted(found) for found in numbers(kafka, topic).values())


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(2), pa.dictionary(pa.int8(), pa.binary())])
def test_keys_of_bytes_are_those_bytes_text_or_not(kafka: Broker, kind: pa.DataType) -> None:
    topic = kafka.create_topic()
    keys = [b"\xff\0", None, b"ab"]
    publish(kafka.address, topic, pa.RecordBatch.from_pydict({"k": pa.array(keys).cast(kind)}), key="k")
    assert [message.key() for message in kafka.consume(topic)] == keys


def test_timestamps_come_from_a_column(kafka: Broker) -> None:
    topic = kafka.create_topic()
    publish(kafka.address, topic, rows(5_000, 3), timestamp="when")
    assert [message.timestamp()[1] for message in kafka.consume(topic)] == [1_600_000_000_005] * 3


@pytest.mark.parametrize("share", [1, 4])
def test_arrow_messages_hold_rows_as_they_are(kafka: Broker, share: int) -> None:
    topic = kafka.create_topic(partitions=2)
    publish(kafka.address, topic, rows(0, 10, "a"), rows(10, 3, "b"), format="arrow", rows_per_message=share)
    found: dict[int | None, list[pa.Table]] = {}
    for message in kafka.consume(topic):
        found.setdefault(message.partition(), []).append(pa.ipc.open_stream(message.value()).read_all())
    expected = [
        pa.Table.from_batches([batch]).drop_columns(["_partition", "_offset"])
        for batch in (rows(0, 10, "a"), rows(10, 3, "b"))
    ]
    assert [pa.concat_tables(found[partition]) for partition in (0, 1)] == expected
    assert max(len(table) for table in found[0]) == share


def test_arrow_messages_hold_no_more_of_a_dictionary_than_their_rows_need(kafka: Broker) -> None:
    topic = kafka.create_topic()
    kind = pa.dictionary(pa.int16(), pa.string(), ordered=True)
    words = pa.DictionaryArray.from_arrays(
        pa.array([9_999, None, 3], pa.int16()), pa.array([f"word {n:05}" for n in range(10_000)]), ordered=True
    )
    batch = pa.RecordBatch.from_pydict({"word": words, "n": [1, 2, 3]})
    publish(kafka.address, topic, batch, format="arrow")
    publish(kafka.address, topic, batch.slice(1), format="arrow", rows_per_message=2)
    values = [message.value() or b"" for message in kafka.consume(topic)]
    found = [pa.ipc.open_stream(value).read_all().column("word") for value in values]
    assert [column.to_pylist() for column in found] == [["word 09999"], [None], ["word 00003"], [None, "word 00003"]]
    assert {column.type for column in found} == {kind}
    assert max(map(len, values)) < 2_000


def test_the_options_of_the_page_publish(kafka: Broker) -> None:
    (text,) = (block.text for block in blocks(ROOT / "docs/kafka-dev.md") if block.language == "yaml")
    options = yaml.safe_load(text)["sink"]
    assert options.pop("name") == "kafka"
    batch = rows(0, 16).append_column("sched_dep", rows(0, 16).column("when"))
    topic = kafka.create_topic(options.pop("topic"), options["partitions"])
    publish(kafka.address, topic, batch, **{name: value for name, value in options.items() if name != "brokers"})
    assert sorted(map(len, numbers(kafka, topic).values())) == [2] * 8


@pytest.mark.parametrize("kind", ["mock", "tansu"] if REAL is None else ["real"])
def test_a_missing_topic_is_made(kind: str) -> None:
    with Broker(kind) as broker:
        topic = broker.topic_name()
        publish(broker.address, topic, rows(0, 10), partitions=None if kind == "mock" else 3, spread="round-robin")
        count = len(broker.admin.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
        assert count == (4 if kind == "mock" else 3)
        assert sum(map(len, numbers(broker, topic).values())) == 10
        if kind == "real":
            broker.admin.delete_topics([topic])[topic].result(PATIENCE)


def test_partitions_that_cannot_be_had_are_an_error() -> None:
    with Broker("mock") as broker, pytest.raises(SinkError, match="penrose kafka dev --topic new:3"):
        publish(broker.address, "new", partitions=3)


def test_connections_cut_in_mid_publishing_lose_and_double_nothing(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic(partitions=2)
    sink = KafkaSink(
        KafkaSinkOptions(
            brokers=proxy.address,
            topic=topic,
            spread="round-robin",
            client={"linger.ms": 0, "batch.num.messages": 100, "reconnect.backoff.max.ms": 100},
        )
    )
    sink.open()
    for first in range(0, 20_000, 1_000):
        sink.write(rows(first, 1_000))
        proxy.cut()
    sink.flush()
    sink.close()
    assert numbers(kafka, topic) == {0: list(range(0, 20_000, 2)), 1: list(range(1, 20_000, 2))}


def test_what_is_not_acknowledged_in_time_is_an_error(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic()
    sink = KafkaSink(KafkaSinkOptions(brokers=proxy.address, topic=topic, patience="1s"))
    sink.open()
    sink.write(rows(0, 10))
    sink.flush()
    proxy.down()
    sink.write(rows(10, 10))
    with pytest.raises(SinkError, match="not acknowledged") as raised:
        sink.flush()
    assert topic in str(raised.value)
    with pytest.raises(SinkError, match="not acknowledged"):
        sink.write(rows(20, 1))
    sink.close()
    assert numbers(kafka, topic) == {0: list(range(10))}


def test_no_broker_is_an_error_at_open() -> None:
    sink = KafkaSink(KafkaSinkOptions(brokers="127.0.0.1:1", topic="a", patience="1s"))
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:1"):
        sink.open()
    sink.close()


def test_a_row_too_large_is_an_error(kafka: Broker) -> None:
    topic = kafka.create_topic()
    large = pa.RecordBatch.from_pydict({"text": ["x" * 20_000]})
    with pytest.raises(SinkError, match=r"max\.message\.bytes"):
        publish(kafka.address, topic, large, client={"message.max.bytes": 10_000})


def test_a_full_queue_holds_the_writer_back(kafka: Broker) -> None:
    topic = kafka.create_topic()
    publish(kafka.address, topic, rows(0, 5_000), client={"queue.buffering.max.messages": 100})
    assert numbers(kafka, topic) == {0: list(range(5_000))}


def test_a_refused_login_is_an_error_before_the_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "nobody"}
    with Broker("tansu", authentication=True) as broker:
        publisher = Publisher({"bootstrap.servers": broker.address, "sasl.password": "wrong-password", **login})
        publisher.send("a", b"x")
        with pytest.raises(SinkError, match="refused the connection") as raised:
            publisher.flush(PATIENCE)
        publisher.close()
        assert "wrong-password" not in str(raised.value)
        monkeypatch.setenv("THE_PASSWORD", "wrong-password")
        with pytest.raises(SinkError, match="refused the connection") as raised:
            publish(broker.address, "a", client={**login, "sasl.password": Secret(env="THE_PASSWORD")})
        assert "wrong-password" not in str(raised.value)


def test_a_forbidden_topic_is_told_as_such() -> None:
    with Broker("mock") as broker:
        topic = broker.create_topic()
        broker.forbid(topic)
        publisher = Publisher({"bootstrap.servers": broker.address, "message.timeout.ms": 3000})
        publisher.send(topic, b"x")
        with pytest.raises(SinkError, match="WRITE") as raised:
            publisher.flush(PATIENCE)
        publisher.close()
        assert topic in str(raised.value)


def test_a_publisher_keeps_keys_and_headers(kafka: Broker) -> None:
    topic = kafka.create_topic(partitions=3)
    publisher = Publisher({"bootstrap.servers": kafka.address})
    publisher.send(
        topic, b"\0raw", b"t/0/5", {"reason": b"bad \xff", "none": None}, partition=2, timestamp=1_500_000_000_000
    )
    publisher.send(topic, None, b"tombstone", partition=2)
    publisher.flush(PATIENCE)
    publisher.close()
    first, second = kafka.consume(topic)
    assert (first.value(), first.key(), first.partition()) == (b"\0raw", b"t/0/5", 2)
    assert first.headers() == [("reason", b"bad \xff"), ("none", None)]
    assert first.timestamp()[1] == 1_500_000_000_000
    assert (second.value(), second.key()) == (None, b"tombstone")
    with pytest.raises(SinkError, match="closed"):
        publisher.send(topic, b"")


def test_a_partition_that_is_not_there_is_an_error(kafka: Broker) -> None:
    topic = kafka.create_topic()
    publisher = Publisher({"bootstrap.servers": kafka.address, "message.timeout.ms": 2000})

    def both() -> None:
        publisher.send(topic, b"x", partition=7)
        publisher.flush(PATIENCE)

    with pytest.raises(SinkError, match=f"{topic}/7"):
        both()
    publisher.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"topic": "a b"}, "no topic's name"),
        ({"topic": "."}, "no topic's name"),
        ({"spread": "key"}, "needs a `key`"),
        ({"rows_per_message": 2}, "format: arrow"),
        ({"patience": "25d"}, "less than or equal to"),
        ({"client": {"bootstrap.servers": "x"}}, "set `brokers`"),
        ({"client": {"sasl.password": "geheim"}}, "is a secret"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as raised:
        KafkaSinkOptions(**{"brokers": "b:1", "topic": "a", **options})
    assert "geheim" not in str(raised.value)


def test_client_options_that_librdkafka_refuses_are_told() -> None:
    sink = KafkaSink(KafkaSinkOptions(brokers="b:1", topic="a", client={"no.such.option": 1}))
    with pytest.raises(ConfigError, match=r"no\.such\.option"):
        sink.open()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"key": "nothing"}, "set `sink.key` to one of: n, name, when"),
        ({"timestamp": "nothing"}, "set `sink.timestamp` to one of"),
        ({"timestamp": "n"}, "no timestamp"),
    ],
)
def test_columns_that_do_not_fit_are_told(kafka: Broker, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        publish(kafka.address, kafka.create_topic(), rows(0, 1), **options)


@pytest.mark.parametrize("when", [-1, 0])
def test_times_that_are_not_after_the_beginning_of_1970_cannot_be_timestamps(kafka: Broker, when: int) -> None:
    early = pa.RecordBatch.from_pydict({"when": pa.array([when], pa.timestamp("ms"))})
    with pytest.raises(SinkError, match="not after 1970"):
        publish(kafka.address, kafka.create_topic(), early, timestamp="when")


def test_an_unknown_option_never_reaches_the_client() -> None:
    with pytest.raises(KafkaException):
        Publisher({"bootstrap.servers": "b:1", "no.such.option": 1})
