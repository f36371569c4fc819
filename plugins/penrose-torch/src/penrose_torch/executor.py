"""The entry module: an executor that imports PyTorch when it is set up, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host import Capability, ClusterSpec, Executor, Role, hookimpl
from penrose_torch.options import TorchOptions

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, EncodedBatch, ExecutorContext, Float32, Snapshot, StepInfo, StepResult
    from penrose_torch.learner import Learner

__all__ = ["TorchExecutor"]


class TorchExecutor(Executor):
    """Trains a named model, or a module of the user's, with PyTorch."""

    api_version = 1
    Options = TorchOptions
    capabilities = frozenset({Capability.SINGLE_WORKER})
    default_embedding = "hashing"
    options_schema = "named-models"

    _learner: Learner

    @hookimpl
    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> Mapping[str, str]:
        """What `torch.distributed` reads, where several processes train."""
        trainers = cluster.trainers()
        if len(trainers) < 2 or role not in (Role.CHIEF, Role.WORKER):
            return {}
        host, _, port = trainers[0].rpartition(":")
        rank, size = str(cluster.rank(role, index)), str(len(trainers))
        return {"MASTER_ADDR": host, "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": size}

    def setup(self, context: ExecutorContext) -> None:
        """Build the model. Raises `ConfigError` where options, features and backend do not fit together."""
        from penrose_torch.building import build

        self._learner = build(self.options, context)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        return self._learner.predict(batch)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        return self._learner.train(batch, step)

    def snapshot(self) -> Snapshot:
        from penrose_torch.state import snapshot

        return snapshot(self._learner)

    def restore(self, reader: CheckpointReader) -> None:
        from penrose_torch.state import restore

        restore(self._learner, reader)

    def export(self, directory: Path) -> None:
        """Write `model.pt2`, a program of `torch.export`, and `features.json`, which says what it takes."""
        from penrose_torch.export import export

        export(self._learner, directory)

    def close(self) -> None:
        self.__dict__.pop("_learner", None)
