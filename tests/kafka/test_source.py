"""The datasource `kafka` by itself: where it starts and ends, what a resumed run goes on with, columns, commits."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given, strategies as st
from kafka_broker import Broker, Record
from kafka_proxy import Proxy

from penrose_host.contracts.batch import OFFSET, PARTITION, Chunk, Position, Reject
from penrose_host.contracts.datasource import EndOfStream
from penrose_host.errors import SourceError, WrongStream
from penrose_kafka.source.chunk_splitter import ChunkSplitter
from penrose_kafka.source.kafka_source import KafkaSource

PATIENCE = 30.0
UNIT = 1 << 20


class Read:
    """Everything that a source gave: rows and rejects by partition, in order."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.rejects: list[Reject] = []
        self.schema: dict[str, pa.DataType] = {}
        self.longest = 0

    def add(self, chunk: Any) -> None:
        self.longest = max(self.longest, chunk.batch.num_rows + len(chunk.rejects))
        self.schema |= {field.name: field.type for field in chunk.batch.schema}
        for row in chunk.batch.to_pylist():
            self.rows[row[PARTITION]].append(row)
        self.rejects += chunk.rejects
        assert chunk.raw is None or len(chunk.raw) == chunk.batch.num_rows

    def offsets(self) -> dict[str, list[int]]:
        return {name: [row[OFFSET] for row in rows] for name, rows in self.rows.items()}

    def values(self, column: str = "n") -> list[Any]:
        return [row[column] for name in sorted(self.rows) for row in self.rows[name]]

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values())) + len(self.rejects)


@contextmanager
def opened(
    address: str,
    topics: str | list[str],
    position: Mapping[str, int] | None = None,
    stamps: Mapping[str, str] | None = None,
    bound: str | Mapping[str, int] | None = None,
    **options: Any,
) -> Iterator[KafkaSource]:
    """A source as a run opens it; `stamps`: of the checkpoint that it goes on from."""
    source = KafkaSource(KafkaSource.Options(brokers=address, topics=topics, **{"group": None, **options}))
    try:
        if stamps is not None:
            source.expect(stamps)
        if bound is not None:
            source.bound(bound)
        source.open({**dict.fromkeys(source.partitions()), **(position or {})})
        yield source
    finally:
        source.close()


def to_the_end(source: KafkaSource, read: Read | None = None, max_rows: int = 1000) -> Read:
    read = read or Read()
    deadline = time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < deadline, f"no end after {read.count} rows, ended: {source.ended()}"
        try:
            chunk = source.read(max_rows, 0.1)
        except EndOfStream:
            return read
        if chunk is not None:
            read.add(chunk)


def so_many(source: KafkaSource, count: int, max_rows: int = 1000) -> Read:
    """Read until so many rows and rejects came, and see that no more does at once."""
    read = Read()
    deadline = time.monotonic() + PATIENCE
    while read.count < count:
        assert time.monotonic() < deadline, f"{read.count} of {count} rows"
        if (chunk := source.read(max_rows, 0.1)) is not None:
            read.add(chunk)
    assert read.count == count
    assert source.read(max_rows, 0.2) is None
    return read


def numbered(count: int, first: int = 0, partition: int = 0) -> list[Record]:
    return [Record(b'{"n": %d}' % n, partition=partition) for n in range(first, first + count)]


@pytest.fixture
def topic(kafka: Broker) -> str:
    """Ten messages in partition 0, none in 1, five in 2."""
    name = kafka.create_topic("source", 3)
    kafka.produce(name, numbered(10) + numbered(5, 100, 2))
    return name


# -- starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "first"), [("earliest", [0, 0]), ("latest", [10, 5]), ({"0": 7}, [7, 0]), ({"0": 10, "2": 4}, [10, 4])]
)
def test_a_new_run_starts_where_it_is_told(kafka: Broker, topic: str, start: Any, first: list[int]) -> None:
    if isinstance(start, dict):
        start = {f"{topic}/{number}": offset for number, offset in start.items()}
    with opened(kafka.address, topic, start=start, end="now") as source:
        found = to_the_end(source).offsets()
    expected = {f"{topic}/0": list(range(first[0], 10)), f"{topic}/2": list(range(first[1], 5))}
    assert found == {name: offsets for name, offsets in expected.items() if offsets}


