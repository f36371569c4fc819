"""Where the embeddings of a micro-batch come from, and where their gradients go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_host.embeddings import Initializer, buckets
from penrose_tensorflow.servable import ExportedLayer, ExportedTable

if TYPE_CHECKING:
    from penrose_host import EmbeddingTable, Int64, StepInfo
    from penrose_tensorflow.sparse import SparseOptimizer

__all__ = ["LayerRows", "RowSource", "TableRows"]


class RowSource(ABC):
    """Embeddings by key: `feed` in NumPy, then `embedded` inside the step; the gradient goes one way or the other."""

    #: What `feed` gives.
    spec: tf.TensorSpec

    @abstractmethod
    def feed(self, keys: Int64, *, train: bool) -> np.ndarray[Any, Any]:
        """What the step takes for keys int64 [n]."""

    @abstractmethod
    def embedded(self, fed: tf.Tensor) -> tf.Tensor:
        """In the graph: embeddings float32 [n, width]."""

    def update(self, fed: tf.Tensor, gradient: tf.Tensor) -> None:  # noqa: B027 - optional
        """In the graph: apply the gradient, float32 [n, width]."""

    def apply(self, keys: Int64, gradient: tf.Tensor, step: StepInfo) -> None:  # noqa: B027 - optional
        """After the step: apply the gradient."""

    @abstractmethod
    def exported(self) -> tf.Module:
        """What an export has in its place: int64 [n] → float32 [n, width]."""

    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        """What of it is dense state of the executor."""
        return {}

    def identity(self) -> Mapping[str, str]:
        """Names of its optimizers in `parts`."""
        return {}


class TableRows(RowSource):
    """Rows of an embedding table, which has its own optimizer. They come and go through main memory."""

    def __init__(self, table: EmbeddingTable) -> None:
        self.table = table
        self.spec = tf.TensorSpec([None, table.spec.width], tf.float32)

    def feed(self, keys: Int64, *, train: bool) -> np.ndarray[Any, Any]:
        return self.table.lookup(keys, train=train)

    def embedded(self, fed: tf.Tensor) -> tf.Tensor:
        return fed

    def apply(self, keys: Int64, gradient: tf.Tensor, step: StepInfo) -> None:
        self.table.apply(keys, gradient.numpy(), step)

    def exported(self) -> tf.Module:
        spec = self.table.spec
        initializer = Initializer.of(spec if self.table.first_values else replace(spec, initializer=("zeros", {})))
        keys, values = [], []
        for batch in self.table.export_rows():
            keys.append(batch["key"].to_numpy())
            values.append(batch["row"].flatten().to_numpy().reshape(-1, spec.width))
        if not keys:
            # Nothing was trained yet. One row that is not, as it would be, spares the graph that case.
            keys.append(np.zeros(1, np.int64))
            values.append(initializer.rows(keys[0]))
        return ExportedTable(np.concatenate(keys), np.concatenate(values), self.table.hash_rows, initializer)


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
