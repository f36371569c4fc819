"""JSON lines: every line that is not empty is one row or one reject."""

from __future__ import annotations

import datetime
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.errors import SourceError
from penrose_host.formats.json_lines import JsonFramer

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
GOOD = '{"a": 0, "s": "x"}'


def write(path, *lines):
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def test_types_are_read_off_the_first_rows(files, read, tmp_path):
    write(
        tmp_path / "a.jsonl",
        '{"i": 1, "x": 1, "s": "a", "b": true, "t": "2013-01-01T10:00:00", "z": "2013-01-01T10:00:00Z", "n": null}',
        '{"i": 2, "x": 0.5, "l": [1, null], "o": {"k": [{"v": "w"}]}, "e": [], "many": 99999999999999999999}',
    )
    first, second = read(files(tmp_path / "a.jsonl")).rows["a.jsonl"].values()
    assert list(first) == ["i", "x", "s", "b", "t", "z", "n", "l", "o", "e", "many"]
    assert (first["i"], first["x"], first["s"], first["b"], first["n"]) == (1, 1.0, "a", True, None)
    assert first["t"] == datetime.datetime(2013, 1, 1, 10)
    assert first["z"] == datetime.datetime(2013, 1, 1, 10, tzinfo=datetime.UTC)
    assert (second["l"], second["o"], second["e"], second["many"]) == ([1, None], {"k": [{"v": "w"}]}, [], 1e20)


@pytest.mark.parametrize(
    "line",
    [
        '{"s": "a text as long as a time \\ud800"}',
        '{"\\udFFF": 1}',
        '{"o": {"\\uD83D": 1}}',
        '{"l": [["\\ude00\\ud83d"]]}',
    ],
)
def test_half_a_surrogate_pair_among_the_first_rows_is_a_reject_and_no_column(files, read, tmp_path, line):
    write(tmp_path / "a.jsonl", line, '{"s": "\\ud83d\\ude00", "\\ud83d\\ude00": 1}')
    done = read(files(tmp_path / "a.jsonl"))
    assert done.rows["a.jsonl"] == {1: {"s": "\U0001f600", "\U0001f600": 1}}
    assert [(reject.offset, "surrogate" in reject.reason) for reject in done.rejects] == [(0, True)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("null", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"a": 1', "not a JSON object"),
        ('{"a": 1}{"a": 2}', "not a JSON object: Extra data"),
        ('{"a": 1} null {"a": 2}', "not a JSON object: Extra data"),
        ('{"a": 1}, {"a": 2}', "not a JSON object: Extra data"),
        ('{"a": 1, "a": 2}', r"Column\(/a\) was specified twice"),
        ('{"a": "1"}', "changed from number to string"),
        ('{"a": 1.5}', "couldn't parse:1.5"),
        ('{"a": NaN}', "couldn't parse:NaN"),
        ('{"a": 99999999999999999999}', "couldn't parse"),
        ('{"s": 1}', "changed from string to number"),
        ('{"s": "\\ud800"}', "surrogate"),
        ('{"s": "a\tb"}', "not a JSON object: Invalid control character"),
        (b'{"s": "\xff"}', "0xff at 7 is not UTF-8"),
        (b'{"a": 1}\x00', "not a JSON object"),
        ('{"s": "' + '{"a":' * 20 + '"}', "not a JSON object"),
    ],
)
def test_a_bad_line_is_one_reject_with_its_bytes(files, read, tmp_path, line, reason):
    write(tmp_path / "a.jsonl", GOOD, line, '{"a": 2, "s": "}\\n{"}')
    stream = read(files(tmp_path / "a.jsonl", column_types={"a": "int64", "s": "string"}))
    assert stream.values("a") == [0, 2]
    assert [(reject.offset, reject.raw) for reject in stream.rejects] == [
        (1, line if isinstance(line, bytes) else line.encode())
    ]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(stream.rejects[0].reason)


def test_the_kind_that_most_values_have_is_the_column_s(files, read, tmp_path):
    write(tmp_path / "a.jsonl", '{"a": "?"}', '{"a": 1}', '{"a": 2}', '{"a": [3]}')
    stream = read(files(tmp_path / "a.jsonl"))
    assert stream.values("a") == [1, 2]
    assert [reject.offset for reject in stream.rejects] == [0, 3]


