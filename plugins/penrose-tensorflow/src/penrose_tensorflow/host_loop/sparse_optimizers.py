"""Optimizers that touch only the rows which have a gradient, by the formulas of PyTorch's for sparse gradients.

Keras's own decay the state of every row in every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from penrose_host.embeddings import checked, known
from penrose_host.executors import OptimizerOptions

__all__ = ["SparseOptimizer", "sparse_optimizer"]

_PLACE = "executor.optimizer"


class SparseOptimizer(ABC):
    """Updates rows of `weight`, float32 [rows, width]; `given` are its parameters, complete."""

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, float]]

    def __init__(self, weight: tf.Variable, given: Mapping[str, float]) -> None:
        self.weight = weight
        self.given = given
        self.variables: dict[str, tf.Variable] = {}

    @abstractmethod
    def apply(self, rows: tf.Tensor, gradient: tf.Tensor) -> None:
        """In the graph: one step for `rows`, int64 [n], all different, with `gradient`, float32 [n, width]."""

    def _state(self, name: str, value: float = 0.0) -> tf.Variable:
        self.variables[name] = tf.Variable(tf.fill(self.weight.shape, value), name=name)
        return self.variables[name]


class _SGD(SparseOptimizer):
    name = "sgd"
    defaults: ClassVar[Mapping[str, float]] = {"learning_rate": 0.01}

    def apply(self, rows: tf.Tensor, gradient: tf.Tensor) -> None:
        _add(self.weight, rows, -self.given["learning_rate"] * gradient)


class _Adagrad(SparseOptimizer):
    name = "adagrad"
    defaults: ClassVar[Mapping[str, float]] = {"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10}

    def __init__(self, weight: tf.Variable, given: Mapping[str, float]) -> None:
        super().__init__(weight, given)
        self._sum = self._state("sum", given["initial_accumulator"])

    def apply(self, rows: tf.Tensor, gradient: tf.Tensor) -> None:
        squares = tf.gather(self._sum, rows) + tf.square(gradient)
        _set(self._sum, rows, squares)
        step = gradient / (tf.sqrt(squares) + self.given["epsilon"])
        _add(self.weight, rows, -self.given["learning_rate"] * step)


class _Adam(SparseOptimizer):
    name = "adam"
    defaults: ClassVar[Mapping[str, float]] = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

    def __init__(self, weight: tf.Variable, given: Mapping[str, float]) -> None:
        super().__init__(weight, given)
        self._first, self._second = self._state("first"), self._state("second")
        self._step = self.variables["step"] = tf.Variable(tf.zeros([], tf.int64), name="step")

    def apply(self, rows: tf.Tensor, gradient: tf.Tensor) -> None:
        beta1, beta2 = self.given["beta1"], self.given["beta2"]
        step = tf.cast(self._step.assign_add(1), tf.float64)
        first, second = tf.gather(self._first, rows), tf.gather(self._second, rows)
        first = first + (1 - beta1) * (gradient - first)
        second = second + (1 - beta2) * (tf.square(gradient) - second)
        _set(self._first, rows, first)
        _set(self._second, rows, second)
        rate = self.given["learning_rate"] * tf.sqrt(1 - tf.pow(tf.constant(beta2, tf.float64), step))
        rate = tf.cast(rate / (1 - tf.pow(tf.constant(beta1, tf.float64), step)), tf.float32)
        _add(self.weight, rows, -rate * first / (tf.sqrt(second) + self.given["epsilon"]))


def _add(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    variable.scatter_add(tf.IndexedSlices(values, rows))


def _set(variable: tf.Variable, rows: tf.Tensor, values: tf.Tensor) -> None:
    variable.scatter_update(tf.IndexedSlices(values, rows))


_SPARSE: Mapping[str, type[SparseOptimizer]] = {kind.name: kind for kind in (_SGD, _Adagrad, _Adam)}


def sparse_optimizer(options: OptimizerOptions, weight: tf.Variable) -> SparseOptimizer:
    """The optimizer of an embedding variable. Raises `ConfigError`."""
    kind = known(_PLACE, options.name, _SPARSE)
    return kind(weight, checked(_PLACE, options.name, kind.defaults, options.parameters))
