"""TensorFlow Recommenders Addons: a dynamic embedding variable (cuckoo hash map on the CPU) with Adagrad."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_recommenders_addons as tfra
from worker import LEARNING_RATE, THREADS, WIDTH, hashed, serve


class TfraTable:
    """A dynamic table. Ids are made unique first: repeated ids overwrite each other otherwise."""

    tensor = staticmethod(tf.constant)

    def __init__(self, rows: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
        self._variable = tfra.dynamic_embedding.get_variable(
            "table", dim=WIDTH, init_size=rows, initializer=tf.keras.initializers.RandomUniform(-0.01, 0.01)
        )
        # The accumulator must start above zero; this much changes nothing that can be measured.
        adagrad = tf.compat.v1.train.AdagradOptimizer(LEARNING_RATE, initial_accumulator_value=1e-12)
        self._optimizer = tfra.dynamic_embedding.DynamicEmbeddingOptimizer(adagrad)
        self._step = tf.function(
            self._update, input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, WIDTH], tf.float32)]
        )

    def _update(self, ids: tf.Tensor, gradients: tf.Tensor) -> None:
        unique, places = tf.unique(ids, out_idx=tf.int64)
        with tf.GradientTape() as tape:
            rows = tfra.dynamic_embedding.embedding_lookup(self._variable, unique, name="lookup")
            trainable = self._variable.get_trainable_by_name("lookup")
            read = tf.gather(rows, places)
        self._optimizer.apply_gradients([(tape.gradient(read, trainable, gradients), trainable)])

    def step(self, ids: tf.Tensor, gradients: tf.Tensor) -> None:
        """Lookup, backward and update in one graph."""
        self._step(ids, gradients)

    def rows(self, ids: tf.Tensor) -> np.ndarray:
        """[n, 16]."""
        return self._variable.lookup(ids).numpy()


if __name__ == "__main__":
    serve(TfraTable, hashed)
