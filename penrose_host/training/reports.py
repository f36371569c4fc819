"""Reports: a line of `metrics.jsonl` every so many rows, told to whoever listens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penrose_host.core.report_figures import report_figures
from penrose_host.monitoring.events import BadRows, Events, Reported

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Position, Reject
    from penrose_host.core.metrics.progressive import ProgressiveMetrics
    from penrose_host.core.trainer import Trainer
    from penrose_host.outputs.lines import LinesFile

__all__ = ["Reports"]


class Reports:
    """Says what a session has come to."""

    def __init__(
        self, trainer: Trainer, metrics: ProgressiveMetrics, lines: LinesFile, events: Events, every: int
    ) -> None:
        """`every`: rows between two reports."""
        self._trainer = trainer
        self._progress = trainer.progress
        self._metrics = metrics
        self._lines = lines
        self._events = events
        self._every = every
        #: What a report says of how far reading is behind; a driver that knows sets it.
        self.lag: Callable[[], Mapping[str, Any] | None] = lambda: None
        #: The last line that was written; before the first what the checkpoint measured.
        self.last: Mapping[str, Any] = {}
        self.next_rows = self._after(self._progress.rows)
        self._reported_bad_rows = self._progress.bad_rows
        self._last_bad: Reject | None = None
        # Rows and clock at the last report, and at the last one that told of fewer rows.
        self._reported = self._before = (self._progress.rows, time.perf_counter())

    def recall(self) -> None:
        """A run that has nothing left to do ends with what its checkpoint measured."""
        self.last = self._figures(self._progress.bad_rows, self._progress.position())

    def write_if_due(self) -> bool:
        """Write a line where so many rows were scored since the last; returns whether."""
        due = self._progress.rows >= self.next_rows
        if due:
            self.write()
            self.next_rows = self._after(self._progress.rows)
        return due

    def write(self, *, final: bool = False) -> Mapping[str, Any]:
        """Write a line and tell whoever listens."""
        progress = self._progress
        bad_rows, position = (progress.bad_rows, progress.position()) if final else progress.reported()
        rate = self._rate(progress.rows, time.perf_counter())
        report: dict[str, Any] = {
            **self._figures(bad_rows, position),
            "rows_per_second": round(rate, 1),
            "lag": self.lag(),
            "time": time.time(),
            "final": final,
        }
        self._reported_bad_rows = progress.bad_rows
        progress.forget_losses()
        self._lines.append(json.dumps(report).encode())
        self.last = report
        self._events.tell(Reported(report))
        return report

    def note_bad_rows(self, rejects: tuple[Reject, ...]) -> None:
        """Tell of a flood of bad rows while it lasts; reports come by rows scored.

        How many bad rows have arrived before the next row is scored is chance, so that no line of `metrics.jsonl`,
        which is the same whenever the same rows are read, can tell of it.
        """
        self._last_bad = max(rejects, key=lambda reject: reject.offset, default=self._last_bad)
        if self._last_bad is not None and self._progress.bad_rows - self._reported_bad_rows >= self._every:
            self._reported_bad_rows = self._progress.bad_rows
            self._events.tell(BadRows(self._progress.rows, self._progress.bad_rows, self._last_bad))

    def _figures(self, bad_rows: int, position: Position) -> dict[str, Any]:
        """What a report says of this instant, but for what belongs to the clock."""
        return {
            **report_figures(self._progress, self._metrics, bad_rows, position),
            "waiting_rows": len(self._trainer.waiting),
            "loss": self._progress.mean_loss(),
        }

    def _rate(self, rows: int, now: float) -> float:
        """Rows a second since the report before. One that tells of no more rows belongs to the same stretch:
        a last report right behind another must not say that the run stood still."""
        if rows > self._reported[0]:
            self._before = self._reported
        self._reported = (rows, now)
        return (rows - self._before[0]) / max(now - self._before[1], 1e-9)

    def _after(self, rows: int) -> int:
        return (rows // self._every + 1) * self._every
