"""The datasource `files`: which files, in which order, from which place, and what if they change."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import fsspec
import fsspec.implementations.memory
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from penrose_host import Capability, EndOfStream
from penrose_host.datasources.files.fingerprints import SPAN
from penrose_host.datasources.files.listing import LeftOut, list_files
from penrose_host.datasources.files.source import FilesSource
from penrose_host.errors import SourceError, WrongStream

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def put(path, numbers, end="\n"):
    """A CSV file with one column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["n", *map(str, numbers)]) + end)


# -- which files ---------------------------------------------------------------------------------


def test_partitions_are_the_paths_below_what_the_patterns_share(files, tmp_path):
    for name in ("2013/b.csv", "2013/a.csv", "2014/x/c.csv", "2014/.hidden.csv", ".git/d.csv", "2014/e.txt"):
        put(tmp_path / name, [1])
    assert files(tmp_path / "**/*.csv").partitions() == ["2013/a.csv", "2013/b.csv", "2014/x/c.csv"]
    assert files(tmp_path / "2013/*.csv").partitions() == ["a.csv", "b.csv"]
    assert files(tmp_path / "2013/a.csv").partitions() == ["a.csv"]
    both = [tmp_path / "2013/a.csv", tmp_path / "2014/x/c.csv", tmp_path / "201?/a.csv"]
    assert files(both).partitions() == ["2013/a.csv", "2014/x/c.csv"]


def test_links_are_followed_as_in_a_shell(files, read, tmp_path):
    put(tmp_path / "data" / "day1" / "a.csv", [1])
    put(tmp_path / "elsewhere" / "b.csv", [2])
    put(tmp_path / "elsewhere" / "deep" / "c.csv", [3])
    (tmp_path / "data" / "day2").symlink_to("../elsewhere")
    (tmp_path / "data" / "day1" / "z.csv").symlink_to("../../elsewhere/b.csv")
    assert files(tmp_path / "data/day?/a.csv").partitions() == ["day1/a.csv"]
    assert read(files(tmp_path / "data/day2/*.csv")).values("n") == [2]
    assert read(files(tmp_path / "data/day1/z.csv")).values("n") == [2]
    assert files(tmp_path / "data/**/*.csv").partitions() == ["day1/a.csv", "day1/z.csv", "day2/deep/c.csv"]


@pytest.mark.parametrize("pattern", ["data/*/*.csv", "data/**/*.csv", "data/**", "data/*/*"])
def test_a_file_that_links_give_two_names_is_read_once(files, read, tmp_path, pattern, caplog):
    """`latest`, and links that lead back to a folder that they are in."""
    put(tmp_path / "data" / "day1" / "a.csv", [1])
    put(tmp_path / "data" / "day2" / "b.csv", [2])
    (tmp_path / "data" / "a-latest").symlink_to("day2")
    (tmp_path / "data" / "day1" / "loop").symlink_to("..")
    (tmp_path / "data" / "day1" / "up").symlink_to("../..")
    (tmp_path / "data" / "day2" / "other").symlink_to("../day1")
    with caplog.at_level("INFO", "penrose"):
        source = files(tmp_path / pattern)
        assert source.partitions() == ["day1/a.csv", "day2/b.csv"]
    assert read(source).values("n") == [1, 2]
    if "**" not in pattern:
        [line] = caplog.messages
        assert line.startswith("1 file is left out, links to files that are read under another name: ")
        assert line.endswith("data/a-latest/b.csv")


def test_what_tells_of_the_data_and_is_none_is_left_out_and_counted(files, read, tmp_path, caplog):
    for name in ("_SUCCESS", "_temporary/0/x.csv", ".a.csv.crc", "b.csv._COPYING_", "day=1/a.csv", "_hour=2/b.csv"):
        put(tmp_path / "data" / name, [1])
    with caplog.at_level("INFO", "penrose"):
        assert files(tmp_path / "data/**").partitions() == ["_hour=2/b.csv", "day=1/a.csv"]
    [line] = caplog.messages
    assert line.startswith("4 files are left out, their names, or their folders', start with a dot or an underscore")
    assert files(tmp_path / "data/_temporary/*/x.csv").partitions() == ["0/x.csv"]


