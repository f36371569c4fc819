"""Parquet and Arrow IPC: rows that are columns already."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from penrose_host.contracts.batch import Reject
from penrose_host.datasources.files.byte_stream import decompressed
from penrose_host.datasources.files.slices import FileSlice, beyond_end, make_slice, none_of_the_columns
from penrose_host.formats.casting import cast_exactly, type_for_both

if TYPE_CHECKING:
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import Compression

__all__ = ["ArrowFile", "ColumnarFile", "ColumnarReader", "ParquetFile"]

_MAGIC = b"ARROW1"


class ColumnarFile(Protocol):
    """A file of record batches."""

    schema: pa.Schema

    def batches(self, offset: int, columns: list[str]) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Batches with at least these columns, and the offset of their first row: `offset`, or somewhat before it."""


class ParquetFile:
    """One Parquet file, read by row group."""

    def __init__(self, file: DataFile, handle: pa.NativeFile, batch_rows: int) -> None:
        """Raises ArrowException or OSError where this is no Parquet file."""
        # Not mapped into memory: a file that is cut short while it is read must be an error, not the process's end.
        self._parquet = pyarrow.parquet.ParquetFile(
            handle, pre_buffer=not file.local, buffer_size=1 << 20, page_checksum_verification=True
        )
        self._batch_rows = batch_rows
        self.schema: pa.Schema = self._parquet.schema_arrow

    def batches(self, offset: int, columns: list[str]) -> tuple[int, Iterator[pa.RecordBatch]]:
        """From the row group of `offset` on."""
        metadata = self._parquet.metadata
        ends = np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] or [0])
        first = int(np.searchsorted(ends, offset, side="right"))
        groups = list(range(first, metadata.num_row_groups))
        start = int(ends[first - 1]) if first else 0
        return start, self._parquet.iter_batches(self._batch_rows, row_groups=groups, columns=columns)


class ArrowFile:
    """One Arrow IPC file or stream, read by record batch."""

    def __init__(self, handle: pa.NativeFile, compression: Compression) -> None:
        """Raises ArrowException, OSError or what the decompressor raises where this is neither."""
        stream = decompressed(handle, compression)
        start = stream.read(8)
        self._reader: pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader
        if compression == "none":
            handle.seek(0)
            self._reader = (pa.ipc.open_file if start.startswith(_MAGIC) else pa.ipc.open_stream)(handle)
        else:
            # A file is a stream behind eight bytes; one that is packed cannot be read from its end.
            self._reader = pa.ipc.open_stream(stream if start.startswith(_MAGIC) else _Unread(start, stream))
        self.schema: pa.Schema = self._reader.schema

    def batches(self, offset: int, columns: list[str]) -> tuple[int, Iterator[pa.RecordBatch]]:  # noqa: ARG002
        """All batches: how many rows one has is known once it is read, and none of it needs decoding."""
        return 0, self._read()

    def _read(self) -> Iterator[pa.RecordBatch]:
        if isinstance(self._reader, pa.ipc.RecordBatchStreamReader):
            yield from self._reader
        else:
            for index in range(self._reader.num_record_batches):
                yield self._reader.get_batch(index)


class _Unread:
    """A stream, once more from the `start` that has been read from it."""

    closed = False

    def __init__(self, start: bytes, rest: Any) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int) -> bytes:
        start, self._start = self._start[:size], self._start[size:]
        return start + bytes(self._rest.read(size - len(start)))


class ColumnarReader:
    """Reads the rows of one Parquet or Arrow file as columns of a fixed schema."""

    def __init__(
        self,
        file: DataFile,
        handle: pa.NativeFile,
        source: ColumnarFile,
        schema: pa.Schema,
        origin: str,
        declared: Collection[str],
    ) -> None:
        """`origin`: the file whose types these are, but for those that the job has `declared`."""
        self._file = file
        self._origin = origin
        self._declared = frozenset(declared)
        self._handle = handle
        self._schema = schema
        self._wanted = [name for name in schema.names if name in source.schema.names]
        if not self._wanted:
            raise none_of_the_columns(file, schema)
        self._source = source
        self._row = 0
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._held: pa.RecordBatch | None = None

    def skip_to(self, offset: int) -> None:
        """Go on at this row. Raises WrongStream where there are fewer rows, SourceError where reading fails."""
        self._row, self._batches = self._source.batches(offset, self._wanted)
        while self._row < offset:
            batch = self._next()
            if batch is None:
                raise beyond_end(self._file, offset, self._row)
            if self._row + batch.num_rows > offset:
                self._held = batch.slice(offset - self._row)
                self._row = offset
                return
            self._row += batch.num_rows

    def read(self) -> FileSlice | None:
        batch, self._held = self._held if self._held is not None else self._next(), None
        if batch is None:
            return None
        start, self._row = self._row, self._row + batch.num_rows
        batch = self._conform(batch, start)
        faults = invalid_rows(batch)
        if not faults:
            return make_slice(self._file.name, batch, start, self._row)
        rejects = [Reject(self._file.name, start + row, fault) for row, fault in faults.items()]
        good = np.setdiff1d(np.arange(batch.num_rows), np.array(list(faults)))
        return make_slice(self._file.name, batch.take(pa.array(good)), start, self._row, good + start, rejects)

    def close(self) -> None:
        self._handle.close()

    def _next(self) -> pa.RecordBatch | None:
        try:
            return next(self._batches, None)
        except Exception as error:  # Arrow's errors, a decompressor's, or those of a remote file system
            raise self._file.error(
                f"{self._file.path} cannot be read on from row {self._row}: {error}",
                "replace the file with a complete one",
                offset=self._row,
            ) from error

    def _conform(self, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        """The batch with the columns of the schema: missing ones are null, others are cast where that loses nothing."""
        columns = []
        for field in self._schema:
            if field.name not in batch.schema.names:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(field.name)
            if column.type != field.type:
                column = self._converted(column, field, start)
            columns.append(column)
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _converted(self, column: pa.Array, field: pa.Field, start: int) -> pa.Array:
        declared = field.name in self._declared
        try:
            return column.cast(field.type) if declared else cast_exactly(column, field.type)
        except pa.ArrowException as error:
            have, want = column.type, field.type
            if declared:
                whose = "by `column_types`"
                hint = "give another type in `column_types`, or correct the file"
            else:
                whose = f"in {self._origin}"
                hint = f"to read both as one type, set `column_types: {{{field.name}: {type_for_both(have, want)}}}`"
            raise self._file.error(
                f"column {field.name!r} is {have} in {self._file.path} and {want} {whose}; the rows {start} to "
                f"{start + len(column)} cannot be converted without a change: {error}",
                hint,
                offset=start,
            ) from error


def invalid_rows(batch: pa.RecordBatch) -> dict[int, str]:
    """Row → what is wrong, for rows whose values are not what their type says (text that is not UTF-8)."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if batch.num_rows == 1:
            return {0: str(error)}
        middle = batch.num_rows // 2
        after = invalid_rows(batch.slice(middle))
        return invalid_rows(batch.slice(0, middle)) | {middle + row: fault for row, fault in after.items()}
    return {}
