"""Where the embeddings of a micro-batch come from, and where their gradients go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_host import TableSpec
from penrose_host.embeddings import Initializer
from penrose_tensorflow.serving.servable import ExportedTable

if TYPE_CHECKING:
    from penrose_host import EmbeddingTable, Int64, StepInfo, TableFactory
    from penrose_tensorflow.options import TensorflowOptions

__all__ = ["RowSource", "TableRows", "table_rows"]


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


def table_rows(tables: TableFactory, options: TensorflowOptions, seed: int, width: int, scale: float) -> TableRows:
    """Rows of the job's table, `width` numbers each; `scale`: the standard deviation of those that were never trained.

    Raises `ConfigError` where the backend cannot have such a table.
    """
    initializer = ("normal", {"stddev": scale}) if scale else ("zeros", {})
    optimizer = (options.optimizer.name, options.optimizer.parameters)
    return TableRows(tables(TableSpec("embeddings", width, optimizer, initializer, seed)))
