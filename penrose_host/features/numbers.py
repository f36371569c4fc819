"""Numbers and labels of Arrow columns as float32, and which of them a row cannot have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.features.ids import integers_of, null_mask

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Float32
    from penrose_host.features.config import Label, Numeric
    from penrose_host.features.ids import Bool

__all__ = ["labels_of", "number_fault", "numbers_of"]

_FLOATS = {pa.lib.Type_HALF_FLOAT: np.float16, pa.lib.Type_FLOAT: np.float32, pa.lib.Type_DOUBLE: np.float64}


def number_fault(type_: pa.DataType) -> str | None:
    """What is wrong with a column of this type as numbers, or None."""
    known = pa.types.is_integer(type_) or pa.types.is_decimal(type_)
    if known or type_.id in _FLOATS or pa.types.is_boolean(type_) or pa.types.is_null(type_):
        return None
    return "a number is an integer, a float, a decimal or a boolean"


def numbers_of(column: pa.Array, feature: Numeric) -> tuple[Float32, Bool | None]:
    """float32 [rows], and where the value is infinite or has no logarithm (None: nowhere).

    A float32 column without nulls, NaN and transform is not copied.
    """
    values, missing = _values(column)
    if missing is not None:
        values = np.where(missing, feature.default, values)
    bad: Bool | None = None
    if feature.transform == "log1p":
        bad = values <= -1
        values = np.log1p(np.where(bad, 0, values), dtype=np.float64)
    numbers = _as_float32(values)
    infinite = ~np.isfinite(numbers)
    bad = infinite if bad is None else bad | infinite
    return numbers, bad if bad.any() else None


def labels_of(column: pa.Array, label: Label) -> tuple[Float32, Bool | None]:
    """float32 [rows], NaN where null, and where the value cannot be a label (None: nowhere)."""
    values, missing = _values(column)
    if label.at_least is not None:
        labels = (values >= label.at_least).astype(np.float32)
        bad = np.isinf(values) if values.dtype.kind == "f" else None
    else:
        labels = _as_float32(values)
        bad = (values < 0) | (values > 1)
    if missing is not None:
        labels = np.where(missing, np.float32(np.nan), labels)
        bad = None if bad is None else bad & ~missing
    return labels, bad if bad is not None and bad.any() else None


def _values(column: pa.Array) -> tuple[npt.NDArray[Any], Bool | None]:
    """The numbers as they are, and where there is none (null or NaN; None: nowhere)."""
    kind = column.type.id
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.float32), np.ones(len(column), dtype=np.bool_)
    missing = null_mask(column) if column.null_count else None
    if pa.types.is_decimal(column.type):
        column, kind = column.cast(pa.float64()), pa.lib.Type_DOUBLE
    if kind not in _FLOATS:
        values: npt.NDArray[Any] = integers_of(column)
        return values.view(np.uint64) if pa.types.is_uint64(column.type) else values, missing
    data = column.buffers()[1]
    if len(column) == 0 or data is None:
        return np.empty(0, dtype=np.float32), None
    width = np.dtype(_FLOATS[kind])
    values = np.frombuffer(data, dtype=width, count=len(column), offset=column.offset * width.itemsize)
    nan = np.isnan(values)
    if nan.any():
        missing = nan if missing is None else missing | nan
    return values, missing


def _as_float32(values: npt.NDArray[Any]) -> Float32:
    with np.errstate(over="ignore", invalid="ignore"):  # too large for a float32: infinite, and found so
        return values.astype(np.float32, copy=False)
