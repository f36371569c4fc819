"""River's Hoeffding tree, made to grow alike after a checkpoint.

River keeps the values of a nominal feature in a set and takes the first of equally good splits. The order of a set
depends on its history, which no checkpoint holds; here values stay in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from river.tree import HoeffdingTreeClassifier
from river.tree.nodes.htc_nodes import LeafMajorityClass, LeafNaiveBayes, LeafNaiveBayesAdaptive
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

__all__ = ["HoeffdingTree"]


class Values:
    """A set of ids that remembers the order in which they were added."""

    def __init__(self) -> None:
        self._order: dict[Any, int] = {}

    def add(self, value: Any) -> None:
        self._order.setdefault(value, 0)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


class NominalSplitter(NominalSplitterClassif):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._att_values: Any = Values()


class _Leaf:
    @staticmethod
    def new_nominal_splitter() -> NominalSplitter:
        return NominalSplitter()


class MajorityLeaf(_Leaf, LeafMajorityClass):
    pass


class BayesLeaf(_Leaf, LeafNaiveBayes):
    pass


class AdaptiveLeaf(_Leaf, LeafNaiveBayesAdaptive):
    pass


_LEAVES = {"mc": MajorityLeaf, "nb": BayesLeaf, "nba": AdaptiveLeaf}


class HoeffdingTree(HoeffdingTreeClassifier):
    """`HoeffdingTreeClassifier` with leaves that keep the order of nominal values."""

    def _new_leaf(self, initial_stats: Any = None, parent: Any = None) -> Any:
        depth = 0 if parent is None else parent.depth + 1
        kind: Any = _LEAVES[self._leaf_prediction]
        return kind(initial_stats or {}, depth, self.splitter)
