"""The names of a signature's inputs and outputs, which cannot be any feature's: letters, digits and `_` only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from penrose_host import FeatureSpec

__all__ = ["Signature"]

_LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Signature:
    """Which input each feature has: `numeric` name → input, `lists` name → (values, lengths); `heads` name → output.

    An input is named after its feature where that is possible (`numeric_price`), and otherwise by its place
    (`numeric_0`), which no feature is: such names begin with a letter.
    """

    numeric: Mapping[str, str]
    lists: Mapping[str, tuple[str, str]]
    heads: Mapping[str, str]

    @classmethod
    def of(cls, features: FeatureSpec) -> Signature:
        lists = _named("list", [feature.name for feature in features.lists])
        return cls(
            _named("numeric", features.numeric),
            {name: (f"{given}_values", f"{given}_lengths") for name, given in lists.items()},
            _named("score", features.labels),
        )

    def specs(self, categorical: int) -> dict[str, tf.TensorSpec]:
        """The inputs by name: `ids` int64 [rows, categorical]; the others one number or list a row."""
        shapes: dict[str, tuple[list[int | None], Any]] = {"ids": ([None, categorical], tf.int64)}
        shapes |= {given: ([None], tf.float32) for given in self.numeric.values()}
        shapes |= {given: ([None], tf.int64) for pair in self.lists.values() for given in pair}
        return {name: tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in shapes.items()}

    def to_json(self) -> dict[str, Any]:
        """For `features.json`."""
        return {
            "ids": "ids",
            "numeric": dict(self.numeric),
            "lists": {name: {"values": values, "lengths": lengths} for name, (values, lengths) in self.lists.items()},
            "scores": dict(self.heads),
        }


def _named(kind: str, names: Sequence[str]) -> dict[str, str]:
    # TensorFlow takes no two names that differ in their case only.
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        taken = {other.lower() for other in found.values()}
        given = f"{kind}_{name}"
        found[name] = given if _LEGAL.fullmatch(name) and given.lower() not in taken else f"{kind}_{place}"
    return found
