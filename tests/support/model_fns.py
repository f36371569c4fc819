"""Code as it was written for `tf.estimator`, with one changed import; over embedded rows, and over ids."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from penrose_tensorflow.model_fn.estimator import EstimatorSpec, ModeKeys

__all__ = ["embedded", "random_towers", "with_ids"]

v1 = tf.compat.v1


def _tower(columns: list[Any], labels: Any, mode: str, heads: list[str], rate: float) -> EstimatorSpec:
    hidden = tf.concat(columns, 1)
    if mode == ModeKeys.TRAIN and rate:
        hidden = v1.nn.dropout(hidden, rate=rate)
    logits = {}
    for head in heads:
        with v1.variable_scope(None, default_name="tower"):
            kernel = v1.get_variable("kernel", [hidden.shape[1], 1], initializer=v1.glorot_uniform_initializer())
            bias = v1.get_variable("bias", [], initializer=v1.zeros_initializer())
            logits[head] = (tf.matmul(hidden, kernel) + bias)[:, 0]
    predictions = {head: tf.sigmoid(logit) for head, logit in logits.items()}
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions=predictions)
    by_head = labels if isinstance(labels, dict) else {heads[0]: labels}
    losses = []
    for head, label in by_head.items():
        known = tf.logical_not(tf.math.is_nan(label))
        each = tf.nn.sigmoid_cross_entropy_with_logits(tf.where(known, label, 0.0), logits[head])
        losses.append(tf.reduce_sum(tf.where(known, each, 0.0)))
    loss = tf.add_n(losses)
    step = v1.train.get_global_step()
    rate = v1.train.exponential_decay(0.02, step, 100, 0.9)
    train_op = v1.train.AdamOptimizer(rate).minimize(loss, global_step=step)
    return EstimatorSpec(mode, predictions, loss, train_op)


def _columns(features: dict[str, Any]) -> list[Any]:
    return [column if column.shape.rank == 2 else column[:, None] for column in features.values()]


def embedded(features: Any, labels: Any, mode: str, params: dict[str, Any]) -> EstimatorSpec:
    """Rows of the host's table, and numbers."""
    return _tower(_columns(features), labels, mode, params["heads"], 0.0)


def random_towers(features: Any, labels: Any, mode: str, params: dict[str, Any]) -> EstimatorSpec:
    """The same with dropout."""
    return _tower(_columns(features), labels, mode, params["heads"], 0.3)


def with_ids(features: Any, labels: Any, mode: str, params: dict[str, Any]) -> EstimatorSpec:
    """It looks ids up in a variable of its own."""
    table = v1.get_variable("embeddings", [100, 4], initializer=v1.random_normal_initializer(stddev=0.1))
    columns = []
    for column in features.values():
        if isinstance(column, tf.RaggedTensor):
            rows = tf.gather(table, column.values % 100)
            columns.append(tf.math.unsorted_segment_sum(rows, column.value_rowids(), column.nrows()))
        else:
            columns.append(column[:, None] if column.dtype.is_floating else tf.nn.embedding_lookup(table, column % 100))
    return _tower(columns, labels, mode, params["heads"], 0.0)
