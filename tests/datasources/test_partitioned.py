"""The base for sources that read by partition keeps the promises for them, and says what cannot be."""

from __future__ import annotations

import pytest
from partitioned_sources import Counting, Endless, Table

from penrose_host import OFFSET, PARTITION, EndOfStream, Lag, SourceError, WrongStream
from penrose_host.testing import DataSourceContract


class TestRowsWithGaps(DataSourceContract):
    def make(self) -> Table:
        return Table(Table.Options())


class TestRowsAtAllOffsets(DataSourceContract):
    def make(self) -> Counting:
        return Counting(Counting.Options())


class TestEndless(DataSourceContract):
    def make(self) -> Endless:
        return Endless(Endless.Options())


def opened(kind: type[Table], **assignment: int | None) -> Table:
    source = kind(kind.Options())
    source.open(assignment)
    return source


def taken(source: Table, max_rows: int) -> list[tuple[str, list[int]]]:
    """Partition and offsets of each chunk to the end; values equal offsets."""
    found = []
    while len(source.ended()) < len(source.next_offsets):
        chunk = source.read(max_rows, 1.0)
        assert chunk is not None
        offsets = chunk.batch[OFFSET].to_pylist()
        assert chunk.batch["n"].to_pylist() == offsets
        (name,) = set(chunk.batch[PARTITION].to_pylist())
        found.append((name, offsets))
    with pytest.raises(EndOfStream):
        source.read(max_rows, 1.0)
    return found


def test_partitions_are_read_side_by_side_or_by_turns_of_their_own() -> None:
    assert taken(opened(Table, a=None, b=80), 2) == [("a", [7, 8]), ("a", [40]), ("b", [81, 84]), ("b", [87])]
    assert taken(opened(Counting, slow=2, quick=None), 5) == [
        ("quick", [0, 1, 2, 3, 4]),
        ("quick", [5, 6, 7, 8]),
        ("slow", [2, 3, 4]),
    ]
    # Where turns are equal, the order of `partitions` decides.
    assert [opened(Endless, quick=0, slow=0).read(1, 1.0).batch[PARTITION][0].as_py()] == ["slow"]


def test_what_is_open_goes_on_and_what_was_closed_starts_where_it_is_told() -> None:
    source = opened(Counting, quick=0)
    source.read(4, 1.0)
    source.open({"quick": 0, "slow": 1})
    assert dict(source.next_offsets) == {"quick": 4, "slow": 1}
    assert source.lag() == Lag(rows=9, partitions={"quick": 5, "slow": 4})
    source.close()
    assert source.lag() is None
    source.open({"quick": 8})
    assert taken(source, 4) == [("quick", [8])]


def test_nothing_is_known_of_how_far_behind_an_endless_stream_is() -> None:
    assert opened(Endless, quick=0).lag() is None


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ({"c": 0}, "the stream 'table' has no partition 'c': it has b, a, none\n  give the datasource the options"),
        ({"a": 42}, "partition 'a' of the stream 'table' cannot start at offset 42: it ends at offset 41\n"),
        ({"a": -1}, "partition 'a' of the stream 'table' cannot start at offset -1: it ends"),
        ({"none": 1}, "it ends at offset 0"),
    ],
)
def test_a_position_that_cannot_be_is_refused(assignment: dict[str, int], message: str) -> None:
    with pytest.raises(WrongStream) as raised:
        opened(Table, **assignment)
    assert message in str(raised.value)


def test_of_many_partitions_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "given", {str(number): [] for number in range(9)})
    with pytest.raises(WrongStream, match=r"has no partition 'c': it has 0, 1, 2, 3, 4, 5, 6, 7, …\n"):
        opened(Table, c=None)


def test_rows_that_are_gone_are_an_error_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(Table, a=8)
    monkeypatch.setattr(Table, "given", {"a": [7]})
    with pytest.raises(SourceError, match=r"partition 'a' of the stream 'table' gave no rows at offset 8") as raised:
        source.read(4, 1.0)
    assert (raised.value.partition, raised.value.offset) == ("a", 8)
