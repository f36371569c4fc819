"""Parquet and Arrow IPC files: read as they are, and refused where they are damaged."""

from __future__ import annotations

import gzip
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from penrose_host.errors import SourceError, WrongStream

ROWS = 1000
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "name": pa.array([None if n % 7 == 0 else f"name {n % 10}" for n in range(ROWS)]),
        "tags": pa.array([list(range(n % 4)) for n in range(ROWS)], pa.list_(pa.int64())),
        "kind": pa.array([str(n % 3) for n in range(ROWS)]).dictionary_encode(),
        "at": pa.array(range(ROWS), pa.timestamp("us", "UTC")),
    }
)


def write_parquet(path, table=TABLE, **options):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, **{"row_group_size": 64, **options})
    return path


def write_arrow(path, table=TABLE, stream=False):
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file, (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=64)
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow", "arrows", "feather", "arrow.gz", "arrows.zst", "arrow.xz"])
def test_all_values_come_back(files, read, tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        write_parquet(path)
    elif kind == "arrow.gz":
        path.write_bytes(gzip.compress(write_arrow(tmp_path / "raw").read_bytes()))
    elif kind == "arrow.xz":
        import lzma

        path.write_bytes(lzma.compress(write_arrow(tmp_path / "raw").read_bytes()))
    elif kind == "arrows.zst":
        path.write_bytes(pa.compress(write_arrow(tmp_path / "raw", stream=True).read_bytes(), "zstd", asbytes=True))
    else:
        write_arrow(path, stream=kind == "arrows")
    expected = TABLE.to_pylist()
    for start in (0, 1, 63, 64, 500, ROWS):
        stream = read(files(path), {path.name: start}, max_rows=37)
        assert list(stream.rows.get(path.name, {})) == list(range(start, ROWS))
        assert list(stream.rows.get(path.name, {}).values()) == expected[start:]
    with pytest.raises(WrongStream, match=r"1001 in .* which has 1000 rows"):
        read(files(path), {path.name: ROWS + 1})


def test_only_the_columns_asked_for_are_read(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet")
    write_arrow(tmp_path / "b.arrow")
    stream = read(files(tmp_path / "*", columns=["kind", "id"]))
    assert list(stream.rows["a.parquet"][0]) == list(stream.rows["b.arrow"][0]) == ["kind", "id"]
    with pytest.raises(SourceError, match=r"no column 'nmae'.*columns id, name, tags, kind, at"):
        read(files(tmp_path / "*", columns=["nmae"]))


def test_files_with_other_columns_and_types_are_fitted_to_the_first(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": pa.array([1], pa.int64()), "y": ["a"]}))
    write_parquet(tmp_path / "b.parquet", pa.table({"z": [0], "x": pa.array([2], pa.int16())}))
    write_parquet(tmp_path / "c.parquet", pa.table({"y": pa.array(["c"], pa.large_string()), "x": [3.0]}))
    stream = read(files(tmp_path / "*.parquet"))
    assert stream.values("x") == [1, 2, 3]
    assert stream.values("y") == ["a", None, "c"]


SCALARS = (
    st.just(pa.bool_()),
    st.sampled_from([pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()]),
    st.sampled_from([pa.float16(), pa.float32(), pa.float64()]),
    st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(3)]),
    st.sampled_from([pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.duration("ms")]),
    st.builds(pa.timestamp, st.sampled_from(["s", "ms", "us", "ns"]), st.sampled_from([None, "UTC", "+01:00"])),
    st.sampled_from([pa.decimal128(5, 2), pa.decimal128(30, 0), pa.decimal256(50, 10), pa.null()]),
)
TYPES = st.one_of(*SCALARS, st.one_of(*SCALARS).map(pa.list_))


def _numbers(kind):
    """Python values of a type, also those at its ends."""
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_integer(kind):
        bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return st.one_of(st.integers(low, high), st.sampled_from([0, 1, high, high - 1]))
    if pa.types.is_floating(kind):
        floats = st.floats(width=kind.bit_width)
        return st.one_of(floats, st.sampled_from([0.0, -0.0, 1.0, 3.0, float("nan")]))
    if pa.types.is_decimal(kind):
        return st.integers(-99, 99).map(Decimal)
    return None


def _values(kind):
    if pa.types.is_list(kind):
        return st.lists(_values(kind.value_type), max_size=3)
    if pa.types.is_null(kind):
        return st.none()
    if (numbers := _numbers(kind)) is not None:
        return st.one_of(st.none(), numbers)
    if pa.types.is_fixed_size_binary(kind):
        return st.one_of(st.none(), st.binary(min_size=3, max_size=3))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return st.one_of(st.none(), st.binary(max_size=5))
    if pa.types.is_temporal(kind):
        return st.one_of(st.none(), st.integers(0, 20_000))
    return st.one_of(st.none(), st.text("ab01é", max_size=5))


@st.composite
def _columns(draw):
    kind = draw(TYPES)
    values = draw(st.lists(_values(kind), min_size=1, max_size=4))
    if pa.types.is_date64(kind):
        values = [None if value is None else value * 86_400_000 for value in values]
    return pa.array(values, kind)


def _same(one, other):
    """Whether two Python values are equal, of the same kind, and as precise; NaN is NaN."""
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, str | bytes) and isinstance(other, str | bytes):
        return (one.encode() if isinstance(one, str) else one) == (other.encode() if isinstance(other, str) else other)
    return one == other or (one != one and other != other)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=_columns(), second=_columns(), kind=st.sampled_from(["arrow", "parquet"]))
