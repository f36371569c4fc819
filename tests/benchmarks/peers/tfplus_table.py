"""Penrose's own dynamic table."""

from __future__ import annotations

import numpy as np
import tfplus
from worker import LEARNING_RATE, THREADS, WIDTH, hashed, serve


class TfplusTable:
    """A dynamic table: it starts empty and is told nothing of how many rows will come."""

    def __init__(self, rows: int) -> None:
        self._table = tfplus.Table(
            width=WIDTH,
            optimizer="adagrad",
            learning_rate=LEARNING_RATE,
            initializer="uniform",
            threads=THREADS,
            seed=1,
        )
        self._steps = 0

    def tensor(self, array: np.ndarray) -> np.ndarray:
        """NumPy is its own."""
        return array

    def step(self, ids: np.ndarray, gradients: np.ndarray) -> None:
        """Lookup, then apply."""
        self._table.lookup(ids, train=True)
        self._table.apply(ids, gradients, step=self._steps, time=self._steps)
        self._steps += 1

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """[n, 16]."""
        return self._table.lookup(ids, train=False)


if __name__ == "__main__":
    serve(TfplusTable, hashed)
