from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from features_support import T0, chunk, encode, encoder, ids, listed
from hypothesis import given, strategies as st

from penrose_host.contracts.batch import Chunk, Reject
from penrose_host.features.hashing import hash_words
from penrose_host.features.ids import FeatureHash, ids_of
from penrose_host.features.rejects import RAW_LIMIT


def test_categorical_features_and_crosses_stand_in_the_order_of_the_spec() -> None:
    data = chunk({"carrier": ["UA", None, "AA"], "flight": [1, 2, None], "dest": ["IAH", "MIA", "BQN"]})
    sections = {
        "categorical": ["carrier", {"name": "airport", "column": "dest"}],
        "crosses": [
            ["carrier", "flight"],
            {"name": "all", "of": ["airport", "flight", "carrier"]},
            ["airport", "flight"],
        ],
    }
    made = encoder(**sections)
    rows, _ = made.encode(data)
    assert made.spec.categorical == ("carrier", "airport", "carrier_x_flight", "all", "airport_x_flight")
    carrier, airport = ids("carrier", ["UA", None, "AA"]), ids("airport", ["IAH", "MIA", "BQN"])
    flight = ids("flight", [1, 2, None])

    def cross(name: str, *members: list[int]) -> list[int]:
        words = [np.array(member)[:, np.newaxis].view(np.uint64) for member in members]
        return hash_words(words, FeatureHash.of(name).seed)[:, 0].tolist()

    expected = [
        carrier,
        airport,
        cross("carrier_x_flight", carrier, flight),
        cross("all", airport, flight, carrier),
        cross("airport_x_flight", airport, flight),
    ]
    assert rows.ids.T.tolist() == expected
    assert rows.ids.flags.c_contiguous


def test_list_features_of_every_layout() -> None:
    values = [["a", "b"], None, [], ["c", None, "d"], ["e"]]
    whole = pa.array(values, pa.list_(pa.string()))
    for column in (whole, whole.cast(pa.large_list(pa.string())), pa.array(values, pa.list_(pa.large_string()))):
        for start in range(5):
            rows = encode(chunk({"tags": column.slice(start)}), lists=["tags"])
            flat = [value for row in values[start:] for value in row or []]
            assert rows.lists["tags"].values.tolist() == ids("tags", flat) if flat else True
            lengths = [len(row or []) for row in values[start:]]
            assert np.diff(rows.lists["tags"].offsets).tolist() == lengths
            assert rows.lists["tags"].offsets[0] == 0


@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=5)), max_size=6),
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(0, 3),
)
def test_long_lists_keep_their_last_values(values: list[Any], longest: int | None, start: int) -> None:
    column = pa.array(values, pa.list_(pa.int16())).slice(start)
    rows = encode(chunk({"seen": column}), lists=[{"column": "seen", "max_length": longest, "ordered": True}])
    ragged = rows.lists["seen"]
    kept = [(row or [])[-longest if longest else 0 :] for row in values[start:]]
    for index, row in enumerate(kept):
        got = ragged.values[ragged.offsets[index] : ragged.offsets[index + 1]].tolist()
        assert got == (ids_of(pa.array(row, pa.int64()), FeatureHash.of("seen")).tolist())
    assert ragged.offsets[0] == 0
    assert ragged.offsets[-1] == len(ragged.values)


def test_a_null_list_has_no_values_even_where_arrow_keeps_some_under_it() -> None:
    column = pa.ListArray.from_arrays(pa.array([0, 2, 4]), pa.array([1, 2, 3, 4]), mask=pa.array([True, False]))
    assert encode(chunk({"seen": column}), lists=["seen"]).lists["seen"].values.tolist() == ids("seen", [3, 4])


def test_fixed_size_lists() -> None:
    column = pa.array([[1, 2], None, [5, 6], [7, 8]], pa.list_(pa.int64(), 2)).slice(1)
    ragged = encode(chunk({"seen": column}), lists=[{"column": "seen", "max_length": 1}]).lists["seen"]
    assert (ragged.values.tolist(), ragged.offsets.tolist()) == (ids("seen", [6, 8]), [0, 0, 1, 2])