def test_every_value_of_files_whose_types_differ_arrives_equal_or_is_refused(
    files, read, tmp_path, first, second, kind
):
    write = write_arrow if kind == "arrow" else write_parquet
    for name, column in (("a", first), ("b", second)):
        try:
            write(tmp_path / f"{name}.{kind}", pa.table({"x": column, "n": range(len(column))}))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            assume(False)  # a type that the format does not have
    written = (
        [pq.read_table(tmp_path / f"{name}.parquet")["x"].combine_chunks() for name in "ab"]
        if (kind == "parquet")
        else [first, second]
    )
    try:
        stream = read(files(tmp_path / f"*.{kind}"))
    except SourceError as error:
        assert "column 'x' is" in str(error)  # noqa: PT017 - both outcomes are right
        return
    refused = {(reject.partition, reject.offset) for reject in stream.rejects}
    for name, column in zip("ab", written, strict=True):
        partition = f"{name}.{kind}"
        for offset, value in enumerate(column.to_pylist()):
            if (partition, offset) not in refused:  # as a date that is none, which Arrow itself calls invalid
                assert _same(value, stream.rows[partition][offset]["x"])


def test_integers_that_half_a_float_would_round_are_refused(files, read, tmp_path):
    """Arrow's own cast to it says nothing, in lists either."""
    for name, kind, value in (("one", pa.int16(), 2049), ("list", pa.list_(pa.int16()), [2049])):
        half = pa.list_(pa.float16()) if name == "list" else pa.float16()
        write_arrow(tmp_path / name / "a.arrow", pa.table({"x": pa.array([[1.0] if name == "list" else 1.0], half)}))
        write_arrow(tmp_path / name / "b.arrow", pa.table({"x": pa.array([value], kind)}))
        with pytest.raises(SourceError, match="column 'x' is"):
            read(files(tmp_path / name / "*"))


def test_what_the_hint_of_differing_types_says_reads_both(files, read, tmp_path):
    for name, first, second, both in (
        ("bool", [True, False], [3, 0], [1, 0, 3, 0]),
        ("float", [1, 2], [1.5], [1.0, 2.0, 1.5]),
        ("text", ["a"], [7], ["a", "7"]),
    ):
        write_parquet(tmp_path / name / "a.parquet", pa.table({"x": first}))
        write_parquet(tmp_path / name / "b.parquet", pa.table({"x": second}))
        with pytest.raises(SourceError) as caught:
            read(files(tmp_path / name / "*"))
        assert caught.value.partition == "b.parquet"
        kind = re.search(r"column_types: \{x: (\w+)\}", caught.value.hint)[1]
        assert read(files(tmp_path / name / "*", column_types={"x": kind})).values("x") == both


