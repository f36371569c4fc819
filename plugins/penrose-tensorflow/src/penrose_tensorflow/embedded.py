"""Features by name, embedded: rows of the host's table in place of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from penrose_host.executors.functions import different_names
from penrose_host.executors.inputs import Layout
from penrose_tensorflow.rows import TableRows

if TYPE_CHECKING:
    import numpy as np

    from penrose_host.batch import EncodedBatch, Int64

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
        pooling = [tf.TensorSpec([None], tf.int64, "place"), tf.TensorSpec([None, 1], tf.float32, "scale")]
        self.specs = (
            tf.TensorSpec([None, self.width], tf.float32, "embedded"),
            tf.TensorSpec([len(layout.features.numeric), None], tf.float32, "numeric"),
            *(pooling if layout.lists else []),
        )

    def arrays(self, batch: EncodedBatch, *, train: bool = False) -> tuple[Array, ...]:
        inputs = self.layout.inputs(batch)
        self.keys = inputs.keys
        fed = (self.rows.feed(inputs.keys, train=train), inputs.numeric.T)
        if inputs.pooling is None:
            return fed
        return (*fed, inputs.pooling.row * self.layout.lists + inputs.pooling.place, inputs.pooling.scale)

    def by_name(self, tensors: Sequence[tf.Tensor]) -> dict[str, Any]:
        embedded, numeric, *pooling = tensors
        rows, categorical, lists = tf.shape(numeric)[1], self.layout.categorical, self.layout.lists
        single = rows * categorical
        slots = tf.reshape(embedded[:single], [rows, categorical, self.width])
        found = {name: slots[:, place] for place, name in enumerate(self.features.categorical)}
        if pooling:
            place, scale = pooling
            pooled = tf.math.unsorted_segment_sum(embedded[single:] * scale, place, rows * lists)
            pooled = tf.reshape(pooled, [rows, lists, self.width])
            found |= {feature.name: pooled[:, place] for place, feature in enumerate(self.features.lists)}
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
