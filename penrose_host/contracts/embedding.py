"""Embedding tables, what makes them, and dense parameters on servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penrose_host.contracts.plugin import Plugin

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.contracts.batch import Float32, Int64, StepInfo
    from penrose_host.contracts.snapshots import CheckpointReader, Snapshot, SnapshotRef

__all__ = ["DenseParameters", "EmbeddingBackend", "EmbeddingTable", "TableFactory", "TableSpec", "TableStats"]


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One embedding table: what an executor asks of an `EmbeddingBackend`.

    `optimizer` is (name, parameters): sgd, adagrad, rowwise_adagrad, adam, ftrl, … ; `initializer` likewise:
    zeros, constant, uniform, normal. A row's first value depends on (`seed`, key) only.
    `admission` and `eviction` are None or (policy, parameters), for backends that know them.
    """

    name: str
    width: int
    optimizer: tuple[str, Mapping[str, float]] = ("sgd", {"learning_rate": 0.01})
    initializer: tuple[str, Mapping[str, float]] = ("zeros", {})
    seed: int = 0
    admission: tuple[str, Mapping[str, float]] | None = None
    eviction: tuple[str, Mapping[str, float]] | None = None


@dataclass(frozen=True, slots=True)
class TableStats:
    """Rows in use, bytes resident (weights, slots, metadata), and counters since the start."""

    rows: int
    bytes: int
    counters: Mapping[str, int] = field(default_factory=dict)


class EmbeddingTable(ABC):
    """int64 key → float32 row, with its optimizer's slots. Any int64 is a legal key."""

    spec: TableSpec
    #: None: `key` of `export_rows` is the key itself. Otherwise the number of rows that keys are hashed into,
    #: and `key` there is `penrose_host.embeddings.mixing.buckets(key, hash_rows)`: what a servable artifact repeats.
    #: A `key` that is not exported has the first value that `penrose_host.embeddings.initializers` gives for it.
    hash_rows: int | None = None
    #: Whether a key without a row reads its first value when it is only looked at; otherwise zeros.
    first_values: bool = True

    @abstractmethod
    def lookup(self, keys: Int64, *, train: bool) -> Float32:
        """Rows of `keys`: int64 [n] → a new float32 [n, width]. With `train`, unseen keys may become rows.

        Without it nothing changes, and a key without a row reads what training would find: the first value of its
        row, in `hashing` (where all rows exist from the start) as in dynamic tables; with `admission` zeros, which it
        reads, and does not train, until it is admitted.
        """

    @abstractmethod
    def apply(self, keys: Int64, gradients: Float32, step: StepInfo) -> None:
        """One optimizer step: gradients float32 [n, width] for keys int64 [n]; repeated keys are summed first.

        Raises `TrainingError` for shapes that do not fit; the table is then unchanged.
        """

    @abstractmethod
    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        """This instant's content, copied or frozen. `since`: the last committed snapshot of this table,
        whose files a delta may `reuse`. At most one snapshot is neither committed nor aborted at a time."""

    def committed(self, ref: SnapshotRef) -> None:  # noqa: B027 - optional
        """The last snapshot is durable, as `ref`: marks of what changed before it may be cleared."""

    def aborted(self) -> None:  # noqa: B027 - optional
        """The last snapshot will never be durable: what it covered still counts as changed."""

    @abstractmethod
    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held. Raises `CheckpointDamaged` where it does not fit the spec."""

    @abstractmethod
    def export_rows(self) -> Iterator[pa.RecordBatch]:
        """All rows for inference, in ascending order of `key`: columns `key` (int64) and
        `row` (fixed-size list of float32)."""

    @abstractmethod
    def stats(self) -> TableStats:
        """Size and counters, cheap enough for every report."""


class EmbeddingBackend(Plugin, ABC):
    """Makes tables. A backend is selected once a job; every executor can use every backend."""

    @abstractmethod
    def table(self, spec: TableSpec) -> EmbeddingTable:
        """A new, empty table. Raises `ConfigError` for what this backend does not know."""


class DenseParameters(ABC):
    """The dense parameters of a job with parameter servers; an executor without one keeps its own."""

    @abstractmethod
    def pull(self) -> Mapping[str, Float32]:
        """The current values by name."""

    @abstractmethod
    def push(self, gradients: Mapping[str, Float32], step: StepInfo) -> None:
        """One update; the servers recognise a step that was sent twice."""


class TableFactory(ABC):
    """Gives an executor its tables; the host snapshots, restores and exports them."""

    @abstractmethod
    def __call__(self, spec: TableSpec) -> EmbeddingTable:
        """The table of this spec, made by the job's backend. The same name twice gives the same table."""
