"""What an export runs: ids in, probabilities out, with the embeddings inside and stock operations only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from penrose_host import FeatureSpec
from penrose_host.embeddings import MULTIPLIERS, Initializer

__all__ = ["ExportedLayer", "ExportedTable", "Servable"]

#: (ids [rows, categorical], name → numbers [rows], name → (values [n], lengths [rows])) → head → scores [rows].
Scores: TypeAlias = dict[str, tf.Tensor]


def _unsigned(value: int) -> tf.Tensor:
    return tf.constant(value % 2**64, tf.uint64)


def _shifted(value: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(value, _unsigned(bits))


def _xor_shifted(value: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(value, _shifted(value, bits))


def _buckets(keys: tf.Tensor, rows: int) -> tf.Tensor:
    """`penrose_host.embeddings.buckets`."""
    first, second = MULTIPLIERS
    hashed = tf.bitcast(keys, tf.uint64) * _unsigned(first)
    hashed = _xor_shifted(hashed, 32) * _unsigned(second)
    return tf.bitcast(_shifted(_shifted(hashed, 32) * _unsigned(rows), 32), tf.int64)


def _mixed(value: tf.Tensor) -> tf.Tensor:
    """The finaliser of `penrose_host.embeddings.Initializer`."""
    value = _xor_shifted(value, 30) * _unsigned(0xBF58476D1CE4E5B9)
    value = _xor_shifted(value, 27) * _unsigned(0x94D049BB133111EB)
    return _xor_shifted(value, 31)


def _first_rows(initializer: Initializer, keys: tf.Tensor) -> tf.Tensor:
    """The rows of keys that were never trained: int64 [n] → float32 [n, width], as `Initializer.rows` gives them."""
    given = initializer.parameters
    if initializer.name in ("zeros", "constant"):
        return tf.fill([tf.shape(keys)[0], initializer.width], np.float32(given.get("value", 0.0)))
    row = _mixed(tf.bitcast(keys, tf.uint64) + _mixed(_unsigned(initializer.seed)))
    golden = np.arange(1, initializer.width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    numbers = _mixed(row[:, None] + tf.constant(golden))
    if initializer.name == "uniform":
        low, high = given["low"], given["high"]
        exact = low + (high - low) * (tf.cast(_shifted(numbers, 11), tf.float64) * 2.0**-53)
    else:
        radius = tf.sqrt(-2.0 * tf.math.log((tf.cast(_shifted(numbers, 32), tf.float64) + 0.5) * 2.0**-32))
        lower = tf.bitwise.bitwise_and(numbers, _unsigned(0xFFFFFFFF))
        angle = (2.0 * math.pi) * (tf.cast(lower, tf.float64) * 2.0**-32)
        exact = given["mean"] + given["stddev"] * (radius * tf.cos(angle))
    return tf.cast(exact, tf.float32)


class ExportedTable(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Rows of a table by ascending key: int64 [n] → float32 [n, width]. There is at least one row."""

    def __init__(
        self,
        keys: np.ndarray[tuple[int], np.dtype[np.int64]],
        rows: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        hash_rows: int | None,
        initializer: Initializer,
    ) -> None:
        super().__init__()
        self.keys = tf.Variable(keys, trainable=False, name="keys")
        self.rows = tf.Variable(rows, trainable=False, name="rows")
        self._hash_rows = hash_rows
        self._initializer = initializer

    def __call__(self, ids: tf.Tensor) -> tf.Tensor:
        keys = ids if self._hash_rows is None else _buckets(ids, self._hash_rows)
        at = tf.searchsorted(self.keys, keys, out_type=tf.int64)
        at = tf.minimum(at, tf.shape(self.keys, tf.int64)[0] - 1)
        held = tf.gather(self.keys, at) == keys
        return tf.where(held[:, None], tf.gather(self.rows, at), _first_rows(self._initializer, keys))


class ExportedLayer(tf.Module):  # type: ignore[misc]
    """The rows of a variable that keys are hashed into."""

    def __init__(self, weight: tf.Variable) -> None:
        super().__init__()
        self.weight = weight

    def __call__(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.weight, _buckets(ids, self.weight.shape[0]))


class Servable(tf.Module):  # type: ignore[misc]
    """The whole model over ids, numbers and lists, for any number of rows.

    `logits` takes slots and numbers; `variables` are all that it reads. (The Keras model itself is not part of it:
    whoever loads an export need not know its classes.)
    """

    def __init__(
        self,
        features: FeatureSpec,
        embedding: tf.Module,
        logits: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        variables: list[tf.Variable],
    ) -> None:
        super().__init__()
        self._features = features
        self.embedding = embedding
        self._logits = logits
        self.model_variables = variables

    def __call__(
        self, ids: tf.Tensor, numeric: Mapping[str, tf.Tensor], lists: Mapping[str, tuple[tf.Tensor, tf.Tensor]]
    ) -> Scores:
        # The ids have a row for each row to score, also where there are none in it.
        rows, categorical = tf.shape(ids)[0], len(self._features.categorical)
        single = self.embedding(tf.reshape(ids, [-1]))
        width = single.shape[1]
        slots = [tf.reshape(single, [rows, categorical, width])]
        for feature in self._features.lists:
            values, lengths = lists[feature.name]
            row = tf.repeat(tf.range(rows), lengths)
            pooled = tf.math.unsorted_segment_sum(self.embedding(values), row, rows)
            if feature.combiner == "mean":
                pooled = pooled / tf.cast(tf.maximum(lengths, 1), tf.float32)[:, None]
            slots.append(pooled[:, None])
        numbers = [numeric[name][:, None] for name in self._features.numeric]
        logits = self._logits(tf.concat(slots, 1), tf.concat([tf.zeros([rows, 0]), *numbers], 1))
        scores = tf.sigmoid(logits)
        return {head: scores[:, place] for place, head in enumerate(self._features.labels)}
