"""Arrow IPC: a message is one whole stream, and nobody vouches for its bytes."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
from decoding_support import arrow, check, rows_of

from penrose_host.decoding import DecoderOptions, make_decoder

ARROW = DecoderOptions(format="arrow")


def batch(**columns):
    return pa.record_batch(columns)


GOOD = arrow(batch(a=[1, 2], s=["x", None]))


def decoded(*messages, **options):
    options = DecoderOptions(format="arrow", **options)
    return check(options, make_decoder(options), list(messages))


def test_a_message_gives_all_the_rows_of_its_stream():
    decoder = make_decoder(ARROW)
    assert decoder.rows_per_message == 1 << 20
    done = check(ARROW, decoder, [GOOD, arrow(batch(a=[3]), batch(a=[4, 5])), arrow(batch(a=pa.array([], pa.int64())))])
    assert done.message.tolist() == [0, 0, 1, 1, 1]
    assert done.row.tolist() == [0, 1, 0, 1, 2]
    assert done.batch.to_pydict() == {"a": [1, 2, 3, 4, 5], "s": ["x", None, None, None, None]}
    assert not done.faults
    again = make_decoder(ARROW, state=decoder.state())
    assert again.schema == decoder.schema == pa.schema([("a", pa.int64()), ("s", pa.string())])


def test_columns_are_matched_by_name_and_new_ones_are_taken_up():
    done = decoded(
        GOOD,
        arrow(batch(new=[True], s=pa.array(["y"], pa.large_string()), a=pa.array([7], pa.uint8()))),
        arrow(batch(a=[8.0])),
        arrow(batch(a=pa.nulls(1))),
    )
    assert done.batch.schema == pa.schema([("a", pa.int64()), ("s", pa.string()), ("new", pa.bool_())])
    assert [row["a"] for row in done.batch.to_pylist()] == [1, 2, 7, 8, None]


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array(["u", "v", "u"]).dictionary_encode(), pa.string(), ["u", "v", "u"]),
        (pa.array([b"x"], pa.large_binary()), pa.binary(), [b"x"]),
        (pa.array([[1], None, []], pa.large_list(pa.int8())), pa.list_(pa.int8()), [[1], None, []]),
        (pa.array([[1, 2], None], pa.list_(pa.float32(), 2)), pa.list_(pa.float32()), [[1.0, 2.0], None]),
        (pa.array([{"k": "v"}, None], pa.struct([("k", pa.large_string())])), pa.struct([("k", pa.string())]), None),
    ],
)
def test_types_become_those_of_columns(column, kind, values):
    done = decoded(arrow(pa.record_batch([column], names=["c"])))
    assert done.batch.schema.field("c").type == kind
    assert done.batch.column(0).to_pylist() == (values or column.to_pylist())


def test_types_that_are_given_are_cast_to():
    done = decoded(arrow(batch(a=[1, 2], b=[1, 2])), arrow(batch(a=[300])), columns=["a"], column_types={"a": "uint8"})
    assert done.batch.schema == pa.schema([("a", pa.uint8())])
    assert list(done.faults) == [1]


def compressed(size: int) -> bytes:
    """A stream whose one compressed buffer says that it unpacks to `size` bytes."""
    data = arrow(batch(a=np.zeros(5000)), compression="zstd")
    real = struct.pack("<q", 40_000)
    assert data.count(real) >= 1
    place = data.rindex(real)
    return data[:place] + struct.pack("<q", size) + data[place + 8 :]


DICTIONARY = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int8)), pa.array(["x" * 10_000]))
WIDE = pa.DictionaryArray.from_arrays(
    pa.array(np.zeros(100_000, np.int8)), pa.array([b"x" * 10_000], pa.binary(10_000))
)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "end-of-stream"),
        (b"\xff\xff\xff\xff\0\0\0\0", "schema"),
        (GOOD[:-8], "end-of-stream"),
        (GOOD[:-9], "end-of-stream"),
        (GOOD + b"\0", "end-of-stream"),
        (GOOD + GOOD, "ends after"),
        (GOOD[: len(GOOD) // 2] + GOOD[-8:], ""),
        (arrow(batch(a=["x"])), "is int64, and the message has string"),
        (arrow(batch(a=[1.5])), "truncated"),
        (arrow(batch(b=pa.nulls((1 << 20) + 1))), "more than 1048576 rows"),
        (arrow(batch(b=np.zeros(3 << 20)), compression="zstd"), "unpacks to more"),
        (arrow(batch(b=DICTIONARY)), "without its dictionary"),
        (arrow(batch(b=WIDE)), "without its dictionary"),
        (compressed(2**60), "unpacks to more"),
        (compressed(-5), "negative"),
        (compressed(39_992), ""),
        (arrow(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["b", "b"])), "two columns"),
        (GOOD.replace(b"x", b"\xff", 1) if GOOD.count(b"x") == 1 else GOOD.replace(b"x\0\0", b"\xff\0\0"), "UTF"),
    ],
    ids=range(18),
)
def test_a_bad_message_is_one_fault_and_harms_no_other(message, reason):
    done = decoded(GOOD, message, GOOD)
    assert done.message.tolist() == [0, 0, 2, 2]
    assert reason in done.faults[1]


@pytest.mark.parametrize("kind", [pa.timestamp("s", "UTC+8"), pa.struct([("UTC+8", pa.int8())]), pa.int8()])
def test_names_that_are_not_text_are_a_fault(kind):
    message = arrow(pa.record_batch([pa.array([None], kind)], names=["UTC+8" if kind == pa.int8() else "a"]))
    assert message.count(b"UTC+8") == 1
    assert "decode" in decoded(GOOD, message.replace(b"UTC+8", b"UTC\xff8")).faults[1]


def test_a_time_zone_that_there_is_not_makes_no_column():
    times = pa.array([1], pa.timestamp("s", "Mars/Olympus"))
    assert decoded(arrow(pa.record_batch([times, pa.array([1])], names=["t", "a"]))).batch.schema.names == ["a"]


def test_text_that_is_not_utf8_is_a_fault():
    column = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 1)), pa.py_buffer(b"\xff"))
    assert "UTF8" in decoded(arrow(pa.record_batch([column], names=["s"]))).faults[0]


def test_a_column_that_no_column_can_hold_is_passed_over():
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])])
    views = pa.array(["a", "b"], pa.string_view())
    done = decoded(arrow(pa.record_batch([union, views, pa.array([1, 2])], names=["u", "v", "a"])))
    assert rows_of(done) == {0: [{"a": 1}, {"a": 2}]}


def test_a_decimal_with_an_absurd_scale_is_refused_before_arrow_casts_it():
    first = arrow(pa.record_batch([pa.array([1], pa.decimal128(20, 2))], names=["d"]))
    for scale in (1_157_627_906, -3, 21):
        message = arrow(
            pa.record_batch(
                [pa.array([1], pa.int64()).cast(pa.decimal128(20)).view(pa.decimal128(20, scale))], names=["d"]
            )
        )
        assert "is decimal128(20, 2), and the message has" in decoded(first, message).faults[1]
        assert list(decoded(message, columns=["d"], column_types={"d": "int64"}).faults) == [0]


def test_a_message_fits_the_columns_that_later_messages_of_its_batch_make():
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    done = decoded(arrow(pa.record_batch([union, pa.array([1])], names=["u", "a"])), arrow(batch(u=[5])))
    assert done.message.tolist() == [1]
    assert "column 'u' is int64" in done.faults[0]


@pytest.mark.parametrize("nulls", [False, True])
def test_lists_keep_their_values_where_nulls_have_some(nulls):
    values = pa.array([1, 2, 3, 4, 5, 6], pa.int32())
    mask = pa.array([False, nulls, False])
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4, 6], pa.int32()), values, mask=mask)
    first = arrow(pa.record_batch([pa.array([[9]], pa.list_(pa.int64()))], names=["l"]))
    done = decoded(first, arrow(pa.record_batch([lists], names=["l"])))
    assert done.batch.column("l").to_pylist() == [[9], [1, 2], None if nulls else [3, 4], [5, 6]]
