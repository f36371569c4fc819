"""The entry module: an executor that imports River when it is set up, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host import Capability, Executor
from penrose_river.options import RiverOptions

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, EncodedBatch, ExecutorContext, Float32, Snapshot, StepInfo, StepResult
    from penrose_river.learner import Learner

__all__ = ["RiverExecutor"]


class RiverExecutor(Executor):
    """Trains an online model of River, or a pipeline of the user's, row by row."""

    api_version = 1
    Options = RiverOptions
    capabilities = frozenset({Capability.SINGLE_WORKER})

    _learner: Learner

    def setup(self, context: ExecutorContext) -> None:
        """Build a model for each label. Raises `ConfigError` for what cannot be built, or kept in a checkpoint."""
        from penrose_river.models import build

        self._learner = build(self.options, context)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        return self._learner.predict(batch)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        return self._learner.train(batch, step)

    def snapshot(self) -> Snapshot:
        from penrose_river.state import snapshot

        return snapshot(self._learner)

    def restore(self, reader: CheckpointReader) -> None:
        from penrose_river.state import restore

        restore(self._learner, reader)

    def export(self, directory: Path) -> None:
        """Write the models' state and `features.json`; `penrose_river.serving.load` makes models of them again."""
        from penrose_river.state import export

        export(self._learner, directory)

    def close(self) -> None:
        self.__dict__.pop("_learner", None)
