"""Toys: a source and an executor that are small, exact and need nothing, for jobs that test another plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from penrose_host.contracts.batch import StepInfo, StepResult
from penrose_host.contracts.executor import Executor, FeatureSpec
from penrose_host.contracts.plugin import API_VERSION, Capability
from penrose_host.contracts.snapshots import CheckpointReader, FilesSnapshot, Snapshot
from penrose_host.datasources.partitioned import PartitionedSource
from penrose_host.errors import CheckpointDamaged, SourceError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from penrose_host.contracts.batch import EncodedBatch, Float32, Float64
    from penrose_host.contracts.executor import ExecutorContext

__all__ = ["ToyExecutor", "ToySource", "features_of"]

CHUNK_ROWS = 16


def features_of(spec: FeatureSpec) -> dict[str, Any]:
    """The `features` section of a job over a `ToySource` whose columns are these features."""
    return {
        "event_time": {"column": "time", "unit": "us"},
        "categorical": list(spec.categorical),
        "lists": [{"column": x.name, "combiner": x.combiner, "ordered": x.ordered} for x in spec.lists],
        "numeric": list(spec.numeric),
        "labels": list(spec.labels),
        "known_at": {"column": "known at", "unit": "us"},
    }


class ToySource(PartitionedSource):
    """Random rows that are a function of partition and offset; labels come late, and some never."""

    api_version: ClassVar[int] = API_VERSION
    capabilities = frozenset({Capability.SEEK, Capability.COMMIT})

    class Options(BaseModel):
        """How much there is, and the columns' names."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        partitions: int = Field(default=3, ge=1, description="number of partitions, called p0, p1, …")
        rows: int = Field(default=40, ge=0, description="rows of each partition")
        categorical: tuple[str, ...] = Field(default=("user",), description="integer columns")
        lists: tuple[str, ...] = Field(default=(), description="columns of lists of integers")
        numeric: tuple[str, ...] = Field(default=("price",), description="columns of numbers")
        labels: tuple[str, ...] = Field(default=("click",), description="columns of booleans, some of them null")
        fail_at: int | None = Field(
            default=None, description="raise an error at this offset of p0, as a lost broker would"
        )

    @classmethod
    def of(cls, spec: FeatureSpec, **options: Any) -> ToySource:
        """A source whose columns are these features."""
        return cls(
            cls.Options(
                categorical=spec.categorical,
                lists=tuple(feature.name for feature in spec.lists),
                numeric=spec.numeric,
                labels=spec.labels,
                **options,
            )
        )

    @property
    def source_id(self) -> str:
        return f"toy:{self.options.model_dump_json(exclude={'fail_at'})}"

    def partitions(self) -> Sequence[str]:
        return [f"p{number}" for number in range(self.options.partitions)]

    def end(self, partition: str) -> int:  # noqa: ARG002 - all are of one length
        return int(self.options.rows)

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        stop = min(offset + max_rows, offset + CHUNK_ROWS, self.options.rows)
        if partition == "p0" and self.options.fail_at is not None and offset <= self.options.fail_at < stop:
            raise SourceError(
                "the toy was told to fail",
                plugin="toy",
                partition=partition,
                offset=self.options.fail_at,
                hint="tell it not",
            )
        return self._batch(partition, offset, stop)

    def _batch(self, name: str, start: int, stop: int) -> pa.RecordBatch:
        import pyarrow as pa

        offsets, number = np.arange(start, stop), int(name[1:])
        time = offsets * 1000 + number

        def draw(column: int) -> npt.NDArray[np.int64]:
            """Numbers below 2**20 that look random and follow from the place."""
            mixed = (time + 1) * (2 * column + 3) * 2654435761 % (1 << 32)
            return (mixed ^ mixed >> 15) * 40503 % (1 << 20)

        columns: dict[str, Any] = {
            "time": time,
            "known at": time + draw(0) % 20_000,
        }
        for place, column in enumerate(self.options.categorical):
            columns[column] = draw(100 + place) % 12
        for place, column in enumerate(self.options.lists):
            columns[column] = pa.array([list(range(n % 4)) for n in draw(200 + place).tolist()], pa.list_(pa.int64()))
        for place, column in enumerate(self.options.numeric):
            columns[column] = (draw(300 + place) / (1 << 19) - 1).astype(np.float32)
        for place, column in enumerate(self.options.labels):
            drawn = draw(400 + place)
            columns[column] = pa.array(drawn % 3 == 0, mask=drawn % 11 == 0)
        return pa.record_batch(columns)


