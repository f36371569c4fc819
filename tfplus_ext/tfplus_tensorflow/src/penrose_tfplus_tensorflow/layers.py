"""A Keras layer over a `KvVariable`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from penrose_tfplus_tensorflow.kv_variable import KvVariable
from penrose_tfplus_tensorflow.lookup import Combiner, embedding_lookup, safe_embedding_lookup_sparse
from penrose_tfplus_tensorflow.table_resource import KvVariableOptions

__all__ = ["Embedding"]


@keras.saving.register_keras_serializable("penrose_tfplus")
class Embedding(keras.layers.Layer):
    """Ids of any shape → float32 [..., width]; with a `combiner`, sparse or ragged ids → float32 [..., width] a bag.

    Every id of the key dtype is a key, with a combiner too: hashes are signed. In bags, sparse or ragged, what is
    missing is left out, and never an id of -1.

    `options` are those of `KvVariable`; `kv` is a variable that other layers use too. Called with `training=True`, new
    ids become rows. The table is no weight of Keras's, as no optimizer of Keras's can train it: see `Model` and
    `MixedOptimizer`. `save_weights` saves it all the same, with its optimizer's state; a saved *model* makes a table
    of its own for each layer.
    """

    def __init__(
        self,
        width: int,
        *,
        kv: KvVariable | None = None,
        combiner: Combiner | None = None,
        options: KvVariableOptions | None = None,
        name: str | None = None,
        **layer: Any,
    ) -> None:
        super().__init__(name=name, **layer)
        if keras.backend.backend() != "tensorflow":
            raise ValueError(f"this layer needs Keras's backend tensorflow, and it is {keras.backend.backend()}")
        if kv is not None and (options is not None or kv.width != width):
            raise ValueError(f"give kv, or the width and options of a new one: {kv} is not of width {width}")
        self.width = width
        self.combiner = combiner
        self.kv = kv if kv is not None else KvVariable(self.name, width, **(options or {}))
        self.supports_jit = False  # XLA does not know the ops
        self.built = True

    def call(self, ids: Any, weights: Any = None, training: bool | None = None) -> tf.Tensor:
        train = bool(training) and self.trainable
        if tf.as_dtype(ids.dtype).is_floating:
            raise ValueError(
                f"ids of the layer {self.name!r} must be {self.kv.key_dtype.name}, not {ids.dtype}, as Keras makes of "
                f"integers by default: start the model with keras.Input(..., dtype='{self.kv.key_dtype.name}')"
            )
        if self.kv.key_dtype == tf.int64 and ids.dtype in ("int32", "uint32", "int16", "uint16", "int8", "uint8"):
            ids = tf.cast(ids, tf.int64)  # as Keras hands over integers that nobody gave a dtype
        if self.combiner is not None:
            # Keras casts what is no integer into the dtype that it computes in.
            weights = weights if weights is None else tf.cast(weights, tf.float32)
            rows = safe_embedding_lookup_sparse(self.kv, ids, weights, self.combiner, train=train, negative_ids="keep")
        else:
            rows = embedding_lookup(self.kv, ids, train=train)
        return tf.cast(rows, self.compute_dtype)

    def compute_output_shape(self, ids_shape: Any, weights_shape: Any = None) -> Any:  # noqa: ARG002  (as `call`)
        kept = ids_shape if self.combiner is None else ids_shape[:-1]
        return (*kept, self.width)

    def get_config(self) -> dict[str, Any]:
        options = {"key_dtype": self.kv.key_dtype.name, **self.kv.options.table_options}
        return {**super().get_config(), "width": self.width, "combiner": self.combiner, "options": options}

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        for name, tensor in self.kv.state().items():
            store[name] = tensor.numpy()

    def load_own_variables(self, store: Any) -> None:
        self.kv.load_state({name: np.asarray(store[name]) for name in store.keys()})  # noqa: SIM118  (stores of Keras only have keys())
