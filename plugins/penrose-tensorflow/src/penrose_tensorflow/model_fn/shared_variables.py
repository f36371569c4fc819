"""Variables that several graphs share by name, as Estimators did: each mode is a graph of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

__all__ = ["SharedVariables"]


class SharedVariables:
    """Creates each variable once, in the first graph that asks for it: `get_variable`, slots, layers, `tf.Variable`."""

    def __init__(self) -> None:
        #: Name → variable, in the order they were made in. A name that a graph uses twice gets a number.
        self.variables: dict[str, tf.Variable] = {}

    @contextmanager
    def graph(self) -> Iterator[None]:
        """For one graph. Raises ValueError where it asks for a variable of another shape or type than there is."""
        asked: Counter[str] = Counter()

        def create(next_creator: Callable[..., tf.Variable], **given: Any) -> tf.Variable:
            scope = tf.compat.v1.get_default_graph().get_name_scope()
            name = "/".join(filter(None, [scope, (given.get("name") or "Variable").rstrip("/")]))
            asked[name] += 1
            if asked[name] > 1:
                # TensorFlow, which keeps them by name too, takes no colon, and may have the name with a number already.
                given["name"] = f"{given.get('name') or 'Variable'}_again_{asked[name]}".replace("/_again", "_again")
                name = f"{name}:{asked[name]}"
            found = self.variables.get(name)
            if found is None:
                initial = given.get("initial_value")
                if isinstance(initial, tf.Tensor) and not hasattr(initial, "numpy"):
                    given["initial_value"] = _lifted(name, initial)
                found = self.variables[name] = next_creator(**given)
            else:
                _check(name, found, given)
            return found

        with tf.variable_creator_scope(create):
            yield


def _lifted(name: str, initial: tf.Tensor) -> tf.Tensor:
    """The value of a tensor of a graph that is under construction: `tf.Variable(tf.zeros(...))`, as in TensorFlow 1."""
    definition = tf.compat.v1.graph_util.extract_sub_graph(initial.graph.as_graph_def(), [initial.op.name])
    if any(node.op == "Placeholder" for node in definition.node):
        raise ValueError(
            f"the variable {name} has an initial value that comes from a batch or from other variables: make it with "
            "tf.compat.v1.get_variable and an initializer"
        )

    def value() -> tf.Tensor:
        (found,) = tf.graph_util.import_graph_def(definition, return_elements=[initial.name], name="")
        return found

    with tf.init_scope():
        return tf.compat.v1.wrap_function(value, [])()


def _check(name: str, found: tf.Variable, given: dict[str, Any]) -> None:
    shape, dtype = given.get("shape"), given.get("dtype")
    if shape is not None and not found.shape.is_compatible_with(shape):
        raise ValueError(f"the variable {name} is {found.shape}, and is asked for as {tf.TensorShape(shape)}")
    if dtype is not None and found.dtype != tf.as_dtype(dtype):
        raise ValueError(f"the variable {name} is {found.dtype.name}, and is asked for as {tf.as_dtype(dtype).name}")
