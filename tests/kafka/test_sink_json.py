"""Rows as JSON say what the columns hold, whatever that is."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from penrose_kafka.sink.json_values import json_values

VALUES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(),
    pa.large_string(): st.text(alphabet='"\\\n\x00\x1f\x7fé𝄞\u2028', max_size=8),
    pa.bool_(): st.booleans(),
    pa.list_(pa.float64()): st.lists(st.none() | st.floats(), max_size=3),
    pa.struct({"a": pa.string(), "b": pa.int64()}): st.fixed_dictionaries({"a": st.text(), "b": st.integers(0, 9)}),
}


def plain(value: Any) -> Any:
    """What JSON can say of a value."""
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(st.data())
def test_json_says_what_the_columns_hold(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 4))
    names = data.draw(st.lists(st.text(), unique=True, max_size=4))
    columns = {}
    for name in names:
        kind = data.draw(st.sampled_from(list(VALUES)))
        values = data.draw(st.lists(st.none() | VALUES[kind], min_size=count, max_size=count))
        columns[name] = pa.array(values, kind)
    batch = (
        pa.RecordBatch.from_pydict(columns)
        if columns
        else pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
    )
    found = [json.loads(value) for value in json_values(batch)]
    assert found == [{name: plain(value) for name, value in row.items()} for row in batch.to_pylist()]
    assert [list(row) for row in found] == [names] * count
    for row, value in zip(found, json_values(batch), strict=True):
        assert b"\n" not in value
        assert all(type(row[name]) is float for name in names if columns[name].type == pa.float64() and row[name])


def test_every_type_has_its_json() -> None:
    day, moment = datetime.date(2020, 2, 29), datetime.time(1, 2, 3, 4)
    batch = pa.RecordBatch.from_pydict(
        {
            "zoned": pa.array([1_582_934_400_000_000_001], pa.timestamp("ns", "America/New_York")),
            "seconds": pa.array([0], pa.timestamp("s", "UTC")),
            "local": pa.array([1_500], pa.timestamp("ms")),
            "date": pa.array([day]),
            "time": pa.array([moment]),
            "duration": pa.array([5], pa.duration("us")),
            "decimal": pa.array([decimal.Decimal("1.10")]),
            "binary": pa.array([b"\xff\0"]),
            "small": pa.array([0.1], pa.float32()),
            "half": pa.array([0.5], pa.float16()),
            "word": pa.array(['a"b']).dictionary_encode(),
            "view": pa.array(["x"], pa.string_view()),
            "nothing": pa.nulls(1),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "inner": pa.array(
                [[datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]], pa.list_(pa.timestamp("us", "UTC"))
            ),
        }
    )
    (value,) = json_values(batch)
    assert json.loads(value) == {
        "zoned": "2020-02-29T00:00:00.000000001Z",
        "seconds": "1970-01-01T00:00:00Z",
        "local": "1970-01-01T00:00:01.500",
        "date": "2020-02-29",
        "time": "01:02:03.000004",
        "duration": 5,
        "decimal": "1.10",
        "binary": base64.b64encode(b"\xff\0").decode(),
        "small": 0.1,
        "half": 0.5,
        "word": 'a"b',
        "view": "x",
        "nothing": None,
        "map": [["k", 1]],
        "inner": ["2020-01-01T00:00:00Z"],
    }


def test_a_slice_of_rows_is_written_as_that_slice() -> None:
    batch = pa.RecordBatch.from_pydict({"n": list(range(10))})
    assert [json.loads(value)["n"] for value in json_values(batch.slice(3, 2))] == [3, 4]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 2**62], pa.timestamp("us", "UTC")),
        pa.array([None, -(2**62)], pa.timestamp("s")),
        pa.array([0, 2**31 - 1], pa.date32()),
        pa.array([0, 86_400], pa.time32("s")),
    ],
)
def test_a_time_that_no_calendar_has_is_an_error_and_not_a_text_about_it(column: pa.Array) -> None:
    batch = pa.RecordBatch.from_pydict({"n": pa.array([1, 2]), "when": column})
    with pytest.raises(ValueError, match=r"column 'when': .* is out of range: <value out of range: "):
        json_values(batch)


def test_a_value_without_json_is_told_with_its_column() -> None:
    batch = pa.RecordBatch.from_pydict({"n": pa.array([[5]], pa.list_(pa.duration("us")))})
    with pytest.raises(ValueError, match="column 'n': a value of timedelta"):
        json_values(batch)
