"""What a report and an export both say of one instant of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penrose_host.core.progress import NEVER

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Position
    from penrose_host.core.metrics.progressive import ProgressiveMetrics
    from penrose_host.core.progress import Progress

__all__ = ["report_figures"]


def report_figures(
    progress: Progress, metrics: ProgressiveMetrics, bad_rows: int, position: Position
) -> dict[str, Any]:
    """Counters, metrics and position, by the names that `metrics.jsonl` gives them; `event_time` in microseconds.

    `bad_rows`, `position`: those to tell of, which may lie behind those that the run has come to.
    """
    return {
        "rows": progress.rows,
        "trained_rows": progress.trained_rows,
        "bad_rows": bad_rows,
        "skipped_rows": progress.skipped_rows,
        "steps": progress.sequence,
        **metrics.values(),
        "event_time": None if progress.clock == NEVER else progress.clock,
        "position": dict(position.offsets),
    }
