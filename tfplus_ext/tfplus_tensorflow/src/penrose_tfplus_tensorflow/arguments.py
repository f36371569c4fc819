"""What the methods of a variable are given, as the tensors that the ops take."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import tensorflow as tf

from penrose_tfplus.resolved_options import parameter_value
from penrose_tfplus_tensorflow.table_resource import TableResource

__all__ = ["eviction_bounds", "key_tensor", "learning_rate_tensor", "row_tensor", "scalar_tensor"]


def key_tensor(table: TableResource, keys: Any) -> tf.Tensor:
    """A tensor of the table's own key dtype. Raises ValueError."""
    if isinstance(keys, tf.RaggedTensor | tf.SparseTensor):
        raise ValueError(
            f"keys of table {table.name!r} must be a dense tensor; look {type(keys).__name__}s up with "
            "embedding_lookup or safe_embedding_lookup_sparse"
        )
    # Numbers of Python take the dtype that is wanted; arrays and tensors keep theirs.
    if isinstance(keys, int | list | tuple):
        keys = tf.convert_to_tensor(keys, dtype_hint=tf.int64)
        given = tf.get_static_value(keys)
        if given is not None and keys.dtype == tf.int64 != table.key_dtype:
            if not ((given >= table.key_dtype.min) & (given <= table.key_dtype.max)).all():
                raise ValueError(
                    f"keys of table {table.name!r} must fit {table.key_dtype.name}, and one of {given} does not"
                )
            keys = tf.cast(keys, table.key_dtype)
    keys = tf.convert_to_tensor(keys)
    if keys.dtype != table.key_dtype:
        raise ValueError(f"keys of table {table.name!r} must be {table.key_dtype.name}, not {keys.dtype.name}")
    return keys


def row_tensor(table: TableResource, what: str, rows: Any) -> tf.Tensor:
    """A float32 tensor [n, width]. Raises ValueError."""
    rows = tf.convert_to_tensor(rows, dtype_hint=tf.float32)
    if rows.dtype != tf.float32 or not rows.shape.is_compatible_with(table.shape):
        raise ValueError(
            f"{what} of table {table.name!r} must be float32 [n, {table.width}], not {rows.dtype.name} {rows.shape}"
        )
    return rows


def learning_rate_tensor(table: TableResource, given: Any) -> tf.Tensor:
    """A float64 tensor of the one number, or empty. Raises ValueError for a number that cannot be."""
    if given is None:
        return tf.constant([], tf.float64)
    if isinstance(given, int | float | np.number):
        return tf.constant([parameter_value(f"table {table.name!r}", table.options.learning_rate, given)], tf.float64)
    return tf.reshape(tf.cast(tf.convert_to_tensor(given), tf.float64), [1])


def scalar_tensor(name: str, value: Any, dtype: tf.DType) -> tf.Tensor:
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


def eviction_bounds(before: Any, min_count: Any, min_norm: Any, max_rows: Any) -> list[tf.Tensor]:
    """The bounds in the order of the op; -1 is none. Raises ValueError."""
    given = {"before": before, "min_count": min_count, "min_norm": min_norm, "max_rows": max_rows}
    bounds = []
    for name, value in given.items():
        if isinstance(value, int | float | np.number) and not 0 <= value < math.inf:
            raise ValueError(f"{name} must not be negative, nor too large: {value!r}")
        dtype = tf.float64 if name == "min_norm" else tf.int64
        bounds.append(scalar_tensor(name, -1 if value is None else value, dtype))
    return bounds
