"""What layers of Keras assign as they are called, which in a graph of TensorFlow 1 nothing runs by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

__all__ = ["updates_of_layers"]


@contextmanager
def updates_of_layers() -> Iterator[list[Any]]:
    """The assignments that are made within it: moving averages, states of generators; for a step to run them.

    Raises ValueError where a variable is assigned twice: nothing would say in which order.
    """
    graph = tf.compat.v1.get_default_graph()
    assign, found, assigned = keras.Variable.assign, [], set()

    def noted(variable: keras.Variable, value: Any) -> Any:
        before = len(graph.get_operations())
        result = assign(variable, value)
        made = [made for made in graph.get_operations()[before:] if made.type == "AssignVariableOp"]
        if made and id(variable) in assigned:
            raise ValueError(f"{variable.path} is updated twice: layers with such state may be called once in TRAIN")
        assigned.update([id(variable)] if made else [])
        found.extend(made)
        return result

    keras.Variable.assign = noted
    try:
        yield found
    finally:
        keras.Variable.assign = assign
