"""Penrose's own dynamic table."""

from __future__ import annotations

import numpy as np
from worker import LEARNING_RATE, THREADS, WIDTH, hashed, serve

import penrose_tfplus


class TfplusTable:
    """A dynamic table: it starts empty and is told nothing of how many rows will come."""

    def __init__(self, rows: int) -> None:
        self._table = penrose_tfplus.Table(
            WIDTH,
            optimizer="adagrad",
            optimizer_parameters={"learning_rate": LEARNING_RATE},
            initializer="uniform",
            seed=1,
            threads=THREADS,
        )
        self._steps = 0

    def tensor(self, array: np.ndarray) -> np.ndarray:
        """NumPy is its own."""
        return array

    def step(self, ids: np.ndarray, gradients: np.ndarray) -> None:
        """Lookup, then apply."""
        self._table.lookup(ids, train=True)
        self._table.apply(ids, gradients, time=self._steps * 1_000_000)
        self._steps += 1

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """[n, 16]."""
        return self._table.lookup(ids, train=False)


if __name__ == "__main__":
    serve(TfplusTable, hashed)
