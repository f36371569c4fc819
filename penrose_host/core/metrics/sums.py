"""What the metrics of any number of rows follow from: five sums and two histograms of the scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32, Float64, Int32

__all__ = ["BINS", "Sums"]

#: Scores are taken as at least this, and at most 1 minus this, in the log loss.
CLIP = 1e-7

# The grid of the histograms: 512 bins for each factor of two of min(score, 1 - score), from 0.5 down to 2**-24.
# It is made of the leading bits of the float32 itself, so that it is the same on every machine.
_DROPPED = 23 - 9
_LOWEST = np.float32(2.0**-24)
_FIRST = int(_LOWEST.view(np.int32)) >> _DROPPED
_SIDE = (int(np.float32(0.5).view(np.int32)) >> _DROPPED) - _FIRST + 1
BINS = 2 * _SIDE

_ROWS, _POSITIVES, _SCORES, _LOSSES, _NON_FINITE = range(5)


@dataclass(slots=True)
class Sums:
    """Sums over the labelled rows of one head; 370 KiB whatever their number.

    `totals`: float64 [5]: rows, labels, scores, log losses, and the rows left out because their score is not finite.
    `histograms`: float64 [2, BINS]: of the scores, weighted with 1 - label and with the label.
    """

    totals: Float64 = field(default_factory=lambda: np.zeros(5))
    histograms: Float64 = field(default_factory=lambda: np.zeros((2, BINS)))

    def measure(self, labels: Float32, scores: Float32) -> None:
        """Add rows: float32 [rows] both; a NaN label is left out. The sums depend on how rows are cut into calls."""
        chosen = ~np.isnan(labels)
        finite = np.isfinite(scores)
        if not finite.all():
            self.totals[_NON_FINITE] += np.count_nonzero(chosen & ~finite)
            chosen &= finite
        if not chosen.all():
            labels, scores = labels[chosen], scores[chosen]
        bins = _bins(scores)
        positive = labels.astype(np.float64)
        clipped = np.clip(scores.astype(np.float64), CLIP, 1 - CLIP)
        losses = -(positive * np.log(clipped) + (1 - positive) * np.log1p(-clipped))
        self.totals[:_NON_FINITE] += (len(labels), positive.sum(), scores.sum(dtype=np.float64), losses.sum())
        np.add.at(self.histograms[0], bins, 1 - positive)
        np.add.at(self.histograms[1], bins, positive)

    def add(self, other: Sums) -> None:
        """Add the rows of other sums."""
        self.totals += other.totals
        self.histograms += other.histograms

    def copy(self) -> Sums:
        """The same sums, apart."""
        return Sums(self.totals.copy(), self.histograms.copy())

    def values(self) -> dict[str, Any]:
        """The metrics, as JSON knows them; None where they are undefined."""
        rows, positives, scores, losses, non_finite = self.totals.tolist()
        return {
            "auc": self._auc(),
            "log_loss": losses / rows if rows else None,
            "calibration": scores / positives if positives else None,
            "labelled_rows": int(rows),
            "positives": int(positives) if positives.is_integer() else positives,
            "non_finite_scores": int(non_finite),
        }

    def _auc(self) -> float | None:
        """Of a positive and a negative row, how often the positive one has the higher score; ties count half."""
        negative, positive = self.histograms
        pairs = negative.sum() * positive.sum()
        if not pairs:
            return None
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / pairs)


def _bins(scores: Float32) -> Int32:
    near = np.minimum(scores, np.float32(1) - scores)
    side = (np.clip(near, _LOWEST, np.float32(0.5)).view(np.int32) >> _DROPPED) - _FIRST
    bins: Int32 = np.where(scores > 0.5, BINS - 1 - side, side)
    return bins
