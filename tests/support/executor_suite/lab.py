"""Batches, contexts and executors without the rest of the host."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penrose_host import (
    ClusterSpec,
    EmbeddingTable,
    EncodedBatch,
    Executor,
    ExecutorContext,
    FeatureSpec,
    FilesSnapshot,
    ListFeature,
    Position,
    Ragged,
    Role,
    StepInfo,
    TableFactory,
    TableSpec,
)
from penrose_host.embeddings.hashing import HashingBackend
from penrose_host.testing.memory import MemoryCheckpoints, MemoryReader

#: Every kind of feature, and two heads.
RICH = FeatureSpec(
    categorical=("user", "item", "user x item"),
    lists=(ListFeature("tags"), ListFeature("history", combiner="sum", ordered=True)),
    numeric=("price", "age"),
    labels=("click", "buy"),
)
#: What the simplest jobs have.
PLAIN = FeatureSpec(categorical=("user", "item"), labels=("click",))


class Tables(TableFactory):
    """Makes tables as the host does: one for each name."""

    def __init__(self, rows: int) -> None:
        self.backend = HashingBackend(HashingBackend.Options(rows=rows))
        self.made: dict[str, EmbeddingTable] = {}

    def __call__(self, spec: TableSpec) -> EmbeddingTable:
        return self.made.setdefault(spec.name, self.backend.table(spec))


@dataclass
class Lab:
    """Makes batches and executors of one class, `name` in jobs; `rich` and `plain` are two sets of features."""

    name: str
    kind: type[Executor]
    rich: FeatureSpec = RICH
    plain: FeatureSpec = PLAIN
    executors: list[Executor] = field(default_factory=list)
    tables: dict[int, Tables] = field(default_factory=dict)

    def example(self, file: str) -> str:
        """The code of this name in the README of the executor's distribution."""
        readme = Path(__file__).parents[3] / "plugins" / f"penrose-{self.name}" / "README.md"
        pattern = rf"```python\n(# {re.escape(file)}\n.*?)```"
        (found,) = re.findall(pattern, readme.read_text("utf-8"), re.DOTALL)
        return str(found)

    def make(self, **options: Any) -> Any:
        """An executor before `setup`."""
        return self.kind(self.kind.Options(**options))

    def executor(self, features: FeatureSpec, *, rows: int | None = 1000, seed: int = 0, **options: Any) -> Any:
        """An executor after `setup`; `rows` of its tables, None for `embedding: none`."""
        if rows is None:
            options = {"embedding_rows": 1000, **options}
        made = self.make(**options)
        tables = None if rows is None else Tables(rows)
        self.executors.append(made)
        if tables is not None:
            self.tables[id(made)] = tables
        made.setup(ExecutorContext(features, Role.CHIEF, 0, ClusterSpec.single(), seed=seed, tables=tables))
        return made

    def batch(self, features: FeatureSpec, rows: int, seed: int = 0, *, labelled: float = 0.8) -> EncodedBatch:
        """Random rows; ids repeat, list lengths go from 0 to 4, `labelled` of the labels are known. Read-only."""
        random = np.random.default_rng(seed)

        def ids(*shape: int) -> np.ndarray:
            return frozen(random.integers(0, 30, shape) * 0x1234567890ABCDEF)

        lists = {}
        for feature in features.lists:
            offsets = np.concatenate([[0], np.cumsum(random.integers(0, 5, rows))])
            lists[feature.name] = Ragged(ids(offsets[-1]), frozen(offsets))
        labels = {}
        for head in features.labels:
            label = (random.random(rows) < 0.3).astype(np.float32)
            label[random.random(rows) >= labelled] = np.nan
            labels[head] = frozen(label)
        numeric = {name: frozen(random.standard_normal(rows).astype(np.float32)) for name in features.numeric}
        return EncodedBatch(ids(rows, len(features.categorical)), lists, numeric, labels)

    def save(self, executor: Executor) -> dict[str, bytes]:
        """Everything that a checkpoint of this executor and its tables holds: name → content."""
        checkpoints = MemoryCheckpoints()
        checkpoints.write("executor", executor.snapshot())
        for name, table in self._tables(executor).items():
            checkpoints.write(name, table.snapshot(None))
            table.aborted()
        return {"/".join(key): data for key, data in checkpoints.files.items()}

    def load(self, executor: Executor, saved: dict[str, bytes]) -> None:
        """Restore an executor and its tables from what `save` gave."""
        parts: dict[str, dict[str, bytes]] = {}
        for key, data in saved.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = data

        def reader(part: str) -> MemoryReader:
            checkpoints = MemoryCheckpoints()
            return checkpoints.reader(checkpoints.write("saved", FilesSnapshot(parts[part])))

        executor.restore(reader("executor"))
        for name, table in self._tables(executor).items():
            table.restore(reader(name))

    def _tables(self, executor: Executor) -> dict[str, EmbeddingTable]:
        tables = self.tables.get(id(executor))
        return {} if tables is None else tables.made

    def step(self, sequence: int = 0) -> StepInfo:
        return StepInfo(0, 0, sequence, lambda: Position("test"))

    def train(self, executor: Executor, features: FeatureSpec, steps: range, rows: int = 16) -> None:
        for step in steps:
            assert executor.train(self.batch(features, rows, seed=step), self.step(step)).applied

    def close(self) -> None:
        for executor in self.executors:
            executor.close()


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
