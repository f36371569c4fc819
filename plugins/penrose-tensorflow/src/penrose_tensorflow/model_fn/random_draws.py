"""Random operations whose state is a variable: stateless ones, whose seed is their own and the number of steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from penrose_tensorflow.random_operations import STATELESS, reached

__all__ = ["with_counted_draws"]


def with_counted_draws(function: Any, steps: tf.Variable) -> Any:
    """The same function, its draws decided by the value of `steps`, an int64, when it is called."""
    graph = function.graph.as_graph_def()
    seeds = {}
    for node in reached(graph, function):
        if node.op in STATELESS:
            name = f"draws_{len(seeds)}"
            seeds[name] = ((node.attr["seed"].i & 0x7FFFFFFF) << 32) | (node.attr["seed2"].i & 0xFFFFFFFF)
            _replace(node, name)
    for name in seeds:
        placeholder = graph.node.add(name=name, op="Placeholder")
        placeholder.attr["dtype"].type = tf.int64.as_datatype_enum
        placeholder.attr["shape"].shape.dim.add(size=2)
    outputs = [output.name for output in function.outputs]
    taken = len(function.inputs) - len(function.graph.captures)
    names = [tensor.name for tensor in function.inputs[:taken]]

    def imported(*tensors: tf.Tensor) -> list[tf.Tensor]:
        given = {f"{name}:0": tf.stack([tf.constant(seed, tf.int64), steps]) for name, seed in seeds.items()}
        here = tf.compat.v1.get_default_graph()
        given |= {inner.name: here.capture(outer) for outer, inner in function.graph.captures}
        given |= dict(zip(names, tensors, strict=True))
        found: list[tf.Tensor] = tf.graph_util.import_graph_def(graph, given, outputs, name="")
        return found

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in function.inputs[:taken]]
    return tf.compat.v1.wrap_function(imported, specs)


def _replace(node: Any, seed: str) -> None:
    inputs = list(node.input)
    inputs.insert(2 if node.op == "Multinomial" else 1, seed)
    del node.input[:]
    node.input.extend(inputs)
    if node.op == "RandomUniformInt":
        # What it was called is what it draws; the shape's type is `T` in both.
        node.attr["dtype"].CopyFrom(node.attr["Tout"])
        del node.attr["Tout"]
    node.op = STATELESS[node.op]
    node.attr["Tseed"].type = tf.int64.as_datatype_enum
    for name in ("seed", "seed2"):
        if name in node.attr:
            del node.attr[name]