def test_times_are_where_a_run_starts_and_ends(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("times", 2)
    stamps = [1_700_000_000_000 + 1000 * n for n in range(10)]
    kafka.produce(topic, [Record(b'{"n": %d}' % n, partition=0, timestamp=at) for n, at in enumerate(stamps)])
    proxy.answer_times(topic, 0, stamps)
    proxy.answer_times(topic, 1, [])
    # 22:13:23 and a microsecond: the first message at or after it is that of :24.
    with opened(
        proxy.address, topic, start="2023-11-14T22:13:23.000001Z", end="2023-11-14T22:13:27Z", discover="1s"
    ) as source:
        assert to_the_end(source).values() == [4, 5, 6]
    with opened(proxy.address, topic, start="2023-11-14T22:13:26Z", end="2100-01-01") as source:
        assert to_the_end(source).values() == [6, 7, 8, 9]
    with opened(proxy.address, topic, start="1969-12-31T23:59:59.999Z", end="now") as source:
        assert to_the_end(source).values() == list(range(10))
    with opened(proxy.address, topic, start="2100-01-01", end="now") as source:
        assert to_the_end(source).count == 0


def test_offsets_that_are_not_there_are_an_error_that_says_which_are(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match=r"`datasource\.start` is offset 11 of .*/0, which ends at 10") as caught,
        opened(kafka.address, topic, start={f"{topic}/0": 11}),
    ):
        pass
    assert "from 0 to 10" in (caught.value.hint or "")
    assert (caught.value.partition, caught.value.offset) == (f"{topic}/0", 11)
    with pytest.raises(WrongStream, match="offset 11"), opened(kafka.address, topic, {f"{topic}/0": 11}):
        pass


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("name", ["{}/3", "{}/x", "{}", "other/0"])
def test_partitions_that_are_not_there_are_named(kafka: Broker, topic: str, place: str, name: str) -> None:
    name = name.format(topic)
    with pytest.raises(SourceError) as caught, opened(kafka.address, topic, **{place: {name: 1}}):
        pass
    assert f"`datasource.{place}` names {name}," in caught.value.message
    assert f"{topic}/0" in (caught.value.hint or "")


def test_a_bound_that_names_another_partition_says_so(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match=r"`until\.stream` names other/0"),
        opened(kafka.address, topic, bound={"other/0": 1}),
    ):
        pass


def test_offsets_that_expired_are_an_error_or_passed_over(kafka: Broker) -> None:
    topic = kafka.create_topic("expired")
    kafka.produce(topic, numbered(10))
    kafka.produce(topic, numbered(10, 10))
    kafka.expire(topic, 0, 10)
    with (
        pytest.raises(SourceError, match=r"the messages 3 to 9 any more.*left are 10 to 19") as caught,
        opened(kafka.address, topic, {f"{topic}/0": 3}),
    ):
        pass
    assert "expired=skip" in (caught.value.hint or "")
    for position, start in (({f"{topic}/0": 3}, "earliest"), (None, {f"{topic}/0": 3})):
        with opened(kafka.address, topic, position, start=start, expired="skip", end="now") as source:
            assert to_the_end(source).values() == list(range(10, 20))


# -- resume ---------------------------------------------------------------------------------------


def test_what_arrives_between_two_lives_that_start_at_latest_is_not_lost(kafka: Broker) -> None:
    topic = kafka.create_topic("quiet", 2)
    kafka.produce(topic, numbered(3))
    with opened(kafka.address, topic, start="latest") as source:
        assert source.read(10, 0.1) is None
        stamps = dict(source.stamps())
    assert stamps.keys() == {f"{topic}/0", f"{topic}/1"}
    kafka.produce(topic, numbered(4, 3) + numbered(2, 50, 1))
    with opened(kafka.address, topic, stamps=stamps, start="latest", end="now") as source:
        assert to_the_end(source).offsets() == {f"{topic}/0": [3, 4, 5, 6], f"{topic}/1": [0, 1]}
        assert json.loads(source.stamps()[f"{topic}/0"])["start"] == 3


