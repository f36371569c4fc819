"""Penrose's own dynamic table, as ops of TensorFlow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from worker import LEARNING_RATE, THREADS, WIDTH, hashed, serve

from penrose_tfplus_tensorflow import KvVariable


class TfplusTensorflowTable:
    """A dynamic table: it starts empty and is told nothing of how many rows will come."""

    tensor = staticmethod(tf.constant)

    def __init__(self, rows: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
        self._variable = KvVariable(
            "table",
            WIDTH,
            optimizer="adagrad",
            optimizer_parameters={"learning_rate": LEARNING_RATE},
            initializer="uniform",
            seed=1,
            threads=THREADS,
        )
        self._step = tf.function(
            self._update, input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, WIDTH], tf.float32)]
        )

    def _update(self, ids: tf.Tensor, gradients: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            rows = self._variable.gather(ids, train=True)
        self._variable.apply_gradients(tape.gradient(rows, self._variable, gradients))

    def step(self, ids: tf.Tensor, gradients: tf.Tensor) -> None:
        """Lookup, backward and update in one graph."""
        self._step(ids, gradients)

    def rows(self, ids: tf.Tensor) -> np.ndarray:
        """[n, 16]."""
        return self._variable.gather(ids, train=False).numpy()


if __name__ == "__main__":
    serve(TfplusTensorflowTable, hashed)
