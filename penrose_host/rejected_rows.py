"""Rows that cannot be used: which, why, and what they held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.batch import OFFSET, PARTITION, Reject

if TYPE_CHECKING:
    from penrose_host.arrow_ids import Bool
    from penrose_host.batch import Int64

__all__ = ["RAW_LIMIT", "Faults", "row_as_json"]

#: A rejected row's JSON is at most this many bytes.
RAW_LIMIT = 65_536


class Faults:
    """The rows of one batch that cannot be used, each with the first reason found."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, where: Bool | None, reason: str) -> None:
        """Rows where the mask is True (None: none) cannot be used, for this reason."""
        if where is not None:
            for row in np.flatnonzero(where).tolist():
                self.reasons.setdefault(row, reason)

    def kept(self, rows: int) -> Int64:
        """The rows that can be used, ascending."""
        good = np.ones(rows, dtype=np.bool_)
        good[list(self.reasons)] = False
        return np.flatnonzero(good)

    def rejects(self, batch: pa.RecordBatch) -> tuple[Reject, ...]:
        """The rows that cannot be used, in order, with what they held."""
        partition, offset = batch.column(PARTITION), batch.column(OFFSET)
        return tuple(
            Reject(partition[row].as_py(), offset[row].as_py(), reason, row_as_json(batch, row))
            for row, reason in sorted(self.reasons.items())
        )


def row_as_json(batch: pa.RecordBatch, row: int) -> bytes:
    """One row as a JSON object, without `_partition` and `_offset`; of a very large row, its beginning.

    Times are text in UTC; a number that JSON does not know is text; bytes that are not UTF-8 are escaped.
    """
    values = {
        name: _plain(column.slice(row, 1))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if name not in (PARTITION, OFFSET)
    }
    text = json.dumps(values, default=str, separators=(",", ":"))
    if len(text) > RAW_LIMIT:
        # The text is ASCII, so that quoting it again at most doubles it.
        text = json.dumps({"truncated": text[: RAW_LIMIT // 2 - 32]})
    return text.encode()


def _plain(column: pa.Array) -> Any:
    """The one value of the column, as JSON knows it."""
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        return _plain(column.storage)
    if column.null_count:
        return None
    if pa.types.is_dictionary(type_):
        return _plain(column.dictionary_decode())
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        column = column.view(pa.timestamp(type_.unit, "UTC"))
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return column.cast(pa.string())[0].as_py()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return column.cast(pa.large_binary())[0].as_py().decode(errors="backslashreplace")
    try:
        return _json(column[0].as_py())
    except (ValueError, OverflowError):  # text that is not UTF-8, or a time beyond Python's, inside a list
        return column.to_string()


def _json(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, dict):
        return {key: _json(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(member) for member in value]
    return value