def test_a_followed_folder_tells_of_each_draft_once_and_keeps_no_names_of_those_that_went(tmp_path, caplog):
    patterns = [str(tmp_path / "a*" / "*"), str(tmp_path / "b*" / "*")]
    left_out = LeftOut()
    put(tmp_path / "b" / ".always.csv", [1])
    with caplog.at_level("INFO", "penrose"):
        for number in range(3):
            put(tmp_path / "a" / f".{number}.csv", [1])
            for _ in range(2):
                assert list_files(patterns, {}, left_out, again=True) == {}
            (tmp_path / "a" / f".{number}.csv").unlink()
    assert [line.split(" left out")[0] for line in caplog.messages] == ["2 files are", "1 file is", "1 file is"]
    assert all(len(paths) <= 2 for paths in left_out._known.values())


def test_hidden_files_alone_are_told_of_before_the_error(files, tmp_path, caplog):
    put(tmp_path / "_SUCCESS", [1])
    with caplog.at_level("INFO", "penrose"), pytest.raises(SourceError, match="no file matches"):
        files(tmp_path / "*").partitions()
    assert caplog.messages[0].startswith("1 file is left out")


def test_a_link_that_leads_nowhere_is_an_error(files, tmp_path):
    put(tmp_path / "a.csv", [1])
    (tmp_path / "b.csv").symlink_to("gone.csv")
    with pytest.raises(SourceError, match=r"b\.csv is not a file that can be read"):
        files(tmp_path / "*.csv").partitions()


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(files, read, tmp_path):
    put(tmp_path / "a[1]*.csv", [1])
    put(tmp_path / "a1.csv", [2])
    assert read(files(tmp_path / "a[1]*.csv")).values("n") == [1]


def test_urls_and_relative_paths(files, read, tmp_path, monkeypatch):
    put(tmp_path / "d" / "ü x.csv", [1])
    monkeypatch.chdir(tmp_path)
    relative = files("d/*.csv")
    assert relative.source_id == files(f"file://{tmp_path}/d/*.csv").source_id == files(tmp_path / "d/*.csv").source_id
    assert read(relative).values("n") == read(files(f"file://{tmp_path}/d/*.csv")).values("n") == [1]

    memory = fsspec.filesystem("memory")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": range(10)}), buffer)
    memory.pipe({"/penrose/a.csv": b"n\n1\n2\n", "/penrose/b.csv.gz": gzip.compress(b"n\n3\n")})
    memory.pipe("/penrose/c.parquet", buffer.getvalue())
    try:
        source = files("memory://penrose/*")
        assert source.partitions() == ["a.csv", "b.csv.gz", "c.parquet"]
        assert read(source).values("n") == [1, 2, 3, *range(10)]
        again = files("memory://penrose/*")
        again.expect(source.stamps())
        assert read(again, {"a.csv": 1, "c.parquet": 8}).values("n") == [2, 8, 9]
    finally:
        memory.rm("/penrose", recursive=True)


def test_the_stream_s_name_follows_from_pattern_and_framing_alone(files, tmp_path):
    pattern = str(tmp_path / "*.csv")
    name = files(pattern).source_id
    assert name == files([pattern], batch_rows=5, columns=["a"], max_row_bytes=64).source_id
    others = [files(tmp_path / "a.csv"), files(pattern, format="csv"), files(pattern, csv={"header": False})]
    assert len({name, *(other.source_id for other in others)}) == 4
    assert files("ftp://me@host/a.csv").source_id == files("ftp://you@host/a.csv").source_id


class Vault(fsspec.implementations.memory.MemoryFileSystem):
    """A file system that asks for a secret, as those of clouds do."""

    protocol = "vault"
    cachable = False

    def __init__(self, password=None, client_kwargs=None, **options):
        if "open sesame" not in (password, (client_kwargs or {}).get("token")):
            raise PermissionError("no password")
        super().__init__(**options)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("vault://"))


