"""The loss that a step reports, for executors whose library does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32

__all__ = ["log_loss"]

#: A model may be certain, and wrong: its loss counts as if it were a little less so.
CERTAIN = 1e-7


def log_loss(labels: Float32, scores: Float32) -> float:
    """The mean log loss of the rows that have a label, worked out in float64; 0 where none has.

    labels: float32 [rows], 0 to 1, NaN where unknown; scores: probabilities, float32 [rows].
    """
    import numpy as np

    known = ~np.isnan(labels)
    if not known.any():
        return 0.0
    label, score = labels[known].astype(np.float64), scores[known].astype(np.float64)
    right, wrong = np.log(np.clip(score, CERTAIN, 1)), np.log(np.clip(1 - score, CERTAIN, 1))
    return float(-(label * right + (1 - label) * wrong).mean())
