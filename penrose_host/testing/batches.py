"""Random encoded batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.contracts.batch import EncodedBatch, Ragged
from penrose_host.contracts.executor import FeatureSpec

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["arrays", "frozen", "joined", "random_batch", "with_column", "without_labels"]

_INT64 = np.iinfo(np.int64)


def random_batch(spec: FeatureSpec, rows: int, seed: int, *, labelled: float = 1.0) -> EncodedBatch:
    """Rows of these features: ids repeat, lists have 0 to 4 values, `labelled` of the labels are known."""
    random = np.random.default_rng(seed)
    # A world of ids that is the same for every seed, the two ends of int64 in it.
    world = np.random.default_rng(0).integers(_INT64.min, _INT64.max, 40, endpoint=True)
    world[:2] = _INT64.min, _INT64.max
    lists = {}
    for feature in spec.lists:
        offsets = np.concatenate([[0], np.cumsum(random.integers(0, 5, rows))]).astype(np.int64)
        lists[feature.name] = Ragged(random.choice(world, offsets[-1]), offsets)
    labels = {}
    for head in spec.labels:
        label = (random.random(rows) < 0.4).astype(np.float32)
        label[random.random(rows) >= labelled] = np.nan
        labels[head] = label
    return EncodedBatch(
        random.choice(world, (rows, len(spec.categorical))),
        lists,
        {name: random.standard_normal(rows).astype(np.float32) for name in spec.numeric},
        labels,
    )


def arrays(batch: EncodedBatch) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """(what it is, array) of every array of a batch."""
    yield "ids", batch.ids
    for name, ragged in batch.lists.items():
        yield f"lists[{name!r}].values", ragged.values
        yield f"lists[{name!r}].offsets", ragged.offsets
    for kind, columns in (("numeric", batch.numeric), ("labels", batch.labels)):
        for name, column in columns.items():
            yield f"{kind}[{name!r}]", column


def frozen(batch: EncodedBatch) -> EncodedBatch:
    """The same rows in arrays that cannot be written to."""

    def fixed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        array = array.copy()
        array.flags.writeable = False
        return array

    return EncodedBatch(
        fixed(batch.ids),
        {name: Ragged(fixed(ragged.values), fixed(ragged.offsets)) for name, ragged in batch.lists.items()},
        {name: fixed(column) for name, column in batch.numeric.items()},
        {name: fixed(column) for name, column in batch.labels.items()},
    )


def joined(*batches: EncodedBatch) -> EncodedBatch:
    """The rows of all batches in arrays of their own; of one batch, a copy whose lists start at 0."""
    first = batches[0]
    lists = {}
    for name in first.lists:
        parts = [batch.lists[name] for batch in batches]
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        lists[name] = Ragged(np.concatenate([p.values[p.offsets[0] : p.offsets[-1]] for p in parts]), offsets)
    return EncodedBatch(
        np.concatenate([batch.ids for batch in batches]),
        lists,
        {name: np.concatenate([batch.numeric[name] for batch in batches]) for name in first.numeric},
        {name: np.concatenate([batch.labels[name] for batch in batches]) for name in first.labels},
    )


def with_column(batch: EncodedBatch, name: str, value: float) -> EncodedBatch:
    """The same rows, one value of a numeric feature replaced."""
    batch = joined(batch)
    batch.numeric[name][len(batch) // 2] = value
    return batch


def without_labels(batch: EncodedBatch) -> EncodedBatch:
    """The same rows, no label of theirs known."""
    batch = joined(batch)
    for label in batch.labels.values():
        label[:] = np.nan
    return batch