@pytest.mark.parametrize(
    ("path", "storage_options", "variable", "value"),
    [
        ("vault://me:open sesame@x/a.csv", {}, "FSSPEC_VAULT_PASSWORD", "open sesame"),
        ("vault://x/a.csv", {"password": "open sesame"}, "FSSPEC_VAULT_PASSWORD", "open sesame"),
        ("simplecache::vault://me:open sesame@x/a.csv", {}, "FSSPEC_VAULT_PASSWORD", "open sesame"),
        ("zip://x/a.csv::vault://me:open sesame@x/a.zip", {}, "FSSPEC_VAULT_PASSWORD", "open sesame"),
        (
            "simplecache::vault://x/a.csv",
            {"vault": {"password": "open sesame"}},
            "FSSPEC_VAULT_PASSWORD",
            "open sesame",
        ),
        (
            "vault://x/a.csv",
            {"client_kwargs": {"token": "open sesame"}},
            "FSSPEC_VAULT",
            '{"client_kwargs": {"token": "open sesame"}}',
        ),
    ],
)
def test_secrets_are_refused_and_read_from_where_the_error_says(files, read, path, storage_options, variable, value):
    with pytest.raises(ValidationError, match=rf"set the environment variable {variable}\b") as refused:
        files(path, storage_options=storage_options)
    assert "sesame" not in str(refused.value)
    fsspec.register_implementation("vault", Vault, clobber=True)
    source = files("vault://x/a.csv")
    with pytest.raises(SourceError, match="no password"):
        source.partitions()
    memory = fsspec.filesystem("memory")
    fsspec.config.set_conf_env(fsspec.config.conf, {variable: value})
    try:
        memory.pipe("/x/a.csv", b"n\n1\n")
        assert read(files("vault://x/a.csv")).values("n") == [1]
    finally:
        fsspec.config.conf.pop("vault")
        memory.rm("/x", recursive=True)


