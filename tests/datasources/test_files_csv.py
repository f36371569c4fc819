"""CSV files: every line is one row or one reject, whatever is in it."""

from __future__ import annotations

import csv
import datetime
import io
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from penrose_host.errors import SourceError
from penrose_host.formats.csv_frames import CsvFramer

LIMIT = 16 << 20
quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def test_types_are_read_off_the_first_rows(files, read, tmp_path):
    (tmp_path / "a.csv").write_text(
        "i,x,s,b,t,z,day,empty\n"
        "1,1.5,a,true,2013-01-01 10:00:00,2013-01-01T10:00:00Z,2013-01-01,\n"
        "2,,NA,false,2013-01-01 10:00:01,2013-01-01T12:00:00+01:00,2013-01-02,\n"
    )
    first, second = read(files(tmp_path / "a.csv")).rows["a.csv"].values()
    assert first == {
        "i": 1,
        "x": 1.5,
        "s": "a",
        "b": True,
        "t": datetime.datetime(2013, 1, 1, 10),
        "z": datetime.datetime(2013, 1, 1, 10, tzinfo=datetime.UTC),
        "day": "2013-01-01",
        "empty": "",
    }
    assert (second["x"], second["s"]) == (None, "NA")
    assert second["z"] == datetime.datetime(2013, 1, 1, 11, tzinfo=datetime.UTC)


def test_bad_rows_are_single_rejects_with_their_bytes(files, read, tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b'id,price,name\n0,1.5,a\n1,2.5\n2,2.5,b,c\n3,x,d\n4,2.5,\xff\xfe\n5,2.5,"e\n6,2.5,e"f"\n7,2.5,g\rh\n8,2.5,i\n'
    )
    stream = read(files(tmp_path / "a.csv", column_types={"price": "float32"}))
    assert list(stream.rows["a.csv"]) == [0, 8]
    assert [(reject.offset, reject.raw) for reject in stream.rejects] == [
        (1, b"1,2.5"),
        (2, b"2,2.5,b,c"),
        (3, b"3,x,d"),
        (4, b"4,2.5,\xff\xfe"),
        (5, b'5,2.5,"e'),
        (6, b'6,2.5,e"f"'),
        (7, b"7,2.5,g\rh"),
    ]
    reasons = [reject.reason for reject in stream.rejects]
    assert reasons[0] == "the row has 2 fields, not 3"
    assert reasons[2] == "column 'price': 'x' is not float"
    assert reasons[3] == "the byte 0xff at 6 is not UTF-8"
    assert "closed" in reasons[4] or "closing" in reasons[4]


def test_line_ends_inside_quotes_belong_to_the_row(files, read, tmp_path):
    (tmp_path / "a.csv").write_bytes(b'id,text\r\n1,"one\r\ntwo ""2"", three"\r\n\r\n2,""\r\n3,"a\nb"')
    stream = read(files(tmp_path / "a.csv"))
    assert stream.values("text") == ['one\r\ntwo "2", three', "", "a\nb"]
    assert not stream.rejects


def test_a_stray_quote_costs_one_row(files, read, tmp_path):
    lines = [f"{number},plain" for number in range(200_000)]
    lines[1000] = '1000,"plain'
    (tmp_path / "a.csv").write_text("id,text\n" + "\n".join(lines) + "\n")
    stream = read(files(tmp_path / "a.csv", max_row_bytes=1 << 20))
    assert [reject.offset for reject in stream.rejects] == [1000]
    assert stream.values("id") == [number for number in range(200_000) if number != 1000]


