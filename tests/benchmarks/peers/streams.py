"""The ids and gradients of one comparison: made once, saved as .npy, read by every contender."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .worker import IDS_PER_STEP, WIDTH

#: Different steps of each stream; longer runs go round.
STEPS = 64
#: Different gradients: too many for the caches to hold.
GRADIENTS = 8
ZIPF_EXPONENT = 1.2
NAMES = ("zipf", "uniform")


def write(folder: Path, rows: int) -> None:
    """`zipf.ids.npy`, `uniform.ids.npy` (int64 [64, 106496], in [0, rows)) and `gradients.npy` (float32).

    Zipf: rank r with a probability in proportion to r^-1.2, ranks beyond the table taken modulo its size; the id is
    the rank, so that the often used rows of static tables lie side by side: their best case.
    """
    generator = np.random.default_rng(20_240_601)
    shape = (STEPS, IDS_PER_STEP)
    np.save(folder / "zipf.ids.npy", generator.zipf(ZIPF_EXPONENT, shape) % rows)
    np.save(folder / "uniform.ids.npy", generator.integers(0, rows, shape))
    np.save(folder / "gradients.npy", generator.standard_normal((GRADIENTS, IDS_PER_STEP, WIDTH), np.float32))
