"""The entry module: an executor that imports PyTorch when it is set up, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host import Capability, ClusterSpec, Role, hookimpl
from penrose_host.executors import LateExecutor, LearnerParts
from penrose_torch.options import TorchOptions

if TYPE_CHECKING:
    from penrose_host import ExecutorContext
    from penrose_torch.learner import Learner

__all__ = ["TorchExecutor"]


class TorchExecutor(LateExecutor):
    """Trains a named model, or a module of the user's, with PyTorch."""

    api_version = 1
    Options = TorchOptions
    capabilities = frozenset({Capability.SINGLE_WORKER})
    default_embedding = "hashing"
    options_schema = "named-models"

    @hookimpl
    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> Mapping[str, str]:
        """What `torch.distributed` reads, where several processes train."""
        trainers = cluster.trainers()
        if len(trainers) < 2 or role not in (Role.CHIEF, Role.WORKER):
            return {}
        host, _, port = trainers[0].rpartition(":")
        rank, size = str(cluster.rank(role, index)), str(len(trainers))
        return {"MASTER_ADDR": host, "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": size}

    def build(self, context: ExecutorContext) -> LearnerParts:
        from penrose_torch.building import build
        from penrose_torch.state import restore, snapshot

        return LearnerParts(build(self.options, context), snapshot, restore, _export)


def _export(learner: Learner, directory: Path) -> None:
    """Write `model.pt2`, a program of `torch.export`, and `features.json`, which says what it takes."""
    from penrose_torch.export import export

    export(learner, directory)
