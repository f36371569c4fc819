"""Rows as JSON objects, column by column: no Python per row.

NaN and infinite numbers are null; integers keep all their digits; decimals are text, as a JSON number would be read as
a float; binary is base64 text; times are ISO 8601, in UTC (`Z`) where they have a zone; durations are integers of
their own unit.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["json_values"]

_NULL = "null"
#: Characters that a JSON string cannot hold as they are.
_CONTROL = "[\\x00-\\x1f]"


def json_values(rows: pa.RecordBatch) -> list[bytes]:
    """Each row as one object, all columns in order. Raises ValueError, naming the column, where one has no JSON."""
    if not rows.num_rows:
        return []
    if not rows.num_columns:
        return [b"{}"] * rows.num_rows
    parts: list[pa.Array | pa.Scalar] = []
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        try:
            texts = _texts(column)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise ValueError(f"column {name!r}: {error}") from error
        parts += [_string(("," if parts else "{") + json.dumps(name) + ":"), texts]
    joined = pc.binary_join_element_wise(*parts, _string("}"), _EMPTY)  # the last is the separator
    return list(joined.cast(pa.large_binary()).to_pylist())


def _string(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


_EMPTY = _string("")


def _texts(column: pa.Array) -> pa.Array:
    """JSON texts of a column's values, without nulls."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return pc.take(_texts(column.dictionary), column.indices).fill_null(_NULL)
    if pa.types.is_null(kind):
        return pa.repeat(_string(_NULL), len(column))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        texts = column.cast(pa.large_string())
    elif pa.types.is_duration(kind):
        texts = column.cast(pa.int64()).cast(pa.large_string())
    elif pa.types.is_floating(kind):
        wide = column.cast(pa.float32()) if pa.types.is_float16(kind) else column
        texts = pc.if_else(pc.is_finite(wide), wide, pa.scalar(None, wide.type)).cast(pa.large_string())
        # A reader that learns types from values shall not take them for integers.
        whole = pc.match_substring_regex(texts, "^-?[0-9]+$")
        texts = pc.if_else(whole, pc.binary_join_element_wise(texts, _string(".0"), _EMPTY), texts)
    elif pa.types.is_timestamp(kind):
        # What Arrow does for a zone costs ten times as much, and all that is wanted of it is UTC.
        naive = column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
        texts = _instants(naive)
        texts = pc.replace_substring(texts, pattern=" ", replacement="T", max_replacements=1)
        texts = _quoted(texts, "" if kind.tz is None else "Z")
    elif pa.types.is_date(kind) or pa.types.is_time(kind):
        texts = _quoted(_instants(column))
    elif pa.types.is_decimal(kind):
        texts = _quoted(column.cast(pa.string()).cast(pa.large_string()))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        texts = _escaped(column.cast(pa.large_string()))
    else:
        found = (json.dumps(_plain(value), ensure_ascii=False, allow_nan=False) for value in column.to_pylist())
        texts = pa.array(found, pa.large_string())
    return texts.fill_null(_NULL)


def _instants(column: pa.Array) -> pa.Array:
    """Dates and times as text. Raises ValueError for one that no calendar has: Arrow makes a remark of it."""
    texts = column.cast(pa.string()).cast(pa.large_string())
    if pc.any(strange := pc.starts_with(texts, "<")).as_py():
        raise ValueError(f"a {column.type} is out of range: {texts.filter(strange)[0].as_py()}")
    return texts


def _quoted(texts: pa.Array, end: str = "") -> pa.Array:
    return pc.binary_join_element_wise(_string('"'), texts, _string(end + '"'), _EMPTY)


def _escaped(texts: pa.Array) -> pa.Array:
    """JSON strings of texts."""
    for character in ("\\", '"'):
        if pc.any(pc.match_substring(texts, character)).as_py():
            texts = pc.replace_substring(texts, pattern=character, replacement="\\" + character)
    if pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py():
        for number in range(0x20):
            texts = pc.replace_substring(texts, pattern=chr(number), replacement=json.dumps(chr(number))[1:-1])
    return _quoted(texts)


def _plain(value: Any) -> Any:
    """A nested value, or one of a rare type, as what the json module writes."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise pa.ArrowInvalid(f"a value of {type(value).__name__} cannot be written as JSON")
