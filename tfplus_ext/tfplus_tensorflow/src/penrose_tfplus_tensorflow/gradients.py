"""The gradient of a lookup: the keys, and one gradient for each of them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

__all__: list[str] = []


@tf.RegisterGradient("TfplusGather")
def _of_gather(op: Any, gradient: tf.Tensor | tf.IndexedSlices) -> tuple[tf.IndexedSlices, None]:
    keys = op.inputs[1]
    if isinstance(gradient, tf.IndexedSlices) and keys.shape.rank == 1:
        # Of a few rows only: so it is of their keys.
        return tf.IndexedSlices(gradient.values, tf.gather(keys, gradient.indices)), None
    gradient = tf.convert_to_tensor(gradient)
    width = op.outputs[0].shape[-1]
    if width is None:  # keys of unknown rank
        width = tf.shape(gradient)[-1]
    return tf.IndexedSlices(tf.reshape(gradient, [-1, width]), tf.reshape(keys, [-1])), None
