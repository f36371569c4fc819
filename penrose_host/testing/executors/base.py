"""What the promises of executors have in common: features, tables, batches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from penrose_host.contracts.batch import EncodedBatch
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.contracts.executor import Executor, FeatureSpec, ListFeature
from penrose_host.embeddings.hashing import HashingBackend
from penrose_host.testing.batches import random_batch, with_column
from penrose_host.testing.executors.lab import Lab
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken

__all__ = ["ExecutorChecks"]


class ExecutorChecks(PluginContract):
    """`make` returns an executor that was not set up yet."""

    #: What it is trained with; take away what your executor does not know.
    features: ClassVar[FeatureSpec] = FeatureSpec(
        categorical=("user", "item"),
        lists=(ListFeature("tags"), ListFeature("history", combiner="sum", ordered=True)),
        numeric=("price", "age"),
        labels=("click", "buy"),
    )
    #: How far two scores may be apart that stand for the same thing.
    tolerance: ClassVar[float] = 1e-5

    def make(self) -> Executor:
        """A new executor; all of one test learn alike."""
        found: Executor = super().make()
        return found

    def backend(self) -> EmbeddingBackend | None:
        """What makes its tables; None: it holds its embeddings itself, as with `embedding: none`."""
        return HashingBackend(HashingBackend.Options(rows=4096))

    def batch(self, rows: int, seed: int) -> EncodedBatch:
        """Labelled rows to train with, the same for the same seed."""
        return random_batch(self.features, rows, seed)

    def non_finite_batch(self) -> EncodedBatch | None:
        """Rows whose loss is not finite; None: there are none for this executor."""
        if not self.features.numeric:
            return None
        return with_column(self.batch(8, 99), self.features.numeric[0], np.nan)

    def lab(self, steps: int = 0) -> Lab:
        """An executor that has been set up, and trained so many steps."""
        lab = Lab(self.make(), self.features, self.backend(), seed=7)
        self.train(lab, range(steps))
        return lab

    def train(self, lab: Lab, seeds: range) -> None:
        """Train on the batches of these seeds, which must all be applied."""
        for seed in seeds:
            if not lab.train(self.batch(16, seed)).applied:
                raise Broken(f"the step on an ordinary batch (seed {seed}) was not applied.", "apply finite steps.")
