"""Avro: a message is one record, written with a schema that is known by its id."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import struct
import uuid

import fastavro
import pyarrow as pa
import pytest
from decoding_support import avro, check, record, rows_of
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.decoding import DecoderOptions, make_decoder
from penrose_host.errors import SourceError

quick = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
AVRO = DecoderOptions(format="avro")
LOGICAL = {
    "d": {"type": "int", "logicalType": "date"},
    "tms": {"type": "long", "logicalType": "timestamp-millis"},
    "tus": {"type": "long", "logicalType": "timestamp-micros"},
    "local": {"type": "long", "logicalType": "local-timestamp-micros"},
    "clock": {"type": "int", "logicalType": "time-millis"},
    "m": {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2},
    "f": {"type": "fixed", "name": "six", "size": 6, "logicalType": "decimal", "precision": 10, "scale": 3},
    "u": {"type": "string", "logicalType": "uuid"},
    "other": {"type": "long", "logicalType": "of-my-own"},
}


def registry(*schemas):
    """Id → text of these schemas, by their place; ids behind them are not known."""
    texts = [schema if isinstance(schema, str) else json.dumps(schema) for schema in schemas]
    return dict(enumerate(texts)).__getitem__


def decoded(schemas, *messages, options=AVRO):
    return check(options, make_decoder(options, schemas=schemas), list(messages), schemas)


def test_logical_types_become_arrow_types():
    schema = record(**LOGICAL)
    noon = datetime.datetime(2020, 1, 1, 12, 0, 0, 123000, datetime.UTC)
    value = {
        "d": noon.date(),
        "tms": noon,
        "tus": noon,
        "local": noon.replace(tzinfo=None),
        "clock": datetime.time(12, 0, 1),
        "m": decimal.Decimal("-123456789012345678901234567890123456.78"),
        "f": decimal.Decimal("12.345"),
        "u": uuid.UUID(int=5),
        "other": 7,
    }
    done = decoded(registry(schema), avro(schema, value, 0))
    assert done.batch.schema.types == [
        pa.date32(),
        pa.timestamp("ms", "UTC"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("us"),
        pa.time32("ms"),
        pa.decimal256(40, 2),
        pa.decimal128(10, 3),
        pa.string(),
        pa.int64(),
    ]
    assert done.batch.to_pylist() == [value | {"u": str(value["u"])}]


def test_nested_values_maps_enums_and_unions():
    inner = record(x="int", more={"type": "map", "values": ["null", "string"]}) | {"name": "inner"}
    schema = record(
        o=["null", inner],
        again={"type": "array", "items": "inner"},
        e={"type": "enum", "name": "kind", "symbols": ["A", "B"]},
        number=["null", "int", "double"],
        mixed=["int", "string"],
        nothing="null",
    )
    value = {"o": {"x": 1, "more": {"k": None, "l": "v"}}, "again": [{"x": 2, "more": {}}], "e": "B", "nothing": None}
    messages = [avro(schema, value | {"number": n, "mixed": m}, 0) for n, m in [(1, 2), (None, "x"), (0.5, 3)]]
    done = decoded(registry(schema), *messages)
    assert done.batch.schema.names == ["o", "again", "e", "number"]
    assert done.batch.column("number").to_pylist() == [1.0, None, 0.5]
    assert done.batch.column("o")[0].as_py() == {"x": 1, "more": [("k", None), ("l", "v")]}
    assert done.batch.column("again")[0].as_py() == [{"x": 2, "more": []}]


def test_a_later_schema_may_add_and_leave_out_fields_and_promote_types():
    first = record(i="int", x="double", s="string", o=record(k="long") | {"name": "o"})
    second = record(new=["null", "string"], i="long", x="int", s="bytes", o=record(j="int", k="int") | {"name": "o"})
    third = record(x="float")
    done = decoded(
        registry(first, second, third),
        avro(first, {"i": 1, "x": 0.5, "s": "a", "o": {"k": 1}}, 0),
        avro(third, {"x": 1.5}, 2),
        avro(second, {"new": "n", "i": 2**40, "x": 7, "s": b"b", "o": {"k": 2, "j": 3}}, 1),
        avro(second, {"new": None, "i": 2, "x": 8, "s": b"\xff", "o": {"k": 2, "j": 3}}, 1),
        avro(first, {"i": 3, "x": 0.5, "s": "c", "o": {"k": 1}}, 0),
    )
    assert done.message.tolist() == [0, 1, 2, 4]
    assert done.batch.to_pylist()[:3] == [
        {"i": 1, "x": 0.5, "s": "a", "o": {"k": 1}, "new": None},
        {"i": None, "x": 1.5, "s": None, "o": None, "new": None},
        {"i": 2**40, "x": 7.0, "s": "b", "o": {"k": 2}, "new": "n"},
    ]
    assert "column 's'" in done.faults[3]


def test_messages_of_an_incompatible_schema_are_bad_rows():
    first, second = record(i="int", s="string"), record(i=["null", "string"], s="string")
    done = decoded(
        registry(first, second),
        avro(first, {"i": 1, "s": "a"}, 0),
        avro(second, {"i": None, "s": "b"}, 1),
        avro(first, {"i": 2, "s": "c"}, 0),
    )
    assert done.batch.column("s").to_pylist() == ["a", "c"]
    assert done.faults == {1: "column 'i' is int64, and the message has string there"}


def test_an_unknown_id_is_a_bad_row_and_other_errors_of_the_registry_pass_through():
    schema = record(i="int")
    done = decoded(registry(schema), avro(schema, {"i": 1}, 0), avro(schema, {"i": 1}, 77))
    assert done.faults == {1: "the schema 77 is not known"}

    def down(number):
        raise SourceError("the registry does not answer")

    with pytest.raises(SourceError, match="does not answer"):
        make_decoder(AVRO, schemas=down).decode([avro(schema, {"i": 1}, 0)])
    with pytest.raises(SourceError, match="nothing to look up") as caught:
        make_decoder(AVRO, plugin="kafka")
    assert caught.value.plugin == "kafka"


def test_schemas_come_from_files(tmp_path):
    schema, other = record(i="int"), record(j="string")
    for name, content in (("a.avsc", schema), ("b.avsc", other)):
        (tmp_path / name).write_text(json.dumps(content))
    one = DecoderOptions(format="avro", framing="none", avro_schema=str(tmp_path / "a.avsc"))
    assert rows_of(decoded(None, avro(schema, {"i": 5}), options=one)) == {0: [{"i": 5}]}
    both = DecoderOptions(format="avro", avro_schema={3: str(tmp_path / "a.avsc"), 4: str(tmp_path / "b.avsc")})
    done = decoded(
        None, avro(schema, {"i": 5}, 3), avro(other, {"j": "x"}, 4), avro(other, {"j": "x"}, 5), options=both
    )
    assert done.batch.to_pylist() == [{"i": 5, "j": None}, {"i": None, "j": "x"}]
    assert list(done.faults) == [2]
    with pytest.raises(SourceError, match=r"c\.avsc cannot be read") as caught:
        make_decoder(one.model_copy(update={"avro_schema": str(tmp_path / "c.avsc")}), plugin="kafka")
    assert caught.value.plugin == "kafka"


def test_a_decoder_resumes_with_the_columns_it_had():
    schema = record(i="int", t=LOGICAL["tms"], m=LOGICAL["m"])
    decoder = make_decoder(AVRO, schemas=registry(schema, record(i="string")))
    decoder.infer([avro(schema, {"i": 1, "t": 5, "m": decimal.Decimal(1)}, 0)])
    again = make_decoder(AVRO, schemas=registry(schema, record(i="string")), state=decoder.state())
    assert again.schema == decoder.schema
    assert list(again.decode([avro(record(i="string"), {"i": "x"}, 1)]).faults) == [0]


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("string", b"\x09abcdef", "-5 bytes are announced"),
        ("string", struct.pack("<B", 0xFE) + b"\xff" * 8 + b"\x01x", "are announced"),
        ("string", b"\x02\xff", "decode"),
        ("boolean", b"\x02", "2 is no boolean"),
        ("int", b"\xfe\xff\xff\xff\x1f", "out of range"),
        ("long", b"\xff" * 30 + b"\x01", "64 bits"),
        ("long", b"\xff" * 9 + b"\x7f", "64 bits"),
        ("long", b"\x80", "ends within"),
        ("long", b"", "ends within"),
        ("long", b"\x02\x02", "ends after 1 of 2 bytes"),
        ("double", b"abc", "requires"),
        (["null", "int"], b"\x01\x02", "-1 is out of range"),
        (["null", "int"], b"\x04\x02", "2 is out of range"),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, b"\x01", "-1 is out of range"),
        ({"type": "fixed", "name": "f", "size": 4}, b"ab", "4 bytes are due"),
        ({"type": "array", "items": "int"}, b"\xfe" + b"\xff" * 8 + b"\x01" + b"\x02" * 50, "ends within"),
        ({"type": "array", "items": "int"}, b"\x01\x7f\x02\x00", "not as long as it says"),
        ({"type": "map", "values": "null"}, b"\xfe" + b"\xff" * 8 + b"\x01" + b"\x00" * 50, "ends within"),
        ({"type": "map", "values": "int"}, b"\x04\x02a\x02\x02a\x02\x00", "twice"),
        (LOGICAL["clock"], b"\x01", "out of range"),
        (LOGICAL["m"], b"\x26" + b"\x7f" * 19, "more than 40 digits"),
    ],
)
def test_broken_values_are_faults(kind, body, reason):
    good = avro(record(a="long"), {"a": 5}, 1)
    done = decoded(registry(record(a=kind), record(a="long")), good, b"\0\0\0\0\0" + body, good)
    assert done.message.tolist() == [0, 2]
    assert reason in done.faults[1]


def twice(depth: int) -> dict:
    """A schema of a few types that stand for 2^depth."""
    fields = [record(z="null") | {"name": "r0"}]
    for level in range(1, depth):
        fields.append(record(a=f"r{level - 1}", b=f"r{level - 1}") | {"name": f"r{level}"})
    return record(**{f"f{n}": field for n, field in enumerate(fields)})


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("{", "Expecting"),
        ("null", ""),
        ('"int"', "no record"),
        ('{"type": "record", "name": "r", "fields": [{"name": "a", "type": "nothing"}]}', "nothing"),
        ('{"type": "record"}', ""),
        (record(next=["null", "event"]), "event contains itself"),
        (record(a={"type": "array", "items": "null"}), "take no bytes"),
        (record(a={"type": "array", "items": record() | {"name": "empty"}}), "take no bytes"),
        (record(a={"type": "array", "items": {"type": "fixed", "name": "none", "size": 0}}), "take no bytes"),
        (twice(40), "10000 types"),
        ('{"type":"array","items":' * 5000 + '"int"' + "}" * 5000, ""),
        (
            '{"type": "record", "name": "r", "fields": [{"name": "a", "type": '
            + '{"type":"array","items":' * 100
            + '"int"'
            + "}" * 100
            + "}]}",
            "64 levels",
        ),
    ],
    ids=range(12),
)
def test_schemas_that_cannot_be_read_with_make_their_messages_bad(schema, reason):
    text = schema if isinstance(schema, str) else json.dumps(schema)
    good = avro(record(a="long"), {"a": 5}, 1)
    done = decoded(registry(text, record(a="long")), good, b"\0\0\0\0\0\x02", good)
    assert done.message.tolist() == [0, 2]
    assert "the schema 0 cannot be read with" in done.faults[1]
    assert reason in done.faults[1]


PLAIN = record(
    i="int",
    l=["null", "long"],
    x="double",
    y="float",
    s=["null", "string"],
    b="boolean",
    e={"type": "enum", "name": "kind", "symbols": ["A", "B"]},
    raw="bytes",
    tags={"type": "array", "items": ["null", "string"]},
    m={"type": "map", "values": {"type": "array", "items": "int"}},
    o=["null", record(k="int", f={"type": "fixed", "name": "two", "size": 2}) | {"name": "inner"}],
)
values = st.fixed_dictionaries(
    {
        "i": st.integers(-(2**31), 2**31 - 1),
        "l": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.floats(),
        "y": st.floats(width=32),
        "s": st.none() | st.text(max_size=5),
        "b": st.booleans(),
        "e": st.sampled_from("AB"),
        "raw": st.binary(max_size=3),
        "tags": st.lists(st.none() | st.text(max_size=2), max_size=3),
        "m": st.dictionaries(st.text(max_size=2), st.lists(st.integers(-5, 5), max_size=2), max_size=2),
        "o": st.none() | st.fixed_dictionaries({"k": st.integers(-5, 5), "f": st.binary(min_size=2, max_size=2)}),
    }
)


@st.composite
def mutated(draw):
    data = avro(PLAIN, draw(values), 0)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(5, len(data)))
        data = data[:start] + draw(st.binary(max_size=2)) + data[start + draw(st.integers(0, 2)) :]
    return data


@quick
@given(st.lists(mutated() | st.binary(max_size=30).map(lambda body: b"\0\0\0\0\0" + body), max_size=5))
def test_whatever_comes_is_a_row_as_fastavro_reads_it_or_a_fault(messages):
    schemas = registry(PLAIN)
    options = AVRO.model_copy(update={"column_types": {}})
    done = check(options, make_decoder(options, schemas=schemas), messages, schemas)
    for index, (row,) in rows_of(done).items():
        body = io.BytesIO(messages[index][5:])
        expected = fastavro.schemaless_reader(body, fastavro.parse_schema(PLAIN), None)
        assert body.tell() == len(messages[index]) - 5
        assert repr(row | {"m": dict(row["m"])}) == repr(expected)


@quick
@given(values)
def test_every_record_that_fastavro_writes_is_a_row(value):
    assert not make_decoder(AVRO, schemas=registry(PLAIN)).decode([avro(PLAIN, value, 0)]).faults
