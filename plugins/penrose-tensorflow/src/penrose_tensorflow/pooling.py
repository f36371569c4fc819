"""Lists of embeddings pooled into slots: what goes into a graph for it, and what the graph does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from penrose_host.executors import Inputs, Layout

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["pooling", "pooling_specs", "slots"]


def pooling_specs(layout: Layout) -> list[tf.TensorSpec]:
    """The place [m] and the scale [m, 1] of each value of a list; nothing where there are no lists."""
    specs = [tf.TensorSpec([None], tf.int64, "place"), tf.TensorSpec([None, 1], tf.float32, "scale")]
    return specs if layout.lists else []


def pooling(layout: Layout, inputs: Inputs) -> tuple[Array, ...]:
    """The arrays for `pooling_specs`."""
    if inputs.pooling is None:
        return ()
    return inputs.pooling.row * layout.lists + inputs.pooling.place, inputs.pooling.scale


def slots(layout: Layout, embedded: tf.Tensor, rows: tf.Tensor, pooled: Sequence[tf.Tensor]) -> tf.Tensor:
    """Embeddings float32 [n, width] of the keys → [rows, slots, width]: the categorical features, then the lists."""
    width, categorical, lists = embedded.shape[1], layout.categorical, layout.lists
    if not pooled:
        return tf.reshape(embedded, [rows, categorical, width])
    place, scale = pooled
    single = rows * categorical
    sums = tf.math.unsorted_segment_sum(embedded[single:] * scale, place, rows * lists)
    parts = [tf.reshape(embedded[:single], [rows, categorical, width]), tf.reshape(sums, [rows, lists, width])]
    return tf.concat(parts, 1)
