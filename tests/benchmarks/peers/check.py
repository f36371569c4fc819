"""Whether a contender really does Adagrad on every id: numbers of one that skips work are worth nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .contender import Contender
from .worker import LEARNING_RATE

#: float32 sums of up to 20,000 gradients in any order, and small differences in where epsilon goes.
TOLERANCE = 2e-4


def check(contender: Contender, folder: Path) -> None:
    """Run two steps of the Zipf stream and compare some rows with NumPy; ends the program where they differ."""
    batches = np.load(folder / "zipf.ids.npy", mmap_mode="r")[:2]
    gradients = np.load(folder / "gradients.npy", mmap_mode="r")[:2]
    ids = np.unique(batches[0][:64])
    steps = zip(batches, gradients, strict=True)
    sums = np.array([[gradient[batch == i].sum(axis=0, dtype=np.float64) for i in ids] for batch, gradient in steps])
    accumulated = np.cumsum(sums**2, axis=0)
    moves = np.divide(sums, np.sqrt(accumulated), out=np.zeros_like(sums), where=accumulated > 0)
    before = np.array(contender.ask(do="rows", ids=ids.tolist())["rows"])
    contender.ask(do="run", stream="zipf", first=0, steps=2)
    after = np.array(contender.ask(do="rows", ids=ids.tolist())["rows"])
    off = np.abs(after - (before - LEARNING_RATE * moves.sum(axis=0))).max()
    if off > TOLERANCE:
        raise SystemExit(f"{contender.name} does not do Adagrad: rows are off by up to {off:.2g} after two steps")