def test_partitions_are_named_in_order_of_appearance() -> None:
    for column in (pa.array(["b", "a", "b", "c"]), pa.array(["b", "a", "b", "c"]).dictionary_encode()):
        rows = encode(chunk({"_partition": column, "_offset": [7, 1, 8, 0]}))
        assert rows.names == ("b", "a", "c")
        assert rows.partition.dtype == np.int32
        assert (rows.partition.tolist(), rows.offset.tolist()) == ([0, 1, 0, 2], [7, 1, 8, 0])
    unused = pa.DictionaryArray.from_arrays(pa.array([1, 1]), pa.array(["unused", "used"]))
    assert encode(chunk({"_partition": unused})).names == ("used",)


def test_bad_rows_are_taken_out_of_every_column_and_keep_what_they_held() -> None:
    source = Reject("p", 9, "too few fields", b"1,2")
    data = chunk(
        {
            "_offset": [4, 5, 6],
            "y": [1.0, 7.0, 0.0],
            "x": [1.5, 2.5, 3.5],
            "c": ["a", "ü", "c"],
            "tags": [[1], [2, 3], [4, 5, 6]],
        },
        rejects=(source,),
    )
    made = encoder(categorical=["c"], numeric=["x"], lists=["tags"])
    rows, rejects = made.encode(data)
    assert rows.offset.tolist() == [4, 6]
    assert rows.numeric["x"].tolist() == [1.5, 3.5]
    assert rows.ids[:, 0].tolist() == ids("c", ["a", "c"])
    assert rows.lists["tags"].offsets.tolist() == [0, 1, 4]
    assert rows.lists["tags"].values.tolist() == ids("tags", [1, 4, 5, 6])
    assert rejects[0] is source
    assert (rejects[1].partition, rejects[1].offset) == ("p", 5)
    assert rejects[1].reason == "label 'y': column 'y' is not between 0 and 1"
    held = {"ts": "2013-01-01 10:15:00.000001", "y": 7.0, "x": 2.5, "c": "ü", "tags": [2, 3]}
    assert json.loads(rejects[1].raw) == held


def test_what_a_very_large_bad_row_held_is_cut() -> None:
    _, rejects = encoder().encode(chunk({"y": [3.0], "text": ['"\\ü' * 1_000_000]}))
    assert len(rejects[0].raw) <= RAW_LIMIT
    assert json.loads(rejects[0].raw)["truncated"].startswith('{"ts":"2013-01-01 10:15:00.000000","y":3.0,"text":"')


def test_a_very_large_field_is_encoded_or_rejected_as_any_other() -> None:
    data = chunk({"c": ["short", "x" * 20_000_000, "y" * 100_000_000], "y": [1.0, 0.0, 7.0]})
    rows, rejects = encoder(categorical=["c"]).encode(data)
    assert rows.ids[:, 0].tolist() == ids("c", ["short", "x" * 20_000_000])
    assert json.loads(rejects[0].raw)["truncated"].endswith("yyy")
    assert len(rejects[0].raw) <= RAW_LIMIT


def test_many_bad_rows_are_all_kept_apart() -> None:
    labels = np.where(np.arange(20_000) % 2, 1.0, 7.0)
    rows, rejects = encoder().encode(chunk({"y": labels, "x": np.arange(20_000)}))
    assert (len(rows), len(rejects)) == (10_000, 10_000)
    assert [json.loads(reject.raw)["x"] for reject in rejects] == list(range(0, 20_000, 2))