@pytest.mark.parametrize(
    ("path", "storage_options"),
    [
        ("s3://bucket/a.csv", {"anon": True, "key": "AKIA", "endpoint_url": "http://127.0.0.1:9000"}),
        ("gs://bucket/a.csv", {"token": "anon"}),
        ("gs://bucket/a.csv", {"token": "/etc/keys/service.json", "project": "p"}),
        ("sftp://me@host/a.csv", {"port": 22}),
        ("https://host/a:b@c.csv", {"client_kwargs": {"trust_env": True}}),
    ],
)
def test_what_is_no_secret_is_taken(files, path, storage_options):
    files(path, storage_options=storage_options)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("none/*.csv", "no file matches .*none.*\n.*relative paths start at"),
        ("none.csv", "there is no file .*none.csv"),
        (".", "not a file but a directory\n.*use a glob"),
        ("s3://bucket/a.csv", "s3fs"),
        ("nope://bucket/a.csv", "nope"),
        (["a.csv", "memory://a.csv"], "different file systems"),
        ("a.csv.unknown", "does not tell its format\n.*option `format`"),
    ],
)
def test_paths_that_lead_nowhere_are_errors_with_advice(files, read, tmp_path, monkeypatch, path, what):
    put(tmp_path / "a.csv.unknown", [1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=what):
        read(files(path))


def test_a_file_that_may_not_be_read_or_vanishes_is_an_error_that_names_it(files, tmp_path):
    put(tmp_path / "a.csv", [1])
    put(tmp_path / "b.csv", [2])
    source = files(tmp_path / "*.csv")
    source.open(dict.fromkeys(source.partitions()))
    source.read(10, 1.0)
    (tmp_path / "b.csv").unlink()
    with pytest.raises(SourceError, match=r"cannot open .*b\.csv") as caught:
        source.read(10, 1.0)
    assert caught.value.partition == "b.csv"
    source.close()


@pytest.mark.parametrize(
    "options",
    [
        {"path": ""},
        {"path": []},
        {"path": "a.csv", "format": "xml"},
        {"path": "a.csv", "column_types": {"a": "int"}},
        {"path": "a.csv", "column_types": {"a": "list<int"}},
        {"path": "a.csv", "columns": []},
        {"path": "a.csv", "csv": {"delimiter": ",,"}},
        {"path": "a.csv", "csv": {"quote": ","}},
        {"path": "a.csv", "csv": {"column_names": ["a", "a"]}},
        {"path": "a.csv", "nonsense": 1},
        {},
    ],
)
def test_options_that_cannot_be_are_refused_at_once(options):
    with pytest.raises(ValidationError):
        FilesSource.Options(**options)


# -- in which order ------------------------------------------------------------------------------


def test_files_are_read_one_after_the_other_and_paused_ones_passed_over(files, tmp_path):
    for name in "abc":
        put(tmp_path / f"{name}.csv", range(3))
    source = files(tmp_path / "*.csv")
    assert source.capabilities == {Capability.SEEK}
    source.open(dict.fromkeys(source.partitions()))

    def next_name():
        return source.read(2, 1.0).batch["_partition"][0].as_py()

    assert next_name() == "a.csv"
    source.pause(["a.csv"])
    assert next_name() == "b.csv"
    source.pause(["a.csv", "b.csv", "c.csv"])
    assert source.read(2, 1.0) is None
    assert source.ended() == set()
    source.pause([])
    assert [next_name() for _ in range(4)] == ["a.csv", "b.csv", "c.csv", "c.csv"]
    assert source.ended() == {"a.csv", "b.csv"}
    with pytest.raises(EndOfStream):
        source.read(2, 1.0)
    assert source.ended() == {"a.csv", "b.csv", "c.csv"}
    source.close()
    source.close()


def test_only_files_that_are_being_read_are_open(files, tmp_path):
    for number in range(50):
        put(tmp_path / f"{number:02}.csv", range(3))
    source = files(tmp_path / "*.csv")
    source.open(dict.fromkeys(source.partitions()))
    while True:
        try:
            source.read(2, 1.0)
        except EndOfStream:
            break
        opened = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        assert len([path for path in opened if path.startswith(str(tmp_path))]) == 1
    source.close()


def test_too_many_open_files_are_an_error_that_says_what_helps(tmp_path):
    for number in range(60):
        put(tmp_path / f"{number:02}.csv", range(3))
    code = (
        "import resource, sys; from penrose_host.datasources.files.source import FilesSource as S; "
        "s = S(S.Options(path=sys.argv[1])); names = s.partitions(); s.open(dict.fromkeys(names)); s.read(1, 1.0); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); "
        "[s.pause(names[:n]) or s.read(1, 1.0) for n in range(60)]"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path / "*.csv"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "SourceError: cannot open" in ran.stderr
    assert "raise `ulimit -n`" in ran.stderr


def test_an_assignment_can_grow(files, tmp_path):
    put(tmp_path / "a.csv", range(4))
    put(tmp_path / "b.csv", range(4))
    source = files(tmp_path / "*.csv")
    source.open({"b.csv": 1})
    assert source.read(1, 1.0).batch["n"].to_pylist() == [1]
    source.open({"a.csv": 2, "b.csv": 0})
    assert [source.read(9, 1.0).batch["n"].to_pylist() for _ in range(2)] == [[2, 3], [2, 3]]
    source.close()


def test_a_source_can_be_closed_without_having_been_opened(files):
    files("none.csv").close()


# -- from which place ----------------------------------------------------------------------------

KINDS = ["csv", "jsonl", "parquet", "arrow", "csv.gz", "jsonl.bz2", "csv.xz", "jsonl.zst", "csv.zip"]


def write_kind(path, kind, numbers):
    """Rows `numbers`; where the kind is text, every fifth row is a bad one."""
    table = pa.table({"n": pa.array(numbers, pa.int64())})
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=7)
        return
    if kind == "arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
        return
    form, _, packing = kind.partition(".")
    lines = [f'{{"n": {n}}}' if form == "jsonl" else str(n) for n in numbers]
    lines = [line if n % 5 else "bad,row" for line, n in zip(lines, numbers, strict=True)]
    text = "\n".join([*(["n"] if form == "csv" else []), *lines]).encode() + b"\n"
    match packing:
        case "gz":
            text = gzip.compress(text[:20]) + gzip.compress(text[20:])
        case "bz2":
            text = bz2.compress(text)
        case "xz":
            text = lzma.compress(text)
        case "zst":
            text = pa.compress(text, "zstd", asbytes=True)
        case "zip":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("inner.csv", text)
            text = buffer.getvalue()
    path.write_bytes(text)


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3), data=st.data())
def test_from_any_position_the_rest_is_the_same(files, read, small_blocks, tmp_path_factory, kind, sizes, data):
    folder = tmp_path_factory.mktemp("resume")
    for index, size in enumerate(sizes):
        write_kind(folder / f"{index}.{kind}", kind, range(1, 1 + size))
    options = {"column_types": {"n": "int64"}, "batch_rows": 5}
    whole = read(files(folder / "*", **options))
    starts = {f"{index}.{kind}": data.draw(st.integers(0, size)) for index, size in enumerate(sizes)}
    with small_blocks(data.draw(st.integers(1, 60))):
        rest = read(files(folder / "*", **options), starts, max_rows=data.draw(st.integers(1, 20)))
    for name, start in starts.items():
        expected = {offset: row for offset, row in whole.rows.get(name, {}).items() if offset >= start}
        assert rest.rows.get(name, {}) == expected
    assert rest.rejects == [reject for reject in whole.rejects if reject.offset >= starts[reject.partition]]
    assert len(whole.order) + len(whole.rejects) == sum(sizes)
    assert whole.order == sorted(whole.order)