def test_a_type_that_cannot_be_fitted_is_an_error_that_names_the_file_and_the_column(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": [1]}))
    write_parquet(tmp_path / "b.parquet", pa.table({"x": [1.5]}))
    with pytest.raises(SourceError, match=r"column 'x' is double in .*b\.parquet and int64 in .*a\.parquet") as caught:
        read(files(tmp_path / "*.parquet"))
    assert (caught.value.partition, caught.value.offset) == ("b.parquet", 0)
    stream = read(files(tmp_path / "*.parquet", column_types={"x": "float32"}))
    assert stream.values("x") == [1.0, 1.5]


def test_a_file_with_none_of_the_columns_is_an_error(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": [1]}))
    write_parquet(tmp_path / "b.parquet", pa.table({"y": [1]}))
    with pytest.raises(SourceError, match=r"b\.parquet has none of the columns x"):
        read(files(tmp_path / "*.parquet"))


def test_a_file_without_rows_gives_none(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet", TABLE.slice(0, 0))
    write_arrow(tmp_path / "b.arrow", TABLE.slice(0, 0))
    write_parquet(tmp_path / "c.parquet", TABLE.slice(0, 1))
    assert list(read(files(tmp_path / "*")).rows) == ["c.parquet"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("size", [0, 3, 8, 0.5, -1])
def test_a_truncated_file_is_an_error_that_names_it(files, read, tmp_path, kind, size):
    path = (write_parquet if kind == "parquet" else write_arrow)(tmp_path / f"a.{kind}")
    data = path.read_bytes()
    path.write_bytes(data[: int(size * len(data)) if isinstance(size, float) else size])
    with pytest.raises(SourceError, match=rf"a\.{kind} is not a complete") as caught:
        read(files(path))
    assert caught.value.partition == path.name


def test_a_damaged_page_is_an_error_with_its_place_after_the_rows_before_it(files, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", TABLE.select(["id"]), write_page_checksum=True, use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(10).column(0)
    data = bytearray(path.read_bytes())
    data[group.data_page_offset + group.total_compressed_size - 5] ^= 0xFF
    path.write_bytes(data)
    source = files(path, batch_rows=64)
    source.open({"a.parquet": 0})
    for _ in range(10):
        assert source.read(64, 1.0).batch.num_rows == 64
    with pytest.raises(SourceError, match=r"a\.parquet cannot be read on from row 640") as caught:
        source.read(64, 1.0)
    assert (caught.value.partition, caught.value.offset) == ("a.parquet", 640)
    source.close()


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_packed_arrow_stream_that_is_cut_short_is_an_error(files, read, tmp_path, place):
    data = gzip.compress(write_arrow(tmp_path / "raw", stream=True).read_bytes())
    (tmp_path / "a.arrows.gz").write_bytes(data[: int(place * len(data))])
    with pytest.raises(SourceError, match=r"a\.arrows\.gz"):
        read(files(tmp_path / "a.arrows.gz"))


def test_text_that_is_not_utf8_is_a_single_reject(files, read, tmp_path):
    values = [b"a", b"b\xff", b"c", None, b"d"] * 20
    text = pa.Array.from_buffers(pa.string(), 100, pa.array(values, pa.binary()).buffers())
    write_parquet(tmp_path / "a.parquet", pa.table({"id": range(100), "s": text}))
    write_arrow(tmp_path / "b.arrow", pa.table({"id": range(100), "s": text}))
    stream = read(files(tmp_path / "*"), max_rows=7)
    for name in ("a.parquet", "b.arrow"):
        assert list(stream.rows[name]) == [n for n in range(100) if n % 5 != 1]
        assert [reject.offset for reject in stream.rejects if reject.partition == name] == list(range(1, 100, 5))
    assert "UTF8" in stream.rejects[0].reason


def test_a_column_named_like_a_place_in_the_stream_is_refused(files, read, tmp_path):
    write_parquet(tmp_path / "a.parquet", pa.table({"x": [1], "_offset": [5]}))
    with pytest.raises(SourceError, match="column '_offset'"):
        read(files(tmp_path / "a.parquet"))
    assert read(files(tmp_path / "a.parquet", columns=["x"])).values("x") == [1]


def test_a_packed_parquet_file_is_refused_with_advice(files, read, tmp_path):
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(write_parquet(tmp_path / "raw").read_bytes()))
    with pytest.raises(SourceError, match="unpack it"):
        read(files(tmp_path / "a.parquet.gz"))
