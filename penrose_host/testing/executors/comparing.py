"""Compares what executors gave and saved, and says in words where two differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["apart", "copied", "difference"]


def copied(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The same scores in arrays of their own."""
    return {head: score.copy() for head, score in scores.items()}


def apart(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float) -> str | None:
    """Where two scorings of the same rows differ by more than the tolerance, in words."""
    for head in sorted(one.keys() & other.keys()):
        far = np.flatnonzero(~(np.abs(one[head] - other[head]) <= tolerance))
        if len(far):
            return f"row {far[0]} got {head!r} {other[head][far[0]]} instead of {one[head][far[0]]}"
    return None


def difference(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> str | None:
    """The first file that differs, and where, in words."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            return f"{name} is there only once"
        if one[name] != other[name]:
            pairs = zip(one[name], other[name], strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one[name]), len(other[name])))
            return f"{name} ({len(one[name])} and {len(other[name])} bytes) differs from byte {at} on"
    return None
