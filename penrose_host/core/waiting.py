"""Rows that were scored and wait for their label to be known."""

from __future__ import annotations

import numpy as np

from penrose_host.core.rows import Rows
from penrose_host.errors import TrainingError

__all__ = ["WaitingRows"]

#: Sorted runs are merged when there are more than this many, so that releasing stays cheap.
MAX_RUNS = 32


class WaitingRows:
    """A pool from which rows leave in order of `known_at`; adding and leaving cost no more than a sort of what moves.

    Runs are immutable and sorted: freezing the pool for a checkpoint copies nothing.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._runs: list[Rows] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, rows: Rows) -> None:
        """Let rows wait. Raises TrainingError where more would wait than the job allows."""
        if len(rows) == 0:
            return
        if len(self) + len(rows) > self._max_rows:
            raise TrainingError(
                f"{len(self) + len(rows)} rows wait for their label, more than `waiting.max_rows: {self._max_rows}`",
                hint="labels come later than expected, or a silent partition holds the watermark back: "
                "raise waiting.max_rows (-o waiting.max_rows=…), or set `idle`",
            )
        self._runs.append(rows.take(np.argsort(rows.known_at, kind="stable")))
        if len(self._runs) > MAX_RUNS:
            everything = Rows.concat(self._runs)
            self._runs = [everything.take(np.argsort(everything.known_at, kind="stable"))]

    def release(self, watermark: int) -> Rows | None:
        """Take out every row whose label is known at `watermark`, in no particular order; None where there are none."""
        out, left = [], []
        for run in self._runs:
            count = int(np.searchsorted(run.known_at, watermark, side="right"))
            if count:
                out.append(run.take(slice(0, count)))
            if count < len(run):
                left.append(run.take(slice(count, len(run))))
        self._runs = left
        return Rows.concat(out) if out else None

    def earliest(self, count: int) -> int | None:
        """The `known_at` by which at least `count` rows (or all there are) can be released; None where none wait."""
        if not self._runs:
            return None
        known = np.concatenate([run.known_at[:count] for run in self._runs])
        place = min(count, len(known)) - 1
        return int(np.partition(known, place)[place])

    def freeze(self) -> tuple[Rows, ...]:
        """The pool of this instant; later changes do not touch it."""
        return tuple(self._runs)
