"""What the promises of datasources have in common: how much is read, and what the author may say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from penrose_host.contracts.batch import Chunk
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import Capability
from penrose_host.testing.datasources.reading import Rows, chunks, collect, next_offsets, take
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken

__all__ = ["SourceChecks", "Whole"]


@dataclass(frozen=True)
class Whole:
    """Everything that a contract looks at: the rows of each partition. `bounded`: the stream ends with them."""

    rows: Rows
    bounded: bool

    @property
    def names(self) -> list[str]:
        return list(self.rows)

    @property
    def good(self) -> dict[str, list[int]]:
        """Partition → offsets of the rows that can be scored: those that the source does not reject."""
        return {name: [row.offset for row in part if row.good] for name, part in self.rows.items()}

    @property
    def total(self) -> int:
        """How many rows a run over all this scores."""
        return sum(map(len, self.good.values()))

    @property
    def bounds(self) -> dict[str, int]:
        """Partition → the offset behind its last row, 0 where it has none."""
        return dict.fromkeys(self.rows, 0) | next_offsets(self.rows)

    def position(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The position after the first rows of each partition, so many of each."""
        return next_offsets({name: part[: counts.get(name, 0)] for name, part in self.rows.items()})

    def rest(self, counts: Mapping[str, int]) -> Rows:
        """The rows behind those."""
        return {name: part[counts.get(name, 0) :] for name, part in self.rows.items()}

    def halves(self) -> dict[str, int]:
        """Half of the rows of each partition."""
        return {name: len(part) // 2 for name, part in self.rows.items()}

    def covered(self, rows: Rows) -> bool:
        """Whether these rows reach as far as the contract looks; a stream that ends is read to its end."""
        if self.bounded:
            return False
        reached = next_offsets(rows)
        return all(reached.get(name, 0) >= bound for name, bound in self.bounds.items() if name in rows)

    def cut(self, rows: Rows) -> Rows:
        """Without what lies behind an endless stream's bounds."""
        if self.bounded:
            return rows
        bounds = self.bounds
        return {name: [row for row in part if row.offset < bounds.get(name, 0)] for name, part in rows.items()}


class SourceChecks(PluginContract):
    """`make` returns a source of a small stream: a few partitions with some dozens of rows each."""

    #: Of an endless stream, so many rows of each partition are looked at.
    rows: ClassVar[int] = 50
    #: How many positions, or ways to split the partitions, are tried.
    examples: ClassVar[int] = 10
    #: After so many seconds without a row, no more are expected.
    patience: ClassVar[float] = 5.0

    def make(self) -> DataSource:
        """A new source, not open; all of one test read the same stream."""
        found: DataSource = super().make()
        return found

    def change(self, partition: str) -> None:
        """Change what was read of a partition, as if somebody had rewritten it. For sources that give stamps."""
        raise NotImplementedError(partition)

    def committed(self) -> Mapping[str, int] | None:
        """Partition → offset that the stream's own service holds as committed; None: there is no such thing."""
        return None

    def needs_seek(self) -> None:
        """Leave the test where the source cannot be opened at a position."""
        if Capability.SEEK not in self.make().capabilities:
            pytest.skip("this source does not declare SEEK")

    def whole(self) -> Whole:
        """Read the stream once, as far as the contract looks."""
        source = self.make()
        names = list(source.partitions())
        bounded = Capability.UNBOUNDED not in source.capabilities

        def enough(rows: Rows) -> bool:
            return not bounded and all(len(part) >= self.rows for part in rows.values())

        rows = take(source, dict.fromkeys(names), [64], self.patience, enough)
        if not any(rows.values()):
            raise Broken(f"the partitions {names} gave no row within {self.patience:g} s.", "give the test some rows.")
        return Whole(rows if bounded else {name: part[: self.rows] for name, part in rows.items()}, bounded)

    def read(
        self, whole: Whole, assignment: Mapping[str, int | None], sizes: Sequence[int], source: DataSource | None = None
    ) -> Rows:
        """What a new source (or this one) gives from there on, as far as the contract looks."""
        return whole.cut(take(source or self.make(), assignment, sizes, self.patience, whole.covered))

    def follow(self, whole: Whole, source: DataSource, rows: Rows, size: int) -> Iterator[Chunk]:
        """The chunks of an open source, as far as the contract looks; adds to `rows` what they hold."""
        for name in whole.names:
            rows.setdefault(name, [])
        for chunk in chunks(source, [size], self.patience):
            collect(chunk, rows)
            yield chunk
            if whole.covered(rows):
                return
