"""Tables as single batches."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["one_batch"]


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """The rows of a table in one batch. Raises ArrowCapacityError for more text than a column of one batch can hold."""
    if not table.num_rows:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    batches = table.combine_chunks().to_batches()
    if len(batches) > 1:
        raise pa.ArrowCapacityError(f"{table.num_rows} rows have more than 2 GiB of text in one column")
    return batches[0]
