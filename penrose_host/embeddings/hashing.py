"""`hashing`: a table of a fixed number of rows, in NumPy; keys that fall into the same row share it.

The neutral reference: every framework can use it, its memory is known before the run, and equal steps
give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from penrose_host.contracts.embedding import EmbeddingBackend, EmbeddingTable, TableSpec, TableStats
from penrose_host.embeddings.initializers import Initializer
from penrose_host.embeddings.mixing import MAX_ROWS, buckets
from penrose_host.embeddings.optimizers import Optimizer
from penrose_host.embeddings.rowfiles import RowFile, RowsSnapshot, plan, read_rows
from penrose_host.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from penrose_host.contracts.batch import Float32, Int32, Int64, StepInfo
    from penrose_host.contracts.snapshots import CheckpointReader, Snapshot, SnapshotRef

__all__ = ["HashingBackend", "HashingTable"]

#: Gradients at and beyond this would leave float32 when they are squared.
_TOO_LARGE = 1e18
#: Rows initialised or exported at a time.
_BLOCK = 65536


class HashingBackend(EmbeddingBackend):
    """Tables of a fixed number of rows, into which keys are hashed."""

    api_version = 1

    class Options(BaseModel):
        """How large the tables are."""

        model_config = ConfigDict(extra="forbid")

        rows: int = Field(2**20, ge=1, le=MAX_ROWS, description="rows of every table; keys share them by hash")

    def table(self, spec: TableSpec) -> HashingTable:
        """A new table. Raises `ConfigError` for an unknown optimizer, initializer or parameter, and for policies."""
        return HashingTable(spec, self.options.rows)


class HashingTable(EmbeddingTable):
    """`weights` and one array for each optimizer slot, all float32 [rows, columns]."""

    hash_rows: int

    def __init__(self, spec: TableSpec, rows: int) -> None:
        place = f"table {spec.name!r}"
        if spec.width < 1:
            raise ConfigError([(place, f"width must be at least 1, not {spec.width}")])
        if spec.admission is not None or spec.eviction is not None:
            raise ConfigError([(place, "the hashing backend has no admission and no eviction: its rows are fixed")])
        self.spec = spec
        self.hash_rows = rows
        self._optimizer = Optimizer.of(spec)
        self._initializer = Initializer.of(spec)
        self._columns = {"weights": spec.width}
        self._columns |= {slot.name: 1 if slot.per_row else spec.width for slot in self._optimizer.slots}
        self._identity: dict[str, Any] = {
            "format": 1,
            "name": spec.name,
            "rows": rows,
            "width": spec.width,
            "optimizer": self._optimizer.name,
            "initializer": [self._initializer.name, dict(self._initializer.parameters)],
            "seed": spec.seed,
        }
        # Where `_distinct` notes, for each row, which key of the batch names it; meaningless between calls.
        self._note = np.zeros(rows, dtype=np.int32)
        self._counting = np.arange(_BLOCK, dtype=np.int32)
        self._across = np.arange(spec.width)
        # Rows ever changed, up to the last snapshot, and since; those in between wait in `_pending` for its fate.
        self._touched: npt.NDArray[np.bool_]
        self._dirty: npt.NDArray[np.bool_]
        self._pending: Int64 | None
        self._known: str | None  # the checkpoint that the marks are relative to
        self._reset()

    # -- reading and training --------------------------------------------------------------------

    def lookup(self, keys: Int64, *, train: bool) -> Float32:  # noqa: ARG002 - all rows exist from the start
        return self._weights.take(self._buckets(keys), axis=0)

    def apply(self, keys: Int64, gradients: Float32, step: StepInfo) -> None:  # noqa: ARG002
        """One optimizer step. Raises `TrainingError`, the table unchanged, for what does not fit or is not finite."""
        rows = self._buckets(keys)
        if gradients.shape != (len(keys), self.spec.width) or gradients.dtype != np.float32:
            raise self._error(
                f"gradients must be float32 [{len(keys)}, {self.spec.width}], "
                f"not {gradients.dtype} {list(gradients.shape)}"
            )
        if not len(keys):
            return
        distinct, place = self._distinct(rows)
        summed = self._summed(gradients, place, len(distinct))
        # Written so that NaN fails too.
        if not np.abs(summed).max() < _TOO_LARGE:
            raise self._error("a gradient is not finite, or too large to be squared", "lower the learning rate")
        weights = self._weights.take(distinct, axis=0)
        slots = tuple(slot.take(distinct, axis=0) for slot in self._slots)
        self._optimizer.update(weights, slots, summed)
        self._weights[distinct] = weights
        for whole, part in zip(self._slots, slots, strict=True):
            whole[distinct] = part
        self._dirty[distinct] = True
        self._steps += 1

    def _buckets(self, keys: Int64) -> Int64:
        if keys.ndim != 1 or keys.dtype != np.int64:
            raise self._error(f"keys must be int64 [n], not {keys.dtype} {list(keys.shape)}")
        return buckets(keys, self.hash_rows)

    def _distinct(self, rows: Int64) -> tuple[Int64, Int32]:
        """The different rows, and for each key the place of its row among them.

        Each key notes its number at its row, and one of them stays: that key stands for the row. Several
        times faster than sorting, and the outcome depends on the keys alone.
        """
        count = len(rows)
        if count > len(self._counting):
            self._counting = np.arange(2 * count, dtype=np.int32)
        note, numbers = self._note, self._counting[:count]
        note[rows] = numbers
        distinct = rows.take((note.take(rows) == numbers).nonzero()[0])
        note[distinct] = self._counting[: len(distinct)]
        return distinct, note.take(rows)

    def _summed(self, gradients: Float32, place: Int32, count: int) -> Float32:
        """Gradients of the same row added up, in the order of the keys: float32 [count, width]."""
        if count == len(place):
            # Every row once: `place` is then 0, 1, 2, … and there is nothing to add.
            return gradients
        width = self.spec.width
        if width == 1:
            cells = place
        else:
            # One flat index a number: adding at one-dimensional places is what NumPy does fast.
            cells = (place.astype(np.int64)[:, None] * width + self._across).reshape(-1)
        summed = np.zeros(count * width, dtype=np.float32)
        np.add.at(summed, cells, gradients.reshape(-1))
        return summed.reshape(count, width)

    # -- checkpoints -----------------------------------------------------------------------------

    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        """A copy of the rows that changed since `since`, or of all that ever changed."""
        if self._pending is not None:
            raise self._error("a snapshot was asked for while the last one is neither committed nor aborted")
        changed = self._dirty.nonzero()[0]
        row_bytes = 4 * (1 + sum(self._columns.values()))
        # Marks are relative to the last snapshot known here: on anything else a delta cannot be built.
        known = since if since is not None and since.checkpoint == self._known else None
        reused = plan(known, len(changed) * row_bytes)
        self._pending = changed
        self._touched[changed] = True
        self._dirty[changed] = False
        if reused is None:
            return RowsSnapshot((), self._copy(self._touched.nonzero()[0]))
        return RowsSnapshot(reused, self._copy(changed) if len(changed) else None)

    def committed(self, ref: SnapshotRef) -> None:
        self._pending = None
        self._known = ref.checkpoint

    def aborted(self) -> None:
        if self._pending is not None:
            self._dirty[self._pending] = True
        self._pending = None

    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held. Raises `CheckpointDamaged`, the table unchanged."""
        files = list(read_rows(reader, self._identity, self._columns))
        self._reset()
        for file in files:
            self._weights[file.index] = file.arrays["weights"]
            for slot, values in zip(self._optimizer.slots, self._slots, strict=True):
                values[file.index] = file.arrays[slot.name]
            self._touched[file.index] = True
            self._steps = file.counters.get("steps", 0)
        self._known = reader.ref.checkpoint

    def _copy(self, rows: Int64) -> RowFile:
        arrays = {"weights": self._weights.take(rows, axis=0)}
        for slot, values in zip(self._optimizer.slots, self._slots, strict=True):
            arrays[slot.name] = values.take(rows, axis=0)
        return RowFile(rows.astype(np.int32), arrays, self._identity, {"steps": self._steps})

    def _reset(self) -> None:
        """Every row at its first value; nothing changed, nothing known of any checkpoint."""
        rows = self.hash_rows
        self._weights = _first_weights(self._initializer, rows)
        self._slots = tuple(_filled(rows, self._columns[slot.name], slot.initial) for slot in self._optimizer.slots)
        self._touched = np.zeros(rows, dtype=np.bool_)
        self._dirty = np.zeros(rows, dtype=np.bool_)
        self._pending = None
        self._known = None
        self._steps = 0

    # -- looking at it ---------------------------------------------------------------------------

    def export_rows(self) -> Iterator[pa.RecordBatch]:
        """The rows that were ever trained; `key` is the row's number (see `hash_rows`)."""
        import pyarrow as pa

        rows = (self._touched | self._dirty).nonzero()[0]
        for start in range(0, len(rows), _BLOCK):
            keys = rows[start : start + _BLOCK]
            values = pa.array(self._weights.take(keys, axis=0).reshape(-1))
            yield pa.record_batch(
                {"key": pa.array(keys), "row": pa.FixedSizeListArray.from_arrays(values, self.spec.width)}
            )

    def stats(self) -> TableStats:
        arrays = (self._weights, *self._slots, self._touched, self._dirty, self._note)
        return TableStats(
            rows=int(np.count_nonzero(self._touched | self._dirty)),
            bytes=sum(array.nbytes for array in arrays),
            counters={"steps": self._steps},
        )

    def _error(self, what: str, hint: str | None = None) -> TrainingError:
        return TrainingError(f"table {self.spec.name!r} (embedding backend hashing): {what}", hint=hint)


def _filled(rows: int, columns: int, value: float) -> Float32:
    # Zeros come from the system as pages that take no memory until they are written.
    return np.full((rows, columns), value, np.float32) if value else np.zeros((rows, columns), np.float32)


def _first_weights(initializer: Initializer, rows: int) -> Float32:
    weights = _filled(rows, initializer.width, 0.0)
    if initializer.name != "zeros":
        for start in range(0, rows, _BLOCK):
            keys = np.arange(start, min(start + _BLOCK, rows))
            weights[start : start + _BLOCK] = initializer.rows(keys)
    return weights
