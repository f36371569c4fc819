"""Numbers that were too large for their column and became infinite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penrose_host.formats.json_lines import JsonParser

__all__ = ["overflows"]

_TEXT_OR_INFINITE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity')


def overflows(batch: pa.RecordBatch, rows: Sequence[bytes]) -> dict[int, str]:
    """Row → fault, where a value is infinite that is not written so in the text of the row."""
    faults: dict[int, str] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        for row in _too_large(field, _infinite_rows(column), rows):
            faults[row] = f"column {field.name!r}: a number is too large for {field.type}"
    return faults


def _too_large(field: pa.Field, infinite: list[int], rows: Sequence[bytes]) -> list[int]:
    """Those of the rows with infinite values that have some which are not written so."""
    written = [row for row in infinite if b"Infinity" in rows[row]]
    found = [row for row in infinite if b"Infinity" not in rows[row]]
    if written:  # maybe elsewhere in the row
        plain = b"\n".join(_TEXT_OR_INFINITE.sub(_finite, rows[row]) for row in written)
        batch, _ = JsonParser(pa.schema([field])).parse(plain)
        found += [written[row] for row in _infinite_rows(batch.column(0))]
    return found


def _finite(token: re.Match[bytes]) -> bytes:
    return token[0] if token[0].startswith(b'"') else b"null"


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
