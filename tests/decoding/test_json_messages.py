"""JSON: a message is one object, one row or one fault, whatever stands beside it."""

from __future__ import annotations

import datetime
import json
import math
import time

import pyarrow as pa
import pytest
from decoding_support import JSON_TOKENS, check, check_json, rows_of, spliced
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.decoding import DecoderOptions, make_decoder
from penrose_host.decoding.columns import MAX_COLUMNS
from penrose_host.decoding.json import frames as json_frames
from penrose_host.errors import WrongStream

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
TYPED = DecoderOptions(columns=["a", "s"], column_types={"a": "int64", "s": "string"})


def decoded(*messages, options=TYPED):
    options = options if isinstance(options, DecoderOptions) else DecoderOptions(**options)
    return check(options, make_decoder(options), [m.encode() if isinstance(m, str) else m for m in messages])


def test_types_are_read_off_the_first_messages_and_then_fixed():
    decoder = make_decoder(DecoderOptions())
    assert decoder.schema is None
    assert decoder.state() == ""
    decoder.infer(
        [b'{"i": 1, "x": 1, "t": "2013-01-01T10:00:00Z"}', b'{"x": 0.5, "o": {"k": [1]}, "n": null, "e": []}']
    )
    assert decoder.schema == pa.schema(
        [
            ("i", pa.int64()),
            ("x", pa.float64()),
            ("t", pa.timestamp("us", "UTC")),
            ("o", pa.struct([("k", pa.list_(pa.int64()))])),
        ]
    )
    done = decoder.decode([b'{"i": 1.5}', b'{"i": 2, "x": 3}', b'{"i": "3"}'])
    assert rows_of(done) == {1: [{"i": 2, "x": 3.0, "t": None, "o": None}]}
    assert done.faults == {0: "column 'i': 1.5 is not int64", 2: "column 'i': \"3\" is not int64"}


@pytest.mark.parametrize("messages", [[], [None], [b""], [b"null"], [b"{}"], [b'{"a": null}'], [b'{"a":']])
def test_messages_of_no_use_leave_the_columns_open(messages):
    decoder = make_decoder(DecoderOptions())
    decoder.infer(messages)
    assert decoder.schema is None
    decoder.infer([*messages, b'{"a": true}'])
    assert decoder.schema == pa.schema([("a", pa.bool_())])


def test_an_empty_object_is_a_row_even_without_columns():
    done = decoded("{}", " {}\n", options={})
    assert (done.batch.num_rows, done.message.tolist(), done.batch.schema.names) == (2, [0, 1], [])
    assert rows_of(decoded("{}")) == {0: [{"a": None, "s": None}]}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("null", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"a": 1', "not a JSON object"),
        ('"a": 1}', "not a JSON object"),
        ('{"a": 1}\n{"a": 2}', "Extra data"),
        ('{"a": 1}{"a": 2}', "Extra data"),
        ('{"a": 1} null {"a": 2}', "Extra data"),
        ('{"a": {}', "not a JSON object"),
        ('{"a": 1, "a": 1}', "specified twice"),
        ('{"a": null, "a": 1}', "specified twice"),
        ('{"a": "1"}', '"1" is not int64'),
        ('{"s": 1}', "1 is not string"),
        ('{"a": 1.0}', "1.0"),
        ('{"a": 1e2}', "100.0 is not int64"),
        ('{"a": true}', "true is not int64"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 99999999999999999999}', "99999"),
        ('{"x": Inf}', "Expecting value"),
        ('{"x": -NaN }', "not a JSON object"),
        ('{"x": 1e999}', "too big"),
        ('{"x": [1,]}', "not a JSON object"),
        ('{"x": 01}', "not a JSON object"),
        ('{"s": "\\ud800"}', "surrogate"),
        ('{"x": "\\udc00"}', "surrogate"),
        ('{"s": "a\tb"}', "control character"),
        ('{"s": "a\nb"}', "control character"),
        ("{'s': 'x'}", "not a JSON object"),
        ('{"a": 1} // no', "not a JSON object"),
        ('{"a": 1 /*}*/}', "not a JSON object"),
        (b'{"s": "\xff"}', "0xff at 7 is not UTF-8"),
        (b'{"a": 1}\x00', "not a JSON object"),
        (b'{"a": 1}\x00}', "not a JSON object"),
        (b'{"a": 1}{"a": 2}\x00}', "not a JSON object"),
        (b'\x00{"a": 1}', "not a JSON object"),
        (b'\xef\xbb\xbf{"a": 1}', "not a JSON object"),
        ('{"a": 1}'.encode("utf-16"), "not a JSON object"),
    ],
)
def test_a_bad_message_is_one_fault_and_harms_no_other(message, reason):
    done = decoded('{"a": 0}', message, '{"a": 2, "s": "}\\n{"}')
    assert done.message.tolist() == [0, 2]
    assert done.batch.column("a").to_pylist() == [0, 2]
    assert reason in done.faults[1]