def test_a_quoted_row_of_the_wrong_width_is_not_taken_apart(files, read, tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"a\nb",extra\n2,c\n')
    stream = read(files(tmp_path / "a.csv"))
    assert stream.values("id") == [2]
    assert [reject.raw for reject in stream.rejects] == [b'1,"a', b'b",extra']


@pytest.mark.parametrize("text", ["", "a,b\n", "a,b", "\n\n", "\ufeff", "\ufeffa,b\n"])
def test_a_file_without_rows_gives_none(files, read, tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    stream = read(files(tmp_path / "*.csv"))
    assert stream.rows == {"b.csv": {0: {"a": 1, "b": 2}}}
    assert read(files(tmp_path / "a.csv")).rows == {}


def test_a_byte_order_mark_is_no_part_of_the_first_name(files, read, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid\n1\n")
    assert read(files(tmp_path / "a.csv")).values("id") == [1]


def test_other_ways_to_write_csv(files, read, tmp_path):
    (tmp_path / "a.tsv").write_text("x\ty\n1\t'a'\n")
    assert read(files(tmp_path / "a.tsv", csv={"quote": "'"})).rows["a.tsv"][0] == {"x": 1, "y": "a"}
    (tmp_path / "b.csv").write_text('1;5" pipe;-\n')
    how = {"delimiter": ";", "quote": None, "header": False, "column_names": ["n", "what", "x"], "null_values": ["-"]}
    row = read(files(tmp_path / "b.csv", csv=how, column_types={"x": "int64"})).rows["b.csv"][0]
    assert row == {"n": 1, "what": '5" pipe', "x": None}
    (tmp_path / "c.csv").write_text("1,2\n")
    assert read(files(tmp_path / "c.csv", csv={"header": False})).rows["c.csv"][0] == {"f0": 1, "f1": 2}


def test_column_names_take_no_row_for_a_header(files, read, tmp_path):
    """Criteo's and Taobao's files have no header: there its first row would be lost, of every file."""
    names = {"column_names": ["n", "what"]}
    (tmp_path / "a.csv").write_text("1,x\n2,y\n")
    with pytest.raises(
        SourceError, match=r"a\.csv: the first row holds none of `column_names`, but '1', 'x'"
    ) as raised:
        read(files(tmp_path / "a.csv", csv=names))
    assert raised.value.hint is not None
    assert "`csv: {header: false}`" in raised.value.hint
    assert read(files(tmp_path / "a.csv", csv=names | {"header": False})).values("n") == [1, 2]
    # What the hint says for the other case.
    (tmp_path / "b.csv").write_text("Zahl,Was\n1,x\n")
    assert read(files(tmp_path / "b.csv", csv=names | {"header": True})).values("n") == [1]
    # A header that has one of the names, however it is written, is one.
    (tmp_path / "c.csv").write_text("N ,Was\n1,x\n")
    assert read(files(tmp_path / "c.csv", csv=names)).values("n") == [1]
    # In the second file, too: the first one was right.
    (tmp_path / "d.csv").write_text("7,x\n")
    with pytest.raises(SourceError, match=r"d\.csv: the first row"):
        read(files(tmp_path / "[cd].csv", csv=names))
    (tmp_path / "e.csv").write_text("n\n1\n")
    with pytest.raises(SourceError, match="its first row has 1 fields, and `column_names` names 2"):
        read(files(tmp_path / "e.csv", csv=names))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a,a\n1,2\n", "two columns"),
        (b"\xff,b\n1,2\n", "not UTF-8"),
        (b'a,"b\n1,2\n', "closed"),
        (b"a,b\rc\n", "carriage"),
    ],
)
def test_a_first_row_that_is_no_header_is_an_error(files, read, tmp_path, text, what):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(SourceError, match=rf"a\.csv.*{what}"):
        read(files(tmp_path / "a.csv"))


def test_columns_are_matched_by_name_and_missing_ones_are_null(files, read, tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "b.csv").write_text("w,z,x\n0,5,4\n")
    stream = read(files(tmp_path / "*.csv", columns=["z", "x", "y"]))
    assert list(stream.rows["b.csv"][0].items()) == [("z", 5), ("x", 4), ("y", None)]


def test_a_csv_file_cannot_hold_lists_but_may_lack_them(files, read, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": 1, "l": [1]}\n')
    (tmp_path / "b.csv").write_text("x\n2\n")
    assert read(files(tmp_path / "*")).values("l") == [[1], None]
    (tmp_path / "b.csv").write_text("x,l\n2,3\n")
    with pytest.raises(SourceError, match=r"column 'l' is list<.*b\.csv, a CSV file, cannot hold"):
        read(files(tmp_path / "*"))


@pytest.mark.parametrize("tail", [b"", b"\n", b"\nlast,1"])
def test_a_field_of_100_megabytes_is_one_reject_in_bounded_memory(files, read, tmp_path, tail):
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(b"name,x\nfirst,1\nlong,")
        for _ in range(100):
            file.write(b"y" * (1 << 20))
        file.write(tail)
    tracemalloc.start()
    try:
        stream = read(files(tmp_path / "a.csv"))
        assert tracemalloc.get_traced_memory()[1] < 6 * LIMIT
    finally:
        tracemalloc.stop()
    assert [reject.offset for reject in stream.rejects] == [1]
    assert stream.rejects[0].reason == (
        f"the row has {(100 << 20) + 5} bytes, more than `max_row_bytes` ({LIMIT}) allows"
    )
    assert len(stream.rejects[0].raw) == 64 << 10
    assert stream.values("name") == (["first", "last"] if tail.endswith(b"1") else ["first"])


def test_a_long_field_within_the_limit_is_a_value(files, read, tmp_path):
    (tmp_path / "a.csv").write_bytes(b'x,y\n1,"' + b"long\n" * 1_000_000 + b'"\n2,b\n')
    assert [len(value) for value in read(files(tmp_path / "a.csv")).values("y")] == [5_000_000, 1]


cell = st.text(st.sampled_from("ab1\", \n\r;é'\x00"), max_size=6)


@quick
@given(st.lists(st.lists(cell, min_size=2, max_size=2), max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_a_csv_writer_writes_is_read_back(files, read, small_blocks, tmp_path, rows, end, all_quoted):
    if end == "\n" and not all_quoted:  # Python would write such a field without quotes
        rows = [[value.replace("\r", "") for value in row] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL)
    writer.writerows([["x", "y"], *rows])
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode())
    with small_blocks(7):
        stream = read(files(tmp_path / "a.csv", column_types={"x": "string", "y": "string"}))
    assert not stream.rejects
    assert list(zip(stream.values("x"), stream.values("y"), strict=True)) == [tuple(row) for row in rows]


noise = st.binary(max_size=4) | st.sampled_from(
    [b'"', b'""', b",", b"\n", b"\r", b"\r\n", b"\xff", b"\x00", b'",', b',"']
)
edits = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), noise), max_size=6)


