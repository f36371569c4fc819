"""What scores and trains, and what it is told about the features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from penrose_host.contracts.embedding import DenseParameters, TableFactory
from penrose_host.contracts.plugin import Plugin

if TYPE_CHECKING:
    from penrose_host.contracts.batch import EncodedBatch, Float32, StepInfo, StepResult
    from penrose_host.contracts.cluster import ClusterSpec, Role
    from penrose_host.contracts.snapshots import CheckpointReader, Snapshot

__all__ = ["Executor", "ExecutorContext", "FeatureSpec", "ListFeature"]


@dataclass(frozen=True, slots=True)
class ListFeature:
    """A feature with any number of ids a row; `ordered` says that their order means something."""

    name: str
    combiner: str = "mean"  # sum | mean
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What the columns of an `EncodedBatch` are; JSON-serialisable, part of every export.

    `categorical` names the columns of `EncodedBatch.ids` in order; `labels` are the heads.
    `recipe` says how raw columns become these: the job's `features` section with every default spelt out, which
    `FeaturesConfig.model_validate` reads back. A model does not depend on it; whoever serves one does.
    """

    categorical: tuple[str, ...] = ()
    lists: tuple[ListFeature, ...] = ()
    numeric: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ExecutorContext:
    """What an executor gets at `setup`.

    `tables` is None with `embedding: none` (the framework's own layers hold the embeddings);
    `parameters` is None without parameter servers. `seed` is the job's.
    """

    features: FeatureSpec
    role: Role
    index: int
    cluster: ClusterSpec
    seed: int = 0
    tables: TableFactory | None = None
    parameters: DenseParameters | None = None


class Executor(Plugin, ABC):
    """Scores and trains. The host calls it from one thread; it never sees the source, clocks or files."""

    #: The embedding of a job that names none, whatever is installed; `none`: the framework itself holds embeddings.
    default_embedding: ClassVar[str] = "none"

    @abstractmethod
    def setup(self, context: ExecutorContext) -> None:
        """Import the framework and build the model. Called once, before everything else."""

    @abstractmethod
    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """head → probabilities, float32 [rows]; changes nothing. Also for 0 rows."""

    @abstractmethod
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """One optimizer step. Applies nothing and says so where a loss or a gradient is not finite."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Dense state of this instant (parameters, optimizer, counters, random generators), copied."""

    @abstractmethod
    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held: the next step gives the same bytes as it would have then."""

    @abstractmethod
    def export(self, directory: Path) -> None:
        """Write a servable artifact into this empty folder."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. May be called twice, and without `setup`."""
