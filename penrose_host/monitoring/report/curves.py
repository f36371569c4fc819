"""Curves with few points that look like those with many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float64, Int64

__all__ = ["BUCKETS", "bounds", "segments", "steps"]

#: A curve is looked at in so many pieces; each keeps its first, last, lowest and highest point.
BUCKETS = 300


def segments(y: Float64) -> list[Int64]:
    """The indices of the points to draw, as lines without a gap: at most four a bucket.

    A gap is where a point is NaN, and of many points where a whole bucket is.
    """
    edges = _edges(len(y))
    lines: list[list[int]] = [[]]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        finite = start + np.flatnonzero(np.isfinite(y[start:stop]))
        if len(finite) == 0:
            if lines[-1]:
                lines.append([])
            continue
        values = y[finite]
        kept = {0, len(finite) - 1, int(values.argmin()), int(values.argmax())}
        lines[-1] += finite[sorted(kept)].tolist()
    return [np.array(line) for line in lines if line]


def steps(count: int) -> Int64:
    """The last index of each bucket: where values are told."""
    return _edges(count)[1:] - 1


def bounds(y: Float64) -> tuple[float, float]:
    """The lowest and the highest value to draw: all, but for a few that would press the others flat."""
    y = y[np.isfinite(y)]
    low, high = float(y.min()), float(y.max())
    if len(y) >= 50:
        first, last = np.quantile(y, [0.02, 0.98]).tolist()
        room = (last - first) * 0.75
        if room > 0:
            low, high = max(low, first - room), min(high, last + room)
    return low, high


def _edges(count: int) -> Int64:
    return np.linspace(0, count, min(count, BUCKETS) + 1).astype(np.int64)