class ToyExecutor(Executor):
    """Logistic regression in NumPy: a weight for each of 64 hashed ids a feature, one a number, momentum, no tables."""

    api_version: ClassVar[int] = API_VERSION
    capabilities = frozenset({Capability.SINGLE_WORKER})

    class Options(BaseModel):
        """How it learns."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        learning_rate: float = Field(default=0.1, gt=0, description="step along the gradient")
        momentum: float = Field(default=0.5, ge=0, lt=1, description="how much of the last step is taken again")

    def setup(self, context: ExecutorContext) -> None:
        self.features = context.features
        slots = len(self.features.categorical) + len(self.features.lists)
        shape = (64 * slots + len(self.features.numeric) + 1, len(self.features.labels))
        self.weights: Float64 = np.random.default_rng(context.seed).normal(0, 0.01, shape)
        self.velocity: Float64 = np.zeros(shape)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        return self._by_head(_sigmoid(self._inputs(batch) @ self.weights))

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:  # noqa: ARG002 - one process, no replay
        inputs = self._inputs(batch)
        labels = np.stack([batch.labels[head] for head in self.features.labels], axis=1).astype(np.float64)
        known = ~np.isnan(labels)
        counts = np.maximum(known.sum(axis=0), 1)
        labels = np.where(known, labels, 0)
        with np.errstate(all="ignore"):
            scores = _sigmoid(inputs @ self.weights)
            right = np.clip(np.where(labels > 0.5, scores, 1 - scores), 1e-12, None)
            losses = np.where(known, -np.log(right), 0).sum(axis=0) / counts
            gradient = inputs.T @ np.where(known, scores - labels, 0)
        applied = bool(np.isfinite(losses).all() and np.isfinite(gradient).all())
        if applied:
            self.velocity = self.options.momentum * self.velocity - self.options.learning_rate * gradient
            self.weights = self.weights + self.velocity
        return StepResult(dict(zip(self.features.labels, losses.tolist(), strict=True)), self._by_head(scores), applied)

    def snapshot(self) -> Snapshot:
        return FilesSnapshot({"weights": self.weights.tobytes(), "velocity": self.velocity.tobytes()})

    def restore(self, reader: CheckpointReader) -> None:
        shape = self.weights.shape
        found = [np.frombuffer(reader.read(name), np.float64) for name in ("weights", "velocity")]
        if any(len(values) != self.weights.size for values in found):
            raise CheckpointDamaged("the checkpoint is of a toy with other features", hint="resume with its own job")
        self.weights, self.velocity = (values.reshape(shape) for values in found)

    def export(self, directory: Path) -> None:
        (directory / "weights.json").write_text(json.dumps(self.weights.tolist()))

    def close(self) -> None:
        pass

    def _inputs(self, batch: EncodedBatch) -> Float64:
        """One column for each weight: float64 [rows, weights]."""
        rows = len(batch)
        columns = np.zeros((rows, len(self.weights)))
        everyone = np.arange(rows)
        for slot in range(batch.ids.shape[1]):
            np.add.at(columns, (everyone, 64 * slot + batch.ids[:, slot] % 64), 1.0)
        for place, feature in enumerate(self.features.lists, start=batch.ids.shape[1]):
            ragged = batch.lists[feature.name]
            lengths = np.diff(ragged.offsets)
            values = ragged.values[ragged.offsets[0] : ragged.offsets[-1]]
            share = np.ones(rows) if feature.combiner == "sum" else 1 / np.maximum(lengths, 1)
            np.add.at(columns, (np.repeat(everyone, lengths), 64 * place + values % 64), np.repeat(share, lengths))
        for place, name in enumerate(self.features.numeric, start=1):
            columns[:, -1 - place] = batch.numeric[name]
        columns[:, -1] = 1.0
        return columns

    def _by_head(self, scores: Float64) -> dict[str, Float32]:
        return {head: scores[:, place].astype(np.float32) for place, head in enumerate(self.features.labels)}


def _sigmoid(logits: Float64) -> Float64:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
