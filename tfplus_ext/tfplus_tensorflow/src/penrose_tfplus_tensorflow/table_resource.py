"""The native table of a variable: its resource handle, and the options that it was made with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops as framework_ops
from tensorflow.python.ops import handle_data_util

from penrose_tfplus.resolved_options import ResolvedOptions, resolve
from penrose_tfplus.table_options import TableOptions
from penrose_tfplus_tensorflow._library import ops
from penrose_tfplus_tensorflow.op_results import op_message

if TYPE_CHECKING:
    from tensorflow import Tensor

__all__ = ["KvVariableOptions", "TableResource"]

_KEY_DTYPES = (tf.int64, tf.int32)
#: The collection of a graph of TensorFlow 1 that holds its tables.
_COLLECTION = "penrose_tfplus_tables"


class KvVariableOptions(TableOptions, total=False):
    """Keywords of `KvVariable` beside its width: those of `penrose_tfplus.Table`, and the dtype of keys.

    * `key_dtype`: `tf.int64`, the default, or `tf.int32`.
    """

    key_dtype: tf.DType | str


class TableResource:
    """A table in the native ops: as long as something holds its handle, or in a graph of TensorFlow 1 its session.

    Raises ValueError for options that do not exist or cannot be, and for a name that the graph has with others.
    """

    name: str
    key_dtype: tf.DType
    options: ResolvedOptions
    #: The resource that the ops take.
    handle: Tensor

    def __init__(self, name: str, width: int, given: KvVariableOptions) -> None:
        self.name = name
        table_options = given.copy()
        try:
            self.key_dtype = tf.as_dtype(table_options.pop("key_dtype", tf.int64))
            if self.key_dtype not in _KEY_DTYPES:
                raise ValueError(f"key_dtype must be int64 or int32, not {self.key_dtype.name}")
            self.options = resolve(width, table_options)
            with tf.init_scope():
                self.handle = self._make()
        except (TypeError, ValueError) as error:
            raise ValueError(f"table {name!r}: {error}") from error
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"table {name!r}: {op_message(error)}") from error

    def _make(self) -> Tensor:
        options, named = self.options, not tf.executing_eagerly()
        if named:
            self._take_name()
        handle = ops.tfplus_table(
            container="",
            shared_name=self.name if named else "",
            width=options.width,
            optimizer=options.optimizer,
            parameters=[repr(value) for value in options.parameters],
            initializer=options.initializer,
            initial=[repr(value) for value in options.initial],
            seed=int(np.uint64(options.seed).astype(np.int64)),
            admission=options.admission,
            admit=repr(options.admit),
            max_rows=options.max_rows,
            evict_at_limit=options.evict_at_limit,
            shards=options.shards,
            threads=options.threads,
        )
        if not named:
            data = handle_data_util.create_handle_data(self.shape, tf.float32)
            handle_data_util.set_handle_data(handle, data)
        return handle

    def _take_name(self) -> None:
        """Enter the graph's list of tables, where each name stands for one set of options."""
        if not self.name:
            raise ValueError("in a graph it needs a name")
        known = framework_ops.get_collection_ref(_COLLECTION)
        for other in known:
            if other.name == self.name and other.identity != self.identity:
                raise ValueError(f"this graph has a table {self.name!r} with {other}; this one would be with {self}")
        known.append(self)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.options.width

    @property
    def shape(self) -> tf.TensorShape:
        """Of all rows: [unknown, width]."""
        return tf.TensorShape([None, self.width])

    @property
    def slot_widths(self) -> dict[str, int]:
        """Slot of the optimizer → its numbers in a row."""
        return self.options.slot_widths

    @property
    def identity(self) -> tuple[tf.DType, ResolvedOptions]:
        """Equal for tables that can stand for each other: threads and shards change no result."""
        return self.key_dtype, dataclasses.replace(self.options, threads=1, shards=1)

    def __str__(self) -> str:
        shown = {"key_dtype": self.key_dtype.name, **vars(self.options)}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())
