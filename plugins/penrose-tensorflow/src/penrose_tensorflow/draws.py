"""Random operations whose state is a variable.

TensorFlow's stateful ones (`tf.random.uniform`, `tf.nn.dropout`, …) keep theirs where no checkpoint reaches it. In a
graph that was traced they are replaced by stateless ones, whose seed is their own and the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

__all__ = ["kinds", "random_operations", "stateful_draws", "with_counted_draws"]

_STATELESS = {
    "RandomUniform": "StatelessRandomUniform",
    "RandomStandardNormal": "StatelessRandomNormal",
    "TruncatedNormal": "StatelessTruncatedNormal",
    "RandomUniformInt": "StatelessRandomUniformInt",
    "Multinomial": "StatelessMultinomial",
}
_OTHERS = (
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "FixedUnigramCandidateSampler",
    "LearnedUnigramCandidateSampler",
    "LogUniformCandidateSampler",
    "ThreadUnsafeUnigramCandidateSampler",
    "UniformCandidateSampler",
)


def random_operations(function: Any) -> tuple[set[str], set[str]]:
    """Kinds of the random operations that a traced function runs: those that can be replaced, and the others."""
    graph = function.graph.as_graph_def()
    mine = {node.op for node in _reached(graph, function)}
    inner = {node.op for inner in graph.library.function for node in inner.node_def}
    return mine & _STATELESS.keys(), (mine & set(_OTHERS)) | (inner & {*_STATELESS, *_OTHERS})


def stateful_draws(graph: Any) -> set[str]:
    """Kinds of the random operations of a graph, which may still be under construction."""
    return kinds(graph) & {*_STATELESS, *_OTHERS}


def kinds(graph: Any) -> set[str]:
    """Kinds of all operations of a graph, in branches and functions too."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    return {node.op for node in nodes}


def with_counted_draws(function: Any, steps: tf.Variable) -> Any:
    """The same function, its draws decided by the value of `steps`, an int64, when it is called."""
    graph = function.graph.as_graph_def()
    seeds = {}
    for node in _reached(graph, function):
        if node.op in _STATELESS:
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


def _reached(graph: Any, function: Any) -> Iterator[Any]:
    """The nodes that the outputs need."""
    nodes = {node.name: node for node in graph.node}
    todo, seen = [output.op.name for output in function.outputs], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [given.removeprefix("^").partition(":")[0] for given in nodes[name].input]
    return (node for node in graph.node if node.name in seen)


def _replace(node: Any, seed: str) -> None:
    inputs = list(node.input)
    inputs.insert(2 if node.op == "Multinomial" else 1, seed)
    del node.input[:]
    node.input.extend(inputs)
    if node.op == "RandomUniformInt":
        # What it was called is what it draws; the shape's type is `T` in both.
        node.attr["dtype"].CopyFrom(node.attr["Tout"])
        del node.attr["Tout"]
    node.op = _STATELESS[node.op]
    node.attr["Tseed"].type = tf.int64.as_datatype_enum
    for name in ("seed", "seed2"):
        if name in node.attr:
            del node.attr[name]
