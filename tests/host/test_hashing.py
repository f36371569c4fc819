"""Ids against a second, plain implementation of their definition, and against values that never change."""

from __future__ import annotations

import hashlib
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from penrose_host.features.hashing import LONG, hash_bytes, hash_words, murmur
from penrose_host.features.ids import FeatureHash, can_have_ids, ids_of, ids_of_columns

WRAP = (1 << 64) - 1


def plain_murmur(data: bytes, seed: int) -> int:
    """MurmurHash64A, one byte at a time."""
    m = 0xC6A4A7935BD1E995
    h = (seed ^ len(data) * m) & WRAP
    at = 0
    while len(data) - at >= 8:
        k = 0
        for place in range(8):
            k |= data[at + place] << (8 * place)
        k = k * m & WRAP
        k ^= k >> 47
        k = k * m & WRAP
        h = (h ^ k) * m & WRAP
        at += 8
    if at < len(data):
        for place in range(len(data) - at):
            h ^= data[at + place] << (8 * place)
        h = h * m & WRAP
    h ^= h >> 47
    h = h * m & WRAP
    return h ^ h >> 47


def plain_id(feature: str, value: object) -> int:
    """The id of a value as the definition in `hashing` words it, as a signed integer."""
    if value is None:
        unsigned = plain_murmur(feature.encode(), 0x6E756C6C)
    else:
        if isinstance(value, str):
            data = value.encode()
        elif isinstance(value, bytes):
            data = value
        elif isinstance(value, date):
            data = (value - date(1970, 1, 1)).days.to_bytes(8, "little", signed=True)
        else:
            assert isinstance(value, int)
            data = (value & WRAP).to_bytes(8, "little")
        if len(data) > 256:
            data = hashlib.blake2b(data, digest_size=32).digest()
        unsigned = plain_murmur(data, plain_murmur(feature.encode(), 0))
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def check(column: pa.Array, feature: str = "f") -> None:
    expected = [plain_id(feature, value) for value in column.to_pylist()]
    ids = ids_of(column, FeatureHash.of(feature))
    assert ids.dtype == np.int64
    assert ids.tolist() == expected


def test_murmur_gives_the_verification_value_of_its_authors_test_suite() -> None:
    # Keys {}, {0}, {0, 1}, ..., with the seeds 256, 255, ...; the hash of all hashes, its lower half.
    for function in (murmur, plain_murmur):
        hashes = b"".join(function(bytes(range(n)), 256 - n).to_bytes(8, "little") for n in range(256))
        assert function(hashes, 0) & 0xFFFFFFFF == 0x1F0D3804


GOLDEN = [
    ("carrier", "UA", 2980945852112889034),
    ("carrier", "", -9212895678460575029),
    ("carrier", None, 7463091606743162459),
    ("carrier", 0, -4217217930551536384),
    ("carrier", -1, -5606921529069372891),
    ("", "Zürich", -6821751699557443598),
    ("carrier", "x" * 256, -5126922635814198770),
    ("carrier", "x" * 257, 6409310379084611577),
]


@pytest.mark.parametrize(("feature", "value", "id_"), GOLDEN)
def test_ids_never_change(feature: str, value: object, id_: int) -> None:
    assert ids_of(pa.array([value]), FeatureHash.of(feature)).tolist() == [id_]


def test_the_id_of_a_cross_never_changes() -> None:
    members = [ids_of(pa.array([value]), FeatureHash.of(name)) for name, value in (("origin", "JFK"), ("dest", "LAX"))]
    words = [member.view(np.uint64)[:, np.newaxis] for member in members]
    assert hash_words(words, FeatureHash.of("origin_x_dest").seed).tolist() == [[485187592539344331]]


TEXT = st.one_of(st.text(max_size=20), st.text(alphabet="aé", min_size=200, max_size=300))


@given(st.lists(st.one_of(st.none(), TEXT), max_size=12), st.text(max_size=5), st.data())
def test_text_columns_of_every_layout_have_the_same_ids(
    values: list[str | None], feature: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    whole = pa.array(values, pa.string())
    layouts = [whole, whole.cast(pa.large_string()), whole.dictionary_encode(), whole.cast(pa.string_view())]
    for column in layouts:
        check(column.slice(start, stop - start), feature)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=12), st.integers(0, 12))
def test_binary_columns(values: list[bytes | None], start: int) -> None:
    for type_ in (pa.binary(), pa.large_binary(), pa.binary_view()):
        check(pa.array(values, type_).slice(start))
    fixed = [None if value is None else value.ljust(40)[:40] for value in values]
    check(pa.array(fixed, pa.binary(40)).slice(start))


@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("kind", ["int", "uint"])
@given(data=st.data())
@settings(max_examples=20)
def test_integers_of_every_width_have_the_ids_of_int64(kind: str, width: int, data: st.DataObject) -> None:
    info = np.iinfo(f"{kind}{width}")
    integers = st.integers(int(info.min), int(info.max))
    values = data.draw(st.lists(st.one_of(st.none(), integers), max_size=8))
    check(pa.array(values, f"{kind}{width}").slice(data.draw(st.integers(0, 3))))


def test_booleans_dates_and_nulls() -> None:
    check(pa.array([True, None, False, True]).slice(1))
    check(pa.array([date(1969, 12, 31), None, date(2013, 1, 1)]))
    check(pa.array([date(1969, 12, 31), None, date(2013, 1, 1)], pa.date64()))
    check(pa.nulls(3))
    check(pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 2]), pa.array(["a", None, "b"])))
    check(pa.array([None, None]).cast(pa.dictionary(pa.int32(), pa.string())))
    assert ids_of(pa.array([1]), FeatureHash.of("f")) != ids_of(pa.array(["1"]), FeatureHash.of("f"))