def test_deep_nesting_is_passed_over_or_rejected_and_never_a_crash(files, read, tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    write(tmp_path / "a.jsonl", GOOD, f'{{"deep": {deep}}}', f'{{"a": {deep}}}', f'{{"deep": {deep}{deep}}}', GOOD)
    stream = read(files(tmp_path / "a.jsonl"))
    assert stream.values("a") == [0, None, 0]
    assert [reject.offset for reject in stream.rejects] == [2, 3]


def test_moderately_deep_values_in_the_first_rows_do_no_harm(files, read, tmp_path):
    nested = "".join(f'{{"k{n}":' for n in range(300)) + "1" + "}" * 300
    write(tmp_path / "a.jsonl", f'{{"a": 1, "deep": {nested}, "list": {"[" * 300}{"]" * 300}}}')
    assert read(files(tmp_path / "a.jsonl")).values("a") == [1]


def test_empty_lines_have_no_offset(files, read, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf\n{"a": 1}\r\n \t\r\n\r\n  {"a": 2}  \n\n{"a": 3}')
    stream = read(files(tmp_path / "a.jsonl"))
    assert stream.rows["a.jsonl"] == {0: {"a": 1}, 1: {"a": 2}, 2: {"a": 3}}


@pytest.mark.parametrize("text", ["", "\n", "\n \n"])
def test_a_file_without_rows_gives_none(files, read, tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text)
    assert read(files(tmp_path / "a.jsonl")).rows == {}


def test_objects_without_keys_are_an_error_that_says_so(files, read, tmp_path):
    write(tmp_path / "a.jsonl", "{}", "{}")
    with pytest.raises(SourceError, match="has no columns"):
        read(files(tmp_path / "a.jsonl"))
    assert read(files(tmp_path / "a.jsonl", column_types={"a": "int64"})).values("a") == [None, None]


def test_keys_that_come_later_can_be_asked_for(files, read, tmp_path):
    write(tmp_path / "a.jsonl", '{"a": 1}')
    write(tmp_path / "b.jsonl", '{"b": [0.5], "a": 2}')
    stream = read(files(tmp_path / "*.jsonl", column_types={"b": "list<float32>"}, columns=["b"]))
    assert stream.values("b") == [None, [0.5]]


def test_a_line_of_100_megabytes_is_one_reject(files, read, tmp_path):
    write(tmp_path / "a.jsonl", GOOD, '{"a": 1, "s": "' + "y" * (100 << 20) + '"}', GOOD)
    stream = read(files(tmp_path / "a.jsonl"))
    assert [(reject.offset, len(reject.raw)) for reject in stream.rejects] == [(1, 64 << 10)]
    assert "more than `max_row_bytes`" in stream.rejects[0].reason
    assert len(stream.values("a")) == 2


values = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@quick
@given(st.lists(st.dictionaries(st.sampled_from("abc"), nested, max_size=3), min_size=1, max_size=8))
def test_any_objects_are_rows_or_rejects(files, read, small_blocks, tmp_path, objects):
    write(tmp_path / "a.jsonl", *map(json.dumps, objects))
    source = files(tmp_path / "a.jsonl", column_types={"id": "int64"})
    with small_blocks(11):
        stream = read(source)
    rows = stream.rows.get("a.jsonl", {})
    assert sorted([*rows, *(reject.offset for reject in stream.rejects)]) == list(range(len(objects)))


tokens = [b"{", b"}", b'"', b"\n", b"\r", b"null", b",", b"[", b"]", b"}{", b"}\n{", b"\\", b"\xff", b"\x00", b" "]
edits = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 4), st.binary(max_size=3) | st.sampled_from(tokens)), max_size=6
)
BODY = "".join(f'{{"id": {n}, "name": "name {n}", "tags": [{n}, {{"k": "}}{{"}}]}}\n' for n in range(12)).encode()


