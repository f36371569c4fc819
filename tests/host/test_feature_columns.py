from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from features_support import chunk, encoder, ids

from penrose_host.contracts.batch import Chunk
from penrose_host.errors import DataError

UTC = dt.UTC


def test_all_columns_that_do_not_fit_are_named_at_once() -> None:
    data = chunk(
        {"dest": ["a"], "price": ["3"], "when": pa.array([0], pa.timestamp("s")), "score": [0.5], "tags": [[1]]}
    )
    with pytest.raises(DataError) as caught:
        encoder(
            categorical=["dst", "when", "score", "tags"],
            numeric=["price"],
            lists=[{"name": "l", "column": "dest"}],
            labels=[{"column": "dest", "name": "z"}],
            known_at="score",
        ).encode(data)
    message = str(caught.value)
    for part in (
        "categorical feature 'dst': the stream has no column 'dst' (close: dest)",
        "categorical feature 'when': column 'when' is timestamp[s]; a categorical feature is text, integer",
        "`event_time: hour`",
        "categorical feature 'score': column 'score' is double",
        "under `numeric:`",
        "categorical feature 'tags': column 'tags' is list<",
        "put list columns under `lists:`",
        "numeric feature 'price': column 'price' is string; a number is an integer",
        "list feature 'l': column 'dest' is string; a list feature is a list of text",
        "label 'z': column 'dest' is string",
        "known_at: column 'score' is double; a time is a timestamp",
        "its columns are: ts, y, dest, price, when, score, tags",
        "correct `features` in the job",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("column", "source", "fault"),
    [
        ([1, 2], "ts", "say what its numbers count: {column: ts, unit: s}"),
        (["a", "b"], "ts", "say how it is written: {column: ts, format: iso8601}"),
        (["a", "b"], {"column": "ts", "unit": "s"}, "say how it is written"),
        ([1.5, 2.5], {"column": "ts", "unit": "s"}, "is double; a time is"),
        ([True, False], "ts", "is bool; a time is"),
    ],
)
def test_a_time_column_that_needs_more_words_says_which(column: list[Any], source: Any, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        encoder(event_time=source).encode(chunk({"ts": column}))
    assert fault in str(caught.value)


def test_a_column_that_stands_twice_and_one_that_changes_its_type() -> None:
    made = encoder(categorical=["c"])
    made.encode(chunk({"c": ["a"]}))
    with pytest.raises(DataError, match="column 'c' is double"):
        made.encode(chunk({"c": [0.5]}))
    batch = chunk({"c": ["a"]}).batch
    twice = pa.record_batch([*batch.columns, batch.column("c")], names=[*batch.schema.names, "c"])
    with pytest.raises(DataError, match="2 columns called 'c'"):
        made.encode(Chunk(twice))


def test_a_source_that_breaks_its_contract_is_told_so() -> None:
    with pytest.raises(DataError, match="offset: column '_offset' is int32; the datasource has to give int64"):
        encoder().encode(chunk({"_offset": pa.array([1], pa.int32())}))
    with pytest.raises(DataError, match="_partition is null"):
        encoder().encode(chunk({"_partition": pa.array(["a", None])}))
    with pytest.raises(DataError, match="_offset is null"):
        encoder().encode(chunk({"_offset": pa.array([1, None])}))


def test_plain_columns_are_encoded_as_the_stream_was() -> None:
    sections = {
        "categorical": ["carrier", {"event_time": "hour"}],
        "crosses": [["carrier", "flight"]],
        "lists": ["tags"],
        "numeric": ["x"],
    }
    made = encoder(**sections)
    columns = {"carrier": ["UA", None], "flight": [1, 2], "tags": [["a"], []], "x": [1.0, None]}
    rows, _ = made.encode(chunk(columns))
    times = [dt.datetime(2013, 1, 1, 10, 15, tzinfo=UTC)] * 2
    batch = made.encode_columns({**columns, "x": np.array([1.0, np.nan]), "flight": np.array([1, 2]), "ts": times})
    assert np.array_equal(batch.ids, rows.ids)
    assert np.array_equal(batch.numeric["x"], rows.numeric["x"])
    assert np.array_equal(batch.lists["tags"].values, rows.lists["tags"].values)
    assert len(batch.labels) == 0
    # Without a feature of the event time, scoring needs no time.
    assert len(encoder(numeric=["x"]).encode_columns({"x": [1.0]})) == 1


def test_plain_columns_that_cannot_be_scored() -> None:
    made = encoder(numeric=["x"], categorical=["c"])
    with pytest.raises(DataError, match="row 1 of the columns cannot be scored: numeric feature 'x'"):
        made.encode_columns({"x": [1.0, float("inf")], "c": ["a", "b"]})
    with pytest.raises(DataError, match="no column 'c'"):
        made.encode_columns({"x": [1.0]})
    with pytest.raises(DataError, match=r"differ in length \(x: 1, c: 2\)"):
        made.encode_columns({"x": [1.0], "c": ["a", "b"]})


def test_plain_columns_in_pieces_and_of_mixed_types() -> None:
    made = encoder(categorical=["c"])
    pieces = pa.chunked_array([["a"], ["b", "c"]])
    assert made.encode_columns({"c": pieces}).ids[:, 0].tolist() == ids("c", ["a", "b", "c"])
    with pytest.raises(DataError, match="column 'c' is not a list of values of one type"):
        made.encode_columns({"c": ["a", 1]})
    with pytest.raises(DataError, match="column 'c' is not a list of values of one type"):
        made.encode_columns({"c": 5})
