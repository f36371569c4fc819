"""What the methods of a variable are given, as the ops take it."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_tfplus.options import parameter_value

if TYPE_CHECKING:
    from penrose_tfplus_tensorflow.kv_variable import KvVariable

__all__ = ["keys_of", "learning_rate_of", "number", "rows_of"]


def keys_of(kv: KvVariable, keys: Any) -> tf.Tensor:
    """A tensor of the variable's own key dtype. Raises ValueError."""
    if isinstance(keys, tf.RaggedTensor | tf.SparseTensor):
        raise ValueError(
            f"keys of table {kv.name!r} must be a dense tensor; look {type(keys).__name__}s up with "
            "embedding_lookup or safe_embedding_lookup_sparse"
        )
    # Numbers of Python take the dtype that is wanted; arrays and tensors keep theirs.
    if isinstance(keys, int | list | tuple):
        keys = tf.convert_to_tensor(keys, dtype_hint=tf.int64)
        given = tf.get_static_value(keys)
        if given is not None and keys.dtype == tf.int64 != kv.key_dtype:
            if not ((given >= kv.key_dtype.min) & (given <= kv.key_dtype.max)).all():
                raise ValueError(f"keys of table {kv.name!r} must fit {kv.key_dtype.name}, and one of {given} does not")
            keys = tf.cast(keys, kv.key_dtype)
    keys = tf.convert_to_tensor(keys)
    if keys.dtype != kv.key_dtype:
        raise ValueError(f"keys of table {kv.name!r} must be {kv.key_dtype.name}, not {keys.dtype.name}")
    return keys


def rows_of(kv: KvVariable, what: str, rows: Any) -> tf.Tensor:
    """A float32 tensor [n, width]. Raises ValueError."""
    rows = tf.convert_to_tensor(rows, dtype_hint=tf.float32)
    if rows.dtype != tf.float32 or not rows.shape.is_compatible_with(kv.shape):
        raise ValueError(
            f"{what} of table {kv.name!r} must be float32 [n, {kv.width}], not {rows.dtype.name} {rows.shape}"
        )
    return rows


def learning_rate_of(kv: KvVariable, given: Any) -> tf.Tensor:
    """A float64 tensor of the one number, or empty. Raises ValueError for a number that cannot be."""
    if given is None:
        return tf.constant([], tf.float64)
    if isinstance(given, int | float | np.number):
        return tf.constant([parameter_value(f"table {kv.name!r}", kv.options.learning_rate, given)], tf.float64)
    return tf.reshape(tf.cast(tf.convert_to_tensor(given), tf.float64), [1])


def number(name: str, value: Any, dtype: tf.DType) -> tf.Tensor:
    """A scalar of that dtype, of a number or a tensor. Raises ValueError."""
    if isinstance(value, tf.Tensor | tf.Variable):
        tensor = tf.cast(value, dtype)
        if not tensor.shape.is_compatible_with([]):
            raise ValueError(f"{name} must be one number, not {tensor.shape}")
        return tensor
    try:
        return tf.constant(float(value) if dtype.is_floating else operator.index(value), dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a number, and this is none that fits: {value!r}") from error
