"""Messages of the datasource `kafka` as rows: what lies beside them, each decoder, bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from kafka_broker import Broker, Record
from kafka_collecting import (
    ARROW,
    ARROW_OFFSETS,
    UNIT,
    Read,
    arrow_topic,
    opened,
    so_many,
    to_the_end,
)

from penrose_host.contracts.batch import OFFSET, PARTITION
from penrose_host.contracts.datasource import EndOfStream
from penrose_host.errors import SourceError

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
