"""Variables of the TensorFlow face under test: making, training and comparing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from penrose_tfplus_tensorflow import KvVariable

__all__ = ["assert_same_state", "int64", "make_kv", "train"]

FIRST = 0.5


def make_kv(width: int = 3, *, name: str = "t", **options: Any) -> KvVariable:
    """A small variable whose rows start at `FIRST`."""
    standard = {"initializer": "constant", "initializer_parameters": {"value": FIRST}, "threads": 1, "shards": 4}
    return KvVariable(name, width, **{**standard, **options})


def int64(*keys: int) -> tf.Tensor:
    return tf.constant(keys, tf.int64)


def train(kv: KvVariable, keys: Any, gradients: Any, **step: Any) -> None:
    """Look up for training, differentiate a loss with just these gradients, apply."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(kv.gather(keys, train=True) * gradients)
    kv.apply_gradients(tape.gradient(loss, kv), **step)


def assert_same_state(actual: Any, expected: Any) -> None:
    """Name by name, byte by byte."""
    assert list(actual) == list(expected)
    for name in expected:
        left, right = np.asarray(actual[name]), np.asarray(expected[name])
        assert (left.dtype, left.shape) == (right.dtype, right.shape), name
        assert left.tobytes() == right.tobytes(), name
