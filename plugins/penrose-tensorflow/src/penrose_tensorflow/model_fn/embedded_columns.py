"""Features by name, embedded: rows of the host's table in place of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from penrose_host.executors import Layout, different_names
from penrose_tensorflow.embedding_rows import TableRows
from penrose_tensorflow.pooling import pooling, pooling_specs, slots

if TYPE_CHECKING:
    import numpy as np

    from penrose_host import EncodedBatch, Int64

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["EmbeddedColumns"]


class EmbeddedColumns:
    """The same interface as `NamedColumns` has: batch → arrays → tensors → features by name.

    By name these are float32 [rows, width], lists pooled by their combiner, and float32 [rows] of numbers. The first of
    the tensors is float32 [n, width], the rows of `keys`.
    """

    #: Those of the last batch, int64 [n].
    keys: Int64

    def __init__(self, layout: Layout, rows: TableRows) -> None:
        """Raises `ConfigError` where two features have the same name."""
        different_names("executor.model_fn", layout.features)
        self.layout = layout
        self.features = layout.features
        self.rows = rows
        self.width = rows.table.spec.width
        self.specs = (
            tf.TensorSpec([None, self.width], tf.float32, "embedded"),
            tf.TensorSpec([len(layout.features.numeric), None], tf.float32, "numeric"),
            *pooling_specs(layout),
        )

    def arrays(self, batch: EncodedBatch, *, train: bool = False) -> tuple[Array, ...]:
        inputs = self.layout.inputs(batch)
        self.keys = inputs.keys
        return (self.rows.feed(inputs.keys, train=train), inputs.numeric.T, *pooling(self.layout, inputs))

    def by_name(self, tensors: Sequence[tf.Tensor]) -> dict[str, Any]:
        embedded, numeric, *pooled = tensors
        given = slots(self.layout, embedded, tf.shape(numeric)[1], pooled)
        names = [*self.features.categorical, *(feature.name for feature in self.features.lists)]
        found = {name: given[:, place] for place, name in enumerate(names)}
        return found | {name: numeric[place] for place, name in enumerate(self.features.numeric)}

    def tensors(self, slots: tf.Tensor, numeric: tf.Tensor) -> list[tf.Tensor]:
        """Those of `arrays`, of slots [rows, slots, width], lists behind the others, and numbers [rows, numeric]."""
        categorical, lists = self.layout.categorical, self.layout.lists
        parts = [tf.reshape(part, [-1, self.width]) for part in (slots[:, :categorical], slots[:, categorical:])]
        found = [tf.concat(parts, 0), tf.transpose(numeric)]
        if lists:
            places = tf.shape(slots, tf.int64)[0] * lists
            found += [tf.range(places), tf.ones(tf.stack([places, 1]))]
        return found