@pytest.mark.parametrize("start", [{"b.csv": 0}, {"a.csv": -1}, {"a.csv": 4}, {"a.csv": 3, "b.csv": None}])
def test_a_position_of_another_stream_is_refused(files, tmp_path, start):
    put(tmp_path / "a.csv", range(3))
    source = files(tmp_path / "a.csv")
    with pytest.raises(WrongStream):
        source.open(start)
    source.close()


def test_types_are_those_of_the_first_file_whatever_is_assigned(files, read, tmp_path):
    (tmp_path / "a.csv").write_text("n\n")
    put(tmp_path / "b.csv", ["x"])
    put(tmp_path / "c.csv", [1])
    assert read(files(tmp_path / "*.csv"), {"c.csv": 0}).values("n") == ["1"]


# -- compression ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_truncated_file_is_an_error_after_its_complete_rows(files, tmp_path, kind):
    numbers = [5 * number + 1 for number in random.Random(0).choices(range(10**9), k=120_000)]
    write_kind(tmp_path / f"a.csv.{kind}", f"csv.{kind}", numbers)
    path = tmp_path / f"a.csv.{kind}"
    path.write_bytes(path.read_bytes()[:-1000])
    source = files(path)
    source.open({path.name: None})
    rows = []
    with pytest.raises(SourceError, match="cannot be read to its end") as caught:
        rows.extend(number for chunk in iter(lambda: source.read(10_000, 1.0), None) for number in chunk.batch["n"])
    assert [row.as_py() for row in rows] == numbers[: len(rows)]
    assert len(rows) > 30_000
    assert (caught.value.partition, caught.value.offset) == (path.name, len(rows))
    source.close()


def test_what_is_not_compressed_as_its_name_says_is_an_error(files, read, tmp_path):
    for suffix in ("gz", "bz2", "xz", "zst", "zip"):
        (tmp_path / f"a.csv.{suffix}").write_text("n\n1\n")
        with pytest.raises(SourceError, match=rf"a\.csv\.{suffix} cannot be read"):
            read(files(tmp_path / f"a.csv.{suffix}"))
        assert read(files(tmp_path / f"a.csv.{suffix}", compression="none")).values("n") == [1]


