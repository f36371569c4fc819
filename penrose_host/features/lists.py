"""List columns of Arrow as ids: values and offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import Ragged
from penrose_host.features.ids import ACCEPTED, can_have_ids, ids_of, null_mask

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.features.ids import FeatureHash

__all__ = ["list_fault", "ragged_of"]

_OFFSETS: dict[int, np.dtype[Any]] = {
    pa.lib.Type_LIST: np.dtype(np.int32),
    pa.lib.Type_LARGE_LIST: np.dtype(np.int64),
}


def list_fault(type_: pa.DataType) -> str | None:
    """What is wrong with a column of this type as a list feature, or None."""
    if pa.types.is_null(type_):
        return None
    if (type_.id in _OFFSETS or pa.types.is_fixed_size_list(type_)) and can_have_ids(type_.value_type):
        return None
    return f"a list feature is a list of {ACCEPTED}"


def ragged_of(column: pa.Array, hash_: FeatureHash, max_length: int | None) -> Ragged:
    """Ids of each row's values, at most the last `max_length` of them; a null list has none, a null in it has an id."""
    if len(column) == 0 or pa.types.is_null(column.type):
        return Ragged(np.empty(0, dtype=np.int64), np.zeros(len(column) + 1, dtype=np.int64))
    starts, lengths = _bounds(column)
    whole = True
    if column.null_count:
        lengths = np.where(null_mask(column), 0, lengths)
        whole = False
    if max_length is not None and int(lengths.max()) > max_length:
        starts = starts + np.maximum(lengths - max_length, 0)
        lengths = np.minimum(lengths, max_length)
        whole = False
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    if whole:
        values = column.values.slice(int(starts[0]), total)
    else:
        # Where each value stands: the start of its row, plus its place in the row.
        values = column.values.take(pa.array(np.arange(total) + np.repeat(starts - offsets[:-1], lengths)))
    return Ragged(ids_of(values, hash_), offsets)


def _bounds(column: pa.Array) -> tuple[Int64, Int64]:
    """Where each row's values start in `column.values`, and how many they are."""
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        starts = (np.arange(len(column), dtype=np.int64) + column.offset) * size
        return starts, np.full(len(column), size, dtype=np.int64)
    width = _OFFSETS[column.type.id]
    first = column.offset * width.itemsize
    bounds = np.frombuffer(column.buffers()[1], dtype=width, count=len(column) + 1, offset=first).astype(np.int64)
    return bounds[:-1], np.diff(bounds)