def test_a_position_names_some_partitions_and_stamps_tell_of_the_others(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, start={f"{topic}/2": 3}) as source:
        so_many(source, 12)
        stamps = dict(source.stamps())
    with opened(kafka.address, topic, {f"{topic}/0": 8}, stamps, start="latest", end="now") as source:
        assert to_the_end(source).offsets() == {f"{topic}/0": [8, 9], f"{topic}/2": [3, 4]}


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"cluster": 1}', '{"cluster": "", "start": "x"}'])
def test_a_stamp_of_something_else_is_refused(kafka: Broker, topic: str, text: str) -> None:
    with pytest.raises(WrongStream, match=f"{topic}/0"), opened(kafka.address, topic, stamps={f"{topic}/0": text}):
        pass


def test_another_cluster_and_a_partition_that_is_gone_are_refused(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match="of the cluster elsewhere"),
        opened(kafka.address, topic, stamps={f"{topic}/0": '{"cluster": "elsewhere", "start": 0}'}),
    ):
        pass
    with (
        pytest.raises(SourceError, match=f"{topic}/7 was read before"),
        opened(kafka.address, topic, stamps={f"{topic}/7": '{"cluster": "", "start": 0}'}),
    ):
        pass


def test_two_topics_keep_their_partitions_apart(kafka: Broker) -> None:
    one, two = kafka.create_topic("one", 2), kafka.create_topic("two", 3)
    for number, topic in enumerate((one, two)):
        kafka.produce(topic, [r for p in range(2) for r in numbered(30, number * 1000 + p * 100, p)])
    with opened(kafka.address, [one, two], end="now", metadata={"topic": "of", "partition": "part"}) as source:
        read = to_the_end(source, max_rows=7)
    assert read.longest <= 7
    for number, topic in enumerate((one, two)):
        for p in range(2):
            rows = read.rows[f"{topic}/{p}"]
            assert [row["n"] for row in rows] == list(range(number * 1000 + p * 100, number * 1000 + p * 100 + 30))
            assert {(row["of"], row["part"]) for row in rows} == {(topic, p)}


def test_a_topic_that_appears_under_an_expression_is_read_from_its_beginning(kafka: Broker) -> None:
    stem = kafka.topic_name("grows")
    first = kafka.create_topic(f"{stem}-a")
    kafka.create_topic("other-" + stem)
    kafka.produce(first, numbered(3))
    with opened(kafka.address, f"^{stem}", start="latest", discover="100ms") as source:
        assert source.partitions() == [f"{first}/0"]
        assert source.read(10, 0.1) is None
        second = kafka.create_topic(f"{stem}-b", 2)
        kafka.produce(second, numbered(4, 10) + numbered(2, 20, 1))
        deadline = time.monotonic() + PATIENCE
        while len(names := source.partitions()) < 3:
            assert time.monotonic() < deadline
        source.open(dict.fromkeys(names))
        assert so_many(source, 6).values() == [10, 11, 12, 13, 20, 21]
        stamps = dict(source.stamps())
    assert stamps.keys() == {f"{first}/0", f"{second}/0", f"{second}/1"}
    # And one that appears between two lives, whatever `start` says.
    third = kafka.create_topic(f"{stem}-c")
    kafka.produce(third, numbered(2, 30))
    position = {f"{second}/0": 4, f"{second}/1": 2}
    with opened(kafka.address, f"^{stem}", position, stamps, start="latest", end="now") as source:
        assert to_the_end(source).values() == [30, 31]


def test_an_expression_means_neither_internal_topics_nor_the_run_s_own_letters(kafka: Broker) -> None:
    stem = kafka.topic_name("meant")
    topic, dead, inner = (kafka.create_topic(f"{before}{stem}{behind}") for before, behind in
                          (("", "-a"), ("", "-dead"), ("__", "")))  # fmt: skip
    options = {"discover": "1s", "dead_letter_topic": dead}
    with opened(kafka.address, f"^.*{stem}", **options) as source:
        assert source.partitions() == [f"{topic}/0"]
    with opened(kafka.address, f"^__{stem}") as source:
        assert source.partitions() == [f"{inner}/0"]