def test_an_archive_must_hold_one_file(files, read, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", "n\n1\n")
        archive.writestr("b.csv", "n\n1\n")
    with pytest.raises(SourceError, match="holds 2 files"):
        read(files(tmp_path / "a.csv.zip"))


# -- files that change ---------------------------------------------------------------------------


def stamps_after(source, reads=None):
    """What the source says of its files after some reads (None: all)."""
    source.open(dict.fromkeys(source.partitions()))
    try:
        while reads is None or reads > 0:
            source.read(10, 1.0)
            reads = None if reads is None else reads - 1
    except EndOfStream:
        pass
    source.close()
    return source.stamps()


def big(path, numbers):
    put(path, (f"{n:100}" for n in numbers))


@pytest.mark.parametrize("reads", [1, None])
def test_a_file_that_is_as_it_was_is_expected(files, tmp_path, reads):
    big(tmp_path / "a.csv", range(5000))
    stamps = stamps_after(files(tmp_path / "a.csv"), reads)
    assert set(stamps) == {"a.csv"}
    os.utime(tmp_path / "a.csv", (0, 0))  # a copy is the same file
    files(tmp_path / "a.csv").expect(stamps)


def test_files_that_were_not_read_are_not_expected(files, tmp_path):
    put(tmp_path / "a.csv", range(30))
    put(tmp_path / "b.csv", range(30))
    assert set(stamps_after(files(tmp_path / "*.csv"), 1)) == {"a.csv"}


@pytest.mark.parametrize("reads", [1, None])
@pytest.mark.parametrize("change", ["gone", "shrunk", "first byte", "last byte", "longer and other", "a row put in"])
def test_a_file_that_changed_is_refused_by_name(files, tmp_path, change, reads):
    path = tmp_path / "a.csv"
    big(path, range(5000))
    stamps = stamps_after(files(tmp_path / "*.csv"), reads)
    data = path.read_bytes()
    put(tmp_path / "b.csv", [1])
    match change:
        case "gone":
            path.unlink()
        case "shrunk":
            path.write_bytes(data[:-101])
        case "first byte":
            path.write_bytes(data[:5] + b"7" + data[6:])
        case "last byte":
            path.write_bytes(data[:-2] + b"x\n")
        case "longer and other":
            big(path, range(1, 6000))
        case "a row put in":
            middle = data.index(b"\n", len(data) // 2) + 1
            path.write_bytes(data[:middle] + b"5\n" + data[middle:])
    message = r"a\.csv was read before" if change == "gone" else r"a\.csv has changed since the checkpoint"
    with pytest.raises(SourceError, match=message) as caught:
        files(tmp_path / "*.csv").expect(stamps)
    assert caught.value.partition == "a.csv"


@pytest.mark.parametrize("reads", [1, None])
def test_text_that_was_appended_is_read_on(files, read, tmp_path, reads):
    path = tmp_path / "a.csv"
    big(path, range(500))
    stamps = stamps_after(files(path), reads)
    with path.open("a") as file:
        file.write("7\n8\n")
    source = files(path)
    source.expect(stamps)
    assert read(source, {"a.csv": 500}).values("n") == [7, 8]


def test_a_last_row_that_was_written_on_after_it_was_read_is_refused(files, tmp_path):
    path = tmp_path / "a.csv"
    put(path, [1, 2, 3], end="")
    stamps = stamps_after(files(path))
    with path.open("a") as file:
        file.write("4\n")
    with pytest.raises(SourceError, match="has been written on"):
        files(path).expect(stamps)
    put(path, [1, 2, 3, 4])
    files(path).expect(stamps)


def test_a_file_that_is_rewritten_while_it_is_read_is_an_error(files, tmp_path):
    for name in ("a.csv", "b.csv.gz"):
        path = tmp_path / name
        write_kind(path, name[2:], range(1, 50))
        source = files(path)
        source.open({name: None})
        source.read(10, 1.0)
        write_kind(path, name[2:], range(2, 50))
        with pytest.raises(SourceError, match=rf"{name} has changed while it was read"):
            source.read(100, 1.0), source.read(100, 1.0)
        source.close()


def edited(path, place, *, touched=True):
    """Flips a bit in the file, which keeps its length."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    # Two writes may fall into one tick of the file system's clock.
    time = before.st_mtime_ns + (1_000_000 if touched else 0)
    os.utime(path, ns=(before.st_atime_ns, time))


@quick
@given(data=st.data(), rows=st.sampled_from([10, 20_000, 130_000]))
def test_a_local_file_of_a_megabyte_is_compared_byte_by_byte(files, tmp_path, data, rows):
    path = tmp_path / "a.csv"
    put(path, range(100_000, 100_000 + rows))
    stamps = stamps_after(files(path))
    edited(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    with pytest.raises(SourceError, match=r"a\.csv has changed since the checkpoint: its first"):
        files(path).expect(stamps)


@pytest.mark.parametrize("read_rows", [5, 10**6])
def test_of_a_larger_file_samples_are_compared(files, tmp_path, read_rows):
    path = tmp_path / "a.csv"
    put(path, range(1_000_000, 1_400_000))
    stamps = stamps_after(files(path), read_rows)
    middle = path.stat().st_size // 2
    for place in (0, SPAN, path.stat().st_size - SPAN - 1):
        edited(path, place)
        with pytest.raises(SourceError, match=r"a\.csv has changed since the checkpoint"):
            files(path).expect(stamps)
        edited(path, place)
    put(path, [*range(1_000_000, 1_200_000), *range(1_200_001, 1_220_001), *range(1_220_000, 1_400_000)])
    assert path.stat().st_size // 2 == middle
    with pytest.raises(SourceError, match=r"a\.csv has changed since the checkpoint"):
        files(path).expect(stamps)


def test_a_copy_has_another_time_and_is_the_same_file(files, tmp_path):
    path = tmp_path / "a.csv"
    put(path, range(400_000))
    stamps = stamps_after(files(path))
    os.utime(path, (1, 1))
    again = files(path)
    again.expect(stamps)
    # From now on the new time is known: what the page says is not noticed is not even looked at.
    edited(path, path.stat().st_size // 2, touched=False)
    files(path).expect(again.stamps())


def test_by_a_stamp_without_the_middle_the_ends_are_compared(files, tmp_path):
    path = tmp_path / "a.csv"
    put(path, range(400_000))
    (stamp,) = stamps_after(files(path)).values()
    old = {key: value for key, value in json.loads(stamp).items() if key not in ("middle", "changed")}
    files(path).expect({"a.csv": json.dumps(old)})
    edited(path, 0)
    with pytest.raises(SourceError, match=r"a\.csv has changed"):
        files(path).expect({"a.csv": json.dumps(old)})


def test_parquet_may_not_grow(files, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(10)}), path)
    stamps = stamps_after(files(path))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SourceError, match=r"a\.parquet has changed"):
        files(path).expect(stamps)


def test_files_that_were_read_to_their_end_are_not_read_again(files, tmp_path, monkeypatch):
    put(tmp_path / "a.csv", range(30))
    put(tmp_path / "b.csv", range(30))
    stamps = stamps_after(files(tmp_path / "*.csv"), 4)
    source = files(tmp_path / "*.csv")
    source.expect(stamps)
    source.open({"a.csv": 30, "b.csv": 10})
    assert source.ended() == {"a.csv"}
    assert source.read(5, 1.0).batch["n"].to_pylist() == list(range(10, 15))
    assert set(source.stamps()) == {"a.csv", "b.csv"}
    source.close()


@pytest.mark.parametrize("stamp", ["", "{}", "[]", '{"size": 1}'])
def test_a_stamp_of_another_source_is_refused(files, tmp_path, stamp):
    put(tmp_path / "a.csv", [1])
    with pytest.raises(WrongStream, match=r"a\.csv"):
        files(tmp_path / "a.csv").expect({"a.csv": stamp})


def test_importing_the_datasource_imports_no_framework():
    code = (
        "import sys, penrose_host.datasources.files.source as f; f.FilesSource(f.FilesOptions(path='a')).source_id; "
        "sys.exit(str({'pyarrow', 'fsspec', 'numpy', 'pandas', 'torch'} & sys.modules.keys()) if "
        "{'pyarrow', 'fsspec', 'numpy', 'pandas', 'torch'} & sys.modules.keys() else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
