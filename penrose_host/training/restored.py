"""What a session goes on from: the state of a checkpoint, or of a run that begins. Nothing on disk is changed here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.core.trainer_state import read_progress
from penrose_host.errors import CheckpointDamaged

if TYPE_CHECKING:
    from penrose_host.checkpoints import Checkpoint
    from penrose_host.config.job import Job
    from penrose_host.contracts.cluster import Role
    from penrose_host.contracts.snapshots import CheckpointReader
    from penrose_host.training.model import Model

__all__ = ["Restored"]


@dataclass(slots=True)
class Restored:
    """Where a role of a run stands as a life of it begins.

    `outputs`: how much of each of the run's own files the checkpoint knows of. `stamps`: partition → what the
    source called its content. `finished`: whether the stream had ended, and its last report was written.
    """

    role: Role
    index: int
    names: Names
    progress: Progress
    metrics: ProgressiveMetrics
    outputs: dict[str, int] = field(default_factory=lambda: {"metrics": 0, "dead_letters": 0, "predictions": 0})
    stamps: dict[str, str] = field(default_factory=dict)
    finished: bool = False
    checkpoint: Checkpoint | None = None

    @classmethod
    def new(cls, job: Job, source_id: str, role: Role, index: int) -> Restored:
        """A run that begins."""
        names = Names()
        return cls(role, index, names, Progress(source_id, names), ProgressiveMetrics(_heads(job), job.metrics))

    @classmethod
    def of(cls, checkpoint: Checkpoint, job: Job, model: Model, role: Role, index: int) -> Restored:
        """A run that goes on from a checkpoint, with the model's state. Raises CheckpointDamaged."""
        names = Names()
        metrics = ProgressiveMetrics(_heads(job), job.metrics)
        progress = read_progress(checkpoint.reader(role, index, "trainer"), names)
        metrics.restore(checkpoint.reader(role, index, "metrics"))
        model.restore(checkpoint, role, index)
        state = _host_state(checkpoint, role, index)
        try:
            return cls(
                role,
                index,
                names,
                progress,
                metrics,
                dict(state["outputs"]),
                dict(state["stamps"]),
                bool(state["finished"]),
                checkpoint,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise _not_understood(role, index, error) from error

    def reader(self, part: str) -> CheckpointReader | None:
        """Reads a part of this role's fragment; None where the run begins."""
        return None if self.checkpoint is None else self.checkpoint.reader(self.role, self.index, part)


def _host_state(checkpoint: Checkpoint, role: Role, index: int) -> Mapping[str, Any]:
    try:
        state: Mapping[str, Any] = json.loads(checkpoint.reader(role, index, "").read("host.json"))
        return state
    except ValueError as error:
        raise _not_understood(role, index, error) from error


def _not_understood(role: Role, index: int, error: Exception) -> CheckpointDamaged:
    return CheckpointDamaged(f"{role}-{index}/host.json cannot be understood: {error}")


def _heads(job: Job) -> tuple[str, ...]:
    return tuple(label.name for label in job.features.labels)