def test_an_expression_that_means_nothing_is_an_error(kafka: Broker) -> None:
    with pytest.raises(SourceError, match=r"no topic of .* matches"), opened(kafka.address, "^nothing-is-called-so$"):
        pass


# -- ends -----------------------------------------------------------------------------------------


def test_the_end_is_what_is_there_as_the_run_starts(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, end="now") as source:
        kafka.produce(topic, numbered(5, 10) + numbered(5, 0, 1))
        read = to_the_end(source)
        assert set(source.ended()) == {f"{topic}/{number}" for number in range(3)}
    assert {name: len(offsets) for name, offsets in read.offsets().items()} == {f"{topic}/0": 10, f"{topic}/2": 5}


def test_the_end_is_an_offset_by_partition_and_of_the_others_what_is_there(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, end={f"{topic}/0": 4}) as source:
        assert to_the_end(source, max_rows=3).offsets() == {f"{topic}/0": [0, 1, 2, 3], f"{topic}/2": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize("end", [0, 3])
def test_an_end_before_the_start_is_the_end_at_once(kafka: Broker, topic: str, end: int) -> None:
    with opened(kafka.address, topic, {f"{topic}/0": 3, f"{topic}/2": 5}, end={f"{topic}/0": end}) as source:
        with pytest.raises(EndOfStream):
            source.read(10, 0.1)
        assert source.lag().rows == 0


def test_an_empty_topic_ends_at_once(kafka: Broker) -> None:
    with opened(kafka.address, kafka.create_topic("empty", 4), end="now") as source, pytest.raises(EndOfStream):
        source.read(10, 0.1)


def test_the_first_of_two_bounds_is_the_end(kafka: Broker, topic: str) -> None:
    part = f"{topic}/0"
    for end, bound in (({part: 4}, "now"), ("now", {part: 4}), ({part: 4}, {part: 8}), ({part: 8}, {part: 4})):
        with opened(kafka.address, topic, end=end, bound=bound) as source:
            assert to_the_end(source).offsets()[part] == [0, 1, 2, 3]


def test_a_bound_ends_an_endless_stream_for_this_run(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, bound="now") as source:
        kafka.produce(topic, numbered(5, 10))
        assert to_the_end(source).count == 15


def test_a_gap_before_the_bound_does_not_hide_it(kafka: Broker) -> None:
    topic = kafka.create_topic("gap")
    kafka.produce(topic, numbered(5))
    kafka.produce(topic, numbered(5, 5))
    kafka.expire(topic, 0, 5)
    # What the bound is before does not exist any more, nor what is in front of it.
    with opened(kafka.address, topic, end={f"{topic}/0": 3}, expired="skip") as source:
        assert to_the_end(source).count == 0


@pytest.mark.parametrize("tombstones", ["bad", "ignore"])
def test_tombstones_at_the_end_are_not_waited_for(kafka: Broker, tombstones: str) -> None:
    topic = kafka.create_topic("tombs")
    kafka.produce(topic, [*numbered(3), Record(None, key=b"k"), Record(None)])
    decoder = {"format": "json", "tombstones": tombstones}
    with opened(kafka.address, topic, end="now", decoder=decoder, metadata={"key": "k"}) as source:
        read = to_the_end(source)
    assert read.values() == [0, 1, 2]
    assert [(r.offset, r.raw) for r in read.rejects] == ([(3, b""), (4, b"")] if tombstones == "bad" else [])


# -- metadata -------------------------------------------------------------------------------------


def test_what_kafka_keeps_beside_a_value_becomes_columns(kafka: Broker) -> None:
    topic = kafka.create_topic("beside")
    at = 1_700_000_000_123
    headers = [
        (),
        (("h", b"one"),),
        (("h", b"one"), ("x", b"?"), ("h", "zwei €".encode())),
        (("h", None),),
        (("h", b""),),
    ]
    keys = [None, b"", "schlüssel".encode(), b"k", b"k"]
    records = [
        Record(b'{"n": %d}' % n, key=key, timestamp=at + n, headers=given)
        for n, (key, given) in enumerate(zip(keys, headers, strict=True))
    ]
    records += [
        Record(b'{"n": 5}', key=b"\xff\xfe"),
        Record(b'{"n": 6}', headers=(("h", b"\xff"),)),
        Record(b'{"n": 7}', headers=(("x", b"\xff"),), timestamp=at),
    ]
    kafka.produce(topic, records)
    names = {"key": "k", "timestamp": "at", "topic": "of", "partition": "p", "offset": "o", "headers": {"h": "head"}}
    with opened(kafka.address, topic, end="now", metadata=names) as source:
        read = to_the_end(source)
    rows = read.rows[f"{topic}/0"]
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4, 7]
    assert [row["k"] for row in rows] == [None, "", "schlüssel", "k", "k", None]
    assert [row["head"] for row in rows] == [None, "one", "zwei €", None, "", None]
    assert [row["o"] for row in rows] == [row[OFFSET] for row in rows] == [0, 1, 2, 3, 4, 7]
    assert {(row["of"], row["p"]) for row in rows} == {(topic, 0)}
    assert read.schema["at"] == pa.timestamp("ms", "UTC")
    assert [int(row["at"].timestamp() * 1000 + 0.5) for row in rows] == [at, at + 1, at + 2, at + 3, at + 4, at]
    assert [reject.offset for reject in read.rejects] == [5, 6]
    assert "the key is not UTF-8" in read.rejects[0].reason
    assert "the header 'h' is not UTF-8" in read.rejects[1].reason
    assert read.rejects[1].raw == b'{"n": 6}'


