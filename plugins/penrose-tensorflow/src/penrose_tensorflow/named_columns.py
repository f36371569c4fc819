"""Features by name, ids as they are: for models that hold their embeddings themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf

from penrose_host import EncodedBatch, FeatureSpec, Ragged
from penrose_host.executors import different_names

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["NamedColumns", "NamedServing", "taken"]

Tensors: TypeAlias = Sequence[tf.Tensor]


class NamedColumns:
    """Batch → a few arrays → tensors → features by name.

    The arrays are ids int64 [rows, categorical], numbers float32 [numeric, rows], and of each list its values int64 [n]
    and row splits int64 [rows + 1]. By name these are int64 [rows], float32 [rows], and RaggedTensors of int64.
    """

    def __init__(self, features: FeatureSpec, place: str) -> None:
        """`place`: the option that they are for. Raises `ConfigError` where two features have the same name."""
        different_names(place, features)
        self.features = features
        self.specs = (
            tf.TensorSpec([None, len(features.categorical)], tf.int64, "ids"),
            tf.TensorSpec([len(features.numeric), None], tf.float32, "numeric"),
            *(
                tf.TensorSpec([None], tf.int64, f"list{place}_{part}")
                for place in range(len(features.lists))
                for part in ("values", "splits")
            ),
        )

    def arrays(self, batch: EncodedBatch, *, train: bool = False) -> tuple[Array, ...]:  # noqa: ARG002 - no table
        numeric = np.empty((len(self.features.numeric), len(batch)), np.float32)
        for place, name in enumerate(self.features.numeric):
            numeric[place] = batch.numeric[name]
        parts = [_from_zero(batch.lists[feature.name]) for feature in self.features.lists]
        return (batch.ids, numeric, *(array for part in parts for array in part))

    def by_name(self, tensors: Tensors) -> dict[str, Any]:
        """Symbolic or eager: the tensors of `arrays` as the features that a model sees."""
        ids, numeric, *rest = tensors
        found: dict[str, Any] = {name: ids[:, place] for place, name in enumerate(self.features.categorical)}
        for place, feature in enumerate(self.features.lists):
            found[feature.name] = tf.RaggedTensor.from_row_splits(rest[2 * place], rest[2 * place + 1], validate=False)
        return found | {name: numeric[place] for place, name in enumerate(self.features.numeric)}

    def tensors(
        self, ids: tf.Tensor, numeric: Mapping[str, tf.Tensor], lists: Mapping[str, tuple[tf.Tensor, tf.Tensor]]
    ) -> list[tf.Tensor]:
        """Those of `arrays`, of what whoever serves the model gives: lists as their values and lengths."""
        numbers = [numeric[name] for name in self.features.numeric]
        found = [ids, tf.stack(numbers) if numbers else tf.zeros(tf.stack([0, tf.shape(ids)[0]]))]
        for feature in self.features.lists:
            values, lengths = lists[feature.name]
            ends = tf.cumsum(tf.cast(lengths, tf.int64))
            found += [values, tf.concat([tf.zeros([1], tf.int64), ends], 0)]
        return found

    def example(self) -> list[tf.Tensor]:
        """Three rows of zeros, to build a model with."""
        shapes = {"ids": [3, len(self.features.categorical)], "numeric": [len(self.features.numeric), 3]}
        found = [tf.zeros(shapes[spec.name], spec.dtype) for spec in self.specs[:2]]
        for _ in self.features.lists:
            found += [tf.zeros([5], tf.int64), tf.constant([0, 2, 2, 5], tf.int64)]
        return found


class NamedServing(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Ids, numbers and lists → head → scores. `scores`: tensors of `arrays` → [rows, heads]; it reads `kept`.

    `frozen` stand for tables whose own operations only this installation knows, while their contexts are entered.
    """

    def __init__(
        self, columns: NamedColumns, scores: Callable[..., tf.Tensor], kept: Any, frozen: Sequence[Any] = ()
    ) -> None:
        super().__init__()
        self._columns = columns
        self._scores = scores
        self.kept = kept
        self.frozen = frozen

    def __call__(
        self, ids: tf.Tensor, numeric: Mapping[str, tf.Tensor], lists: Mapping[str, tuple[tf.Tensor, tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        with ExitStack() as reading:
            for table in self.frozen:
                reading.enter_context(table)
            found = self._scores(*self._columns.tensors(ids, numeric, lists))
        return {head: found[:, place] for place, head in enumerate(self._columns.features.labels)}


def taken(batch: EncodedBatch, rows: Array) -> EncodedBatch:
    """The rows of a batch for which `rows` (bool [rows]) says so."""
    if rows.all():
        return batch
    lists = {}
    for name, ragged in batch.lists.items():
        values, offsets = _from_zero(ragged)
        lengths = np.diff(offsets)
        lists[name] = Ragged(values[np.repeat(rows, lengths)], np.concatenate([[0], np.cumsum(lengths[rows])]))
    numeric = {name: column[rows] for name, column in batch.numeric.items()}
    labels = {head: column[rows] for head, column in batch.labels.items()}
    return EncodedBatch(batch.ids[rows], lists, numeric, labels)


def _from_zero(ragged: Ragged) -> tuple[Array, Array]:
    first, last = int(ragged.offsets[0]), int(ragged.offsets[-1])
    return ragged.values[first:last], ragged.offsets - first
