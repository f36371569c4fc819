"""Promises about rows: where they stand, and that they are the same however they are read."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION, Chunk
from penrose_host.testing.datasources.base import SourceChecks
from penrose_host.testing.datasources.reading import rows_of
from penrose_host.testing.promises import Broken, promise

__all__ = ["RowPromises"]


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
        for chunk in self._chunks():
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
        for chunk in self._chunks():
            within: dict[str, int] = {}
            for name, offset in zip(*(chunk.batch.column(c).to_pylist() for c in (PARTITION, OFFSET)), strict=True):
                _follows(within, name, offset)
            for name, row in rows_of(chunk):
                _follows(last, name, row.offset)

    @promise
    def test_a_chunk_is_no_longer_than_asked_for(self) -> None:
        """`read(max_rows, …)` gives at most `max_rows` rows, rejected ones among them."""
        for size in (1, 3, 20):
            for chunk in self._chunks(size):
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

    def _chunks(self, size: int = 16) -> Iterator[Chunk]:
        """The chunks of the stream, as far as the contract looks."""
        whole, source = self.whole(), self.make()
        try:
            source.open(dict.fromkeys(whole.names))
            yield from self.follow(whole, source, {}, size)
        finally:
            source.close()


def _follows(last: dict[str, int], name: str, offset: int) -> None:
    """Raise `Broken` where an offset does not follow the last one of its partition; remember it."""
    if offset <= last.get(name, -1):
        after = f"after {last[name]}" if name in last else "as its first"
        raise Broken(f"partition {name!r} gave offset {offset} {after}.", "count rows upwards, each once.")
    last[name] = offset
