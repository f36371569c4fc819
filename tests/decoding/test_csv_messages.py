"""CSV: a message is one row, whatever stands beside it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from decoding_support import check, check_csv, rows_of, spliced
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.decoding import DecoderOptions, make_decoder
from penrose_host.errors import SourceError, WrongStream
from penrose_host.formats.csv_dialect import CsvDialect
from penrose_host.formats.csv_text import CsvParser

quick = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
TYPED = DecoderOptions(format="csv", columns=["n", "s"], column_types={"n": "int64", "s": "string"})


def decoded(*messages, options=TYPED):
    return check(options, make_decoder(options), list(messages))


def test_types_that_are_not_given_are_read_off_the_first_messages():
    decoder = make_decoder(
        DecoderOptions(format="csv", columns=["i", "x", "b", "t", "s"], column_types={"x": "float32"})
    )
    decoder.infer([b"1,1,true,2020-01-01T00:00:00Z,a", b"2,0.5,false,2020-01-01T00:00:00Z,", b"broken", b"", None])
    assert decoder.schema == pa.schema(
        [
            ("i", pa.int64()),
            ("x", pa.float32()),
            ("b", pa.bool_()),
            ("t", pa.timestamp("us", "UTC")),
            ("s", pa.string()),
        ]
    )
    again = make_decoder(decoder._options, state=decoder.state())
    assert again.schema == decoder.schema
    assert again.decode([b"1,2,true,,x"]).batch.num_rows == 1


@pytest.mark.parametrize("messages", [[], [None], [b""], [b"1"], [b"1,2\n3,4"]])
def test_messages_of_no_use_leave_the_columns_open(messages):
    options = DecoderOptions(format="csv", columns=["a", "b"])
    decoder = make_decoder(options)
    done = check(options, decoder, messages)
    assert decoder.schema is None
    assert sorted(done.faults) == list(range(len(messages)))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\r\n", "empty"),
        (b"1", "1 fields, not 2"),
        (b"1,2,3", "3 fields, not 2"),
        (b"1,x\n2,y", "more than one line"),
        (b"1,x\r2,y", "carriage return"),
        (b"\n1,x", "more than one line"),
        (b"1,x\n\n", "more than one line"),
        (b'1,"x', "not closed"),
        (b'1,x"y', "a quote inside"),
        (b'1,"x"y', "text after the closing quote"),
        (b'1,"x\n2,y"z', "more than one line"),
        (b"x,y", "'x' is not int64"),
        (b"1.5,y", "'1.5' is not int64"),
        (b"99999999999999999999,y", "is not int64"),
        (b"1,\xff", "not UTF-8"),
        (b"\xef\xbb\xbf1,x", "byte order mark"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_message_is_one_fault_and_harms_no_other(message, reason, first):
    messages = [message, b"0,a", b"2,b"] if first else [b"0,a", message, b"2,b"]
    done = decoded(*messages)
    assert done.batch.to_pydict() == {"n": [0, 2], "s": ["a", "b"]}
    (fault,) = done.faults.values()
    assert reason in fault


def test_halves_of_a_row_are_two_bad_messages():
    done = decoded(b'1,"a', b'b"', b"5,c", b"2,", b"x")
    assert rows_of(done) == {2: [{"n": 5, "s": "c"}], 3: [{"n": 2, "s": ""}]}
    assert sorted(done.faults) == [0, 1, 4]


def test_a_row_may_have_quotes_line_ends_and_an_end():
    done = decoded(b'1,"a\n""b"""\r\n', b"2,b\n", b" 3 ,c\r", b",")
    assert done.batch.to_pydict() == {"n": [1, 2, 3, None], "s": ['a\n"b"', "b", "c", ""]}


def test_the_dialect_is_an_option():
    options = DecoderOptions(
        format="csv",
        columns=["a", "b"],
        column_types={"a": "int64"},
        csv={"delimiter": ";", "quote": "'", "null_values": ["-"], "text_can_be_null": True},
    )
    done = decoded(b"1;'x;y'", b"-;-", b'2;"', options=options)
    assert done.batch.to_pylist() == [{"a": 1, "b": "x;y"}, {"a": None, "b": None}, {"a": 2, "b": '"'}]


cells = st.sampled_from(["", "1", "-7", " 2", "0.5", "x", "é", "NA", "99999999999999999999", '"a"', '"a,""\n"', "true"])
rows = st.lists(cells, min_size=1, max_size=3).map(",".join)
pieces = st.sampled_from([b",", b'"', b"\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ", b"1", b'""'])


@st.composite
def mutated(draw):
    return spliced(draw, (draw(rows) + draw(st.sampled_from(["", "\n", "\r\n"]))).encode(), pieces, 2)


@quick
@given(
    st.lists(mutated() | st.binary(max_size=8) | st.none(), max_size=8),
    st.sampled_from(
        [
            TYPED,
            DecoderOptions(format="csv", columns=["a", "b"]),
            DecoderOptions(format="csv", columns=["a"], column_types={"a": "float64"}),
        ]
    ),
)
def test_whatever_comes_is_a_row_as_python_reads_it_or_a_fault(messages, options):
    done = check(options, make_decoder(options), messages)
    for index, (row,) in rows_of(done).items():
        check_csv(messages[index], row, done.batch.schema)


def test_a_field_that_is_named_after_the_run_began_needs_a_type():
    decoder = make_decoder(DecoderOptions(format="csv", columns=["a", "b"]))
    decoder.infer([b"1,x"])
    more = DecoderOptions(format="csv", columns=["a", "c", "b"])
    with pytest.raises(WrongStream, match=r"did not begin with: c\n.*`column_types`"):
        make_decoder(more, state=decoder.state())
    typed = more.model_copy(update={"column_types": {"c": "int64"}})
    again = make_decoder(typed, state=decoder.state())
    assert again.decode([b"1,2,x"]).batch.to_pylist() == [{"a": 1, "b": "x", "c": 2}]


def test_rows_without_any_of_the_columns_are_the_error_of_who_reads_them():
    unrelated = SourceError("t/0 has none of the columns", plugin="kafka", partition="t/0")
    parser = CsvParser(["a"], pa.schema([("b", pa.int64())]), CsvDialect(), ",", unrelated)
    with pytest.raises(SourceError) as caught:
        parser.parse(b"1\n")
    assert (caught.value.plugin, caught.value.partition) == ("kafka", "t/0")