def test_halves_of_an_object_are_two_bad_messages_and_not_one_row():
    done = decoded('{"a": 1', ', "s": "x"}', '{"a": [', '{"s": "x"}', "]}", '{"a": 7}{"a":', "8}")
    assert done.message.tolist() == [3]
    assert sorted(done.faults) == [0, 1, 2, 4, 5, 6]


def test_line_ends_between_tokens_are_white_space():
    done = decoded(json.dumps({"a": 1, "s": "x\ny"}, indent=2), '\r\n\t{\n"a"\n:\n2\n}\n\n', '{"a": 3}')
    assert rows_of(done) == {0: [{"a": 1, "s": "x\ny"}], 1: [{"a": 2, "s": None}], 2: [{"a": 3, "s": None}]}
    assert not done.faults


def test_numbers_of_python_and_javascript_that_are_not_finite_are_floats():
    done = decoded(
        '{"x": NaN}', '{"x": -Infinity}', '{"x": 1}', '{"x": Info}', options={"column_types": {"x": "float64"}}
    )
    assert str(done.batch.column("x").to_pylist()) == "[nan, -inf, 1.0]"
    assert "Infinity, NaN or Information" in rows_of(decoded('{"s": "Infinity, NaN or Information"}'))[0][0]["s"]


@pytest.mark.parametrize(
    ("kind", "number"), [("float64", "9" * 400), ("float32", "1e39"), ("list<float32>", "[0, 1e39]")]
)
def test_a_number_too_large_for_its_column_is_a_fault_and_not_infinite(kind, number):
    options = {"columns": ["x"], "column_types": {"x": kind}}
    elsewhere = ("", ', "s": "Infinity"', ', "y": -Infinity', ', "s": "\\\\\\"", "y": [Infinity]')
    done = decoded('{"y": 1}', *(f'{{"x": {number}{more}}}' for more in elsewhere), '{"y": 2}', options=options)
    assert done.message.tolist() == [0, 5]
    assert sorted(done.faults) == [1, 2, 3, 4]
    assert all(fault.startswith("column 'x': a number is too large for ") for fault in done.faults.values())


def test_infinite_numbers_may_stand_beside_texts_about_them():
    done = decoded(
        '{"x": -Infinity, "s": "\\"Infinity"}',
        '{"x": [Infinity, 1], "s": 1}',
        '{"x": Infinity}',
        options={"column_types": {"x": "float32", "s": "string"}},
    )
    assert (done.batch.column("x").to_pylist(), list(done.faults)) == ([-math.inf, math.inf], [1])


@pytest.mark.parametrize("stretch", range(1, 12))
def test_what_is_no_number_is_found_wherever_it_stands(monkeypatch, stretch):
    monkeypatch.setattr(json_frames, "_STRETCH", stretch)
    decoder = make_decoder(DecoderOptions(column_types={"x": "float64"}))
    for message in (b'{"x": Inf}', b'{"x": -Inf }', b'{"x":-NaN}', b'{"s": "I -N", "x": Inf}'):
        assert list(decoder.decode([b'{"x": 1}', message]).faults) == [1]


def test_deep_nesting_is_passed_over_or_a_fault_and_never_a_crash():
    deep, objects = "[" * 200_000 + "]" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000
    for options in (TYPED, {}):
        done = decoded('{"a": 0}', f'{{"d": {deep}}}', f'{{"a": {deep}}}', objects, '{"a": 3}', options=options)
        assert done.message.tolist() == [0, 1, 4]
        assert done.batch.column("a").to_pylist() == [0, None, 3]


def test_new_keys_become_columns_and_those_before_are_null():
    decoder = make_decoder(DecoderOptions())
    check(DecoderOptions(), decoder, [b'{"a": 1}'])
    done = check(DecoderOptions(), decoder, [b'{"a": 2}', b'{"a": 3, "new": "x"}', b'{"new": 5}', b'{"new": "y"}'])
    assert decoder.schema == pa.schema([("a", pa.int64()), ("new", pa.string())])
    assert done.batch.to_pydict() == {"a": [2, 3, None], "new": [None, "x", "y"]}
    assert list(done.faults) == [2]
    done = check(DecoderOptions(), decoder, [b'{"a": 4}'])
    assert done.batch.to_pylist() == [{"a": 4, "new": None}]


