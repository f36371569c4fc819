"""The native hash of features gives the ids of the host, which are part of every checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from penrose_host.features.hashing import LONG, hash_bytes as host_bytes
from penrose_host.features.ids import FeatureHash, ids_of
from penrose_tfplus import hash_strings
from penrose_tfplus.hashing import hash_bytes

TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view()]
BYTES_TYPES = [pa.binary(), pa.large_binary(), pa.binary_view()]
#: Around whole words, and around the length from which values are hashed by their digest.
LENGTHS = st.sampled_from([0, 1, 7, 8, 9, 16, 63, 64, LONG - 1, LONG, LONG + 1, 1000])
BYTES = st.binary(max_size=40) | LENGTHS.flatmap(lambda length: st.binary(min_size=length, max_size=length))
TEXT = st.text(max_size=20) | LENGTHS.map(lambda length: "ä" * (length // 2) + "x" * (length % 2))
NAMES = st.sampled_from(["", "user", "größe", "x" * 300])


def host_ids(feature: str, column: pa.Array) -> Any:
    return ids_of(column, FeatureHash.of(feature))


@given(
    st.sampled_from(TEXT_TYPES).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(st.none() | TEXT)))
    | st.sampled_from(BYTES_TYPES).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(st.none() | BYTES))),
    NAMES,
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_ids_of_any_strings_are_those_of_the_host(case: Any, feature: str, start: int, end: int) -> None:
    kind, values = case
    column = pa.array(values, kind)
    column = column.slice(start, max(0, len(column) - start - end))
    ids = hash_strings(feature, column)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, host_ids(feature, column))


@given(st.lists(BYTES, max_size=30), st.data())
def test_each_value_can_have_a_seed_of_its_own(values: list[bytes], data: st.DataObject) -> None:
    seeds = np.array(
        data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(values), max_size=len(values))), np.uint64
    )
    content = np.frombuffer(b"".join(values), np.uint8) if any(values) else np.empty(0, np.uint8)
    offsets = np.cumsum([0, *map(len, values)])
    for chosen in (seeds, np.array([7], np.uint64)):
        np.testing.assert_array_equal(hash_bytes(content, offsets, chosen), host_bytes(content, offsets, chosen))


def test_columns_of_every_origin() -> None:
    words = ["a", "bb", None, "", "größe", "x" * 500] * 3000
    whole = pa.array(words)
    expected = host_ids("f", whole)
    np.testing.assert_array_equal(hash_strings("f", whole), expected)
    batch = pa.record_batch({"f": whole}).slice(5, 9000)
    np.testing.assert_array_equal(hash_strings("f", batch.column(0)), expected[5:9005])
    fixed = pa.array([b"abcd", None, b"wxyz"], pa.binary(4))
    np.testing.assert_array_equal(hash_strings("f", fixed.slice(1)), host_ids("f", fixed.slice(1)))
    for kind in (pa.string(), pa.large_binary()):
        for empty in (pa.array([], kind), pa.nulls(0, kind), whole.slice(0, 0).cast(kind)):
            assert hash_strings("f", empty).shape == (0,)
        nulls = pa.nulls(3, kind)
        np.testing.assert_array_equal(hash_strings("f", nulls), host_ids("f", nulls))


def test_bytes_that_are_no_text_are_hashed_as_they_are() -> None:
    column = pa.array([b"\xff\xfe", b"\x00"], pa.large_binary())
    np.testing.assert_array_equal(hash_strings("f", column), host_ids("f", column))


@pytest.mark.parametrize(
    "column", [pa.array([1, 2]), pa.array([1.5]), pa.array([["a"]]), pa.array([True]), pa.nulls(2)]
)
def test_columns_without_bytes_are_refused(column: pa.Array) -> None:
    """A number turned into text would have another id than the host's."""
    with pytest.raises(TypeError, match="string or binary"):
        hash_strings("f", column)


@pytest.mark.parametrize("offsets", [[0, 5], [-1, 2], [2, 1], [0, 2**62], []])
def test_offsets_outside_the_data_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        hash_bytes(np.zeros(4, np.uint8), np.array(offsets, np.int64), np.array([0], np.uint64))


@pytest.mark.parametrize("seeds", [0, 2, 4])
def test_the_seeds_are_one_or_one_for_each_value(seeds: int) -> None:
    with pytest.raises(ValueError, match="seeds"):
        hash_bytes(np.zeros(4, np.uint8), np.array([0, 1, 2, 3]), np.zeros(seeds, np.uint64))
