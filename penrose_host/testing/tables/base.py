"""What the promises of embedding tables have in common: specs, keys, steps, and comparing two tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from penrose_host.contracts.batch import Position, StepInfo
from penrose_host.contracts.embedding import EmbeddingBackend, EmbeddingTable, TableSpec
from penrose_host.embeddings.mixing import buckets
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32, Int64

__all__ = ["STEP", "Content", "TableChecks", "difference", "exported"]

STEP = StepInfo(0, 1, 1, lambda: Position("contract"))
#: What a table holds, in words → values.
Content = Mapping[str, tuple[float, ...]]
_ENDS = (np.iinfo(np.int64).min, np.iinfo(np.int64).max, -1, 0, 1)


class TableChecks(PluginContract):
    """`make` returns an embedding backend; every table of a contract is its own."""

    #: Numbers in a row.
    width: ClassVar[int] = 4
    #: An optimizer that keeps slots beside the rows.
    optimizer: ClassVar[tuple[str, Mapping[str, float]]] = ("adagrad", {"learning_rate": 0.5})
    #: Whether a snapshot after a committed one writes only what changed.
    deltas: ClassVar[bool] = True
    #: How many histories of steps and checkpoints are tried.
    examples: ClassVar[int] = 30

    def make(self) -> EmbeddingBackend:
        """A new backend; with a fixed number of rows, some thousands of them."""
        found: EmbeddingBackend = super().make()
        return found

    def table(self, **changes: Any) -> EmbeddingTable:
        """A new table of the contract's spec, with these changes to it."""
        spec = TableSpec("contract", self.width, self.optimizer, ("normal", {"stddev": 0.5}), seed=3)
        return self.make().table(replace(spec, **changes))

    def keys(self, table: EmbeddingTable, count: int) -> Int64:
        """Different keys, the ends of int64 first; where keys are hashed, no two of one row."""
        found = np.array(_ENDS, np.int64)
        found = np.append(found, np.random.default_rng(0).integers(*_ENDS[:2], 4 * count, np.int64))
        if table.hash_rows is not None:
            if table.hash_rows < 8 * count:
                raise Broken(f"the table has {table.hash_rows} rows.", f"give the test at least {8 * count}.")
            found = found[np.sort(np.unique(buckets(found, table.hash_rows), return_index=True)[1])]
        return found[:count]

    def gradients(self, keys: Int64, seed: int) -> Float32:
        """Gradients whose sums are exact in any order: multiples of 1/64 between -1 and 1."""
        drawn = np.random.default_rng(seed).integers(-64, 65, (len(keys), self.width))
        return (drawn / 64).astype(np.float32)

    def train(self, table: EmbeddingTable, seeds: Iterable[int]) -> None:
        """One step for each seed, each on some of 40 keys, some of them twice."""
        for seed in seeds:
            self.step(table, self.some_keys(table, seed), seed)

    def some_keys(self, table: EmbeddingTable, seed: int) -> Int64:
        """The keys of the step of this seed."""
        return np.random.default_rng(seed).choice(self.keys(table, 40), 12)

    def step(self, table: EmbeddingTable, keys: Int64, seed: int) -> None:
        """One step on these keys, as an executor makes it: look up, then apply."""
        table.lookup(keys, train=True)
        table.apply(keys, self.gradients(keys, seed), STEP)

    def trained(self, seeds: Iterable[int]) -> EmbeddingTable:
        """A new table after these steps."""
        table = self.table()
        self.train(table, seeds)
        return table

    def content(self, table: EmbeddingTable) -> Content:
        """Everything that can be seen of a table: what it exports, and rows it was never trained on."""
        keys, rows = exported(table)
        found = {f"the exported row {key}": tuple(row) for key, row in zip(keys.tolist(), rows.tolist(), strict=True)}
        probe = self.keys(table, 60)
        looked_up = table.lookup(probe, train=False).tolist()
        return found | {f"the row of key {k}": tuple(r) for k, r in zip(probe.tolist(), looked_up, strict=True)}


def exported(table: EmbeddingTable) -> tuple[Int64, Float32]:
    """All keys that a table exports, and their rows."""
    keys, rows = [np.empty(0, np.int64)], [np.empty((0, table.spec.width), np.float32)]
    for batch in table.export_rows():
        keys.append(batch.column("key").to_numpy(zero_copy_only=False))
        rows.append(batch.column("row").flatten().to_numpy(zero_copy_only=False).reshape(-1, table.spec.width))
    return np.concatenate(keys), np.concatenate(rows)


def difference(expected: Content, found: Content) -> str | None:
    """The first thing that differs between two tables, in words."""
    for what in expected:
        if what not in found:
            return f"{what} is missing"
        if found[what] != expected[what]:
            return f"{what} is {_short(found[what])} instead of {_short(expected[what])}"
    more = sorted(found.keys() - expected.keys())
    return f"{more[0]} is there and should not be" if more else None


def _short(row: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in row[:4]) + (", …]" if len(row) > 4 else "]")
