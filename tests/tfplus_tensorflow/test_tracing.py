"""All of it can be traced by TensorFlow, which reads the source of what a function calls, without a warning."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import keras
import pytest
import tensorflow as tf
from tfplus_tensorflow_support import int64, make_kv

from penrose_tfplus_tensorflow import (
    Embedding,
    MixedOptimizer,
    embedding_lookup,
    forget_kv_variables,
    get_kv_variable,
    safe_embedding_lookup_sparse,
)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What TensorFlow logs meanwhile."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = tf.get_logger()
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    forget_kv_variables()


def everything(keys: tf.Tensor, bags: tf.RaggedTensor, tables: dict[str, Any]) -> Any:
    kv, layer, optimizer = tables["kv"], tables["layer"], tables["optimizer"]
    with tf.GradientTape() as tape:
        rows = kv.gather(keys, train=True) + get_kv_variable("named", 3, threads=1).gather(keys, train=True)
        rows += safe_embedding_lookup_sparse(kv, bags, default_id=3, max_norm=1.0, train=True)
        loss = tf.reduce_sum(rows * layer(keys, training=True)) + tf.reduce_sum(embedding_lookup(kv, bags).flat_values)
    variables = [kv, layer.kv]
    applied = optimizer.apply(tape.gradient(loss, variables), variables, time=5, learning_rate=0.1)
    for write in (kv.insert, kv.scatter_add, kv.scatter_sub, kv.scatter_mul, kv.scatter_div, kv.scatter_min):
        write(keys, tf.ones([2, 3]))
    kv.import_(kv.export(full=True))
    kv.commit_export()
    kv.load_state(kv.state())
    kv.evict(before=0, max_rows=100)
    kv.delete(keys[:1])
    looked = [kv.contains(keys), kv.counts(keys), kv.times(keys), kv.slots(keys), kv.keys(), kv.counters()]
    return applied, looked, kv.size(), kv.candidates(), kv.bytes()


def test_nothing_is_warned_of(logged: list[str]) -> None:
    tables = {
        "kv": make_kv(),
        "layer": Embedding(3, options={"threads": 1}),
        "optimizer": MixedOptimizer(keras.optimizers.SGD()),
    }
    bags = tf.ragged.constant([[1, -1], []], dtype=tf.int64)
    traced = tf.function(lambda keys, bags: everything(keys, bags, tables), reduce_retracing=True)
    applied, _, size, *_ = traced(int64(1, 2), bags)
    assert applied
    assert size == 3  # without the first, with the default and one that only its gradient brought
    assert logged == []
