"""Promises about commits and whole runs: the source under the host's own loop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.batch import OFFSET, Chunk, Position
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import Capability
from penrose_host.testing.datasources.base import SourceChecks, Whole
from penrose_host.testing.datasources.reading import chunks
from penrose_host.testing.jobs import predictions, run_job, small_job
from penrose_host.testing.promises import Broken, promise

if TYPE_CHECKING:
    from penrose_host.config.resolve import Resolved

__all__ = ["RunPromises"]

#: Columns that are added to the source's own, so that any stream can be trained on.
_TIME, _ID, _LABEL = "contract time", "contract id", "contract label"
_FEATURES = {"event_time": {"column": _TIME, "unit": "us"}, "categorical": [_ID], "labels": [_LABEL]}


class RunPromises(SourceChecks):
    """What holds from the first row to the last checkpoint."""

    @property
    def _seconds(self) -> float:
        """How long a run may take: however short the patience with the source, the machine may be busy."""
        return 30 + 6 * self.patience

    @promise
    def test_commit_never_precedes_the_manifest(self, tmp_path: Path) -> None:
        """Commit never precedes the manifest: only positions of durable checkpoints are committed."""
        whole = self.whole()
        run_dir = tmp_path / "run"
        commits: list[tuple[Position, bool]] = []

        def on_commit(position: Position) -> None:
            manifests = [info.position for info in CheckpointStore(run_dir / "checkpoints").list()]
            commits.append((position, position in manifests))

        run_job(_job(run_dir, self.make(), whole, on_commit), self._seconds)
        for position, durable in commits:
            if not durable:
                raise Broken(
                    f"{dict(position.offsets)} was committed, and no checkpoint held that position.",
                    "leave committing to the host: it calls `commit` when the checkpoint is on disk.",
                )

    @promise
    def test_reading_alone_commits_nothing(self) -> None:
        """Reading moves nothing that the stream's own service holds as committed."""
        before = self.committed()
        if before is None:
            return
        # A part, then all: a client that commits by itself cannot leave the same behind both times.
        for size, reads in ((3, 2), (64, 10)):
            source = self.make()
            source.open(dict.fromkeys(source.partitions()))
            for _ in islice(chunks(source, [size], self.patience), reads):
                pass
            source.close()
            if (after := self.committed()) != before:
                raise Broken(
                    f"reading moved what is committed from {before} to {after}.", "switch off the client's own commits."
                )

    @promise
    def test_a_place_for_dead_letters_is_declared(self) -> None:
        """Who declares DEAD_LETTERS implements `dead_letters`, and who implements it declares it."""
        source = self.make()
        kind = type(source)
        declared = Capability.DEAD_LETTERS in source.capabilities | kind.capabilities
        if declared and kind.dead_letters is DataSource.dead_letters:
            raise Broken(
                f"{kind.__name__} declares DEAD_LETTERS and has no `dead_letters`: the first bad row ends the run.",
                "implement `dead_letters`, or leave the capability out.",
            )
        if not declared and kind.dead_letters is not DataSource.dead_letters:
            raise Broken(
                f"{kind.__name__} has `dead_letters` and does not declare DEAD_LETTERS: it is never called.",
                "add Capability.DEAD_LETTERS to `capabilities`; an instance that has no such place takes it out again.",
            )

    @promise
    def test_a_run_stopped_and_resumed_scores_every_row_once(self, tmp_path: Path) -> None:
        """A run that was stopped in the middle and started again has scored every row exactly once, in order."""
        self.needs_seek()
        whole, run_dir = self.whole(), tmp_path / "run"
        run_job(_job(run_dir, self.make(), whole, until={"rows": max(1, whole.total // 2)}), self._seconds)
        run_job(_job(run_dir, self.make(), whole), self._seconds)
        good, found = whole.good, predictions(run_dir)
        for name in good.keys() | found.keys():
            offsets = found.get(name, [])
            if whole.bounded or not offsets:
                expected = good.get(name, []) if whole.bounded else []
            else:
                offsets = [offset for offset in offsets if offset < whole.bounds.get(name, 0)]
                expected = [offset for offset in good.get(name, []) if offset <= max(found[name])]
            if offsets != expected:
                raise Broken(_told(name, expected, offsets), "give each offset the same row, whenever it is read.")


def _job(run_dir: Path, source: DataSource, whole: Whole, on_commit: Any = None, **sections: Any) -> Resolved:
    """A job over the source; its rows get what the job needs to train on them."""
    plugin = type(source)

    class Watched(plugin):  # type: ignore[misc, valid-type]
        """The source, with columns of the contract's own, and its commits told."""

        def read(self, max_rows: int, timeout: float) -> Chunk | None:
            chunk = super().read(max_rows, timeout)
            return None if chunk is None else Chunk(_with_columns(chunk.batch), chunk.rejects)

        def commit(self, position: Position) -> None:
            if on_commit is not None:
                on_commit(position)
            super().commit(position)

    if not whole.bounded:
        sections = {"until": {"rows": whole.total}} | sections
    sections |= {
        # Micro-batches of one row: an endless stream may fall silent with a larger one still open.
        "micro_batch": {"rows": 1},
        "features": _FEATURES,
        "order": "event_time" if whole.bounded else "arrival",
        "bad_rows": "skip",
    }
    return small_job(run_dir, datasource=Watched(source.options), **sections)


def _with_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    offsets = batch.column(OFFSET).to_numpy(zero_copy_only=False).astype(np.int64)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.record_batch(columns | {_TIME: offsets, _ID: offsets % 10, _LABEL: offsets % 2 == 0})


def _told(name: str, expected: list[int], found: list[int]) -> str:
    twice = sorted({offset for offset in found if found.count(offset) > 1})
    missing = sorted(set(expected) - set(found))
    if twice:
        return f"partition {name!r}: the rows at {twice[:5]} were scored more than once."
    if missing:
        return f"partition {name!r}: the rows at {missing[:5]} were never scored."
    return f"partition {name!r}: rows were scored in the order {found[:8]} …, not {expected[:8]} …"