# -- decoders -------------------------------------------------------------------------------------


def ipc(table: pa.Table, rows: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


@given(
    st.lists(st.lists(st.sampled_from("rx"), max_size=30), min_size=1, max_size=3),
    st.integers(1, 12),
    st.sets(st.integers(0, 2)),
)
def test_split_chunks_are_what_went_in_in_its_order(partitions: list[list[str]], rows: int, paused: set[int]) -> None:
    """`r` a row, `x` a reject."""
    names = [f"t/{number}" for number in range(len(partitions))]
    at = [(n, o) for n, kinds in enumerate(partitions) for o, kind in enumerate(kinds) if kind == "r"]
    rejects = [
        Reject(names[n], o, "bad", b"") for n, kinds in enumerate(partitions) for o, k in enumerate(kinds) if k == "x"
    ]
    codes = pa.array([n for n, _ in at], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
    batch = pa.record_batch({PARTITION: column, OFFSET: pa.array([o for _, o in at], pa.int64())})
    splitter = ChunkSplitter()
    splitter.add(Chunk(batch, tuple(rejects), [b"%d" % o for _, o in at]))
    found: dict[str, list[int]] = {name: [] for name in names}
    held = {f"t/{number}" for number in paused}
    for but in (held, set()):
        while (chunk := splitter.take(rows, but)) is not None:
            offsets = chunk.batch.column(OFFSET).to_pylist()
            assert chunk.raw == [b"%d" % offset for offset in offsets]
            here = set(chunk.batch.column(PARTITION).to_pylist()) | {reject.partition for reject in chunk.rejects}
            [name] = here
            assert name not in but
            both = sorted(offsets + [reject.offset for reject in chunk.rejects])
            assert len(both) <= rows
            assert len(both) == rows or name not in splitter.partitions
            found[name] += both
        assert splitter.partitions <= but
    assert found == {name: list(range(len(kinds))) for name, kinds in zip(names, partitions, strict=True)}


def arrow_topic(kafka: Broker) -> str:
    """Messages of 700, 1, 0, bad, 300 rows, in two partitions."""
    topic = kafka.create_topic("arrow", 2)
    table = pa.table({"n": pa.array(range(1001), pa.int64())})
    values = [ipc(table.slice(0, 700), 100), ipc(table.slice(700, 1)), ipc(table.slice(0, 0)), b"broken"]
    values.append(ipc(table.slice(701, 300)))
    kafka.produce(topic, [Record(value, partition=part) for part in range(2) for value in values])
    return topic


ARROW = {"format": "arrow"}
ARROW_OFFSETS = [*range(700), UNIT, *range(4 * UNIT, 4 * UNIT + 300)]


@pytest.mark.parametrize("max_rows", [64, 700, 5000])
def test_arrow_messages_hold_many_rows_of_which_no_more_come_than_asked_for(kafka: Broker, max_rows: int) -> None:
    topic = arrow_topic(kafka)
    with opened(kafka.address, topic, end="now", decoder=ARROW, metadata={"offset": "o"}) as source:
        read = to_the_end(source, max_rows=max_rows)
        assert source.lag().rows == 0
    assert read.longest <= max_rows
    for part in range(2):
        rows = read.rows[f"{topic}/{part}"]
        assert [row["n"] for row in rows] == list(range(1001))
        assert [row[OFFSET] for row in rows] == ARROW_OFFSETS
        assert [row["o"] for row in rows] == [0] * 700 + [1] + [4] * 300
    assert sorted((r.partition, r.offset) for r in read.rejects) == [(f"{topic}/{part}", 3 * UNIT) for part in range(2)]


@pytest.mark.parametrize(
    ("position", "first", "rejects"),
    [(1, 1, 1), (699, 699, 1), (700, 700, 1), (UNIT + 1, 701, 1), (3 * UNIT, 701, 1), (3 * UNIT + 1, 701, 0),
     (4 * UNIT + 299, 1000, 0), (4 * UNIT + 300, 1001, 0)],
)  # fmt: skip
def test_a_resumed_run_goes_on_in_the_middle_of_a_message(
    kafka: Broker, arrow: str, position: int, first: int, rejects: int
) -> None:
    start = {f"{arrow}/0": position, f"{arrow}/1": 5 * UNIT}
    with opened(kafka.address, arrow, start, end="now", decoder=ARROW) as source:
        read = to_the_end(source, max_rows=50)
    assert read.values() == list(range(first, 1001))
    assert read.offsets().get(f"{arrow}/0", []) == ARROW_OFFSETS[first:]
    assert len(read.rejects) == rejects


@pytest.fixture(scope="module")
def arrow(kafka: Broker) -> str:
    return arrow_topic(kafka)


def test_a_bad_message_never_comes_before_the_rows_in_front_of_it(kafka: Broker, arrow: str) -> None:
    with opened(kafka.address, arrow, end="now", decoder=ARROW) as source:
        seen: dict[str, int] = {}
        while True:
            try:
                chunk = source.read(50, 0.1)
            except EndOfStream:
                break
            if chunk is None:
                continue
            places = list(
                zip(chunk.batch.column(PARTITION).to_pylist(), chunk.batch.column(OFFSET).to_pylist(), strict=True)
            )
            places += [(reject.partition, reject.offset) for reject in chunk.rejects]
            for name in {name for name, _ in places}:
                offsets = [offset for other, offset in places if other == name]
                assert min(offsets) > seen.get(name, -1)
                seen[name] = max(offsets)
    assert seen == {f"{arrow}/{part}": 4 * UNIT + 299 for part in range(2)}


def test_paused_partitions_give_no_row_also_of_a_message_that_was_begun(kafka: Broker, arrow: str) -> None:
    with opened(kafka.address, arrow, end="now", decoder=ARROW) as source:
        read = Read()
        while not read.count:
            if (chunk := source.read(50, 0.1)) is not None:
                read.add(chunk)
        [begun] = read.rows
        [other] = {f"{arrow}/{part}" for part in range(2)} - {begun}
        source.pause([begun])
        before = len(read.rows[begun])
        while other not in source.ended():
            if (chunk := source.read(50, 0.1)) is not None:
                read.add(chunk)
        assert len(read.rows[begun]) == before
        assert begun not in source.ended()
        source.pause([])
        assert [len(rows) for rows in to_the_end(source, read).rows.values()] == [1001, 1001]
        assert read.offsets() == {begun: ARROW_OFFSETS, other: ARROW_OFFSETS}


def test_csv_messages_are_rows_without_header(kafka: Broker) -> None:
    topic = kafka.create_topic("csv")
    kafka.produce(topic, [b'1,"a,b"', b"2,", b"3", b"4,d\n5,e", b'6,"multi\nline"'])
    decoder = {"format": "csv", "columns": ["n", "text"], "column_types": {"n": "int64", "text": "string"}}
    with opened(kafka.address, topic, end="now", decoder=decoder) as source:
        read = to_the_end(source)
    assert [row["n"] for row in read.rows[f"{topic}/0"] if row["n"] in (1, 2)] == [1, 2]
    assert read.values("text")[0] == "a,b"
    assert [reject.offset for reject in read.rejects][:2] == [2, 3]
    assert read.count == 5


def test_avro_messages_have_a_schema_without_a_registry(kafka: Broker, tmp_path: Path) -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]}
    (tmp_path / "r.avsc").write_text(json.dumps(schema))
    topic = kafka.create_topic("avro")
    # 150 is zigzag 300, in two bytes; then a string of one byte.
    kafka.produce(topic, [b"\x02\x02a", b"\xac\x02\x02b", b"\x02"])
    decoder = {"format": "avro", "framing": "none", "avro_schema": str(tmp_path / "r.avsc")}
    with opened(kafka.address, topic, end="now", decoder=decoder) as source:
        read = to_the_end(source)
    assert list(zip(read.values("n"), read.values("s"), strict=True)) == [(1, "a"), (150, "b")]
    assert [(reject.offset, reject.raw) for reject in read.rejects] == [(2, b"\x02")]