def mutated(text: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, put in changes:
        place %= len(text) + 1
        text = text[:place] + put + text[place + removed :]
    return text


BODY = "".join(f'{n},"name {n}",{n}.5\n' if n % 2 else f"{n},name {n},{n}.5\n" for n in range(20)).encode()
TYPES = {"id": "int64", "name": "string", "x": "float64"}
PLAIN = "".join(f"{n},name {n},{n}.5\n" for n in range(20)).encode()


@quick
@given(edits, st.integers(1, 50), st.sampled_from([64, 1 << 20]))
def test_how_a_file_is_cut_into_blocks_changes_nothing(files, read, small_blocks, tmp_path, changes, block, limit):
    (tmp_path / "a.csv").write_bytes(b"id,name,x\n" + mutated(BODY, changes))
    options = {"column_types": TYPES, "max_row_bytes": limit}
    whole = read(files(tmp_path / "a.csv", **options))
    with small_blocks(block):
        cut = read(files(tmp_path / "a.csv", **options), max_rows=3)
    assert (cut.rows, cut.rejects) == (whole.rows, whole.rejects)


@quick
@given(edits)
def test_without_quotes_each_line_is_one_row_or_one_reject(files, read, tmp_path, changes):
    text = mutated(PLAIN, changes)
    (tmp_path / "a.csv").write_bytes(b"id,name,x\n" + text)
    stream = read(files(tmp_path / "a.csv", column_types=TYPES, csv={"quote": None}))
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    lines = [line for line in lines if line]
    rejects = {reject.offset: reject.raw for reject in stream.rejects}
    rows = stream.rows.get("a.csv", {})
    assert sorted([*rejects, *rows]) == list(range(len(lines)))
    for offset, line in enumerate(lines):
        if offset in rejects:
            assert rejects[offset] == line
        else:
            assert line.decode().split(",")[1] == rows[offset]["name"]


@quick
@given(edits)
def test_with_quotes_no_line_is_lost_and_a_reject_is_one_line(files, read, tmp_path, changes):
    text = mutated(BODY, changes)
    (tmp_path / "a.csv").write_bytes(b"id,name,x\n" + text)
    stream = read(files(tmp_path / "a.csv", column_types=TYPES))
    framer = CsvFramer(",", '"', 3, LIMIT)
    padded = text if text.endswith(b"\n") else text + b"\n"
    spans, done = framer.scan(padded, final=True)
    assert done == len(padded)
    raws = [padded[span.start : span.stop] for span in spans]
    # Between rows there are line ends only.
    assert b"".join(padded.replace(b"\r\n", b"\n").split(b"\n")) == b"".join(
        b"".join(raw.replace(b"\r\n", b"\n").split(b"\n")) for raw in raws
    )
    rows = stream.rows.get("a.csv", {})
    assert sorted([*rows, *(reject.offset for reject in stream.rejects)]) == list(range(len(raws)))
    for reject in stream.rejects:
        assert reject.raw == raws[reject.offset]
    for offset, row in rows.items():
        fields = next(csv.reader(io.StringIO(raws[offset].decode(), newline="")))
        assert (row["name"], row["id"]) == (fields[1], int(fields[0]) if fields[0].strip() else None)


@quick
@given(edits)
def test_the_quick_look_at_a_block_agrees_with_the_careful_one(changes):
    text = mutated(BODY, changes)
    framer = CsvFramer(",", '"', None, LIMIT)
    block = framer.frame(text, final=False)
    if block.spans is None:
        spans, done = framer.scan(text, final=False)
        assert done == len(block.data)
        assert [text[span.start : span.stop] for span in spans] == [
            line.removesuffix(b"\r") for line in block.data.split(b"\n")[:-1]
        ]
        assert not [span for span in spans if span.fault]


NUMBERS = [
    "1",
    " 1",
    "1 ",
    "\t1",
    "+1",
    "0x1F",
    "1_0",
    "٣",
    "1.0",
    "1e3",
    "NA",
    "-NaN",
    "true",
    "T",
    "inf",
    "1e400",
    ".5",
]
TIMES = ["2013-01-01 10:00:00", "2013-01-01T10:00:00Z", "2013-01-01 10", "2013-02-30 00:00:00", "9999-12-31 00:00:00"]


@settings(quick, max_examples=40)
@given(
    st.lists(st.sampled_from([*NUMBERS, *TIMES]) | st.text(max_size=3), min_size=1, max_size=12),
    st.sampled_from(["int64", "uint8", "float32", "float64", "bool", "timestamp[us]", "timestamp[s, UTC]", "binary"]),
)
def test_whether_a_value_is_one_depends_on_nothing_around_it(files, read, tmp_path, values, kind):
    def rows_of(values):
        with (tmp_path / "a.csv").open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["n", "x"], *enumerate(values)])
        return read(files(tmp_path / "a.csv", column_types={"x": kind, "n": "int64"}))

    together = rows_of(values)
    for offset, value in enumerate(values):
        alone = rows_of([value])
        if alone.rejects:
            assert [r.reason for r in together.rejects if r.offset == offset] == [alone.rejects[0].reason]
        else:
            same = repr(together.rows["a.csv"][offset]["x"]) == repr(alone.rows["a.csv"][0]["x"])
            assert same, (together.rows["a.csv"][offset], alone.rows)


