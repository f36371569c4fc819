"""Rows of one partition on their way into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION, Chunk, Reject
from penrose_host.errors import SourceError, WrongStream

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.datasources.files.listing import DataFile

__all__ = ["Part", "PartReader", "beyond_end", "make_part", "none_of_the_columns"]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows and rejects at the offsets `start`..`stop` of one partition, in order; each offset stands once."""

    batch: pa.RecordBatch
    offsets: Int64
    rejects: tuple[Reject, ...]
    start: int
    stop: int

    def split(self, offset: int) -> tuple[Part, Part | None]:
        """What is before `offset`, and the rest; None where nothing is left."""
        if offset >= self.stop:
            return self, None
        row = int(np.searchsorted(self.offsets, offset))
        before = tuple(reject for reject in self.rejects if reject.offset < offset)
        return (
            Part(self.batch.slice(0, row), self.offsets[:row], before, self.start, offset),
            Part(self.batch.slice(row), self.offsets[row:], self.rejects[len(before) :], offset, self.stop),
        )

    def chunk(self) -> Chunk:
        return Chunk(self.batch, self.rejects)


class PartReader(Protocol):
    """Reads one file."""

    def skip_to(self, offset: int) -> None:
        """Called once, first. Raises WrongStream where there are fewer rows, SourceError where reading fails."""

    def read(self) -> Part | None:
        """The next rows; None at the end. Raises SourceError."""

    def close(self) -> None:
        """Close the file. May be called twice."""


def make_part(
    name: str,
    batch: pa.RecordBatch,
    start: int,
    stop: int,
    offsets: Int64 | None = None,
    rejects: Sequence[Reject] = (),
) -> Part:
    """A part of the partition `name`: the batch gets its columns `_partition` and `_offset`.

    `offsets`: of the batch's rows; by default start..stop.
    """
    if offsets is None:
        offsets = np.arange(start, stop, dtype=np.int64)
    partition = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(offsets), dtype=np.int32)), pa.array([name]))
    fields = [*batch.schema, pa.field(PARTITION, partition.type), pa.field(OFFSET, pa.int64())]
    arrays: list[Any] = [*batch.columns, partition, pa.array(offsets)]
    return Part(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), offsets, tuple(rejects), start, stop)


def beyond_end(file: DataFile, offset: int, rows: int) -> WrongStream:
    """The error for a position that is behind the last row."""
    return WrongStream(
        f"the position says offset {offset} in {file.path}, which has {rows} rows",
        hint="put the file back as it was, or start a new run in another run directory",
    )


def none_of_the_columns(file: DataFile, schema: pa.Schema) -> SourceError:
    """The error for a file that shares no column with the others."""
    return SourceError(
        f"{file.path} has none of the columns {', '.join(schema.names)}",
        plugin="files",
        partition=file.name,
        hint="leave the file out with the option `path`",
    )
