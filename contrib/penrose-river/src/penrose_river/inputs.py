"""From columns to what River takes: a dict for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, FeatureSpec

__all__ = ["Rows", "named", "sparse"]

Row: TypeAlias = dict[Any, Any]
#: The rows of a batch, each a new dict: a model may keep it.
Rows: TypeAlias = Callable[["EncodedBatch"], list[Row]]


def sparse(features: FeatureSpec) -> Rows:
    """A key for each id (an int, its value 1.0, or its share of a list) and for each number (its name)."""
    means = {feature.name: feature.combiner == "mean" for feature in features.lists}

    def rows(batch: EncodedBatch) -> list[Row]:
        found: list[Row] = [dict.fromkeys(ids, 1.0) for ids in batch.ids.tolist()]
        for name, mean in means.items():
            for row, ids in zip(found, _lists(batch, name), strict=True):
                share = 1.0 / len(ids) if mean and ids else 1.0
                for id in ids:
                    row[id] = row.get(id, 0.0) + share
        return _with_numbers(found, batch, features)

    return rows


def named(features: FeatureSpec) -> Rows:
    """A key for each feature: the id of a categorical one, the list of ids of a list, the number of a numeric one."""
    names = features.categorical

    def rows(batch: EncodedBatch) -> list[Row]:
        found: list[Row] = [dict(zip(names, ids, strict=True)) for ids in batch.ids.tolist()]
        for feature in features.lists:
            for row, ids in zip(found, _lists(batch, feature.name), strict=True):
                row[feature.name] = ids
        return _with_numbers(found, batch, features)

    return rows


def _lists(batch: EncodedBatch, name: str) -> Iterator[list[int]]:
    ragged = batch.lists[name]
    first = ragged.offsets[0]
    values = ragged.values[first : ragged.offsets[-1]].tolist()
    offsets = (ragged.offsets - first).tolist()
    return (values[start:stop] for start, stop in pairwise(offsets))


def _with_numbers(rows: list[Row], batch: EncodedBatch, features: FeatureSpec) -> list[Row]:
    for name in features.numeric:
        for row, number in zip(rows, batch.numeric[name].astype(np.float64).tolist(), strict=True):
            row[name] = number
    return rows
