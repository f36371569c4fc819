"""A function over tensors, compiled once, called with as little as possible in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from penrose_tensorflow.failures import failed

__all__ = ["Compiled"]

_INLINE = "SINGLE_THREADED_EXECUTOR"


class Compiled:
    """A function of flat tensors that gives a flat tuple of them; `name` is the model's, for errors.

    It calls the traced graph as an operation. A `tf.function` would compare each call with its signature, which for a
    few rows takes longer than the step; here `specs` are what every caller keeps to.

    `inline` runs the operations one by one in the thread that calls: to wake another thread takes longer than they do.
    It has to be known as branches are traced, which otherwise become operations that only the other way can run.
    """

    def __init__(
        self, name: str, function: Callable[..., tuple[tf.Tensor, ...]], *specs: tf.TensorSpec, inline: bool
    ) -> None:
        self._name = name
        self._executor = _INLINE if inline else ""
        with context.function_executor_type(self._executor):
            self.traced = tf.function(function, autograph=False).get_concrete_function(*specs)
        self._captured: list[Any] = list(self.traced.captured_inputs)
        self._types = [output.dtype for output in self.traced.outputs]

    def __call__(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """Raises `TrainingError` where an operation fails."""
        try:
            found: list[tf.Tensor] = tf.raw_ops.StatefulPartitionedCall(
                args=[*tensors, *self._captured], Tout=self._types, f=self.traced, executor_type=self._executor
            )
        except tf.errors.OpError as error:
            raise failed(self._name, error) from error
        return found
