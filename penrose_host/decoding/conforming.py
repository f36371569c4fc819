"""Columns made the columns of another schema, by name, where that loses nothing."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["conform", "conform_batch"]


def conform_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of the schema, those that it lacks null. Raises ValueError, naming the column."""
    if batch.schema == schema:
        return batch
    have = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = []
    for field in schema:
        if field.name not in have:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        try:
            columns.append(conform(have[field.name], field.type))
        except (pa.ArrowException, ValueError) as error:
            raise ValueError(f"column {field.name!r}: {error}") from error
    if not columns:  # `from_arrays` would forget how many rows there are
        return batch.select([])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array as this type; objects by the names of their fields. Raises ArrowException where it does not fit."""
    have: Any = array.type
    if have == kind:
        return array
    nulls = pc.is_null(array) if array.null_count else None
    if pa.types.is_struct(kind) and pa.types.is_struct(have):
        fields = [
            conform(pc.struct_field(array, have.get_field_index(f.name)), f.type)
            if have.get_field_index(f.name) >= 0
            else pa.nulls(len(array), f.type)
            for f in kind
        ]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=nulls) if fields else array.cast(kind)
    if pa.types.is_list(kind) and (pa.types.is_large_list(have) or pa.types.is_fixed_size_list(have)):
        return conform(array.cast(pa.list_(have.value_type)), kind)
    if pa.types.is_list(kind) and pa.types.is_list(have):
        # Not `flatten`, which leaves out what stands behind a null.
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        values = conform(array.values.slice(first, last - first), kind.value_type)
        return pa.ListArray.from_arrays(pc.subtract(array.offsets, first), values, type=kind, mask=nulls)
    # A float holds an integer as nearly as it can.
    return array.cast(kind, safe=not (pa.types.is_integer(have) and pa.types.is_floating(kind)))