def test_any_type_of_column_in_a_bad_row_becomes_json() -> None:
    columns = {
        "ns": pa.array([1], pa.timestamp("ns", "America/New_York")),
        "far": pa.array([1 << 62], pa.timestamp("s")),
        "nan": [float("nan")],
        "binary": [b"\xff"],
        "broken": pa.array([b"\xffa"]).view(pa.string()),
        "nested": [{"a": [1.5, None, float("inf")]}],
        "decimal": [Decimal("1.50")],
        "category": pa.array(["x"]).dictionary_encode(),
        "broken_list": pa.ListArray.from_arrays(pa.array([0, 1]), pa.array([b"\xffa"]).view(pa.string())),
        "duration": pa.array([5], pa.duration("s")),
        "none": pa.nulls(1),
    }
    _, rejects = encoder().encode(chunk({"y": [3.0], **columns}))
    held = json.loads(rejects[0].raw, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert held["ns"] == "1970-01-01 00:00:00.000000001Z"
    assert (held["nan"], held["binary"], held["broken"], held["none"]) == ("nan", "\\xff", "\\xffa", None)
    assert (held["nested"], held["decimal"], held["category"]) == ({"a": [1.5, None, "inf"]}, "1.50", "x")


def test_no_rows() -> None:
    sections = {
        "categorical": ["c", {"event_time": "hour"}],
        "crosses": [["c", "hour"]],
        "lists": ["tags"],
        "numeric": ["x"],
    }
    columns = {
        "c": pa.array([], pa.string()),
        "tags": pa.array([], pa.list_(pa.int64())),
        "x": pa.array([], pa.float64()),
    }
    rows, rejects = encoder(**sections).encode(chunk(columns, rows=0))
    assert (len(rows), rows.names, rejects, rows.ids.shape) == (0, (), (), (0, 3))
    assert rows.lists["tags"].offsets.tolist() == [0]
    assert len(rows.batch()) == 0


def test_every_row_bad() -> None:
    rows, rejects = encoder(lists=["tags"]).encode(chunk({"y": [2.0, 3.0], "tags": [[1], [2]]}))
    assert (len(rows), len(rejects), rows.lists["tags"].offsets.tolist()) == (0, 2, [0])


def test_columns_without_nulls_are_not_copied() -> None:
    data = chunk(
        {
            "x": pa.array([1.5, 2.5, 3.5], pa.float32()),
            "y": pa.array([0.0, 1.0, 1.0], pa.float32()),
            "known": pa.array([T0 + 5] * 3, pa.timestamp("us")),
        }
    )
    rows = encode(data, numeric=["x"], known_at="known")
    batch = data.batch

    def memory(name: str) -> Any:
        return np.frombuffer(batch.column(name).buffers()[1], dtype=np.uint8)

    assert np.shares_memory(rows.numeric["x"], memory("x"))
    assert np.shares_memory(rows.labels["y"], memory("y"))
    assert np.shares_memory(rows.event_time, memory("ts"))
    assert np.shares_memory(rows.known_at, memory("known"))
    assert np.shares_memory(rows.offset, memory("_offset"))


@given(st.integers(0, 6), st.integers(0, 6))
def test_the_cut_of_chunks_does_not_change_the_rows(first: int, second: int) -> None:
    columns = {
        "_partition": ["a", "b", "a", "b", "c", "a"],
        "c": ["x", None, "y", "x", "z" * 300, ""],
        "tags": [[1], None, [2, 3], [], [4], [5]],
        "x": [1.0, None, float("inf"), 2.0, 3.0, float("nan")],
        "y": [1.0, 0.0, 1.0, None, 2.0, 1.0],
    }
    whole = chunk(columns).batch
    made = encoder(
        categorical=["c", {"event_time": "minute"}], crosses=[["c", "minute"]], lists=["tags"], numeric=["x"]
    )
    start, stop = min(first, second), max(first, second)
    got: list[Any] = []
    for piece in (whole.slice(0, start), whole.slice(start, stop - start), whole.slice(stop)):
        got += listed(*made.encode(Chunk(piece)))
    assert got == listed(*made.encode(Chunk(whole)))
