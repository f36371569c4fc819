"""Whole rows, every column as the source gave it, while `Merge` orders small stand-ins for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from penrose_host.core.rows import Rows
from penrose_host.features.column_check import Use, check_columns
from penrose_host.features.rejects import Faults
from penrose_host.features.row_origin import PLACE_USES, event_times_of, offsets_of, partitions_of
from penrose_host.features.times import time_fault

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk, Int64, Reject
    from penrose_host.features.config import TimeColumn

__all__ = ["WholeRows"]

#: A stand-in's id: the number of its batch, and in the low bits its place in there.
_PLACE_BITS = 32


@dataclass(frozen=True)
class _StandIns(Rows):
    """Rows of which nothing but their place is here; `kept_bytes` are kept for them elsewhere."""

    kept_bytes: int = 0

    @property
    def nbytes(self) -> int:
        return super().nbytes + self.kept_bytes


@dataclass(slots=True)
class _Kept:
    """A batch, the number of its schema, and how many of its rows have not been taken."""

    batch: pa.RecordBatch
    schema: int
    rows: int


class WholeRows:
    """Encodes chunks as stand-ins, and gives the whole rows back in any order. A batch is kept until it is used up."""

    def __init__(self, event_time: TimeColumn | None) -> None:
        """`event_time`: None where nobody asks when a row happened."""
        self._event_time = event_time
        self._uses = list(PLACE_USES)
        if event_time is not None:
            self._uses.append(Use("event time", event_time.column, partial(time_fault, source=event_time)))
        self._kept: dict[int, _Kept] = {}
        # Each is changed on one thread only.
        self._taken_up = self._given_up = 0
        self._schemas: list[pa.Schema] = []
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all batches that are kept."""
        return self._taken_up - self._given_up

    def encode(self, chunk: Chunk) -> tuple[Rows, tuple[Reject, ...]]:
        """Stand-ins of the rows that have an event time, and the rejects: the chunk's own, then those without one.

        Raises DataError where a column is missing or has a type that does not fit. May run beside `take`, on a thread.
        """
        batch, number = chunk.batch, self._next
        schema = self._schema(batch.schema)
        faults = Faults()
        names, partition = partitions_of(batch)
        times = np.zeros(batch.num_rows, dtype=np.int64)
        if self._event_time is not None:
            times = event_times_of(batch, self._event_time, faults)
        ids = (number << _PLACE_BITS) + np.arange(batch.num_rows, dtype=np.int64)
        rows: Rows = _StandIns(
            names, partition, offsets_of(batch), times, times, ids[:, None], {}, {}, {}, kept_bytes=batch.nbytes
        )
        rejects = chunk.rejects
        if faults.reasons:
            rows = rows.take(faults.kept(batch.num_rows))
            rejects = (*rejects, *faults.rejects(batch, chunk.raw))
        if len(rows):
            self._next += 1
            self._kept[number] = _Kept(batch, schema, len(rows))
            self._taken_up += batch.nbytes
        return rows, rejects

    def take(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        """The whole rows of these stand-ins, in order; in as few batches as there are changes of their columns."""
        numbers, places = rows.ids[:, 0] >> _PLACE_BITS, rows.ids[:, 0] & ((1 << _PLACE_BITS) - 1)
        used = {int(number): self._kept[int(number)] for number in np.unique(numbers)}
        schemas = {kept.schema for kept in used.values()}
        cuts = [0, len(rows)]
        if len(schemas) > 1:
            schema_of = np.array([used[number].schema for number in numbers.tolist()])
            cuts[1:1] = (np.flatnonzero(np.diff(schema_of)) + 1).tolist()
        for start, stop in pairwise(cuts):
            yield from _gathered(used, numbers[start:stop], places[start:stop])
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            kept = used[int(number)]
            kept.rows -= int(count)
            if not kept.rows:
                del self._kept[int(number)]
                self._given_up += kept.batch.nbytes

    def _schema(self, schema: pa.Schema) -> int:
        """The number of these columns, in this order and of these types. Raises DataError where they do not fit."""
        for number in range(len(self._schemas) - 1, -1, -1):
            if self._schemas[number].equals(schema):
                return number
        check_columns(schema, self._uses, "--event-time")
        self._schemas.append(schema)
        return len(self._schemas) - 1


def _gathered(used: dict[int, _Kept], numbers: Int64, places: Int64) -> list[pa.RecordBatch]:
    """Rows of batches that have the same columns, in this order."""
    try:
        return _combined(used, numbers, places)
    except pa.ArrowNotImplementedError:  # Arrow cannot move single rows of some types, such as views of strings
        cuts = np.flatnonzero((np.diff(numbers) != 0) | (np.diff(places) != 1)) + 1
        return [
            used[int(numbers[start])].batch.slice(int(places[start]), stop - start)
            for start, stop in pairwise([0, *cuts.tolist(), len(numbers)])
        ]


def _combined(used: dict[int, _Kept], numbers: Int64, places: Int64) -> list[pa.RecordBatch]:
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    parts = [
        _rows_at(used[int(number)].batch, places[group])
        for number, group in zip(found, np.split(order, starts[1:]), strict=True)
    ]
    if len(parts) == 1:
        return parts
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    # Columns of dictionaries can be put together once all batches have the same one.
    table = pa.Table.from_batches(parts).unify_dictionaries().combine_chunks()
    batches: list[pa.RecordBatch] = table.take(pa.array(back)).combine_chunks().to_batches()
    return batches


def _rows_at(batch: pa.RecordBatch, places: Int64) -> pa.RecordBatch:
    first, count = int(places[0]), len(places)
    if places[-1] - first == count - 1 and (np.diff(places) == 1).all():
        return batch.slice(first, count)
    return batch.take(pa.array(places))
