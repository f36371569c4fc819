"""Rows that cannot be used: which, why, and what they held."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION, Reject

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.features.ids import Bool

__all__ = ["RAW_LIMIT", "Faults", "rows_as_json"]

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

    def rejects(self, batch: pa.RecordBatch, raw: Sequence[bytes] | None = None) -> tuple[Reject, ...]:
        """The rows that cannot be used, in order, with what they held: their bytes in `raw`, where it is given."""
        rows = sorted(self.reasons)
        bad = batch.take(pa.array(rows, pa.int64()))
        partitions, offsets = bad.column(PARTITION).to_pylist(), bad.column(OFFSET).to_pylist()
        reasons = [self.reasons[row] for row in rows]
        held = rows_as_json(bad) if raw is None else [raw[row] for row in rows]
        return tuple(map(Reject, partitions, offsets, reasons, held))


def rows_as_json(batch: pa.RecordBatch) -> list[bytes]:
    """Each row as a JSON object, without `_partition` and `_offset`; of a very large row, its beginning.

    Times are text in UTC; a number that JSON does not know is text; bytes that are not UTF-8 are escaped.
    """
    kept = [index for index, name in enumerate(batch.schema.names) if name not in (PARTITION, OFFSET)]
    names = [batch.schema.names[index] for index in kept]
    columns = [_plain(batch.column(index)) for index in kept]
    return [_bounded(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _bounded(row: dict[str, Any]) -> bytes:
    text = json.dumps(row, default=str, separators=(",", ":"))
    if len(text) > RAW_LIMIT:
        # The text is ASCII, so that quoting it again at most doubles it.
        text = json.dumps({"truncated": text[: RAW_LIMIT // 2 - 32]})
    return text.encode()


def _plain(column: pa.Array) -> list[Any]:
    """The values of the column, as JSON knows them."""
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(type_):
        return _plain(column.dictionary_decode())
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        column = column.view(pa.timestamp(type_.unit, "UTC"))
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        column = column.cast(pa.string())
    elif pa.types.is_string(type_) or pa.types.is_large_string(type_):
        column = column.cast(pa.large_binary())
    try:
        return [_json(value) for value in column.to_pylist()]
    except (ValueError, OverflowError):  # text that is not UTF-8, or a time beyond Python's, inside a list
        return [column.slice(row, 1).to_string() for row in range(len(column))]


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # A longer value takes the row over the limit anyway, and its end is never shown.
    if isinstance(value, bytes):
        return value[:RAW_LIMIT].decode(errors="backslashreplace")
    if isinstance(value, str):
        return value[:RAW_LIMIT]
    if isinstance(value, dict):
        return {key: _json(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(member) for member in value]
    return value
