"""Numbers that were too large for their column and became infinite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["overflows"]


def overflows(batch: pa.RecordBatch, rows: Sequence[bytes]) -> dict[int, str]:
    """Row → fault, where a value is infinite that is not written so in the text of the row."""
    faults: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for row in _infinite_rows(column):
            if b"Infinity" not in rows[row]:
                faults[row] = f"column {name!r}: a number is too large for {column.type}"
    return faults


def _infinite_rows(column: Any) -> list[int]:
    if pa.types.is_floating(column.type):
        infinite = pc.is_inf(column)
        return np.flatnonzero(infinite.fill_null(False)).tolist() if infinite.true_count else []
    if _any_infinite(column):
        return [row for row in range(len(column)) if _any_infinite(column.slice(row, 1))]
    return []


def _any_infinite(values: Any) -> bool:
    if pa.types.is_floating(values.type):
        return bool(pc.is_inf(values).true_count)
    if pa.types.is_list(values.type):
        return _any_infinite(values.flatten())
    if pa.types.is_struct(values.type):
        return any(_any_infinite(field) for field in values.flatten())
    return False
