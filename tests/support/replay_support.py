"""Replays out of memory: a source of given chunks, a sink that keeps what it gets, and plans of both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel
from run_support import selected

from penrose_host import Chunk, DataSource, EndOfStream, Reject, Sink
from penrose_host.features.config import TimeColumn
from penrose_host.plugins.index import Kind
from penrose_host.replays import Plan

EVENT_TIME = TimeColumn(column="t", unit="us")


class NoOptions(BaseModel):
    model_config = {"extra": "forbid"}


class GivenSource(DataSource):
    """Hands over `chunks` in their order, those of paused partitions later; a chunk is of one partition or of all."""

    api_version = 1
    Options = NoOptions
    source_id = "given"
    chunks: ClassVar[Sequence[pa.RecordBatch]] = ()
    rejects: ClassVar[Mapping[int, tuple[Reject, ...]]] = {}
    closed = False

    def partitions(self) -> Sequence[str]:
        return sorted({name for chunk in self.chunks for name in _names(chunk)})

    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._left = [(number, _names(chunk), chunk) for number, chunk in enumerate(self.chunks)]
        self._all = frozenset(self.partitions())
        self._paused: frozenset[str] = frozenset()

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        if not self._left:
            raise EndOfStream
        held = set(self._paused)
        for place, (number, names, chunk) in enumerate(self._left):
            if held.isdisjoint(names):
                del self._left[place]
                return Chunk(chunk, self.rejects.get(number, ()))
            held |= names  # a partition's rows keep their order
        return None

    def ended(self) -> Collection[str]:
        return self._all - {name for _, names, _ in self._left for name in names}

    def close(self) -> None:
        type(self).closed = True


def _names(chunk: pa.RecordBatch) -> frozenset[str]:
    return frozenset(chunk.column("_partition").unique().to_pylist())


class KeepingSink(Sink):
    """Keeps what it gets; `calls` says what was called."""

    api_version = 1
    Options = NoOptions
    calls: ClassVar[list[str]]
    batches: ClassVar[list[pa.RecordBatch]]

    def open(self) -> None:
        self.calls.append("open")

    def write(self, rows: pa.RecordBatch) -> None:
        self.calls.append("write")
        self.batches.append(rows)

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")

    @classmethod
    def rows(cls) -> list[dict[str, Any]]:
        """All that was written."""
        return [row for batch in cls.batches for row in batch.to_pylist()]


def plan(
    chunks: Sequence[pa.RecordBatch], rejects: Mapping[int, tuple[Reject, ...]] | None = None, **changes: Any
) -> Plan:
    """A plan over these chunks, into a new `KeepingSink`; `rejects`: number of a chunk → what is rejected beside it."""
    source = type("Given", (GivenSource,), {"chunks": chunks, "rejects": rejects or {}})
    sink = changes.pop("sink", KeepingSink)
    kept = type("Keeping", (sink,), {"calls": [], "batches": []})
    return Plan(
        selected(Kind.DATASOURCE, source, {}), selected(Kind.SINK, kept, {}), **{"event_time": EVENT_TIME, **changes}
    )


def chunk(rows: Sequence[tuple[str, int, int | None]], **columns: Any) -> pa.RecordBatch:
    """(partition, offset, event time) of each row, and more columns."""
    return pa.record_batch(
        {
            "_partition": pa.array([name for name, _, _ in rows], pa.string()),
            "_offset": pa.array([offset for _, offset, _ in rows], pa.int64()),
            "t": pa.array([time for _, _, time in rows], pa.int64()),
            **columns,
        }
    )