def test_columns_of_no_rows() -> None:
    for type_ in (pa.string(), pa.large_binary(), pa.int64(), pa.bool_(), pa.null(), pa.date32(), pa.string_view()):
        assert ids_of(pa.array([], type_), FeatureHash.of("f")).tolist() == []
    assert ids_of(pa.array([], pa.string()).dictionary_encode(), FeatureHash.of("f")).tolist() == []
    assert ids_of_columns([pa.array([], pa.string())] * 2, [FeatureHash.of("f")] * 2, 0).shape == (0, 2)
    assert ids_of_columns([], [], 5).shape == (5, 0)


def test_floats_and_timestamps_have_no_ids() -> None:
    for type_ in (pa.float64(), pa.timestamp("us"), pa.list_(pa.int64()), pa.decimal128(5), pa.duration("s")):
        assert not can_have_ids(type_)
        with pytest.raises(TypeError, match="has no ids"):
            ids_of(pa.array([], type_), FeatureHash.of("f"))


def test_a_large_dictionary_of_which_few_values_occur() -> None:
    values = pa.array([f"value {number}" for number in range(50_000)])
    column = pa.DictionaryArray.from_arrays(pa.array([49_999, None, 7, 7]), values)
    check(column)


COLUMN = st.sampled_from(["text", "integers", "booleans", "dictionary", "long", "null"])


@given(st.lists(COLUMN, min_size=1, max_size=6), st.integers(1, 5), st.randoms(use_true_random=False))
def test_columns_hashed_together_have_the_ids_of_each_alone(kinds: list[str], rows: int, random: object) -> None:
    def column(kind: str) -> pa.Array:
        pick = random.choice  # type: ignore[attr-defined]
        if kind in ("text", "dictionary", "long"):
            words = ["", "a", "zwölf zeichen", None, "x" * (LONG + 1 if kind == "long" else LONG)]
            text = pa.array([pick(words) for _ in range(rows + 1)], pa.string()).slice(1)
            return text.dictionary_encode() if kind == "dictionary" else text
        if kind == "null":
            return pa.nulls(rows)
        choices = [True, False, None] if kind == "booleans" else [1, -5, None]
        return pa.array([pick(choices) for _ in range(rows)], pa.bool_() if kind == "booleans" else pa.int32())

    columns = [column(kind) for kind in kinds]
    hashes = [FeatureHash.of(f"f{index}") for index in range(len(kinds))]
    together = ids_of_columns(columns, hashes, rows)
    for index, one in enumerate(columns):
        assert together[:, index].tolist() == [plain_id(f"f{index}", value) for value in one.to_pylist()]


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 1 << 32))
def test_crosses_hash_the_bytes_of_their_members(size: int, rows: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = [rng.integers(0, 1 << 64, (rows, count), dtype=np.uint64) for _ in range(size)]
    seeds = rng.integers(0, 1 << 64, count, dtype=np.uint64)
    ids = hash_words(words, seeds).view(np.uint64)
    for row in range(rows):
        for column in range(count):
            data = b"".join(int(word[row, column]).to_bytes(8, "little") for word in words)
            assert int(ids[row, column]) == plain_murmur(data, int(seeds[column]))


def test_many_rows_have_the_ids_of_few() -> None:
    values = [("x" * (number % 300)) + str(number) for number in range(10_000)]
    hash_ = FeatureHash.of("f")
    column = pa.array(values)
    ids = ids_of(column, hash_)
    parts = [ids_of(column.slice(start, 777), hash_) for start in range(0, len(column), 777)]
    assert np.array_equal(ids, np.concatenate(parts))
    assert ids[9_999] == plain_id("f", values[9_999])
    assert len(set(ids.tolist())) == len(values)


def test_a_field_of_100_megabytes_among_short_ones() -> None:
    large = b"\xc3\xa9" * 50_000_000
    data = np.frombuffer(b"ab" + large + b"cd", dtype=np.uint8)
    offsets = np.array([0, 2, 2 + len(large), 4 + len(large)], dtype=np.int64)
    began = time.perf_counter()
    ids = hash_bytes(data, offsets, FeatureHash.of("f").seed)
    assert time.perf_counter() - began < 5
    assert ids.tolist() == [plain_id("f", b"ab"), plain_id("f", large), plain_id("f", b"cd")]


def test_random_ids_spread_over_all_bits() -> None:
    ids = ids_of(pa.array(range(20_000)), FeatureHash.of("f")).view(np.uint64)
    for bit in range(64):
        ones = int(((ids >> np.uint64(bit)) & np.uint64(1)).sum())
        assert 9_500 < ones < 10_500


def test_the_plain_python_of_the_documentation_gives_the_same_ids() -> None:
    text = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    values = ["UA", "", None, "x" * 256, "x" * 257, "Zürich"]
    expected = ids_of(pa.array(values), FeatureHash.of("carrier")).tolist()
    assert [names["feature_id"]("carrier", value) for value in values] == expected
    for numbers in ([0, -1, (1 << 63) - 1], [True, False]):
        expected = ids_of(pa.array(numbers), FeatureHash.of("n")).tolist()
        assert [names["feature_id"]("n", number) for number in numbers] == expected
    members = [names["feature_id"]("origin", "JFK"), names["feature_id"]("dest", "LAX")]
    words = [np.array([[member]]).view(np.uint64) for member in members]
    assert names["cross_id"]("origin_x_dest", members) == hash_words(words, FeatureHash.of("origin_x_dest").seed).item()
