"""Reading a datasource `kafka` as the host does, and checking that each partition's rows come once, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka_broker import Record

from penrose_host.contracts.batch import OFFSET, PARTITION
from penrose_host.contracts.datasource import EndOfStream
from penrose_host.contracts.plugin import Capability
from penrose_kafka.source.kafka_source import KafkaSource

__all__ = ["Reading", "make_source", "numbered_records", "reading"]

#: No wait for rows is longer than this, in seconds.
SECONDS = 45.0
#: Come back quickly: tests should not wait for librdkafka's patience.
CLIENT: Mapping[str, Any] = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}


def make_source(address: str, topics: str | Sequence[str], client: Mapping[str, Any] = CLIENT, **options: Any) -> Any:
    """A datasource as a job makes it."""
    fields = {"brokers": address, "topics": topics, "group": None, "client": dict(client), **options}
    return KafkaSource(KafkaSource.Options(**fields))


def numbered_records(count: int, partitions: int = 1, first: int = 0, size: int = 0) -> list[Record]:
    """`{"n": number}`, dealt out to partitions; `size`: so many bytes more."""
    pad = "x" * size
    return [
        Record(json.dumps({"n": number, "pad": pad}).encode(), partition=number % partitions)
        for number in range(first, first + count)
    ]


class Reading:
    """Rows that came: `next` has for each partition the offset that has to come, which each row is checked to have."""

    def __init__(self, source: KafkaSource, start: Mapping[str, int]) -> None:
        self.source = source
        self.next = dict(start)
        self.gaps = False  # whether offsets may be missing
        self.rows = 0
        self.numbers: list[int] = []
        self.rejects: list[Any] = []

    def step(self, max_rows: int = 1000, timeout: float = 0.2) -> bool:
        """One `read`, and what the host does beside it; False at the end of the stream."""
        try:
            chunk = self.source.read(max_rows, timeout)
        except EndOfStream:
            return False
        if Capability.UNBOUNDED in self.source.capabilities:
            self.source.open(dict.fromkeys(self.source.partitions()))
        if chunk is None:
            return True
        rejected = {(reject.partition, reject.offset) for reject in chunk.rejects}
        self.rejects += chunk.rejects
        places = zip(chunk.batch.column(PARTITION).to_pylist(), chunk.batch.column(OFFSET).to_pylist(), strict=True)
        for name, offset in sorted([*places, *rejected]):
            expected = self.next.get(name, 0)
            assert offset == expected or (self.gaps and offset > expected), f"{name}: {offset}, not {expected}"
            self.next[name] = offset + 1
        self.rows += len(chunk.batch)
        if "n" in chunk.batch.schema.names:
            self.numbers += chunk.batch.column("n").to_pylist()
        return True

    def until(self, reached: Callable[[], object], **read: Any) -> None:
        """Read until it is so; fails where it is not in time, or the stream ends before."""
        deadline = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < deadline, f"{self.rows} rows; next are {self.next}"
            if not self.step(**read):
                assert reached(), f"the stream ended with {self.rows} rows"

    def until_rows(self, count: int, **read: Any) -> None:
        """Read until so many rows have come."""
        self.until(lambda: self.rows >= count, **read)
        assert self.rows == count

    def to_the_end(self, **read: Any) -> None:
        """Read until the stream ends."""
        deadline = time.monotonic() + SECONDS
        while self.step(**read):
            assert time.monotonic() < deadline, f"{self.rows} rows; next are {self.next}"


@contextmanager
def reading(source: KafkaSource, start: Mapping[str, int | None] | None = None) -> Iterator[Reading]:
    """Open all partitions of a source, those of `start` there; closes it."""
    try:
        assignment: dict[str, int | None] = {**dict.fromkeys(source.partitions()), **(start or {})}
        source.open(assignment)
        yield Reading(source, {name: offset or 0 for name, offset in assignment.items()})
    finally:
        source.close()
