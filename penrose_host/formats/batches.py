"""Record batches: one of a whole table, and one whose rows say where they are from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64

__all__ = ["one_batch", "with_origin"]


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """The rows of a table in one batch. Raises ArrowCapacityError for more text than a column of one batch can hold."""
    if not table.num_rows:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:
        raise pa.ArrowCapacityError(f"{table.num_rows} rows have more than 2 GiB of text in one column")
    return batches[0]


def with_origin(batch: pa.RecordBatch, partition: str, offsets: Int64 | int) -> pa.RecordBatch:
    """The batch with the columns `_partition`, which is `partition` in all rows, and `_offset`.

    `offsets`: int64 [rows], or the first of offsets that go up one by one; a batch that has `_offset` keeps its own.
    """
    zeros = pa.array(np.zeros(batch.num_rows, dtype=np.int32))
    names = pa.DictionaryArray.from_arrays(zeros, pa.array([partition], pa.string()))
    fields = [*batch.schema, pa.field(PARTITION, names.type)]
    arrays: list[Any] = [*batch.columns, names]
    if OFFSET not in batch.schema.names:
        if isinstance(offsets, int):
            offsets = np.arange(offsets, offsets + batch.num_rows, dtype=np.int64)
        fields.append(pa.field(OFFSET, pa.int64()))
        arrays.append(pa.array(offsets))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
