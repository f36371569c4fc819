"""Executors that import their framework when they are set up: a learner, made then, does the work."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penrose_host.contracts.executor import Executor

if TYPE_CHECKING:
    from penrose_host.contracts.batch import EncodedBatch, Float32, StepInfo, StepResult
    from penrose_host.contracts.executor import ExecutorContext
    from penrose_host.contracts.snapshots import CheckpointReader, Snapshot

__all__ = ["LateExecutor", "Learner", "LearnerParts"]


class Learner(Protocol):
    """Scores and trains; one that has a `close` is closed with its executor."""

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """See `Executor.predict`."""

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """See `Executor.train`."""


@dataclass(frozen=True, slots=True)
class LearnerParts:
    """A learner, and what keeps it: functions of it, so that what is seldom needed is imported when it is."""

    learner: Learner
    snapshot: Callable[[Any], Snapshot]
    restore: Callable[[Any, CheckpointReader], None]
    export: Callable[[Any, Path], None]


class LateExecutor(Executor):
    """The base of executors whose entry module must not import their framework: they say how the learner is made."""

    _parts: LearnerParts

    @abstractmethod
    def build(self, context: ExecutorContext) -> LearnerParts:
        """Import the framework and make the learner. Raises `ConfigError` for what does not fit together."""

    def setup(self, context: ExecutorContext) -> None:
        self._parts = self.build(context)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        return self._parts.learner.predict(batch)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        return self._parts.learner.train(batch, step)

    def snapshot(self) -> Snapshot:
        return self._parts.snapshot(self._parts.learner)

    def restore(self, reader: CheckpointReader) -> None:
        self._parts.restore(self._parts.learner, reader)

    def export(self, directory: Path) -> None:
        self._parts.export(self._parts.learner, directory)

    def close(self) -> None:
        """Let go of the learner. May be called twice, and without `setup`."""
        parts = self.__dict__.pop("_parts", None)
        if parts is not None and hasattr(parts.learner, "close"):
            parts.learner.close()
