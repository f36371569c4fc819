"""The core's own part of a checkpoint: counters, positions, clocks, waiting rows, and pushed rows not yet scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.contracts.snapshots import CheckpointReader, Snapshot, SnapshotWriter
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.core.rows import Rows
from penrose_host.core.rows_ipc import from_ipc, to_ipc
from penrose_host.errors import CheckpointDamaged

if TYPE_CHECKING:
    from penrose_host.core.trainer import Trainer

__all__ = ["TrainerState", "read_pending", "read_progress", "restore_waiting"]

STATE, WAITING, PENDING = "state.json", "waiting.arrow", "pending.arrow"


class TrainerState(Snapshot):
    """A trainer at one instant. Rows are immutable: taking this copies counters only."""

    def __init__(self, trainer: Trainer, *, with_pending: bool) -> None:
        """`with_pending`: keep rows that arrived and were not scored; an engine that pushed them will not again."""
        self._state = json.dumps(trainer.progress.to_json(), sort_keys=True).encode()
        self._waiting = trainer.waiting.freeze()
        self._pending = trainer.pending() if with_pending else []

    def write(self, writer: SnapshotWriter) -> None:
        writer.add(STATE, self._state)
        if self._waiting:
            rows = Rows.concat(self._waiting)
            ranks = Names(rows.names).ranks()[rows.partition]
            writer.add(WAITING, to_ipc(rows.take(np.lexsort((rows.offset, ranks, rows.known_at)))))
        if self._pending:
            writer.add(PENDING, to_ipc(Rows.concat(self._pending)))


def read_progress(reader: CheckpointReader, names: Names) -> Progress:
    """The progress that a snapshot holds. Raises CheckpointDamaged."""
    try:
        return Progress.from_json(json.loads(reader.read(STATE)), names)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointDamaged(
            f"the trainer state of checkpoint {reader.ref.checkpoint} cannot be understood: {error}",
            hint="it was written by another version of penrose-host; use that one, or start with --fresh",
        ) from error


def restore_waiting(reader: CheckpointReader, trainer: Trainer) -> None:
    """Let the rows wait again that waited."""
    for rows in _read(reader, WAITING):
        table = np.array([trainer.merge.names.code(name) for name in rows.names], dtype=np.int32)
        trainer.waiting.add(rows.with_partitions(trainer.merge.names.all, table[rows.partition]))


def read_pending(reader: CheckpointReader) -> Sequence[Rows]:
    """Rows that had arrived and were not scored, to be added again."""
    return _read(reader, PENDING)


def _read(reader: CheckpointReader, name: str) -> Sequence[Rows]:
    return [from_ipc(reader.read(name))] if name in reader.names() else []
