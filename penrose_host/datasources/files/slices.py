"""Slices of partitions: rows of one file on their way into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import Chunk, Reject
from penrose_host.errors import WrongStream
from penrose_host.formats.batches import with_origin

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.errors import SourceError

__all__ = ["FileReader", "FileSlice", "beyond_end", "make_slice", "none_of_the_columns"]


@dataclass(frozen=True, slots=True)
class FileSlice:
    """The rows and rejects at the offsets `start`..`stop` of one partition, in order; each offset stands once."""

    batch: pa.RecordBatch
    offsets: Int64
    rejects: tuple[Reject, ...]
    start: int
    stop: int

    def split(self, offset: int) -> tuple[FileSlice, FileSlice | None]:
        """What is before `offset`, and the rest; None where nothing is left."""
        if offset >= self.stop:
            return self, None
        row = int(np.searchsorted(self.offsets, offset))
        before = tuple(reject for reject in self.rejects if reject.offset < offset)
        return (
            FileSlice(self.batch.slice(0, row), self.offsets[:row], before, self.start, offset),
            FileSlice(self.batch.slice(row), self.offsets[row:], self.rejects[len(before) :], offset, self.stop),
        )

    def chunk(self) -> Chunk:
        return Chunk(self.batch, self.rejects)


class FileReader(Protocol):
    """Reads one file."""

    def skip_to(self, offset: int) -> None:
        """Called once, first. Raises WrongStream where there are fewer rows, SourceError where reading fails."""

    def read(self) -> FileSlice | None:
        """The next rows; None at the end. Raises SourceError."""

    def close(self) -> None:
        """Close the file. May be called twice."""


def make_slice(
    name: str,
    batch: pa.RecordBatch,
    start: int,
    stop: int,
    offsets: Int64 | None = None,
    rejects: Sequence[Reject] = (),
) -> FileSlice:
    """A slice of the partition `name`: the batch gets its columns `_partition` and `_offset`.

    `offsets`: of the batch's rows; by default start..stop.
    """
    if offsets is None:
        offsets = np.arange(start, stop, dtype=np.int64)
    return FileSlice(with_origin(batch, name, offsets), offsets, tuple(rejects), start, stop)


def beyond_end(file: DataFile, offset: int, rows: int) -> WrongStream:
    """The error for a position that is behind the last row."""
    return WrongStream(
        f"the position says offset {offset} in {file.path}, which has {rows} rows",
        hint="put the file back as it was, or start a new run in another run directory",
    )


def none_of_the_columns(file: DataFile, schema: pa.Schema) -> SourceError:
    """The error for a file that shares no column with the others."""
    return file.error(
        f"{file.path} has none of the columns {', '.join(schema.names)}", "leave the file out with the option `path`"
    )
