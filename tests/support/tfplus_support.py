"""Tables of the backend `tfplus` under test: making, training, saving and comparing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from penrose_host import FileRef, Position, Snapshot, SnapshotRef, SnapshotWriter, StepInfo, TableSpec
from penrose_host.contracts.snapshots import Buffer
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_tfplus.backend import TfplusBackend
from penrose_tfplus.backend_table import TfplusTable

__all__ = ["Interrupted", "content", "make_table", "restored", "save", "step", "train"]


def make_table(
    width: int = 3,
    optimizer: str = "adagrad",
    *,
    name: str = "t",
    seed: int = 0,
    initializer: tuple[str, Mapping[str, float]] = ("normal", {}),
    **options: Any,
) -> TfplusTable:
    """A table as a job gets it; `options` are those of the backend."""
    rate = {"learning_rate": 0.5}
    spec = TableSpec(name, width, (optimizer, rate), initializer, seed)
    return TfplusBackend(TfplusBackend.Options(**{"threads": 1, "shards": 4} | options)).table(spec)


def step(seconds: int = 0) -> StepInfo:
    """A step whose latest row is of this event time."""
    return StepInfo(0, 0, 0, lambda: Position("test"), lambda: seconds * 1_000_000)


def train(table: TfplusTable, keys: Any, seed: int, seconds: int = 0) -> None:
    """Look up and apply, with random gradients."""
    keys = np.asarray(keys, np.int64)
    table.lookup(keys, train=True)
    gradients = np.random.default_rng(seed).standard_normal((len(keys), table.spec.width)).astype(np.float32)
    table.apply(keys, gradients, step(seconds))


def content(table: TfplusTable, universe: Any) -> dict[str, Any]:
    """Everything that decides what a table does next: rows with slots, counts and times, candidates, counters.

    `universe`: all keys that were ever used.
    """
    inner, universe = table._table, np.asarray(universe, np.int64)
    keys = inner.keys()
    return {
        "keys": keys.tobytes(),
        "rows": inner.lookup(keys).tobytes(),
        "slots": {name: slot.tobytes() for name, slot in inner.slots(keys).items()},
        "counts": inner.counts(universe).tobytes(),
        "times": inner.times(universe).tobytes(),
        "candidates": inner.candidates,
        "counters": inner.counters,
    }


def save(table: TfplusTable, checkpoints: MemoryCheckpoints, id: str, since: SnapshotRef | None = None) -> SnapshotRef:
    """Snapshot, write, commit."""
    ref = checkpoints.write(id, table.snapshot(since))
    table.committed(ref)
    return ref


def restored(like: TfplusTable, checkpoints: MemoryCheckpoints, ref: SnapshotRef, **options: Any) -> TfplusTable:
    """A new table of the same spec with what the snapshot held; `options` replace those of the backend."""
    changed = like._options.model_copy(update=options)
    table = TfplusBackend(changed).table(like.spec)
    table.restore(checkpoints.reader(ref))
    return table


class _Between(SnapshotWriter):
    def __init__(self, writer: SnapshotWriter, between: Callable[[], None]) -> None:
        self._writer = writer
        self._between = between

    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        self._between()
        self._writer.add(name, data)

    def reuse(self, name: str, ref: FileRef) -> None:
        self._writer.reuse(name, ref)


class Interrupted(Snapshot):
    """A snapshot between whose files something else happens."""

    def __init__(self, snapshot: Snapshot, between: Callable[[], None]) -> None:
        self._snapshot = snapshot
        self._between = between

    def write(self, writer: SnapshotWriter) -> None:
        self._snapshot.write(_Between(writer, self._between))
