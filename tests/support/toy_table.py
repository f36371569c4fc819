"""An embedding backend that is as simple as can be: a dict, with every kind of checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from penrose_host import (
    CheckpointReader,
    EmbeddingBackend,
    EmbeddingTable,
    FileRef,
    Snapshot,
    SnapshotRef,
    SnapshotWriter,
    StepInfo,
    TableSpec,
    TableStats,
)
from penrose_host.embeddings.initializers import Initializer
from penrose_host.errors import CheckpointDamaged, ConfigError, TrainingError

OPTIMIZERS = {"sgd": {"learning_rate"}, "adagrad": {"learning_rate"}}


class ToyTable(EmbeddingTable):
    """key → [weights, sums of squares], for keys that were trained on."""

    def __init__(self, spec: TableSpec) -> None:
        name, parameters = spec.optimizer
        if name not in OPTIMIZERS or not parameters.keys() <= OPTIMIZERS[name]:
            raise ConfigError([("optimizer", f"{spec.optimizer} is neither of {OPTIMIZERS}")])
        self.spec = spec
        self.first = Initializer.of(spec)
        self.rows: dict[int, Any] = {}
        self.dirty: set[int] = set()
        self.pending: set[int] = set()

    def row(self, key: int) -> Any:
        if key in self.rows:
            return self.rows[key]
        return np.stack([self.first.rows(np.array([key], np.int64))[0], np.zeros(self.spec.width, np.float32)])

    def lookup(self, keys: Any, *, train: bool) -> Any:
        found = [self.row(key)[0] for key in keys.tolist()]
        return np.array(found, np.float32).reshape(len(keys), self.spec.width)

    def apply(self, keys: Any, gradients: Any, step: StepInfo) -> None:
        self.check(keys, gradients)
        for key, gradient in self.summed(keys, gradients):
            self.update(key, gradient)

    def check(self, keys: Any, gradients: Any) -> None:
        fits = keys.ndim == 1 and keys.dtype == np.int64 and gradients.dtype == np.float32
        if not fits or gradients.shape != (len(keys), self.spec.width):
            raise TrainingError(f"{keys.dtype} {keys.shape} and {gradients.dtype} {gradients.shape} do not fit")

    def summed(self, keys: Any, gradients: Any) -> Iterator[tuple[int, Any]]:
        distinct, place = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(distinct), self.spec.width), np.float32)
        np.add.at(sums, place, gradients)
        yield from zip(distinct.tolist(), sums, strict=True)

    def update(self, key: int, gradient: Any) -> None:
        weights, squares = self.row(key)
        if self.spec.optimizer[0] == "adagrad":
            squares = squares + gradient * gradient
            gradient = gradient / (np.sqrt(squares) + np.float32(1e-10))
        self.rows[key] = np.stack([weights - np.float32(self.spec.optimizer[1]["learning_rate"]) * gradient, squares])
        self.dirty.add(key)

    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        self.pending, self.dirty = self.dirty, set()
        changed = self.rows.keys() if since is None else self.pending
        return ToySnapshot({key: self.rows[key] for key in sorted(changed)}, since, self.spec.width)

    def committed(self, ref: SnapshotRef) -> None:
        self.pending = set()

    def aborted(self) -> None:
        self.dirty |= self.pending

    def restore(self, reader: CheckpointReader) -> None:
        found: dict[int, Any] = {}
        for number in range(1 + int(reader.read("last"))):
            keys = np.frombuffer(reader.read(f"{number}.keys"), np.int64)
            rows = np.frombuffer(reader.read(f"{number}.rows"), np.float32)
            if len(rows) != len(keys) * 2 * self.spec.width:
                raise CheckpointDamaged("the rows are of another width")
            found |= zip(keys.tolist(), rows.reshape(-1, 2, self.spec.width), strict=True)
        self.rows, self.dirty, self.pending = found, set(), set()

    def export_rows(self) -> Iterator[pa.RecordBatch]:
        keys = sorted(self.rows)
        for start in range(0, len(keys), 7):
            part = keys[start : start + 7]
            values = pa.array(np.concatenate([self.rows[key][0] for key in part]))
            rows = pa.FixedSizeListArray.from_arrays(values, self.spec.width)
            yield pa.record_batch({"key": pa.array(part, pa.int64()), "row": rows})

    def stats(self) -> TableStats:
        return TableStats(len(self.rows), 8 * len(self.rows) * (1 + self.spec.width))


class ToySnapshot(Snapshot):
    """One pair of files for each snapshot since the last full one."""

    def __init__(self, rows: dict[int, Any], since: SnapshotRef | None, width: int) -> None:
        self.rows, self.width = rows, width
        self.reused: dict[str, FileRef] = dict(since.files) if since is not None else {}

    def write(self, writer: SnapshotWriter) -> None:
        number = sum(name.endswith(".keys") for name in self.reused)
        for name, ref in self.reused.items():
            if name != "last":
                writer.reuse(name, ref)
        writer.add("last", str(number).encode())
        writer.add(f"{number}.keys", np.array(list(self.rows), np.int64).tobytes())
        writer.add(f"{number}.rows", np.array(list(self.rows.values()), np.float32).tobytes())


class ToyBackend(EmbeddingBackend):
    api_version = 1

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")

    #: What `table` makes.
    kind: type[ToyTable] = ToyTable

    def table(self, spec: TableSpec) -> EmbeddingTable:
        return self.kind(spec)
