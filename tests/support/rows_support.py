"""Rows without a source, and an executor that writes down what it is asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from penrose_host import (
    CheckpointReader,
    EncodedBatch,
    Executor,
    ExecutorContext,
    FilesSnapshot,
    Snapshot,
    StepInfo,
    StepResult,
)
from penrose_host.core.rows import Rows


def make_rows(
    event_time: list[int],
    *,
    partition: list[str] | None = None,
    offset: list[int] | None = None,
    known_at: list[int] | None = None,
    label: list[float] | None = None,
) -> Rows:
    """Rows whose single id is their offset, so that an executor can tell them apart."""
    count = len(event_time)
    partition = partition if partition is not None else ["p"] * count
    names = tuple(dict.fromkeys(partition))
    if offset is None:
        seen: dict[str, int] = {}
        offset = []
        for name in partition:
            offset.append(seen.get(name, 0))
            seen[name] = seen.get(name, 0) + 1
    return Rows(
        names,
        np.array([names.index(name) for name in partition], dtype=np.int32),
        np.array(offset, dtype=np.int64),
        np.array(event_time, dtype=np.int64),
        np.array(event_time if known_at is None else known_at, dtype=np.int64),
        np.array(offset, dtype=np.int64).reshape(count, 1),
        {},
        {},
        {"y": np.array([0.0] * count if label is None else label, dtype=np.float32)},
    )


class ScribeOptions(BaseModel):
    model_config = {"extra": "forbid"}


class ScribeExecutor(Executor):
    """Scores 0.5 plus a little for each row trained so far; `log` holds ("score"|"train", ids) in order."""

    api_version = 1
    Options = ScribeOptions

    def __init__(self, options: BaseModel | None = None) -> None:
        super().__init__(options or ScribeOptions())
        self.log: list[tuple[str, tuple[int, ...]]] = []
        self.counts: dict[int, int] = {}
        self.trained = 0
        self.broken_steps: set[int] = set()

    def setup(self, context: ExecutorContext) -> None:
        self.heads = context.features.labels

    def _scores(self, rows: int) -> Mapping[str, Any]:
        return {"y": np.full(rows, 0.5 + min(self.trained, 1000) * 1e-4, dtype=np.float32)}

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        self.log.append(("score", tuple(batch.ids[:, 0].tolist())))
        return self._scores(len(batch))

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        if step.sequence in self.broken_steps:
            return StepResult({"y": float("nan")}, self._scores(len(batch)), applied=False)
        ids = tuple(batch.ids[:, 0].tolist())
        self.log.append(("train", ids))
        for id in ids:
            self.counts[id] = self.counts.get(id, 0) + 1
        scores = self._scores(len(batch))
        self.trained += len(batch)
        return StepResult({"y": 0.25}, scores)

    def snapshot(self) -> Snapshot:
        state = {"counts": sorted(self.counts.items()), "trained": self.trained}
        return FilesSnapshot({"counts.json": json.dumps(state).encode()})

    def restore(self, reader: CheckpointReader) -> None:
        state = json.loads(reader.read("counts.json"))
        self.counts = {int(id): int(count) for id, count in state["counts"]}
        self.trained = state["trained"]

    def export(self, directory: Path) -> None:
        (directory / "counts.json").write_text(json.dumps(self.counts))

    def close(self) -> None:
        pass
