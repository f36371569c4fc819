"""Rows inside the host: an encoded batch and, beside it, what only the host needs to know of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.contracts.batch import EncodedBatch, Ragged

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Float32, Int32, Int64

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of equal length; never mutated.

    * `names`: the partitions that `partition` (int32) indexes; not every name need occur.
    * `offset`: int64, the row's offset in its partition.
    * `event_time`, `known_at`: int64, microseconds since 1970 UTC; the label is known at `known_at`.
    * `ids`: int64 [rows, features]; `lists`, `numeric`, `labels`: by name, as in `EncodedBatch`.
      Every `Ragged` here starts at offset 0 and ends at `len(values)`.
    * `scores`: head → float32, given on arrival; None for rows that have not been scored.
    """

    names: tuple[str, ...]
    partition: Int32
    offset: Int64
    event_time: Int64
    known_at: Int64
    ids: Int64
    lists: Mapping[str, Ragged]
    numeric: Mapping[str, Float32]
    labels: Mapping[str, Float32]
    scores: Mapping[str, Float32] | None = None

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        arrays: list[npt.NDArray[Any]] = [self.partition, self.offset, self.event_time, self.known_at, self.ids]
        arrays += [*self.numeric.values(), *self.labels.values(), *(self.scores or {}).values()]
        for ragged in self.lists.values():
            arrays += [ragged.values, ragged.offsets]
        return sum(array.nbytes for array in arrays)

    def batch(self) -> EncodedBatch:
        """The executor's view of all rows; cut micro-batches from it with `slice`."""
        return EncodedBatch(self.ids, self.lists, self.numeric, self.labels)

    def has_label(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which rows have at least one label; the others are scored and never trained."""
        known = np.zeros(len(self), dtype=np.bool_)
        for label in self.labels.values():
            known |= ~np.isnan(label)
        return known

    def take(self, index: Int64 | slice) -> Rows:
        """The rows at `index` (a slice shares memory; an index array copies)."""

        def cut(column: Float32) -> Float32:
            return column[index]

        return Rows(
            self.names,
            self.partition[index],
            self.offset[index],
            self.event_time[index],
            self.known_at[index],
            self.ids[index],
            {name: _take_ragged(ragged, index) for name, ragged in self.lists.items()},
            {name: cut(column) for name, column in self.numeric.items()},
            {name: cut(column) for name, column in self.labels.items()},
            None if self.scores is None else {name: cut(column) for name, column in self.scores.items()},
        )

    def with_scores(self, scores: Mapping[str, Float32]) -> Rows:
        """The same rows, scored."""
        return replace(self, scores=scores)

    def without_scores(self) -> Rows:
        """The same rows, as if not yet scored."""
        return replace(self, scores=None)

    def with_partitions(self, names: tuple[str, ...], partition: Int32) -> Rows:
        """The same rows, their partitions given as indices into other names."""
        return replace(self, names=names, partition=partition)

    @staticmethod
    def concat(parts: Sequence[Rows]) -> Rows:
        """All rows of `parts` (at least one), in order. All come from the same features."""
        if len(parts) == 1:
            return parts[0]
        names = parts[0].names
        partitions = [parts[0].partition]
        for part in parts[1:]:
            if part.names[: len(names)] == names:
                names = part.names
            elif names[: len(part.names)] != part.names:
                raise ValueError(f"partition names {part.names} do not continue {names}")
            partitions.append(part.partition)
        first = parts[0]
        scores = None
        if first.scores is not None:
            scores = {head: np.concatenate([(part.scores or {})[head] for part in parts]) for head in first.scores}
        return Rows(
            names,
            np.concatenate(partitions),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.event_time for part in parts]),
            np.concatenate([part.known_at for part in parts]),
            np.concatenate([part.ids for part in parts]),
            {name: _concat_ragged([part.lists[name] for part in parts]) for name in first.lists},
            {name: np.concatenate([part.numeric[name] for part in parts]) for name in first.numeric},
            {name: np.concatenate([part.labels[name] for part in parts]) for name in first.labels},
            scores,
        )


def _take_ragged(ragged: Ragged, index: Int64 | slice) -> Ragged:
    starts, stops = ragged.offsets[:-1][index], ragged.offsets[1:][index]
    lengths = stops - starts
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if isinstance(index, slice) and index.step in (None, 1):
        begin = int(starts[0]) if len(starts) else 0
        return Ragged(ragged.values[begin : begin + int(offsets[-1])], offsets)
    # Position of each value: the start of its row, plus its place in the row.
    within = np.arange(int(offsets[-1]), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    return Ragged(ragged.values[np.repeat(starts, lengths) + within], offsets)


def _concat_ragged(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged(np.concatenate([part.values for part in parts]), offsets)
