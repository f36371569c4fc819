"""From encoded batches to what models take: keys to look up, how lists are pooled, numbers, targets. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.contracts.executor import FeatureSpec

if TYPE_CHECKING:
    from penrose_host.contracts.batch import EncodedBatch, Float32, Int64, Ragged
    from penrose_host.contracts.executor import ListFeature

__all__ = ["Inputs", "Layout", "Pooling"]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Which value of a list goes where: into `row` (int64 [m]) of `place` (int64 [m]) lists, times `scale` ([m, 1])."""

    row: Int64
    place: Int64
    scale: Float32


@dataclass(frozen=True, slots=True)
class Inputs:
    """One micro-batch on its way into the model.

    `keys` int64 [n]: the ids of all rows, row by row, then the values of each list; `numeric` float32 [rows, numbers],
    whose columns lie one after the other in memory.
    """

    rows: int
    keys: Int64
    numeric: Float32
    pooling: Pooling | None = None


class Layout:
    """What the columns of a batch are, worked out once."""

    def __init__(self, features: FeatureSpec) -> None:
        self.features = features
        self.categorical = len(features.categorical)
        self.lists = len(features.lists)
        self.slots = self.categorical + self.lists
        self._numeric = features.numeric
        self._heads = features.labels

    def inputs(self, batch: EncodedBatch) -> Inputs:
        ids = batch.ids
        rows = len(ids)
        numeric = _matrix(batch.numeric, self._numeric) if self._numeric else np.empty((rows, 0), np.float32)
        if not self.lists:
            return Inputs(rows, ids.reshape(-1), numeric)
        values, pooling = _pooling(batch.lists, self.features.lists, rows)
        return Inputs(rows, np.concatenate([ids.reshape(-1), *values]), numeric, pooling)

    def targets(self, batch: EncodedBatch) -> Float32:
        """Labels, float32 [rows, heads], one head after the other in memory; NaN where there is none."""
        return _matrix(batch.labels, self._heads)


def _matrix(columns: Mapping[str, Float32], names: Sequence[str]) -> Float32:
    # Copied: the batch's own arrays may be read-only, which a tensor cannot be.
    joined = np.concatenate([columns[name] for name in names])
    return joined.reshape(len(names), -1 if len(joined) else 0).T


def _pooling(lists: Mapping[str, Ragged], features: Sequence[ListFeature], rows: int) -> tuple[list[Int64], Pooling]:
    """The values of all lists, one list after the other, and where they go."""
    values, row, place, scale = [], [], [], []
    for number, feature in enumerate(features):
        ragged = lists[feature.name]
        values.append(ragged.values[ragged.offsets[0] : ragged.offsets[-1]])
        lengths = np.diff(ragged.offsets)
        row.append(np.repeat(np.arange(rows), lengths))
        place.append(np.full(len(values[-1]), number))
        factors = 1.0 / np.maximum(lengths, 1) if feature.combiner == "mean" else np.ones(rows)
        scale.append(np.repeat(factors.astype(np.float32), lengths))
    return values, Pooling(np.concatenate(row), np.concatenate(place), np.concatenate(scale)[:, None])
