"""The operations of a graph, and which of them draw random numbers.

TensorFlow's stateful ones (`tf.random.uniform`, `tf.nn.dropout`, …) keep their state where no checkpoint reaches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["STATELESS", "kinds", "random_operations", "reached", "stateful_draws"]

#: Kind → the stateless one that draws the same from a seed.
STATELESS = {
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
    mine = {node.op for node in reached(graph, function)}
    inner = {node.op for inner in graph.library.function for node in inner.node_def}
    return mine & STATELESS.keys(), (mine & set(_OTHERS)) | (inner & {*STATELESS, *_OTHERS})


def stateful_draws(graph: Any) -> set[str]:
    """Kinds of the random operations of a graph, which may still be under construction."""
    return kinds(graph) & {*STATELESS, *_OTHERS}


def kinds(graph: Any) -> set[str]:
    """Kinds of all operations of a graph, in branches and functions too."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    return {node.op for node in nodes}


def reached(graph: Any, function: Any) -> Iterator[Any]:
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
