"""Everything that a datasource `kafka` gives, collected; and topics to read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from kafka_broker import Broker, Record

from penrose_host.contracts.batch import OFFSET, PARTITION, Reject
from penrose_host.contracts.datasource import EndOfStream
from penrose_kafka.source.kafka_source import KafkaSource

__all__ = [
    "ARROW",
    "ARROW_OFFSETS",
    "PATIENCE",
    "UNIT",
    "Read",
    "arrow_topic",
    "ipc",
    "numbered",
    "opened",
    "so_many",
    "to_the_end",
]

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


def ipc(table: pa.Table, rows: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


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
