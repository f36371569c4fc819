"""The datasource `files` with `follow`: what appears and grows is read once, what has ended is forgotten."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from penrose_host import Capability, EndOfStream, Position
from penrose_host.datasources.files.source import FilesSource
from penrose_host.errors import SourceError, WrongStream
from penrose_host.testing import DataSourceContract

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
SOON: dict[str, Any] = {"follow": True, "poll": "10ms", "settle": "1h"}


def old(path: Path) -> Path:
    """As if the file had been written long ago."""
    os.utime(path, (0, 0))
    return path


def append(path: Path, text: str | bytes) -> Path:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    return path


def parquet(path: Path, numbers: Any) -> None:
    draft = path.with_name(f".{path.name}")
    pq.write_table(pa.table({"n": pa.array(numbers, pa.int64())}), draft)
    draft.rename(path)


class Following:
    """Reads a followed source as the host does: lists, opens what is new, reads until nothing comes."""

    def __init__(self, path: Any, start: Mapping[str, int] | None = None, **options: Any) -> None:
        self.source = FilesSource(FilesSource.Options(path=path, **(SOON | options)))
        self.position = dict(start or {})
        self.assignment: dict[str, int | None] = {}
        self.rows: list[tuple[str, int, Any]] = []
        self.rejects: list[tuple[str, int]] = []

    def take(self, chunks: int = 1_000_000) -> list[Any]:
        """The values of column n, or of all columns, that came now."""
        before = len(self.rows)
        self.source._files._list_at = 0.0  # type: ignore[union-attr]  # whatever `poll` says, look now
        self.assignment = {**dict.fromkeys(self.source.partitions()), **self.position}
        self.source.open(self.assignment)
        quiet = 0
        while quiet < 2 and chunks:
            chunk = self.source.read(7, 0.02)
            quiet = quiet + 1 if chunk is None else 0
            if chunk is None:
                continue
            chunks -= 1
            for row in chunk.batch.to_pylist():
                name, offset = row.pop("_partition"), row.pop("_offset")
                assert offset >= self.position.get(name, 0)
                self.rows.append((name, offset, row.get("n", row)))
                self.position[name] = offset + 1
            for reject in chunk.rejects:
                self.rejects.append((reject.partition, reject.offset))
                self.position[reject.partition] = max(self.position.get(reject.partition, 0), reject.offset + 1)
        return [value for _, _, value in self.rows[before:]]

    def ended(self) -> list[str]:
        return sorted(self.source.ended())

    def compact(self) -> dict[str, int]:
        self.position = dict(self.source.compact(Position("s", self.position)).offsets)
        return self.position

    def again(self, position: Mapping[str, int] | None = None, **options: Any) -> Following:
        """Another life of the run, from here on (or from an earlier position)."""
        self.source.close()
        given = self.source.options.model_dump(include={"path", "column_types", "csv", "late_files"})
        life = Following(start=self.position if position is None else position, **(given | options))
        life.source.expect(self.source.stamps())
        return life


@pytest.fixture
def following() -> Any:
    lives: list[Following] = []

    def make(path: Any, **options: Any) -> Following:
        lives.append(Following(path, **options))
        return lives[-1]

    yield make
    for life in lives:
        life.source.close()


# -- what appears ----------------------------------------------------------------------------------


def test_the_stream_is_endless_and_the_same_as_without_follow(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    followed = FilesSource(FilesSource.Options(path=str(tmp_path / "*.csv"), follow=True))
    plain = FilesSource(FilesSource.Options(path=str(tmp_path / "*.csv")))
    assert followed.capabilities == {Capability.SEEK, Capability.UNBOUNDED}
    assert plain.capabilities == FilesSource.capabilities == {Capability.SEEK}
    assert followed.source_id == plain.source_id


def test_files_are_read_as_they_appear(following: Callable[..., Following], tmp_path: Path) -> None:
    life = following(tmp_path / "*")
    assert life.take() == []
    parquet(tmp_path / "1.parquet", [1, 2])
    assert life.take() == [1, 2]
    parquet(tmp_path / "2.parquet", range(3, 20))
    append(tmp_path / "3.jsonl", '{"n": 20}\n{"n": 21}\n')
    assert life.take() == list(range(3, 22))
    assert life.take() == []
    assert life.ended() == ["1.parquet", "2.parquet"]


def test_a_single_file_need_not_be_there_yet(following: Callable[..., Following], tmp_path: Path) -> None:
    life = following(tmp_path / "log.jsonl")
    assert life.take() == []
    append(tmp_path / "log.jsonl", '{"n": 1}\n')
    assert life.take() == [1]


def test_remote_files_are_read_as_they_appear() -> None:
    memory = fsspec.filesystem("memory")
    life = Following("memory://followed/*.csv")
    try:
        assert life.take() == []
        memory.pipe({"/followed/a.csv": b"n\n1\n2"})
        assert life.take() == [1, 2]
        memory.pipe({"/followed/b.csv": b"n\n3\n"})
        assert life.take() == [3]
        assert life.ended() == ["a.csv", "b.csv"]
    finally:
        life.source.close()
        memory.rm("/followed", recursive=True)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file matches"):
        Following(tmp_path / "none" / "*.csv").take()
    with pytest.raises(SourceError, match="there is no file"):
        Following(tmp_path / "none" / "a.csv").take()


def test_hidden_drafts_are_left_alone(following: Callable[..., Following], tmp_path: Path) -> None:
    (tmp_path / ".a.parquet").write_bytes(b"PAR1 half")
    assert following(tmp_path / "*").take() == []


def test_files_are_listed_no_more_often_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import penrose_host.datasources.files.followed as followed

    listings = []
    monkeypatch.setattr(followed, "list_files", lambda *_, **__: listings.append(1) or {})
    source = FilesSource(FilesSource.Options(path=str(tmp_path), follow=True, poll="1h"))
    for _ in range(5):
        assert source.partitions() == []
    assert len(listings) == 1


def test_a_listing_that_misses_a_file_made_meanwhile_makes_none_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While files are made, a listing may hold the last and lack the one before."""
    import penrose_host.datasources.files.followed as followed

    real, lacking = followed.list_files, ["b.parquet"]

    def list_files(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        return {name: file for name, file in found.items() if not (name in lacking and lacking.pop())}

    for name in "abc":
        parquet(tmp_path / f"{name}.parquet", [ord(name)])
    monkeypatch.setattr(followed, "list_files", list_files)
    life = Following(tmp_path / "*")
    assert life.take() == [97, 98, 99]
    life.source.close()


@pytest.mark.parametrize("options", [{"poll": "2h"}, {"poll": "9ms"}, {"settle": "0s"}, {"late_files": "read"}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FilesSource.Options(path="a", follow=True, **options)


# -- what grows ------------------------------------------------------------------------------------


def test_an_incomplete_last_line_waits_until_it_is_complete(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    log = append(tmp_path / "a.csv", "\ufeffn\n1\n2")
    life = following(tmp_path / "*.csv")
    assert life.take() == [1]
    append(log, "5")
    assert life.take() == []
    append(log, "\n3\n")
    assert life.take() == [25, 3]
    assert life.position == {"a.csv": 3}


@pytest.mark.parametrize("header", ["", "\ufeff", "n", '"a\n', '"n"'])
def test_a_header_that_is_not_complete_waits(following: Callable[..., Following], tmp_path: Path, header: str) -> None:
    log = append(tmp_path / "a.csv", header)
    life = following(tmp_path / "*.csv", column_types={})
    assert life.take() == []
    if header == '"a\n':
        append(log, '"\n7\n')
        assert life.take() == [{"a\n": 7}]
    else:
        append(log, ("n" if "n" not in header else "") + "\n7\n")
        assert life.take() == [7]


def test_a_byte_order_mark_that_comes_later_is_none_of_the_row(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    log = append(tmp_path / "a.jsonl", "")
    append(tmp_path / "b.jsonl", '{"n": 9}\n')
    life = following(tmp_path / "*.jsonl")
    assert life.take() == [9]
    append(log, '\ufeff{"n": 1}\n')
    assert life.take() == [1]
    assert life.rejects == []


LINES = st.lists(st.sampled_from(['{"n": 1}', '{"n": 22}', "{oops", "", '{"n": "' + "x" * 90 + '"}']), max_size=12)


@quick
@given(lines=LINES, cuts=st.lists(st.integers(0, 400), max_size=8), block=st.integers(1, 80), data=st.data())
def test_however_a_log_is_written_and_read_the_rows_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    small_blocks: Any,
    lines: list[str],
    cuts: list[int],
    block: int,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("log")
    text = "".join(f"{line}\n" for line in lines)
    options = {"column_types": {"n": "int64"}, "max_row_bytes": 64}
    with small_blocks(block):
        life = Following(folder / "*.jsonl", **options)
        log, start = folder / "a.jsonl", 0
        for cut in sorted(min(cut, len(text)) for cut in [*cuts, len(text)]):
            append(log, text[start:cut])
            start = cut
            life.take()
            if data.draw(st.booleans()):
                life, before = life.again(max_row_bytes=64), life
                life.rows, life.rejects = before.rows, before.rejects
        life.take()
        life.source.close()
    plain = FilesSource(FilesSource.Options(path=str(log), **options))
    plain.open({"a.jsonl": None})
    expected, rejects = [], []
    while True:
        try:
            chunk = plain.read(100, 1.0)
        except EndOfStream:
            break
        expected += [(row["_offset"], row["n"]) for row in chunk.batch.to_pylist()]
        rejects += [reject.offset for reject in chunk.rejects]
    plain.close()
    assert [(offset, value) for _, offset, value in life.rows] == expected
    assert [offset for _, offset in life.rejects] == rejects


def test_a_row_that_is_too_long_is_one_bad_row_however_slowly_it_is_written(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    log = append(tmp_path / "a.jsonl", '{"n": 1}\n{"n": "' + "x" * 100)
    life = following(tmp_path / "*.jsonl", max_row_bytes=64)
    assert life.take() == [1]
    for _ in range(3):
        append(log, "x" * 100)
        assert life.take() == []
    append(log, 'x"}\n{"n": 2}\n')
    assert life.take() == [2]
    assert life.rejects == [("a.jsonl", 1)]


def test_a_log_that_grows_fast_keeps_no_other_waiting(following: Callable[..., Following], tmp_path: Path) -> None:
    logs = [append(tmp_path / f"{name}.csv", "n\n") for name in "abc"]
    life = following(tmp_path / "*.csv", settle=None)
    append(logs[0], "0\n")
    life.take()
    for log in logs:
        append(log, "1\n" * 50)
    time.sleep(0.011)
    life.take(chunks=6)
    assert {name for name, _, _ in life.rows[1:]} == {"a.csv", "b.csv", "c.csv"}


def test_of_many_logs_few_are_kept_open(
    following: Callable[..., Following], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penrose_host.datasources.files.followed.OPEN_FILES", 3)
    logs = [append(tmp_path / f"{number:02}.csv", f"n\n{number}\n") for number in range(20)]
    life = following(tmp_path / "*.csv")

    def opened() -> list[str]:
        paths = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        return [path for path in paths if path.startswith(str(tmp_path))]

    assert life.take() == list(range(20))
    assert len(opened()) == 3
    append(logs[4], "104\n")
    append(logs[17], "117\n")
    assert sorted(life.take()) == [104, 117]
    assert len(opened()) == 3
    for log in logs[:10]:
        old(log)
    assert life.take() == []
    assert len(life.ended()) == 10
    resting = next(log for log in logs[10:] if str(log) not in opened())
    resting.write_text("n\n99\n98\n")
    with pytest.raises(SourceError, match=rf"{resting.name} has changed since it was looked at"):
        life.take()


# -- what has ended --------------------------------------------------------------------------------


def test_a_log_has_ended_once_a_later_name_exists_and_it_is_at_rest(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    log = old(append(tmp_path / "1.csv", "n\n1\n2"))
    life = following(tmp_path / "*.csv")
    assert life.take() == [1]
    assert life.ended() == []
    append(tmp_path / "2.csv", "n\n")
    os.utime(log)
    assert life.take() == []
    assert life.ended() == []
    old(log)
    assert life.take() == [2]
    assert life.ended() == ["1.csv"]


def test_with_settle_null_a_log_never_ends(following: Callable[..., Following], tmp_path: Path) -> None:
    logs = [old(append(tmp_path / f"{number}.csv", "n\n1\n")) for number in range(3)]
    life = following(tmp_path / "*.csv", settle=None)
    assert life.take() == [1, 1, 1]
    assert life.ended() == []
    append(logs[0], "2\n")
    assert life.take() == [2]


@pytest.mark.parametrize("text", ["", "n\n", "n"])
def test_a_file_without_rows_ends_like_any_other(
    following: Callable[..., Following], tmp_path: Path, text: str
) -> None:
    old(append(tmp_path / "1.csv", text))
    life = following(tmp_path / "*.csv")
    assert life.take() == []
    append(tmp_path / "2.csv", "n\n5\n")
    assert life.take() == [5]
    assert life.ended() == ["1.csv"]


def test_a_log_that_is_removed_has_ended(following: Callable[..., Following], tmp_path: Path) -> None:
    log = append(tmp_path / "1.csv", "n\n1\n2")
    life = following(tmp_path / "*.csv")
    assert life.take() == [1]
    log.unlink()
    assert life.take() == [2]
    assert life.ended() == ["1.csv"]


def test_a_file_that_goes_before_it_was_read_is_an_error(following: Callable[..., Following], tmp_path: Path) -> None:
    for number in (1, 2):
        parquet(tmp_path / f"{number}.parquet", [number])
    life = following(tmp_path / "*")
    assert life.take(chunks=1) == [1]
    (tmp_path / "2.parquet").unlink()
    with pytest.raises(SourceError, match=r"cannot open .*2\.parquet"):
        life.take()


@pytest.mark.parametrize("how", ["replaced", "cut short", "grown after its end", "made again"])
def test_a_log_that_becomes_another_is_an_error_that_says_what_to_do(
    following: Callable[..., Following], tmp_path: Path, how: str
) -> None:
    log = append(tmp_path / "1.csv", "n\n1\n2\n")
    life = following(tmp_path / "*.csv")
    assert life.take() == [1, 2]
    if how == "replaced":
        log.rename(tmp_path / "log.1")
        append(log, "n\n1\n2\n3\n")
    elif how == "cut short":
        log.write_text("n\n")
    else:
        append(tmp_path / "2.csv", "n\n3\n")
        old(log)
        assert life.take() == [3]
        assert life.ended() == ["1.csv"]
        if how == "made again":
            log.unlink()
            assert life.take() == []
            append(log, "n\n")
        else:
            append(log, "4\n")
    with pytest.raises(SourceError, match=r"1\.csv (was replaced|has (changed|appeared))") as caught:
        life.take()
    assert caught.value.partition == "1.csv"
    assert caught.value.hint


def test_lines_that_came_after_the_end_are_read_by_the_next_life(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    log = old(append(tmp_path / "1.csv", "n\n1\n"))
    append(tmp_path / "2.csv", "n\n2\n")
    life = following(tmp_path / "*.csv")
    assert life.take() == [1, 2]
    append(log, "3\n")
    with pytest.raises(SourceError, match="start the job again"):
        life.take()
    assert life.again().take() == [3]


def test_a_file_that_comes_late_is_an_error_or_ignored(following: Callable[..., Following], tmp_path: Path) -> None:
    for name in ("b", "d"):
        parquet(tmp_path / f"{name}.parquet", [1])
    strict, lenient = following(tmp_path / "*"), following(tmp_path / "*", late_files="ignore")
    for life in (strict, lenient):
        assert life.take() == [1, 1]
    parquet(tmp_path / "c.parquet", [2])
    with pytest.raises(SourceError, match=r"c\.parquet has appeared late: all files up to d\.parquet") as caught:
        strict.take()
    assert "late_files" in str(caught.value)
    parquet(tmp_path / "e.parquet", [3])
    assert lenient.take() == [3]
    assert "c.parquet" not in lenient.assignment


def test_a_file_is_not_late_while_an_earlier_one_goes_on(following: Callable[..., Following], tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "n\n1\n")
    parquet(tmp_path / "c.parquet", [3])
    life = following(tmp_path / "*")
    assert life.take() == [1, 3]
    assert life.ended() == ["c.parquet"]
    parquet(tmp_path / "b.parquet", [2])
    assert life.take() == [2]


# -- what is kept ----------------------------------------------------------------------------------


def test_files_that_have_ended_are_forgotten_up_to_a_mark(following: Callable[..., Following], tmp_path: Path) -> None:
    for number in range(5):
        parquet(tmp_path / f"{number}.parquet", [number, number])
    append(tmp_path / "5.csv", "n\n5\n5\n")
    life = following(tmp_path / "*")
    life.take()
    assert life.compact() == {"4.parquet": 2, "5.csv": 2}
    assert set(life.source.stamps()) == {"4.parquet", "5.csv"}
    assert life.ended() == ["4.parquet"]
    assert life.source.partitions() == ["4.parquet", "5.csv"]
    later = life.again()
    parquet(tmp_path / "6.parquet", [6])
    assert later.take() == [6]
    assert later.source.partitions() == ["4.parquet", "5.csv", "6.parquet"]
    assert later.compact() == {"4.parquet": 2, "5.csv": 2, "6.parquet": 1}
    old(tmp_path / "5.csv")
    assert later.take() == []
    assert later.compact() == {"6.parquet": 1}


def test_nothing_is_forgotten_that_is_not_behind_the_position(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    for number in range(4):
        parquet(tmp_path / f"{number}.parquet", [number, number])
    life = following(tmp_path / "*")
    life.take()
    for position in ({}, {"0.parquet": 1, "1.parquet": 2}, {"1.parquet": 2, "2.parquet": 2}, {"0.parquet": 2}):
        assert dict(life.source.compact(Position("s", position)).offsets) == position
    some = {"0.parquet": 2, "1.parquet": 2, "2.parquet": 1, "3.parquet": 2}
    assert dict(life.source.compact(Position("s", some)).offsets) == {n: some[n] for n in list(some)[1:]}


@quick
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    drawn=st.data(),
)
def test_from_a_compact_position_exactly_the_rest_is_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], drawn: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("compact")
    for number, size in enumerate(sizes):
        parquet(folder / f"{number}.parquet", range(number * 100, number * 100 + size))
    life = Following(folder / "*")
    life.take()
    scored = {f"{number}.parquet": drawn.draw(st.integers(0, size)) for number, size in enumerate(sizes)}
    position = {name: offset for name, offset in scored.items() if offset}
    compacted = life.source.compact(Position("s", position)).offsets
    ended = [name for name, size in zip(scored, sizes, strict=True) if scored[name] == size]
    assert len(compacted) <= len(position)
    later = life.again(compacted)
    for name in ended:
        if drawn.draw(st.booleans()):
            (folder / name).unlink()
    rest = later.take()
    later.source.close()
    expected = [n * 100 + row for n, size in enumerate(sizes) for row in range(scored[f"{n}.parquet"], size)]
    assert sorted(rest) == expected


def test_ended_files_may_be_gone_and_others_may_not(following: Callable[..., Following], tmp_path: Path) -> None:
    for number in range(3):
        parquet(tmp_path / f"{number}.parquet", [number, number])
    life = following(tmp_path / "*")
    life.take()
    (tmp_path / "0.parquet").unlink()
    (tmp_path / "2.parquet").unlink()
    assert life.again().take() == []
    for behind in ({"0.parquet": 2, "1.parquet": 2, "2.parquet": 1}, {"1.parquet": 2, "2.parquet": 2}):
        with pytest.raises(SourceError, match=r"was read before the checkpoint, and no file of that name"):
            life.again(behind).take()


def test_without_follow_the_mark_still_holds(following: Callable[..., Following], tmp_path: Path) -> None:
    for number in range(3):
        parquet(tmp_path / f"{number}.parquet", [number])
    life = following(tmp_path / "*")
    life.take()
    life.compact()
    parquet(tmp_path / "3.parquet", [3])
    plain = FilesSource(FilesSource.Options(path=str(tmp_path / "*")))
    plain.expect(life.source.stamps())
    assert plain.partitions() == ["2.parquet", "3.parquet"]
    plain.open({"0.parquet": None, **dict.fromkeys(plain.partitions()), **life.position})
    chunk = plain.read(10, 1.0)
    assert chunk is not None
    assert chunk.batch["n"].to_pylist() == [3]
    plain.close()


def test_columns_keep_the_types_with_which_the_stream_began(
    following: Callable[..., Following], tmp_path: Path
) -> None:
    first = old(append(tmp_path / "1.csv", "n\n1\n"))
    append(tmp_path / "2.csv", "n\n2\n")
    life = following(tmp_path / "*.csv")
    assert life.take() == [1, 2]
    assert life.compact() == {"1.csv": 1, "2.csv": 1}
    append(tmp_path / "3.csv", "n\n3.5\n3\n")
    old(tmp_path / "2.csv")
    for _ in range(2):
        life = life.again()
        first.unlink(missing_ok=True)
        life.take()
        life.compact()
    assert [row for row in life.rows if row[0] == "3.csv"] == []
    assert life.position == {"2.csv": 1, "3.csv": 2}
    again = life.again({"2.csv": 1})
    assert again.take() == [3]
    assert again.rejects == [("3.csv", 0)]


def test_bad_rows_are_told_of_before_there_is_a_good_one(following: Callable[..., Following], tmp_path: Path) -> None:
    log = append(tmp_path / "a.jsonl", "oops\noops\n")
    life = following(tmp_path / "*.jsonl")
    assert life.take() == []
    assert life.rejects == [("a.jsonl", 0), ("a.jsonl", 1)]
    append(log, 'oops\n{"n": 1}\noops\n')
    assert life.take() == [1]
    assert life.rejects[2:] == [("a.jsonl", 2), ("a.jsonl", 4)]


def test_types_that_are_not_known_yet_are_waited_for(following: Callable[..., Following], tmp_path: Path) -> None:
    append(tmp_path / "1.csv", "n\n")
    old(append(tmp_path / "0.csv", "n\n"))
    life = following(tmp_path / "*.csv")
    assert life.take() == []
    append(tmp_path / "1.csv", "x\n")
    assert life.take() == ["x"]
    assert life.ended() == ["0.csv"]


def test_an_unknown_partition_or_a_stamp_of_another_source_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [1])
    with pytest.raises(WrongStream):
        Following(tmp_path / "*", {"b.parquet": 3}).take()
    with pytest.raises(WrongStream):
        FilesSource(FilesSource.Options(path=str(tmp_path / "*"), follow=True)).expect({"a.parquet": "[]"})


def test_a_source_that_is_followed_can_be_closed_at_any_time(tmp_path: Path) -> None:
    append(tmp_path / "a.csv", "n\n1\n")
    life = Following(tmp_path / "*")
    life.source.close()
    life.take()
    life.source.close()
    life.source.close()


class TestContract(DataSourceContract):
    """Followed files keep the promises of datasources."""

    rows: ClassVar[int] = 20
    patience: ClassVar[float] = 0.3

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path
        for number, suffix in enumerate(("parquet", "jsonl", "csv")):
            numbers = range(number * 100, number * 100 + 25)
            path = tmp_path / f"{number}.{suffix}"
            match suffix:
                case "parquet":
                    parquet(path, numbers)
                case "jsonl":
                    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in numbers))
                case "csv":
                    path.write_text("n\n" + "".join(f"{n}\n" for n in numbers))

    def make(self) -> FilesSource:
        return FilesSource(FilesSource.Options(path=f"{self.path}/*", follow=True, poll="10ms"))

    def change(self, partition: str) -> None:
        parquet(self.path / partition, range(30))
