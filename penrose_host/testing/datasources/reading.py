"""Reads a datasource into rows that can be compared and shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import NamedTuple

from penrose_host.contracts.batch import OFFSET, PARTITION, Chunk
from penrose_host.contracts.datasource import DataSource, EndOfStream
from penrose_host.contracts.plugin import Capability
from penrose_host.testing.promises import Broken

__all__ = ["Row", "Rows", "check_same", "chunks", "collect", "difference", "next_offsets", "rows_of", "take"]

READ_SECONDS = 0.2
_SHOWN = 200


class Row(NamedTuple):
    """One row, its values as text; `good` is False for one that the source rejected."""

    offset: int
    values: str
    good: bool = True

    def __str__(self) -> str:
        values = self.values if len(self.values) <= _SHOWN else self.values[:_SHOWN] + "…"
        return f"{'' if self.good else 'rejected '}{values} at offset {self.offset}"


#: Partition → its rows in order.
Rows = dict[str, list[Row]]


def rows_of(chunk: Chunk) -> Iterator[tuple[str, Row]]:
    """(partition, row) of every row and reject; those of a partition by offset."""
    if missing := {PARTITION, OFFSET} - set(chunk.batch.schema.names):
        raise Broken(f"a chunk has no column {', '.join(sorted(missing))}.", "add it: it says where each row stands.")
    found: list[tuple[str, Row]] = []
    for values in chunk.batch.to_pylist():
        place = values.pop(PARTITION), values.pop(OFFSET)
        found.append((place[0], Row(place[1], repr(values))))
    if chunk.rejects:
        found += [(reject.partition, Row(reject.offset, repr(reject.raw), False)) for reject in chunk.rejects]
        found.sort(key=lambda place: (place[0], place[1].offset))
    yield from found


def collect(chunk: Chunk, rows: Rows) -> None:
    """Add the rows of a chunk."""
    for name, row in rows_of(chunk):
        rows.setdefault(name, []).append(row)


def chunks(source: DataSource, sizes: Iterable[int], patience: float) -> Iterator[Chunk]:
    """Chunks until the stream ends, or an endless one is silent for `patience` seconds; the last size goes on.

    Raises `Broken` where a stream that should end is silent instead.
    """
    quiet = time.monotonic()
    sizes = list(sizes)
    for size in chain(sizes, repeat(sizes[-1])):
        try:
            chunk = source.read(size, min(READ_SECONDS, patience))
        except EndOfStream:
            return
        if chunk is not None and (chunk.batch.num_rows or chunk.rejects):
            quiet = time.monotonic()
            yield chunk
        elif time.monotonic() - quiet >= patience:
            if Capability.UNBOUNDED in source.capabilities:
                return
            raise Broken(
                f"`read` gave nothing for {patience:g} s, and the stream has not ended.",
                "raise `EndOfStream` when all rows were read, or declare UNBOUNDED.",
            )


def take(
    source: DataSource,
    assignment: Mapping[str, int | None],
    sizes: Sequence[int],
    patience: float,
    enough: Callable[[Rows], bool] = lambda _: False,
) -> Rows:
    """Open, read until the end or until it is `enough`, close."""
    rows: Rows = {name: [] for name in assignment}
    try:
        source.open(assignment)
        for chunk in chunks(source, sizes, patience):
            collect(chunk, rows)
            if enough(rows):
                break
    finally:
        source.close()
    return rows


def next_offsets(rows: Rows) -> dict[str, int]:
    """The position after these rows; partitions that gave none are not in it."""
    return {name: part[-1].offset + 1 for name, part in rows.items() if part}


def difference(expected: Rows, found: Rows) -> str | None:
    """The first place where two readings differ, in words."""
    for name in sorted(expected.keys() | found.keys()):
        here, there = expected.get(name, []), found.get(name, [])
        for wanted, got in zip(here, there, strict=False):
            if wanted != got:
                return f"partition {name!r} at offset {wanted.offset} gave {got} instead of {wanted}."
        if len(there) < len(here):
            return f"partition {name!r} at offset {here[len(there)].offset} gave nothing instead of {here[len(there)]}."
        if len(there) > len(here):
            return f"partition {name!r} gave {there[len(here)]}, where nothing should follow."
    return None


def check_same(expected: Rows, found: Rows, how: str, todo: str) -> None:
    """Raise `Broken` where two readings differ."""
    if seen := difference(expected, found):
        raise Broken(f"{how}, {seen}", todo)
