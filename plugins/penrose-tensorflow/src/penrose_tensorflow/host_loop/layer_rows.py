"""Embeddings in one variable of TensorFlow's: what a job has with `embedding: none`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_host.embeddings import buckets
from penrose_tensorflow.embedding_rows import RowSource
from penrose_tensorflow.serving.servable import ExportedLayer

if TYPE_CHECKING:
    from penrose_host import Int64
    from penrose_tensorflow.host_loop.sparse_optimizers import SparseOptimizer

__all__ = ["LayerRows"]


class LayerRows(RowSource):
    """One variable of a fixed number of rows that keys are hashed into."""

    def __init__(self, weight: tf.Variable, optimizer: SparseOptimizer) -> None:
        self.weight = weight
        self.optimizer = optimizer
        self.spec = tf.TensorSpec([None], tf.int64)

    def feed(self, keys: Int64, *, train: bool) -> np.ndarray[Any, Any]:  # noqa: ARG002 - all rows are there
        return buckets(keys, self.weight.shape[0])

    def embedded(self, fed: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.weight, fed)

    def update(self, fed: tf.Tensor, gradient: tf.Tensor) -> None:
        # Repeated rows are summed first: each is updated once.
        rows, place = tf.unique(fed, out_idx=tf.int64)
        self.optimizer.apply(rows, tf.math.unsorted_segment_sum(gradient, place, tf.shape(rows, tf.int64)[0]))

    def exported(self) -> tf.Module:
        return ExportedLayer(self.weight)

    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        return {"layer": {"weight": self.weight}, "layer_optimizer": self.optimizer.variables}

    def identity(self) -> Mapping[str, str]:
        return {"layer_optimizer": self.optimizer.name}