def test_a_key_is_a_column_once_it_has_a_value():
    decoder = make_decoder(DecoderOptions())
    for _ in range(2):
        assert decoder.decode([b'{"a": 1, "n": null, "e": [], "o": {"k": null}}']).batch.schema.names == ["a"]
    done = decoder.decode([b'{"n": 1, "e": [true], "o": {"k": 2, "j": null}}', b'{"n": null}'])
    assert done.batch.to_pylist()[0] == {"a": None, "n": 1, "e": [True], "o": {"k": 2}}
    assert not done.faults


def test_empty_values_do_not_keep_others_from_making_a_column():
    decoder = make_decoder(DecoderOptions())
    done = decoder.decode([b'{"a": {}, "o": {"k": []}}'] * 3 + [b'{"a": [1], "o": {"k": "x"}}', b'{"a": null}'])
    assert done.batch.to_pylist() == [{"a": [1], "o": {"k": "x"}}, {"a": None, "o": None}]
    assert list(done.faults) == [0, 1, 2]


def test_new_keys_inside_of_objects_are_passed_over():
    decoder = make_decoder(DecoderOptions())
    decoder.infer([b'{"o": {"k": 1}, "l": [{"k": 1}]}'])
    schema = decoder.schema
    for more in (b"1", b'"x"', b'{"y": [2]}', b"null"):
        done = decoder.decode([b'{"o": {"k": 2, "more": ' + more + b'}, "l": [{"more": 1}, {"k": 2}]}'] * 2)
        assert done.batch.to_pylist() == [{"o": {"k": 2}, "l": [{"k": None}, {"k": 2}]}] * 2
        assert decoder.schema == schema


def test_a_key_that_is_passed_over_may_stand_twice():
    assert rows_of(decoded('{"a": 1, "x": 1, "x": "y"}')) == {0: [{"a": 1, "s": None}]}


def test_only_the_columns_that_are_asked_for_are_read():
    decoder = make_decoder(DecoderOptions(columns=["b", "a"], column_types={"a": "float32"}))
    decoder.infer([b'{"a": 1, "c": 2}'])
    assert decoder.schema == pa.schema([("a", pa.float32())])
    done = decoder.decode([b'{"a": 1, "c": 2, "b": "x"}', b'{"c": []}'])
    assert done.batch.to_pylist() == [{"a": 1.0, "b": "x"}, {"a": None, "b": None}]
    assert make_decoder(TYPED).schema == pa.schema([("a", pa.int64()), ("s", pa.string())])


def test_endless_new_keys_do_not_become_endless_columns():
    decoder = make_decoder(DecoderOptions())
    messages = [json.dumps({f"k{n}": n, "a": 1}).encode() for n in range(MAX_COLUMNS + 50)]
    done = decoder.decode(messages)
    assert len(decoder.schema) == MAX_COLUMNS
    assert (len(done.message), done.faults) == (len(messages), {})
    assert len(decoder.decode([b'{"more": 1}']).batch.schema) == MAX_COLUMNS


def test_types_that_are_given_are_used_from_the_first_message_on():
    options = {"column_types": {"late": "list<float32>", "t": "timestamp[ms]"}}
    done = decoded('{"a": 1}', '{"late": [1, 2.5], "t": "2020-01-01T00:00:00"}', '{"t": 5}', options=options)
    assert done.batch.schema.names == ["late", "t", "a"]
    assert done.batch.column("t")[1].as_py() == datetime.datetime(2020, 1, 1)
    assert list(done.faults) == [2]


def test_a_decoder_resumes_with_the_columns_it_had():
    decoder = make_decoder(DecoderOptions())
    decoder.infer([b'{"a": 1}'])
    again = make_decoder(DecoderOptions(), state=decoder.state())
    assert again.schema == decoder.schema
    assert list(again.decode([b'{"a": "x"}']).faults) == [0]
    with pytest.raises(WrongStream, match="'a' is int64 since the run began"):
        make_decoder(DecoderOptions(column_types={"a": "string"}), state=decoder.state())
    with pytest.raises(WrongStream, match="`columns` does not name it"):
        make_decoder(DecoderOptions(columns=["b"]), state=decoder.state())
    for broken in ("?", "AAAA", decoder.state()[:40]):
        with pytest.raises(WrongStream, match="cannot be read"):
            make_decoder(DecoderOptions(), state=broken)


