"""Promises about rows: where they stand, and that they are the same however they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from penrose_host.batch import OFFSET, PARTITION, Chunk, Position
from penrose_host.interfaces import Capability
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import Rows, check_same, chunks, collect, rows_of
from penrose_host.testing.drawing import for_all
from penrose_host.testing.promises import Broken, promise

__all__ = ["RowPromises"]

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


class RowPromises(SourceChecks):
    """Rows, offsets, partitions, positions."""

    @promise
    def test_equal_options_name_the_same_stream(self) -> None:
        """Equal options give an equal `source_id` and equal partitions, known before `open` and not changed by it."""
        one, other = self.make(), self.make()
        before = one.source_id
        names = list(one.partitions())
        try:
            one.open(dict.fromkeys(names))
            one.read(8, 0.1)
            after = one.source_id
        finally:
            one.close()
        if not (isinstance(before, str) and before):
            raise Broken(f"`source_id` is {before!r}.", "make it a text that names the stream.")
        if not before == after == other.source_id:
            raise Broken(
                f"`source_id` was {before!r}, after reading {after!r}, and of an equal source {other.source_id!r}.",
                "work it out from the options that say which stream it is, and from nothing else.",
            )
        if sorted(names) != sorted(other.partitions()):
            raise Broken(
                f"one source has the partitions {names}, an equal one {list(other.partitions())}.",
                "name partitions by what they are, not by who reads them or when.",
            )

    @promise
    def test_partitions_are_named_once_each(self) -> None:
        """`partitions` names each partition once, by a text that is not empty."""
        names = list(self.make().partitions())
        if len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
            raise Broken(f"it gave {names!r}.", "give each partition a name of its own.")

    @promise
    def test_each_chunk_says_where_its_rows_stand(self) -> None:
        """A chunk has the columns `_partition` (text, or a dictionary of it) and `_offset` (int64), without nulls."""
        for _, chunk in self._chunks():
            batch = chunk.batch
            if not isinstance(batch, pa.RecordBatch):
                raise Broken(f"`Chunk.batch` is a {type(batch).__name__}.", "give a pyarrow.RecordBatch.")
            for column, kinds in ((PARTITION, "string"), (OFFSET, "int64")):
                found = batch.schema.field(column).type if column in batch.schema.names else None
                plain = found.value_type if isinstance(found, pa.DictionaryType) and column == PARTITION else found
                if str(plain) not in (kinds, f"large_{kinds}") or batch.column(column).null_count:
                    raise Broken(f"its {column} is {found}, or has nulls.", f"give every row a {column} of {kinds}.")

    @promise
    def test_offsets_ascend_and_stand_once(self) -> None:
        """Within a partition offsets ascend from 0 or above; each stands once, in the batch or among the rejects."""
        last: dict[str, int] = {}
        for _, chunk in self._chunks():
            within: dict[str, int] = {}
            for name, offset in zip(*(chunk.batch.column(c).to_pylist() for c in (PARTITION, OFFSET)), strict=True):
                _follows(within, name, offset)
            for name, row in rows_of(chunk):
                _follows(last, name, row.offset)

    @promise
    def test_a_chunk_is_no_longer_than_asked_for(self) -> None:
        """`read(max_rows, …)` gives at most `max_rows` rows, rejected ones among them."""
        for size, chunk in self._chunks([1, 2, 3, 5, 1000]):
            if (rows := chunk.batch.num_rows + len(chunk.rejects)) > size:
                raise Broken(f"read({size}, …) gave {rows} rows.", "keep the rest for the next call.")

    @promise
    def test_only_assigned_partitions_are_read(self) -> None:
        """A source gives rows of the partitions that it was assigned, and of no others."""
        whole = self.whole()
        for name in whole.names[:3]:
            others = self.read(whole, {name: None}, [16]).keys() - {name}
            if others:
                raise Broken(f"assigned {name!r} alone, it gave rows of {sorted(others)}.", "read what `open` names.")

    @promise
    def test_rows_do_not_depend_on_how_many_are_read_at_a_time(self) -> None:
        """The rows of a partition and their order are the same whatever `max_rows` the reads used."""
        whole = self.whole()

        @for_all(self.examples, sizes=SIZES)
        def check(sizes: list[int]) -> None:
            found = self.read(whole, dict.fromkeys(whole.names), sizes)
            check_same(whole.rows, found, f"Read {sizes} rows at a time", "keep what a read left over for the next.")

    @promise
    def test_partitions_do_not_depend_on_the_number_of_workers(self) -> None:
        """However the partitions are split over several sources, each gives the same rows."""
        whole = self.whole()

        @for_all(self.examples, split=st.fixed_dictionaries({name: st.integers(0, 2) for name in whole.names[:16]}))
        def check(split: dict[str, int]) -> None:
            found: Rows = {}
            for worker in sorted({split.get(name, 0) for name in whole.names}):
                own = [name for name in whole.names if split.get(name, 0) == worker]
                found |= self.read(whole, dict.fromkeys(own), [16])
            check_same(whole.rows, found, f"Split over workers as {split}", "never split or join partitions by worker.")

    @promise
    def test_resume_gives_the_next_rows_exactly(self) -> None:
        """Resume reproduces the next rows exactly: a new source, opened at any position, gives what comes after it."""
        if Capability.SEEK not in self.make().capabilities:
            pytest.skip("this source does not declare SEEK")
        whole = self.whole()

        @for_all(self.examples, counts=_counts(whole), sizes=SIZES)
        def check(counts: dict[str, int], sizes: list[int]) -> None:
            position = whole.position(counts)
            found = self.read(whole, dict.fromkeys(whole.names) | position, sizes)
            check_same(whole.rest(counts), found, f"Opened at {position}", "start each partition at its offset.")

    @promise
    def test_a_larger_assignment_adds_partitions_and_goes_on_with_the_others(self) -> None:
        """Opened again with more partitions, the new ones start where it says and the others go on."""
        whole = self.whole()
        counts = {name: len(whole.rows[name]) // 2 for name in whole.names[1:]}
        later = whole.position(counts)
        first: dict[str, int | None] = {whole.names[0]: None}
        source = self.make()
        try:
            source.open(first)
            found: Rows = {name: [] for name in whole.names}
            for number, (_, chunk) in enumerate(chunks(source, [3], self.patience)):
                collect(chunk, found)
                if number == 1:
                    source.open(dict.fromkeys(whole.names) | later | first)
                if whole.covered(found):
                    break
        finally:
            source.close()
        check_same(
            whole.rest(counts),
            whole.cut(found),
            f"Opened with {list(first)}, and after some rows with {whole.names}",
            "open what is new, and leave alone what is open.",
        )

    @promise
    def test_compact_leaves_nothing_out_that_is_still_to_be_read(self) -> None:
        """A compacted position is of the same stream, changes no offset, and resumes with the same rows."""
        whole = self.whole()
        for counts in (whole.halves(), {name: len(part) for name, part in whole.rows.items()}):
            source = self.make()
            try:
                source.open(dict.fromkeys(whole.names) | whole.position(counts))
                position = Position(source.source_id, whole.position(counts))
                compact = source.compact(position)
            finally:
                source.close()
            if compact.source_id != position.source_id or not compact.offsets.items() <= position.offsets.items():
                raise Broken(f"{position} became {compact}.", "only leave partitions out.")
            start: dict[str, Any] = dict.fromkeys(self.make().partitions()) | dict(compact.offsets)
            found = self.read(whole, start, [16])
            rest = {name: part for name, part in whole.rest(counts).items() if name in start or part}
            check_same(rest, found, f"From {compact}", "keep partitions that `partitions` still names.")

    def _chunks(self, sizes: Sequence[int] = (16,)) -> Iterator[tuple[int, Chunk]]:
        """(`max_rows`, chunk) of the stream, as far as the contract looks."""
        whole, source = self.whole(), self.make()
        rows: Rows = {name: [] for name in whole.names}
        try:
            source.open(dict.fromkeys(whole.names))
            for size, chunk in chunks(source, sizes, self.patience):
                yield size, chunk
                collect(chunk, rows)
                if whole.covered(rows):
                    return
        finally:
            source.close()


def _counts(whole: Whole) -> st.SearchStrategy[dict[str, int]]:
    """How many rows of each partition have been read: none, all, or some."""
    return st.fixed_dictionaries(
        {name: st.sampled_from([0, len(part)]) | st.integers(0, len(part)) for name, part in whole.rows.items()}
    )


def _follows(last: dict[str, int], name: str, offset: int) -> None:
    """Raise `Broken` where an offset does not follow the last one of its partition; remember it."""
    if offset <= last.get(name, -1):
        after = f"after {last[name]}" if name in last else "as its first"
        raise Broken(f"partition {name!r} gave offset {offset} {after}.", "count rows upwards, each once.")
    last[name] = offset