def test_an_error_of_the_decoder_names_the_datasource(kafka: Broker, topic: str, tmp_path: Path) -> None:
    decoder = {"format": "avro", "framing": "none", "avro_schema": str(tmp_path / "missing.avsc")}
    with (
        pytest.raises(SourceError, match=r"missing\.avsc cannot be read") as caught,
        opened(kafka.address, topic, decoder=decoder),
    ):
        pass
    assert caught.value.plugin == "kafka"


def test_raw_messages_are_their_bytes(kafka: Broker) -> None:
    topic = kafka.create_topic("raw")
    values = [b"", b"\x00\xff", "text €".encode(), b"x" * 100_000]
    kafka.produce(topic, values)
    with opened(kafka.address, topic, end="now", decoder={"format": "raw"}) as source:
        assert to_the_end(source).values("value") == values


@pytest.mark.parametrize("paused", [0, 1])
def test_columns_are_the_same_whichever_partition_comes_first_and_after_a_restart(kafka: Broker, paused: int) -> None:
    topic = kafka.create_topic("kinds", 2)
    kafka.produce(topic, [Record(b'{"x": 1.5}', partition=0)] * 3 + [Record(b'{"x": 2, "y": "a"}', partition=1)] * 3)
    with opened(kafka.address, topic, start="earliest") as source:
        source.pause([f"{topic}/{paused}"])
        read = so_many(source, 3)
        stamps = dict(source.stamps())
        source.pause([])
        read.schema |= so_many(source, 3).schema
        later = dict(source.stamps())
    assert read.schema["x"] == pa.float64()
    assert not read.rejects
    position = {f"{topic}/{1 - paused}": 3}
    for kept in (stamps, later):
        with opened(kafka.address, topic, position, kept, end="now") as source:
            assert to_the_end(source).schema["x"] == pa.float64()
    # A new life that begins with integers goes on with what was fixed.
    kafka.produce(topic, [Record(b'{"x": 3}', partition=1)])
    with opened(kafka.address, topic, {f"{topic}/0": 3, f"{topic}/1": 3}, later, end="now") as source:
        assert to_the_end(source).schema["x"] == pa.float64()


# -- lag, pausing, commits ------------------------------------------------------------------------


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