def test_a_type_that_is_given_after_the_run_began_is_that_of_a_column_that_comes_late():
    decoder = make_decoder(DecoderOptions())
    decoder.infer([b'{"a": 1}'])
    again = make_decoder(DecoderOptions(column_types={"late": "float64"}), state=decoder.state())
    assert again.schema == pa.schema([("a", pa.int64()), ("late", pa.float64())])
    assert again.decode([b'{"a": 2, "late": 1}']).batch.to_pylist() == [{"a": 2, "late": 1.0}]


def test_tombstones_and_long_messages():
    options = DecoderOptions(column_types={"a": "int64"}, max_message_bytes=10)
    done = check(options, make_decoder(options), [None, b'{"a": 1}', b'{"a":      2}'])
    assert done.message.tolist() == [1]
    assert "tombstone" in done.faults[0]
    assert "13 bytes" in done.faults[2]
    ignoring = options.model_copy(update={"tombstones": "ignore"})
    assert list(check(ignoring, make_decoder(ignoring), [None, b'{"a": 1}', b""]).faults) == [2]


def test_the_header_of_a_registry_is_taken_off():
    options = DecoderOptions(framing="confluent")
    messages = [b'\0\0\0\0\x05{"a": 1}', b'{"a": 2}', b"\0\0\0", b"", b'\0\0\0\0\x06{"a": 3}']
    done = check(options, make_decoder(options), messages)
    assert rows_of(done) == {0: [{"a": 1}], 4: [{"a": 3}]}
    assert sorted(done.faults) == [1, 2, 3]


values = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
objects = st.dictionaries(st.sampled_from("abcs"), nested, max_size=4)
tokens = st.sampled_from(JSON_TOKENS)


@st.composite
def mutated(draw):
    indent = draw(st.sampled_from([None, 1]))
    message = json.dumps(draw(objects), indent=indent, ensure_ascii=draw(st.booleans()))
    return spliced(draw, message.encode("utf-8", "surrogatepass"), tokens, 3)


@quick
@given(
    st.lists(mutated() | st.binary(max_size=10) | st.none(), max_size=8),
    st.lists(mutated(), max_size=4),
    st.sampled_from([TYPED, DecoderOptions(), DecoderOptions(columns=["a", "o"], column_types={"a": "float64"})]),
)
def test_whatever_comes_is_a_row_as_python_reads_it_or_a_fault(first, second, options):
    decoder = make_decoder(options)
    for messages in (first, second):
        done = check(options, decoder, messages)
        for index, (row,) in rows_of(done).items():
            check_json(messages[index], row, done.batch.schema)


def test_keys_that_differ_in_every_message_neither_pile_up_nor_hide_new_columns():
    decoder = make_decoder(DecoderOptions())
    decoder.infer([b'{"a": 1, "o": {"k": 1}}'])
    for batch in range(3):
        messages = [json.dumps({"a": 1, "o": {f"k{batch}_{n}_{m}": m for m in range(50)}}).encode() for n in range(100)]
        done = decoder.decode(messages)
        assert (done.batch.num_rows, done.batch.schema.names) == (100, ["a", "o"])
    done = decoder.decode([b'{"o": {"x": "y"}, "late": 2.5}', b'{"a": 3}'])
    assert done.batch.to_pylist() == [{"a": None, "o": {"k": None}, "late": 2.5}, {"a": 3, "o": None, "late": None}]


def test_many_bad_messages_cost_about_what_good_ones_cost_python():
    decoder = make_decoder(TYPED)
    good, bad = b'{"a": 1, "s": "x"}', b'{"a": "1", "s": "x"}'
    done = decoder.decode([good, bad] * 5000)
    assert (done.batch.num_rows, len(done.faults)) == (5000, 5000)
    began = time.process_time()
    decoder.decode([bad] * 10_000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("indent", [None, 1])
def test_large_batches_are_parsed_in_blocks_and_read_the_same(indent):
    messages = [json.dumps({"a": n, "s": "x" * (n % 300)}, indent=indent).encode() for n in range(5000)]
    messages[7] = json.dumps({"a": 7, "s": "y" * 600_000}).encode()
    decoder = make_decoder(TYPED)
    done = decoder.decode(messages)
    assert done.batch.to_pylist() == [json.loads(message) for message in messages]
    messages[2000], messages[3000] = b'{"a": 1}\n{"a": 2}', b'{"a": 1'
    done = decoder.decode(messages)
    assert sorted(done.faults) == [2000, 3000]
    assert done.batch.num_rows == 4998
