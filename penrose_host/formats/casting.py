"""Columns of text made columns of another type, cell by cell where a cell is at fault."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["cast_text"]


def cast_text(text: pa.StringArray, kind: pa.DataType, null_values: pa.Array) -> tuple[pa.Array, list[int]]:
    """The column as `kind`, and the rows whose text is no such value, ascending (there the column is null).

    Blanks around a value do not count; what is in `null_values` is null.
    """
    nulls = pc.is_in(text, value_set=null_values)
    if nulls.true_count:
        text = pc.if_else(nulls, None, text)
    try:
        return text.cast(kind), []
    except pa.ArrowInvalid:
        text = pc.utf8_trim(text, " \t")
    bad: list[int] = []
    parts: list[pa.Array] = []

    def attempt(start: int, count: int) -> None:
        try:
            parts.append(text.slice(start, count).cast(kind))
        except pa.ArrowInvalid:
            if count == 1:
                bad.append(start)
                parts.append(pa.nulls(1, kind))
                return
            attempt(start, count // 2)
            attempt(start + count // 2, count - count // 2)

    attempt(0, len(text))
    return pa.concat_arrays(parts), bad
