"""What every row of a stream has: its partition, its offset and when it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION
from penrose_host.errors import DataError
from penrose_host.features.column_check import Use
from penrose_host.features.times import times_of

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int32, Int64
    from penrose_host.features.config import TimeColumn
    from penrose_host.features.rejects import Faults

__all__ = ["PLACE_USES", "event_times_of", "offsets_of", "partitions_of"]


def _place_fault(type_: pa.DataType) -> str | None:
    value_type = type_.value_type if pa.types.is_dictionary(type_) else type_
    text = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
    return None if text else "the datasource has to give text (or a dictionary of it)"


def _offset_fault(type_: pa.DataType) -> str | None:
    return None if pa.types.is_int64(type_) else "the datasource has to give int64"


#: What every datasource gives with its rows.
PLACE_USES = [Use("the row's partition", PARTITION, _place_fault), Use("the row's offset", OFFSET, _offset_fault)]


def partitions_of(batch: pa.RecordBatch) -> tuple[tuple[str, ...], Int32]:
    """The partitions' names in order of appearance, and each row's place among them."""
    column = batch.column(PARTITION)
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    if plain.null_count:
        raise DataError(f"the datasource gave a row whose {PARTITION} is null")
    encoded = plain.dictionary_encode()
    return tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy()


def offsets_of(batch: pa.RecordBatch) -> Int64:
    """Each row's offset."""
    column = batch.column(OFFSET)
    if column.null_count:
        raise DataError(f"the datasource gave a row whose {OFFSET} is null")
    offsets: Int64 = column.to_numpy()
    return offsets


def event_times_of(batch: pa.RecordBatch, source: TimeColumn, faults: Faults) -> Int64:
    """When each row happened, in microseconds since 1970; rows without a time become faults."""
    times = times_of(batch.column(source.column), source)
    faults.add(times.null, f"the event time, column {source.column!r}, is null")
    faults.add(times.unusable, f"the event time, column {source.column!r}, is not a time, or out of range")
    return times.micros