@quick
@given(edits, st.integers(1, 60), st.sampled_from([64, 1 << 20]))
def test_each_line_is_one_row_or_one_reject(files, read, small_blocks, tmp_path, changes, block, limit):
    text = BODY
    for place, removed, put in changes:
        place %= len(text) + 1
        text = text[:place] + put + text[place + removed :]
    (tmp_path / "a.jsonl").write_bytes(text)
    options = {"column_types": {"id": "int64", "name": "string"}, "columns": ["id", "name"], "max_row_bytes": limit}
    stream = read(files(tmp_path / "a.jsonl", **options))
    lines = [line for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(b" \t\r")]
    rows = stream.rows.get("a.jsonl", {})
    rejects = {reject.offset: reject.raw for reject in stream.rejects}
    assert sorted([*rows, *rejects]) == list(range(len(lines)))
    for offset, line in enumerate(lines):
        if offset in rejects:
            assert rejects[offset] == line.removesuffix(b"\r")
        else:
            value = json.loads(line)
            assert rows[offset] == {"id": value.get("id"), "name": value.get("name")}
    with small_blocks(block):
        cut = read(files(tmp_path / "a.jsonl", **options), max_rows=3)
    assert (cut.rows, cut.rejects) == (stream.rows, stream.rejects)


@quick
@given(st.lists(st.sampled_from([b"{}", b'{"a":1}', b"", b" {}", b"{} ", b"{", b"}", b"x"]), max_size=6), st.booleans())
def test_the_quick_look_at_a_block_agrees_with_the_careful_one(lines, carriage_return):
    framer = JsonFramer(1 << 20)
    text = b"".join(line + (b"\r\n" if carriage_return else b"\n") for line in lines)
    careful = framer.frame(text, final=True, in_detail=True)
    quick_look = framer.frame(text, final=True)
    assert (quick_look.data, quick_look.rows) == (careful.data, careful.rows)
    if quick_look.spans is None:
        assert len(careful.spans) == len(lines)
        assert not any(span.fault for span in careful.spans)


def test_fractions_after_integers_say_which_type_holds_both(files, read, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"price": 10}\n')
    (tmp_path / "b.jsonl").write_text('{"price": 10.5}\n{"price": 10.0}\n')
    stream = read(files(tmp_path / "*.jsonl"))
    assert ["column_types: {price: float64}" in reject.reason for reject in stream.rejects] == [True, True]
    assert read(files(tmp_path / "*.jsonl", column_types={"price": "float64"})).values("price") == [10.0, 10.5, 10.0]


ROW = {"ts": "2024-03-01T00:00:00", "user": "u1", "y": 1}


@pytest.mark.parametrize(
    ("data", "name", "says", "hint"),
    [
        (json.dumps([ROW] * 3).encode(), "a.json", "is one JSON array", "jq -c '.[]' a.json > "),
        (json.dumps([ROW] * 3, indent=2).encode(), "a.json", "is one JSON array", "jq -c '.[]' a.json > "),
        (json.dumps([[1], [2]]).encode(), "a.jsonl", "is one JSON array", "jq -c '.[]'"),
        (json.dumps(ROW, indent=1).encode(), "a.json", "JSON objects over several lines", "jq -c . a.json > "),
        (json.dumps(ROW).encode("utf-16"), "a.jsonl", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8 a.jsonl"),
        (json.dumps(ROW).encode("utf-16-le"), "a.jsonl", "is text in UTF-16", "iconv"),
        ("user,y\nu1,1\n".encode("utf-16"), "a.csv", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8 a.csv"),
        (gzip.compress(json.dumps(ROW).encode(), mtime=0), "a.jsonl", "is compressed by gzip", "`compression: gz`"),
        (gzip.compress(b"user,y\nu1,1\n", mtime=0), "a.csv", "is compressed by gzip", "`compression: gz`"),
        (b"PAR1\x15\x04", "a.csv", "is a Parquet file", "`format: parquet`"),
    ],
)
def test_a_file_of_a_shape_that_no_reader_expects_is_an_error_that_says_so(
    files, read, tmp_path, data, name, says, hint
):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=says) as caught:
        read(files(tmp_path / name))
    assert hint in caught.value.hint
    # What the hint says.
    if "compression" in hint:
        assert read(files(tmp_path / name, compression="gz")).values("user") == ["u1"]
    elif "iconv" in hint:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le")
        (tmp_path / name).write_text(text)
        assert read(files(tmp_path / name)).values("user") == ["u1"]


def test_an_array_behind_good_files_is_told(files, read, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([ROW]))
    [reject] = read(files(tmp_path / "*.json")).rejects
    assert reject.reason == "the line is not a JSON object but an array"
