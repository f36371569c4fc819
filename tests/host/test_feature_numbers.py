from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from features_support import chunk, encode, encoder


@pytest.mark.parametrize(
    "type_",
    [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(30, 2), pa.bool_(), pa.null()],
    ids=str,
)
def test_numeric_columns_of_every_type(type_: pa.DataType) -> None:
    raw = [1, None, 0] if type_ != pa.null() else [None] * 3
    column = pa.array(raw).cast(type_)
    for start in range(3):
        rows = encode(chunk({"x": column.slice(start)}), numeric=[{"column": "x", "default": 0.5}])
        assert rows.numeric["x"].dtype == np.float32
        assert rows.numeric["x"].tolist() == [0.5 if v is None else v for v in raw[start:]]


def test_nan_counts_as_null_and_infinity_is_a_bad_row() -> None:
    column = pa.array([1.0, float("nan"), float("inf"), None, -float("inf"), 1e300])
    rows, rejects = encoder(numeric=[{"column": "x", "default": -1}]).encode(chunk({"x": column}))
    assert rows.numeric["x"].tolist() == [1, -1, -1]
    assert [reject.offset for reject in rejects] == [2, 4, 5]
    assert all("'x' is infinite" in reject.reason for reject in rejects)


def test_log1p() -> None:
    rows, rejects = encoder(numeric=[{"column": "x", "default": 9, "transform": "log1p"}]).encode(
        chunk({"x": [0.0, None, 99.0, -1.0, -5.0]})
    )
    assert np.allclose(rows.numeric["x"], np.log([1, 10, 100]))
    assert [reject.offset for reject in rejects] == [3, 4]
    assert encode(chunk({"x": [0, 3]}), numeric=[{"column": "x", "transform": "log1p"}]).numeric["x"][0] == 0


def test_labels_are_nan_where_null_and_otherwise_between_0_and_1() -> None:
    rows, rejects = encoder().encode(chunk({"y": [0.0, 1.0, 0.25, None, float("nan"), 1.5, -0.1, float("inf")]}))
    assert np.array_equal(rows.labels["y"], np.array([0, 1, 0.25, np.nan, np.nan], np.float32), equal_nan=True)
    assert [reject.offset for reject in rejects] == [5, 6, 7]
    for column in ([True, False, None], pa.array([1, 0, None], pa.int8()), pa.array([1, 0, None], pa.uint64())):
        labels = encode(chunk({"y": column})).labels["y"]
        assert np.array_equal(labels, np.array([1, 0, np.nan], np.float32), equal_nan=True)
    assert np.isnan(encode(chunk({"y": pa.nulls(2)})).labels["y"]).all()


def test_a_threshold_makes_a_label_of_any_number() -> None:
    label = {"name": "late", "column": "delay", "at_least": 15}
    rows, rejects = encoder(labels=[label]).encode(
        chunk({"delay": [14.9, 15.0, None, float("nan"), float("inf"), -3.0]})
    )
    assert np.array_equal(rows.labels["late"], np.array([0, 1, np.nan, np.nan, 0], np.float32), equal_nan=True)
    assert [reject.offset for reject in rejects] == [4]
    assert encode(chunk({"delay": [14, 15]}), labels=[label]).labels["late"].tolist() == [0, 1]