@pytest.mark.parametrize("code", ["01", "001", "-0", "-01", "0x1F"])
def test_a_text_is_an_integer_only_where_it_prints_so(files, read, tmp_path, code):
    """Post codes and the like: `01` and `1` are two categories, in whatever row or file they stand."""
    (tmp_path / "a.csv").write_text(f'n,code\n1,1\n2,{code}\n3,"{code}"\n4, 7\n')
    assert read(files(tmp_path / "a.csv")).values("code") == ["1", code, code, " 7"]
    (tmp_path / "b.csv").write_text("n,code\n1,1\n2, 2\n")
    (tmp_path / "c.csv").write_text(f"n,code\n1,{code}\n2,\n3,5\n")
    stream = read(files(tmp_path / "[bc].csv"))
    assert stream.values("code") == [1, 2, None, 5]
    [reject] = stream.rejects
    assert reject.reason.startswith(f"column 'code': {code!r} is not int64, as the first rows suggested; to read it")
    # What it says.
    assert read(files(tmp_path / "[bc].csv", column_types={"code": "string"})).values("code") == [
        *("1", " 2", code, "", "5")
    ]


def test_leading_zeros_are_dropped_where_the_job_says_so(files, read, tmp_path):
    (tmp_path / "a.csv").write_text("n,code\n1,01\n2,1\n")
    assert read(files(tmp_path / "a.csv", column_types={"code": "int64"})).values("code") == [1, 1]


def test_a_number_is_no_truth_value(files, read, tmp_path):
    (tmp_path / "a.csv").write_text("n,y\n1,true\n2,false\n")
    (tmp_path / "b.csv").write_text("n,y\n1,1\n2,0\n3,true\n")
    stream = read(files(tmp_path / "*.csv"))
    assert stream.values("y") == [True, False, True]
    assert [reject.offset for reject in stream.rejects] == [0, 1]
    assert "'1' is not bool, as the first rows suggested" in stream.rejects[0].reason
    declared = read(files(tmp_path / "*.csv", column_types={"y": "bool"}))
    assert declared.values("y") == [True, False, True, False, True]


def test_fractions_after_integers_say_which_type_holds_both(files, read, tmp_path):
    (tmp_path / "a.csv").write_text("n,price\n1,10\n")
    (tmp_path / "b.csv").write_text("n,price\n1,10.5\n")
    [reject] = read(files(tmp_path / "*.csv")).rejects
    assert "'10.5' is not int64" in reject.reason
    assert "`column_types: {price: float64}`" in reject.reason
    assert read(files(tmp_path / "*.csv", column_types={"price": "float64"})).values("price") == [10.0, 10.5]


def test_a_file_of_bad_rows_takes_no_longer_than_it_must(files, read, tmp_path):
    rows = "".join(f"{n},{n}.5\n" for n in range(20_000))
    (tmp_path / "a.csv").write_text("n,x\n" + rows)
    stream = read(files(tmp_path / "a.csv", column_types={"x": "int64"}))
    assert len(stream.rejects) == 20_000
    assert stream.rejects[-1].reason == "column 'x': '19999.5' is not int64"
