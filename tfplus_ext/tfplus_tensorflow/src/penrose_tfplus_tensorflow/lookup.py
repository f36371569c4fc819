"""Lookups of ids in the shapes that features come in."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from penrose_tfplus_tensorflow.kv_variable import KvVariable

__all__ = ["Combiner", "embedding_lookup", "safe_embedding_lookup_sparse"]

Combiner = Literal["mean", "sum", "sqrtn"]


def embedding_lookup(kv: KvVariable, ids: Any, *, train: bool = False) -> Any:
    """Rows of ids of any shape: [...] → float32 [..., width]. Ragged ids give ragged rows.

    `train` as in `KvVariable.gather`.
    """
    if isinstance(ids, tf.RaggedTensor):
        return ids.with_flat_values(kv.gather(ids.flat_values, train=train))
    if isinstance(ids, tf.SparseTensor):
        raise ValueError("ids are sparse: look them up with safe_embedding_lookup_sparse, which combines them")
    return kv.gather(ids, train=train)


def safe_embedding_lookup_sparse(
    kv: KvVariable,
    sp_ids: Any,
    sp_weights: Any = None,
    combiner: Combiner = "mean",
    default_id: int | None = None,
    max_norm: float | None = None,
    *,
    train: bool = False,
    negative_ids: Literal["drop", "keep"] = "drop",
) -> tf.Tensor:
    """The rows of each sparse or ragged row of ids, combined: [d0, …, dn] → float32 [d0, …, dn-1, width].

    As `tf.nn.safe_embedding_lookup_sparse`: negative ids are left out, and unless the combiner is sum those with a
    weight that is not positive; a row without ids is that of `default_id`, or zeros. `max_norm` clips the L2 norm of
    each row before. What is left out and empty rows add no keys to the table. With `negative_ids="keep"` negative ids
    are keys as all others, as signed hashes are.
    """
    if combiner not in ("mean", "sum", "sqrtn"):
        raise ValueError(f"combiner must be mean, sum or sqrtn, not {combiner!r}")
    if negative_ids not in ("drop", "keep"):
        raise ValueError(f"negative_ids must be drop or keep, not {negative_ids!r}")
    ids, weights = _sparse("ids", sp_ids), None if sp_weights is None else _sparse("weights", sp_weights)
    if weights is not None:
        if weights.dtype != tf.float32:
            raise ValueError(f"weights must be float32, not {weights.dtype.name}")
        weights = _as_many(weights, ids)
    outer, bags = ids.dense_shape[:-1], tf.reduce_prod(ids.dense_shape[:-1])
    # Where each id goes: rows of more than two dimensions are numbered one after the other.
    strides = tf.math.cumprod(outer, exclusive=True, reverse=True)
    bag = tf.reduce_sum(ids.indices[:, :-1] * strides, axis=1)
    keys, factors = ids.values, None if weights is None else weights.values
    keep = keys >= 0 if negative_ids == "drop" else tf.fill(tf.shape(keys), True)
    if factors is not None and combiner != "sum":
        keep &= factors > 0
    keys, bag = tf.boolean_mask(keys, keep), tf.boolean_mask(bag, keep)
    factors = None if factors is None else tf.boolean_mask(factors, keep)
    if default_id is not None:
        filled = tf.math.unsorted_segment_sum(tf.ones_like(bag), bag, bags)
        empty = tf.where(tf.equal(filled, 0))[:, 0]
        bag = tf.concat([bag, empty], 0)
        keys = tf.concat([keys, tf.fill(tf.shape(empty), tf.constant(default_id, keys.dtype))], 0)
        factors = None if factors is None else tf.concat([factors, tf.ones(tf.shape(empty))], 0)
    rows = kv.gather(keys, train=train)
    if max_norm is not None:
        rows = tf.clip_by_norm(rows, max_norm, axes=[1])
    combined = _combined(rows, factors, bag, bags, combiner)
    combined = tf.reshape(combined, tf.concat([outer, tf.constant([kv.width], tf.int64)], 0))
    combined.set_shape(ids.shape[:-1].concatenate([kv.width]))
    return combined


def _combined(rows: tf.Tensor, factors: Any, bag: tf.Tensor, bags: tf.Tensor, combiner: Combiner) -> tf.Tensor:
    if factors is not None:
        rows *= factors[:, tf.newaxis]
    total = tf.math.unsorted_segment_sum(rows, bag, bags)
    if combiner == "sum":
        return total
    factors = tf.ones(tf.shape(bag)) if factors is None else factors
    if combiner == "mean":
        scale = tf.math.unsorted_segment_sum(factors, bag, bags)
    else:
        scale = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(factors), bag, bags))
    return tf.math.divide_no_nan(total, scale[:, tf.newaxis])


def _as_many(weights: tf.SparseTensor, ids: tf.SparseTensor) -> tf.SparseTensor:
    """The weights, once it is sure that there is one for each id."""
    same = tf.debugging.assert_equal(
        tf.shape(weights.values), tf.shape(ids.values), message="there must be one weight for each id"
    )
    with tf.control_dependencies([] if same is None else [same]):
        return tf.SparseTensor(weights.indices, tf.identity(weights.values), weights.dense_shape)


def _sparse(what: str, values: Any) -> tf.SparseTensor:
    if isinstance(values, tf.RaggedTensor):
        return values.to_sparse()
    if not isinstance(values, tf.SparseTensor):
        raise ValueError(f"{what} must be a SparseTensor or a RaggedTensor, not {type(values).__name__}")
    return values
