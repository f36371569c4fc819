"""First values of embedding rows: a function of (seed, key, column) only, so that no row need be remembered.

Every number comes from its own counter. With arithmetic modulo 2**64 and `mix` the SplitMix64 finaliser::

    row    = mix(key + mix(seed))
    number = mix(row + (column + 1) * 0x9E3779B97F4A7C15)

* zeros; constant: `value`
* uniform: `low` + (`high` - `low`) * (number >> 11) / 2**53
* normal: `mean` + `stddev` * sqrt(-2 ln u) * cos(2 pi v), where u = ((number >> 32) + 0.5) / 2**32 and
  v = (number & 0xFFFFFFFF) / 2**32

worked out in float64 and rounded to float32 once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penrose_host.embeddings.parameters import checked, known

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32, Int64
    from penrose_host.contracts.embedding import TableSpec

    UInt64 = npt.NDArray[np.uint64]

__all__ = ["Initializer"]

_GOLDEN = 0x9E3779B97F4A7C15
_PARAMETERS: Mapping[str, Mapping[str, float]] = {
    "zeros": {},
    "constant": {"value": 0.0},
    "uniform": {"low": -0.05, "high": 0.05},
    "normal": {"mean": 0.0, "stddev": 0.01},
}


@dataclass(frozen=True, slots=True)
class Initializer:
    """First values of the rows of one table; `parameters` are complete, defaults filled in."""

    name: str
    parameters: Mapping[str, float]
    seed: int
    width: int

    @classmethod
    def of(cls, spec: TableSpec) -> Initializer:
        """The initializer of a table. Raises `ConfigError` for a name or parameter that does not exist."""
        name, given = spec.initializer
        place = f"table {spec.name!r}: initializer"
        parameters = checked(place, name, known(place, name, _PARAMETERS), given)
        return cls(name, parameters, spec.seed, spec.width)

    def rows(self, keys: Int64) -> Float32:
        """First values of `keys`: int64 [n] → float32 [n, width]."""
        shape = (len(keys), self.width)
        if self.name == "zeros":
            return np.zeros(shape, dtype=np.float32)
        if self.name == "constant":
            return np.full(shape, self.parameters["value"], dtype=np.float32)
        numbers = self._numbers(keys)
        if self.name == "uniform":
            low, high = self.parameters["low"], self.parameters["high"]
            exact: npt.NDArray[np.floating[Any]] = low + (high - low) * ((numbers >> np.uint64(11)) * 2.0**-53)
        else:
            mean, stddev = self.parameters["mean"], self.parameters["stddev"]
            radius = np.sqrt(-2.0 * np.log(((numbers >> np.uint64(32)) + 0.5) * 2.0**-32))
            angle = (2.0 * math.pi) * ((numbers & np.uint64(0xFFFFFFFF)) * 2.0**-32)
            exact = mean + stddev * (radius * np.cos(angle))
        return exact.astype(np.float32)

    def _numbers(self, keys: Int64) -> UInt64:
        start = _mix(np.array([self.seed % 2**64], dtype=np.uint64))
        row = _mix(keys.view(np.uint64) + start)
        column = np.arange(1, self.width + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        return _mix(row[:, None] + column)


def _mix(value: UInt64) -> UInt64:
    """The SplitMix64 finaliser."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
